"""How small: the smallest heap, or memory, in which a program passes, and what stands in the way just below it.

Of a module the unit is a page of 64 KiB, since its heap ends where its memory does.  Of a trace it is a block: the whole
heap is there from the start and never grows, as on a microcontroller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from tinyheap.errors import LabError
from tinyheap.heap.collectors import Collector
from tinyheap.heap.contract import Gc
from tinyheap.heap.engines import choose_engine, engine_name_of
from tinyheap.heap.geometry import BLOCKS_PER_TABLE_BYTE, Geometry
from tinyheap.lab.conditions import Condition
from tinyheap.lab.data_frames import columns_of, frame_of
from tinyheap.lab.edges import Edge, find_edge
from tinyheap.lab.running import Workers
from tinyheap.results import Result
from tinyheap.traces.replay import Replay, Stage, replay
from tinyheap.traces.replay_summary import summary_of
from tinyheap.traces.trace import describe_step
from tinyheap.units import WASM_PAGE_BYTES

if TYPE_CHECKING:
    from tinyheap.lab.outcome import Outcome
    from tinyheap.lab.running import Subject
    from tinyheap.recordings.rows import Rows
    from tinyheap.traces.trace import Trace

SCAN_PAGES: Final = 2
SCAN_BLOCKS: Final = 64
_FACTORS: Final = (1, 2, 4, 8)
"""By which the size that a trace may grow to is multiplied until it passes; memory of 16 bits has no room for it."""


class Limit(StrEnum):
    """What of a program is made small."""

    HEAP = "heap-limit"
    MEMORY = "memory-limit"
    BLOCKS = "heap"
    """The whole heap of a trace."""


@dataclass(frozen=True, slots=True)
class Fit:
    """The smallest size in which a program passes, under one condition."""

    condition: str
    """Whatever else was chosen; of a trace its collector and how it marks."""
    limit: Limit
    unit_bytes: int
    """A page, or a block."""
    edge: Edge
    """In units."""
    smallest_bytes: int | None
    """What to ask for: ``--heap-limit``, ``--memory-limit``, or ``replay --heap``; None where nothing passed."""
    obstacle: tuple[str, ...]
    """What stands in the way just below the smallest size that passes, a phrase each; empty where nothing is below."""

    @property
    def unit(self) -> str:
        """``page`` or ``block``."""
        return "block" if self.limit is Limit.BLOCKS else "page"

    @property
    def obstacle_at(self) -> int | None:
        """The size that has the obstacle, in units: below the smallest, or the largest where none passes; None without one."""
        if not self.obstacle:
            return None
        return self.edge.tried[-1] if self.edge.smallest is None else self.edge.smallest - 1


class Fits(Result, tuple[Fit, ...]):
    """What `fit` and `fit_trace` found: a tuple, which a notebook shows with a picture."""

    __slots__ = ()

    def frame(self) -> Rows:
        """A row for each of them; `Rows` has them as data frames.

        The columns are the fields of `Fit` and of `Edge`, whose sizes are in units.
        """
        own, of_edge = columns_of(Fit, but="edge"), columns_of(Edge)
        rows = (
            [*(getattr(each, name) for name in own), *(getattr(each.edge, name) for name in of_edge)] for each in self
        )
        return frame_of("fits", {**own, **of_edge}, rows)


@dataclass(frozen=True, slots=True)
class _Trial:
    passed: bool
    obstacle: tuple[str, ...]


def fit(
    subject: Subject,
    conditions: Sequence[Condition] = (Condition(),),
    limits: Sequence[Limit] = (Limit.HEAP, Limit.MEMORY),
    *,
    scan: int = SCAN_PAGES,
    told: Callable[[Fit], object] | None = None,
) -> Fits:
    """The smallest heap limit and memory limit in which a module passes, in pages, under each of some conditions.

    Nothing larger is tried than what the program takes under that condition without the limit.

    Args:
        subject: The program.
        conditions: What else is chosen.
        limits: `Limit.HEAP`, `Limit.MEMORY` or both.
        scan: How many pages in a row have to give the same answer around the edge (see `edges`), from 1.
        told: Called with each result as it comes.

    Raises:
        LabError: The program does not pass without the limit, or nothing is known of its heap.
        ConditionError: A condition has the limit already.
        InputError: The module cannot be read.
    """
    subject.identity  # noqa: B018 - which finds out whether the module can be read
    found = []
    for condition in conditions:
        free = run_once(subject, condition)
        if not free.passed:
            raise LabError(f"it does not pass even without a smaller limit ({condition}): {'; '.join(ending(free))}")
        for limit in limits:
            found.append(_fit_pages(subject, condition, limit, _taken_pages(free, limit), scan))
            if told is not None:
                told(found[-1])
    return Fits(found)


def _taken_pages(free: Outcome, limit: Limit) -> int:
    """What a run took without the limit."""
    if limit is Limit.MEMORY and free.memory_pages is not None:
        return free.memory_pages
    if limit is Limit.HEAP and free.heap_bytes is not None:
        return -(-free.heap_bytes // WASM_PAGE_BYTES)
    raise LabError(f"nothing is known of its {limit.partition('-')[0]}, which this module does not let one see")


def _fit_pages(subject: Subject, condition: Condition, limit: Limit, most_pages: int, scan: int) -> Fit:
    def attempt(pages: int) -> _Trial:
        outcome = run_once(subject, condition.changed(limit, pages * WASM_PAGE_BYTES))
        return _Trial(outcome.passed, ending(outcome))

    # A program that allocates nothing takes no page, and passes in one.
    sizes = range(1, max(most_pages, 1) + 1)
    return _fitted(str(condition), limit, WASM_PAGE_BYTES, sizes, scan, attempt, _pages_bytes)


def _pages_bytes(pages: int) -> int:
    return pages * WASM_PAGE_BYTES


def run_once(subject: Subject, condition: Condition) -> Outcome:
    """What becomes of a program under a condition."""
    outcome = Workers().run(subject, condition)
    assert outcome is not None, "nobody stops these workers"
    return outcome


def ending(outcome: Outcome) -> tuple[str, ...]:
    """How a run ended, and what shows it, a phrase each."""
    return (outcome.ended, *outcome.evidence)


def _fitted(
    condition: str,
    limit: Limit,
    unit_bytes: int,
    sizes: range,
    scan: int,
    attempt: Callable[[int], _Trial],
    bytes_of: Callable[[int], int],
) -> Fit:
    trials: dict[int, _Trial] = {}

    def passes(size: int) -> bool:
        trials[size] = attempt(size)
        return trials[size].passed

    edge = find_edge(passes, sizes[0], sizes[-1], scan)
    below = sizes[-1] if edge.smallest is None else edge.smallest - 1
    obstacle = trials[below].obstacle if below in trials else ()
    smallest_bytes = None if edge.smallest is None else bytes_of(edge.smallest)
    return Fit(condition, limit, unit_bytes, edge, smallest_bytes, obstacle)


# ---- traces -----------------------------------------------------------------------------------------------------------


def fit_trace(
    trace: Trace,
    collectors: Sequence[Collector] = tuple(Collector),
    gc: Gc = Gc.CONSERVATIVE,
    *,
    scan: int = SCAN_BLOCKS,
    told: Callable[[Fit], object] | None = None,
) -> Fits:
    """The smallest heap in which a trace runs to its end, in blocks, on each of some collectors.

    The largest size that is tried is the one that the trace may grow to, or where it does not pass there, 2, 4 or 8 times that.

    Args:
        trace: What the program asked of its heap.
        collectors: Which ones to try.
        gc: Which words of objects may be pointers; not `Gc.LEAKING`, which has no blocks.
        scan: How many blocks in a row have to give the same answer around the edge (see `edges`), from 1.
        told: Called with each result as it comes.

    Raises:
        LabError: The leaking collector was asked for.
        TraceError: The trace cannot be run.
    """
    if gc is Gc.LEAKING:
        raise LabError("invalid gc 'leaking': expected conservative or precise, since a leaking heap has no blocks")
    found = []
    for collector in collectors:
        found.append(_fit_blocks(trace, collector, gc, scan))
        if told is not None:
            told(found[-1])
    return Fits(found)


def _fit_blocks(trace: Trace, collector: Collector, gc: Gc, scan: int) -> Fit:
    engine = engine_name_of(choose_engine(None, collector))
    largest = Stage.of(trace, collector, gc, trace.limit_bytes, None).geometry

    def bytes_of(blocks: int) -> int:
        return _heap_bytes(largest, blocks)

    def attempt(blocks: int) -> _Trial:
        size_bytes = bytes_of(blocks)
        result = replay(trace, gc, engine, collector=collector, heap_bytes=size_bytes, limit_bytes=size_bytes)
        return _Trial(not result.out_of_memory, obstacle_of(result))

    sizes = range(1, _most_blocks(trace, largest, attempt) + 1)
    return _fitted(f"{collector} {gc}", Limit.BLOCKS, largest.block_bytes, sizes, scan, attempt, bytes_of)


def _most_blocks(trace: Trace, largest: Geometry, attempt: Callable[[int], _Trial]) -> int:
    """A size that passes: the trace's, or a multiple of it, since another collector may need more for the same objects."""
    blocks = max(largest.end_block, 1)
    for factor in _FACTORS:
        if trace.word_bytes > 2 and attempt(factor * blocks).passed:
            return factor * blocks
    return blocks


def _heap_bytes(like: Geometry, blocks: int) -> int:
    """The smallest heap of so many blocks."""
    size_bytes = blocks * like.block_bytes + -(-blocks // BLOCKS_PER_TABLE_BYTE)
    while like.resized(size_bytes).end_block < blocks:
        size_bytes += 1
    return size_bytes


def obstacle_of(result: Replay) -> tuple[str, ...]:
    """Why a replay ended early; nothing where it did not."""
    if not result.out_of_memory:
        return ()
    summary = summary_of(result)
    index, free_bytes = result.ops_done, result.mem_stats.heap_idle
    return (
        f"out of memory in {describe_step(index, result.trace.step(index))}",
        f"free: {free_bytes:,} bytes of a heap of {summary.heap_bytes:,}",
        f"largest free run: {summary.largest_free_bytes:,} bytes",
    )
