"""Recording a guest's run: what happens on its heap, handed over batch by batch.

    with Program.open("gofmt.wasm", recording="gofmt.tinyheap") as program:
        ...

A recorder has phases, each a type, as the program that it is for::

    Recorder ──offer(store)──> OfferedRecorder ──attach(instance)──> AttachedRecorder ──begin(run)──> RunningRecorder
    a sink to be opened        the imports                           call stacks                      an open sink

Events are noted by compiled code (`_recorder`), which calls here when a buffer is full, and from time to time.  What
is rarer is noted here: collections and the objects that they free, growths, samples of the heap as a whole, and snapshots of
its block table.  All of it goes to a *sink*, by default the writer of a recording's file, which has a thread of its own.

What a recording holds depends on who serves the heap.  Where this collector does, it is all of the above.  Where the
program's own allocator does (its collector cannot be replaced, or is not to be), calls in the program tell of allocations
only: its collections happen unseen, and deaths are inferred from who is handed whose bytes.

A run's time begins with the program's first instruction and ends with its last: when its host first called it, and when its
last call returned.  What lies between two calls is part of it.

A *sample* has some of the objects only (`_recorder` says which), and all that happens to these; statistics of the heap as a
whole, collections, growths and calls are all there.

An allocation of no bytes is an event and makes no object; a sample leaves it out.
One that found no memory is not an event: the run ends with it.

When a batch cannot be taken, because the disk is full for instance, the program ends at its next event with the sink's
error: a recording never silently misses a part of its run.  Where the program is somebody else's (`attached`), it goes on, and
the recording says that it ended before.
"""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import wasmtime

from tinyheap.errors import GuestError, RecordingError
from tinyheap.guests.record.call_arguments import FunctionType, types_of
from tinyheap.guests.record.frames import SiteFrames, Unfolding
from tinyheap.guests.record.journal import Journal
from tinyheap.guests.record.running_recorder import Clock, RunningRecorder, Sink
from tinyheap.guests.rewrite.sites import GROWN, RECORDER_IMPORT, SHADOW_STACK_EXPORT, Sites
from tinyheap.guests.serve.unchecked import unchecked_function
from tinyheap.ownership import SoleOwner
from tinyheap.recordings.refusals import refusal
from tinyheap.recordings.row_types import FrameRow, MemoryRow, RunRow
from tinyheap.recordings.schema import BY_PROGRAM

if TYPE_CHECKING:
    from wasmtime import Instance, Store

    from tinyheap.guests.record._recorder import EventLog
    from tinyheap.hosts.imports import Maker
    from tinyheap.recordings.last import Last

_WORDS: Final = 3
"""Log2 of the least alignment of objects that another collector than tinyheap's made."""

_REFUSED: Final = -1
"""What ``memory.grow`` gives where it does nothing."""
_UNSIGNED: Final = 0xFFFF_FFFF


class Recorder(SoleOwner):
    """Records one run of one program; to be passed to `tinyheap.Program.open`.

    Args:
        open_sink: makes the sink, after the program is instantiated and before it runs.  The frames it is given may become more
            as the program runs: those that a batch mentions are there when it is handed over.
        full_paths: whether source files are named by their full paths on the machine that compiled them.
        on_failure: called where the recording cannot go on, and must not raise; the program goes on without it.  None where
            the program is to end then.
        sample_bytes: to record about one object for so many bytes that are allocated (1 to 2 GiB), so that what is said of
            objects is an estimate; None to record all.
        sample_seed: what the choice follows from (0 to 2**64 - 1): the same run with the same seed has the same sample.
        call_arguments: whether the arguments and results of the host's calls are kept, which may be anybody's data.

    Raises:
        MemoryError: there is no memory for its buffers.
        RecordingError: ``sample_bytes`` or ``sample_seed`` is out of range.
    """

    def __init__(
        self,
        open_sink: Callable[[RunRow, Sequence[FrameRow]], Sink],
        *,
        full_paths: bool = False,
        on_failure: Callable[[BaseException], object] | None = None,
        sample_bytes: int | None = None,
        sample_seed: int = 0,
        call_arguments: bool = False,
    ) -> None:
        self._keeps_arguments = call_arguments
        self._open_sink, self._full_paths = open_sink, full_paths
        self._journal = Journal(on_failure)
        if sample_bytes is not None:
            self._journal.sample(sample_bytes, sample_seed)
        self._is_offered = False
        self._recording: RunningRecorder | None = None

    @classmethod
    def to_file(
        cls,
        path: str | Path,
        *,
        overwrite: bool = False,
        full_paths: bool = False,
        sample_bytes: int | None = None,
        sample_seed: int = 0,
        last: Last | None = None,
        call_arguments: bool = False,
    ) -> Self:
        """A recorder into a new file.

        Args:
            path: where to write it; the file is made when the program is instantiated.
            overwrite: whether to replace what is there.
            full_paths: whether source files are named by their full paths on the machine that compiled them.
            sample_bytes: to record about one object for so many bytes, as for a `Recorder`; None to record all.
            sample_seed: what the choice follows from.
            last: how much of the run's end is kept; None for all of the run.
            call_arguments: whether the arguments and results of the host's calls are kept.
        """
        from tinyheap.recordings.writer import RecordingWriter

        def open_sink(run: RunRow, frames: Sequence[FrameRow]) -> Sink:
            return RecordingWriter.create(path, run, frames, overwrite=overwrite, last=last)

        return cls(
            open_sink,
            full_paths=full_paths,
            sample_bytes=sample_bytes,
            sample_seed=sample_seed,
            call_arguments=call_arguments,
        )

    @property
    def error(self) -> BaseException | None:
        """The error that stopped the recording; None where there was none."""
        return self._journal.error

    @property
    def log(self) -> EventLog:
        """What notes events."""
        return self._journal.log

    @property
    def is_complete(self) -> bool:
        """Whether the recording is finished, and holds the whole run."""
        return self._recording is not None and self._recording.is_complete

    @property
    def events(self) -> int:
        """How many there were."""
        return self.log.events

    def callers(self) -> tuple[str, ...]:
        """The functions of the program that wait for another, innermost first; see `RunningRecorder.callers`."""
        return () if self._recording is None else self._recording.callers()

    def offer(self, store: Store, memory: MemoryRow | None, *, infers_deaths: bool = False) -> OfferedRecorder:
        """The functions that an instrumented module imports for this, in a store.

        Args:
            store: of the instance to be.
            memory: how the module declares linear memory; None where it has none.
            infers_deaths: whether an object whose bytes are handed out again, or that is freed by a call, was dead by
                then; so where an allocator frees that is not served here.

        Raises:
            RecordingError: It has had a run to record before.
        """
        if self._is_offered:
            raise RecordingError("a recorder records one run; make another for the next")
        self._is_offered = True
        if infers_deaths:
            self.log.infer_deaths()
        return OfferedRecorder(self._journal, store, memory, self._begun)

    def _begun(self, attached: AttachedRecorder, run: RunRow, sites: bytes) -> RunningRecorder:
        found = Sites.decode(sites)
        if found.places.problem is not None:
            warnings.warn(f"call sites are shown without source lines: {found.places.problem}", stacklevel=2)
        unfolding = Unfolding(found, full_paths=self._full_paths) if found.places else None
        frames = SiteFrames(found)
        sink = self._open_sink(run, frames if unfolding is None else unfolding.frames)
        types = attached.types() if self._keeps_arguments else None
        self._recording = RunningRecorder(
            self._journal, attached.clock, attached.shadow_pointer, frames, sink, unfolding, types
        )
        return self._recording

    def finish(self, *, error: str | None = None, exit_code: int | None = None) -> None:
        """End the recording; what the program does after that is not recorded.  Again does nothing.

        Args:
            error: why the program failed, if it did.
            exit_code: what it ended itself with, if it did.

        Raises:
            RecordingError: what was recorded last could not be written.
        """
        if self._recording is not None:
            self._recording.finish(error=error, exit_code=exit_code)

    def abandon(self) -> None:
        """Note nothing any more, and leave the file to the process that this one was forked from."""
        self.log.stop()
        if self._recording is not None:
            self._recording.abandon()


class OfferedRecorder:
    """What an instrumented module imports, in a store.

    Args:
        journal: takes its events.
        store: of the instance to be.
        memory: how the module declares linear memory; None where it has none.
        begun: begins the recording of the run that was attached.
    """

    def __init__(
        self,
        journal: Journal,
        store: Store,
        memory: MemoryRow | None,
        begun: Callable[[AttachedRecorder, RunRow, bytes], RunningRecorder],
    ) -> None:
        self._journal, self._store, self._begun = journal, store, begun
        self._memory = journal.memory = memory
        self.clock = Clock(journal.log)
        """Of the run: a start function runs before there is an instance."""

    @property
    def makers(self) -> Mapping[str, Maker]:
        """What makes the imports, to be given to the hosts' `offer`."""
        return {RECORDER_IMPORT: self._function}

    def _function(self, name: str, kind: object) -> wasmtime.Func:
        if not isinstance(kind, wasmtime.FuncType):
            raise GuestError(f"invalid import {RECORDER_IMPORT}.{name}: expected a function")
        if name == GROWN:
            return wasmtime.Func(self._store, kind, self._grown)
        return unchecked_function(self._store, kind, self._journal.log)

    def _grown(self, asked_pages: int, given: int, pages: int) -> None:
        """What an instruction asked for, what it gave (-1 where it was refused), and how large memory is now."""
        asked_pages &= _UNSIGNED
        if given != _REFUSED:
            self._journal.note_memory_growth(BY_PROGRAM, given, asked_pages, pages, None)
            return
        assert self._memory is not None, "what grows it has it"
        limits = self._memory.maximum_pages, self._memory.limit_bytes
        self._journal.note_memory_growth(BY_PROGRAM, pages, asked_pages, pages, refusal(pages + asked_pages, *limits))

    def attach(self, instance: Instance) -> AttachedRecorder:
        """Find the call stacks of an instance.

        Raises:
            GuestError: the module was not instrumented.
        """
        memory = instance.exports(self._store)[SHADOW_STACK_EXPORT]
        if not isinstance(memory, wasmtime.Memory):
            raise GuestError(
                "the module was not instrumented for recording; open it with Program.open(..., recording=...)"
            )
        address = ctypes.addressof(memory.data_ptr(self._store).contents)
        self._journal.log.begin_heap(0, _WORDS)
        self._journal.log.attach(address)
        self.clock.instantiated()
        types = partial(types_of, instance, self._store)
        return AttachedRecorder(self.clock, ctypes.c_uint32.from_address(address), types, self._begun)


class AttachedRecorder:
    """An instance whose run can be recorded.

    Args:
        clock: of the run.
        shadow_pointer: where the instance's call stack ends.
        types: gives the types of its exported functions.
        begun: begins the recording.
    """

    def __init__(
        self,
        clock: Clock,
        shadow_pointer: ctypes.c_uint32,
        types: Callable[[], Mapping[str, FunctionType]],
        begun: Callable[[AttachedRecorder, RunRow, bytes], RunningRecorder],
    ) -> None:
        self.clock, self.shadow_pointer, self.types, self._begun = clock, shadow_pointer, types, begun

    def begin(self, run: RunRow, sites: bytes) -> RunningRecorder:
        """Begin the recording.

        Args:
            run: what is known of it.
            sites: the call instructions that its stacks are made of, as `Sites.encode` writes them.

        Raises:
            RecordingWriteError: it cannot be written there.
        """
        return self._begun(self, run, sites)
