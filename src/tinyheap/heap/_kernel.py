# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, freethreading_compatible=True
"""The kernel: the collector on 64-bit words of the block table, in place.  Behaves as ``model.py``, to the bit.

The functions up to "The engine" are written in a narrow dialect: unsigned 64-bit integers, loads and stores, bit counts,
fields of one ``HeapState``, calls among themselves; no Python objects, no globals.  Types, constants and signatures stand
in ``_kernel.pxd``, primitives in ``_kernel_ops.h``.  Compiled by Cython; never run as Python.

A word of the table holds 32 blocks, block b in bits ``2 * (b % 32)``.  Three shapes of it recur::

    x                       states         10 10 01 00   (tail, tail, head, free: the lowest block stands last)
    x & EVEN                low bits       00 00 01 00   head or mark
    (x | x >> 1) & EVEN     taken          01 01 01 00   not free
    x ^ ODD                 no tails       00 00 11 10   zero exactly where a block is a tail

The table lies at any alignment and its last word may be short: it is read without touching a byte past its end, and
reads as if free blocks followed.

Invariants: blocks ``next_alloc..free_until`` are free (a lower bound of the run, so that allocation can bump through it);
while marking, each object is pushed once, so a mark stack of one entry a block never overflows.
"""

import cython

if not cython.compiled:
    raise ImportError("tinyheap.heap._kernel is not compiled")

from cython.cimports.cpython.buffer import PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cython.cimports.cpython.long import PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cython.cimports.libc.stdlib import free as c_free
from cython.cimports.libc.stdlib import malloc as c_malloc
from cython.cimports.libc.string import memcpy, memset

from tinyheap.errors import (
    GeometryError,
    HeapCorruptError,
    HeapError,
    InterruptError,
    InvalidAddressError,
    InvalidSizeError,
)
from tinyheap.heap.arguments import shown, whole_number
from tinyheap.heap.contract import IN_INTERRUPT, NO_BLOCK, Census, Counters, Gc, State

# ---- geometry and words -------------------------------------------------------------------------------------------------


def lay_out(heap: Heap, heap_bytes: u64) -> cython.void:
    """Place pool and table; the dialect's form of ``geometry.Geometry``."""
    share: u64 = (4 << heap.block_shift) + 1
    heap.heap_bytes = heap_bytes
    heap.table_bytes = 0 if heap.leaking else (heap_bytes + share - 1) // share
    heap.pool_bytes = heap_bytes - heap.table_bytes
    heap.table = heap.memory + heap.pool_bytes
    heap.end_block = 0 if heap.leaking else heap.pool_bytes >> heap.block_shift


def load(heap: Heap, at: u64) -> u64:
    """A word of the mutator's size."""
    if heap.word_shift == 3:
        return load64(at)
    if heap.word_shift == 2:
        return load32(at)
    return load16(at)


def store(heap: Heap, at: u64, value: u64) -> cython.void:
    if heap.word_shift == 3:
        store64(at, value)
    elif heap.word_shift == 2:
        store32(at, value)
    else:
        store16(at, value)


def ragged_word(heap: Heap, word: u64) -> u64:
    """The table's short last word."""
    have: u64 = heap.table_bytes - (word << 3)
    x: u64 = 0
    if heap.table_bytes >= 8:
        # The eight bytes that end with the table, without those of the word before.
        return load64(heap.table + heap.table_bytes - 8) >> (64 - (have << 3))
    while have > 0:
        have -= 1
        x = (x << 8) | load8(heap.table + have)
    return x


def table_word(heap: Heap, word: u64) -> u64:
    if (word << 3) + 8 <= heap.table_bytes:
        return load64(heap.table + (word << 3))
    return ragged_word(heap, word)


def put_table_word(heap: Heap, word: u64, value: u64) -> cython.void:
    at: u64 = heap.table + (word << 3)
    end: u64 = heap.table + heap.table_bytes
    if at + 8 <= end:
        store64(at, value)
        return
    while at < end:
        store8(at, value & 255)
        value >>= 8
        at += 1


def state_of(heap: Heap, block: u64) -> u64:
    return (load8(heap.table + (block >> 2)) >> ((block & 3) << 1)) & 3


def head_of(heap: Heap, block: u64) -> u64:
    """The nearest block at or below that is no tail, + 1; 0 when there is none."""
    word: u64 = block >> 5
    others: u64 = (table_word(heap, word) ^ ODD) << (62 - ((block & 31) << 1))
    if others != 0:
        return block + 1 - (clz64(others) >> 1)
    while word > 0:
        word -= 1
        others = load64(heap.table + (word << 3)) ^ ODD
        if others != 0:
            return (word << 5) + 32 - (clz64(others) >> 1)
    return 0


def skip_tails(heap: Heap, block: u64) -> u64:
    """The first block from here on that is no tail, or the end."""
    others: u64
    while block < heap.end_block:
        others = (table_word(heap, block >> 5) ^ ODD) >> ((block & 31) << 1)
        if others != 0:
            block += ctz64(others) >> 1
            break
        block = (block | 31) + 1
    # In a table that was overwritten there may be tails past the last block.
    return block if block < heap.end_block else heap.end_block


def next_of(heap: Heap, block: u64) -> u64:
    """The first block past the object, or past the tails, that begin here."""
    if block < heap.end_block and state_of(heap, block) & 1:
        block += 1
    return skip_tails(heap, block)


# ---- allocation ---------------------------------------------------------------------------------------------------------


def alloc_object(heap: Heap, size_bytes: u64, layout: u64) -> u64:
    """An object's address; 0 when the search failed: then collect or grow, and call ``alloc_again``."""
    needed: u64
    end: u64
    if size_bytes == 0:
        return heap.zero_size_address
    size_bytes += heap.header_bytes
    needed = (size_bytes + (1 << heap.block_shift) - 1) >> heap.block_shift
    heap.total_alloc_bytes += size_bytes
    heap.mallocs += 1
    heap.total_blocks += needed
    end = heap.next_alloc + needed
    if end > heap.free_until:
        end = find_near(heap, needed)
        if end == 0:
            heap.run_blocks = 0
            end = find_room(heap, needed)
            if end == 0:
                return 0
    return commit(heap, end, needed, size_bytes, layout)


def alloc_again(heap: Heap, size_bytes: u64, layout: u64) -> u64:
    """Search once more for the object that ``alloc_object`` found no room for, after a collection or a growth."""
    needed: u64
    end: u64
    size_bytes += heap.header_bytes
    needed = (size_bytes + (1 << heap.block_shift) - 1) >> heap.block_shift
    end = find_room(heap, needed)
    if end == 0:
        return 0
    return commit(heap, end, needed, size_bytes, layout)


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
        store(heap, heap.memory + offset, layout)
        offset += heap.header_bytes
        size_bytes -= heap.header_bytes
    clear(heap.memory + offset, size_bytes)
    return heap.start + offset


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


def find_near(heap: Heap, needed: u64) -> u64:
    """The block past a run for a small object in the very table word of ``next_alloc``; 0 for none.

    Most searches end here.  What else is free behind the run is remembered.
    """
    word: u64 = heap.next_alloc >> 5
    x: u64
    starts: u64
    end: u64
    if needed > 16 or (word << 3) + 8 > heap.table_bytes:
        return 0
    x = load64(heap.table + (word << 3))
    starts = run_starts(~(x | (x >> 1)) & (EVEN << ((heap.next_alloc & 31) << 1)), needed)
    heap.table_reads += 1
    if starts == 0:
        return 0
    end = (word << 5) + (ctz64(starts) >> 1) + needed
    if end > heap.end_block:
        return 0
    heap.free_until = end
    if end & 31 != 0:
        x >>= (end & 31) << 1
        heap.free_until += 32 - (end & 31) if x == 0 else ctz64(x) >> 1
        if heap.free_until > heap.end_block:
            heap.free_until = heap.end_block
    return end


def find_room(heap: Heap, needed: u64) -> u64:
    """Search the whole heap once, from ``next_alloc`` around to it; the block past the run, or 0.

    ``run_blocks`` comes in as the free run found just before ``next_alloc`` and goes out so for the next search.
    """
    end: u64 = find_free_run(heap, heap.next_alloc, heap.end_block, needed)
    if end == 0:
        # Objects do not wrap around the end of the heap.
        heap.run_blocks = 0
        end = find_free_run(heap, 0, heap.next_alloc, needed)
    if end != 0:
        heap.free_until = free_end(heap, end, 32)
    return end


def find_free_run(heap: Heap, first: u64, last: u64, needed: u64) -> u64:
    """``model.Model.find_run``, 32 blocks at a time; 0 for none."""
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
        return 0
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
        if taken == 0:
            return end
        run = end - taken
        known = end
    taken = last_occupied(heap, known, last)
    heap.run_blocks = run + last - known if taken == 0 else last - taken
    return 0


def last_occupied(heap: Heap, first: u64, last: u64) -> u64:
    """The last block of ``first..last`` that is not free, + 1; 0 when all are free."""
    word: u64
    x: u64
    reads: u64 = 1
    if first >= last:
        return 0
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
        return 0
    last -= clz64(x) >> 1
    return last if last > first else 0


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


def alloc_leaking(heap: Heap, size_bytes: u64) -> u64:
    """Bump a pointer; 0 when the heap must grow first.  ``size_bytes`` is aligned by the caller, who counts."""
    address: u64 = heap.bump
    # The last byte of the heap is never used, as in the original.
    if heap.start + heap.heap_bytes - address <= size_bytes:
        return 0
    heap.bump = address + size_bytes
    fill(heap.memory + (address - heap.start), size_bytes, 0)
    return address


def old_size(heap: Heap, address: u64) -> u64:
    """Bytes from an address to its object's end; a stale address may give a very large number, as in the seed."""
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
        fill(heap.memory + (head << heap.block_shift), (end - head) << heap.block_shift, heap.poison - 1)
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


def move_table(heap: Heap, heap_bytes: u64) -> cython.void:
    """Move the table to the end of a larger heap.  Its old place becomes heap and keeps its bytes."""
    table: u64 = heap.table
    table_bytes: u64 = heap.table_bytes
    lay_out(heap, heap_bytes)
    move(heap.table, table, table_bytes)
    fill(heap.table + table_bytes, heap.table_bytes - table_bytes, 0)


# ---- mark ---------------------------------------------------------------------------------------------------------------


def next_object(heap: Heap) -> u64:
    """Take an object off the mark stack; its head + 1, or 0 when there is none.

    In a large heap it comes through a short queue, in which its memory is on its way to the cache.
    """
    head: u64
    while heap.queued < heap.queue_depth and heap.stack_top > 0:
        heap.stack_top -= 1
        head = load32(heap.stack + (heap.stack_top << 2))
        if heap.queued == 0 and (heap.stack_top == 0 or heap.queue_depth == 1):
            # Nothing to overlap with, as in a chain: straight on.
            return head + 1
        prefetch(heap.memory + (head << heap.block_shift))
        prefetch(heap.memory + (head << heap.block_shift) + 64)
        store32(heap.queue + (((heap.queue_first + heap.queued) & (QUEUE - 1)) << 2), head)
        heap.queued += 1
    if heap.queued == 0:
        return 0
    head = load32(heap.queue + (heap.queue_first << 2))
    heap.queue_first = (heap.queue_first + 1) & (QUEUE - 1)
    heap.queued -= 1
    return head + 1


def drain(heap: Heap) -> cython.void:
    """Scan the objects on the mark stack, and those that they lead to, until it is empty."""
    head: u64
    if heap.stack_limit == 0 and heap.step_shift > 1:
        drain_unbounded(heap)
        return
    while True:
        head = next_object(heap)
        if head == 0:
            return
        scan_object(heap, head - 1)


def drain_unbounded(heap: Heap) -> cython.void:
    """`drain` where nothing bounds the mark stack: the case that time is spent in.

    It keeps in variables what `scan_object` and `push`, which it behaves as, read from the heap.
    """
    table: u64 = heap.table
    memory: u64 = heap.memory
    start: u64 = heap.start
    pool_bytes: u64 = heap.pool_bytes
    block_shift: u64 = heap.block_shift
    step_shift: u64 = heap.step_shift
    end_block: u64 = heap.end_block
    whole_blocks: u64 = end_block & ~cython.cast(u64, 31)
    header_bytes: u64 = heap.header_bytes
    stack: u64 = heap.stack
    top: u64 = heap.stack_top
    peak: u64 = heap.stack_peak
    scanned: u64 = 0
    head: u64
    others: u64
    at: u64
    stop: u64
    piece: u64
    offset: u64
    layout: u64 = 0
    while True:
        if top > peak:
            peak = top
        if heap.queue_depth > 1:
            heap.stack_top = top
            head = next_object(heap)
            top = heap.stack_top
            if head == 0:
                break
        else:
            if top == 0:
                break
            top -= 1
            head = load32(stack + (top << 2)) + 1
        at = memory + ((head - 1) << block_shift)
        if header_bytes != 0:
            if head > end_block:
                # A state past the last block, in a table that was overwritten.
                continue
            layout = load64(at) if step_shift == 3 else load32(at)
            if layout & 1 != 0 and layout >> (step_shift + 4) == 0:
                # Without pointers: its end does not matter.
                continue
        # The object's end; head is one past its first block.  A byte that was just written is passed on to a read of its
        # own width at once, but has to be waited for by a wider one.
        others = 0
        if head < whole_blocks:
            others = (load8(table + (head >> 2)) ^ 0xAA) >> ((head & 3) << 1)
            if others == 0:
                others = (load64(table + (head >> 5 << 3)) ^ ODD) >> ((head & 31) << 1)
        if others != 0:
            stop = at + (((ctz64(others) >> 1) + 1) << block_shift)
        else:
            stop = memory + (skip_tails(heap, head) << block_shift)
        at += header_bytes
        if header_bytes != 0:
            if layout & 1 == 0 or stop - at > 64 << step_shift:
                heap.stack_top = top
                scan_object(heap, head - 1)
                top = heap.stack_top
                continue
            scanned += (stop - at) >> step_shift
            others = inline_bits(layout, step_shift, (stop - at) >> step_shift)
            while others != 0:
                piece = at + (ctz64(others) << step_shift)
                offset = (load64(piece) if step_shift == 3 else load32(piece)) - start
                if offset < pool_bytes:
                    head = newly_marked(heap, table, offset >> block_shift)
                    if head != 0:
                        store32(stack + (top << 2), head - 1)
                        top += 1
                others &= others - 1
            continue
        scanned += (stop - at) >> step_shift
        while at < stop:
            # Whether one of four words is a pointer is compared at once.  Which, is not taken from that: it would have to
            # be waited for.
            piece = at + (cython.cast(u64, 4) << step_shift)
            if step_shift == 3:
                if long_words_below(at, start, pool_bytes) != 0:
                    while at < piece:
                        offset = load64(at) - start
                        if offset < pool_bytes:
                            head = newly_marked(heap, table, offset >> block_shift)
                            if head != 0:
                                store32(stack + (top << 2), head - 1)
                                top += 1
                        at += 8
            elif words_below(at, start, pool_bytes) != 0:
                while at < piece:
                    offset = load32(at) - start
                    if offset < pool_bytes:
                        head = newly_marked(heap, table, offset >> block_shift)
                        if head != 0:
                            store32(stack + (top << 2), head - 1)
                            top += 1
                    at += 4
            at = piece
    heap.stack_top = 0
    heap.stack_peak = peak
    heap.words_scanned += scanned


def newly_marked(heap: Heap, table: u64, block: u64) -> u64:
    """Mark the object that a block belongs to; its head + 1, or 0 if there is none, or it was marked before."""
    at: u64 = table + (block >> 2)
    byte: u64 = load8(at)
    shift: u64 = (block & 3) << 1
    state: u64 = (byte >> shift) & 3
    if state != 1:
        if state != 2:
            return 0
        block = head_of(heap, block)
        if block == 0:
            return 0
        block -= 1
        at = table + (block >> 2)
        byte = load8(at)
        shift = (block & 3) << 1
        if (byte >> shift) & 3 != 1:
            return 0
    store8(at, byte | (cython.cast(u64, 2) << shift))
    return block + 1


def push(heap: Heap, block: u64) -> cython.void:
    """Mark the object that a block belongs to, and put it on the mark stack, unless it was marked before."""
    head: u64 = newly_marked(heap, heap.table, block)
    if head == 0:
        return
    if heap.stack_top == heap.stack_limit and heap.stack_limit != 0:
        drop(heap, head - 1)
        return
    store32(heap.stack + (heap.stack_top << 2), head - 1)
    heap.stack_top += 1
    if heap.stack_top > heap.stack_peak:
        heap.stack_peak = heap.stack_top


def drop(heap: Heap, block: u64) -> cython.void:
    """The mark stack is full: the object is marked, but what it leads to is left to a rescan."""
    at: u64 = heap.dropped + ((block >> 6) << 3)
    heap.overflows += 1
    heap.overflowed = 1
    store64(at, load64(at) | (cython.cast(u64, 1) << (block & 63)))


def scan_words(heap: Heap, at: u64, stop: u64) -> cython.void:
    """Mark from words that may all be pointers."""
    words: u64
    offset: u64
    # In a task's stack that holds the mark stack itself, what is pushed may be read next.
    apart: cython.bint = heap.stack_limit == 0 or stop <= heap.stack or at >= heap.stack + (heap.stack_limit << 2)
    if heap.step_shift != heap.word_shift:
        apart = False
    if heap.step_shift == 3 and apart:
        while stop - at >= 32:
            words = long_words_below(at, heap.start, heap.pool_bytes)
            while words != 0:
                push(heap, (load64(at + (ctz64(words) << 3)) - heap.start) >> heap.block_shift)
                words &= words - 1
            at += 32
    elif heap.step_shift == 2 and apart:
        while stop - at >= 16:
            words = words_below(at, heap.start, heap.pool_bytes)
            while words != 0:
                push(heap, (load32(at + (ctz64(words) << 2)) - heap.start) >> heap.block_shift)
                words &= words - 1
            at += 16
    while at < stop:
        offset = load(heap, at) - heap.start
        if offset < heap.pool_bytes:
            push(heap, offset >> heap.block_shift)
        at += cython.cast(u64, 1) << heap.step_shift


def scan_bits(heap: Heap, at: u64, bits: u64) -> cython.void:
    """Mark from those words whose bits are set, of up to 64."""
    offset: u64
    while bits != 0:
        offset = load(heap, at + (ctz64(bits) << heap.step_shift)) - heap.start
        if offset < heap.pool_bytes:
            push(heap, offset >> heap.block_shift)
        bits &= bits - 1


def inline_bits(layout: u64, word_shift: u64, words: u64) -> u64:
    """The first 64 words at most of an inline layout: 1, a size field of 4, 5 or 6 bits, the bitmap, which repeats."""
    size: u64 = (layout >> 1) & ((cython.cast(u64, 8) << word_shift) - 1)
    bitmap: u64 = layout >> (word_shift + 4)
    if size != 0:
        # A pattern of no length does not repeat.
        bitmap &= (cython.cast(u64, 1) << size) - 1
        while size < words and size < 64:
            bitmap |= bitmap << size
            size <<= 1
    return bitmap if words >= 64 else bitmap & ((cython.cast(u64, 1) << words) - 1)


def scan_pattern(heap: Heap, at: u64, stop: u64, layout: u64) -> cython.void:
    """Mark by an inline layout."""
    size: u64 = (layout >> 1) & ((cython.cast(u64, 8) << heap.word_shift) - 1)
    words: u64 = (stop - at) >> heap.step_shift
    # So many words at a time that each piece begins where the pattern does.
    piece: u64 = 64 // size * size if size != 0 else words
    while words > piece:
        scan_bits(heap, at, inline_bits(layout, heap.word_shift, piece))
        at += piece << heap.step_shift
        words -= piece
    scan_bits(heap, at, inline_bits(layout, heap.word_shift, words))


def scan_static(heap: Heap, at: u64, stop: u64, layout: u64) -> cython.void:
    """Mark by an out-of-line layout: ``{size word, bitmap bytes}`` among the statics."""
    bitmap: u64 = heap.statics + (layout - heap.statics_start) + (cython.cast(u64, 1) << heap.word_shift)
    size: u64 = static_layout_size(heap, layout)
    words: u64 = (stop - at) >> heap.step_shift
    index: u64 = 0
    piece: u64
    while words > 0:
        # A byte of the bitmap at a time; its last one may be short.
        piece = 8 if size - index > 8 else size - index
        piece = piece if words > piece else words
        scan_bits(heap, at, load8(bitmap + (index >> 3)) & (ONES >> (64 - piece)))
        at += piece << heap.step_shift
        words -= piece
        index += piece
        if index == size:
            index = 0


def static_layout_size(heap: Heap, layout: u64) -> u64:
    """Number of bits of an out-of-line layout; 0 when it does not lie among the statics."""
    word_bytes: u64 = cython.cast(u64, 1) << heap.word_shift
    at: u64 = layout - heap.statics_start
    size: u64
    if at >= heap.statics_bytes or heap.statics_bytes - at < word_bytes:
        return 0
    size = load(heap, heap.statics + at)
    at += word_bytes
    if size > (heap.statics_bytes - at) << 3:
        return 0
    return size


def scan_object(heap: Heap, head: u64) -> cython.void:
    """Mark what an object refers to."""
    at: u64 = heap.memory + (head << heap.block_shift)
    layout: u64 = 0
    stop: u64
    if heap.precise != 0:
        if head >= heap.end_block:
            # A state past the last block, in a table that was overwritten.
            return
        layout = load(heap, at)
        at += heap.header_bytes
        if layout & 1 != 0 and layout >> (heap.word_shift + 4) == 0:
            # Without pointers: its end does not matter.
            return
    stop = heap.memory + (skip_tails(heap, head + 1) << heap.block_shift)
    if at >= stop:
        return
    if layout == 0:
        scan_words(heap, at, stop)
    elif layout & 1 != 0:
        scan_pattern(heap, at, stop, layout)
    elif static_layout_size(heap, layout) != 0:
        scan_static(heap, at, stop, layout)
    else:
        if heap.unreadable == 0:
            heap.unreadable = head + 1
        return
    heap.words_scanned += (stop - at) >> heap.step_shift


def mark_range(heap: Heap, at: u64, bytes: u64) -> cython.void:
    """Mark from a range of root words, which lie anywhere."""
    word_bytes: u64 = cython.cast(u64, 1) << heap.word_shift
    step: u64 = cython.cast(u64, 1) << heap.step_shift
    stop: u64 = at + bytes
    by_four: cython.bint = heap.word_shift == 2 and step == 4
    # The end is lowered to the last whole word, and where words overlap (AVR) so that no read crosses it.
    if bytes < word_bytes:
        return
    stop -= (bytes - word_bytes) & (step - 1)
    stop -= word_bytes - step
    if heap.stack_limit == 0:
        scan_words(heap, at, stop)
        drain(heap)
        return
    # The bounded mark stack serves one root at a time.  Most words are none, and are passed by four at a time.
    while at < stop:
        if by_four and stop - at >= 16 and words_below(at, heap.start, heap.pool_bytes) == 0:
            at += 16
            continue
        scan_words(heap, at, at + step)
        drain_one(heap)
        at += step


def drain_one(heap: Heap) -> cython.void:
    """Scan from the one object on the bounded mark stack; the rest of the stack begins empty or as it was left."""
    if heap.stack_top != 0 and heap.stack_zeroed != 0:
        fill(heap.stack + 4, (heap.stack_limit - 1) << 2, 0)
    drain(heap)


def mark_address(heap: Heap, address: u64) -> cython.void:
    """Mark from one address."""
    offset: u64 = address - heap.start
    if offset < heap.pool_bytes:
        push(heap, offset >> heap.block_shift)
        drain(heap)


def mark_object_children(heap: Heap, head: u64) -> cython.void:
    """Mark from what an object refers to, not the object itself."""
    store32(heap.stack, head)
    heap.stack_top = 1
    drain_one(heap)


def finish_marking(heap: Heap) -> cython.void:
    """Scan marked objects again for as long as the bounded mark stack overflowed.

    The seed scans them all.  But an object that was scanned has led to marks everywhere already, so that only those that
    were dropped matter; they are visited in the seed's order, the ones dropped further up in the same pass included.
    """
    word: u64
    words: u64 = (heap.end_block + 63) >> 6
    at: u64
    bits: u64
    last: u64 = 0
    if heap.overflowed == 0:
        return
    while heap.overflowed != 0:
        heap.overflowed = 0
        heap.rescans += 1
        if heap.stack_block != 0:
            # The mark stack lies in an object, whose words have changed.
            at = heap.dropped + ((heap.stack_block - 1) >> 6 << 3)
            if state_of(heap, heap.stack_block - 1) == 3:
                store64(at, load64(at) | (cython.cast(u64, 1) << ((heap.stack_block - 1) & 63)))
        word = 0
        while word < words:
            at = heap.dropped + (word << 3)
            bits = load64(at)
            while bits != 0:
                last = (word << 6) + ctz64(bits)
                store64(at, load64(at) & ~(bits & (~bits + 1)))
                mark_object_children(heap, last)
                # What was dropped behind is for the next pass, what was dropped ahead for this one.
                bits = load64(at) & ((ONES << 1) << (last & 63))
            word += 1
    leave_last_rescan(heap, last)


def leave_last_rescan(heap: Heap, last: u64) -> cython.void:
    """Leave the mark stack as the seed's last scan does: that of the last marked object, if not ``last``, finds nothing."""
    word: u64 = (heap.end_block + 31) >> 5
    marks: u64
    while word > 0:
        word -= 1
        marks = table_word(heap, word)
        marks &= (marks >> 1) & EVEN
        if marks != 0:
            word = (word << 5) + 31 - (clz64(marks) >> 1)
            break
    if word == last:
        return
    store32(heap.stack, word)
    if heap.stack_zeroed != 0:
        fill(heap.stack + 4, (heap.stack_limit - 1) << 2, 0)


def head_of_host(heap: Heap, at: u64) -> u64:
    """The head block, + 1, of the object that holds an address of this machine; 0 where none does."""
    offset: u64 = at - heap.memory
    if offset >= heap.pool_bytes or offset >> heap.block_shift >= heap.end_block:
        return 0
    if state_of(heap, offset >> heap.block_shift) == 0:
        return 0
    return head_of(heap, offset >> heap.block_shift)


def marking_bytes(heap: Heap, end_block: u64) -> u64:
    """What `prepare_stack` divides: for so many blocks."""
    bounded_bytes: u64 = 0 if heap.stack_limit == 0 else ((end_block + 63) >> 6 << 3) + (heap.stack_limit << 2)
    return MARKING_BYTES + (end_block << 2) + bounded_bytes


def unmark_all(heap: Heap) -> cython.void:
    """Give a collection up: marks become heads again."""
    word: u64 = 0
    x: u64
    heap.overflowed = 0
    heap.unreadable = 0
    while word << 3 < heap.table_bytes:
        x = table_word(heap, word)
        put_table_word(heap, word, x & ~(((x & EVEN) << 1) & x))
        word += 1


# ---- sweep --------------------------------------------------------------------------------------------------------------


def count_bytes(x: u64) -> u64:
    """The sums of the four 2-bit fields in each byte."""
    x = (x & PAIRS) + ((x >> 2) & PAIRS)
    return (x & NIBBLES) + ((x >> 4) & NIBBLES)


def sum_bytes(x: u64) -> u64:
    """Sum of eight bytes, whatever it comes to."""
    x = (x & WIDE_BYTES) + ((x >> 8) & WIDE_BYTES)
    return (x * WIDE_ONES) >> 48


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
        fill(heap.memory + (block << heap.block_shift), cython.cast(u64, 1) << heap.block_shift, heap.poison - 1)
        fields &= fields - 1


def sweep_table(heap: Heap) -> u64:
    """Free what is not marked, and unmark the rest; returns the free bytes.

    A one added after a dead head runs, as a carry, through the fields after it that hold 11: those of tails and of free
    blocks, up to the next head or mark.  Tails whose field it changed are the dead object's.  So the seed's flag
    ``freeCurrentObject`` is the carry, from block to block and from word to word::

        states   mark tail tail HEAD      10 is a tail of the dead 01: from the lowest, right
                  11   10   10   01
        field     00   11   11   00       11 where the low bit is 0
        + one     00   00   01   00       after the head
        sum       01   00   00   00       tails that no longer hold 11 go

    What is freed is counted as the difference of what was there before and after, piece by piece of the table.
    """
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


def keep_tally(heap: Heap, counts: u64) -> cython.void:
    heap.heads = counts & LOW_HALF
    heap.tails = counts >> 32
    heap.free_blocks = heap.end_block - heap.heads - heap.tails


def count_blocks(heap: Heap) -> cython.void:
    """Count free blocks, heads (marked ones too) and tails, as a sweep does, without changing anything."""
    word: u64 = 0
    whole: u64 = heap.table_bytes >> 3
    count: u64
    counts: u64 = 0
    last: u64
    at: u64 = cython.cast(cython.size_t, cython.address(last))
    if heap.table_bytes & 7 != 0:
        store64(at, ragged_word(heap, whole))
        counts = tally(at, 1)
    while word < whole:
        count = TALLY if whole - word > TALLY else whole - word
        counts += tally(heap.table + (word << 3), count)
        word += count
    keep_tally(heap, counts)


def hash_states(heap: Heap) -> u64:
    """FNV-1a (64 bits) of the table bytes that cover blocks."""
    at: u64 = heap.table
    end: u64 = at + ((heap.end_block + 3) >> 2)
    hash: u64 = FNV_BASIS
    while at < end:
        hash = (hash ^ load8(at)) * FNV_PRIME
        at += 1
    return hash


# ---- the engine ---------------------------------------------------------------------------------------------------------


def free_runs(heap: Heap, runs: cython.pointer(u64), largest: cython.pointer(u64)) -> cython.void:
    """Number of free runs and the blocks of the largest."""
    first: u64 = 0
    taken: u64
    runs[0] = 0
    largest[0] = 0
    while first < heap.end_block:
        taken = free_end(heap, first, heap.end_block)
        if taken > first:
            runs[0] += 1
            if taken - first > largest[0]:
                largest[0] = taken - first
        first = next_of(heap, taken)


def wrong_fields(heap: Heap, word: u64, before: u64) -> u64:
    """Blocks of a table word (even bits) that no allocations leave; ``before`` is the state of the block before."""
    x: u64 = table_word(heap, word)
    low: u64 = x & EVEN
    high: u64 = (x >> 1) & EVEN
    wrong: u64 = low & high
    past: u64 = heap.end_block - (word << 5)
    # Tails whose neighbor below is free.
    wrong |= high & ~low & ~(((low | high) << 2) | cython.cast(u64, before != 0))
    if heap.end_block < (word << 5):
        wrong |= low | high
    elif past < 32:
        wrong |= (low | high) & (ONES << (past << 1))
    return wrong


def is_poisoned(heap: Heap, block: u64) -> cython.bint:
    """Whether a block holds nothing but the poison byte."""
    at: u64 = heap.memory + (block << heap.block_shift)
    end: u64 = at + (cython.cast(u64, 1) << heap.block_shift)
    while at < end:
        if load8(at) != heap.poison - 1:
            return False
        at += 1
    return True


# Its views of memory are let go of in `__dealloc__`; clearing them before, in a cycle, would drop them unreleased.
@cython.no_gc_clear
@cython.final
@cython.cclass
class Kernel:
    """An engine (``contract.Engine``) around one ``HeapState``: the border, where everything is checked."""

    def __init__(self, memory, geometry, options, statics, surroundings):
        heap: Heap = cython.address(self._heap)
        memset(heap, 0, cython.sizeof(HeapState))
        PyObject_GetBuffer(memory, cython.address(self._memory), PyBUF_SIMPLE | PyBUF_WRITABLE)
        self._held = True
        if self._memory.len < geometry.heap_bytes:
            raise GeometryError(f"the buffer has {self._memory.len} bytes; the heap needs {geometry.heap_bytes}")
        self._geometry = geometry
        self._options = options
        self._statics = statics
        self._surroundings = surroundings
        self._leaking = options.gc is Gc.LEAKING
        self._align_mask = max(geometry.header_alignment_bytes, geometry.word_bytes) - 1
        self._size_limit = min(geometry.address_space_bytes, 1 << 62) - 1
        heap.memory = cython.cast(cython.size_t, self._memory.buf)
        heap.start = geometry.start_address
        heap.word_shift = geometry.word_bytes.bit_length() - 1
        heap.block_shift = heap.word_shift + 2
        heap.step_shift = geometry.word_alignment_bytes.bit_length() - 1
        heap.precise = options.gc is Gc.PRECISE
        heap.header_bytes = geometry.header_bytes if heap.precise else 0
        heap.clear_blocks = options.clear_blocks
        heap.poison = options.poison_byte + 1 if options.asserts else 0
        heap.stack_limit = options.mark_stack_entries
        heap.stack_zeroed = options.mark_stack_zeroed
        heap.bump = heap.start
        heap.leaking = self._leaking
        lay_out(heap, geometry.heap_bytes)
        self._notice()

    def __del__(self):
        # In a cycle Python calls this before it clears anything: the memory must not go before what looks into it.
        self._end_marking()
        self.release_memory()

    def __dealloc__(self):
        self._end_marking()
        if self._held:
            PyBuffer_Release(cython.address(self._memory))

    def release_memory(self):
        if self._held:
            self._held = False
            PyBuffer_Release(cython.address(self._memory))
        self._notice()

    def move_memory(self, memory):
        self.release_memory()
        PyObject_GetBuffer(memory, cython.address(self._memory), PyBUF_SIMPLE | PyBUF_WRITABLE)
        self._held = True
        if self._memory.len < self._geometry.heap_bytes:
            raise GeometryError(f"the buffer has {self._memory.len} bytes; the heap needs {self._geometry.heap_bytes}")
        self._heap.memory = cython.cast(cython.size_t, self._memory.buf)
        self._heap.table = self._heap.memory + self._heap.pool_bytes
        self._notice()

    def _notice(self) -> cython.void:
        """Which ways of allocating there are now."""
        self._plain = not self._leaking and self._heap.poison == 0 and not self._in_interrupt and self._held
        self._open = not self._guarded and not self._in_interrupt and self._held

    @property
    def guarded(self):
        return self._guarded

    @guarded.setter
    def guarded(self, guarded: cython.bint):
        self._guarded = guarded
        self._notice()

    @property
    def otherwise(self):
        """What `alloc_at_once` leaves to others: a callable that takes what it takes."""
        return self._otherwise

    @otherwise.setter
    def otherwise(self, otherwise):
        self._otherwise = otherwise

    @property
    def in_interrupt(self):
        return self._in_interrupt

    @in_interrupt.setter
    def in_interrupt(self, in_interrupt: cython.bint):
        self._in_interrupt = in_interrupt
        self._notice()

    @property
    def zero_size_address(self):
        return self._heap.zero_size_address

    @zero_size_address.setter
    def zero_size_address(self, address: u64):
        self._heap.zero_size_address = address

    @property
    def next_alloc(self):
        return self._heap.next_alloc

    @next_alloc.setter
    def next_alloc(self, block: u64):
        self._check_block(block, self._heap.end_block + 1)
        self._heap.next_alloc = block
        self._heap.free_until = block

    @property
    def bump_address(self):
        return self._heap.bump

    @property
    def geometry(self):
        return self._geometry

    @property
    def counters(self):
        heap: Heap = cython.address(self._heap)
        return Counters(
            heap.total_alloc_bytes,
            heap.total_blocks,
            heap.mallocs,
            heap.frees,
            heap.freed_blocks,
            heap.overflows,
            heap.rescans,
            heap.table_reads,
            heap.words_scanned,
            heap.stack_peak,
        )

    def _check_block(self, block: u64, limit: u64) -> cython.int:
        self._check_held()
        if block >= limit:
            raise InvalidAddressError(f"block {block} is past the heap's last block, {self._heap.end_block - 1}")
        return 0

    def _check_held(self) -> cython.int:
        if not self._held:
            raise HeapError("this heap is closed; its memory was given back")
        return 0

    # ---- the block table ------------------------------------------------------------------------------------------------

    def state(self, block: u64):
        self._check_block(block, self._heap.table_bytes * 4)
        return State(state_of(cython.address(self._heap), block))

    def read_table(self):
        self._check_held()
        return cython.cast(cython.p_char, self._heap.table)[: self._heap.table_bytes]

    def write_table(self, table: bytes):
        self._check_held()
        if len(table) != self._heap.table_bytes:
            raise GeometryError(f"a table of {len(table)} bytes; this heap's has {self._heap.table_bytes}")
        memcpy(cython.cast(cython.p_char, self._heap.table), cython.cast(cython.p_char, table), len(table))
        self._heap.free_until = self._heap.next_alloc

    def find_head(self, block: u64):
        self._check_block(block, self._heap.end_block)
        return cython.cast(cython.longlong, head_of(cython.address(self._heap), block)) - 1

    def find_next(self, block: u64):
        self._check_block(block, self._heap.end_block)
        return next_of(cython.address(self._heap), block)

    def find_run(self, first: u64, last: u64, needed_blocks: u64, run_blocks: u64):
        heap: Heap = cython.address(self._heap)
        end: u64
        self._check_block(last, heap.end_block + 1)
        if first > last or not 0 <= run_blocks < needed_blocks:
            raise InvalidAddressError(f"no search for {needed_blocks} blocks in {first}..{last} after {run_blocks}")
        heap.run_blocks = run_blocks
        end = find_free_run(heap, first, last, needed_blocks)
        return (end, needed_blocks) if end else (NO_BLOCK, heap.run_blocks)

    def check_table(self, most: cython.int = 16):
        heap: Heap = cython.address(self._heap)
        wrong: list = []
        fields: u64
        word: u64 = 0
        self._check_held()
        while word << 3 < heap.table_bytes:
            fields = wrong_fields(heap, word, 0 if word == 0 else state_of(heap, (word << 5) - 1))
            while fields != 0:
                wrong.append((word << 5) + (ctz64(fields) >> 1))
                if len(wrong) == most:
                    return wrong
                fields &= fields - 1
            word += 1
        return wrong

    def check_layouts(self, most: cython.int = 16):
        heap: Heap = cython.address(self._heap)
        wrong: list = []
        heads: u64
        head: u64
        layout: u64
        word: u64 = 0
        if not heap.precise:
            return wrong
        self._prepare_marking()
        while word << 3 < heap.table_bytes and len(wrong) < most:
            heads = table_word(heap, word) & EVEN
            while heads != 0:
                head = (word << 5) + (ctz64(heads) >> 1)
                heads &= heads - 1
                if head >= heap.end_block:
                    break
                layout = load(heap, heap.memory + (head << heap.block_shift))
                if layout != 0 and layout & 1 == 0 and static_layout_size(heap, layout) == 0:
                    wrong.append(head)
            word += 1
        self._end_marking()
        return wrong[:most]

    def check_poison(self, most: cython.int = 16):
        heap: Heap = cython.address(self._heap)
        wrong: list = []
        block: u64 = 0
        self._check_held()
        while block < heap.end_block and len(wrong) < most:
            if state_of(heap, block) == 0 and not is_poisoned(heap, block):
                wrong.append(block)
            block += 1
        return wrong

    def poison_free(self):
        heap: Heap = cython.address(self._heap)
        word: u64 = 0
        x: u64
        self._check_held()
        while word << 5 < heap.end_block:
            x = table_word(heap, word)
            x = ~(x | (x >> 1)) & EVEN
            if heap.end_block - (word << 5) < 32:
                x &= (cython.cast(u64, 1) << ((heap.end_block & 31) << 1)) - 1
            poison_fields(heap, word, x)
            word += 1

    def census(self):
        heap: Heap = cython.address(self._heap)
        runs: u64 = 0
        largest: u64 = 0
        marks: u64 = 0
        word: u64 = 0
        self._check_held()
        with cython.nogil:
            count_blocks(heap)
            free_runs(heap, cython.address(runs), cython.address(largest))
            while word << 3 < heap.table_bytes:
                marks += sum_bytes(count_bytes((table_word(heap, word) >> 1) & table_word(heap, word) & EVEN))
                word += 1
        return Census(heap.free_blocks, heap.heads - marks, heap.tails, marks, runs, largest)

    def hash_table(self):
        """FNV-1a (64 bits) of the table bytes that cover blocks."""
        self._check_held()
        return hash_states(cython.address(self._heap))

    # ---- the mutator's side -----------------------------------------------------------------------------------------------

    def alloc_at_once(self, size_bytes, layout=None):
        """`alloc` for whoever has not entered the heap's monitor: in one go, or else by ``otherwise``.

        No code of a user's runs in here: the size is an integer of Python's, and there is room.
        """
        overflow: cython.int = 0
        size: cython.longlong
        address: u64 = 0
        if layout is None and PyLong_CheckExact(size_bytes) and self._open:
            size = PyLong_AsLongLongAndOverflow(size_bytes, cython.address(overflow))
            if not overflow and size >= 0 and cython.cast(u64, size) <= self._size_limit:
                if self._plain:
                    address = alloc_object(cython.address(self._heap), size, 0)
                    if address == 0:
                        self._uncount(size)
                elif self._leaking:
                    address = self._bumped(size)
                if address != 0:
                    return address
        return self._otherwise(size_bytes, layout)

    def alloc(self, size_bytes, layout=None):
        size: u64 = self._checked_size(size_bytes)
        word: u64 = 0 if layout is None else self._surroundings.layout_word(layout, size)
        return self._alloc_checked(size, word)

    def alloc_many(self, addresses, size_bytes, layout=None):
        buffer: Py_buffer
        heap: Heap = cython.address(self._heap)
        done: u64 = 0
        address: u64
        size: u64 = self._checked_size(size_bytes)
        word: u64 = 0 if layout is None else self._surroundings.layout_word(layout, size)
        PyObject_GetBuffer(addresses, cython.address(buffer), PyBUF_SIMPLE | PyBUF_WRITABLE)
        try:
            while done < cython.cast(u64, buffer.len) >> 3:
                if self._plain:
                    address = alloc_object(heap, size, word)
                    if address == 0:
                        address = self._alloc_slowly(size, word)
                else:
                    address = self._alloc_checked(size, word)
                cython.cast(cython.pointer(u64), buffer.buf)[done] = address
                done += 1
        finally:
            PyBuffer_Release(cython.address(buffer))

    def _checked_size(self, size_bytes) -> u64:
        size_bytes = whole_number("size", size_bytes)
        if not 0 <= size_bytes <= self._size_limit:
            word_bytes = self._geometry.word_bytes
            raise InvalidSizeError(f"cannot allocate {shown(size_bytes)} bytes with {word_bytes}-byte words")
        return size_bytes

    def _alloc_checked(self, size_bytes: u64, layout_word: u64):
        """An object of a size that may be, now or not at all."""
        heap: Heap = cython.address(self._heap)
        address: u64
        self._check_held()
        if size_bytes == 0 and not self._leaking:
            return heap.zero_size_address
        if self._in_interrupt:
            raise InterruptError(IN_INTERRUPT)
        if self._leaking:
            return self._alloc_leaking(size_bytes)
        if heap.poison != 0:
            return self._alloc_asserting(size_bytes, layout_word)
        address = alloc_object(heap, size_bytes, layout_word)
        return address if address != 0 else self._alloc_slowly(size_bytes, layout_word)

    def _uncount(self, size_bytes: u64) -> cython.void:
        """As if the allocation that was counted had not been asked for."""
        heap: Heap = cython.address(self._heap)
        heap.total_alloc_bytes -= size_bytes + heap.header_bytes
        heap.total_blocks -= (size_bytes + heap.header_bytes + (1 << heap.block_shift) - 1) >> heap.block_shift
        heap.mallocs -= 1

    def _alloc_slowly(self, size_bytes: u64, layout_word: u64):
        """What is left to do for an allocation that was counted and found no room."""
        address: u64 = self._search_on(size_bytes, layout_word)
        return self._surroundings.settle(address, size_bytes)

    def _search_on(self, size_bytes: u64, layout_word: u64) -> u64:
        """Collect, grow, give up: the policy of the seed's ``alloc`` when the heap has been searched whole."""
        heap: Heap = cython.address(self._heap)
        address: u64 = 0
        free_bytes: u64
        needed: u64 = (size_bytes + heap.header_bytes + (1 << heap.block_shift) - 1) >> heap.block_shift
        try:
            free_bytes = self._surroundings.exhausted()
            if free_bytes < heap.pool_bytes // 3:
                # Keep a third of headroom, or the next collections would come ever closer together.
                self._surroundings.grow(needed)
            self._check_held()
            address = alloc_again(heap, size_bytes, layout_word)
            while address == 0 and self._surroundings.grow(needed):
                self._check_held()
                address = alloc_again(heap, size_bytes, layout_word)
        except BaseException:
            # Not out of memory, but somebody's error while collecting: as if nothing had been asked.
            self._uncount(size_bytes)
            raise
        return address

    def _alloc_asserting(self, size_bytes: u64, layout_word: u64):
        heap: Heap = cython.address(self._heap)
        head: u64
        address: u64
        found: cython.bint
        # Nothing remembered: each block of the run is looked at.
        heap.free_until = heap.next_alloc
        address = alloc_object(heap, size_bytes, layout_word)
        found = address != 0
        if not found:
            address = self._search_on(size_bytes, layout_word)
        if address != 0:
            head = (address - heap.header_bytes - heap.start) >> heap.block_shift
            if head_of(heap, heap.next_alloc - 1) != head + 1 or state_of(heap, head) != 1:
                raise HeapCorruptError(f"blocks {head}..{heap.next_alloc} did not become an object")
        return address if found else self._surroundings.settle(address, size_bytes)

    def _bumped(self, size_bytes: u64) -> u64:
        """An address from the leaking collector, counted; 0, not counted, when the heap must grow first."""
        heap: Heap = cython.address(self._heap)
        address: u64
        size_bytes = (size_bytes + self._align_mask) & ~self._align_mask
        address = alloc_leaking(heap, size_bytes)
        if address != 0:
            heap.total_alloc_bytes += size_bytes
            heap.mallocs += 1
        return address

    def _alloc_leaking(self, size_bytes: u64):
        heap: Heap = cython.address(self._heap)
        address: u64 = self._bumped(size_bytes)
        if address != 0:
            return address
        size_bytes = (size_bytes + self._align_mask) & ~self._align_mask
        heap.total_alloc_bytes += size_bytes
        heap.mallocs += 1
        try:
            while address == 0 and self._surroundings.grow(self._geometry.blocks_for(size_bytes)):
                self._check_held()
                address = alloc_leaking(heap, size_bytes)
        except BaseException:
            # As if nothing had been asked.
            heap.total_alloc_bytes -= size_bytes
            heap.mallocs -= 1
            raise
        return address if address != 0 else self._surroundings.settle(0, size_bytes)

    def realloc(self, address: u64, size_bytes):
        heap: Heap = cython.address(self._heap)
        old: u64
        new: u64
        size: u64 = self._checked_size(size_bytes)
        if self._leaking:
            new = self._alloc_checked(size, 0)
            if new != 0 and heap.start <= address < new:
                # The old size is not known; what lies behind the object is copied too.
                move(heap.memory + (new - heap.start), heap.memory + (address - heap.start), size)
            return new
        self._check_held()
        if address - heap.start >= heap.pool_bytes:
            # Nil, or the place of all objects without bytes.
            return self._alloc_checked(size, 0)
        old = old_size(heap, address)
        if size <= old:
            return address
        new = self._alloc_checked(size, 0)
        if new != 0:
            move(heap.memory + (new - heap.start), heap.memory + (address - heap.start), old)
        return new

    def free(self, head: u64):
        self._check_block(head, self._heap.end_block)
        if state_of(cython.address(self._heap), head) & 1 == 0:
            raise InvalidAddressError(f"no object begins at block {head}")
        return free_object(cython.address(self._heap), head)

    def load_word(self, address: u64):
        return load(cython.address(self._heap), self._place(address))

    def store_word(self, address: u64, value: u64):
        store(cython.address(self._heap), self._place(address), value)

    def _place(self, address: u64) -> u64:
        """Where a word of the heap lies here."""
        heap: Heap = cython.address(self._heap)
        word_bytes: u64 = cython.cast(u64, 1) << heap.word_shift
        self._check_held()
        if address < heap.start or heap.pool_bytes < word_bytes or address - heap.start > heap.pool_bytes - word_bytes:
            raise InvalidAddressError(
                f"{word_bytes} bytes at {address:#x} do not lie on the heap, "
                f"{heap.start:#x}..{heap.start + heap.pool_bytes:#x}"
            )
        return heap.memory + (address - heap.start)

    # ---- a collection's steps -----------------------------------------------------------------------------------------------

    def _prepare_marking(self) -> cython.int:
        """A mark stack with room for every block (memory that costs what is touched), and the statics' place."""
        heap: Heap = cython.address(self._heap)
        self._check_held()
        if heap.stack == 0:
            heap.stack = cython.cast(cython.size_t, c_malloc(marking_bytes(heap, heap.end_block)))
            if heap.stack == 0:
                raise MemoryError(f"no memory for a mark stack of {heap.end_block} entries")
            prepare_stack(heap, heap.end_block)
        if not self._statics_held:
            PyObject_GetBuffer(self._statics.memory, cython.address(self._statics_memory), PyBUF_SIMPLE)
            self._statics_held = True
            heap.statics = cython.cast(cython.size_t, self._statics_memory.buf)
            heap.statics_bytes = self._statics_memory.len
            heap.statics_start = self._statics.start_address
        return 0

    def use_mark_stack(self, memory):
        heap: Heap = cython.address(self._heap)
        self._prepare_marking()
        self._release_stack()
        PyObject_GetBuffer(memory, cython.address(self._stack_memory), PyBUF_SIMPLE | PyBUF_WRITABLE)
        self._stack_held = True
        if heap.stack_limit == 0 or cython.cast(u64, self._stack_memory.len) != heap.stack_limit << 2:
            raise GeometryError(f"{self._stack_memory.len} bytes are no mark stack of {heap.stack_limit} entries")
        heap.stack = cython.cast(cython.size_t, self._stack_memory.buf)
        heap.stack_block = head_of_host(heap, heap.stack)

    def _release_stack(self) -> cython.void:
        if self._stack_held:
            PyBuffer_Release(cython.address(self._stack_memory))
            self._stack_held = False

    def _end_marking(self) -> cython.void:
        self._release_stack()
        free_stack(cython.address(self._heap))
        if self._statics_held:
            PyBuffer_Release(cython.address(self._statics_memory))
            self._statics_held = False

    def mark_roots(self, words):
        buffer: Py_buffer
        heap: Heap = cython.address(self._heap)
        PyObject_GetBuffer(words, cython.address(buffer), PyBUF_SIMPLE)
        try:
            self._prepare_marking()
            with cython.nogil:
                mark_range(heap, cython.cast(cython.size_t, buffer.buf), buffer.len)
        finally:
            PyBuffer_Release(cython.address(buffer))

    def mark_addresses(self, addresses):
        address: u64
        for address in addresses:
            self._prepare_marking()
            mark_address(cython.address(self._heap), address)

    def mark_children(self, head: u64):
        self._check_block(head, self._heap.end_block)
        self._prepare_marking()
        mark_object_children(cython.address(self._heap), head)

    def finish_mark(self):
        heap: Heap = cython.address(self._heap)
        unreadable: cython.longlong
        self._prepare_marking()
        with cython.nogil:
            finish_marking(heap)
        unreadable = cython.cast(cython.longlong, heap.unreadable) - 1
        heap.unreadable = 0
        return unreadable

    def unmark(self):
        self._check_held()
        unmark_all(cython.address(self._heap))
        self._end_marking()

    def sweep(self):
        heap: Heap = cython.address(self._heap)
        free_bytes: u64
        self._check_held()
        self._end_marking()
        with cython.nogil:
            free_bytes = sweep_table(heap)
        return free_bytes

    def resize(self, heap_bytes: u64):
        self._check_held()
        if heap_bytes > cython.cast(u64, self._memory.len):
            raise GeometryError(f"the buffer has {self._memory.len} bytes; a heap of {heap_bytes} does not fit")
        self._geometry = self._geometry.resized(heap_bytes)
        if self._leaking:
            lay_out(cython.address(self._heap), heap_bytes)
        else:
            move_table(cython.address(self._heap), heap_bytes)


def prepare_stack(heap: Heap, end_block: u64) -> cython.void:
    """Divide the memory at ``stack``: the queue, what was dropped, and the mark stack itself."""
    heap.stack_memory = heap.stack
    heap.queue = heap.stack
    heap.dropped = heap.queue + QUEUE_BYTES
    heap.stack = heap.dropped
    if heap.stack_limit != 0:
        heap.stack += (end_block + 63) >> 6 << 3
        fill(heap.dropped, heap.stack - heap.dropped + (heap.stack_limit << 2), 0)
    heap.stack_block = 0
    heap.queue_depth = QUEUE if heap.stack_limit == 0 and heap.pool_bytes > QUEUE_FROM_BYTES else 1
    heap.queue_first = 0
    heap.queued = 0
    heap.stack_top = 0


def free_stack(heap: Heap) -> cython.void:
    c_free(cython.cast(cython.p_void, cython.cast(cython.size_t, heap.stack_memory)))
    heap.stack_memory = 0
    heap.stack = 0
