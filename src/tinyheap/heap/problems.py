"""The problems of a heap, one line each: the block, its address and what was found there.

Used by `Heap` and by the heaps of guests.  Nothing here changes anything.
"""

from __future__ import annotations

from tinyheap.heap.contract import Census, Engine, State
from tinyheap.units import counted


def wrong_block(engine: Engine, block: int) -> str:
    """A block that `Engine.check_table` found."""
    geometry, state = engine.geometry, engine.state(block)
    where = f"block {block} at {geometry.address_of(block):#x}"
    if block >= geometry.end_block:
        return f"{where} is {state.name.lower()}, but the heap ends at block {geometry.end_block}"
    if state is State.MARK:
        return f"{where} is marked, but no collection runs"
    return f"{where} is a tail without a head"


def place_of(engine: Engine, block: int) -> str:
    """A block and its address."""
    return f"block {block} at {engine.geometry.address_of(block):#x}"


def suspect_before(engine: Engine, block: int) -> str:
    """Who may have written over the beginning of a free block."""
    if block == 0 or engine.state(block - 1) is State.FREE:
        return "something wrote to it after it was freed"
    first, _ = engine.extent(block - 1)
    address = engine.shape.address_of(engine.geometry, first)
    return f"something wrote to it after it was freed, or past the end of the object at {address:#x} in front"


def unreadable_layout(engine: Engine, block: int) -> str:
    """The head of an object whose layout word `Engine.check_layouts` or a collection could not follow."""
    geometry, (first, end) = engine.geometry, engine.extent(block)
    word = engine.load_word(engine.shape.layout_address(geometry, first, end))
    text = word.to_bytes(geometry.word_bytes, "little")
    what = f"the object at block {first} ({geometry.address_of(first):#x}) has layout word {word:#x} ({text!r})"
    return f"{what}: it was overwritten{_suspect_of_header(engine, first)}"


def _suspect_of_header(engine: Engine, first: int) -> str:
    """Who may have written over the header of an object."""
    if engine.shape.head_is_last:
        return ", maybe past the object's own end, where its header lies"
    if first == 0 or engine.state(first - 1) is State.FREE:
        return ""
    address = engine.shape.address_of(engine.geometry, engine.extent(first - 1)[0])
    return f", maybe past the end of the object at {address:#x} in front"


def written_free_block(engine: Engine, block: int) -> str:
    """A free block that `Engine.check_poison` found."""
    return f"block {block} at {engine.geometry.address_of(block):#x} is free, but something wrote to it after that"


def wrong_counts(census: Census, objects: int, blocks: int) -> list[str]:
    """How the table differs from what was counted.

    Args:
        census: of the table, while no collection runs.
        objects, blocks: how many were allocated and not freed.
    """
    problems = []
    if census.heads != objects:
        problems.append(f"the table holds {counted(census.heads)}, but {objects} were allocated and not freed")
    if census.heads + census.tails != blocks:
        problems.append(f"{census.heads + census.tails} blocks are taken, but {blocks} were allocated and not freed")
    return problems
