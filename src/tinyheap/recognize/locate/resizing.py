"""Finding a guest's ``realloc``, which takes an object to be as large as its blocks.

What lies between an object's requested size and the end of its last block is the object's own for TinyGo's ``realloc``:
where the new size fits it returns the same pointer.  So whoever keeps data there must replace ``realloc``, too, and whoever
keeps the block table otherwise than TinyGo's collector did.  Modules
whose ``malloc`` family makes new objects only (all of TinyGo's wasm targets from 0.27 on) have none.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from tinyheap.recognize.codesearch import CodeSearch
from tinyheap.recognize.facts import BestFitHeap, BlockHeap, Redirect, Role
from tinyheap.recognize.interpret import Walker
from tinyheap.recognize.locate.replacing import public_functions
from tinyheap.recognize.values import CallResult, Parameter, sources
from tinyheap.wasm import Module

Heap = TypeVar("Heap", bound=BlockHeap | BestFitHeap)


def with_realloc(module: Module, heap: Heap) -> Heap:
    """The heap's facts with its ``realloc`` functions, if there are any, last among what must become the host's.

    Args:
        module: the module that the facts are of, as it was read.
    """
    walker, search = Walker(module), CodeSearch(module)
    # Where little is inlined, another function finds the object's end in the block table.
    callers = {caller for function in heap.format_readers for caller in search.callers(function)}
    candidates = sorted({*heap.readers, *callers})
    found = [function for function in candidates if _resizes(module, walker, function, heap.alloc_function)]
    redirects = heap.redirects + tuple(Redirect(function, Role.REALLOC) for function in found)
    gone = {redirect.function for redirect in redirects} | {*heap.initializers}
    left = tuple(function for function in heap.format_readers if _is_reached(search, function, gone))
    return replace(heap, redirects=redirects, format_readers=left)


def _is_reached(search: CodeSearch, function: int, gone: set[int]) -> bool:
    """Whether a function is still called by others than those that are gone."""
    public = public_functions(search.module)
    reached, ahead = {*gone}, [function]
    while ahead:
        at = ahead.pop()
        if at in reached:
            continue
        if at in public:
            return True
        reached.add(at)
        ahead += search.callers(at)
    return False


def _resizes(module: Module, walker: Walker, function: int, alloc: int) -> bool:
    """Whether a function returns either the pointer that it was given first, or a new object."""
    signature = module.function_type(function)
    parameters = signature.parameters
    if signature.results != ("i32",) or len(parameters) < 2 or set(parameters) != {"i32"}:
        return False
    ends = [
        source for event in walker.read(function).returns if event.value is not None for source in sources(event.value)
    ]
    makes_new = any(isinstance(end, CallResult) and end.function == alloc for end in ends)
    return makes_new and Parameter(0) in ends
