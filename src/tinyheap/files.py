"""Files that users name: told apart, checked before any work is done, written whole or not at all.

A file is written beside its place, under a name that begins with ``.tinyheap-``, and moved there when it is whole.  What
is not a file (a pipe, a device) cannot be replaced, and is written to.
"""

from __future__ import annotations

import errno
import itertools
import mmap
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tinyheap.errors import OutputError

_NAMES_OF_STREAMS: Final = (Path("/dev"), Path("/dev/fd"), Path("/proc/self/fd"))
"""What lies there stands for something that is open, whatever it is."""
_DATABASE: Final = b"DUCK"
_DATABASE_PLACE: Final = slice(8, 12)
DATABASE_HEAD_BYTES: Final = 12
"""So much of a file tells whether it is a database (`is_database`)."""
_numbers: Final = itertools.count(1)
_unfinished: Final[set[Path]] = set()
"""What this process is writing beside its place."""


def text_of(path: Path | str) -> str:
    """A file's name as text of any use: bytes in it that are not UTF-8 are written as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def is_utf8(path: Path | str) -> bool:
    """Whether a file's name is UTF-8, as libraries demand that take it as text."""
    return text_of(path) == str(path)


def reason_of(error: OSError) -> str:
    """What the operating system says of an error, without the names that Python adds."""
    return error.strerror or str(error)


def is_file(path: Path) -> bool:
    """Whether there is a file of that name; unlike `Path.is_file` it has an answer for any name."""
    return stat.S_ISREG(_mode_of(path))


def is_folder(path: Path) -> bool:
    """Whether there is a folder of that name; unlike `Path.is_dir` it has an answer for any name."""
    return stat.S_ISDIR(_mode_of(path))


def _mode_of(path: Path) -> int:
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return 0


def beginning_of(path: Path, size_bytes: int) -> bytes:
    """The first bytes of a file, by which its kind is told; none of what is no file, or may not be read."""
    if not is_file(path):
        return b""
    try:
        with path.open("rb") as file:
            return file.read(size_bytes)
    except OSError:
        return b""


def is_database(data: bytes | mmap.mmap) -> bool:
    """Whether the bytes of a file begin as those of a DuckDB database do, which every recording is."""
    return data[_DATABASE_PLACE] == _DATABASE


def identity_of(path: Path) -> object:
    """What two names of the same file share, however they are spelled or linked; None if it is neither file nor folder."""
    try:
        status = path.stat()
    except OSError:
        return os.path.realpath(path)
    is_kept = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
    return (status.st_dev, status.st_ino) if is_kept else None


def check_writable(path: Path) -> None:
    """Find out whether `write_whole` could write a file, by making one beside it.

    Raises:
        OutputError: It could not; says why.
    """
    with _explaining(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if _is_written_in_place(path):
            return
        place = _place_of(path)
        with temporary(place.parent) as made:
            made.touch()


def write_whole(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write a file, all of it or nothing; through a link, its target.

    Args:
        path: the file.
        content: all of it, or its pieces.

    Raises:
        OutputError: It cannot be written.
    """
    pieces = (content,) if isinstance(content, bytes) else content
    with _explaining(path):
        if _is_written_in_place(path):
            with path.open("wb") as file:
                file.writelines(pieces)
            return
        place = _place_of(path)
        with temporary(place.parent) as made:
            with made.open("wb") as file:
                file.writelines(pieces)
            if place.exists():
                made.chmod(stat.S_IMODE(place.stat().st_mode))
            made.replace(place)


@contextmanager
def temporary(folder: Path) -> Iterator[Path]:
    """A name in ``folder`` for what is to be moved to its place; what is still there at the end is removed.

    So is whatever has a name that begins with it.
    """
    made = folder / f".tinyheap-{os.getpid()}-{next(_numbers)}"
    _unfinished.add(made)
    try:
        yield made
    finally:
        _remove(made)
        _unfinished.discard(made)


def remove_unfinished() -> None:
    """Remove what is being written beside its place, for a process that is about to end at once; never fails."""
    for made in list(_unfinished):
        with suppress(OSError):
            _remove(made)


def _remove(made: Path) -> None:
    for left in made.parent.glob(f"{made.name}*"):
        if left.is_dir():
            import shutil

            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _place_of(path: Path) -> Path:
    """Where a file is written that goes by that name, which may be a link's.

    Raises:
        PermissionError: It is there, and may not be changed.
    """
    place = path.resolve()
    if place.exists() and not os.access(place, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return place


def _is_written_in_place(path: Path) -> bool:
    return path.absolute().parent in _NAMES_OF_STREAMS or (path.exists() and not path.is_file())


@contextmanager
def _explaining(path: Path) -> Iterator[None]:
    """Turns errors of the operating system into tinyheap's."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{text_of(path)}: cannot be written: {reason_of(error)}; choose another place") from error
