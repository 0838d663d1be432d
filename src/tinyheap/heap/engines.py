"""Which engine serves: the compiled kernel where it is there, else the model, with one warning."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Final

from tinyheap.errors import HeapError
from tinyheap.heap.contract import Engine

try:
    from tinyheap.heap.nextfit._kernel import Kernel
except ImportError:
    KERNEL: type[Engine] | None = None
else:
    KERNEL = Kernel

ENGINES: Final = ("kernel", "model")


class SlowEngineWarning(RuntimeWarning):
    """The model serves because the kernel was not compiled: some hundred times slower, otherwise the same."""


def choose_engine(name: str | None = None) -> type[Engine]:
    """The engine of that name; without one the kernel, or the model where there is no kernel.

    Raises:
        HeapError: there is no such engine, or the kernel was asked for and is not there.
    """
    if name == "model":
        return _model()
    if name not in (None, "kernel"):
        raise HeapError(f"invalid engine {name!r}: expected {' or '.join(ENGINES)}")
    if KERNEL is not None:
        return KERNEL
    missing = "the compiled kernel is not there; install a C compiler and reinstall tinyheap"
    if name == "kernel":
        raise HeapError(missing)
    _warn_once(f"{missing}. The model serves: exact, and some hundred times slower.")
    return _model()


def _model() -> type[Engine]:
    # What never runs on it starts sooner without it.
    from tinyheap.heap.nextfit.model import Model

    return Model


@lru_cache
def _warn_once(message: str) -> None:
    warnings.warn(message, SlowEngineWarning, stacklevel=4)
