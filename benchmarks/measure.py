"""Timing one case on the kernel and its peers, interleaved, so that whatever slows the machine hits all of them."""

from __future__ import annotations

import ctypes
import ctypes.util
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from statistics import median
from timeit import Timer
from typing import TYPE_CHECKING, Any, Final

from benchmarks import peers
from benchmarks.cases import Case
from tinyheap.heap.buffers import reserve
from tinyheap.heap.collectors import Collector
from tinyheap.heap.heap import Heap
from tinyheap.traces.replay import Replay, ranges_hash, replay, table_hash
from tinyheap.traces.trace import Trace, read_trace
from tinyheap.units import MIB

if TYPE_CHECKING:
    from collections.abc import Callable

SWEEP_GOALS: Final = {Collector.NEXT_FIT: 25, Collector.BEST_FIT_FRONT: 15}
"""How many times faster sweeping has to be in mixed heaps; best-fit's builds its lists, too."""
PYTHON_OBJECT_BYTES: Final = 32
PYTHON_OBJECTS: Final = 200_000
PYTHON_HEAP_BYTES: Final = 32 * MIB


class DisagreementError(Exception):
    """The kernel and the literal port did not do the same work, so that their times say nothing."""


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison: medians in nanoseconds, and what both sides did."""

    name: str
    peer: str
    n: int
    ours_ns: float
    peer_ns: float
    goal: float
    work: dict[str, str] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """How many times faster than the peer."""
        return self.peer_ns / self.ours_ns

    def as_json(self) -> dict[str, Any]:
        """The row as it is written for programs."""
        return {
            "name": self.name,
            "peer": self.peer,
            "ratio": round(self.ratio, 3),
            "n": self.n,
            "ours_ns": round(self.ours_ns, 1),
            "peer_ns": round(self.peer_ns, 1),
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """The rows of a case, and what is to be said of peers that have none."""

    rows: list[Row]
    notes: list[str]


def measure(case: Case, n: int, bdwgc: Path | None) -> Outcome:
    """Runs a case `n` times on each side.

    Raises:
        PeerError: A peer does not compile or run.
        DisagreementError: The kernel's heap ended otherwise than the literal port's.
    """
    trace = case.trace()
    program = read_trace(trace)
    precise = case.options.precise
    with_bdwgc = bdwgc if case.options.word_bytes == 8 else None
    literal = peers.literal(case.options.word_bytes, precise=precise, collector=case.collector)
    check_agreement(case, program, peers.run(literal, trace))
    ours, theirs, bdwgcs = [], [], []
    for _ in range(n):
        ours.append(play(program, case))
        theirs.append(peers.run(literal, trace, "--times"))
        if with_bdwgc:
            bdwgcs.append(peers.run(with_bdwgc, trace, *(["--precise"] if precise else [])))
    counted = peers.run(
        peers.literal(case.options.word_bytes, precise=precise, counted=True, collector=case.collector), trace
    )
    rows = literal_rows(case, ours, theirs, work(ours[0], counted))
    notes = [f"{case.name}: runs out of memory at step {ours[0].ops_done}"] if ours[0].out_of_memory else []
    if bdwgcs and bdwgcs[0]["oom"]:
        notes.append(f"{case.name}: bdwgc runs out of memory at step {bdwgcs[0]['ops_done']} of {program.step_count}")
    elif bdwgcs:
        total_ns = median(run.total_ns for run in ours)
        rows.append(Row(case.name, "bdwgc", n, total_ns, median(run["total_ns"] for run in bdwgcs), 0))
    return Outcome(rows, notes)


def play(program: Trace, case: Case) -> Replay:
    """One run of a program on the kernel, with its memory there from the start, as the peers have it."""
    return replay(program, case.gc, "kernel", collector=case.collector, timing=False, hashes=False, prefault=True)


def check_agreement(case: Case, program: Trace, said: dict[str, Any]) -> None:
    """Raises DisagreementError where the kernel's heap ended otherwise than the literal port's."""
    ours = play(program, case)
    ends = {
        "collection_count": len(ours.collections),
        **place_of_next(ours),
        "final_table_fnv1a": f"{table_hash(ours.table, ours.geometry.end_block):016x}",
        "mem_stats": {key: ours.mem_stats.as_go(case.collector)[key] for key in said["mem_stats"]},
    }
    for key, value in ends.items():
        if said[key] != value:
            raise DisagreementError(f"{case.name}: {key} is {value} here and {said[key]} in the literal port")


def place_of_next(ours: Replay) -> dict[str, Any]:
    """What decides where the next object goes: a place, or the free list."""
    if not ours.collector.has_free_list:
        return {"next_alloc": ours.next_alloc}
    return {"final_ranges_fnv1a": f"{ranges_hash(ours.ranges, ours.geometry.block_bytes):016x}"}


def literal_rows(case: Case, ours: list[Replay], theirs: list[dict[str, Any]], done: dict[str, str]) -> list[Row]:
    """Rows against the literal port: in total, and for the sweep alone where mixed sizes are swept."""
    n = len(ours)
    total_ns, their_total_ns = median(run.total_ns for run in ours), median(run["total_ns"] for run in theirs)
    mark_ns, their_mark_ns = median(run.mark_ns for run in ours), median(run["mark_ns"] for run in theirs)
    sweep_ns, their_sweep_ns = median(run.sweep_ns for run in ours), median(run["sweep_ns"] for run in theirs)
    phases = {
        "mark ms": f"{mark_ns / 1e6:.1f} / {their_mark_ns / 1e6:.1f}",
        "rest ms": f"{(total_ns - mark_ns - sweep_ns) / 1e6:.1f} / "
        f"{(their_total_ns - their_mark_ns - their_sweep_ns) / 1e6:.1f}",
    }
    rows = [Row(case.name, "literal", n, total_ns, their_total_ns, case.goal, {**phases, **done})]
    if case.workload == "mixed" and sweep_ns:
        rows.append(Row(f"{case.name}-sweep", "literal", n, sweep_ns, their_sweep_ns, SWEEP_GOALS[case.collector]))
    return rows


def work(ours: Replay, literal: dict[str, Any]) -> dict[str, str]:
    """Work counters of both sides, ours first."""
    counters = ours.counters
    return {
        "collections": f"{len(ours.collections)}",
        "table reads": f"{counters.table_reads} / {literal['blocks_examined']}",
        "words scanned": f"{counters.words_scanned} / {literal['words_scanned']}",
        "rescans": f"{counters.rescans} / {literal.get('rescans', 0)}",
        "mark stack": f"{counters.mark_stack_peak}",
    }


def measure_python_calls(n: int) -> Outcome:
    """What an allocation costs a caller in Python, one by one and in a batch, against bdwgc through ctypes.

    The batch has the same peer: without it, one call per allocation is what a Python program makes.
    """
    library = ctypes.util.find_library("gc")
    if library is None:
        return Outcome([], ["python calls: left out, because libgc is not installed"])
    bdwgc_alloc = load_bdwgc(library)
    one_by_one, batch, peer = [], [], []
    for _ in range(n):
        with Heap(reserve(PYTHON_HEAP_BYTES, prefault=True)) as heap:
            one_by_one.append(call_ns(heap.alloc))
        with Heap(reserve(PYTHON_HEAP_BYTES, prefault=True)) as heap:
            seconds = Timer(lambda: heap.alloc_many(PYTHON_OBJECTS, PYTHON_OBJECT_BYTES)).timeit(1)
            batch.append(seconds * 1e9 / PYTHON_OBJECTS)
        peer.append(call_ns(bdwgc_alloc))
    goals_ns = {"python-alloc": (one_by_one, 120), "python-alloc-many": (batch, 15)}
    rows = [
        Row(name, "ctypes-bdwgc", n, median(times), median(peer), median(peer) / goal_ns)
        for name, (times, goal_ns) in goals_ns.items()
    ]
    return Outcome(rows, [f"{row.name}: {row.ours_ns:.1f} ns an object" for row in rows])


def call_ns(allocate: Callable[[int], object]) -> float:
    """Nanoseconds of one call from Python, the loop included."""
    loop = "for _ in times: allocate(size)"
    names = {"allocate": allocate, "size": PYTHON_OBJECT_BYTES, "times": repeat(None, PYTHON_OBJECTS)}
    return Timer(loop, globals=names).timeit(1) * 1e9 / PYTHON_OBJECTS


def load_bdwgc(library: str) -> Callable[[int], object]:
    """`GC_malloc` through ctypes, with no collections: Python's own memory is none of its business."""
    gc = ctypes.CDLL(library)
    gc.GC_init()
    gc.GC_disable()
    gc.GC_malloc.argtypes, gc.GC_malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    allocate: Callable[[int], object] = gc.GC_malloc
    return allocate
