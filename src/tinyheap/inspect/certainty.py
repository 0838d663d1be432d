"""How sure it is that a word is a pointer: by the layout of the object that holds it, or by its type.

A layout tells of every word of its object.  A type tells of what its fields are made of: a word within a pointer is *certain*,
one within a number is *false*, a number that happens to be the address of something.  What is inferred is not taken for
known: keys and values of maps, and what a function has captured, which may be a number in the place of a pointer, remain
*possible*, as does a word that no type covers.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from tinyheap.inspect.go_types import Shape
from tinyheap.inspect.graph import Certainty
from tinyheap.inspect.heap_memory import WORD_BYTES
from tinyheap.inspect.root_table import RootKind
from tinyheap.symbols.types import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinyheap.inspect.go_types import GoTypes
    from tinyheap.inspect.naming import NamedGraph
    from tinyheap.inspect.typed import TypedHeap
    from tinyheap.symbols.types import Type


class WordCertainty(StrEnum):
    """How sure it is that a word is a pointer, and what says so."""

    POSSIBLE = "possible"
    """Nothing tells."""
    BY_LAYOUT = "certain by layout"
    BY_TYPE = "certain by type"
    BY_RUNTIME = "certain by the runtime"
    """Of a root that lies in no memory: the runtime's list of finalizers, or of what it has lent."""
    FALSE = "false by type"
    """By its type it is a number."""

    @property
    def is_certain(self) -> bool:
        """Whether it is a pointer for sure."""
        return self not in (WordCertainty.POSSIBLE, WordCertainty.FALSE)


CERTAINTIES: Final = tuple(WordCertainty)
"""By their numbers in arrays."""
_NUMBERS: Final = {each: number for number, each in enumerate(CERTAINTIES)}
_DEEPEST: Final = 64
_PLACE_BITS: Final = 33
_NUMBER_KINDS: Final = frozenset({Kind.BOOL, Kind.SIGNED, Kind.UNSIGNED, Kind.FLOAT, Kind.COMPLEX})
_RUNTIME: Final = frozenset({RootKind.HOST, RootKind.FINALIZER, RootKind.RUN_QUEUE})


def certainty_of(named: NamedGraph, holder: int, offset: int) -> WordCertainty:
    """How sure it is that the word at an offset in an object's body is a pointer."""
    graph, typed = named.graph, named.typed
    if graph.certainty[holder] == Certainty.CERTAIN:
        return WordCertainty.BY_LAYOUT
    claim = None if typed is None else typed.claim(holder)
    if typed is None or claim is None:
        return WordCertainty.POSSIBLE
    size_bytes, place = typed.go[claim.type].size_bytes, offset - claim.start_bytes
    if not 0 <= place < claim.length * size_bytes:
        return WordCertainty.POSSIBLE
    said = _by_type(typed.go, claim.type, place % size_bytes)
    return said or _in_interface(typed, typed.memory.address(holder) + offset)


def certainty_of_root(named: NamedGraph, root: int) -> WordCertainty:
    """How sure it is that a root is a pointer."""
    typed, address = named.typed, int(named.graph.roots.address[root])
    if not address:
        is_runtime = named.graph.roots.source_of(root).kind in _RUNTIME
        return WordCertainty.BY_RUNTIME if is_runtime else WordCertainty.POSSIBLE
    variable = None if typed is None else typed.known_at(address) or typed.plain_at(address)
    if typed is None or variable is None:
        return WordCertainty.POSSIBLE
    return _by_type(typed.go, variable.type, address - variable.start) or _in_interface(typed, address)


def word_certainties(named: NamedGraph) -> NDArray[np.uint8]:
    """How sure the references of a graph are, places in `CERTAINTIES`: what `certainty_of` says, for all of them at once."""
    graph, typed = named.graph, named.typed
    holders = graph.holders
    by_layout = graph.certainty[holders] == Certainty.CERTAIN
    found = np.where(by_layout, _NUMBERS[WordCertainty.BY_LAYOUT], _NUMBERS[WordCertainty.POSSIBLE]).astype(np.uint8)
    if typed is not None:
        asked = np.flatnonzero(~by_layout & typed.is_within(holders, graph.offsets))
        found[asked] = _of_typed(typed, holders[asked], graph.offsets[asked].astype(np.int64))
    return found


def _of_typed(typed: TypedHeap, holders: NDArray[np.uint32], offsets: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The same of words that are within values of known types: asked once for each place of a type."""
    types, of = np.unique(typed.numbers[holders], return_inverse=True)
    sizes = np.array([typed.go[number].size_bytes for number in types.tolist()], np.int64)
    places = (offsets - typed.starts[holders]) % sizes[of] if len(of) else offsets
    keys, of_key = np.unique(of.astype(np.int64) << _PLACE_BITS | places, return_inverse=True)
    split = ((int(types[key >> _PLACE_BITS]), key & ((1 << _PLACE_BITS) - 1)) for key in keys.tolist())
    said = [_by_type(typed.go, number, place) for number, place in split]
    found = np.array([_NUMBERS[each or WordCertainty.POSSIBLE] for each in said], np.uint8)[of_key]
    for each in np.flatnonzero(np.array([each is None for each in said], bool)[of_key]).tolist():
        found[each] = _NUMBERS[_in_interface(typed, typed.memory.address(int(holders[each])) + int(offsets[each]))]
    return found


def _by_type(go: GoTypes, number: int, offset: int) -> WordCertainty | None:
    """What a type says of a word in its values; None where the value of an interface is meant, whose type code can tell."""
    for _ in range(_DEEPEST):
        each, shape = go[number], go.shape(number)
        if shape is Shape.INTERFACE:
            return None if offset == WORD_BYTES else WordCertainty.POSSIBLE
        if each.kind is Kind.RECORD and shape is not Shape.FUNCTION:
            number, offset = _field_at(each, shape, offset)
        elif each.kind is Kind.ARRAY and each.element >= 0 and go[each.element].size_bytes > 0:
            number, offset = each.element, offset % go[each.element].size_bytes
        else:
            break
        if number < 0:
            return WordCertainty.POSSIBLE
    if each.kind is Kind.POINTER and offset == 0:
        return WordCertainty.BY_TYPE
    return WordCertainty.FALSE if each.kind in _NUMBER_KINDS else WordCertainty.POSSIBLE


def _field_at(record: Type, shape: Shape, offset: int) -> tuple[int, int]:
    """The type of the field that an offset is in, and where in that; -1 where there is none, or several, as in a union.

    What a map's buckets have in their places is inferred.
    """
    inferred = ("keys", "values") if shape is Shape.BUCKET else ()
    within = [each for each in record.fields if each.offset_bytes <= offset]
    nearest = [each for each in within if each.offset_bytes == max(each.offset_bytes for each in within)]
    if len(nearest) != 1 or nearest[0].name in inferred:
        return -1, 0
    return nearest[0].type, offset - nearest[0].offset_bytes


def _in_interface(typed: TypedHeap, address: int) -> WordCertainty:
    """What the type code before the value of an interface says of it."""
    name = typed.dynamic_type(typed.memory.word(address - WORD_BYTES))
    if name is None:
        return WordCertainty.POSSIBLE
    number = typed.go.numbers.get(name)
    if name.startswith("*") or (number is not None and typed.go[number].size_bytes > WORD_BYTES):
        return WordCertainty.BY_TYPE
    # Small values lie in the interface itself, whatever they are made of.
    return WordCertainty.POSSIBLE
