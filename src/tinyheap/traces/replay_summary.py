"""A replay in a few statistics, for people: how much ran, what it left on the heap, what it cost."""

from __future__ import annotations

from dataclasses import dataclass

from tinyheap.heap.blockmap import free_runs_of
from tinyheap.heap.contract import Gc
from tinyheap.traces.replay import Replay


@dataclass(frozen=True, slots=True)
class ReplaySummary:
    """A replay in a few statistics, as of its end unless a field says otherwise."""

    gc: str
    collector: str
    engine: str
    word_bytes: int
    steps: int
    """Of the whole trace."""
    steps_done: int
    """As far as memory lasted."""
    out_of_memory: bool
    allocations: int
    """Reallocations that moved and objects without bytes included."""
    frees: int
    collections: int
    live_objects: int | None
    """After the last collection; None where there was none."""
    heap_bytes: int
    limit_bytes: int
    """The size beyond which the heap would not have grown."""
    used_bytes: int
    """Of blocks that objects hold, reachable or not."""
    largest_free_bytes: int
    """The longest run of free blocks, or range of the free list: nothing larger fits without a collection."""
    overflows: int
    """Of the mark stack."""
    rescans: int
    """Of the heap, each because the mark stack had overflowed."""
    longest_pause_ns: int
    """The longest collection's mark and sweep; 0 where there was none."""
    total_ns: int
    alloc_ns: int
    """Inside allocations, collections excluded."""
    mark_ns: int
    sweep_ns: int


def summary_of(replay: Replay, *, limit_bytes: int | None = None) -> ReplaySummary:
    """The statistics of a replay.

    Args:
        replay: What to sum up.
        limit_bytes: The limit that it ran with; the trace's own by default.
    """
    geometry, counters, rows = replay.geometry, replay.counters, replay.collections
    return ReplaySummary(
        gc=str(replay.gc),
        collector=str(replay.collector),
        engine=replay.engine,
        word_bytes=geometry.word_bytes,
        steps=replay.trace.step_count,
        steps_done=replay.ops_done if replay.out_of_memory else replay.trace.step_count,
        out_of_memory=replay.out_of_memory,
        allocations=len(replay.addresses),
        frees=counters.frees,
        collections=len(rows),
        live_objects=rows[-1].heads if rows else None,
        heap_bytes=geometry.heap_bytes,
        limit_bytes=max(limit_bytes or replay.trace.limit_bytes, geometry.heap_bytes),
        used_bytes=replay.mem_stats.heap_inuse,
        largest_free_bytes=_largest_free_bytes(replay),
        overflows=counters.overflows,
        rescans=counters.rescans,
        longest_pause_ns=max((row.mark_ns + row.sweep_ns for row in rows), default=0),
        total_ns=replay.total_ns,
        alloc_ns=replay.alloc_ns,
        mark_ns=replay.mark_ns,
        sweep_ns=replay.sweep_ns,
    )


def _largest_free_bytes(replay: Replay) -> int:
    geometry = replay.geometry
    if replay.gc is Gc.LEAKING:
        # All that lies past the bump pointer.
        return geometry.pool_bytes - replay.mem_stats.heap_inuse
    runs = replay.ranges or free_runs_of(replay.table, replay.collector, geometry.end_block)
    return max((blocks for _, blocks in runs), default=0) * geometry.block_bytes
