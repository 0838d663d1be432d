"""The heap through time: how large it was, what was in use, what of it was free in one run, what lived.

Two kinds of statistics meet here.  What the heap looked like (its size, what is in use in whole blocks, the free runs) is
known where it was sampled: around each collection and growth, and now and then.  What was allocated so far, and what
lived of it, in bytes that the program asked for, is known at every event; what lived only if collections were observed,
or else at most (`Observed.lives`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tinyheap.profile.census import BIRTHS, CENSUS, take_census
from tinyheap.profile.result import rows
from tinyheap.profile.summary import fragmentation, wall_ns
from tinyheap.recordings.observed import Lives
from tinyheap.results import Result

if TYPE_CHECKING:
    from tinyheap.recordings.observed import Observed
    from tinyheap.recordings.recording import Recording

MOST_POINTS: Final = 1000


@dataclass(frozen=True, slots=True)
class TimePoint:
    """A moment of the run.  Where the heap was not sampled then, its statistics are None; so is what was not observed."""

    time_ns: int
    event_id: int
    """The last event before."""
    allocated_objects: int
    """Recorded objects that were allocated until then."""
    allocated_bytes: int
    live_objects: int | None
    """Of these, those that no collection had freed and whose death was not inferred, reachable or not."""
    live_bytes: int | None
    heap_bytes: int | None
    """The whole heap, block table included."""
    used_bytes: int | None
    """In whole blocks."""
    free_bytes: int | None
    largest_free_run_bytes: int | None

    @property
    def fragmentation(self) -> float | None:
        """1 - largest free run / free memory; None where nothing is free or the heap was not sampled."""
        return fragmentation(self.free_bytes, self.largest_free_run_bytes)


@dataclass(frozen=True, slots=True)
class CollectionMark:
    """A collection on the time line."""

    number: int
    reason: str
    begun_ns: int
    pause_ns: int
    freed_bytes: int
    """In whole blocks, like the next."""
    live_bytes: int


@dataclass(frozen=True, slots=True)
class GrowthMark:
    """A growth of the heap on the time line."""

    time_ns: int
    old_bytes: int
    new_bytes: int


@dataclass(frozen=True, slots=True)
class TimeLine(Result):
    """The heap through time."""

    wall_ns: int
    points: tuple[TimePoint, ...]
    """In the order of time; none where allocations were not observed."""
    collections: tuple[CollectionMark, ...] | None
    """None where collections were not observed."""
    growths: tuple[GrowthMark, ...] | None
    """None where the heap was not observed."""
    observed: Observed


# The statistics of a sample, or of an event; thinned, a span of time keeps its fullest and its emptiest sample.
_POINTS: Final = f"""
WITH spans AS (
    SELECT *, rowid AS place, (time_ns * $spans) // ($wall_ns + 1) AS span FROM samples
    WHERE $knows_heap AND last_event_id >= $first - 1
),
chosen AS (
    SELECT unnest([arg_max(place, used_bytes), arg_min(place, used_bytes), max(place)]) AS place FROM spans GROUP BY span
),
moments AS (
    SELECT time_ns, last_event_id AS event_id, 1 AS place, heap_bytes, used_bytes, free_bytes, largest_free_run_bytes
    FROM spans WHERE place IN (SELECT place FROM chosen)
    UNION ALL
    SELECT time_ns, id, 0, NULL, NULL, NULL, NULL
    FROM events
    WHERE id >= $first AND (
        id % greatest((SELECT count(*) FROM events) // $spans, 1) = 0 OR id = (SELECT max(id) FROM events)
    )
),
bounds AS (SELECT DISTINCT event_id FROM moments),
born AS (
    SELECT bounds.event_id, sum(births.objects) AS objects, sum(births.bytes) AS bytes
    FROM {BIRTHS} AS births ASOF JOIN bounds ON births.id <= bounds.event_id GROUP BY ALL
),
born_upto AS (
    SELECT
        event_id,
        sum(coalesce(objects, 0)) OVER (ORDER BY event_id) AS objects,
        sum(coalesce(bytes, 0)) OVER (ORDER BY event_id) AS bytes
    FROM bounds LEFT JOIN born USING (event_id)
),
died AS (
    SELECT collections.begun_ns + collections.pause_ns AS time_ns, sum(objects) AS objects, sum(bytes) AS bytes
    FROM {CENSUS} JOIN collections ON collections.number = death_collection GROUP BY ALL
),
died_upto AS (
    SELECT
        time_ns,
        sum(objects) OVER (ORDER BY time_ns) AS objects,
        sum(bytes) OVER (ORDER BY time_ns) AS bytes
    FROM died
),
lost AS (
    SELECT bounds.event_id, sum(births.objects) AS objects, sum(births.bytes) AS bytes
    FROM inferred_deaths JOIN {BIRTHS} AS births USING (object_id)
    ASOF JOIN bounds ON inferred_deaths.event_id <= bounds.event_id GROUP BY ALL
),
lost_upto AS (
    SELECT
        event_id,
        sum(coalesce(objects, 0)) OVER (ORDER BY event_id) AS objects,
        sum(coalesce(bytes, 0)) OVER (ORDER BY event_id) AS bytes
    FROM bounds LEFT JOIN lost USING (event_id)
)
SELECT
    moments.time_ns,
    moments.event_id,
    born_upto.objects::BIGINT,
    born_upto.bytes::BIGINT,
    if($knows_lives, born_upto.objects - coalesce(died_upto.objects, 0) - lost_upto.objects, NULL)::BIGINT,
    if($knows_lives, born_upto.bytes - coalesce(died_upto.bytes, 0) - lost_upto.bytes, NULL)::BIGINT,
    heap_bytes, used_bytes, free_bytes, largest_free_run_bytes
FROM moments
JOIN born_upto USING (event_id)
JOIN lost_upto USING (event_id)
ASOF LEFT JOIN died_upto ON moments.time_ns >= died_upto.time_ns
ORDER BY moments.time_ns, moments.event_id, moments.place
"""


def time_line(recording: Recording, points: int = MOST_POINTS) -> TimeLine:
    """The heap through time, in about `points` moments (at most twice as many; 4 or more)."""
    take_census(recording)
    whole_ns = wall_ns(recording)
    observed = recording.run.observed
    asked = {"spans": max(points // 4, 1), "wall_ns": whole_ns, "knows_lives": observed.lives is not Lives.UNKNOWN}
    asked["knows_heap"] = observed.heap
    asked["first"] = 1 if observed.last_part is None else observed.last_part.first_event_id
    found = rows(recording, _POINTS, asked) if observed.allocations else ()
    collections = rows(
        recording,
        "SELECT number, reason, begun_ns, pause_ns, freed_bytes, live_bytes FROM collections ORDER BY number",
    )
    growths = rows(recording, "SELECT time_ns, old_bytes, new_bytes FROM growths ORDER BY time_ns, rowid")
    return TimeLine(
        whole_ns,
        tuple(TimePoint(*each) for each in found),
        tuple(CollectionMark(*each) for each in collections) if observed.collections else None,
        tuple(GrowthMark(*each) for each in growths) if observed.heap else None,
        observed,
    )
