# Types and signatures of the C function behind the allocator of a guest with a free list; see `_list_allocator.py`.

from tinyheap.guests.record._recorder cimport EventLog, LogPointer
from tinyheap.heap.bestfit._kernel cimport Kernel
from tinyheap.heap.bestfit._state cimport Heap
from tinyheap.heap._words cimport u64

# The variables of an allocation that needs no collection, in the order of `residue.OF_ALLOCATIONS`.
cdef enum:
    CHAIN, TABLE, HEAP_START, HEAP_END
    TAKE_LINK, TAKE_NODE, TAKE_MET, TAKE_PASSED, TAKE_INNER, TAKE_INNER_NEXT, TAKE_LONGER, TAKE_FOLLOWING
    PUT_LINK, PUT_NODE, PUT_MET, PUT_PASSED, PUT_INNER, PUT_RANGE, PUT_LONGER, PUT_LENGTH
    TAKEN, TAKEN_SEVERAL, TAKEN_TABLE, TAKEN_SECOND, TAKEN_BEFORE_LAST, TAKEN_LAST
    VARIABLES

# What such an allocation comes to, as `residue.Case` has it.
cdef enum:
    EMPTY, PLAIN, SPLITS, LISTS
    CASES

# One word that is left on the guest's stack; `residue.Word`.
cdef struct LeftWord:
    u64 below_bytes
    u64 kind
    u64 variable
    u64 added

# What a call of the guest's allocator needs: the heap, and where the guest keeps what changes with each allocation.
# Addresses are of this machine; 0 for a counter that the guest does not have.
cdef struct Link:
    Heap heap                   # NULL where no kernel is tied
    LogPointer log              # takes every allocation; NULL for none
    void* allocator             # the `ListAllocator` that this is part of
    u64 calls_left              # that are served without asking the owner
    u64 trap                    # of wasmtime's, to be returned; 0 for none
    u64 base                    # where the guest's memory begins
    u64 memory_bytes            # and how long it is
    u64 free_ranges
    u64 free_ranges_address     # the same, for the guest
    u64 total_alloc_bytes
    u64 mallocs
    u64 frees
    u64 chain                   # 0 for none
    u64 heap_end                # 0 unless the guest's variables are to be checked before each allocation, as are the next two
    u64 metadata_start
    u64 end_block
    u64 deepest_bytes           # how far below the stack pointer anything is left
    LeftWord* words[CASES]
    u64 counts[CASES]
    u64 values[VARIABLES]

ctypedef Link* LinkPointer

cdef void* serve(void* env, void* caller, void* values, size_t count) noexcept nogil
cdef u64 allocate(Link* link, u64 size_bytes, u64 layout, u64 stack_pointer) noexcept nogil
cdef bint begin(Link* link) noexcept nogil
cdef u64 ask_owner(Link* link, u64 size_bytes, u64 layout) noexcept nogil
cdef u64 walk(Link* link, u64 blocks, u64 first) noexcept nogil
cdef u64 follow_take(Link* link, u64 blocks) noexcept nogil
cdef bint follow_put(Link* link, u64 block, u64 blocks) noexcept nogil
cdef void write_words(Link* link, u64 which, u64 stack_pointer) noexcept nogil
cdef void write_variables(Link* link) noexcept nogil
cdef bint holds_variables(Link* link) noexcept nogil

cdef class ListAllocator:
    cdef Link _link
    cdef Kernel _kernel
    cdef object _owner
    cdef EventLog _events
    cdef object _words
