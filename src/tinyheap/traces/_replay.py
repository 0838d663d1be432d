# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, freethreading_compatible=True
"""The player: runs a trace on the kernel with no Python between its steps.

``replay.py`` makes it, gives it a trace that passed ``check``, advances it and reads the results; what the steps mean
stands in ``trace.py``, and so do their numbers and those of faults.
"""

from array import array

import cython

if not cython.compiled:
    raise ImportError("tinyheap.traces._replay is not compiled")

from cython.cimports.libc.stdlib import free as c_free
from cython.cimports.libc.stdlib import realloc as c_realloc
from cython.cimports.tinyheap.heap._words import clock_ns, fnv1a, move, store_word, u64
from cython.cimports.tinyheap.heap.nextfit._allocate import (
    alloc_again,
    alloc_leaking,
    alloc_object,
    count_leaking,
    leaking_size,
    old_size,
)
from cython.cimports.tinyheap.heap.nextfit._mark import begin_marking, end_marking, finish_marking, mark_range
from cython.cimports.tinyheap.heap.nextfit._state import Heap, counters_of, lay_out, move_table, set_up
from cython.cimports.tinyheap.heap.nextfit._sweep import count_blocks, sweep_table

from tinyheap.traces.trace import LAYOUT_LIMIT_BYTES


@cython.final
@cython.cclass
class Player:
    """Plays one trace.

    Args:
        trace: checked.
        memory: zeroed, writable, ``limit_bytes`` long.
        geometry: of the heap at the start.
        options: of the engine.
        limit_bytes: the heap's size at most.
        statics: bytes of the out-of-line layouts, at ``statics_address``; ``layouts`` and ``layout_addresses`` say which
            lies where.
        addresses: room for the result of each allocation and reallocation, 64 bits each.
        timing: read the clock around each allocation.
        hashes: hash the table after each collection.
    """

    def __init__(
        self,
        trace,
        memory,
        geometry,
        options,
        limit_bytes: u64,
        zero_size_address: u64,
        statics,
        statics_address: u64,
        layouts,
        layout_addresses,
        addresses,
        timing: cython.bint,
        hashes: cython.bint,
    ):
        heap: Heap = cython.address(self._heap)
        self._trace = trace
        self._memory = memory
        self._memory_view = memory
        self._statics = statics
        self._layouts = layouts
        self._layout_addresses = layout_addresses
        self._addresses_array = addresses
        self._addresses = addresses
        self._ids = array("Q", bytes(8 * max(trace.object_ids, 1)))
        self._ops = trace.ops
        self._steps = trace.step_count
        # One byte more, so that there is one to point at.
        self._roots = bytearray(trace.root_slots * trace.word_bytes + 1)
        self._limit_bytes = limit_bytes
        self._by_thirds = trace.growth
        self._timing = timing
        self._hashes = hashes
        set_up(heap, cython.cast(cython.size_t, cython.address(self._memory_view[0])), geometry, options)
        heap.zero_size_address = zero_size_address
        heap.statics = cython.cast(cython.size_t, cython.address(self._statics[0]))
        heap.statics_start = statics_address
        heap.statics_bytes = len(statics)
        # Room for marking every block there may ever be; untouched memory costs nothing.
        lay_out(heap, limit_bytes)
        if not begin_marking(heap):
            raise MemoryError(f"no memory for a mark stack of {heap.end_block} entries")
        lay_out(heap, geometry.heap_bytes)

    def __dealloc__(self):
        end_marking(cython.address(self._heap))
        c_free(self._rows)

    # ---- playing --------------------------------------------------------------------------------------------------------

    def advance(self, steps: u64) -> bool:
        """Play so many steps more; False when the trace has ended."""
        stop: u64 = min(self._step + steps, self._steps)
        begun_ns: u64 = clock_ns()
        with cython.nogil:
            self._play(stop)
        self._total_ns += clock_ns() - begun_ns
        return self._step < self._steps and not self._out_of_memory and not self._stray

    def _play(self, stop: u64) -> cython.void:
        """Play the steps before ``stop``.

        One long loop: what its branches share stays in registers.
        """
        heap: Heap = cython.address(self._heap)
        ids: cython.pointer(u64) = cython.address(self._ids[0])
        roots: u64 = cython.cast(cython.size_t, cython.address(self._roots[0]))
        ops: cython.pointer(cython.const[uint32_t]) = cython.address(self._ops[0])
        next: cython.pointer(cython.const[uint32_t]) = ops + (self._step << 2)
        end: cython.pointer(cython.const[uint32_t]) = ops + (stop << 2)
        result: cython.pointer(int64_t) = cython.address(self._addresses[0]) + self._addresses_done
        start: u64 = heap.start
        memory: u64 = heap.memory
        shift: u64 = heap.word_shift
        last_word: u64 = heap.pool_bytes - (cython.cast(u64, 1) << shift)
        # Allocations that need nothing but the kernel.
        plain: cython.bint = heap.precise == 0 and heap.leaking == 0 and not self._timing
        op: uint32_t
        a: u64
        b: u64
        c: u64
        value: u64
        offset: u64
        while next < end:
            op = next[0]
            a = next[1]
            b = next[2]
            c = next[3]
            if STORES >> op & 1 != 0:
                if op == STORE:
                    value = ids[c]
                    value += ((b >> STORE_INTERIOR_SHIFT) << shift) & (0 - cython.cast(u64, value != 0))
                    b &= STORE_WORD_MASK
                else:
                    value = c if op == STORE_INTEGER else start + c
                offset = ids[a] - start + (b << shift)
                if offset > last_word:
                    # An id that was "reallocated" in place may point past the heap.
                    self._stray = True
                    break
                store_word(memory + offset, shift, value)
            elif op == ALLOC or op == REALLOC:
                if op == REALLOC:
                    value = self._reallocate(ids[a], b)
                elif plain:
                    value = alloc_object(heap, b, c)
                    if value == 0:
                        value = self._allocate_slowly(b, c)
                else:
                    value = self._allocate(b, c)
                if value == 0:
                    self._out_of_memory = True
                    break
                ids[a] = value
                result[0] = -1 if value == heap.zero_size_address else cython.cast(int64_t, value - start)
                result += 1
                # It may have grown.
                last_word = heap.pool_bytes - (cython.cast(u64, 1) << shift)
            elif op == ROOT:
                store_word(roots + (a << shift), shift, ids[b] + c if b != 0 else 0)
            elif op == COPY:
                ids[a] = ids[b]
            elif not heap.leaking:
                self._collect()
            next += 4
        self._step = (next - ops) >> 2
        self._addresses_done = result - cython.address(self._addresses[0])

    def _layout_word(self, layout: u64) -> u64:
        """The address of an out-of-line layout."""
        low: u64 = 0
        high: u64 = len(self._layouts)
        middle: u64
        while high - low > 1:
            middle = (low + high) >> 1
            if self._layouts[middle] <= layout:
                low = middle
            else:
                high = middle
        return self._layout_addresses[low]

    def _allocate(self, size_bytes: u64, layout: u64) -> u64:
        """The address of a new object; 0 when memory runs out."""
        heap: Heap = cython.address(self._heap)
        address: u64
        begun_ns: u64 = 0
        if layout & 1 == 0 and layout != 0 and heap.precise != 0:
            layout = self._layout_word(layout)
        if self._timing:
            begun_ns = clock_ns() - self._mark_ns - self._sweep_ns
        if heap.leaking != 0:
            address = self._allocate_leaking(size_bytes)
        else:
            address = alloc_object(heap, size_bytes, layout)
            if address == 0:
                address = self._allocate_slowly(size_bytes, layout)
        if self._timing:
            self._alloc_ns += clock_ns() - self._mark_ns - self._sweep_ns - begun_ns
        return address

    def _allocate_leaking(self, size_bytes: u64) -> u64:
        heap: Heap = cython.address(self._heap)
        address: u64
        size_bytes = leaking_size(heap, size_bytes)
        count_leaking(heap, size_bytes)
        address = alloc_leaking(heap, size_bytes)
        while address == 0 and self._grow():
            address = alloc_leaking(heap, size_bytes)
        return address

    def _allocate_slowly(self, size_bytes: u64, layout: u64) -> u64:
        heap: Heap = cython.address(self._heap)
        address: u64
        if self._collect() < heap.pool_bytes // 3:
            self._grow()
        address = alloc_again(heap, size_bytes, layout)
        while address == 0 and self._grow():
            address = alloc_again(heap, size_bytes, layout)
        return address

    def _reallocate(self, address: u64, size_bytes: u64) -> u64:
        heap: Heap = cython.address(self._heap)
        new: u64
        old: u64
        if address == 0:
            return self._allocate(size_bytes, 0)
        old = size_bytes if heap.leaking else old_size(heap, address)
        if size_bytes <= old and not heap.leaking:
            return address
        new = self._allocate(size_bytes, 0)
        if new != 0:
            move(heap.memory + (new - heap.start), heap.memory + (address - heap.start), old)
        return new

    def _grow(self) -> cython.bint:
        heap: Heap = cython.address(self._heap)
        size: u64 = heap.heap_bytes << 1
        if self._by_thirds:
            size = (heap.heap_bytes * 4 // 3) & ~cython.cast(u64, 4095)
        if size > self._limit_bytes:
            size = self._limit_bytes
        if size <= heap.heap_bytes:
            # At the limit, or a third of so little that rounding down takes it away.
            return False
        if heap.leaking:
            lay_out(heap, size)
        else:
            move_table(heap, size)
        return True

    def _collect(self) -> u64:
        """A whole collection; returns the free bytes."""
        heap: Heap = cython.address(self._heap)
        row: Row
        free_bytes: u64
        begun_ns: u64 = clock_ns()
        marked_ns: u64
        row.overflows = heap.overflows
        row.rescans = heap.rescans
        mark_range(heap, cython.cast(cython.size_t, cython.address(self._roots[0])), len(self._roots) - 1)
        finish_marking(heap)
        marked_ns = clock_ns()
        free_bytes = sweep_table(heap)
        row.sweep_ns = clock_ns() - marked_ns
        row.mark_ns = marked_ns - begun_ns
        row.free_blocks = heap.free_blocks
        row.heads = heap.heads
        row.tails = heap.tails
        row.overflows = heap.overflows - row.overflows
        row.rescans = heap.rescans - row.rescans
        row.table_hash = fnv1a(heap.table, (heap.end_block + 3) >> 2) if self._hashes else 0
        self._mark_ns += row.mark_ns
        self._sweep_ns += row.sweep_ns
        if self._rows_done == self._rows_room:
            self._rows_room = self._rows_room * 2 + 64
            self._rows = cython.cast(cython.pointer(Row), c_realloc(self._rows, self._rows_room * cython.sizeof(Row)))
        self._rows[self._rows_done] = row
        self._rows_done += 1
        return free_bytes

    # ---- results --------------------------------------------------------------------------------------------------------

    @property
    def addresses(self):
        """The array that the results of allocations go to."""
        return self._addresses_array

    @property
    def step(self):
        """How many steps have been played whole."""
        return self._step

    @property
    def addresses_done(self):
        return self._addresses_done

    @property
    def out_of_memory(self):
        return self._out_of_memory

    @property
    def stray(self):
        return self._stray

    @property
    def heap_bytes(self):
        return self._heap.heap_bytes

    @property
    def next_alloc(self):
        return self._heap.next_alloc

    @property
    def bump_address(self):
        return self._heap.bump

    @property
    def times_ns(self):
        """``(total, allocation, mark, sweep)``."""
        return self._total_ns, self._alloc_ns, self._mark_ns, self._sweep_ns

    @property
    def rows(self):
        """A tuple for each collection, as the ``Row`` of ``_replay.pxd``."""
        return [
            (
                row.free_blocks,
                row.heads,
                row.tails,
                row.overflows,
                row.rescans,
                row.table_hash,
                row.mark_ns,
                row.sweep_ns,
            )
            for row in self._rows[: self._rows_done]
        ]

    @property
    def census(self):
        """``(free blocks, heads, tails)``."""
        count_blocks(cython.address(self._heap))
        return self._heap.free_blocks, self._heap.heads, self._heap.tails

    @property
    def counters(self):
        return counters_of(cython.address(self._heap))

    def read_table(self):
        return bytes(self._memory_view[self._heap.pool_bytes : self._heap.heap_bytes])


# ---- checking -----------------------------------------------------------------------------------------------------------


def first_fault(trace) -> tuple[int, int, int]:
    """``trace.first_fault``, compiled.

    Returns the first step that cannot be run, the number of its fault (0 for none), and how many steps before it allocate
    or reallocate.
    """
    rules: Rules
    ops: cython.const[uint32_t][::1] = trace.ops
    # One more, so that there is one to point at.
    sizes: int64_t[::1] = array("q", [-1]) * (trace.object_ids + 1)
    steps: u64 = trace.step_count
    step: u64 = 0
    fault: u64 = 0
    allocations: u64 = 0
    layouts: set = {0}
    layout_bytes: u64 = 0
    most_layout_bytes: u64 = LAYOUT_LIMIT_BYTES
    rules.sizes = cython.address(sizes[0])
    rules.object_ids = trace.object_ids
    rules.root_slots = trace.root_slots
    rules.word_bytes = trace.word_bytes
    rules.most_bytes = min((1 << 8 * trace.word_bytes) - trace.header_bytes - 4 * trace.word_bytes, 1 << 62)
    rules.most_layout = min((1 << 8 * trace.word_bytes) - 1, 1 << 62)
    while step < steps:
        fault = step_fault(cython.address(rules), cython.address(ops[step << 2]))
        if fault != 0:
            break
        if ops[step << 2] == ALLOC and ops[(step << 2) + 3] & 1 == 0 and ops[(step << 2) + 3] not in layouts:
            layouts.add(ops[(step << 2) + 3])
            layout_bytes += (ops[(step << 2) + 3] + 15) >> 4
            if layout_bytes > most_layout_bytes:
                fault = LAYOUTS_TOO_LARGE
                break
        if ops[step << 2] == ALLOC or ops[step << 2] == REALLOC:
            allocations += 1
        step += 1
    return step, fault, allocations


def step_fault(rules: cython.pointer(Rules), ops: cython.pointer(cython.const[uint32_t])) -> u64:
    """Why a step cannot be run, given the sizes of the ids so far; binds what it binds."""
    op: u64 = ops[0]
    a: u64 = ops[1]
    b: u64 = ops[2]
    c: u64 = ops[3]
    if op > IDLE:
        return UNKNOWN_OPERATION
    if op == COLLECT or op == RUN_FINALIZERS or op == IDLE:
        return 0
    if op == SET_FINALIZER:
        if c > rules.root_slots:
            return SLOT_OUT_OF_RANGE
        return bound_fault(rules, a)
    if op == ROOT:
        if a >= rules.root_slots:
            return SLOT_OUT_OF_RANGE
        return 0 if b == 0 else bound_fault(rules, b)
    if (op == ALLOC or op == REALLOC) and b > rules.most_bytes:
        return SIZE_BEYOND_ADDRESS_SPACE
    if op == STORE:
        if c >= rules.object_ids:
            return ID_OUT_OF_RANGE
        b &= STORE_WORD_MASK
    if op == COPY and b >= rules.object_ids:
        return ID_OUT_OF_RANGE
    if STORES >> op & 1 != 0:
        fault: u64 = bound_fault(rules, a)
        if fault == 0 and cython.cast(int64_t, (b + 1) * rules.word_bytes) > rules.sizes[a]:
            return OUTSIDE_OBJECT
        return fault
    if a >= rules.object_ids:
        return ID_OUT_OF_RANGE
    if a == 0:
        return NULL_ID
    if op == COPY:
        rules.sizes[a] = rules.sizes[b]
    elif op == ALLOC:
        if c > rules.most_layout:
            return LAYOUT_BEYOND_WORD
        rules.sizes[a] = b
    else:
        if rules.sizes[a] == 0:
            return ZERO_SIZED_REALLOC
        if rules.sizes[a] < cython.cast(int64_t, b):
            rules.sizes[a] = b
    return 0


def bound_fault(rules: cython.pointer(Rules), object_id: u64) -> u64:
    """Why an id names no object."""
    if object_id >= rules.object_ids:
        return ID_OUT_OF_RANGE
    return UNBOUND_ID if rules.sizes[object_id] < 0 else 0
