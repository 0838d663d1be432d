"""The functions that are the collector: what alloc reaches, and what touches the heap's bounds.

All further facts are looked for in their code.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from tinyheap.recognize.codesearch import CodeSearch
from tinyheap.recognize.interpret import Reading, Walker
from tinyheap.recognize.locate.bounds import HeapBounds
from tinyheap.recognize.shapes import callees
from tinyheap.wasm import Module

_REGION_LIMIT = 150
"""Functions read at most on the way down from alloc: a collector has about a dozen, its panics some more."""


@dataclass(frozen=True)
class CollectorCode:
    """A collector's functions, and the means to look further in the module that they are in."""

    search: CodeSearch
    walker: Walker
    bounds: HeapBounds
    alloc: Reading
    region: tuple[Reading, ...]
    """The collector's functions, alloc first."""

    @property
    def module(self) -> Module:
        """The module that the functions are in."""
        return self.search.module

    @cached_property
    def functions(self) -> frozenset[int]:
        """Indices of the collector's functions."""
        return frozenset(reading.function for reading in self.region)


def find_region(alloc: Reading, heap_readings: Iterable[Reading], walker: Walker) -> tuple[Reading, ...]:
    """The functions that alloc reaches by direct calls, breadth first, and those that touch the heap."""
    order = [alloc.function]
    for function in order:
        for callee in callees(walker.read(function)):
            defined = callee >= walker.module.imported_function_count
            if defined and callee not in order and len(order) < _REGION_LIMIT:
                order.append(callee)
    heap = [reading.function for reading in heap_readings]
    return tuple(walker.read(function) for function in dict.fromkeys([*order, *heap]))
