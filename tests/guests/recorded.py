"""Recordings kept in memory: the batches that a run hands over, joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyheap.errors import RecordingWriteError
from tinyheap.guests.record.recorder import Recorder
from tinyheap.recordings.batch import Batch
from tinyheap.recordings.row_types import (
    CallRow,
    CollectionRow,
    FrameRow,
    MemoryGrowthRow,
    MemoryRow,
    RunRow,
    SampleRow,
    SnapshotRow,
)
from tinyheap.recordings.schema import EventKind

if TYPE_CHECKING:
    from numpy.typing import NDArray

Frame = tuple[int, int]
"""Function and offset of a call."""


@dataclass
class Kept:
    """Takes a recording; give `recorder` to a program."""

    batches: list[Batch] = field(default_factory=list)
    run: RunRow | None = None
    frames: Sequence[FrameRow] = ()
    end: tuple[str, str | None, int | None] | None = None
    """State, error and exit code."""
    end_ns: int = 0
    fails_after: int | None = None
    """So many batches are taken; None for all."""

    def __post_init__(self) -> None:
        self.recorder = Recorder(self._open)

    def _open(self, run: RunRow, frames: Sequence[FrameRow]) -> Kept:
        self.run, self.frames = run, frames
        return self

    def append(self, batch: Batch) -> None:
        if self.fails_after is not None and len(self.batches) >= self.fails_after:
            raise RecordingWriteError("no space left")
        self.batches.append(batch)

    def finish(self, state: str, *, error: str | None = None, exit_code: int | None = None, time_ns: int) -> None:
        self.end, self.end_ns = (state, error, exit_code), time_ns

    def _joined(self, name: str) -> NDArray[np.void]:
        joined: NDArray[np.void] = np.concatenate([getattr(batch, name) for batch in self.batches])
        return joined

    @cached_property
    def events(self) -> NDArray[np.void]:
        return self._joined("events")

    @cached_property
    def allocations(self) -> NDArray[np.void]:
        """The events that made objects, and those of no bytes."""
        made: NDArray[np.void] = self.events[self.events["kind"] == EventKind.ALLOCATION]
        return made

    @cached_property
    def deaths(self) -> NDArray[np.void]:
        return self._joined("deaths")

    @cached_property
    def inferred_deaths(self) -> NDArray[np.void]:
        return self._joined("inferred_deaths")

    @property
    def memories(self) -> list[MemoryRow]:
        return [row for batch in self.batches for row in batch.memories]

    @property
    def memory_growths(self) -> list[MemoryGrowthRow]:
        return [row for batch in self.batches for row in batch.memory_growths]

    @cached_property
    def stacks(self) -> dict[int, tuple[int, int, int]]:
        """Parent, frame and depth by number."""
        rows = self._joined("stacks")
        return {row[0]: row[1:] for row in rows.tolist()}

    def path(self, stack: int) -> tuple[Frame, ...]:
        """A stack's frames, the outermost first."""
        path = []
        while stack:
            parent, frame, depth = self.stacks[stack]
            row = self.frames[frame - 1]
            path.append((row.function_index, row.code_offset))
            assert parent < stack
            assert depth == 1 + (self.stacks[parent][2] if parent else 0)
            stack = parent
        return tuple(reversed(path))

    def names(self, stack: int) -> list[str]:
        """A stack's functions, the outermost first."""
        path = []
        while stack:
            stack, frame, _ = self.stacks[stack]
            path.append(self.frames[frame - 1].function)
        return path[::-1]

    @cached_property
    def collections(self) -> list[CollectionRow]:
        return self._rows("collections")

    @cached_property
    def calls(self) -> list[CallRow]:
        return self._rows("calls")

    @cached_property
    def samples(self) -> list[SampleRow]:
        return self._rows("samples")

    @cached_property
    def snapshots(self) -> list[SnapshotRow]:
        return self._rows("snapshots")

    def _rows(self, name: str) -> list[Any]:
        return [row for batch in self.batches for row in getattr(batch, name)]

    def live_after(self, collection: CollectionRow) -> set[int]:
        """The addresses of the objects that a collection left."""
        born = self.allocations[: np.searchsorted(self._numbers, collection.last_event_id, side="right")]
        dead = self.deaths["object_id"][self.deaths["collection"] <= collection.number]
        made = born[born["object_id"] > 0]
        return set(made["address"][~np.isin(made["object_id"], dead)].tolist())

    @cached_property
    def _numbers(self) -> NDArray[np.int64]:
        """The ids of the events that are allocations."""
        return np.flatnonzero(self.events["kind"] == EventKind.ALLOCATION) + 1
