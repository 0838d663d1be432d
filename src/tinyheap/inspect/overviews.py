"""A heap at a glance: what there is, what holds it, what retains most, and where it has accumulated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from tinyheap.errors import InvalidAddressError
from tinyheap.inspect.dominators import accumulation, retained_by_group, top_retained
from tinyheap.inspect.graph import NONE, ROOTS
from tinyheap.inspect.sites import SiteNames
from tinyheap.results import Result

if TYPE_CHECKING:
    from tinyheap.inspect.dominators import Accumulation, GroupRetained, Retained
    from tinyheap.inspect.graph import HeapGraph
    from tinyheap.inspect.inspection import Inspection
    from tinyheap.inspect.naming import NamedGraph

SUSPECT: Final = 0.1
"""What retains at least this share of all that is alive is looked into: where has it accumulated?"""
MOST_SUSPECTS: Final = 5
MOST: Final = 20


@dataclass(frozen=True, slots=True)
class HeldBy:
    """What the words of one source of roots hold.

    Args:
        source: what has the words: a variable, a function's frame.
        words: how many of its words refer to objects.
        objects: how many objects it holds that no other source leads to.
        retained_bytes: of these.
    """

    source: str
    words: int
    objects: int
    retained_bytes: int


@dataclass(frozen=True, slots=True)
class Overview(Result):
    """A heap at one moment.

    Args:
        module: the name of the program's file; empty where it is not known.
        moment: when it was.
        trap: how the program ended, in words; None where it did not.
        collector: which algorithm, and whether it is precise.
        memory_bytes: all of linear memory.
        heap_bytes: blocks and block table.
        free_bytes: of blocks that no object has.
        objects: how many there are, in ``object_bytes``.
        garbage_objects: how many of them the next collection frees.
        groups: objects by name, those that retain most first.
        top: objects that nothing but roots dominates, those that retain most first.
        held_by: roots, by what they alone hold.
        suspects: where much has accumulated.
        typed_objects: how many of the objects have a type that is known, in ``typed_bytes``; None without debug information.
        orphan_blocks: blocks that the table says belong to an object that it does not have; 0 in a sound heap.
        problem: why debug information that is there could not be read; None for no problem.
    """

    module: str
    moment: str
    trap: str | None
    collector: str
    memory_bytes: int
    heap_bytes: int
    free_bytes: int
    objects: int
    object_bytes: int
    garbage_objects: int
    garbage_bytes: int
    groups: tuple[GroupRetained, ...]
    top: tuple[Retained, ...]
    held_by: tuple[HeldBy, ...]
    suspects: tuple[Accumulation, ...]
    typed_objects: int | None
    typed_bytes: int | None
    orphan_blocks: int
    problem: str | None


def overview(inspection: Inspection, most: int = MOST) -> Overview:
    """The heap of a snapshot at a glance, with so many of each kind of line."""
    graph, snapshot = inspection.graph, inspection.snapshot
    geometry, facts = graph.facts.geometry, graph.facts
    sizes, garbage = graph.sizes_bytes, graph.is_garbage
    object_bytes, typed = int(sizes.sum()), inspection.named.typed
    is_typed = None if typed is None else typed.are_named
    return Overview(
        module=snapshot.module_name,
        moment=snapshot.when,
        trap=snapshot.trap,
        collector=f"{facts.collector}, {'precise' if facts.is_precise else 'conservative'}",
        memory_bytes=len(snapshot.memory),
        heap_bytes=geometry.heap_bytes,
        free_bytes=geometry.end_block * geometry.block_bytes - object_bytes,
        objects=len(graph),
        object_bytes=object_bytes,
        garbage_objects=int(np.count_nonzero(garbage)),
        garbage_bytes=int(sizes[garbage].sum()),
        groups=retained_by_group(inspection.named)[:most],
        top=top_retained(inspection.named, most),
        held_by=_held_by(graph)[:most],
        suspects=_suspects(inspection.named),
        typed_objects=None if is_typed is None else int(np.count_nonzero(is_typed)),
        typed_bytes=None if is_typed is None else int(sizes[is_typed].sum()),
        orphan_blocks=graph.orphan_blocks,
        problem=inspection.problem,
    )


def _held_by(graph: HeapGraph) -> tuple[HeldBy, ...]:
    """The sources of roots that hold anything, by what only they hold directly and all that this retains."""
    targets, tree = graph.holding_roots, graph.tree
    holding = np.flatnonzero(targets != NONE)
    pairs = {(int(graph.roots.source[root]), int(targets[root])) for root in holding}
    holders: dict[int, set[int]] = {}
    for source, target in pairs:
        holders.setdefault(target, set()).add(source)
    found = []
    for source in sorted({source for source, _ in pairs}):
        alone = [each for each, those in holders.items() if those == {source} and tree.dominator[each] == ROOTS]
        objects, retained = (int(column[alone].sum()) for column in (tree.retained_objects, tree.retained_bytes))
        words = int(np.count_nonzero(graph.roots.source[holding] == source))
        found.append(HeldBy(str(graph.roots.sources[source]), words, objects, retained))
    return tuple(sorted(found, key=lambda each: (-each.retained_bytes, each.source)))


def _suspects(named: NamedGraph) -> tuple[Accumulation, ...]:
    """Where what retains much has accumulated."""
    graph = named.graph
    alive = int(graph.sizes_bytes[~graph.is_garbage].sum())
    found = []
    for each in top_retained(named, MOST_SUSPECTS):
        place = accumulation(named, each.object) if each.retained_bytes >= SUSPECT * alive else None
        if place is not None:
            found.append(place)
    return tuple(found)


def objects_of(inspection: Inspection, wanted: str) -> list[int]:
    """The objects that a user means: the one at an address, those of a group or site, or those that a variable or frame holds.

    Args:
        inspection: the heap.
        wanted: an address, decimal or ``0x...``; or the name of a group, of an allocation site or of what has roots, or a part
            of one.

    Raises:
        InvalidAddressError: there is no object at the address, or nothing has such a name.
    """
    named, graph = inspection.named, inspection.graph
    if wanted[:1].isdigit():
        try:
            return [graph.object_at(int(wanted, 0))]
        except ValueError as error:
            raise InvalidAddressError(str(error)) from error
    origins = inspection.snapshot.origins
    # Objects whose types are known are in groups of these, and have sites as well.
    namings = [named.groups] if origins is None else [named.groups, SiteNames(origins).groups(graph)]
    for matches in (lambda name: name == wanted, lambda name: wanted in name):
        sources = [number for number, source in enumerate(graph.roots.sources) if matches(source.name)]
        held = graph.holding_roots[np.isin(graph.roots.source, sources)]
        objects = set(held[held != NONE].tolist())
        for naming in namings:
            groups = [number for number, name in enumerate(naming.names) if name and matches(name)]
            objects.update(np.flatnonzero(np.isin(naming.of, groups)).tolist())
        if objects:
            return sorted(objects, key=lambda each: (-int(graph.tree.retained_bytes[each]), each))
    raise InvalidAddressError(
        f"invalid name {wanted!r}: expected an address, or a group, a root or an allocation site of the heap"
    )
