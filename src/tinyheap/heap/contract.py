"""The contract of an engine: what the model and the kernel both do, and what they ask of their embedder.

An *engine* owns a block table and the memory under it.  It finds room, commits it to objects, marks, sweeps and counts;
every decision that a user may influence (roots, growth, listeners) is its *embedder's*.

States of a block, two bits each, four blocks in a byte of the table (`collectors.Encoding` says where)::

    00 free    01 head (one of an object's blocks)    10 tail (its other blocks)    11 mark (a head that was reached)

    0b10_10_01_00  in pairs, 0b1100_0010  in planes:     blocks 0..3 are free, head, tail, tail      drawn  ·*--

Which block of an object is its head, and where in its blocks the header and the body lie, differs between collectors
(`collectors`), and stands in `Engine.shape`.  `Engine.extent` gives the blocks of the object that a block belongs to.

Transitions: free to head or tail (allocation), head to mark (mark), mark to head and head or tail to free (sweep).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, Final, NamedTuple, Protocol

from tinyheap.heap.buffers import Buffer
from tinyheap.heap.collectors import Collector, ObjectShape
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
    """What a collector takes for pointers, by the name that TinyGo's ``-gc`` option gives it."""

    CONSERVATIVE = "conservative"
    """Every aligned word of an object may be a pointer."""
    PRECISE = "precise"
    """A word of an object's header, its layout, says which words may be pointers."""
    LEAKING = "leaking"
    """A bump pointer; nothing is ever freed."""


@dataclass(frozen=True, slots=True)
class Options:
    """How an engine works; one for its whole life.

    Args:
        gc: what is taken for pointers.
        mark_stack_entries: size of the bounded mark stack of next-fit's original, with overflows and rescans; 0 for a mark
            stack that never overflows.  Survivors are the same either way.  Other collectors have no mark stack.
        clear_blocks: clear an object's blocks whole, not only the bytes asked for (closes the known leak of next-fit's
            original).  Other collectors always do.
        mark_stack_zeroed: whether the bounded mark stack is cleared for each root, as some compilers do.  To be seen only
            by who reads `Engine.mark_stack`.
        asserts: make the checks of the original's ``gcAsserts``, and poison freed blocks.
        poison_byte: what freed blocks are filled with under ``asserts``.
        collector: which one; an engine may serve several.
    """

    gc: Gc = Gc.CONSERVATIVE
    mark_stack_entries: int = 0
    mark_stack_zeroed: bool = False
    clear_blocks: bool = False
    asserts: bool = False
    poison_byte: int = 0
    collector: Collector = Collector.NEXT_FIT


class Counters(NamedTuple):
    """What an engine counted since it was made.

    The first five follow the original and are equal in both engines; so are ``overflows`` and ``rescans`` where the mark
    stack is bounded (where there is none they stay 0).  The last three are work counters: how much an engine read, which is
    where engines differ.  An allocation that finds no room counts as one.
    """

    total_alloc_bytes: int
    """As asked for; in next-fit with the headers."""
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
    """The most entries that the mark stack, or the list of what is yet to be scanned, ever held."""
    collections: int = 0
    """Sweeps; counted where there is a free list."""


class Census(NamedTuple):
    """The blocks of a heap, counted."""

    free_blocks: int
    heads: int
    tails: int
    marks: int
    free_runs: int
    largest_free_run_blocks: int


class MarkingEnd(NamedTuple):
    """What a marking did last, of each kind; the original leaves traces of it on a guest's stack."""

    scanned: int = NO_BLOCK
    """Head of the object that was scanned last, objects apart whose layout says that they hold no pointers."""
    found: int = 0
    """The address of the block that was referred to when an object was marked last that was not marked before; 0 for none."""
    layout: int = 0
    """The out-of-line layout word that was read last; 0 for none."""
    has_several: bool = False
    """Whether an object of more than one block was scanned."""
    whole: int = NO_BLOCK
    """Head of the object that was scanned last of those all of whose words may be pointers."""
    inline: int = NO_BLOCK
    """The same of those with an inline layout."""
    outside: int = NO_BLOCK
    """The same of those with an out-of-line layout."""


class LastLeads(NamedTuple):
    """How far the original followed words that it looked at one after another: for each step the last word that took it there.

    Each is one of the words, or 0 for none; a word that leads to one of these leads to all before it.
    """

    upward: int = 0
    """It is no lower than the heap."""
    to_block: int = 0
    """It lies in a block."""
    to_used: int = 0
    """That block is not free."""
    to_object: int = 0
    """The block is an object's, whose head was found."""
    inside: int = 0
    """The head is another block."""


class Embedder(Protocol):
    """What owns an engine, and is asked by it when an allocation finds no room."""

    def on_exhausted(self) -> int:
        """Collect, because the heap was searched whole; return the free bytes after the sweep."""

    def grow(self, needed_blocks: int) -> bool:
        """Make the heap larger; False when it cannot be."""

    def finish_allocation(self, address: int, size_bytes: int) -> int:
        """End an allocation that had to ask: its address, or 0 where there was no room.  Returns what the mutator gets.

        This is where finalizers run, and whatever they ask of the engine.  Collectors with a free list call it when the
        object's blocks and header are set up, and clear its body afterwards, as the original does.
        """

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
    def collector(self) -> Collector:
        """Which one this is."""

    @property
    def shape(self) -> ObjectShape:
        """How its objects lie in their blocks."""

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
        """Replace the table, forgetting all that was remembered about it; for adopting a heap and for tests.

        A free list is built anew, as a sweep does.
        """

    def find_head(self, block: int) -> int:
        """The nearest block at or below that is not a tail, at or above where heads are last.

        ``NO_BLOCK`` when there is none.
        """

    def extent(self, block: int) -> tuple[int, int]:
        """The first block of the object that a block belongs to, and the block past its last.

        The block is the object's head, or a tail of it in a sound table; anything else gives no sense, and no error.
        """

    def free_ranges(self) -> list[tuple[int, int]]:
        """Free ranges, ``(first block, blocks)`` each: in the free list's order, or by address where there is no list.

        Raises:
            HeapCorruptError: the free list was overwritten.
        """

    def check_table(self, most: int = 16) -> list[int]:
        """Blocks that no sequence of allocations leaves: tails of no object, marks, states past the end."""

    def check_layouts(self, most: int = 16) -> list[int]:
        """Heads of precise objects whose layout word is an address where no layout lies."""

    def check_poison(self, most: int = 16) -> list[int]:
        """Free blocks that hold something else than poison, nodes of the free list apart; only under asserts."""

    def poison_free(self) -> None:
        """Poison all free blocks, nodes of the free list apart; only under asserts."""

    def census(self) -> Census:
        """Count blocks and free runs."""

    # The mutator's side.
    def alloc(self, size_bytes: int, layout: object = None) -> int:
        """The address of a new object; when there was no room at once, what `Embedder.finish_allocation` makes of it.

        Collectors with a free list check what they take from it: the lengths of the nodes that they walk over rise, each
        node lies at the start of a free block and its range on the heap, and what the object takes is free, as is the block
        behind it where a shorter range is left; where an outer node goes, the next one is as these.

        Args:
            size_bytes: without the header.
            layout: None for the word 0; anything else is for `Embedder.layout_word` to read.

        Raises:
            InvalidSizeError: the size is negative or beyond the address space.
            InvalidTypeError: it is not a whole number.
            AllocationInInterruptError: not now.
            HeapCorruptError: the free list was overwritten; nothing was allocated (`freelist.damaged` makes the error).
        """

    def alloc_many(self, addresses: array[int], size_bytes: int, layout: object = None) -> None:
        """Fill an array of 64-bit integers with the addresses of new objects, as `alloc` makes them one by one."""

    def realloc(self, address: int, size_bytes: int) -> int:
        """The address of an object at least as large with the same bytes; 0 when `alloc` returns that."""

    def free(self, head: int) -> int:
        """Free the object whose head is ``head``; returns its blocks.

        In a free list they become one range of their own, even where free blocks lie beside it.

        Raises:
            InvalidAddressError: no object begins there.
        """

    def load_word(self, address: int) -> int:
        """The word at an address of the pool."""

    def store_word(self, address: int, value: int) -> None:
        """Write a word at an address of the pool."""

    # A collection's steps, in this order; see ``Heap.collect``.
    def mark_roots(self, words: Buffer) -> None:
        """Mark from each word of a buffer that looks like a heap address.

        Collectors without a mark stack only chain what they find through the link words of headers, last in, first out, and
        scan it in `finish_mark`.
        """

    def mark_addresses(self, addresses: Sequence[int]) -> None:
        """Mark from addresses one by one."""

    def mark_children(self, head: int) -> None:
        """Mark from what an object refers to, not the object itself."""

    def finish_mark(self) -> int:
        """Scan what is chained, or rescan while the mark stack overflowed.

        Returns the head of an object whose layout word cannot be read, or ``NO_BLOCK``.
        """

    def unmark(self) -> None:
        """Give up a collection: marks become heads again."""

    def sweep(self) -> int:
        """Free what is not marked, and build the free list anew where there is one; returns the free bytes.

        Under asserts all free blocks are poisoned before the list is written into them.
        """

    def resize(self, heap_bytes: int) -> None:
        """Move the table to the end of a larger heap; the memory is there already, and zero where a guest's would be.

        The free list is built anew (best-fit-front), or the new blocks become one range of it (best-fit-back).
        """


class NextFitEngine(Engine, Protocol):
    """An engine that searches its table for room, and has a mark stack."""

    next_alloc: int
    """Block where the next search begins."""

    def find_next(self, block: int) -> int:
        """The first block past the object, or past the tails, that begin at ``block``."""

    def find_run(self, first: int, last: int, needed_blocks: int, run_blocks: int) -> tuple[int, int]:
        """Search ``first..last`` for free blocks, ``run_blocks`` of which were found just before ``first``.

        Returns the block past the first run of ``needed_blocks`` (``NO_BLOCK`` where there is none) and the length of
        the free run that ends there, or at ``last``.
        """

    def use_mark_stack(self, memory: Buffer) -> None:
        """Keep the bounded mark stack in this memory until the sweep: 4 bytes an entry, a block's index in each.

        A guest's own collector keeps it on the guest's stack, where it can be seen after the collection, and even by the
        collection itself, when the stack is an object of the heap.
        """


class BestFitEngine(Engine, Protocol):
    """An engine that takes room from its free list, which lies in the free blocks themselves.

    The list has two levels.  The outer list has a node for each length of range that occurs, the shortest first; a node
    lies at the start of its range.  Further ranges of that length are on the node's inner list, the last one inserted
    first::

        free_list -> | 2 | ---+-> | 5 | ---+-> | 9 | 0 | 0 |     length in blocks, next longer, first of the same length
                     | inner  |   | inner  |
                       -> | next | -> | 0 |                      next of the same length
    """

    free_list: int
    """Address of the outer list's first node, the original's ``freeRanges``; 0 for an empty list.

    Writing it takes over a list that lies in the free blocks already.
    """

    @property
    def marking_end(self) -> MarkingEnd:
        """What was done last while marking, since the last sweep."""

    def last_leads(self, words: Buffer) -> LastLeads:
        """How far words lead in the heap as it is, each by itself; a piece of a word at the end is left out."""
