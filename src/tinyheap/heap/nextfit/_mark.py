# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, freethreading_compatible=True
"""Mark: from the roots, every object that can be reached.

::

          roots
            │
       mark stack           each object is pushed once, when it is marked
            │
       queue of 16          objects whose memory is on its way to the cache; in large heaps only
            │
       scan an object       its end is found in the table, mostly in the bytes at hand; which of its words may be
            │               pointers, all (conservative) or those of its layout (precise)
            │ words that lie on the heap
            v
       mark the object      look the block up, go to its head; unless it is marked already, mark it
            │
            └──> mark stack

A word *lies on the heap* if it is an address of the pool; every such word is taken for a pointer, interior ones
included; one to free memory marks nothing.  Four words are compared with
the pool's bounds at once, and left behind if none lies within.  If one does, each is looked at by itself, behind a branch
of its own: the processor predicts the branch and goes on meanwhile, where a mask would be a data dependency.  Marks are
written and read by the byte for another reason: a load that is wider than the store before it misses store-to-load
forwarding.

The mark stack has room for every block.  TinyGo's is small: a full one leaves objects marked but not scanned (*dropped*),
for which the whole heap is scanned again, until none is left (*rescans*).  That is done here too where ``stack_limit`` asks
for it, with the same counts; but only the objects that were dropped are visited again, in the same order.  The bounded mark
stack may lie in the mutator's memory, even in an object that is scanned; so each word is loaded again right before it is
marked from, after what was pushed before.  (Where none of four lies on the heap nothing is pushed in between.)

What the loops are made of, word by word, stands in ``_marker.pxd``.
"""

import cython

if not cython.compiled:
    raise ImportError("tinyheap.heap.nextfit._mark is not compiled")

from cython.cimports.libc.stdlib import free as c_free
from cython.cimports.libc.stdlib import malloc as c_malloc
from cython.cimports.tinyheap.heap._words import (
    EVEN,
    ONES,
    clz64,
    ctz64,
    fill,
    load8,
    load64,
    load_word,
    store32,
    store64,
    words_below,
)
from cython.cimports.tinyheap.heap.nextfit._marker import (
    Marker,
    inline_bits,
    load_marker,
    mark_word,
    next_object,
    note_dropped,
    scan_all,
    scan_bits,
    scan_by_mask,
    scan_words,
    store_marker,
)
from cython.cimports.tinyheap.heap.nextfit._state import NO_BLOCK
from cython.cimports.tinyheap.heap.nextfit._table import (
    FREE,
    MARK,
    head_of,
    put_table_word,
    skip_tails,
    state_of,
    table_word,
)

# ---- the steps of a collection ------------------------------------------------------------------------------------------


def begin_marking(heap: Heap) -> cython.bint:
    """Get memory for marking, and divide it; False when there is none.

    It holds the queue, a bit for each block, set where one was dropped, and the mark stack.  What is not touched costs nothing.
    """
    dropped_bytes: u64 = 0 if heap.stack_limit == 0 else (heap.end_block + 63) >> 6 << 3
    # Of a table that was overwritten, what lies behind the last block may be marked, too.
    stack_bytes: u64 = (heap.stack_limit if heap.stack_limit != 0 else heap.end_block + 1) << 2
    heap.stack_memory = cython.cast(cython.size_t, c_malloc(QUEUE_BYTES + dropped_bytes + stack_bytes))
    if heap.stack_memory == 0:
        return False
    heap.queue = heap.stack_memory
    heap.dropped = heap.queue + QUEUE_BYTES
    heap.stack = heap.dropped + dropped_bytes
    fill(heap.dropped, dropped_bytes + (heap.stack_limit << 2), 0)
    heap.stack_block = NO_BLOCK
    heap.queue_depth = QUEUE if heap.stack_limit == 0 and heap.pool_bytes > QUEUE_FROM_BYTES else 1
    heap.queue_first = 0
    heap.queued = 0
    heap.stack_top = 0
    return True


def end_marking(heap: Heap) -> cython.void:
    """Give the memory back."""
    c_free(cython.cast(cython.p_void, cython.cast(cython.size_t, heap.stack_memory)))
    heap.stack_memory = 0
    heap.stack = 0


def mark_range(heap: Heap, at: u64, bytes: u64) -> cython.void:
    """Mark from a range of root words, which lie anywhere."""
    word_bytes: u64 = cython.cast(u64, 1) << heap.word_shift
    step: u64 = cython.cast(u64, 1) << heap.step_shift
    stop: u64 = at + bytes
    if bytes < word_bytes:
        return
    # The end is lowered to the last whole word, and where words overlap (AVR) so that no read crosses it.
    stop -= (bytes - word_bytes) & (step - 1)
    stop -= word_bytes - step
    if heap.stack_limit != 0:
        mark_one_by_one(heap, at, stop)
        return
    scan_range(heap, at, stop)
    drain(heap)


def mark_one_by_one(heap: Heap, at: u64, stop: u64) -> cython.void:
    """Mark from root words with the bounded mark stack, on which each is followed to the end before the next.

    Four-byte words are passed over by four where none is a pointer, as most are.
    """
    by_four: cython.bint = heap.word_shift == 2 and heap.step_shift == 2
    while at < stop:
        if by_four and stop - at >= 16 and words_below(at, heap.start, heap.pool_bytes) == 0:
            at += 16
            continue
        mark_address(heap, load_word(at, heap.word_shift))
        at += cython.cast(u64, 1) << heap.step_shift


def mark_address(heap: Heap, address: u64) -> cython.void:
    """Mark from one address."""
    marker: Marker
    if address - heap.start < heap.pool_bytes:
        load_marker(heap, cython.address(marker))
        mark_word(heap, cython.address(marker), address)
        store_marker(heap, cython.address(marker))
        drain_one(heap)


def mark_object_children(heap: Heap, head: u64) -> cython.void:
    """Mark from what an object refers to, not the object itself."""
    store32(heap.stack, head)
    heap.stack_top = 1
    drain_one(heap)


def finish_marking(heap: Heap) -> cython.void:
    """Scan marked objects again for as long as the bounded mark stack overflowed.

    TinyGo scans them all.  But all that a scanned object refers to is marked already, so that only those that were dropped
    matter, and the one that holds the mark stack; they are visited in its order, and those that are dropped meanwhile at
    higher addresses in the same pass.
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
        if heap.stack_block != NO_BLOCK and state_of(heap, heap.stack_block) == MARK:
            # The mark stack lies in an object, whose words have changed.
            note_dropped(heap, heap.stack_block)
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


def unmark_all(heap: Heap) -> cython.void:
    """Give a collection up: marks become heads again."""
    word: u64 = 0
    x: u64
    heap.overflowed = 0
    heap.unreadable = NO_BLOCK
    while word << 3 < heap.table_bytes:
        x = table_word(heap, word)
        put_table_word(heap, word, x & ~(((x & EVEN) << 1) & x))
        word += 1


# ---- draining the mark stack --------------------------------------------------------------------------------------------


def drain(heap: Heap) -> cython.void:
    """Scan the objects on the mark stack, and those that they lead to, until it is empty.

    Two loops, because in one for both a compiler spills registers.
    """
    if heap.header_bytes == 0:
        drain_conservative(heap)
    else:
        drain_precise(heap)


def drain_conservative(heap: Heap) -> cython.void:
    """`drain` where every word may be a pointer."""
    marker: Marker
    head: u64
    load_marker(heap, cython.address(marker))
    while True:
        if marker.top > marker.peak:
            marker.peak = marker.top
        head = next_object(heap, cython.address(marker))
        if head == NO_BLOCK:
            break
        scan_all(heap, cython.address(marker), head)
    store_marker(heap, cython.address(marker))


def drain_precise(heap: Heap) -> cython.void:
    """`drain` where layouts say which words may be pointers."""
    marker: Marker
    head: u64
    load_marker(heap, cython.address(marker))
    while True:
        if marker.top > marker.peak:
            marker.peak = marker.top
        head = next_object(heap, cython.address(marker))
        if head == NO_BLOCK:
            break
        if not scan_by_mask(heap, cython.address(marker), head):
            heap.stack_top = marker.top
            scan_long_object(heap, head)
            marker.top = heap.stack_top
    store_marker(heap, cython.address(marker))


# ---- layouts ------------------------------------------------------------------------------------------------------------


def scan_long_object(heap: Heap, head: u64) -> cython.void:
    """Mark by a layout that is not one mask: of a long object, out of line, or none."""
    at: u64 = heap.memory + (head << heap.block_shift)
    stop: u64 = heap.memory + (skip_tails(heap, head + 1) << heap.block_shift)
    layout: u64 = load_word(at, heap.word_shift)
    at += heap.header_bytes
    if at >= stop:
        return
    if layout == 0:
        scan_range(heap, at, stop)
    elif layout & 1 != 0:
        scan_pattern(heap, at, stop, layout)
    elif static_layout_size(heap, layout) != 0:
        scan_static(heap, at, stop, layout)
    else:
        if heap.unreadable == NO_BLOCK:
            heap.unreadable = head
        return
    heap.words_scanned += (stop - at) >> heap.step_shift


def scan_range(heap: Heap, at: u64, stop: u64) -> cython.void:
    """Mark from words that may all be pointers."""
    marker: Marker
    load_marker(heap, cython.address(marker))
    scan_words(heap, cython.address(marker), at, stop)
    store_marker(heap, cython.address(marker))


def scan_pattern(heap: Heap, at: u64, stop: u64, layout: u64) -> cython.void:
    """Mark by an inline layout."""
    marker: Marker
    size: u64 = (layout >> 1) & ((cython.cast(u64, 8) << heap.word_shift) - 1)
    words: u64 = (stop - at) >> heap.step_shift
    # So many words at a time that each piece begins where the pattern does.
    piece: u64 = 64 // size * size if size != 0 else words
    load_marker(heap, cython.address(marker))
    while words > piece:
        scan_bits(heap, cython.address(marker), at, inline_bits(layout, heap.word_shift, piece), piece)
        at += piece << heap.step_shift
        words -= piece
    scan_bits(heap, cython.address(marker), at, inline_bits(layout, heap.word_shift, words), words)
    store_marker(heap, cython.address(marker))


def scan_static(heap: Heap, at: u64, stop: u64, layout: u64) -> cython.void:
    """Mark by an out-of-line layout: ``{size word, bitmap bytes}`` among the statics."""
    marker: Marker
    bitmap: u64 = heap.statics + (layout - heap.statics_start) + (cython.cast(u64, 1) << heap.word_shift)
    size: u64 = static_layout_size(heap, layout)
    words: u64 = (stop - at) >> heap.step_shift
    index: u64 = 0
    piece: u64
    load_marker(heap, cython.address(marker))
    while words > 0:
        # A byte of the bitmap at a time; its last one may be short.
        piece = 8 if size - index > 8 else size - index
        piece = piece if words > piece else words
        scan_bits(heap, cython.address(marker), at, load8(bitmap + (index >> 3)), piece)
        at += piece << heap.step_shift
        words -= piece
        index += piece
        if index == size:
            index = 0
    store_marker(heap, cython.address(marker))


def static_layout_size(heap: Heap, layout: u64) -> u64:
    """Number of bits of an out-of-line layout; 0 when it does not lie among the statics."""
    word_bytes: u64 = cython.cast(u64, 1) << heap.word_shift
    at: u64 = layout - heap.statics_start
    size: u64
    if at >= heap.statics_bytes or heap.statics_bytes - at < word_bytes:
        return 0
    size = load_word(heap.statics + at, heap.word_shift)
    at += word_bytes
    if size > (heap.statics_bytes - at) << 3:
        return 0
    return size


# ---- the bounded mark stack ---------------------------------------------------------------------------------------------


def drain_one(heap: Heap) -> cython.void:
    """Scan the one object on the mark stack, if there is one, and all that it leads to.

    The other entries begin as they were left, or cleared.
    """
    if heap.stack_top != 0 and heap.stack_zeroed != 0:
        fill(heap.stack + 4, (heap.stack_limit - 1) << 2, 0)
    drain(heap)


def leave_last_rescan(heap: Heap, last: u64) -> cython.void:
    """Leave the mark stack as TinyGo's last rescan does, which ends at the last marked object.

    If that is ``last``, which was visited here, it stands there already; else scanning it pushes nothing on it.
    """
    word: u64 = (heap.end_block + 31) >> 5
    block: u64 = 0
    marks: u64
    while word > 0:
        word -= 1
        marks = table_word(heap, word)
        marks &= (marks >> 1) & EVEN
        if heap.end_block - (word << 5) < 32:
            # Not what lies behind the last block, in a table that was overwritten.
            marks &= ~(ONES << ((heap.end_block & 31) << 1))
        if marks != 0:
            block = (word << 5) + 31 - (clz64(marks) >> 1)
            break
    if block == last:
        return
    store32(heap.stack, block)
    if heap.stack_zeroed != 0:
        fill(heap.stack + 4, (heap.stack_limit - 1) << 2, 0)


def head_of_host(heap: Heap, at: u64) -> u64:
    """The head of the object that holds an address of this machine."""
    offset: u64 = at - heap.memory
    if offset >= heap.pool_bytes or offset >> heap.block_shift >= heap.end_block:
        return NO_BLOCK
    if state_of(heap, offset >> heap.block_shift) == FREE:
        return NO_BLOCK
    return head_of(heap, offset >> heap.block_shift)
