"""How far a guest's heap grows next, and why not where it cannot grow.

A program's heap ends where its memory does, before and after each growth: some programs set ``heapEnd`` from the size of
their memory again and again.  Memory is a number of whole pages, so the size that a growth policy asks for is rounded up
to them, and a limit down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import wasmtime

from tinyheap.heap.growth import growth_text, next_size
from tinyheap.units import WASM_PAGE_BYTES

if TYPE_CHECKING:
    from tinyheap.guests.policy import Policy
    from tinyheap.guests.serve.memory import BoundMemory
    from tinyheap.heap.geometry import Geometry


class Growing:
    """Grows the memory under a guest's heap, step by step.

    Args:
        limit_bytes: what the store lets the memory grow to, for messages; None for no limit.
    """

    def __init__(self, policy: Policy, memory: BoundMemory, limit_bytes: int | None) -> None:
        self._policy, self._memory, self._limit_bytes = policy, memory, limit_bytes
        self.obstacle = ""
        """Why there was no further step."""

    def extend(self, old: Geometry) -> int | None:
        """Make room for the next step; the heap's size then, or None where there is no step."""
        pages = self._memory.pages
        end_address = self._next_end(old, pages)
        new_pages = -(-end_address // WASM_PAGE_BYTES)
        if end_address <= old.end_address:
            self.obstacle = self._why_not_larger(old)
            return None
        if new_pages > pages:
            try:
                self._memory.grow(new_pages - pages)
            except wasmtime.WasmtimeError:
                self.obstacle = self._why_no_memory(pages, new_pages)
                return None
        return end_address - old.start_address

    def _next_end(self, old: Geometry, pages: int) -> int:
        """The address at which the heap is to end next: where the memory will, since programs look for it there."""
        growth = self._policy.growth
        # As the original: what there is, again.
        new_pages = 2 * pages
        if growth is not None:
            new_pages = -(-(old.start_address + next_size(growth, old.heap_bytes)) // WASM_PAGE_BYTES)
        for limit_bytes in self._policy.limits_bytes:
            new_pages = min(new_pages, (old.start_address + limit_bytes) // WASM_PAGE_BYTES)
        return min(new_pages * WASM_PAGE_BYTES, old.address_space_bytes)

    def _why_not_larger(self, old: Geometry) -> str:
        """Why the policy has no larger heap."""
        limits = [limit for limit in self._policy.limits_bytes if limit < old.heap_bytes + WASM_PAGE_BYTES]
        if limits:
            return (
                f"it has reached its limit of {min(limits)} bytes, as far as whole pages of {WASM_PAGE_BYTES} bytes go; "
                "allow it more (--heap-limit)"
            )
        if old.end_address + old.block_bytes > old.address_space_bytes:
            return "it ends where the address space does"
        policy = "double" if self._policy.growth is None else growth_text(self._policy.growth)
        return f"its growth policy ({policy}) makes it no larger; choose another (--growth)"

    def _why_no_memory(self, pages: int, new_pages: int) -> str:
        """Why there are no further pages for the next step."""
        step = f"the next step is from {pages * WASM_PAGE_BYTES} to {new_pages * WASM_PAGE_BYTES} bytes of memory"
        limit_bytes, most = self._limit_bytes, self._memory.most_pages
        if limit_bytes is not None and new_pages * WASM_PAGE_BYTES > limit_bytes:
            return (
                f"{step}, over the memory limit of {limit_bytes}; allow more (--memory-limit), or smaller steps "
                "(--growth step:64K)"
            )
        if most is not None and new_pages > most:
            return f"{step}, over the {most * WASM_PAGE_BYTES} that the module allows; try smaller steps (--growth step:64K)"
        return f"{step}, which this machine does not have; try smaller steps (--growth step:64K)"
