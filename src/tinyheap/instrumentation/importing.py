"""Makes recordings of logs: what a module wrote down of its run, as `tinyheap profile` would have recorded it.

A log has no numbers of objects, no numbers of stacks, and no deaths.  Objects are numbered as they are allocated.  A stack is
what the last record's was up to some depth, and other calls from there on.  And what was there before a collection and is not
among its survivors has died.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from tinyheap.errors import LogError
from tinyheap.guests.record.frames import SiteFrames, Unfolding
from tinyheap.guests.record.running_recorder import has_snapshot
from tinyheap.guests.rewrite.sites import Sites
from tinyheap.guests.serve.collecting import EXHAUSTED, REQUESTED
from tinyheap.instrumentation.lives import BLOCK_BYTES, Lives, Unborn, extent_of
from tinyheap.instrumentation.log import EVENTS, TIME_BITS, Kind, Log, Record, read_log
from tinyheap.instrumentation.operation import SITES_SECTION, instrument
from tinyheap.recognize.facts import HeaderPlace
from tinyheap.recognize.instrumented import instrumented
from tinyheap.recordings.batch import DEATH, EVENT, STACK, Batch
from tinyheap.recordings.observed import LOGGED
from tinyheap.recordings.refusals import refusal
from tinyheap.recordings.row_types import (
    CallRow,
    CollectionRow,
    GrowthRow,
    MemoryGrowthRow,
    MemoryRow,
    RunRow,
    SampleRow,
    SnapshotRow,
)
from tinyheap.recordings.schema import BY_COLLECTOR, BY_PROGRAM, FAILED, FINISHED, EventKind
from tinyheap.recordings.writer import RecordingWriter
from tinyheap.units import WASM_PAGE_BYTES
from tinyheap.wasm import Module

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinyheap.recognize.instrumented import Instrumented

BATCH_EVENTS: Final = 1 << 16
KERNEL: Final = "kernel"
"""``run.source`` where the collector is tinyheap's, compiled into the module."""
_UNKNOWN: Final = 1
"""What stands for the address of an object that nobody knows yet."""
_MADE: Final = 14
"""Which of a collection's words, with best-fit, is the address of the object that it was for."""
_CUT: Final = (
    "the log ends inside an allocation: a finalizer that it ran did not return, or the log was taken meanwhile"
)
_LOST: Final = (
    "the log was full: {lost:,} more records were not kept; instrument the module with a larger --log-size, or take the log"
    " more often"
)


@dataclass(frozen=True)
class Import:
    """What was made of a log."""

    events: int
    collections: int
    lost: int
    """Records that were not kept, since the log was full; the recording ends before the first of them."""
    has_times: bool
    """Whether the module had a clock; else all times are 0."""


def import_log(
    data: bytes,
    module: bytes,
    path: str | Path,
    *,
    name: str = "(bytes)",
    written_at: datetime | None = None,
    overwrite: bool = False,
    full_paths: bool = False,
) -> Import:
    """Make a recording of a log.

    Args:
        data: The log: all chunks that the module handed over in one run.
        module: The module that wrote it, or the one that it was made from.
        path: The file to make.
        name: What the recording calls the module.
        written_at: When the log was written, which is noted as the run's beginning; None for now.
        overwrite: Whether a recording of that name may be replaced.
        full_paths: Whether source files are named by their full paths on the machine that compiled them.

    Raises:
        LogError: The log cannot be read, or is not of this module.
        MalformedModuleError: It is not a module.
        UnsupportedGuestError: It is neither instrumented nor can be.
        RecordingWriteError: The recording cannot be written.
    """
    log = read_log(data)
    facts, sites = _module_of(module)
    if log.module_id != facts.module_id:
        raise LogError(
            f"this log is of another module: it was made from one whose SHA-256 begins with {_hash_of(log.module_id)}, and"
            f" this one's with {_hash_of(facts.module_id)}; name the module that wrote it"
        )
    if log.is_best_fit != (facts.best_fit is not None):
        raise LogError("invalid log: it is of another collector than this module's")
    unfolding = Unfolding(sites, full_paths=full_paths) if sites.places else None
    run = _run_of(facts, log, name, written_at or datetime.now(UTC))
    frames = SiteFrames(sites) if unfolding is None else unfolding.frames
    replay = _Replay(facts, log, len(sites))
    with RecordingWriter.create(path, run, frames, overwrite=overwrite) as writer:
        for batch in replay.batches():
            writer.append(batch if unfolding is None else unfolding.unfold(batch))
        error = _LOST.format(lost=log.lost) if log.lost else replay.error
        writer.finish(FAILED if error else FINISHED, error=error, exit_code=replay.exit_code, time_ns=replay.time_ns)
    return Import(replay.events, replay.collections, log.lost, log.has_clock)


def _module_of(wasm: bytes) -> tuple[Instrumented, Sites]:
    """What an instrumented module says of itself; one that is not is instrumented for that."""
    module = Module.parse(wasm)
    facts = instrumented(module)
    if facts is None:
        module = Module.parse(instrument(wasm).wasm)
        facts = instrumented(module)
        assert facts is not None
    section = module.custom_section(SITES_SECTION)
    try:
        return facts, Sites.decode(b"" if section is None else section.payload)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as error:
        raise LogError(f"the section {SITES_SECTION} of this module cannot be read: {error}") from error


def _hash_of(module_id: int) -> str:
    return module_id.to_bytes(8, "little").hex()


def _run_of(facts: Instrumented, log: Log, name: str, written_at: datetime) -> RunRow:
    return RunRow(
        module=name,
        module_sha256=facts.module_sha256,
        arguments=(),
        runtime=facts.runtime,
        runtime_version=facts.runtime_version,
        collector=facts.collector,
        source=KERNEL if facts.best_fit is None else LOGGED,
        options={"instrumented_by": facts.version, "has_clock": log.has_clock},
        started_at=written_at,
        block_bytes=BLOCK_BYTES,
        heap_start_address=log.heap_start_address,
    )


@dataclass
class _Call:
    """A call that is not over."""

    number: int
    export: int
    depth: int
    begun_ns: int
    last_event_id: int
    objects: int
    argument_object_id: int
    pages: int


class _Stacks:
    """Stacks by number, in a tree.

    Args:
        sites: How many call instructions there are.
    """

    def __init__(self, sites: int) -> None:
        self._sites = sites
        self._numbers: dict[tuple[int, int], int] = {}
        self._path: list[int] = []
        self.new: list[tuple[int, int, int, int]] = []
        """Rows of those that were not taken yet."""

    def of(self, record: Record) -> int:
        """The number of the stack of a record, which follows on the last one's; 0 for none.

        Raises:
            LogError: It is none.
        """
        if record.known > len(self._path):
            raise LogError(
                f"invalid log: a stack begins as the last one's {record.known} calls, and that had {len(self._path)}"
            )
        del self._path[record.known :]
        for site in record.sites:
            if not 0 < site <= self._sites:
                raise LogError(f"invalid log: call instruction {site}, and the module has {self._sites}")
            self._path.append(self._child(self._path[-1] if self._path else 0, site))
        return self._path[-1] if self._path else 0

    def _child(self, parent: int, site: int) -> int:
        number = self._numbers.get((parent, site))
        if number is None:
            number = self._numbers[parent, site] = len(self._numbers) + 1
            self.new.append((number, parent, site, len(self._path) + 1))
        return number


class _Replay:
    """Goes through a log once, and hands over rows batch by batch."""

    def __init__(self, facts: Instrumented, log: Log, sites: int) -> None:
        self._facts, self._log = facts, log
        heap = facts.best_fit or facts.heap
        assert heap is not None, "one of the two is there"
        last = facts.best_fit is not None and facts.best_fit.header_place is HeaderPlace.BACK
        self._stacks, self._lives = _Stacks(sites), Lives(heap.header_bytes, header_is_last=last)
        self._counted_bytes = 0 if facts.best_fit else heap.header_bytes
        """What a program counts of each object beside its size."""
        self.error: str | None = None
        self._extent = extent_of(log.heap_start_address, log.heap_end_address, log.end_block)
        self._begun_ns: int | None = None
        self.time_ns = self.events = self.collections = 0
        self._objects = self._frees = self._alloc_bytes = 0
        self.exit_code: int | None = None
        self._calls, self._open_calls = 0, list[_Call]()
        self._event_rows: list[tuple[int, ...]] = []
        self._death_rows: list[tuple[int, int]] = []
        self._rows = Batch(0)

    def batches(self) -> Iterator[Batch]:
        """All of it.

        Raises:
            LogError: The log says what cannot be.
        """
        memory = MemoryRow(self._facts.declared_pages, self._facts.maximum_pages, None)
        self._rows.memories.append(memory)
        for record in self._log.records():
            if self._is_cut(record):
                self.error = _CUT
                break
            self._take(record)
            if len(self._event_rows) >= BATCH_EVENTS or len(self._death_rows) >= BATCH_EVENTS:
                yield self._batch()
        while self._open_calls:
            self._end_call(self._open_calls.pop(), returned=False, result=0, pages=self._log.pages)
        self._extent = extent_of(self._log.heap_start_address, self._log.heap_end_address, self._log.end_block)
        if not self._log.lost and self.error is None:
            self._sample()
            self._take_snapshot(0)
        yield self._batch()

    def _is_cut(self, record: Record) -> bool:
        """Whether a record waits for an address that never came."""
        return record.kind == Kind.COLLECTION and _UNKNOWN in record.words[_MADE : _MADE + 1]

    def _take(self, record: Record) -> None:
        if self._begun_ns is None:
            self._begun_ns = record.time_ns
        # Clocks may go back; a recording's time does not.
        self.time_ns = max(self.time_ns, record.time_ns - self._begun_ns)
        stack = self._stacks.of(record)
        if record.kind in EVENTS:
            self._event(record, stack)
        else:
            _TAKING[Kind(record.kind)](self, record, stack)

    def _event(self, record: Record, stack: int) -> None:
        address, size_bytes, *layouts = record.words
        number = 0
        if record.kind != EventKind.ALLOCATION:
            number = self._lives.object_at(address)
        elif size_bytes:
            self._objects = number = self._objects + 1
            self._alloc_bytes += size_bytes + self._counted_bytes
            self._lives.add(address, number, size_bytes)
        self.events += 1
        layout = layouts[0] if layouts else 0
        self._event_rows.append((self.time_ns, number, address, size_bytes, layout, stack, record.kind))

    def _collection(self, record: Record, stack: int) -> None:
        for_alloc, wanted, roots_bytes, start, end, blocks, drops, rescans = record.words[:8]
        scanned, begun_ns, marked_ns = (_wide(record.words, at) for at in (8, 10, 12))
        self._extent = extent_of(start, end, blocks)
        pending_bytes = wanted if for_alloc else 0
        self._sample(pending_bytes)
        self.collections += 1
        made, others = record.words[_MADE:] or (0, 0)
        dead, dead_blocks = self._lives.bury(self._extent, record.heads, Unborn(made, wanted, others))
        self._frees += len(dead)
        self._death_rows += [(number, self.collections) for number in dead]
        room = self._lives.room(self._extent)
        row = CollectionRow(
            number=self.collections,
            reason=EXHAUSTED if for_alloc else REQUESTED,
            begun_ns=max(begun_ns - (self._begun_ns or 0), 0),
            pause_ns=max(record.time_ns - begun_ns, 0),
            mark_ns=max(marked_ns - begun_ns, 0),
            sweep_ns=max(record.time_ns - marked_ns, 0),
            last_event_id=self.events,
            wanted_bytes=wanted if for_alloc else None,
            stack_id=stack,
            roots_bytes=roots_bytes,
            words_scanned=scanned // 4,
            overflows=drops,
            rescans=rescans,
            freed_objects=len(dead),
            freed_bytes=dead_blocks * BLOCK_BYTES,
            live_objects=len(self._lives),
            live_bytes=room.used * BLOCK_BYTES,
        )
        self._rows.collections.append(row)
        self._sample(pending_bytes)
        if has_snapshot(self.collections):
            self._take_snapshot(self.collections)

    def _heap_growth(self, record: Record, stack: int) -> None:
        old_end, end, start, blocks, wanted = record.words
        self._extent = extent_of(start, end, blocks)
        row = GrowthRow(self.time_ns, self.events, old_end - start, end - start, wanted)
        self._rows.growths.append(row)
        old_pages, pages = old_end // WASM_PAGE_BYTES, end // WASM_PAGE_BYTES
        self._memory_row(BY_COLLECTOR, (old_pages, pages - old_pages, pages), None, stack)
        self._sample(wanted)

    def _memory_growth(self, record: Record, stack: int) -> None:
        old, asked, is_refused, by_collector = record.words
        refused = refusal(old + asked, self._facts.maximum_pages, None).value if is_refused else None
        asked_by = BY_COLLECTOR if by_collector else BY_PROGRAM
        self._memory_row(asked_by, (old, asked, old if is_refused else old + asked), refused, stack)

    def _memory_row(self, asked_by: str, pages: tuple[int, int, int], refused: str | None, stack: int) -> None:
        row = MemoryGrowthRow(self.time_ns, self.events, asked_by, *pages, refused, stack)
        self._rows.memory_growths.append(row)

    def _call_begins(self, record: Record, _stack: int) -> None:
        export, argument, pages = record.words
        if export >= len(self._facts.exports):
            raise LogError(f"invalid log: a call of export {export}, and the module has {len(self._facts.exports)}")
        self._calls += 1
        given = self._lives.object_at(argument)
        depth = len(self._open_calls) + 1
        self._open_calls.append(
            _Call(self._calls, export, depth, self.time_ns, self.events, self._objects, given, pages)
        )

    def _call_ends(self, record: Record, _stack: int) -> None:
        export, result, pages = record.words
        if all(call.export != export for call in self._open_calls):
            if self.exit_code is not None:
                return  # the host let a call return that had ended the program
            raise LogError(f"invalid log: a call of export {export} ends that has not begun")
        # One that does not return has ended by a trap, or with the program.
        while (call := self._open_calls.pop()).export != export:
            self._end_call(call, returned=False, result=0, pages=pages)
        self._end_call(call, returned=True, result=result, pages=pages)

    def _exit(self, record: Record, _stack: int) -> None:
        code, pages = record.words
        self.exit_code = code - (1 << 32) if code >> 31 else code
        while self._open_calls:
            self._end_call(self._open_calls.pop(), returned=False, result=0, pages=pages)

    def _end_call(self, call: _Call, *, returned: bool, result: int, pages: int) -> None:
        made = self._lives.object_at(result)
        row = CallRow(
            number=call.number,
            export=self._facts.exports[call.export],
            depth=call.depth,
            begun_ns=call.begun_ns,
            ended_ns=self.time_ns,
            first_event_id=call.last_event_id + 1,
            last_event_id=self.events,
            old_memory_bytes=call.pages * WASM_PAGE_BYTES,
            new_memory_bytes=pages * WASM_PAGE_BYTES,
            returned=returned,
            argument_object_id=call.argument_object_id,
            result_object_id=made if made > call.objects else 0,
        )
        self._rows.calls.append(row)

    # ---- the heap as a whole ------------------------------------------------------------------------------------------

    def _sample(self, pending_bytes: int = 0) -> None:
        """Note the heap as it is; the allocation of so many bytes is counted already, and has no object yet."""
        pending = (1, pending_bytes + self._counted_bytes) if pending_bytes else (0, 0)
        room = self._lives.room(self._extent)
        self._rows.samples.append(
            SampleRow(
                time_ns=self.time_ns,
                last_event_id=self.events,
                heap_bytes=self._extent.heap_bytes,
                used_bytes=room.used * BLOCK_BYTES,
                free_bytes=room.free * BLOCK_BYTES,
                free_runs=room.free_runs,
                largest_free_run_bytes=room.largest_free_run * BLOCK_BYTES,
                objects=len(self._lives),
                total_alloc_bytes=self._alloc_bytes + pending[1],
                mallocs=self._objects + pending[0],
                frees=self._frees,
            )
        )

    def _take_snapshot(self, collection: int) -> None:
        states = self._lives.states(self._extent)
        row = SnapshotRow(self.time_ns, self.events, collection, self._extent.blocks, states)
        self._rows.snapshots.append(row)

    def _batch(self) -> Batch:
        """What was noted since the last time."""
        batch, self._rows = dataclasses.replace(self._rows, time_ns=self.time_ns), Batch(0)
        batch.events = np.array(self._event_rows, EVENT)
        batch.deaths = np.array(self._death_rows, DEATH)
        batch.stacks = np.array(self._stacks.new, STACK)
        self._event_rows, self._death_rows, self._stacks.new = [], [], []
        return batch


def _wide(words: tuple[int, ...], at: int) -> int:
    """A number of two words."""
    number = words[at] | words[at + 1] << 32
    if number >> TIME_BITS:
        raise LogError(f"invalid log: {number} in a collection: expected less than 2**{TIME_BITS}")
    return number


_TAKING: Final = {
    Kind.COLLECTION: _Replay._collection,
    Kind.HEAP_GROWTH: _Replay._heap_growth,
    Kind.MEMORY_GROWTH: _Replay._memory_growth,
    Kind.CALL_BEGINS: _Replay._call_begins,
    Kind.CALL_ENDS: _Replay._call_ends,
    Kind.EXIT: _Replay._exit,
}
