# cython: language_level=3, cdivision=True
# The block table in words: what is read and written everywhere, and so is compiled into each module that uses it.
#
# A word of the table holds 32 blocks, block b in bits 2 * (b % 32).  Three shapes of it recur:
#
#     x                       states         10 10 01 00   (tail, tail, head, free: the lowest block stands last)
#     x & EVEN                low bits       00 00 01 00   head or mark
#     (x | x >> 1) & EVEN     taken          01 01 01 00   not free
#     x ^ ODD                 no tails       00 00 11 10   zero exactly where a block is a tail
#
# The table lies at any alignment and its last word may be short: it is read without touching a byte past its end, and
# reads as if free blocks followed.  In a table that was overwritten there may be states past the last block.

from tinyheap.heap.nextfit._state cimport NO_BLOCK, Heap
from tinyheap.heap._words cimport ODD, clz64, ctz64, load8, load64, load_short, store64, store_short, u64

cdef enum:
    FREE = 0
    HEAD = 1
    TAIL = 2
    MARK = 3

cdef inline u64 table_word(Heap heap, u64 word) noexcept nogil:
    cdef u64 left = heap.table_bytes - (word << 3)
    return load64(heap.table + (word << 3)) if left >= 8 else load_short(heap.table + (word << 3), left)

cdef inline void put_table_word(Heap heap, u64 word, u64 value) noexcept nogil:
    cdef u64 left = heap.table_bytes - (word << 3)
    if left >= 8:
        store64(heap.table + (word << 3), value)
    else:
        store_short(heap.table + (word << 3), value, left)

cdef inline u64 state_of(Heap heap, u64 block) noexcept nogil:
    return (load8(heap.table + (block >> 2)) >> ((block & 3) << 1)) & 3

cdef inline u64 head_of(Heap heap, u64 block) noexcept nogil:
    """The nearest block at or below that is not a tail."""
    cdef u64 word = block >> 5
    cdef u64 others = (table_word(heap, word) ^ ODD) << (62 - ((block & 31) << 1))
    if others != 0:
        return block - (clz64(others) >> 1)
    while word > 0:
        word -= 1
        others = load64(heap.table + (word << 3)) ^ ODD
        if others != 0:
            return (word << 5) + 31 - (clz64(others) >> 1)
    return NO_BLOCK

cdef inline u64 skip_tails(Heap heap, u64 block) noexcept nogil:
    """The first block from here on that is not a tail, or the end."""
    cdef u64 others
    while block < heap.end_block:
        others = (table_word(heap, block >> 5) ^ ODD) >> ((block & 31) << 1)
        if others != 0:
            block += ctz64(others) >> 1
            break
        block = (block | 31) + 1
    return block if block < heap.end_block else heap.end_block

cdef inline u64 next_of(Heap heap, u64 block) noexcept nogil:
    """The first block past the object, or past the tails, that begin here."""
    if block < heap.end_block and state_of(heap, block) & HEAD:
        block += 1
    return skip_tails(heap, block)
