"""The function that allocates from a list of free ranges: what it counts, and how it rounds requests up.

    gcTotalAlloc += size                 the size that is asked for
    gcMallocs++
    (size + header + 15) / 16            blocks

Where a program asks for one size only, compilers put it into alloc and leave the parameter out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tinyheap.errors import UnsupportedGuestError
from tinyheap.recognize.codesearch import CodeSearch
from tinyheap.recognize.evidence import Notes
from tinyheap.recognize.facts import CounterAddresses
from tinyheap.recognize.interpret import Reading
from tinyheap.recognize.shapes import added_to, deep_parts, values_of
from tinyheap.recognize.values import Constant, Loaded, Operation, Parameter, Value, linear
from tinyheap.wasm import Module

_BLOCK_BYTES = 16
_HEADERS = (4, 8, 16)
"""Bytes that a header takes: one word or two, and where objects come behind it as much as aligns them."""

_PARAMETER_LIMIT = 3
"""Size, layout, and the context that unoptimized functions take."""

_WIDENED_SIZE = Operation("i64.extend_i32_u", (Parameter(0),))


def find_list_alloc(heap_readings: Sequence[Reading], search: CodeSearch, notes: Notes) -> Reading:
    """The allocating function, among those that touch the heap's bounds.

    Raises:
        UnsupportedGuestError: None of them is like it.
    """
    candidates = [reading for reading in heap_readings if _looks_like_alloc(reading, search.module)]
    if not candidates:
        raise UnsupportedGuestError("a block table was found, and no allocator that counts what it is asked for")
    notes.found("alloc", "counts its calls and the bytes that are asked for")
    if len(candidates) > 1:
        notes.doubt("alloc", f"{len(candidates)} functions look like it")
        candidates.sort(key=lambda reading: -len(search.callers(reading.function)))
    alloc = candidates[0]
    count = len(search.callers(alloc.function))
    notes.check(
        "alloc",
        all(count >= len(search.callers(reading.function)) for reading in heap_readings),
        f"called from {count} functions, more than any other of the heap's",
    )
    return alloc


def find_allocation_counters(alloc: Reading, notes: Notes) -> CounterAddresses:
    """The two words of 64 bits that alloc adds to."""
    added = dict(_added_words(alloc))
    mallocs = next((address for address, more in added.items() if more == Constant(1)), None)
    total = next((address for address in added if address != mallocs), None)
    for fact, address, how in (("mallocs", mallocs, "1"), ("total_alloc_bytes", total, "the size")):
        if address is not None:
            notes.found(fact, f"alloc adds {how} to it")
            notes.check(fact, {address - 8, address + 8} & {mallocs, total} != set(), "lies beside the other counter")
    return CounterAddresses(total_alloc_bytes_address=total, mallocs_address=mallocs)


def added_bytes(alloc: Reading) -> frozenset[int]:
    """The sizes of header that alloc may add to a request before it rounds it up to blocks."""
    return frozenset(
        header
        for event in alloc.events
        for value in values_of(event)
        for part in deep_parts(value)
        for header in _header_in(part)
    )


def _looks_like_alloc(reading: Reading, module: Module) -> bool:
    signature = module.function_type(reading.function)
    if signature.results != ("i32",) or set(signature.parameters) - {"i32"}:
        return False
    added = [more for _, more in _added_words(reading)]
    return len(signature.parameters) <= _PARAMETER_LIMIT and len(added) > 1 and Constant(1) in added


def _added_words(reading: Reading) -> Iterator[tuple[int, Value]]:
    """Words of 64 bits, with what is added to them once a call: a number or the size."""
    for store in reading.stores:
        if store.width_bytes == 8 and isinstance(store.address, Constant) and not store.loop_depth:
            more = added_to(store.value, Loaded(store.address, 8))
            if isinstance(more, Constant) or more == _WIDENED_SIZE:
                yield store.address.number, more


def _header_in(value: Value) -> Iterator[int]:
    match value:
        case (
            Operation("i32.shr_u", (total, Constant(4)))
            | Operation("i32.div_u", (total, Constant(16)))
            | Operation("i32.and", (total, Constant(0xFFFFFFF0)))
        ):
            terms, constant = linear(total)
            header = constant - (_BLOCK_BYTES - 1)
            if terms == frozenset([(Parameter(0), 1)]) and header in _HEADERS:
                yield header
