"""Writes a recording as the run goes, on a thread of its own, so that the program waits for no file.

Batches go through a short queue.  Those that wait together are written together, which takes half the time.  If the
queue is full all the same, the program waits; so memory holds a few batches at most.  When the file cannot be written,
the thread goes on to take batches, so that the program does not wait for ever, but drops them; the error is raised at
the next call.

A writer that was not closed is closed when it is garbage-collected, or else when the interpreter ends: a thread that
outlives the interpreter's objects would keep DuckDB's.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tinyheap._loading import require
from tinyheap.errors import RecordingWriteError
from tinyheap.ownership import SoleOwner
from tinyheap.recordings.batch import Batch
from tinyheap.recordings.place import check_place
from tinyheap.recordings.row_types import FrameRow, RunEnd, RunRow
from tinyheap.recordings.store import RecordingStore

QUEUED_BATCHES: Final = 4
"""How many batches wait at most, besides as many that are being written."""


class RecordingWriter(SoleOwner):
    """Writes batches into a file in the background; made by `create`, and to be used by one thread."""

    def __init__(self, path: Path, open_store: Callable[[], RecordingStore]) -> None:
        self.path: Final = path
        self._work = _Work(open_store)
        thread = threading.Thread(target=self._work.do, name="recording writer", daemon=True)
        thread.start()
        self._end = weakref.finalize(self, _end, self._work, thread)

    @classmethod
    def create(cls, path: Path | str, run: RunRow, frames: Sequence[FrameRow] = (), *, overwrite: bool = False) -> Self:
        """Begin a recording.  The file is made in the background, and appears once it can be opened.

        Args:
            path: The file to make.
            run: What is known of the run.
            frames: All call instructions that stacks may mention, in the order of their ids, from 1; in the file stand
                those that they do mention.
            overwrite: Whether a recording of that name may be replaced.

        Raises:
            RecordingWriteError: There is a file of that name already, and ``overwrite`` is not set or the file is not a
                recording; or none can be made there.
            MissingLibraryError: DuckDB is not installed.
        """
        require("duckdb", "a recording")  # which its thread imports
        path = Path(path).absolute()
        check_place(path, overwrite=overwrite)
        return cls(path, lambda: RecordingStore(path, run, frames, overwrite=overwrite))

    def append(self, batch: Batch, *, waits: bool = True) -> None:
        """Hand over a batch, whose arrays then belong to the writer.

        Args:
            batch: What has happened.
            waits: Whether to wait while too many are not written yet.

        Raises:
            RecordingWriteError: An earlier batch could not be written, or the recording is closed.
        """
        self._send(batch, waits=waits)

    def finish(self, state: str, *, error: str | None = None, exit_code: int | None = None, time_ns: int) -> None:
        """Write how the run ended, wait until everything is in the file, and close it.

        Args:
            state: ``finished`` or ``failed``.
            error: Why it failed.
            exit_code: The program's, if it has one.
            time_ns: When the run ended, since its beginning.

        Raises:
            RecordingWriteError: The file could not be written; or the recording is closed.
        """
        self._send(RunEnd(state, error, exit_code, time_ns), waits=True)
        self.wait()

    def finish_later(self, state: str, *, error: str | None = None, exit_code: int | None = None, time_ns: int) -> None:
        """As `finish`, but waits for nothing, so that it may be called wherever Python collects objects; see `wait`.

        Raises:
            RecordingWriteError: An earlier batch could not be written; or the recording is closed.
        """
        self._send(RunEnd(state, error, exit_code, time_ns), waits=False)
        self._work.end()

    def wait(self) -> None:
        """Wait until everything is in the file, and close it.

        Raises:
            RecordingWriteError: The file could not be written.
        """
        self.close()
        self._raise_failure()

    def close(self) -> None:
        """Write what was handed over, and close the file without an end; never fails, and a second call does nothing."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, work: Batch | RunEnd, *, waits: bool) -> None:
        self._raise_failure()
        if not self._end.alive:
            raise RecordingWriteError(f"{self.path} is closed: a recording that has ended takes nothing more")
        self._work.hand_over(work, waits=waits)

    def _raise_failure(self) -> None:
        failure, batches = self._work.failure, self._work.batches
        if failure is None:
            return
        import duckdb

        from tinyheap.recordings.rows import first_line

        if not isinstance(failure, duckdb.Error | OSError | MemoryError):
            raise failure
        if batches is None:
            what = "the recording cannot be made"
        else:
            what = f"the recording cannot go on, and holds everything up to batch {batches}"
        raise RecordingWriteError(f"{self.path}: {what}: {first_line(failure)}") from failure


class _Work:
    """The work of the thread and its state; without a reference to the writer, so that this can be garbage-collected."""

    def __init__(self, open_store: Callable[[], RecordingStore]) -> None:
        self.batches: int | None = None
        """How many were in the file when it failed; None where there is no file."""
        self.failure: BaseException | None = None
        self._open_store = open_store
        self._room = threading.Semaphore(QUEUED_BATCHES)
        # Unlike others this queue may be told something at any moment, also while a collection interrupts its reader.
        self._queue: queue.SimpleQueue[Batch | RunEnd | None] = queue.SimpleQueue()

    def hand_over(self, work: Batch | RunEnd, *, waits: bool) -> None:
        """Leave it to the thread, as soon as there is room if that is to be waited for."""
        if waits:
            self._room.acquire()
        self._queue.put(work)

    def end(self) -> None:
        """Nothing more will come; never waits."""
        self._queue.put(None)

    def do(self) -> None:
        """The thread: open the file, write what comes until None does, and close it; or, once that failed, only take it."""
        taken: list[Batch | RunEnd | None] = []
        store = None
        try:
            store = self._open_store()
            while None not in taken:
                taken = self._take()
                _put(store, taken)
        except BaseException as error:  # it goes to the other thread, whatever it is
            self.batches = None if store is None else store.batches
            self.failure = error
            while None not in taken:
                taken = self._take()
        if store is not None:
            store.close()

    def _take(self) -> list[Batch | RunEnd | None]:
        """What waits, or what comes next."""
        taken = [self._queue.get()]
        with contextlib.suppress(queue.Empty):
            while True:
                taken.append(self._queue.get_nowait())
        self._room.release(len(taken))
        return taken


def _end(work: _Work, thread: threading.Thread) -> None:
    """Tell the thread that nothing more comes, and wait for it; where it collects its own writer, it ends by itself."""
    work.end()
    if thread is not threading.current_thread():
        thread.join()


def _put(store: RecordingStore, taken: list[Batch | RunEnd | None]) -> None:
    """Write batches, and the end if it is there: nothing but None comes behind it."""
    batches = [each for each in taken if isinstance(each, Batch)]
    end = next((each for each in taken if isinstance(each, RunEnd)), None)
    if batches or end is not None:
        store.put(batches, end)
