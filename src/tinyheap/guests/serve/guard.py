"""Guard mode: a red zone behind each object of a guest, which shows which object was overrun, by how much, and when.

::

                         address                    address + size             zone's end
    | header | pattern   | the object, as asked for | pattern: the red zone    | next block            next-fit, best-fit-front
      layout, link         the object, as asked for | pattern: the red zone    | header | next block   best-fit-back
                                                      16 bytes, and what is left of the last block

The engine is asked for the object and its zone as one, so that nothing else changes for it: the zone moves, lives and dies
with its object.  Free blocks are filled with the pattern as well (the engine's ``asserts``), but for the nodes of a free
list, which shows writes after free.  A word that ends in the pattern is not a heap address, so that it keeps nothing alive.

A header changes in collections only, which chain objects through its link; so it is known from one to the next.

Invariant: `_objects` are the objects of the block table, by head block, but for the one that is being allocated.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol, cast

from tinyheap.errors import HeapCorruptError, HeapOverrunError
from tinyheap.guests.serve.callstack import CallStack, shown
from tinyheap.heap.bestfit import freelist
from tinyheap.heap.contract import BestFitEngine, Engine, State
from tinyheap.heap.geometry import BLOCKS_PER_TABLE_BYTE
from tinyheap.hosts.frames import GuestFrame

ZONE_BYTES: Final = 16
"""At least so many behind each object."""
PATTERN_BYTE: Final = 0xFD
"""As the highest byte of a word it lies beyond any heap that leaves 48 MiB of the address space free."""
RECENT: Final = 32
"""So many of the newest objects are checked at each allocation, the others at each collection."""
_SHOWN_BYTES: Final = 32
_NODE_WORDS: Final = 3
"""Of a free range's first block: its length, and two links."""
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
        header_address: where its header begins, in front of it or behind its red zone.
        header: what stands there.
        sound_at: the last allocation after which what lies around it was seen to be whole.
    """

    address: int
    size_bytes: int
    layout: int | None
    number: int
    callers: tuple[GuestFrame, ...]
    end_address: int
    header_address: int
    header: bytes
    sound_at: int

    @property
    def zone_address(self) -> int:
        """Where its red zone begins."""
        return self.address + self.size_bytes

    @property
    def zone_end_address(self) -> int:
        """Where its red zone ends."""
        return self.header_address if self.header_address > self.address else self.end_address

    @property
    def start_address(self) -> int:
        """Where its first block begins."""
        return min(self.header_address, self.address)


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
        is_precise: whether objects have a layout.
        calls: tells who allocates.
    """

    bytes_per_zone: Final = ZONE_BYTES

    def __init__(self, engine: Engine, memory: LocatedMemory, calls: CallStack, *, is_precise: bool) -> None:
        self._engine = engine
        self._located = memory
        self._is_precise = is_precise
        self._calls = calls
        self._objects: dict[int, GuardedObject] = {}
        self._recent: deque[GuardedObject] = deque(maxlen=RECENT)
        self._freed: list[GuardedObject] = []
        self._number = 0
        self.zone_bytes = 0
        """Sum of what the engine was asked for beyond the guest's requests, in bytes."""

    # ---- the mutator's side -----------------------------------------------------------------------------------------

    def begins(self, number: int) -> None:
        """An allocation begins.

        Args:
            number: of this allocation.

        Raises:
            HeapOverrunError: one of the newest objects was overrun since the last allocation.
        """
        self._raise_broken(self._recent, f"allocation {number}")
        self._number = number

    def alloc(self, size_bytes: int, layout: int) -> int:
        """The address of a new object with a red zone."""
        callers = self._calls.frames()
        address = self._with_zone(size_bytes, layout)
        geometry, shape = self._engine.geometry, self._engine.shape
        first = geometry.block_of(address - shape.body_offset_bytes)
        end = first + shape.blocks_for(geometry, size_bytes + ZONE_BYTES)
        end_address = geometry.address_of(end)
        header_address = end_address - shape.header_bytes if shape.head_is_last else geometry.address_of(first)
        made = GuardedObject(
            address,
            size_bytes,
            layout if self._is_precise else None,
            self._number,
            callers,
            end_address,
            header_address,
            b"",
            self._number,
        )
        self._objects[shape.head_of(first, end)] = made
        self._recent.append(made)
        self._fill_around(made)
        return address

    def _with_zone(self, size_bytes: int, layout: int) -> int:
        self.zone_bytes += ZONE_BYTES
        try:
            return self._engine.alloc(size_bytes + ZONE_BYTES, layout)
        except BaseException:
            # The engine takes back what it counted, too.
            self.zone_bytes -= ZONE_BYTES
            raise

    def _fill_around(self, made: GuardedObject) -> None:
        """Fill what lies around an object: its zone, and what the original leaves of old bytes in front of it."""
        memory = self._located.memory
        memory[made.zone_address : made.zone_end_address] = _PATTERNS[made.zone_end_address - made.zone_address]
        words = self._is_precise + self._engine.collector.has_free_list
        unused_bytes = self._engine.shape.header_bytes - words * self._engine.geometry.word_bytes
        if unused_bytes:
            memory[made.address - unused_bytes : made.address] = _PATTERNS[unused_bytes]
        made.header = self._header(made)

    def resize(self, address: int, size_bytes: int) -> bool:
        """Make an object larger if the guest's own allocator would leave it in its blocks; whether it would.

        Args:
            address: of the object, or inside it.
        """
        found = self._object_at(address)
        if found is None:
            return False
        if address + size_bytes > found.zone_end_address - ZONE_BYTES:
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
        """After a sweep: the zones of freed objects are gone with them, and the headers of others may be linked."""
        is_head = self._is_head_in(self._engine.read_table())
        alive = {block: found for block, found in self._objects.items() if is_head(block)}
        if self._engine.collector.has_free_list:
            for found in alive.values():
                found.header = self._header(found)
        self._freed = [found for block, found in self._objects.items() if block not in alive]
        self._objects = alive
        kept = {id(found) for found in alive.values()}
        self._recent = deque((found for found in self._recent if id(found) in kept), maxlen=RECENT)

    def fill_free(self) -> None:
        """Fill what is free: all of it where the heap begins, what is new after a growth."""
        self._engine.poison_free()

    def _raise_broken(self, objects: Iterable[GuardedObject], until: str) -> None:
        """Check some objects; the lowest one that is not whole is where the writing began."""
        memory, has_header, number = self._located.memory, self._engine.shape.header_bytes > 0, self._number
        broken = []
        for found in objects:
            at, end = found.zone_address, found.zone_end_address
            if memory[at:end] != _PATTERNS[end - at] or (has_header and self._header(found) != found.header):
                broken.append(found)
            else:
                found.sound_at = number
        if broken:
            raise self._overrun(min(broken, key=lambda found: found.address), len(broken), until)

    def _header(self, found: GuardedObject) -> bytes:
        """What stands in an object's header now."""
        address = found.header_address
        return bytes(self._located.memory[address : address + self._engine.shape.header_bytes])

    def _is_head_in(self, table: bytes) -> Callable[[int], bool]:
        """Whether a block is a head, by a copy of the block table."""
        states = [self._engine.collector.encoding.states(place) for place in range(BLOCKS_PER_TABLE_BYTE)]
        return lambda block: states[block % BLOCKS_PER_TABLE_BYTE][table[block // BLOCKS_PER_TABLE_BYTE]] == State.HEAD

    # ---- telling ----------------------------------------------------------------------------------------------------

    def _described(self, found: GuardedObject) -> str:
        layout = "" if found.layout is None else f", layout word {found.layout:#x}"
        return (
            f"the object of {found.size_bytes} bytes at {found.address:#x} (allocation {found.number}{layout}, "
            f"by {shown(self._calls.named(found.callers))})"
        )

    def _overrun(self, found: GuardedObject, broken: int, until: str) -> HeapOverrunError:
        before = found.header_address < found.address and self._header(found) != found.header
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
        data = self._header(found)
        first, _ = _written(data, found.header)
        return (
            f"was written over in front, from {_bytes(len(data) - first)} before its start",
            len(data) - first,
            data[first:],
        )

    def _written_behind(self, found: GuardedObject) -> tuple[str, int, bytes]:
        """What is wrong behind an object: in words, how many bytes past its end it reaches, and what stands there."""
        expected = self._expected_behind(found)
        data = bytes(self._located.memory[found.zone_address :][: len(expected)])
        gap, reach = _written(data, expected)
        is_seen = reach < len(data) or (
            self._is_free(found.zone_address + reach) and not self._is_node_behind(found, reach)
        )
        least = "" if is_seen else "at least "
        what = f"was overrun by {least}{_bytes(reach)}"
        if gap:
            what += f", from {_bytes(gap)} past its end"
        if gap and not is_seen and not self._is_free(found.end_address):
            behind = found.end_address + self._engine.shape.body_offset_bytes
            what += f" (or the object at {behind:#x} was written over in front)"
        return what, reach, data[gap:reach]

    def _expected_behind(self, found: GuardedObject) -> bytes:
        """What should stand in the red zone and behind it, as far as a writing without a gap of a whole free block went.

        Nobody knows what a node should hold, so what stands there is taken to be right.
        """
        geometry, memory, end = self._engine.geometry, self._located.memory, found.end_address
        expected = _PATTERNS[1] * (found.zone_end_address - found.zone_address)
        if found.header_address > found.address:
            expected += found.header
        while self._is_free(end):
            has_node = self._is_node_behind(found, end - found.zone_address)
            kept_bytes = _NODE_WORDS * geometry.word_bytes if has_node else 0
            block = bytes(memory[end : end + kept_bytes]) + _PATTERNS[geometry.block_bytes - kept_bytes]
            if memory[end : end + geometry.block_bytes] == block:
                break
            expected, end = expected + block, end + geometry.block_bytes
        return expected

    def _is_free(self, address: int) -> bool:
        """Whether the block that begins at an address is free."""
        block = self._engine.geometry.block_of(address)
        return block < self._engine.geometry.end_block and self._engine.state(block) is State.FREE

    def _is_node_behind(self, found: GuardedObject, at: int) -> bool:
        """Whether so many bytes behind an object, in free memory, a node of the free list begins."""
        return self._engine.collector.has_free_list and found.zone_address + at == found.end_address

    def _kept_bytes(self, block: int) -> int:
        """How many bytes of a free block are a node's; the list is sound."""
        if not self._engine.collector.has_free_list:
            return 0
        nodes = freelist.nodes(cast("BestFitEngine", self._engine))
        words = next((_NODE_WORDS if node.is_outer else 1 for node in nodes if node.first == block), 0)
        return words * self._engine.geometry.word_bytes

    def _written_free(self, block: int, until: str) -> str:
        geometry = self._engine.geometry
        kept_bytes = self._kept_bytes(block)
        start = geometry.address_of(block) + kept_bytes
        data = bytes(self._located.memory[start : start + geometry.block_bytes - kept_bytes])
        first = len(data) - len(data.lstrip(_PATTERNS[1]))
        address = start + first
        was = [found for found in self._freed if found.start_address <= address < found.end_address]
        owner = f"; it was freed by the last collection as part of {self._described(was[0])}" if was else ""
        return (
            f"memory at {address:#x} (block {block}) is free, but was written to: {_quoted(data[first:])}; it was noticed "
            f"before {until}{owner}"
        )


def _written(data: bytes, expected: bytes) -> tuple[int, int]:
    """Where the first byte is that is not as expected, and how far the last one reaches."""
    places = [at for at, (byte, before) in enumerate(zip(data, expected, strict=True)) if byte != before]
    return places[0], places[-1] + 1


def _quoted(data: bytes) -> str:
    """Bytes in hexadecimal and as a text, the first of many."""
    beginning = data[:_SHOWN_BYTES]
    text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in beginning)
    return f"{beginning.hex(' ')}{' ...' if len(data) > _SHOWN_BYTES else ''} ({text!r})"


def _bytes(count: int) -> str:
    return "1 byte" if count == 1 else f"{count} bytes"
