"""Where things lie: the table behind the pool, every block covered, nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyheap.errors import GeometryError
from tinyheap.heap.geometry import BLOCKS_PER_TABLE_BYTE, Geometry

WORD_SIZES = pytest.mark.parametrize("word_bytes", [2, 4, 8])


@WORD_SIZES
def test_every_size_of_heap_is_covered_by_its_table(word_bytes: int) -> None:
    for heap_bytes in range(3000):
        geometry = Geometry(0x100, heap_bytes, word_bytes)
        assert geometry.pool_bytes + geometry.table_bytes == heap_bytes
        slack_bytes = geometry.pool_bytes - geometry.end_block * geometry.block_bytes
        assert 0 <= slack_bytes < geometry.block_bytes
        # The slack has a state of its own (always free), so that a pointer into it can be looked up.
        covered = geometry.end_block + (slack_bytes > 0)
        assert covered <= geometry.table_bytes * BLOCKS_PER_TABLE_BYTE
        assert geometry.table_bytes <= -(-(geometry.end_block + 1) // BLOCKS_PER_TABLE_BYTE)


def test_sixty_four_kibibytes_of_webassembly() -> None:
    geometry = Geometry(0x10000, 0x10000, 4, header_alignment_bytes=16)
    assert geometry.block_bytes == 16
    assert geometry.table_bytes == (0x10000 + 64) // 65 == 1009
    assert geometry.end_block == 4032
    assert geometry.table_address == 0x10000 + 0x10000 - 1009
    assert geometry.end_address == 0x20000
    assert geometry.header_bytes == 16


@pytest.mark.parametrize(
    ("word_bytes", "header_alignment_bytes", "header_bytes"),
    [(2, 0, 2), (4, 0, 4), (8, 0, 8), (4, 8, 8), (4, 16, 16), (8, 16, 16), (8, 4, 8), (2, 64, 64)],
)
def test_header(word_bytes: int, header_alignment_bytes: int, header_bytes: int) -> None:
    geometry = Geometry(0x100, 1024, word_bytes, header_alignment_bytes=header_alignment_bytes)
    assert geometry.header_bytes == header_bytes


@WORD_SIZES
def test_addresses_and_blocks(word_bytes: int) -> None:
    geometry = Geometry(0x100, 1000, word_bytes)
    assert not geometry.is_on_heap(0x100 - 1)
    assert geometry.is_on_heap(0x100)
    assert geometry.is_on_heap(geometry.table_address - 1)
    assert not geometry.is_on_heap(geometry.table_address)
    for block in range(geometry.end_block):
        address = geometry.address_of(block)
        assert geometry.block_of(address) == geometry.block_of(address + geometry.block_bytes - 1) == block
    assert geometry.blocks_for(0) == 0
    assert geometry.blocks_for(1) == geometry.blocks_for(geometry.block_bytes) == 1
    assert geometry.blocks_for(geometry.block_bytes + 1) == 2


@given(st.integers(0, 1 << 62), st.integers(0, 1 << 62))
def test_a_resized_heap_keeps_all_but_its_size(small: int, large: int) -> None:
    geometry = Geometry(0x40, small, 8, 8, 16)
    resized = geometry.resized(large)
    assert resized == Geometry(0x40, large, 8, 8, 16)
    assert resized.end_block * resized.block_bytes <= resized.pool_bytes <= large


def test_the_leaking_collector_has_no_table() -> None:
    geometry = Geometry(0x100, 1000, 4, has_table=False)
    assert (geometry.table_bytes, geometry.end_block, geometry.pool_bytes) == (0, 0, 1000)


@WORD_SIZES
def test_a_table_that_does_not_count_itself_covers_all_or_is_refused(word_bytes: int) -> None:
    accepted = []
    for heap_bytes in range(12_000):
        share = BLOCKS_PER_TABLE_BYTE * 4 * word_bytes
        pool_bytes = heap_bytes - heap_bytes // share
        if -(-pool_bytes // (4 * word_bytes)) > heap_bytes // share * BLOCKS_PER_TABLE_BYTE:
            with pytest.raises(GeometryError, match="is too small for a table that does not count itself"):
                Geometry(0x100, heap_bytes, word_bytes, table_counts_itself=False)
            continue
        geometry = Geometry(0x100, heap_bytes, word_bytes, table_counts_itself=False)
        assert (geometry.table_bytes, geometry.pool_bytes) == (heap_bytes // share, pool_bytes)
        assert geometry.resized(heap_bytes + 0x4000).table_bytes == (heap_bytes + 0x4000) // share
        accepted.append(heap_bytes)
    # A page of WebAssembly's memory always does.
    assert set(range(8 * 32 * word_bytes * word_bytes, 12_000)) <= set(accepted)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0x100, 100, 3), "invalid word size of 3 bytes: expected 2, 4 or 8"),
        ((0x100, 100, 8, 2), "invalid alignment of 8-byte words, 2 bytes: expected the word"),
        ((0x100, 100, 4, 1), "invalid alignment of 4-byte words, 1 bytes: expected the word"),
        ((0x100, 100, 4, 0, 24), "invalid header alignment of 24 bytes"),
        ((0x100, 100, 4, 0, 128), "invalid header alignment of 128 bytes"),
        ((0x100, 100, 4, 0, -8), "invalid header alignment of -8 bytes"),
        ((0, 100, 4), "invalid heap start 0x0: expected a positive"),
        ((-8, 100, 4), "expected a positive"),
        ((0x102, 100, 4), "invalid heap start 0x102: expected a positive multiple of 4"),
        ((0x100, -1, 4), "a heap of -1 bytes"),
        ((0x100, 0xFF01, 2), "does not fit the 16-bit address space"),
        ((0x100, 1 << 32, 4), "does not fit the 32-bit address space"),
        ((0x100, 1 << 64, 8), "does not fit the 64-bit address space"),
    ],
)
def test_what_is_no_heap_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(GeometryError, match=message):
        Geometry(*arguments)


def test_a_heap_may_end_with_the_address_space() -> None:
    assert Geometry(0x100, 0xFF00, 2).end_address == 0x10000


def test_words_that_are_not_aligned_may_begin_anywhere() -> None:
    assert Geometry(0x101, 100, 2, 1).start_address == 0x101
