"""Recording a guest's run: what happens on its heap, handed over batch by batch.

    with Program.open("gofmt.wasm", recording="gofmt.tinyheap") as program:
        ...

Events are noted by compiled code (`_recorder`), which calls here when a buffer is full, and from time to time.  What
is rarer is noted here: collections and the objects that they free, growths, samples of the heap as a whole, and pictures of
its block table.  All of it goes to a *sink*, by default the writer of a recording's file, which has a thread of its own.

What a recording holds depends on who serves the heap.  Where this collector does, it is all of the above.  Where the
program's own allocator does (its collector cannot be replaced, or is not to be), calls in the program tell of allocations
only: its collections, and with them all deaths, happen unseen.

A run's time begins with the program's first instruction and ends with its last: when its host first called it, and when its
last call returned.  What lies between two calls is part of it.

An allocation of no bytes is an event and makes no object.  One that found no memory is no event: the run ends with it.

When a batch cannot be taken, because the disk is full for instance, the program ends at its next event with the sink's
error: a recording never silently misses a part of its run.
"""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, Self, overload

import numpy as np
import wasmtime

from tinyheap.errors import GuestError, RecordingError
from tinyheap.guests.rewrite.instrumenting import ALLOCATION, RECORDER_IMPORT, SHADOW_STACK_EXPORT
from tinyheap.guests.rewrite.shadow_stack import INDIRECT, Sites
from tinyheap.guests.serve.unchecked import trap_for, unchecked_function
from tinyheap.ownership import SoleOwner
from tinyheap.recordings.batch import (
    DEATH,
    EVENT,
    STACK,
    Batch,
    CollectionRow,
    FrameRow,
    GrowthRow,
    RunRow,
    SampleRow,
    SnapshotRow,
)
from tinyheap.recordings.schema import FAILED, FINISHED

if TYPE_CHECKING:
    from wasmtime import Instance, Store

    from tinyheap.heap.contract import Counters, Engine
    from tinyheap.heap.stats import Collection
    from tinyheap.hosts.imports import Maker

try:
    from tinyheap.guests.record._recorder import EventLog
except ImportError as _error:
    raise RecordingError(
        "recording needs the compiled kernel, which is not there; install a C compiler and reinstall tinyheap"
    ) from _error

PICTURES: Final = 32
"""Of the heap, from any collection to that of twice its number, at most; all are pictured up to the 63rd."""
FLUSH_NS: Final = 500_000_000
"""So long events wait at most before they are handed over, while there are others."""
SAMPLE_NS: Final = 100_000_000
"""The heap is looked at so often at most between collections (for Python has to wait for whoever else runs in it),"""
SAMPLE_SHARE: Final = 50
"""for one part in so many of the time,"""
SAMPLES: Final = 1000
"""and, from any time of the run to twice that time, no more often than so."""
WAITING_DEATHS: Final = 1 << 16
WAITING_PICTURE_BYTES: Final = 1 << 20
"""What may wait for the next batch; more of it makes one."""
_BLOCKS: Final = 4
"""Log2 of the bytes of a block: objects share none."""
_WORDS: Final = 3
"""Log2 of the alignment of objects that are not our collector's, at least."""


class Sink(Protocol):
    """What takes a recording; `tinyheap.recordings.RecordingWriter` is one."""

    def append(self, batch: Batch) -> None:
        """Take what has happened since the last time."""

    def finish(self, state: str, *, error: str | None = None, exit_code: int | None = None, time_ns: int) -> None:
        """Take how the run ended."""


class RecordedHeap(Protocol):
    """A heap that is looked at while an engine serves it."""

    @property
    def engine(self) -> Engine:
        """What serves it."""

    @property
    def counters(self) -> Counters:
        """What was counted, as the program is to see it."""


class Frames(Sequence[FrameRow]):
    """The call instructions that a module's shadow stack names, as rows, each made when it is asked for."""

    def __init__(self, sites: Sites) -> None:
        self._sites = sites

    def __len__(self) -> int:
        return len(self._sites)

    @overload
    def __getitem__(self, index: int) -> FrameRow: ...
    @overload
    def __getitem__(self, index: slice) -> list[FrameRow]: ...
    def __getitem__(self, index: int | slice) -> FrameRow | list[FrameRow]:
        """The frame of site ``index + 1``."""
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        at, sites = range(len(self))[index], self._sites
        callee = sites.callees[at]
        called = None if callee == INDIRECT else sites.name(callee)
        return FrameRow(at + 1, sites.functions[at], sites.name(sites.functions[at]), sites.offsets[at], called)


class Recorder(SoleOwner):
    """Records one run of one program, which `tinyheap.Program.open` is given it for.

    Args:
        open_sink: makes the sink, when the program is there and before it runs.

    Raises:
        MemoryError: there is no room for its buffers.
    """

    def __init__(self, open_sink: Callable[[RunRow, Sequence[FrameRow]], Sink]) -> None:
        self.error: BaseException | None = None
        """Why nothing could be recorded any more."""
        self._open_sink = open_sink
        self._sink: Sink | None = None
        self._log = EventLog(self)
        self._heap: RecordedHeap | None = None
        self._shadow_pointer: ctypes.c_uint32 | None = None
        self._store: Store | None = None
        self._batch = Batch(0)
        self._waiting_deaths = self._flush_due_ns = 0
        self._has_begun = self._is_inside = False
        self._left_ns = 0
        self._is_complete = False

    @classmethod
    def to_file(cls, path: str | Path, *, overwrite: bool = False) -> Self:
        """A recorder into a new file.

        Args:
            path: its place; it is made when the program is there.
            overwrite: whether to replace what is there.
        """
        from tinyheap.recordings.writer import RecordingWriter

        return cls(lambda run, frames: RecordingWriter.create(path, run, frames, overwrite=overwrite))

    @property
    def log(self) -> EventLog:
        """What notes events."""
        return self._log

    @property
    def is_complete(self) -> bool:
        """Whether the recording is finished, and holds the whole run."""
        return self._is_complete

    @property
    def events(self) -> int:
        """How many there were."""
        return self._log.events

    # ---- tying ------------------------------------------------------------------------------------------------------

    def makers(self, store: Store) -> Mapping[str, Maker]:
        """What makes the functions that an instrumented module imports for this.

        Raises:
            RecordingError: It has had a run to record before.
        """
        if self._store is not None:
            raise RecordingError("a recorder records one run; make another for the next")
        self._store = store
        self._flush_due_ns = FLUSH_NS
        return {RECORDER_IMPORT: self._function}

    def _function(self, name: str, kind: object) -> wasmtime.Func:
        if self._store is None or not isinstance(kind, wasmtime.FuncType):
            raise GuestError(f"the import {RECORDER_IMPORT}.{name} is no function")
        return unchecked_function(self._store, kind, self._log)

    def attach(self, store: Store, instance: Instance) -> None:
        """Find the call stacks of an instance."""
        memory = instance.exports(store)[SHADOW_STACK_EXPORT]
        if not isinstance(memory, wasmtime.Memory):
            raise GuestError("the module was not prepared for a recording")
        address = ctypes.addressof(memory.data_ptr(store).contents)
        self._shadow_pointer = ctypes.c_uint32.from_address(address)
        self._log.begin_heap(0, _WORDS)
        self._log.attach(address)
        # An instance is made by the program's code only where that has a start function.
        self._has_begun = self._log.events > 0

    def begin(self, run: RunRow, sites: bytes) -> None:
        """Begin the recording.

        Args:
            run: what is known of it.
            sites: the call instructions that its stacks are made of, as `Sites.encode` writes them.

        Raises:
            RecordingWriteError: it cannot be written there.
        """
        self._sink = self._open_sink(run, Frames(Sites.decode(sites)))

    def enter(self) -> None:
        """The host calls the program: its stack begins anew, whatever became of the last call, and at first its time."""
        if self._shadow_pointer is not None:
            self._shadow_pointer.value = 0
        self._is_inside = True
        if not self._has_begun:
            self._has_begun = True
            self._log.begin()

    def leave(self) -> None:
        """The host's call has returned, or failed."""
        self._left_ns = self._log.now_ns
        self._is_inside = False

    @property
    def _time_ns(self) -> int:
        """How far the run is since its first instruction: up to now, or to when the program last ran."""
        if not self._has_begun:
            return 0
        return self._log.now_ns if self._is_inside else self._left_ns

    # ---- what happens on a heap that we serve -----------------------------------------------------------------------

    def heap_begins(self, heap: RecordedHeap, first_object_address: int) -> None:
        """An engine serves the program's heap from now on."""
        self._heap = heap
        self._log.begin_heap(first_object_address, _BLOCKS)
        self.sample()

    def heap_ends(self) -> None:
        """The heap cannot be looked at any more."""
        self._heap = None

    def note_allocation(self, address: int, size_bytes: int, layout: int) -> None:
        """Note an allocation that was not served by compiled code.

        Raises:
            RecordingError: the recording cannot go on.
        """
        if not self._log.note_event(ALLOCATION, address, size_bytes, layout):
            raise self._failure()

    def note_deaths(self, table_address: int, blocks: int, collection: int) -> int:
        """Note the objects that a collection has not marked; returns the nanoseconds that this took.

        Args:
            table_address: where the block table lies on this machine.
            blocks: how many it has.
            collection: the collection's number.
        """
        begun_ns = time.perf_counter_ns()
        try:
            self._waiting_deaths += self._log.note_deaths(table_address, blocks, collection)
        except MemoryError as error:
            self._fail(error)
        return time.perf_counter_ns() - begun_ns

    def note_collection(
        self, collection: Collection, begun_ns: int, wanted_bytes: int | None, roots_bytes: int, block_bytes: int
    ) -> None:
        """Note a collection that has just ended.

        Args:
            begun_ns: when it began, by Python's clock.
            wanted_bytes: the allocation that found no room.
            roots_bytes: how much of the stack and of the globals was scanned.
            block_bytes: the size of a block.
        """
        begun_ns = self._log.now_ns - (time.perf_counter_ns() - begun_ns)
        stack_id = self._log.stack()
        self._batch.collections.append(
            CollectionRow(
                number=collection.number,
                reason=collection.reason,
                begun_ns=begun_ns,
                pause_ns=collection.pause_ns,
                mark_ns=collection.mark_ns,
                sweep_ns=collection.sweep_ns,
                last_event_id=self._log.events,
                wanted_bytes=wanted_bytes,
                stack_id=stack_id,
                roots_bytes=roots_bytes,
                words_scanned=collection.words_scanned,
                overflows=collection.overflows,
                rescans=collection.rescans,
                freed_objects=collection.freed_objects,
                freed_bytes=collection.freed_blocks * block_bytes,
                live_objects=collection.live_objects,
                live_bytes=collection.live_blocks * block_bytes,
            )
        )
        self.sample()
        if is_pictured(collection.number):
            self._picture(collection.number)
        pictures_bytes = sum(len(picture.states) for picture in self._batch.snapshots)
        if self._waiting_deaths > WAITING_DEATHS or pictures_bytes > WAITING_PICTURE_BYTES:
            self._flush()

    def note_growth(self, old_bytes: int, new_bytes: int, wanted_bytes: int) -> None:
        """Note that the heap has become larger, for an allocation."""
        row = GrowthRow(self._log.now_ns, self._log.events, old_bytes, new_bytes, wanted_bytes)
        self._batch.growths.append(row)
        self.sample()

    def sample(self) -> None:
        """Note the heap as a whole, as it is now; nothing where there is no heap that could be looked at."""
        heap = self._heap
        if heap is None:
            return
        geometry, census, counts = heap.engine.geometry, heap.engine.census(), heap.counters
        objects = census.heads + census.marks
        self._batch.samples.append(
            SampleRow(
                time_ns=self._time_ns,
                last_event_id=self._log.events,
                heap_bytes=geometry.heap_bytes,
                used_bytes=(objects + census.tails) * geometry.block_bytes,
                free_bytes=census.free_blocks * geometry.block_bytes,
                free_runs=census.free_runs,
                largest_free_run_bytes=census.largest_free_run_blocks * geometry.block_bytes,
                objects=objects,
                total_alloc_bytes=counts.total_alloc_bytes,
                mallocs=counts.mallocs,
                frees=counts.frees,
            )
        )

    def _picture(self, collection: int) -> None:
        """Keep the block table; ``collection`` is 0 for none."""
        heap = self._heap
        if heap is not None:
            blocks, table = heap.engine.geometry.end_block, heap.engine.read_table()
            row = SnapshotRow(self._time_ns, self._log.events, collection, blocks, table)
            self._batch.snapshots.append(row)

    # ---- handing over -----------------------------------------------------------------------------------------------

    def finish(self, *, error: str | None = None, exit_code: int | None = None) -> None:
        """End the recording; what the program does after that is not recorded.  Again does nothing.

        Args:
            error: why the program failed, if it did.
            exit_code: what it ended itself with, if it did.

        Raises:
            RecordingError: what was recorded last could not be written.
        """
        sink, self._sink = self._sink, None
        # Nothing is noted any more, and the program's memory may go.
        self._shadow_pointer = None
        if sink is None:
            return
        if self.error is not None:
            # It ended the program, and who ran that knows.
            with contextlib.suppress(RecordingError):
                sink.finish(FAILED, error=str(self.error), exit_code=exit_code, time_ns=self._time_ns)
            return
        self._log.stop()
        self.sample()
        self._picture(0)
        sink.append(self._taken())
        self._heap = None
        sink.finish(FINISHED if error is None else FAILED, error=error, exit_code=exit_code, time_ns=self._time_ns)
        self._is_complete = True

    def _flush(self) -> None:
        """Hand over what was noted; called by compiled code, and so it never raises."""
        try:
            batch = self._taken()
            if self._sink is not None:
                self._sink.append(batch)
        except BaseException as error:
            self._fail(error)

    def _wake(self) -> int:
        """Look at the heap, and hand over what waited long enough; returns when to be called next.  It never raises."""
        now_ns = self._log.now_ns
        try:
            self.sample()
        except BaseException as error:
            self._fail(error)
        taken_ns = self._log.now_ns - now_ns
        if now_ns >= self._flush_due_ns:
            self._flush()
        return now_ns + max(SAMPLE_NS, SAMPLE_SHARE * taken_ns, now_ns // SAMPLES)

    def _taken(self) -> Batch:
        """What was noted since the last time."""
        events, event_count, stacks, stack_count, deaths = self._log.take()
        batch, self._batch, self._waiting_deaths = self._batch, Batch(0), 0
        batch.time_ns = self._time_ns
        self._flush_due_ns = batch.time_ns + FLUSH_NS
        batch.events = np.frombuffer(events, EVENT, event_count)
        batch.stacks = np.frombuffer(stacks, STACK, stack_count)
        batch.deaths = np.frombuffer(deaths, DEATH)
        return batch

    def _fail(self, error: BaseException) -> None:
        self.error = self.error or error
        self._log.fail()

    def _failure(self) -> BaseException:
        """Why the recording cannot go on."""
        if self.error is None:
            # The log failed by itself, and all that it noted until then is sound.
            self._flush()
        if self.error is None:
            full, memory = (
                f"it has {self._log.objects:,} objects, the most there can be",
                "this machine has no memory left for it",
            )
            self.error = RecordingError(f"the recording cannot go on: {full if self._log.is_full else memory}")
        return self.error

    def _trap(self) -> int:
        """What ends the program; called by compiled code when it was told that the recording failed."""
        return trap_for(self._failure())


def is_pictured(collection: int) -> bool:
    """Whether the heap's picture is kept after this collection: all of them at first, and ever fewer."""
    return collection % (1 << max(0, collection.bit_length() - PICTURES.bit_length())) == 0
