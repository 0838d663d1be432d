"""Integers of variable length: patterns match what the reader reads, and the writer writes the shortest."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tinyheap.errors import MalformedModuleError
from tinyheap.wasm import leb128
from tinyheap.wasm.reader import Reader

SPELLINGS = st.lists(st.sampled_from([0x80, 0xFF, 0x85, 0xC0, 0xF0, 0x8F]), max_size=11).flatmap(
    lambda head: st.integers(0, 0x7F).map(lambda last: bytes([*head, last]))
)
"""Continuation bytes and one last byte: some too long, some with bits beyond the type."""


def _reads(data: bytes, bits: int, signed: bool) -> int | None:
    reader = Reader(data)
    try:
        value = reader.signed(bits) if signed else reader.unsigned(bits)
        reader.finish()
    except MalformedModuleError:
        return None
    return value


@pytest.mark.parametrize("bits", [32, 33, 64])
@given(data=SPELLINGS)
@example(data=b"\xff\xff\xff\xff\x0f")
@example(data=b"\xff\xff\xff\xff\x10")
@example(data=b"\x80\x80\x80\x80\x70")
@example(data=b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
@example(data=b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x7f")
def test_a_pattern_matches_exactly_what_the_reader_reads(data: bytes, bits: int) -> None:
    signed = _reads(data, bits, signed=True)
    assert bool(re.fullmatch(leb128.signed_pattern(bits), data)) == (signed is not None)
    assert bool(re.fullmatch(leb128.natural_pattern(bits), data)) == (signed is not None and signed >= 0)
    unsigned = _reads(data, bits, signed=False)
    assert bool(re.fullmatch(leb128.unsigned_pattern(bits), data)) == (unsigned is not None)


@given(st.integers(0, (1 << 32) - 1), st.integers(1, 5))
def test_unsigned_integers_come_back_in_any_width(value: int, width_bytes: int) -> None:
    encoding = leb128.encode_unsigned(value, width_bytes)
    assert _reads(encoding, 32, signed=False) == value
    assert len(encoding) == max(width_bytes, len(leb128.encode_unsigned(value)))


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_signed_integers_come_back_and_no_shorter_spelling_does(value: int) -> None:
    encoding = leb128.encode_signed(value)
    assert _reads(encoding, 64, signed=True) == value
    shorter = bytes([*encoding[:-2], encoding[-2] & 0x7F]) if len(encoding) > 1 else b""
    assert _reads(shorter, 64, signed=True) != value


@pytest.mark.parametrize("values", [{0}, {12, 127, 128}, set(range(84, 276)), {300, 20_000}])
@given(data=SPELLINGS)
def test_an_exact_pattern_matches_every_spelling_of_its_values(values: set[int], data: bytes) -> None:
    pattern = leb128.exact_pattern(values)
    assert bool(re.fullmatch(pattern, data)) == (_reads(data, 32, signed=False) in values)
    for value in values | {value + 1 for value in values}:
        for width_bytes in range(1, 6):
            found = re.fullmatch(pattern, leb128.encode_unsigned(value, width_bytes))
            assert bool(found) == (value in values)


def test_a_negative_integer_has_no_unsigned_spelling() -> None:
    with pytest.raises(ValueError, match="-1 is negative"):
        leb128.encode_unsigned(-1)
