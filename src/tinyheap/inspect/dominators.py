"""What holds how much: retained sizes by object and by group, and where a leak accumulates.

An object *retains* what would be garbage without it (`graph.Tree`).  Of a group, the objects that none of the same group
dominates are *outermost*; what these retain is what the group does, and nothing is counted twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from tinyheap.inspect.graph import NONE, ROOTS
from tinyheap.inspect.paths import shortest_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinyheap.inspect.graph import HeapGraph
    from tinyheap.inspect.naming import NamedGraph
    from tinyheap.inspect.paths import Path

STEEP: Final = 0.8
"""One goes down to the object that retains most for as long as it retains this share of what the one above does."""
LIST_LENGTH: Final = 8
"""So many objects in a row, each as large as the one before and held by it at the same offset, are a list."""


@dataclass(frozen=True, slots=True)
class Retained:
    """An object and what it retains, itself included."""

    object: int
    address: int
    group: str
    size_bytes: int
    retained_objects: int
    retained_bytes: int

    @classmethod
    def of(cls, named: NamedGraph, found: int) -> Retained:
        """That object."""
        graph = named.graph
        return cls(
            object=found,
            address=graph.address_of(found),
            group=named.group_of(found),
            size_bytes=int(graph.blocks[found]) * graph.facts.geometry.block_bytes,
            retained_objects=int(graph.tree.retained_objects[found]),
            retained_bytes=int(graph.tree.retained_bytes[found]),
        )


@dataclass(frozen=True, slots=True)
class GroupRetained:
    """The objects of a group, and what they retain together."""

    group: str
    objects: int
    size_bytes: int
    garbage_objects: int
    garbage_bytes: int
    retained_bytes: int


@dataclass(frozen=True, slots=True)
class TreeNode:
    """An object of the dominator tree, and those below it that retain most.

    ``more_objects`` and ``more_bytes`` are how many other objects it dominates directly, and what these retain.
    """

    retained: Retained
    below: tuple[TreeNode, ...]
    more_objects: int
    more_bytes: int


class Gathering(StrEnum):
    """How the many hang on what holds them."""

    FAN = "holds many objects"
    """A map's buckets, the elements of a slice."""
    CHAIN = "begins a list"
    """Each holds the next one."""
    SINGLE = "is large itself"


@dataclass(frozen=True, slots=True)
class Accumulation:
    """Where what an object retains has accumulated.

    Args:
        path: from a root to the place.
        place: the object that holds the many, or with which the list begins.
        gathering: how they hang on it.
        count: how many objects it dominates directly, or how many the list has.
        group: of most of these.
    """

    path: Path
    place: Retained
    gathering: Gathering
    count: int
    group: str


def top_retained(named: NamedGraph, most: int = 20) -> tuple[Retained, ...]:
    """The objects that no other dominates, by what they retain; the most first."""
    return tuple(Retained.of(named, found) for found in named.graph.dominated.by(ROOTS)[:most].tolist())


def retained_tree(named: NamedGraph, depth: int = 3, most: int = 10) -> tuple[TreeNode, ...]:
    """The dominator tree from the roots down: so many levels, and of each object so many below it."""
    dominated = named.graph.dominated
    top: list[int] = dominated.by(ROOTS)[:most].tolist()
    shown: dict[int, list[int]] = {}
    level = top
    while level and depth > 1:
        depth -= 1
        shown |= {each: dominated.by(each)[:most].tolist() for each in level}
        level = [below for each in level for below in shown[each]]
    nodes: dict[int, TreeNode] = {}
    # Trees may be as deep as lists are long: from the lowest level up, not from call to call.
    for each in reversed([*shown, *level]):
        nodes[each] = _node(named, each, tuple(nodes[below] for below in shown.get(each, ())))
    return tuple(nodes[each] for each in top)


def _node(named: NamedGraph, found: int, below: tuple[TreeNode, ...]) -> TreeNode:
    rest = named.graph.dominated.by(found)[len(below) :]
    return TreeNode(Retained.of(named, found), below, len(rest), int(named.graph.tree.retained_bytes[rest].sum()))


def retained_by_group(named: NamedGraph) -> tuple[GroupRetained, ...]:
    """All groups, by what they retain; the most first."""
    graph, groups = named.graph, named.groups
    sizes, garbage = graph.sizes_bytes, graph.is_garbage
    outermost = graph.outermost(groups.of)

    def sums(values: NDArray[np.uint64], chosen: NDArray[np.bool_]) -> list[int]:
        # Floats are exact up to 2**53 bytes.
        counts: list[int] = np.bincount(groups.of[chosen], values[chosen], len(groups.names)).astype(int).tolist()
        return counts

    ones, every = np.ones(len(graph), np.uint64), np.ones(len(graph), bool)
    columns = (
        sums(ones, every),
        sums(sizes, every),
        sums(ones, garbage),
        sums(sizes, garbage),
        sums(graph.tree.retained_bytes, outermost),
    )
    found = [GroupRetained(name, *row) for name, *row in zip(groups.names, *columns, strict=True) if row[0]]
    return tuple(sorted(found, key=lambda each: (-each.retained_bytes, -each.size_bytes, each.group)))


def accumulation(named: NamedGraph, found: int) -> Accumulation | None:
    """Where what an object retains has accumulated: down the dominator tree, as long as one object retains nearly all.

    Where that leads along a list, the place is the list's beginning.  None for garbage.
    """
    graph = named.graph
    if graph.tree.dominator[found] == NONE:
        return None
    chain = _steep_chain(graph, found)
    listed = _longest_list(graph, chain)
    if len(listed) >= LIST_LENGTH:
        return _accumulation(named, listed[0], Gathering.CHAIN, len(listed), named.group_of(listed[0]))
    below = graph.dominated.by(chain[-1])
    if len(below) == 0:
        return _accumulation(named, chain[-1], Gathering.SINGLE, 0, "")
    group = named.groups.names[int(np.bincount(named.groups.of[below]).argmax())]
    return _accumulation(named, chain[-1], Gathering.FAN, len(below), group)


def _accumulation(named: NamedGraph, found: int, gathering: Gathering, count: int, group: str) -> Accumulation:
    path = shortest_path(named, found)
    assert path is not None, "garbage has no place"
    return Accumulation(path, Retained.of(named, found), gathering, count, group)


def _steep_chain(graph: HeapGraph, found: int) -> list[int]:
    """An object, and those below it that retain nearly all of what the one above does."""
    chain, retained = [found], graph.tree.retained_bytes
    while len(below := graph.dominated.by(chain[-1])):
        # What an object takes itself is not below it.
        rest = int(retained[chain[-1]]) - int(graph.blocks[chain[-1]]) * graph.facts.geometry.block_bytes
        if int(retained[below[0]]) < STEEP * rest:
            break
        chain.append(int(below[0]))
    return chain


def _longest_list(graph: HeapGraph, chain: list[int]) -> list[int]:
    """The longest list in a chain: objects of one size, each held by the one before at one offset."""
    best: list[int] = []
    start, links = 0, [_link(graph, *pair) for pair in pairwise(chain)]
    for index, link in enumerate(links):
        if link is None or link != links[start]:
            start = index
        # What holds the first of them may be one of them, or have them.
        begin = start if link is not None and graph.blocks[chain[start]] == link[0] else start + 1
        if link is not None and index + 2 - begin > len(best):
            best = chain[begin : index + 2]
    return best


def _link(graph: HeapGraph, holder: int, target: int) -> tuple[int, int] | None:
    """The target's size in blocks, and the offset at which it is held; None where its dominator does not hold it itself."""
    row = slice(graph.references_of(holder).start, graph.references_of(holder).stop)
    offsets = graph.offsets[row][graph.targets[row] == target]
    return (int(graph.blocks[target]), int(offsets[0])) if len(offsets) else None
