"""An oracle for best-fit over plain tuples: what its free list becomes, and every state that a tiny heap can have.

A *state* is the objects of a heap, ``(first block, blocks)`` each and by address, and its ranges in list order.  Nothing of
the collector's code is used, and no memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

Range = tuple[int, int]


class HeapState(NamedTuple):
    """A heap between two operations."""

    objects: tuple[Range, ...]
    ranges: tuple[Range, ...]


def insert(ranges: tuple[Range, ...], first: int, blocks: int) -> tuple[Range, ...]:
    """A list with one range more: behind the first of its length, or in front of the first longer one."""
    at = next((index for index, (_, length) in enumerate(ranges) if length >= blocks), len(ranges))
    at += at < len(ranges) and ranges[at][1] == blocks
    return (*ranges[:at], (first, blocks), *ranges[at:])


def take(ranges: tuple[Range, ...], blocks: int) -> tuple[int, tuple[Range, ...]] | None:
    """The block that an object gets, and the list without it; None where nothing is long enough."""
    at = next((index for index, (_, length) in enumerate(ranges) if length >= blocks), None)
    if at is None:
        return None
    # The first of its length goes last.
    at += at + 1 < len(ranges) and ranges[at + 1][1] == ranges[at][1]
    first, length = ranges[at]
    rest = (*ranges[:at], *ranges[at + 1 :])
    return first, insert(rest, first + blocks, length - blocks) if length > blocks else rest


def rebuilt(objects: tuple[Range, ...], total_blocks: int) -> tuple[Range, ...]:
    """The list that a sweep builds: maximal runs, from the highest to the lowest."""
    ranges: tuple[Range, ...] = ()
    end = total_blocks
    for first, blocks in (*reversed(objects), (0, 0)):
        if first + blocks < end:
            ranges = insert(ranges, first + blocks, end - first - blocks)
        end = first
    return ranges


def allocated(state: HeapState, blocks: int, total_blocks: int) -> HeapState:
    """After an allocation; it collects once where it must, and everything lives."""
    for ranges in (state.ranges, rebuilt(state.objects, total_blocks)):
        taken = take(ranges, blocks)
        if taken:
            return HeapState(tuple(sorted((*state.objects, (taken[0], blocks)))), taken[1])
    return HeapState(state.objects, rebuilt(state.objects, total_blocks))


def freed(state: HeapState, found: Range) -> HeapState:
    """After an object was freed on request."""
    return HeapState(tuple(each for each in state.objects if each != found), insert(state.ranges, *found))


def collected(kept: tuple[Range, ...], total_blocks: int) -> HeapState:
    """After a collection that reached these objects."""
    return HeapState(kept, rebuilt(kept, total_blocks))


def subsets(objects: tuple[Range, ...]) -> Iterator[tuple[Range, ...]]:
    """What may be reached."""
    for count in range(len(objects) + 1):
        yield from combinations(objects, count)


def successors(state: HeapState, total_blocks: int) -> Iterator[HeapState]:
    """What one operation makes of a state."""
    yield from (allocated(state, blocks, total_blocks) for blocks in range(1, total_blocks + 1))
    yield from (freed(state, found) for found in state.objects)
    yield from (collected(kept, total_blocks) for kept in subsets(state.objects))


def reachable(total_blocks: int) -> list[HeapState]:
    """All states of a heap of so many blocks, in an order that is always the same."""
    start = HeapState((), ((0, total_blocks),))
    seen, todo = {start}, [start]
    for state in todo:
        for following in successors(state, total_blocks):
            if following not in seen:
                seen.add(following)
                todo.append(following)
    return todo
