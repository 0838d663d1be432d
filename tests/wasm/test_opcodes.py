"""The table of instructions against wasmtime's assembler, which does not validate and so takes each alone."""

from __future__ import annotations

import re

import pytest

from tinyheap.errors import ModuleEditError
from tinyheap.wasm import Catch, Code, MemoryArgument, Module, instructions
from tinyheap.wasm.opcodes import BY_NAME, OPCODES, Opcode
from wasm import oracles

SAMPLES: dict[str, tuple[object, str]] = {
    "function": (300, "300"),
    "type": (2, "(type 2)"),
    "table": (3, "3"),
    "local": (200, "200"),
    "global": (5, "5"),
    "tag": (6, "6"),
    "memory": (2, "2"),
    "data": (8, "8"),
    "element": (9, "9"),
    "label": (1, "1"),
    "labels": ((0, 130, 2), "0 130 2"),
    "i32": (-2_000_000_000, "-2000000000"),
    "i64": (1 << 62, str(1 << 62)),
    "f32": (1.5, "1.5"),
    "f64": (-2.25, "-2.25"),
    "v128": (bytes(range(16)), "i8x16 " + " ".join(map(str, range(16)))),
    "lanes": (bytes(range(16)), " ".join(map(str, range(16)))),
    "lane": (1, "1"),
    "fence": (0, ""),
    "block": ("f64", "(result f64)"),
    "heap": ("extern", "extern"),
    "memarg": (MemoryArgument(70000, 0, 3), "3 offset=70000 align=1"),
    "types": (("externref",), "(result externref)"),
    "catches": (
        (
            Catch("catch", 4, 0),
            Catch("catch_ref", 5, 1),
            Catch("catch_all", None, 1),
            Catch("catch_all_ref", None, 0),
        ),
        "(catch 4 0) (catch_ref 5 1) (catch_all 1) (catch_all_ref 0)",
    ),
}
"""For each kind of immediate a value, and its spelling in the text form."""

TEXT_NAMES = {"select_typed": "select"}
"""Instructions that the text form calls otherwise."""

BLOCKS = ("block", "loop", "if", "try", "try_table")
"""Instructions that need an `end` in the text form."""

INDEX_FIRST = ("call_ref", "return_call_ref")
"""Instructions whose type is spelled as a bare index."""


def _text(opcode: Opcode) -> str:
    spellings = [SAMPLES[kind.name][1] for kind in opcode.immediates]
    if opcode.name.endswith((".init", "call_indirect")):
        spellings.reverse()
    if opcode.name in INDEX_FIRST:
        spellings = ["2"]
    if ".atomic." in opcode.name:
        spellings = [f"3 offset=70000 align={_atomic_width_bytes(opcode.name)}"]
    name = TEXT_NAMES.get(opcode.name, opcode.name)
    return " ".join([name, *spellings, "end" if opcode.name in BLOCKS else ""])


def _atomic_width_bytes(name: str) -> int:
    """How many bytes an atomic access takes: it must be aligned to these."""
    narrow = re.search(r"(?:load|store|rmw|wait)(8|16|32|64)", name)
    return int(narrow[1]) // 8 if narrow else 8 if name.startswith("i64") else 4


def _sample(opcode: Opcode) -> tuple[object, ...]:
    if ".atomic." in opcode.name and opcode.immediates[0].name == "memarg":
        return (MemoryArgument(70000, _atomic_width_bytes(opcode.name).bit_length() - 1, 3),)
    return tuple(SAMPLES[kind.name][0] for kind in opcode.immediates)


@pytest.mark.parametrize("opcode", OPCODES, ids=lambda opcode: opcode.name)
@pytest.mark.share(100)
def test_an_instruction_is_spelled_as_wasmtime_does(opcode: Opcode) -> None:
    module = Module.parse(oracles.assemble(f"(module (func {_text(opcode)}))"))
    (_, first), *rest = module.body(0).instructions()
    assert first.name == opcode.name
    assert first.immediates == _sample(opcode)
    assert instructions.encode(opcode.name, *first.immediates) == first.encoding
    assert {found.name for _, found in rest} <= {"end"}


def test_instructions_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ModuleEditError, match=r"invalid instruction 'i32\.conts'"):
        instructions.encode("i32.conts", 5)
    with pytest.raises(AttributeError, match="i32_conts"):
        Code().i32_conts(5)


@pytest.mark.parametrize(
    ("name", "immediates", "message"),
    [
        ("i32.const", (), "0 immediates where it takes i32"),
        ("nop", (1,), "1 immediates where it takes none"),
        ("call", (-1,), "-1 cannot be written"),
        ("call", ("alloc",), "'alloc' cannot be written"),
        ("local.get", (1 << 32,), "does not fit 32 bits"),
        ("i32.const", (1 << 31,), "does not fit 32 bits"),
        ("v128.const", (b"short",), "16 bytes are announced"),
        ("i8x16.shuffle", (bytes(17),), "1 bytes are left over"),
        ("block", ("i31",), "invalid value type 'i31'"),
        ("i32.load", (MemoryArgument(0, 64),), "cannot be written"),
    ],
)
def test_immediates_that_do_not_fit_are_refused(name: str, immediates: tuple[object, ...], message: str) -> None:
    with pytest.raises(ModuleEditError, match=message):
        instructions.encode(name, *immediates)


def test_every_instruction_has_a_method_of_the_assembler() -> None:
    assert str(Code().local_get(0).i32_const(5).i32_add().return_()) == "local.get 0; i32.const 5; i32.add; return"
    code = Code()
    for opcode in OPCODES:
        method = opcode.name.replace(".", "_")
        method += "_" if method in ("if", "else", "return", "try") else ""
        code = getattr(code, method)(*_sample(opcode))
    walked = [found.name for _, found in instructions.walk(code.encoding, 0, len(code.encoding))]
    assert walked == list(BY_NAME)
