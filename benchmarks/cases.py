"""What is measured: workloads at sizes and occupancies, each with the ratio that it is held to.

Traces are made once and kept in the build folder, under names made from their options and the generator's state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks.peers import BUILD_FOLDER
from tinyheap.heap.collectors import Collector
from tinyheap.traces import trace, workloads
from tinyheap.units import KIB, MIB

ANY_GOAL: Final = 0.95
"""No workload may be slower than the literal port, give or take the noise."""
HIGH_OCCUPANCY: Final = 0.8
QUICK_STEPS_SHARE: Final = 5
QUICK_HEAP_BYTES: Final = MIB


@dataclass(frozen=True, slots=True)
class Case:
    """A workload under one scanner, and how many times faster than the literal port it has to be."""

    workload: str
    options: workloads.WorkloadOptions
    goal: float = ANY_GOAL
    collector: Collector = Collector.NEXT_FIT

    @property
    def gc(self) -> str:
        """The scanner, by the name of the collector."""
        return "precise" if self.options.precise else "conservative"

    @property
    def name(self) -> str:
        """`mixed-w8-1MiB-60%-conservative`: workload, word size, heap size, occupancy, scanner; a collector but next-fit."""
        collector = "" if self.collector is Collector.NEXT_FIT else f"-{self.collector}"
        return f"{self.program}-{self.gc}{collector}"

    @property
    def program(self) -> str:
        """What is run: the name without scanner and collector."""
        heap = self.options.heap_bytes
        size = f"{heap // MIB}MiB" if heap >= MIB else f"{heap // KIB}KiB"
        return f"{self.workload}-w{self.options.word_bytes}-{size}-{self.options.occupancy:.0%}"

    def trace(self) -> Path:
        """The case's trace, generated unless it is there already."""
        sources = b"".join(Path(str(module.__file__)).read_bytes() for module in (trace, workloads))
        key = hashlib.sha256(sources + repr((self.workload, astuple(self.options))).encode()).hexdigest()[:16]
        path = BUILD_FOLDER / "traces" / f"{self.program}-{self.gc}-{key}.trace"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(".part")
            trace.write_trace(unfinished, workloads.generate(self.workload, self.options))
            unfinished.rename(path)
        return path


def all_cases(*, quick: bool) -> Iterator[Case]:
    """Every case; the quick choice leaves out heaps over a MiB and most of the churn."""
    for case in _cases():
        if not quick:
            yield case
        elif case.options.heap_bytes <= QUICK_HEAP_BYTES:
            yield replace(case, options=replace(case.options, steps=case.options.steps // QUICK_STEPS_SHARE))


def _cases() -> Iterator[Case]:
    """Next-fit's, then best-fit's: the same, and the walks over long lists of free ranges."""
    next_fit = list(_next_fit_cases())
    yield from next_fit
    for case in next_fit:
        yield _on_best_fit(replace(case, goal=_best_fit_goal(case)))
    for workload in ("lengths", "walks", "equals"):
        yield _on_best_fit(_case(workload, 8, 16 * MIB, 1_000_000, 0.6))


def _on_best_fit(case: Case) -> Case:
    """The case on best-fit, whose headers count in what is alive: else small objects would fill the heap twice."""
    collector = Collector.BEST_FIT_FRONT
    return replace(case, collector=collector, options=replace(case.options, collector=collector))


def _best_fit_goal(case: Case) -> float:
    if case.workload != "mixed":
        return ANY_GOAL
    return 3 if case.options.occupancy > HIGH_OCCUPANCY else 2


def _next_fit_cases() -> Iterator[Case]:
    for word_bytes in (4, 8):
        for heap_bytes, steps in (
            (64 * KIB, 1_000_000),
            (MIB, 1_000_000),
            (16 * MIB, 2_000_000),
            (64 * MIB, 4_000_000),
        ):
            for occupancy, goal in ((0.3, 2.3), (0.6, 2.3), (0.9, 2.4)):
                if not _runs_out(word_bytes, heap_bytes, occupancy):
                    yield _case("mixed", word_bytes, heap_bytes, steps, occupancy, goal)
    for occupancy in (0.3, 0.6):
        yield _case("mixed", 8, MIB, 1_000_000, occupancy, 2.3, precise=True)
    yield _case("mixed", 4, 16 * MIB, 2_000_000, 0.6, 2.3, precise=True)
    for precise in (False, True):
        yield _case("overflow", 8, MIB, 200_000, 0.5, 20, precise=precise)
        yield _case("arrays", 4, 16 * MIB, 100_000, 0.5, 4, precise=precise)
        yield _case("arrays", 8, 16 * MIB, 100_000, 0.5, 4, precise=precise)
        yield _case("trees", 4, MIB, 2_000_000, 0.5, precise=precise)
        yield _case("trees", 8, 16 * MIB, 3_000_000, 0.5, precise=precise)
    yield _case("overflow", 4, 16 * MIB, 1_000_000, 0.5, 20)
    yield _case("lists", 8, MIB, 1_000_000, 0.6)
    yield _case("chains", 8, MIB, 1_000_000, 0.6)
    yield _case("chains", 8, 16 * MIB, 2_000_000, 0.6)
    yield _case("fragment", 4, MIB, 1_000_000, 0.6)
    yield _case("fragment", 8, 16 * MIB, 2_000_000, 0.6)


def _runs_out(word_bytes: int, heap_bytes: int, occupancy: float) -> bool:
    """Two thousand blocks, nine tenths of them alive, fragment until nothing fits, and soon."""
    return word_bytes == 8 and heap_bytes == 64 * KIB and occupancy == 0.9


def _case(
    workload: str,
    word_bytes: int,
    heap_bytes: int,
    steps: int,
    occupancy: float,
    goal: float = ANY_GOAL,
    *,
    precise: bool = False,
) -> Case:
    return Case(
        workload,
        workloads.WorkloadOptions(
            heap_bytes=heap_bytes, word_bytes=word_bytes, steps=steps, occupancy=occupancy, precise=precise
        ),
        goal,
    )
