# Types and signatures of the compiled end of a recording; see `_recorder.py`.

from tinyheap.heap._words cimport u64

cdef extern from *:
    """
    #define TH_GOLDEN 0x9E3779B97F4A7C15ULL
    #define TH_FIRST_MIX 0xBF58476D1CE4E5B9ULL
    #define TH_SECOND_MIX 0x94D049BB133111EBULL
    """
    const u64 GOLDEN "TH_GOLDEN"    # 2**64 by the golden ratio
    const u64 GAMMA "TH_GOLDEN"     # SplitMix64's step, which is the same
    const u64 FIRST_MIX "TH_FIRST_MIX"      # and its multipliers
    const u64 SECOND_MIX "TH_SECOND_MIX"

# What is noted of a run.  Addresses are of this machine unless they are said to be the guest's; `*_count` is how many
# records lie in a buffer, `*_room` how many it can take.
cdef struct Log:
    void* owner                 # the Python object that takes what was noted
    u64 shadow                  # where the shadow stack's memory begins; 0 for none
    u64 begun_ns                # the clock when the run began
    u64 due_ns                  # since then: when the owner is to be woken
    u64 state                   # whether anything is to be noted: RUNNING, STOPPED or FAILED
    u64 events                  # in all
    u64 objects                 # in all: the number of the latest
    u64 first_address           # the guest's address of the first object there can be
    u64 granule_shift           # log2 of the bytes of which no two objects share any
    bint infers                 # whether deaths are inferred
    u64 mean_bytes              # between two sampled bytes; 0 where every object is noted
    u64 countdown               # bytes up to the next one to be sampled
    u64 random_state
    u64 births                  # 32 bits a granule: the number of the object that begins there, or, where deaths are
                                # inferred, that it is part of
    u64 births_room
    u64 event_buffer
    u64 event_count
    u64 stack_buffer
    u64 stack_count
    u64 death_buffer
    u64 death_count
    u64 death_room
    u64 stacks                  # in all
    u64 children                # a table of stacks, twice as large as needed at least: parent and site in 64 bits, 0 for
                                # a free place, and the stack's number in 64 more
    u64 children_mask           # its size - 1
    u64 recent                  # the same for what was looked up last at each depth

ctypedef Log* LogPointer

# The records, whose fields lie where `tinyheap.recordings.schema` says.
cdef enum:
    RUNNING = 0
    STOPPED = 1
    FAILED = 2
    ALLOCATION = 0              # kinds of events, as the schema numbers them
    FREE = 2
    REUSE = 3
    NOTHING = 4                 # not to be noted
    EVENT_BYTES = 40
    STACK_BYTES = 16
    DEATH_BYTES = 16
    CHILD_BYTES = 16
    DEPTHS = 1 << 17            # more than a shadow stack has entries
    ENTRY_BYTES = 8
    EVENT_ROOM = 1 << 16
    STACK_ROOM = 1 << 16
    STACKS_LIMIT = 1 << 22
    OBJECTS_LIMIT = 0xFFFFFFFF

cdef u64 note(Log* log, u64 kind, u64 address, u64 size_bytes, u64 layout) noexcept nogil
cdef u64 uniform(Log* log) noexcept nogil
cdef u64 bytes_to_sample(Log* log) noexcept nogil
cdef u64 sampled_kind(Log* log, u64 kind, u64 address, u64 size_bytes) noexcept nogil
cdef bint is_owned(Log* log, u64 first, u64 last) noexcept nogil
cdef void vacate(Log* log, u64 first, u64 last) noexcept nogil
cdef u64 trap_of(Log* log) noexcept nogil
cdef u64 object_of(Log* log, u64 kind, u64 address, u64 size_bytes) noexcept nogil
cdef void hand_over(Log* log) noexcept nogil
cdef void wake(Log* log) noexcept nogil
cdef u64 current_stack(Log* log) noexcept nogil
cdef u64 child_of(Log* log, u64 parent, u64 site, u64 depth) noexcept nogil
cdef u64 new_stack(Log* log, u64 parent, u64 site, u64 depth) noexcept nogil
cdef u64 place_of(Log* log, u64 key) noexcept nogil
cdef bint grow_children(Log* log) noexcept nogil
cdef u64 granule_of(Log* log, u64 address) noexcept nogil
cdef u64 beginning_at(Log* log, u64 address) noexcept nogil
cdef u64 owner_of(Log* log, u64 granule) noexcept nogil
cdef void settle(Log* log, u64 first, u64 last) noexcept nogil
cdef void cut_off(Log* log, u64 number, u64 granule) noexcept nogil
cdef void bury_both(Log* log, u64 granule) noexcept nogil
cdef void bury(Log* log, u64 number, u64 granule) noexcept nogil
cdef bint grow_births(Log* log, u64 granule) noexcept nogil
cdef void* serve(void* env, void* caller, void* values, size_t count) noexcept nogil
cdef bint note_death(Log* log, u64 number, u64 cause) noexcept nogil
cdef bint note_unmarked(Log* log, u64 word, u64 first_block, u64 collection) noexcept nogil
cdef bint note_unmarked_planes(Log* log, u64 table, u64 blocks, bint head_is_last, u64 collection) noexcept nogil
cdef u64 allocated(u64 count, u64 size) noexcept nogil
cdef void release(u64 address) noexcept nogil
cdef u64 enlarged(u64 address, u64 old_bytes, u64 new_bytes) noexcept nogil

cdef class EventLog:
    cdef Log _log
    cdef object _owner
    cdef object _events
    cdef object _stacks
    cdef void _renew(self)
