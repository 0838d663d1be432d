# cython: language_level=3, cdivision=True
# Objects and references of one heap, as the compiled reader sees them.
#
#     memory                                   table
#     v                                        v
#     | block 0 | block 1 | ... | block n-1 |  | states, four blocks a byte |
#
#     firsts    .  1 . . 1 1 .                 one bit per block: an object begins here
#     taken     .  1 1 1 1 1 .                 one bit per block: it belongs to an object
#     ranks     how many objects begin before each word of 64 blocks
#
# So the object that an address lies in is found in three small arrays, which stay in the cache: a bit of `taken`, then
# the bits of `firsts` counted up to there.  The bitmaps are made once, from a table that nobody vouches for; whatever it
# says, each block belongs to one object at most, and none lies beyond the last block.

from libc.stdint cimport uint8_t, uint32_t

from tinyheap.heap._buffers cimport BufferView
from tinyheap.heap._words cimport ODD, ONES, load8, load64, load_word, u64

ctypedef uint8_t u8
ctypedef uint32_t u32

cdef extern from * nogil:
    """
    #define TH_NO_OBJECT 0xFFFFFFFFU
    #define TH_NO_BLOCK_FOUND 0xFFFFFFFFFFFFFFFFULL
    #define TH_FIELDS_1 0x5555555555555555ULL
    #define TH_FIELDS_2 0x3333333333333333ULL
    #define TH_FIELDS_4 0x0F0F0F0F0F0F0F0FULL
    #define TH_BYTES_OF_1 0x0101010101010101ULL
    """
    const u32 NO_OBJECT "TH_NO_OBJECT"
    const u64 FIELDS_1 "TH_FIELDS_1"
    const u64 FIELDS_2 "TH_FIELDS_2"
    const u64 FIELDS_4 "TH_FIELDS_4"
    const u64 BYTES_OF_1 "TH_BYTES_OF_1"

cdef enum:
    FREE = 0
    HEAD = 1
    TAIL = 2
    # How sure the references of an object are.
    POSSIBLE = 0
    CERTAIN = 1
    UNREADABLE = 2
    # What the bytes of an object look like.
    ZEROS = 0
    TEXT = 1
    POINTERS = 2
    SOME_POINTERS = 3
    DOUBLES = 4
    SINGLES = 5
    DATA = 6
    SHORTEST_TEXT = 4

cdef struct Pool:
    u64 memory              # where block 0 lies here
    u64 table               # where the block table lies here
    u64 start               # the program's address of block 0
    u64 pool_bytes
    u64 end_block
    u64 word_shift          # log2 of a word's bytes
    u64 step_shift          # log2 of the bytes from one word that may be a pointer to the next
    u64 block_shift
    u64 body_offset         # from an object's first byte to its body
    u64 trailer_bytes       # from its body's end to its last byte
    u64 layout_offset       # of the layout word: from the object's start, or its end where `back`
    u64 overhang            # bytes of a body's end at which no word begins
    u64 planes              # how the table holds states: low and high bits apart
    u64 back                # whether an object's head is its last block
    u64 precise
    u64 whole_elements      # whether a layout covers only whole elements, and must have a length
    u64 statics             # where out-of-line layouts lie here, and for the program
    u64 statics_start
    u64 statics_bytes
    u64* firsts
    u64* taken
    u32* ranks
    u64 words               # of each bitmap

ctypedef Pool* Heap

# Where the references of objects go, one after the other; only counted where there is no place.
cdef struct Sink:
    u32* targets
    u32* offsets
    u64 count
    u64 room

ctypedef Sink* SinkPointer

cdef class GraphReader:
    cdef Pool _pool
    cdef BufferView _memory
    cdef BufferView _statics
    cdef u64 _objects
    cdef u64 _orphans

cdef inline u64 count_ones(u64 x) noexcept nogil:
    x -= x >> 1 & FIELDS_1
    x = (x & FIELDS_2) + (x >> 2 & FIELDS_2)
    return ((x + (x >> 4)) & FIELDS_4) * BYTES_OF_1 >> 56

cdef inline u64 state_of(Heap heap, u64 block) noexcept nogil:
    cdef u64 byte = load8(heap.table + (block >> 2))
    if heap.planes == 0:
        return byte >> ((block & 3) << 1) & 3
    byte >>= block & 3
    return byte & 1 | byte >> 3 & 2

cdef inline u32 object_at(Heap heap, u64 block) noexcept nogil:
    """The object that a block belongs to."""
    cdef u64 word = block >> 6
    cdef u64 bit = block & 63
    if block >= heap.end_block or not heap.taken[word] >> bit & 1:
        return NO_OBJECT
    return heap.ranks[word] + <u32>count_ones(heap.firsts[word] << (63 - bit)) - 1

cdef inline u32 target_of(Heap heap, u64 word) noexcept nogil:
    """The object that a word refers to."""
    if word - heap.start >= heap.pool_bytes:
        return NO_OBJECT
    return object_at(heap, (word - heap.start) >> heap.block_shift)

cdef inline void note_word(Heap heap, SinkPointer sink, u64 at, u64 offset) noexcept nogil:
    """Note the reference that the word at an offset of a body is, if it is one."""
    cdef u32 target = target_of(heap, load_word(at + offset, heap.word_shift))
    if target == NO_OBJECT:
        return
    if sink.targets != NULL and sink.count < sink.room:
        sink.targets[sink.count] = target
        sink.offsets[sink.count] = <u32>offset
    sink.count += 1

cdef u64 find_objects(Heap heap) noexcept nogil
cdef u64 end_of_tails(Heap heap, u64 block) noexcept nogil
cdef void set_bits(u64* bits, u64 first, u64 end) noexcept nogil
cdef u64 count_ranks(Heap heap) noexcept nogil
cdef void write_objects(Heap heap, u32* first, u32* blocks, u64 room) noexcept nogil
cdef u64 object_end(Heap heap, u64 first) noexcept nogil
cdef u64 scan_object(Heap heap, SinkPointer sink, u64 first, u64 blocks) noexcept nogil
cdef void scan_all(Heap heap, SinkPointer sink, u64 at, u64 words) noexcept nogil
cdef u64 scan_inline(Heap heap, SinkPointer sink, u64 at, u64 words, u64 layout) noexcept nogil
cdef void scan_bits(Heap heap, SinkPointer sink, u64 at, u64 index, u64 bits, u64 words) noexcept nogil
cdef u64 scan_static(Heap heap, SinkPointer sink, u64 at, u64 words, u64 layout) noexcept nogil
cdef u64 static_size(Heap heap, u64 layout) noexcept nogil
cdef u64 shape_of(Heap heap, u64 first, u64 blocks, u64 references) noexcept nogil
cdef u64 nonzero_words(Heap heap, u64 at, u64 end) noexcept nogil
cdef bint is_text(Heap heap, u64 at, u64 end) noexcept nogil
cdef u64 character_bytes(u64 at, u64 left) noexcept nogil
cdef u64 sequence_bytes(u64 at, u64 left, u64 bytes, u64 least, u64 most) noexcept nogil
cdef bint are_zeros(u64 at, u64 end) noexcept nogil
cdef bint are_floats(u64 at, u64 end, u64 shift) noexcept nogil
