"""Scans of ranges of roots: as calls of a function, or as the loops that they become where it is inlined."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tinyheap.recognize.interpret import Conditions, Load, Reading
from tinyheap.recognize.shapes import distance
from tinyheap.recognize.values import Constant, Loaded, Merge, Operation, Value, linear, operation, sources

_WORD = 1 << 32
_ORDERS = frozenset(f"i32.{order}" for order in ("lt_u", "le_u", "gt_u", "ge_u", "eq", "ne"))


@dataclass(frozen=True)
class Scan:
    """A call of markRoots, or what became of it when it was inlined."""

    reading: Reading
    conditions: Conditions
    start: Value
    end: Value
    function: int | None


def chain_variable(scan: Scan) -> int | None:
    """The word that holds the first stack object, if a scan's range is one such object's words."""
    terms, constant = linear(scan.start)
    if len(terms) != 1 or constant != 8:
        return None
    ((term, _),) = terms
    for source in sources(term):
        if isinstance(source, Loaded):
            for address in sources(source.address):
                if isinstance(address, Constant):
                    return address.number
    return None


def inlined_scans(reading: Reading) -> Iterator[Scan]:
    """Loops over the words of a range: what markRoots becomes where it is inlined."""
    seen: set[Merge] = set()
    for load in reading.loads:
        cursor = load.address
        if load.width_bytes != 4 or not isinstance(cursor, Merge) or cursor in seen:
            continue
        seen.add(cursor)
        starts = [value for value in cursor.inputs if distance(value, cursor) != 4]
        if len(starts) == len(cursor.inputs) or len(starts) != 1:
            continue
        for end in dict.fromkeys([*_ends(reading, load, cursor), *_ends_by_length(reading, starts[0])]):
            yield Scan(reading, load.conditions, starts[0], end, None)


def _ends(reading: Reading, load: Load, cursor: Merge) -> Iterator[Value]:
    """Where a loop over words may end: what the cursor is compared with.

    A comparison of the next cursor names the end; so does one of the cursor before its word is loaded.  One of the
    cursor behind that, at the bottom of the loop, names the last word.
    """
    for test in reading.tests:
        if not isinstance(test.value, Operation) or test.value.name not in _ORDERS:
            continue
        left, right = test.value.operands
        for compared, end in ((left, right), (right, left)):
            ahead_bytes = distance(compared, cursor)
            if ahead_bytes == 4 or (ahead_bytes == 0 and test.offset < load.offset):
                yield end
            elif ahead_bytes == 0:
                yield operation("i32.add", end, Constant(4))


def _ends_by_length(reading: Reading, start: Value) -> Iterator[Value]:
    """Where a loop may end that counts down the bytes that are left of its range."""
    for left in dict.fromkeys(_counted_down(reading)):
        for length in left.inputs:
            if distance(length, left) != _WORD - 4:
                yield total(start, length)


def _counted_down(reading: Reading) -> Iterator[Merge]:
    """What goes down by a word's bytes, and is compared."""
    for test in reading.tests:
        if not isinstance(test.value, Operation) or test.value.name not in _ORDERS:
            continue
        for operand in test.value.operands:
            for term, factor in linear(operand)[0]:
                if (
                    isinstance(term, Merge)
                    and factor == 1
                    and _WORD - 4 in (distance(one, term) for one in term.inputs)
                ):
                    yield term


def total(start: Value, length_bytes: Value) -> Value:
    """Where a range ends; a constant where it is one, however it was put together."""
    end = operation("i32.add", start, length_bytes)
    terms, constant = linear(end)
    return end if terms else Constant(constant)
