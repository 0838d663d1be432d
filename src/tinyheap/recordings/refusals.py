"""What can refuse a growth of linear memory."""

from __future__ import annotations

from enum import Enum
from typing import Final

from tinyheap.units import WASM_PAGE_BYTES

MOST_PAGES: Final = 1 << 16
"""Of a memory with addresses of 32 bits."""


class Refusal(Enum):
    """What refused a growth; the value is what a recording says."""

    MAXIMUM = "maximum"
    """The module declares no more."""
    MEMORY_LIMIT = "memory limit"
    """The limit on the program's memory that the run was given."""
    HEAP_LIMIT = "heap limit"
    """The limit on its heap, where tinyheap serves that."""
    POLICY = "growth policy"
    """The policy by which such a heap grows has no larger one."""
    ADDRESS_SPACE = "address space"
    """Addresses of 32 bits reach no further."""
    HOST = "host"
    """The machine has no memory left, or whoever runs the program has a limit of its own."""


def refusal(new_pages: int, maximum_pages: int | None, limit_bytes: int | None) -> Refusal:
    """What refused to let a memory become so large.

    Args:
        new_pages: what it was to be.
        maximum_pages: what its module allows; None for no limit.
        limit_bytes: what its host allows; None for no limit.
    """
    if limit_bytes is not None and new_pages * WASM_PAGE_BYTES > limit_bytes:
        return Refusal.MEMORY_LIMIT
    if maximum_pages is not None and new_pages > maximum_pages:
        return Refusal.MAXIMUM
    return Refusal.ADDRESS_SPACE if new_pages > MOST_PAGES else Refusal.HOST
