"""Calls of the host into the program: what they cost, whether the heap grows with them, and what the host keeps.

A *call* is one of the host's own (depth 1) of an exported function that does not start the program; what its host
functions call while it runs is part of it, and of the statistics of its own export, too.

Does the heap *grow with the calls?*  As for leak suspects (`leaks`), what lives right after a collection is looked at,
site by site; but here a step is a call.  Of all collections between the beginnings of two calls the last one counts, which
gives at most one value per call, and it takes as many of them as there (`needed_collections`).  The later half is judged: a
site grows if Kendall's tau is at least `STEADY` and beyond chance among all sites that vary, if it gains more than `MATERIAL`
of what it had on average, and if the Theil-Sen slope over the last quarter is at least `STILL` of that over the half.  The
heap is *flat* where no site grows.

Where deaths were inferred, turnovers stand for collections (`tinyheap.profile.live_steps`), and a site is only told of if
its growth is a tenth of all growth, and of all that lives.

Of the last part of a run, calls are those that began in it, and are counted from there.

*Lent to the host* are objects that a call made and returned the address of, if its export allocates by its name (`malloc`,
`alloc`, ``main.alloc``, ``allocate``, not ``dealloc``), and which were neither given to `free` or `realloc` (or to an export
with a name like ``dealloc`` or ``wasmFree``, as its first argument) nor freed by a collection, nor inferred to be dead.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Final

from tinyheap.errors import RecordingCorruptError
from tinyheap.profile.census import BIRTHS, SITES, take_census
from tinyheap.profile.leaks import ROOM, advised_every, growth_of, later_of, needed_collections, varying_sites
from tinyheap.profile.live_steps import live_steps
from tinyheap.profile.result import Unknown, row, rows
from tinyheap.profile.stacks import StackFrame, StackTree
from tinyheap.profile.summary import wall_ns
from tinyheap.recordings.schema import EventKind
from tinyheap.results import Result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinyheap.profile.live_steps import LiveSteps
    from tinyheap.recordings.recording import Recording

STARTS: Final = ("_start", "_initialize")
"""Exports that start a program; they run once, and are not calls here."""
MOST_SPANS: Final = 64
OLDEST: Final = 20
"""Of what is lent so many objects are listed."""
_NOT_NOTED: Final = "it was recorded by a version that did not record calls"
_NEVER_FREES: Final = "this heap never frees, so that it grows with everything"


@dataclass(frozen=True, slots=True)
class ExportCalls(Result):
    """All calls of one export, also those from within another call; what they called is included."""

    export: str
    calls: int
    failed: int
    """Those that did not return: they trapped, or ended the program."""
    allocated_objects: int
    allocated_bytes: int
    duration_ns: int
    most_allocated_bytes: int
    """By one call."""
    memory_growth_bytes: int
    """By which linear memory grew; whole pages."""
    collections: int | None
    """That began within; None where collections were not observed."""


@dataclass(frozen=True, slots=True)
class CallSpan(Result):
    """Calls that follow each other."""

    first: int
    """The first of them; calls are counted from 1, the first that is recorded."""
    calls: int
    allocated_bytes: int
    duration_ns: int


@dataclass(frozen=True, slots=True)
class GrowingSite(Result):
    """A site whose live bytes grow from call to call."""

    site: StackFrame
    slope_bytes: float
    """By how many bytes they grow per call."""
    tau: float
    live_bytes: int
    """After the last collection that was looked at."""
    lent_bytes: int
    """What of it lives at the end and was made by calls whose result is lent to the host: buffers behind a header, too."""


@dataclass(frozen=True, slots=True)
class CallTrend(Result):
    """Whether the heap grows with the calls."""

    calls: int
    collections: int
    """How many collections gave a value: at most one per call, its last one."""
    needed_collections: int
    """How many of them it takes to tell growth from chance among the sites that vary."""
    garbage_bytes: float | None
    """Allocated by a call on average and not kept, over the calls that were judged; None where there are too few."""
    since_call: int | None
    """From which call on it grows, or lives what lived over the later half; None where there are too few."""
    least_live_bytes: int | None
    """Over the later half."""
    most_live_bytes: int | None
    growing: tuple[GrowingSite, ...]
    """The sites that grow, the steepest first."""
    frees: int
    """Calls by which memory can be given back: of exports that free by their name, and of `free` itself."""
    enough_at: int | None
    """The ``--gc-every`` that makes enough values; None where there are too few calls for that, or collections are unseen."""
    are_turnovers: bool = False
    """Whether deaths were inferred: turnovers stand for collections, and what lives, in `least_live_bytes`, too, is what
    outlived one."""

    @property
    def can_tell(self) -> bool:
        """Whether there was enough to see growth."""
        return self.collections >= self.needed_collections

    @property
    def slope_bytes(self) -> float:
        """By how many bytes per call all sites that grow do so together."""
        return sum(each.slope_bytes for each in self.growing)


@dataclass(frozen=True, slots=True)
class LentObject(Result):
    """An object whose address a call returned to the host, and that lives at the end."""

    object_id: int
    export: str
    size_bytes: int
    call: int
    """In which it was made; 0 where that was none of the host's own, as at the start, or before the last part of a run."""
    age_calls: int
    """How many calls have begun since; of those that are recorded."""
    age_ns: int
    """Until the end of the run."""


@dataclass(frozen=True, slots=True)
class Lent(Result):
    """The objects whose addresses the host still holds at the end of the run."""

    objects: int
    bytes: int
    oldest: tuple[LentObject, ...]
    """The first `OLDEST` of them."""
    is_upper_bound: bool
    """Whether some of it may be gone, since collections were not observed."""


@dataclass(frozen=True, slots=True)
class HostCalls(Result):
    """The calls of a run."""

    calls: int
    exports: tuple[ExportCalls, ...]
    """Those that allocated the most first."""
    spans: tuple[CallSpan, ...]
    """All calls in their order, in at most `MOST_SPANS` spans of about as many calls each."""
    trend: CallTrend | Unknown
    lent: Lent

    @property
    def is_repeated(self) -> bool:
        """Whether the program was called again and again; a command that runs once is not."""
        return self.calls > 1


_FREEING: Final = "(contains(lower(export), 'free') OR contains(lower(export), 'dealloc'))"
_BOUNDS: Final = f"""
CREATE OR REPLACE TEMP TABLE tinyheap_calls AS
WITH begun AS (SELECT * FROM calls WHERE first_event_id >= (SELECT coalesce(max(first_event_id), 1) FROM kept)),
bounds AS (
    SELECT first_event_id - 1 AS event_id FROM begun UNION SELECT last_event_id FROM begun
),
born AS (
    SELECT bounds.event_id, sum(births.objects) AS objects, sum(births.bytes) AS bytes
    FROM {BIRTHS} AS births ASOF JOIN bounds ON births.id <= bounds.event_id GROUP BY ALL
),
upto AS (
    SELECT
        event_id,
        (sum(coalesce(objects, 0)) OVER (ORDER BY event_id))::BIGINT AS objects,
        (sum(coalesce(bytes, 0)) OVER (ORDER BY event_id))::BIGINT AS bytes
    FROM bounds LEFT JOIN born USING (event_id)
)
SELECT
    calls.*,
    depth = 1 AND NOT list_contains($starts, export) AS is_own,
    (sum((depth = 1 AND NOT list_contains($starts, export))::INTEGER) OVER (ORDER BY number))::BIGINT AS place,
    after.objects - before.objects AS objects,
    after.bytes - before.bytes AS bytes
FROM begun AS calls
JOIN upto AS before ON before.event_id = first_event_id - 1
JOIN upto AS after ON after.event_id = last_event_id
"""
_FAULTS: Final = """
SELECT 1 FROM calls
WHERE depth < 1 OR begun_ns < 0 OR ended_ns < begun_ns OR first_event_id < 1 OR last_event_id < first_event_id - 1
    OR last_event_id > greatest(
        (SELECT coalesce(max(id), 0) FROM events), (SELECT coalesce(max(first_event_id), 1) - 1 FROM kept)
    ) OR new_memory_bytes < old_memory_bytes
UNION ALL SELECT 1 FROM calls GROUP BY number HAVING count(*) > 1
LIMIT 1
"""
_EXPORTS: Final = """
SELECT
    export, count(*), count(*) FILTER (NOT returned), sum(objects)::BIGINT, sum(bytes)::BIGINT,
    sum(ended_ns - begun_ns)::BIGINT, max(bytes), coalesce(sum(new_memory_bytes - old_memory_bytes), 0)::BIGINT,
    if($knows_collections, coalesce(sum(within.collections), 0), NULL)::BIGINT
FROM tinyheap_calls AS each
LEFT JOIN (
    SELECT calls.number, count(*) AS collections
    FROM calls JOIN collections ON collections.begun_ns BETWEEN calls.begun_ns AND calls.ended_ns GROUP BY ALL
) AS within ON within.number = each.number
WHERE NOT list_contains($starts, export)
GROUP BY export ORDER BY 5 DESC, export
"""
_SPANS: Final = f"""
SELECT min(place), count(*), sum(bytes)::BIGINT, sum(ended_ns - begun_ns)::BIGINT
FROM tinyheap_calls WHERE is_own
GROUP BY (place - 1) * least({MOST_SPANS}, $calls) // $calls ORDER BY 1
"""
_LENT: Final = f"""
CREATE OR REPLACE TEMP TABLE tinyheap_lent AS
SELECT
    births.object_id, made.export, births.size_bytes, births.objects AS stands_for, births.bytes,
    coalesce(counted.place, 0) AS place, made.begun_ns, made.first_event_id, made.last_event_id
FROM calls AS made
LEFT JOIN tinyheap_calls AS counted USING (number)
JOIN {BIRTHS} AS births ON births.object_id = made.result_object_id
WHERE made.result_object_id > 0
AND contains(lower(made.export), 'alloc') AND NOT contains(lower(made.export), 'dealloc')
AND made.result_object_id NOT IN (SELECT object_id FROM events WHERE kind <> {EventKind.ALLOCATION})
AND made.result_object_id NOT IN (SELECT argument_object_id FROM calls WHERE {_FREEING})
AND NOT ($knows_collections AND made.result_object_id IN (SELECT object_id FROM deaths))
AND made.result_object_id NOT IN (SELECT object_id FROM inferred_deaths)
"""
_LENT_BY_SITE: Final = f"""
SELECT frame_id, sum(births.bytes)::BIGINT
FROM {BIRTHS} AS births
ASOF JOIN tinyheap_lent AS lent ON births.id >= lent.first_event_id
JOIN {SITES} USING (stack_id)
WHERE births.id <= lent.last_event_id
AND births.object_id NOT IN (SELECT object_id FROM deaths)
AND births.object_id NOT IN (SELECT object_id FROM inferred_deaths)
GROUP BY frame_id
"""
_BY_SITE: Final = f"""
SELECT frame_id, sum(births.bytes)::BIGINT
FROM {BIRTHS} AS births
ASOF JOIN (
    SELECT first_event_id, last_event_id, place FROM tinyheap_calls WHERE is_own AND first_event_id <= last_event_id
) AS own
    ON births.id >= own.first_event_id
JOIN {SITES} USING (stack_id)
WHERE births.id <= own.last_event_id AND own.place > $after
GROUP BY frame_id
"""


def host_calls(recording: Recording, *, after: int = 0) -> HostCalls | Unknown:
    """The host's calls: what each export allocates, whether the heap grows with the calls, and what the host still holds.

    Unknown for a recording that was made by a version that did not record calls.

    Args:
        recording: The recording.
        after: So many calls, 0 or more, come before those of which it is asked whether the heap grows with them: it warms up.

    Raises:
        RecordingCorruptError: The recording contradicts itself.
    """
    if not recording.run.knows_calls:
        return Unknown(_NOT_NOTED)
    take_census(recording)
    if rows(recording, _FAULTS):
        raise RecordingCorruptError(f"{recording.path} is damaged: a call ends before it begins, or is there twice")
    knows = {"knows_collections": recording.run.observed.collections}
    starts = {"starts": list(STARTS)}
    rows(recording, _BOUNDS, starts)
    rows(recording, _LENT, knows)
    (own,) = row(recording, "SELECT count(*) FROM tinyheap_calls WHERE is_own")
    return HostCalls(
        calls=own,
        exports=tuple(ExportCalls(*each) for each in rows(recording, _EXPORTS, {**knows, **starts})),
        spans=tuple(CallSpan(*each) for each in rows(recording, _SPANS, {"calls": own})),
        trend=_trend(recording, own, after),
        lent=_lent(recording, own),
    )


def _lent(recording: Recording, own: int) -> Lent:
    objects, size_bytes = row(
        recording, "SELECT coalesce(sum(stands_for), 0)::BIGINT, coalesce(sum(bytes), 0)::BIGINT FROM tinyheap_lent"
    )
    oldest = rows(
        recording,
        """
        SELECT object_id, export, size_bytes, place, $own - place, greatest($wall_ns - begun_ns, 0)
        FROM tinyheap_lent ORDER BY object_id LIMIT $most
        """,
        {"own": own, "wall_ns": wall_ns(recording), "most": OLDEST},
    )
    is_upper_bound = not recording.run.observed.collections
    return Lent(objects, size_bytes, tuple(LentObject(*each) for each in oldest), is_upper_bound)


def allocated_per_call(recording: Recording, *, after: int = 0) -> dict[StackFrame, float] | Unknown:
    """What a call allocates on average, in bytes, by allocation site; of all calls behind the first `after`.

    Raises:
        RecordingCorruptError: The recording contradicts itself.
    """
    if isinstance(found := host_calls(recording, after=after), Unknown):
        return found
    frames, calls = StackTree.of(recording).frames, found.calls - after
    return {
        frames[frame_id]: size_bytes / calls for frame_id, size_bytes in rows(recording, _BY_SITE, {"after": after})
    }


def _trend(recording: Recording, own: int, after: int) -> CallTrend | Unknown:
    if recording.run.never_frees:
        return Unknown(_NEVER_FREES)
    steps = live_steps(recording)
    if isinstance(steps, Unknown):
        return steps
    values, frees = _values(recording, steps, after), _frees(recording)
    places = [*values]
    series = {frame_id: [each[at] for at in values.values()] for frame_id, each in steps.series.items()}
    sites = varying_sites(series.values())
    needed = needed_collections(sites)
    if len(values) < needed:
        enough_at = None if steps.are_turnovers else _enough_at(recording, own, after, needed)
        return CallTrend(own, len(values), needed, None, None, None, None, (), frees, enough_at, steps.are_turnovers)
    later = later_of(len(values))
    growing = _told(_growing(recording, series, places, sites), steps, series, places)
    whole = [sum(each) for each in zip(*series.values(), strict=True)] or [0] * len(values)
    grown = [sum(series[each.site.id][at] for each in growing) for at in range(len(values))]
    since = _grown_since(grown) if growing else _settled_since(whole, later)
    slope_bytes = sum(each.slope_bytes for each in growing)
    return CallTrend(
        calls=own,
        collections=len(values),
        needed_collections=needed,
        garbage_bytes=max(_allocated_a_call(recording, places[-later]) - slope_bytes, 0.0),
        since_call=places[since],
        least_live_bytes=min(whole[-later:]),
        most_live_bytes=max(whole[-later:]),
        growing=growing,
        frees=frees,
        enough_at=None,
        are_turnovers=steps.are_turnovers,
    )


def _values(recording: Recording, steps: LiveSteps, after: int) -> dict[int, int]:
    """For each of the host's own calls behind some the last step from its beginning to the next one's, if there is one.

    What a call did not free is compared with the first call's beginning, so the last step before that gives no value.
    """
    begun = [
        begun_ns for (begun_ns,) in rows(recording, "SELECT begun_ns FROM tinyheap_calls WHERE is_own ORDER BY place")
    ]
    places = ((bisect_right(begun, time_ns), at) for at, time_ns in enumerate(steps.born_until_ns))
    return {place: at for place, at in places if place > after}


def _growing(
    recording: Recording, series: dict[int, list[int]], places: Sequence[int], sites: int
) -> list[GrowingSite]:
    lent = dict(rows(recording, _LENT_BY_SITE))
    frames = StackTree.of(recording).frames
    found = []
    for frame_id, live_bytes in series.items():
        growth = growth_of(live_bytes, places, sites)
        if growth is not None:
            tau, slope_bytes = growth
            found.append(GrowingSite(frames[frame_id], slope_bytes, tau, live_bytes[-1], lent.get(frame_id, 0)))
    return sorted(found, key=lambda each: (-each.slope_bytes, each.site.id))


def _told(
    growing: list[GrowingSite], steps: LiveSteps, series: dict[int, list[int]], places: Sequence[int]
) -> tuple[GrowingSite, ...]:
    """Those whose growth says something."""
    later = later_of(len(places))
    distance = places[-1] - places[-later]
    all_growth_bytes = distance * sum(each.slope_bytes for each in growing)
    live_bytes = sum(fmean(each[-later:]) for each in series.values())
    told = (each for each in growing if steps.is_told(distance * each.slope_bytes, all_growth_bytes, live_bytes))
    return tuple(told)


def _grown_since(series: Sequence[int]) -> int:
    """Where the rise begins that lasts to the end: after it the series never falls, and it is not level there."""
    last = len(series) - 1
    start = next((at for at in range(last, 0, -1) if series[at - 1] > series[at]), 0)
    return next((at for at in range(start, last) if series[at + 1] > series[start]), start)


def _settled_since(series: Sequence[int], later: int) -> int:
    """From where on all values lie between the least and the most of the later ones."""
    least, most = min(series[-later:]), max(series[-later:])
    outside = [not least <= value <= most for value in series]
    return max((at + 1 for at, is_outside in enumerate(outside) if is_outside), default=0)


def _allocated_a_call(recording: Recording, first: int) -> float:
    """Bytes, on average of the calls from one on."""
    found = rows(recording, "SELECT bytes FROM tinyheap_calls WHERE is_own AND place >= ?", [first])
    return fmean([size_bytes for (size_bytes,) in found] or [0])


def _frees(recording: Recording) -> int:
    (found,) = row(
        recording,
        f"""
        SELECT greatest(
            (SELECT count(*) FROM calls WHERE {_FREEING}),
            (SELECT count(*) FROM events WHERE kind = {EventKind.FREE})
        )
        """,
    )
    return int(found)


def _enough_at(recording: Recording, own: int, after: int, needed: int) -> int | None:
    """A collection at every so many allocations is one in `ROOM` times as many calls as there must be values."""
    if own - after < ROOM * needed:
        return None
    counted = "SELECT coalesce(sum(objects), 0)::BIGINT FROM tinyheap_calls WHERE is_own AND place > ?"
    (objects,) = row(recording, counted, [after])
    return advised_every(objects, needed)
