"""A cache in a folder: opaque entries by key, private to one user, bounded in size.

An entry is a file: a magic line, the SHA-256 of what follows, and the content.  What an entry holds is machine code
that will be run, so one counts only if the folder and the file belong to this user, no other user can write to them, and
the hash is right; any other entry counts as missing and is made anew.  Entries are written beside their
place and renamed, so that no reader ever sees half of one.  A cache that cannot be written is not an error.

Windows has no owner and no mode to look at: there, what keeps others out is the access list of the user's own folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from pathlib import Path
from typing import Final

import platformdirs

from tinyheap.units import MIB

VARIABLE: Final = "TINYHEAP_CACHE"
"""The environment variable that names the folder, or says ``off``."""
LIMIT_BYTES: Final = 512 * MIB
_MAGIC: Final = b"tinyheap cache\n"
_HEAD_BYTES: Final = len(_MAGIC) + hashlib.sha256().digest_size
_SUFFIX: Final = ".entry"
_OTHERS_CAN_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_HAS_OWNERS: Final = hasattr(os, "geteuid")


class Cache:
    """A cache of prepared modules in one folder.

    Args:
        folder: Where they lie; made when the first is stored.  None for a cache that keeps nothing.
        limit_bytes: What all entries may take together; the least recently used ones are dropped.
    """

    def __init__(self, folder: Path | None, limit_bytes: int = LIMIT_BYTES) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes

    @classmethod
    def of_user(cls) -> Cache:
        """The cache that the environment names, else the folder that the system has for this user's caches of tinyheap."""
        named = os.environ.get(VARIABLE)
        if named:
            return cls(None if named == "off" else Path(named))
        try:
            return cls(platformdirs.user_cache_path("tinyheap", appauthor=False))
        except RuntimeError:  # this user has no home
            return cls(None)

    def load(self, key: bytes) -> bytes | None:
        """The content stored under ``key``; None where there is none that can be trusted."""
        path = self._path(key)
        if path is None or not self._is_private():
            return None
        try:
            with open(path, "rb", opener=_open_no_link) as file:
                if not _is_ours(os.fstat(file.fileno()), stat.S_IFREG):
                    return None
                data = file.read(self.limit_bytes)
                os.utime(file.fileno() if os.utime in os.supports_fd else path)
        except OSError:
            return None
        content = data[_HEAD_BYTES:]
        return content if data[:_HEAD_BYTES] == _head(content) else None

    def store(self, key: bytes, content: bytes) -> None:
        """Store ``content`` under ``key``, if that is possible, and drop entries above the limit."""
        path = self._path(key)
        if path is None or len(content) + _HEAD_BYTES > self.limit_bytes:
            return
        import tempfile

        with contextlib.suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._is_private():
                return
            number, name = tempfile.mkstemp(dir=path.parent, suffix=_SUFFIX)
            try:
                with os.fdopen(number, "wb") as file:
                    file.write(_head(content))
                    file.write(content)
                Path(name).replace(path)  # closed by now, since Windows does not rename what is open
            except BaseException:
                Path(name).unlink()
                raise
            self._trim()

    def _path(self, key: bytes) -> Path | None:
        return None if self.folder is None else self.folder / (hashlib.sha256(key).hexdigest() + _SUFFIX)

    def _is_private(self) -> bool:
        try:
            return self.folder is not None and _is_ours(self.folder.stat(), stat.S_IFDIR)
        except OSError:
            return False

    def _trim(self) -> None:
        """Drop the entries that were not used for longest, until the rest is within the limit."""
        assert self.folder is not None
        left_bytes = self.limit_bytes
        found = [(entry.stat(), entry) for entry in self.folder.glob(f"*{_SUFFIX}")]
        for status, entry in sorted(found, key=lambda item: -item[0].st_mtime_ns):
            left_bytes -= status.st_size
            if left_bytes < 0:
                entry.unlink(missing_ok=True)


def _head(content: bytes) -> bytes:
    return _MAGIC + hashlib.sha256(content).digest()


def _is_ours(status: os.stat_result, kind: int) -> bool:
    """Whether it is of that kind, belongs to this user, and no other user can write to it."""
    if stat.S_IFMT(status.st_mode) != kind:
        return False
    return not _HAS_OWNERS or (status.st_uid == os.geteuid() and not status.st_mode & _OTHERS_CAN_WRITE)


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
