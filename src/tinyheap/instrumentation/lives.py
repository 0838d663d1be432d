"""The heap of a run as its log tells of it: which objects live, and what lies between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from tinyheap.errors import LogError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BLOCK_BYTES: Final = 16
_HEAD: Final = 1
_TAIL: Final = 2
_STATES_PER_BYTE: Final = 4


class Extent(NamedTuple):
    """Where a heap lies at a moment."""

    start_address: int
    end_address: int
    """Behind the block table."""
    blocks: int

    @property
    def heap_bytes(self) -> int:
        """Block table included."""
        return self.end_address - self.start_address


def extent_of(start_address: int, end_address: int, blocks: int) -> Extent:
    """Where a heap lies, as a log says.

    Raises:
        LogError: No heap can.
    """
    if not start_address <= start_address + blocks * BLOCK_BYTES <= end_address:
        raise LogError(f"invalid log: a heap of {blocks} blocks from {start_address:#x} to {end_address:#x}")
    return Extent(start_address, end_address, blocks)


class Unborn(NamedTuple):
    """Objects that a collection may have left, and that were not added yet, since the allocations that make them go on."""

    address: int = 0
    """Of that by the allocation which collected; 0 where it has made none."""
    size_bytes: int = 0
    others: int = 0
    """How many more there may be, of allocations around that one."""


_NONE: Final = Unborn()


class Room(NamedTuple):
    """What of a heap is in use, and what is free, in blocks."""

    used: int
    free: int
    free_runs: int
    largest_free_run: int


class Lives:
    """The objects that live, by address.

    Args:
        header_bytes: What lies of each object beside its body, in front of its address in its first block.
        header_is_last: Whether it lies at the end of the last block instead, which is the object's head then.
    """

    def __init__(self, header_bytes: int, *, header_is_last: bool = False) -> None:
        self._header_bytes, self._header_is_last = header_bytes, header_is_last
        self._objects: dict[int, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def add(self, address: int, number: int, size_bytes: int) -> None:
        """An object was made.

        Raises:
            LogError: Another lives there.
        """
        if address in self._objects:
            raise LogError(
                f"invalid log: the object at {address:#x} was allocated again while it lived; the log is not of this module"
            )
        self._objects[address] = number, size_bytes

    def object_at(self, address: int) -> int:
        """The number of the object that begins at an address; 0 for none."""
        return self._objects.get(address, (0, 0))[0]

    def bury(self, extent: Extent, heads: Sequence[int], unborn: Unborn = _NONE) -> tuple[list[int], int]:
        """Take off whatever a collection freed: the numbers of these objects, in the order of addresses, and their blocks.

        Args:
            extent: Where the heap lies.
            heads: Words of 32 blocks: which of them are heads of objects that were left.
            unborn: Which of them may be objects that were not added yet.

        Raises:
            LogError: Other objects were left than were made.
        """
        addresses, numbers, sizes = self._columns()
        bits = np.unpackbits(np.array(heads, "<u4").view(np.uint8), bitorder="little")
        if unborn.address:
            bits[self._heads(np.array([unborn.address]), np.array([unborn.size_bytes]), extent)] = 0
        lives = bits[self._heads(addresses, sizes, extent)].astype(bool)
        if not 0 <= int(bits.sum()) - int(lives.sum()) <= unborn.others:
            raise LogError(
                f"invalid log: a collection left {int(bits.sum())} objects, of which {int(lives.sum())} were allocated; the "
                "log is not of this module"
            )
        for address in addresses[~lives].tolist():
            del self._objects[address]
        return numbers[~lives].tolist(), int(self._blocks(sizes[~lives]).sum())

    def room(self, extent: Extent) -> Room:
        """How a heap is filled.

        Raises:
            LogError: Its objects do not lie in it.
        """
        addresses, _, sizes = self._columns()
        firsts, blocks = self._first_blocks(addresses, extent), self._blocks(sizes)
        ends = firsts + blocks
        gaps = np.append(firsts, extent.blocks) - np.append(0, ends)
        if len(gaps) and int(gaps.min()) < 0:
            raise LogError("invalid log: two objects of its heap share memory; the log is not of this module")
        free = gaps[gaps > 0]
        used = int(blocks.sum())
        return Room(used, extent.blocks - used, len(free), int(free.max()) if len(free) else 0)

    def states(self, extent: Extent) -> bytes:
        """The heap's block table, as snapshots have it: two bits a block, lowest first."""
        addresses, _, sizes = self._columns()
        firsts, blocks = self._first_blocks(addresses, extent), self._blocks(sizes)
        changes = np.zeros(extent.blocks + 1, np.int8)
        changes[firsts] += 1
        changes[firsts + blocks] -= 1
        states = np.cumsum(changes[:-1], dtype=np.int8) * _TAIL
        states[self._heads(addresses, sizes, extent)] = _HEAD
        padded = np.zeros(-(-extent.blocks // _STATES_PER_BYTE) * _STATES_PER_BYTE, np.uint8)
        padded[: extent.blocks] = states
        quarters = padded.reshape(-1, _STATES_PER_BYTE)
        packed: NDArray[np.uint8] = np.bitwise_or.reduce(quarters << np.array([0, 2, 4, 6], np.uint8), axis=1)
        return packed.tobytes()

    def _columns(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Addresses, numbers and sizes, in the order of addresses."""
        rows = np.array([(address, *each) for address, each in self._objects.items()], np.int64).reshape(-1, 3)
        rows = rows[np.argsort(rows[:, 0])]
        return rows[:, 0], rows[:, 1], rows[:, 2]

    def _first_blocks(self, addresses: NDArray[np.int64], extent: Extent) -> NDArray[np.int64]:
        in_front = 0 if self._header_is_last else self._header_bytes
        blocks = (addresses - in_front - extent.start_address) // BLOCK_BYTES
        _check(blocks, extent)
        return blocks

    def _heads(self, addresses: NDArray[np.int64], sizes: NDArray[np.int64], extent: Extent) -> NDArray[np.int64]:
        """The blocks by which a table knows that there are objects."""
        firsts = self._first_blocks(addresses, extent)
        if not self._header_is_last:
            return firsts
        heads = firsts + self._blocks(sizes) - 1
        _check(heads, extent)
        return heads

    def _blocks(self, sizes: NDArray[np.int64]) -> NDArray[np.int64]:
        return -(-(sizes + self._header_bytes) // BLOCK_BYTES)


def _check(blocks: NDArray[np.int64], extent: Extent) -> None:
    """Refuse blocks that are none of the heap's."""
    if len(blocks) and not 0 <= int(blocks.min()) <= int(blocks.max()) < extent.blocks:
        raise LogError(
            f"invalid log: an object lies outside of a heap of {extent.blocks} blocks at {extent.start_address:#x}; the log is"
            " not of this module"
        )
