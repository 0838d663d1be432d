"""Which engine serves: the compiled kernel where it is there, else the model, with one warning."""

from __future__ import annotations

import warnings
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Final, cast, overload

from tinyheap.errors import HeapError
from tinyheap.heap.collectors import Collector
from tinyheap.heap.contract import Engine, Gc, NextFitEngine

if TYPE_CHECKING:
    from tinyheap.heap.model_base import BaseModel

ENGINES: Final = ("kernel", "model")


class SlowEngineWarning(RuntimeWarning):
    """The model serves because the kernel was not compiled: some hundred times slower, otherwise the same."""


def _compiled() -> dict[Collector, type[Engine]]:
    """The kernels that are there."""
    kernels: dict[Collector, type[Engine]] = {}
    with suppress(ImportError):
        from tinyheap.heap.nextfit._kernel import Kernel

        kernels[Collector.NEXT_FIT] = Kernel
    with suppress(ImportError):
        from tinyheap.heap.bestfit._kernel import Kernel as BestFitKernel

        kernels[Collector.BEST_FIT_FRONT] = kernels[Collector.BEST_FIT_BACK] = BestFitKernel
    return kernels


KERNELS: Final = _compiled()
"""By collector; without those that were not compiled."""
KERNEL: Final = cast("type[NextFitEngine] | None", KERNELS.get(Collector.NEXT_FIT))
"""Next-fit's, where it was compiled."""


@overload
def choose_engine(name: str | None = None) -> type[NextFitEngine]: ...
@overload
def choose_engine(name: str | None, collector: Collector) -> type[Engine]: ...
def choose_engine(name: str | None = None, collector: Collector = Collector.NEXT_FIT) -> type[Engine]:
    """The engine of that name for a collector; without a name the kernel, or the model where there is no kernel.

    Raises:
        HeapError: there is no such engine, or the kernel was asked for and is not there.
    """
    if name == "model":
        return model_of(collector)
    if name not in (None, "kernel"):
        raise HeapError(f"invalid engine {name!r}: expected {' or '.join(ENGINES)}")
    if collector in KERNELS:
        return KERNELS[collector]
    missing = "the compiled kernel is not there; install a C compiler and reinstall tinyheap"
    if name == "kernel":
        raise HeapError(missing)
    _warn_once(f"{missing}. The model serves: exact, and some hundred times slower.")
    return model_of(collector)


def serving_collector(collector: Collector, gc: Gc) -> Collector:
    """The collector whose engines serve: the leaking one is the same in all generations, and next-fit's have it."""
    return Collector.NEXT_FIT if gc is Gc.LEAKING else collector


def engine_name_of(engine: type[Engine]) -> str:
    """``kernel`` or ``model``."""
    return "kernel" if engine in KERNELS.values() else "model"


def model_of(collector: Collector) -> type[BaseModel]:
    """The model of a collector."""
    # What never runs on one starts sooner without it.
    match collector:
        case Collector.NEXT_FIT:
            from tinyheap.heap.nextfit.model import Model

            return Model
        case Collector.BEST_FIT_FRONT:
            from tinyheap.heap.bestfit.front import FrontModel

            return FrontModel
        case Collector.BEST_FIT_BACK:
            from tinyheap.heap.bestfit.back import BackModel

            return BackModel


@lru_cache
def _warn_once(message: str) -> None:
    warnings.warn(message, SlowEngineWarning, stacklevel=4)
