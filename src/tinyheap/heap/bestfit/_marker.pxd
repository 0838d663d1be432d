# cython: language_level=3, cdivision=True
# Marking, word by word: what the loops of `_mark.py` are made of, compiled into each of them.
#
# A `Marker` is what they read for each word or change for each object, out of the heap and into registers.  No pointer to
# one may reach a function that is not inlined: it would be in memory from then on.

from tinyheap.heap._words cimport (
    ctz64, load8, load64, load_word, long_words_below, rarely, store8, store_word, u64, words_below
)
from tinyheap.heap.bestfit._state cimport NO_BLOCK, Heap
from tinyheap.heap.bestfit._table cimport HEAD_BITS, LOW_NIBBLES, MARK_BITS, TAIL_BITS, first_of, head_of, tails_above

cdef struct Marker:
    u64 memory
    u64 table
    u64 wide_end        # of heads below this, nine bytes of the table from their own on lie in it and are of blocks
    u64 start
    u64 bytes           # of all whole blocks
    u64 block_shift
    u64 word_shift
    u64 step_shift
    u64 header_bytes
    u64 back
    u64 top             # `HeapState.scan_top`
    u64 depth           # `HeapState.scan_depth`
    u64 peak            # `HeapState.scan_peak`
    u64 scanned
    # What was done last, as `HeapState` has it.
    u64 last_found
    u64 last_scanned
    u64 last_inline
    u64 several

ctypedef Marker* MarkerPointer

cdef inline void load_marker(Heap heap, MarkerPointer marker, u64 word_shift, u64 step_shift) noexcept nogil:
    """Take from the heap what marking reads.

    The shifts are the heap's own; callers give them as literals where they can, so that each size of words is compiled apart.
    """
    marker.memory = heap.memory
    marker.table = heap.table
    marker.wide_end = ((heap.end_block >> 2) - 8) << 2 if heap.end_block >= 36 else 0
    marker.start = heap.start
    marker.bytes = heap.end_block << heap.block_shift
    marker.block_shift = word_shift + 2
    marker.word_shift = word_shift
    marker.step_shift = step_shift
    marker.header_bytes = heap.header_bytes
    marker.back = heap.back
    marker.top = heap.scan_top
    marker.depth = heap.scan_depth
    marker.peak = heap.scan_peak
    marker.scanned = 0
    marker.last_found = heap.last_found
    marker.last_scanned = heap.last_scanned
    marker.last_inline = heap.last_inline
    marker.several = heap.scanned_several

cdef inline void store_marker(Heap heap, MarkerPointer marker) noexcept nogil:
    """Hand back what changed."""
    heap.scan_top = marker.top
    heap.scan_depth = marker.depth
    heap.scan_peak = marker.peak if marker.peak > marker.depth else marker.depth
    heap.words_scanned += marker.scanned
    heap.last_found = marker.last_found
    heap.last_scanned = marker.last_scanned
    heap.last_inline = marker.last_inline
    heap.scanned_several = marker.several

cdef inline u64 next_object(MarkerPointer marker) noexcept nogil:
    """The head of the object that was marked last, which is taken off the list; `NO_BLOCK` where the list ends."""
    cdef u64 at = marker.top - marker.start
    if marker.depth > marker.peak:
        marker.peak = marker.depth
    if marker.depth == 0:
        return NO_BLOCK
    marker.depth -= 1
    # Another thread overwrote the link.
    if rarely(at > marker.bytes - marker.header_bytes):
        marker.depth = 0
        return NO_BLOCK
    marker.top = load_word(marker.memory + at, marker.word_shift)
    return at >> marker.block_shift

cdef inline u64 body_start(Heap heap, MarkerPointer marker, u64 head) noexcept nogil:
    """Where an object's body begins, as an address of this process."""
    if marker.back == 0:
        return marker.memory + (head << marker.block_shift) + marker.header_bytes
    return marker.memory + (first_of(heap, head) << marker.block_shift)

cdef inline u64 body_end(Heap heap, MarkerPointer marker, u64 head) noexcept nogil:
    """Where an object's body ends, as an address of this process: mostly found in the table's bytes from its head on."""
    cdef u64 at = marker.table + (head >> 2)
    cdef u64 x
    if marker.back != 0:
        return marker.memory + ((head + 1) << marker.block_shift) - marker.header_bytes
    if head < marker.wide_end:
        # The head's own byte was written when it was marked, maybe just now: a wider load would miss store-to-load forwarding.
        x = load8(at) | load64(at + 1) << 8
        # What is no tail, of the blocks behind the head.
        x = ~(x >> 4 & ~x) & LOW_NIBBLES & (<u64>-2 << (head & 3))
        if x != 0:
            x = ctz64(x)
            return marker.memory + (((head & ~<u64>3) + (x >> 1 & ~<u64>3) + (x & 3)) << marker.block_shift)
    return marker.memory + (tails_above(heap, head + 1) << marker.block_shift)

cdef inline bint scan_by_mask(Heap heap, MarkerPointer marker, u64 head) noexcept nogil:
    """Mark by an inline layout of which one whole element fits into the body at most; False, and nothing done, else."""
    cdef u64 at
    cdef u64 layout
    cdef u64 bitmap
    cdef u64 words
    cdef u64 size
    if marker.back == 0:
        at = marker.memory + (head << marker.block_shift)
    else:
        at = marker.memory + ((head + 1) << marker.block_shift) - marker.header_bytes
    layout = load_word(at + (<u64>1 << marker.word_shift), marker.word_shift)
    size = (layout >> 1) & ((<u64>8 << marker.word_shift) - 1)
    if layout & 1 == 0:
        return False
    bitmap = layout >> (marker.word_shift + 4)
    if bitmap == 0:
        # Without pointers: its end does not matter.
        return True
    words = (body_end(heap, marker, head) - body_start(heap, marker, head)) >> marker.step_shift
    if size == 0 or words >= size << 1:
        return False
    marker.last_scanned = marker.last_inline = head
    marker.several |= words << marker.step_shift >> marker.block_shift
    if words >= size:
        scan_bits(heap, marker, body_start(heap, marker, head), bitmap & ((<u64>1 << size) - 1))
        marker.scanned += size
    return True

cdef inline void scan_words(Heap heap, MarkerPointer marker, u64 at, u64 stop) noexcept nogil:
    """Mark from words that may all be pointers.

    From eight words on, four are compared at once, and passed over if none of them lies on the heap.
    """
    cdef u64 four = <u64>4 << marker.step_shift
    cdef u64 piece
    cdef u64 found
    if marker.step_shift > 1 and stop - at >= four << 1:
        while stop - at >= four:
            piece = at + four
            if marker.step_shift == 3:
                found = long_words_below(at, marker.start, marker.bytes)
            else:
                found = words_below(at, marker.start, marker.bytes)
            if found != 0:
                while at < piece:
                    mark_word(heap, marker, load_word(at, marker.word_shift))
                    at += <u64>1 << marker.step_shift
            at = piece
    while at < stop:
        mark_word(heap, marker, load_word(at, marker.word_shift))
        at += <u64>1 << marker.step_shift

cdef inline void scan_bits(Heap heap, MarkerPointer marker, u64 at, u64 bits) noexcept nogil:
    """Mark from those words whose bits are set, of up to 64."""
    while bits != 0:
        mark_word(heap, marker, load_word(at + (ctz64(bits) << marker.step_shift), marker.word_shift))
        bits &= bits - 1

cdef inline void mark_word(Heap heap, MarkerPointer marker, u64 word) noexcept nogil:
    """Mark the object that a word refers to, if it does, and chain it, unless it was marked before."""
    if word - marker.start < marker.bytes:
        mark_block(heap, marker, (word - marker.start) >> marker.block_shift)

cdef inline void mark_block(Heap heap, MarkerPointer marker, u64 block) noexcept nogil:
    """Mark the object that a block belongs to, and put it on the list of what is yet to be scanned, unless it was marked."""
    cdef u64 found = block
    cdef u64 at = marker.table + (block >> 2)
    cdef u64 byte = load8(at)
    if rarely((byte >> (block & 3) & MARK_BITS) != HEAD_BITS):
        if (byte >> (block & 3) & MARK_BITS) != TAIL_BITS:
            return
        block = head_of(heap, block)
        if block == NO_BLOCK:
            return
        at = marker.table + (block >> 2)
        byte = load8(at)
        if (byte >> (block & 3) & MARK_BITS) != HEAD_BITS:
            return
    marker.last_found = marker.start + (found << marker.block_shift)
    store8(at, byte | <u64>MARK_BITS << (block & 3))
    at = block << marker.block_shift
    if marker.back != 0:
        at += (<u64>1 << marker.block_shift) - marker.header_bytes
    store_word(marker.memory + at, marker.word_shift, marker.top)
    marker.top = marker.start + at
    marker.depth += 1
