"""Writes a recording as the run goes, on a thread of its own, so that the program waits for no file.

Batches go through a short queue.  Those that wait together are written together, which takes half the time.  When even
so the file cannot keep up, the program is held until there is room; so what is in memory is bounded by a few batches.
When the file cannot be written, the thread keeps taking batches, so that nobody waits for it, but drops them; the error
is raised at the next call.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tinyheap.errors import RecordingWriteError
from tinyheap.recordings.batch import Batch, FrameRow, RunRow
from tinyheap.recordings.place import check_place
from tinyheap.recordings.store import RunEnd, Store

QUEUED_BATCHES: Final = 4
"""How many batches wait at most, besides as many that are being written."""


class RecordingWriter:
    """Puts batches into a file in the background; made by `create`, and for one thread."""

    def __init__(self, path: Path, open_store: Callable[[], Store]) -> None:
        self.path: Final = path
        self._open_store = open_store
        self._store: Store | None = None  # the thread's
        self._queue: queue.Queue[Batch | RunEnd | None] = queue.Queue(QUEUED_BATCHES)
        self._failure: BaseException | None = None
        self._is_closed = False
        self._thread = threading.Thread(target=self._write, name="recording writer", daemon=True)
        self._thread.start()

    @classmethod
    def create(cls, path: Path | str, run: RunRow, frames: Sequence[FrameRow] = (), *, overwrite: bool = False) -> Self:
        """Begin a recording.  The file is made in the background, and appears when it is sound.

        Args:
            path: The file to make.
            run: What is known of the run.
            frames: All call instructions that stacks may mention, in the order of their ids, from 1; in the file stand
                those that they do mention.
            overwrite: Whether a recording of that name may be replaced.

        Raises:
            RecordingWriteError: There is a file of that name already, and ``overwrite`` is not set or the file is not a
                recording; or none can be made there.
        """
        path = Path(path).absolute()
        check_place(path, overwrite=overwrite)
        return cls(path, lambda: Store(path, run, frames, overwrite=overwrite))

    def append(self, batch: Batch) -> None:
        """Hand over a batch, whose arrays then belong to the writer; waits while too many are on their way.

        Raises:
            RecordingWriteError: An earlier batch could not be written, or the recording is closed.
        """
        self._send(batch)

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
        self._send(RunEnd(state, error, exit_code, time_ns))
        self.close()
        self._raise_failure()

    def close(self) -> None:
        """Wait until what was handed over is in the file, and close it as it is; never fails, and again does nothing."""
        if not self._is_closed:
            self._is_closed = True
            self._queue.put(None)
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, work: Batch | RunEnd) -> None:
        self._raise_failure()
        if self._is_closed:
            raise RecordingWriteError(f"{self.path} is closed: a recording that has ended takes nothing more")
        self._queue.put(work)

    def _raise_failure(self) -> None:
        if self._failure is None:
            return
        import duckdb

        from tinyheap.recordings.rows import first_line

        if not isinstance(self._failure, duckdb.Error | OSError | MemoryError):
            raise self._failure
        if self._store is None:
            what = "the recording cannot be made"
        else:
            what = f"the recording cannot go on, and holds everything up to batch {self._store.batches}"
        raise RecordingWriteError(f"{self.path}: {what}: {first_line(self._failure)}") from self._failure

    def _write(self) -> None:
        """The thread: open the file, write what comes until None does, and close it; or, once that failed, only take it."""
        taken: list[Batch | RunEnd | None] = []
        try:
            self._store = self._open_store()
            while None not in taken:
                taken = self._take()
                _put(self._store, taken)
        except BaseException as error:  # it goes to the other thread, whatever it is
            self._failure = error
            while None not in taken:
                taken = self._take()
        if self._store is not None:
            self._store.close()

    def _take(self) -> list[Batch | RunEnd | None]:
        """What waits, or what comes next."""
        taken = [self._queue.get()]
        with contextlib.suppress(queue.Empty):
            while True:
                taken.append(self._queue.get_nowait())
        return taken


def _put(store: Store, taken: list[Batch | RunEnd | None]) -> None:
    """Write batches, and then the end if it is there: nothing but None comes behind it."""
    if batches := [each for each in taken if isinstance(each, Batch)]:
        store.put(batches)
    for each in taken:
        if isinstance(each, RunEnd):
            store.end(each)
