# One next-fit heap as its compiled functions see it: where it lies, what it remembers, what it counted.
#
#     memory                                              table
#     v                                                   v
#     | block 0 | block 1 | ...               | block n-1 | states, two bits a block |
#     '-------------- pool, `pool_bytes` -----------------'----- `table_bytes` ------'
#     ^
#     start, for the mutator
#
# `memory` and `table` are addresses on this machine; `start` and everything that mutators see are the mutator's own
# addresses; blocks are indices.
#
# *None* is written in two ways, here and in all functions.  For blocks it is `NO_BLOCK`, the contract's -1 as an unsigned
# number: where a function returns a block or the end of a run, and where a field holds one.  For addresses it is 0, nil:
# no object and no buffer begins there.
#
# Invariants: blocks `next_alloc..free_until` are free (a lower bound of the run, so that allocation can bump through it);
# while marking, each object is pushed once, so that a mark stack of one entry for each block never overflows.

from tinyheap.heap._words cimport u64

cdef struct HeapState:
    u64 memory              # where the heap's first byte lies here
    u64 table               # where the block table lies here
    u64 start               # the mutator's address of the first byte
    u64 heap_bytes
    u64 pool_bytes
    u64 table_bytes
    u64 table_share         # bytes of heap, and of table where that counts itself, for each byte of table
    u64 table_rounding      # what is added to the heap's bytes before that division
    u64 end_block
    u64 word_shift          # log2 of a word's bytes
    u64 block_shift         # log2 of a block's bytes
    u64 step_shift          # log2 of the bytes from one word that may be a pointer to the next
    u64 header_bytes        # in front of a precise object; 0 when conservative
    u64 align_mask          # what the leaking collector aligns sizes to, - 1
    u64 precise
    u64 leaking
    u64 clear_blocks
    u64 poison              # whether freed blocks are filled with `poison_byte`
    u64 poison_byte
    u64 zero_size_address
    u64 statics             # where out-of-line layouts lie here
    u64 statics_start       # and for the mutator
    u64 statics_bytes
    # The allocator.
    u64 next_alloc
    u64 free_until          # blocks next_alloc..free_until are free; more may be
    u64 run_blocks          # free run that ends where a search gave up
    u64 bump                # the leaking collector's pointer
    # Marking.
    u64 stack_memory        # what was allocated for marking, divided into the next three
    u64 queue               # objects between mark stack and scan
    u64 dropped             # one bit per block: objects that found the bounded mark stack full
    u64 stack               # the mark stack: room for every block
    u64 queue_depth         # objects that the queue may hold; 1 for no queue
    u64 queue_first         # where its oldest is
    u64 queued              # how many it holds
    u64 stack_top           # entries on it
    u64 stack_limit         # entries of the bounded mark stack; 0 = never overflows
    u64 stack_block         # the head of the object that holds the mark stack
    u64 stack_zeroed        # whether the bounded mark stack is cleared for each root, as some compilers do
    u64 overflowed
    u64 unreadable          # block of the first unreadable layout
    # Counters, as contract.Counters names them.
    u64 total_alloc_bytes
    u64 total_blocks
    u64 mallocs
    u64 frees
    u64 freed_blocks
    u64 overflows
    u64 rescans
    u64 table_reads
    u64 words_scanned
    u64 stack_peak
    # What the last sweep or census saw.
    u64 free_blocks
    u64 heads
    u64 tails

ctypedef HeapState* Heap

cdef extern from * nogil:
    """
    #define TH_NO_BLOCK UINT64_MAX
    """
    const u64 NO_BLOCK "TH_NO_BLOCK"

cdef inline u64 blocks_for(Heap heap, u64 size_bytes) noexcept nogil:
    """Blocks of an object, its header included in the size."""
    return (size_bytes + (<u64>1 << heap.block_shift) - 1) >> heap.block_shift

cdef int set_up(Heap heap, u64 memory, object geometry, object options) except -1
cdef void lay_out(Heap heap, u64 heap_bytes) noexcept nogil
cdef void move_table(Heap heap, u64 heap_bytes) noexcept nogil
cdef object counters_of(Heap heap)
