"""A recorder while its program runs: the last phase of a `Recorder`, which notes what happens until the run ends."""

from __future__ import annotations

import contextlib
import ctypes
import time
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from tinyheap.errors import RecordingError
from tinyheap.guests.record.call_arguments import rows_of
from tinyheap.guests.rewrite.sites import ENTRY_BYTES
from tinyheap.heap.collectors import Collector, Encoding
from tinyheap.recordings.batch import Batch
from tinyheap.recordings.row_types import CallRow, CollectionRow, GrowthRow, SampleRow, SnapshotRow
from tinyheap.recordings.schema import BY_COLLECTOR, FAILED, FINISHED, EventKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tinyheap.guests.record._recorder import EventLog
    from tinyheap.guests.record.call_arguments import FunctionType
    from tinyheap.guests.record.frames import Unfolding
    from tinyheap.guests.record.journal import Journal
    from tinyheap.heap.contract import Counters, Engine
    from tinyheap.heap.stats import Collection
    from tinyheap.recordings.refusals import Refusal
    from tinyheap.recordings.row_types import FrameRow

SNAPSHOTS: Final = 32
"""How many snapshots are kept at most between any collection and that of twice its number; the first 63 all have one."""
FLUSH_NS: Final = 500_000_000
"""The longest time that events wait before they are handed over, as long as others follow."""
SAMPLE_NS: Final = 100_000_000
"""The shortest time between two samples of the heap between collections, since taking one takes Python's lock."""
SAMPLE_SHARE: Final = 50
"""Taking samples takes at most one part in so many of the run's time."""
SAMPLES: Final = 1000
"""How many samples are taken at most between any time of the run and twice that time."""
WAITING_DEATHS: Final = 1 << 16
"""How many freed objects may wait for the next batch; more of them make one."""
WAITING_SNAPSHOT_BYTES: Final = 1 << 20
"""How many bytes of snapshots may wait for the next batch."""
WAITING_CALLS: Final = 1 << 12
"""How many calls may wait for the next batch."""
_BLOCKS: Final = 4
"""Log2 of the bytes of a block, of which each belongs to one object at most."""
_ADDRESS_MASK: Final = 0xFFFF_FFFF
"""Numbers that a program returns are signed, addresses are not."""

_PAIRS_OF_PLANES: Final = bytes(
    sum(Encoding.PAIRS.bits(place, Encoding.PLANES.states(place)[byte]) for place in range(4)) for byte in range(256)
)
"""Each byte of a table that keeps low and high bits apart, as a recording has it."""


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


class OpenCall(NamedTuple):
    """A call into the program that is not over."""

    number: int
    export: str
    begun_ns: int
    last_event_id: int
    objects: int
    argument_object_id: int
    memory_bytes: int | None
    arguments: tuple[float, ...]
    """Empty where they are not kept."""


class Clock:
    """The time of a run: it begins with the program's first instruction and ends with its last."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._has_begun = self._is_inside = False
        self._left_ns = 0

    def enter(self) -> None:
        """The host calls the program."""
        self._is_inside = True
        if not self._has_begun:
            self._has_begun = True
            self._log.begin()

    def leave(self) -> None:
        """The host's call has returned, or failed."""
        self._left_ns = self._log.now_ns
        self._is_inside = False

    def instantiated(self) -> None:
        """There is an instance, which is made by the program's code only where that has a start function."""
        self._has_begun = self._log.events > 0

    @property
    def time_ns(self) -> int:
        """How far the run is: up to now, or to when the program last ran."""
        if not self._has_begun:
            return 0
        return self._log.now_ns if self._is_inside else self._left_ns


class RunningRecorder:
    """Notes what happens in a run, and hands it over to a sink, batch by batch.

    Args:
        journal: what compiled code notes.
        clock: of the run.
        shadow_pointer: the program's, where its call stack ends; the stack lies behind it (`shadow_stack`).
        frames: the call instructions that the stack is made of.
        sink: takes it all.
        unfolding: what puts calls into stacks that the compiler inlined; None where none are known.
        types: of the program's exported functions, where arguments and results of calls are kept; else None.
    """

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        shadow_pointer: ctypes.c_uint32,
        frames: Sequence[FrameRow],
        sink: Sink,
        unfolding: Unfolding | None = None,
        types: Mapping[str, FunctionType] | None = None,
    ) -> None:
        self._types = types
        self._journal, self._clock, self._shadow_pointer, self._sink = journal, clock, shadow_pointer, sink
        self._frames, self._unfolding = frames, unfolding
        self._heap: RecordedHeap | None = None
        self._rows = Batch(0)
        self._waiting_deaths, self._flush_due_ns = 0, FLUSH_NS
        self._is_over = self.is_complete = False
        self._calls = 0
        self._open_calls: list[OpenCall] = []
        journal.taker = self

    def enter(self) -> None:
        """The host calls the program: its stack begins anew, whatever became of the last call."""
        self._shadow_pointer.value = 0
        self._clock.enter()

    def leave(self) -> None:
        """The host's call has returned, or failed."""
        self._clock.leave()

    def callers(self) -> tuple[str, ...]:
        """The functions of the program that have called another and wait, innermost first; after a trap, those that did.

        Only functions are known that lead to an allocation.  Empty once the recording is finished.
        """
        if self._is_over:
            return ()
        count = self._shadow_pointer.value // ENTRY_BYTES
        first = ctypes.addressof(self._shadow_pointer) + ENTRY_BYTES
        entries = (ctypes.c_uint64 * count).from_address(first)
        sites = [entry & 0xFFFFFFFF for entry in reversed(entries)]
        return tuple(self._frames[site - 1].function for site in sites)

    def call_begins(self, export: str, arguments: tuple[float, ...], memory_bytes: int | None) -> None:
        """The host calls an exported function.

        Args:
            export: its name.
            arguments: what it is given, of which nothing is kept but which object the first is the address of, unless
                that is asked for.
            memory_bytes: how large linear memory is; None where that cannot be seen.
        """
        log = self._journal.log
        self._calls += 1
        given = self._object_at(arguments[0]) if arguments else 0
        kept = () if self._types is None else arguments
        call = OpenCall(self._calls, export, log.now_ns, log.events, log.objects, given, memory_bytes, kept)
        self._open_calls.append(call)

    def call_ends(self, result: int | float | None, returned: bool, memory_bytes: int | None) -> None:
        """The call that began last is over.

        Args:
            result: what it returned; None for nothing.
            returned: whether it did; not so where it trapped, or ended the program.
            memory_bytes: how large linear memory is now.
        """
        log, depth, call = self._journal.log, len(self._open_calls), self._open_calls.pop()
        if self._is_over:
            return
        made = self._object_at(result)
        self._rows.calls.append(
            CallRow(
                number=call.number,
                export=call.export,
                depth=depth,
                begun_ns=call.begun_ns,
                ended_ns=log.now_ns,
                first_event_id=call.last_event_id + 1,
                last_event_id=log.events,
                old_memory_bytes=call.memory_bytes,
                new_memory_bytes=memory_bytes,
                returned=returned,
                argument_object_id=call.argument_object_id,
                result_object_id=made if made > call.objects else 0,
            )
        )
        if self._types is not None and call.export in self._types:
            kind = self._types[call.export]
            self._rows.call_arguments += rows_of(call.number, kind, call.arguments, result if returned else None)
        if len(self._rows.calls) > WAITING_CALLS:
            self.flush()

    def _object_at(self, number: int | float | None) -> int:
        """The object whose address a number is, if it may be one; 0 for none."""
        is_address = isinstance(number, int) and -(1 << 31) <= number < 1 << 32
        return self._journal.log.object_at(int(number or 0) & _ADDRESS_MASK) if is_address else 0

    # ---- what happens on a heap that we serve -----------------------------------------------------------------------

    def heap_begins(self, heap: RecordedHeap, first_object_address: int) -> None:
        """An engine serves the program's heap from now on."""
        self._heap = heap
        self._journal.log.begin_heap(first_object_address, _BLOCKS)
        self.sample()

    def heap_ends(self) -> None:
        """The heap cannot be looked at any more."""
        self._heap = None

    def note_allocation(self, address: int, size_bytes: int, layout: int) -> None:
        """Note an allocation that was not served by compiled code.

        Raises:
            RecordingError: the recording cannot go on, and the program is to end then.
        """
        if not self._journal.log.note_event(EventKind.ALLOCATION, address, size_bytes, layout):
            ending = self._journal.ending()
            if ending is not None:
                raise ending

    def note_deaths(self, table_address: int, blocks: int, collection: int, collector: Collector) -> int:
        """Note the objects that a collection has not marked; returns the nanoseconds that this took.

        Args:
            table_address: where the block table lies on this machine.
            blocks: how many it has.
            collection: the collection's number.
            collector: whose table it is.
        """
        begun_ns = time.perf_counter_ns()
        try:
            log = self._journal.log
            if collector is Collector.NEXT_FIT:
                self._waiting_deaths += log.note_deaths(table_address, blocks, collection)
            else:
                last = collector.head_is_last
                self._waiting_deaths += log.note_deaths_in_planes(table_address, blocks, collection, last)
        except MemoryError as error:
            self._journal.fail(error)
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
        begun_ns = self._journal.log.now_ns - (time.perf_counter_ns() - begun_ns)
        stack_id = self._journal.log.stack()
        self._rows.collections.append(
            CollectionRow(
                number=collection.number,
                reason=collection.reason,
                begun_ns=begun_ns,
                pause_ns=collection.pause_ns,
                mark_ns=collection.mark_ns,
                sweep_ns=collection.sweep_ns,
                last_event_id=self._journal.log.events,
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
        if has_snapshot(collection.number):
            self._take_snapshot(collection.number)
        snapshots_bytes = sum(len(snapshot.states) for snapshot in self._rows.snapshots)
        if self._waiting_deaths > WAITING_DEATHS or snapshots_bytes > WAITING_SNAPSHOT_BYTES:
            self.flush()

    def note_growth(self, old_bytes: int, new_bytes: int, wanted_bytes: int) -> None:
        """Note that the heap has become larger, for an allocation."""
        row = GrowthRow(self._journal.log.now_ns, self._journal.log.events, old_bytes, new_bytes, wanted_bytes)
        self._rows.growths.append(row)
        self.sample()

    def note_memory_growth(self, old_pages: int, asked_pages: int, new_pages: int, refused_by: Refusal | None) -> None:
        """Note that linear memory was to grow for a heap that is served; see the table ``memory_growths``."""
        self._journal.note_memory_growth(BY_COLLECTOR, old_pages, asked_pages, new_pages, refused_by)

    def sample(self) -> None:
        """Note the heap as a whole, as it is now; nothing where there is no heap that could be looked at."""
        heap = self._heap
        if heap is None:
            return
        geometry, census, counts = heap.engine.geometry, heap.engine.census(), heap.counters
        objects = census.heads + census.marks
        self._rows.samples.append(
            SampleRow(
                time_ns=self._clock.time_ns,
                last_event_id=self._journal.log.events,
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

    def _take_snapshot(self, collection: int) -> None:
        """Keep the block table; ``collection`` is 0 for none."""
        heap = self._heap
        if heap is not None:
            blocks, table = heap.engine.geometry.end_block, heap.engine.read_table()
            if heap.engine.collector.encoding is Encoding.PLANES:
                table = table.translate(_PAIRS_OF_PLANES)
            row = SnapshotRow(self._clock.time_ns, self._journal.log.events, collection, blocks, table)
            self._rows.snapshots.append(row)

    # ---- handing over -----------------------------------------------------------------------------------------------

    def finish(self, *, error: str | None, exit_code: int | None) -> None:
        """End the recording; what the program does after that is not recorded.  Again does nothing."""
        if self._is_over:
            return
        self._let_go()
        time_ns, failure = self._clock.time_ns, self._journal.error
        if failure is not None:
            # It ended the program, and who ran that knows.
            with contextlib.suppress(RecordingError):
                self._sink.finish(FAILED, error=str(failure), exit_code=exit_code, time_ns=time_ns)
            return
        self._journal.stop()
        self.sample()
        self._take_snapshot(0)
        try:
            self._append(self._taken())
        except RecordingError as unwritten:
            with contextlib.suppress(RecordingError):
                self._sink.finish(FAILED, error=str(unwritten), exit_code=exit_code, time_ns=time_ns)
            raise
        self._heap = None
        state = FINISHED if error is None else FAILED
        self._sink.finish(state, error=error, exit_code=exit_code, time_ns=self._clock.time_ns)
        self.is_complete = True

    def abandon(self) -> None:
        """Note nothing any more, and hand nothing over: the sink is another process's."""
        self._let_go()
        self._heap = None

    def _let_go(self) -> None:
        """Nothing is noted any more, and the program's memory may go."""
        self._is_over = True
        self._shadow_pointer = ctypes.c_uint32()

    def flush(self) -> None:
        """Hand over what was noted; called by compiled code, and so it never raises."""
        try:
            taken = self._taken()
            if not self._is_over:
                self._append(taken)
        except BaseException as error:
            self._journal.fail(error)

    def wake(self) -> int:
        """Look at the heap, and hand over what waited long enough; returns when to be called next.  It never raises."""
        now_ns = self._journal.log.now_ns
        try:
            self.sample()
        except BaseException as error:
            self._journal.fail(error)
        taken_ns = self._journal.log.now_ns - now_ns
        if now_ns >= self._flush_due_ns:
            self.flush()
        return now_ns + max(SAMPLE_NS, SAMPLE_SHARE * taken_ns, now_ns // SAMPLES)

    def _append(self, batches: list[Batch]) -> None:
        for batch in batches:
            self._sink.append(batch if self._unfolding is None else self._unfolding.unfold(batch))

    def _taken(self) -> list[Batch]:
        """What was noted since the last time."""
        *early, batch = self._journal.batches(self._clock.time_ns)
        rows, self._rows, self._waiting_deaths = self._rows, Batch(0), 0
        batch.collections, batch.samples = rows.collections, rows.samples
        batch.growths, batch.snapshots = rows.growths, rows.snapshots
        batch.calls, batch.call_arguments = rows.calls, rows.call_arguments
        self._flush_due_ns = batch.time_ns + FLUSH_NS
        return [*early, batch]


def has_snapshot(collection: int) -> bool:
    """Whether a snapshot of the heap is kept after this collection: all of them at first, and ever fewer."""
    return collection % (1 << max(0, collection.bit_length() - SNAPSHOTS.bit_length())) == 0
