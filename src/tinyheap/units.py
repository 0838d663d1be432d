"""Sizes and durations, by name, and as people write them; and how many there are of something, in words."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

from tinyheap.errors import InvalidDurationError, InvalidSizeError

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB
WASM_PAGE_BYTES: Final = 64 * KIB
"""What the memory of a WebAssembly program grows by."""

_UNITS_BYTES: Final = {"": 1, "b": 1, "k": KIB, "kib": KIB, "m": MIB, "mib": MIB, "g": GIB, "gib": GIB}
"""Powers of two only: `KB`, which means two things, is refused."""
_UNITS_NS: Final = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}
_MOST: Final = (1 << 63) - 1
"""Of bytes and of nanoseconds."""


def counted(count: int, what: str = "object") -> str:
    """`1 object`, `1,234 objects`; `what` is a noun that an `s` makes many of."""
    return f"{count:,} {what if count == 1 else what + 's'}"


def parse_size(text: str, least: int = 1) -> int:
    """The bytes, `least` or more, that a size says: `65536`, `64K` or `64KiB`; also M, MiB, G and GiB, in either case.

    Raises:
        InvalidSizeError: it says none, or one that is smaller, or that 63 bits do not hold.
    """
    match = re.fullmatch(r"([0-9]{1,19}) ?([a-z]*)", text.strip().lower())
    unit_bytes = _UNITS_BYTES.get(match[2]) if match else None
    if not match or not unit_bytes:
        raise InvalidSizeError(f"invalid size {text!r}: expected a number and a unit, such as 512, 64KiB or 16M")
    size_bytes = int(match[1]) * unit_bytes
    if not least <= size_bytes <= _MOST:
        raise InvalidSizeError(f"invalid size {text!r}: expected {least} to {_MOST} bytes")
    return size_bytes


def parse_duration(text: str) -> int:
    """The nanoseconds, 0 or more, that a duration says: `5 ms`, `1.5s`; the units are ns, us, ms and s.

    Raises:
        InvalidDurationError: it says none, or one that 63 bits do not hold; or not whole nanoseconds.
    """
    match = re.fullmatch(r"([0-9]{1,19}(?:\.[0-9]{1,9})?) ?(ns|us|ms|s)", text.strip())
    duration_ns = Fraction(match[1]) * _UNITS_NS[match[2]] if match else Fraction(-1)
    if duration_ns.denominator != 1 or not 0 <= duration_ns <= _MOST:
        raise InvalidDurationError(
            f"invalid duration {text!r}: expected a number and a unit, such as 800us, 5ms or 1.5s"
        )
    return int(duration_ns)
