"""What is known of a guest: its runtime, its collector, and where in the program the heap's parts lie.

Every class here is frozen and only holds facts; `identify` finds them.  Addresses are byte addresses in linear
memory, function and global indices those of the module as it was read.  `None` means that the program has no such
thing, or that it was not found; the evidence, kept by the name of each fact, tells which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


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
    """How a fact was found, one phrase a way, and how sure that makes it."""

    confidence: Confidence
    how: tuple[str, ...] = ()


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
class BlockHeap:
    """The heap of a program compiled by TinyGo with the block collector (`gc_blocks.go`, up to 0.39)."""

    alloc_function: int
    size_parameter: int
    layout_parameter: int | None
    """The index of alloc's layout parameter, or None if it was optimized away."""
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

    @property
    def is_precise(self) -> bool:
        """Whether objects have a layout."""
        return self.header_bytes > 0


@dataclass(frozen=True)
class LeakingHeap:
    """The heap of a program compiled by TinyGo with `-gc=leaking`: a bump pointer, nothing is freed."""

    alloc_function: int
    size_parameter: int
    layout_parameter: int | None
    heap_pointer_address: int | None
    """The word that holds the address of the next object."""


@dataclass(frozen=True)
class Guest:
    """What a module is, and what works for it.  Made by `identify.identify`."""

    runtime: str
    """``TinyGo``, or what it is instead."""
    version: str | None
    """The compiler's version where the module says so, else the range that its shape allows, else None."""
    version_is_stated: bool
    collector: str
    """Of TinyGo's: ``conservative precise leaking``, ``blocks, rewritten``, ``boehm`` or ``unknown``.  Else ``none``, or whose
    it is and what it does."""
    scheduler: str
    """``asyncify none`` or ``unknown``."""
    served: str
    """What works for it, in a sentence."""
    heap: BlockHeap | None = None
    leaking: LeakingHeap | None = None
    exports: tuple[str, ...] = ()
    """The functions a host can call, without those of the stack switching."""
    lacks: tuple[str, ...] = ()
    """What it imports and no host here offers, with types; empty, or it cannot be run by `tinyheap run`."""
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    """How each fact was found."""

    @property
    def summary(self) -> str:
        """What works for it, in a sentence whose subject is the module; what it lacks comes first."""
        if not self.lacks:
            return self.served
        shown = ", ".join(self.lacks[:3])
        more = f" and {len(self.lacks) - 3} more" if len(self.lacks) > 3 else ""
        lacking = f"cannot be run here, because it imports what no host here offers ({shown}{more})"
        return f"{lacking}; {'where that is offered, ' if self.runtime == 'TinyGo' else ''}it {self.served}"
