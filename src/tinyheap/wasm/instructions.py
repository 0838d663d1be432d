"""Walking instructions, and the one fact that makes it fast: an instruction is a regular expression.

Opcodes are single bytes or a prefix and an integer, and nearly all immediates have patterns (see
`immediates`), so a run of instructions is one possessive match of `(?:one|another|...)*+`, done in C without
backtracking and without a stack.  No instruction is a proper prefix of another, so there is one way only to
cut a body into instructions.  The walk stops at the few instructions that hold a counted list (`br_table`,
`select_typed`, `try_table`), reads those one by one, and goes on.  Decoding is remembered by the
instruction's bytes, since programs repeat themselves.

What remains where the expression stops and is not such an instruction is reported as malformed.  Nesting and types are not
checked: that is what a validator does.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

from tinyheap.errors import ModuleEditError
from tinyheap.wasm.immediates import Immediate
from tinyheap.wasm.leb128 import byte_class, exact_pattern
from tinyheap.wasm.opcodes import BY_CODE, BY_NAME, OPCODES, PREFIXES, Opcode
from tinyheap.wasm.reader import Reader

_RUN_LENGTH = 1 << 12
"""Instructions cut at a time: bounds the memory that a list of them takes, whatever the body's size."""


_LONG = 32
"""Bytes that no instruction without a counted list takes; what is longer is not remembered."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a body: its name, immediates (see `immediates`) and bytes."""

    name: str
    immediates: tuple[Any, ...]
    encoding: bytes

    def __str__(self) -> str:
        return " ".join([self.name, *map(str, self.immediates)])


@dataclass(frozen=True, slots=True)
class ImmediateSpan:
    """An immediate of an instruction: its kind, its value, and which bytes of the encoding it takes."""

    kind: Immediate
    value: Any
    start: int
    end: int


def encode(name: str, *immediates: object) -> bytes:
    """The bytes of one instruction, every integer in its shortest spelling."""
    opcode = BY_NAME.get(name)
    if opcode is None:
        raise ModuleEditError(f"invalid instruction {name!r}: expected a name such as 'i32.const'")
    if len(immediates) != len(opcode.immediates):
        kinds = ", ".join(kind.name for kind in opcode.immediates) or "none"
        raise ModuleEditError(f"{name} has {len(immediates)} immediates where it takes {kinds}")
    return opcode.encoding + b"".join(map(_encode_immediate, opcode.immediates, immediates))


def _encode_immediate(kind: Immediate, value: object) -> bytes:
    try:
        encoding = kind.write(value)
        reader = Reader(encoding)
        kind.read(reader)
        reader.finish()
    except Exception as error:
        raise ModuleEditError(f"{value!r} cannot be written as an immediate of kind {kind.name}: {error}") from error
    return encoding


def instruction_at(data: bytes, start: int, end: int, section: str = "code") -> Instruction:
    """The instruction at `start`, which must end by `end`; raises MalformedModuleError where none is."""
    reader = Reader(data, start, end, section)
    opcode, spans = read_instruction(reader)
    return Instruction(opcode.name, tuple([span.value for span in spans]), data[start : reader.position])


@lru_cache(maxsize=1 << 16)
def decode(encoding: bytes) -> Instruction:
    """The instruction that `encoding` holds; the result is remembered, so it should be a short one."""
    return instruction_at(encoding, 0, len(encoding))


def spans(encoding: bytes) -> list[ImmediateSpan]:
    """The immediates of the instruction that `encoding` holds, and where they lie in it."""
    return read_instruction(Reader(encoding, section="instruction"))[1]


def walk(data: bytes, start: int, end: int, section: str = "code") -> Iterator[tuple[int, Instruction]]:
    """Every instruction of `data[start:end]`, with its offset; raises MalformedModuleError if none fits."""
    one = _one(_REGULAR)
    run = _run(_REGULAR)
    while start < end:
        stop = _end(run.match(data, start, end))
        if stop == start:
            instruction = instruction_at(data, start, end, section)
            yield start, instruction
            start += len(instruction.encoding)
        else:
            encodings = one.findall(data, start, stop)
            yield from zip(accumulate(map(len, encodings), initial=start), map(decode, encodings), strict=False)
            start = stop


def find(
    data: bytes, start: int, end: int, names: Iterable[str], section: str = "code"
) -> Iterator[tuple[int, Instruction]]:
    """As `walk`, but yields only the instructions called `names`; the others cost next to nothing."""
    for offset, encoding in find_encodings(data, start, end, frozenset(names), section):
        yield offset, decode(encoding) if len(encoding) < _LONG else instruction_at(encoding, 0, len(encoding))


def find_encodings(
    data: bytes, start: int, end: int, names: frozenset[str], section: str = "code"
) -> Iterator[tuple[int, bytes]]:
    """As `find`, but yields the instructions' bytes, not decoded."""
    finder = _finder(names)
    while start < end:
        match = finder.match(data, start, end)
        assert match is not None, "the pattern matches the empty string"
        start = match.end()
        if match[1]:
            yield match.start(1), match[1]
        elif start < end:
            instruction = instruction_at(data, start, end, section)
            if instruction.name in names:
                yield start, instruction.encoding
            start += len(instruction.encoding)


def check(data: bytes, start: int, end: int, section: str = "code") -> None:
    """Raise MalformedModuleError unless `data[start:end]` is a sequence of whole instructions."""
    for _ in find_encodings(data, start, end, frozenset(), section):
        pass


def read_instruction(reader: Reader) -> tuple[Opcode, list[ImmediateSpan]]:
    """The instruction at the reader's place, read without patterns."""
    base = reader.position
    first = reader.byte()
    key = (first, reader.u32()) if first in PREFIXES else (0, first)
    opcode = BY_CODE.get(key)
    if opcode is None:
        raise reader.error(f"unknown instruction {reader.data[base : reader.position].hex(' ')}", base)
    spans = []
    for kind in opcode.immediates:
        start = reader.position
        value = kind.read(reader)
        spans.append(ImmediateSpan(kind, value, start - base, reader.position - base))
    return opcode, spans


def _end(match: re.Match[bytes] | None) -> int:
    assert match is not None, "the pattern matches the empty string"
    return match.end()


_REGULAR = frozenset(opcode.name for opcode in OPCODES if all(kind.pattern is not None for kind in opcode.immediates))
"""The names of all instructions that a regular expression describes."""


@lru_cache(maxsize=64)
def _one(names: frozenset[str]) -> re.Pattern[bytes]:
    """Any one of the regular instructions called `names`."""
    return re.compile(_alternatives(names), re.DOTALL)


@lru_cache(maxsize=64)
def _run(names: frozenset[str]) -> re.Pattern[bytes]:
    """As many as possible of the regular instructions called `names`, up to a bound."""
    return re.compile(rb"(?:%s){0,%d}+" % (_alternatives(names), _RUN_LENGTH), re.DOTALL)


@lru_cache(maxsize=64)
def _finder(names: frozenset[str]) -> re.Pattern[bytes]:
    """All regular instructions not called `names`, and then, as the group, one that is."""
    others, wanted = _alternatives(_REGULAR - names), _alternatives(_REGULAR & names)
    return re.compile(rb"(?:%s)*+(%s)?+" % (others, wanted), re.DOTALL)


def _alternatives(names: frozenset[str]) -> bytes:
    """A pattern for each of the regular instructions called `names`: those alike share an alternative."""
    codes: dict[tuple[bytes, int], list[int]] = defaultdict(list)
    for name in names:
        opcode = BY_NAME[name]
        immediates = b"".join(kind.pattern or b"" for kind in opcode.immediates)
        codes[immediates, opcode.prefix].append(opcode.code)
    return b"|".join(
        _opcodes_pattern(prefix, sorted(alike)) + immediates
        for (immediates, prefix), alike in sorted(codes.items(), key=lambda item: (item[0][1], -len(item[1])))
    )


def _opcodes_pattern(prefix: int, codes: list[int]) -> bytes:
    if not prefix:
        return byte_class(codes)
    return rb"\x%02x%s" % (prefix, exact_pattern(codes))
