# Types of `_allocate.py`.

from tinyheap.heap.bestfit._state cimport Heap
from tinyheap.heap._words cimport u64

cdef u64 alloc_object(Heap heap, u64 size_bytes, u64 layout) noexcept nogil
cdef u64 alloc_uncleared(Heap heap, u64 size_bytes, u64 layout) noexcept nogil
cdef u64 place_object(Heap heap, u64 blocks) noexcept nogil
cdef void uncount(Heap heap, u64 size_bytes) noexcept nogil
cdef void clear_states(Heap heap, u64 first, u64 end) noexcept nogil
cdef void clear_body(Heap heap, u64 address, u64 blocks) noexcept nogil
cdef u64 old_size(Heap heap, u64 address) noexcept nogil
cdef u64 free_object(Heap heap, u64 head) noexcept nogil
