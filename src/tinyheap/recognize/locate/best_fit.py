"""Finding the collector of TinyGo's newer releases, which takes the best fitting of its free ranges, by its code's shape.

What it must do, however it was compiled, is what it is known by:

    the block table takes one byte for 64 bytes of heap      a division by 65, as in older ones
    alloc counts the size that it is asked for               and rounds it up with a header's bytes
    free ranges are walked by their lengths                  freeRanges
    marked objects are chained through their headers         scanList, and where in its block the header lies
    the globals are scanned up to the heap's start           from globalsStart, or heapStart - globalsStart bytes of it
    that and emptying freeRanges makes a collection          runGC, and the counter that it adds to
    entries go from one list to another                      finalizers

The order of work is the order of this list; what it has in common with the older collector is found in the same way.
Source of what is looked for: TinyGo, src/runtime/gc_blocks.go, gc_stack_portable.go and arch_tinygowasm.go of 0.40 and
0.41, and what a program of 0.42 does.
"""

from __future__ import annotations

from collections.abc import Mapping

from tinyheap.recognize.codesearch import CodeSearch
from tinyheap.recognize.evidence import Notes
from tinyheap.recognize.facts import BestFitHeap, FinalizerTable, HeaderPlace
from tinyheap.recognize.interpret import Reading, Walker
from tinyheap.recognize.locate.alloc import find_zero_size_address
from tinyheap.recognize.locate.bounds import HeapBounds, confirm_bounds, readings_of_heap
from tinyheap.recognize.locate.collecting import find_collection_counter, find_collectors
from tinyheap.recognize.locate.finalizers import find_finalizers
from tinyheap.recognize.locate.free_list import ScanList, find_free_ranges, find_scan_list
from tinyheap.recognize.locate.list_alloc import added_bytes, find_allocation_counters, find_list_alloc
from tinyheap.recognize.locate.region import CollectorCode, find_region
from tinyheap.recognize.locate.replacing import find_replacement
from tinyheap.recognize.locate.roots import find_root_scans, find_roots
from tinyheap.recognize.locate.stack import find_stack_pointer, with_records
from tinyheap.recognize.shapes import distance
from tinyheap.recognize.values import Operation, Parameter, parts, sources

_BLOCK_BYTES = 16
_WORD_BYTES = 4


def locate_best_fit_heap(
    search: CodeSearch, walker: Walker, bounds: HeapBounds, names: Mapping[str, int], notes: Notes
) -> BestFitHeap:
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
    alloc = find_list_alloc(heap_readings, search, notes)
    code = CollectorCode(search, walker, bounds, alloc, find_region(alloc, heap_readings, walker))
    free_ranges = find_free_ranges(code, notes)
    scan_list = find_scan_list(code, notes)
    counters = find_allocation_counters(alloc, notes)
    scans = find_root_scans(code, notes)
    roots = with_records(find_roots(code, scans, find_stack_pointer(code, notes), notes), alloc)
    search_words = {free_ranges, scan_list.head}
    state = bounds.addresses | search_words
    finalizers = find_finalizers(code, state, notes)
    collectors = find_collectors(code, scans.functions, free_ranges)
    queued = None if finalizers is None else finalizers.queued_address
    collections = find_collection_counter(code, collectors, queued, notes)
    confirm_bounds(bounds, code.region, notes)
    notes.found("heap_start", "blocks that headers are chained in lie behind it")
    _confirm_names(names, code, notes)
    words = {*vars(counters).values(), collections} - {None}
    replacement = find_replacement(code, state | words, search_words, collectors, frozenset())
    header_bytes = _find_header(alloc, scan_list, notes)
    return BestFitHeap(
        alloc_function=alloc.function,
        size_parameter=0 if _has_size(alloc) else None,
        layout_parameter=_layout_parameter(alloc, code),
        header_place=HeaderPlace.BACK if scan_list.header_offset else HeaderPlace.FRONT,
        header_bytes=header_bytes,
        is_precise=_keeps_layout(alloc, scan_list, header_bytes),
        zero_size_address=find_zero_size_address(alloc, notes),
        heap_start_address=bounds.heap_start,
        heap_start_variable_address=bounds.heap_start_variable,
        heap_end_address=bounds.heap_end,
        metadata_start_address=bounds.metadata_start,
        end_block_address=bounds.end_block,
        free_ranges_address=free_ranges,
        scan_list_address=scan_list.head,
        collections_address=collections,
        counters=counters,
        roots=roots,
        finalizers=finalizers,
        redirects=replacement.redirects,
        uncovered=replacement.uncovered,
        readers=replacement.readers,
        initializers=replacement.initializers,
        functions=_functions(code, collectors, finalizers),
        format_readers=replacement.format_readers,
    )


def _find_header(alloc: Reading, scan_list: ScanList, notes: Notes) -> int:
    """How many bytes of an object are its header: the last ones of its last block, or all in front of what alloc returns."""
    header_bytes = _BLOCK_BYTES - scan_list.header_offset
    notes.found("header", f"chained {scan_list.header_offset} bytes into the head block")
    added = added_bytes(alloc)
    if added:
        notes.check("header", added == {header_bytes}, f"alloc adds {header_bytes} bytes to a request")
    return header_bytes


def _has_size(alloc: Reading) -> bool:
    """Whether alloc's first parameter is a size; where only one size is asked for, compilers leave it out."""
    return any(
        Operation("i64.extend_i32_u", (Parameter(0),)) in parts(store.value)
        for store in alloc.stores
        if store.width_bytes == 8
    )


def _layout_parameter(alloc: Reading, code: CollectorCode) -> int | None:
    return 1 if _has_size(alloc) and len(code.module.function_type(alloc.function).parameters) > 1 else None


def _keeps_layout(alloc: Reading, scan_list: ScanList, header_bytes: int) -> bool:
    """Whether headers hold a layout behind the link."""
    if scan_list.header_offset:
        return header_bytes == 2 * _WORD_BYTES
    return any(
        distance(pointer, store.address) == header_bytes - _WORD_BYTES
        for event in alloc.returns
        if event.value is not None
        for pointer in sources(event.value)
        for store in alloc.stores
        if store.width_bytes == _WORD_BYTES
    )


def _confirm_names(names: Mapping[str, int], code: CollectorCode, notes: Notes) -> None:
    if "runtime.alloc" in names:
        notes.check("alloc", names["runtime.alloc"] == code.alloc.function, "named runtime.alloc")


def _functions(code: CollectorCode, collectors: tuple[int, ...], finalizers: FinalizerTable | None) -> dict[str, int]:
    """The collector's functions by what they do."""
    found = {"alloc": code.alloc.function}
    for function in collectors:
        if function != code.alloc.function:
            found.setdefault("runGC", function)
    for reading in code.region:
        if reading.grows and reading is not code.alloc:
            found.setdefault("growHeap", reading.function)
    if finalizers is not None and finalizers.wake_function is not None:
        found["wakeFinalizer"] = finalizers.wake_function
    found["calculateHeapAddresses"] = code.bounds.functions[0]
    return found
