"""The difference between two recordings.

The recordings need not be of one build of a program: functions are matched by their names.  Sites are matched by source line
where both recordings have lines: of one module by their numbers; of two, where code has moved, the lines of a function that
allocate are matched in their order, by whom they call, as the longest common subsequence is found.  Without lines, sites are
matched by the names of caller and callee, so that all calls from one function to another are one.  Every difference is
``after - before``.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Final, NamedTuple

from tinyheap.profile.pausing import PERCENTS, Pauses, pauses
from tinyheap.profile.result import Unknown
from tinyheap.profile.sites import Usage, by_function, by_site
from tinyheap.profile.summary import Peak, Totals, totals
from tinyheap.results import Result

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

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
    places: tuple[str | None, str | None]
    """Of a site, ``file:line`` before and after; None where that is not known, or it is in the other only."""
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

    @property
    def name(self) -> str:
        """The function; of a site by line also its place, and where that was before."""
        before, after = self.places
        place = after or before
        if place is None:
            return self.function
        moved = (
            "" if before in (None, place) or after is None else f", before: line {(before or '').rpartition(':')[2]}"
        )
        return f"{self.function} ({place}{moved})"


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

    @property
    def is_by_line(self) -> bool:
        """Whether sites are source lines."""
        return any(place is not None for each in self.sites for place in each.places)


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
        functions=_function_differences(before, after),
        sites=_site_differences(before, after),
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


Metrics = tuple[int, int, int, int | None]
"""Own objects, own bytes, total bytes, live bytes."""


class Site(NamedTuple):
    """A function, or a site, as it is matched."""

    function: str
    callee: str | None = None
    file: str | None = None
    line: int | None = None

    @property
    def place(self) -> str | None:
        """``file:line``; None where it is not known."""
        return None if self.file is None else f"{self.file}:{self.line}"


Pair = tuple[Site | None, Site | None]
"""Before, and after; None where it is in the other only."""


def _metrics(usage: Usage) -> Metrics:
    return usage.own_objects, usage.own_bytes, usage.total_bytes, usage.live_bytes


def _nothing(recording: Recording) -> Metrics:
    """The metrics of what a recording does not have."""
    return 0, 0, 0, 0 if recording.run.observed.collections else None


def _function_differences(before: Recording, after: Recording) -> tuple[UsageDifference, ...]:
    sides = [{Site(usage.function): _metrics(usage) for usage in by_function(each)} for each in (before, after)]
    return _differences(before, after, sides, _same_names(*sides))


def _site_differences(before: Recording, after: Recording) -> tuple[UsageDifference, ...]:
    knows_lines = all(any(usage.site.place for usage in by_site(each)) for each in (before, after))
    sides = [_sites(each, by_line=knows_lines) for each in (before, after)]
    lined = [[site for site in side if site.file is not None] for side in sides]
    unlined = [[site for site in side if site.file is None] for side in sides]
    is_same_module = before.run.module_sha256 == after.run.module_sha256
    pairs = [*_same_names(*unlined), *(_same_names(*lined) if is_same_module else _same_order(*lined))]
    return _differences(before, after, sides, pairs)


def _sites(recording: Recording, *, by_line: bool) -> dict[Site, Metrics]:
    """The metrics of sites, added up for those of one line of a function, or else of one caller and one callee."""
    found: dict[Site, Metrics] = {}
    callees: dict[Site, str | None] = {}
    for usage in by_site(recording):
        site = usage.site
        if by_line and site.place is not None:
            line = Site(site.function, None, site.file, site.line)
            key = line._replace(callee=callees.setdefault(line, site.callee))
        else:
            key = Site(site.function, site.callee)
        found[key] = _sum(found.get(key, _nothing(recording)), _metrics(usage))
    return found


def _sum(first: Metrics, second: Metrics) -> Metrics:
    live = None if first[3] is None or second[3] is None else first[3] + second[3]
    return first[0] + second[0], first[1] + second[1], first[2] + second[2], live


def _same_names(before: Iterable[Site], after: Iterable[Site]) -> list[Pair]:
    """What has the same names is the same, and so is what is on the same line, whoever is called there first."""
    first, second = ({_names(site): site for site in side} for side in (before, after))
    return [(first.get(names), second.get(names)) for names in {**first, **second}]


def _names(site: Site) -> Site:
    return site if site.file is None else site._replace(callee=None)


def _same_order(before: Iterable[Site], after: Iterable[Site]) -> list[Pair]:
    """Lines of one function that call the same in the same order are the same, wherever they are now."""
    groups: dict[tuple[str, str | None], tuple[list[Site], list[Site]]] = {}
    for side, sites in enumerate((before, after)):
        for site in sites:
            groups.setdefault((site.function, site.file), ([], []))[side].append(site)
    return [pair for group in groups.values() for pair in _aligned(*(sorted(side, key=_line_of) for side in group))]


def _line_of(site: Site) -> int:
    return site.line or 0


def _aligned(before: list[Site], after: list[Site]) -> Iterator[Pair]:
    names, names_after = ([site.callee or "" for site in side] for side in (before, after))
    matcher = SequenceMatcher(None, names, names_after, autojunk=False)
    for what, first, first_end, second, second_end in matcher.get_opcodes():
        if what == "equal":
            yield from zip(before[first:first_end], after[second:second_end], strict=True)
        else:
            yield from ((site, None) for site in before[first:first_end])
            yield from ((None, site) for site in after[second:second_end])


def _differences(
    before: Recording, after: Recording, sides: Sequence[dict[Site, Metrics]], pairs: Iterable[Pair]
) -> tuple[UsageDifference, ...]:
    """What differs in what both recordings know."""
    nothing = _nothing(before), _nothing(after)
    found = []
    for pair in pairs:
        first, second = (
            none if site is None else side[site] for site, side, none in zip(pair, sides, nothing, strict=True)
        )
        if _differ(first, second):
            found.append(_difference(pair, first, second))
    return tuple(sorted(found, key=lambda each: (-abs(each.own_change_bytes), each.name, each.callee or "")))


def _difference(pair: Pair, before: Metrics, after: Metrics) -> UsageDifference:
    site = pair[1] or pair[0]
    assert site is not None, "it is in one of them"
    (objects, own, total, live), (objects_after, own_after, total_after, live_after) = before, after
    places = tuple(None if each is None else each.place for each in pair)
    sides = (objects, objects_after), (own, own_after), (total, total_after), (live, live_after)
    return UsageDifference(site.function, site.callee, (places[0], places[1]), *sides)


def _differ(before: Metrics, after: Metrics) -> bool:
    """Whether any metric that both have is another one."""
    return any(None not in pair and pair[0] != pair[1] for pair in zip(before, after, strict=True))
