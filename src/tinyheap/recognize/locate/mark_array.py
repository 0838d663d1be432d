"""The mark stack: an array in a function's frame that words are pushed onto, and a flag for when it is full.

Frames grow down from the stack pointer at a function's entry.  A leaf may use what lies below that without
writing the stack pointer back, so the array is measured from the entry and not from the frame's bottom.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tinyheap.recognize.interpret import Conditions, Reading, Store
from tinyheap.recognize.values import Constant, GlobalAtEntry, Operation, Value, linear

_WORD = 1 << 32


@dataclass(frozen=True)
class MarkArray:
    """The mark stack within its function's frame."""

    entries: int
    flag: int
    below: int
    """Bytes from the array's lowest address up to the stack pointer at the function's entry."""
    last_below: int
    """The same of the last such array, where the function was inlined into another more than once."""
    zeroed: bool


def mark_array(reading: Reading, stack_pointer: int) -> MarkArray | None:
    """The mark stack in a function's frame: words go in at an index that is checked against its length."""
    flag = next(
        (
            store.address.number
            for store in reading.stores
            if store.width_bytes == 1 and store.value == Constant(1) and isinstance(store.address, Constant)
        ),
        None,
    )
    if flag is None:
        return None
    found: list[MarkArray] = []
    for store in reading.stores:
        below = _array_depth(store, stack_pointer)
        if below is None:
            continue
        entries = _array_length(store.conditions) or _full_at(reading, flag)
        if entries is not None and 4 * entries <= below:
            zeroed = _is_zeroed(reading, stack_pointer, below, entries)
            found.append(MarkArray(entries, flag, below, below, zeroed))
    return replace(found[0], last_below=found[-1].below) if found else None


def _array_depth(store: Store, stack_pointer: int) -> int | None:
    """How far below the stack pointer an array begins, if a word is stored into it at a changing index."""
    terms, constant = linear(store.address)
    factors = dict(terms)
    if store.width_bytes != 4 or factors.pop(GlobalAtEntry(stack_pointer), None) != 1:
        return None
    return _WORD - constant if list(factors.values()) == [4] and constant >> 31 else None


def _array_length(conditions: Conditions) -> int | None:
    """The number that an index was compared with, and found not to be (or below)."""
    for value, holds in reversed(conditions):
        match value:
            case Operation("i32.eq", (_, Constant(number))) if not holds and number > 1:
                return number
            case Operation("i32.ne", (_, Constant(number))) if holds and number > 1:
                return number
            case Operation("i32.gt_u", (_, Constant(number))) if not holds and number > 1:
                return number + 1
            case Operation("i32.ge_u", (_, Constant(number))) if not holds and number > 1:
                return number
            case Operation("i32.lt_u", (_, Constant(number))) if holds and number > 1:
                return number
    return None


def _full_at(reading: Reading, flag: int) -> int | None:
    """The number that an index equals where the overflow flag is set."""
    for store in reading.stores:
        if store.address == Constant(flag) and store.value == Constant(1):
            for value, holds in reversed(store.conditions):
                match value:
                    case Operation("i32.eq", (_, Constant(number))) if holds and number > 1:
                        return number
                    case Operation("i32.ne", (_, Constant(number))) if not holds and number > 1:
                        return number
    return None


def _is_zeroed(reading: Reading, stack_pointer: int, below: int, entries: int) -> bool:
    """Whether all words of an array but its first are set to zero before any loop."""
    zeroed: set[int] = set()

    def cover(address: Value, length_bytes: int) -> None:
        start = _above(address, stack_pointer, below)
        if start is not None and length_bytes <= below:
            zeroed.update(range(start, start + length_bytes))

    for fill in reading.fills:
        if fill.value == Constant(0) and isinstance(fill.length, Constant):
            cover(fill.address, fill.length.number)
    for call in reading.calls:
        match call.arguments:
            case (address, Constant(0), Constant(length_bytes)) | (address, Constant(length_bytes)):
                cover(address, length_bytes)
    for store in reading.stores:
        if store.value == Constant(0) and not store.loop_depth:
            cover(store.address, store.width_bytes)
    return set(range(4, 4 * entries)) <= zeroed


def _above(address: Value, stack_pointer: int, below: int) -> int | None:
    """How far an address lies above the one that is `below` bytes under the stack pointer at entry."""
    terms, constant = linear(address)
    if terms != frozenset([(GlobalAtEntry(stack_pointer), 1)]):
        return None
    place = (constant + below) % _WORD
    return place if place < below else None


def frame_stores(
    reading: Reading, stack_pointer: int, array: MarkArray | None, size_bytes: int
) -> tuple[tuple[int, int], ...]:
    """What a function writes into its frame at fixed places, beside the mark stack."""
    bottom = 0 if array is None else size_bytes - array.below
    top = 0 if array is None else bottom + 4 * array.entries
    found = {
        (place, store.width_bytes)
        for store in reading.stores
        if (place := _above(store.address, stack_pointer, size_bytes)) is not None and not bottom <= place < top
    }
    return tuple(sorted(found))
