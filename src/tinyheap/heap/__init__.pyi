from tinyheap.heap.finalization import WeakReference as WeakReference
from tinyheap.heap.blockmap import BlockMap as BlockMap
from tinyheap.heap.collectors import Collector as Collector
from tinyheap.heap.contract import Census as Census, Counters as Counters, Gc as Gc, State as State
from tinyheap.heap.engines import SlowEngineWarning as SlowEngineWarning
from tinyheap.heap.geometry import Geometry as Geometry
from tinyheap.heap.growth import (
    ByRatio as ByRatio,
    Doubling as Doubling,
    FixedStep as FixedStep,
    Growth as Growth,
    NoGrowth as NoGrowth,
    Pages as Pages,
)
from tinyheap.heap.heap import Heap as Heap, Listener as Listener
from tinyheap.heap.layout import Layout as Layout
from tinyheap.heap.roots import Root as Root, RootHandle as RootHandle, Roots as Roots, TaskQueue as TaskQueue
from tinyheap.heap.stats import Collection as Collection, MemStats as MemStats
from tinyheap.heap.view import HeapObject as HeapObject
