"""Names of the recordings of one process: ``service-1.tinyheap``, ``service-2.tinyheap`` and so on, by instance."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Final

from tinyheap.errors import RecordingWriteError
from tinyheap.files import text_of
from tinyheap.recordings.place import check_place

if TYPE_CHECKING:
    from pathlib import Path

INSTANCES: Final = 100
"""So many instances are recorded unless another number is asked for: each has a file, and a thread that writes it."""


class RecordingNames:
    """Hands out names, one for each instance.

    Args:
        path: What they are named after.
        most: How many there are.
        overwrite: Whether recordings of these names may be replaced.
    """

    def __init__(self, path: Path, most: int = INSTANCES, *, overwrite: bool) -> None:
        self._path, self._most, self.overwrite = path, most, overwrite
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
