"""The moments of a run at which a snapshot can be taken."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from tinyheap.errors import SnapshotError

_MOST: Final = (1 << 63) - 1
EXPECTED: Final = "end, peak, trap, allocation:N, collection:N or call:N, with N from 1"


class MomentKind(StrEnum):
    """What happens at a moment."""

    NOW = "now"
    """A program is paused between two calls."""
    END = "end"
    """The run has ended, however that came about."""
    PEAK = "peak"
    """The collection that left most bytes in use has just ended; where there was none, the run has."""
    TRAP = "trap"
    """The program has trapped, or was stopped by an error."""
    ALLOCATION = "allocation"
    """An allocation is asked for, and not made yet; counted from 1 without those of no bytes."""
    COLLECTION = "collection"
    """A collection begins, and has not marked anything yet."""
    CALL = "call"
    """A call of one of the program's exports has returned; `_start` counts."""


_NUMBERED: Final = (MomentKind.ALLOCATION, MomentKind.COLLECTION, MomentKind.CALL)
_SAID: Final = {
    MomentKind.NOW: "between calls",
    MomentKind.END: "the end",
    MomentKind.PEAK: "the peak",
    MomentKind.TRAP: "the trap",
}


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment of a run.

    Args:
        kind: what happens then.
        number: which allocation, collection or call, from 1; 0 for moments that come once.
    """

    kind: MomentKind
    number: int = 0

    def __str__(self) -> str:
        return _SAID.get(self.kind) or f"{self.kind} {self.number:,}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The moment that a text names, such as ``end`` or ``collection:3``.

        Raises:
            SnapshotError: it names none.
        """
        match = re.fullmatch(r"([a-z]+)(?::([0-9]{1,19}))?", text)
        if match is None or match[1] not in list(MomentKind) or match[1] == MomentKind.NOW:
            raise SnapshotError(f"invalid moment {text!r}: expected {EXPECTED}")
        kind, number = MomentKind(match[1]), int(match[2] or 0)
        if (match[2] is not None) != (kind in _NUMBERED) or (kind in _NUMBERED and not 1 <= number <= _MOST):
            raise SnapshotError(f"invalid moment {text!r}: expected {EXPECTED}")
        return cls(kind, number)
