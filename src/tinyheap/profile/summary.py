"""A recording in a few statistics, and the moment at which its heap was fullest."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

from tinyheap.profile.census import BIRTHS, CENSUS, take_census
from tinyheap.profile.result import Unknown, row, rows, unless_lives
from tinyheap.recordings.observed import Lives
from tinyheap.recordings.schema import EventKind
from tinyheap.results import Result

if TYPE_CHECKING:
    from tinyheap.recordings.observed import Observed
    from tinyheap.recordings.recording import Recording


@dataclass(frozen=True, slots=True)
class Peak(Result):
    """The moment at which the recorded objects that lived had the most bytes; of several equal moments the first.

    Bytes only grow between collections, so it is the beginning of one, or the end.  Where deaths were inferred, it is right
    after an event, and there were so many at most.
    """

    collection: int | None
    """The one that began then; for the end, one more than there were.  None where collections were not observed."""
    event_id: int
    """The last event before."""
    time_ns: int
    objects: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Totals(Result):
    """A recording in a few statistics.  Sizes are bytes that the program asked for, unless they say whole blocks.

    What was not `observed` is None.  Of the last part of a run (`Observed.last_part`) they are of what happened in it; the
    objects that lived at its beginning count among those that were allocated.
    """

    module: str
    arguments: tuple[str, ...]
    runtime: str
    runtime_version: str | None
    collector: str
    """The kind of the program's collector, such as ``precise``; ``leaking`` where nothing is ever freed."""
    source: str
    """Who managed the heap: tinyheap's ``kernel`` or ``model``, or, as ``injected`` code observed or its own log
    tells (``logged``), the program itself."""
    state: str
    """``finished``, ``failed``, or ``running`` where the end was not written: all statistics are then up to the last batch."""
    error: str | None
    exit_code: int | None
    wall_ns: int
    """From the program's first instruction to its last; where that is not known, to the last thing recorded."""

    allocations: int | None
    """None where allocations were not observed, like the next."""
    allocated_bytes: int | None
    reallocations: int
    """Asked for of a function that the module names or exports as realloc; what that allocates is among the allocations.
    In a sample only those of its objects are known, as for the next."""
    frees: int
    """Asked for of one named free; TinyGo's collector ignores them."""

    observed: Observed
    """Which of what follows is known."""
    live_objects: int | None
    """At the end: those that no collection freed; at most, where deaths were inferred (`Observed.lives`)."""
    live_bytes: int | None
    peak: Peak | None

    collections: int | None
    collector_ns: int | None
    """All pauses together."""
    freed_objects: int | None
    freed_bytes: int | None
    growths: int | None
    heap_bytes: int | None
    """At the end, block table included; None also where it was not sampled before the recording ended early."""
    used_bytes: int | None
    """At the end, in whole blocks."""
    fragmentation: float | None
    """At the end: 1 - largest run of free blocks / all free blocks.  0 is one run; None where nothing is free."""
    allocations_error: float | None = None
    """The standard error of ``allocations``, which is an estimate; None where all was recorded, like the next two."""
    allocated_bytes_error: float | None = None
    live_bytes_error: float | None = None

    @property
    def recorded_ns(self) -> int:
        """How long what is recorded took: the run, or the last part of it."""
        return self.wall_ns - self.observed.begun_ns


def fragmentation(free_bytes: int | None, largest_free_run_bytes: int | None) -> float | None:
    """How scattered free memory is: 1 - largest free run / free memory, from 0 (in one run) to below 1.

    None where nothing is free, or the heap was not observed.
    """
    if not free_bytes or largest_free_run_bytes is None:
        return None
    return 1 - largest_free_run_bytes / free_bytes


def wall_ns(recording: Recording) -> int:
    """How long the run took, in nanoseconds: to its end, or to the last thing that was recorded of it."""
    (time_ns,) = row(
        recording,
        """
        SELECT greatest(
            coalesce((SELECT ended_ns FROM run), 0),
            coalesce((SELECT max(time_ns) FROM batches), 0),
            coalesce((SELECT max(time_ns) FROM events), 0),
            coalesce((SELECT max(time_ns) FROM samples), 0),
            coalesce((SELECT max(begun_ns + pause_ns) FROM collections), 0)
        )
        """,
    )
    return int(time_ns)


def peak(recording: Recording) -> Peak | Unknown:
    """When the objects that lived had the most bytes, and how many there were."""
    if unknown := unless_lives(recording):
        return unknown
    take_census(recording)
    if recording.run.observed.lives is Lives.AT_MOST:
        return _peak_between_events(recording)
    found = row(
        recording,
        f"""
        WITH moments AS (
            SELECT number, last_event_id, begun_ns FROM collections
            UNION ALL
            SELECT
                coalesce((SELECT max(number) FROM collections), (SELECT max(cut_collections) FROM kept), 0) + 1,
                coalesce((SELECT max(id) FROM events), 0),
                ?
        ),
        changes AS (
            SELECT first_collection AS number, sum(objects) AS objects, sum(bytes) AS bytes FROM {CENSUS} GROUP BY ALL
            UNION ALL
            SELECT death_collection + 1, -sum(objects), -sum(bytes)
            FROM {CENSUS} WHERE death_collection IS NOT NULL GROUP BY ALL
        ),
        net AS (SELECT number, sum(objects) AS objects, sum(bytes) AS bytes FROM changes GROUP BY number),
        lived AS (
            SELECT
                number, last_event_id, begun_ns,
                coalesce(sum(net.objects) OVER upto, 0)::BIGINT AS objects,
                coalesce(sum(net.bytes) OVER upto, 0)::BIGINT AS bytes
            FROM moments LEFT JOIN net USING (number)
            WINDOW upto AS (ORDER BY number)
        )
        SELECT number, last_event_id, begun_ns, objects, bytes FROM lived ORDER BY bytes DESC, number LIMIT 1
        """,
        [wall_ns(recording)],
    )
    return Peak(*found)


def _peak_between_events(recording: Recording) -> Peak:
    """Where each death has an event of its own."""
    found = rows(
        recording,
        f"""
        WITH changes AS (
            SELECT id, objects, bytes FROM {BIRTHS}
            UNION ALL
            SELECT event_id, -objects, -bytes FROM inferred_deaths JOIN {BIRTHS} USING (object_id)
        ),
        net AS (SELECT id, sum(objects) AS objects, sum(bytes) AS bytes FROM changes GROUP BY id),
        lived AS (
            SELECT id, (sum(objects) OVER upto)::BIGINT AS objects, (sum(bytes) OVER upto)::BIGINT AS bytes
            FROM net WINDOW upto AS (ORDER BY id)
        )
        SELECT id, time_ns, lived.objects, lived.bytes FROM lived JOIN events USING (id) ORDER BY bytes DESC, id LIMIT 1
        """,
    )
    return Peak(None, *found[0]) if found else Peak(None, 0, 0, 0, 0)


def totals(recording: Recording) -> Totals:
    """The recording in a few statistics."""
    run = recording.run
    take_census(recording)
    allocations, allocated, live_objects, live_bytes, *variances = row(
        recording,
        f"""
        SELECT
            coalesce(sum(objects), 0)::BIGINT,
            coalesce(sum(bytes), 0)::BIGINT,
            coalesce(sum(objects) FILTER (NOT is_dead), 0)::BIGINT,
            coalesce(sum(bytes) FILTER (NOT is_dead), 0)::BIGINT,
            coalesce(sum(objects_variance), 0),
            coalesce(sum(bytes_variance), 0),
            coalesce(sum(bytes_variance) FILTER (NOT is_dead), 0)
        FROM {CENSUS}
        """,
    )
    counted = "SELECT count(*) FILTER (kind = ?), count(*) FILTER (kind = ?) FROM events"
    reallocations, frees = row(recording, counted, [EventKind.REALLOCATION, EventKind.FREE])
    collections, collector_ns = row(recording, "SELECT count(*), coalesce(sum(pause_ns), 0)::BIGINT FROM collections")
    (growths,) = row(recording, "SELECT count(*) FROM growths")
    observed, fullest = run.observed, peak(recording)
    knows_lives = observed.lives is not Lives.UNKNOWN
    errors = [None if observed.sample_bytes is None else sqrt(variance) for variance in variances]
    heap_bytes, used_bytes, scattered = _last_sample(recording) if observed.heap else (None, None, None)
    return Totals(
        module=run.module,
        arguments=run.arguments,
        runtime=run.runtime,
        runtime_version=run.runtime_version,
        collector=run.collector,
        source=run.source,
        state=run.state,
        error=run.error,
        exit_code=run.exit_code,
        wall_ns=wall_ns(recording),
        allocations=allocations if observed.allocations else None,
        allocated_bytes=allocated if observed.allocations else None,
        reallocations=reallocations,
        frees=frees,
        observed=observed,
        live_objects=live_objects if knows_lives else None,
        live_bytes=live_bytes if knows_lives else None,
        peak=None if isinstance(fullest, Unknown) else fullest,
        collections=collections if observed.collections else None,
        collector_ns=collector_ns if observed.collections else None,
        freed_objects=allocations - live_objects if observed.collections else None,
        freed_bytes=allocated - live_bytes if observed.collections else None,
        growths=growths if observed.heap else None,
        heap_bytes=heap_bytes,
        used_bytes=used_bytes,
        fragmentation=scattered,
        allocations_error=errors[0],
        allocated_bytes_error=errors[1],
        live_bytes_error=errors[2] if knows_lives else None,
    )


def _last_sample(recording: Recording) -> tuple[int | None, int | None, float | None]:
    """Of the last sample the size of the heap, what is in use, and the fragmentation; None where there is no sample."""
    found = rows(
        recording,
        """
        SELECT heap_bytes, used_bytes, free_bytes, largest_free_run_bytes
        FROM samples ORDER BY time_ns DESC, rowid DESC LIMIT 1
        """,
    )
    for heap_bytes, used_bytes, free_bytes, largest_bytes in found:
        return heap_bytes, used_bytes, fragmentation(free_bytes, largest_bytes)
    return None, None, None
