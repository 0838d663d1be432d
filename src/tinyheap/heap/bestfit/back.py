"""The model of best-fit-back, TinyGo 0.42.0: a header at the end of each object, whose last block is the head.

::

    tails                                           last block = head
    | body ......... | ............... | ............ | header        |
    |                                                 | link | layout |
    `- the mutator's address                                 (precise)

The head of a block is looked for upwards.  The sweep goes downwards, once: it frees all down to the next marked head,
inserts that as a range, and passes by the marked object's tails.  After a growth the new blocks are one range of their
own, even where free blocks lie in front of them; they merge in the next collection.  Finalizers are in `finalizers`.
"""

from __future__ import annotations

from typing import ClassVar

from tinyheap.heap.bestfit.model import BestFitModel
from tinyheap.heap.collectors import Collector
from tinyheap.heap.contract import NO_BLOCK, MarkingEnd, State
from tinyheap.heap.geometry import NIL


class BackModel(BestFitModel):
    """The engine of `Collector.BEST_FIT_BACK` in plain Python."""

    COLLECTOR: ClassVar[Collector] = Collector.BEST_FIT_BACK

    def find_head(self, block: int) -> int:
        head = self._end_of_tails(block)
        return head if head < self._geometry.end_block else NO_BLOCK

    def extent(self, block: int) -> tuple[int, int]:
        while block > 0 and self.state(block - 1) is State.TAIL:
            block -= 1
        return block, min(self._end_of_tails(block) + 1, self._geometry.end_block)

    def _is_orphan(self, tail: int) -> bool:
        return tail + 1 == self._geometry.end_block or self.state(tail + 1) is State.FREE

    def _header_address(self, head: int) -> int:
        return self._geometry.address_of(head + 1) - self._shape.header_bytes

    def _end_of_body(self, address: int) -> int:
        return self._header_address(self._end_of_tails(self._geometry.block_of(address)))

    def resize(self, heap_bytes: int) -> None:
        old_end = self._geometry.end_block
        self._move_table(heap_bytes)
        if self._geometry.end_block > old_end:
            self._insert(old_end, self._geometry.end_block - old_end)

    def sweep(self) -> int:
        self.free_list = NIL
        free_blocks = 0
        block = self._geometry.end_block
        while block > 0:
            end = block
            while block > 0 and self.state(block - 1) is not State.MARK:
                block -= 1
                self._free_swept(block)
            if end > block:
                free_blocks += end - block
                self._insert(block, end - block)
            if block > 0:
                block -= 1
                self._unmark(block)
            while block > 0 and self.state(block - 1) is State.TAIL:
                block -= 1
        self._collections += 1
        self.marking_end = MarkingEnd()
        self._debug("free ranges after sweep:")
        self._debug_ranges()
        return free_blocks * self._geometry.block_bytes
