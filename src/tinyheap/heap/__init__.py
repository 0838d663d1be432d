"""The collector: a garbage-collected heap over flat memory, on two engines of one contract.

``model.py`` is the specification to read, ``_kernel.py`` the compiled engine, `Heap` what a mutator uses.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinyheap.heap.afterlife import WeakReference
    from tinyheap.heap.blockmap import BlockMap
    from tinyheap.heap.contract import Census, Counters, Gc, State
    from tinyheap.heap.engines import SlowEngineWarning
    from tinyheap.heap.geometry import Geometry
    from tinyheap.heap.growth import ByRatio, Doubling, FixedStep, Growth, NoGrowth, Pages
    from tinyheap.heap.heap import Heap, HeapObject, Listener
    from tinyheap.heap.layout import Layout
    from tinyheap.heap.roots import Root, RootHandle, Roots, TaskQueue
    from tinyheap.heap.stats import Collection, MemStats

__all__ = [
    "BlockMap",
    "ByRatio",
    "Census",
    "Collection",
    "Counters",
    "Doubling",
    "FixedStep",
    "Gc",
    "Geometry",
    "Growth",
    "Heap",
    "HeapObject",
    "Layout",
    "Listener",
    "MemStats",
    "NoGrowth",
    "Pages",
    "Root",
    "RootHandle",
    "Roots",
    "SlowEngineWarning",
    "State",
    "TaskQueue",
    "WeakReference",
]

_HOMES = {
    "afterlife": "WeakReference",
    "blockmap": "BlockMap",
    "contract": "Census Counters Gc State",
    "engines": "SlowEngineWarning",
    "geometry": "Geometry",
    "growth": "ByRatio Doubling FixedStep Growth NoGrowth Pages",
    "heap": "Heap HeapObject Listener",
    "layout": "Layout",
    "roots": "Root RootHandle Roots TaskQueue",
    "stats": "Collection MemStats",
}
"""The module that each name is from; it is imported when the name is used, so that parts of a heap start without the whole."""


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names.split():
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
