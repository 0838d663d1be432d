"""A view of a heap on any engine: its objects, their census and statistics.

`Heap` and `tinyheap.guests.GuestHeap` use it.  A view reads, and changes nothing; its users check that no other thread
works on the heap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tinyheap.errors import HeapCorruptError, InvalidAddressError, LayoutError
from tinyheap.heap.contract import NO_BLOCK, Census, Engine, Gc, State
from tinyheap.heap.stats import MemStats, mem_stats

if TYPE_CHECKING:
    from tinyheap.heap.blockmap import BlockMap
    from tinyheap.heap.layout import Layout


@dataclass(frozen=True, slots=True)
class HeapObject:
    """A live object.

    Args:
        address: what the mutator holds.
        head: the block that is its head: the first one, or, where heads are last, the last.
        blocks: how many it has.
        size_bytes: from ``address`` to the end of its last block: at least what was asked for.
        layout: where its pointers may be; None where the collector does not know (conservative).
        head_is_last: which one the head is.
    """

    address: int
    head: int
    blocks: int
    size_bytes: int
    layout: Layout | None
    head_is_last: bool = field(default=False, repr=False)

    @property
    def first(self) -> int:
        """Its first block."""
        return self.head - self.blocks + 1 if self.head_is_last else self.head


@dataclass(frozen=True, slots=True)
class HeapView:
    """One heap, to be looked at.

    Args:
        engine: what has its blocks.
        gc: which collector it is under.
        layout_of: the layout that a layout word stands for; raises `LayoutError` where it stands for none.
    """

    engine: Engine
    gc: Gc
    layout_of: Callable[[int], Layout]

    def stats(self) -> MemStats:
        """The fields of Go's ``MemStats``, as they are now."""
        engine, census = self.engine, self.engine.census()
        blocks = (census.free_blocks, census.heads)
        return mem_stats(engine.collector, engine.geometry, engine.counters, self.gc, blocks, engine.bump_address)

    def census(self) -> Census:
        """The blocks, counted by state, and the free runs among them."""
        return self.engine.census()

    def dump(self) -> BlockMap:
        """The state of each block."""
        # Few look at it, and programs start sooner without it.
        from tinyheap.heap.blockmap import BlockMap

        return BlockMap(self.engine.geometry, self.engine.read_table(), self.engine.collector)

    def next_object(self, block: int) -> HeapObject | None:
        """The first live object whose head is this block or a later one; None where there is none."""
        for head in range(block, self.engine.geometry.end_block):
            if self.engine.state(head) in (State.HEAD, State.MARK):
                return self._describe(head)
        return None

    def object_at(self, address: int) -> HeapObject:
        """The live object that an address lies in.

        Raises:
            InvalidAddressError: it lies in none.
            HeapCorruptError: it lies in a tail without a head.
        """
        engine, geometry = self.engine, self.engine.geometry
        if self.gc is Gc.LEAKING:
            raise InvalidAddressError(f"{address:#x} is on a leaking heap, which does not know its objects")
        if not geometry.is_on_heap(address):
            raise InvalidAddressError(
                f"{address:#x} is not on the heap, {geometry.start_address:#x}..{geometry.table_address:#x}"
            )
        block = geometry.block_of(address)
        if block >= geometry.end_block or engine.state(block) is State.FREE:
            raise InvalidAddressError(f"{address:#x} is in block {block}, which is free: no object is there (any more)")
        head = engine.find_head(block)
        if head == NO_BLOCK or engine.state(head) is State.FREE:
            raise HeapCorruptError(f"block {block} at {geometry.address_of(block):#x} is a tail without a head")
        return self._describe(head)

    def object_from(self, address: int) -> HeapObject:
        """The live object that begins at an address.

        Raises:
            InvalidAddressError: none does.
            HeapCorruptError: as `object_at`.
        """
        found = self.object_at(address)
        if found.address != address:
            raise InvalidAddressError(
                f"{address:#x} lies in the object at {found.address:#x} ({found.size_bytes} bytes), not at its start; "
                f"pass {found.address:#x}"
            )
        return found

    def check_inside(self, address: int, size_bytes: int) -> None:
        """Refuse bytes that are not all in one live object, past its header.

        Raises:
            InvalidAddressError: they are not.
            HeapCorruptError: as `object_at`.
        """
        found = self.object_at(address)
        if not found.address <= address < found.address + found.size_bytes:
            raise InvalidAddressError(
                f"{address:#x} is in the header of the object at {found.address:#x}, which is the collector's"
            )
        if address + size_bytes > found.address + found.size_bytes:
            raise InvalidAddressError(
                f"{size_bytes} bytes at {address:#x} reach past the object at {found.address:#x}, "
                f"which has {found.size_bytes}"
            )

    def _describe(self, head: int) -> HeapObject:
        engine, geometry, shape = self.engine, self.engine.geometry, self.engine.shape
        first, end = engine.extent(head)
        blocks = end - first
        layout = None
        if self.gc is Gc.PRECISE:
            layout = self._readable_layout(engine.load_word(shape.layout_address(geometry, first, end)))
        address, size_bytes = shape.address_of(geometry, first), shape.body_bytes(geometry, blocks)
        return HeapObject(address, head, blocks, size_bytes, layout, shape.head_is_last)

    def _readable_layout(self, word: int) -> Layout | None:
        try:
            return self.layout_of(word)
        except LayoutError:
            # It was overwritten, and the object is as unknown as a conservative one.
            return None


def walk(next_object: Callable[[int], HeapObject | None]) -> Iterator[HeapObject]:
    """All objects, by address, from what gives the first one from a block on.

    Between two of them the heap is as free as its keeper leaves it.
    """
    block = 0
    while (found := next_object(block)) is not None:
        yield found
        block = found.first + found.blocks
