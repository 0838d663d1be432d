# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, freethreading_compatible=True
"""The kernel of both best-fit collectors: on 64-bit words of the block table, with an index of the free list.

It behaves as ``front.py`` and ``back.py``, to the bit.  This is its border, where Python calls::

    Kernel          checks every block, address and size that comes from outside; holds buffers; lets others run (GIL)
      │
      ├── _allocate     take a range, make it an object      │
      ├── _freelist     the list in memory                   │ the hot functions: they check what memory says, and
      ├── _mark         from the roots, all that is reached  │ nothing else
      ├── _sweep        free the rest; build the list; count │
      │
    _node, _index       nodes of the list, and what objects are mostly taken from; which lengths there are
    _marker             marking, word by word
    _state, _table      one heap; its block table in words
    _words, _buffers    words of memory; views of others' memory (nothing in them knows of heaps)

One flag of the state says whether headers are in front or behind.  Compiled by Cython; never run as Python.
"""

import cython

if not cython.compiled:
    raise ImportError("tinyheap.heap.bestfit._kernel is not compiled")

from cython.cimports.cpython.buffer import PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cython.cimports.cpython.long import PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cython.cimports.libc.string import memcpy
from cython.cimports.tinyheap.heap._buffers import BufferView
from cython.cimports.tinyheap.heap._words import ctz64, fill, fnv1a, load8, load_word, move, store_word
from cython.cimports.tinyheap.heap.bestfit._allocate import (
    alloc_object,
    alloc_uncleared,
    clear_body,
    free_object,
    old_size,
    uncount,
)
from cython.cimports.tinyheap.heap.bestfit._freelist import build_index, build_list, insert_range
from cython.cimports.tinyheap.heap.bestfit._mark import (
    finish_marking,
    is_readable,
    last_leading,
    mark_address,
    mark_object_children,
    mark_range,
    steps_to,
)
from cython.cimports.tinyheap.heap.bestfit._state import (
    DAMAGED,
    NO_BLOCK,
    blocks_for,
    counters_of,
    let_go,
    move_table,
    set_up,
)
from cython.cimports.tinyheap.heap.bestfit._sweep import count_blocks, sweep_table, unmark_all
from cython.cimports.tinyheap.heap.bestfit._table import (
    FREE,
    HEAD,
    MARK,
    TAIL,
    end_of,
    first_of,
    free_in,
    head_of,
    header_of,
    state_of,
    tails_above,
    tails_below,
)

from tinyheap.errors import AllocationInInterruptError, GeometryError, HeapError, InvalidAddressError, InvalidSizeError
from tinyheap.heap.arguments import shown, whole_number
from tinyheap.heap.bestfit import freelist
from tinyheap.heap.contract import IN_INTERRUPT, Census, LastLeads, MarkingEnd, State
from tinyheap.heap.contract import NO_BLOCK as NO_HEAD
from tinyheap.ownership import SoleOwner


# Cleared before its last use, in a cycle, it would lack its views of memory.
@cython.no_gc_clear
@cython.final
@cython.cclass
class Kernel:
    """An engine (``contract.BestFitEngine``) around one ``HeapState``: the border, where everything is checked."""

    def __init__(self, memory, geometry, options, statics, embedder):
        self._geometry = geometry
        self._collector = options.collector
        self._statics = statics
        self._embedder = embedder
        self._size_limit = min(geometry.address_space_bytes, 1 << 62) - 1
        self._memory = BufferView()
        self._statics_memory = BufferView()
        self._hold(memory)
        set_up(cython.address(self._heap), self._memory.at, geometry, options)
        self._shape = options.collector.shape(geometry, precise=bool(self._heap.precise))
        self._notice()

    def __del__(self):
        # In a cycle Python calls this before it clears anything: the memory must not go before what looks into it.
        self._statics_memory.release()
        self.release_memory()

    def __dealloc__(self):
        let_go(cython.address(self._heap))

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
        """Whether there is a short way of allocating now."""
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
    def free_list(self):
        return self._heap.free_list

    @free_list.setter
    def free_list(self, address: u64):
        self._heap.free_list = address
        self._heap.indexed = 0

    @property
    def bump_address(self):
        return self._heap.start

    @property
    def geometry(self):
        return self._geometry

    @property
    def collector(self):
        return self._collector

    @property
    def shape(self):
        return self._shape

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

    def _check_list(self) -> cython.int:
        """Have an index of the free list."""
        self._check_held()
        if not self._heap.indexed and build_index(cython.address(self._heap)):
            raise self._damaged()
        return 0

    def _damaged(self):
        """The error of an operation that met a broken list, which may be mended before the next one."""
        self._heap.indexed = 0
        return freelist.damaged(self)

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
        build_list(cython.address(self._heap))

    @property
    def marking_end(self):
        heap: Heap = cython.address(self._heap)
        # Where all words may be pointers, whatever was scanned was scanned whole.
        whole_head = heap.last_whole if heap.precise else heap.last_scanned
        heads = (heap.last_scanned, whole_head, heap.last_inline, heap.last_outside)
        scanned, whole, inline, outside = (NO_HEAD if head == NO_BLOCK else head for head in heads)
        return MarkingEnd(scanned, heap.last_found, heap.last_layout, heap.scanned_several != 0, whole, inline, outside)

    def last_leads(self, words):
        heap: Heap = cython.address(self._heap)
        view: BufferView = BufferView()
        last: list = []
        word: u64
        stop: u64
        view.hold(words, PyBUF_SIMPLE)
        self._check_held()
        stop = view.at + (view.bytes >> heap.word_shift << heap.word_shift)
        while len(last) < len(LastLeads._fields):
            stop = last_leading(heap, view.at, stop, len(last) + 1)
            if stop == 0:
                break
            word = load_word(stop, heap.word_shift)
            last += [word] * (steps_to(heap, word) - len(last))
        return LastLeads(*last)

    def find_head(self, block: u64):
        self._check_block(block, self._heap.end_block)
        return cython.cast(cython.longlong, head_of(cython.address(self._heap), block))

    def extent(self, block: u64):
        heap: Heap = cython.address(self._heap)
        first: u64
        end: u64
        self._check_block(block, heap.end_block)
        if heap.back:
            first = first_of(heap, block)
            end = tails_above(heap, first) + 1
            return first, end if end < heap.end_block else heap.end_block
        first = tails_below(heap, block)
        first = 0 if first == NO_BLOCK else first
        return first, tails_above(heap, first + 1 if state_of(heap, first) & HEAD else first)

    def free_ranges(self):
        return [(node.first, node.blocks) for node in freelist.nodes(self)]

    def check_table(self, most: cython.int = 16):
        heap: Heap = cython.address(self._heap)
        wrong: list = []
        block: u64 = 0
        self._check_held()
        while block < heap.table_bytes * 4 and len(wrong) < most:
            if is_wrong(heap, block):
                wrong.append(block)
            block += 1
        return wrong

    def check_layouts(self, most: cython.int = 16):
        heap: Heap = cython.address(self._heap)
        wrong: list = []
        block: u64 = 0
        layout: u64
        if not heap.precise:
            return wrong
        self._prepare_marking()
        while block < heap.end_block and len(wrong) < most:
            if state_of(heap, block) & HEAD:
                layout = load_word(header_of(heap, block) + (1 << heap.word_shift), heap.word_shift)
                if not is_readable(heap, layout):
                    wrong.append(block)
            block += 1
        self._statics_memory.release()
        return wrong

    def _kept_bytes(self) -> dict:
        """How many bytes at the beginning of a free block are the free list's."""
        word_bytes = self._geometry.word_bytes
        return {node.first: (3 if node.is_outer else 1) * word_bytes for node in freelist.nodes(self)}

    def check_poison(self, most: cython.int = 16):
        heap: Heap = cython.address(self._heap)
        kept: dict = self._kept_bytes()
        wrong: list = []
        block: u64 = 0
        self._check_held()
        while block < heap.end_block and len(wrong) < most:
            if state_of(heap, block) == FREE and not is_poisoned(heap, block, kept.get(block, 0)):
                wrong.append(block)
            block += 1
        return wrong

    def poison_free(self):
        heap: Heap = cython.address(self._heap)
        kept: dict = self._kept_bytes()
        word: u64 = 0
        free: u64
        block: u64
        skipped: u64
        while word << 5 < heap.end_block:
            free = free_in(heap, word)
            while free != 0:
                block = (word << 5) + ctz64(free)
                skipped = kept.get(block, 0)
                fill(
                    heap.memory + (block << heap.block_shift) + skipped,
                    (cython.cast(u64, 1) << heap.block_shift) - skipped,
                    heap.poison_byte,
                )
                free &= free - 1
            word += 1

    def census(self):
        heap: Heap = cython.address(self._heap)
        runs: u64 = 0
        largest: u64 = 0
        self._check_held()
        with cython.nogil:
            count_blocks(heap, cython.address(runs), cython.address(largest))
        return Census(heap.free_blocks, heap.heads, heap.tails, heap.marks, runs, largest)

    def hash_table(self):
        """FNV-1a (64 bits) of the table bytes that cover blocks."""
        self._check_held()
        return fnv1a(self._heap.table, (self._heap.end_block + 3) >> 2)

    # ---- the mutator's side -----------------------------------------------------------------------------------------------

    def alloc_at_once(self, size_bytes, layout=None):
        """`alloc` for callers that have not entered the heap's monitor: in one go, or else by ``otherwise``.

        No code of a user's runs in here: the size is an integer of Python's, and there is room.
        """
        heap: Heap = cython.address(self._heap)
        overflow: cython.int = 0
        size: cython.longlong
        address: u64
        if layout is None and PyLong_CheckExact(size_bytes) and self._open and heap.indexed:
            size = PyLong_AsLongLongAndOverflow(size_bytes, cython.address(overflow))
            if not overflow and size >= 0 and cython.cast(u64, size) <= heap.largest_bytes:
                address = alloc_object(heap, size, 0)
                if address != 0 and address != DAMAGED:
                    return address
                uncount(heap, size)
        return self._otherwise(size_bytes, layout)

    def alloc(self, size_bytes, layout=None):
        size: u64 = self._checked_size(size_bytes)
        word: u64 = 0 if layout is None else self._embedder.layout_word(layout, size)
        return self._alloc_checked(size, word)

    def alloc_many(self, addresses, size_bytes, layout=None):
        buffer: Py_buffer
        done: u64 = 0
        size: u64 = self._checked_size(size_bytes)
        word: u64 = 0 if layout is None else self._embedder.layout_word(layout, size)
        PyObject_GetBuffer(addresses, cython.address(buffer), PyBUF_SIMPLE | PyBUF_WRITABLE)
        try:
            while done < cython.cast(u64, buffer.len) >> 3:
                cython.cast(cython.pointer(u64), buffer.buf)[done] = self._alloc_checked(size, word)
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
        if size_bytes == 0:
            return heap.zero_size_address
        if self._in_interrupt:
            raise AllocationInInterruptError(IN_INTERRUPT)
        if size_bytes > heap.largest_bytes:
            return self._embedder.finish_allocation(0, size_bytes)
        self._check_list()
        address = alloc_object(heap, size_bytes, layout_word)
        if address == DAMAGED:
            uncount(heap, size_bytes)
            raise self._damaged()
        return address if address != 0 else self._alloc_slowly(size_bytes, layout_word)

    def _alloc_slowly(self, size_bytes: u64, layout_word: u64):
        """What is left to do for an allocation that was counted and found no room."""
        heap: Heap = cython.address(self._heap)
        address: u64 = self._search_on(size_bytes, layout_word)
        # Finalizers run in here, and may grow the heap; its memory lies elsewhere then.
        answer = self._embedder.finish_allocation(address, size_bytes)
        if address != 0:
            self._check_held()
            clear_body(heap, address, blocks_for(heap, size_bytes))
        return answer

    def _search_on(self, size_bytes: u64, layout_word: u64) -> u64:
        """Collect, grow, give up: the policy of TinyGo's ``alloc`` when no range is long enough."""
        heap: Heap = cython.address(self._heap)
        address: u64
        free_bytes: u64
        needed: u64 = blocks_for(heap, size_bytes)
        try:
            free_bytes = self._embedder.on_exhausted()
            if free_bytes < heap.pool_bytes // 3:
                # Keep a third of headroom, or the next collections would come ever closer together.
                self._embedder.grow(needed)
            self._check_list()
            address = alloc_uncleared(heap, size_bytes, layout_word)
            while address == 0 and self._embedder.grow(needed):
                self._check_list()
                address = alloc_uncleared(heap, size_bytes, layout_word)
            if address == DAMAGED:
                raise self._damaged()
        except BaseException:
            # Not out of memory, but an error of a callback while collecting: as if nothing had been asked.
            uncount(heap, size_bytes)
            raise
        return address

    def realloc(self, address: u64, size_bytes):
        heap: Heap = cython.address(self._heap)
        old: u64
        new: u64
        size: u64 = self._checked_size(size_bytes)
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
        blocks: u64
        self._check_block(head, self._heap.end_block)
        if state_of(cython.address(self._heap), head) & HEAD == 0:
            raise InvalidAddressError(f"no object begins at block {head}")
        self._check_list()
        blocks = free_object(cython.address(self._heap), head)
        if blocks == DAMAGED:
            raise self._damaged()
        return blocks

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
        """Hold the statics, where layouts lie."""
        heap: Heap = cython.address(self._heap)
        self._check_held()
        if not self._statics_memory.held:
            self._statics_memory.hold(self._statics.memory, PyBUF_SIMPLE)
            heap.statics = self._statics_memory.at
            heap.statics_bytes = self._statics_memory.bytes
            heap.statics_start = self._statics.start_address
        return 0

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
        self._heap.unreadable = NO_BLOCK
        unmark_all(cython.address(self._heap))
        self._statics_memory.release()

    def sweep(self):
        heap: Heap = cython.address(self._heap)
        free_bytes: u64
        self._check_held()
        self._statics_memory.release()
        with cython.nogil:
            free_bytes = sweep_table(heap)
        return free_bytes

    def resize(self, heap_bytes: u64):
        heap: Heap = cython.address(self._heap)
        old_end: u64 = heap.end_block
        self._check_held()
        if heap_bytes > self._memory.bytes:
            raise GeometryError(f"the buffer has {self._memory.bytes} bytes; a heap of {heap_bytes} does not fit")
        self._geometry = self._geometry.resized(heap_bytes)
        move_table(heap, heap_bytes)
        if not heap.back:
            build_list(heap)
        elif heap.end_block > old_end:
            self._check_list()
            if insert_range(heap, old_end, heap.end_block - old_end):
                raise self._damaged()


# ---- looking at the table -----------------------------------------------------------------------------------------------


def is_wrong(heap: Heap, block: u64) -> cython.bint:
    """Whether no allocations leave a block's state: one past the last block, a mark, a tail whose object does not go on."""
    state: u64 = state_of(heap, block)
    if state == FREE or (state == HEAD and block < heap.end_block):
        return False
    if state == MARK or block >= heap.end_block:
        return True
    if heap.back:
        return block + 1 == heap.end_block or state_of(heap, block + 1) == FREE
    return block == 0 or state_of(heap, block - 1) == FREE


def is_poisoned(heap: Heap, block: u64, skipped: u64) -> cython.bint:
    """Whether a block holds nothing but the poison byte after so many bytes."""
    at: u64 = heap.memory + (block << heap.block_shift) + skipped
    end: u64 = heap.memory + ((block + 1) << heap.block_shift)
    while at < end:
        if load8(at) != heap.poison_byte:
            return False
        at += 1
    return True
