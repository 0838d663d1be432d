"""What is known of a guest: its runtime, its collector, and where in the program the heap's parts lie.

Every class here is frozen and only holds facts; `identify` finds them.  Addresses are byte addresses in linear
memory, function and global indices those of the module as it was read.  `None` means that the program has no such
thing, or that it was not found; the evidence, kept by the name of each fact, tells which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import takewhile
from typing import ClassVar

from tinyheap.heap.collectors import Collector

TABLE_DIVISOR = 65
"""Bytes of heap and table that each byte of the table stands for: 4 blocks of 16 bytes, and itself."""

OLD_TABLE_DIVISOR = 64
"""The same up to TinyGo 0.22, where the table's own bytes were not taken into account."""


class Confidence(Enum):
    """How sure a fact is."""

    CERTAIN = "certain"
    """Two independent ways agree, of which the module's names can be one."""
    LIKELY = "likely"
    """One way only, or two that disagree; then the code's shape is what counts."""
    UNKNOWN = "unknown"
    """Not found."""


@dataclass(frozen=True)
class Evidence:
    """How a fact was found, one phrase per way, and how sure that makes it."""

    confidence: Confidence
    how: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    """Those phrases that speak against the fact: something else may be it just as well."""


class StackScan(Enum):
    """How a collection finds the roots on the stack; TinyGo's `gc_stack_portable.go` by version."""

    SYSTEM = "system stack"
    """All words from the stack pointer to the stack's top, always: programs without a scheduler."""
    SYSTEM_UNLESS_TASK = "system stack unless a task runs"
    """The same, but only while the current task is nil; tasks' own stacks are heap objects."""
    SYSTEM_OR_SAVED = "system stack, from the saved stack pointer while a task runs"
    """Always, from the stack pointer or, while a task runs, from where the scheduler left it."""
    CHAIN = "chain of stack objects"
    """A linked list of {next, number of words, words...} that compiled code keeps; nothing of the stack itself."""
    UNKNOWN = "unknown"


class Role(Enum):
    """What a redirected function is called for."""

    ALLOC = "alloc"
    COLLECT = "collect"
    REALLOC = "realloc"
    """Takes an object as its first argument and its new size as the last."""


@dataclass(frozen=True)
class Frame:
    """The part of the stack that one function of a call chain takes."""

    function: int
    size_bytes: int
    """Below the stack pointer at the function's entry."""
    stores: tuple[tuple[int, int], ...] = ()
    """What is written into it beside the mark stack, as (bytes above the frame's bottom, width in bytes)."""


@dataclass(frozen=True)
class MarkStack:
    """The collector's array of blocks to be scanned, one 4-byte block number an entry, in a function's frame.

    A chain goes from alloc (first) to the function with the array (last), each by a direct call of the next.
    """

    entries: int
    overflow_flag_address: int
    """A byte that is 1 from an overflow to the rescan."""
    root_chain: tuple[Frame, ...]
    """The frames while roots are marked."""
    root_bytes_below_alloc: int
    """The array's lowest address is the stack pointer at alloc's entry minus this, while roots are marked."""
    rescan_chain: tuple[Frame, ...]
    """The frames while all marked objects are scanned again after an overflow."""
    rescan_bytes_below_alloc: int
    """As `root_bytes_below_alloc`, for rescans."""
    zeroed: bool
    """Whether the whole array is seen to be zeroed at each start; entry 0 is then the block to begin with."""


@dataclass(frozen=True)
class CounterAddresses:
    """Addresses of the 64-bit statistics that the collector keeps; they lie in scanned globals."""

    total_alloc_bytes_address: int | None = None
    """Sizes allocated, headers included, not rounded: gcTotalAlloc."""
    mallocs_address: int | None = None
    """Allocations: gcMallocs."""
    frees_address: int | None = None
    """Objects freed: gcFrees."""
    total_blocks_address: int | None = None
    """Blocks allocated: gcTotalBlocks, from 0.34."""
    freed_blocks_address: int | None = None
    """Blocks freed: gcFreedBlocks, from 0.34."""

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(address is not None for address in vars(self).values())


@dataclass(frozen=True)
class RootAddresses:
    """Where a collection begins."""

    globals_start_address: int
    globals_end_address: int
    """Half-open range of words that are scanned conservatively."""
    stack_scan: StackScan
    stack_pointer_global: int
    stack_top_address: int | None = None
    """The end of the system stack's scan."""
    current_task_address: int | None = None
    """A word that is not 0 while a goroutine runs; None: the stack's scan does not depend on one."""
    saved_stack_pointer_address: int | None = None
    """For `StackScan.SYSTEM_OR_SAVED`: the word that holds the scan's start while a task runs."""
    stack_canary: int | None = None
    """The word at the end of each goroutine's stack, by which the program notices itself that one overflowed."""
    stack_chain_address: int | None = None
    """The word that holds the first stack object's address.  Only `StackScan.CHAIN` follows it."""


@dataclass(frozen=True)
class Redirect:
    """A function that must become the host's for the collector to be replaced as a whole."""

    function: int
    role: Role
    returns_free_bytes: bool = False
    """Of a collection: whether its result, the free bytes after it, is used."""


@dataclass(frozen=True)
class FixedRequest:
    """What a program's only kind of allocation asks for; compilers put that into alloc, which then has no parameters."""

    size_bytes: int
    layout: int
    """The layout word; 0 where objects have none."""


@dataclass(frozen=True)
class BlockHeap:
    """The heap of a program compiled by TinyGo with the block collector (`gc_blocks.go`, up to 0.39)."""

    alloc_function: int
    size_parameter: int | None
    """The index of alloc's size parameter; None where `fixed_request` says the size."""
    layout_parameter: int | None
    """The index of alloc's layout parameter, or None if it was optimized away."""
    fixed_request: FixedRequest | None
    """What each call of alloc asks for, where it has no parameters."""
    header_bytes: int
    """Bytes in front of each object that hold its layout: 16 where the collector is precise, else 0."""
    zero_size_address: int | None
    """What alloc returns for size 0."""

    heap_start_address: int | None
    """The first block's address, where it is a constant."""
    heap_start_variable_address: int | None
    """The word that holds it, where it is a variable."""
    heap_end_address: int
    """The word heapEnd: one past the last byte of block table and heap."""
    metadata_start_address: int
    """The word metadataStart: the block table's first byte."""
    end_block_address: int
    """The word endBlock: how many blocks there are."""
    table_divisor: int
    """Bytes of heap and table for which the table takes one: 65, and up to 0.22 64."""
    next_alloc_address: int
    """The word nextAlloc: the block at which the next search begins."""
    keeps_headroom: bool
    """Whether the heap grows after a collection that leaves less than a third of it free, as in newer programs."""

    counters: CounterAddresses
    roots: RootAddresses
    mark_stack: MarkStack
    redirects: tuple[Redirect, ...]
    """What must become the host's."""
    uncovered: tuple[int, ...]
    """Functions that change the heap's state and are still reached after that; empty, or it cannot be replaced."""
    readers: tuple[int, ...]
    """Functions outside the collector that read its state, such as ReadMemStats."""
    initializers: tuple[int, ...]
    """Functions that set the heap up, at the program's start."""
    functions: Mapping[str, int] = field(default_factory=dict)
    """The collector's functions by what they do, as far as they are functions of their own."""
    format_readers: tuple[int, ...] = ()
    """Those of the readers that look into the block table, or at where room is searched, and so depend on this collector."""

    @property
    def is_precise(self) -> bool:
        """Whether objects have a layout."""
        return self.header_bytes > 0

    @property
    def frame_bytes_scanned(self) -> int:
        """The frames of alloc, and of what it calls to collect, which are on the stack when it is scanned."""
        return self.frame_bytes_above(self.functions.get("markRoots"))

    def frame_bytes_above(self, function: int | None) -> int:
        """How far the stack pointer is below alloc's where a function begins that a collection of alloc's comes to."""
        above = takewhile(lambda frame: frame.function != function, self.mark_stack.root_chain[:-1])
        return sum(frame.size_bytes for frame in above)

    @property
    def import_parameters(self) -> tuple[int, int | None]:
        """Which parameters of the import that replaces alloc are size and layout; None for no layout."""
        if self.size_parameter is None:
            return 0, 1
        return self.size_parameter, self.layout_parameter

    @property
    def is_replaceable(self) -> bool:
        """Whether the collector can be replaced."""
        return not self.uncovered

    @property
    def collector(self) -> Collector:
        """Which one it is."""
        return Collector.NEXT_FIT

    @property
    def state_addresses(self) -> tuple[int, ...]:
        """The words that say where the heap lies, and where room is searched."""
        return self.heap_end_address, self.metadata_start_address, self.end_block_address, self.next_alloc_address


class HeaderPlace(Enum):
    """Where in an object's blocks its header lies."""

    FRONT = "front"
    """At the start of its first block, which is the head: TinyGo 0.40 and 0.41."""
    BACK = "back"
    """At the end of its last block, which is the head: TinyGo 0.42."""


@dataclass(frozen=True)
class FinalizerTable:
    """Where the words of TinyGo's table of finalizers lie (`gc_finalizer.go`); a program has those that it uses.

    An entry is {next entry, the object's address with all bits inverted, two words of the function}.
    """

    registered_address: int
    """The word that holds the first entry whose object is not known to be dead."""
    pending_address: int
    """The word that holds the first entry whose finalizer is to run."""
    count_address: int | None
    """The word that counts registered entries."""
    queued_address: int | None
    """A byte that is 1 from the collection that made entries pending until their running was set about."""
    bitmap_address: int | None
    """The word that holds the address of a bitmap, one bit for each block: where registered objects begin."""
    bitmap_bytes_address: int | None
    """The word that holds how long the bitmap is."""
    pressure_address: int | None
    """The word that counts registrations since the last collection."""
    wake_function: int | None
    """The function that sets about running what is pending; None if it was inlined."""


@dataclass(frozen=True)
class BestFitHeap:
    """The heap of a program compiled by TinyGo with the collector of its newer releases (`gc_blocks.go`, from 0.40 on).

    Free ranges of blocks are listed by length, and an allocation takes the best fitting one.
    """

    alloc_function: int
    size_parameter: int | None
    """The index of alloc's size parameter; None where the program only asks for one size, so that it was left out."""
    layout_parameter: int | None
    """The index of alloc's layout parameter, or None if it was optimized away."""
    header_place: HeaderPlace
    header_bytes: int
    """Bytes of an object's blocks that are not its body: in front, 16; at the back, 4 or, with a layout, 8."""
    is_precise: bool
    """Whether headers hold a layout."""
    zero_size_address: int | None
    """What alloc returns for size 0."""

    heap_start_address: int | None
    """The first block's address, where it is a constant."""
    heap_start_variable_address: int | None
    """The word that holds it, where it is a variable."""
    heap_end_address: int
    """The word heapEnd: one past the last byte of block table and heap."""
    metadata_start_address: int
    """The word metadataStart: the block table's first byte."""
    end_block_address: int
    """The word endBlock: how many blocks there are."""
    free_ranges_address: int
    """The word freeRanges: the node of the shortest free range."""
    scan_list_address: int
    """The word scanList: the header of the first marked object that was not scanned yet; 0 between collections."""
    collections_address: int | None
    """The word of 32 bits that counts collections; only programs of 0.42 have it."""

    counters: CounterAddresses
    """Bytes are those that were asked for, without headers."""
    roots: RootAddresses
    finalizers: FinalizerTable | None
    """None where the program registers none."""
    redirects: tuple[Redirect, ...]
    """What must become the host's."""
    uncovered: tuple[int, ...]
    """Functions that change the heap's state and are still reached after that; empty, or it cannot be replaced."""
    readers: tuple[int, ...]
    """Functions outside the collector that read its state, such as ReadMemStats."""
    initializers: tuple[int, ...]
    """Functions that set the heap up, at the program's start."""
    functions: Mapping[str, int] = field(default_factory=dict)
    """The collector's functions by what they do, as far as they are functions of their own."""
    format_readers: tuple[int, ...] = ()
    """Those of the readers that look into the block table, or at where room is searched, and so depend on this collector."""
    fixed_request: FixedRequest | None = None
    """What each call of alloc asks for, where it lacks a parameter that says so; found out by a rehearsal."""
    table_divisor: ClassVar[int] = TABLE_DIVISOR
    keeps_headroom: ClassVar[bool] = True

    @property
    def collector(self) -> Collector:
        """Which one it is."""
        return Collector.BEST_FIT_FRONT if self.header_place is HeaderPlace.FRONT else Collector.BEST_FIT_BACK

    @property
    def import_parameters(self) -> tuple[int, int | None]:
        """Which parameters of the import that takes alloc's place are size and layout; the third is the stack pointer."""
        return 0, 1

    @property
    def is_replaceable(self) -> bool:
        """Whether another collector can take its place as a whole."""
        return not self.uncovered

    @property
    def state_addresses(self) -> tuple[int, ...]:
        """The words that say where the heap lies, and where room is searched."""
        return self.heap_end_address, self.metadata_start_address, self.end_block_address, self.free_ranges_address


ServedHeap = BlockHeap | BestFitHeap
"""A heap whose collector another can replace."""


def alloc_index(facts: ServedHeap) -> int:
    """The index of the allocator among a heap's redirects."""
    return next(index for index, redirect in enumerate(facts.redirects) if redirect.role is Role.ALLOC)


@dataclass(frozen=True)
class LeakingHeap:
    """The heap of a program compiled by TinyGo with `-gc=leaking`: a bump pointer, nothing is freed."""

    alloc_function: int
    size_parameter: int
    layout_parameter: int | None
    heap_pointer_address: int | None
    """The word that holds the address of the next object."""


@dataclass(frozen=True)
class SystemStack:
    """The stack in a module's memory, which grows downward."""

    pointer_global: int
    """The global that holds where it ends just now."""
    top_address: int
    """Where it begins."""
    low_address: int
    """Where it must end, as far as that is known: 0, or behind the data that lies in front of it."""
    is_first: bool
    """Whether it is seen to come first in memory, so that its low end is the start of the memory."""

    @property
    def size_bytes(self) -> int:
        """The most that fits."""
        return self.top_address - self.low_address

    def __str__(self) -> str:
        most = "" if self.is_first else "at most "
        return f"its stack has {most}{self.size_bytes:,} bytes, {self.low_address:#x} to {self.top_address:#x}"

    def overflow(self, stack_pointer: int, memory_bytes: int) -> str | None:
        """By what an overflow is seen, in a phrase; None where it is not.

        Args:
            stack_pointer: as the global has it, signed or unsigned.
            memory_bytes: the size of the memory.
        """
        word = stack_pointer % (1 << 32)
        below_bytes = self.low_address - (word - (1 << 32) if word >> 31 and memory_bytes <= word else word)
        if below_bytes <= 0:
            return None
        end = f"the low end of its stack, {self.low_address:#x}" if self.low_address else "the start of its memory"
        return f"its stack pointer is {below_bytes:,} bytes below {end}"


@dataclass(frozen=True)
class DataRange:
    """Data that is in memory from the start."""

    name: str | None
    """Of its segment, such as ``.rodata``; None where it has none."""
    start_address: int
    size_bytes: int


@dataclass(frozen=True)
class MemoryLayout:
    """What a module declares of its linear memory, in pages of 64 KiB, and what lies there when it begins."""

    declared_pages: int
    maximum_pages: int | None
    """None where the module sets no maximum."""
    is_imported: bool
    data: tuple[DataRange, ...]
    """In the order of addresses; what begins as zeros is not among it."""
    heap_start_address: int | None
    """Where the heap begins; None where that is not known before the module runs."""


@dataclass(frozen=True)
class Guest:
    """What a module is, and what works for it.  Made by `identify.identify`."""

    runtime: str
    """``TinyGo``, or what it is instead."""
    version: str | None
    """The compiler's version where the module says so, else the range that its shape allows, else None."""
    version_is_stated: bool
    collector: str
    """Of TinyGo's: ``conservative precise leaking boehm`` or ``unknown``, ``best-fit, conservative`` or ``best-fit,
    precise`` from 0.40 on, ``blocks, not recognized``.  Else ``none``, or whose it is and what it does."""
    scheduler: str
    """``asyncify none`` or ``unknown``."""
    served: str
    """What works for it, in a sentence."""
    heap: BlockHeap | None = None
    best_fit: BestFitHeap | None = None
    leaking: LeakingHeap | None = None
    exports: tuple[str, ...] = ()
    """The functions a host can call, without those of the stack switching."""
    lacks: tuple[str, ...] = ()
    """What it imports and no host here offers, with types; empty, or it runs only where the user offers that."""
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    """How each fact was found."""
    component_modules: int = 0
    """How many core modules the component has of which this is the largest; 0 for a module that stands alone."""
    stack: SystemStack | None = None
    """The stack in its memory; None where none was found."""
    memory: MemoryLayout | None = None
    """None where it has no memory."""

    @property
    def summary(self) -> str:
        """What works for the module, in one sentence; imports that no host offers come first."""
        if self.component_modules:
            return (
                "is a WebAssembly component, which cannot be run here; the largest of its"
                f" {self.component_modules} core modules, taken out of it, {self._alone}"
            )
        return self._alone

    @property
    def _alone(self) -> str:
        """The same of the module by itself."""
        if not self.lacks:
            return self.served
        shown = ", ".join(self.lacks[:3])
        more = f" and {len(self.lacks) - 3} more" if len(self.lacks) > 3 else ""
        # Whose module lacks nothing needs none of the hosts.
        from tinyheap.hosts.offered import HOW_TO_OFFER

        lacking = f"has imports that no host here offers ({shown}{more}), so that it runs only where you offer them"
        return f"{lacking}; it {self.served}. {HOW_TO_OFFER.removesuffix('.')}"
