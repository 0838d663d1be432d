"""A run's statistics while it goes: what its batches add up to so far.

Batches come from the program's thread, and statistics are looked at from another; both take a lock for that moment.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

from tinyheap.profile.calls import STARTS
from tinyheap.profile.stacks import NO_STACK, StackFrame
from tinyheap.recordings.batch import Batch
from tinyheap.recordings.observed import Observed
from tinyheap.recordings.row_types import CollectionRow, FrameRow, RunRow, SampleRow, SnapshotRow
from tinyheap.recordings.schema import EventKind

if TYPE_CHECKING:
    from numpy.typing import NDArray


RATES: Final = 60
"""How many batches the allocation rate is known of."""
RATE_WINDOW_NS: Final = 2_000_000_000
"""How far back the rate of now goes."""
RECENT_COLLECTIONS: Final = 32
EXPORTS: Final = 3
"""So many are named."""

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True)
class Owner:
    """A function that allocates; what the Go runtime's functions allocate counts for their callers.

    Where source lines are known, it is a line of a function.
    """

    name: str
    objects: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class LiveCalls:
    """The host's own calls of a program that is called again and again, as far as they are over."""

    count: int
    failed: int
    per_s: float
    """How many ended in a second, lately."""
    mean_ns: int
    allocated_bytes: int
    """A call, on average: all that was allocated since the first began, by the calls."""
    exports: tuple[tuple[str, int], ...]
    """The exports that were called most, and how often."""


@dataclass(frozen=True, slots=True)
class LiveView:
    """The statistics of one moment."""

    run: RunRow
    elapsed_ns: int
    """Since the program's first instruction, up to now, or to its end."""
    state: str | None
    """How it ended; None while it goes on."""
    objects: int
    allocated_bytes: int
    rate_bytes: int
    """Allocated in a second, lately."""
    rates_bytes: tuple[int, ...]
    """The same of each of the last batches, the latest last."""
    sample: SampleRow | None
    """The last sample of the heap as a whole; None where there is none."""
    peak_bytes: int | None
    """The most that was in use in any sample; None where there is none."""
    collections: int | None
    """None where collections are not observed, like the next two."""
    pause_ns: int | None
    longest_pause_ns: int | None
    """None also where none ran."""
    recent: tuple[CollectionRow, ...]
    """The last collections, the latest last."""
    snapshot: SnapshotRow | None
    """The last snapshot of the block table."""
    owners: tuple[Owner, ...]
    """Who allocated most bytes so far, in that order."""
    calls: LiveCalls | None = None
    """None as long as the program was called once at most."""
    sample_bytes: int | None = None
    """In a sample, from which objects and bytes are estimated, bytes between two sampled ones; None where all is recorded."""

    @property
    def observed(self) -> Observed:
        """What is known of the run."""
        return Observed.of(self.run.source, self.run.collector, sample_bytes=self.sample_bytes)


@dataclass(slots=True)
class _Totals:
    """What adds up."""

    objects: float = 0
    allocated_bytes: float = 0
    peak_bytes: int = 0
    collections: int = 0
    pause_ns: int = 0
    longest_pause_ns: int = 0
    last_ns: int = 0
    rates_bytes: deque[int] = field(default_factory=lambda: deque(maxlen=RATES))
    window: deque[tuple[int, float]] = field(default_factory=lambda: deque([(0, 0)]))
    """Times, and what was allocated up to then."""
    recent: deque[CollectionRow] = field(default_factory=lambda: deque(maxlen=RECENT_COLLECTIONS))
    calls: Counter[str] = field(default_factory=Counter)
    """The host's own, by export."""
    failed: int = 0
    calls_ns: int = 0
    calls_window: deque[tuple[int, int]] = field(default_factory=lambda: deque([(0, 0)]))
    """Times, and how many calls had ended by then."""
    before_calls_bytes: float | None = None
    """What had been allocated before the batch that the first call ended in."""


class LiveStatistics:
    """Adds up the batches of one run.

    Args:
        run: What is known of it.
        frames: Its call instructions, in the order of their ids, from 1.
    """

    def __init__(self, run: RunRow, frames: Sequence[FrameRow]) -> None:
        self._run, self._frames, self._observed = run, frames, Observed.of(run.source, run.collector)
        self._lock = threading.Lock()
        self._begun_ns = time.monotonic_ns()
        self._ended: tuple[str, int] | None = None
        self._totals = _Totals()
        self._sample: SampleRow | None = None
        self._snapshot: SnapshotRow | None = None
        self._names = {NO_STACK: 0}
        self._owner_of_stack = np.zeros(1, np.int64)
        self._owned = np.zeros((2, 1))  # objects and bytes, by owner
        self._sample_bytes: int | None = None

    def take(self, batch: Batch) -> None:
        """Add a batch."""
        with self._lock:
            self._begun_ns = time.monotonic_ns() - batch.time_ns
            for each in batch.samplings:
                self._sample_bytes = each.mean_bytes
            self._take_stacks(batch.stacks)
            allocated_bytes = self._totals.allocated_bytes
            self._take_events(batch)
            self._take_calls(batch, allocated_bytes)
            if self._observed.collections:
                self._take_collections(batch.collections)
            if self._observed.heap:
                self._take_heap(batch)

    def end(self, state: str, time_ns: int) -> None:
        """The run has ended."""
        with self._lock:
            self._ended = state, time_ns

    def view(self, owners: int) -> LiveView:
        """The statistics of this moment, with so many owners at most."""
        with self._lock:
            totals, observed = self._totals, self._observed
            state, elapsed_ns = self._ended or (None, time.monotonic_ns() - self._begun_ns)
            return LiveView(
                run=self._run,
                elapsed_ns=elapsed_ns,
                state=state,
                objects=round(totals.objects),
                allocated_bytes=round(totals.allocated_bytes),
                rate_bytes=round(_per_s(totals.window)),
                rates_bytes=tuple(totals.rates_bytes),
                sample=self._sample,
                peak_bytes=None if self._sample is None else totals.peak_bytes,
                collections=totals.collections if observed.collections else None,
                pause_ns=totals.pause_ns if observed.collections else None,
                longest_pause_ns=totals.longest_pause_ns if totals.recent else None,
                recent=tuple(totals.recent),
                snapshot=self._snapshot,
                owners=self._first_owners(owners),
                sample_bytes=self._sample_bytes,
                calls=self._calls(),
            )

    def _take_stacks(self, stacks: NDArray[np.void]) -> None:
        """Find out who owns what is allocated at new stacks; a stack comes after those that it is made of."""
        if not len(stacks):
            return
        most = int(stacks["id"].max()) + 1
        if most > len(self._owner_of_stack):
            grown = np.zeros(max(most, 2 * len(self._owner_of_stack)), np.int64)
            grown[: len(self._owner_of_stack)] = self._owner_of_stack
            self._owner_of_stack = grown
        for stack_id, parent_id, frame_id, _ in stacks.tolist():
            frame = self._frame(frame_id)
            owner = self._owner_of_stack[parent_id] if parent_id and frame.is_runtime else self._owner(frame.owner)
            self._owner_of_stack[stack_id] = owner

    def _frame(self, frame_id: int) -> StackFrame:
        row = self._frames[frame_id - 1]
        return StackFrame(frame_id, row.function, row.code_offset, row.callee, row.file, row.line, row.inlined)

    def _owner(self, name: str) -> int:
        return self._names.setdefault(name, len(self._names))

    def _take_events(self, batch: Batch) -> None:
        births = batch.events[batch.events["kind"] == EventKind.ALLOCATION]
        totals, sizes = self._totals, births["size_bytes"].astype(np.float64)
        weights = np.ones(len(sizes)) if self._sample_bytes is None else -1 / np.expm1(-sizes / self._sample_bytes)
        sizes *= weights
        size_bytes = float(sizes.sum())
        owners = self._owner_of_stack[births["stack_id"]]
        owned = np.zeros((2, len(self._names)))
        owned[:, : self._owned.shape[1]] = self._owned
        np.add.at(owned[0], owners, weights)
        np.add.at(owned[1], owners, sizes)
        self._owned = owned
        totals.objects += float(weights.sum())
        totals.allocated_bytes += size_bytes
        took_ns = max(batch.time_ns - totals.last_ns, 1)
        totals.rates_bytes.append(round(size_bytes * 1_000_000_000 / took_ns))
        totals.last_ns = batch.time_ns
        _slide(totals.window, batch.time_ns, totals.allocated_bytes)

    def _take_heap(self, batch: Batch) -> None:
        for sample in batch.samples:
            self._totals.peak_bytes = max(self._totals.peak_bytes, sample.used_bytes)
            self._sample = sample
        self._snapshot = batch.snapshots[-1] if batch.snapshots else self._snapshot

    def _take_collections(self, collections: list[CollectionRow]) -> None:
        totals = self._totals
        for each in collections:
            totals.collections += 1
            totals.pause_ns += each.pause_ns
            totals.longest_pause_ns = max(totals.longest_pause_ns, each.pause_ns)
            totals.recent.append(each)

    def _take_calls(self, batch: Batch, before_bytes: float) -> None:
        totals = self._totals
        own = [each for each in batch.calls if each.depth == 1 and each.export not in STARTS]
        if own and totals.before_calls_bytes is None:
            totals.before_calls_bytes = before_bytes
        totals.calls.update(each.export for each in own)
        totals.failed += sum(not each.returned for each in own)
        totals.calls_ns += sum(each.ended_ns - each.begun_ns for each in own)
        _slide(totals.calls_window, batch.time_ns, totals.calls.total())

    def _calls(self) -> LiveCalls | None:
        totals = self._totals
        count = totals.calls.total()
        if count < 2:
            return None
        return LiveCalls(
            count=count,
            failed=totals.failed,
            per_s=_per_s(totals.calls_window),
            mean_ns=totals.calls_ns // count,
            allocated_bytes=round((totals.allocated_bytes - (totals.before_calls_bytes or 0)) / count),
            exports=tuple(totals.calls.most_common(EXPORTS)),
        )

    def _first_owners(self, count: int) -> tuple[Owner, ...]:
        names = list(self._names)
        objects, sizes = self._owned
        order = np.argsort(-sizes, kind="stable")[:count].tolist()
        return tuple(Owner(names[at], round(objects[at]), round(sizes[at])) for at in order if objects[at])


def _slide(window: deque[tuple[int, Number]], time_ns: int, amount: Number) -> None:
    """Add how much there was by a time, and forget what was too long before it."""
    window.append((time_ns, amount))
    while len(window) > 2 and window[0][0] < time_ns - RATE_WINDOW_NS:
        window.popleft()


def _per_s(window: deque[tuple[int, Number]]) -> float:
    """By how much it grew in a second."""
    (from_ns, first), (to_ns, last) = window[0], window[-1]
    return (last - first) * 1_000_000_000 / max(to_ns - from_ns, 1)
