"""Why there is no room: the free runs between objects, and what cuts them.

::

    |  free  | A |  free  | B | C |   free   |        a request of seven blocks does not fit
             '---'                                     one object ends the first hole: A
             |<------- the window ------>|             without A there are as many blocks as the two holes and A have

A *window* is a stretch of blocks that is long enough for a request.  Where all objects in it can be moved elsewhere or let
go of, it becomes room.  Blocks of no object that are not free (a table that was overwritten) count as an object there that
cannot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from tinyheap.errors import InvalidSizeError
from tinyheap.heap.arguments import shown, whole_number

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from tinyheap.inspect.graph import HeapGraph
    from tinyheap.inspect.naming import NamedGraph

MOST_WINDOW_OBJECTS: Final = 1000
"""So many objects of a window are listed."""


@dataclass(frozen=True, slots=True)
class RunLengths:
    """Free runs of so many blocks: from ``least_blocks`` up to less than twice that."""

    least_blocks: int
    runs: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Cutter:
    """Objects of one group that stand at the end of a free run.

    Args:
        group: their name.
        objects: how many there are.
        size_bytes: of these.
        free_bytes: of the runs that they end.
        garbage: how many of them the next collection frees.
    """

    group: str
    objects: int
    size_bytes: int
    free_bytes: int
    garbage: int


@dataclass(frozen=True, slots=True)
class Window:
    """The fewest objects that must go for a request to fit, as they lie side by side.

    Args:
        address: where the room would begin.
        room_bytes: how much there would be.
        objects: those that must go, by number, the first ones of many.
        count: how many.
        size_bytes: of these: what has to be moved.
        groups: their names, with how many there are of each, the most first.
    """

    address: int
    room_bytes: int
    objects: tuple[int, ...]
    count: int
    size_bytes: int
    groups: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Holes:
    """The free runs of a heap, for a request.

    Args:
        request_bytes: what was asked for.
        needed_bytes: what that takes, in whole blocks, with a header.
        free_bytes: of all runs.
        largest_bytes: of the longest run.
        garbage_bytes: what the next collection frees.
        largest_after_bytes: the longest run there will be after it.
        lengths: the runs by length, ascending.
        cutters: what stands at their ends, by the free bytes that it ends.
        window: the fewest objects that must go, if the request does not fit; None if it fits, or where what cannot be moved
            leaves no window.
    """

    request_bytes: int
    needed_bytes: int
    free_bytes: int
    largest_bytes: int
    garbage_bytes: int
    largest_after_bytes: int
    lengths: tuple[RunLengths, ...]
    cutters: tuple[Cutter, ...]
    window: Window | None

    @property
    def fits(self) -> bool:
        """Whether there is a run that is long enough."""
        return self.largest_bytes >= self.needed_bytes


def holes_for(named: NamedGraph, request_bytes: int, pinned: ArrayLike = ()) -> Holes:
    """The free runs, and what it takes to make room for an object.

    Args:
        named: the heap.
        request_bytes: the object's size.
        pinned: the objects that cannot be moved or let go of, by number.

    Raises:
        InvalidSizeError: there is no object of that size.
        InvalidTypeError: it is not a whole number.
    """
    graph, geometry = named.graph, named.graph.facts.geometry
    size = whole_number("size", request_bytes)
    if not 0 < size <= geometry.address_space_bytes:
        raise InvalidSizeError(f"invalid size {shown(size)}: expected 1 to {geometry.address_space_bytes} bytes")
    needed = graph.facts.shape.blocks_for(geometry, size)
    starts, lengths = _free_runs(graph, np.ones(len(graph), bool))
    largest = int(lengths.max(initial=0))
    after = int(_free_runs(graph, ~graph.is_garbage)[1].max(initial=0))
    return Holes(
        request_bytes=size,
        needed_bytes=needed * geometry.block_bytes,
        free_bytes=int(lengths.sum()) * geometry.block_bytes,
        largest_bytes=largest * geometry.block_bytes,
        garbage_bytes=int(graph.sizes_bytes[graph.is_garbage].sum()),
        largest_after_bytes=after * geometry.block_bytes,
        lengths=_by_length(lengths, geometry.block_bytes),
        cutters=_cutters(named, starts + lengths, lengths),
        window=None if largest >= needed else _window(named, needed, pinned),
    )


def _free_runs(graph: HeapGraph, stay: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the maximal runs begin of blocks that no object has that stays, and how long they are."""
    firsts, ends = _extents(graph, stay)
    starts = np.concatenate(([0], ends))
    lengths = np.concatenate((firsts, [graph.facts.geometry.end_block])) - starts
    return starts[lengths > 0], lengths[lengths > 0]


def _extents(graph: HeapGraph, stay: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First blocks and ends of the objects that stay, and of the blocks that belong to none, by address."""
    firsts, lengths = graph.first[stay].astype(np.int64), graph.blocks[stay].astype(np.int64)
    orphans = graph.orphans.astype(np.int64)
    firsts = np.concatenate((firsts, orphans[:, 0]))
    ends = np.concatenate((firsts[: len(lengths)] + lengths, orphans[:, 1]))
    order = np.argsort(firsts, kind="stable")
    return firsts[order], ends[order]


def _by_length(lengths: NDArray[np.int64], block_bytes: int) -> tuple[RunLengths, ...]:
    powers = np.frexp(lengths.astype(float))[1] - 1
    return tuple(
        RunLengths(
            1 << power, int(np.count_nonzero(powers == power)), int(lengths[powers == power].sum()) * block_bytes
        )
        for power in np.unique(powers).tolist()
    )


def _cutters(named: NamedGraph, ends: NDArray[np.int64], lengths: NDArray[np.int64]) -> tuple[Cutter, ...]:
    graph, block_bytes = named.graph, named.graph.facts.geometry.block_bytes
    # The object that begins where a run ends, if one does.
    at = np.searchsorted(graph.first, ends)
    begins = at < len(graph)
    begins[begins] = graph.first[at[begins]] == ends[begins]
    objects, free = at[begins], lengths[begins]
    garbage, sizes, of = graph.is_garbage, graph.sizes_bytes, named.groups.of[objects]
    found = [
        Cutter(
            group=named.groups.names[group],
            objects=int(np.count_nonzero(of == group)),
            size_bytes=int(sizes[objects[of == group]].sum()),
            free_bytes=int(free[of == group].sum()) * block_bytes,
            garbage=int(np.count_nonzero(garbage[objects[of == group]])),
        )
        for group in np.unique(of).tolist()
    ]
    return tuple(sorted(found, key=lambda each: (-each.free_bytes, each.group)))


def _window(named: NamedGraph, needed: int, pinned: ArrayLike) -> Window | None:
    """The window with the fewest objects; of several the one with the fewest bytes in them, then the lowest."""
    graph = named.graph
    geometry = graph.facts.geometry
    movable = np.ones(len(graph), bool)
    movable[np.asarray(pinned, np.int64)] = False
    # Windows lie between what stays; each begins behind an object, or behind what stays.
    fixed_firsts, fixed_ends = _extents(graph, ~movable)
    firsts, ends = graph.first[movable].astype(np.int64), (graph.first + graph.blocks)[movable].astype(np.int64)
    begin = np.unique(np.concatenate(([0], ends, fixed_ends)))
    limit = np.append(fixed_firsts, geometry.end_block)[np.searchsorted(fixed_firsts, begin)]
    fits = begin + needed <= limit
    begin, limit = begin[fits], limit[fits]
    if len(begin) == 0:
        return None
    from_object, to_object = np.searchsorted(firsts, begin), np.searchsorted(firsts, begin + needed)
    blocks_before = np.concatenate(([0], np.cumsum(ends - firsts)))
    moved = blocks_before[to_object] - blocks_before[from_object]
    best = int(np.lexsort((begin, moved, to_object - from_object))[0])
    objects = np.flatnonzero(movable)[from_object[best] : to_object[best]]
    room_end = min(int(np.append(firsts, geometry.end_block)[to_object[best]]), int(limit[best]))
    numbers, counts = np.unique(named.groups.of[objects], return_counts=True)
    groups = sorted(zip(counts.tolist(), numbers.tolist(), strict=True), key=lambda each: (-each[0], each[1]))
    return Window(
        address=geometry.address_of(int(begin[best])),
        room_bytes=(room_end - int(begin[best])) * geometry.block_bytes,
        objects=tuple(objects[:MOST_WINDOW_OBJECTS].tolist()),
        count=len(objects),
        size_bytes=int(moved[best]) * geometry.block_bytes,
        groups=tuple((named.groups.names[number], count) for count, number in groups),
    )
