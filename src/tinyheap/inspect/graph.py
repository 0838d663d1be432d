"""The object graph of a heap: objects, the references between them, and the roots, as flat arrays.

::

    memory, facts, roots ──HeapGraph.of──> objects          first block, blocks
                                           references       by holder, in rows: target, offset of the word in its body
                                           roots            what each refers to
                                   then, when asked for:
                                           tree             dominators, retained sizes; shortest paths
                                           incoming         references by target

Objects and references are numbers, in the order of addresses; arrays are indexed by them.  A *reference* is a word of an
object that the collector would follow; how sure it is depends on its holder: a layout says *certain*, and where all words
may be pointers it is *possible*.  What no root reaches is garbage, which the next collection frees.

Sizes are those of whole blocks, headers included, since that is what becomes free.  An object takes less than 100 bytes
here, with two references.
"""

from __future__ import annotations

import warnings
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import numpy as np

from tinyheap.errors import GeometryError, HeapBusyError, HeapError, InvalidAddressError, InvalidTypeError
from tinyheap.heap.blockmap import free_runs_of
from tinyheap.heap.buffers import flat_bytes
from tinyheap.heap.engines import ENGINES, SlowEngineWarning
from tinyheap.inspect import graph_model
from tinyheap.inspect.root_table import RootKind

if TYPE_CHECKING:
    from collections.abc import Callable, Set

    from numpy.typing import NDArray

    from tinyheap.heap.buffers import Buffer
    from tinyheap.inspect._graph import GraphReader
    from tinyheap.inspect.heap_facts import HeapFacts
    from tinyheap.inspect.root_table import RootTable

    _Array = NDArray[np.uint32]

NONE: Final = graph_model.NONE
"""In an array of objects: none."""
ROOTS: Final = graph_model.ROOTS
"""In an array of dominators: no object, but the roots together."""
_MISSING: Final = "the compiled object graph is not there; install a C compiler and reinstall tinyheap"


class Certainty(IntEnum):
    """How sure the references of an object are."""

    POSSIBLE = graph_model.POSSIBLE
    """Every word that lies on the heap counts: the object has no layout."""
    CERTAIN = graph_model.CERTAIN
    """Its layout says which words are pointers."""
    UNREADABLE = graph_model.UNREADABLE
    """Its layout was overwritten; none of its words is followed."""


@dataclass(frozen=True, eq=False, slots=True)
class Tree:
    """What the roots reach: arrays by object.

    Args:
        dominator: the object that every path leads through last; `ROOTS` where that is none, `NONE` for garbage.
        retained_objects: how many would be garbage without the object, itself included; 0 for garbage.
        retained_bytes: of these.
        distance: references from a root; `NONE` for garbage.
        step: the last step of a shortest path: a reference or, counted on from the last of these, a root.
        reached: how many objects are no garbage.
    """

    dominator: NDArray[np.uint32]
    retained_objects: NDArray[np.uint32]
    retained_bytes: NDArray[np.uint64]
    distance: NDArray[np.uint32]
    step: NDArray[np.uint32]
    reached: int


@dataclass(frozen=True, eq=False, slots=True)
class Incoming:
    """References by target: those to object i are ``references[starts[i]:starts[i + 1]]``, in the order of their numbers."""

    starts: NDArray[np.uint32]
    references: NDArray[np.uint32]


@dataclass(frozen=True, eq=False, slots=True)
class Dominated:
    """The dominator tree downward: objects in the order of their dominators, then those that retain most first."""

    objects: NDArray[np.uint32]
    dominators: NDArray[np.uint32]

    def by(self, dominator: int) -> NDArray[np.uint32]:
        """The objects whose immediate dominator is that one, or `ROOTS`; those that retain most first."""
        start, end = (int(np.searchsorted(self.dominators, np.uint32(dominator), side)) for side in ("left", "right"))
        return self.objects[start:end]


@dataclass(frozen=True, eq=False)
class HeapGraph:
    """The objects of a heap, in the order of their addresses, and what refers to what.

    Args:
        memory: the image that was read; its bytes must stay as they are.
        facts: of the heap in it.
        roots: the roots, in columns.
        first: each object's first block.
        blocks: how many each object has.
        certainty: of each object's references, a `Certainty`.
        reference_starts: one more than there are objects; those of object i are
            ``reference_starts[i]..reference_starts[i + 1] - 1``.
        targets: each reference's target.
        offsets: where in its holder's body, in bytes, each reference lies.
        root_targets: what each root refers to, or `NONE`.
        orphan_blocks: blocks that the table says belong to an object that it does not have; 0 in a sound heap.
        engine_name: ``kernel`` or ``model``.
    """

    memory: memoryview
    facts: HeapFacts
    roots: RootTable
    first: NDArray[np.uint32]
    blocks: NDArray[np.uint32]
    certainty: NDArray[np.uint8]
    reference_starts: NDArray[np.uint32]
    targets: NDArray[np.uint32]
    offsets: NDArray[np.uint32]
    root_targets: NDArray[np.uint32]
    orphan_blocks: int
    engine_name: str

    @classmethod
    def of(cls, memory: Buffer, heap: HeapFacts, roots: RootTable, *, engine: str | None = None) -> Self:
        """Read a heap.

        Args:
            memory: an image, which must not change meanwhile; nothing in it is trusted.
            heap: what is known of the heap in it.
            roots: from where a collection would begin.
            engine: ``kernel`` or ``model``; the kernel where it is there, by default.

        Raises:
            GeometryError: the heap does not lie in the image, or has more references than are ever numbered, 2**32.
            HeapBusyError: the memory changed meanwhile.
            HeapError: there is no such engine, or it is not there.
            InvalidTypeError: the image is not a buffer of bytes in one piece.
        """
        name = _chosen(engine)
        image = _bytes_of(memory)
        reader = _ENGINES[name].reader(image, heap)
        first, blocks = (np.zeros(reader.objects, np.uint32) for _ in range(2))
        reader.list_objects(first, blocks)
        starts, certainty = np.zeros(len(first) + 1, np.uint32), np.zeros(len(first), np.uint8)
        count = reader.count_references(first, blocks, starts, certainty)
        if count + len(roots) >= ROOTS:
            raise GeometryError(f"invalid heap with {count} references: expected less than {ROOTS}, roots included")
        targets, offsets = (np.zeros(count, np.uint32) for _ in range(2))
        if reader.list_references(first, blocks, targets, offsets) != count:
            raise HeapBusyError("the memory changed while it was read; inspect a program while it is paused, or a copy")
        root_targets = np.full(len(roots), NONE, np.uint32)
        reader.resolve(np.array(roots.value, np.uint64), root_targets)
        return cls(
            memory=image,
            facts=heap,
            roots=roots,
            first=first,
            blocks=blocks,
            certainty=certainty,
            reference_starts=starts,
            targets=targets,
            offsets=offsets,
            root_targets=root_targets,
            orphan_blocks=reader.orphan_blocks,
            engine_name=name,
        )

    # ---- objects ----------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.first)

    @property
    def addresses(self) -> NDArray[np.uint64]:
        """What the program calls each object."""
        geometry = self.facts.geometry
        start = geometry.start_address + self.facts.shape.body_offset_bytes
        return self.first.astype(np.uint64) * geometry.block_bytes + start

    @property
    def sizes_bytes(self) -> NDArray[np.uint64]:
        """What each object takes, in whole blocks, with its header."""
        return self.blocks.astype(np.uint64) * self.facts.geometry.block_bytes

    def address_of(self, found: int) -> int:
        """What the program calls an object."""
        return self.facts.shape.address_of(self.facts.geometry, int(self.first[found]))

    def body_bytes_of(self, found: int) -> int:
        """How long an object's body is."""
        return self.facts.shape.body_bytes(self.facts.geometry, int(self.blocks[found]))

    def body_of(self, found: int) -> memoryview:
        """The bytes of an object, without its header."""
        at = self.address_of(found) - self.facts.memory_start_address
        return self.memory[at : at + max(self.body_bytes_of(found), 0)]

    @property
    def layout_words(self) -> NDArray[np.uint64]:
        """The layout word of each object; 0 where it has none, and every word may be a pointer."""
        if not self.facts.is_precise:
            return np.zeros(len(self), np.uint64)
        geometry, shape = self.facts.geometry, self.facts.shape
        blocks = self.first.astype(np.uint64) + (self.blocks if shape.layout_offset_bytes < 0 else np.uint64(0))
        start = geometry.start_address - self.facts.memory_start_address + shape.layout_offset_bytes
        at = (blocks * geometry.block_bytes).astype(np.int64) + start
        image = np.frombuffer(self.memory, np.uint8)
        words = np.zeros(len(self), np.uint64)
        for index in range(geometry.word_bytes):
            words |= image[at + index].astype(np.uint64) << np.uint64(8 * index)
        return words

    @cached_property
    def shapes(self) -> NDArray[np.uint8]:
        """What the bytes of each object look like, a `Shape`."""
        shapes = np.zeros(len(self), np.uint8)
        reader = _ENGINES[self.engine_name].reader(self.memory, self.facts)
        reader.classify(self.first, self.blocks, self.reference_starts, shapes)
        return shapes

    def object_at(self, address: int) -> int:
        """The object that an address lies in, header included.

        Raises:
            InvalidAddressError: it lies in none.
        """
        geometry = self.facts.geometry
        block = geometry.block_of(address)
        index = int(np.searchsorted(self.first, block, side="right")) - 1 if geometry.is_on_heap(address) else -1
        if index < 0 or block >= int(self.first[index]) + int(self.blocks[index]):
            raise InvalidAddressError(
                f"{address:#x} lies in no object of the heap, {geometry.start_address:#x}..{geometry.table_address:#x}"
            )
        return index

    @cached_property
    def orphans(self) -> NDArray[np.uint32]:
        """Runs of blocks that are neither free nor an object's, in rows: first block and the one past it."""
        geometry = self.facts.geometry
        if self.orphan_blocks == 0:
            return np.zeros((0, 2), np.uint32)
        at = geometry.table_address - self.facts.memory_start_address
        table = self.memory[at : at + geometry.table_bytes].tobytes()
        free = np.array(free_runs_of(table, self.facts.collector, geometry.end_block), np.uint32).reshape(-1, 2)
        known = np.concatenate((free, np.stack((self.first, self.blocks), axis=1)))
        known = known[np.argsort(known[:, 0])]
        edges = np.concatenate(([0], (np.cumsum(known, axis=1, dtype=np.uint32)).ravel(), [geometry.end_block]))
        gaps: NDArray[np.uint32] = edges.reshape(-1, 2).astype(np.uint32)
        return gaps[gaps[:, 0] < gaps[:, 1]]

    # ---- references and roots ---------------------------------------------------------------------------------------

    def references_of(self, found: int) -> range:
        """The references that an object holds."""
        return range(int(self.reference_starts[found]), int(self.reference_starts[found + 1]))

    def holder_of(self, reference: int) -> int:
        """The object that holds a reference."""
        return int(np.searchsorted(self.reference_starts, reference, side="right")) - 1

    @property
    def holders(self) -> NDArray[np.uint32]:
        """The object that holds each reference."""
        return np.repeat(np.arange(len(self), dtype=np.uint32), np.diff(self.reference_starts))

    @cached_property
    def incoming(self) -> Incoming:
        """The references by their targets."""
        starts = np.zeros(len(self) + 1, np.uint32)
        np.cumsum(np.bincount(self.targets, minlength=len(self)), out=starts[1:])
        return Incoming(starts, np.argsort(self.targets, kind="stable").astype(np.uint32))

    def references_to(self, found: int) -> list[int]:
        """The references that lead to an object."""
        incoming = self.incoming
        row: list[int] = incoming.references[incoming.starts[found] : incoming.starts[found + 1]].tolist()
        return row

    @cached_property
    def holding_roots(self) -> NDArray[np.uint32]:
        """What each root refers to, or `NONE`; without finalizers of objects that something else keeps anyway."""
        late = self._are_of({RootKind.FINALIZER}) & (self.root_targets != NONE)
        if not late.any():
            return self.root_targets
        reached = self.reached_from(set(RootKind) - {RootKind.FINALIZER})
        return np.where(late & reached[np.where(late, self.root_targets, 0)], np.uint32(NONE), self.root_targets)

    def _are_of(self, kinds: Set[RootKind]) -> NDArray[np.bool_]:
        """Of each root, whether it is of one of some kinds."""
        return np.array([source.kind in kinds for source in self.roots.sources], bool)[self.roots.source]

    def reached_from(self, kinds: Set[RootKind]) -> NDArray[np.bool_]:
        """Of each object, whether roots of some kinds lead to it."""
        roots = np.where(self._are_of(kinds), self.root_targets, np.uint32(NONE))
        return np.not_equal(self._shortest(roots)[0], NONE)

    def reached_without(self, references: NDArray[np.bool_], roots: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Of each object, whether roots lead to it without some references and some roots.

        Args:
            references: of each one, whether it does not count.
            roots: likewise.
        """
        # A reference of an object to itself leads nowhere.
        targets = np.where(references, self.holders, self.targets).astype(np.uint32)
        starts = np.where(roots, np.uint32(NONE), self.holding_roots).astype(np.uint32)
        return np.not_equal(self._shortest(starts, targets)[0], NONE)

    def roots_to(self, found: int) -> list[int]:
        """The roots that refer to an object."""
        row: list[int] = np.flatnonzero(self.root_targets == found).tolist()
        return row

    # ---- what is reached --------------------------------------------------------------------------------------------

    @cached_property
    def tree(self) -> Tree:
        """What the roots reach: dominators, retained sizes and shortest paths."""
        dominator, retained_objects = (np.zeros(len(self), np.uint32) for _ in range(2))
        retained_blocks = np.zeros(len(self), np.uint64)
        reached = _ENGINES[self.engine_name].dominate(
            self.reference_starts,
            self.targets,
            self.holding_roots,
            self.blocks,
            dominator,
            retained_objects,
            retained_blocks,
        )
        retained_blocks *= np.uint64(self.facts.geometry.block_bytes)
        return Tree(dominator, retained_objects, retained_blocks, *self._shortest(self.holding_roots), reached)

    def _shortest(
        self, roots: NDArray[np.uint32], targets: NDArray[np.uint32] | None = None
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        targets = self.targets if targets is None else targets
        distance, step = (np.zeros(len(self), np.uint32) for _ in range(2))
        _ENGINES[self.engine_name].shortest(self.reference_starts, targets, roots, distance, step)
        return distance, step

    @cached_property
    def dominated(self) -> Dominated:
        """The objects by what dominates them."""
        dominator, retained = self.tree.dominator, self.tree.retained_bytes
        order = np.lexsort((-retained.astype(np.int64), dominator)).astype(np.uint32)
        return Dominated(order, dominator[order])

    def outermost(self, groups: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Of each object, whether it is reached, and no object of its own group dominates it.

        Args:
            groups: of each object, any number.
        """
        dominated, flags = self.dominated, np.zeros(len(self), np.uint8)
        numbers = np.unique(groups, return_inverse=True)[1].astype(np.uint32)
        starts = np.searchsorted(dominated.dominators, np.arange(len(self), dtype=np.uint32)).astype(np.uint32)
        ends = [np.searchsorted(dominated.dominators, np.uint32(ROOTS), side) for side in ("left", "right")]
        _ENGINES[self.engine_name].outermost(
            np.append(starts, ends).astype(np.uint32), dominated.objects, numbers, flags
        )
        return flags.astype(bool)

    def disjoint(self, found: int, firsts: Set[int], source: int, most: int) -> list[list[int]]:
        """Up to so many paths to an object that share no other: the objects on each, itself included; the shortest first.

        Args:
            found: where they end.
            firsts: where they may begin, without ``found``.
            source: an object that none leads through, or `NONE`.
            most: how many at most.
        """
        flags = np.where(self.is_garbage, 0, graph_model.REACHED).astype(np.uint8)
        flags[list(firsts)] |= graph_model.FIRST
        before = np.full(len(self), NONE, np.uint32)
        holders = self.holders[self.incoming.references]
        _ENGINES[self.engine_name].disjoint(self.incoming.starts, holders, flags, before, found, source, most)
        paths = []
        for last in np.flatnonzero(flags & graph_model.LAST).tolist():
            path = [found, last]
            while before[path[-1]] != ROOTS:
                path.append(int(before[path[-1]]))
            paths.append(path[::-1])
        return sorted(paths, key=lambda path: (len(path), path))

    @property
    def is_garbage(self) -> NDArray[np.bool_]:
        """Of each object, whether the next collection frees it."""
        return np.equal(self.tree.dominator, NONE)


def _bytes_of(memory: Buffer) -> memoryview:
    with suppress(TypeError):
        view = memoryview(memory)
        if view.c_contiguous:
            return flat_bytes(view)
    raise InvalidTypeError(f"a memory image is a buffer of bytes in one piece, not this {type(memory).__name__}")


class _Engine(NamedTuple):
    """What reads memory and finds what is reached: compiled, or the model."""

    reader: type[GraphReader | graph_model.GraphReader]
    shortest: Callable[[_Array, _Array, _Array, _Array, _Array], int]
    dominate: Callable[[_Array, _Array, _Array, _Array, _Array, _Array, NDArray[np.uint64]], int]
    outermost: Callable[[_Array, _Array, _Array, NDArray[np.uint8]], None]
    disjoint: Callable[[_Array, _Array, NDArray[np.uint8], _Array, int, int, int], int]


def _engines() -> dict[str, _Engine]:
    """Those that are there."""
    model = graph_model
    engines = {
        "model": _Engine(model.GraphReader, model.shortest, model.dominate, model.outermost, model.disjoint),
    }
    with suppress(ImportError):
        from tinyheap.inspect import _graph, _reach

        kernel = _Engine(_graph.GraphReader, _reach.shortest, _reach.dominate, _reach.outermost, _reach.disjoint)
        engines["kernel"] = kernel
    return engines


_ENGINES: Final = _engines()


def _chosen(name: str | None) -> str:
    """The name of an engine that is there; without one, of the kernel, or of the model where there is no kernel."""
    if name not in (None, *ENGINES):
        raise HeapError(f"invalid engine {name!r}: expected {' or '.join(ENGINES)}")
    if (name or "kernel") in _ENGINES:
        return name or "kernel"
    if name == "kernel":
        raise HeapError(_MISSING)
    _warn_once()
    return "model"


@lru_cache
def _warn_once() -> None:
    warnings.warn(
        f"{_MISSING}. The model serves: exact, and some hundred times slower.", SlowEngineWarning, stacklevel=4
    )
