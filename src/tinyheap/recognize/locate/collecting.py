"""The functions that collect, wherever compilers put the parts of a collection: what scans the globals and frees.

A collection scans the globals and later empties the list of free ranges, to build it anew.  The functions that reach both,
and call none that does, are those that collect: runGC, or alloc where that was inlined.
"""

from __future__ import annotations

from collections.abc import Iterable

from tinyheap.recognize.evidence import Notes
from tinyheap.recognize.locate.region import CollectorCode
from tinyheap.recognize.shapes import callees, tests_word
from tinyheap.recognize.values import Constant, Loaded, linear

_DEPTH = 3
"""Calls within each other that a collection's parts are looked for."""


def find_collectors(code: CollectorCode, scanning: Iterable[int], free_ranges: int) -> tuple[int, ...]:
    """The functions that hold a collection.

    Args:
        code: the collector's functions.
        scanning: those that scan the globals.
        free_ranges: address of the word that holds the list of free ranges.
    """
    emptying = {
        reading.function
        for reading in code.region
        if any(store.address == Constant(free_ranges) and store.value == Constant(0) for store in reading.stores)
    }
    both = _reaching(code, scanning) & _reaching(code, emptying)
    outermost = {code.alloc.function}
    return tuple(sorted(each for each in both if not both & set(callees(code.walker.read(each))) - {each} - outermost))


def find_collection_counter(
    code: CollectorCode, collectors: Iterable[int], queued_address: int | None, notes: Notes
) -> int | None:
    """The word that goes up by one with each collection; None in releases that do not count them.

    Args:
        code: the collector's functions.
        collectors: those that hold a collection.
        queued_address: the byte that says that finalizers are queued; what depends on it is not of the collection.
        notes: where the evidence goes.
    """
    for function in collectors:
        for store in code.walker.read(function).stores:
            if not isinstance(store.address, Constant) or store.width_bytes != 4:
                continue
            if linear(store.value) != (frozenset([(Loaded(store.address, 4), 1)]), 1):
                continue
            if queued_address is None or not tests_word(store.conditions, queued_address, 1):
                notes.found("collections", f"function {function}, which collects, adds 1 to it")
                return store.address.number
    return None


def _reaching(code: CollectorCode, goals: Iterable[int]) -> set[int]:
    """The collector's functions that call one of some, but not by way of alloc."""
    found = set(goals)
    for _ in range(_DEPTH):
        inner = found - {code.alloc.function}
        found |= {caller for function in inner for caller in code.search.callers(function)} & code.functions
    return found
