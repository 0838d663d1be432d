"""A recording as a trace of Perfetto: collections as slices, growths as instants, the heap as counters.

The format is Perfetto's own, ``protos/perfetto/trace``; the numbers below are its fields.  It carries nanoseconds and
whole numbers as they are.  Times are those of the run, from 0.  What the recording cannot know has no track.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from tinyheap.profile import time_line
from tinyheap.profile.result import rows
from tinyheap.recordings import schema
from tinyheap.recordings.observed import Lives
from tinyheap.report.exports.protobuf import message, number, text

if TYPE_CHECKING:
    from tinyheap.profile import TimeLine
    from tinyheap.recordings.recording import Recording

PACKET: Final = 1
TIMESTAMP, SEQUENCE, TRACK_EVENT, SEQUENCE_FLAGS, TRACK_DESCRIPTOR = 8, 10, 11, 13, 60
"""Fields of a packet."""
UUID, NAME, PROCESS, PARENT, COUNTER = 1, 2, 3, 5, 8
"""Fields of a track's description."""
EVENT_NOTE, EVENT_TYPE, EVENT_TRACK, EVENT_NAME, EVENT_VALUE = 4, 9, 11, 23, 30
"""Fields of an event on a track."""
SLICE_BEGIN, SLICE_END, INSTANT, VALUE = 1, 2, 3, 4
"""Types of events."""
STATE_CLEARED: Final = 1
BYTES_UNIT, COUNT_UNIT = 3, 2

PROCESS_TRACK, COLLECTOR_TRACK, FIRST_COUNTER = 1, 2, 3
COUNTERS: Final = (
    ("heap", "heap_bytes", BYTES_UNIT),
    ("used", "used_bytes", BYTES_UNIT),
    ("free", "free_bytes", BYTES_UNIT),
    ("largest free run", "largest_free_run_bytes", BYTES_UNIT),
    ("allocated, as asked for", "allocated_bytes", BYTES_UNIT),
    ("live, as asked for", "live_bytes", BYTES_UNIT),
    ("live objects", "live_objects", COUNT_UNIT),
)
"""Counters: their names, the fields of `TimePoint` that they show, their units."""
OF_OBJECTS: Final = ("allocated_bytes", "live_bytes", "live_objects")
"""Those of them that are estimates in a sample."""
NOTES: Final = schema.COLLECTIONS.names(without={"reason", "begun_ns", "pause_ns", "last_event_id", "stack_id"})
"""What a collection's slice says of it, beside its name and its place in time: columns of the table ``collections``."""
MOST_POINTS: Final = 20_000


def perfetto(recording: Recording) -> bytes:
    """The trace."""
    line = time_line(recording, MOST_POINTS)
    collections = () if line.collections is None else _collections(recording)
    return b"".join([*_tracks(recording, line), *collections, *_time_line(line)])


def _packet(*fields: bytes) -> bytes:
    return message(PACKET, *fields, number(SEQUENCE, 1))


def _tracks(recording: Recording, line: TimeLine) -> Iterator[bytes]:
    """What the tracks are: the program, below it its collector and the counters, as far as they are known."""
    process = message(PROCESS, number(1, 1), text(6, recording.run.module))
    yield _packet(
        message(TRACK_DESCRIPTOR, number(UUID, PROCESS_TRACK), process), number(SEQUENCE_FLAGS, STATE_CLEARED)
    )
    parent = number(PARENT, PROCESS_TRACK)
    if line.collections is not None:
        yield _packet(message(TRACK_DESCRIPTOR, number(UUID, COLLECTOR_TRACK), text(NAME, "collector"), parent))
    for track, (name, field, unit) in enumerate(COUNTERS, start=FIRST_COUNTER):
        if all(getattr(point, field) is None for point in line.points):
            continue
        counter = message(COUNTER, number(3, unit))
        most = ", at most" if field.startswith("live") and line.observed.lives is Lives.AT_MOST else ""
        estimated = line.observed.mark if field in OF_OBJECTS else ""
        yield _packet(
            message(TRACK_DESCRIPTOR, number(UUID, track), text(NAME, name + most + estimated), parent, counter)
        )


def _event(time_ns: int, kind: int, track: int, *fields: bytes) -> bytes:
    event = message(TRACK_EVENT, number(EVENT_TYPE, kind), number(EVENT_TRACK, track), *fields)
    return _packet(number(TIMESTAMP, time_ns), event)


def _note(name: str, value: int) -> bytes:
    return message(EVENT_NOTE, text(10, name), number(4, value))


def _collections(recording: Recording) -> Iterator[bytes]:
    """Each collection as a slice; growths between them."""
    columns = ", ".join(NOTES)
    query = f"SELECT begun_ns, pause_ns, reason, {columns} FROM collections ORDER BY number"
    for begun_ns, pause_ns, reason, *values in rows(recording, query):
        notes = [_note(name, value) for name, value in zip(NOTES, values, strict=True) if value is not None]
        yield _event(begun_ns, SLICE_BEGIN, COLLECTOR_TRACK, text(EVENT_NAME, f"collection ({reason})"), *notes)
        yield _event(begun_ns + pause_ns, SLICE_END, COLLECTOR_TRACK)


def _time_line(line: TimeLine) -> Iterator[bytes]:
    for growth in line.growths or ():
        notes = [_note("old_bytes", growth.old_bytes), _note("new_bytes", growth.new_bytes)]
        yield _event(growth.time_ns, INSTANT, COLLECTOR_TRACK, text(EVENT_NAME, "growth"), *notes)
    for point in line.points:
        for track, (_, field, _) in enumerate(COUNTERS, start=FIRST_COUNTER):
            value = getattr(point, field)
            if value is not None:
                yield _event(point.time_ns, VALUE, track, number(EVENT_VALUE, value))
