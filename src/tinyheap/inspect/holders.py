"""Who holds objects: the words that refer to them, by what has these words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tinyheap.inspect.graph import NONE, Certainty
from tinyheap.inspect.naming import LARGEST_RECORD_BLOCKS

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from tinyheap.inspect.naming import NamedGraph


@dataclass(frozen=True, slots=True)
class Holder:
    """Words of one kind that refer to some objects.

    Args:
        group: of the objects that have these words, or a root's source.
        word: the name of the word in them; empty for roots.
        offset: of the word; -1 for any.
        is_root: whether these are roots.
        references: how many words there are.
        holders: in how many objects; 0 for roots.
        objects: to how many of the objects they refer.
        size_bytes: of these.
        certain: how many of the words are pointers for certain.
    """

    group: str
    word: str
    offset: int
    is_root: bool
    references: int
    holders: int
    objects: int
    size_bytes: int
    certain: int


def in_group(named: NamedGraph, group: str) -> NDArray[np.int64]:
    """The objects of the groups of that name."""
    numbers = [number for number, name in enumerate(named.groups.names) if name == group]
    return np.flatnonzero(np.isin(named.groups.of, numbers))


def holders_of(named: NamedGraph, objects: ArrayLike) -> tuple[Holder, ...]:
    """Who holds these objects: roots, and words of objects that are no garbage; who holds the most first."""
    chosen = np.zeros(len(named.graph), bool)
    chosen[np.asarray(objects, np.int64)] = True
    found = [*_roots(named, chosen), *_words(named, chosen)]
    return tuple(sorted(found, key=lambda each: (-each.objects, -each.size_bytes, each.group, each.offset)))


def _roots(named: NamedGraph, chosen: NDArray[np.bool_]) -> list[Holder]:
    graph = named.graph
    targets = graph.holding_roots
    roots = np.flatnonzero(targets != NONE)
    roots = roots[chosen[targets[roots]]]
    found = []
    for source in np.unique(graph.roots.source[roots]).tolist():
        mine = [root for root in roots if graph.roots.source[root] == source]
        objects = np.unique(targets[mine])
        size_bytes = int(graph.sizes_bytes[objects].sum())
        name = str(graph.roots.sources[source])
        found.append(Holder(name, "", -1, True, len(mine), 0, len(objects), size_bytes, 0))
    return found


def _words(named: NamedGraph, chosen: NDArray[np.bool_]) -> list[Holder]:
    graph = named.graph
    references = np.flatnonzero(chosen[graph.targets])
    holders = graph.holders[references]
    alive = ~graph.is_garbage[holders]
    references, holders = references[alive], holders[alive]
    offsets = graph.offsets[references].astype(np.int64)
    offsets[graph.blocks[holders] > LARGEST_RECORD_BLOCKS] = -1
    keys = named.groups.of[holders].astype(np.int64) << 33 | offsets + 1
    kinds, examples, kind_of = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(kind_of, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(kind_of, minlength=len(kinds))))
    sizes = graph.sizes_bytes
    found = []
    for kind, example, row in zip(kinds.tolist(), examples, rows[: len(kinds)], strict=True):
        group, offset = kind >> 33, (kind & (1 << 33) - 1) - 1
        objects = np.unique(graph.targets[references[row]])
        found.append(
            Holder(
                group=named.groups.names[group],
                word=named.kind_of_word(int(holders[example]), offset),
                offset=offset,
                is_root=False,
                references=len(row),
                holders=len(np.unique(holders[row])),
                objects=len(objects),
                size_bytes=int(sizes[objects].sum()),
                certain=int(np.count_nonzero(graph.certainty[holders[row]] == Certainty.CERTAIN)),
            )
        )
    return found
