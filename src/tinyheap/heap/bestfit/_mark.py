# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, freethreading_compatible=True
"""Mark: from the roots, every object that can be reached.

::

    scan_top -> header: | link | -> header: | link | -> ... -> 0        marked, not yet scanned; last in, first out

There is no mark stack: the list of what is yet to be scanned goes through the headers of the objects, whose link words keep
their values afterwards.  Since they are memory that the mutator sees, objects are found, chained and scanned in the very
order of ``model.py``: roots only chain, `finish_marking` scans.

A word *lies on the heap* if it is an address in one of its blocks; every such word counts as a pointer.  Four words are
compared with the blocks' bounds at once, and left behind if none lies within.  A precise object's layout is a pattern that
covers as much of its body as whole elements do.  What the loops are made of, word by word, stands in ``_marker.pxd``.

A link that leads off the heap was overwritten while marking ran, by another thread: the list ends there.
"""

import cython

if not cython.compiled:
    raise ImportError("tinyheap.heap.bestfit._mark is not compiled")

from cython.cimports.tinyheap.heap._words import ONES, load8, load_word
from cython.cimports.tinyheap.heap.bestfit._marker import (
    Marker,
    body_end,
    body_start,
    load_marker,
    mark_word,
    next_object,
    scan_bits,
    scan_by_mask,
    scan_words,
    store_marker,
)
from cython.cimports.tinyheap.heap.bestfit._state import NO_BLOCK
from cython.cimports.tinyheap.heap.bestfit._table import FREE, head_of, header_of, state_of


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
    scan_from(heap, at, stop, False)


def mark_address(heap: Heap, address: u64) -> cython.void:
    """Mark from one address."""
    marker: Marker
    load_marker(heap, cython.address(marker), heap.word_shift, heap.step_shift)
    mark_word(heap, cython.address(marker), address)
    store_marker(heap, cython.address(marker))


def finish_marking(heap: Heap) -> cython.void:
    """Scan what is chained, and what that leads to."""
    if heap.precise != 0:
        drain_precise(heap)
    else:
        scan_from(heap, 0, 0, True)
    heap.scan_top = 0


def scan_from(heap: Heap, at: u64, stop: u64, drains: cython.bint) -> cython.void:
    """Mark from words that may all be pointers, and then from all of the objects that are chained, if it ``drains``.

    Compiled once for each size of words, which is a constant then.
    """
    if heap.step_shift == 2:
        scan_by(heap, at, stop, drains, 2, 2)
    elif heap.step_shift == 3:
        scan_by(heap, at, stop, drains, 3, 3)
    else:
        scan_by(heap, at, stop, drains, heap.word_shift, heap.step_shift)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def scan_by(heap: Heap, at: u64, stop: u64, drains: cython.bint, word_shift: u64, step_shift: u64) -> cython.void:
    """Both in one loop, since what a compiler finds in two places it does not keep in registers."""
    marker: Marker
    head: u64
    load_marker(heap, cython.address(marker), word_shift, step_shift)
    while True:
        if at < stop:
            marker.scanned += (stop - at) >> step_shift
            scan_words(heap, cython.address(marker), at, stop)
        head = next_object(cython.address(marker)) if drains else NO_BLOCK
        if head == NO_BLOCK:
            break
        at = body_start(heap, cython.address(marker), head)
        # Where words overlap (AVR) none crosses the end.
        stop = body_end(heap, cython.address(marker), head)
        stop -= (cython.cast(u64, 1) << word_shift) - (cython.cast(u64, 1) << step_shift)
        marker.last_scanned = head
        marker.several |= (stop - at) >> marker.block_shift
    store_marker(heap, cython.address(marker))


def drain_precise(heap: Heap) -> cython.void:
    """`finish_marking` where layouts say which words may be pointers."""
    if heap.step_shift == 2:
        drain_by(heap, 2, 2)
    elif heap.step_shift == 3:
        drain_by(heap, 3, 3)
    else:
        drain_by(heap, heap.word_shift, heap.step_shift)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def drain_by(heap: Heap, word_shift: u64, step_shift: u64) -> cython.void:
    marker: Marker
    head: u64
    load_marker(heap, cython.address(marker), word_shift, step_shift)
    while True:
        head = next_object(cython.address(marker))
        if head == NO_BLOCK:
            break
        if not scan_by_mask(heap, cython.address(marker), head):
            store_marker(heap, cython.address(marker))
            scan_by_layout(heap, head)
            load_marker(heap, cython.address(marker), word_shift, step_shift)
    store_marker(heap, cython.address(marker))


def mark_object_children(heap: Heap, head: u64) -> cython.void:
    """Mark from what an object refers to, not the object itself."""
    if heap.precise != 0:
        scan_by_layout(heap, head)
    else:
        scan_unknown(heap, head)


def scan_unknown(heap: Heap, head: u64) -> cython.void:
    """Mark from all words of an object's body."""
    marker: Marker
    at: u64
    stop: u64
    load_marker(heap, cython.address(marker), heap.word_shift, heap.step_shift)
    at = body_start(heap, cython.address(marker), head)
    stop = body_end(heap, cython.address(marker), head)
    stop -= (cython.cast(u64, 1) << heap.word_shift) - (cython.cast(u64, 1) << heap.step_shift)
    heap.last_whole = note_scan(heap, head, stop - at)
    scan_from(heap, at, stop, False)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def note_scan(heap: Heap, head: u64, body_bytes: u64) -> u64:
    """Note that an object is scanned that may hold pointers; returns its head."""
    heap.last_scanned = head
    heap.scanned_several |= body_bytes >> heap.block_shift
    return head


# ---- layouts ------------------------------------------------------------------------------------------------------------


def scan_by_layout(heap: Heap, head: u64) -> cython.void:
    """Mark from those words of an object's body that its layout names."""
    layout: u64 = load_word(header_of(heap, head) + (cython.cast(u64, 1) << heap.word_shift), heap.word_shift)
    if layout == 0:
        scan_unknown(heap, head)
    elif not is_readable(heap, layout):
        if heap.unreadable == NO_BLOCK:
            heap.unreadable = head
    elif layout & 1 != 0:
        scan_pattern(heap, head, layout)
    else:
        scan_static(heap, head, layout)


def is_readable(heap: Heap, layout: u64) -> cython.bint:
    """Whether a layout word can be read: as an inline layout of some length, or one that lies among the statics."""
    if layout == 0:
        return True
    if layout & 1 != 0:
        return (
            layout >> (heap.word_shift + 4) == 0 or (layout >> 1) & ((cython.cast(u64, 8) << heap.word_shift) - 1) != 0
        )
    return static_layout_size(heap, layout) != 0


def scan_pattern(heap: Heap, head: u64, layout: u64) -> cython.void:
    """Mark by an inline layout: 1, a size field of 4, 5 or 6 bits, the bitmap."""
    marker: Marker
    size: u64 = (layout >> 1) & ((cython.cast(u64, 8) << heap.word_shift) - 1)
    bits: u64 = layout >> (heap.word_shift + 4)
    element: u64 = size << heap.step_shift
    at: u64
    stop: u64
    if bits == 0:
        return
    bits &= (cython.cast(u64, 1) << size) - 1
    load_marker(heap, cython.address(marker), heap.word_shift, heap.step_shift)
    at = body_start(heap, cython.address(marker), head)
    stop = body_end(heap, cython.address(marker), head)
    marker.last_scanned = marker.last_inline = head
    marker.several |= (stop - at) >> marker.block_shift
    while stop - at >= element:
        scan_bits(heap, cython.address(marker), at, bits)
        marker.scanned += size
        at += element
    store_marker(heap, cython.address(marker))


def scan_static(heap: Heap, head: u64, layout: u64) -> cython.void:
    """Mark by an out-of-line layout: ``{size word, bitmap bytes}`` among the statics."""
    marker: Marker
    bitmap: u64 = heap.statics + (layout - heap.statics_start) + (cython.cast(u64, 1) << heap.word_shift)
    size: u64 = static_layout_size(heap, layout)
    at: u64
    stop: u64
    index: u64
    piece: u64
    bits: u64
    load_marker(heap, cython.address(marker), heap.word_shift, heap.step_shift)
    at = body_start(heap, cython.address(marker), head)
    stop = body_end(heap, cython.address(marker), head)
    marker.last_scanned = heap.last_outside = head
    marker.several |= (stop - at) >> marker.block_shift
    heap.last_layout = layout
    while (stop - at) >> heap.step_shift >= size:
        index = 0
        while index < size:
            # A byte of the bitmap at a time; its last one may be short.
            piece = 8 if size - index > 8 else size - index
            bits = load8(bitmap + (index >> 3)) & (ONES >> (64 - piece))
            scan_bits(heap, cython.address(marker), at + (index << heap.step_shift), bits)
            index += piece
        marker.scanned += size
        at += size << heap.step_shift
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


# ---- what a word leads to ----------------------------------------------------------------------------------------------


def last_leading(heap: Heap, at: u64, stop: u64, steps: u64) -> u64:
    """Where the last of some words lies that leads so many steps, at least; 0 where none does."""
    word_bytes: u64 = cython.cast(u64, 1) << heap.word_shift
    while stop > at:
        stop -= word_bytes
        if steps_to(heap, load_word(stop, heap.word_shift)) >= steps:
            return stop
    return 0


def steps_to(heap: Heap, word: u64) -> u64:
    """How many of the steps in ``contract.LastLeads`` a word leads."""
    block: u64
    head: u64
    if word < heap.start:
        return 0
    block = (word - heap.start) >> heap.block_shift
    if block >= heap.end_block:
        return 1
    if state_of(heap, block) == FREE:
        return 2
    head = head_of(heap, block)
    if head == NO_BLOCK:
        return 3
    return 4 if head == block else 5
