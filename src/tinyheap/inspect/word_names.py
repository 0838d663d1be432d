"""Names of all references of a heap at once: what a program would write for the words that they are.

Words at the same place of values of one type have one name, so that a name is asked for once and not for each of a million
objects.  Only what a word is called in a map's bucket, or behind an interface, depends on what else lies there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from tinyheap.inspect.decoding import untyped, word_name
from tinyheap.inspect.go_types import Shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinyheap.inspect.naming import NamedGraph
    from tinyheap.inspect.typed import TypedHeap

UNKNOWN: Final = "+"
"""The name of words of which no more is known than where they are."""
_DEPENDS: Final = ".("
"""In a name that depends on an interface's value."""
_OFFSET_BITS: Final = 33


@dataclass(frozen=True, eq=False, slots=True)
class WordNames:
    """The names of references.

    Args:
        of: each reference's name, an index into ``names``.
        names: the first is `UNKNOWN`; that of a word that programs do not write is empty.
    """

    of: NDArray[np.uint32]
    names: tuple[str, ...]

    @property
    def are_named(self) -> NDArray[np.bool_]:
        """Of each reference, whether its word has a name."""
        return np.array([not untyped(name) for name in self.names], bool)[self.of]


def word_names(named: NamedGraph) -> WordNames:
    """The names of all references of a graph."""
    numbers = {UNKNOWN: 0}
    of = np.zeros(len(named.graph.targets), np.uint32)
    if named.typed is not None:
        _fill(of, numbers, named, named.typed)
    return WordNames(of, tuple(numbers))


def _fill(of: NDArray[np.uint32], numbers: dict[str, int], named: NamedGraph, typed: TypedHeap) -> None:
    """Number the names of the words that have a type."""
    graph = named.graph
    holders = graph.holders
    known = np.flatnonzero(typed.is_within(holders, graph.offsets))
    places = graph.offsets[known].astype(np.int64) - typed.starts[holders[known]]
    is_single = typed.lengths[holders[known]] == 1
    types = typed.numbers[holders[known]].astype(np.int64)
    keys = types << _OFFSET_BITS + 1 | is_single.astype(np.int64) << _OFFSET_BITS | places
    _, examples, inverse = np.unique(keys, return_index=True, return_inverse=True)

    def number(reference: int) -> int:
        name = word_name(typed, int(holders[reference]), int(graph.offsets[reference]))
        return numbers.setdefault(UNKNOWN if name.startswith(UNKNOWN) else name, len(numbers))

    found = np.array([number(int(known[each])) for each in examples], np.uint32)
    of[known] = found[inverse]
    names = tuple(numbers)
    is_depending = np.array(
        [
            typed.go.shape(int(types[example])) is Shape.BUCKET or _DEPENDS in names[name]
            for example, name in zip(examples.tolist(), found.tolist(), strict=True)
        ],
        bool,
    )
    for reference in known[is_depending[inverse]].tolist() if len(known) else ():
        of[reference] = number(reference)
