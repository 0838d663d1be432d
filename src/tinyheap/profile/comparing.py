"""The difference between two recordings.

The recordings need not be of one build of a program: functions are matched by their names, and sites by the names of
caller and callee, so that all calls from one function to another are one line.  Every difference is ``after - before``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tinyheap.profile.pausing import PERCENTS, Pauses, pauses
from tinyheap.profile.result import Unknown
from tinyheap.profile.sites import Usage, by_function, by_site
from tinyheap.profile.summary import Peak, Totals, totals
from tinyheap.results import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tinyheap.recordings.recording import Recording

TOTALS: Final = (
    "allocations",
    "allocated_bytes",
    "live_objects",
    "live_bytes",
    "collections",
    "collector_ns",
    "freed_objects",
    "freed_bytes",
    "growths",
    "heap_bytes",
    "used_bytes",
    "wall_ns",
)
"""The metrics of `Totals` that are compared."""


@dataclass(frozen=True, slots=True)
class MetricDifference(Result):
    """One metric in both recordings; None where it is not known."""

    name: str
    before: float | None
    after: float | None

    @property
    def change(self) -> float | None:
        """After less before; None where one of them is not known."""
        return None if self.before is None or self.after is None else self.after - self.before

    @property
    def ratio(self) -> float | None:
        """After as a multiple of before; None where before is 0 or one of them is not known."""
        return None if self.after is None or not self.before else self.after / self.before


@dataclass(frozen=True, slots=True)
class UsageDifference:
    """What a function or a site allocates in both recordings; 0 where it is in one only."""

    function: str
    callee: str | None
    """Of a site; None for a function, and for a site whose call is indirect."""
    own_objects: tuple[int, int]
    """Before and after, like the others."""
    own_bytes: tuple[int, int]
    total_bytes: tuple[int, int]
    live_bytes: tuple[int | None, int | None]
    """None where collections were not observed."""

    @property
    def own_change_bytes(self) -> int:
        """Of its own bytes, after less before."""
        return self.own_bytes[1] - self.own_bytes[0]


@dataclass(frozen=True, slots=True)
class Comparison(Result):
    """Two recordings side by side."""

    before: Totals
    after: Totals
    totals: tuple[MetricDifference, ...]
    pauses: tuple[MetricDifference, ...]
    """In nanoseconds; the worst share left to the program is by windows that both runs are long enough for."""
    functions: tuple[UsageDifference, ...]
    """Those that differ in any metric, the greatest change of own bytes first."""
    sites: tuple[UsageDifference, ...]


def compare(before: Recording, after: Recording) -> Comparison:
    """Two recordings side by side."""
    totals_before, totals_after = totals(before), totals(after)
    metrics = [MetricDifference(name, getattr(totals_before, name), getattr(totals_after, name)) for name in TOTALS]
    metrics += [
        *_of_peaks(totals_before.peak, totals_after.peak),
        MetricDifference("fragmentation", totals_before.fragmentation, totals_after.fragmentation),
    ]
    return Comparison(
        before=totals_before,
        after=totals_after,
        totals=tuple(metrics),
        pauses=tuple(_of_pauses(pauses(before), pauses(after))),
        functions=_differences(_functions_by_names, before, after),
        sites=_differences(_sites_by_names, before, after),
    )


def _of_peaks(before: Peak | None, after: Peak | None) -> Iterable[MetricDifference]:
    yield MetricDifference(
        "peak_bytes", None if before is None else before.bytes, None if after is None else after.bytes
    )
    yield MetricDifference(
        "peak_objects", None if before is None else before.objects, None if after is None else after.objects
    )


def _of_pauses(before: Pauses | Unknown, after: Pauses | Unknown) -> Iterable[MetricDifference]:
    known_before, known_after = _pause_metrics(before), _pause_metrics(after)
    for name in ("total_ns", *(f"percentile_{percent}_ns" for percent in PERCENTS)):
        yield MetricDifference(name, known_before.pop(name, None), known_after.pop(name, None))
    for name, utilization in known_before.items():
        if name in known_after:
            yield MetricDifference(name, utilization, known_after[name])


def _pause_metrics(found: Pauses | Unknown) -> dict[str, float]:
    """What is known of pauses, by the names of differences."""
    if isinstance(found, Unknown):
        return {}
    return {
        "total_ns": found.total_ns,
        **{f"percentile_{percent}_ns": pause_ns for percent, pause_ns in found.percentiles_ns.items()},
        **{f"utilization_{each.window_ns}_ns": each.utilization for each in found.utilizations},
    }


CallNames = tuple[str, str | None]
"""Function, and callee."""
Metrics = tuple[int, int, int, int | None]
"""Own objects, own bytes, total bytes, live bytes."""


def _metrics(usage: Usage) -> Metrics:
    return usage.own_objects, usage.own_bytes, usage.total_bytes, usage.live_bytes


def _functions_by_names(recording: Recording) -> dict[CallNames, Metrics]:
    return {(usage.function, None): _metrics(usage) for usage in by_function(recording)}


def _sites_by_names(recording: Recording) -> dict[CallNames, Metrics]:
    """The metrics of sites, added up for those of one caller and one callee."""
    found: dict[CallNames, Metrics] = {}
    for usage in by_site(recording):
        key = usage.site.function, usage.site.callee
        objects, own, total, live = found.get(key, _nothing(recording))
        more = _metrics(usage)
        all_live = None if live is None or more[3] is None else live + more[3]
        found[key] = objects + more[0], own + more[1], total + more[2], all_live
    return found


def _nothing(recording: Recording) -> Metrics:
    """The metrics of what a recording does not have."""
    return 0, 0, 0, 0 if recording.run.observed.collections else None


def _differences(
    by_names: Callable[[Recording], dict[CallNames, Metrics]], before: Recording, after: Recording
) -> tuple[UsageDifference, ...]:
    """What differs in what both recordings know, by names."""
    first, second = by_names(before), by_names(after)
    nothing = _nothing(before), _nothing(after)
    pairs = {key: (first.get(key, nothing[0]), second.get(key, nothing[1])) for key in {**first, **second}}
    found = [_difference(*key, *pair) for key, pair in pairs.items() if _differ(*pair)]
    return tuple(sorted(found, key=lambda each: (-abs(each.own_change_bytes), each.function, each.callee or "")))


def _difference(function: str, callee: str | None, before: Metrics, after: Metrics) -> UsageDifference:
    (objects, own, total, live), (objects_after, own_after, total_after, live_after) = before, after
    sides = (objects, objects_after), (own, own_after), (total, total_after)
    return UsageDifference(function, callee, *sides, (live, live_after))


def _differ(before: Metrics, after: Metrics) -> bool:
    """Whether any metric that both have is another one."""
    return any(None not in pair and pair[0] != pair[1] for pair in zip(before, after, strict=True))
