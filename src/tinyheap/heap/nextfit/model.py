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

from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from tinyheap.errors import HeapCorruptError, InterruptError, InvalidAddressError, InvalidSizeError
from tinyheap.heap.arguments import shown, whole_number
from tinyheap.heap.buffers import Buffer, writable_bytes
from tinyheap.heap.contract import (
    IN_INTERRUPT,
    NO_BLOCK,
    Census,
    Counters,
    Embedder,
    Gc,
    Options,
    State,
    Statics,
)
from tinyheap.heap.geometry import BLOCKS_PER_TABLE_BYTE, Geometry
from tinyheap.ownership import SoleOwner

STATE_BITS: Final = 2
STATE_MASK: Final = 3
MARK_STACK_WORDS: Final = 8
"""The original's mark stack holds so many words' worth of entries (4 up to TinyGo 0.33)."""
SIZE_LIMIT_BYTES: Final = 1 << 62
"""Sizes stay below it even where words have 64 bits, so that sums of them do not wrap."""
SIZE_FIELD_BITS: Final = {2: 4, 4: 5, 8: 6}
"""Bits of an inline layout's size field, by word size in bytes."""


class Model(SoleOwner):
    """An engine in plain Python; see ``contract.Engine`` for what each method promises.

    Args:
        memory: writable, at least ``geometry.heap_bytes`` long; its first byte is the heap's first.
        debug: called with a line for each step, as the original prints under ``gcDebug``.
    """

    def __init__(
        self,
        memory: Buffer,
        geometry: Geometry,
        options: Options,
        statics: Statics,
        embedder: Embedder,
        debug: Callable[[str], None] | None = None,
    ) -> None:
        self._memory = writable_bytes(memory)
        self._geometry = geometry
        self._options = options
        self._statics = statics
        self._embedder = embedder
        self._debug = debug or (lambda line: None)
        self._precise = options.gc is Gc.PRECISE
        self._mark_stack_entries = options.mark_stack_entries or MARK_STACK_WORDS * geometry.word_bytes
        self._stack_image: memoryview | None = None
        self._stack_overflow = False
        self._unreadable_layout = NO_BLOCK
        self._bump_address = geometry.start_address
        self.next_alloc = 0
        self.in_interrupt = False
        self.guarded = False
        self.zero_size_address = 0
        self._total_alloc_bytes = self._total_blocks = self._mallocs = self._frees = self._freed_blocks = 0
        self._overflows = self._rescans = self._table_reads = self._words_scanned = self._mark_stack_peak = 0

    @property
    def geometry(self) -> Geometry:
        return self._geometry

    @property
    def bump_address(self) -> int:
        """Where the leaking collector's next object goes."""
        return self._bump_address

    @property
    def counters(self) -> Counters:
        return Counters(
            self._total_alloc_bytes,
            self._total_blocks,
            self._mallocs,
            self._frees,
            self._freed_blocks,
            self._overflows,
            self._rescans,
            self._table_reads,
            self._words_scanned,
            self._mark_stack_peak,
        )

    def release_memory(self) -> None:
        self._memory.release()

    def move_memory(self, memory: Buffer) -> None:
        self._memory.release()
        self._memory = writable_bytes(memory)

    # ---- memory -----------------------------------------------------------------------------------------------------

    def _load(self, address: int) -> int:
        at = address - self._geometry.start_address
        return int.from_bytes(self._memory[at : at + self._geometry.word_bytes], "little")

    def _store(self, address: int, value: int) -> None:
        at = address - self._geometry.start_address
        word_bytes = self._geometry.word_bytes
        self._memory[at : at + word_bytes] = value.to_bytes(word_bytes, "little")

    def _fill(self, address: int, size_bytes: int, byte: int = 0) -> None:
        at = address - self._geometry.start_address
        self._memory[at : at + size_bytes] = bytes([byte]) * size_bytes

    def load_word(self, address: int) -> int:
        self._check_on_heap(address, self._geometry.word_bytes)
        return self._load(address)

    def store_word(self, address: int, value: int) -> None:
        self._check_on_heap(address, self._geometry.word_bytes)
        self._store(address, value & (self._geometry.address_space_bytes - 1))

    def _check_on_heap(self, address: int, size_bytes: int) -> None:
        geometry = self._geometry
        if not 0 <= address - geometry.start_address <= geometry.pool_bytes - size_bytes:
            raise InvalidAddressError(
                f"{size_bytes} bytes at {address:#x} do not lie on the heap, "
                f"{geometry.start_address:#x}..{geometry.table_address:#x}"
            )

    # ---- blocks -----------------------------------------------------------------------------------------------------

    def _table_byte(self, block: int) -> int:
        """Offset in memory of the table byte that holds a block's state."""
        return self._geometry.pool_bytes + block // BLOCKS_PER_TABLE_BYTE

    def state(self, block: int) -> State:
        self._table_reads += 1
        byte = self._memory[self._table_byte(block)]
        return State(byte >> (block % BLOCKS_PER_TABLE_BYTE) * STATE_BITS & STATE_MASK)

    def _set_state(self, block: int, state: State) -> None:
        """Set a state that has more bits than the present one: free to any, head to mark."""
        self._memory[self._table_byte(block)] |= state << (block % BLOCKS_PER_TABLE_BYTE) * STATE_BITS
        self._assert(self.state(block) is state, block, f"could not become {state.name.lower()}")

    def _mark_free(self, block: int) -> None:
        """Free a block, whatever it was."""
        self._memory[self._table_byte(block)] &= ~(STATE_MASK << (block % BLOCKS_PER_TABLE_BYTE) * STATE_BITS)
        if self._options.asserts:
            geometry = self._geometry
            self._fill(geometry.address_of(block), geometry.block_bytes, self._options.poison_byte)

    def _unmark(self, block: int) -> None:
        """A marked block becomes a head."""
        self._assert(self.state(block) is State.MARK, block, "is not marked")
        tail_bit = State.MARK ^ State.HEAD
        self._memory[self._table_byte(block)] &= ~(tail_bit << (block % BLOCKS_PER_TABLE_BYTE) * STATE_BITS)

    def _assert(self, condition: bool, block: int, what: str) -> None:
        if self._options.asserts and not condition:
            raise HeapCorruptError(
                f"block {block} at {self._geometry.address_of(block):#x} is {self.state(block).name.lower()} and {what}"
            )

    def find_head(self, block: int) -> int:
        while block >= 0 and self.state(block) is State.TAIL:
            block -= 1
        return block

    def find_next(self, block: int) -> int:
        end_block = self._geometry.end_block
        if block < end_block and self.state(block) in (State.HEAD, State.MARK):
            block += 1
        while block < end_block and self.state(block) is State.TAIL:
            block += 1
        return block

    def read_table(self) -> bytes:
        return bytes(self._memory[self._geometry.pool_bytes : self._geometry.heap_bytes])

    def write_table(self, table: bytes) -> None:
        self._memory[self._geometry.pool_bytes : self._geometry.heap_bytes] = table

    # ---- the heap ---------------------------------------------------------------------------------------------------

    def resize(self, heap_bytes: int) -> None:
        old = self._geometry
        table = self.read_table()
        self._geometry = old.resized(heap_bytes)
        if self._options.gc is Gc.LEAKING:
            return
        # The old table's place becomes heap and keeps its bytes, except where the new table overlaps it.
        at = self._geometry.pool_bytes
        self._memory[at : at + len(table)] = table
        self._memory[at + len(table) : heap_bytes] = bytes(self._geometry.table_bytes - len(table))

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
            size_bytes += self._geometry.header_bytes

        needed_blocks = self._geometry.blocks_for(size_bytes)
        self._total_alloc_bytes += size_bytes
        self._mallocs += 1
        self._total_blocks += needed_blocks
        try:
            end, searches = self._find_room(needed_blocks)
            if end != NO_BLOCK:
                self._debug(f"found memory: {self._geometry.address_of(end - needed_blocks):#x} {size_bytes}")
        except BaseException:
            # Not out of memory, but somebody's error while collecting: as if nothing had been asked.
            self._total_alloc_bytes -= size_bytes
            self._mallocs -= 1
            self._total_blocks -= needed_blocks
            raise
        address = 0
        if end != NO_BLOCK:
            self.next_alloc = end
            address = self._commit(end - needed_blocks, needed_blocks, size_bytes, layout_word)
        return address if searches == 1 else self._embedder.finish_allocation(address, asked_bytes)

    def alloc_many(self, addresses: array[int], size_bytes: int, layout: object = None) -> None:
        for index in range(len(addresses)):
            addresses[index] = self.alloc(size_bytes, layout)

    def _checked_size(self, size_bytes: int) -> int:
        size_bytes = whole_number("size", size_bytes)
        if not 0 <= size_bytes < min(self._geometry.address_space_bytes, SIZE_LIMIT_BYTES):
            word_bytes = self._geometry.word_bytes
            raise InvalidSizeError(f"cannot allocate {shown(size_bytes)} bytes with {word_bytes}-byte words")
        return size_bytes

    def _check_no_interrupt(self) -> None:
        if self.in_interrupt:
            raise InterruptError(IN_INTERRUPT)

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
            header_bytes = self._geometry.header_bytes
            address += header_bytes
            clear_bytes -= header_bytes
        self._fill(address, clear_bytes)
        return address

    def _alloc_leaking(self, size_bytes: int) -> int:
        """Bump a pointer (``gc_leaking.go``); growing when the heap's last byte would be used, too."""
        self._check_no_interrupt()
        align = max(self._geometry.header_alignment_bytes, self._geometry.word_bytes)
        size_bytes = -(-size_bytes // align) * align
        self._total_alloc_bytes += size_bytes
        self._mallocs += 1
        while self._bump_address + size_bytes >= self._geometry.end_address:
            try:
                has_grown = self._embedder.grow(self._geometry.blocks_for(size_bytes))
            except BaseException:
                # As if nothing had been asked.
                self._total_alloc_bytes -= size_bytes
                self._mallocs -= 1
                raise
            if not has_grown:
                return self._embedder.finish_allocation(0, size_bytes)
        address = self._bump_address
        self._bump_address += size_bytes
        self._fill(address, size_bytes)
        return address

    def realloc(self, address: int, size_bytes: int) -> int:
        size_bytes = self._checked_size(size_bytes)
        if self._options.gc is Gc.LEAKING:
            return self._realloc_leaking(address, size_bytes)
        geometry = self._geometry
        if not geometry.is_on_heap(address):
            # Nil, or the place of all objects without bytes.
            return self.alloc(size_bytes)
        end_of_tail_address = geometry.address_of(self.find_next(geometry.block_of(address)))
        # A stale address gives a negative number here, which the original reads as a large one.
        old_bytes = (end_of_tail_address - address) % geometry.address_space_bytes
        if size_bytes <= old_bytes:
            return address
        new_address = self.alloc(size_bytes)
        self._copy(new_address, address, old_bytes)
        return new_address

    def _realloc_leaking(self, address: int, size_bytes: int) -> int:
        new_address = self.alloc(size_bytes)
        if new_address and self._geometry.start_address <= address < new_address:
            # The old size is not known; what lies behind the object is copied too.
            self._copy(new_address, address, size_bytes)
        return new_address

    def _copy(self, to_address: int, from_address: int, size_bytes: int) -> None:
        if to_address == 0:
            return
        to, source = (address - self._geometry.start_address for address in (to_address, from_address))
        self._memory[to : to + size_bytes] = bytes(self._memory[source : source + size_bytes])

    def free(self, head: int) -> int:
        if self.state(head) not in (State.HEAD, State.MARK):
            raise InvalidAddressError(f"no object begins at block {head}")
        end = self.find_next(head)
        for block in range(head, end):
            self._mark_free(block)
        self._frees += 1
        self._freed_blocks += end - head
        return end - head

    # ---- mark -------------------------------------------------------------------------------------------------------

    def mark_roots(self, words: Buffer) -> None:
        view = memoryview(words).cast("B")
        word_bytes = self._geometry.word_bytes
        # The end is lowered, so that where words overlap (AVR) no read crosses it.
        for at in range(0, len(view) - word_bytes + 1, self._geometry.word_alignment_bytes):
            self._mark_root(int.from_bytes(view[at : at + word_bytes], "little"))

    def mark_addresses(self, addresses: Sequence[int]) -> None:
        for address in addresses:
            self._mark_root(address)

    def _mark_root(self, root: int) -> None:
        head = self._unmarked_head(root)
        if head != NO_BLOCK:
            self._debug(f"found unmarked pointer {root:#x}")
            self._start_mark(head)

    def _unmarked_head(self, word: int) -> int:
        """The head of the object that a word refers to, if there is one and it has not been reached before."""
        geometry = self._geometry
        if not geometry.is_on_heap(word):
            return NO_BLOCK
        block = geometry.block_of(word)
        if self.state(block) is State.FREE:
            # Dangling, or (more likely) a number that looks like an address.
            self._debug(f"found reference to free memory: {word:#x}")
            return NO_BLOCK
        head = self.find_head(block)
        if head == NO_BLOCK or self.state(head) is State.FREE:
            raise HeapCorruptError(f"block {block} at {geometry.address_of(block):#x} is a tail without a head")
        return NO_BLOCK if self.state(head) is State.MARK else head

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
        start += geometry.header_bytes
        self._words_scanned += max(0, end - start) // step
        for index, address in enumerate(range(start, end, step)):
            if bitmap >> (index % size if size else index) & 1:
                yield address

    def _read_layout(self, head: int) -> tuple[int, int]:
        """An object's layout as ``(size, bitmap)``: the pattern's length in words and its bits, lowest first."""
        layout_word = self._load(self._geometry.address_of(head))
        if layout_word == 0:
            return 1, 1
        if layout_word & 1:
            size_bits = SIZE_FIELD_BITS[self._geometry.word_bytes]
            return layout_word >> 1 & (1 << size_bits) - 1, layout_word >> 1 + size_bits
        return self._read_static_layout(head, layout_word)

    def _read_static_layout(self, head: int, address: int) -> tuple[int, int]:
        """A layout outside the heap: a size word, then the bitmap's bytes."""
        memory, at = self._statics.memory, address - self._statics.start_address
        word_bytes = self._geometry.word_bytes
        if 0 <= at <= len(memory) - word_bytes:
            size = int.from_bytes(memory[at : at + word_bytes], "little")
            bitmap_at, bitmap_bytes = at + word_bytes, (size + 7) // 8
            if size > 0 and bitmap_at + bitmap_bytes <= len(memory):
                return size, int.from_bytes(memory[bitmap_at : bitmap_at + bitmap_bytes], "little")
        if self._unreadable_layout == NO_BLOCK:
            self._unreadable_layout = head
        return 1, 0

    def finish_mark(self) -> int:
        while self._stack_overflow:
            self._stack_overflow = False
            self._rescans += 1
            for block in range(self._geometry.end_block):
                if self.state(block) is State.MARK:
                    self._start_mark(block)
        unreadable, self._unreadable_layout = self._unreadable_layout, NO_BLOCK
        return unreadable

    def unmark(self) -> None:
        self._stack_image = None
        self._stack_overflow = False
        self._unreadable_layout = NO_BLOCK
        for block in range(self._geometry.end_block):
            if self.state(block) is State.MARK:
                self._unmark(block)

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

    def check_table(self, most: int = 16) -> list[int]:
        wrong = []
        before = State.FREE
        for block in range(self._geometry.table_bytes * BLOCKS_PER_TABLE_BYTE):
            state = self.state(block)
            orphan = state is State.TAIL and before is State.FREE
            beyond = state is not State.FREE and block >= self._geometry.end_block
            if orphan or beyond or state is State.MARK:
                wrong.append(block)
                if len(wrong) == most:
                    break
            before = state
        return wrong

    def check_layouts(self, most: int = 16) -> list[int]:
        wrong: list[int] = []
        for block in range(self._geometry.end_block if self._precise else 0):
            if self.state(block) in (State.HEAD, State.MARK):
                self._read_layout(block)
                if self._unreadable_layout != NO_BLOCK:
                    wrong.append(block)
                    self._unreadable_layout = NO_BLOCK
        return wrong[:most]

    def check_poison(self, most: int = 16) -> list[int]:
        geometry = self._geometry
        poison = bytes([self._options.poison_byte]) * geometry.block_bytes
        wrong = []
        for block in range(geometry.end_block):
            at = block * geometry.block_bytes
            if self.state(block) is State.FREE and self._memory[at : at + geometry.block_bytes] != poison:
                wrong.append(block)
        return wrong[:most]

    def poison_free(self) -> None:
        for block in range(self._geometry.end_block):
            if self.state(block) is State.FREE:
                self._mark_free(block)

    def census(self) -> Census:
        counts = dict.fromkeys(State, 0)
        runs = largest_run = run = 0
        for block in range(self._geometry.end_block):
            state = self.state(block)
            counts[state] += 1
            if state is State.FREE:
                run += 1
                runs += run == 1
                largest_run = max(largest_run, run)
            else:
                run = 0
        return Census(counts[State.FREE], counts[State.HEAD], counts[State.TAIL], counts[State.MARK], runs, largest_run)
