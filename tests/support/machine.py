"""The machine, shared by the tests that run at the same time, or held by one of them alone.

Workers share two lock files.  Every test passes the *gate* to hold the *machine*: shared, or alone where it measures
something that other work would falsify.  A test that waits for the machine alone keeps the gate, so that no further test
begins meanwhile.  What is held for longer than any test takes was never given back, and ends the run.
"""

from __future__ import annotations

import getpass
import importlib.util
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Final

HAS_LOCKS = importlib.util.find_spec("fcntl") is not None
"""Not so on Windows, where no test waits for another."""
LONGEST_S: Final = 900
"""Longer than a test may take: `faulthandler_timeout`, among pytest's settings, ends what takes longer."""
PAUSE_S: Final = 0.02


class NeverGivenBackError(Exception):
    """Another process, which is perhaps no test any more, keeps a lock."""


@contextmanager
def held(*, alone: bool) -> Iterator[None]:
    """While inside, the machine is this test's: with others that share it, or alone."""
    if not HAS_LOCKS:
        yield
        return
    prefix = Path(tempfile.gettempdir()) / f"tinyheap-tests-of-{getpass.getuser()}"
    with ExitStack() as files:
        gate, machine = (files.enter_context(Path(f"{prefix}.{name}").open("w")) for name in ("gate", "machine"))
        _lock(gate, alone=True)
        _lock(machine, alone=alone)
        _unlock(gate)
        yield


def _lock(file: IO[str], *, alone: bool) -> None:
    import fcntl

    give_up = time.monotonic() + LONGEST_S
    while True:
        try:
            return fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > give_up:
                raise NeverGivenBackError(
                    f"{file.name} is held for {LONGEST_S} s by a process that does not end"
                ) from None
            time.sleep(PAUSE_S)


def _unlock(file: IO[str]) -> None:
    import fcntl

    fcntl.flock(file, fcntl.LOCK_UN)
