# Types of `_freelist.py`, and the index of a free list.
#
# The list lies in the free blocks, where the mutator can see it; finding a length in it is a walk over its outer nodes.
# Beside the heap there is an index of those nodes whose length is less than `SHORT`:
#
#     summary  | 64 bits                 which words of `lengths` are not 0
#     lengths  | 64 words of 64 bits     which lengths have an outer node
#     nodes    | 4096 blocks             where that node is, for each length that has one
#
# Longer ranges are few, since they share the heap's blocks: their nodes are walked over, from the last short one on.

from tinyheap.heap.bestfit._state cimport Heap
from tinyheap.heap._words cimport u64

cdef enum:
    SHORT = 4096            # lengths below it are in the index; 64 * 64
    LENGTHS_BYTES = SHORT // 8
    INDEX_BYTES = LENGTHS_BYTES + 4 * SHORT

cdef u64 take_range(Heap heap, u64 needed) noexcept nogil
cdef bint insert_range(Heap heap, u64 first, u64 blocks) noexcept nogil
cdef bint build_index(Heap heap) noexcept nogil
cdef void build_list(Heap heap) noexcept nogil
cdef u64 last_length(Heap heap, u64 blocks) noexcept nogil
cdef u64 next_length(Heap heap, u64 blocks) noexcept nogil
cdef u64 take_from(Heap heap, u64 link, u64 node, u64 blocks, u64 needed) noexcept nogil
cdef bint insert_long(Heap heap, u64 first, u64 blocks) noexcept nogil
cdef bint insert_beside(Heap heap, u64 node, u64 first) noexcept nogil
cdef void insert_outer(Heap heap, u64 link, u64 following, u64 first, u64 blocks) noexcept nogil
cdef u64 seek_long(Heap heap, u64 blocks, u64* link) noexcept nogil
cdef u64 checked_length(Heap heap, u64 node, u64 shorter) noexcept nogil
cdef bint is_node(Heap heap, u64 address) noexcept nogil
cdef bint is_free(Heap heap, u64 first, u64 blocks) noexcept nogil
cdef void forget_lengths(Heap heap) noexcept nogil
