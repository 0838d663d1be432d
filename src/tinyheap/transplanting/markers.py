"""Which of a best-fit collector's functions mark, and whether a kernel may run ahead of them (`kernel/best_fit.c`).

The compiler decides what becomes a function of its own.  Marking can be run ahead of where the scan of a range is one, and, in
precise collectors, the scan by a mask another, with a frame of the same size, so that both leave their variables in one place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tinyheap.errors import UnsupportedGuestError
from tinyheap.recognize.facts import StackScan
from tinyheap.recognize.identify import walker_of
from tinyheap.recognize.locate.scanning import total
from tinyheap.recognize.locate.stack import frames
from tinyheap.recognize.shapes import callees, constant_addresses
from tinyheap.recognize.values import Constant

if TYPE_CHECKING:
    from tinyheap.recognize.facts import BestFitHeap
    from tinyheap.recognize.interpret import Reading, Walker
    from tinyheap.wasm import Module

_TWO_WORDS: Final = (("i32", "i32"), ())
_ONE_WORD: Final = (("i32",), ())
_DEEPEST: Final = 150
"""Functions that are looked at on the way down from the allocator."""


@dataclass(frozen=True)
class Markers:
    """The functions of a collector that mark."""

    range_scan: int
    """Marks from all words of a range, given its address and how many bytes it has; the globals, for one."""
    mask_scan: int | None
    """Marks from some words at an address, given a mask of them; None where objects have no layout."""
    root_marker: int | None
    """Marks from one word; None where that is part of the scans."""

    @property
    def scans(self) -> tuple[int, ...]:
        """The functions that scan."""
        return (self.range_scan,) if self.mask_scan is None else (self.range_scan, self.mask_scan)


def find_markers(module: Module, heap: BestFitHeap) -> Markers:
    """The functions of a module that mark.

    Raises:
        UnsupportedGuestError: The compiler has put them together otherwise than a kernel could run ahead of.
    """
    return _Search(module, heap).markers()


def find_growing(module: Module, heap: BestFitHeap) -> tuple[int, ...]:
    """The functions of a module that make memory larger for its heap, and then end the heap where memory does.

    Raises:
        UnsupportedGuestError: There are none, or what they do depends on how much larger it is made.
    """
    found = tuple(
        reading.function
        for reading in _reached(walker_of(module), _roots(heap))
        if reading.grows and heap.heap_end_address in constant_addresses(reading.stores)
    )
    if not found:
        raise UnsupportedGuestError("how the heap of this module grows was not recognized: expected no growth policy")
    if any(next(module.body(function).find("memory.copy"), None) is None for function in found):
        raise UnsupportedGuestError(
            "this module moves its block table without memory.copy, which may need as much room as the original's growth "
            "makes: expected no growth policy"
        )
    return found


class _Search:
    def __init__(self, module: Module, heap: BestFitHeap) -> None:
        self._module, self._heap, self._walker = module, heap, walker_of(module)
        self._region = _reached(self._walker, _roots(heap))

    def markers(self) -> Markers:
        if self._heap.roots.stack_scan in (StackScan.CHAIN, StackScan.UNKNOWN):
            raise _refused("the roots on its stack are found in a way that is not known of such modules")
        range_scan = self._range_scan()
        root_marker = self._root_marker(range_scan)
        mask_scan = self._mask_scan(range_scan, root_marker) if self._heap.is_precise else None
        scans = [range_scan] if mask_scan is None else [range_scan, mask_scan]
        sizes = {self._frame_bytes(scan) for scan in scans}
        if len(sizes) > 1:
            raise _refused(f"functions {scans[0]} and {scans[1]}, which scan, have frames of different sizes")
        if root_marker is not None:
            self._check_marker(root_marker)
        return Markers(range_scan, mask_scan, root_marker)

    def _range_scan(self) -> int:
        roots = self._heap.roots
        wanted = Constant(roots.globals_start_address), Constant(roots.globals_end_address)
        found = {
            call.function
            for reading in self._region
            for call in reading.calls
            if len(call.arguments) == len(_TWO_WORDS[0]) and (call.arguments[0], total(*call.arguments)) == wanted
        }
        if len(found) != 1:
            raise _refused("no function of its own scans the globals")
        (function,) = found
        if function is None or not self._is(function, _TWO_WORDS):
            raise _refused("no function of its own scans the globals")
        return function

    def _root_marker(self, range_scan: int) -> int | None:
        """The function that a scan calls for each word."""
        called = callees(self._walker.read(range_scan))
        found = [function for function in called if self._is(function, _ONE_WORD) and self._pushes(function)]
        if found:
            return found[0]
        if not self._pushes(range_scan):
            raise _refused(f"function {range_scan}, which scans, was not seen to mark")
        return None

    def _mask_scan(self, range_scan: int, root_marker: int | None) -> int:
        found = [
            reading.function
            for reading in self._region
            if reading.function not in (range_scan, root_marker, self._heap.alloc_function)
            and self._is(reading.function, _TWO_WORDS)
            and (self._pushes(reading.function) if root_marker is None else root_marker in callees(reading))
        ]
        if len(found) != 1:
            raise _refused("no function of its own scans by a mask")
        return found[0]

    def _check_marker(self, function: int) -> None:
        """Refuse what leaves more on the stack than of the word that it was called for last."""
        if any(self._frame_bytes(called) for called in callees(self._walker.read(function)) if self._is_quiet(called)):
            raise _refused(f"function {function}, which marks, calls others that have frames")

    def _is_quiet(self, function: int) -> bool:
        """Whether a function may return: panics do not."""
        return bool(self._module.function_type(function).results)

    def _is(self, function: int, kind: tuple[tuple[str, ...], tuple[str, ...]]) -> bool:
        declared = self._module.function_type(function)
        return (declared.parameters, declared.results) == kind

    def _pushes(self, function: int) -> bool:
        """Whether a function puts objects on the list of those to be scanned."""
        head = Constant(self._heap.scan_list_address)
        return any(store.address == head for store in self._walker.read(function).stores)

    def _frame_bytes(self, function: int) -> int:
        pointer = self._heap.roots.stack_pointer_global
        return max((size for index, size in frames(self._walker.read(function)) if index == pointer), default=0)


def _roots(heap: BestFitHeap) -> tuple[int, ...]:
    """What all of a collector is reached from."""
    return (heap.alloc_function, *(redirect.function for redirect in heap.redirects))


def _reached(walker: Walker, roots: tuple[int, ...]) -> tuple[Reading, ...]:
    order = list(dict.fromkeys(roots))
    for function in order:
        for called in callees(walker.read(function)):
            if called >= walker.module.imported_function_count and called not in order and len(order) < _DEEPEST:
                order.append(called)
    return tuple(map(walker.read, order))


def _refused(why: str) -> UnsupportedGuestError:
    return UnsupportedGuestError(
        f"the collector of this module cannot be replaced in the module as its compiler put it together: {why}; it can be "
        "replaced while it runs (`tinyheap run`)"
    )
