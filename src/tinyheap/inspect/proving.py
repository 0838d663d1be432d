"""Words that are no pointers to what they hold, proved by running the program once more.

A conservative collector takes for a pointer whatever could be one.  So the program is run a second time, with the same seed,
with all objects at other addresses, and without collections.  The same allocation makes the same object in both runs, and the
words in it, and outside of the heap, mean the same:

::

    first run                  second run          so the word is
    object n + d               object n + d        a pointer: it has moved along
    a value v                  the same v          a number that happens to be an address
    object n + d               object m + e,       a stale pointer: object m is gone, and it was where object n is
                               which is gone       now, so that m + e was n + d

A word of a variable whose type holds no pointers is a number, too.  Where a word fits none of these, nothing is said against
it.  What only numbers and stale pointers hold would be garbage if the collector knew.

Some programs allocate a little more or less when addresses change: a map whose keys are pointers has other collisions.  So
allocations are told by their sizes and sites, and where one run has some that the other has not, these are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from tinyheap.errors import SnapshotError
from tinyheap.inspect.graph import NONE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinyheap.inspect.graph import HeapGraph
    from tinyheap.inspect.inspection import Inspection
    from tinyheap.inspect.naming import NamedGraph
    from tinyheap.snapshots.snapshot import Births, Origins

    _Words = NDArray[np.int64]

MOST_WORDS: Final = 20
MOST_MISSING: Final = 0.1
"""Of the objects of the first run, this share at most may be missing in the second one."""
AHEAD: Final = 64
"""So many objects that only one run has are looked past at once."""
ALIKE: Final = 12
"""So many in a row are the same where both runs go on alike."""
_WORD_BYTES: Final = 4


class Meaning(IntEnum):
    """What a word that refers to an object is."""

    UNKNOWN = 0
    POINTER = 1
    NUMBER = 2
    STALE = 3


@dataclass(frozen=True, slots=True)
class FalseWord:
    """A word that holds an object without being a pointer to it.

    Args:
        place: what has it: a variable, a function's frame, or the name of an object and of the word in it.
        address: where it lies.
        value: what it holds.
        meaning: a number, or a stale pointer.
        target: the address of the object that it holds.
        group: that object's name.
        site: who allocated the object that has the word; empty for words outside of the heap.
        retained_bytes: what the object that it holds retains.
    """

    place: str
    address: int
    value: int
    meaning: Meaning
    target: int
    group: str
    site: str
    retained_bytes: int


@dataclass(frozen=True, slots=True)
class Proof:
    """What the words of a heap are.

    Args:
        pointers: how many words that refer to objects are pointers for certain.
        numbers: how many are numbers.
        stale: how many are stale pointers.
        unknown: of how many it is not known.
        false_objects: how many objects only numbers and stale pointers keep alive, in ``false_bytes``.
        words: those that keep them, where most is retained first.
    """

    pointers: int
    numbers: int
    stale: int
    unknown: int
    false_objects: int
    false_bytes: int
    words: tuple[FalseWord, ...]


@dataclass(frozen=True)
class SecondRun:
    """A second run of a program, without collections, whose objects have other addresses.

    Args:
        inspection: its heap, at the same moment; it was recorded.
        births: all objects of the first run.
        own_births: all objects of this one.
    """

    inspection: Inspection
    births: Births
    own_births: Births


def prove(inspection: Inspection, second_run: SecondRun, most: int = MOST_WORDS) -> Proof:
    """What the words of a heap are that refer to objects.

    Args:
        inspection: the heap, at a moment of a recorded run.
        second_run: the same program once more.
        most: how many words are listed.

    Raises:
        SnapshotError: the first run was not recorded, or the program did something else in the second one.
    """
    graph, moved, origins = inspection.graph, second_run.inspection.graph, inspection.snapshot.origins
    if origins is None:
        raise SnapshotError(
            "a snapshot of a run that was not recorded says nothing of its objects' origins: record both runs"
        )
    births, own_births = second_run.births, second_run.own_births
    numbers, moved_numbers = _numbers(graph, births), _numbers(moved, own_births)
    runs = _Runs(graph, moved, numbers, same_objects(births, own_births)[moved_numbers], births.address)
    references, roots = runs.references(), runs.roots()
    _note_plain(inspection.named, roots)
    false = ~graph.is_garbage & ~graph.reached_without(_is_false(references), _is_false(roots))
    counts = np.bincount(np.concatenate([references, roots[graph.holding_roots != NONE]]), minlength=len(Meaning))
    return Proof(
        pointers=int(counts[Meaning.POINTER]),
        numbers=int(counts[Meaning.NUMBER]),
        stale=int(counts[Meaning.STALE]),
        unknown=int(counts[Meaning.UNKNOWN]),
        false_objects=int(np.count_nonzero(false)),
        false_bytes=int(graph.sizes_bytes[false].sum()),
        words=_false_words(inspection.named, origins, references, roots, false)[:most],
    )


def same_objects(first: Births, second: Births) -> NDArray[np.int64]:
    """The number in the first run of each object of the second one, by its number there; 0 where the first has no such object.

    Raises:
        SnapshotError: Hardly any is the same.
    """
    ours, theirs = _kinds(first, second)
    found = np.zeros(len(theirs), np.int64)
    at, there = 1, 1
    while at < len(ours) and there < len(theirs):
        length = min(len(ours) - at, len(theirs) - there)
        differing = np.flatnonzero(ours[at : at + length] != theirs[there : there + length])
        same = int(differing[0]) if len(differing) else length
        found[there : there + same] = np.arange(at, at + same)
        at, there = at + same, there + same
        if same < length:
            more, fewer = _resumed(ours, theirs, at, there)
            at, there = at + more, there + fewer
    missing = len(ours) - 1 - int(np.count_nonzero(found))
    if missing > MOST_MISSING * len(ours):
        raise SnapshotError(
            f"the program did something else when it was run again: of its {len(ours) - 1:,} allocations {missing:,} were not "
            "made then; what it reads (files, environment, the host) must be the same"
        )
    return found


def _kinds(first: Births, second: Births) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each object of two runs a number that says its size and site."""
    sites = {name: number for number, name in enumerate(first.sites)}
    known = np.array([sites.get(name, len(sites) + number) for number, name in enumerate(second.sites)], np.int64)
    return first.size_bytes + (first.site << 33), second.size_bytes + (known[second.site] << 33)


def _resumed(ours: NDArray[np.int64], theirs: NDArray[np.int64], at: int, there: int) -> tuple[int, int]:
    """How many objects of each run are to be left out until both go on alike; all that are left where they never do."""
    for left_out in range(1, 2 * AHEAD):
        for more in range(max(0, left_out - AHEAD), min(left_out, AHEAD) + 1):
            a, b = ours[at + more :][:ALIKE], theirs[there + left_out - more :][:ALIKE]
            if len(a) and len(a) == len(b) and np.array_equal(a, b):
                return more, left_out - more
    return len(ours) - at, len(theirs) - there


class _Runs:
    """Two runs of a program, whose objects are known by the numbers of their allocations."""

    def __init__(
        self, graph: HeapGraph, moved: HeapGraph, numbers: _Words, moved_numbers: _Words, birthplaces: _Words
    ) -> None:
        self._graph, self._moved = graph, moved
        self._numbers, self._moved_numbers = numbers, moved_numbers
        count = max(int(each.max(initial=0)) for each in (numbers, moved_numbers)) + 1
        self._moved_addresses = np.zeros(count, np.int64)
        self._moved_addresses[moved_numbers] = moved.addresses.astype(np.int64)
        self._moved_addresses[0] = 0
        self._birthplaces = np.zeros(count, np.int64)
        known = birthplaces[:count]
        self._birthplaces[: len(known)] = known
        self._birthplaces[numbers] = 0  # of those that are gone

    def references(self) -> NDArray[np.uint8]:
        """What each reference is."""
        graph = self._graph
        holders, offsets = graph.holders.astype(np.int64), graph.offsets.astype(np.int64)
        there = self._moved_addresses[self._numbers[holders]]
        places = np.where(there > 0, there + offsets, -1)
        return self._meanings(graph.addresses.astype(np.int64)[holders] + offsets, places, graph.targets)

    def roots(self) -> NDArray[np.uint8]:
        """What each root is."""
        graph = self._graph
        addresses = graph.roots.address.astype(np.int64)
        return self._meanings(addresses, np.where(addresses > 0, addresses, -1), graph.holding_roots)

    def _meanings(self, places: _Words, moved_places: _Words, targets: NDArray[np.uint32]) -> NDArray[np.uint8]:
        """What words are, by where they lie in both runs."""
        is_held = targets != NONE
        held = np.where(is_held, targets, 0).astype(np.int64)
        values, moved_values = _words_at(self._graph, places), _words_at(self._moved, moved_places)
        numbers = self._numbers[held] if len(self._numbers) else np.zeros(len(held), np.int64)
        there = self._moved_addresses[numbers]
        addresses = self._graph.addresses.astype(np.int64)
        inside = values - (addresses[held] if len(addresses) else 0)
        known = is_held & (there > 0) & (moved_values >= 0) & (values >= 0)
        found = np.zeros(len(places), np.uint8)
        found[known & (moved_values == values)] = Meaning.NUMBER
        found[known & (self._before(moved_values) == values)] = Meaning.STALE
        found[known & (moved_values == there + inside)] = Meaning.POINTER
        return found

    def _before(self, values: _Words) -> _Words:
        """What words of the second run were in the first one, where they refer to objects that are gone; else -1."""
        addresses = self._moved.addresses.astype(np.int64)
        found = np.full(len(values), -1, np.int64)
        at = np.searchsorted(addresses, values, "right") - 1
        within = np.flatnonzero(at >= 0)
        at = at[within]
        inside = values[within] - addresses[at]
        birthplaces = self._birthplaces[self._moved_numbers[at]]
        is_known = (birthplaces > 0) & (inside < self._moved.sizes_bytes.astype(np.int64)[at])
        found[within[is_known]] = birthplaces[is_known] + inside[is_known]
        return found


def _numbers(graph: HeapGraph, births: Births) -> _Words:
    """The number of each object's allocation, the last one at its address; 0 where it is not known."""
    found = np.zeros(len(graph), np.int64)
    addresses = graph.addresses.astype(np.int64)
    at = np.searchsorted(addresses, births.address)
    is_there = at < len(graph)
    is_there[is_there] = addresses[at[is_there]] == births.address[is_there]
    np.maximum.at(found, at[is_there], np.flatnonzero(is_there))
    return found


def _words_at(graph: HeapGraph, places: _Words) -> _Words:
    """The words at some addresses; -1 where there are none."""
    size = len(graph.memory)
    is_there = (places >= 0) & (places <= size - _WORD_BYTES)
    data = np.frombuffer(graph.memory, np.uint8)
    at = np.where(is_there, places, 0)
    values = sum(data[at + byte].astype(np.int64) << 8 * byte for byte in range(_WORD_BYTES))
    return np.where(is_there, values, -1)


def _note_plain(named: NamedGraph, roots: NDArray[np.uint8]) -> None:
    """Roots in variables that hold no pointers are numbers, too: those of the collector's own counters differ between runs."""
    graph, typed = named.graph, named.typed
    unknown = (graph.holding_roots != NONE) & (roots == Meaning.UNKNOWN)
    for root in np.flatnonzero(unknown).tolist() if typed is not None else ():
        if typed is not None and typed.plain_at(int(graph.roots.address[root])):
            roots[root] = Meaning.NUMBER


def _is_false(meanings: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.isin(meanings, (Meaning.NUMBER, Meaning.STALE))


def _false_words(
    named: NamedGraph,
    origins: Origins,
    references: NDArray[np.uint8],
    roots: NDArray[np.uint8],
    false: NDArray[np.bool_],
) -> tuple[FalseWord, ...]:
    """Words that are no pointers, of roots and of objects that pointers reach, to objects that these do not."""
    graph = named.graph
    retained = graph.tree.retained_bytes
    sites = dict(zip(origins.address, (origins.sites[site] for site in origins.site), strict=True))
    found: list[tuple[str, int, int, int, int, str]] = []
    for root in np.flatnonzero(_is_false(roots)).tolist():
        target = int(graph.holding_roots[root])
        if target != NONE and false[target]:
            place, address = str(graph.roots.source_of(root)), int(graph.roots.address[root])
            found.append((place, address, int(graph.roots.value[root]), int(roots[root]), target, ""))
    holders = graph.holders
    for reference in np.flatnonzero(_is_false(references)).tolist():
        target, holder = int(graph.targets[reference]), int(holders[reference])
        if false[target] and not false[holder] and not graph.is_garbage[holder]:
            start = graph.address_of(holder)
            address = start + int(graph.offsets[reference])
            value = int.from_bytes(graph.memory[address : address + _WORD_BYTES], "little")
            place = f"{named.group_of(holder)} at {start:#x} {named.word_of(reference)}"
            found.append((place, address, value, int(references[reference]), target, sites.get(start, "")))
    words = (
        FalseWord(
            *(place, address, value, Meaning(meaning)),
            *(graph.address_of(target), named.group_of(target), site, int(retained[target])),
        )
        for place, address, value, meaning, target, site in found
    )
    return tuple(sorted(words, key=lambda each: (-each.retained_bytes, each.address)))
