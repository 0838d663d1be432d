"""What may follow an opcode: each kind of immediate with its pattern, reader, writer and index space.

    call 5            10 05              one immediate: a function index
    i32.load 8        28 02 08           one immediate: a memory argument (alignment 2^2, offset 8, memory 0)
    br_table 0 1 0    0e 02 00 01 00     two immediates: labels, default label

A *pattern* is a regular expression for exactly the spellings that `read` accepts.  Three kinds hold a counted
list, which no regular expression describes; their pattern is None, and who walks instructions stops there and
reads.  Source: WebAssembly Core Specification, 5.4 Instructions; the exception handling proposals, legacy and
final.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from tinyheap.wasm.leb128 import (
    encode_signed,
    encode_unsigned,
    natural_pattern,
    signed_pattern,
    unsigned_pattern,
)
from tinyheap.wasm.reader import Reader

ValueType = str
"""``i32 i64 f32 f64 v128 funcref externref exnref`` or ``(ref [null] X)``, X an index, func, extern, exn."""

BlockType = str | int | None
"""What a block leaves: nothing (None), one value (its type) or a function type (its index)."""

_VALUE_TYPES: dict[int, ValueType] = {
    0x7F: "i32",
    0x7E: "i64",
    0x7D: "f32",
    0x7C: "f64",
    0x7B: "v128",
    0x70: "funcref",
    0x6F: "externref",
    0x69: "exnref",
}
_VALUE_TYPE_BYTES = {name: code for code, name in _VALUE_TYPES.items()}
_HEAP_TYPES = {0x70: "func", 0x6F: "extern", 0x69: "exn"}
_HEAP_TYPE_BYTES = {name: code for code, name in _HEAP_TYPES.items()}
_REFERENCES = {0x63: "(ref null {})", 0x64: "(ref {})"}
_CATCHES = ("catch", "catch_ref", "catch_all", "catch_all_ref")


class MemoryArgument(NamedTuple):
    """Where a load or store goes: bytes added to the address, log2 of the alignment (a hint), memory."""

    offset_bytes: int
    alignment_exponent: int = 0
    memory: int = 0


class Catch(NamedTuple):
    """A handler of a try_table: ``catch catch_ref catch_all catch_all_ref``, its tag (if any) and label."""

    kind: str
    tag: int | None
    label: int


Move = Callable[[str, int], int]
"""The new number of an index, by index space and old number."""


@dataclass(frozen=True, slots=True)
class Immediate:
    """One kind of immediate; `space` names the index space it points into, if any."""

    name: str
    pattern: bytes | None
    read: Callable[[Reader], Any]
    write: Callable[[Any], bytes]
    space: str = ""

    def move(self, value: object, move: Move) -> object:
        """The same immediate after its index space was renumbered."""
        if isinstance(value, int):
            return move(self.space, value)
        if isinstance(value, MemoryArgument):
            return value._replace(memory=move(self.space, value.memory))
        assert isinstance(value, tuple), "only handlers are left that point into an index space"
        return tuple(catch if catch.tag is None else catch._replace(tag=move("tag", catch.tag)) for catch in value)


def read_value_type(reader: Reader) -> ValueType:
    """A value type; those of the garbage collection proposal are not read."""
    start, code = reader.position, reader.byte()
    if code in _REFERENCES:
        return _REFERENCES[code].format(read_heap_type(reader))
    if code not in _VALUE_TYPES:
        raise reader.error(f"{code:#04x} where a value type is expected", start)
    return _VALUE_TYPES[code]


def write_value_type(value_type: ValueType) -> bytes:
    """The bytes of a value type."""
    if value_type in _VALUE_TYPE_BYTES:
        return bytes([_VALUE_TYPE_BYTES[value_type]])
    if not value_type.startswith("(ref "):
        raise ValueError(f"invalid value type {value_type!r}: expected one of {', '.join(_VALUE_TYPE_BYTES)}")
    nullable = value_type.startswith("(ref null ")
    heap_type = value_type.rstrip(")").split()[-1]
    return bytes([0x63 if nullable else 0x64]) + write_heap_type(int(heap_type) if heap_type.isdigit() else heap_type)


def read_heap_type(reader: Reader) -> str | int:
    """What a reference refers to: func, extern, exn or a type index."""
    start = reader.position
    if reader.left and reader.data[start] in _HEAP_TYPES:
        return _HEAP_TYPES[reader.byte()]
    index = reader.signed(33)
    if index < 0:
        raise reader.error("a heap type that is not func, extern, exn or a type index", start)
    return index


def write_heap_type(heap_type: str | int) -> bytes:
    """The bytes of a heap type."""
    return encode_signed(heap_type) if isinstance(heap_type, int) else bytes([_HEAP_TYPE_BYTES[heap_type]])


def read_block_type(reader: Reader) -> BlockType:
    """The type of a block."""
    start = reader.position
    code = reader.data[start] if reader.left else reader.byte()
    if code == 0x40:
        reader.byte()
        return None
    if code in _VALUE_TYPES or code in _REFERENCES:
        return read_value_type(reader)
    index = reader.signed(33)
    if index < 0:
        raise reader.error("a block type that is neither empty, a value type nor a type index", start)
    return index


def write_block_type(block_type: BlockType) -> bytes:
    """The bytes of a block's type."""
    if block_type is None:
        return b"\x40"
    return encode_signed(block_type) if isinstance(block_type, int) else write_value_type(block_type)


def _read_memory_argument(reader: Reader) -> MemoryArgument:
    flags = reader.u32()
    if flags >= 0x80:
        raise reader.error(f"{flags:#x} where an alignment below 2^64 is expected")
    memory = reader.u32() if flags & 0x40 else 0
    return MemoryArgument(reader.u32(), flags & 0x3F, memory)


def _write_memory_argument(argument: MemoryArgument | int) -> bytes:
    offset_bytes, exponent, memory = MemoryArgument(argument) if isinstance(argument, int) else argument
    index = encode_unsigned(memory) if memory else b""
    return bytes([exponent | (0x40 if memory else 0)]) + index + encode_unsigned(offset_bytes)


def _read_catch(reader: Reader) -> Catch:
    start, code = reader.position, reader.byte()
    if code >= len(_CATCHES):
        raise reader.error(f"{code:#04x} where a kind of catch is expected", start)
    return Catch(_CATCHES[code], reader.u32() if code < 2 else None, reader.u32())


def _write_catch(catch: Catch) -> bytes:
    tag = b"" if catch.tag is None else encode_unsigned(catch.tag)
    return bytes([_CATCHES.index(catch.kind)]) + tag + encode_unsigned(catch.label)


def _read_fence(reader: Reader) -> int:
    start, order = reader.position, reader.byte()
    if order:
        raise reader.error(f"{order:#04x} where the memory order 0 is expected", start)
    return order


def write_vector(encodings: list[bytes]) -> bytes:
    """A counted list of what is already encoded."""
    return encode_unsigned(len(encodings)) + b"".join(encodings)


def _float(code: str, length_bytes: int) -> Immediate:
    def read(reader: Reader) -> float:
        value: float = struct.unpack(code, reader.take(length_bytes))[0]
        return value

    return Immediate(f"f{8 * length_bytes}", rb".{%d}" % length_bytes, read, lambda value: struct.pack(code, value))


def _index(space: str) -> Immediate:
    return Immediate(space, _U32, Reader.u32, encode_unsigned, space)


def _bytes(name: str, length_bytes: int) -> Immediate:
    return Immediate(name, rb".{%d}" % length_bytes, lambda reader: reader.take(length_bytes), bytes)


_U32 = unsigned_pattern(32)
_ALIGNED = rb"(?:[\x00-\x3f]|[\x80-\xbf]\x80{0,3}\x00)"
_ALIGNED_WITH_MEMORY = rb"(?:[\x40-\x7f]|[\xc0-\xff]\x80{0,3}\x00)"
_HEAP = rb"(?:[\x69\x6f\x70]|%s)" % natural_pattern(33)
_BLOCK = rb"(?:[\x40\x69\x6f\x70\x7b-\x7f]|[\x63\x64]%s|%s)" % (_HEAP, natural_pattern(33))
_SPACES = ("function", "type", "table", "local", "global", "tag", "memory", "data", "element", "label")

IMMEDIATES: dict[str, Immediate] = {
    immediate.name: immediate
    for immediate in [
        *(_index(space) for space in _SPACES),
        Immediate("i32", signed_pattern(32), lambda reader: reader.signed(32), encode_signed),
        Immediate("i64", signed_pattern(64), lambda reader: reader.signed(64), encode_signed),
        _float("<f", 4),
        _float("<d", 8),
        _bytes("v128", 16),
        _bytes("lanes", 16),
        Immediate("lane", rb".", Reader.byte, lambda lane: bytes([lane])),
        Immediate("fence", rb"\x00", _read_fence, lambda order: bytes([order])),
        Immediate("block", _BLOCK, read_block_type, write_block_type),
        Immediate("heap", _HEAP, read_heap_type, write_heap_type),
        Immediate(
            "memarg",
            rb"(?:%s|%s%s)%s" % (_ALIGNED, _ALIGNED_WITH_MEMORY, _U32, _U32),
            _read_memory_argument,
            _write_memory_argument,
            "memory",
        ),
        Immediate(
            "labels",
            None,
            lambda reader: reader.vector(Reader.u32),
            lambda labels: write_vector([encode_unsigned(label) for label in labels]),
        ),
        Immediate(
            "types",
            None,
            lambda reader: reader.vector(read_value_type),
            lambda types: write_vector([write_value_type(value_type) for value_type in types]),
        ),
        Immediate(
            "catches",
            None,
            lambda reader: reader.vector(_read_catch),
            lambda catches: write_vector([_write_catch(catch) for catch in catches]),
            "tag",
        ),
    ]
}
"""Every kind of immediate, by name."""
