"""Walking instructions: fast and slow agree on every input, and nothing is cut in the middle."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyheap.errors import MalformedModuleError
from tinyheap.wasm import Catch, MemoryArgument, instructions
from tinyheap.wasm.leb128 import encode_unsigned
from tinyheap.wasm.opcodes import OPCODES, Opcode
from tinyheap.wasm.reader import Reader

U32 = st.integers(0, (1 << 32) - 1)
VALUE_TYPES = st.sampled_from(["i32", "v128", "funcref", "exnref", "(ref null 7)", "(ref extern)", "(ref 300)"])
BLOCK_TYPES = st.one_of(st.none(), VALUE_TYPES, st.integers(0, 10_000))
CATCHES = st.one_of(
    st.builds(Catch, st.sampled_from(["catch", "catch_ref"]), U32, U32),
    st.builds(Catch, st.sampled_from(["catch_all", "catch_all_ref"]), st.none(), U32),
)
VALUES: dict[str, st.SearchStrategy[object]] = {
    "i32": st.integers(-(1 << 31), (1 << 31) - 1),
    "i64": st.integers(-(1 << 63), (1 << 63) - 1),
    "f32": st.floats(width=32, allow_nan=False),
    "f64": st.floats(allow_nan=False),
    "v128": st.binary(min_size=16, max_size=16),
    "lanes": st.binary(min_size=16, max_size=16),
    "lane": st.integers(0, 255),
    "fence": st.just(0),
    "block": BLOCK_TYPES,
    "heap": st.one_of(st.sampled_from(["func", "extern", "exn"]), st.integers(0, 10_000)),
    "memarg": st.builds(MemoryArgument, U32, st.integers(0, 63), U32),
    "labels": st.lists(U32, max_size=5).map(tuple),
    "types": st.lists(VALUE_TYPES, max_size=3).map(tuple),
    "catches": st.lists(CATCHES, max_size=3).map(tuple),
}


def _written(opcode: Opcode) -> st.SearchStrategy[tuple[str, tuple[object, ...]]]:
    return st.tuples(st.just(opcode.name), st.tuples(*(VALUES.get(kind.name, U32) for kind in opcode.immediates)))


CODE = st.lists(st.sampled_from(OPCODES).flatmap(_written), max_size=20)


def _slowly(data: bytes) -> tuple[list[bytes], bool]:
    """The instructions of `data` read one by one, without patterns, and whether all of it could be read."""
    reader = Reader(data)
    found: list[bytes] = []
    while reader.left:
        start = reader.position
        try:
            instructions.read_instruction(reader)
        except MalformedModuleError:
            return found, False
        found.append(data[start : reader.position])
    return found, True


def _fast(data: bytes) -> tuple[list[bytes], bool]:
    found: list[bytes] = []
    try:
        for offset, instruction in instructions.walk(data, 0, len(data)):
            assert offset == sum(map(len, found))
            found.append(instruction.encoding)
    except MalformedModuleError:
        return found, False
    return found, True


@given(CODE)
def test_code_is_read_back_as_it_was_written(code: list[tuple[str, tuple[object, ...]]]) -> None:
    data = b"".join(instructions.encode(name, *immediates) for name, immediates in code)
    found = [instruction for _, instruction in instructions.walk(data, 0, len(data))]
    assert [(instruction.name, instruction.immediates) for instruction in found] == code
    assert b"".join(instruction.encoding for instruction in found) == data


@given(st.binary(max_size=200))
def test_patterns_and_reader_agree_on_any_bytes(data: bytes) -> None:
    assert _fast(data) == _slowly(data)


@given(st.lists(st.one_of(st.sampled_from([bytes([0xFD]), b"\x0e\x02", b"\x80", b"\xff\x0f"]), st.binary(max_size=3))))
def test_patterns_and_reader_agree_on_prefixes_and_padding(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    assert _fast(data) == _slowly(data)


@settings(max_examples=30)
@given(CODE, st.sets(st.sampled_from([opcode.name for opcode in OPCODES])))
def test_finding_is_walking_and_choosing(code: list[tuple[str, tuple[object, ...]]], names: set[str]) -> None:
    names |= {name for name, _ in code[::2]}
    data = b"\x01" + b"".join(instructions.encode(name, *immediates) for name, immediates in code)
    walked = [found for found in instructions.walk(data, 0, len(data)) if found[1].name in names]
    assert list(instructions.find(data, 0, len(data), names)) == walked


@given(st.sampled_from(OPCODES).flatmap(_written))
def test_no_part_of_an_instruction_is_one(code: tuple[str, tuple[object, ...]]) -> None:
    data = instructions.encode(code[0], *code[1])
    for length in range(1, len(data)):
        with pytest.raises(MalformedModuleError, match="code, byte 0x"):
            instructions.check(data, 0, length)


@pytest.mark.parametrize("width_bytes", [2, 3, 5])
def test_opcodes_behind_a_prefix_may_be_padded(width_bytes: int) -> None:
    for opcode in OPCODES:
        if opcode.prefix:
            padded = bytes([opcode.prefix]) + encode_unsigned(opcode.code, width_bytes)
            data = padded + bytes(16) if opcode.immediates else padded
            assert next(instructions.walk(data, 0, len(data)))[1].name == opcode.name


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("01 27", r"byte 0x1: unknown instruction 27"),
        ("fc 99 01", r"byte 0x0: unknown instruction fc 99 01"),
        ("01 01 10 80", r"byte 0x4: ends here"),
        ("0e ff ff ff ff 0f 00", r"byte 0x1: 4294967295 entries are announced and 1 bytes are left"),
        ("41 ff ff ff ff 4f", r"byte 0x1: an integer that does not fit 32 bits"),
        ("41 80 80 80 80 80 00", r"byte 0x1: an integer of 32 bits that does not end within 5 bytes"),
        ("44 00 00", r"byte 0x1: 8 bytes are announced and 2 are left"),
        ("02 7a", r"byte 0x1: a block type"),
        ("1c 01 6e", r"byte 0x2: 0x6e where a value type"),
        ("28 80 01 00", r"where an alignment"),
        ("fe 03 01", r"byte 0x2: 0x01 where the memory order 0"),
        ("1f 40 01 04 00", r"byte 0x3: 0x04 where a kind of catch"),
        ("d0 40", r"byte 0x1: a heap type"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(data: str, message: str) -> None:
    code = bytes.fromhex(data)
    with pytest.raises(MalformedModuleError, match=message):
        instructions.check(code, 0, len(code))


def test_a_long_body_is_walked_in_little_memory() -> None:
    data = instructions.encode("i64.const", 1 << 40) * 50_000
    instructions.check(data[:7], 0, 7)  # the patterns are made once, whatever the size
    list(instructions.walk(data[:7], 0, 7))
    tracemalloc.start()
    count = sum(1 for _ in instructions.walk(data, 0, len(data)))
    instructions.check(data, 0, len(data))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 50_000
    assert peak_bytes < 1 << 19, "a list of them all would take five times that"
