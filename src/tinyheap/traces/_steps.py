# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, freethreading_compatible=True
"""The steps of a trace that need no Python, on a best-fit kernel.

``replay.StepPlayer`` lends what it has: the kernel, the ids, the root slots.  It is told how far they were played, and plays
the step itself that was left to it, one that has to do with finalizers::

    StepPlayer   advance ──────────────> SET_FINALIZER, in Python ──────────────> ...
    Steps               play ... play │ left                     play ... play │ stop

Collections are compiled, too, unless there are finalizers; growing is the embedder's in any case.
"""

import cython

if not cython.compiled:
    raise ImportError("tinyheap.traces._steps is not compiled")

from cython.cimports.libc.stdlib import free as c_free
from cython.cimports.libc.stdlib import realloc as c_realloc
from cython.cimports.tinyheap.heap._words import clock_ns, fnv1a, load_word, move, store_word, u64
from cython.cimports.tinyheap.heap.bestfit._allocate import (
    alloc_object,
    alloc_uncleared,
    clear_body,
    old_size,
    uncount,
)
from cython.cimports.tinyheap.heap.bestfit._mark import finish_marking, mark_range
from cython.cimports.tinyheap.heap.bestfit._state import DAMAGED, NO_BLOCK, Heap, blocks_for, place_of
from cython.cimports.tinyheap.heap.bestfit._sweep import sweep_table
from cython.cimports.tinyheap.traces._replay import (
    ALLOC,
    COLLECT,
    COPY,
    REALLOC,
    ROOT,
    STORE,
    STORE_INTEGER,
    STORE_INTERIOR_SHIFT,
    STORE_WORD_MASK,
    STORES,
)


@cython.final
@cython.cclass
class Steps:
    """Plays those steps that need no Python.

    Args:
        player: whose kernel, ids and roots are used; it is asked to ``grow``.
        kernel: its engine.
        layouts, layout_addresses: numbers of out-of-line layouts, ascending, and where each lies.
        timing: read the clock around each allocation.
        hashes: hash table and free list after each collection.
        collects: whether there is nothing in a collection that Python has to do.
    """

    def __init__(
        self,
        player,
        kernel: Kernel,
        layouts,
        layout_addresses,
        timing: cython.bint,
        hashes: cython.bint,
        collects: cython.bint,
    ):
        self._kernel = kernel
        self._grow = player.grow
        self._ops = player.trace.ops
        self._ids = player.ids
        self._roots = player.roots
        self._layouts = layouts
        self._layout_addresses = layout_addresses
        self._addresses = player.addresses
        self._timing = timing
        self._hashes = hashes
        self._collects = collects

    def __dealloc__(self):
        c_free(self._rows)

    def play(self, step: u64, stop: u64, addresses_done: u64) -> u64:
        """Play from a step on, after so many allocations, until a step that is left or ``stop``; returns that step.

        Raises:
            HeapCorruptError: the free list was overwritten.
        """
        self._addresses_done = addresses_done
        self._ending = GOES_ON
        self._kernel._check_list()
        self._kernel._prepare_marking()
        with cython.nogil:
            step = self._play(step, stop)
        self._kernel._statics_memory.release()
        return step

    def check_list(self):
        """What is wrong with a list that was found damaged.

        Raises:
            HeapCorruptError: it was.
        """
        if self._ending == CORRUPT:
            raise self._kernel._damaged()

    def _play(self, step: u64, stop: u64) -> u64:
        """One long loop: what its branches share stays in registers."""
        heap: Heap = cython.address(self._kernel._heap)
        ids: cython.pointer(u64) = cython.address(self._ids[0])
        roots: u64 = cython.cast(cython.size_t, cython.address(self._roots[0]))
        ops: cython.pointer(cython.const[uint32_t]) = cython.address(self._ops[0])
        next: cython.pointer(cython.const[uint32_t]) = ops + (step << 2)
        end: cython.pointer(cython.const[uint32_t]) = ops + (stop << 2)
        result: cython.pointer(int64_t) = cython.address(self._addresses[0]) + self._addresses_done
        start: u64 = heap.start
        memory: u64 = heap.memory
        shift: u64 = heap.word_shift
        last_word: u64 = heap.pool_bytes - (cython.cast(u64, 1) << shift)
        # Allocations that need nothing but the kernel: those whose layout is inline, or all.
        plain: cython.bint = not self._timing
        inline: u64 = 0 if len(self._layouts) != 0 else 1
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
                    self._ending = STRAY
                    break
                store_word(memory + offset, shift, value)
            elif op == ALLOC or op == REALLOC:
                if op == REALLOC:
                    value = self._reallocate(ids[a], b)
                elif plain and (c | inline) & 1 != 0 and b <= heap.largest_bytes:
                    value = alloc_object(heap, b, c)
                    if value == 0 or value == DAMAGED:
                        value = self._allocate_slowly(value, b, c)
                else:
                    value = self._allocate(b, c)
                if self._ending != GOES_ON:
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
            elif op == COLLECT and self._collects:
                self._collect(0)
            else:
                self._ending = LEFT
                break
            next += 4
        self._addresses_done = result - cython.address(self._addresses[0])
        return (next - ops) >> 2

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
        """The address of a new object; where there is none, the steps end here."""
        heap: Heap = cython.address(self._kernel._heap)
        address: u64
        begun_ns: u64 = 0
        if size_bytes > heap.largest_bytes:
            self._ending = OUT_OF_MEMORY
            return 0
        if layout & 1 == 0 and layout != 0 and heap.precise != 0:
            layout = self._layout_word(layout)
        if self._timing:
            begun_ns = clock_ns() - self._mark_ns - self._sweep_ns
        address = alloc_object(heap, size_bytes, layout)
        if address == 0 or address == DAMAGED:
            address = self._allocate_slowly(address, size_bytes, layout)
        if self._timing:
            self._alloc_ns += clock_ns() - self._mark_ns - self._sweep_ns - begun_ns
        return address

    def _allocate_slowly(self, address: u64, size_bytes: u64, layout: u64) -> u64:
        """What is left to do where an object that was counted got no address, but 0 or `DAMAGED`."""
        if address == 0:
            address = self._find_room(size_bytes, layout)
        if address == DAMAGED:
            uncount(cython.address(self._kernel._heap), size_bytes)
            self._ending = CORRUPT
        return address

    def _find_room(self, size_bytes: u64, layout: u64) -> u64:
        """Collect, grow, give up; or leave the step, as if it had not begun."""
        heap: Heap = cython.address(self._kernel._heap)
        blocks: u64 = blocks_for(heap, size_bytes)
        address: u64
        if not self._collects:
            uncount(heap, size_bytes)
            self._ending = LEFT
            return 0
        if self._collect(blocks) < heap.pool_bytes // 3:
            self._grow_for(blocks)
        address = alloc_uncleared(heap, size_bytes, layout)
        while address == 0 and self._grow_for(blocks):
            address = alloc_uncleared(heap, size_bytes, layout)
        if address == 0:
            self._ending = OUT_OF_MEMORY
        elif address != DAMAGED:
            clear_body(heap, address, blocks)
        return address

    def _reallocate(self, address: u64, size_bytes: u64) -> u64:
        heap: Heap = cython.address(self._kernel._heap)
        old: u64
        new: u64
        if address - heap.start >= heap.pool_bytes:
            # Nil, or the place of all objects without bytes.
            return self._allocate(size_bytes, 0)
        old = old_size(heap, address)
        if size_bytes <= old:
            return address
        new = self._allocate(size_bytes, 0)
        if self._ending == GOES_ON:
            move(heap.memory + (new - heap.start), heap.memory + (address - heap.start), old)
        return new

    def _grow_for(self, blocks: u64) -> cython.bint:
        """Ask the embedder to grow; whether it did."""
        with cython.gil:
            try:
                return self._grow(blocks)
            except Exception:
                # It found the list damaged.
                self._ending = CORRUPT
                return False

    def _collect(self, asked_blocks: u64) -> u64:
        """A whole collection, in an allocation of so many blocks or in none; returns the free bytes."""
        heap: Heap = cython.address(self._kernel._heap)
        row: Row
        free_bytes: u64
        begun_ns: u64 = clock_ns()
        marked_ns: u64
        mark_range(heap, cython.cast(cython.size_t, cython.address(self._roots[0])), len(self._roots))
        finish_marking(heap)
        heap.unreadable = NO_BLOCK
        marked_ns = clock_ns()
        free_bytes = sweep_table(heap)
        row.sweep_ns = clock_ns() - marked_ns
        row.mark_ns = marked_ns - begun_ns
        row.free_blocks = heap.free_blocks
        # An allocation is counted before it has blocks.
        row.heads = heap.mallocs - heap.frees - (asked_blocks != 0)
        row.tails = heap.end_block - row.free_blocks - row.heads
        row.table_hash = fnv1a(heap.table, (heap.end_block + 3) >> 2) if self._hashes else 0
        row.ranges_hash = self._ranges_hash() if self._hashes else 0
        self._mark_ns += row.mark_ns
        self._sweep_ns += row.sweep_ns
        if self._rows_done == self._rows_room:
            self._rows_room = self._rows_room * 2 + 64
            self._rows = cython.cast(cython.pointer(Row), c_realloc(self._rows, self._rows_room * cython.sizeof(Row)))
        self._rows[self._rows_done] = row
        self._rows_done += 1
        return free_bytes

    def _ranges_hash(self) -> u64:
        """``replay.ranges_hash`` of a list that was just built, and so is sound."""
        heap: Heap = cython.address(self._kernel._heap)
        word_bytes: u64 = cython.cast(u64, 1) << heap.word_shift
        hashed: u64 = FNV_BASIS
        outer: u64 = heap.free_list
        inner: u64
        blocks: u64
        while outer != 0:
            blocks = load_word(place_of(heap, outer), heap.word_shift)
            hashed = hash_range(hashed, outer - heap.start, blocks)
            inner = load_word(place_of(heap, outer) + (word_bytes << 1), heap.word_shift)
            while inner != 0:
                hashed = hash_range(hashed, inner - heap.start, blocks)
                inner = load_word(place_of(heap, inner), heap.word_shift)
            outer = load_word(place_of(heap, outer) + word_bytes, heap.word_shift)
        return hashed

    # ---- what became of it --------------------------------------------------------------------------------------------

    @property
    def out_of_memory(self):
        return self._ending == OUT_OF_MEMORY

    @property
    def stray(self):
        return self._ending == STRAY

    @property
    def addresses_done(self):
        return self._addresses_done

    @property
    def rows(self):
        """The fields of a ``ReplayedCollection`` for each collection."""
        return [
            (row.free_blocks, row.heads, row.tails, 0, 0, row.table_hash, row.mark_ns, row.sweep_ns, row.ranges_hash)
            for row in self._rows[: self._rows_done]
        ]

    @property
    def times_ns(self):
        """Allocation, mark, sweep."""
        return self._alloc_ns, self._mark_ns, self._sweep_ns


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def hash_range(hashed: u64, offset: u64, blocks: u64) -> u64:
    """FNV-1a goes on over a range: its offset in bytes and its blocks, 32 bits each."""
    words: u64 = (offset & LOW_HALF) | blocks << 32
    at: cython.int = 0
    while at < 64:
        hashed = (hashed ^ (words >> at & 255)) * FNV_PRIME
        at += 8
    return hashed
