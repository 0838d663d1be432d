# cython: language_level=3, cdivision=True
# The block table in words: what is read and written everywhere, and so is compiled into each module that uses it.
#
# A word of the table holds 32 blocks, four in a byte: their low bits in the low nibble, their high bits in the high one.
# Pulled together, the nibbles of one kind are a *plane* of 32 bits, block b in bit b % 32:
#
#     word           .. 1100_0010          blocks 0..3 are free, head, tail, tail
#     low plane      ..      0010          heads and marks
#     high plane     ..      1100          tails and marks
#
# What is added runs through a plane from block to block; through the low nibbles of a word, too, where the high ones are
# filled with ones.
#
# The table lies at any alignment and its last word may be short: it is read without touching a byte past its end, and
# reads as if free blocks followed.  In a table that was overwritten there may be states past the last block.

from tinyheap.heap.bestfit._state cimport NO_BLOCK, Heap
from tinyheap.heap._words cimport clz64, ctz64, load8, load64, load_short, store64, store_short, u64

cdef enum:
    FREE = 0
    HEAD = 1
    TAIL = 2
    MARK = 3
    # The same in the table, where the nibbles of a byte are shifted by the block's place in it.
    HEAD_BITS = 1
    TAIL_BITS = 16
    MARK_BITS = HEAD_BITS | TAIL_BITS

cdef extern from * nogil:
    """
    #define TH_LOW_NIBBLES 0x0F0F0F0F0F0F0F0FULL
    #define TH_EVEN_BYTES 0x00FF00FF00FF00FFULL
    #define TH_EVEN_HALVES 0x0000FFFF0000FFFFULL
    #define TH_PLANE 0xFFFFFFFFULL
    #define TH_FIELDS_1 0x5555555555555555ULL
    #define TH_FIELDS_2 0x3333333333333333ULL
    #define TH_HALVES 0x0001000100010001ULL
    """
    const u64 LOW_NIBBLES "TH_LOW_NIBBLES"
    const u64 EVEN_BYTES "TH_EVEN_BYTES"
    const u64 EVEN_HALVES "TH_EVEN_HALVES"
    const u64 PLANE "TH_PLANE"              # all blocks of a word
    const u64 FIELDS_1 "TH_FIELDS_1"
    const u64 FIELDS_2 "TH_FIELDS_2"
    const u64 HALVES "TH_HALVES"

cdef inline u64 plane_of(u64 x) noexcept nogil:
    """The low nibbles of a word's bytes, one after the other."""
    x &= LOW_NIBBLES
    x = (x | x >> 4) & EVEN_BYTES
    x = (x | x >> 8) & EVEN_HALVES
    return (x | x >> 16) & PLANE

cdef inline u64 nibbles_of(u64 plane) noexcept nogil:
    """A plane as the low nibbles of a word's bytes."""
    plane = (plane | plane << 16) & EVEN_HALVES
    plane = (plane | plane << 8) & EVEN_BYTES
    return (plane | plane << 4) & LOW_NIBBLES

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
    cdef u64 bits = load8(heap.table + (block >> 2)) >> (block & 3)
    return (bits & 1) | (bits >> 3 & 2)

cdef inline u64 nibbles_between(u64 first, u64 last) noexcept nogil:
    """The blocks of a word from one to another, both included, in low nibbles."""
    return ((<u64>2 << place_in_word(last)) - (<u64>1 << place_in_word(first))) & LOW_NIBBLES

cdef inline u64 place_in_word(u64 block) noexcept nogil:
    """The bit in a low nibble that is a block's, one of a word."""
    return block >> 2 << 3 | (block & 3)

cdef inline bint are_free(Heap heap, u64 first, u64 last) noexcept nogil:
    """Whether the blocks from one to another, all on the heap, are free."""
    cdef u64 word = first >> 5
    cdef u64 x
    first &= 31
    while True:
        x = table_word(heap, word)
        if (x | x >> 4) & nibbles_between(first, 31 if word < last >> 5 else last & 31) != 0:
            return False
        if word == last >> 5:
            return True
        word += 1
        first = 0

cdef inline u64 tails_in(Heap heap, u64 word) noexcept nogil:
    """A word's blocks that are tails."""
    cdef u64 x = table_word(heap, word)
    return plane_of(x >> 4 & ~x)

cdef inline u64 free_in(Heap heap, u64 word) noexcept nogil:
    """A word's free blocks; none past the last block."""
    cdef u64 x = table_word(heap, word)
    cdef u64 left = heap.end_block - (word << 5)
    cdef u64 free = plane_of(x | x >> 4) ^ PLANE
    return free if left >= 32 else free & ((<u64>1 << left) - 1)

cdef inline u64 tails_below(Heap heap, u64 block) noexcept nogil:
    """The nearest block at or below that is not a tail."""
    cdef u64 word = block >> 5
    cdef u64 others = (~tails_in(heap, word) << (31 - (block & 31))) & PLANE
    if others != 0:
        return block + 32 - clz64(others)
    while word > 0:
        word -= 1
        others = ~tails_in(heap, word) & PLANE
        if others != 0:
            return (word << 5) + 63 - clz64(others)
    return NO_BLOCK

cdef inline u64 tails_above(Heap heap, u64 block) noexcept nogil:
    """The first block from here on that is not a tail, or the end."""
    cdef u64 others
    while block < heap.end_block:
        others = (~tails_in(heap, block >> 5) & PLANE) >> (block & 31)
        if others != 0:
            block += ctz64(others)
            break
        block = (block | 31) + 1
    return block if block < heap.end_block else heap.end_block

cdef inline u64 head_of(Heap heap, u64 block) noexcept nogil:
    """The head of the object that a block belongs to; `NO_BLOCK` where tails lead to no block."""
    cdef u64 head
    if heap.back == 0:
        return tails_below(heap, block)
    head = tails_above(heap, block)
    return head if head < heap.end_block else NO_BLOCK

cdef inline u64 first_of(Heap heap, u64 head) noexcept nogil:
    """The first block of the object whose head this is."""
    if heap.back == 0 or head == 0:
        return head
    # One past a block that is not a tail, or past none.
    return tails_below(heap, head - 1) + 1

cdef inline u64 end_of(Heap heap, u64 head) noexcept nogil:
    """The block past the object whose head this is."""
    return head + 1 if heap.back != 0 else tails_above(heap, head + 1)

cdef inline u64 header_of(Heap heap, u64 head) noexcept nogil:
    """Where the header of an object lies here: in its head, at the side where the object ends."""
    if heap.back == 0:
        return heap.memory + (head << heap.block_shift)
    return heap.memory + ((head + 1) << heap.block_shift) - heap.header_bytes

cdef inline u64 count_bits(u64 x) noexcept nogil:
    """How many bits are set: in the lower 32 of them from bit 24 on, in the upper ones from bit 56 on."""
    x -= x >> 1 & FIELDS_1
    x = (x & FIELDS_2) + (x >> 2 & FIELDS_2)
    return ((x + (x >> 4)) & LOW_NIBBLES) * 0x1010101

cdef inline u64 bits_in_nibbles(u64 x) noexcept nogil:
    """How many bits are set in each nibble, up to four, in its place."""
    x -= x >> 1 & FIELDS_1
    return (x & FIELDS_2) + (x >> 2 & FIELDS_2)

cdef inline u64 sum_of_bytes(u64 x) noexcept nogil:
    """The sum of a word's bytes, which is less than 2048, of which each is less than 256."""
    return ((x & EVEN_BYTES) + (x >> 8 & EVEN_BYTES)) * HALVES >> 48
