# Signatures of `_allocate.py`.

from tinyheap.heap.nextfit._state cimport Heap
from tinyheap.heap._words cimport u64

# For the mutator: addresses.
cdef u64 alloc_object(Heap heap, u64 size_bytes, u64 layout) noexcept nogil
cdef u64 alloc_again(Heap heap, u64 size_bytes, u64 layout) noexcept nogil
cdef u64 leaking_size(Heap heap, u64 size_bytes) noexcept nogil
cdef void count_leaking(Heap heap, u64 size_bytes) noexcept nogil
cdef u64 alloc_leaking(Heap heap, u64 size_bytes) noexcept nogil
cdef u64 old_size(Heap heap, u64 address) noexcept nogil
cdef u64 free_object(Heap heap, u64 head) noexcept nogil

# Searches: the block past a free run.
cdef u64 find_near(Heap heap, u64 needed) noexcept nogil
cdef u64 find_room(Heap heap, u64 needed) noexcept nogil
cdef u64 find_free_run(Heap heap, u64 first, u64 last, u64 needed) noexcept nogil
cdef u64 find_long_run(Heap heap, u64 first, u64 last, u64 needed) noexcept nogil
cdef u64 run_starts(u64 free, u64 needed) noexcept nogil
cdef u64 last_occupied(Heap heap, u64 first, u64 last) noexcept nogil
cdef u64 free_end(Heap heap, u64 block, u64 most) noexcept nogil

cdef u64 commit(Heap heap, u64 end, u64 needed, u64 size_bytes, u64 layout) noexcept nogil
cdef void set_states(Heap heap, u64 head, u64 end) noexcept nogil
cdef void clear_states(Heap heap, u64 head, u64 end) noexcept nogil
cdef void clear(u64 at, u64 bytes) noexcept nogil
