"""The contract of an engine: what the model and the kernel both do, and what they ask of their embedder.

An *engine* owns a block table and the memory under it.  It finds runs, commits them, marks, sweeps and counts; every
decision that a user may influence (which roots there are, how far the heap may grow, who listens) is its *embedder's*.

States of a block, two bits each, block b in bits ``2 * (b % 4)`` of table byte ``b // 4``::

    00 free    01 head (an object's first block)    10 tail (its other blocks)    11 mark (a head that was reached)

    b0 = 0b10_10_01_00      blocks 0..3:  free, head, tail, tail      drawn  ·*--

Transitions: free to head or tail (allocation), head to mark (mark), mark to head and head or tail to free (sweep).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, Final, NamedTuple, Protocol

from tinyheap.heap.buffers import Buffer
from tinyheap.heap.geometry import Geometry

NO_BLOCK: Final = -1
IN_INTERRUPT: Final = "heap alloc in interrupt: allocate before entering it, or defer the work to a task"


class State(IntEnum):
    """The four states of a block, as the table holds them."""

    FREE = 0
    HEAD = 1
    TAIL = 2
    MARK = 3

    @property
    def glyph(self) -> str:
        """How the original's ``dumpHeap`` draws it."""
        return "·*-#"[self]


class Gc(StrEnum):
    """Which collector, by the name that TinyGo's ``-gc`` option gives it."""

    CONSERVATIVE = "conservative"
    """Every aligned word of an object may be a pointer."""
    PRECISE = "precise"
    """An object's first word, its layout, says which words may be pointers."""
    LEAKING = "leaking"
    """A bump pointer; nothing is ever freed."""


@dataclass(frozen=True, slots=True)
class Options:
    """How an engine works; one for its whole life.

    Args:
        gc: which collector.
        mark_stack_entries: size of the original's bounded mark stack, with overflows and rescans; 0 for a mark stack that
            never overflows.  Survivors are the same either way.
        clear_blocks: clear an object's blocks whole, not only the bytes asked for (closes the original's known leak).
        mark_stack_zeroed: whether the bounded mark stack is cleared for each root, as some compilers do.  To be seen only
            by who reads `Engine.mark_stack`.
        asserts: make the checks of the original's ``gcAsserts``, and poison freed blocks.
        poison_byte: what freed blocks are filled with under ``asserts``.
    """

    gc: Gc = Gc.CONSERVATIVE
    mark_stack_entries: int = 0
    mark_stack_zeroed: bool = False
    clear_blocks: bool = False
    asserts: bool = False
    poison_byte: int = 0


class Counters(NamedTuple):
    """What an engine counted since it was made.

    The first five are the original's own and equal in both engines; so are ``overflows`` and ``rescans`` where the mark
    stack is bounded.  The last three are work counters: how much an engine read, which is where engines differ.
    """

    total_alloc_bytes: int
    total_blocks: int
    mallocs: int
    frees: int
    freed_blocks: int
    overflows: int
    rescans: int
    table_reads: int
    """Reads of the block table while searching and sweeping: bytes for the model, 64-bit words for the kernel."""
    words_scanned: int
    mark_stack_peak: int
    """The most entries that the mark stack ever held."""


class Census(NamedTuple):
    """The blocks of a heap, counted."""

    free_blocks: int
    heads: int
    tails: int
    marks: int
    free_runs: int
    largest_free_run_blocks: int


class Embedder(Protocol):
    """What owns an engine, and is asked by it when an allocation finds no room."""

    def on_exhausted(self) -> int:
        """Collect, because the heap was searched whole; return the free bytes after the sweep."""

    def grow(self, needed_blocks: int) -> bool:
        """Make the heap larger; False when it cannot be."""

    def finish_allocation(self, address: int, size_bytes: int) -> int:
        """End an allocation that had to ask: its address, or 0 where there was no room.  Returns what the mutator gets."""

    def layout_word(self, layout: Any, size_bytes: int) -> int:  # noqa: ANN401 - each heap has its own kinds
        """The layout word for what an allocation was given as its layout."""


class Statics(Protocol):
    """Bytes at addresses outside the heap, where out-of-line layouts lie."""

    @property
    def start_address(self) -> int:
        """Of the first byte, for the mutator."""

    @property
    def memory(self) -> bytearray | memoryview:
        """The bytes."""


class Engine(Protocol):
    """One block mark/sweep collector over flat memory.

    Addresses are the mutator's.  Blocks are indices.  An engine checks what would take it out of its memory; whether a
    request makes sense (is this an object's start? is this the time?) is for ``Heap`` to find out, by the same primitives
    and by its `monitor`.
    """

    next_alloc: int
    """Block where the next search begins."""
    in_interrupt: bool
    guarded: bool
    """True while an operation runs (see `monitor`); the kernel's ``alloc_at_once`` asks for permission then."""
    zero_size_address: int

    def __init__(
        self, memory: Buffer, geometry: Geometry, options: Options, statics: Statics, embedder: Embedder
    ) -> None: ...

    @property
    def geometry(self) -> Geometry:
        """Where things lie now."""

    @property
    def counters(self) -> Counters:
        """What was counted so far."""

    @property
    def bump_address(self) -> int:
        """Where the leaking collector's next object goes."""

    def release_memory(self) -> None:
        """Let go of the buffer; the engine cannot be used before `move_memory` gives it another."""

    def move_memory(self, memory: Buffer) -> None:
        """The same bytes, and maybe more of them, lie elsewhere now, as after the growth of a guest's memory."""

    # The block table.
    def state(self, block: int) -> State:
        """The state of a block that the table covers."""

    def read_table(self) -> bytes:
        """A copy of the block table."""

    def write_table(self, table: bytes) -> None:
        """Replace the table, forgetting all that was remembered about it; for adopting a heap and for tests."""

    def find_head(self, block: int) -> int:
        """The nearest block at or below that is no tail; ``NO_BLOCK`` when there is none."""

    def find_next(self, block: int) -> int:
        """The first block past the object, or past the tails, that begin at ``block``."""

    def find_run(self, first: int, last: int, needed_blocks: int, run_blocks: int) -> tuple[int, int]:
        """Search ``first..last`` for free blocks, ``run_blocks`` of which were found just before ``first``.

        Returns the block past the first run of ``needed_blocks`` (``NO_BLOCK`` where there is none) and the length of
        the free run that ends there, or at ``last``.
        """

    def check_table(self, most: int = 16) -> list[int]:
        """Blocks that no sequence of allocations leaves: tails that follow no object, marks, states past the end."""

    def check_layouts(self, most: int = 16) -> list[int]:
        """Heads of precise objects whose layout word is an address where no layout lies."""

    def check_poison(self, most: int = 16) -> list[int]:
        """Free blocks that hold something else than poison; only where the options ask for asserts."""

    def poison_free(self) -> None:
        """Poison all free blocks; only where the options ask for asserts."""

    def census(self) -> Census:
        """Count blocks and free runs."""

    # The mutator's side.
    def alloc(self, size_bytes: int, layout: object = None) -> int:
        """The address of a new object; when there was no room at once, what `Embedder.finish_allocation` makes of it.

        Args:
            size_bytes: without the header of precise objects.
            layout: None for the word 0; anything else is for `Embedder.layout_word` to read.

        Raises:
            InvalidSizeError: the size is negative or beyond the address space.
            InvalidTypeError: it is no whole number.
            InterruptError: not now.
        """

    def alloc_many(self, addresses: array[int], size_bytes: int, layout: object = None) -> None:
        """Fill an array of 64-bit integers with the addresses of new objects, as `alloc` makes them one by one."""

    def realloc(self, address: int, size_bytes: int) -> int:
        """The address of an object at least as large with the same bytes; 0 when `alloc` returns that."""

    def free(self, head: int) -> int:
        """Free the object whose head is ``head``; returns its blocks.

        Raises:
            InvalidAddressError: no object begins there.
        """

    def load_word(self, address: int) -> int:
        """The word at an address of the pool."""

    def store_word(self, address: int, value: int) -> None:
        """Write a word at an address of the pool."""

    # A collection's steps, in this order; see ``Heap.collect``.
    def use_mark_stack(self, memory: Buffer) -> None:
        """Keep the bounded mark stack in this memory until the sweep: 4 bytes an entry, a block's index in each.

        A guest's own collector keeps it on the guest's stack, where it can be seen after the collection, and even by the
        collection itself, when the stack is an object of the heap.
        """

    def mark_roots(self, words: Buffer) -> None:
        """Mark from each word of a buffer that looks like a heap address."""

    def mark_addresses(self, addresses: Sequence[int]) -> None:
        """Mark from addresses one by one."""

    def mark_children(self, head: int) -> None:
        """Mark from what an object refers to, not the object itself."""

    def finish_mark(self) -> int:
        """Rescan while the mark stack overflowed; returns the block of an unreadable layout word, or ``NO_BLOCK``."""

    def unmark(self) -> None:
        """Give up a collection: marks become heads again."""

    def sweep(self) -> int:
        """Free what is not marked; returns the free bytes."""

    def resize(self, heap_bytes: int) -> None:
        """Move the table to the end of a larger heap; the memory is there already."""
