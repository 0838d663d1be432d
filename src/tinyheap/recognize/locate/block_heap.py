"""Finding TinyGo's collector of releases up to 0.39, next-fit, in a program, by the shape of its code; names only confirm.

What the collector must do, however it was compiled, is what it is known by:

    the block table takes one byte for 64 bytes of heap      a division by 65, of (heapEnd - heapStart + 64)
    what follows from it is stored                           metadataStart and endBlock
    alloc returns block * 16 + heapStart + header            and stores one more word: nextAlloc
    what is added to a 64-bit word, where                    the counters
    the globals are scanned up to the heap's start           markRoots(globalsStart, heapStart)
    a frame holds an array that block numbers go into        the mark stack

The order of work is the order of this list.  Each fact keeps the ways in which it was found, in `Notes`: two that are
independent make it certain.  Source of what is looked for: TinyGo, src/runtime/gc_blocks.go,
gc_stack_portable.go and arch_tinygowasm.go, in their versions from 0.24 to 0.39.
"""

from __future__ import annotations

from collections.abc import Mapping

from tinyheap.errors import UnsupportedGuestError
from tinyheap.recognize.codesearch import CodeSearch
from tinyheap.recognize.evidence import Notes
from tinyheap.recognize.facts import BlockHeap
from tinyheap.recognize.interpret import Walker
from tinyheap.recognize.locate.alloc import (
    find_alloc,
    find_fixed_request,
    find_header_bytes,
    find_next_alloc,
    find_zero_size_address,
    keeps_headroom,
)
from tinyheap.recognize.locate.bounds import HeapBounds, confirm_bounds, pointers, readings_of_heap
from tinyheap.recognize.locate.counters import find_counters
from tinyheap.recognize.locate.marking import MarkArrays, find_mark_arrays, find_mark_stack
from tinyheap.recognize.locate.region import CollectorCode, find_region
from tinyheap.recognize.locate.replacing import find_replacement, heap_state
from tinyheap.recognize.locate.roots import RootScans, find_root_scans, find_roots
from tinyheap.recognize.locate.stack import find_stack_pointer

_NAMES = {"alloc": "runtime.alloc", "mark_roots": "runtime.markRoots"}
"""What TinyGo calls the functions that facts are about."""


def locate_block_heap(
    search: CodeSearch, walker: Walker, bounds: HeapBounds, names: Mapping[str, int], notes: Notes
) -> BlockHeap:
    """All of the collector's facts.

    Args:
        search: searches in the module's code.
        walker: reads the module's functions.
        bounds: where the heap lies, from `find_bounds`.
        names: function indices by name, as far as the module has names.
        notes: where the evidence goes.

    Raises:
        UnsupportedGuestError: A fact that is needed was not found.
    """
    heap_readings = readings_of_heap(bounds, search, walker)
    alloc = find_alloc(heap_readings, bounds, search, notes)
    next_alloc = find_next_alloc(alloc, bounds, notes)
    region = find_region(alloc, heap_readings, walker)
    counters = find_counters(alloc, region, notes)
    code = CollectorCode(search, walker, bounds, alloc, region)
    scans = find_root_scans(code, notes)
    stack_pointer = find_stack_pointer(code, notes)
    roots = find_roots(code, scans, stack_pointer, notes)
    arrays = find_mark_arrays(code, stack_pointer)
    mark_stack = find_mark_stack(arrays, scans.mark_roots, notes)
    confirm_bounds(bounds, region, notes)
    notes.check("heap_start", any(True for _ in pointers(alloc, bounds)), "alloc adds it")
    _confirm_names(names, {"alloc": alloc.function, "mark_roots": scans.mark_roots}, notes)
    state = heap_state(code, next_alloc, counters)
    replacement = find_replacement(code, state, {next_alloc}, scans.collectors, arrays.flags)
    parameters = search.module.function_type(alloc.function).parameters
    fixed = None if parameters else find_fixed_request(alloc, bounds, counters.total_alloc_bytes_address)
    if not parameters and fixed is None:
        raise UnsupportedGuestError("alloc was found, but not the size that it is asked for: it has no parameters")
    return BlockHeap(
        alloc_function=alloc.function,
        size_parameter=0 if parameters else None,
        layout_parameter=1 if len(parameters) > 1 else None,
        fixed_request=fixed,
        header_bytes=find_header_bytes(alloc, bounds, notes),
        zero_size_address=find_zero_size_address(alloc, notes),
        heap_start_address=bounds.heap_start,
        heap_start_variable_address=bounds.heap_start_variable,
        heap_end_address=bounds.heap_end,
        metadata_start_address=bounds.metadata_start,
        end_block_address=bounds.end_block,
        table_divisor=bounds.table_divisor,
        next_alloc_address=next_alloc,
        keeps_headroom=keeps_headroom(region),
        counters=counters,
        roots=roots,
        mark_stack=mark_stack,
        redirects=replacement.redirects,
        uncovered=replacement.uncovered,
        readers=replacement.readers,
        initializers=replacement.initializers,
        functions=_functions(code, scans, arrays),
        format_readers=replacement.format_readers,
    )


def _confirm_names(names: Mapping[str, int], found: Mapping[str, int | None], notes: Notes) -> None:
    for fact, function in found.items():
        name = _NAMES[fact]
        if name in names and function is not None:
            notes.check(fact, names[name] == function, f"named {name}")


def _functions(code: CollectorCode, scans: RootScans, arrays: MarkArrays) -> dict[str, int]:
    """The collector's functions by what they do."""
    found = {"alloc": code.alloc.function}
    if scans.mark_roots is not None:
        found["markRoots"] = scans.mark_roots
    for function in scans.collectors:
        if function != code.alloc.function:
            found.setdefault("runGC", function)
    for reading in code.region:
        if reading.function in arrays.by_function:
            found.setdefault("startMark", reading.function)
        if reading.grows:
            found.setdefault("growHeap", reading.function)
    found["calculateHeapAddresses"] = code.bounds.functions[0]
    return found
