"""Draws the heap of a running program on standard error, block by block."""

from __future__ import annotations

from tinyheap.guests.guest_heap import GuestHeap
from tinyheap.heap.blockmap import unpack_states
from tinyheap.report.consoles import result_console
from tinyheap.report.terminal.heap_map import HeapMap


def draw(heap: GuestHeap) -> None:
    """Print the heap's blocks as they are now."""
    geometry, block_map = heap.geometry, heap.dump()
    states = unpack_states(block_map.table, geometry.end_block)
    result_console(stderr=True).print(HeapMap(states, geometry.start_address, geometry.block_bytes))
