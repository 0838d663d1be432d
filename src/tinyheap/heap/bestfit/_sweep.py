# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, freethreading_compatible=True
"""Sweep: free what is not marked and unmark the rest, 32 blocks at a time; build the free list anew; count blocks.

TinyGo's sweep walks over the blocks and remembers whether the tails that follow go, too.  Here a word's tails are looked at
together, as a plane (``_table.pxd``).  *Front*: a one that is added to the tails behind a dead head runs through them, up to
the block behind the last; tails that it changed go::

    blocks   mark tail tail HEAD      from the lowest, right
    tails      0    1    1    0
    + one      0    0    1    0       behind the dead head
    sum        1    0    0    0       tails that are 0 now go

*Back*: tails stay that lead up to a mark, and all others go.  There a mark is spread downwards through the tails, over one
block, over two, four, eight and sixteen.  What runs on in the next word is the carry, in both.
"""

import cython

if not cython.compiled:
    raise ImportError("tinyheap.heap.bestfit._sweep is not compiled")

from cython.cimports.tinyheap.heap._words import ctz64, fill
from cython.cimports.tinyheap.heap.bestfit._freelist import build_list
from cython.cimports.tinyheap.heap.bestfit._state import NO_BLOCK
from cython.cimports.tinyheap.heap.bestfit._table import (
    PLANE,
    count_bits,
    free_in,
    nibbles_of,
    plane_of,
    put_table_word,
    table_word,
)


def sweep_table(heap: Heap) -> u64:
    """Free what is not marked, unmark the rest, and build the free list; returns the free bytes."""
    heap.table_reads += (heap.table_bytes + 7) >> 3
    if heap.back == 0:
        free_dead(heap)
    else:
        free_dead_back(heap)
    if heap.poison != 0:
        poison_blocks(heap)
    build_list(heap)
    heap.collections += 1
    heap.last_scanned = heap.last_whole = heap.last_inline = heap.last_outside = NO_BLOCK
    heap.last_found = 0
    heap.last_layout = 0
    heap.scanned_several = 0
    return heap.free_blocks << heap.block_shift


def free_dead(heap: Heap) -> cython.void:
    """Free what is not marked, where heads come first."""
    word: u64 = 0
    words: u64 = (heap.table_bytes + 7) >> 3
    carry: u64 = 0
    low: u64
    high: u64
    dead: u64
    tails: u64
    counts: u64
    x: u64
    while word < words:
        x = table_word(heap, word)
        low = plane_of(x)
        high = plane_of(x >> 4)
        dead = low & ~high
        tails = high & ~low
        carry |= dead << 1
        # The sum has lost those tails that a dead head leads to.
        carry = tails & ~(tails + (carry & tails))
        put_table_word(heap, word, nibbles_of(low & high) | nibbles_of(tails ^ carry) << 4)
        counts = count_bits(dead | carry << 32)
        heap.frees += counts >> 24 & 255
        heap.freed_blocks += (counts >> 24 & 255) + (counts >> 56)
        carry = (dead | carry) >> 31
        word += 1


def free_dead_back(heap: Heap) -> cython.void:
    """Free what is not marked, where heads come last: from the top down."""
    word: u64 = (heap.table_bytes + 7) >> 3
    carry: u64 = 0
    low: u64
    high: u64
    marks: u64
    tails: u64
    kept: u64
    counts: u64
    x: u64
    while word > 0:
        word -= 1
        x = table_word(heap, word)
        low = plane_of(x)
        high = plane_of(x >> 4)
        marks = low & high
        tails = high & ~low
        kept = fill_down((marks | carry << 32) >> 1, tails)
        put_table_word(heap, word, nibbles_of(marks) | nibbles_of(kept) << 4)
        counts = count_bits((low ^ marks) | (tails ^ kept) << 32)
        heap.frees += counts >> 24 & 255
        heap.freed_blocks += (counts >> 24 & 255) + (counts >> 56)
        carry = (marks | kept) & 1


def fill_down(begun: u64, through: u64) -> u64:
    """Those bits that are reached from ``begun`` by going down, bit by bit, through bits that are set."""
    begun &= through
    begun |= through & (begun >> 1)
    through &= through >> 1
    begun |= through & (begun >> 2)
    through &= through >> 2
    begun |= through & (begun >> 4)
    through &= through >> 4
    begun |= through & (begun >> 8)
    through &= through >> 8
    return begun | (through & (begun >> 16))


def poison_blocks(heap: Heap) -> cython.void:
    """Fill all free blocks, whatever the free list keeps in them."""
    word: u64 = 0
    block: u64
    free: u64
    while word << 5 < heap.end_block:
        free = free_in(heap, word)
        while free != 0:
            block = (word << 5) + ctz64(free)
            fill(heap.memory + (block << heap.block_shift), cython.cast(u64, 1) << heap.block_shift, heap.poison_byte)
            free &= free - 1
        word += 1


def unmark_all(heap: Heap) -> cython.void:
    """Give a collection up: marks become heads again."""
    word: u64 = 0
    words: u64 = (heap.table_bytes + 7) >> 3
    x: u64
    heap.scan_top = 0
    heap.scan_depth = 0
    while word < words:
        x = table_word(heap, word)
        put_table_word(heap, word, x & ~(nibbles_of(plane_of(x & x >> 4)) << 4))
        word += 1


def count_blocks(heap: Heap, runs: cython.pointer(u64), largest: cython.pointer(u64)) -> cython.void:
    """Count blocks by state, free runs, and the blocks of the largest run."""
    word: u64 = 0
    words: u64 = (heap.end_block + 31) >> 5
    run: u64 = 0
    free: u64
    block: u64
    counts: u64
    x: u64
    low: u64
    high: u64
    heap.heads = heap.tails = heap.marks = heap.free_blocks = 0
    runs[0] = largest[0] = 0
    while word < words:
        x = table_word(heap, word)
        free = free_in(heap, word)
        low = plane_of(x)
        high = plane_of(x >> 4)
        counts = count_bits((low & ~high) | (high & ~low) << 32)
        heap.heads += counts >> 24 & 255
        heap.tails += counts >> 56
        counts = count_bits((low & high) | free << 32)
        heap.marks += counts >> 24 & 255
        heap.free_blocks += counts >> 56
        block = 0
        while block < 32:
            if free >> block & 1 == 0:
                run = 0
            else:
                run += 1
                runs[0] += run == 1
                if run > largest[0]:
                    largest[0] = run
            block += 1
        word += 1
