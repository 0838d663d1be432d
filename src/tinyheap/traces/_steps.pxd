# Types and signatures of the steps that need no Python; see `_steps.py`.

from libc.stdint cimport int64_t, uint32_t

from tinyheap.heap.bestfit._kernel cimport Kernel
from tinyheap.heap._words cimport u64

cdef extern from * nogil:
    """
    #define TH_FNV_BASIS 14695981039346656037ULL
    #define TH_FNV_PRIME 1099511628211ULL
    #define TH_LOW_HALF 0xFFFFFFFFULL
    """
    const u64 FNV_BASIS "TH_FNV_BASIS"
    const u64 FNV_PRIME "TH_FNV_PRIME"
    const u64 LOW_HALF "TH_LOW_HALF"

# What one collection left; the fields of a `ReplayedCollection` in Python.
cdef struct Row:
    u64 free_blocks
    u64 heads
    u64 tails
    u64 table_hash
    u64 mark_ns
    u64 sweep_ns
    u64 ranges_hash

# How a run of steps ended, other than at its stop.
cdef enum Ending:
    GOES_ON
    LEFT            # to the player in Python
    OUT_OF_MEMORY
    STRAY
    CORRUPT

cdef class Steps:
    cdef Kernel _kernel
    cdef object _grow           # the embedder's
    cdef int64_t[::1] _addresses        # results of allocations, of which so many are done
    cdef u64 _addresses_done
    cdef const uint32_t[::1] _ops
    cdef u64[::1] _ids          # addresses of objects; 0 = unbound
    cdef unsigned char[::1] _roots
    cdef const uint32_t[::1] _layouts           # distinct out-of-line layouts, ascending, ...
    cdef const u64[::1] _layout_addresses       # ... and where each lies among the statics
    cdef Row* _rows
    cdef u64 _rows_done
    cdef u64 _rows_room
    cdef Ending _ending
    cdef bint _timing
    cdef bint _hashes
    cdef bint _collects         # whether a collection needs nothing of Python
    cdef u64 _alloc_ns
    cdef u64 _mark_ns
    cdef u64 _sweep_ns
    cdef u64 _play(self, u64 step, u64 stop) noexcept nogil
    cdef u64 _layout_word(self, u64 layout) noexcept nogil
    cdef u64 _allocate(self, u64 size_bytes, u64 layout) noexcept nogil
    cdef u64 _allocate_slowly(self, u64 address, u64 size_bytes, u64 layout) noexcept nogil
    cdef u64 _find_room(self, u64 size_bytes, u64 layout) noexcept nogil
    cdef u64 _reallocate(self, u64 address, u64 size_bytes) noexcept nogil
    cdef u64 _collect(self, u64 asked_blocks) noexcept nogil
    cdef bint _grow_for(self, u64 blocks) noexcept nogil
    cdef u64 _ranges_hash(self) noexcept nogil
