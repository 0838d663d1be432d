"""What can refuse a growth of linear memory."""

from __future__ import annotations

from enum import Enum


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
