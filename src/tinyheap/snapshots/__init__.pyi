from tinyheap.snapshots.moments import Moment as Moment, MomentKind as MomentKind
from tinyheap.snapshots.snapshot import (
    Births as Births,
    Frame as Frame,
    GlobalValue as GlobalValue,
    HeapRecord as HeapRecord,
    Origins as Origins,
    RootRange as RootRange,
    RootRangeKind as RootRangeKind,
    Snapshot as Snapshot,
)
