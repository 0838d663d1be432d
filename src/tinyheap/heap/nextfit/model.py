"""The executable specification: the block mark/sweep collector, one block at a time.

Written to be read next to the original (TinyGo's ``gc_blocks.go``, and ``gc_precise.go`` for layouts), in its order: blocks,
the heap, allocation, mark, sweep.  Everything observable is as there: addresses, survivors, counters, the bytes left in
memory.  What a collection consists of and where roots come from stands in ``heap.py``, for both engines.

Invariants outside a collection:

* no block is marked; every tail follows a head or another tail;
* blocks from ``next_alloc`` on are where the next search begins;
* the states beyond the last block are free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar, Final

from tinyheap.heap.buffers import Buffer, writable_bytes
from tinyheap.heap.collectors import Collector
from tinyheap.heap.contract import NO_BLOCK, Embedder, Gc, Options, State, Statics
from tinyheap.heap.geometry import Geometry
from tinyheap.heap.model_base import BaseModel

MARK_STACK_WORDS: Final = 8
"""The original's mark stack holds so many words' worth of entries (4 up to TinyGo 0.33)."""


class Model(BaseModel):
    """The engine of `Collector.NEXT_FIT` in plain Python."""

    COLLECTOR: ClassVar[Collector] = Collector.NEXT_FIT

    def __init__(
        self,
        memory: Buffer,
        geometry: Geometry,
        options: Options,
        statics: Statics,
        embedder: Embedder,
        debug: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(memory, geometry, options, statics, embedder, debug)
        self._mark_stack_entries = options.mark_stack_entries or MARK_STACK_WORDS * geometry.word_bytes
        self._stack_image: memoryview | None = None
        self._stack_overflow = False
        self.next_alloc = 0

    # ---- blocks -----------------------------------------------------------------------------------------------------

    def find_head(self, block: int) -> int:
        return self._head_below(block)

    def extent(self, block: int) -> tuple[int, int]:
        return self._extent_from_head(block)

    def find_next(self, block: int) -> int:
        if block < self._geometry.end_block and self.state(block) in (State.HEAD, State.MARK):
            block += 1
        return self._end_of_tails(block)

    # ---- the heap ---------------------------------------------------------------------------------------------------

    def resize(self, heap_bytes: int) -> None:
        if self._options.gc is Gc.LEAKING:
            self._geometry = self._geometry.resized(heap_bytes)
        else:
            self._move_table(heap_bytes)

    # ---- allocation -------------------------------------------------------------------------------------------------

    def alloc(self, size_bytes: int, layout: object = None) -> int:
        size_bytes = self._checked_size(size_bytes)
        layout_word = 0 if layout is None else self._embedder.layout_word(layout, size_bytes)
        if self._options.gc is Gc.LEAKING:
            return self._alloc_leaking(size_bytes)
        if size_bytes == 0:
            return self.zero_size_address
        self._check_no_interrupt()
        asked_bytes = size_bytes
        if self._precise:
            size_bytes += self._shape.header_bytes

        needed_blocks = self._geometry.blocks_for(size_bytes)
        self._count(size_bytes, needed_blocks)
        try:
            end, searches = self._find_room(needed_blocks)
            if end != NO_BLOCK:
                self._debug(f"found memory: {self._geometry.address_of(end - needed_blocks):#x} {size_bytes}")
        except BaseException:
            # Not out of memory, but an error of a callback while collecting: as if nothing had been asked.
            self._count(-size_bytes, -needed_blocks, -1)
            raise
        address = 0
        if end != NO_BLOCK:
            self.next_alloc = end
            address = self._commit(end - needed_blocks, needed_blocks, size_bytes, layout_word)
        return address if searches == 1 else self._embedder.finish_allocation(address, asked_bytes)

    def _find_room(self, needed_blocks: int) -> tuple[int, int]:
        """The block past a run of free blocks, or ``NO_BLOCK``, and how many times the heap was searched.

        The loop of TinyGo's ``runtime.alloc``, with its policies asked of the embedder.

        The run found just before ``next_alloc`` carries over a collection and a growth; it never wraps.
        """
        index = self.next_alloc
        run_blocks = 0
        heap_scan_count = 0
        while True:
            if index == self.next_alloc:
                heap_scan_count += 1
                if heap_scan_count == 2:
                    # The whole heap has been searched.
                    free_bytes = self._embedder.on_exhausted()
                    if free_bytes < self._geometry.pool_bytes // 3:
                        # Keep a third of headroom, or the next collections would come ever closer together.
                        self._embedder.grow(needed_blocks)
                elif heap_scan_count > 2 and not self._embedder.grow(needed_blocks):
                    return NO_BLOCK, heap_scan_count
            if index == self._geometry.end_block:
                # Also where the heap has no block at all: the next turn collects, then grows.
                index = 0
                run_blocks = 0
                continue
            run_blocks = run_blocks + 1 if self.state(index) is State.FREE else 0
            index += 1
            if run_blocks == needed_blocks:
                return index, heap_scan_count

    def find_run(self, first: int, last: int, needed_blocks: int, run_blocks: int) -> tuple[int, int]:
        for block in range(first, last):
            run_blocks = run_blocks + 1 if self.state(block) is State.FREE else 0
            if run_blocks == needed_blocks:
                return block + 1, run_blocks
        return NO_BLOCK, run_blocks

    def _commit(self, head: int, needed_blocks: int, size_bytes: int, layout_word: int) -> int:
        """Write an object's states, its layout and its zeros; returns its address for the mutator."""
        address = self._geometry.address_of(head)
        self._set_state(head, State.HEAD)
        for block in range(head + 1, head + needed_blocks):
            self._set_state(block, State.TAIL)
        clear_bytes = needed_blocks * self._geometry.block_bytes if self._options.clear_blocks else size_bytes
        if self._precise:
            # The header's padding keeps its old bytes.
            self._store(address, layout_word)
            header_bytes = self._shape.header_bytes
            address += header_bytes
            clear_bytes -= header_bytes
        self._fill(address, clear_bytes)
        return address

    def _alloc_leaking(self, size_bytes: int) -> int:
        """Bump a pointer (``gc_leaking.go``); growing when the heap's last byte would be used, too."""
        self._check_no_interrupt()
        align = max(self._geometry.header_alignment_bytes, self._geometry.word_bytes)
        size_bytes = -(-size_bytes // align) * align
        self._count(size_bytes, 0)
        while self._bump_address + size_bytes >= self._geometry.end_address:
            try:
                has_grown = self._embedder.grow(self._geometry.blocks_for(size_bytes))
            except BaseException:
                # As if nothing had been asked.
                self._count(-size_bytes, 0, -1)
                raise
            if not has_grown:
                return self._embedder.finish_allocation(0, size_bytes)
        address = self._bump_address
        self._bump_address += size_bytes
        self._fill(address, size_bytes)
        return address

    def realloc(self, address: int, size_bytes: int) -> int:
        if self._options.gc is Gc.LEAKING:
            return self._realloc_leaking(address, self._checked_size(size_bytes))
        return super().realloc(address, size_bytes)

    def _end_of_body(self, address: int) -> int:
        return self._geometry.address_of(self.find_next(self._geometry.block_of(address)))

    def _realloc_leaking(self, address: int, size_bytes: int) -> int:
        new_address = self.alloc(size_bytes)
        if new_address and self._geometry.start_address <= address < new_address:
            # The old size is not known; what lies behind the object is copied too.
            self._copy(new_address, address, size_bytes)
        return new_address

    # ---- mark -------------------------------------------------------------------------------------------------------

    def _mark_root(self, root: int) -> None:
        head = self._unmarked_head(root)
        if head != NO_BLOCK:
            self._debug(f"found unmarked pointer {root:#x}")
            self._start_mark(head)

    def _met_free_memory(self, word: int) -> None:
        self._debug(f"found reference to free memory: {word:#x}")

    def _start_mark(self, root: int) -> None:
        """Mark an object and all that it leads to, as far as the mark stack holds them."""
        self._set_state(root, State.MARK)
        self._scan_from(root)

    def _scan_from(self, root: int) -> None:
        """Scan an object with a mark stack of its own."""
        if self._stack_image is not None and self._options.mark_stack_zeroed:
            self._stack_image[:] = bytes(len(self._stack_image))
        self._show_on_stack(0, root)
        self._scan([root])

    def use_mark_stack(self, memory: Buffer) -> None:
        self._stack_image = writable_bytes(memory)

    def _show_on_stack(self, entry: int, block: int) -> None:
        """Write an entry of the mark stack where the guest's own collector has it."""
        if self._stack_image is not None:
            self._stack_image[4 * entry : 4 * entry + 4] = block.to_bytes(4, "little")

    def _scan(self, stack: list[int]) -> None:
        """Scan the objects on the mark stack, and those that they lead to."""
        while stack:
            self._mark_stack_peak = max(self._mark_stack_peak, len(stack))
            block = stack.pop()
            self._debug(f"stack popped, remaining stack: {len(stack)}")
            for address in self._pointer_addresses(block):
                head = self._unmarked_head(self._load(address))
                if head == NO_BLOCK:
                    continue
                self._debug(f"marking block: {head}")
                self._set_state(head, State.MARK)
                if len(stack) == self._mark_stack_entries:
                    # Its children are not known; all marked objects must be scanned again.
                    self._overflows += 1
                    self._stack_overflow = True
                    self._debug("gc stack overflowed")
                else:
                    self._show_on_stack(len(stack), head)
                    stack.append(head)

    def mark_children(self, head: int) -> None:
        self._scan_from(head)

    def _pointer_addresses(self, head: int) -> Iterator[int]:
        """Addresses of the words of an object that may hold a pointer."""
        geometry = self._geometry
        step = geometry.word_alignment_bytes
        start, end = geometry.address_of(head), geometry.address_of(self.find_next(head))
        if not self._precise:
            self._words_scanned += (end - start) // step
            # With overlapping words (AVR) the last reads reach into what follows the object, as in the original.
            yield from range(start, end, step)
            return
        size, bitmap = self._read_layout(head)
        if bitmap == 0:
            return
        start += self._shape.header_bytes
        self._words_scanned += max(0, end - start) // step
        for index, address in enumerate(range(start, end, step)):
            if bitmap >> (index % size if size else index) & 1:
                yield address

    def finish_mark(self) -> int:
        while self._stack_overflow:
            self._stack_overflow = False
            self._rescans += 1
            for block in range(self._geometry.end_block):
                if self.state(block) is State.MARK:
                    self._start_mark(block)
        return self._taken_unreadable()

    def unmark(self) -> None:
        self._stack_image = None
        self._stack_overflow = False
        super().unmark()

    # ---- sweep ------------------------------------------------------------------------------------------------------

    def sweep(self) -> int:
        self._stack_image = None
        freed_blocks = 0
        free_blocks = 0
        free_current_object = False
        for block in range(self._geometry.end_block):
            match self.state(block):
                case State.HEAD:
                    # Not reached: the object goes, and the tails that follow.
                    self._mark_free(block)
                    free_current_object = True
                    self._frees += 1
                    freed_blocks += 1
                case State.TAIL:
                    if free_current_object:
                        self._mark_free(block)
                        freed_blocks += 1
                case State.MARK:
                    self._unmark(block)
                    free_current_object = False
                case State.FREE:
                    free_blocks += 1
        self._freed_blocks += freed_blocks
        return (free_blocks + freed_blocks) * self._geometry.block_bytes

    # ---- looking ----------------------------------------------------------------------------------------------------

    def _is_orphan(self, tail: int) -> bool:
        return tail == 0 or self.state(tail - 1) is State.FREE
