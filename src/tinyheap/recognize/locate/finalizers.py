"""The table of finalizers: two lists of entries, and the flags by which a collector skips them.

n.next, finalizerPending = finalizerPending, n          an entry becomes pending
finalizersQueued = true
"""

from __future__ import annotations

from collections.abc import Iterator

from tinyheap.recognize.evidence import Notes
from tinyheap.recognize.facts import FinalizerTable
from tinyheap.recognize.interpret import Reading
from tinyheap.recognize.locate.free_list import pushes, walked_from
from tinyheap.recognize.locate.region import CollectorCode
from tinyheap.recognize.shapes import deep_parts, values_of
from tinyheap.recognize.values import Constant, Loaded, Operation, Value, linear, parts

_ALL_BITS = (1 << 32) - 1
_LINK_OFFSET = 0
"""Where an entry links to the next one."""


def find_finalizers(code: CollectorCode, known: frozenset[int], notes: Notes) -> FinalizerTable | None:
    """The table of finalizers; None where the program registers none, so that its compiler left the table out.

    Args:
        code: the collector's functions.
        known: addresses of words that are something else.
        notes: where the evidence goes.
    """
    for reading in code.region:
        pending = {head for head, _ in pushes(reading)} - known
        registered = set(walked_from(reading, _LINK_OFFSET)) - known - pending
        if registered and pending:
            notes.found("finalizers", f"function {reading.function} moves entries from one list to another")
            notes.check("finalizers", _inverts_addresses(reading), "their objects' addresses are inverted")
            return _table(code, reading, min(registered), min(pending), known)
    return None


def _table(
    code: CollectorCode, reading: Reading, registered: int, pending: int, known: frozenset[int]
) -> FinalizerTable:
    queued = next(_set_flags(reading), None)
    count = next(_decremented(reading), None)
    bitmap, bitmap_bytes = next(_bitmaps(reading, known), (None, None))
    others = known | {registered, pending, count}
    zeroed = None if bitmap is None else next((word for word in _zeroed(reading) if word not in others), None)
    return FinalizerTable(
        registered_address=registered,
        pending_address=pending,
        count_address=count,
        queued_address=queued,
        bitmap_address=bitmap,
        bitmap_bytes_address=bitmap_bytes,
        pressure_address=zeroed,
        wake_function=None if queued is None else _wake_function(code.alloc, queued),
    )


def _inverts_addresses(reading: Reading) -> bool:
    return any(
        isinstance(part, Operation) and part.name == "i32.xor" and Constant(_ALL_BITS) in part.operands
        for event in reading.events
        for value in values_of(event)
        for part in deep_parts(value)
    )


def _set_flags(reading: Reading) -> Iterator[int]:
    for store in reading.stores:
        if store.width_bytes == 1 and store.value == Constant(1) and isinstance(store.address, Constant):
            yield store.address.number


def _decremented(reading: Reading) -> Iterator[int]:
    for store in reading.stores:
        less_one = (frozenset([(Loaded(store.address, 4), 1)]), _ALL_BITS)
        if isinstance(store.address, Constant) and store.width_bytes == 4 and linear(store.value) == less_one:
            yield store.address.number


def _zeroed(reading: Reading) -> Iterator[int]:
    for store in reading.stores:
        if isinstance(store.address, Constant) and store.width_bytes == 4 and store.value == Constant(0):
            yield store.address.number


def _bitmaps(reading: Reading, known: frozenset[int]) -> Iterator[tuple[int, int]]:
    """Words that hold a bitmap's address and its length: a byte of it is changed if it lies below that length."""
    for store in reading.stores:
        if store.width_bytes != 1 or isinstance(store.address, Constant):
            continue
        for place, factor in linear(store.address)[0]:
            base = _word(place)
            if base is None or base in known or factor != 1:
                continue
            for condition, _ in reversed(store.conditions):
                for length in _bounds_of(condition):
                    yield base, length


def _bounds_of(condition: Value) -> Iterator[int]:
    """The words that a condition compares the number of a byte with, which is made from a block's address."""
    match condition:
        case Operation("i32.lt_u" | "i32.ge_u" | "i32.gt_u" | "i32.le_u", (left, right)):
            for length, byte in ((left, right), (right, left)):
                word = _word(length)
                if word is not None and isinstance(byte, Operation) and byte.name == "i32.shr_u":
                    yield word


def _word(value: Value) -> int | None:
    """The address of the word that a value was loaded from."""
    return value.address.number if isinstance(value, Loaded) and isinstance(value.address, Constant) else None


def _wake_function(alloc: Reading, queued: int) -> int | None:
    """What alloc calls where finalizers are queued."""
    flag = Loaded(Constant(queued), 1)
    for call in alloc.calls:
        if any(flag in parts(value) for value, _ in call.conditions[-1:]):
            return call.function
    return None
