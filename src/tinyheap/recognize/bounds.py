"""The words that say where the heap is, found by the one division that only its block table needs.

    metadataStart = heapEnd - (heapEnd - heapStart + 64) / 65        one byte of table for 64 bytes of heap
    endBlock      = (metadataStart - heapStart) / 16

Both results are stored; what they are made from is loaded, or stored just before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tinyheap.recognize.interpret import Reading, Store
from tinyheap.recognize.values import Constant, Loaded, Operation, Sum, Value, linear, minus

_WORD = 1 << 32
TABLE_DIVISOR = 65
"""Bytes of heap and table that each byte of the table stands for: 4 blocks of 16 bytes, and itself."""


@dataclass(frozen=True)
class Geometry:
    """Where the words lie that say where the heap is."""

    heap_end: int
    metadata_start: int
    end_block: int
    heap_start: int | None
    heap_start_variable: int | None

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


def geometries(reading: Reading) -> Iterator[Geometry]:
    """What the stores around each division by 65 say of the heap's geometry."""
    for table in reading.stores:
        if table.width_bytes != 4 or not isinstance(table.address, Constant):
            continue
        for term, factor in linear(table.value)[0]:
            if factor == _WORD - 1 and _is_division_by_65(term):
                yield from _geometry(reading, table, table.address.number, term)


def _is_division_by_65(value: Value) -> bool:
    return isinstance(value, Operation) and value.name == "i32.div_u" and value.operands[1] == Constant(TABLE_DIVISOR)


def _geometry(reading: Reading, table: Store, metadata_start: int, division: Value) -> Iterator[Geometry]:
    assert isinstance(division, Operation), "checked by the caller"
    end = minus(linear(table.value), (frozenset([(division, _WORD - 1)]), 0))
    heap_end = _word_holding(reading, end)
    start_terms, constant = minus(end, linear(division.operands[0]))
    start = (start_terms, (constant + TABLE_DIVISOR - 1) % _WORD)
    variable = _word_holding(reading, start) if start_terms else None
    end_block = _end_block(reading, table, metadata_start, start)
    if heap_end is not None and end_block is not None and (variable is not None or not start_terms):
        yield Geometry(heap_end, metadata_start, end_block, None if start_terms else start[1], variable)


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
