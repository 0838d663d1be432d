"""Modules that tinyheap has put its own collector into: the custom section that says so, and what it tells of the heap.

The section holds the facts of the heap as they were recognized before.  They hold for the changed module, too: no function,
global or variable moves, and what allocated and collected before does so now, only faster.  Payload: see `encode_tersely`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tinyheap.recognize.facts import BestFitHeap, BlockHeap
from tinyheap.recognize.facts_json import decode_terse, encode_tersely

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinyheap.wasm import Module

SECTION: Final = "tinyheap.transplant"


@dataclass(frozen=True)
class Transplanted:
    """What a transplanted module says of itself."""

    version: str
    """Of the tinyheap that did it."""
    heap: BlockHeap | None = None
    """Of TinyGo up to 0.39."""
    best_fit: BestFitHeap | None = None
    """Of later ones.  One of the two is there."""


def encode_transplanted(transplanted: Transplanted) -> bytes:
    """The payload of the section."""
    return encode_tersely(transplanted)


def transplanted(module: Module) -> Transplanted | None:
    """What a module says of a transplant; None where it has none, or what it says cannot be true of it."""
    section = module.custom_section(SECTION)
    if section is None:
        return None
    try:
        found = decode_terse(Transplanted, section.payload)
    except ValueError:
        return None
    heap = found.heap or found.best_fit
    return found if heap is not None and _fits(module, heap) else None


def _fits(module: Module, heap: BlockHeap | BestFitHeap) -> bool:
    """Whether a module has the functions and the global that the facts of a heap speak of."""
    functions = {heap.alloc_function, *(redirect.function for redirect in heap.redirects)}
    first, count = module.imported_function_count, len(module.functions)
    stack_pointer = heap.roots.stack_pointer_global
    return (
        all(first <= function < count for function in functions)
        and module.function_type(heap.alloc_function).results == ("i32",)
        and 0 <= stack_pointer < len(module.globals)
        and module.globals[stack_pointer].type.value == "i32"
        and all(0 <= address < 1 << 32 for address in _addresses(heap))
    )


def _addresses(heap: BlockHeap | BestFitHeap) -> Iterator[int]:
    yield from heap.state_addresses
    own = heap.mark_stack if isinstance(heap, BlockHeap) else heap.finalizers
    for facts in (heap, heap.counters, heap.roots, own):
        for name, value in vars(facts).items() if facts is not None else ():
            if name.endswith("_address") and value is not None:
                yield value
