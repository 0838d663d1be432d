"""Texts of source files, found in the folders that a user names.

A recording says which files there are, and it can come from anywhere: what is read lies in one of these folders, whatever
the recording says.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

LARGEST_BYTES: Final = 4 << 20
"""Of a source file that is shown."""
_GOROOT: Final = "$GOROOT/"
_TINYGOROOT: Final = "$TINYGOROOT/"
"""How names of files begin that are of Go's library, and of TinyGo's (`tinyheap.symbols.paths`)."""
_TINYGO_ONLY: Final = Path("src", "machine")
"""TinyGo's folder has that, and Go's does not."""


class Sources:
    """The texts of source files.

    Args:
        folders: Where to look: the program's own folder, and those of Go and TinyGo.
    """

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self._folders = [folder.resolve() for folder in folders]
        self._texts: dict[str, tuple[str, ...] | None] = {}

    def __bool__(self) -> bool:
        return bool(self._folders)

    def lines(self, file: str) -> tuple[str, ...] | None:
        """The lines of a file as a recording names it, without their ends; None where it is in none of the folders."""
        if file not in self._texts:
            self._texts[file] = next((text for text in map(self._read, self._places(file)) if text is not None), None)
        return self._texts[file]

    def _places(self, file: str) -> list[Path]:
        """Where a file may be."""
        places = []
        for folder in self._folders:
            is_tinygo = (folder / _TINYGO_ONLY).is_dir()
            mark = _TINYGOROOT if is_tinygo else _GOROOT
            if not file.startswith("$") or file.startswith(mark):
                places.append(folder / file.removeprefix(mark))
        return places

    def _read(self, place: Path) -> tuple[str, ...] | None:
        try:
            path = place.resolve(strict=True)
            if not any(path.is_relative_to(folder) for folder in self._folders):
                return None
            status = path.stat()
            if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_BYTES:
                return None
            return tuple(path.read_text("utf-8", "replace").splitlines())
        except (OSError, ValueError):
            return None
