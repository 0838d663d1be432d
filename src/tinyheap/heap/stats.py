"""What a heap says of itself: Go's ``MemStats``, and what one collection did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from tinyheap.heap.contract import Counters, Gc
from tinyheap.heap.geometry import Geometry


@dataclass(frozen=True, slots=True)
class MemStats:
    """The fields of Go's ``runtime.MemStats`` that the original's ``ReadMemStats`` fills; bytes, but for two counts.

    ``total_alloc`` counts what was asked for (with the headers of precise objects); ``heap_alloc`` is whole blocks
    allocated minus whole blocks freed, and counts an allocation that ran out of memory, as the original does.
    """

    alloc: int
    total_alloc: int
    sys: int
    mallocs: int
    """Number of allocations."""
    frees: int
    """Number of objects freed."""
    heap_alloc: int
    heap_sys: int
    heap_idle: int
    heap_inuse: int
    heap_released: int
    """Always 0: nothing is given back to the system."""
    gc_sys: int

    def as_go(self) -> dict[str, int]:
        """The figures under Go's names, those that the conformance vectors have."""
        return {name: getattr(self, field) for name, field in GO_NAMES.items()}


GO_NAMES = {
    "Frees": "frees",
    "GCSys": "gc_sys",
    "HeapAlloc": "heap_alloc",
    "HeapIdle": "heap_idle",
    "HeapInuse": "heap_inuse",
    "HeapSys": "heap_sys",
    "Mallocs": "mallocs",
    "Sys": "sys",
    "TotalAlloc": "total_alloc",
}


def mem_stats(geometry: Geometry, counters: Counters, gc: Gc, free_blocks: int, bump_address: int) -> MemStats:
    """The statistics of a heap; ``bump_address`` is looked at only for the leaking collector, which has no blocks."""
    block_bytes = geometry.block_bytes
    if gc is Gc.LEAKING:
        in_use = bump_address - geometry.start_address
        idle, allocated = 0, in_use
    else:
        in_use = (geometry.end_block - free_blocks) * block_bytes
        idle = free_blocks * block_bytes
        allocated = (counters.total_blocks - counters.freed_blocks) * block_bytes
    return MemStats(
        alloc=allocated,
        total_alloc=counters.total_alloc_bytes,
        sys=geometry.heap_bytes,
        mallocs=counters.mallocs,
        frees=counters.frees,
        heap_alloc=allocated,
        heap_sys=in_use + idle,
        heap_idle=idle,
        heap_inuse=in_use,
        heap_released=0,
        gc_sys=geometry.table_bytes,
    )


class Collection(NamedTuple):
    """One run of the collector.

    Args:
        number: the first is 1.
        reason: ``requested`` or ``exhausted`` (an allocation had searched the whole heap).
        freed_objects, freed_blocks: what the sweep freed.
        live_objects, live_blocks: what it left.
        free_blocks: blocks free after it.
        overflows, rescans: of the bounded mark stack.
        words_scanned: words of objects that the mark phase read.
        mark_ns, sweep_ns: the phases' times; ``pause_ns`` the whole's, roots and listeners included.
    """

    number: int
    reason: str
    freed_objects: int
    freed_blocks: int
    live_objects: int
    live_blocks: int
    free_blocks: int
    overflows: int
    rescans: int
    words_scanned: int
    mark_ns: int
    sweep_ns: int
    pause_ns: int

    @classmethod
    def between(
        cls,
        number: int,
        reason: str,
        before: Counters,
        after: Counters,
        left: tuple[int, int, int],
        times_ns: tuple[int, int, int],
    ) -> Collection:
        """What an engine's counters before and after tell.

        Args:
            left: live objects, their blocks, and free blocks.
            times_ns: the clock at begin, sweep and end.
        """
        live_objects, live_blocks, free_blocks = left
        begun_ns, swept_from_ns, ended_ns = times_ns
        return cls(
            number=number,
            reason=reason,
            freed_objects=after.frees - before.frees,
            freed_blocks=after.freed_blocks - before.freed_blocks,
            live_objects=live_objects,
            live_blocks=live_blocks,
            free_blocks=free_blocks,
            overflows=after.overflows - before.overflows,
            rescans=after.rescans - before.rescans,
            words_scanned=after.words_scanned - before.words_scanned,
            mark_ns=swept_from_ns - begun_ns,
            sweep_ns=ended_ns - swept_from_ns,
            pause_ns=ended_ns - begun_ns,
        )

    def __str__(self) -> str:
        return (
            f"collection {self.number} ({self.reason}): {self.freed_objects} objects freed, "
            f"{self.live_objects} live, {self.free_blocks} blocks free, {self.pause_ns / 1e6:.3f} ms"
        )
