"""Names of objects and words by their types, where debug information tells them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tinyheap.inspect.decoding import untyped, word_name
from tinyheap.inspect.heap_memory import HeapMemory
from tinyheap.inspect.naming import UNNAMED, Groups
from tinyheap.inspect.typed import TypedHeap

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinyheap.inspect.graph import HeapGraph
    from tinyheap.inspect.roots import Span
    from tinyheap.symbols.types import Types
    from tinyheap.wasm.module import Module


class TypeNames:
    """Names objects by their types.

    Args:
        typed: the types of the graph's objects.
    """

    def __init__(self, typed: TypedHeap) -> None:
        self._typed = typed

    def groups(self, graph: HeapGraph) -> Groups:
        """The objects by type; those of unknown types have no name."""
        typed, numbers = self._typed, {UNNAMED: 0}
        named = np.flatnonzero(typed.are_named)
        # All objects with the same claim but for its length have the same name, unless one has one value only.
        claims = typed.numbers[named].astype(np.int64) << 1 | (typed.lengths[named] == 1)
        _, examples, inverse = np.unique(claims, return_index=True, return_inverse=True)
        of_claims = np.zeros(len(examples), np.uint32)
        for claim in np.argsort(examples).tolist():
            name = typed.name(int(named[examples[claim]])) or UNNAMED
            of_claims[claim] = numbers.setdefault(name, len(numbers))
        of = np.zeros(len(graph), np.uint32)
        of[named] = of_claims[inverse]
        return Groups(of, tuple(numbers))

    def word(self, graph: HeapGraph, holder: int, offset: int) -> str:
        """What a program would write for it."""
        name = word_name(self._typed, holder, offset)
        return UNNAMED if untyped(name) else name


def typed_heap(
    graph: HeapGraph, types: Types, module: Module | None, variables: Callable[[], Sequence[Span]]
) -> TypedHeap | None:
    """The types of a graph's objects; None where nothing tells them.

    Args:
        graph: of all of linear memory.
        types: as debug information tells.
        module: that ran.
        variables: names for memory outside of the heap, without overlaps.
    """
    if not types:
        return None
    overheads = graph.facts.shape.header_bytes
    sizes = graph.sizes_bytes.astype(np.int64) - overheads
    functions = {} if module is None else functions_in_table(module)
    memory = HeapMemory(graph.memory, graph.addresses.astype(np.int64), sizes, functions.get)
    return TypedHeap(memory, types, lambda address: _name_at(variables(), address))


def functions_in_table(module: Module) -> dict[int, str]:
    """The names of functions by their numbers in the first table, as far as both are known."""
    found: dict[int, str] = {}
    for segment in module.elements:
        first = None if segment.offset is None or segment.table else segment.offset.constant
        if isinstance(first, int):
            for number, function in enumerate(segment.functions or (), first):
                name = module.function_name(function)
                if name is not None:
                    found[number] = name
    return found


def _name_at(spans: Sequence[Span], address: int) -> str | None:
    return next((each.name for each in spans if each.start_address <= address < each.end_address), None)
