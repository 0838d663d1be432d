"""How a transplanted module is to run its heap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinyheap.errors import PolicyError
from tinyheap.heap.growth import ByRatio, Doubling, FixedStep, NoGrowth, Pages, growth_text
from tinyheap.units import WASM_PAGE_BYTES

if TYPE_CHECKING:
    from tinyheap.heap.growth import Growth

_WRITABLE = (ByRatio, Doubling, FixedStep, NoGrowth, Pages)
"""Policies that can be written as code."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a transplanted module is to run its heap, and what is to be in it.

    Without any, it does what the original does, to the byte.

    Args:
        growth: How far the heap grows next; None for the original's way, which is to double the memory.
        limit_bytes: What the memory may grow to, rounded down to pages of 64 KiB; None for what the module declares.
        clear_blocks: Whether objects are zeroed to the end of their last block, and not only as far as was asked for.
        bulk_memory: Whether `memory.fill` and `memory.copy` may be used; None where the module uses them itself.
        keep_names: Whether the added functions have names even in a module that has none.
        stats: Whether it is counted what the collector does, in exported globals (`tinyheap.collections` and others), and, by
            a clock that the module imports, how long that takes (`tinyheap.nanoseconds`).

    Raises:
        PolicyError: The growth cannot be written as code, or has a limit of its own.
    """

    growth: Growth | None = None
    limit_bytes: int | None = None
    clear_blocks: bool = False
    bulk_memory: bool | None = None
    keep_names: bool = False
    stats: bool = False

    def __post_init__(self) -> None:
        growth = self.growth
        if growth is not None and not isinstance(growth, _WRITABLE):
            raise PolicyError(
                f"growth policy {type(growth).__name__} cannot be written into a module: expected one of "
                f"{', '.join(kind.__name__ for kind in _WRITABLE)}"
            )
        if growth is not None and growth.limit_bytes and not isinstance(growth, NoGrowth):
            raise PolicyError(f"growth {growth_text(growth)}: expected a policy without a limit; use limit_bytes")
        if self.limit_bytes is not None and self.limit_bytes < WASM_PAGE_BYTES:
            raise PolicyError(
                f"invalid limit of {self.limit_bytes} bytes: expected a page of {WASM_PAGE_BYTES} or more"
            )
