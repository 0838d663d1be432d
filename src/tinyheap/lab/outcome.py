"""What became of a program under one condition: a row of statistics.

What ``tinyheap run --json`` has, too, is the same here; percentiles, utilization and fragmentation are added.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from tinyheap.guests.ending import EndKind
from tinyheap.profile.pausing import percentile, utilizations
from tinyheap.profile.summary import fragmentation
from tinyheap.units import WASM_PAGE_BYTES

if TYPE_CHECKING:
    from tinyheap.lab.conditions import Condition

WINDOWS_MS: Final = (1, 10, 100)
"""The windows of which an outcome has the minimum mutator utilization."""
WORKER_DIED: Final = "worker died"
"""How a run ended whose process was killed from outside, or by a fault of its own, each time that it was tried."""

OUTPUT: Final = "output_sha256"
"""The field of an outcome that tells what the program wrote."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The run of a program under one condition.  Sizes are in bytes, durations in nanoseconds.

    What is not known is None: of a module that keeps its own collector nearly all, of pauses where there was none.
    """

    condition: str
    """As `Condition` is written."""
    run: int
    """Which run under this condition, from 1."""
    ended: str
    """An `EndKind`, or ``worker died``."""
    evidence: tuple[str, ...]
    """What shows how it ended, a phrase each."""
    exit_code: int | None
    """The command's; None where there is none."""
    output_sha256: str | None
    """Of what the program wrote to standard output, in hexadecimal."""
    run_ns: int | None = None
    allocations: int | None = None
    allocated_bytes: int | None = None
    peak_bytes: int | None = None
    """The most that was in use at once, as far as it was seen: at the end, or when a collection began."""
    live_bytes: int | None = None
    """In use at the end."""
    heap_bytes: int | None = None
    """Of the heap at the end, which is its greatest."""
    memory_pages: int | None = None
    """Of the linear memory at the end, 64 KiB each."""
    collections: int | None = None
    pause_50_ns: int | None = None
    """Half of the pauses are not longer."""
    pause_99_ns: int | None = None
    longest_pause_ns: int | None = None
    collector_ns: int | None = None
    """In all collections together."""
    utilization_1_ms: float | None = None
    """The minimum mutator utilization for windows of 1 ms: the program's share of the worst of them, from 0 to 1."""
    utilization_10_ms: float | None = None
    """None where the run was shorter, as in the next."""
    utilization_100_ms: float | None = None
    fragmentation: float | None = None
    """At the end: 1 - largest free run / free memory; None where nothing is free."""
    largest_free_bytes: int | None = None
    """At the end: the largest request that would still fit, its header included."""
    memory_steps_pages: tuple[int, ...] | None = None
    """The sizes of the linear memory under the heap, 64 KiB each: when it began, and after each growth."""
    refused_pages: int | None = None
    """The size that memory was refused last; None where none was."""

    @property
    def passed(self) -> bool:
        """Whether the program came to its end, with exit code 0."""
        return self.exit_code == 0 and self.ended in (EndKind.FINISHED, EndKind.EXITED)


SAME_IN_EACH_RUN: Final = tuple(
    each.name for each in fields(Outcome) if not re.fullmatch("condition|run|.*_ns|utilization_.*", each.name)
)
"""What two runs of a deterministic program have in common."""


@dataclass(frozen=True, slots=True)
class OutcomeDifference:
    """A statistic that two runs under the same condition do not share."""

    condition: str
    name: str
    first: object
    second: object


def differences(first: Outcome, second: Outcome) -> tuple[OutcomeDifference, ...]:
    """What differs between two runs of one condition, durations apart; nothing where the program is deterministic."""
    pairs = ((name, getattr(first, name), getattr(second, name)) for name in SAME_IN_EACH_RUN)
    return tuple(OutcomeDifference(first.condition, *pair) for pair in pairs if pair[1] != pair[2])


def outcome_of(condition: Condition, run: int, report: dict[str, Any], output_sha256: str) -> Outcome:
    """The outcome of a run, by what ``tinyheap run --json`` wrote of it."""
    memory_bytes = report["memory_bytes"]
    return Outcome(
        str(condition),
        run,
        report["ended"]["kind"],
        tuple(report["ended"]["evidence"]),
        report["exit_code"],
        output_sha256,
        report["run_ns"],
        memory_pages=None if memory_bytes is None else memory_bytes // WASM_PAGE_BYTES,
        **({} if report["heap"] is None else _of_heap(report["heap"], report["run_ns"])),
    )


_SAME: Final = (
    "allocations", "allocated_bytes", "peak_bytes", "live_bytes", "heap_bytes", "largest_free_bytes", "refused_pages",
)  # fmt: skip
"""What has the same name in the report."""


def _of_heap(heap: dict[str, Any], run_ns: int) -> dict[str, Any]:
    pauses = sorted(each["pause_ns"] for each in heap["collections"])
    return {name: heap[name] for name in _SAME} | {
        "collections": len(pauses),
        "pause_50_ns": percentile(pauses, 50) if pauses else None,
        "pause_99_ns": percentile(pauses, 99) if pauses else None,
        "longest_pause_ns": pauses[-1] if pauses else None,
        "collector_ns": heap["pause_ns"],
        "fragmentation": fragmentation(heap["mem_stats"]["HeapIdle"], heap["largest_free_bytes"]),
        "memory_steps_pages": tuple(heap["memory_pages"]),
        **_utilizations(heap["collections"], run_ns),
    }


def _utilizations(collections: list[dict[str, Any]], run_ns: int) -> dict[str, float]:
    spans = [(each["begun_ns"], each["begun_ns"] + each["pause_ns"]) for each in collections if each["begun_ns"] >= 0]
    found = {each.window_ns: each.utilization for each in utilizations(spans, run_ns)}
    return {f"utilization_{ms}_ms": found[ms * 10**6] for ms in WINDOWS_MS if ms * 10**6 in found}
