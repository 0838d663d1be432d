"""What happens to an unreachable object of best-fit-back: finalizers as TinyGo 0.42 has them.

Weak references are as on every heap (`tinyheap.heap.finalization`).  Finalizers are entries of a table on the heap
(`finalizers`), and differ from the others in this:

* setting one allocates, first of all: it may collect, grow the heap, or run out of memory;
* objects that lead to each other become due in the same collection, in the order in which they were registered, and so
  does an object that leads to itself;
* a reallocation leaves the finalizer with the old object;
* those that a finalizer's own collection makes due run when it has ended, before others that wait.

The functions themselves are Python's, and are found by the address of their entry; its function words are zero.
"""

from __future__ import annotations

from collections.abc import Callable

from tinyheap.errors import HeapCorruptError
from tinyheap.heap.bestfit.finalizers import FinalizerTable
from tinyheap.heap.contract import Engine
from tinyheap.heap.finalization import Afterlife, Finalizer


class TableAfterlife(Afterlife):
    """The weak references and finalizers of a heap whose finalizers lie in it.

    Args:
        engine: what the heap is on.
        alloc: allocates so many bytes with a layout word, in this heap.
    """

    def __init__(self, engine: Engine, alloc: Callable[[int, int], int]) -> None:
        super().__init__()
        self.table = FinalizerTable(engine, alloc)
        self._functions: dict[int, Finalizer] = {}
        """By the address of their entry."""
        self._is_draining = False

    @property
    def has_due(self) -> bool:
        return super().has_due or bool(self.table.pending)

    @property
    def is_pressing(self) -> bool:
        return self.table.is_pressing

    def problems(self, most: int) -> list[str]:
        return self.table.problems(most)

    def set_finalizer(self, head: int, address: int, finalizer: Finalizer | None) -> None:
        if finalizer is None:
            self._drop(self.table.unregister(address))
        else:
            self._functions[self.table.register(address, (0, 0))] = finalizer

    def moved(self, old_head: int, new_head: int, new_address: int) -> None:
        """The finalizer stays with the old object."""

    def forget(self, head: int, address: int) -> None:
        self._drop(self.table.forget(address))
        super().forget(head, address)

    def _drop(self, entries: list[int]) -> None:
        for entry in entries:
            self._functions.pop(entry, None)

    def due_addresses(self) -> list[int]:
        return [*super().due_addresses(), *self.table.roots()]

    def _after_mark_finalizers(self, engine: Engine) -> int:
        return self.table.after_mark()

    def commit(self) -> None:
        super().commit()
        self.table.commit()

    def run(self) -> None:
        super().run()
        if self._is_draining:
            # What is due now is for the call that runs finalizers already.
            return
        self._is_draining = True
        try:
            while (pending := self.table.take_pending()) is not None:
                self._run_one(pending.address, self._function_of(pending.entry))
                super().run()
        finally:
            self._is_draining = False

    def _function_of(self, entry: int) -> Finalizer:
        try:
            return self._functions.pop(entry)
        except KeyError:
            raise HeapCorruptError(
                f"the list of finalizers to run leads to {entry:#x}, where none was registered: a link word was overwritten"
            ) from None
