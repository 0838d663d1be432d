# Types and signatures of the compiled player; see `_replay.py`.

from libc.stdint cimport int64_t, uint32_t

from tinyheap.heap.nextfit._state cimport HeapState
from tinyheap.heap._words cimport u64

# What one collection left: five values of the vectors, the table's hash, and times.
cdef struct Row:
    u64 free_blocks
    u64 heads
    u64 tails
    u64 overflows
    u64 rescans
    u64 table_hash
    u64 mark_ns
    u64 sweep_ns

# What the check of a trace knows while it walks the steps.
cdef struct Rules:
    int64_t* sizes              # of each id as requested; -1 = not bound
    u64 object_ids
    u64 root_slots
    u64 word_bytes
    u64 most_bytes
    u64 most_layout

# As `trace.Op`, and the fields of STORE's `b`; a test holds these and the faults, which Python sees for that, to `trace.py`.
cpdef enum:
    ALLOC = 0
    STORE = 1
    ROOT = 2
    COLLECT = 3
    STORE_ADDRESS = 4
    REALLOC = 5
    STORE_INTEGER = 6
    COPY = 7
    SET_FINALIZER = 8
    RUN_FINALIZERS = 9
    IDLE = 10
    STORE_INTERIOR_SHIFT = 20
    STORE_WORD_MASK = (1 << STORE_INTERIOR_SHIFT) - 1

cdef enum:
    STORES = 1 << STORE | 1 << STORE_ADDRESS | 1 << STORE_INTEGER   # those that write a word of an object

# As `trace.Fault`, but for what only running finds; 0 is none.
cpdef enum:
    UNKNOWN_OPERATION = 1
    ID_OUT_OF_RANGE = 2
    SLOT_OUT_OF_RANGE = 3
    NULL_ID = 4
    UNBOUND_ID = 5
    OUTSIDE_OBJECT = 6
    SIZE_BEYOND_ADDRESS_SPACE = 7
    LAYOUT_BEYOND_WORD = 8
    LAYOUTS_TOO_LARGE = 9
    ZERO_SIZED_REALLOC = 10

cdef u64 step_fault(Rules* rules, const uint32_t* ops) noexcept nogil
cdef u64 bound_fault(Rules* rules, u64 object_id) noexcept nogil

cdef class Player:
    cdef HeapState _heap
    cdef object _trace
    cdef object _memory         # the reserved bytes of the heap, and the view that pins them
    cdef const uint32_t[::1] _ops
    cdef unsigned char[::1] _memory_view
    cdef unsigned char[::1] _statics
    cdef const uint32_t[::1] _layouts           # distinct out-of-line layouts, ascending, ...
    cdef const u64[::1] _layout_addresses       # ... and where each lies among the statics
    cdef u64[::1] _ids          # addresses of objects; 0 = unbound
    cdef unsigned char[::1] _roots
    cdef int64_t[::1] _addresses
    cdef object _addresses_array
    cdef u64 _addresses_done
    cdef Row* _rows
    cdef u64 _rows_done
    cdef u64 _rows_room
    cdef u64 _step
    cdef u64 _steps
    cdef u64 _limit_bytes
    cdef u64 _by_thirds
    cdef bint _timing
    cdef bint _hashes
    cdef bint _out_of_memory
    cdef bint _stray
    cdef u64 _alloc_ns
    cdef u64 _mark_ns
    cdef u64 _sweep_ns
    cdef u64 _total_ns
    cdef void _play(self, u64 stop) noexcept nogil
    cdef u64 _allocate(self, u64 size_bytes, u64 layout) noexcept nogil
    cdef u64 _allocate_leaking(self, u64 size_bytes) noexcept nogil
    cdef u64 _allocate_slowly(self, u64 size_bytes, u64 layout) noexcept nogil
    cdef u64 _reallocate(self, u64 address, u64 size_bytes) noexcept nogil
    cdef u64 _layout_word(self, u64 layout) noexcept nogil
    cdef u64 _collect(self) noexcept nogil
    cdef bint _grow(self) noexcept nogil
