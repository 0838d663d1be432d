"""The function that allocates: it returns block * 16 + heapStart + header, and stores one more word, nextAlloc."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tinyheap.errors import UnsupportedGuestError
from tinyheap.recognize.codesearch import CodeSearch
from tinyheap.recognize.evidence import Notes
from tinyheap.recognize.facts import FixedRequest
from tinyheap.recognize.interpret import Reading, Store
from tinyheap.recognize.locate.bounds import GLOBALS_START_MINIMUM, HeapBounds, pointers
from tinyheap.recognize.shapes import added_to, block_shift, constant_addresses, distance, requires_zero, tests_word
from tinyheap.recognize.values import Constant, Loaded, Operation, Parameter, parts, sources
from tinyheap.wasm import Module

_HEADER_LIMIT = 64
"""Bytes within which a header is looked for; it is 16."""

_HEADROOM_DIVISOR = 3
"""A collection is to leave a third of the heap free, or the heap grows."""


def find_alloc(heap_readings: Sequence[Reading], bounds: HeapBounds, search: CodeSearch, notes: Notes) -> Reading:
    """The allocating function, among those that touch the heap's bounds.

    Raises:
        UnsupportedGuestError: None of them is like it.
    """
    candidates = [reading for reading in heap_readings if _looks_like_alloc(reading, bounds, search.module)]
    if not candidates:
        raise UnsupportedGuestError("a block table was found, and no allocator that moves on by blocks")
    notes.found("alloc", "returns block * 16 + heapStart and stores nextAlloc")
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


def _looks_like_alloc(reading: Reading, bounds: HeapBounds, module: Module) -> bool:
    signature = module.function_type(reading.function)
    return (
        signature.parameters in ((), ("i32",), ("i32", "i32"))
        and signature.results == ("i32",)
        and any(True for _ in pointers(reading, bounds))
        and bool(constant_addresses(reading.stores, 4) - bounds.addresses)
    )


def find_next_alloc(alloc: Reading, bounds: HeapBounds, notes: Notes) -> int:
    """The address of the word nextAlloc.

    Raises:
        UnsupportedGuestError: There is no word that may be it.
    """
    read = constant_addresses(alloc.loads, 4)
    candidates = sorted((constant_addresses(alloc.stores, 4) & read) - bounds.addresses)
    if len(candidates) > 1:
        near = {bounds.metadata_start + 4, bounds.end_block - 4}
        notes.doubt("next_alloc", f"alloc changes {len(candidates)} words that may be it")
        candidates.sort(key=lambda address: address not in near)
    if not candidates:
        raise UnsupportedGuestError("alloc was found, but not where it keeps the next block to try")
    address = candidates[0]
    notes.found("next_alloc", "the one further word that alloc both reads and writes")
    if {address - 4, address + 4} <= {bounds.metadata_start, bounds.end_block}:
        notes.found("next_alloc", "lies between metadataStart and endBlock")
    if any(tests_word(event.conditions, address, 4) for event in alloc.events):
        notes.found("next_alloc", "the search for free blocks compares with it")
    return address


def find_header_bytes(alloc: Reading, bounds: HeapBounds, notes: Notes) -> int:
    """How far in front of the object alloc stores its layout; 0 if it does not."""
    headers = _stores_in_front(alloc, bounds)
    shifts = {block_shift(pointer) for pointer, _ in pointers(alloc, bounds)}
    if not headers:
        notes.found("header", "alloc stores nothing in front of the object")
        notes.check("header", shifts == {bounds.heap_start or 0}, "objects begin at their block")
        return 0
    header, store = min(headers.items())
    notes.found("header", f"alloc stores a word {header} bytes in front of the object")
    if isinstance(store.value, Constant):
        notes.found("header", "the word is one constant")
    else:
        notes.check("header", Parameter(1) in set(sources(store.value)), "the word is its second parameter")
    return header


def find_fixed_request(alloc: Reading, bounds: HeapBounds, total_bytes_address: int | None) -> FixedRequest | None:
    """What alloc asks for by itself, where compilers left out both parameters.

    Args:
        alloc: the allocating function, which has no parameters.
        bounds: where the heap lies.
        total_bytes_address: of the counter that says how much each call asks for, its header included.
    """
    counter = None if total_bytes_address is None else Constant(total_bytes_address)
    added = [
        added_to(store.value, Loaded(store.address, 8))
        for store in alloc.stores
        if store.address == counter and store.width_bytes == 8
    ]
    headers = _stores_in_front(alloc, bounds)
    header_bytes, layout = min(((before, store.value) for before, store in headers.items()), default=(0, Constant(0)))
    if len(added) != 1 or not isinstance(added[0], Constant) or not isinstance(layout, Constant):
        return None
    return FixedRequest(added[0].number - header_bytes, layout.number)


def _stores_in_front(alloc: Reading, bounds: HeapBounds) -> dict[int, Store]:
    """Words that alloc stores a little in front of what it returns, by how far."""
    return {
        before: store
        for pointer, _ in pointers(alloc, bounds)
        for store in alloc.stores
        if store.width_bytes == 4
        and (before := distance(pointer, store.address)) is not None
        and 0 < before <= _HEADER_LIMIT
    }


def find_zero_size_address(alloc: Reading, notes: Notes) -> int | None:
    """What alloc returns for size 0; None if that is not one constant."""
    found = {
        source.number
        for event in alloc.returns
        for source in (sources(event.value) if event.value is not None else ())
        if isinstance(source, Constant) and source.number >= GLOBALS_START_MINIMUM
    }
    if len(found) != 1:
        notes.doubt("zero_size", f"alloc returns {len(found)} constants")
        return None
    address = found.pop()
    notes.found("zero_size", "the one constant that alloc returns")
    for event in alloc.returns:
        if event.value == Constant(address) and requires_zero(event.conditions, Parameter(0)):
            notes.found("zero_size", "returned where the size is 0")
    return address


def keeps_headroom(region: Iterable[Reading]) -> bool:
    """Whether the free bytes after a collection are compared with a third of the heap."""
    return any(
        isinstance(part, Operation) and part.name == "i32.div_u" and part.operands[1] == Constant(_HEADROOM_DIVISOR)
        for reading in region
        for test in reading.tests
        for source in sources(test.value)
        for part in parts(source)
    )
