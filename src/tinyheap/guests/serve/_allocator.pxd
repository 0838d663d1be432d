# Types and signatures of the C function behind a guest's allocator; see `_allocator.py`.

from tinyheap.guests.record._recorder cimport EventLog, LogPointer
from tinyheap.heap.nextfit._kernel cimport Kernel
from tinyheap.heap.nextfit._state cimport Heap
from tinyheap.heap._words cimport u64

# What a call of the guest's allocator needs: the heap, and where the guest keeps what changes with each allocation.
# Addresses are of this machine; 0 for a counter that the guest does not have.
cdef struct Link:
    Heap heap                   # NULL where no kernel is tied
    LogPointer log              # takes every allocation; NULL for none
    void* allocator             # the `Allocator` that this is part of
    u64 size_index              # of the size among the call's arguments
    u64 layout_index            # of the layout; ONES when there is none
    u64 calls_left              # that are served without asking the owner
    u64 trap                    # of wasmtime's, to be returned; 0 for none
    u64 next_alloc
    u64 total_alloc_bytes
    u64 mallocs
    u64 frees
    u64 total_blocks
    u64 freed_blocks
    u64 heap_end                # 0 unless the guest's variables are to be checked before each allocation, as are the next two
    u64 metadata_start
    u64 end_block

ctypedef Link* LinkPointer

cdef void* serve(void* env, void* caller, void* values, size_t count) noexcept nogil
cdef u64 allocate(Link* link, u64 size_bytes, u64 layout) noexcept nogil
cdef bint begin(Link* link) noexcept nogil
cdef u64 ask_owner(Link* link, u64 size_bytes, u64 layout) noexcept nogil
cdef u64 find_room(Link* link, u64 size_bytes, u64 layout) noexcept nogil
cdef void write_variables(Link* link) noexcept nogil
cdef bint holds_variables(Link* link) noexcept nogil
cdef bint holds(u64 address, u64 value) noexcept nogil

cdef class Allocator:
    cdef Link _link
    cdef Kernel _kernel
    cdef object _owner
    cdef EventLog _events
    cdef object _absent
    cdef object _find_room(self, u64 size_bytes, u64 layout)
