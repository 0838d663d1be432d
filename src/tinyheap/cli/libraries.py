"""Loading libraries of others as commands need them."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Final

_THREADS: Final = "OPENBLAS_NUM_THREADS"


def load_numpy() -> None:
    """Import NumPy, if it is installed, without the threads of its linear algebra.

    There is one for each processor, which takes as long as half of the import, and no command multiplies matrices.  A
    program of Python's own may: this is not for a process that is to be one.
    """
    if _THREADS in os.environ or "numpy" in sys.modules:
        return
    os.environ[_THREADS] = "1"
    try:
        with contextlib.suppress(ImportError):  # whoever needs it says so better
            import numpy  # noqa: F401 - so that it is there
    finally:
        del os.environ[_THREADS]
