# Types of `_freelist.py`.

from tinyheap.heap.bestfit._state cimport Heap
from tinyheap.heap._words cimport u64

cdef extern from * nogil:
    """
    #define TH_IN_NIBBLES 0x0707070707070707ULL
    """
    const u64 IN_NIBBLES "TH_IN_NIBBLES"    # of a low nibble, the blocks that have the one above them in it, too

cdef u64 take_range(Heap heap, u64 needed) noexcept nogil
cdef bint insert_range(Heap heap, u64 first, u64 blocks) noexcept nogil
cdef bint build_index(Heap heap) noexcept nogil
cdef void build_list(Heap heap) noexcept nogil
cdef void settle_rest(Heap heap) noexcept nogil
cdef u64 seek_long(Heap heap, u64 blocks, u64* link, u64* shorter, u64 shift) noexcept nogil
cdef bint insert_by(Heap heap, u64 first, u64 blocks, u64 shift) noexcept nogil
cdef bint insert_long(Heap heap, u64 link, u64 shorter, u64 first, u64 blocks) noexcept nogil
cdef void insert_long_run(Heap heap, u64 first, u64 blocks) noexcept nogil
cdef void link_lengths(Heap heap) noexcept nogil
