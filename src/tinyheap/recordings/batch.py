"""A batch: the rows that a run hands over to its recording from time to time.

The many small rows (events, deaths, stacks) come as NumPy arrays of records, whose fields are the columns; the few large
ones as the dataclasses of `row_types`, whose fields are the columns, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from tinyheap.recordings import schema

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinyheap.recordings.row_types import (
        CallArgumentRow,
        CallRow,
        CollectionRow,
        GrowthRow,
        MemoryGrowthRow,
        MemoryRow,
        SampleRow,
        SamplingRow,
        SnapshotRow,
    )

EVENT: Final = np.dtype(schema.EVENTS.record)
"""One event; their ids are counted by the writer."""
DEATH: Final = np.dtype(schema.DEATHS.record)
INFERRED_DEATH: Final = np.dtype(schema.INFERRED_DEATHS.record)
STACK: Final = np.dtype(schema.STACKS.record)


def _no_events() -> NDArray[np.void]:
    return np.empty(0, EVENT)


def _no_deaths() -> NDArray[np.void]:
    return np.empty(0, DEATH)


def _no_inferred_deaths() -> NDArray[np.void]:
    return np.empty(0, INFERRED_DEATH)


def _no_stacks() -> NDArray[np.void]:
    return np.empty(0, STACK)


@dataclass(slots=True)
class Batch:
    """Rows that are written together: whatever an event refers to is in its batch or in an earlier one."""

    time_ns: int
    events: NDArray[np.void] = field(default_factory=_no_events)
    deaths: NDArray[np.void] = field(default_factory=_no_deaths)
    inferred_deaths: NDArray[np.void] = field(default_factory=_no_inferred_deaths)
    stacks: NDArray[np.void] = field(default_factory=_no_stacks)
    collections: list[CollectionRow] = field(default_factory=list)
    samples: list[SampleRow] = field(default_factory=list)
    growths: list[GrowthRow] = field(default_factory=list)
    snapshots: list[SnapshotRow] = field(default_factory=list)
    calls: list[CallRow] = field(default_factory=list)
    call_arguments: list[CallArgumentRow] = field(default_factory=list)
    memories: list[MemoryRow] = field(default_factory=list)
    memory_growths: list[MemoryGrowthRow] = field(default_factory=list)
    samplings: list[SamplingRow] = field(default_factory=list)
