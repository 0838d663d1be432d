# Signatures of `_mark.py`.

from tinyheap.heap.nextfit._marker cimport QUEUE
from tinyheap.heap.nextfit._state cimport Heap
from tinyheap.heap._words cimport u64

cdef enum:
    QUEUE_FROM_BYTES = 1 << 20      # the queue pays once the heap is larger than the caches near the core
    QUEUE_BYTES = 4 * QUEUE

# Steps of a collection.
cdef bint begin_marking(Heap heap) noexcept nogil
cdef void mark_range(Heap heap, u64 at, u64 bytes) noexcept nogil
cdef void mark_one_by_one(Heap heap, u64 at, u64 stop) noexcept nogil
cdef void mark_address(Heap heap, u64 address) noexcept nogil
cdef void mark_object_children(Heap heap, u64 head) noexcept nogil
cdef void finish_marking(Heap heap) noexcept nogil
cdef void unmark_all(Heap heap) noexcept nogil
cdef void end_marking(Heap heap) noexcept nogil

# Draining the mark stack.
cdef void drain(Heap heap) noexcept nogil
cdef void drain_conservative(Heap heap) noexcept nogil
cdef void drain_precise(Heap heap) noexcept nogil
cdef void drain_one(Heap heap) noexcept nogil

# Ranges, and layouts that are not one mask.
cdef void scan_range(Heap heap, u64 at, u64 stop) noexcept nogil
cdef void scan_long_object(Heap heap, u64 head) noexcept nogil
cdef void scan_pattern(Heap heap, u64 at, u64 stop, u64 layout) noexcept nogil
cdef void scan_static(Heap heap, u64 at, u64 stop, u64 layout) noexcept nogil
cdef u64 static_layout_size(Heap heap, u64 layout) noexcept nogil

# The bounded mark stack.
cdef void leave_last_rescan(Heap heap, u64 last) noexcept nogil
cdef u64 head_of_host(Heap heap, u64 at) noexcept nogil
