"""Checking a guest's heap: is everything as the collector left it?

The block table and the layouts are checked by the engine; here is what only a guest has: variables in its own memory, and
somebody to blame.  Objects do not know who wrote over them, but most who write too far begin just in front.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from tinyheap.heap.contract import NO_BLOCK, Counters, Engine, State
from tinyheap.heap.problems import unreadable_layout, wrong_block, wrong_counts
from tinyheap.recognize.facts import BlockHeap

PROBLEMS: Final = 16
"""So many problems are named, of each kind."""


def heap_problems(heap: BlockHeap, engine: Engine, absent_blocks: list[int]) -> list[str]:
    """What is wrong with the block table and the layouts, a line each.

    Args:
        engine: on the guest's memory, while no collection runs.
        absent_blocks: for each allocation that was counted and has made no object, its blocks.
    """
    problems = [wrong_block(engine, block) + _culprit(heap, engine, block) for block in engine.check_table(PROBLEMS)]
    if problems:
        return problems
    problems = [layout_problem(heap, engine, block) for block in engine.check_layouts(PROBLEMS)]
    counts = engine.counters
    objects = counts.mallocs - counts.frees - len(absent_blocks)
    blocks = counts.total_blocks - counts.freed_blocks - sum(absent_blocks)
    return problems + wrong_counts(engine.census(), objects, blocks)


def layout_problem(heap: BlockHeap, engine: Engine, block: int) -> str:
    """An unreadable layout word, and which object may have been overrun."""
    return unreadable_layout(engine, block) + _culprit(heap, engine, block)


def _culprit(heap: BlockHeap, engine: Engine, block: int) -> str:
    """The object in front of a block of which something was overwritten."""
    geometry = engine.geometry
    before = min(block, geometry.end_block) - 1
    if before < 0 or engine.state(before) is State.FREE:
        return " (no object lies directly in front of it)"
    head = engine.find_head(before)
    if head == NO_BLOCK or engine.state(head) is State.FREE:
        return ""
    address = geometry.address_of(head) + heap.header_bytes
    return f" (in front of it lies the object at {address:#x}, {before + 1 - head} blocks, which may have been overrun)"


def variable_problems(heap: BlockHeap, engine: Engine, figures: Counters, read: Callable[[int, int], int]) -> list[str]:
    """The guest's own variables that no longer hold what they must, a line each.

    Args:
        figures: what its counters must hold.
        read: of an address and a width in bytes, the number there.
    """
    return [
        f"the guest's {name} at {address:#x} is {found:#x}, but must be {expected:#x}: it was overwritten"
        for name, address, width_bytes, expected in _variables(heap, engine, figures)
        if (found := read(address, width_bytes)) != expected
    ]


def _variables(heap: BlockHeap, engine: Engine, figures: Counters) -> Iterator[tuple[str, int, int, int]]:
    """Name, address, width in bytes and value of each variable of the allocator."""
    geometry, counters = engine.geometry, heap.counters
    yield "heapEnd", heap.heap_end_address, 4, geometry.end_address
    yield "metadataStart", heap.metadata_start_address, 4, geometry.table_address
    yield "endBlock", heap.end_block_address, 4, geometry.end_block
    yield "nextAlloc", heap.next_alloc_address, 4, engine.next_alloc
    for name, address, expected in (
        ("gcTotalAlloc", counters.total_alloc_bytes_address, figures.total_alloc_bytes),
        ("gcMallocs", counters.mallocs_address, figures.mallocs),
        ("gcFrees", counters.frees_address, figures.frees),
        ("gcTotalBlocks", counters.total_blocks_address, figures.total_blocks),
        ("gcFreedBlocks", counters.freed_blocks_address, figures.freed_blocks),
    ):
        if address is not None:
            yield name, address, 8, expected
