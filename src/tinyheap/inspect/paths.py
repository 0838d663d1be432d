"""Why an object is alive: paths to it from the roots, each step a word.

A *shortest* path has the fewest words.  *Distinct* paths share no object but those that every path leads through: they begin
at the object's immediate dominator, or at roots, and there are as many of them as can be at once (Menger's theorem: as
many objects must go for this one to go).  They are found one by one, each by the shortest search that may take words
back from those before it (Ford and Fulkerson).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from tinyheap.inspect.certainty import WordCertainty, certainty_of, certainty_of_root
from tinyheap.inspect.decoding import expression, variable_name
from tinyheap.inspect.graph import NONE, ROOTS
from tinyheap.inspect.root_table import RootKind
from tinyheap.results import Result

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tinyheap.inspect.graph import HeapGraph
    from tinyheap.inspect.naming import NamedGraph
    from tinyheap.inspect.root_table import RootSource
    from tinyheap.inspect.typed import TypedHeap

MOST_PATHS: Final = 8
"""So many distinct paths are found where no number is given."""


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
        name: what a program would write for it; empty where that is not known.
        certainty: how sure it is that it is a pointer.
    """

    root: int
    source: RootSource
    address: int
    offset: int
    value: int
    name: str = ""
    certainty: WordCertainty = WordCertainty.POSSIBLE

    @classmethod
    def of(cls, named: NamedGraph, root: int) -> RootWord:
        """That root of a graph."""
        graph, typed = named.graph, named.typed
        source, address = graph.roots.source_of(root), int(graph.roots.address[root])
        offset = address - source.start_address if source.start_address else 0
        name = None if typed is None else variable_name(typed, address)
        return cls(
            root,
            source,
            address,
            offset,
            int(graph.roots.value[root]),
            name or "",
            certainty_of_root(named, root),
        )

    def __str__(self) -> str:
        if self.name:
            return f"{self.source.kind} {self.name}"
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
        certainty: how sure it is that it is a pointer.
    """

    holder: int
    address: int
    group: str
    offset: int
    word: str
    certainty: WordCertainty

    @classmethod
    def of(cls, named: NamedGraph, reference: int) -> Step:
        """The step by that reference."""
        graph, holder = named.graph, named.graph.holder_of(reference)
        offset = int(graph.offsets[reference])
        return cls(
            holder=holder,
            address=graph.address_of(holder),
            group=named.group_of(holder),
            offset=offset,
            word=named.word_of(reference),
            certainty=certainty_of(named, holder, offset),
        )

    def __str__(self) -> str:
        return f"{self.group} at {self.address:#x} {self.word}"


@dataclass(frozen=True, slots=True)
class Path:
    """A way from a root to an object.

    Args:
        root: where it begins.
        steps: a word of each object on the way, the object itself not included.
        expression: what a program would write for the object, or its part that the last word leads to; empty where a type on
            the way is not known.
    """

    root: RootWord
    steps: tuple[Step, ...]
    expression: str = ""

    @classmethod
    def of(cls, named: NamedGraph, root: int, steps: tuple[Step, ...]) -> Path:
        """The path that begins at that root."""
        word, typed = RootWord.of(named, root), named.typed
        return cls(word, steps, _expression(typed, word.address, steps) if typed is not None else "")

    @property
    def certainties(self) -> tuple[WordCertainty, ...]:
        """How sure its words are pointers, the root's first."""
        return self.root.certainty, *(step.certainty for step in self.steps)

    def __str__(self) -> str:
        return " -> ".join(map(str, (self.root, *self.steps)))


@dataclass(frozen=True, slots=True)
class Why(Result):
    """Why an object is alive, or that it is not.

    Args:
        address: of the object.
        group: its group.
        verdict: who keeps it.
        dominators: the addresses of the objects that every path leads through, from the roots on.
        paths: distinct ones, those that say most first; none for garbage.
        are_all_paths: whether there are no more that share nothing with these.
        retained_bytes: what would be freed with it.
    """

    address: int
    group: str
    verdict: Verdict
    dominators: tuple[int, ...]
    paths: tuple[Path, ...]
    are_all_paths: bool
    retained_bytes: int


def why(named: NamedGraph, found: int, most: int = MOST_PATHS) -> Why:
    """Why an object is alive, with up to so many distinct paths."""
    graph = named.graph
    paths = distinct_paths(named, found, most + 1)
    return Why(
        address=graph.address_of(found),
        group=named.group_of(found),
        verdict=verdict_of(graph, found),
        dominators=tuple(graph.address_of(each) for each in dominators_of(graph, found)),
        paths=paths[:most],
        are_all_paths=len(paths) <= most,
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
    return Path.of(named, step - len(graph.targets), tuple(steps[::-1]))


def best_path(named: NamedGraph, found: int) -> Path | None:
    """Of some distinct paths the one that says most: by what a program would write, else by pointers, else the shortest."""
    return next(iter(distinct_paths(named, found)), None)


def distinct_paths(named: NamedGraph, found: int, most: int = MOST_PATHS) -> tuple[Path, ...]:
    """Up to so many paths that share nothing but what all paths lead through; none for garbage.

    Those that say most come first: those without a number on the way; of these, those that a program could write, then
    those that lead through pointers only, then the shortest.
    """
    return tuple(sorted(_distinct_paths(named, found, most), key=_uncertainty))


def _uncertainty(path: Path) -> tuple[bool, bool, bool, int]:
    words = path.certainties
    is_sure = all(each.is_certain for each in words)
    return WordCertainty.FALSE in words, not path.expression, not is_sure, len(path.steps)


def _distinct_paths(named: NamedGraph, found: int, most: int) -> tuple[Path, ...]:
    graph = named.graph
    source = int(graph.tree.dominator[found])
    if source == NONE:
        return ()
    if source == ROOTS:
        return tuple(_paths_from_roots(named, found, most))
    beginning = shortest_path(named, source)
    assert beginning is not None, "what dominates a reached object is reached"
    return tuple(
        Path.of(named, beginning.root.root, (*beginning.steps, *steps))
        for steps in _paths_from_object(named, source, found, most)
    )


def _expression(typed: TypedHeap, address: int, steps: Sequence[Step]) -> str:
    return expression(typed, address, ((each.holder, each.offset) for each in steps)) or ""


def _paths_from_roots(named: NamedGraph, found: int, most: int) -> Iterator[Path]:
    graph = named.graph
    direct = [root for root in graph.roots_to(found) if graph.holding_roots[root] != NONE][:most]
    for root in direct:
        yield Path.of(named, root, ())
    rooted = {int(target): root for root, target in reversed([*enumerate(graph.holding_roots.tolist())])}
    for objects in graph.disjoint(found, rooted.keys() - {NONE, found}, NONE, most - len(direct)):
        yield Path.of(named, rooted[objects[0]], _steps(named, objects))


def _paths_from_object(named: NamedGraph, source: int, found: int, most: int) -> Iterator[tuple[Step, ...]]:
    graph = named.graph
    direct = [each for each in graph.references_of(source) if graph.targets[each] == found][:most]
    for each in direct:
        yield (Step.of(named, each),)
    below = {int(graph.targets[each]) for each in graph.references_of(source)} - {source, found}
    for objects in graph.disjoint(found, below, source, most - len(direct)):
        yield _steps(named, [source, *objects])


def _steps(named: NamedGraph, objects: list[int]) -> tuple[Step, ...]:
    """The words that lead from each object to the next."""
    graph = named.graph
    return tuple(
        Step.of(named, next(each for each in graph.references_of(holder) if graph.targets[each] == target))
        for holder, target in pairwise(objects)
    )
