"""DuckDB's engines for files that are written, each for one file at a time.

Starting one takes as long as writing a hundred thousand events.  So one that has written its file to the end waits for
the next.  A process that is forked leaves them to the one that it came from.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY_LIMIT: Final = "256MB"
"""For DuckDB's buffers; what a batch brings is written through to the file."""
IDLE_ENGINES: Final = 1
"""How many wait at most; each keeps some megabytes."""

_CONFIG: Final[dict[str, str | bool | int | float | list[str]]] = {
    "default_block_size": 65536,  # the least that grows well; small runs make small files
    "threads": 1,  # more of them make opening slow, and the other cores are the program's
    "memory_limit": MEMORY_LIMIT,
    "autoload_known_extensions": False,
    "autoinstall_known_extensions": False,
}
_idle: Final[list[DuckDBPyConnection]] = []
# What is closed in a forked process may wait for threads that are not there.
_left: Final[list[DuckDBPyConnection]] = []


def start() -> DuckDBPyConnection:
    """An engine with no file yet."""
    try:
        return _idle.pop()
    except IndexError:
        import duckdb

        return duckdb.connect(config=_CONFIG)


def give_back(engine: DuckDBPyConnection) -> None:
    """Keep an engine that has no file any more for the next one, or close it."""
    if len(_idle) < IDLE_ENGINES:
        _idle.append(engine)
    else:
        engine.close()


def _after_fork() -> None:
    _left.extend(_idle)
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
