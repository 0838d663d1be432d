"""Pauses: how long the collector kept the program waiting, and what was left to the program in the meantime.

*Minimum mutator utilization* of a window, after Cheng and Blelloch ("A Parallel, Real-Time Garbage Collector", 2001):
of all spans of that length within the run, the share of time that the program had in the worst of them.  A pause of 5 ms
leaves nothing of a window of 5 ms and half of one of 10 ms; many short pauses in a row are as bad as one long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from tinyheap.profile.result import Unknown, rows, unless_collections
from tinyheap.profile.summary import wall_ns
from tinyheap.results import Result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tinyheap.recordings.recording import Recording

PERCENTS: Final = (50, 90, 99, 100)
_STEPS: Final = (1, 2, 5)


@dataclass(frozen=True, slots=True)
class Utilization:
    """The program's share of the worst window of this length, from 0 (all collection) to 1."""

    window_ns: int
    utilization: float


@dataclass(frozen=True, slots=True)
class Pauses(Result):
    """The pauses of a run, with percentiles of their lengths, which are empty where no collection ran."""

    count: int
    total_ns: int
    mark_ns: int
    """What all marking took."""
    sweep_ns: int
    percentiles_ns: dict[int, int]
    """By percent (50, 90, 99, 100): the shortest pause that so many percent of the pauses do not exceed."""
    wall_ns: int
    """How long the run took, or the last part of it that is recorded."""
    utilizations: tuple[Utilization, ...]
    """By windows of 1, 2, 5, 10, ... ms, and the run as a whole."""

    @property
    def longest_ns(self) -> int | None:
        """The longest pause; None where there was none."""
        return self.percentiles_ns.get(100)


def pauses(recording: Recording) -> Pauses | Unknown:
    """The pauses, their percentiles, and the minimum mutator utilization."""
    if unknown := unless_collections(recording):
        return unknown
    found = rows(recording, "SELECT begun_ns, pause_ns, mark_ns, sweep_ns FROM collections ORDER BY begun_ns, number")
    lengths = sorted(pause_ns for _, pause_ns, _, _ in found)
    first_ns = recording.run.observed.begun_ns
    whole_ns = wall_ns(recording) - first_ns
    intervals = [(begun_ns - first_ns, begun_ns - first_ns + pause_ns) for begun_ns, pause_ns, _, _ in found]
    return Pauses(
        count=len(found),
        total_ns=sum(lengths),
        mark_ns=sum(mark_ns for _, _, mark_ns, _ in found),
        sweep_ns=sum(sweep_ns for _, _, _, sweep_ns in found),
        percentiles_ns={percent: percentile(lengths, percent) for percent in PERCENTS if lengths},
        wall_ns=whole_ns,
        utilizations=tuple(utilizations(intervals, whole_ns)),
    )


def percentile(ordered: Sequence[int], percent: int) -> int:
    """The smallest of `ordered`, which are not none, that at least `percent` (1..100) of them do not exceed."""
    return ordered[-(-len(ordered) * percent // 100) - 1]


def windows_ns(run_ns: int) -> list[int]:
    """1, 2, 5, 10, ... ms as far as they are shorter than the run, and the run, unless it is 0."""
    found = []
    scale_ns = 1_000_000
    while scale_ns < run_ns:
        found += [step * scale_ns for step in _STEPS if step * scale_ns < run_ns]
        scale_ns *= 10
    return [*found, run_ns] if run_ns > 0 else []


def utilizations(intervals: Sequence[tuple[int, int]], run_ns: int) -> list[Utilization]:
    """The minimum mutator utilization for each of the `windows_ns` of a run.

    Args:
        intervals: Pauses as ranges of nanoseconds within the run, ordered, none reaching into the next.
        run_ns: The run's length.
    """
    starts = np.array([start for start, _ in intervals], np.int64)
    ends = np.array([end for _, end in intervals], np.int64)
    return [Utilization(window, 1 - _worst(starts, ends, run_ns, window) / window) for window in windows_ns(run_ns)]


def _worst(starts: NDArray[np.int64], ends: NDArray[np.int64], run_ns: int, window_ns: int) -> int:
    """The most nanoseconds of pauses in any window of that length.

    It is enough to look at windows that begin with a pause, or at the latest where one still fits into the run.  One that
    begins between pauses loses nothing as it moves on to the next pause, and one that begins within a pause loses nothing
    as it moves back to that pause's beginning: what it gives up at one end it gains at the other, at least.
    """
    if not len(starts):
        return 0
    begins = np.minimum(starts, run_ns - window_ns)
    held = _paused_until(starts, ends, begins + window_ns) - _paused_until(starts, ends, begins)
    return int(held.max())


def _paused_until(starts: NDArray[np.int64], ends: NDArray[np.int64], times: NDArray[np.int64]) -> NDArray[np.int64]:
    """How long the program had been paused at each of `times`."""
    before = np.concatenate([[0], np.cumsum(ends - starts)])
    last = np.searchsorted(starts, times, side="right")
    beyond = np.where(last > 0, np.maximum(ends[last - 1] - times, 0), 0)
    return np.asarray(before[last] - beyond, np.int64)
