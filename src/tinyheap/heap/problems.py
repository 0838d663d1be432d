"""What can be wrong with a heap, in words: one line a problem, with the block, its address and what was found there.

Used by whoever owns an engine: a `Heap`, or a guest's.  Nothing here changes anything.
"""

from __future__ import annotations

from tinyheap.heap.contract import Census, Engine, State


def wrong_block(engine: Engine, block: int) -> str:
    """A block that `Engine.check_table` found."""
    geometry, state = engine.geometry, engine.state(block)
    where = f"block {block} at {geometry.address_of(block):#x}"
    if block >= geometry.end_block:
        return f"{where} is {state.name.lower()}, but the heap ends at block {geometry.end_block}"
    if state is State.MARK:
        return f"{where} is marked, but no collection runs"
    return f"{where} is a tail without a head"


def unreadable_layout(engine: Engine, block: int) -> str:
    """The head of an object whose layout word `Engine.check_layouts` or a collection could not follow."""
    geometry = engine.geometry
    address = geometry.address_of(block)
    word = engine.load_word(address)
    text = word.to_bytes(geometry.word_bytes, "little")
    return f"the object at block {block} ({address:#x}) has layout word {word:#x} ({text!r}): it was overwritten"


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
        problems.append(f"the table holds {census.heads} objects, but {objects} were allocated and not freed")
    if census.heads + census.tails != blocks:
        problems.append(f"{census.heads + census.tails} blocks are taken, but {blocks} were allocated and not freed")
    return problems
