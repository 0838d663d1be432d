"""The words that say where the heap is, found by the one division that only its block table needs.

    metadataStart = heapEnd - (heapEnd - heapStart + 64) / 65        one byte of table for 64 bytes of heap
    metadataStart = heapEnd - (heapEnd - heapStart) / 64             the same up to 0.22
    endBlock      = (metadataStart - heapStart) / 16

Both results are stored; what they are made from is loaded, or stored just before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from tinyheap.recognize.codesearch import CodeSearch
from tinyheap.recognize.evidence import Notes
from tinyheap.recognize.facts import OLD_TABLE_DIVISOR, TABLE_DIVISOR
from tinyheap.recognize.interpret import Reading, Store, Walker
from tinyheap.recognize.shapes import constant_addresses, deep_parts, is_made_from
from tinyheap.recognize.values import Constant, Loaded, Operation, Sum, Value, linear, minus, sources

_WORD = 1 << 32
_OLD_TABLE_SHIFT = 6
GLOBALS_START_MINIMUM = 256
"""Below that no linker puts data: LLVM's begins at 1024, or above the stack."""
_BLOCK_BYTES = 16
"""Four words of four bytes."""
_ALLOC_OFFSET_LIMIT = 256
"""Bytes between a block's start and the pointer that is returned; they are its header's, 16 at most."""


@dataclass(frozen=True)
class HeapBounds:
    """Where the words lie that say where the heap is."""

    heap_end: int
    metadata_start: int
    end_block: int
    heap_start: int | None
    heap_start_variable: int | None
    table_divisor: int
    """Bytes of heap for which its table takes one."""
    functions: tuple[int, ...] = ()
    """The functions that compute them."""

    @property
    def addresses(self) -> frozenset[int]:
        """Addresses of all the words."""
        words = {self.heap_end, self.metadata_start, self.end_block, self.heap_start_variable}
        return frozenset(word for word in words if word is not None)

    @property
    def start(self) -> Sum:
        """The heap's start as a sum."""
        if self.heap_start is not None:
            return frozenset(), self.heap_start
        assert self.heap_start_variable is not None, "one of the two is known"
        return linear(Loaded(Constant(self.heap_start_variable), 4))


def find_bounds(search: CodeSearch, walker: Walker, notes: Notes) -> HeapBounds | None:
    """Where the heap's bounds lie; None if there is no block table in the program."""
    found = _divisions(search, walker)
    if not found:
        return None
    bounds = max(found, key=lambda candidate: len(found[candidate]))
    for fact in ("heap_end", "metadata_start", "end_block", "heap_start"):
        notes.found(fact, f"division by {bounds.table_divisor} in function {found[bounds][0]}")
        if len(found) > 1:
            notes.doubt(fact, f"{len(found)} different divisions by {bounds.table_divisor} give different answers")
    return replace(bounds, functions=tuple(found[bounds]))


def readings_of_heap(bounds: HeapBounds, search: CodeSearch, walker: Walker) -> tuple[Reading, ...]:
    """The functions that load or store the bounds."""
    candidates = search.mentioning(bounds.addresses)
    return tuple(
        reading
        for reading in map(walker.read, sorted(candidates))
        if constant_addresses([*reading.loads, *reading.stores]) & bounds.addresses
    )


def pointers(reading: Reading, bounds: HeapBounds) -> Iterator[tuple[Value, int]]:
    """Results of the form block * 16 + heapStart + header, as the value and the header's size in bytes."""
    for event in reading.returns:
        for value in sources(event.value) if event.value is not None else ():
            terms, rest = minus(linear(value), bounds.start)
            if rest < _ALLOC_OFFSET_LIMIT and any(factor == _BLOCK_BYTES for _, factor in terms):
                yield value, rest


def confirm_bounds(bounds: HeapBounds, region: Iterable[Reading], notes: Notes) -> None:
    """Checks each of the bounds but the heap's start against its use in the collector's functions."""
    table_loads = [
        load
        for reading in region
        for load in reading.loads
        if load.width_bytes == 1 and is_made_from(load.address, bounds.metadata_start)
    ]
    notes.check("metadata_start", bool(table_loads), "states of blocks are loaded from there")
    grown = any(
        reading.grows and Constant(bounds.heap_end) in [store.address for store in reading.stores] for reading in region
    )
    notes.check("heap_end", grown, "set again after the memory has grown")
    end_block = Loaded(Constant(bounds.end_block), 4)
    compared = any(end_block in deep_parts(test.value) for reading in region for test in reading.tests)
    notes.check("end_block", compared, "block numbers are compared with it, or counted down from it")


def _divisions(search: CodeSearch, walker: Walker) -> dict[HeapBounds, list[int]]:
    """What divisions by a table's divisor say of the bounds, and in which functions."""
    found: dict[HeapBounds, list[int]] = defaultdict(list)
    for dividing, number in (
        (search.dividing_by, TABLE_DIVISOR),
        (search.perhaps_dividing_by, TABLE_DIVISOR),
        (search.shifting_by, _OLD_TABLE_SHIFT),
    ):
        for function in dividing(number):
            for bounds in _bounds_in(walker.read(function)):
                found[bounds].append(function)
        if found:
            break
    return found


def _bounds_in(reading: Reading) -> Iterator[HeapBounds]:
    """What the stores around each division by a table's divisor say of the heap's bounds."""
    for table in reading.stores:
        if table.width_bytes != 4 or not isinstance(table.address, Constant):
            continue
        for term, factor in linear(table.value)[0]:
            divided = _divided(term)
            if factor == _WORD - 1 and divided is not None:
                yield from _bounds(reading, table, table.address.number, term, *divided)


def _divided(value: Value) -> tuple[Value, int] | None:
    """What is divided by a table's divisor, and by which."""
    match value:
        case Operation("i32.div_u", (total, Constant(divisor))) if divisor in (TABLE_DIVISOR, OLD_TABLE_DIVISOR):
            return total, divisor
        case Operation("i32.shr_u", (total, Constant(shift))) if shift == _OLD_TABLE_SHIFT:
            return total, OLD_TABLE_DIVISOR
    return None


def _bounds(
    reading: Reading, table: Store, metadata_start: int, division: Value, total: Value, divisor: int
) -> Iterator[HeapBounds]:
    end = minus(linear(table.value), (frozenset([(division, _WORD - 1)]), 0))
    heap_end = _word_holding(reading, end)
    start_terms, constant = minus(end, linear(total))
    # Where the divisor is 65, what is divided was rounded up by adding 64.
    start = (start_terms, (constant + (divisor - 1 if divisor == TABLE_DIVISOR else 0)) % _WORD)
    variable = _word_holding(reading, start) if start_terms else None
    end_block = _end_block(reading, table, metadata_start, start)
    if heap_end is not None and end_block is not None and (variable is not None or not start_terms):
        yield HeapBounds(heap_end, metadata_start, end_block, None if start_terms else start[1], variable, divisor)


def _word_holding(reading: Reading, wanted: Sum) -> int | None:
    """The address of the word that holds a value: where it was loaded from or stored to."""
    for store in reading.stores:
        if isinstance(store.address, Constant) and store.width_bytes == 4 and linear(store.value) == wanted:
            return store.address.number
    terms, constant = wanted
    if len(terms) == 1 and not constant:
        ((term, factor),) = terms
        if factor == 1 and isinstance(term, Loaded) and isinstance(term.address, Constant):
            return term.address.number
    return None


def _end_block(reading: Reading, table: Store, metadata_start: int, start: Sum) -> int | None:
    """The address of the word that (metadataStart - heapStart) / 16 is stored to."""
    for store in reading.stores:
        match store.value:
            case Operation("i32.shr_u", (total, Constant(4))) | Operation("i32.div_u", (total, Constant(16))):
                ends = (linear(table.value), linear(Loaded(Constant(metadata_start), 4)))
                if isinstance(store.address, Constant) and any(
                    linear(total) in (minus(end, start), minus(end, _reloaded(reading, start))) for end in ends
                ):
                    return store.address.number
    return None


def _reloaded(reading: Reading, start: Sum) -> Sum:
    """The heap's start, loaded again from the word that holds it."""
    address = _word_holding(reading, start) if start[0] else None
    return start if address is None else linear(Loaded(Constant(address), 4))
