"""How far a guest's heap grows next, and why not where it cannot grow.

A program's heap ends where its memory does, before and after each growth: some programs set ``heapEnd`` from the size of
their memory again and again.  Memory is a number of whole pages, so the size that a growth policy asks for is rounded up
to them, and a limit down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import wasmtime

from tinyheap.heap.growth import FixedStep, growth_text, next_size
from tinyheap.recordings.refusals import Refusal, refusal
from tinyheap.units import WASM_PAGE_BYTES

if TYPE_CHECKING:
    from tinyheap.guests.policy import Policy
    from tinyheap.guests.record.running_recorder import RunningRecorder
    from tinyheap.guests.serve.memory import BoundMemory
    from tinyheap.heap.geometry import Geometry

GROWTH: Final = "growth: "
"""Before what is said of why a heap does not grow, among the evidence of how a run ended."""


@dataclass(frozen=True, slots=True)
class MemorySteps:
    """How the memory under a heap grew."""

    pages: tuple[int, ...] = ()
    """Its sizes, 64 KiB each: when the heap began, and after each growth of the heap; none before the first allocation."""
    refused_pages: int | None = None
    """The size that was refused last; None where none was."""


class Growing:
    """Grows the memory under a guest's heap, step by step.

    Args:
        limit_bytes: what the store lets the memory grow to; None for no limit.
        recording: takes each step; None where the run is not recorded.
    """

    def __init__(
        self, policy: Policy, memory: BoundMemory, limit_bytes: int | None, recording: RunningRecorder | None = None
    ) -> None:
        self._policy, self._memory, self._limit_bytes, self._recording = policy, memory, limit_bytes, recording
        self.obstacle = ""
        """Why there was no further step."""
        self.steps = MemorySteps((memory.pages,))

    def extend(self, old: Geometry, range_blocks: int = 0) -> int | None:
        """Make room for the next step; the heap's size then, or None where there is no step.

        Args:
            old: what the heap has.
            range_blocks: how long the range of new blocks has to be, as far as the policy is a chosen one; it goes on then by
                as many steps as that takes.
        """
        pages, wanted_pages = self._memory.pages, self._wanted_pages(old, range_blocks)
        end_address = self._allowed_end(old, wanted_pages)
        new_pages = -(-end_address // WASM_PAGE_BYTES)
        if end_address <= old.end_address:
            refused_by, self.obstacle = self._why_not_larger(old)
            self._note(pages, wanted_pages, refused_by)
            return None
        if new_pages > pages:
            try:
                self._memory.grow(new_pages - pages)
            except wasmtime.WasmtimeError:
                refused_by = refusal(new_pages, self._memory.most_pages, self._limit_bytes)
                self.obstacle = self._why_no_memory(pages, new_pages, refused_by)
                self._note(pages, new_pages, refused_by)
                return None
            self._note(pages, new_pages, None)
        return end_address - old.start_address

    def _note(self, pages: int, wanted_pages: int, refused_by: Refusal | None) -> None:
        """Keep a step from a size to another, or what refused it, and tell the recording, if there is one."""
        if refused_by is None:
            self.steps = MemorySteps((*self.steps.pages, wanted_pages), self.steps.refused_pages)
        else:
            self.steps = MemorySteps(
                self.steps.pages, wanted_pages if wanted_pages > pages else self.steps.refused_pages
            )
        if self._recording is not None:
            asked_pages = max(wanted_pages - pages, 0)
            new_pages = pages if refused_by is not None else wanted_pages
            self._recording.note_memory_growth(pages, asked_pages, new_pages, refused_by)

    def _wanted_pages(self, old: Geometry, range_blocks: int) -> int:
        """How large the memory is to be next, as far as the growth policy goes."""
        growth = self._policy.growth
        if growth is None:
            # As the original: what there is, again.
            return 2 * self._memory.pages
        heap_bytes, pages = old.heap_bytes, 0
        while True:
            next_pages = -(-(old.start_address + next_size(growth, heap_bytes)) // WASM_PAGE_BYTES)
            next_bytes = next_pages * WASM_PAGE_BYTES - old.start_address
            if next_bytes <= heap_bytes or old.start_address + next_bytes > old.address_space_bytes:
                return max(pages, next_pages)
            heap_bytes, pages = next_bytes, next_pages
            if old.resized(heap_bytes).end_block - old.end_block >= range_blocks:
                return pages

    def _allowed_end(self, old: Geometry, new_pages: int) -> int:
        """The address at which the heap is to end next: where the memory will, since programs look for it there."""
        for limit_bytes in self._policy.limits_bytes:
            new_pages = min(new_pages, (old.start_address + limit_bytes) // WASM_PAGE_BYTES)
        return min(new_pages * WASM_PAGE_BYTES, old.address_space_bytes)

    def _why_not_larger(self, old: Geometry) -> tuple[Refusal, str]:
        """Why the policy has no larger heap."""
        limits = [limit for limit in self._policy.limits_bytes if limit < old.heap_bytes + WASM_PAGE_BYTES]
        if limits:
            return Refusal.HEAP_LIMIT, (
                f"it has reached its limit of {min(limits)} bytes, as far as whole pages of {WASM_PAGE_BYTES} bytes go; "
                "allow it more (--heap-limit)"
            )
        if old.end_address + old.block_bytes > old.address_space_bytes:
            return Refusal.ADDRESS_SPACE, "it ends where the address space does"
        policy = "double" if self._policy.growth is None else growth_text(self._policy.growth)
        return Refusal.POLICY, f"its growth policy ({policy}) makes it no larger; choose another (--growth)"

    def _why_no_memory(self, pages: int, new_pages: int, refused_by: Refusal) -> str:
        """Why there are no further pages for the next step."""
        growth = self._policy.growth
        is_least = isinstance(growth, FixedStep) and growth.step_bytes <= WASM_PAGE_BYTES
        smaller = "smaller steps (--growth step:64K)"
        step = f"the next step is from {pages * WASM_PAGE_BYTES} to {new_pages * WASM_PAGE_BYTES} bytes of memory"
        if refused_by is Refusal.MEMORY_LIMIT:
            advice = "" if is_least else f", or {smaller}"
            return f"{step}, over the memory limit of {self._limit_bytes}; allow more (--memory-limit){advice}"
        advice = "" if is_least else f"; try {smaller}"
        if refused_by is Refusal.MAXIMUM:
            most_bytes = (self._memory.most_pages or 0) * WASM_PAGE_BYTES
            return f"{step}, over the {most_bytes} that the module allows{advice}"
        return f"{step}, which this machine does not have{advice}"
