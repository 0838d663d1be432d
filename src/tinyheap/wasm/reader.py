"""A cursor over untrusted bytes that never runs past its end.

Every count and length is checked against the bytes that are left before anything is made of it, so that
memory and time stay bounded by the input.  What does not fit raises `MalformedModuleError`, which names
section and offset.  Offsets are those of the file, the same that other tools print.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tinyheap.errors import MalformedModuleError

Item = TypeVar("Item")


class Reader:
    """Reads `data` from `position` up to `end` (both in bytes); `section` is for messages only."""

    __slots__ = ("data", "end", "position", "section")

    def __init__(self, data: bytes, position: int = 0, end: int | None = None, section: str = "module") -> None:
        self.data = data
        self.position = position
        self.end = len(data) if end is None else end
        self.section = section

    def error(self, what: str, at: int | None = None) -> MalformedModuleError:
        """An error to raise, which says `what` was found at byte `at` (if not given, the present one)."""
        return MalformedModuleError(f"{self.section}, byte {self.position if at is None else at:#x}: {what}")

    @property
    def left(self) -> int:
        """How many bytes are left."""
        return self.end - self.position

    def byte(self) -> int:
        """The next byte."""
        if self.position >= self.end:
            raise self.error("ends here, and one more byte is needed")
        self.position += 1
        return self.data[self.position - 1]

    def take(self, length_bytes: int) -> bytes:
        """The next `length_bytes` bytes."""
        if length_bytes > self.left:
            raise self.error(f"{length_bytes} bytes are announced and {self.left} are left")
        self.position += length_bytes
        return self.data[self.position - length_bytes : self.position]

    def part(self, length_bytes: int, section: str = "") -> Reader:
        """A reader of the next `length_bytes` bytes, which this one skips."""
        if length_bytes > self.left:
            raise self.error(f"{length_bytes} bytes are announced and {self.left} are left")
        start, self.position = self.position, self.position + length_bytes
        return Reader(self.data, start, self.position, section or self.section)

    def u32(self) -> int:
        """An unsigned integer of 32 bits."""
        if self.position < self.end and self.data[self.position] < 0x80:
            self.position += 1
            return self.data[self.position - 1]
        return self.unsigned(32)

    def unsigned(self, bits: int) -> int:
        """An unsigned integer of `bits` bits in any admitted spelling."""
        start = self.position
        value = self._seven_bits_a_byte(bits)
        if value >> bits:
            raise self.error(f"an integer that does not fit {bits} bits", start)
        return value

    def signed(self, bits: int) -> int:
        """A signed integer of `bits` bits in any admitted spelling."""
        start = self.position
        value = self._seven_bits_a_byte(bits)
        width = 7 * (self.position - start)
        if value >> (width - 1):
            value -= 1 << width
        if not -(1 << bits - 1) <= value < 1 << bits - 1:
            raise self.error(f"an integer that does not fit {bits} bits", start)
        return value

    def _seven_bits_a_byte(self, bits: int) -> int:
        start, value = self.position, 0
        for shift in range(0, bits, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise self.error(f"an integer of {bits} bits that does not end within {self.position - start} bytes", start)

    def count(self) -> int:
        """How many entries follow: never more than bytes are left, since an entry takes at least one."""
        start = self.position
        count = self.u32()
        if count > self.left:
            raise self.error(f"{count} entries are announced and {self.left} bytes are left", start)
        return count

    def vector(self, read: Callable[[Reader], Item]) -> tuple[Item, ...]:
        """A counted list whose entries `read` reads."""
        return tuple([read(self) for _ in range(self.count())])

    def name(self) -> str:
        """A counted string of UTF-8."""
        start = self.position
        data = self.take(self.u32())
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise self.error("a name that is not UTF-8", start) from None

    def finish(self) -> None:
        """Raise unless everything was read."""
        if self.left:
            raise self.error(f"{self.left} bytes are left over")
