"""Checking a guest's heap: is everything as the collector left it?

The engine checks the block table and the layouts.  Here the guest's own variables are checked, and the likely culprit is
named: most writes past the end of an object begin in the object in front of what was overwritten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

from tinyheap.errors import HeapCorruptError, StackOverflowError
from tinyheap.guests.serve.stack_overflow import stack_overflow
from tinyheap.heap.bestfit import freelist
from tinyheap.heap.contract import NO_BLOCK, BestFitEngine, Counters, Engine, NextFitEngine, State
from tinyheap.heap.problems import unreadable_layout, wrong_block, wrong_counts
from tinyheap.recognize.facts import BlockHeap

if TYPE_CHECKING:
    from tinyheap.guests.policy import Policy
    from tinyheap.guests.serve.guard import Guard
    from tinyheap.guests.serve.memory import BoundMemory, Variables
    from tinyheap.recognize.facts import ServedHeap

PROBLEMS: Final = 16
"""So many problems are named, of each kind."""


def heap_problems(heap: ServedHeap, engine: Engine, absent_blocks: list[int]) -> list[str]:
    """What is wrong with the block table and the layouts, one line per problem.

    Args:
        engine: on the guest's memory, while no collection runs.
        absent_blocks: for each allocation that was counted and has made no object, its blocks.
    """
    problems = [wrong_block(engine, block) + _culprit(engine, block) for block in engine.check_table(PROBLEMS)]
    if engine.collector.has_free_list:
        problems += freelist.problems(cast("BestFitEngine", engine), PROBLEMS)
    if problems:
        return problems
    problems = [layout_problem(heap, engine, block) for block in engine.check_layouts(PROBLEMS)]
    counts = engine.counters
    objects = counts.mallocs - counts.frees - len(absent_blocks)
    blocks = counts.total_blocks - counts.freed_blocks - sum(absent_blocks)
    return problems + wrong_counts(engine.census(), objects, blocks)


def layout_problem(heap: ServedHeap, engine: Engine, block: int) -> str:
    """An unreadable layout word, and which object may have been overrun."""
    return unreadable_layout(engine, block) + _culprit(engine, block)


def _culprit(engine: Engine, block: int) -> str:
    """The object in front of a block of which something was overwritten."""
    geometry = engine.geometry
    before = min(block, geometry.end_block) - 1
    if before < 0 or engine.state(before) is State.FREE:
        return " (no object lies directly in front of it)"
    head = engine.find_head(before)
    if head == NO_BLOCK or engine.state(head) is State.FREE:
        return ""
    first, _ = engine.extent(head)
    address = engine.shape.address_of(geometry, first)
    return (
        f" (in front of it lies the object at {address:#x}, {before + 1 - first} blocks, which may have been overrun)"
    )


def variable_problems(
    heap: ServedHeap, engine: Engine, counters: Counters, read: Callable[[int, int], int]
) -> list[str]:
    """The guest's own variables that no longer hold what they must, one line per variable.

    Args:
        counters: what its counters must hold.
        read: of an address and a width in bytes, the number there.
    """
    return [
        f"the guest's {name} at {address:#x} is {found:#x}, but must be {expected:#x}: it was overwritten"
        for name, address, width_bytes, expected in _variables(heap, engine, counters)
        if (found := read(address, width_bytes)) != expected
    ]


def _variables(heap: ServedHeap, engine: Engine, counters: Counters) -> Iterator[tuple[str, int, int, int]]:
    """Name, address, width in bytes and value of each variable of the allocator."""
    geometry, addresses = engine.geometry, heap.counters
    yield "heapEnd", heap.heap_end_address, 4, geometry.end_address
    yield "metadataStart", heap.metadata_start_address, 4, geometry.table_address
    yield "endBlock", heap.end_block_address, 4, geometry.end_block
    if engine.collector != heap.collector:
        pass
    elif isinstance(heap, BlockHeap):
        yield "nextAlloc", heap.next_alloc_address, 4, cast("NextFitEngine", engine).next_alloc
    else:
        yield "freeRanges", heap.free_ranges_address, 4, cast("BestFitEngine", engine).free_list
    for name, address, expected in (
        ("gcTotalAlloc", addresses.total_alloc_bytes_address, counters.total_alloc_bytes),
        ("gcMallocs", addresses.mallocs_address, counters.mallocs),
        ("gcFrees", addresses.frees_address, counters.frees),
        ("gcTotalBlocks", addresses.total_blocks_address, counters.total_blocks),
        ("gcFreedBlocks", addresses.freed_blocks_address, counters.freed_blocks),
    ):
        if address is not None:
            yield name, address, 8, expected


@dataclass(slots=True)
class Absent:
    """Allocations that are counted and have no object.

    Args:
        wanted_bytes: the one that is being made, without header and red zone; None where there is none.
        lost_blocks: of each that found no room, its blocks.
    """

    wanted_bytes: int | None = None
    lost_blocks: list[int] = field(default_factory=list)


class Verifier:
    """Checks one guest's heap as far as its policy asks, and says whose fault it is.

    Args:
        facts: where the guest's heap and variables are.
        policy: how far to check without being told to.
        memory: the guest's.
        engine: of its heap.
        variables: what the guest's counters must hold.
        absent: what is counted without being in the block table.
        guard: of the heap, if it has one.
    """

    def __init__(
        self,
        facts: ServedHeap,
        policy: Policy,
        memory: BoundMemory,
        engine: Engine,
        variables: Variables,
        absent: Absent,
        guard: Guard | None,
    ) -> None:
        self._facts, self._policy, self._memory, self._engine = facts, policy, memory, engine
        self._variables, self._absent, self._guard = variables, absent, guard
        self._is_asked_for = policy.verify or policy.guard

    def verify(self) -> None:
        """Check block table, layouts and counts, whatever the policy.

        Raises:
            HeapCorruptError: names each problem found and its place.
        """
        problems = self.problems()
        if problems:
            raise HeapCorruptError(self._advised(problems))

    def problems(self) -> list[str]:
        """What `verify` finds, one line per problem; empty for a sound heap."""
        absent, wanted_bytes = list(self._absent.lost_blocks), self._absent.wanted_bytes
        if wanted_bytes is not None:
            zone_bytes = 0 if self._guard is None else self._guard.bytes_per_zone
            absent.append(self._engine.shape.blocks_for(self._engine.geometry, wanted_bytes + zone_bytes))
        return heap_problems(self._facts, self._engine, absent)

    def look(self, until: str) -> None:
        """Check as far as the policy asks for it; the guard comes first, because it knows who did it.

        Args:
            until: what comes next, to end a sentence with.
        """
        if not self._is_asked_for:
            return
        with self.blaming_the_stack():
            if self._guard is not None:
                self._guard.check(until)
            self.verify()

    def check_variables(self) -> None:
        """Check the guest's own variables, which hold what was left there after the last allocation or collection."""
        if not self._is_asked_for:
            return
        problems = variable_problems(self._facts, self._engine, self._variables.counters, self._memory.read)
        if problems:
            number = self._engine.counters.mallocs
            since = f"since allocation {number}" if number else "before the first allocation"
            with self.blaming_the_stack():
                raise HeapCorruptError(f"{'; '.join(problems)}; overwritten {since}")

    def unreadable(self, block: int) -> HeapCorruptError:
        """The error for a layout that a collection could not read, made while its marks are there."""
        return HeapCorruptError(self._advised([layout_problem(self._facts, self._engine, block)]))

    @contextmanager
    def blaming_the_stack(self) -> Iterator[None]:
        """Around checks: where the program's stack overflowed, that comes first, and what it wrote over second."""
        try:
            yield
        except HeapCorruptError as error:
            overflow = stack_overflow(self._facts, self._memory.memory, self._engine, self._memory.stack_pointer)
            if overflow is None:
                raise
            message = f"the program's stack overflowed ({overflow}) and wrote over its heap or its variables: {error}"
            raise StackOverflowError(message, overflow) from error

    def _advised(self, problems: list[str]) -> str:
        can_guard = self._engine.collector == self._facts.collector and not self._policy.guard
        advice = "; run with --guard to find out who overran its object" if can_guard else ""
        return "; ".join(problems) + advice
