"""Two recordings side by side: what became more, what became less.

The recordings need not be of one build of a program: functions are matched by their names, and sites by the names of
caller and callee, so that all calls from one function to another are one line.  Every difference is ``after - before``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tinyheap.profile.pausing import Pauses, pauses
from tinyheap.profile.result import Result
from tinyheap.profile.sites import Usage, by_function, by_site
from tinyheap.profile.summary import Totals, totals

if TYPE_CHECKING:
    from collections.abc import Iterable

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
"""The figures of `Totals` that are compared."""


@dataclass(frozen=True, slots=True)
class Difference(Result):
    """One figure in both recordings; None where it is not known."""

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
    live_bytes: tuple[int, int]

    @property
    def own_change_bytes(self) -> int:
        """Of its own bytes, after less before."""
        return self.own_bytes[1] - self.own_bytes[0]


@dataclass(frozen=True, slots=True)
class Comparison(Result):
    """Two recordings side by side."""

    before: Totals
    after: Totals
    totals: tuple[Difference, ...]
    pauses: tuple[Difference, ...]
    """In nanoseconds; the worst share left to the program is by windows that both runs are long enough for."""
    functions: tuple[UsageDifference, ...]
    """Those that differ in any figure, the greatest change of own bytes first."""
    sites: tuple[UsageDifference, ...]


def compare(before: Recording, after: Recording) -> Comparison:
    """Two recordings side by side."""
    totals_before, totals_after = totals(before), totals(after)
    figures = [Difference(name, getattr(totals_before, name), getattr(totals_after, name)) for name in TOTALS]
    figures += [
        Difference("peak_bytes", totals_before.peak.bytes, totals_after.peak.bytes),
        Difference("peak_objects", totals_before.peak.objects, totals_after.peak.objects),
        Difference("fragmentation", totals_before.fragmentation, totals_after.fragmentation),
    ]
    return Comparison(
        before=totals_before,
        after=totals_after,
        totals=tuple(figures),
        pauses=tuple(_of_pauses(pauses(before), pauses(after))),
        functions=_differences(*(_functions_by_names(run) for run in (before, after))),
        sites=_differences(*(_sites_by_names(run) for run in (before, after))),
    )


def _of_pauses(before: Pauses, after: Pauses) -> Iterable[Difference]:
    yield Difference("total_ns", before.total_ns, after.total_ns)
    for percent, pause_ns in before.percentiles_ns.items():
        yield Difference(f"percentile_{percent}_ns", pause_ns, after.percentiles_ns[percent])
    worst = {each.window_ns: each.utilization for each in after.utilizations}
    for each in before.utilizations:
        if each.window_ns in worst:
            yield Difference(f"utilization_{each.window_ns}_ns", each.utilization, worst[each.window_ns])


Names = tuple[str, str | None]
"""Function, and callee."""
Figures = tuple[int, int, int, int]
"""Own objects, own bytes, total bytes, live bytes."""
_NOTHING: Final[Figures] = (0, 0, 0, 0)


def _figures(usage: Usage) -> Figures:
    return usage.own_objects, usage.own_bytes, usage.total_bytes, usage.live_bytes


def _functions_by_names(recording: Recording) -> dict[Names, Figures]:
    return {(usage.function, None): _figures(usage) for usage in by_function(recording)}


def _sites_by_names(recording: Recording) -> dict[Names, Figures]:
    """The figures of sites, added up for those of one caller and one callee."""
    found: dict[Names, Figures] = {}
    for usage in by_site(recording):
        key = usage.site.function, usage.site.callee
        objects, own, total, live = found.get(key, _NOTHING)
        more = _figures(usage)
        found[key] = objects + more[0], own + more[1], total + more[2], live + more[3]
    return found


def _differences(before: dict[Names, Figures], after: dict[Names, Figures]) -> tuple[UsageDifference, ...]:
    """What differs, by the names that both are keyed by."""
    found = [
        UsageDifference(*key, *zip(before.get(key, _NOTHING), after.get(key, _NOTHING), strict=True))
        for key in {**before, **after}
        if before.get(key, _NOTHING) != after.get(key, _NOTHING)
    ]
    return tuple(sorted(found, key=lambda each: (-abs(each.own_change_bytes), each.function, each.callee or "")))
