"""Writes protocol buffers: the two kinds of fields that the formats of profiles are made of.

A message is the bytes of its fields, one after another, and a message within a message is a field of bytes; so messages
are built by joining what these functions return.  The wire format is Google's, "Encoding", protobuf.dev.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_VARINT: Final = 0
_BYTES: Final = 2


def number(field: int, value: int) -> bytes:
    """A field that holds a number of up to 64 bits; a negative one takes two's complement."""
    return _varint(field << 3 | _VARINT) + _varint(value)


def text(field: int, value: str) -> bytes:
    """A field that holds text."""
    return message(field, value.encode())


def message(field: int, *parts: bytes) -> bytes:
    """A field that holds a message, of its fields, or bytes."""
    body = b"".join(parts)
    return _varint(field << 3 | _BYTES) + _varint(len(body)) + body


def numbers(field: int, values: Iterable[int]) -> bytes:
    """A field that holds any number of numbers, packed."""
    return message(field, *map(_varint, values))


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; all but the last have the top bit set."""
    value &= (1 << 64) - 1
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
