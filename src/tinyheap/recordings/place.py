"""Checks, before a run begins, that its recording can be made under the name that was given.

A recording replaces another one on request, and never a file that is something else.  DuckDB gets absolute names, for
``md:x`` and ``:memory:`` have a meaning of their own to it, and names in UTF-8, since it takes no others.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Final

from tinyheap.errors import OutputError, RecordingWriteError
from tinyheap.files import (
    DATABASE_HEAD_BYTES,
    beginning_of,
    check_writable,
    is_database,
    is_utf8,
    reason_of,
    text_of,
)

_COLUMN: Final = b"heap_start_address"
"""A name that every recording's catalog holds, and hardly any other database's."""


def check_place(path: Path, *, overwrite: bool) -> None:
    """Find out whether a recording can be made there.

    Args:
        path: The file to make.
        overwrite: Whether a recording of that name may be replaced.

    Raises:
        RecordingWriteError: There is a file of that name already, or none can be made.
    """
    name = text_of(path)
    if not is_utf8(path.absolute()):
        raise RecordingWriteError(f"{name}: DuckDB takes only names in UTF-8; choose another name for the recording")
    if "?" in str(path.absolute()):
        # It can be written, and never be read.
        raise RecordingWriteError(f"{name}: DuckDB reads no file whose path has a question mark; choose another place")
    try:
        _check_folder(path, name)
        if path.exists():
            _check_replaceable(path, name, overwrite=overwrite)
        elif not overwrite and (log := path.with_name(f"{path.name}.wal")).exists():
            raise RecordingWriteError(
                f"{text_of(log)}: was left behind by another recording; remove it, or choose another name"
            )
        check_writable(path)
    except RecordingWriteError:
        raise
    except OutputError as error:
        raise RecordingWriteError(str(error)) from error
    except OSError as error:
        raise RecordingWriteError(f"{name}: {reason_of(error)}; choose another place") from error


def _check_folder(path: Path, name: str) -> None:
    if path.is_dir():
        raise RecordingWriteError(f"{name}: is a folder, and a recording is one file; choose another name")
    if not path.parent.is_dir():
        folder = text_of(path.parent)
        raise RecordingWriteError(f"{name}: {folder} is not a folder; make it first, or choose another place")


def _check_replaceable(path: Path, name: str, *, overwrite: bool) -> None:
    if not overwrite:
        raise RecordingWriteError(f"{name}: is there already; choose another name, or ask to overwrite it")
    if not is_recording(path):
        raise RecordingWriteError(
            f"{name}: is there already and is not a recording, so it is not overwritten; remove it"
        )


def begins_as_recording(path: Path) -> bool:
    """Whether a file is a database of DuckDB's, as recordings are; what it holds is for `Recording.open` to say.

    Not so for what is no file, or may not be read.
    """
    return is_database(beginning_of(path, DATABASE_HEAD_BYTES))


def is_recording(path: Path) -> bool:
    """Whether a file is a recording, maybe a damaged one, or empty; so that nothing else is lost with it."""
    if not path.is_file():
        return False
    if not path.stat().st_size:
        return True
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return is_database(data) and data.find(_COLUMN) >= 0
    except (OSError, ValueError):  # it may not be read, or has just been cut
        return False
