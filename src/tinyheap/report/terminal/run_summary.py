"""What became of a program and its heap: some lines of text for people, and JSON for other programs.

The JSON object's keys, which stay (durations in nanoseconds, sizes in bytes):

``module``          the module's file
``guest``           ``runtime``, ``version``, ``collector``, ``scheduler``, ``served`` (what works for it, in a sentence);
                    null where the module was not examined, as in native runs
``gc``              ``default``, ``leaking`` or ``native``, as it was asked for
``exit_code``       that of the command
``error``           what ended the program, null if it ended itself
``ended``           ``kind``, in one word how it ended (`tinyheap.guests.ending.EndKind`), and ``evidence``, by what that is
                    seen: a list of phrases
``was_cached``      whether it had been prepared before
``prepare_ns``      from the module's bytes to the instance
``run_ns``          from the program's first instruction to its last
``memory_bytes``    the size of all of the program's memory at its end, which is its greatest; null where it exports none
``counters``        ``Mallocs``, ``Frees`` and ``TotalAlloc`` as the program counts them itself; null where that is unknown
                    of any, and where ``heap`` has them
``stub_calls``      how often each stub was called, by the name of its import (``env.log``)
``heap``            null where the module ran as it is, so that nothing was seen of its heap, else:

    ``engine``                ``kernel`` or ``model``
    ``collector``             the one that served, such as ``next-fit``
    ``is_own_collector``      false where that is not the program's own, so that addresses are not those of a native run
    ``allocations``, ``allocated_bytes``, ``freed_objects``
    ``heap_bytes``            its size at the end, which is its greatest
    ``peak_bytes``            the most that was in use at once, in whole blocks
    ``live_objects``, ``live_bytes``, ``largest_free_bytes``    at the end
    ``pause_ns``, ``longest_pause_ns``                          of all collections together, and of the longest one
    ``mem_stats``             Go's ``MemStats``, by Go's names
    ``memory_pages``          the sizes of the memory under it, 64 KiB each: when it began, and after each growth
    ``refused_pages``         the size that memory was refused last; null where none was
    ``collections``           each collection, with the fields of `tinyheap.heap.Collection`; ``begun_ns`` is since
                              the program's first instruction
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tinyheap.json_of import json_of
from tinyheap.report.quantities import share_text, size_text, time_text
from tinyheap.units import counted

if TYPE_CHECKING:
    from tinyheap.guests.ending import Ending
    from tinyheap.guests.guest_heap import GuestHeap
    from tinyheap.guests.serve.growing import MemorySteps
    from tinyheap.heap.collectors import Collector
    from tinyheap.heap.stats import Collection, MemStats
    from tinyheap.hosts.memory import GuestMemory
    from tinyheap.recognize.facts import Guest

_GUEST_FACTS: Final = ("runtime", "version", "collector", "scheduler", "served")


@dataclass(frozen=True, slots=True)
class HeapReport:
    """The statistics of one heap at its end."""

    engine: str
    collector: Collector
    is_own_collector: bool
    mem_stats: MemStats
    collections: tuple[Collection, ...]
    live_objects: int
    largest_free_bytes: int
    block_bytes: int
    memory_steps: MemorySteps

    @classmethod
    def of(cls, heap: GuestHeap, entered_ns: int = 0) -> HeapReport:
        """The heap as it is now.

        Args:
            heap: Of a program.
            entered_ns: When the program's first call began.
        """
        block_bytes = heap.geometry.block_bytes if heap.is_begun else 0
        census = heap.census()
        largest_bytes = census.largest_free_run_blocks * block_bytes
        return cls(
            heap.engine_name,
            heap.collector,
            heap.is_own_collector,
            heap.stats(),
            tuple(each._replace(begun_ns=each.begun_ns - entered_ns) for each in heap.collections),
            census.heads,
            largest_bytes,
            block_bytes,
            heap.memory_steps,
        )

    @property
    def live_bytes(self) -> int:
        """In use now, in whole blocks."""
        return self.mem_stats.heap_inuse

    @property
    def peak_bytes(self) -> int:
        """The most that was in use at once, in whole blocks: at the end, or when a collection began."""
        before = (each.live_blocks + each.freed_blocks for each in self.collections)
        return max([self.live_bytes, *(blocks * self.block_bytes for blocks in before)])

    @property
    def pause_ns(self) -> int:
        """Of all collections together."""
        return sum(each.pause_ns for each in self.collections)

    @property
    def longest_pause_ns(self) -> int:
        """Of the longest collection; 0 if there was none."""
        return max((each.pause_ns for each in self.collections), default=0)

    def as_json(self) -> dict[str, Any]:
        """What `json.dumps` takes; the keys are described above."""
        return {
            "engine": self.engine,
            "collector": str(self.collector),
            "is_own_collector": self.is_own_collector,
            "allocations": self.mem_stats.mallocs,
            "allocated_bytes": self.mem_stats.total_alloc,
            "freed_objects": self.mem_stats.frees,
            "heap_bytes": self.mem_stats.sys,
            "peak_bytes": self.peak_bytes,
            "live_objects": self.live_objects,
            "live_bytes": self.live_bytes,
            "largest_free_bytes": self.largest_free_bytes,
            "pause_ns": self.pause_ns,
            "longest_pause_ns": self.longest_pause_ns,
            "mem_stats": self.mem_stats.as_go(),
            "memory_pages": list(self.memory_steps.pages),
            "refused_pages": self.memory_steps.refused_pages,
            "collections": json_of(self.collections),
        }

    def lines(self, run_ns: int) -> Iterator[tuple[str, str]]:
        """Statistics and their names, for people."""
        stats = self.mem_stats
        yield "allocations", f"{stats.mallocs:,}"
        yield "allocated", size_text(stats.total_alloc)
        yield "collections", f"{len(self.collections):,}"
        yield "freed", counted(stats.frees)
        if self.collections:
            yield "longest pause", time_text(self.longest_pause_ns)
            yield "in the collector", f"{time_text(self.pause_ns)} of {time_text(run_ns)}"
        yield "peak in use", f"{size_text(self.peak_bytes)}, {share_text(self.peak_bytes, stats.sys)} of the heap"
        yield "heap", size_text(stats.sys)
        yield "live at the end", f"{counted(self.live_objects)}, {size_text(self.live_bytes)}"


def own_counters(guest: Guest | None, memory: GuestMemory) -> dict[str, int] | None:
    """The counters that a program keeps itself, by Go's names; None where it is not known that it does."""
    if guest is None or guest.heap is None:
        return None
    counters = guest.heap.counters
    addresses = {
        "Mallocs": counters.mallocs_address,
        "Frees": counters.frees_address,
        "TotalAlloc": counters.total_alloc_bytes_address,
    }
    known = {name: address for name, address in addresses.items() if address is not None}
    return {name: int.from_bytes(memory.read(address, 8), "little") for name, address in known.items()} or None


@dataclass(frozen=True, slots=True)
class RunReport:
    """One run of one program."""

    module: str
    gc: str
    guest: Guest | None
    exit_code: int
    error: str | None
    was_cached: bool
    prepare_ns: int
    run_ns: int
    memory_bytes: int | None
    counters: dict[str, int] | None
    heap: HeapReport | None
    stub_calls: dict[str, int]
    ending: Ending

    def as_json(self) -> dict[str, Any]:
        """What `json.dumps` takes; the keys are described above."""
        facts = None if self.guest is None else {name: getattr(self.guest, name) for name in _GUEST_FACTS}
        return {
            "module": self.module,
            "guest": facts,
            "gc": self.gc,
            "exit_code": self.exit_code,
            "error": self.error,
            "ended": {"kind": self.ending.kind.value, "evidence": list(self.ending.evidence)},
            "was_cached": self.was_cached,
            "prepare_ns": self.prepare_ns,
            "run_ns": self.run_ns,
            "memory_bytes": self.memory_bytes,
            "counters": self.counters,
            "stub_calls": self.stub_calls,
            "heap": None if self.heap is None else self.heap.as_json(),
        }

    def lines(self) -> Iterator[str]:
        """What it was, the statistics of its heap or why there are none, how often stubs were called, how it failed."""
        yield from self._heap_lines()
        if self.stub_calls:
            calls = (f"{name} {_times(count)}" for name, count in self.stub_calls.items())
            yield f"stubs called: {', '.join(calls)}"
        if self.ending.is_bad:
            yield f"ended by: {self.ending.kind}"
            yield from (f"  {phrase}" for phrase in self.ending.evidence)

    def _heap_lines(self) -> Iterator[str]:
        guest = self.guest
        if guest is None:
            yield f"{self.module}: ran natively in {time_text(self.run_ns)}{self._memory()}"
            return
        version = f" {guest.version}" if guest.version else ""
        what = f"{self.module}: {guest.runtime}{version}, collector: {guest.collector}"
        if self.heap is None:
            yield what
            yield f"This module {guest.served}."
            yield f"It ran for {time_text(self.run_ns)}{self._memory()}; what its heap did is unknown."
            return
        collector = "never collected" if self.gc == "leaking" else "replaced"
        other = "" if self.heap.is_own_collector else f" by {self.heap.collector}, so that addresses differ"
        yield f"{what}, {collector}{other} ({self.heap.engine})"
        statistics = list(self.heap.lines(self.run_ns))
        width = max(len(name) for name, _ in statistics)
        for name, statistic in statistics:
            yield f"  {name:{width}}  {statistic}"

    def _memory(self) -> str:
        return "" if self.memory_bytes is None else f" in {size_text(self.memory_bytes)} of memory"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"
