"""What of a run was observed: the one place that says which statistics of a recording are known.

Where tinyheap serves a program's heap, all of it is observed.  Where a module keeps its own allocator, only allocations
are: its collections, the objects that these free and the heap as a whole cannot be seen.  But a collector that never
frees has never run, so that all objects are known to live.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

INJECTED: Final = "injected"
"""``run.source`` of a recording whose program managed its heap itself, observed by injected code."""
LEAKING: Final = "leaking"
"""``run.collector`` of a program whose heap is never freed."""

_OWN_ALLOCATOR: Final = "this module keeps its own allocator"


@dataclass(frozen=True, slots=True)
class Observed:
    """Which statistics of a run are known."""

    collections: bool
    """Each collection, its pause, and which objects it freed; so also what lives at any moment."""
    heap: bool
    """The heap as a whole: its size, growths, what of it is in use and what is free."""

    @classmethod
    def of(cls, source: str, collector: str) -> Self:
        """What is known of a run with these columns in the table ``run``."""
        is_served = source != INJECTED
        return cls(collections=is_served or collector == LEAKING, heap=is_served)

    @property
    def unseen_collections(self) -> str:
        """Why collections, and what they freed, are not known where they are not."""
        return f"{_OWN_ALLOCATOR}, whose collections cannot be seen"

    @property
    def unseen_heap(self) -> str:
        """Why the heap is not known where it is not."""
        return f"{_OWN_ALLOCATOR}, whose heap cannot be seen"

    @property
    def unknown(self) -> str | None:
        """One sentence on what is not known; None where everything is."""
        if self.heap:
            return None
        if self.collections:
            return f"The heap's size and what of it is free are unknown: {self.unseen_heap}."
        return f"Collections, what lives, and the heap's size are unknown: {self.unseen_collections}."
