"""The recordings of one process: their names, ``service-1.tinyheap``, ``service-2.tinyheap`` and so on, and their files."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Final, Self

from tinyheap.errors import RecordingError, RecordingWriteError
from tinyheap.files import text_of
from tinyheap.recordings.place import check_place

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tinyheap.recordings.batch import Batch
    from tinyheap.recordings.last import Last
    from tinyheap.recordings.row_types import FrameRow, RunRow
    from tinyheap.recordings.writer import RecordingWriter

INSTANCES: Final = 100
"""So many instances are recorded unless another number is asked for: each has a file, and a thread that writes it."""


class RecordingNames:
    """Hands out names, one for each instance.

    Args:
        path: What they are named after.
        most: How many there are.
        overwrite: Whether recordings of these names may be replaced.
        last: How much of a run's end each keeps; None for all of it.
    """

    def __init__(self, path: Path, most: int = INSTANCES, *, overwrite: bool, last: Last | None = None) -> None:
        self._path, self._most, self.overwrite, self.last = path, most, overwrite, last
        # A program may go to another folder.
        self._folder = path.absolute().parent
        self.given: list[Path] = []
        self._lock = threading.Lock()

    def check(self) -> None:
        """Find out whether recordings can be made there.

        Raises:
            RecordingWriteError: There are some already, or none can be made.
        """
        check_place(self._numbered(1), overwrite=self.overwrite)
        numbered = re.compile(rf"{re.escape(self._path.stem)}-[0-9]+{re.escape(self._path.suffix)}")
        found = sorted(each for each in self._path.parent.iterdir() if numbered.fullmatch(each.name))
        if found and not self.overwrite:
            raise RecordingWriteError(
                f"{text_of(found[0])}: is there already; choose another name, or ask to overwrite it"
            )

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.stem}-{number}{self._path.suffix}")

    @property
    def are_used_up(self) -> bool:
        """Whether as many instances are recorded as there are names."""
        return len(self.given) >= self._most

    def next(self) -> Path:
        """The name of the next recording."""
        with self._lock:
            path = self._folder / self._numbered(len(self.given) + 1).name
            self.given.append(path)
        return path


class RecordingFile:
    """The file of one recording, which gets its name when it begins; a recorder's sink.

    Python drops a store wherever it happens to be, on any thread and with any lock held, also in the middle of writing
    another recording.  So nobody waits for the file when a recording ends (`ends`), but whoever calls `wait`.

    Args:
        names: Where its name comes from.
        say: Tells the user of what goes wrong then.
    """

    def __init__(self, names: RecordingNames, say: Callable[[str], object]) -> None:
        self._names, self._say = names, say
        self._writer: RecordingWriter | None = None
        self.ends = False
        """Whether what comes now is the last."""

    def open(self, run: RunRow, frames: Sequence[FrameRow]) -> Self:
        """Begin the file.

        Raises:
            RecordingWriteError: It cannot be made.
        """
        from tinyheap.recordings.writer import RecordingWriter

        names = self._names
        self._writer = RecordingWriter.create(names.next(), run, frames, overwrite=names.overwrite, last=names.last)
        return self

    def append(self, batch: Batch) -> None:
        """Take what has happened since the last time.

        Raises:
            RecordingWriteError: An earlier batch could not be written.
        """
        assert self._writer is not None, "batches come after the beginning"
        self._writer.append(batch, waits=not self.ends)

    def finish(self, state: str, *, error: str | None = None, exit_code: int | None = None, time_ns: int) -> None:
        """Take how the run ended.

        Raises:
            RecordingWriteError: An earlier batch could not be written.
        """
        assert self._writer is not None, "the end comes after the beginning"
        self._writer.finish_later(state, error=error, exit_code=exit_code, time_ns=time_ns)

    def wait(self) -> None:
        """Wait until everything is in the file, if it has come to its end."""
        if self.ends and self._writer is not None:
            writer, self._writer = self._writer, None
            try:
                writer.wait()
            except RecordingError as error:
                self._say(str(error))
