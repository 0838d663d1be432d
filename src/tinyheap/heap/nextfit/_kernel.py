# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, freethreading_compatible=True
"""The kernel: the collector on 64-bit words of the block table, in place.  Behaves as ``model.py``, to the bit.

This is its border, where Python calls::

    Kernel          checks every block, address and size that comes from outside; holds buffers; lets others run (GIL)
      │
      ├── _allocate     find a run, make it an object        │
      ├── _mark         from the roots, all that is reached  │ the hot functions: they check nothing
      ├── _sweep        free the rest; count                 │
      │
    _state, _table      one heap; its block table in words
    _words, _buffers    words of memory; views of others' memory (nothing in them knows of heaps)

The modules below the border are written in a narrow dialect: unsigned 64-bit integers, loads and stores, bit counts, fields
of one ``HeapState``, calls among themselves; no Python objects, no globals.  Each has its types and signatures in its
``.pxd``.  Compiled by Cython; never run as Python.
"""

import cython

if not cython.compiled:
    raise ImportError("tinyheap.heap.nextfit._kernel is not compiled")

from cython.cimports.cpython.buffer import PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cython.cimports.cpython.long import PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cython.cimports.libc.string import memcpy
from cython.cimports.tinyheap.heap._buffers import BufferView
from cython.cimports.tinyheap.heap._words import EVEN, ONES, ctz64, fnv1a, load8, load_word, move, store_word
from cython.cimports.tinyheap.heap.nextfit._allocate import (
    alloc_again,
    alloc_leaking,
    alloc_object,
    count_leaking,
    find_free_run,
    free_end,
    free_object,
    leaking_size,
    old_size,
)
from cython.cimports.tinyheap.heap.nextfit._mark import (
    begin_marking,
    end_marking,
    finish_marking,
    head_of_host,
    mark_address,
    mark_object_children,
    mark_range,
    static_layout_size,
    unmark_all,
)
from cython.cimports.tinyheap.heap.nextfit._state import NO_BLOCK, blocks_for, counters_of, lay_out, move_table, set_up
from cython.cimports.tinyheap.heap.nextfit._sweep import count_blocks, count_marks, poison_fields, sweep_table
from cython.cimports.tinyheap.heap.nextfit._table import FREE, HEAD, head_of, next_of, state_of, table_word

from tinyheap.errors import (
    AllocationInInterruptError,
    GeometryError,
    HeapCorruptError,
    HeapError,
    InvalidAddressError,
    InvalidSizeError,
)
from tinyheap.heap.arguments import shown, whole_number
from tinyheap.heap.blockmap import free_runs_of
from tinyheap.heap.collectors import Collector
from tinyheap.heap.contract import IN_INTERRUPT, Census, State
from tinyheap.ownership import SoleOwner


# Cleared before its last use, in a cycle, it would lack its views of memory.
@cython.no_gc_clear
@cython.final
@cython.cclass
class Kernel:
    """An engine (``contract.Engine``) around one ``HeapState``: the border, where everything is checked."""

    def __init__(self, memory, geometry, options, statics, embedder):
        self._geometry = geometry
        self._statics = statics
        self._embedder = embedder
        self._size_limit = min(geometry.address_space_bytes, 1 << 62) - 1
        self._memory = BufferView()
        self._mark_stack = BufferView()
        self._statics_memory = BufferView()
        self._hold(memory)
        set_up(cython.address(self._heap), self._memory.at, geometry, options)
        self._notice()

    def __del__(self):
        # In a cycle Python calls this before it clears anything: the memory must not go before what looks into it.
        self._end_marking()
        self.release_memory()

    def __dealloc__(self):
        end_marking(cython.address(self._heap))

    def __reduce_ex__(self, protocol):
        SoleOwner.__reduce_ex__(self, protocol)

    def release_memory(self):
        self._memory.release()
        self._notice()

    def move_memory(self, memory):
        self.release_memory()
        self._hold(memory)
        self._heap.memory = self._memory.at
        self._heap.table = self._heap.memory + self._heap.pool_bytes
        self._notice()

    def _hold(self, memory) -> cython.int:
        self._memory.hold(memory, PyBUF_SIMPLE | PyBUF_WRITABLE)
        if self._memory.bytes < self._geometry.heap_bytes:
            raise GeometryError(
                f"the buffer has {self._memory.bytes} bytes; the heap needs {self._geometry.heap_bytes}"
            )
        return 0

    def _notice(self) -> cython.void:
        """Which ways of allocating there are now."""
        heap: Heap = cython.address(self._heap)
        self._plain = not heap.leaking and not heap.poison and not self._in_interrupt and self._memory.held
        self._open = not self._guarded and not self._in_interrupt and self._memory.held

    @property
    def guarded(self):
        return self._guarded

    @guarded.setter
    def guarded(self, guarded: cython.bint):
        self._guarded = guarded
        self._notice()

    @property
    def otherwise(self):
        """What `alloc_at_once` leaves to others: a callable that takes what it takes."""
        return self._otherwise

    @otherwise.setter
    def otherwise(self, otherwise):
        self._otherwise = otherwise

    @property
    def in_interrupt(self):
        return self._in_interrupt

    @in_interrupt.setter
    def in_interrupt(self, in_interrupt: cython.bint):
        self._in_interrupt = in_interrupt
        self._notice()

    @property
    def zero_size_address(self):
        return self._heap.zero_size_address

    @zero_size_address.setter
    def zero_size_address(self, address: u64):
        self._heap.zero_size_address = address

    @property
    def next_alloc(self):
        return self._heap.next_alloc

    @next_alloc.setter
    def next_alloc(self, block: u64):
        self._check_block(block, self._heap.end_block + 1)
        self._heap.next_alloc = block
        self._heap.free_until = block

    @property
    def bump_address(self):
        return self._heap.bump

    @property
    def geometry(self):
        return self._geometry

    @property
    def collector(self):
        return Collector.NEXT_FIT

    @property
    def shape(self):
        return Collector.NEXT_FIT.shape(self._geometry, precise=self._heap.precise)

    @property
    def counters(self):
        return counters_of(cython.address(self._heap))

    def _check_block(self, block: u64, limit: u64) -> cython.int:
        self._check_held()
        if block >= limit:
            raise InvalidAddressError(f"block {block} is past the heap's last block, {self._heap.end_block - 1}")
        return 0

    def _check_held(self) -> cython.int:
        if not self._memory.held:
            raise HeapError("this heap is closed; its memory was given back")
        return 0

    # ---- the block table ------------------------------------------------------------------------------------------------

    def state(self, block: u64):
        self._check_block(block, self._heap.table_bytes * 4)
        return State(state_of(cython.address(self._heap), block))

    def read_table(self):
        self._check_held()
        return cython.cast(cython.p_char, self._heap.table)[: self._heap.table_bytes]

    def write_table(self, table: bytes):
        self._check_held()
        if len(table) != self._heap.table_bytes:
            raise GeometryError(f"invalid block table of {len(table)} bytes: expected {self._heap.table_bytes}")
        memcpy(cython.cast(cython.p_char, self._heap.table), cython.cast(cython.p_char, table), len(table))
        self._heap.free_until = self._heap.next_alloc

    def find_head(self, block: u64):
        self._check_block(block, self._heap.end_block)
        return cython.cast(cython.longlong, head_of(cython.address(self._heap), block))

    def find_next(self, block: u64):
        self._check_block(block, self._heap.end_block)
        return next_of(cython.address(self._heap), block)

    def extent(self, block: u64):
        self._check_block(block, self._heap.end_block)
        head: u64 = head_of(cython.address(self._heap), block)
        return cython.cast(cython.longlong, head), next_of(cython.address(self._heap), 0 if head == NO_BLOCK else head)

    def free_ranges(self):
        self._check_held()
        return free_runs_of(self.read_table(), Collector.NEXT_FIT, self._heap.end_block)

    def find_run(self, first: u64, last: u64, needed_blocks: u64, run_blocks: u64):
        heap: Heap = cython.address(self._heap)
        end: u64
        self._check_block(last, heap.end_block + 1)
        if first > last or not 0 <= run_blocks < needed_blocks:
            raise InvalidAddressError(
                f"invalid search for {needed_blocks} blocks from block {first} to {last}, {run_blocks} found before"
            )
        heap.run_blocks = run_blocks
        end = find_free_run(heap, first, last, needed_blocks)
        return cython.cast(cython.longlong, end), needed_blocks if end != NO_BLOCK else heap.run_blocks

    def check_table(self, most: cython.int = 16):
        heap: Heap = cython.address(self._heap)
        wrong: list = []
        fields: u64
        word: u64 = 0
        self._check_held()
        while word << 3 < heap.table_bytes:
            fields = wrong_fields(heap, word, 0 if word == 0 else state_of(heap, (word << 5) - 1))
            while fields != 0:
                wrong.append((word << 5) + (ctz64(fields) >> 1))
                if len(wrong) == most:
                    return wrong
                fields &= fields - 1
            word += 1
        return wrong

    def check_layouts(self, most: cython.int = 16):
        heap: Heap = cython.address(self._heap)
        wrong: list = []
        heads: u64
        head: u64
        layout: u64
        word: u64 = 0
        if not heap.precise:
            return wrong
        self._prepare_marking()
        while word << 3 < heap.table_bytes and len(wrong) < most:
            heads = table_word(heap, word) & EVEN
            while heads != 0:
                head = (word << 5) + (ctz64(heads) >> 1)
                heads &= heads - 1
                if head >= heap.end_block:
                    break
                layout = load_word(heap.memory + (head << heap.block_shift), heap.word_shift)
                if layout != 0 and layout & 1 == 0 and static_layout_size(heap, layout) == 0:
                    wrong.append(head)
            word += 1
        self._end_marking()
        return wrong[:most]

    def check_poison(self, most: cython.int = 16):
        heap: Heap = cython.address(self._heap)
        wrong: list = []
        block: u64 = 0
        self._check_held()
        while block < heap.end_block and len(wrong) < most:
            if state_of(heap, block) == FREE and not is_poisoned(heap, block):
                wrong.append(block)
            block += 1
        return wrong

    def poison_free(self):
        heap: Heap = cython.address(self._heap)
        word: u64 = 0
        x: u64
        self._check_held()
        while word << 5 < heap.end_block:
            x = table_word(heap, word)
            x = ~(x | (x >> 1)) & EVEN
            if heap.end_block - (word << 5) < 32:
                x &= (cython.cast(u64, 1) << ((heap.end_block & 31) << 1)) - 1
            poison_fields(heap, word, x)
            word += 1

    def census(self):
        heap: Heap = cython.address(self._heap)
        runs: u64 = 0
        largest: u64 = 0
        marks: u64
        self._check_held()
        with cython.nogil:
            count_blocks(heap)
            free_runs(heap, cython.address(runs), cython.address(largest))
            marks = count_marks(heap)
        return Census(heap.free_blocks, heap.heads - marks, heap.tails, marks, runs, largest)

    def hash_table(self):
        """FNV-1a (64 bits) of the table bytes that cover blocks."""
        self._check_held()
        return fnv1a(self._heap.table, (self._heap.end_block + 3) >> 2)

    # ---- the mutator's side -----------------------------------------------------------------------------------------------

    def alloc_at_once(self, size_bytes, layout=None):
        """`alloc` for callers that have not entered the heap's monitor: in one go, or else by ``otherwise``.

        No code of a user's runs in here: the size is an integer of Python's, and there is room.
        """
        overflow: cython.int = 0
        size: cython.longlong
        address: u64 = 0
        if layout is None and PyLong_CheckExact(size_bytes) and self._open:
            size = PyLong_AsLongLongAndOverflow(size_bytes, cython.address(overflow))
            if not overflow and size >= 0 and cython.cast(u64, size) <= self._size_limit:
                if self._plain:
                    address = alloc_object(cython.address(self._heap), size, 0)
                    if address == 0:
                        self._uncount(size)
                elif self._heap.leaking:
                    address = self._bumped(size)
                if address != 0:
                    return address
        return self._otherwise(size_bytes, layout)

    def alloc(self, size_bytes, layout=None):
        size: u64 = self._checked_size(size_bytes)
        word: u64 = 0 if layout is None else self._embedder.layout_word(layout, size)
        return self._alloc_checked(size, word)

    def alloc_many(self, addresses, size_bytes, layout=None):
        buffer: Py_buffer
        heap: Heap = cython.address(self._heap)
        done: u64 = 0
        address: u64
        size: u64 = self._checked_size(size_bytes)
        word: u64 = 0 if layout is None else self._embedder.layout_word(layout, size)
        PyObject_GetBuffer(addresses, cython.address(buffer), PyBUF_SIMPLE | PyBUF_WRITABLE)
        try:
            while done < cython.cast(u64, buffer.len) >> 3:
                if self._plain:
                    address = alloc_object(heap, size, word)
                    if address == 0:
                        address = self._alloc_slowly(size, word)
                else:
                    address = self._alloc_checked(size, word)
                cython.cast(cython.pointer(u64), buffer.buf)[done] = address
                done += 1
        finally:
            PyBuffer_Release(cython.address(buffer))

    def _checked_size(self, size_bytes) -> u64:
        size_bytes = whole_number("size", size_bytes)
        if not 0 <= size_bytes <= self._size_limit:
            raise InvalidSizeError(f"invalid size {shown(size_bytes)}: expected 0 to {self._size_limit} bytes")
        return size_bytes

    def _alloc_checked(self, size_bytes: u64, layout_word: u64):
        """An object of a size that may be, now or not at all."""
        heap: Heap = cython.address(self._heap)
        address: u64
        self._check_held()
        if size_bytes == 0 and not heap.leaking:
            return heap.zero_size_address
        if self._in_interrupt:
            raise AllocationInInterruptError(IN_INTERRUPT)
        if heap.leaking:
            return self._alloc_leaking(size_bytes)
        if heap.poison != 0:
            return self._alloc_asserting(size_bytes, layout_word)
        address = alloc_object(heap, size_bytes, layout_word)
        return address if address != 0 else self._alloc_slowly(size_bytes, layout_word)

    def _uncount(self, size_bytes: u64) -> cython.void:
        """As if the allocation that was counted had not been asked for."""
        heap: Heap = cython.address(self._heap)
        heap.total_alloc_bytes -= size_bytes + heap.header_bytes
        heap.total_blocks -= blocks_for(heap, size_bytes + heap.header_bytes)
        heap.mallocs -= 1

    def _alloc_slowly(self, size_bytes: u64, layout_word: u64):
        """What is left to do for an allocation that was counted and found no room."""
        address: u64 = self._search_on(size_bytes, layout_word)
        return self._embedder.finish_allocation(address, size_bytes)

    def _search_on(self, size_bytes: u64, layout_word: u64) -> u64:
        """Collect, grow, give up: the policy of TinyGo's ``alloc`` when the heap has been searched whole."""
        heap: Heap = cython.address(self._heap)
        address: u64 = 0
        free_bytes: u64
        needed: u64 = blocks_for(heap, size_bytes + heap.header_bytes)
        try:
            free_bytes = self._embedder.on_exhausted()
            if free_bytes < heap.pool_bytes // 3:
                # Keep a third of headroom, or the next collections would come ever closer together.
                self._embedder.grow(needed)
            self._check_held()
            address = alloc_again(heap, size_bytes, layout_word)
            while address == 0 and self._embedder.grow(needed):
                self._check_held()
                address = alloc_again(heap, size_bytes, layout_word)
        except BaseException:
            # Not out of memory, but an error of a callback while collecting: as if nothing had been asked.
            self._uncount(size_bytes)
            raise
        return address

    def _alloc_asserting(self, size_bytes: u64, layout_word: u64):
        heap: Heap = cython.address(self._heap)
        head: u64
        address: u64
        found: cython.bint
        # Nothing remembered: each block of the run is looked at.
        heap.free_until = heap.next_alloc
        address = alloc_object(heap, size_bytes, layout_word)
        found = address != 0
        if not found:
            address = self._search_on(size_bytes, layout_word)
        if address != 0:
            head = (address - heap.header_bytes - heap.start) >> heap.block_shift
            if head_of(heap, heap.next_alloc - 1) != head or state_of(heap, head) != HEAD:
                raise HeapCorruptError(
                    f"blocks {head}..{heap.next_alloc} of a new object are not in the block table; was it written to meanwhile?"
                )
        return address if found else self._embedder.finish_allocation(address, size_bytes)

    def _bumped(self, size_bytes: u64) -> u64:
        """An address from the leaking collector, counted; 0, not counted, when the heap must grow first."""
        heap: Heap = cython.address(self._heap)
        address: u64
        size_bytes = leaking_size(heap, size_bytes)
        address = alloc_leaking(heap, size_bytes)
        if address != 0:
            count_leaking(heap, size_bytes)
        return address

    def _alloc_leaking(self, size_bytes: u64):
        heap: Heap = cython.address(self._heap)
        address: u64 = self._bumped(size_bytes)
        if address != 0:
            return address
        size_bytes = leaking_size(heap, size_bytes)
        count_leaking(heap, size_bytes)
        try:
            while address == 0 and self._embedder.grow(self._geometry.blocks_for(size_bytes)):
                self._check_held()
                address = alloc_leaking(heap, size_bytes)
        except BaseException:
            # As if nothing had been asked.
            heap.total_alloc_bytes -= size_bytes
            heap.mallocs -= 1
            raise
        return address if address != 0 else self._embedder.finish_allocation(0, size_bytes)

    def realloc(self, address: u64, size_bytes):
        heap: Heap = cython.address(self._heap)
        old: u64
        new: u64
        size: u64 = self._checked_size(size_bytes)
        if heap.leaking:
            new = self._alloc_checked(size, 0)
            if new != 0 and heap.start <= address < new:
                # The old size is not known; what lies behind the object is copied too.
                move(heap.memory + (new - heap.start), heap.memory + (address - heap.start), size)
            return new
        self._check_held()
        if address - heap.start >= heap.pool_bytes:
            # Nil, or the place of all objects without bytes.
            return self._alloc_checked(size, 0)
        old = old_size(heap, address)
        if size <= old:
            return address
        new = self._alloc_checked(size, 0)
        if new != 0:
            move(heap.memory + (new - heap.start), heap.memory + (address - heap.start), old)
        return new

    def free(self, head: u64):
        self._check_block(head, self._heap.end_block)
        if state_of(cython.address(self._heap), head) & HEAD == 0:
            raise InvalidAddressError(f"no object begins at block {head}")
        return free_object(cython.address(self._heap), head)

    def load_word(self, address: u64):
        return load_word(self._place(address), self._heap.word_shift)

    def store_word(self, address: u64, value: u64):
        store_word(self._place(address), self._heap.word_shift, value)

    def _place(self, address: u64) -> u64:
        """Where a word of the heap lies here."""
        heap: Heap = cython.address(self._heap)
        word_bytes: u64 = cython.cast(u64, 1) << heap.word_shift
        self._check_held()
        if address < heap.start or heap.pool_bytes < word_bytes or address - heap.start > heap.pool_bytes - word_bytes:
            raise InvalidAddressError(
                f"{word_bytes} bytes at {address:#x} do not lie on the heap, "
                f"{heap.start:#x}..{heap.start + heap.pool_bytes:#x}"
            )
        return heap.memory + (address - heap.start)

    # ---- a collection's steps -----------------------------------------------------------------------------------------------

    def _prepare_marking(self) -> cython.int:
        """A mark stack with room for every block (memory that costs what is touched), and the statics' place."""
        heap: Heap = cython.address(self._heap)
        self._check_held()
        if heap.stack == 0 and not begin_marking(heap):
            raise MemoryError(f"no memory for a mark stack of {heap.end_block} entries")
        if not self._statics_memory.held:
            self._statics_memory.hold(self._statics.memory, PyBUF_SIMPLE)
            heap.statics = self._statics_memory.at
            heap.statics_bytes = self._statics_memory.bytes
            heap.statics_start = self._statics.start_address
        return 0

    def _end_marking(self) -> cython.void:
        self._mark_stack.release()
        self._statics_memory.release()
        end_marking(cython.address(self._heap))

    def use_mark_stack(self, memory):
        heap: Heap = cython.address(self._heap)
        self._prepare_marking()
        self._mark_stack.hold(memory, PyBUF_SIMPLE | PyBUF_WRITABLE)
        if heap.stack_limit == 0 or self._mark_stack.bytes != heap.stack_limit << 2:
            raise GeometryError(
                f"invalid mark stack of {self._mark_stack.bytes} bytes: expected {heap.stack_limit} entries"
            )
        heap.stack = self._mark_stack.at
        heap.stack_block = head_of_host(heap, heap.stack)

    def mark_roots(self, words):
        heap: Heap = cython.address(self._heap)
        view: BufferView = BufferView()
        view.hold(words, PyBUF_SIMPLE)
        self._prepare_marking()
        with cython.nogil:
            mark_range(heap, view.at, view.bytes)

    def mark_addresses(self, addresses):
        address: u64
        for address in addresses:
            self._prepare_marking()
            mark_address(cython.address(self._heap), address)

    def mark_children(self, head: u64):
        self._check_block(head, self._heap.end_block)
        self._prepare_marking()
        mark_object_children(cython.address(self._heap), head)

    def finish_mark(self):
        heap: Heap = cython.address(self._heap)
        unreadable: cython.longlong
        self._prepare_marking()
        with cython.nogil:
            finish_marking(heap)
        unreadable = cython.cast(cython.longlong, heap.unreadable)
        heap.unreadable = NO_BLOCK
        return unreadable

    def unmark(self):
        self._check_held()
        unmark_all(cython.address(self._heap))
        self._end_marking()

    def sweep(self):
        heap: Heap = cython.address(self._heap)
        free_bytes: u64
        self._check_held()
        self._end_marking()
        with cython.nogil:
            free_bytes = sweep_table(heap)
        return free_bytes

    def resize(self, heap_bytes: u64):
        self._check_held()
        if heap_bytes > self._memory.bytes:
            raise GeometryError(f"the buffer has {self._memory.bytes} bytes; a heap of {heap_bytes} does not fit")
        self._geometry = self._geometry.resized(heap_bytes)
        if self._heap.leaking:
            lay_out(cython.address(self._heap), heap_bytes)
        else:
            move_table(cython.address(self._heap), heap_bytes)


# ---- looking at the table -----------------------------------------------------------------------------------------------


def wrong_fields(heap: Heap, word: u64, before: u64) -> u64:
    """Blocks of a table word (even bits) that no allocations leave; ``before`` is the state of the block before."""
    x: u64 = table_word(heap, word)
    low: u64 = x & EVEN
    high: u64 = (x >> 1) & EVEN
    wrong: u64 = low & high
    past: u64 = heap.end_block - (word << 5)
    # Tails whose neighbor below is free.
    wrong |= high & ~low & ~(((low | high) << 2) | cython.cast(u64, before != 0))
    if heap.end_block < (word << 5):
        wrong |= low | high
    elif past < 32:
        wrong |= (low | high) & (ONES << (past << 1))
    return wrong


def is_poisoned(heap: Heap, block: u64) -> cython.bint:
    """Whether a block holds nothing but the poison byte."""
    at: u64 = heap.memory + (block << heap.block_shift)
    end: u64 = at + (cython.cast(u64, 1) << heap.block_shift)
    while at < end:
        if load8(at) != heap.poison_byte:
            return False
        at += 1
    return True


def free_runs(heap: Heap, runs: cython.pointer(u64), largest: cython.pointer(u64)) -> cython.void:
    """Number of free runs and the blocks of the largest."""
    first: u64 = 0
    taken: u64
    runs[0] = 0
    largest[0] = 0
    while first < heap.end_block:
        taken = free_end(heap, first, heap.end_block)
        if taken > first:
            runs[0] += 1
            if taken - first > largest[0]:
                largest[0] = taken - first
        first = next_of(heap, taken)
