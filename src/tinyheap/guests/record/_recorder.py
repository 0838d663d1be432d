# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, freethreading_compatible=True
"""The compiled end of a recording: events, interned call stacks and deaths, noted with no Python in between.

An *event* is an allocation, or a reallocation or free that was asked for.  Its call stack comes from the shadow stack
(`shadow_stack`), whose entries hold a site each and room for a number: that of the interned stack that ends with the entry.
It is zero in each entry that was written since the last event, so only those are looked up, from the first without a number
up; what a run looks up is a small part of all its calls.  Stacks are a tree: a hash table leads from a stack and a site to
the stack with that frame more.  In front of it stands an array with what was looked up last at each depth, since programs
repeat themselves: it is read from one end to the other, and mostly has it.

Records go into buffers.  When one is full the owner (`recorder.Recorder`) takes them: its ``_flush()`` is called, with
whatever was noted until then complete.  At events from time to time it is woken by ``_wake()``, which says when to be woken
next.

Objects are numbered in the order of their allocations.  Where each began is kept in an array over the heap, so that a
objects that a collection frees are found in the block table: heads without a mark, 32 blocks at a time.

Where nobody sees collections, deaths are *inferred*: whoever is handed bytes proves that their last owner was dead.  The
array then holds an object's number at all granules of it, and an allocation that finds another number there, at any of its
own, has found somebody dead.  That one is taken off all its granules, so that nobody dies twice; what an allocation costs
grows with its bytes, as clearing it does.  An object that is freed by a call is taken off at once.

A *sample* notes some objects only: bytes are counted as they are allocated, and an object is noted if the next byte of a
Poisson process is one of its own.  The process begins anew behind each object that is noted, which its lack of memory
allows, so that an object of s bytes is noted with probability 1 - exp(-s / mean), whatever became of others.  All that
happens to an object that was noted is noted, too; of an allocation that was not, that it was given such an object's bytes.
"""

import cython

if not cython.compiled:
    raise ImportError("tinyheap.guests.record._recorder is not compiled")

from cython.cimports.cpython.bytearray import PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
from cython.cimports.cpython.bytes import PyBytes_FromStringAndSize
from cython.cimports.libc.stdlib import calloc as c_calloc
from cython.cimports.libc.stdlib import free as c_free
from cython.cimports.libc.stdlib import realloc as c_realloc
from cython.cimports.tinyheap.heap._words import (
    EVEN,
    clock_ns,
    ctz64,
    fill,
    load8,
    load32,
    load64,
    store32,
    store64,
    u64,
)


def allocated(count: u64, size: u64) -> u64:
    """The address of zeroed memory, or 0."""
    return cython.cast(cython.size_t, c_calloc(count, size))


def release(address: u64) -> cython.void:
    """Free what `allocated` returned; 0 is nothing."""
    c_free(cython.cast(cython.p_void, cython.cast(cython.size_t, address)))


def enlarged(address: u64, old_bytes: u64, new_bytes: u64) -> u64:
    """The same memory with more of it, zeroed; 0 where there is none, and the old stays then."""
    larger: u64 = cython.cast(
        cython.size_t, c_realloc(cython.cast(cython.p_void, cython.cast(cython.size_t, address)), new_bytes)
    )
    if larger != 0:
        fill(larger + old_bytes, new_bytes - old_bytes, 0)
    return larger


# ---- stacks -----------------------------------------------------------------------------------------------------------


def current_stack(log: LogPointer) -> u64:
    """The number of the stack of the calls that are being made; 0 for none."""
    if log.shadow == 0:
        return 0
    end: u64 = log.shadow + ENTRY_BYTES + load32(log.shadow)
    at: u64 = end
    stack: u64 = 0
    while at > log.shadow + ENTRY_BYTES and stack == 0:
        at -= ENTRY_BYTES
        stack = load32(at + 4)
    if stack != 0:
        at += ENTRY_BYTES
    while at < end:
        stack = child_of(log, stack, load32(at), (at - log.shadow) // ENTRY_BYTES)
        store32(at + 4, stack)
        at += ENTRY_BYTES
    return stack


def child_of(log: LogPointer, parent: u64, site: u64, depth: u64) -> u64:
    """The number of the stack that is its parent and a site more; the parent's own when there are too many stacks."""
    key: u64 = parent << 32 | site
    recent: u64 = log.recent + depth * CHILD_BYTES
    if load64(recent) == key:
        return load64(recent + 8)
    child: u64 = place_of(log, key)
    if load64(child) == 0:
        if log.stacks == STACKS_LIMIT:
            return parent
        if log.stacks * 2 > log.children_mask:
            if not grow_children(log):
                return parent
            child = place_of(log, key)
        store64(child, key)
        store64(child + 8, new_stack(log, parent, site, depth))
    store64(recent, key)
    store64(recent + 8, load64(child + 8))
    return load64(child + 8)


def new_stack(log: LogPointer, parent: u64, site: u64, depth: u64) -> u64:
    """The number of a stack that was not seen before."""
    if log.stack_count == STACK_ROOM:
        hand_over(log)
    log.stacks += 1
    record: u64 = log.stack_buffer + log.stack_count * STACK_BYTES
    store32(record, log.stacks)
    store32(record + 4, parent)
    store32(record + 8, site)
    store32(record + 12, depth)
    log.stack_count += 1
    return log.stacks


def place_of(log: LogPointer, key: u64) -> u64:
    """Where the table has the key, or where it goes."""
    # A stack's first two children lie at the stack's own places if these are free, since who goes down a new path reads
    # along the table so, which is far larger than the cache.
    place: u64 = (key >> 32) << 1 & log.children_mask
    found: u64 = load64(log.children + place * CHILD_BYTES)
    if found != 0 and found != key:
        place += 1
        found = load64(log.children + place * CHILD_BYTES)
    if found == 0 or found == key:
        return log.children + place * CHILD_BYTES
    # Fibonacci hashing: the product's high bits depend on all of the key's.
    place = (key * GOLDEN) >> 32 & log.children_mask
    found = load64(log.children + place * CHILD_BYTES)
    while found != 0 and found != key:
        place = (place + 1) & log.children_mask
        found = load64(log.children + place * CHILD_BYTES)
    return log.children + place * CHILD_BYTES


def grow_children(log: LogPointer) -> cython.bint:
    """Double the table; False where there is no memory."""
    size: u64 = log.children_mask + 1
    old: u64 = log.children
    children: u64 = allocated(size * 2, CHILD_BYTES)
    if children == 0:
        return False
    log.children = children
    log.children_mask = size * 2 - 1
    number: u64
    at: u64
    place: u64
    for number in range(size):
        at = old + number * CHILD_BYTES
        if load64(at) != 0:
            place = place_of(log, load64(at))
            store64(place, load64(at))
            store64(place + 8, load64(at + 8))
    release(old)
    return True


# ---- sampling ---------------------------------------------------------------------------------------------------------


def uniform(log: LogPointer) -> u64:
    """The next of the numbers from 0 to 2**32 - 1 that follow from the seed: SplitMix64 (Steele, Lea, Flood 2014)."""
    log.random_state += GAMMA
    mixed: u64 = (log.random_state ^ log.random_state >> 30) * FIRST_MIX
    mixed = (mixed ^ mixed >> 27) * SECOND_MIX
    return (mixed ^ mixed >> 31) >> 32


def bytes_to_sample(log: LogPointer) -> u64:
    """How many bytes on the next one to be sampled is, 1 or more: an exponential distribution, rounded up.

    By von Neumann's method (1951), which compares uniform numbers and nothing else, so that no machine rounds otherwise:
    the first of a falling run of odd length is the fraction; each of even length before it is a whole.
    """
    whole: u64 = 0
    while True:
        first: u64 = uniform(log)
        last: u64 = first
        following: u64 = uniform(log)
        length: u64 = 1
        while following < last:
            last = following
            following = uniform(log)
            length += 1
        if length & 1:
            return whole * log.mean_bytes + (first * log.mean_bytes >> 32) + 1
        whole += 1


def sampled_kind(log: LogPointer, kind: u64, address: u64, size_bytes: u64) -> u64:
    """What an event is in a sample: itself, `REUSE` where it only shows that sampled objects are dead, or `NOTHING`."""
    if kind != ALLOCATION:
        return kind if beginning_at(log, address) != 0 else NOTHING
    if size_bytes >= log.countdown:
        log.countdown = bytes_to_sample(log)
        return ALLOCATION
    log.countdown -= size_bytes
    if log.infers and size_bytes != 0 and address >= log.first_address:
        if is_owned(log, granule_of(log, address), granule_of(log, address + size_bytes - 1)):
            return REUSE
    return NOTHING


def is_owned(log: LogPointer, first: u64, last: u64) -> cython.bint:
    """Whether the array has an object at any granule from one to another."""
    granule: u64
    for granule in range(first, last + 1):
        if owner_of(log, granule) != 0:
            return True
    return False


def vacate(log: LogPointer, first: u64, last: u64) -> cython.void:
    """Bury whoever is at any granule from one to another."""
    granule: u64
    for granule in range(first, last + 1):
        if owner_of(log, granule) != 0:
            bury(log, owner_of(log, granule), granule)


# ---- events -----------------------------------------------------------------------------------------------------------


def note(log: LogPointer, kind: u64, address: u64, size_bytes: u64, layout: u64) -> u64:
    """Note an event; returns whether the guest is to be ended, because the recording failed.

    Args:
        kind: what it is, as `tinyheap.recordings.schema.EventKind` numbers it.
        address: the guest's: of what was made, or of what is to be resized or freed.
    """
    if log.state != RUNNING:
        return log.state == FAILED
    if log.mean_bytes != 0:
        kind = sampled_kind(log, kind, address, size_bytes)
        if kind == NOTHING:
            return 0
    if log.event_count == EVENT_ROOM:
        hand_over(log)
    stack: u64 = current_stack(log)
    time_ns: u64 = clock_ns() - log.begun_ns
    record: u64 = log.event_buffer + log.event_count * EVENT_BYTES
    store64(record, time_ns)
    store64(record + 8, object_of(log, kind, address, size_bytes))
    store32(record + 16, address)
    store32(record + 20, size_bytes)
    store32(record + 24, layout)
    store32(record + 28, stack)
    store64(record + 32, kind)
    log.event_count += 1
    log.events += 1
    if time_ns >= log.due_ns:
        wake(log)
    return log.state == FAILED


def trap_of(log: LogPointer) -> u64:
    """A trap of wasmtime's to end the guest with; who takes it frees it."""
    trap: u64
    with cython.gil:
        trap = cython.cast(object, log.owner)._trap()
    return trap


def object_of(log: LogPointer, kind: u64, address: u64, size_bytes: u64) -> u64:
    """The number of an event's object, new for an allocation; 0 for none."""
    if kind == ALLOCATION:
        if size_bytes == 0:
            return 0
        if log.objects == OBJECTS_LIMIT:
            log.state = FAILED
            return 0
        log.objects += 1
    if kind == REUSE:
        vacate(log, granule_of(log, address), granule_of(log, address + size_bytes - 1))
        return 0
    if kind != ALLOCATION:
        number: u64 = beginning_at(log, address)
        if log.infers and number != 0:
            if kind == FREE:
                bury(log, number, granule_of(log, address))
            else:
                cut_off(log, number, granule_of(log, address + size_bytes + (1 << log.granule_shift) - 1))
        return number
    if address >= log.first_address:
        settle(log, granule_of(log, address), granule_of(log, address + size_bytes - 1) if log.infers else 0)
    return log.objects


def granule_of(log: LogPointer, address: u64) -> u64:
    """The granule that an address on the heap lies in."""
    return (address - log.first_address) >> log.granule_shift


def beginning_at(log: LogPointer, address: u64) -> u64:
    """The number of the object that begins at an address; 0 for none."""
    if address < log.first_address:
        return 0
    granule: u64 = granule_of(log, address)
    number: u64 = owner_of(log, granule)
    if granule != 0 and owner_of(log, granule - 1) == number:
        return 0
    return number


def owner_of(log: LogPointer, granule: u64) -> u64:
    """The number that the array has for a granule; 0 for none."""
    return load32(log.births + (granule << 2)) if granule < log.births_room else 0


def settle(log: LogPointer, first: u64, last: u64) -> cython.void:
    """Note where the latest object lies: from one granule to another, or in the first alone where the last is below it."""
    if last < first:
        last = first
    if last >= log.births_room and not grow_births(log, last):
        return
    granule: u64 = first
    at: u64
    if log.infers:
        # Two at a time, and the rest below.
        while granule < last:
            at = log.births + (granule << 2)
            if load64(at) != 0:
                bury_both(log, granule)
            store64(at, log.objects | log.objects << 32)
            granule += 2
        if granule == last and owner_of(log, last) != 0:
            bury(log, owner_of(log, last), last)
    if granule <= last:
        store32(log.births + (granule << 2), log.objects)


def bury_both(log: LogPointer, granule: u64) -> cython.void:
    """Bury whoever a granule and the next one are part of."""
    if owner_of(log, granule) != 0:
        bury(log, owner_of(log, granule), granule)
    if owner_of(log, granule + 1) != 0:
        bury(log, owner_of(log, granule + 1), granule + 1)


def cut_off(log: LogPointer, number: u64, granule: u64) -> cython.void:
    """Take an object off its granules from one on: all, or those that one which is resized may have given back."""
    while granule + 1 < log.births_room and load64(log.births + (granule << 2)) == (number | number << 32):
        store64(log.births + (granule << 2), 0)
        granule += 2
    while owner_of(log, granule) == number:
        store32(log.births + (granule << 2), 0)
        granule += 1


def bury(log: LogPointer, number: u64, granule: u64) -> cython.void:
    """Note by the event that is being noted that an object is dead, and take it off its granules, of which this is one."""
    if not note_death(log, number, log.events + 1):
        log.state = FAILED
    cut_off(log, number, granule)
    while granule != 0 and owner_of(log, granule - 1) == number:
        granule -= 1
        store32(log.births + (granule << 2), 0)


def grow_births(log: LogPointer, granule: u64) -> cython.bint:
    """Make the array reach to a granule; False where there is no memory, and the recording ends then."""
    room: u64 = log.births_room
    while room <= granule:
        room *= 2
    births: u64 = enlarged(log.births, log.births_room << 2, room << 2)
    if births == 0:
        log.state = FAILED
        return False
    log.births = births
    log.births_room = room
    return True


def hand_over(log: LogPointer) -> cython.void:
    """Let the owner take all records."""
    with cython.gil:
        cython.cast(object, log.owner)._flush()


def wake(log: LogPointer) -> cython.void:
    """Let the owner look at the heap, or take all records."""
    due_ns: u64
    with cython.gil:
        due_ns = cython.cast(object, log.owner)._wake()
    log.due_ns = due_ns


def serve(env: cython.p_void, caller: cython.p_void, values: cython.p_void, count: cython.size_t) -> cython.p_void:
    """Note what injected code tells: kind, address, size and layout.

    A ``wasmtime_func_unchecked_callback_t``, whose values take 16 bytes each.  Returns a trap, or NULL.
    """
    log: LogPointer = cython.cast(LogPointer, env)
    at: u64 = cython.cast(cython.size_t, values)
    trap: u64 = 0
    if note(log, load32(at), load32(at + 16), load32(at + 32), load32(at + 48)):
        trap = trap_of(log)
    return cython.cast(cython.p_void, cython.cast(cython.size_t, trap))


# ---- deaths -----------------------------------------------------------------------------------------------------------


def note_death(log: LogPointer, number: u64, cause: u64) -> cython.bint:
    """Note the death of an object, and the collection or event that tells; False where there is no memory."""
    if log.death_count == log.death_room:
        larger: u64 = enlarged(log.death_buffer, log.death_room * DEATH_BYTES, log.death_room * 2 * DEATH_BYTES)
        if larger == 0:
            return False
        log.death_buffer = larger
        log.death_room *= 2
    record: u64 = log.death_buffer + log.death_count * DEATH_BYTES
    store64(record, number)
    store64(record + 8, cause)
    log.death_count += 1
    return True


def note_unmarked(log: LogPointer, word: u64, first_block: u64, collection: u64) -> cython.bint:
    """Note the deaths of the objects whose heads a word of the table holds without a mark; False without memory."""
    dead: u64 = word & ~(word >> 1) & EVEN
    granule: u64
    while dead != 0:
        granule = first_block + (ctz64(dead) >> 1)
        dead &= dead - 1
        if granule < log.births_room and load32(log.births + (granule << 2)) != 0:
            if not note_death(log, load32(log.births + (granule << 2)), collection):
                return False
            store32(log.births + (granule << 2), 0)
    return True


def note_unmarked_planes(
    log: LogPointer, table: u64, blocks: u64, head_is_last: cython.bint, collection: u64
) -> cython.bint:
    """`note_unmarked` for a whole table that keeps low and high bits apart, four blocks a byte; False without memory."""
    block: u64 = 0
    granule: u64
    byte: u64
    while block < blocks:
        byte = load8(table + (block >> 2)) >> (block & 3)
        if byte & 17 == 1:
            granule = block
            # An object is known by its first block.
            while head_is_last and granule > 0 and load8(table + (granule - 1 >> 2)) >> (granule - 1 & 3) & 17 == 16:
                granule -= 1
            if granule < log.births_room and load32(log.births + (granule << 2)) != 0:
                if not note_death(log, load32(log.births + (granule << 2)), collection):
                    return False
                store32(log.births + (granule << 2), 0)
        block += 1
    return True


@cython.final
@cython.cclass
class EventLog:
    """Takes the events of one run.

    Args:
        owner: its ``_flush()`` is called when it is to `take` what was noted, its ``_wake()`` from time to time: it returns
            the time, in nanoseconds since the beginning, after which it is to be called again.  Neither may raise.

    Raises:
        MemoryError: there is no room for the buffers.
    """

    def __init__(self, owner):
        self._owner = owner
        self._log.owner = cython.cast(cython.p_void, owner)
        self.begin()
        self._log.births_room = self._log.death_room = 1 << 12
        self._log.children_mask = (1 << 12) - 1
        self._log.births = allocated(1 << 12, 4)
        self._log.death_buffer = allocated(1 << 12, DEATH_BYTES)
        self._log.children = allocated(1 << 12, CHILD_BYTES)
        self._log.recent = allocated(DEPTHS, CHILD_BYTES)
        if not (self._log.births and self._log.death_buffer and self._log.children and self._log.recent):
            raise MemoryError
        self._renew()

    def __dealloc__(self):
        release(self._log.births)
        release(self._log.death_buffer)
        release(self._log.children)
        release(self._log.recent)

    def _renew(self) -> cython.void:
        """Make buffers with nothing in them, not even zeros."""
        self._events = PyByteArray_FromStringAndSize(cython.NULL, EVENT_ROOM * EVENT_BYTES)
        self._stacks = PyByteArray_FromStringAndSize(cython.NULL, STACK_ROOM * STACK_BYTES)
        self._log.event_buffer = cython.cast(cython.size_t, PyByteArray_AS_STRING(self._events))
        self._log.stack_buffer = cython.cast(cython.size_t, PyByteArray_AS_STRING(self._stacks))
        self._log.event_count = self._log.stack_count = self._log.death_count = 0

    def begin(self):
        """Let the run's time begin."""
        self._log.begun_ns = clock_ns()
        self._log.due_ns = 0

    @property
    def callback(self):
        """Address of the C function behind the import that injected code calls."""
        return cython.cast(cython.size_t, cython.cast(cython.p_void, serve))

    @property
    def env(self):
        """Address that the C function is to be called with."""
        return cython.cast(cython.size_t, cython.cast(cython.p_void, cython.address(self._log)))

    @property
    def now_ns(self):
        """Nanoseconds since the run's time began, or the log was made."""
        return clock_ns() - self._log.begun_ns

    @property
    def events(self):
        """How many were noted."""
        return self._log.events

    @property
    def objects(self):
        """How many were made."""
        return self._log.objects

    @property
    def is_full(self):
        """Whether there are as many objects as can be numbered."""
        return self._log.objects == OBJECTS_LIMIT

    def attach(self, shadow_address: u64):
        """Read call stacks from here on this machine, where a shadow stack's memory begins."""
        self._log.shadow = shadow_address

    def begin_heap(self, first_address: u64, granule_shift: u64):
        """Say where the guest's objects lie.

        Args:
            first_address: of the first, for the guest.
            granule_shift: log2 of the bytes of which no two objects share any.
        """
        self._log.first_address = first_address
        self._log.granule_shift = granule_shift

    @property
    def infers(self):
        """Whether deaths are inferred, and noted with events; else they are those of collections."""
        return self._log.infers

    def infer_deaths(self):
        """Take an object whose bytes are handed out again, or that is freed by a call, for dead; before any event."""
        self._log.infers = True

    def sample(self, mean_bytes: u64, seed: u64):
        """Note about one object for so many bytes that are allocated; before any event.

        Args:
            mean_bytes: the mean distance of two sampled bytes, 1 to 2**31.
            seed: what the chosen objects follow from.
        """
        self._log.mean_bytes = mean_bytes
        self._log.random_state = seed
        self._log.countdown = bytes_to_sample(cython.address(self._log))

    def note_event(self, kind: u64, address: u64, size_bytes: u64, layout: u64):
        """Note an event, as injected code does; returns whether the recording goes on."""
        return not note(cython.address(self._log), kind, address, size_bytes, layout)

    def object_at(self, address: u64):
        """The number of the latest object that begins at an address of the guest's; 0 where none does that lives."""
        return beginning_at(cython.address(self._log), address)

    def stack(self):
        """The number of the stack of the calls that are being made."""
        return current_stack(cython.address(self._log))

    def note_deaths(self, table_address: u64, blocks: u64, collection: u64):
        """How many objects have no mark; their deaths are noted.

        Args:
            table_address: where the block table lies on this machine.
            blocks: how many it has.
            collection: the number of the collection that frees them.

        Raises:
            MemoryError: there is no room to note them.
        """
        log: LogPointer = cython.address(self._log)
        before: u64 = log.death_count
        block: u64
        word: u64
        tail: u64 = blocks & ~cython.cast(u64, 31)
        for block in range(0, tail, 32):
            if not note_unmarked(log, load64(table_address + (block >> 2)), block, collection):
                raise MemoryError
        word = 0
        for block in range(tail, blocks, 4):
            word |= load8(table_address + (block >> 2)) << (block - tail << 1)
        if not note_unmarked(log, word, tail, collection):
            raise MemoryError
        return log.death_count - before

    def note_deaths_in_planes(self, table_address: u64, blocks: u64, collection: u64, head_is_last: cython.bint):
        """`note_deaths` where the table keeps the low and the high bits of states apart.

        Args:
            head_is_last: whether an object's head is its last block.
        """
        log: LogPointer = cython.address(self._log)
        before: u64 = log.death_count
        if not note_unmarked_planes(log, table_address, blocks, head_is_last, collection):
            raise MemoryError
        return log.death_count - before

    def take(self):
        """All records since the last time: events and how many, stacks and how many, deaths."""
        deaths = PyBytes_FromStringAndSize(
            cython.cast(cython.p_char, cython.cast(cython.size_t, self._log.death_buffer)),
            self._log.death_count * DEATH_BYTES,
        )
        taken = self._events, self._log.event_count, self._stacks, self._log.stack_count, deaths
        self._renew()
        return taken

    def fail(self):
        """Note nothing any more, and end the guest at its next event."""
        self._log.state = FAILED

    def stop(self):
        """Note nothing any more, and let the guest go on."""
        self._log.state = STOPPED
