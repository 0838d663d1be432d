"""The collector: a garbage-collected heap over flat memory, on two engines of one contract.

``model.py`` is the specification to read, ``_kernel.py`` the compiled engine, `Heap` what a mutator uses.
"""

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
