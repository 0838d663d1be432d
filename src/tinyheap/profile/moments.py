"""The objects of a heap at one moment, and one of them by its address."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tinyheap.profile.census import SITES, take_census
from tinyheap.profile.result import Unknown, columns, row, rows, unless_lives
from tinyheap.profile.stacks import StackFrame, StackTree
from tinyheap.profile.summary import wall_ns
from tinyheap.recordings.observed import Lives
from tinyheap.recordings.schema import EventKind
from tinyheap.results import Result

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tinyheap.recordings.recording import Recording


@dataclass(frozen=True, slots=True, eq=False)
class HeapMoment:
    """The objects that lived at a moment, as columns in the order of their addresses."""

    event_id: int
    """The moment right after this event; 0 is the run's beginning."""
    time_ns: int
    is_upper_bound: bool
    """Whether deaths were inferred, so that some of these objects may have been dead."""
    object_ids: NDArray[np.int64]
    addresses: NDArray[np.uint64]
    sizes_bytes: NDArray[np.int64]
    births_ns: NDArray[np.int64]
    stack_ids: NDArray[np.int32]
    site_frame_ids: NDArray[np.int32]
    """Of their allocation sites; see `tinyheap.profile.sites`."""

    def __len__(self) -> int:
        return len(self.object_ids)


@dataclass(frozen=True, slots=True)
class ObjectAt(Result):
    """An object, with when it was allocated and freed."""

    object_id: int
    address: int
    size_bytes: int
    layout: int
    birth_event_id: int
    birth_ns: int
    death_collection: int | None
    """None where no collection freed it."""
    death_event_id: int | None
    """The event that shows that it was dead; None where none does."""
    death_ns: int | None
    """When it was dead, at the latest; None where it was not seen to be."""
    stack: tuple[StackFrame, ...]
    """Who allocated it, outermost first."""


_COLUMNS: Final = ("object_id", "address", "size_bytes", "time_ns", "stack_id", "frame_id")

# What was born by then, and neither freed by a collection that was over by then nor shown to be dead by an event.
_ALIVE: Final = f"""
FROM events AS birth
WHERE birth.kind = {EventKind.ALLOCATION} AND birth.object_id > 0 AND birth.id <= $event_id
AND birth.object_id NOT IN (
    SELECT deaths.object_id FROM deaths JOIN collections ON collections.number = deaths.collection
    WHERE collections.last_event_id < $event_id
    OR (collections.last_event_id = $event_id AND collections.begun_ns + collections.pause_ns <= $over_ns)
)
AND birth.object_id NOT IN (SELECT object_id FROM inferred_deaths WHERE inferred_deaths.event_id <= $event_id)
"""


def heap_at(recording: Recording, *, event_id: int | None = None, time_ns: int | None = None) -> HeapMoment | Unknown:
    """The objects that lived at a moment; without one, at the recording's end.

    Args:
        recording: The recording.
        event_id: The moment right after this event, before any collection that follows it; 0 or more.
        time_ns: The moment so long after the run's beginning; an object born or a collection that ended at that very
            moment counts as before it.
    """
    event_id, time_ns, over_ns = _moment(recording, event_id, time_ns)
    if unknown := _unless_there(recording, event_id, over_ns):
        return unknown
    take_census(recording)
    found = columns(
        recording,
        f"""
        WITH alive AS (SELECT object_id, address, size_bytes, time_ns, stack_id {_ALIVE})
        SELECT object_id, address, size_bytes, time_ns, stack_id, frame_id
        FROM alive JOIN {SITES} USING (stack_id) ORDER BY address, object_id
        """,
        {"event_id": event_id, "over_ns": over_ns},
    )
    is_upper_bound = recording.run.observed.lives is Lives.AT_MOST
    return HeapMoment(event_id, time_ns, is_upper_bound, *(found[name] for name in _COLUMNS))


def object_at(
    recording: Recording, address: int, *, event_id: int | None = None, time_ns: int | None = None
) -> ObjectAt | Unknown | None:
    """The object whose blocks hold an address at a moment (as of `heap_at`), or None where none does.

    An object reaches from its address up to its size, rounded up to whole blocks where tinyheap's collector made it.
    """
    event_id, _, over_ns = _moment(recording, event_id, time_ns)
    if unknown := _unless_there(recording, event_id, over_ns):
        return unknown
    found = rows(
        recording,
        f"""
        SELECT birth.object_id {_ALIVE} AND birth.address <= $address
        AND $address < birth.address + {extent(recording)}
        ORDER BY birth.address DESC, birth.id DESC LIMIT 1
        """,
        {"event_id": event_id, "over_ns": over_ns, "address": address},
    )
    return object_of(recording, found[0][0]) if found else None


def extent(recording: Recording) -> str:
    """In SQL, how many bytes an object takes: whole blocks, where it is known that it lies in such."""
    block_bytes = max(recording.run.block_bytes, 1) if recording.run.observed.heap else 1
    return f"(greatest(size_bytes, 1) + {block_bytes - 1}) // {block_bytes} * {block_bytes}"


def stack_of(recording: Recording, stack_id: int) -> tuple[StackFrame, ...]:
    """The calls of a stack, outermost first; none of stack 0.

    Raises:
        KeyError: There is no such stack.
    """
    return StackTree.of(recording).path(stack_id)


def _unless_there(recording: Recording, event_id: int, over_ns: int) -> Unknown | None:
    """Why it is not known what lived after an event, and collections that were over by then; None where it is."""
    part = recording.run.last_part
    is_before_collection = part is not None and event_id == part.collection_event_id and over_ns < part.begun_ns
    if part is not None and (is_before_collection or event_id < part.first_event_id - 1):
        return Unknown(f"only the last part of the run was kept, from event {part.first_event_id:,} on")
    return unless_lives(recording)


def _moment(recording: Recording, event_id: int | None, time_ns: int | None) -> tuple[int, int, int]:
    """A moment as its last event, its time, and the time up to which collections after that event are over."""
    if event_id is not None and time_ns is not None:
        raise TypeError("a moment is given by an event or by a time, not by both")
    if event_id is not None:
        (happened_ns,) = row(recording, "SELECT coalesce(max(time_ns), 0) FROM events WHERE id <= ?", [event_id])
        return event_id, happened_ns, -1
    if time_ns is None:
        time_ns = wall_ns(recording)
    (last,) = row(recording, "SELECT coalesce(max(id), 0) FROM events WHERE time_ns <= ?", [time_ns])
    return last, time_ns, time_ns


def object_of(recording: Recording, object_id: int) -> ObjectAt:
    """An object by its number, which must be there."""
    facts = row(
        recording,
        """
        SELECT id, address, size_bytes, layout, birth_event_id, birth_ns, death_collection, death_event_id, death_ns, stack_id
        FROM objects WHERE id = ?
        """,
        [object_id],
    )
    return ObjectAt(*(*facts[:-1], stack_of(recording, facts[-1])))
