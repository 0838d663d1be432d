"""What must be known of a heap to read its objects out of a memory image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tinyheap.errors import GeometryError

if TYPE_CHECKING:
    from tinyheap.heap.collectors import Collector, ObjectShape
    from tinyheap.heap.contract import Statics
    from tinyheap.heap.geometry import Geometry

MOST_BLOCKS: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class HeapFacts:
    """A heap in a memory image.

    Args:
        geometry: where its blocks and its block table lie, by the program's own addresses.
        collector: how objects lie in their blocks, and the table's encoding.
        is_precise: whether objects have a layout word.
        memory_start_address: of the image's first byte; 0 for all of a program's linear memory.
        statics: where out-of-line layouts lie; None where that is the image itself.
    """

    geometry: Geometry
    collector: Collector
    is_precise: bool
    memory_start_address: int = 0
    statics: Statics | None = None

    @property
    def shape(self) -> ObjectShape:
        """How objects lie in their blocks."""
        return self.collector.shape(self.geometry, precise=self.is_precise)

    def offset_in(self, memory_bytes: int) -> int:
        """Where the heap begins in an image of so many bytes.

        Raises:
            GeometryError: it does not lie in it as a whole, or has more blocks than are ever numbered, 2**30.
        """
        geometry = self.geometry
        offset = geometry.start_address - self.memory_start_address
        if not 0 <= offset <= memory_bytes - geometry.heap_bytes:
            raise GeometryError(
                f"the heap at {geometry.start_address:#x}, of {geometry.heap_bytes} bytes, does not lie in the memory image: "
                f"it has {memory_bytes} bytes from {self.memory_start_address:#x} on"
            )
        if geometry.end_block > MOST_BLOCKS:
            raise GeometryError(f"invalid heap of {geometry.end_block} blocks: expected at most {MOST_BLOCKS}")
        return offset
