"""Who waits for a moment of a served heap, to look at the program then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tinyheap.heap.stats import Collection


class Watch(Protocol):
    """Told what happens on a heap; it may look at the program, and changes nothing.

    Attributes:
        allocation: The number of the one allocation that it is told of; None for none.
    """

    allocation: int | None

    def allocation_begins(self) -> None:
        """That allocation is asked for, and not made yet."""

    def collection_begins(self, number: int) -> None:
        """A collection has hidden what it does not see, and has not marked anything yet."""

    def collection_ended(self, collection: Collection) -> None:
        """A collection has swept."""
