"""What of a run was observed: the one place that says which statistics of a recording are known.

Where tinyheap serves a program's heap, all of it is observed.  Where a module keeps its own allocator, only allocations
are: its collections and the heap as a whole cannot be seen.  Deaths are inferred: an object whose bytes were handed out
again, or that was freed by a call, was dead by then.  It may have been so long before, and what is dead and not handed out
again counts as living, so what lives, and for how long, is an upper bound.  But a collector that never frees has never run,
so that all objects are known to live.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, Self

INJECTED: Final = "injected"
"""``run.source`` of a recording whose program managed its heap itself, observed by injected code."""
UNSEEN: Final = "unseen"
"""``run.source`` of a recording in whose program nothing that allocates was recognized."""
LOGGED: Final = "logged"
"""``run.source`` of a recording made of a log, of a program whose own collector managed its heap, and told of it."""
LEAKING: Final = "leaking"
"""``run.collector`` of a program whose heap is never freed."""

_OWN_ALLOCATOR: Final = "this module keeps its own allocator"


def manager_of(source: str) -> str:
    """Who managed a program's heap, in words, by its run's ``source``."""
    if source == LOGGED:
        return "its own collector"
    return "its own allocator" if source in (INJECTED, UNSEEN) else f"tinyheap's {source}"


class Lives(Enum):
    """What is known of which objects live at a moment."""

    EXACT = "exact"
    """Which no collection freed, or, in a heap that never frees, all."""
    AT_MOST = "at most"
    """Those whose death was not inferred: none that is missing lives, and some that are there do not."""
    UNKNOWN = "unknown"

    @property
    def prefix(self) -> str:
        """What stands before a size or a time that is made of them."""
        return "at most " if self is Lives.AT_MOST else ""


@dataclass(frozen=True, slots=True)
class LastPart:
    """The last part of a run, where a recording has no more of it, and what was cut away before."""

    begun_ns: int
    """When it begins, since the program's first instruction."""
    first_event_id: int
    """Its first event."""
    earlier_events: int
    """Events before, that are there since they are of objects that lived at its beginning."""
    cut_objects: int
    """Recorded objects that were born and died before."""
    cut_bytes: int
    cut_collections: int
    collection_event_id: int
    """The last event before the last of these collections."""
    cut_calls: int


@dataclass(frozen=True, slots=True)
class Observed:
    """Which statistics of a run are known."""

    allocations: bool
    """Each object that was allocated; where not, nothing is known of the heap at all."""
    collections: bool
    """Each collection, its pause, and which objects it freed; also where it is known that there are none."""
    heap: bool
    """The heap as a whole: its size, growths, what of it is in use and what is free."""
    lives: Lives
    """What lives at any moment, and how long it did."""
    sample_bytes: int | None = None
    """In a sample, how many bytes were allocated between two sampled ones, on average; None where all was recorded."""
    last_part: LastPart | None = None
    """The last part of the run, where only that is there; None where all is."""

    @classmethod
    def of(
        cls,
        source: str,
        collector: str,
        *,
        infers_deaths: bool = True,
        sample_bytes: int | None = None,
        last_part: LastPart | None = None,
    ) -> Self:
        """What is known of a run with these columns in the table ``run``.

        Args:
            source: who served its heap.
            collector: what freed its objects.
            infers_deaths: whether deaths were inferred where they could not be seen; not so in older recordings.
            sample_bytes: the mean of a sample; None where all was recorded.
            last_part: what is there of the run; None where all is.
        """
        if source == UNSEEN:
            return cls(allocations=False, collections=False, heap=False, lives=Lives.UNKNOWN, last_part=last_part)
        is_served = source != INJECTED
        sees_collections = is_served or collector == LEAKING
        inferred = Lives.AT_MOST if infers_deaths else Lives.UNKNOWN
        return cls(
            allocations=True,
            collections=sees_collections,
            heap=is_served,
            lives=Lives.EXACT if sees_collections else inferred,
            sample_bytes=sample_bytes,
            last_part=last_part,
        )

    @property
    def unseen_allocations(self) -> str:
        """Why allocations are not known where they are not."""
        return "nothing that allocates was recognized in this module"

    @property
    def unseen_collections(self) -> str:
        """Why collections, and what they freed, are not known where they are not."""
        if not self.allocations:
            return self.unseen_allocations
        return f"{_OWN_ALLOCATOR}, whose collections cannot be seen"

    @property
    def unseen_heap(self) -> str:
        """Why the heap is not known where it is not."""
        if not self.allocations:
            return self.unseen_allocations
        return f"{_OWN_ALLOCATOR}, whose heap cannot be seen"

    @property
    def unknown(self) -> str | None:
        """A few sentences on what is not known, or not exactly; None where everything is."""
        return " ".join(filter(None, (self._unseen, self.choice))) or None

    @property
    def sampled(self) -> str | None:
        """A sentence on the sample that the statistics were estimated from; None where all was recorded."""
        if self.sample_bytes is None:
            return None
        return (
            f"Sampled: about one object for each {self.sample_bytes:,} bytes allocated was recorded, and statistics of"
            " objects are estimates."
        )

    @property
    def begun_ns(self) -> int:
        """When what is there of the run begins."""
        return 0 if self.last_part is None else self.last_part.begun_ns

    @property
    def cut(self) -> str | None:
        """A sentence on what was cut away of the run; None where nothing was."""
        part = self.last_part
        if part is None:
            return None
        return (
            f"Only the last part of the run was kept, from {part.begun_ns / 1e9:.3f} s on, and what lived then: objects"
            f" that had died before ({part.cut_objects:,}, of {part.cut_bytes:,} bytes), {part.cut_collections:,}"
            f" collections and {part.cut_calls:,} calls are missing, and count nowhere."
        )

    @property
    def choice(self) -> str | None:
        """A few sentences on what of the run's objects was recorded and kept; None where all was."""
        return " ".join(filter(None, (self.sampled, self.cut))) or None

    @property
    def mark(self) -> str:
        """What stands behind the title of what is not of all objects of the run; empty where it is."""
        sampled = "" if self.sample_bytes is None else f", sampled every {self.sample_bytes:,} bytes"
        return sampled if self.last_part is None else f"{sampled}, from {self.last_part.begun_ns / 1e9:.3f} s on"

    @property
    def _unseen(self) -> str | None:
        if self.heap:
            return None
        if not self.allocations:
            return f"Allocations, and all that follows from them, are unknown: {self.unseen_allocations}."
        if self.collections:
            return f"The heap's size and what of it is free are unknown: {self.unseen_heap}."
        if self.lives is Lives.UNKNOWN:
            return f"Collections, what lives, and the heap's size are unknown: {self.unseen_collections}."
        return (
            f"Collections and the heap's size are unknown: {self.unseen_collections}. What lives is an upper bound: an"
            " object counts as dead once its bytes are handed out again, or a call frees it."
        )
