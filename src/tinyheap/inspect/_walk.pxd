# cython: language_level=3, cdivision=True
# Types of `_walk.py`: the walk along typed pointers, with a flat table of types.
#
#     types    by number: size | first reference | references       -1 references: not known yet
#     refs     offset | what it points to | shape
#     waiting  address | length | number                            those from `head` to `tail`
#
# The walk stops where something has to be asked, and goes on at the same place: reference `reference` of value `value` of
# what waits first.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from tinyheap.heap._buffers cimport BufferView
from tinyheap.heap._words cimport load32, u64

ctypedef uint8_t u8
ctypedef uint32_t u32
ctypedef int32_t i32
ctypedef int64_t i64

cdef enum:
    WORD_BYTES = 4
    MOST_CLAIMS = 4
    # The shapes that are followed here; those above are met.
    PLAIN = 1
    STRING = 2
    SLICE = 3
    INTERFACE = 4
    # Why the walk stops.
    DONE = 0
    LEARN = 1
    OUTSIDE = 2
    MEET = 3
    NO_MEMORY = 4

cdef struct TypeRow:
    i64 size_bytes
    i64 first
    i64 count

cdef struct Ref:
    i64 offset
    i64 target
    i64 shape

cdef struct Values:
    i64 address
    i64 length
    i64 number

ctypedef TypeRow* TypeRows
ctypedef Ref* Refs
ctypedef Values* ValuesPointer

cdef struct State:
    u64 memory              # where linear memory lies here
    i64 memory_bytes
    i64* addresses          # of the objects, ascending
    i64* sizes
    i64 objects
    i32* numbers            # what is claimed, by object
    i64* lengths
    i64* starts
    i64* covered
    u8* times
    u32* codes              # type codes, ascending
    i32* boxed
    i64 code_count
    TypeRows types
    i64 type_room
    Refs refs
    i64 ref_count
    i64 ref_room
    ValuesPointer waiting
    i64 head
    i64 tail
    i64 room
    i64 reference
    i64 value
    i64 holder              # what is told where the walk stops: the value, a word in it, or what that points to
    i64 at
    i64 number

ctypedef State* StatePointer

cdef u64 run(StatePointer walk) noexcept nogil
cdef u64 refer(StatePointer walk, i64 holder, Refs ref) noexcept nogil
cdef u64 point(StatePointer walk, i64 holder, i64 target, i64 number, i64 count) noexcept nogil
cdef u64 claim_part(StatePointer walk, i64 index, i64 start, i64 number, i64 count) noexcept nogil
cdef bint wait_for(StatePointer walk, i64 address, i64 length, i64 number) noexcept nogil
cdef i64 word_at(StatePointer walk, i64 at) noexcept nogil
cdef i64 object_at(StatePointer walk, i64 address) noexcept nogil
cdef i64 boxed_by(StatePointer walk, i64 code) noexcept nogil

cdef class Walk:
    cdef State _state
    cdef BufferView _memory
    cdef list _held
    cdef object _learn
    cdef u64 _hold(self, object array, u64 item_bytes, i64 count)
    cdef void _go_on(self, object meet, object outside) except *
