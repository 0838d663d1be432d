# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, freethreading_compatible=True
"""The walk along typed pointers: which values of which types each object consists of; see `walk_model.py`, its model.

Nothing is trusted: memory may hold any numbers, and types may have any size.  Words are read within linear memory only, an
object is claimed a few times at most, and no claim reaches beyond its object; so what waits is bounded, too.
"""

import cython

if not cython.compiled:
    raise ImportError("tinyheap.inspect._walk is not compiled")

import numpy as np
from cython.cimports.cpython.buffer import PyBUF_SIMPLE, PyBUF_WRITABLE
from cython.cimports.libc.stdlib import free as c_free
from cython.cimports.libc.stdlib import realloc
from cython.cimports.libc.string import memmove
from cython.cimports.tinyheap.heap._buffers import BufferView

_FAR = 1 << 40
"""No offset in memory is as large, nor is any value."""
_LEAST_ROOM = 64


@cython.final
@cython.cclass
class Walk:
    """Follows typed pointers; arguments as for `walk_model.Walk`."""

    def __init__(self, memory, boxed, claims, learn):
        walk: StatePointer = cython.address(self._state)
        self._learn = learn
        self._held = []
        self._memory = BufferView()
        self._memory.hold(memory.data, PyBUF_SIMPLE)
        walk.memory = self._memory.at
        walk.memory_bytes = self._memory.bytes
        walk.objects = memory.count
        walk.addresses = cython.cast(cython.pointer(i64), self._hold(memory.addresses, 8, walk.objects))
        walk.sizes = cython.cast(cython.pointer(i64), self._hold(memory.sizes, 8, walk.objects))
        walk.numbers = cython.cast(cython.pointer(i32), self._hold(claims.numbers, 4, walk.objects))
        walk.lengths = cython.cast(cython.pointer(i64), self._hold(claims.lengths, 8, walk.objects))
        walk.starts = cython.cast(cython.pointer(i64), self._hold(claims.starts, 8, walk.objects))
        walk.covered = cython.cast(cython.pointer(i64), self._hold(claims.covered, 8, walk.objects))
        walk.times = cython.cast(cython.pointer(u8), self._hold(claims.times, 1, walk.objects))
        codes = sorted(code for code in boxed if 0 <= code < 1 << 32)
        walk.code_count = len(codes)
        walk.codes = cython.cast(cython.pointer(u32), self._hold(np.array(codes, np.uint32), 4, len(codes)))
        of_codes = np.array([boxed[code] for code in codes], np.int32)
        walk.boxed = cython.cast(cython.pointer(i32), self._hold(of_codes, 4, len(codes)))

    @cython.cfunc
    def _hold(self, array, item_bytes: u64, count: i64) -> u64:
        """Where the items of an array lie, which is held as long as this is."""
        view: BufferView = BufferView()
        view.hold(array, PyBUF_WRITABLE)
        if view.bytes != item_bytes * cython.cast(u64, count):
            raise ValueError("the arrays are not as long as there are objects")
        self._held.append(view)
        return view.at

    def __dealloc__(self):
        c_free(self._state.types)
        c_free(self._state.refs)
        c_free(self._state.waiting)

    def add_type(self, number: i64, size_bytes, references) -> None:
        """Make a type known: the size of its values, and the words in them that may point to something."""
        walk: StatePointer = cython.address(self._state)
        index: i64
        room: i64 = max(2 * number, _LEAST_ROOM)
        if number < 0 or number >= 1 << 31:
            raise ValueError("the number of the type is out of range")
        if number >= walk.type_room:
            types = cython.cast(TypeRows, realloc(walk.types, cython.cast(u64, room + 1) * cython.sizeof(TypeRow)))
            if types == cython.NULL:
                raise MemoryError
            walk.types = types
            for index in range(walk.type_room, room + 1):
                types[index].count = -1
            walk.type_room = room + 1
        room = walk.ref_count + len(references)
        if room > walk.ref_room:
            room = 2 * room + _LEAST_ROOM
            refs = cython.cast(Refs, realloc(walk.refs, cython.cast(u64, room) * cython.sizeof(Ref)))
            if refs == cython.NULL:
                raise MemoryError
            walk.refs = refs
            walk.ref_room = room
        walk.types[number].size_bytes = max(0, min(size_bytes, _FAR))
        walk.types[number].first = walk.ref_count
        walk.types[number].count = len(references)
        for offset, shape, target in references:
            walk.refs[walk.ref_count].offset = max(-_FAR, min(offset, _FAR))
            walk.refs[walk.ref_count].target = target
            walk.refs[walk.ref_count].shape = shape.value
            walk.ref_count += 1

    def push(self, address: i64, length: i64, number: i64) -> None:
        """Let values wait, which may lie outside of the heap; their type is known."""
        walk: StatePointer = cython.address(self._state)
        if number < 0 or number >= walk.type_room or walk.types[number].count < 0:
            raise ValueError("the type is not known")
        if not wait_for(walk, address, length, number):
            raise MemoryError

    def claim(self, index: i64, start: i64, number: i64, count: i64) -> None:
        """Claim part of an object for so many values, as far as there is room, if that is more than was claimed before."""
        walk: StatePointer = cython.address(self._state)
        if index < 0 or index >= walk.objects or start < 0 or number < 0 or count < 0:
            raise ValueError("the claim is out of range")
        code: u64 = claim_part(walk, index, start, number, count)
        if code == LEARN:
            self._learn(number)
            code = claim_part(walk, index, start, number, count)
        if code != DONE:
            raise MemoryError

    def follow(self, meet, outside) -> None:
        """Go on until nothing waits any more."""
        self._go_on(meet, outside)

    @cython.cfunc
    @cython.exceptval(check=True)
    def _go_on(self, meet, outside) -> cython.void:
        walk: StatePointer = cython.address(self._state)
        code: u64 = LEARN
        while code != DONE:
            with cython.nogil:
                code = run(walk)
            if code == LEARN:
                self._learn(walk.number)
                if walk.number >= walk.type_room or walk.types[walk.number].count < 0:
                    raise ValueError("the type was not made known")
            elif code == OUTSIDE:
                outside(walk.holder, walk.at, walk.number)
            elif code == MEET:
                meet(walk.holder, walk.at, walk.number)
            elif code == NO_MEMORY:
                raise MemoryError


def run(walk: StatePointer) -> u64:
    """Go on until nothing waits, or something has to be asked; returns which."""
    values: Values
    row: TypeRow
    holder: i64
    code: u64
    while walk.head < walk.tail:
        values = walk.waiting[walk.head]
        row = walk.types[values.number]
        while walk.reference < row.count:
            while walk.value < values.length:
                holder = values.address + walk.value * row.size_bytes
                code = refer(walk, holder, walk.refs + row.first + walk.reference)
                # What could not be done is done again, when the type is known.
                if code == LEARN or code == NO_MEMORY:
                    return code
                walk.value += 1
                if code != DONE:
                    return code
            walk.value = 0
            walk.reference += 1
        walk.reference = 0
        walk.head += 1
    return DONE


def refer(walk: StatePointer, holder: i64, ref: Refs) -> u64:
    """Follow a word of a value."""
    at: i64 = holder + ref.offset
    if ref.shape == PLAIN:
        return point(walk, holder, word_at(walk, at), ref.target, 1)
    if ref.shape == STRING:
        return point(walk, holder, word_at(walk, at), ref.target, word_at(walk, at + WORD_BYTES))
    if ref.shape == SLICE:
        return point(walk, holder, word_at(walk, at), ref.target, word_at(walk, at + 2 * WORD_BYTES))
    if ref.shape == INTERFACE:
        return point(walk, holder, word_at(walk, at + WORD_BYTES), boxed_by(walk, word_at(walk, at)), 1)
    walk.holder = holder
    walk.at = at
    walk.number = ref.shape
    return MEET


def point(walk: StatePointer, holder: i64, target: i64, number: i64, count: i64) -> u64:
    """A pointer to so many values of a type."""
    index: i64
    if number < 0 or target == 0 or count == 0:
        return DONE
    index = object_at(walk, target)
    if index >= 0:
        return claim_part(walk, index, target - walk.addresses[index], number, count)
    if number < walk.type_room and walk.types[number].count == 0:
        return DONE
    walk.holder = holder
    walk.at = target
    walk.number = number
    return OUTSIDE


def claim_part(walk: StatePointer, index: i64, start: i64, number: i64, count: i64) -> u64:
    """Claim part of an object, if that is more than was claimed before."""
    row: TypeRow
    room: i64 = walk.sizes[index] - start
    if number >= walk.type_room or walk.types[number].count < 0:
        walk.number = number
        return LEARN
    row = walk.types[number]
    if row.size_bytes <= 0 or room < row.size_bytes or walk.times[index] >= MOST_CLAIMS:
        return DONE
    if count > room // row.size_bytes:
        count = room // row.size_bytes
    if count * row.size_bytes <= walk.covered[index]:
        return DONE
    if row.count != 0 and not wait_for(walk, walk.addresses[index] + start, count, number):
        return NO_MEMORY
    walk.covered[index] = count * row.size_bytes
    walk.times[index] += 1
    walk.numbers[index] = cython.cast(i32, number)
    walk.lengths[index] = count
    walk.starts[index] = start
    return DONE


def wait_for(walk: StatePointer, address: i64, length: i64, number: i64) -> cython.bint:
    """Let values wait; returns whether there was room for them."""
    room: i64
    waiting: ValuesPointer
    if walk.tail == walk.room and walk.head > walk.room // 2:
        memmove(walk.waiting, walk.waiting + walk.head, cython.cast(u64, walk.tail - walk.head) * cython.sizeof(Values))
        walk.tail -= walk.head
        walk.head = 0
    if walk.tail == walk.room:
        room = 2 * walk.room + 64
        waiting = cython.cast(ValuesPointer, realloc(walk.waiting, cython.cast(u64, room) * cython.sizeof(Values)))
        if waiting == cython.NULL:
            return False
        walk.waiting = waiting
        walk.room = room
    walk.waiting[walk.tail].address = address
    walk.waiting[walk.tail].length = length
    walk.waiting[walk.tail].number = number
    walk.tail += 1
    return True


def word_at(walk: StatePointer, at: i64) -> i64:
    """The word at an address; 0 beyond memory."""
    if at < 0 or at > walk.memory_bytes - WORD_BYTES:
        return 0
    return cython.cast(i64, load32(walk.memory + cython.cast(u64, at)))


def object_at(walk: StatePointer, address: i64) -> i64:
    """The object that an address is in; -1 for none."""
    low: i64 = 0
    high: i64 = walk.objects
    middle: i64
    size_bytes: i64
    while low < high:
        middle = (low + high) // 2
        if walk.addresses[middle] <= address:
            low = middle + 1
        else:
            high = middle
    low -= 1
    if low < 0:
        return -1
    size_bytes = walk.sizes[low] if walk.sizes[low] > 1 else 1
    return low if address - walk.addresses[low] < size_bytes else -1


def boxed_by(walk: StatePointer, code: i64) -> i64:
    """The number of the type that an interface's value points to, by its type code; -1 for none."""
    low: i64 = 0
    high: i64 = walk.code_count
    middle: i64
    while low < high:
        middle = (low + high) // 2
        if walk.codes[middle] < code:
            low = middle + 1
        else:
            high = middle
    return walk.boxed[low] if low < walk.code_count and walk.codes[low] == code else -1
