"""Finalizers of a guest of TinyGo 0.42, in a collection that is run in its place.

The table of finalizers lies on the guest's heap, and its words among the guest's variables; the guest registers and runs
them itself.  A collection moves the entries of what nothing reaches to those that are to run, as `bestfit.finalizers`
does it, and leaves a flag for the guest's own code, which then sets about running them (`rewriting`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from tinyheap.heap.bestfit.finalizers import FinalizerTable
from tinyheap.heap.contract import Engine

if TYPE_CHECKING:
    from tinyheap.guests.serve.memory import BoundMemory
    from tinyheap.recognize.facts import FinalizerTable as FinalizerWords


class GuestFinalizers:
    """The finalizers of one guest.

    Args:
        words: where the guest keeps what it knows of them.
        memory: the guest's.
        engine: of its heap.
    """

    def __init__(self, words: FinalizerWords, memory: BoundMemory, engine: Engine) -> None:
        self._words, self._memory = words, memory
        self._table = FinalizerTable(engine, _never)
        self._pending_before = 0

    def after_mark(self) -> int:
        """Find what nothing reaches, and mark what lives on for its finalizer; returns what ``Engine.finish_mark`` does.

        Raises:
            HeapCorruptError: a list was overwritten.
        """
        words, table = self._words, self._table
        table.registered, table.pending = self._read(words.registered_address), self._read(words.pending_address)
        table.count = self._read(words.count_address)
        table.bits, table.bits_bytes = self._read(words.bitmap_address), self._read(words.bitmap_bytes_address)
        self._pending_before = table.pending
        return table.after_mark()

    def commit(self) -> None:
        """Move the entries of what nothing reached to those that are to run, and say so."""
        words, table = self._words, self._table
        table.commit()
        for address, value in (
            (words.registered_address, table.registered),
            (words.pending_address, table.pending),
            (words.count_address, table.count),
            (words.pressure_address, 0),
        ):
            if address is not None:
                self._memory.write(address, value)
        if table.pending != self._pending_before and words.queued_address is not None:
            self._memory.write(words.queued_address, 1, 1)

    def _read(self, address: int | None) -> int:
        return 0 if address is None else self._memory.read(address)


def _never(size_bytes: int, layout: int) -> NoReturn:
    raise AssertionError("collections make no entries")
