# One best-fit heap as its compiled functions see it: where it lies, what it remembers, what it counted.
#
#     memory                                              table
#     v                                                   v
#     | block 0 | block 1 | ...               | block n-1 | states, four blocks a byte |
#     '-------------- pool, `pool_bytes` -----------------'------- `table_bytes` ------'
#     ^
#     start, for the mutator
#
# `memory` and `table` are addresses on this machine; `start`, `free_list`, `scan_top` and all that lies in the heap are the
# mutator's own addresses; blocks are indices.
#
# *None* is written in two ways, here and in all functions.  For blocks it is `NO_BLOCK`, the contract's -1 as an unsigned
# number.  For addresses it is 0, nil: no object and no buffer begins there.  What was found overwritten is `DAMAGED`, where
# a block or an address is expected.
#
# Invariants: where `indexed`, the index (`_index.pxd`) has the outer nodes of the list in memory, but for the rest; while marking, there are
# `scan_depth` objects on the list that begins at `scan_top`.

from tinyheap.heap._words cimport u64

# What is declared inline in the modules of this folder is so, whatever a compiler thinks of its length: loops keep what they
# work on in registers then, and the size of words is a constant where it is given as one.
cdef extern from *:
    """
    #if defined(__GNUC__) || defined(__clang__)
    #undef CYTHON_INLINE
    #define CYTHON_INLINE inline __attribute__((always_inline))
    #endif
    """

cdef struct HeapState:
    u64 memory              # where the heap's first byte lies here
    u64 table               # where the block table lies here
    u64 start               # the mutator's address of the first byte
    u64 heap_bytes
    u64 pool_bytes
    u64 table_bytes
    u64 end_block
    u64 word_shift          # log2 of a word's bytes
    u64 block_shift         # log2 of a block's bytes
    u64 step_shift          # log2 of the bytes from one word that may be a pointer to the next
    u64 header_bytes
    u64 body_offset         # from an object's first byte to its body
    u64 back                # whether the header, and the head, come last
    u64 precise
    u64 largest_bytes       # a larger object's size wraps around the word
    u64 poison              # whether freed blocks are filled with `poison_byte`
    u64 poison_byte
    u64 zero_size_address
    u64 statics             # where out-of-line layouts lie here
    u64 statics_start       # and for the mutator
    u64 statics_bytes
    # The free list: its start, and its index.
    u64 free_list
    u64 indexed
    u64 summary             # the index (`_index.pxd`), whose memory begins with `groups`
    u64 groups
    u64 lengths
    u64 nodes
    # What is left of the range that was taken from last (`_node.pxd`), if it has blocks.
    u64 rest_first
    u64 rest_blocks
    u64 rest_shorter        # length of the outer node before
    u64 rest_link           # what leads to the rest
    u64 rest_following      # what it leads to
    # Marking.
    u64 scan_top            # header of the object that was marked last
    u64 scan_depth
    u64 unreadable          # head of the first object whose layout cannot be read
    # What marking did last, as contract.MarkingEnd has it.
    u64 last_found          # the address of a block
    u64 last_layout
    u64 scanned_several     # not 0 where an object of several blocks was scanned
    u64 last_scanned        # heads, as the next three
    u64 last_whole
    u64 last_inline
    u64 last_outside
    # Counters, as contract.Counters names them.
    u64 total_alloc_bytes
    u64 total_blocks
    u64 mallocs
    u64 frees
    u64 freed_blocks
    u64 table_reads
    u64 words_scanned
    u64 scan_peak
    u64 collections
    # What the last sweep or census saw.
    u64 free_blocks
    u64 heads
    u64 tails
    u64 marks

ctypedef HeapState* Heap

cdef extern from * nogil:
    """
    #define TH_NO_BLOCK UINT64_MAX
    #define TH_DAMAGED (UINT64_MAX - 1)
    """
    const u64 NO_BLOCK "TH_NO_BLOCK"
    const u64 DAMAGED "TH_DAMAGED"

cdef inline u64 blocks_for(Heap heap, u64 size_bytes) noexcept nogil:
    """Blocks of an object of so many bytes, its header not yet among them."""
    return (size_bytes + heap.header_bytes + (<u64>1 << heap.block_shift) - 1) >> heap.block_shift

cdef inline u64 place_of(Heap heap, u64 address) noexcept nogil:
    """Where an address of the heap lies here."""
    return heap.memory + (address - heap.start)

cdef inline u64 address_of(Heap heap, u64 block) noexcept nogil:
    return heap.start + (block << heap.block_shift)

cdef int set_up(Heap heap, u64 memory, object geometry, object options) except -1
cdef void let_go(Heap heap) noexcept nogil
cdef void lay_out(Heap heap, u64 heap_bytes) noexcept nogil
cdef void move_table(Heap heap, u64 heap_bytes) noexcept nogil
cdef object counters_of(Heap heap)
