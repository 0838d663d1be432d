"""The finalizers of TinyGo 0.42, kept on the heap itself.

An *entry* for each registration is an object of four words, on one of two lists whose starts are roots::

    registered -> | next | ~object | function .. |  -> ...          newest first
    pending    -> | next | ~object | function .. |  -> ...          in the order in which they will run

The object's address is inverted, so that the entry keeps nothing alive.  A *bitmap*, an object without pointers, has a bit
for the first block of each object that is registered; it saves searches only.  *Pressure* counts new registrations since
the last collection: where there are many, an idle scheduler collects.

In a collection, between mark and sweep, each registered entry whose object was not reached moves to the front of
*pending*, from the newest registration to the oldest; so the oldest one of this collection is the first to run, before
all that have waited since earlier ones.  The objects of all pending entries, and all that they lead to, live on.

It works on the primitives of any engine, and checks all that it reads: an entry that is not an object of four words, or
that comes twice, raises `HeapCorruptError`.

Source: ``gc_finalizer.go`` of TinyGo 0.42.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from tinyheap.errors import HeapCorruptError
from tinyheap.heap.contract import NO_BLOCK, Engine, State
from tinyheap.heap.geometry import NIL, SIZE_FIELD_BITS, Geometry

ENTRY_WORDS: Final = 4
ENTRY_POINTERS: Final = (0, 2, 3)
"""Which words of an entry may be pointers: all but the inverted address."""
NO_POINTERS: Final = 0b11
"""The layout word of the bitmap: one word that is not a pointer, again and again."""
PRESSURE_FLOOR: Final = 32
"""So many new registrations at least make an idle scheduler collect."""


def entry_layout(geometry: Geometry) -> int:
    """The layout word of entries: 841 for words of 4 bytes, 1673 for words of 8."""
    # Where words overlap (AVR) a layout has a bit for each byte.
    places = geometry.word_bytes // geometry.word_alignment_bytes
    bits = sum(1 << index * places for index in ENTRY_POINTERS)
    return 1 | ENTRY_WORDS * places << 1 | bits << 1 + SIZE_FIELD_BITS[geometry.word_bytes]


class Pending(NamedTuple):
    """A finalizer that is to run."""

    entry: int
    """Address of its entry, which is garbage from now on."""
    address: int
    """Of the object."""
    function: tuple[int, int]
    """The two words of the function value."""


class FinalizerTable:
    """The finalizers of one heap.

    Args:
        engine: what the heap is on.
        alloc: allocates so many bytes with a layout word, in this heap; nil where there is no room.
    """

    def __init__(self, engine: Engine, alloc: Callable[[int, int], int]) -> None:
        self._engine = engine
        self._alloc = alloc
        self.registered = NIL
        self.pending = NIL
        self.bits = NIL
        """Address of the bitmap; nil before the first registration."""
        self.bits_bytes = 0
        self.count = 0
        """How many entries are registered."""
        self.since_collection = 0
        """How many were new since the last collection."""
        self._held: list[int] = []
        self._dead: dict[int, int] = {}

    def roots(self) -> list[int]:
        """Addresses that the heap marks from."""
        return [self.registered, self.pending, self.bits, *self._held]

    # ---- entries ----------------------------------------------------------------------------------------------------

    def register(self, address: int, function: tuple[int, int]) -> int:
        """Register an object, or give its entry another function; the entry's address, nil where memory ran out.

        The allocation of the entry may collect, and run finalizers.
        """
        held = len(self._held)
        self._held.append(address)
        try:
            return self._register(address, function)
        finally:
            del self._held[held:]

    def _register(self, address: int, function: tuple[int, int]) -> int:
        geometry = self._engine.geometry
        entry = self._alloc(ENTRY_WORDS * geometry.word_bytes, entry_layout(geometry))
        self._held.append(entry)
        if entry == NIL or not self._widen_bits():
            return NIL
        registered = next(self._entries_of(address), None)
        if registered is not None:
            self._write_function(registered, function)
            return registered
        self._write_word(entry, 0, self.registered)
        self._write_word(entry, 1, ~address % geometry.address_space_bytes)
        self._write_function(entry, function)
        self.registered = entry
        self.count += 1
        self.since_collection += 1
        self._set_bit(address, True)
        return entry

    def unregister(self, address: int) -> list[int]:
        """Take the finalizers of an object away, those that wait to run apart; the addresses of their entries."""
        cleared = list(self._unlinked(set(self._entries_of(address))))
        self.since_collection = max(self.since_collection - len(cleared), 0)
        self._set_bit(address, False)
        return cleared

    def forget(self, address: int) -> list[int]:
        """An object was freed: drop all its entries, those that wait to run, too; their addresses."""
        cleared = self.unregister(address)
        waiting = list(self.entries(self.pending))
        kept = [entry for entry in waiting if self.object_of(entry) != address]
        if kept != waiting:
            for entry, after in zip(kept, [*kept[1:], NIL], strict=True):
                self._write_word(entry, 0, after)
            self.pending = kept[0] if kept else NIL
        return [*cleared, *(entry for entry in waiting if entry not in kept)]

    def _entries_of(self, address: int) -> Iterator[int]:
        """The registered entries of an object."""
        if self._may_be_registered(address):
            yield from (entry for entry in list(self.entries(self.registered)) if self.object_of(entry) == address)

    def entries(self, entry: int) -> Iterator[int]:
        """The entries of a list, from one on.

        Raises:
            HeapCorruptError: the list was overwritten.
        """
        seen = set[int]()
        while entry != NIL:
            self._check_entry(entry, seen)
            yield entry
            seen.add(entry)
            entry = self._word(entry, 0)

    def _check_entry(self, entry: int, seen: set[int]) -> None:
        if entry in seen:
            raise HeapCorruptError(
                f"the finalizer entry at {entry:#x} is on its list twice: a link word was overwritten"
            )
        if not self._is_object(entry, ENTRY_WORDS * self._engine.geometry.word_bytes):
            raise HeapCorruptError(
                f"a list of finalizers leads to {entry:#x}, where no object of {ENTRY_WORDS} words begins: "
                "a link word was overwritten"
            )

    def _is_object(self, address: int, size_bytes: int) -> bool:
        """Whether an object of so many bytes or more begins at an address."""
        engine, geometry, shape = self._engine, self._engine.geometry, self._engine.shape
        if not geometry.is_on_heap(address) or geometry.block_of(address) >= geometry.end_block:
            return False
        block = geometry.block_of(address)
        if engine.state(block) is State.FREE or engine.find_head(block) == NO_BLOCK:
            return False
        first, end = engine.extent(block)
        return shape.address_of(geometry, first) == address and size_bytes <= shape.body_bytes(geometry, end - first)

    def object_of(self, entry: int) -> int:
        """The address of an entry's object."""
        return ~self._word(entry, 1) % self._engine.geometry.address_space_bytes

    def function_of(self, entry: int) -> tuple[int, int]:
        """The two words of an entry's function value."""
        return self._word(entry, 2), self._word(entry, 3)

    def _write_function(self, entry: int, function: tuple[int, int]) -> None:
        for index, word in enumerate(function, 2):
            self._write_word(entry, index, word)

    def _unlinked(self, chosen: set[int]) -> Iterator[int]:
        """Take entries off the registered ones, each when it is asked for; they keep their own link words."""
        before = NIL
        for entry in list(self.entries(self.registered)) if chosen else ():
            if entry not in chosen:
                before = entry
                continue
            after = self._word(entry, 0)
            if before == NIL:
                self.registered = after
            else:
                self._write_word(before, 0, after)
            self.count -= 1
            yield entry

    def _word(self, entry: int, index: int) -> int:
        return self._engine.load_word(entry + index * self._engine.geometry.word_bytes)

    def _write_word(self, entry: int, index: int, value: int) -> None:
        self._engine.store_word(entry + index * self._engine.geometry.word_bytes, value)

    # ---- the bitmap -------------------------------------------------------------------------------------------------

    def _widen_bits(self) -> bool:
        """Have a bit for each block that the heap has now; False where memory ran out."""
        bits_bytes = (self._engine.geometry.end_block + 7) // 8
        if self.bits_bytes >= bits_bytes:
            return True
        bits = self._alloc(bits_bytes, NO_POINTERS)
        if bits == NIL:
            return False
        if self.bits_bytes >= bits_bytes:
            # A finalizer that ran meanwhile registered another object, and had the bitmap widened.
            return True
        for index, word in enumerate(self._bit_words()):
            self._write_word(bits, index, word)
        self.bits, self.bits_bytes = bits, bits_bytes
        return True

    def _may_be_registered(self, address: int) -> bool:
        """What the bitmap says of an object; yes for those that have no bit."""
        block = self._block_of(address)
        if not 0 <= block < 8 * self.bits_bytes:
            return True
        index, bit = divmod(block, 8 * self._engine.geometry.word_bytes)
        return bool(self._word(self.bits, index) >> bit & 1)

    def _set_bit(self, address: int, is_set: bool) -> None:
        block = self._block_of(address)
        if 0 <= block < 8 * self.bits_bytes:
            index, bit = divmod(block, 8 * self._engine.geometry.word_bytes)
            word = self._word(self.bits, index)
            self._write_word(self.bits, index, word & ~(1 << bit) | is_set << bit)

    def _block_of(self, address: int) -> int:
        geometry = self._engine.geometry
        return geometry.block_of(address) if geometry.is_on_heap(address) else NO_BLOCK

    def _bit_words(self) -> list[int]:
        """The words of the bitmap, up to its last byte."""
        return [
            self._word(self.bits, index) for index in range(-(-self.bits_bytes // self._engine.geometry.word_bytes))
        ]

    def read_bits(self) -> bytes:
        """The bytes of the bitmap."""
        word_bytes = self._engine.geometry.word_bytes
        return b"".join(word.to_bytes(word_bytes, "little") for word in self._bit_words())[: self.bits_bytes]

    # ---- collections ------------------------------------------------------------------------------------------------

    def after_mark(self) -> int:
        """Find what nothing reaches, and mark what lives on for its finalizer; returns what ``Engine.finish_mark`` does.

        Nothing changes before `commit`, so that a collection that fails has no effect.

        Raises:
            HeapCorruptError: a list was overwritten.
        """
        engine = self._engine
        registered = list(self.entries(self.registered))
        waiting = list(self.entries(self.pending))
        objects = {entry: self.object_of(entry) for entry in registered}
        self._dead = {entry: address for entry, address in objects.items() if self._is_unreached(address)}
        engine.mark_addresses([*reversed(self._dead.values()), *map(self.object_of, waiting)])
        return engine.finish_mark()

    def _is_unreached(self, address: int) -> bool:
        geometry = self._engine.geometry
        if not geometry.is_on_heap(address) or geometry.block_of(address) >= geometry.end_block:
            return False
        head = self._engine.find_head(geometry.block_of(address))
        return head != NO_BLOCK and self._engine.state(head) is not State.MARK

    def commit(self) -> None:
        """Move the entries of what nothing reached to the pending ones."""
        dead, self._dead = self._dead, {}
        for entry in self._unlinked(set(dead)):
            self._write_word(entry, 0, self.pending)
            self.pending = entry
            self._set_bit(dead[entry], False)
        self.since_collection = 0

    def take_pending(self) -> Pending | None:
        """The next finalizer that is to run, which is garbage from now on; None where there is none.

        Raises:
            HeapCorruptError: the list was overwritten.
        """
        entry = self.pending
        if entry == NIL:
            return None
        self._check_entry(entry, set())
        self.pending = self._word(entry, 0)
        return Pending(entry, self.object_of(entry), self.function_of(entry))

    @property
    def is_pressing(self) -> bool:
        """Whether a scheduler that is idle should collect."""
        return self.since_collection >= max(PRESSURE_FLOOR, self.count // 2)

    # ---- verifying --------------------------------------------------------------------------------------------------

    def problems(self, most: int = 16) -> list[str]:
        """What is wrong with the table, one line per problem."""
        try:
            return list(self._problems())[:most]
        except HeapCorruptError as error:
            return [str(error)]

    def _problems(self) -> Iterator[str]:
        if self.bits != NIL and not self._is_object(self.bits, self.bits_bytes):
            yield f"the finalizers' bitmap should be an object of {self.bits_bytes} bytes at {self.bits:#x}, and none is there"
            return
        registered = list(self.entries(self.registered))
        for entry in (*registered, *self.entries(self.pending)):
            address = self.object_of(entry)
            if self._block_of(address) != NO_BLOCK and not self._is_object(address, 0):
                yield f"the finalizer entry at {entry:#x} is of {address:#x}, where no object begins: it was overwritten"
        if len(registered) != self.count:
            yield f"{len(registered)} finalizer entries are registered, but {self.count} were counted"
        yield from self._wrong_bits({self._block_of(self.object_of(entry)) for entry in registered} - {NO_BLOCK})

    def _wrong_bits(self, blocks: set[int]) -> Iterator[str]:
        bits = int.from_bytes(self.read_bits(), "little")
        expected = sum(1 << block for block in blocks if block < 8 * self.bits_bytes)
        wrong = bits ^ expected
        if wrong:
            block = (wrong & -wrong).bit_length() - 1
            which = "has the bit of" if bits >> block & 1 else "lacks the bit of"
            yield f"the finalizers' bitmap at {self.bits:#x} {which} block {block}: it was overwritten"
