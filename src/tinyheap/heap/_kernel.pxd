# Types, constants and signatures of the kernel.  They stand here so that `_kernel.py` stays plain Python to read, and so
# that other compiled modules (programs of traces, guests' allocators) call the kernel without Python in between.

from libc.stdint cimport uint64_t

ctypedef uint64_t u64

# One heap.  `memory` and `table` are addresses on this machine; `start` and everything that mutators see are the
# mutator's own addresses; blocks are indices.
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
    u64 header_bytes        # in front of a precise object; 0 when conservative
    u64 precise
    u64 leaking
    u64 clear_blocks
    u64 poison              # poison byte + 1; 0 for no asserts
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
    u64 dropped             # a bit a block: objects that found the bounded mark stack full
    u64 stack               # the mark stack: room for every block
    u64 queue_depth         # objects that the queue may hold; 1 for no queue
    u64 queue_first         # where its oldest is
    u64 queued              # how many it holds
    u64 stack_top           # entries on it
    u64 stack_limit         # entries of the bounded mark stack; 0 = never overflows
    u64 stack_block         # the head, + 1, of the object that holds the mark stack; 0 for none
    u64 stack_zeroed        # whether the bounded mark stack is cleared for each root, as some compilers do
    u64 overflowed
    u64 unreadable          # block of the first unreadable layout, + 1; 0 for none
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

cdef extern from "_kernel_ops.h" nogil:
    """
    #define TH_EVEN 0x5555555555555555ULL
    #define TH_ODD 0xAAAAAAAAAAAAAAAAULL
    #define TH_ONES 0xFFFFFFFFFFFFFFFFULL
    #define TH_LOW_HALF 0xFFFFFFFFULL
    #define TH_PAIRS 0x3333333333333333ULL
    #define TH_NIBBLES 0x0F0F0F0F0F0F0F0FULL
    #define TH_WIDE_BYTES 0x00FF00FF00FF00FFULL
    #define TH_WIDE_ONES 0x0001000100010001ULL
    #define TH_FNV_BASIS 14695981039346656037ULL
    #define TH_FNV_PRIME 1099511628211ULL
    """
    const u64 EVEN "TH_EVEN"        # the low bit of each state
    const u64 ODD "TH_ODD"          # the high bit: 32 tails
    const u64 ONES "TH_ONES"
    const u64 LOW_HALF "TH_LOW_HALF"
    const u64 PAIRS "TH_PAIRS"
    const u64 NIBBLES "TH_NIBBLES"
    const u64 WIDE_BYTES "TH_WIDE_BYTES"
    const u64 WIDE_ONES "TH_WIDE_ONES"
    const u64 FNV_BASIS "TH_FNV_BASIS"
    const u64 FNV_PRIME "TH_FNV_PRIME"
    u64 load8(u64 address) noexcept
    u64 load16(u64 address) noexcept
    u64 load32(u64 address) noexcept
    u64 load64(u64 address) noexcept
    void store8(u64 address, u64 value) noexcept
    void store16(u64 address, u64 value) noexcept
    void store32(u64 address, u64 value) noexcept
    void store64(u64 address, u64 value) noexcept
    void fill(u64 address, u64 bytes, u64 byte) noexcept
    void zero16(u64 address) noexcept
    void move(u64 to, u64 source, u64 bytes) noexcept
    u64 ctz64(u64 x) noexcept
    u64 clz64(u64 x) noexcept
    u64 long_words_below(u64 at, u64 start, u64 bytes) noexcept
    u64 words_below(u64 at, u64 start, u64 bytes) noexcept
    void prefetch(u64 address) noexcept
    u64 clock_ns() noexcept

# Marking.  The queue pays once the heap is larger than the caches near the core.
cdef enum:
    TALLY = 63              # table words whose counts fit into bytes
    QUEUE = 16
    QUEUE_FROM_BYTES = 1 << 20
    QUEUE_BYTES = 4 * QUEUE
    MARKING_BYTES = QUEUE_BYTES + 64

cdef void lay_out(Heap heap, u64 heap_bytes) noexcept nogil
cdef u64 load(Heap heap, u64 at) noexcept nogil
cdef void store(Heap heap, u64 at, u64 value) noexcept nogil
cdef u64 ragged_word(Heap heap, u64 word) noexcept nogil
cdef u64 table_word(Heap heap, u64 word) noexcept nogil
cdef void put_table_word(Heap heap, u64 word, u64 value) noexcept nogil
cdef u64 state_of(Heap heap, u64 block) noexcept nogil
cdef u64 head_of(Heap heap, u64 block) noexcept nogil
cdef u64 next_of(Heap heap, u64 block) noexcept nogil
cdef u64 skip_tails(Heap heap, u64 block) noexcept nogil

cdef u64 alloc_object(Heap heap, u64 size_bytes, u64 layout) noexcept nogil
cdef u64 alloc_again(Heap heap, u64 size_bytes, u64 layout) noexcept nogil
cdef u64 commit(Heap heap, u64 end, u64 needed, u64 size_bytes, u64 layout) noexcept nogil
cdef u64 run_starts(u64 free, u64 needed) noexcept nogil
cdef u64 find_near(Heap heap, u64 needed) noexcept nogil
cdef u64 find_room(Heap heap, u64 needed) noexcept nogil
cdef u64 find_free_run(Heap heap, u64 first, u64 last, u64 needed) noexcept nogil
cdef u64 find_long_run(Heap heap, u64 first, u64 last, u64 needed) noexcept nogil
cdef u64 free_end(Heap heap, u64 block, u64 most) noexcept nogil
cdef u64 last_occupied(Heap heap, u64 first, u64 last) noexcept nogil
cdef void set_states(Heap heap, u64 head, u64 end) noexcept nogil
cdef void clear_states(Heap heap, u64 head, u64 end) noexcept nogil
cdef void clear(u64 at, u64 bytes) noexcept nogil
cdef u64 alloc_leaking(Heap heap, u64 size_bytes) noexcept nogil
cdef u64 free_object(Heap heap, u64 head) noexcept nogil
cdef u64 old_size(Heap heap, u64 address) noexcept nogil
cdef void move_table(Heap heap, u64 heap_bytes) noexcept nogil

cdef void mark_range(Heap heap, u64 at, u64 bytes) noexcept nogil
cdef void mark_address(Heap heap, u64 address) noexcept nogil
cdef void mark_object_children(Heap heap, u64 head) noexcept nogil
cdef void finish_marking(Heap heap) noexcept nogil
cdef void unmark_all(Heap heap) noexcept nogil
cdef u64 next_object(Heap heap) noexcept nogil
cdef void drain(Heap heap) noexcept nogil
cdef void drain_unbounded(Heap heap) noexcept nogil
cdef u64 newly_marked(Heap heap, u64 table, u64 block) noexcept nogil
cdef void push(Heap heap, u64 block) noexcept nogil
cdef void drop(Heap heap, u64 block) noexcept nogil
cdef void scan_words(Heap heap, u64 at, u64 stop) noexcept nogil
cdef void scan_bits(Heap heap, u64 at, u64 bits) noexcept nogil
cdef u64 inline_bits(u64 layout, u64 word_shift, u64 words) noexcept nogil
cdef void scan_pattern(Heap heap, u64 at, u64 stop, u64 layout) noexcept nogil
cdef void scan_static(Heap heap, u64 at, u64 stop, u64 layout) noexcept nogil
cdef u64 static_layout_size(Heap heap, u64 layout) noexcept nogil
cdef void scan_object(Heap heap, u64 head) noexcept nogil
cdef u64 head_of_host(Heap heap, u64 at) noexcept nogil
cdef u64 marking_bytes(Heap heap, u64 end_block) noexcept nogil
cdef void prepare_stack(Heap heap, u64 end_block) noexcept nogil
cdef void drain_one(Heap heap) noexcept nogil
cdef void leave_last_rescan(Heap heap, u64 last) noexcept nogil
cdef u64 sweep_table(Heap heap) noexcept nogil
cdef u64 count_bytes(u64 x) noexcept nogil
cdef u64 sum_bytes(u64 x) noexcept nogil
cdef void poison_fields(Heap heap, u64 word, u64 fields) noexcept nogil
cdef u64 tally(u64 at, u64 words) noexcept nogil
cdef u64 free_dead(u64 at, u64 stop, u64 carry) noexcept nogil
cdef void keep_tally(Heap heap, u64 counts) noexcept nogil
cdef void count_blocks(Heap heap) noexcept nogil
cdef u64 hash_states(Heap heap) noexcept nogil
cdef void free_runs(Heap heap, u64* runs, u64* largest) noexcept nogil
cdef u64 wrong_fields(Heap heap, u64 word, u64 before) noexcept nogil
cdef bint is_poisoned(Heap heap, u64 block) noexcept nogil
cdef void free_stack(Heap heap) noexcept nogil

cdef class Kernel:
    cdef HeapState _heap
    cdef Py_buffer _memory
    cdef Py_buffer _statics_memory
    cdef bint _held             # whether `_memory` is ours to use
    cdef Py_buffer _stack_memory
    cdef bint _statics_held
    cdef bint _stack_held
    cdef bint _guarded          # whether an operation runs (see `monitor.py`)
    cdef bint _in_interrupt
    cdef bint _leaking
    cdef bint _plain            # whether an allocation is `alloc_object`, and no more
    cdef bint _open             # whether whoever comes may allocate: no operation runs, no interrupt, and there is memory
    cdef u64 _align_mask
    cdef u64 _size_limit
    cdef object _geometry
    cdef object _options
    cdef object _statics
    cdef object _surroundings
    cdef object _otherwise
    cdef void _notice(self)
    cdef int _check_block(self, u64 block, u64 limit) except? -1
    cdef int _check_held(self) except? -1
    cdef u64 _place(self, u64 address) except? 0
    cdef int _prepare_marking(self) except? -1
    cdef void _end_marking(self)
    cdef void _release_stack(self)
    cdef u64 _checked_size(self, size_bytes) except? 1
    cdef object _alloc_checked(self, u64 size_bytes, u64 layout_word)
    cdef u64 _search_on(self, u64 size_bytes, u64 layout_word) except? 0
    cdef object _alloc_slowly(self, u64 size_bytes, u64 layout_word)
    cdef object _alloc_asserting(self, u64 size_bytes, u64 layout_word)
    cdef void _uncount(self, u64 size_bytes) noexcept
    cdef u64 _bumped(self, u64 size_bytes) noexcept
    cdef object _alloc_leaking(self, u64 size_bytes)
