# Types of `_mark.py`.

from tinyheap.heap.bestfit._state cimport Heap
from tinyheap.heap._words cimport u64

cdef void mark_range(Heap heap, u64 at, u64 bytes) noexcept nogil
cdef void mark_address(Heap heap, u64 address) noexcept nogil
cdef void mark_object_children(Heap heap, u64 head) noexcept nogil
cdef void finish_marking(Heap heap) noexcept nogil
cdef void scan_from(Heap heap, u64 at, u64 stop, bint drains) noexcept nogil
cdef void drain_precise(Heap heap) noexcept nogil
cdef void scan_unknown(Heap heap, u64 head) noexcept nogil
cdef void scan_by_layout(Heap heap, u64 head) noexcept nogil
cdef void scan_pattern(Heap heap, u64 head, u64 layout) noexcept nogil
cdef void scan_static(Heap heap, u64 head, u64 layout) noexcept nogil
cdef u64 static_layout_size(Heap heap, u64 layout) noexcept nogil
cdef bint is_readable(Heap heap, u64 layout) noexcept nogil
cdef u64 last_leading(Heap heap, u64 at, u64 stop, u64 steps) noexcept nogil
cdef u64 steps_to(Heap heap, u64 word) noexcept nogil
