"""The machine, shared by the tests that run at the same time, or held by one of them alone.

Workers share two lock files.  Every test passes the *gate* to hold the *machine*: shared, or alone where it measures
something that other work would falsify.  A test that waits for the machine alone keeps the gate, so that no further test
begins meanwhile.
"""

from __future__ import annotations

import getpass
import importlib.util
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

HAS_LOCKS = importlib.util.find_spec("fcntl") is not None
"""Not so on Windows, where no test waits for another."""


@contextmanager
def held(*, alone: bool) -> Iterator[None]:
    """While inside, the machine is this test's: with others that share it, or alone."""
    if not HAS_LOCKS:
        yield
        return
    import fcntl

    prefix = Path(tempfile.gettempdir()) / f"tinyheap-tests-of-{getpass.getuser()}"
    with ExitStack() as files:
        gate, machine = (files.enter_context(Path(f"{prefix}.{name}").open("w")) for name in ("gate", "machine"))
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        yield
