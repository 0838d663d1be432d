# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, freethreading_compatible=True
"""Sweep: free what is not marked and unmark the rest, 32 blocks with one addition; and count blocks.

TinyGo's sweep walks the blocks and keeps a flag: is this block part of an object that is freed?  Here the flag is a
carry.  A one that is added after a dead head runs through the fields after it that hold 11: those of tails and of free
blocks, up to the next head or mark.  Tails whose field it changed are the dead object's::

    states   mark tail tail HEAD      10 is a tail of the dead 01: from the lowest, right
              11   10   10   01
    field     00   11   11   00       11 where the low bit is 0
    + one     00   00   01   00       after the head
    sum       01   00   00   00       tails that no longer hold 11 go

The carry goes on from word to word.  The table goes by in pieces of ``TALLY`` words: counted, freed, counted again; what
was freed is the difference.  Counting knows nothing of the word before, so that a compiler counts several words at once,
and sums are kept in parallel: three words to a field of two bits, ``TALLY`` to a byte.
"""

import cython

if not cython.compiled:
    raise ImportError("tinyheap.heap.nextfit._sweep is not compiled")

from cython.cimports.tinyheap.heap._words import EVEN, ODD, ctz64, fill, load64, store64
from cython.cimports.tinyheap.heap.nextfit._table import put_table_word, table_word


def sweep_table(heap: Heap) -> u64:
    """Free what is not marked, and unmark the rest; returns the free bytes."""
    word: u64 = 0
    words: u64 = (heap.table_bytes + 7) >> 3
    whole: u64 = heap.table_bytes >> 3
    count: u64
    before: u64 = 0
    after: u64 = 0
    carry: u64 = 0
    x: u64
    piece: u64
    at: u64 = cython.cast(cython.size_t, cython.address(piece))
    heap.table_reads += words
    while word < whole and heap.poison == 0:
        count = TALLY if whole - word > TALLY else whole - word
        before += tally(heap.table + (word << 3), count)
        carry = free_dead(heap.table + (word << 3), heap.table + ((word + count) << 3), carry)
        after += tally(heap.table + (word << 3), count)
        word += count
    while word < words:
        # The short last word; every word where blocks are poisoned.
        x = table_word(heap, word)
        store64(at, x)
        before += tally(at, 1)
        carry = free_dead(at, at + 8, carry)
        after += tally(at, 1)
        put_table_word(heap, word, load64(at))
        if heap.poison != 0:
            x ^= load64(at)
            poison_fields(heap, word, (x | (x >> 1)) & EVEN & ~load64(at))
        word += 1
    keep_tally(heap, after)
    heap.frees += (before & LOW_HALF) - heap.heads
    heap.freed_blocks += (before & LOW_HALF) + (before >> 32) - heap.heads - heap.tails
    return heap.free_blocks << heap.block_shift


def free_dead(at: u64, stop: u64, carry: u64) -> u64:
    """Free what is not marked in whole table words; takes and returns the carry.  The heart of `sweep_table`."""
    x: u64
    low: u64
    mark: u64
    head: u64
    fields: u64
    total: u64
    while at < stop:
        x = load64(at)
        low = x & EVEN
        mark = low & (x >> 1)
        head = low ^ mark
        fields = (low ^ EVEN) * 3
        total = fields + ((head << 2) | carry)
        carry = (head >> 62) | cython.cast(u64, total < fields)
        # The high bit of the sum is gone in tails that the carry ran through, and was never there in heads and marks.
        store64(at, mark | (total & x & ODD))
        at += 8
    return carry


def poison_fields(heap: Heap, word: u64, fields: u64) -> cython.void:
    """Fill the blocks of a table word whose (even) bits are set."""
    block: u64
    while fields != 0:
        block = (word << 5) + (ctz64(fields) >> 1)
        if block >= heap.end_block:
            # A state past the last block, in a table that was overwritten.
            return
        fill(heap.memory + (block << heap.block_shift), cython.cast(u64, 1) << heap.block_shift, heap.poison_byte)
        fields &= fields - 1


def count_blocks(heap: Heap) -> cython.void:
    """Count free blocks, heads (marked ones too) and tails, as a sweep does, without changing anything."""
    word: u64 = 0
    whole: u64 = heap.table_bytes >> 3
    count: u64
    counts: u64 = 0
    last: u64
    at: u64 = cython.cast(cython.size_t, cython.address(last))
    if heap.table_bytes & 7 != 0:
        store64(at, table_word(heap, whole))
        counts = tally(at, 1)
    while word < whole:
        count = TALLY if whole - word > TALLY else whole - word
        counts += tally(heap.table + (word << 3), count)
        word += count
    keep_tally(heap, counts)


def count_marks(heap: Heap) -> u64:
    """Marked heads, which `count_blocks` counts with the others."""
    word: u64 = 0
    words: u64 = (heap.table_bytes + 7) >> 3
    marks: u64 = 0
    x: u64
    while word < words:
        x = table_word(heap, word)
        marks += sum_bytes(count_bytes((x >> 1) & x & EVEN))
        word += 1
    return marks


def keep_tally(heap: Heap, counts: u64) -> cython.void:
    heap.heads = counts & LOW_HALF
    heap.tails = counts >> 32
    heap.free_blocks = heap.end_block - heap.heads - heap.tails


def tally(at: u64, words: u64) -> u64:
    """Heads and marks, and from bit 32 on tails, in up to ``TALLY`` table words.

    Three words' bits are summed in fields of two bits, those in bytes; and nothing depends on the word before, so that a
    compiler can count several words at a time.
    """
    stop: u64
    stride: u64 = words // 3 << 3
    x: u64
    y: u64
    z: u64
    heads: u64 = 0
    tails: u64 = 0
    stop = at + stride
    words -= stride // 8 * 3
    while at < stop:
        x = load64(at)
        y = load64(at + stride)
        z = load64(at + 2 * stride)
        heads += count_bytes((x & EVEN) + (y & EVEN) + (z & EVEN))
        tails += count_bytes((x >> 1 & ~x & EVEN) + (y >> 1 & ~y & EVEN) + (z >> 1 & ~z & EVEN))
        at += 8
    at += 2 * stride
    stop = at + (words << 3)
    while at < stop:
        x = load64(at)
        heads += count_bytes(x & EVEN)
        tails += count_bytes(x >> 1 & ~x & EVEN)
        at += 8
    return sum_bytes(heads) | sum_bytes(tails) << 32


def count_bytes(x: u64) -> u64:
    """The sums of the four 2-bit fields in each byte."""
    x = (x & PAIRS) + ((x >> 2) & PAIRS)
    return (x & NIBBLES) + ((x >> 4) & NIBBLES)


def sum_bytes(x: u64) -> u64:
    """Sum of eight bytes, whatever it comes to."""
    x = (x & WIDE_BYTES) + ((x >> 8) & WIDE_BYTES)
    return (x * WIDE_ONES) >> 48
