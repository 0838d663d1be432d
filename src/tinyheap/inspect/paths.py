"""Why an object is alive: paths to it from the roots, each step a word.

A *shortest* path has the fewest words.  *Distinct* paths share no object but those that every path leads through: they begin
at the object's immediate dominator, or at roots, and there are as many of them as can be at once (Menger's theorem: as
many objects must go for this one to go).  They are found one by one, each by the shortest search that may take words
back from those before it (Ford and Fulkerson).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from tinyheap.inspect.graph import NONE, ROOTS, Certainty
from tinyheap.inspect.root_table import RootKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinyheap.inspect.graph import HeapGraph
    from tinyheap.inspect.naming import NamedGraph
    from tinyheap.inspect.root_table import RootSource

MOST_PATHS: Final = 8
_SOURCE: Final = -1


class Verdict(StrEnum):
    """Who keeps an object alive."""

    PROGRAM = "held by the program"
    HOST = "held by the host"
    """Only because it was lent to the host, or something was that leads to it."""
    FINALIZER = "kept for its finalizer"
    """Nothing refers to it any more but its finalizer, or that of an object that leads to it, which is yet to run."""
    NOBODY = "held by nobody: garbage, freed by the next collection"


@dataclass(frozen=True, slots=True)
class RootWord:
    """A root, where a path begins.

    Args:
        root: its number.
        address: where it lies; 0 if in no memory.
        offset: in what has it, in bytes; 0 if in no memory.
        value: what it holds.
    """

    root: int
    source: RootSource
    address: int
    offset: int
    value: int

    @classmethod
    def of(cls, graph: HeapGraph, root: int) -> RootWord:
        """That root of a graph."""
        source, address = graph.roots.source_of(root), int(graph.roots.address[root])
        offset = address - source.start_address if source.start_address else 0
        return cls(root, source, address, offset, int(graph.roots.value[root]))

    def __str__(self) -> str:
        return f"{self.source}+{self.offset}" if self.offset else str(self.source)


@dataclass(frozen=True, slots=True)
class Step:
    """A word of an object that refers to the next one.

    Args:
        holder: the object that holds it, a number.
        address: of the holder.
        group: the holder's group.
        offset: of the word in the holder, in bytes.
        word: its name.
        is_certain: whether the holder's layout says that it is a pointer.
    """

    holder: int
    address: int
    group: str
    offset: int
    word: str
    is_certain: bool

    @classmethod
    def of(cls, named: NamedGraph, reference: int) -> Step:
        """The step by that reference."""
        graph, holder = named.graph, named.graph.holder_of(reference)
        return cls(
            holder=holder,
            address=graph.address_of(holder),
            group=named.group_of(holder),
            offset=int(graph.offsets[reference]),
            word=named.word_of(reference),
            is_certain=int(graph.certainty[holder]) == Certainty.CERTAIN,
        )

    def __str__(self) -> str:
        return f"{self.group} at {self.address:#x} {self.word}"


@dataclass(frozen=True, slots=True)
class Path:
    """A way from a root to an object: the root, then a word of each object on the way, the object itself not included."""

    root: RootWord
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return " -> ".join(map(str, (self.root, *self.steps)))


@dataclass(frozen=True, slots=True)
class Why:
    """Why an object is alive, or that it is not.

    Args:
        address: of the object.
        group: its group.
        verdict: who keeps it.
        dominators: the addresses of the objects that every path leads through, from the roots on.
        paths: distinct ones, the shortest first; none for garbage.
        retained_bytes: what would be freed with it.
    """

    address: int
    group: str
    verdict: Verdict
    dominators: tuple[int, ...]
    paths: tuple[Path, ...]
    retained_bytes: int


def why(named: NamedGraph, found: int, most: int = MOST_PATHS) -> Why:
    """Why an object is alive, with up to so many distinct paths."""
    graph = named.graph
    paths = distinct_paths(named, found, most)
    return Why(
        address=graph.address_of(found),
        group=named.group_of(found),
        verdict=verdict_of(graph, found),
        dominators=tuple(graph.address_of(each) for each in dominators_of(graph, found)),
        paths=paths,
        retained_bytes=int(graph.tree.retained_bytes[found]),
    )


def dominators_of(graph: HeapGraph, found: int) -> list[int]:
    """The objects that every path to an object leads through, from the roots on, without itself; none for garbage."""
    chain: list[int] = []
    above = int(graph.tree.dominator[found])
    while above not in (ROOTS, NONE):
        chain.append(above)
        above = int(graph.tree.dominator[above])
    return chain[::-1]


def verdict_of(graph: HeapGraph, found: int) -> Verdict:
    """Who keeps an object alive: the program, if any of its own roots does."""
    if graph.tree.dominator[found] == NONE:
        return Verdict.NOBODY
    if graph.reached_from(set(RootKind) - {RootKind.HOST, RootKind.FINALIZER})[found]:
        return Verdict.PROGRAM
    return Verdict.HOST if graph.reached_from({RootKind.HOST})[found] else Verdict.FINALIZER


def shortest_path(named: NamedGraph, found: int) -> Path | None:
    """The path with the fewest words, of the first root that has one; None for garbage."""
    graph = named.graph
    steps: list[Step] = []
    if graph.tree.step[found] == NONE:
        return None
    while (step := int(graph.tree.step[found])) < len(graph.targets):
        steps.append(Step.of(named, step))
        found = steps[-1].holder
    return Path(RootWord.of(graph, step - len(graph.targets)), tuple(steps[::-1]))


def distinct_paths(named: NamedGraph, found: int, most: int = MOST_PATHS) -> tuple[Path, ...]:
    """Up to so many paths that share nothing but what all paths lead through; the shortest first, none for garbage."""
    graph = named.graph
    source = int(graph.tree.dominator[found])
    if source == NONE:
        return ()
    if source == ROOTS:
        return tuple(_paths_from_roots(named, found, most))
    beginning = shortest_path(named, source)
    assert beginning is not None, "what dominates a reached object is reached"
    return tuple(
        Path(beginning.root, (*beginning.steps, *steps)) for steps in _paths_from_object(named, source, found, most)
    )


def _paths_from_roots(named: NamedGraph, found: int, most: int) -> Iterator[Path]:
    graph = named.graph
    direct = [root for root in graph.roots_to(found) if graph.holding_roots[root] != NONE][:most]
    for root in direct:
        yield Path(RootWord.of(graph, root), ())
    rooted = {int(target): root for root, target in reversed([*enumerate(graph.holding_roots.tolist())])}
    for objects in _Flow(graph, found, rooted.keys() - {NONE, found}).paths(most - len(direct)):
        yield Path(RootWord.of(graph, rooted[objects[0]]), _steps(named, objects))


def _paths_from_object(named: NamedGraph, source: int, found: int, most: int) -> Iterator[tuple[Step, ...]]:
    graph = named.graph
    direct = [each for each in graph.references_of(source) if graph.targets[each] == found][:most]
    for each in direct:
        yield (Step.of(named, each),)
    below = {int(graph.targets[each]) for each in graph.references_of(source)} - {source, found}
    for objects in _Flow(graph, found, below, source).paths(most - len(direct)):
        yield _steps(named, [source, *objects])


def _steps(named: NamedGraph, objects: list[int]) -> tuple[Step, ...]:
    """The words that lead from each object to the next."""
    graph = named.graph
    return tuple(
        Step.of(named, next(each for each in graph.references_of(holder) if graph.targets[each] == target))
        for holder, target in pairwise(objects)
    )


class _Flow:
    """Paths that share no object, from any of several objects to one; searched for from its end.

    Each object is two nodes, one that is entered and one that is left, so that it lies on one path only::

        entered <─── left of a holder          a word that no path takes
        left    <─── entered                   an object that no path takes
        and backward what a path takes, which takes it back

    Args:
        found: where paths end.
        firsts: where they may begin.
        source: an object that none leads through.
    """

    def __init__(self, graph: HeapGraph, found: int, firsts: set[int], source: int = _SOURCE) -> None:
        self._graph, self._found, self._firsts, self._source = graph, found, firsts, source
        self._before: dict[int, int] = {}
        """Of each object on a path, the one before it, or `_SOURCE`."""
        self._after: dict[int, int] = {}
        self._lasts: set[int] = set()

    def paths(self, most: int) -> list[list[int]]:
        """Up to so many, shortest first: the objects on each, the last one included."""
        count = 0
        while count < most and self._augment():
            count += 1
        return sorted((self._path_to(last) for last in self._lasts), key=lambda path: (len(path), path))

    def _path_to(self, last: int) -> list[int]:
        path = [self._found]
        while last != _SOURCE:
            path.append(last)
            last = self._before[last]
        return path[::-1]

    def _augment(self) -> bool:
        """Find one path more, if there is one."""
        start = (self._found, True)
        came: dict[tuple[int, bool], tuple[int, bool] | None] = {start: None}
        queue = deque([start])
        while queue:
            node = queue.popleft()
            if node[1] and node[0] in self._firsts and self._before.get(node[0]) != _SOURCE:
                self._take(node, came)
                return True
            for other in self._residual(*node):
                if other not in came:
                    came[other] = node
                    queue.append(other)
        return False

    def _residual(self, each: int, is_entered: bool) -> Iterator[tuple[int, bool]]:
        """The nodes from which a path may come to a node."""
        on_path = each in self._before
        if not is_entered:
            if not on_path:
                yield each, True
            elif each in self._after:
                yield self._after[each], True
            return
        if on_path:
            yield each, False
        for reference in self._graph.references_to(each):
            holder = self._graph.holder_of(reference)
            if holder in (self._found, self._source) or self._graph.tree.step[holder] == NONE:
                continue
            if each == self._found and holder in self._lasts:
                continue
            if self._before.get(each) != holder:
                yield holder, False

    def _take(self, node: tuple[int, bool], came: dict[tuple[int, bool], tuple[int, bool] | None]) -> None:
        """Make the way from a first object to the end a path, and take back what it goes against."""
        gone, new = [], [(_SOURCE, node[0])]
        while (following := came[node]) is not None:
            if node[0] != following[0] and following[1]:
                new.append((node[0], following[0]))
            elif node[0] != following[0]:
                gone.append((following[0], node[0]))
            node = following
        for holder, target in gone:
            self._unlink(holder, target)
        for holder, target in new:
            self._link(holder, target)

    def _unlink(self, holder: int, target: int) -> None:
        self._after.pop(holder, None)
        self._before.pop(target, None)

    def _link(self, holder: int, target: int) -> None:
        if target == self._found:
            self._lasts.add(holder)
        else:
            self._before[target] = holder
        if holder != _SOURCE and target != self._found:
            self._after[holder] = target
