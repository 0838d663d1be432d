"""LEB128, WebAssembly's integers of variable length: seven bits a byte, low first, bit 7 set if more follow.

A value has many spellings: `05` and `85 80 00` both say 5.  A linker writes the long one to leave room for a
later patch.  The shortest is written here unless a width is asked for, so that a patched integer keeps its
place.

Besides the writers there are *patterns*: regular expressions (as bytes) for every spelling of an integer that
the specification admits, and no other.  They make it possible to walk millions of instructions at the speed
of `re`.  Source: WebAssembly Core Specification, 5.2.2 Integers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable


def encode_unsigned(value: int, width_bytes: int = 1) -> bytes:
    """An unsigned integer as bytes, padded up to `width_bytes`."""
    if value < 0:
        raise ValueError(f"{value} is negative: only an unsigned integer can be written so")
    encoding = bytearray()
    while value > 0x7F or len(encoding) + 1 < width_bytes:
        encoding.append(value & 0x7F | 0x80)
        value >>= 7
    encoding.append(value)
    return bytes(encoding)


def encode_signed(value: int) -> bytes:
    """A signed integer as bytes, in the shortest spelling."""
    encoding = bytearray()
    while not -0x40 <= value < 0x40:
        encoding.append(value & 0x7F | 0x80)
        value >>= 7
    encoding.append(value & 0x7F)
    return bytes(encoding)


def byte_class(values: Collection[int]) -> bytes:
    """A pattern for one byte out of `values`."""
    ordered = sorted(values)
    first = [value for value in ordered if value - 1 not in values]
    last = [value for value in ordered if value + 1 not in values]
    return b"[" + b"".join(rb"\x%02x-\x%02x" % bounds for bounds in zip(first, last, strict=True)) + b"]"


def _any_length(bits: int, short_last: Collection[int], long_last: Collection[int]) -> bytes:
    """A pattern for integers of `bits`: the longest end in a byte of `long_last`, others of `short_last`."""
    most = -(-bits // 7)
    return rb"(?:%s|[\x80-\xff]{1,%d}%s|[\x80-\xff]{%d}%s)" % (
        byte_class(short_last),
        most - 2,
        byte_class(short_last),
        most - 1,
        byte_class(long_last),
    )


def unsigned_pattern(bits: int) -> bytes:
    """A pattern for every spelling of an unsigned integer of `bits` bits."""
    return _any_length(bits, range(0x80), list(range(1 << bits % 7)))


def signed_pattern(bits: int) -> bytes:
    """A pattern for every spelling of a signed integer of `bits` bits: bits above the sign bit repeat it."""
    half = 1 << bits % 7 - 1
    return _any_length(bits, range(0x80), [*range(half), *range(0x80 - half, 0x80)])


def natural_pattern(bits: int) -> bytes:
    """A pattern for every spelling of a signed integer of `bits` bits that is not negative."""
    return _any_length(bits, range(0x40), list(range(1 << bits % 7 - 1)))


def exact_pattern(values: Iterable[int]) -> bytes:
    """A pattern for every spelling of any of `values`, unsigned integers of 32 bits.

    Those whose shortest spellings are alike but for the first byte share an alternative.
    """
    first_bytes: dict[bytes, set[int]] = defaultdict(set)
    for value in values:
        first, *others = encode_unsigned(value)
        first_bytes[bytes(others)].add(first)
    return rb"(?:%s)" % b"|".join(_with_padding(first, others) for others, first in sorted(first_bytes.items()))


def _with_padding(first: set[int], others: bytes) -> bytes:
    if not others:
        more = byte_class({byte | 0x80 for byte in first})
        return rb"%s|%s\x80{0,3}\x00" % (byte_class(first), more)
    padded = others[:-1] + bytes([others[-1] | 0x80])
    most_padding = 3 - len(others)
    return rb"%s(?:%s|%s\x80{0,%d}\x00)" % (byte_class(first), _literal(others), _literal(padded), most_padding)


def _literal(data: bytes) -> bytes:
    return b"".join(rb"\x%02x" % byte for byte in data)
