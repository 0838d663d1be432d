# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, freethreading_compatible=True
"""Sweep: free what is not marked and unmark the rest, 32 blocks at a time; build the free list anew; count blocks.

TinyGo's sweep walks over the blocks and remembers whether the tails that follow go, too.  Here a word's tails are looked at
together, as low nibbles (``_table.pxd``).  A one that is added to the tails behind a dead head runs through them, up to the
block behind the last; tails that it changed go::

    blocks   mark tail tail HEAD      from the lowest, right
    tails      0    1    1    0
    + one      0    0    1    0       behind the dead head
    sum        1    0    0    0       tails that are 0 now go

What runs on in the next word is the carry; nibbles between, filled with ones, hand it on.  Where heads come last, words are
turned round and taken from the top, and it is from marks that ones run through the tails: those stay, and all others go.
"""

import cython

if not cython.compiled:
    raise ImportError("tinyheap.heap.bestfit._sweep is not compiled")

from cython.cimports.tinyheap.heap._words import ctz64, fill, load64, reverse_bytes, store64
from cython.cimports.tinyheap.heap.bestfit._freelist import build_list
from cython.cimports.tinyheap.heap.bestfit._state import NO_BLOCK
from cython.cimports.tinyheap.heap.bestfit._table import (
    FIELDS_1,
    FIELDS_2,
    LOW_NIBBLES,
    bits_in_nibbles,
    count_bits,
    free_in,
    nibbles_of,
    plane_of,
    put_table_word,
    sum_of_bytes,
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
    table: u64 = heap.table
    words: u64 = (heap.table_bytes + 7) >> 3
    whole: u64 = heap.table_bytes >> 3
    word: u64 = 0
    stop: u64
    carry: u64 = 0
    heads: u64
    tails: u64
    x: u64
    while word < words:
        heads = tails = 0
        # As many words as can be counted in bytes.
        stop = word + 32 if word + 32 < whole else whole
        while word < stop:
            x = load64(table + (word << 3))
            store64(table + (word << 3), swept(cython.address(x), cython.address(carry)))
            heads += x & LOW_NIBBLES
            tails += x >> 4 & LOW_NIBBLES
            word += 1
        if word == whole and words > whole:
            x = table_word(heap, word)
            put_table_word(heap, word, swept(cython.address(x), cython.address(carry)))
            heads += x & LOW_NIBBLES
            tails += x >> 4 & LOW_NIBBLES
            word += 1
        heap.frees += sum_of_bytes(heads)
        heap.freed_blocks += sum_of_bytes(heads) + sum_of_bytes(tails)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def swept(word: cython.pointer(u64), carry: cython.pointer(u64)) -> u64:
    """What becomes of a word; how many heads and tails of each byte go is left in its place, as `bits_in_nibbles`."""
    marks: u64 = word[0] & word[0] >> 4 & LOW_NIBBLES
    dead: u64 = (word[0] & LOW_NIBBLES) ^ marks
    tails: u64 = (word[0] >> 4 & LOW_NIBBLES) ^ marks
    gone: u64 = run_through(tails, dead, carry)
    word[0] = bits_in_nibbles(dead | gone << 4)
    return marks | (tails ^ gone) << 4


def free_dead_back(heap: Heap) -> cython.void:
    """Free what is not marked, where heads come last: in blocks that are turned round, heads come first."""
    word: u64 = (heap.table_bytes + 7) >> 3
    carry: u64 = 0
    x: u64
    low: u64
    marks: u64
    tails: u64
    kept: u64
    while word > 0:
        word -= 1
        x = turned_round(table_word(heap, word))
        marks = x & x >> 4 & LOW_NIBBLES
        low = (x & LOW_NIBBLES) ^ marks
        tails = (x >> 4 & LOW_NIBBLES) ^ marks
        kept = run_through(tails, marks, cython.address(carry))
        put_table_word(heap, word, turned_round(marks | kept << 4))
        x = bits_in_nibbles(low | (tails ^ kept) << 4)
        heap.frees += sum_of_bytes(x & LOW_NIBBLES)
        heap.freed_blocks += sum_of_bytes(x & LOW_NIBBLES) + sum_of_bytes(x >> 4 & LOW_NIBBLES)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def run_through(tails: u64, heads: u64, carry: cython.pointer(u64)) -> u64:
    """Those tails that some heads lead to; what runs on in the next word is the carry."""
    through: u64 = tails | ~LOW_NIBBLES
    total: u64 = through + (heads << 1)
    runs_on: u64 = total < through
    total += carry[0]
    carry[0] = runs_on | (total < carry[0])
    return tails & ~total


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def turned_round(x: u64) -> u64:
    """A word of the table with its blocks in reverse order."""
    x = (x & FIELDS_1) << 1 | (x >> 1 & FIELDS_1)
    return reverse_bytes((x & FIELDS_2) << 2 | (x >> 2 & FIELDS_2))


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
