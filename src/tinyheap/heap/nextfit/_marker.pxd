# cython: language_level=3, cdivision=True
# Marking, word by word: what the loops of `_mark.py` are made of, compiled into each of them.
#
# A `Marker` is what they read for each word or change for each object, out of the heap and into registers.  No pointer to
# one may reach a function that is not inlined: it would be in memory from then on.

from tinyheap.heap.nextfit._state cimport NO_BLOCK, Heap
from tinyheap.heap.nextfit._table cimport HEAD, MARK, TAIL, head_of, skip_tails
from tinyheap.heap._words cimport (
    ODD, ONES, ctz64, load8, load32, load64, load_word, long_words_below, prefetch, rarely, store8, store32,
    store64, u64, words_below
)

cdef enum:
    QUEUE = 16                      # objects that are fetched ahead; a power of two
    LONG_BYTES = 512                # of objects from this size on, leading words that are no pointers are skipped by sixteen

cdef struct Marker:
    u64 memory
    u64 table
    u64 start
    u64 pool_bytes
    u64 end_block
    u64 wide_end                    # of heads below this, nine bytes of the table from their own on lie in it and are of blocks
    u64 block_shift
    u64 word_shift
    u64 step_shift
    u64 header_bytes
    u64 stack
    u64 limit                       # entries of the bounded mark stack; `ONES` where it has no bound
    u64 top
    u64 peak
    u64 scanned

ctypedef Marker* MarkerPointer

cdef inline void load_marker(Heap heap, MarkerPointer marker) noexcept nogil:
    marker.memory = heap.memory
    marker.table = heap.table
    marker.start = heap.start
    marker.pool_bytes = heap.pool_bytes
    marker.end_block = heap.end_block
    marker.wide_end = ((heap.end_block >> 2) - 8) << 2 if heap.end_block >= 36 else 0
    marker.block_shift = heap.block_shift
    marker.word_shift = heap.word_shift
    marker.step_shift = heap.step_shift
    marker.header_bytes = heap.header_bytes
    marker.stack = heap.stack
    marker.limit = heap.stack_limit if heap.stack_limit != 0 else ONES
    marker.top = heap.stack_top
    marker.peak = heap.stack_peak
    marker.scanned = 0

cdef inline void store_marker(Heap heap, MarkerPointer marker) noexcept nogil:
    """Hand back what changed."""
    heap.stack_top = marker.top
    heap.stack_peak = marker.peak
    heap.words_scanned += marker.scanned

cdef inline u64 next_object(Heap heap, MarkerPointer marker) noexcept nogil:
    """Take an object off the mark stack, `NO_BLOCK` when it is empty; in a large heap it comes through the queue."""
    if heap.queue_depth > 1:
        return next_in_queue(heap, marker)
    if marker.top == 0:
        return NO_BLOCK
    marker.top -= 1
    return load32(marker.stack + (marker.top << 2))

cdef inline u64 next_in_queue(Heap heap, MarkerPointer marker) noexcept nogil:
    """Fill the queue from the mark stack, and take its oldest object."""
    cdef u64 head
    while heap.queued < heap.queue_depth and marker.top > 0:
        marker.top -= 1
        head = load32(marker.stack + (marker.top << 2))
        if heap.queued == 0 and marker.top == 0:
            # Nothing to overlap with, as in a chain: straight on.
            return head
        prefetch(marker.memory + (head << marker.block_shift))
        prefetch(marker.memory + (head << marker.block_shift) + 64)
        store32(heap.queue + (((heap.queue_first + heap.queued) & (QUEUE - 1)) << 2), head)
        heap.queued += 1
    if heap.queued == 0:
        return NO_BLOCK
    head = load32(heap.queue + (heap.queue_first << 2))
    heap.queue_first = (heap.queue_first + 1) & (QUEUE - 1)
    heap.queued -= 1
    return head

cdef inline void scan_all(Heap heap, MarkerPointer marker, u64 head) noexcept nogil:
    """Mark what an object refers to whose words may all be pointers."""
    cdef u64 at = marker.memory + (head << marker.block_shift)
    cdef u64 stop = object_end(heap, marker, head)
    marker.scanned += (stop - at) >> marker.step_shift
    if marker.step_shift > 1:
        if rarely(stop - at >= LONG_BYTES):
            at = skip_data(marker, at, stop)
        # Objects are whole blocks, which are four words: nothing is left over.
        scan_fours(heap, marker, at, stop)
    else:
        scan_words(heap, marker, at, stop)

cdef inline bint scan_by_mask(Heap heap, MarkerPointer marker, u64 head) noexcept nogil:
    """Mark by an inline layout what an object of 64 words at most refers to; False, and nothing done, where it is another."""
    cdef u64 at = marker.memory + (head << marker.block_shift)
    cdef u64 layout
    cdef u64 words
    if head >= marker.end_block:
        # A state past the last block, in a table that was overwritten.
        return True
    layout = load_word(at, marker.word_shift)
    if layout & 1 == 0:
        return False
    if layout >> (marker.word_shift + 4) == 0:
        # Without pointers: its end does not matter.
        return True
    at += marker.header_bytes
    words = (object_end(heap, marker, head) - at) >> marker.step_shift
    if words > 64:
        return False
    scan_bits(heap, marker, at, inline_bits(layout, marker.word_shift, words), words)
    marker.scanned += words
    return True

cdef inline u64 object_end(Heap heap, MarkerPointer marker, u64 head) noexcept nogil:
    """Where an object ends: as `skip_tails` says, but mostly found in the bytes of the table from its head on."""
    cdef u64 at = marker.table + (head >> 2)
    cdef u64 others = 0
    cdef u64 block = head + 1
    if head < marker.wide_end:
        # The head's own byte was written when it was marked, maybe just now: a wider load would miss store-to-load forwarding.
        others = ((load8(at) | load64(at + 1) << 8) ^ ODD) >> ((head & 3) << 1) >> 2
    if rarely(others == 0):
        block = skip_tails(heap, block)
    else:
        block += ctz64(others) >> 1
    return marker.memory + (block << marker.block_shift)

cdef inline void scan_words(Heap heap, MarkerPointer marker, u64 at, u64 stop) noexcept nogil:
    """Mark from words that may all be pointers."""
    cdef u64 rest = at
    if marker.step_shift > 1:
        rest += (stop - at) >> (marker.step_shift + 2) << (marker.step_shift + 2)
        scan_fours(heap, marker, at, rest)
    while rest < stop:
        mark_word(heap, marker, load_word(rest, marker.word_shift))
        rest += <u64>1 << marker.step_shift

cdef inline void scan_fours(Heap heap, MarkerPointer marker, u64 at, u64 stop) noexcept nogil:
    """Mark from words of four or eight bytes, four at a time."""
    cdef u64 piece
    while at < stop:
        piece = at + (<u64>4 << marker.step_shift)
        if marker.step_shift == 3:
            if long_words_below(at, marker.start, marker.pool_bytes) != 0:
                while at < piece:
                    mark_word(heap, marker, load64(at))
                    at += 8
        elif words_below(at, marker.start, marker.pool_bytes) != 0:
            while at < piece:
                mark_word(heap, marker, load32(at))
                at += 4
        at = piece

cdef inline u64 skip_data(MarkerPointer marker, u64 at, u64 stop) noexcept nogil:
    """Past the words that an object begins with which are not pointers, sixteen at a time: all, in arrays of numbers."""
    cdef u64 four = <u64>4 << marker.step_shift
    while stop - at >= four << 2 and not (
        fours_below(marker, at)
        | fours_below(marker, at + four)
        | fours_below(marker, at + (four << 1))
        | fours_below(marker, at + (four << 1) + four)
    ):
        at += four << 2
    return at

cdef inline u64 fours_below(MarkerPointer marker, u64 at) noexcept nogil:
    """Which of four words lie on the heap, one bit per word."""
    if marker.step_shift == 3:
        return long_words_below(at, marker.start, marker.pool_bytes)
    return words_below(at, marker.start, marker.pool_bytes)

cdef inline void scan_bits(Heap heap, MarkerPointer marker, u64 at, u64 bits, u64 words) noexcept nogil:
    """Mark from the words whose bits are set, up to word ``words``.

    That bound is a branch for each word and not a mask: with a mask the first load would depend on the object's end.
    """
    cdef u64 index
    while bits != 0:
        index = ctz64(bits)
        if index >= words:
            break
        mark_word(heap, marker, load_word(at + (index << marker.step_shift), marker.word_shift))
        bits &= bits - 1

cdef inline void mark_word(Heap heap, MarkerPointer marker, u64 word) noexcept nogil:
    """Mark from a word that may be a pointer."""
    if word - marker.start < marker.pool_bytes:
        mark_block(heap, marker, (word - marker.start) >> marker.block_shift)

cdef inline void mark_block(Heap heap, MarkerPointer marker, u64 block) noexcept nogil:
    """Mark the object that a block belongs to, and put it on the mark stack, unless it was marked before."""
    cdef u64 at = marker.table + (block >> 2)
    cdef u64 byte = load8(at)
    cdef u64 shift = (block & 3) << 1
    cdef u64 state = (byte >> shift) & 3
    if rarely(state != HEAD):
        if state != TAIL:
            return
        block = head_of(heap, block)
        if block == NO_BLOCK:
            return
        at = marker.table + (block >> 2)
        byte = load8(at)
        shift = (block & 3) << 1
        if (byte >> shift) & 3 != HEAD:
            return
    store8(at, byte | (<u64>MARK << shift))
    if rarely(marker.top == marker.limit):
        drop(heap, block)
        return
    store32(marker.stack + (marker.top << 2), block)
    marker.top += 1

cdef inline void drop(Heap heap, u64 block) noexcept nogil:
    """The mark stack is full: the object is marked, but what it leads to is left to a rescan."""
    heap.overflows += 1
    heap.overflowed = 1
    # What a table that was overwritten says of bytes behind the last block is not scanned again.
    if block < heap.end_block:
        note_dropped(heap, block)

cdef inline void note_dropped(Heap heap, u64 block) noexcept nogil:
    cdef u64 at = heap.dropped + ((block >> 6) << 3)
    store64(at, load64(at) | (<u64>1 << (block & 63)))

cdef inline u64 inline_bits(u64 layout, u64 word_shift, u64 words) noexcept nogil:
    """The bitmap of an inline layout, repeated to cover so many words, 64 at most; bits from there on may be set, too.

    The layout is 1, a size field of 4, 5 or 6 bits, and the bitmap.
    """
    cdef u64 size = (layout >> 1) & ((<u64>8 << word_shift) - 1)
    cdef u64 bitmap = layout >> (word_shift + 4)
    # A pattern of no length does not repeat, and is not cut off.
    if size != 0:
        bitmap &= (<u64>1 << size) - 1
        while size < words and size < 64:
            bitmap |= bitmap << size
            size <<= 1
    return bitmap
