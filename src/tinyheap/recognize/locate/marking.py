"""Where the mark stack lies while roots are marked, and while all objects are scanned again after an overflow.

The array is in the frame of the function that marks, and that frame lies below those of the functions that called it,
down from alloc: so a chain of calls says how far below alloc's stack pointer the array is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tinyheap.errors import UnsupportedGuestError
from tinyheap.recognize.evidence import Notes
from tinyheap.recognize.facts import Frame, MarkStack
from tinyheap.recognize.locate.mark_array import MarkArray, frame_stores, mark_array
from tinyheap.recognize.locate.region import CollectorCode
from tinyheap.recognize.locate.stack import frames
from tinyheap.recognize.shapes import callees


@dataclass(frozen=True)
class MarkArrays:
    """The functions whose frames hold a mark stack."""

    code: CollectorCode
    stack_pointer: int
    by_function: Mapping[int, MarkArray]

    @property
    def flags(self) -> set[int]:
        """Addresses of the bytes that say that a mark stack overflowed."""
        return {array.flag for array in self.by_function.values()}

    @property
    def first(self) -> int:
        """The first function that has one."""
        return min(self.by_function)

    def frame_bytes(self, function: int) -> int:
        """What a function takes of the stack; a leaf may use what is below without saying so."""
        sizes = [size for index, size in frames(self.code.walker.read(function)) if index == self.stack_pointer]
        array = self.by_function.get(function)
        return max([*sizes, array.below if array else 0], default=0)

    def bytes_above(self, chain: tuple[int, ...]) -> int:
        """What all functions of a chain of calls but the last take of the stack."""
        return sum(map(self.frame_bytes, chain[:-1]))

    def chain_frames(self, chain: tuple[int, ...]) -> tuple[Frame, ...]:
        """The frames of a chain of calls."""
        return tuple(map(self._frame, chain))

    def _frame(self, function: int) -> Frame:
        reading, size_bytes = self.code.walker.read(function), self.frame_bytes(function)
        stores = frame_stores(reading, self.stack_pointer, self.by_function.get(function), size_bytes)
        return Frame(function, size_bytes, stores)


def find_mark_arrays(code: CollectorCode, stack_pointer: int) -> MarkArrays:
    """The mark stacks in the frames of the collector's functions.

    Raises:
        UnsupportedGuestError: There is none.
    """
    found = ((reading.function, mark_array(reading, stack_pointer)) for reading in code.region)
    arrays = {function: array for function, array in found if array is not None}
    if not arrays:
        raise UnsupportedGuestError("alloc was found, but not the function that marks from a root")
    return MarkArrays(code, stack_pointer, arrays)


def find_mark_stack(arrays: MarkArrays, mark_roots: int | None, notes: Notes) -> MarkStack:
    """The one mark stack that all arrays agree on.

    Args:
        arrays: the mark stacks in the frames of functions.
        mark_roots: the function markRoots, unless it was inlined.
        notes: where the evidence goes.

    Raises:
        UnsupportedGuestError: No calls lead from alloc to a function that has one.
    """
    first, candidates = arrays.by_function[arrays.first], arrays.by_function
    frame_bytes = arrays.frame_bytes(arrays.first)
    notes.found("mark_stack", f"block numbers are pushed onto an array of {first.entries} words")
    notes.check(
        "mark_stack",
        all((array.entries, array.flag) == (first.entries, first.flag) for array in candidates.values())
        and 4 * first.entries <= frame_bytes,
        f"the frame of {frame_bytes} bytes holds it",
    )
    if any(array.below != array.last_below for array in candidates.values()):
        notes.doubt("mark_stack", "one frame holds several such arrays")
    root_chain, rescan_chain = _root_chain(arrays, mark_roots), _path(arrays, avoiding=mark_roots)
    if not root_chain or not rescan_chain:
        raise UnsupportedGuestError("no chain of calls from alloc to the function that marks was found")
    return MarkStack(
        entries=first.entries,
        overflow_flag_address=first.flag,
        root_chain=arrays.chain_frames(root_chain),
        root_bytes_below_alloc=arrays.bytes_above(root_chain) + candidates[root_chain[-1]].below,
        rescan_chain=arrays.chain_frames(rescan_chain),
        rescan_bytes_below_alloc=arrays.bytes_above(rescan_chain) + candidates[rescan_chain[-1]].last_below,
        zeroed=all(array.zeroed for array in candidates.values()),
    )


def _root_chain(arrays: MarkArrays, mark_roots: int | None) -> tuple[int, ...]:
    """The shortest chain of calls from alloc through markRoots to a function that marks."""
    if mark_roots is None:
        return _path(arrays)
    first = _path(arrays, ends={mark_roots})
    last = _path(arrays, start=mark_roots)
    return (*first, *last[1:]) if first and last else ()


def _path(
    arrays: MarkArrays, start: int | None = None, ends: set[int] | None = None, avoiding: int | None = None
) -> tuple[int, ...]:
    """The shortest chain of calls within the collector, from alloc to a function that marks unless said otherwise."""
    code = arrays.code
    start, ends = code.alloc.function if start is None else start, ends or set(arrays.by_function)
    paths: dict[int, tuple[int, ...]] = {start: (start,)}
    order = [start]
    for function in order:
        if function in ends:
            return paths[function]
        for callee in callees(code.walker.read(function)):
            if callee in code.functions and callee not in paths and callee != avoiding:
                paths[callee] = (*paths[function], callee)
                order.append(callee)
    return ()
