# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, freethreading_compatible=True
"""Mark: from the roots, every object that can be reached.

::

    scan_top -> header: | link | -> header: | link | -> ... -> 0        marked, not yet scanned; last in, first out

There is no mark stack: the list of what is yet to be scanned goes through the headers of the objects, whose link words keep
their values afterwards.  Since they are memory that the mutator sees, objects are found, chained and scanned in the very
order of ``model.py``: roots only chain, `finish_marking` scans.

A word *lies on the heap* if it is an address of the pool; every such word counts as a pointer.  Four words are compared with
the pool's bounds at once, and left behind if none lies within.  A precise object's layout is a pattern that covers as much of
its body as whole elements do.

A link that leads off the heap was overwritten while marking ran, by another thread: the list ends there.
"""

import cython

if not cython.compiled:
    raise ImportError("tinyheap.heap.bestfit._mark is not compiled")

from cython.cimports.tinyheap.heap._words import (
    ONES,
    ctz64,
    load8,
    load32,
    load64,
    load_word,
    long_words_below,
    rarely,
    store8,
    store_word,
    words_below,
)
from cython.cimports.tinyheap.heap.bestfit._state import NO_BLOCK, place_of
from cython.cimports.tinyheap.heap.bestfit._table import HEAD, TAIL, end_of, first_of, head_of, header_of, state_of


def mark_range(heap: Heap, at: u64, bytes: u64) -> cython.void:
    """Mark from a range of root words, which lie anywhere."""
    word_bytes: u64 = cython.cast(u64, 1) << heap.word_shift
    # The end is lowered, so that where words overlap (AVR) no read crosses it.
    if bytes >= word_bytes:
        scan_words(heap, at, at + bytes - word_bytes + 1)


def mark_word(heap: Heap, word: u64) -> cython.void:
    """Mark the object that a word refers to, if it does, and chain it, unless it was marked before."""
    block: u64 = word - heap.start
    state: u64
    at: u64
    if block >= heap.pool_bytes:
        return
    block >>= heap.block_shift
    state = state_of(heap, block)
    if state == TAIL:
        block = head_of(heap, block)
        if block == NO_BLOCK:
            return
        state = state_of(heap, block)
    if state != HEAD:
        return
    at = heap.table + (block >> 2)
    store8(at, load8(at) | cython.cast(u64, 16) << (block & 3))
    at = header_of(heap, block)
    heap.last_found = word
    store_word(at, heap.word_shift, heap.scan_top)
    heap.scan_top = heap.start + (at - heap.memory)
    heap.scan_depth += 1
    if heap.scan_depth > heap.scan_peak:
        heap.scan_peak = heap.scan_depth


def finish_marking(heap: Heap) -> cython.void:
    """Scan what is chained, and what that leads to."""
    head: u64
    while heap.scan_depth > 0:
        heap.scan_depth -= 1
        if rarely(heap.scan_top - heap.start > heap.pool_bytes - heap.header_bytes):
            heap.scan_depth = 0
            break
        head = (heap.scan_top - heap.start) >> heap.block_shift
        heap.scan_top = load_word(place_of(heap, heap.scan_top), heap.word_shift)
        mark_object_children(heap, head)
    heap.scan_top = 0


def mark_object_children(heap: Heap, head: u64) -> cython.void:
    """Mark from what an object refers to, not the object itself."""
    at: u64
    stop: u64
    if rarely(head >= heap.end_block):
        return
    at = heap.memory + (first_of(heap, head) << heap.block_shift) + heap.body_offset
    if heap.back == 0:
        stop = heap.memory + (end_of(heap, head) << heap.block_shift)
    else:
        stop = header_of(heap, head)
    if at >= stop:
        return
    if heap.precise != 0:
        scan_precise(heap, head, at, stop)
    else:
        note_scan(heap, head)
        heap.last_whole = head
        scan_words(heap, at, stop - (cython.cast(u64, 1) << heap.word_shift) + 1)


def scan_words(heap: Heap, at: u64, stop: u64) -> cython.void:
    """Mark from words that may all be pointers, those that begin before ``stop``."""
    step: u64 = cython.cast(u64, 1) << heap.step_shift
    four: u64 = step << 2
    heap.words_scanned += (stop - at + step - 1) >> heap.step_shift
    if heap.step_shift == 2:
        while stop > at + 12:
            if words_below(at, heap.start, heap.pool_bytes) != 0:
                mark_word(heap, load32(at))
                mark_word(heap, load32(at + 4))
                mark_word(heap, load32(at + 8))
                mark_word(heap, load32(at + 12))
            at += four
    elif heap.step_shift == 3:
        while stop > at + 24:
            if long_words_below(at, heap.start, heap.pool_bytes) != 0:
                mark_word(heap, load64(at))
                mark_word(heap, load64(at + 8))
                mark_word(heap, load64(at + 16))
                mark_word(heap, load64(at + 24))
            at += four
    while at < stop:
        mark_word(heap, load_word(at, heap.word_shift))
        at += step


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def note_scan(heap: Heap, head: u64) -> cython.void:
    """An object is scanned that holds pointers."""
    heap.last_scanned = head
    heap.scanned_several |= end_of(heap, head) - first_of(heap, head) - 1


# ---- layouts ------------------------------------------------------------------------------------------------------------


def scan_precise(heap: Heap, head: u64, at: u64, stop: u64) -> cython.void:
    """Mark from those words of a body that its object's layout names."""
    layout: u64 = load_word(header_of(heap, head) + (cython.cast(u64, 1) << heap.word_shift), heap.word_shift)
    if layout == 0:
        note_scan(heap, head)
        heap.last_whole = head
        scan_words(heap, at, stop - (cython.cast(u64, 1) << heap.word_shift) + 1)
    elif not is_readable(heap, layout):
        if heap.unreadable == NO_BLOCK:
            heap.unreadable = head
    elif layout & 1 != 0:
        if layout >> (heap.word_shift + 4) != 0:
            note_scan(heap, head)
            heap.last_inline = head
            scan_pattern(heap, at, stop, layout)
    else:
        note_scan(heap, head)
        heap.last_outside = head
        heap.last_layout = layout
        scan_static(heap, at, stop, layout)


def is_readable(heap: Heap, layout: u64) -> cython.bint:
    """Whether a layout word can be read: as an inline layout of some length, or one that lies among the statics."""
    if layout == 0:
        return True
    if layout & 1 != 0:
        return (
            layout >> (heap.word_shift + 4) == 0 or (layout >> 1) & ((cython.cast(u64, 8) << heap.word_shift) - 1) != 0
        )
    return static_layout_size(heap, layout) != 0


def scan_pattern(heap: Heap, at: u64, stop: u64, layout: u64) -> cython.void:
    """Mark by an inline layout: 1, a size field of 4, 5 or 6 bits, the bitmap."""
    size: u64 = (layout >> 1) & ((cython.cast(u64, 8) << heap.word_shift) - 1)
    bits: u64 = layout >> (heap.word_shift + 4)
    element: u64 = size << heap.step_shift
    bits &= (cython.cast(u64, 1) << size) - 1
    heap.words_scanned += (stop - at) >> heap.step_shift
    while stop - at >= element:
        scan_bits(heap, at, bits)
        at += element


def scan_static(heap: Heap, at: u64, stop: u64, layout: u64) -> cython.void:
    """Mark by an out-of-line layout: ``{size word, bitmap bytes}`` among the statics."""
    bitmap: u64 = heap.statics + (layout - heap.statics_start) + (cython.cast(u64, 1) << heap.word_shift)
    size: u64 = static_layout_size(heap, layout)
    index: u64
    piece: u64
    bits: u64
    heap.words_scanned += (stop - at) >> heap.step_shift
    while (stop - at) >> heap.step_shift >= size:
        index = 0
        while index < size:
            # A byte of the bitmap at a time; its last one may be short.
            piece = 8 if size - index > 8 else size - index
            bits = load8(bitmap + (index >> 3)) & (ONES >> (64 - piece))
            scan_bits(heap, at + (index << heap.step_shift), bits)
            index += piece
        at += size << heap.step_shift


def scan_bits(heap: Heap, at: u64, bits: u64) -> cython.void:
    """Mark from those words whose bits are set, of up to 64."""
    while bits != 0:
        mark_word(heap, load_word(at + (ctz64(bits) << heap.step_shift), heap.word_shift))
        bits &= bits - 1


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
