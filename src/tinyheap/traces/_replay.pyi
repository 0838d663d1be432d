from array import array
from mmap import mmap
from typing import final

from tinyheap.heap.contract import Counters, Options
from tinyheap.heap.geometry import Geometry
from tinyheap.traces.trace import Trace

@final
class Player:
    def __init__(
        self,
        trace: Trace,
        memory: mmap,
        geometry: Geometry,
        options: Options,
        limit_bytes: int,
        zero_size_address: int,
        statics: bytearray,
        statics_address: int,
        layouts: array[int],
        layout_addresses: array[int],
        addresses: array[int],
        timing: bool,
        hashes: bool,
    ) -> None: ...
    @property
    def step(self) -> int: ...
    @property
    def addresses(self) -> array[int]: ...
    @property
    def addresses_done(self) -> int: ...
    @property
    def out_of_memory(self) -> bool: ...
    @property
    def stray(self) -> bool: ...
    @property
    def heap_bytes(self) -> int: ...
    @property
    def next_alloc(self) -> int: ...
    @property
    def bump_address(self) -> int: ...
    @property
    def times_ns(self) -> tuple[int, int, int, int]: ...
    @property
    def rows(self) -> list[tuple[int, int, int, int, int, int, int, int]]: ...
    @property
    def census(self) -> tuple[int, int, int]: ...
    @property
    def counters(self) -> Counters: ...
    def advance(self, steps: int) -> bool: ...
    def read_table(self) -> bytes: ...

def first_fault(trace: Trace) -> tuple[int, int, int]: ...
