"""What the models of all collectors have in common: memory, the block table, the mutator's words, layouts, and looking.

A model is an engine in plain Python, one block at a time: the specification of its collector, written to be read next to
the original.  It says itself how its table holds a state, how an object lies in its blocks, how room is found, what
marking leaves in memory, and how it sweeps; the rest stands here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import ClassVar, Final

from tinyheap.errors import AllocationInInterruptError, HeapCorruptError, InvalidAddressError, InvalidSizeError
from tinyheap.heap.arguments import shown, whole_number
from tinyheap.heap.blockmap import free_runs_of
from tinyheap.heap.buffers import Buffer, writable_bytes
from tinyheap.heap.collectors import Collector, Encoding, ObjectShape
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
from tinyheap.heap.geometry import BLOCKS_PER_TABLE_BYTE, SIZE_FIELD_BITS, Geometry
from tinyheap.ownership import SoleOwner

SIZE_LIMIT_BYTES: Final = 1 << 62
"""Sizes stay below it even where words have 64 bits, so that sums of them do not wrap."""


@cache
def _states_at(encoding: Encoding) -> tuple[tuple[State, ...], ...]:
    """For each place in a byte of the table, the state there by the byte."""
    return tuple(tuple(map(State, encoding.states(place))) for place in range(BLOCKS_PER_TABLE_BYTE))


class BaseModel(SoleOwner, ABC):
    """The shared part of an engine in plain Python; see ``contract.Engine`` for what each method promises.

    Args:
        memory: writable, at least ``geometry.heap_bytes`` long; its first byte is the heap's first.
        debug: called with a line for each step, as the original prints under ``gcDebug``.
    """

    COLLECTOR: ClassVar[Collector]

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
        self._is_debugging = debug is not None
        self._precise = options.gc is Gc.PRECISE
        self._shape = self.COLLECTOR.shape(geometry, precise=self._precise)
        self._states_at = _states_at(self.COLLECTOR.encoding)
        self._unreadable_layout = NO_BLOCK
        self._bump_address = geometry.start_address
        self.in_interrupt = False
        self.guarded = False
        self.zero_size_address = 0
        self._total_alloc_bytes = self._total_blocks = self._mallocs = self._frees = self._freed_blocks = 0
        self._overflows = self._rescans = self._table_reads = self._words_scanned = self._mark_stack_peak = 0
        self._collections = 0

    @property
    def geometry(self) -> Geometry:
        return self._geometry

    @property
    def collector(self) -> Collector:
        return self.COLLECTOR

    @property
    def shape(self) -> ObjectShape:
        return self._shape

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
            self._collections,
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

    def _copy(self, to_address: int, from_address: int, size_bytes: int) -> None:
        if to_address == 0:
            return
        to, source = (address - self._geometry.start_address for address in (to_address, from_address))
        self._memory[to : to + size_bytes] = bytes(self._memory[source : source + size_bytes])

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

    def _bits(self, block: int, state: int) -> int:
        """The bits of a state in the table byte of a block."""
        return self.COLLECTOR.encoding.bits(block % BLOCKS_PER_TABLE_BYTE, state)

    def _table_byte(self, block: int) -> int:
        """Offset in memory of the table byte that holds a block's state."""
        return self._geometry.pool_bytes + block // BLOCKS_PER_TABLE_BYTE

    def state(self, block: int) -> State:
        self._table_reads += 1
        return self._states_at[block % BLOCKS_PER_TABLE_BYTE][self._memory[self._table_byte(block)]]

    def _set_state(self, block: int, state: State) -> None:
        """Set a state that has more bits than the present one: free to any, head to mark."""
        self._memory[self._table_byte(block)] |= self._bits(block, state)
        self._assert(self.state(block) is state, block, f"could not become {state.name.lower()}")

    def _mark_free(self, block: int) -> None:
        """Free a block, whatever it was."""
        self._memory[self._table_byte(block)] &= ~self._bits(block, State.MARK)
        if self._options.asserts:
            self._poison(block)

    def _unmark(self, block: int) -> None:
        """A marked block becomes a head."""
        self._assert(self.state(block) is State.MARK, block, "is not marked")
        self._memory[self._table_byte(block)] &= ~self._bits(block, State.MARK ^ State.HEAD)

    def _poison(self, block: int) -> None:
        geometry = self._geometry
        self._fill(geometry.address_of(block), geometry.block_bytes, self._options.poison_byte)

    def _assert(self, condition: bool, block: int, what: str) -> None:
        if self._options.asserts and not condition:
            raise HeapCorruptError(
                f"block {block} at {self._geometry.address_of(block):#x} is {self.state(block).name.lower()} and {what}"
            )

    @abstractmethod
    def find_head(self, block: int) -> int: ...

    @abstractmethod
    def extent(self, block: int) -> tuple[int, int]: ...

    def _head_below(self, block: int) -> int:
        """The nearest block at or below that is not a tail, for collectors whose heads are first."""
        while block >= 0 and self.state(block) is State.TAIL:
            block -= 1
        return block

    def _extent_from_head(self, block: int) -> tuple[int, int]:
        """`extent` for collectors whose heads are first."""
        first = max(self._head_below(block), 0)
        return first, self._end_of_tails(first + (self.state(first) in (State.HEAD, State.MARK)))

    def _end_of_tails(self, block: int) -> int:
        """The first block from one on that is not a tail."""
        while block < self._geometry.end_block and self.state(block) is State.TAIL:
            block += 1
        return block

    def read_table(self) -> bytes:
        return bytes(self._memory[self._geometry.pool_bytes : self._geometry.heap_bytes])

    def write_table(self, table: bytes) -> None:
        self._memory[self._geometry.pool_bytes : self._geometry.heap_bytes] = table

    def free_ranges(self) -> list[tuple[int, int]]:
        return free_runs_of(self.read_table(), self.COLLECTOR, self._geometry.end_block)

    def _move_table(self, heap_bytes: int) -> None:
        """Move the table to the end of a larger heap."""
        table = self.read_table()
        self._geometry = self._geometry.resized(heap_bytes)
        # The old table's place becomes heap and keeps its bytes, except where the new table overlaps it.
        at = self._geometry.pool_bytes
        self._memory[at : at + len(table)] = table
        self._memory[at + len(table) : heap_bytes] = bytes(self._geometry.table_bytes - len(table))

    # ---- allocation -------------------------------------------------------------------------------------------------

    @abstractmethod
    def alloc(self, size_bytes: int, layout: object = None) -> int: ...

    def alloc_many(self, addresses: array[int], size_bytes: int, layout: object = None) -> None:
        for index in range(len(addresses)):
            addresses[index] = self.alloc(size_bytes, layout)

    def _checked_size(self, size_bytes: int) -> int:
        size_bytes = whole_number("size", size_bytes)
        limit_bytes = min(self._geometry.address_space_bytes, SIZE_LIMIT_BYTES) - 1
        if not 0 <= size_bytes <= limit_bytes:
            raise InvalidSizeError(f"invalid size {shown(size_bytes)}: expected 0 to {limit_bytes} bytes")
        return size_bytes

    def _check_no_interrupt(self) -> None:
        if self.in_interrupt:
            raise AllocationInInterruptError(IN_INTERRUPT)

    def _count(self, size_bytes: int, blocks: int, allocations: int = 1) -> None:
        """Count an allocation; or take it back, with negative numbers."""
        self._total_alloc_bytes += size_bytes
        self._mallocs += allocations
        self._total_blocks += blocks

    def realloc(self, address: int, size_bytes: int) -> int:
        size_bytes = self._checked_size(size_bytes)
        if not self._geometry.is_on_heap(address):
            # Nil, or the place of all objects without bytes.
            return self.alloc(size_bytes)
        # A stale address gives a negative number here, which the original reads as a large one.
        old_bytes = (self._end_of_body(address) - address) % self._geometry.address_space_bytes
        if size_bytes <= old_bytes:
            return address
        new_address = self.alloc(size_bytes)
        self._copy(new_address, address, old_bytes)
        return new_address

    @abstractmethod
    def _end_of_body(self, address: int) -> int:
        """Where the bytes end that a reallocation of the object there keeps."""

    def free(self, head: int) -> int:
        if self.state(head) not in (State.HEAD, State.MARK):
            raise InvalidAddressError(f"no object begins at block {head}")
        first, end = self.extent(head)
        self._free_object(first, end)
        self._frees += 1
        self._freed_blocks += end - first
        return end - first

    def _free_object(self, first: int, end: int) -> None:
        for block in range(first, end):
            self._mark_free(block)

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

    @abstractmethod
    def _mark_root(self, root: int) -> None: ...

    @abstractmethod
    def mark_children(self, head: int) -> None: ...

    @abstractmethod
    def finish_mark(self) -> int: ...

    @abstractmethod
    def sweep(self) -> int: ...

    @abstractmethod
    def resize(self, heap_bytes: int) -> None: ...

    def _unmarked_head(self, word: int) -> int:
        """The head of the object that a word refers to, if there is one and it has not been reached before."""
        geometry = self._geometry
        if not geometry.is_on_heap(word):
            return NO_BLOCK
        block = geometry.block_of(word)
        if self.state(block) is State.FREE:
            # Dangling, or (more likely) a number that looks like an address.
            self._met_free_memory(word)
            return NO_BLOCK
        head = self.find_head(block)
        if head == NO_BLOCK or self.state(head) is State.FREE:
            raise HeapCorruptError(f"block {block} at {geometry.address_of(block):#x} is a tail without a head")
        return NO_BLOCK if self.state(head) is State.MARK else head

    def _met_free_memory(self, word: int) -> None:
        """Marking came across a reference to a free block."""

    def _read_layout(self, head: int) -> tuple[int, int]:
        """An object's layout as ``(size, bitmap)``: the pattern's length in words and its bits, lowest first."""
        layout_word = self._load(self._shape.layout_address(self._geometry, *self.extent(head)))
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
        return self._note_unreadable(head)

    def _note_unreadable(self, head: int) -> tuple[int, int]:
        """Remember an object whose layout word cannot be read; nothing in it is taken for a pointer."""
        if self._unreadable_layout == NO_BLOCK:
            self._unreadable_layout = head
        return 1, 0

    def _taken_unreadable(self) -> int:
        """The blocks that were remembered, which are cleared."""
        unreadable, self._unreadable_layout = self._unreadable_layout, NO_BLOCK
        return unreadable

    def unmark(self) -> None:
        self._unreadable_layout = NO_BLOCK
        for block in range(self._geometry.end_block):
            if self.state(block) is State.MARK:
                self._unmark(block)

    # ---- looking ----------------------------------------------------------------------------------------------------

    def check_table(self, most: int = 16) -> list[int]:
        wrong = []
        end_block = self._geometry.end_block
        for block in range(self._geometry.table_bytes * BLOCKS_PER_TABLE_BYTE):
            state = self.state(block)
            beyond = state is not State.FREE and block >= end_block
            if beyond or state is State.MARK or (state is State.TAIL and self._is_orphan(block)):
                wrong.append(block)
                if len(wrong) == most:
                    break
        return wrong

    @abstractmethod
    def _is_orphan(self, tail: int) -> bool:
        """Whether nothing but a free block, or an end of the heap, stands where the object of a tail should go on."""

    def check_layouts(self, most: int = 16) -> list[int]:
        wrong: list[int] = []
        for block in self._blocks(State.HEAD, State.MARK) if self._precise else ():
            self._read_layout(block)
            if self._taken_unreadable() != NO_BLOCK:
                wrong.append(block)
        return wrong[:most]

    def check_poison(self, most: int = 16) -> list[int]:
        geometry, kept = self._geometry, self._kept_bytes()
        poison = bytes([self._options.poison_byte]) * geometry.block_bytes
        wrong = []
        for block in self._blocks(State.FREE):
            at, skipped = block * geometry.block_bytes, kept.get(block, 0)
            if self._memory[at + skipped : at + geometry.block_bytes] != poison[skipped:]:
                wrong.append(block)
        return wrong[:most]

    def _kept_bytes(self) -> dict[int, int]:
        """How many bytes at the beginning of a free block are the collector's own, where there are any."""
        return {}

    def poison_free(self) -> None:
        for block in self._blocks(State.FREE):
            self._mark_free(block)

    def _blocks(self, *states: State) -> Iterator[int]:
        return (block for block in range(self._geometry.end_block) if self.state(block) in states)

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
