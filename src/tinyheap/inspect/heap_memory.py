"""Linear memory with a heap in it: words, and the objects that addresses are in.  Nothing is read beyond its end."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.int64]
NOTHING: Final = -1
"""No object, or no type."""
_WORD: Final = struct.Struct("<I")
WORD_BYTES: Final = _WORD.size


def no_names(_: int) -> None:
    """No function has a name."""


class HeapMemory:
    """All of linear memory, and where objects are in it.

    Args:
        memory: All of it.
        addresses: Of the objects' contents, ascending.
        sizes: Of their contents, in bytes.
        function_at: The name of a function by its number in the table of functions; None where it has none.
    """

    def __init__(
        self,
        memory: bytes | memoryview,
        addresses: Array,
        sizes: Array,
        function_at: Callable[[int], str | None] = no_names,
    ) -> None:
        self.data = memoryview(memory).cast("B")
        self.function_at = function_at
        self.addresses = np.array(addresses, np.int64)
        self.sizes = np.array(sizes, np.int64)
        self._addresses, self._sizes = self.addresses.data, self.sizes.data

    def __len__(self) -> int:
        """Bytes of memory."""
        return len(self.data)

    @property
    def count(self) -> int:
        """How many objects there are."""
        return len(self._addresses)

    @property
    def first_address(self) -> int:
        """The first object's; the end of memory where there is none."""
        return self._addresses[0] if self.count else len(self)

    def object_at(self, address: int) -> int:
        """The object that an address is in; `NOTHING` where it is in none."""
        index = bisect_right(self._addresses, address) - 1
        inside = index >= 0 and address < self._addresses[index] + max(self._sizes[index], 1)
        return index if inside else NOTHING

    def address(self, index: int) -> int:
        """Where an object's contents begin."""
        return int(self._addresses[index])

    def size_bytes(self, index: int) -> int:
        """Of an object's contents."""
        return int(self._sizes[index])

    def byte(self, address: int) -> int:
        """The byte at an address; 0 beyond memory."""
        return self.data[address] if 0 <= address < len(self.data) else 0

    def word(self, address: int) -> int:
        """The word at an address; 0 beyond memory."""
        if not 0 <= address <= len(self.data) - WORD_BYTES:
            return 0
        value: int = _WORD.unpack_from(self.data, address)[0]
        return value

    def bytes_at(self, address: int, size_bytes: int) -> bytes:
        """The bytes at an address; fewer where memory ends."""
        return bytes(self.data[address : address + size_bytes]) if address >= 0 else b""

    def could_hold(self, address: int, size_bytes: int) -> bool:
        """Whether as many bytes could lie at an address: within one object, or outside of all."""
        if not size_bytes:
            return address <= len(self)
        index = self.object_at(address)
        end = len(self) if index < 0 else self.address(index) + self.size_bytes(index)
        return address > 0 and address + size_bytes <= end

    def words_into_heap(self) -> list[int]:
        """The addresses of all words before the first object that could point to one."""
        first = self.first_address
        words = np.frombuffer(self.data[: first - first % WORD_BYTES], "<u4")
        found = np.flatnonzero((words >= first) & (words < len(self)))
        return [int(each) * WORD_BYTES for each in found]
