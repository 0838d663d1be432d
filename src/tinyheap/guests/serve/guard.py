"""Guard mode: a red zone behind each object of a guest, which shows which object was overrun, by how much, and when.

::

    head                address                    address + size             end
    | layout | pattern  | the object, as asked for | pattern: the red zone    | next block
      a precise object's header                       16 bytes, and what is left of the last block

The engine is asked for the object and its zone as one, so that nothing else changes for it: the zone moves, lives and dies
with its object.  Free blocks are filled with the pattern as well (the engine's ``asserts``), which shows writes after free.
A word that ends in the pattern is not a heap address, so that it keeps nothing alive.

Invariant: `_objects` are the objects of the block table, by head block, but for the one that is being allocated.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from tinyheap.errors import HeapCorruptError, HeapOverrunError
from tinyheap.guests.serve.callstack import CallStack, shown
from tinyheap.heap.contract import Engine, State
from tinyheap.heap.geometry import BLOCKS_PER_TABLE_BYTE
from tinyheap.hosts.frames import GuestFrame

ZONE_BYTES: Final = 16
"""At least so many behind each object."""
PATTERN_BYTE: Final = 0xFD
"""As the highest byte of a word it lies beyond any heap that leaves 48 MiB of the address space free."""
RECENT: Final = 32
"""So many of the newest objects are checked at each allocation, the others at each collection."""
_SHOWN_BYTES: Final = 32
_PATTERNS: Final = [bytes([PATTERN_BYTE]) * length for length in range(2 * ZONE_BYTES + 1)]


@dataclass(slots=True, eq=False)
class GuardedObject:
    """An object as the guest asked for it.

    Args:
        address: what the guest holds.
        size_bytes: what it asked for.
        layout: the layout word; None in a conservative heap.
        number: the how many-th allocation of the run it was, from 1.
        callers: who asked for it, innermost first.
        end_address: where its last block ends.
        sound_at: the last allocation after which what lies around it was seen to be whole.
    """

    address: int
    size_bytes: int
    layout: int | None
    number: int
    callers: tuple[GuestFrame, ...]
    end_address: int
    sound_at: int

    @property
    def zone_address(self) -> int:
        """Where its red zone begins."""
        return self.address + self.size_bytes


class LocatedMemory(Protocol):
    """A guest's memory where it lies now."""

    @property
    def memory(self) -> memoryview:
        """All of it; not to be kept."""


class Guard:
    """The red zones of one guest's heap.

    Args:
        engine: with asserts, poisoning with `PATTERN_BYTE`.
        memory: the guest's; its ``memory`` is looked up anew each time.
        header_bytes: in front of each object.
        calls: tells who allocates.
    """

    bytes_per_zone: Final = ZONE_BYTES

    def __init__(self, engine: Engine, memory: LocatedMemory, header_bytes: int, calls: CallStack) -> None:
        self._engine = engine
        self._located = memory
        self._header_bytes = header_bytes
        self._calls = calls
        self._objects: dict[int, GuardedObject] = {}
        self._recent: deque[GuardedObject] = deque(maxlen=RECENT)
        self._freed: list[GuardedObject] = []
        self._number = 0
        self.zone_bytes = 0
        """Sum of what the engine was asked for beyond the guest's requests, in bytes."""
        engine.poison_free()

    # ---- the mutator's side -----------------------------------------------------------------------------------------

    def alloc(self, number: int, size_bytes: int, layout: int) -> int:
        """The address of a new object with a red zone.

        Args:
            number: of this allocation.

        Raises:
            HeapOverrunError: one of the newest objects was overrun since the last allocation.
        """
        self._raise_broken(self._recent, f"allocation {number}")
        self._number = number
        self.zone_bytes += ZONE_BYTES
        callers = self._calls.frames()
        address = self._engine.alloc(size_bytes + ZONE_BYTES, layout)
        head_address = address - self._header_bytes
        geometry = self._engine.geometry
        blocks = geometry.blocks_for(self._header_bytes + size_bytes + ZONE_BYTES)
        end_address = head_address + blocks * geometry.block_bytes
        kept_layout = layout if self._header_bytes else None
        made = GuardedObject(address, size_bytes, kept_layout, number, callers, end_address, number)
        self._objects[geometry.block_of(head_address)] = made
        self._recent.append(made)
        memory = self._located.memory
        memory[head_address:address] = self._header(made)
        memory[made.zone_address : end_address] = _PATTERNS[end_address - made.zone_address]
        return address

    def resize(self, address: int, size_bytes: int) -> bool:
        """Make an object larger if the guest's own allocator would leave it in its blocks; whether it would.

        Args:
            address: of the object, or inside it.
        """
        found = self._object_at(address)
        if found is None:
            return False
        if address + size_bytes > found.end_address - ZONE_BYTES:
            return False
        grown_bytes = address + size_bytes - found.zone_address
        if grown_bytes > 0:
            self._raise_broken([found], "it was to be resized")
            self._located.memory[found.zone_address : address + size_bytes] = bytes(grown_bytes)
            found.size_bytes += grown_bytes
        return True

    def room_bytes(self, address: int) -> int:
        """How many bytes of its object lie at an address and behind it; 0 where there is no object."""
        found = self._object_at(address)
        return 0 if found is None else max(0, found.zone_address - address)

    def _object_at(self, address: int) -> GuardedObject | None:
        geometry = self._engine.geometry
        if not geometry.is_on_heap(address):
            return None
        return self._objects.get(self._engine.find_head(geometry.block_of(address)))

    # ---- checking ---------------------------------------------------------------------------------------------------

    def check(self, until: str) -> None:
        """Look at all that is guarded.

        Args:
            until: what comes next, to end a sentence with.

        Raises:
            HeapOverrunError: something was written behind an object, or in front of it.
            HeapCorruptError: something was written to memory that is free.
        """
        self._raise_broken(self._objects.values(), until)
        written = self._engine.check_poison(1)
        if written:
            raise HeapCorruptError(self._written_free(written[0], until))

    def forget_freed(self) -> None:
        """After a sweep: the zones of freed objects are gone with them."""
        table = self._engine.read_table()
        alive = {block: found for block, found in self._objects.items() if _state(table, block) == State.HEAD}
        self._freed = [found for block, found in self._objects.items() if block not in alive]
        self._objects = alive
        kept = {id(found) for found in alive.values()}
        self._recent = deque((found for found in self._recent if id(found) in kept), maxlen=RECENT)

    def grown(self) -> None:
        """After the heap has grown: what is new is free."""
        self._engine.poison_free()

    def _raise_broken(self, objects: Iterable[GuardedObject], until: str) -> None:
        """Check some objects; the lowest one that is not whole is where the writing began."""
        memory, has_header, number = self._located.memory, self._header_bytes > 0, self._number
        broken = []
        for found in objects:
            at, end = found.address + found.size_bytes, found.end_address
            if memory[at:end] != _PATTERNS[end - at] or (has_header and not self._is_header_whole(found)):
                broken.append(found)
            else:
                found.sound_at = number
        if broken:
            raise self._overrun(min(broken, key=lambda found: found.address), len(broken), until)

    def _is_header_whole(self, found: GuardedObject) -> bool:
        return self._located.memory[found.address - self._header_bytes : found.address] == self._header(found)

    def _header(self, found: GuardedObject) -> bytes:
        """What stands in front of an object: its layout word, and the pattern where the original leaves old bytes."""
        if found.layout is None:
            return b""
        word = found.layout.to_bytes(self._engine.geometry.word_bytes, "little")
        return word + _PATTERNS[self._header_bytes - len(word)]

    # ---- telling ----------------------------------------------------------------------------------------------------

    def _described(self, found: GuardedObject) -> str:
        layout = "" if found.layout is None else f", layout word {found.layout:#x}"
        return (
            f"the object of {found.size_bytes} bytes at {found.address:#x} (allocation {found.number}{layout}, "
            f"by {shown(self._calls.named(found.callers))})"
        )

    def _overrun(self, found: GuardedObject, broken: int, until: str) -> HeapOverrunError:
        before = self._header_bytes and not self._is_header_whole(found)
        what, count, data = self._written_before(found) if before else self._written_behind(found)
        others = f"; damaged objects behind it: {broken - 1}" if broken > 1 else ""
        message = (
            f"{self._described(found)} {what}: {_quoted(data)}; that happened after allocation {found.sound_at} "
            f"and before {until} "
            f"(by {shown(self._calls.names())}){others}"
        )
        callers = self._calls.named(found.callers)
        return HeapOverrunError(message, found.address, found.size_bytes, found.number, count, data, callers)

    def _written_before(self, found: GuardedObject) -> tuple[str, int, bytes]:
        """What is wrong in front of an object: in words, how many bytes from its start, and what stands there."""
        expected, start = self._header(found), found.address - self._header_bytes
        data = bytes(self._located.memory[start : found.address])
        first = next(at for at in range(len(data)) if data[at] != expected[at])
        return (
            f"was written over in front, from {_bytes(len(data) - first)} before its start",
            len(data) - first,
            data[first:],
        )

    def _written_behind(self, found: GuardedObject) -> tuple[str, int, bytes]:
        """What is wrong behind an object: in words, how many bytes past its end it reaches, and what stands there."""
        data = self._behind(found)
        reach = len(data.rstrip(_PATTERNS[1]))
        gap = len(data) - len(data.lstrip(_PATTERNS[1]))
        least = "at least " if reach == len(data) else ""
        what = f"was overrun by {least}{_bytes(reach)}"
        if gap:
            what += f", from {_bytes(gap)} past its end"
        if least and gap and self._engine.state(self._block_at(found.end_address)) is not State.FREE:
            what += f" (or the object at {found.end_address + self._header_bytes:#x} was written over in front)"
        return what, reach, data[gap:reach]

    def _behind(self, found: GuardedObject) -> bytes:
        """The red zone, and the free blocks behind it as far as they were written to without a gap of a whole block."""
        geometry, memory, end = self._engine.geometry, self._located.memory, found.end_address
        block, pattern = self._block_at(end), _PATTERNS[geometry.block_bytes]
        while block < geometry.end_block and self._engine.state(block) is State.FREE:
            if memory[end : end + geometry.block_bytes] == pattern:
                break
            block, end = block + 1, end + geometry.block_bytes
        return bytes(memory[found.zone_address : end])

    def _block_at(self, address: int) -> int:
        return self._engine.geometry.block_of(address)

    def _written_free(self, block: int, until: str) -> str:
        geometry = self._engine.geometry
        start = geometry.address_of(block)
        data = bytes(self._located.memory[start : start + geometry.block_bytes])
        first = len(data) - len(data.lstrip(_PATTERNS[1]))
        address = start + first
        was = [found for found in self._freed if found.address - self._header_bytes <= address < found.end_address]
        owner = f"; it was freed by the last collection as part of {self._described(was[0])}" if was else ""
        return (
            f"memory at {address:#x} (block {block}) is free, but was written to: {_quoted(data[first:])}; it was noticed "
            f"before {until}{owner}"
        )


def _state(table: bytes, block: int) -> int:
    return table[block // BLOCKS_PER_TABLE_BYTE] >> 2 * (block % BLOCKS_PER_TABLE_BYTE) & 3


def _quoted(data: bytes) -> str:
    """Bytes in hexadecimal and as a text, the first of many."""
    beginning = data[:_SHOWN_BYTES]
    text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in beginning)
    return f"{beginning.hex(' ')}{' ...' if len(data) > _SHOWN_BYTES else ''} ({text!r})"


def _bytes(count: int) -> str:
    return "1 byte" if count == 1 else f"{count} bytes"
