from array import array
from collections.abc import Sequence
from typing import final

from tinyheap.heap.contract import Engine
from tinyheap.traces.replay import StepPlayer

@final
class Steps:
    def __init__(
        self,
        player: StepPlayer,
        kernel: Engine,
        layouts: array[int],
        layout_addresses: array[int],
        timing: bool,
        hashes: bool,
        collects: bool,
    ) -> None: ...
    @property
    def out_of_memory(self) -> bool: ...
    @property
    def stray(self) -> bool: ...
    @property
    def addresses_done(self) -> int: ...
    @property
    def rows(self) -> Sequence[tuple[int, ...]]: ...
    @property
    def times_ns(self) -> tuple[int, int, int]: ...
    def play(self, step: int, stop: int, addresses_done: int) -> int: ...
    def check_list(self) -> None: ...
