"""What a run hands over to its recording from time to time: rows of the tables in `schema`, column by column or whole.

The many small rows (events, deaths, stacks) come as NumPy arrays of records, whose fields are the columns; the few large
ones as the dataclasses below, whose fields are the columns, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tinyheap.recordings.observed import Observed

if TYPE_CHECKING:
    from datetime import datetime

    from numpy.typing import NDArray

ALLOCATION: Final = 0
REALLOCATION: Final = 1
FREE: Final = 2

EVENT: Final = np.dtype(
    [
        ("time_ns", "<i8"),
        ("object_id", "<i8"),
        ("address", "<u4"),
        ("size_bytes", "<u4"),
        ("layout", "<u4"),
        ("stack_id", "<u4"),
        ("kind", "<u4"),
        ("reserved", "<u4"),
    ]
)
"""One event; their ids are counted by the writer."""
DEATH: Final = np.dtype([("object_id", "<i8"), ("collection", "<i8")])
STACK: Final = np.dtype([("id", "<u4"), ("parent_id", "<u4"), ("frame_id", "<u4"), ("depth", "<u4")])


@dataclass(frozen=True, slots=True)
class RunRow:
    """What is known of a run at its beginning; see the table ``run``."""

    module: str
    module_sha256: str
    arguments: tuple[str, ...]
    runtime: str
    runtime_version: str | None
    collector: str
    source: str
    options: dict[str, Any]
    started_at: datetime
    block_bytes: int
    heap_start_address: int

    @property
    def observed(self) -> Observed:
        """Which statistics of the run are known."""
        return Observed.of(self.source, self.collector)


@dataclass(frozen=True, slots=True)
class FrameRow:
    """A call instruction of the program; see the table ``frames``."""

    id: int
    function_index: int
    function: str
    code_offset: int
    callee: str | None


@dataclass(frozen=True, slots=True)
class CollectionRow:
    """See the table ``collections``."""

    number: int
    reason: str
    begun_ns: int
    pause_ns: int
    mark_ns: int
    sweep_ns: int
    last_event_id: int
    wanted_bytes: int | None
    stack_id: int
    roots_bytes: int
    words_scanned: int
    overflows: int
    rescans: int
    freed_objects: int
    freed_bytes: int
    live_objects: int
    live_bytes: int


@dataclass(frozen=True, slots=True)
class SampleRow:
    """See the table ``samples``."""

    time_ns: int
    last_event_id: int
    heap_bytes: int
    used_bytes: int
    free_bytes: int
    free_runs: int
    largest_free_run_bytes: int
    objects: int
    total_alloc_bytes: int
    mallocs: int
    frees: int


@dataclass(frozen=True, slots=True)
class GrowthRow:
    """See the table ``growths``."""

    time_ns: int
    last_event_id: int
    old_bytes: int
    new_bytes: int
    wanted_bytes: int


@dataclass(frozen=True, slots=True)
class SnapshotRow:
    """See the table ``snapshots``; ``states`` are the table's bytes, not yet compressed."""

    time_ns: int
    last_event_id: int
    collection: int
    blocks: int
    states: bytes


def _no_events() -> NDArray[np.void]:
    return np.empty(0, EVENT)


def _no_deaths() -> NDArray[np.void]:
    return np.empty(0, DEATH)


def _no_stacks() -> NDArray[np.void]:
    return np.empty(0, STACK)


@dataclass(slots=True)
class Batch:
    """Rows that belong into the file together: whatever an event refers to is in its batch or in an earlier one."""

    time_ns: int
    events: NDArray[np.void] = field(default_factory=_no_events)
    deaths: NDArray[np.void] = field(default_factory=_no_deaths)
    stacks: NDArray[np.void] = field(default_factory=_no_stacks)
    collections: list[CollectionRow] = field(default_factory=list)
    samples: list[SampleRow] = field(default_factory=list)
    growths: list[GrowthRow] = field(default_factory=list)
    snapshots: list[SnapshotRow] = field(default_factory=list)
