# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, freethreading_compatible=True
"""Allocate: find a run of free blocks, make it an object, free it on request.

A search is next-fit.  It begins where the last object ended, ends there too, and no run wraps around the heap's end::

    0            run_blocks   next_alloc        free_until          end_block
    |  ...       |  free     v|  free            |  not known  ...  |
                 '-----------'| 1. bump          |
                              | 2. in this very word of the table
                              '-----------------------------> 3. to the end, then
    '------------------------>|                               from the start to here

Each way is tried when the one before fails; when the last does, the caller collects, or grows, and searches again.  The
free blocks just before a search's end (``run_blocks``) carry over into that next search.  Functions that search return the
end of the run, the block past it, and `commit` makes the blocks before it an object.

For runs inside one word of the table, the places where a run begins are found by doubling: shown for runs of four, one bit
a block, the lowest first, 1 for free::

    free                      1 1 1 0 1 1 1 1
    & itself, one further     1 1 0 0 1 1 1 0        runs of two begin here
    & itself, two further     0 0 0 0 1 0 0 0        runs of four
"""

import cython

if not cython.compiled:
    raise ImportError("tinyheap.heap.nextfit._allocate is not compiled")

from cython.cimports.tinyheap.heap._words import (
    EVEN,
    ODD,
    ONES,
    clz64,
    ctz64,
    fill,
    load64,
    store64,
    store_word,
    zero16,
)
from cython.cimports.tinyheap.heap.nextfit._state import NO_BLOCK, blocks_for
from cython.cimports.tinyheap.heap.nextfit._table import next_of, put_table_word, table_word


def alloc_object(heap: Heap, size_bytes: u64, layout: u64) -> u64:
    """An object's address; 0 when the search failed: then collect or grow, and call ``alloc_again``."""
    needed: u64
    end: u64
    if size_bytes == 0:
        return heap.zero_size_address
    size_bytes += heap.header_bytes
    needed = blocks_for(heap, size_bytes)
    heap.total_alloc_bytes += size_bytes
    heap.mallocs += 1
    heap.total_blocks += needed
    end = heap.next_alloc + needed
    if end > heap.free_until:
        end = find_near(heap, needed)
        if end == NO_BLOCK:
            heap.run_blocks = 0
            end = find_room(heap, needed)
            if end == NO_BLOCK:
                return 0
    return commit(heap, end, needed, size_bytes, layout)


def alloc_again(heap: Heap, size_bytes: u64, layout: u64) -> u64:
    """Search once more for the object that ``alloc_object`` found no room for, after a collection or a growth."""
    needed: u64
    end: u64
    size_bytes += heap.header_bytes
    needed = blocks_for(heap, size_bytes)
    end = find_room(heap, needed)
    if end == NO_BLOCK:
        return 0
    return commit(heap, end, needed, size_bytes, layout)


def find_near(heap: Heap, needed: u64) -> u64:
    """The block past a run for a small object in the very table word of ``next_alloc``.

    Most searches end here.  What else is free behind the run is remembered.
    """
    word: u64 = heap.next_alloc >> 5
    x: u64
    starts: u64
    end: u64
    if needed > 16 or (word << 3) + 8 > heap.table_bytes:
        return NO_BLOCK
    x = load64(heap.table + (word << 3))
    starts = run_starts(~(x | (x >> 1)) & (EVEN << ((heap.next_alloc & 31) << 1)), needed)
    heap.table_reads += 1
    if starts == 0:
        return NO_BLOCK
    end = (word << 5) + (ctz64(starts) >> 1) + needed
    if end > heap.end_block:
        return NO_BLOCK
    heap.free_until = end
    if end & 31 != 0:
        x >>= (end & 31) << 1
        heap.free_until += 32 - (end & 31) if x == 0 else ctz64(x) >> 1
        if heap.free_until > heap.end_block:
            heap.free_until = heap.end_block
    return end


def find_room(heap: Heap, needed: u64) -> u64:
    """Search the whole heap once, from ``next_alloc`` around to it; the block past the run.

    ``run_blocks`` comes in as the free run found just before ``next_alloc`` and goes out so for the next search.
    """
    end: u64 = find_free_run(heap, heap.next_alloc, heap.end_block, needed)
    if end == NO_BLOCK:
        # Objects do not wrap around the end of the heap.
        heap.run_blocks = 0
        end = find_free_run(heap, 0, heap.next_alloc, needed)
    if end != NO_BLOCK:
        heap.free_until = free_end(heap, end, 32)
    return end


def find_free_run(heap: Heap, first: u64, last: u64, needed: u64) -> u64:
    """``model.Model.find_run``, 32 blocks at a time."""
    run: u64 = heap.run_blocks
    block: u64 = first
    count: u64
    taken: u64
    starts: u64
    lead: u64
    if needed > 64:
        return find_long_run(heap, first, last, needed)
    if last > first:
        heap.table_reads += ((last - 1) >> 5) - (first >> 5) + 1
    while block < last:
        count = 32 - (block & 31)
        taken = table_word(heap, block >> 5)
        taken = ((taken | (taken >> 1)) & EVEN) >> ((block & 31) << 1)
        if last - block < count:
            count = last - block
        if count < 32:
            # Where this piece ends, as if the next block were taken.
            taken |= EVEN << (count << 1)
        if taken == EVEN:
            run = 0
            block += count
            continue
        if taken == 0:
            run += 32
            block += 32
            if run < needed:
                continue
            block -= run - needed
            break
        lead = ctz64(taken) >> 1
        if run + lead >= needed:
            block += needed - run
            run = needed
            break
        if needed <= 16:
            starts = run_starts(~taken & EVEN, needed)
        else:
            starts = run_starts(run_starts(~taken & EVEN, 16), needed - 15) if needed <= 31 else 0
        if starts != 0:
            block += (ctz64(starts) >> 1) + needed
            run = needed
            break
        run = run + count if lead == count else clz64(taken << (64 - (count << 1))) >> 1
        block += count
    heap.run_blocks = run
    if run < needed:
        return NO_BLOCK
    heap.table_reads -= ((last - 1) >> 5) - ((block - 1) >> 5)
    return block


def find_long_run(heap: Heap, first: u64, last: u64, needed: u64) -> u64:
    """``find_run`` for long runs: look from the far end back (as Boyer and Moore do in strings).

    ``run`` blocks before ``known`` are free.  If a block of the rest is taken, no run that begins before it can do.
    """
    run: u64 = heap.run_blocks
    known: u64 = first
    end: u64
    taken: u64
    while last - known >= needed - run:
        end = known + needed - run
        taken = last_occupied(heap, known, end)
        if taken == NO_BLOCK:
            return end
        run = end - taken - 1
        known = end
    taken = last_occupied(heap, known, last)
    heap.run_blocks = run + last - known if taken == NO_BLOCK else last - taken - 1
    return NO_BLOCK


def run_starts(free: u64, needed: u64) -> u64:
    """Fields of a word's free blocks where a run of ``needed`` (1 to 16) begins; the word ends all runs.

    Keeps the starts of runs of 1, then of up to 2, 4, 8 and 16; four steps for all sizes, so that no branch is missed.
    """
    have: u64 = 1
    more: u64 = 1 if needed > 1 else 0
    free &= free >> (more << 1)
    have += more
    more = have if needed - have > have else needed - have
    free &= free >> (more << 1)
    have += more
    more = have if needed - have > have else needed - have
    free &= free >> (more << 1)
    have += more
    return free & (free >> ((needed - have) << 1))


def last_occupied(heap: Heap, first: u64, last: u64) -> u64:
    """The last block of ``first..last`` that is not free."""
    word: u64
    x: u64
    reads: u64 = 1
    if first >= last:
        return NO_BLOCK
    word = (last - 1) >> 5
    # The states up to last, moved to the top.
    x = table_word(heap, word) << (62 - (((last - 1) & 31) << 1))
    while x == 0 and word > first >> 5:
        word -= 1
        x = load64(heap.table + (word << 3))
        last = (word << 5) + 32
        reads += 1
    heap.table_reads += reads
    if x == 0:
        return NO_BLOCK
    last -= (clz64(x) >> 1) + 1
    return last if last >= first else NO_BLOCK


def free_end(heap: Heap, block: u64, most: u64) -> u64:
    """Where the free run that begins here ends, looking no further than about ``most`` blocks."""
    limit: u64 = block + most
    x: u64
    if limit > heap.end_block:
        limit = heap.end_block
    while block < limit:
        x = table_word(heap, block >> 5) >> ((block & 31) << 1)
        if x != 0:
            block += ctz64(x) >> 1
            break
        block = (block | 31) + 1
    return block if block < limit else limit


def commit(heap: Heap, end: u64, needed: u64, size_bytes: u64, layout: u64) -> u64:
    """Make the free blocks that end here an object: states, layout, zeros.  Returns its address for the mutator."""
    offset: u64 = (end - needed) << heap.block_shift
    word: u64 = (end - needed) >> 5
    bit: u64 = ((end - needed) & 31) << 1
    heap.next_alloc = end
    if needed <= 32 - (bit >> 1) and (word << 3) + 8 <= heap.table_bytes:
        # The usual case of `set_states`: all in one word.
        store64(
            heap.table + (word << 3),
            load64(heap.table + (word << 3))
            | (((ODD << bit) ^ (cython.cast(u64, 3) << bit)) & (ONES >> (64 - bit - (needed << 1)))),
        )
    else:
        set_states(heap, end - needed, end)
    if heap.clear_blocks != 0:
        size_bytes = needed << heap.block_shift
    if heap.precise != 0:
        # The header's padding keeps its old bytes.
        store_word(heap.memory + offset, heap.word_shift, layout)
        offset += heap.header_bytes
        size_bytes -= heap.header_bytes
    clear(heap.memory + offset, size_bytes)
    return heap.start + offset


def set_states(heap: Heap, head: u64, end: u64) -> cython.void:
    """Free blocks become a head and its tails."""
    word: u64 = head >> 5
    last: u64 = (end - 1) >> 5
    bit: u64 = (head & 31) << 1
    end_mask: u64 = ONES >> (62 - (((end - 1) & 31) << 1))
    states: u64 = (ODD << bit) ^ (cython.cast(u64, 3) << bit)
    if word == last:
        put_table_word(heap, word, table_word(heap, word) | (states & end_mask))
        return
    put_table_word(heap, word, table_word(heap, word) | states)
    word += 1
    while word < last:
        store64(heap.table + (word << 3), ODD)
        word += 1
    put_table_word(heap, last, table_word(heap, last) | (ODD & end_mask))


def clear(at: u64, bytes: u64) -> cython.void:
    """Zero exactly so many bytes; the usual sizes by stores that overlap, without a branch that could be missed."""
    last: u64
    if bytes > 128 or bytes < 16:
        fill(at, bytes, 0)
        return
    last = bytes - 16
    if bytes <= 32:
        zero16(at)
        zero16(at + last)
        return
    zero16(at)
    zero16(at + (16 if last > 16 else last))
    zero16(at + (32 if last > 32 else last))
    zero16(at + (48 if last > 48 else last))
    zero16(at + (64 if last > 64 else last))
    zero16(at + (80 if last > 80 else last))
    zero16(at + (96 if last > 96 else last))
    zero16(at + last)


def old_size(heap: Heap, address: u64) -> u64:
    """Bytes from an address to its object's end; a stale address may give a very large number, as in TinyGo."""
    end: u64 = next_of(heap, (address - heap.start) >> heap.block_shift)
    size: u64 = heap.start + (end << heap.block_shift) - address
    if heap.word_shift < 3:
        size &= (cython.cast(u64, 1) << (8 << heap.word_shift)) - 1
    return size


def free_object(heap: Heap, head: u64) -> u64:
    """Free an object on request; returns its blocks."""
    end: u64 = next_of(heap, head)
    clear_states(heap, head, end)
    if heap.poison != 0:
        fill(heap.memory + (head << heap.block_shift), (end - head) << heap.block_shift, heap.poison_byte)
    heap.frees += 1
    heap.freed_blocks += end - head
    return end - head


def clear_states(heap: Heap, head: u64, end: u64) -> cython.void:
    word: u64 = head >> 5
    last: u64 = (end - 1) >> 5
    keep: u64 = ~(ONES << ((head & 31) << 1))
    while word < last:
        put_table_word(heap, word, table_word(heap, word) & keep)
        keep = 0
        word += 1
    keep |= ~(ONES >> (62 - (((end - 1) & 31) << 1)))
    put_table_word(heap, last, table_word(heap, last) & keep)


def leaking_size(heap: Heap, size_bytes: u64) -> u64:
    """A size as the leaking collector has it: aligned."""
    return (size_bytes + heap.align_mask) & ~heap.align_mask


def count_leaking(heap: Heap, size_bytes: u64) -> cython.void:
    """Count an allocation of the leaking collector, of an aligned size."""
    heap.total_alloc_bytes += size_bytes
    heap.mallocs += 1


def alloc_leaking(heap: Heap, size_bytes: u64) -> u64:
    """Bump a pointer; 0 when the heap must grow first, and the caller asks again."""
    address: u64 = heap.bump
    # The last byte of the heap is never used, as in the original.
    if heap.start + heap.heap_bytes - address <= size_bytes:
        return 0
    heap.bump = address + size_bytes
    fill(heap.memory + (address - heap.start), size_bytes, 0)
    return address
