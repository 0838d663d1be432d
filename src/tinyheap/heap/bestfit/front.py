"""The model of best-fit-front, TinyGo 0.40.0 to 0.41.1: a header in front of each object, whose first block is the head.

::

    first block = head               tails
    | header        | body ......... | ................ | .......... |
    | link | layout | pad |                                               rounded up to the header alignment;
           (precise)      `- the mutator's address                        it may take a whole block

The sweep frees what is not marked; then the free list is built anew from the whole table, as it is after a growth: new
blocks merge with free ones at the heap's old end, and the order of all ranges changes.
"""

from __future__ import annotations

from typing import ClassVar

from tinyheap.heap.bestfit.model import BestFitModel
from tinyheap.heap.collectors import Collector
from tinyheap.heap.contract import MarkingEnd, State


class FrontModel(BestFitModel):
    """The engine of `Collector.BEST_FIT_FRONT` in plain Python."""

    COLLECTOR: ClassVar[Collector] = Collector.BEST_FIT_FRONT

    def find_head(self, block: int) -> int:
        return self._head_below(block)

    def extent(self, block: int) -> tuple[int, int]:
        return self._extent_from_head(block)

    def _is_orphan(self, tail: int) -> bool:
        return tail == 0 or self.state(tail - 1) is State.FREE

    def _header_address(self, head: int) -> int:
        return self._geometry.address_of(head)

    def _end_of_body(self, address: int) -> int:
        block = self._geometry.block_of(address)
        return self._geometry.address_of(self._end_of_tails(block + (self.state(block) in (State.HEAD, State.MARK))))

    def resize(self, heap_bytes: int) -> None:
        self._move_table(heap_bytes)
        self._build_list()

    def _build_list(self) -> int:
        free_blocks = super()._build_list()
        self._debug("free ranges after rebuild:")
        self._debug_ranges()
        return free_blocks

    def sweep(self) -> int:
        free_current_object = False
        for block in range(self._geometry.end_block):
            match self.state(block):
                case State.HEAD:
                    # Not reached: the object goes, and the tails that follow.
                    self._free_swept(block)
                    free_current_object = True
                case State.TAIL:
                    if free_current_object:
                        self._free_swept(block)
                case State.MARK:
                    self._unmark(block)
                    free_current_object = False
                case State.FREE:
                    self._free_swept(block)
                    free_current_object = False
        self._collections += 1
        self.marking_end = MarkingEnd()
        return self._build_list() * self._geometry.block_bytes
