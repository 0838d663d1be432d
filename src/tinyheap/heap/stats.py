"""Statistics of a heap: Go's ``MemStats``, and those of one collection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from tinyheap.heap.collectors import Collector
from tinyheap.heap.contract import Counters, Gc
from tinyheap.heap.geometry import Geometry
from tinyheap.units import counted


@dataclass(frozen=True, slots=True)
class MemStats:
    """The fields of Go's ``runtime.MemStats`` that the original's ``ReadMemStats`` fills; bytes, but for four counts.

    In next-fit ``total_alloc`` counts what was asked for with the headers of precise objects, and ``heap_alloc`` is whole
    blocks allocated minus whole blocks freed, which counts an allocation that ran out of memory, as the original does.
    Best-fit takes all but ``total_alloc``, which has no headers there, and the counts from the blocks as they are.
    """

    alloc: int
    total_alloc: int
    sys: int
    mallocs: int
    """Number of allocations."""
    frees: int
    """Number of objects freed; in best-fit of allocations without an object."""
    heap_alloc: int
    heap_sys: int
    heap_idle: int
    heap_inuse: int
    heap_released: int
    """Always 0: nothing is given back to the system."""
    gc_sys: int
    heap_objects: int
    """Number of objects; 0 in next-fit (and in TinyGo 0.40), where the original leaves it out."""
    num_gc: int
    """Number of collections; 0 but in best-fit-back, as in the original."""

    def as_go(self, collector: Collector = Collector.NEXT_FIT) -> dict[str, int]:
        """The statistics under Go's names: those that the collector's original fills, and the conformance vectors have."""
        return {name: getattr(self, GO_NAMES[name]) for name in filled_names(collector)}


GO_NAMES: Final = {
    "Alloc": "alloc",
    "Frees": "frees",
    "GCSys": "gc_sys",
    "HeapAlloc": "heap_alloc",
    "HeapIdle": "heap_idle",
    "HeapInuse": "heap_inuse",
    "HeapObjects": "heap_objects",
    "HeapSys": "heap_sys",
    "Mallocs": "mallocs",
    "NumGC": "num_gc",
    "Sys": "sys",
    "TotalAlloc": "total_alloc",
}


def filled_names(collector: Collector) -> list[str]:
    """Go's names of what the conformance vectors of a collector have."""
    missing = {
        Collector.NEXT_FIT: {"Alloc", "HeapObjects", "NumGC"},
        Collector.BEST_FIT_FRONT: {"NumGC"},
        Collector.BEST_FIT_BACK: set[str](),
    }
    return [name for name in GO_NAMES if name not in missing[collector]]


def mem_stats(
    collector: Collector, geometry: Geometry, counters: Counters, gc: Gc, blocks: tuple[int, int], bump_address: int
) -> MemStats:
    """The statistics of a heap.

    Args:
        collector: which one keeps the heap.
        blocks: how many are free, and how many are heads.
        bump_address: looked at only for the leaking collector, which has no blocks.
    """
    block_bytes = geometry.block_bytes
    free_blocks, heads = blocks
    in_use, idle = (geometry.end_block - free_blocks) * block_bytes, free_blocks * block_bytes
    allocated, heap_sys, frees = (
        (counters.total_blocks - counters.freed_blocks) * block_bytes,
        in_use + idle,
        counters.frees,
    )
    if gc is Gc.LEAKING:
        in_use = allocated = heap_sys = bump_address - geometry.start_address
        idle = 0
    elif collector.has_free_list:
        # From the state; the slack counts, too.  An adopted heap has objects that were not allocated here.
        allocated, heap_sys, frees = in_use, geometry.pool_bytes, max(counters.mallocs - heads, 0)
    return MemStats(
        alloc=allocated,
        total_alloc=counters.total_alloc_bytes,
        sys=geometry.heap_bytes,
        mallocs=counters.mallocs,
        frees=frees,
        heap_alloc=allocated,
        heap_sys=heap_sys,
        heap_idle=idle,
        heap_inuse=in_use,
        heap_released=0,
        gc_sys=geometry.table_bytes,
        heap_objects=heads if collector.has_free_list else 0,
        num_gc=counters.collections if collector is Collector.BEST_FIT_BACK else 0,
    )


class Collection(NamedTuple):
    """One run of the collector.

    Args:
        number: of the collection, from 1.
        reason: ``requested``, ``exhausted`` (an allocation had searched the whole heap), or ``idle`` (`Heap.idle`).
        freed_objects, freed_blocks: what the sweep freed.
        live_objects, live_blocks: what the sweep left.
        free_blocks: blocks free after it.
        overflows, rescans: of the bounded mark stack.
        words_scanned: words of objects that the mark phase read.
        mark_ns, sweep_ns: nanoseconds in each phase; ``pause_ns`` in all, roots and listeners included.
        begun_ns: when it began, by the clock of ``time.perf_counter_ns``.
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
    begun_ns: int

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
        """A collection, from the engine's counters before and after it.

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
            begun_ns=begun_ns,
        )

    def __str__(self) -> str:
        return (
            f"collection {self.number} ({self.reason}): {counted(self.freed_objects)} freed, "
            f"{self.live_objects} live, {self.free_blocks} blocks free, {self.pause_ns / 1e6:.3f} ms"
        )
