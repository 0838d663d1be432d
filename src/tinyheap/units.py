"""Sizes in bytes, by name, and as people write them."""

from __future__ import annotations

import re
from typing import Final

from tinyheap.errors import InvalidSizeError

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB
WASM_PAGE_BYTES: Final = 64 * KIB
"""What the memory of a WebAssembly program grows by."""

_UNITS_BYTES: Final = {"": 1, "b": 1, "k": KIB, "kib": KIB, "m": MIB, "mib": MIB, "g": GIB, "gib": GIB}
"""Powers of two only: `KB`, which means two things, is refused."""
_MOST_BYTES: Final = (1 << 63) - 1


def parse_size(text: str) -> int:
    """The bytes, 1 or more, that a size says: `65536`, `64K` or `64KiB`; also M, MiB, G and GiB, in either case.

    Raises:
        InvalidSizeError: it says none, or one that 63 bits do not hold.
    """
    match = re.fullmatch(r"([0-9]{1,19}) ?([a-z]*)", text.strip().lower())
    unit_bytes = _UNITS_BYTES.get(match[2]) if match else None
    size_bytes = int(match[1]) * unit_bytes if match and unit_bytes else 0
    if not 1 <= size_bytes <= _MOST_BYTES:
        raise InvalidSizeError(f"invalid size {text!r}: expected a number and a unit, such as 512, 64KiB or 16M")
    return size_bytes
