"""A program's linear memory as its host sees it: bounds-checked copies, nothing that outlives a growth.

Growth may move a memory, so no view of it is ever kept: each access determines the base address again and
copies.  While another thread uses the program, an access is refused (`GuestPhaseError`).  A program passes
addresses as signed 32-bit numbers; all methods take both signed and unsigned ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinyheap.errors import HostError
from tinyheap.hosts.phases import Life
from tinyheap.ownership import SoleOwner

if TYPE_CHECKING:
    from wasmtime import Memory, Store

MASK_32 = (1 << 32) - 1
MASK_64 = (1 << 64) - 1


class GuestMemory(SoleOwner):
    """One memory of one running program.

    Args:
        store: The store that the program runs in.
        memory: The exported memory.
        life: The phases of the program, whose lock is held while the memory is used.
    """

    def __init__(self, store: Store, memory: Memory, life: Life | None = None) -> None:
        self._store = store
        self._memory = memory
        self._turn = (life or Life()).using("look at the memory")

    @property
    def raw(self) -> Memory:
        """The memory itself, for code that works on it in place."""
        return self._memory

    def __len__(self) -> int:
        try:
            with self._turn:
                return self._memory.data_len(self._store)
        except ValueError as error:
            # wasmtime's word for a store that is closed.
            raise HostError("the program was closed, and its memory with it; look at the memory before that") from error

    def read(self, address: int, length_bytes: int) -> bytes:
        """A copy of ``length_bytes`` bytes.

        Args:
            address: Where they begin, signed or unsigned.
            length_bytes: How many, signed or unsigned.

        Raises:
            HostError: If any of them is outside the memory.
        """
        with self._turn:
            start, length = self._checked("read", address, length_bytes)
            return bytes(self._memory.read(self._store, start, start + length))

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Copy ``data`` into the memory.

        Args:
            address: Where it begins, signed or unsigned.
            data: The bytes.

        Raises:
            HostError: If any of it would fall outside the memory.
        """
        with self._turn:
            start, length = self._checked("write", address, len(data))
            if length:
                self._memory.write(self._store, bytearray(data), start)

    def read_u32(self, address: int) -> int:
        """The unsigned 32-bit little-endian number at ``address``; HostError if it is outside the memory."""
        return int.from_bytes(self.read(address, 4), "little")

    def read_u64(self, address: int) -> int:
        """The unsigned 64-bit little-endian number at ``address``; HostError if it is outside the memory."""
        return int.from_bytes(self.read(address, 8), "little")

    def write_u32(self, address: int, value: int) -> None:
        """Store the low 32 bits of ``value``; HostError if ``address`` is outside the memory."""
        self.write(address, (value & MASK_32).to_bytes(4, "little"))

    def write_u64(self, address: int, value: int) -> None:
        """Store the low 64 bits of ``value``; HostError if ``address`` is outside the memory."""
        self.write(address, (value & MASK_64).to_bytes(8, "little"))

    def read_until_zero(self, address: int) -> bytes:
        """The bytes from ``address`` up to the first zero byte, or to the end of the memory.

        Raises:
            HostError: If ``address`` is outside the memory.
        """
        start = address & MASK_32
        size = len(self)
        self._checked("read", start, 1)
        parts = []
        while start < size:
            part = self.read(start, min(1 << 16, size - start))
            end = part.find(b"\0")
            if end >= 0:
                parts.append(part[:end])
                break
            parts.append(part)
            start += len(part)
        return b"".join(parts)

    def _checked(self, verb: str, address: int, length_bytes: int) -> tuple[int, int]:
        start, length, size = address & MASK_32, length_bytes & MASK_32, len(self)
        if length > size or start > size - length:
            raise HostError(
                f"the program asked its host to {verb} {length} bytes at {start:#x}, but its memory ends at {size:#x}"
            )
        return start, length
