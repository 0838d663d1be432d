"""The heap of a running guest, to be looked at between the calls of its functions, or by a listener of its collections.

It is looked at where it is, in the guest's memory, and nothing is changed.  Until the guest's first allocation there is
no heap yet: all figures are 0 then.  Looking while another thread runs the program is refused (`GuestPhaseError`).  What
only some programs look at is imported when they do, so that all start soon.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tinyheap.errors import HeapError, LayoutError
from tinyheap.heap.contract import Census, Engine, Gc, State
from tinyheap.heap.stats import MemStats, mem_stats
from tinyheap.ownership import SoleOwner

if TYPE_CHECKING:
    from tinyheap.guests.policy import Policy
    from tinyheap.guests.serve.prepared import BoundHeap
    from tinyheap.heap.blockmap import BlockMap
    from tinyheap.heap.geometry import Geometry
    from tinyheap.heap.heap import HeapObject
    from tinyheap.heap.layout import Layout
    from tinyheap.heap.stats import Collection
    from tinyheap.recognize.facts import BlockHeap

_NOTHING = MemStats(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
_NO_BLOCKS = Census(0, 0, 0, 0, 0, 0)


class GuestHeap(SoleOwner):
    """The heap of a program whose collector was replaced; made by `Program`."""

    def __init__(self, bound: BoundHeap) -> None:
        self._bound: BoundHeap | None = bound

    def _open(self) -> BoundHeap:
        if self._bound is None:
            raise HeapError("the program was closed, and its heap with it; look at it before")
        return self._bound

    @property
    def _engine(self) -> Engine | None:
        serving = self._open().serving
        return None if serving is None else serving.engine

    @contextmanager
    def _looking(self) -> Iterator[BoundHeap]:
        """Around all that looks into the guest's memory, which nobody may run meanwhile."""
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
        """Let go of the guest's memory; the program cannot allocate any more.

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
    def facts(self) -> BlockHeap:
        """Where its parts lie in the program."""
        return self._open().facts

    @property
    def gc(self) -> Gc:
        """The collector that was replaced: precise or conservative."""
        return Gc.PRECISE if self.facts.is_precise else Gc.CONSERVATIVE

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

    def stats(self) -> MemStats:
        """The fields of Go's ``MemStats``, as they are now."""
        with self._looking() as bound:
            if bound.serving is None:
                return _NOTHING
            engine = bound.serving.engine
            free_blocks = engine.census().free_blocks
            return mem_stats(engine.geometry, engine.counters, self.gc, free_blocks, engine.bump_address)

    def census(self) -> Census:
        """The blocks, counted by state, and the free runs among them."""
        with self._looking() as bound:
            return _NO_BLOCKS if bound.serving is None else bound.serving.engine.census()

    def dump(self) -> BlockMap:
        """The picture of the heap; print it."""
        from tinyheap.heap.blockmap import BlockMap

        with self._looking():
            return BlockMap(self.geometry, self._begun().read_table())

    def verify(self) -> None:
        """Check the heap.

        Raises:
            HeapCorruptError: Names each problem found and its place.
        """
        with self._looking() as bound:
            bound.verify()

    def finish(self) -> None:
        """Check the heap for the last time, as far as its policy asks for it; for when the program has ended.

        Raises:
            HeapCorruptError: Something was overwritten.
        """
        with self._looking() as bound:
            bound.finish()

    def objects(self) -> Iterator[HeapObject]:
        """All objects that the last collection left or that were made since, by address.

        What the program does meanwhile is seen where that has not been passed yet.
        """
        block = 0
        while (found := self._next_object(block)) is not None:
            yield found
            block = found.head + found.blocks

    def _next_object(self, block: int) -> HeapObject | None:
        """The first object from a block on; None where there is none any more."""
        with self._looking():
            engine = self._engine
            while engine is not None and block < engine.geometry.end_block:
                if engine.state(block) in (State.HEAD, State.MARK):
                    return self._describe(engine, block)
                block += 1
        return None

    def _describe(self, engine: Engine, head: int) -> HeapObject:
        from tinyheap.heap.heap import HeapObject

        geometry = engine.geometry
        address, blocks = geometry.address_of(head), engine.find_next(head) - head
        size_bytes = blocks * geometry.block_bytes
        if self.gc is not Gc.PRECISE:
            return HeapObject(address, head, blocks, size_bytes, None)
        header_bytes = geometry.header_bytes
        layout = self._layout_of(engine.load_word(address), geometry.word_bytes)
        return HeapObject(address + header_bytes, head, blocks, size_bytes - header_bytes, layout)

    def _layout_of(self, word: int, word_bytes: int) -> Layout | None:
        """The layout that a layout word stands for; None where it was overwritten."""
        from tinyheap.heap.layout import Layout

        try:
            if word == 0 or word & 1:
                return Layout.from_word(word, word_bytes)
            memory = self._open().memory
            words = int.from_bytes(memory[word : word + word_bytes], "little")
            bits_at, bits_bytes = word + word_bytes, (words + 7) // 8
            if bits_at + bits_bytes > len(memory):
                return None
            bitmap = int.from_bytes(memory[bits_at : bits_at + bits_bytes], "little")
            return Layout(words, bitmap & (1 << words) - 1)
        except LayoutError:
            return None
