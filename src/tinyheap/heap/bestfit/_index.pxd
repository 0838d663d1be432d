# cython: language_level=3, cdivision=True
# The index of a free list: which lengths have an outer node, and where it is.
#
# The list lies in the free blocks, where the mutator can see it; finding a length in it is a walk over its outer nodes.
# Beside the heap there is an index of those nodes whose length is less than `SHORT`:
#
#     summary  | 64 bits                  which words of `groups` are not 0
#     groups   | 64 words of 64 bits      which words of `lengths` are not 0
#     lengths  | 4096 words of 64 bits    which lengths have an outer node
#     nodes    | 262144 blocks            where that node is, for each length that has one
#
# Longer ranges are few, since they share the heap's blocks: their nodes are walked over, from the last short one on.

from tinyheap.heap._words cimport ONES, clz64, ctz64, load32, load64, store32, store64, u64
from tinyheap.heap.bestfit._state cimport Heap

cdef enum:
    SHORT = 1 << 18         # lengths below it are in the index
    GROUPS_BYTES = 8 * 64
    LENGTHS_BYTES = SHORT // 8
    INDEX_BYTES = GROUPS_BYTES + LENGTHS_BYTES + 4 * SHORT

cdef inline bint has_length(Heap heap, u64 length) noexcept nogil:
    """Whether a short length has an outer node."""
    return load64(heap.lengths + (length >> 6 << 3)) >> (length & 63) & 1

cdef inline u64 next_length(Heap heap, u64 blocks) noexcept nogil:
    """The shortest of the short lengths that occur, of so many blocks or more; 0 where there is none."""
    cdef u64 word = blocks >> 6
    cdef u64 x
    if blocks >= SHORT:
        return 0
    x = load64(heap.lengths + (word << 3)) & (ONES << (blocks & 63))
    if x == 0:
        x = load64(heap.groups + (word >> 6 << 3)) & ((ONES << 1) << (word & 63))
        if x == 0:
            x = heap.summary & ((ONES << 1) << (word >> 6))
            if x == 0:
                return 0
            word = ctz64(x) << 6
            x = load64(heap.groups + (word >> 6 << 3))
        word = (word & ~<u64>63) + ctz64(x)
        x = load64(heap.lengths + (word << 3))
    return (word << 6) + ctz64(x)

cdef inline u64 last_length(Heap heap, u64 blocks) noexcept nogil:
    """The longest of the short lengths that occur, of less blocks; 0 where there is none."""
    cdef u64 last = (blocks if blocks < SHORT else SHORT) - 1
    cdef u64 word = last >> 6
    cdef u64 x = load64(heap.lengths + (word << 3)) & (ONES >> (63 - (last & 63)))
    if x == 0:
        x = load64(heap.groups + (word >> 6 << 3)) & ~(ONES << (word & 63))
        if x == 0:
            x = heap.summary & ~(ONES << (word >> 6))
            if x == 0:
                return 0
            word = (63 - clz64(x)) << 6
            x = load64(heap.groups + (word >> 6 << 3))
        word = (word | 63) - clz64(x)
        x = load64(heap.lengths + (word << 3))
    return (word << 6) + 63 - clz64(x)

cdef inline u64 block_of_length(Heap heap, u64 length) noexcept nogil:
    """The block where the outer node of a short length is, which occurs."""
    return load32(heap.nodes + (length << 2))

cdef inline void note_length(Heap heap, u64 length, u64 block) noexcept nogil:
    """A length that is not in the index occurs from now on; nothing is noted of one that is not short."""
    cdef u64 word = length >> 6
    cdef u64 at = heap.lengths + (word << 3)
    cdef u64 x
    if length >= SHORT:
        return
    x = load64(at)
    store64(at, x | <u64>1 << (length & 63))
    store32(heap.nodes + (length << 2), block)
    if x == 0:
        at = heap.groups + (word >> 6 << 3)
        store64(at, load64(at) | <u64>1 << (word & 63))
        heap.summary |= <u64>1 << (word >> 6)

cdef inline void drop_length(Heap heap, u64 length) noexcept nogil:
    """A length does not occur any more."""
    cdef u64 word = length >> 6
    cdef u64 at = heap.lengths + (word << 3)
    cdef u64 x
    if length >= SHORT:
        return
    x = load64(at) & ~(<u64>1 << (length & 63))
    store64(at, x)
    if x == 0:
        at = heap.groups + (word >> 6 << 3)
        x = load64(at) & ~(<u64>1 << (word & 63))
        store64(at, x)
        if x == 0:
            heap.summary &= ~(<u64>1 << (word >> 6))

cdef inline void forget_lengths(Heap heap) noexcept nogil:
    """The index of an empty list: only what is not empty is cleared."""
    cdef u64 group
    cdef u64 words
    while heap.summary != 0:
        group = ctz64(heap.summary)
        heap.summary &= heap.summary - 1
        words = load64(heap.groups + (group << 3))
        store64(heap.groups + (group << 3), 0)
        while words != 0:
            store64(heap.lengths + (((group << 6) + ctz64(words)) << 3), 0)
            words &= words - 1
    heap.rest_blocks = 0
    heap.indexed = 1
