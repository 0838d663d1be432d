from tinyheap import (
    budgets as budgets,
    errors as errors,
    formatters as formatters,
    guests as guests,
    heap as heap,
    hosts as hosts,
    inspect as inspect,
    instrumentation as instrumentation,
    lab as lab,
    profile as profile,
    recognize as recognize,
    recordings as recordings,
    report as report,
    snapshots as snapshots,
    symbols as symbols,
    traces as traces,
    transplanting as transplanting,
    units as units,
    wasm as wasm,
)
from tinyheap.errors import (
    GuestError as GuestError,
    GuestTimeoutError as GuestTimeoutError,
    GuestTrapError as GuestTrapError,
    HeapCorruptError as HeapCorruptError,
    HeapError as HeapError,
    HostError as HostError,
    MissingLibraryError as MissingLibraryError,
    OutOfMemoryError as OutOfMemoryError,
    RecordingError as RecordingError,
    SnapshotError as SnapshotError,
    TinyheapError as TinyheapError,
    TraceError as TraceError,
    UnsupportedGuestError as UnsupportedGuestError,
    WasmError as WasmError,
)
from tinyheap.guests.attached.attachment import attach as attach
from tinyheap.guests.guest_heap import GuestHeap as GuestHeap
from tinyheap.guests.policy import Policy as Policy
from tinyheap.guests.program import Program as Program
from tinyheap.heap.contract import Gc as Gc
from tinyheap.heap.engines import SlowEngineWarning as SlowEngineWarning
from tinyheap.heap.finalization import WeakReference as WeakReference
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
from tinyheap.heap.stats import Collection as Collection, MemStats as MemStats
from tinyheap.heap.view import HeapObject as HeapObject
from tinyheap.hosts.grants import Folder as Folder, Grants as Grants
from tinyheap.recognize.facts import Guest as Guest
from tinyheap.recognize.identify import identify as identify
from tinyheap.recordings.recording import Recording as Recording
from tinyheap.snapshots.snapshot import Snapshot as Snapshot
from tinyheap.traces.replay import Replay as Replay, replay as replay
from tinyheap.traces.trace import (
    Trace as Trace,
    TraceBuilder as TraceBuilder,
    read_trace as read_trace,
    write_trace as write_trace,
)
from tinyheap.transplanting.operation import transplant as transplant
from tinyheap.units import GIB as GIB, KIB as KIB, MIB as MIB
from tinyheap.wasm.module import Module as Module

__version__: str
