"""Who an address belonged to through a run: each object that had it, from birth to death."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tinyheap.profile.census import take_census
from tinyheap.profile.moments import extent, object_of
from tinyheap.profile.result import Unknown, row, rows, unless_allocations
from tinyheap.profile.stacks import StackFrame, StackTree
from tinyheap.recordings.observed import Lives
from tinyheap.recordings.schema import EventKind
from tinyheap.results import Result

if TYPE_CHECKING:
    from tinyheap.profile.moments import ObjectAt
    from tinyheap.recordings.observed import LastPart
    from tinyheap.recordings.recording import Recording


@dataclass(frozen=True, slots=True)
class Owner(Result):
    """An object that an address belonged to."""

    object: ObjectAt
    offset_bytes: int
    """Of the address, from the object's own."""
    ended: str | None
    """``collection``, which freed it; ``reuse``, its bytes were handed out again, and ``free``, a call freed it, by which it
    was dead; None where none of this was seen."""
    end_stack: tuple[StackFrame, ...]
    """Who was handed its bytes, or freed it, outermost first; empty for a collection."""


@dataclass(frozen=True, slots=True)
class Owners(Result):
    """The objects that an address belonged to."""

    address: int
    count: int
    """How many there were."""
    owners: tuple[Owner, ...]
    """The last of them, in the order of their births."""
    lives: Lives
    """What is known of deaths."""
    sample_bytes: int | None = None
    """In a sample, which has some of the objects only, bytes between two sampled ones; None where all was recorded."""
    last_part: LastPart | None = None
    """What is there of the run, without the objects that had died before; None where all is."""


def owners_of(recording: Recording, address: int, most: int = 20) -> Owners | Unknown:
    """The objects that an address belonged to, with births, deaths and stacks.

    An object reaches from its address up to its size, rounded up to whole blocks where tinyheap's collector made it.

    Args:
        recording: The recording.
        address: Of a byte, as the program sees it.
        most: The last so many are told of; 1 or more.
    """
    if unknown := unless_allocations(recording):
        return unknown
    take_census(recording)
    had = f"FROM objects WHERE address <= $address AND $address < address + {extent(recording)}"
    (count,) = row(recording, f"SELECT count(*) {had}", {"address": address})
    found = rows(
        recording,
        f"SELECT id {had} ORDER BY birth_event_id DESC LIMIT $most",
        {"address": address, "most": most},
    )
    owners = (_owner(recording, address, object_of(recording, object_id)) for (object_id,) in reversed(found))
    run = recording.run
    return Owners(address, count, tuple(owners), run.observed.lives, run.sample_bytes, run.last_part)


def _owner(recording: Recording, address: int, found: ObjectAt) -> Owner:
    offset_bytes = address - found.address
    if recording.run.observed.lives is Lives.UNKNOWN:
        return Owner(replace(found, death_collection=None, death_ns=None), offset_bytes, None, ())
    if found.death_event_id is None:
        return Owner(found, offset_bytes, None if found.death_collection is None else "collection", ())
    kind, stack_id = row(recording, "SELECT kind, stack_id FROM events WHERE id = ?", [found.death_event_id])
    ended = "free" if kind == EventKind.FREE else "reuse"
    return Owner(found, offset_bytes, ended, StackTree.of(recording).path(stack_id))
