"""What a guest's own collector scans for roots, in its order: the stack, then the globals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from tinyheap.guests.serve.memory import WORD_BYTES
from tinyheap.recognize.facts import StackScan

if TYPE_CHECKING:
    from tinyheap.recognize.facts import RootAddresses


class Memory(Protocol):
    """What can be read."""

    def read(self, address: int) -> int:
        """The word at an address."""


def root_ranges(roots: RootAddresses, memory: Memory, scanned_from: int) -> Iterator[tuple[int, int]]:
    """Start and end address of each range.

    Args:
        scanned_from: where the scan of the stack begins, if all of it is scanned.
    """
    yield from _stack_ranges(roots, memory, scanned_from)
    yield roots.globals_start_address, roots.globals_end_address


def _stack_ranges(roots: RootAddresses, memory: Memory, scanned_from: int) -> Iterator[tuple[int, int]]:
    task = memory.read(roots.current_task_address) if roots.current_task_address is not None else 0
    top = roots.stack_top_address or 0
    if roots.stack_scan is StackScan.CHAIN:
        yield from _chain_ranges(memory, roots.stack_chain_address or 0)
    elif roots.stack_scan is StackScan.SYSTEM or (roots.stack_scan is StackScan.SYSTEM_UNLESS_TASK and not task):
        yield scanned_from, top
    elif roots.stack_scan is StackScan.SYSTEM_OR_SAVED:
        saved = memory.read(roots.saved_stack_pointer_address or 0)
        yield (saved if task else scanned_from), top


def _chain_ranges(memory: Memory, first_address: int) -> Iterator[tuple[int, int]]:
    """The stack objects of a guest that links them: ``{next, number of words, words...}``."""
    seen = set()
    at = memory.read(first_address)
    while at and at not in seen:
        seen.add(at)
        words_at = at + 2 * WORD_BYTES
        yield words_at, words_at + memory.read(at + WORD_BYTES) * WORD_BYTES
        at = memory.read(at)
