"""Keeping only the last part of a run: what is older is cut away from the file as the run goes, so that this stays small.

The part begins behind a batch.  What lived then is kept: all objects that were born before and had not died, each with its
birth, with the last reallocation and the last free that was asked for it, with the call that returned it to the host, and of
each export with the last call that was given it.  So what lives at any moment of the part is complete, every death has its
birth, and it is known what the host holds.  What had died is cut away with all that happened before: events, deaths,
collections, samples but for the last one, growths of the heap, snapshots and calls.  Growths of linear memory are kept as far
as it grew: there are 65,536 at most.  Stacks and frames are kept, too: whoever makes events knows them by their numbers.
The table ``kept`` says where the part begins, and adds up what was cut away.

Cutting takes time, so that it waits until there is a quarter too much; when the run ends, the last cut is exact.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from tinyheap.errors import RecordingError
from tinyheap.recordings.schema import EventKind

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_EXPECTED: Final = "expected a number of batches, such as 64, or a time, such as 90s, 10m or 2h"
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600}
_MOST: Final = 1 << 31
SLACK: Final = 4
"""One part in so many may be too much while the run goes on."""


@dataclass(frozen=True, slots=True)
class Last:
    """How much of a run's end is kept: either so many batches, or so much time.

    A batch is what a run hands over at once: a full buffer, or what half a second brought.

    Args:
        batches: 1 to 2**31.
        seconds: 1 to 2**31.

    Raises:
        RecordingError: Both are given, or none, or one is out of range.
    """

    batches: int | None = None
    seconds: int | None = None

    def __post_init__(self) -> None:
        given = [each for each in (self.batches, self.seconds) if each is not None]
        if len(given) != 1 or type(given[0]) is not int or not 1 <= given[0] <= _MOST:
            raise RecordingError(
                f"invalid last part, batches {self.batches!r} and seconds {self.seconds!r}: expected one of them, from 1"
                f" to {_MOST:,}"
            )

    @classmethod
    def of(cls, text: str) -> Self:
        """What a text says: ``64`` batches, or ``90s``, ``10m``, ``2h``.

        Raises:
            RecordingError: It says nothing of the kind.
        """
        found = re.fullmatch(r"([1-9][0-9]{0,8})([smh]?)", text)
        if found is None:
            raise RecordingError(f"invalid last {text!r}: {_EXPECTED}")
        number, unit = int(found[1]), found[2]
        return cls(seconds=number * _SECONDS[unit]) if unit else cls(batches=number)

    @property
    def nanoseconds(self) -> int | None:
        """The time; None where batches are counted."""
        return None if self.seconds is None else self.seconds * 1_000_000_000


class _Mark(NamedTuple):
    """Where a batch ends."""

    number: int
    time_ns: int
    last_event_id: int


_LAST_COLLECTION: Final = """
SELECT coalesce(max(number), max(cut_collections)), coalesce(max(last_event_id), max(collection_event_id))
FROM kept LEFT JOIN collections ON collections.begun_ns <= $time_ns
"""
_DEAD: Final = """
id <= $event_id AND (
    object_id = 0
    OR object_id IN (SELECT object_id FROM deaths WHERE collection <= $collection)
    OR object_id IN (SELECT object_id FROM inferred_deaths WHERE event_id <= $event_id)
    OR id NOT IN (SELECT max(id) FROM events WHERE id <= $event_id GROUP BY object_id, kind)
)
"""
_CUT_OBJECTS: Final = f"""
SELECT count(*), coalesce(sum(size_bytes), 0)::BIGINT
FROM events WHERE kind = {EventKind.ALLOCATION} AND object_id > 0 AND {_DEAD}
"""
_OVER: Final = """
ended_ns <= $time_ns
AND result_object_id NOT IN (SELECT object_id FROM events WHERE id <= $event_id)
AND number NOT IN (
    SELECT max(number) FROM calls
    WHERE ended_ns <= $time_ns AND argument_object_id IN (SELECT object_id FROM events WHERE id <= $event_id)
    GROUP BY argument_object_id, export
)
"""
_CUTS: Final = (
    f"DELETE FROM calls WHERE {_OVER}",
    "DELETE FROM call_arguments WHERE call_number NOT IN (SELECT number FROM calls)",
    "DELETE FROM deaths WHERE collection <= $collection",
    "DELETE FROM inferred_deaths WHERE event_id <= $event_id",
    "DELETE FROM collections WHERE number <= $collection",
    "DELETE FROM samples WHERE time_ns <= $time_ns AND rowid < (SELECT max(rowid) FROM samples WHERE time_ns <= $time_ns)",
    "DELETE FROM growths WHERE time_ns <= $time_ns",
    "DELETE FROM snapshots WHERE time_ns <= $time_ns",
    "DELETE FROM memory_growths WHERE time_ns <= $time_ns AND refused_by IS NOT NULL",
    "DELETE FROM batches WHERE number <= $number",
)
_TELL: Final = """
UPDATE kept SET
    begun_ns = $time_ns,
    first_event_id = $event_id + 1,
    earlier_events = (SELECT count(*) FROM events WHERE id <= $event_id),
    cut_objects = cut_objects + $objects,
    cut_bytes = cut_bytes + $bytes,
    cut_collections = $collection,
    collection_event_id = $collection_event_id,
    cut_calls = cut_calls + $calls
"""


class Cutter:
    """Keeps the last part of a run, in a recording that grows.

    Args:
        last: How much of it is kept.
    """

    def __init__(self, last: Last) -> None:
        self._last = last
        self._batches: deque[_Mark] = deque()

    def add(self, number: int, time_ns: int, last_event_id: int) -> None:
        """A batch was put into the file."""
        self._batches.append(_Mark(number, time_ns, last_event_id))

    def cut(self, connection: DuckDBPyConnection, *, exactly: bool) -> bool:
        """Cut away what is too old, in the connection's transaction; whether there was any.

        Args:
            connection: To the recording.
            exactly: Whether all that is too old goes; else nothing does before there is enough of it.

        Raises:
            duckdb.Error: It cannot be written.
        """
        if not self._has_too_much(0 if exactly else SLACK):
            return False
        end = self._batches[0]
        while self._has_too_much(0):
            end = self._batches.popleft()
        _cut_to(connection, end)
        return True

    def _has_too_much(self, slack: int) -> bool:
        """Whether the first batch is too old, by one part in ``slack``; 0 for at all."""
        if self._last.batches is not None:
            allowed = self._last.batches + (-(-self._last.batches // slack) if slack else 0)
            return len(self._batches) > allowed
        allowed_ns = self._last.nanoseconds or 0
        allowed_ns += allowed_ns // slack if slack else 0
        return bool(self._batches) and self._batches[0].time_ns < self._batches[-1].time_ns - allowed_ns


def _cut_to(connection: DuckDBPyConnection, end: _Mark) -> None:
    """Cut away all that is older than the end of a batch, but for what lived then."""
    [(collection, collection_event_id)] = _execute(connection, _LAST_COLLECTION, {"time_ns": end.time_ns})
    values = {"number": end.number, "time_ns": end.time_ns, "event_id": end.last_event_id, "collection": collection}
    [(objects, size_bytes)] = _execute(connection, _CUT_OBJECTS, values)
    _execute(connection, f"DELETE FROM events WHERE {_DEAD}", values)
    [(calls,)] = _execute(connection, f"SELECT count(*) FROM calls WHERE {_OVER}", values)
    for statement in _CUTS:
        _execute(connection, statement, values)
    told = {"objects": objects, "bytes": size_bytes, "collection_event_id": collection_event_id, "calls": calls}
    _execute(connection, _TELL, {**values, **told})


def _execute(connection: DuckDBPyConnection, statement: str, values: dict[str, int]) -> list[tuple[int, ...]]:
    """The answer of a statement, which gets those of the values that it names."""
    named = set(re.findall(r"\$(\w+)", statement))
    found: list[tuple[int, ...]] = connection.execute(
        statement, {name: value for name, value in values.items() if name in named}
    ).fetchall()
    return found
