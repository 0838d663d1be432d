"""Two heaps of one program: what is new, what is gone, what has grown, and along which path.

Objects have no names that outlast a run, but a heap moves none, so that an object of the same group and size at the same
address is taken for the same one.  *Paths* are compared by what they lead through, not by addresses: a root, then groups and
words, where the same step again and again counts once.  All elements of a list are on one such path, however long the
list has become.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from tinyheap.inspect.graph import NONE
from tinyheap.results import Result

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinyheap.inspect.naming import NamedGraph

MOST_STEPS: Final = 12
"""Longer paths are told apart by their first steps."""


@dataclass(frozen=True, slots=True)
class GroupDifference:
    """Objects of one group, before and after.

    Args:
        group: its name.
        objects_before: how many there were.
        objects_after: how many there are.
        bytes_before: what they took.
        bytes_after: what they take.
        new: how many are there that were not, by address.
        gone: how many were there that are not.
    """

    group: str
    objects_before: int
    objects_after: int
    bytes_before: int
    bytes_after: int
    new: int
    gone: int

    @property
    def growth_bytes(self) -> int:
        """What they take more."""
        return self.bytes_after - self.bytes_before


@dataclass(frozen=True, slots=True)
class PathDifference:
    """Objects on one path, before and after.

    Args:
        path: what it leads through.
        objects_before: how many there were on it: at its end, or all of those that repeat there.
        objects_after: how many there are.
        bytes_before: what they took.
        bytes_after: what they take.
        length_before: the most words from a root to one of them.
        length_after: the same now.
    """

    path: str
    objects_before: int
    objects_after: int
    bytes_before: int
    bytes_after: int
    length_before: int
    length_after: int

    @property
    def growth_objects(self) -> int:
        """How many more there are."""
        return self.objects_after - self.objects_before

    @property
    def growth_length(self) -> int:
        """How many words longer it has become."""
        return self.length_after - self.length_before

    def __str__(self) -> str:
        if self.growth_length > 0:
            return f"the same path got {self.growth_length:,} longer: {self.path}"
        return f"{abs(self.growth_objects):,} {'more' if self.growth_objects >= 0 else 'fewer'} objects on {self.path}"


@dataclass(frozen=True, slots=True)
class HeapComparison(Result):
    """Two heaps of one program.

    Args:
        groups: those that differ, by what they grew by, the most first.
        paths: those with more or fewer objects, likewise; garbage is on none.
        new_objects: how many are there that were not.
        gone_objects: how many were there that are not.
        left_out: what names objects of one of the two heaps only (`NameSource`), so that they are not compared by it.
    """

    groups: tuple[GroupDifference, ...]
    paths: tuple[PathDifference, ...]
    new_objects: int
    gone_objects: int
    left_out: tuple[str, ...] = ()


def compare_heaps(before: NamedGraph, after: NamedGraph) -> HeapComparison:
    """What changed from one heap to another of the same program."""
    groups = tuple(each for each in _groups(before, after) if each.new or each.gone)
    return HeapComparison(
        groups=tuple(sorted(groups, key=lambda each: (-each.growth_bytes, -each.new, each.group))),
        paths=_paths(_paths_of(before), _paths_of(after)),
        new_objects=sum(each.new for each in groups),
        gone_objects=sum(each.gone for each in groups),
    )


def _groups(before: NamedGraph, after: NamedGraph) -> Iterator[GroupDifference]:
    """All groups of both heaps."""
    names = sorted({*before.groups.names, *after.groups.names})
    numbers = {name: number for number, name in enumerate(names)}
    old, new = (
        np.array([numbers[name] for name in side.groups.names], np.int64)[side.groups.of] for side in (before, after)
    )
    _, was, now = np.intersect1d(before.graph.addresses, after.graph.addresses, assume_unique=True, return_indices=True)
    same = (old[was] == new[now]) & (before.graph.sizes_bytes[was] == after.graph.sizes_bytes[now])
    stayed = np.bincount(new[now[same]], minlength=len(names))
    objects = [np.bincount(side, minlength=len(names)) for side in (old, new)]
    # Floats are exact up to 2**53 bytes.
    sizes = [
        np.bincount(of, named.graph.sizes_bytes, len(names)).astype(np.int64)
        for of, named in ((old, before), (new, after))
    ]
    columns = (*objects, *sizes, objects[1] - stayed, objects[0] - stayed)
    for name, *row in zip(names, *(column.tolist() for column in columns), strict=True):
        yield GroupDifference(name, *row)


@dataclass(slots=True)
class _OnPath:
    """What is on a path."""

    objects: int = 0
    size_bytes: int = 0
    length: int = 0


def _paths(before: dict[str, _OnPath], after: dict[str, _OnPath]) -> tuple[PathDifference, ...]:
    found = []
    for path in sorted(before.keys() | after.keys()):
        was, now = before.get(path, _OnPath()), after.get(path, _OnPath())
        if (was.objects, was.length) != (now.objects, now.length):
            numbers = (was.objects, now.objects, was.size_bytes, now.size_bytes, was.length, now.length)
            found.append(PathDifference(path, *numbers))
    return tuple(sorted(found, key=lambda each: (each.bytes_before - each.bytes_after, -each.growth_length, each.path)))


def _paths_of(named: NamedGraph) -> dict[str, _OnPath]:
    """All paths on which there are objects, by what they lead through."""
    graph, tree = named.graph, named.graph.tree
    order = np.argsort(tree.distance, kind="stable")[: tree.reached]
    holders, words = _last_steps(named)
    groups, sizes, distances = named.groups.of.tolist(), graph.sizes_bytes.tolist(), tree.distance.tolist()
    names: list[str] = []
    steps: dict[tuple[int, str, int], int] = {}
    lasts: list[tuple[str, int]] = []
    depths: list[int] = []
    path_of = [0] * len(graph)
    found: list[_OnPath] = []
    for each in order.tolist():
        above = path_of[holders[each]] if holders[each] != NONE else NONE
        last = (words[each], groups[each])
        if above != NONE and (lasts[above] == last or depths[above] == MOST_STEPS):
            path = above
        else:
            path = steps.setdefault((above, *last), len(names))
        if path == len(names):
            before = f"{names[above]} -> " if above != NONE else ""
            names.append(f"{before}{words[each]}: {named.groups.names[groups[each]]}")
            lasts.append(last)
            depths.append(depths[above] + 1 if above != NONE else 1)
            found.append(_OnPath())
        path_of[each] = path
        on_path = found[path]
        on_path.objects += 1
        on_path.size_bytes += sizes[each]
        on_path.length = max(on_path.length, distances[each] + 1)
    return dict(zip(names, found, strict=True))


def _last_steps(named: NamedGraph) -> tuple[list[int], list[str]]:
    """For each object the holder of the last word of a shortest path, `NONE` for a root; and that word's name."""
    graph = named.graph
    steps = graph.tree.step.astype(np.int64)
    by_word = steps < len(graph.targets)
    holders = np.full(len(graph), NONE, np.int64)
    holders[by_word] = graph.holders[steps[by_word]]
    words = [""] * len(graph)
    for each in np.flatnonzero(by_word).tolist():
        words[each] = named.kind_of_word(int(holders[each]), int(graph.offsets[steps[each]]))
    for each in np.flatnonzero(~by_word & (steps != NONE)).tolist():
        words[each] = str(graph.roots.source_of(int(steps[each]) - len(graph.targets)))
    return holders.tolist(), words
