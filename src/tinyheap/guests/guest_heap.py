"""The heap of a running guest, to be looked at between the calls of its functions, or by a listener of its collections.

It is looked at where it is, in the guest's memory, and nothing is changed.  Until the guest's first allocation there is
no heap yet: all statistics are 0 then.  Looking while another thread runs the program is refused (`GuestPhaseError`).  What
only some programs look at is imported when they do, so that all start soon.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tinyheap.errors import HeapError
from tinyheap.guests.serve.growing import MemorySteps
from tinyheap.heap.contract import Census, Engine, Gc
from tinyheap.heap.stats import MemStats
from tinyheap.heap.view import HeapView, walk
from tinyheap.ownership import SoleOwner

if TYPE_CHECKING:
    from tinyheap.guests.policy import Policy
    from tinyheap.guests.serve.prepared import BoundHeap
    from tinyheap.heap.blockmap import BlockMap
    from tinyheap.heap.collectors import Collector
    from tinyheap.heap.geometry import Geometry
    from tinyheap.heap.layout import Layout
    from tinyheap.heap.stats import Collection
    from tinyheap.heap.view import HeapObject
    from tinyheap.recognize.facts import ServedHeap

_NOTHING = MemStats(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
_NO_BLOCKS = Census(0, 0, 0, 0, 0, 0)


class GuestHeap(SoleOwner):
    """The heap of a program whose collector was replaced; made by `Program`."""

    def __init__(self, bound: BoundHeap) -> None:
        self._bound: BoundHeap | None = bound

    def _open(self) -> BoundHeap:
        if self._bound is None:
            raise HeapError("the program was closed, and its heap with it; look at the heap before that")
        return self._bound

    @property
    def _engine(self) -> Engine | None:
        serving = self._open().serving
        return None if serving is None else serving.engine

    @contextmanager
    def _looking(self) -> Iterator[BoundHeap]:
        """Around all that looks into the guest's memory, during which no thread may run the guest."""
        bound = self._open()
        with bound.life.using("look at the heap"):
            yield self._open()

    def _begun(self) -> Engine:
        engine = self._engine
        if engine is None:
            raise HeapError(
                "the program has not allocated anything yet, so there is no heap to look at; start it first"
            )
        return engine

    def close(self) -> None:
        """Release the guest's memory; the program cannot allocate any more.

        Raises:
            GuestPhaseError: It is running.
        """
        if self._bound is not None:
            with self._bound.life.idle("close"):
                self._bound.close()
                self._bound = None

    @property
    def is_begun(self) -> bool:
        """Whether the guest has allocated anything."""
        return self._engine is not None

    @property
    def policy(self) -> Policy:
        """How it is run."""
        return self._open().policy

    @property
    def facts(self) -> ServedHeap:
        """Where its parts lie in the program."""
        return self._open().facts

    @property
    def gc(self) -> Gc:
        """The collector that was replaced: precise or conservative."""
        return Gc.PRECISE if self.facts.is_precise else Gc.CONSERVATIVE

    @property
    def collector(self) -> Collector:
        """The collector that serves; addresses are those of a native run only where it is the program's own."""
        return self._open().collector

    @property
    def is_own_collector(self) -> bool:
        """Whether the program's own collector would be the same."""
        return self.collector is self.facts.collector

    @property
    def engine_name(self) -> str:
        """``kernel`` or ``model``."""
        return self._open().engine_name

    @property
    def start_address(self) -> int:
        """Where the first block lies; 0 where the guest does not know it yet."""
        with self._looking() as bound:
            return bound.heap_start_address

    @property
    def geometry(self) -> Geometry:
        """Where things lie now.

        Raises:
            HeapError: The program has not allocated yet, or was closed; so in all that follows.
        """
        return self._begun().geometry

    @property
    def collections(self) -> tuple[Collection, ...]:
        """All collections so far, in order."""
        return tuple(self._open().collections)

    @property
    def memory_steps(self) -> MemorySteps:
        """How the memory under the heap grew so far."""
        serving = self._open().serving
        return MemorySteps() if serving is None else serving.memory_steps

    def stats(self) -> MemStats:
        """The fields of Go's ``MemStats``, as they are now."""
        with self._looking() as bound:
            return _NOTHING if bound.serving is None else self._view(bound.serving.engine).stats()

    def census(self) -> Census:
        """The blocks, counted by state, and the free runs among them."""
        with self._looking() as bound:
            return _NO_BLOCKS if bound.serving is None else self._view(bound.serving.engine).census()

    def dump(self) -> BlockMap:
        """A map of the heap's blocks, for printing."""
        with self._looking():
            return self._view(self._begun()).dump()

    def verify(self) -> None:
        """Check the heap.

        Raises:
            HeapCorruptError: Names each problem found and its place.
        """
        with self._looking() as bound:
            bound.verify()

    def problems(self) -> list[str]:
        """What `verify` finds, a phrase for each problem; empty for a sound heap, and before the first allocation."""
        with self._looking() as bound:
            return bound.problems()

    def finish(self) -> None:
        """Check the heap for the last time, as far as its policy asks for it; for when the program has ended.

        Raises:
            HeapCorruptError: Something was overwritten.
        """
        with self._looking() as bound:
            bound.finish()

    def objects(self) -> Iterator[HeapObject]:
        """The objects that the last collection left and those made since, in the order of their addresses.

        If the program runs while they are iterated, changes beyond the current address are seen.
        """
        return walk(self._next_object)

    def _next_object(self, block: int) -> HeapObject | None:
        """The first object from a block on; None where there is none any more."""
        with self._looking() as bound:
            return None if bound.serving is None else self._view(bound.serving.engine).next_object(block)

    def _view(self, engine: Engine) -> HeapView:
        return HeapView(engine, self.gc, self._layout_of)

    def _layout_of(self, word: int) -> Layout:
        """The layout that a layout word of the program stands for.

        Raises:
            LayoutError: It stands for none: it was overwritten.
        """
        from tinyheap.heap.layout import Layout, static_layout

        word_bytes = self.geometry.word_bytes
        if word == 0 or word & 1:
            return Layout.from_word(word, word_bytes)
        return static_layout(self._open().memory, word, word_bytes)
