"""What a budget can limit: the quantities, their units, and how values of them are written in a budget."""

from __future__ import annotations

import re
from enum import Enum, StrEnum
from math import ceil
from typing import Final

from tinyheap.errors import BudgetError, InvalidDurationError, InvalidSizeError
from tinyheap.units import GIB, KIB, MIB, parse_duration, parse_size

MOST_COUNT: Final = (1 << 63) - 1
EXACT_FROM: Final = 100
"""A value is written in the largest unit of which it is so many, so that rounding up changes it by 1% at most."""

_SIZES: Final = (("GiB", GIB), ("MiB", MIB), ("KiB", KIB), ("B", 1))
_DURATIONS: Final = (("s", 10**9), ("ms", 10**6), ("us", 10**3), ("ns", 1))


class Unit(Enum):
    """What a quantity is measured in; the value is its name in JSON."""

    BYTES = "bytes"
    COUNT = "count"
    NANOSECONDS = "ns"

    def read(self, value: object) -> int:
        """The number that a value of a budget says: 0 or more.

        Args:
            value: A text such as ``512 KiB`` or ``5 ms``; of bytes and counts also a whole number.

        Raises:
            BudgetError: It says none.
        """
        if self is Unit.NANOSECONDS:
            return _duration(value)
        return _size(value) if self is Unit.BYTES else _count(value)

    def written(self, value: float) -> str:
        """A value as `read` takes it, in TOML, rounded up to a unit that people read."""
        if self is Unit.COUNT:
            return str(ceil(value))
        units = _SIZES if self is Unit.BYTES else _DURATIONS
        name, scale = next((each for each in units if value >= EXACT_FROM * each[1]), units[-1])
        return f'"{ceil(value / scale)} {name}"'


def _size(value: object) -> int:
    try:
        return parse_size(_text(value), least=0)
    except InvalidSizeError as error:
        raise BudgetError(str(error)) from error


def _duration(value: object) -> int:
    try:
        return parse_duration(value if isinstance(value, str) else repr(value))
    except InvalidDurationError as error:
        raise BudgetError(str(error)) from error


def _count(value: object) -> int:
    text = _text(value)
    if not (re.fullmatch("[0-9]{1,19}", text) and int(text) <= MOST_COUNT):
        raise BudgetError(f"invalid number {value!r}: expected a whole number, 0 or more")
    return int(text)


def _text(value: object) -> str:
    """A whole number as it would be written; numbers in TOML need no quotes."""
    return value if isinstance(value, str) else str(value) if type(value) is int else repr(value)


class Quantity(StrEnum):
    """A quantity of a run that a budget can limit; the value is its key in the file."""

    PEAK = "peak"
    """Bytes of the objects that lived when there were most (`tinyheap.profile.Peak`)."""
    LIVE_AT_END = "live-at-end"
    """Bytes of the objects that lived at the end."""
    PAGES = "pages"
    """Of linear memory at the end, 64 KiB each."""
    ALLOCATIONS = "allocations"
    """How many objects were allocated."""
    GARBAGE_PER_CALL = "garbage-per-call"
    """Bytes that a call of the host allocates on average and that are not kept (`tinyheap.profile.CallTrend`)."""
    GROWTH_PER_CALL = "growth-per-call"
    """Bytes by which what lives grows from one call of the host to the next; 0 where it is flat."""
    LONGEST_PAUSE = "longest-pause"
    COLLECTOR_TIME = "collector-time"
    """All pauses together."""

    @property
    def unit(self) -> Unit:
        """What it is measured in."""
        if self in (Quantity.PAGES, Quantity.ALLOCATIONS):
            return Unit.COUNT
        return Unit.NANOSECONDS if self.is_duration else Unit.BYTES

    @property
    def is_duration(self) -> bool:
        """Whether it differs from run to run, and from machine to machine."""
        return self in (Quantity.LONGEST_PAUSE, Quantity.COLLECTOR_TIME)

    @property
    def is_of_calls(self) -> bool:
        """Whether it depends on which calls are looked at (`Budget.after`)."""
        return self in (Quantity.GARBAGE_PER_CALL, Quantity.GROWTH_PER_CALL)
