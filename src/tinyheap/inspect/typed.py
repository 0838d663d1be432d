"""Which type each object of a heap has: found by walking from variables whose types are known.

What a pointer of a known type points to is of a known type, too, and so on; as Go's viewcore and goref do.  A *claim* says that
so many values of a type begin somewhere in an object.  An object gets the claim that covers most of it, since a pointer to
a struct's first field, say, claims less than one to the struct; claims on its inside are taken where nothing better comes.

Memory is not trusted: whatever lies there, every object is claimed a few times at most, and no claim reaches beyond its object.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from tinyheap.inspect.go_types import TYPE_VARIABLE, GoTypes, Reference, Shape
from tinyheap.inspect.heap_memory import NOTHING, WORD_BYTES, HeapMemory, no_names
from tinyheap.inspect.maps import LARGEST_ENTRY, Maps
from tinyheap.symbols.types import Kind, Types

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_CLAIMS: Final = 4
"""By how many an object's type may become better, until it stays."""
_ROUNDING_BYTES: Final = 16
"""By which an object may be larger than what was asked for."""
_NESTED: Final = 4
"""How many known pieces of memory that begin before an address are looked at for one that it is in."""
_CHANNEL: Final = "runtime.channel"
_DESCRIPTIONS: Final = (TYPE_VARIABLE, "reflect/types.", "runtime/gc.layout:")
"""How the names of variables begin that describe types, and lead nowhere else."""


class Claim(NamedTuple):
    """So many values of a type that begin somewhere in an object."""

    type: int
    """Its number."""
    length: int
    """How many."""
    start_bytes: int
    """Where in the object the first one begins."""


class Known(NamedTuple):
    """Memory outside of the heap whose type is known."""

    start: int
    end: int
    name: str
    """How a program would write it."""
    type: int


class _Values(NamedTuple):
    """Values that are still to be looked at."""

    address: int
    length: int
    type: int


class TypedHeap:
    """The types of a heap's objects.

    Args:
        memory: Where they are.
        types: As the debug information tells.
        name_at: A name for what lies at an address outside of the heap and is no variable; None where it has none.
    """

    def __init__(self, memory: HeapMemory, types: Types, name_at: Callable[[int], str | None] = no_names) -> None:
        self.memory = memory
        self.go = GoTypes(types)
        self.known: list[Known] = []
        """Variables, and what lies outside of the heap and is reached from them, by address."""
        self._plain: list[Known] = []
        """Variables in which no word can point to anything."""
        self._numbers = np.full(memory.count, NOTHING, np.int32)
        self._counts = np.zeros(memory.count, np.int64)
        self._starts = np.zeros(memory.count, np.int64)
        self._covered = np.zeros(memory.count, np.int64).data
        self._claims = bytearray(memory.count)
        self._maps = Maps(memory, self.go)
        self._waiting: deque[_Values] = deque()
        self._seen: set[tuple[int, int]] = set()
        self._names: dict[int, str] = {}
        """Of what is in ``known``, by its address."""
        self._walk(types, name_at)

    # ---- what is known ----------------------------------------------------------------------------------------------

    @property
    def numbers(self) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        """The number of each object's type, or of that of its elements; `NOTHING` where it is not known."""
        return self._numbers

    @property
    def starts(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Where in each object the values begin, in bytes."""
        return self._starts

    @property
    def lengths(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Of how many values each object's type is known."""
        return self._counts

    def is_within(self, indices: NDArray[np.uint32], offsets: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Of words of objects, by the objects and the offsets in them, whether they are part of values of a known type."""
        places = offsets.astype(np.int64) - self._starts[indices]
        ends = np.asarray(self._covered)[indices]
        within: NDArray[np.bool_] = (self._numbers[indices] != NOTHING) & (places >= 0) & (places < ends)
        return within

    def claim(self, index: int) -> Claim | None:
        """What an object consists of; None where that is not known."""
        number = int(self._numbers[index])
        return None if number < 0 else Claim(number, int(self._counts[index]), int(self._starts[index]))

    def name(self, index: int) -> str | None:
        """An object's type as a program would write it; None where it is not known, or that of a small part only."""
        claim = self.claim(index)
        if claim is None or 2 * self._covered[index] < self.memory.size_bytes(index) - _ROUNDING_BYTES:
            return None
        each = self.go[claim.type]
        return each.name if claim.length == 1 and each.size_bytes > 1 else f"[]{each.name}"

    def known_at(self, address: int) -> Known | None:
        """What lies at an address outside of the heap, where its type is known."""
        behind = bisect_right(self.known, address, key=lambda each: each.start)
        near = reversed(self.known[max(0, behind - _NESTED) : behind])
        return next((each for each in near if address < each.end), None)

    def plain_at(self, address: int) -> Known | None:
        """The variable that an address outside of the heap lies in, of those that hold no pointer."""
        behind = bisect_right(self._plain, address, key=lambda each: each.start)
        return self._plain[behind - 1] if behind and address < self._plain[behind - 1].end else None

    def dynamic_type(self, type_code: int) -> str | None:
        """The name of the type that an interface's type code says; None where it is not known."""
        return self.go.described.get(type_code)

    # ---- walking ----------------------------------------------------------------------------------------------------

    def _walk(self, types: Types, name_at: Callable[[int], str | None]) -> None:
        for name, address, _, number in (*types.variables, *types.parts):
            if number >= 0 and not name.startswith(_DESCRIPTIONS):
                self._take_known(address, name, number)
                if not self.go.references(number):
                    self._plain.append(Known(address, address + self.go[number].size_bytes, name, number))
        self._follow()
        for address in list(self._maps_without_a_variable()):
            self._take_known(address, name_at(address) or "a map", self._maps.type)
        self._follow()
        self.known.sort()
        self._plain.sort()

    def _follow(self) -> None:
        while self._waiting:
            address, count, number = self._waiting.popleft()
            size_bytes = self.go[number].size_bytes
            for reference in self.go.references(number):
                for value in range(address, address + count * size_bytes, size_bytes):
                    self._refer(value, value + reference.offset_bytes, reference)

    def _take_known(self, address: int, name: str, number: int) -> None:
        """Look at what lies outside of the heap."""
        end = address + self.go[number].size_bytes
        if (address, number) not in self._seen and end <= len(self.memory) and self.go.references(number):
            self._seen.add((address, number))
            self._names.setdefault(address, name)
            self.known.append(Known(address, end, name, number))
            self._waiting.append(_Values(address, 1, number))

    def _refer(self, holder: int, at: int, reference: Reference) -> None:
        """Follow a reference of a value."""
        target, shape = self.memory.word(at), reference.shape
        if shape is Shape.PLAIN:
            self._point(holder, target, reference.target, 1)
        elif shape is Shape.STRING:
            self._point(holder, target, reference.target, self.memory.word(at + WORD_BYTES))
        elif shape is Shape.SLICE:
            self._point(holder, target, reference.target, self.memory.word(at + 2 * WORD_BYTES))
        elif shape is Shape.INTERFACE:
            self._point_boxed(holder, at)
        elif shape is Shape.FUNCTION:
            self._point_context(holder, at)
        elif shape is Shape.STACK:
            self._point_whole(holder, target, "goroutine's stack")
        elif shape is Shape.MAP:
            self._point_buckets(holder, at)
        elif shape is Shape.CHANNEL:
            self._point_buffer(holder, at)

    def _point(self, holder: int, target: int, number: int, count: int) -> None:
        """A pointer to values of a type."""
        if number < 0 or target == 0 or count == 0:
            return
        index = self.memory.object_at(target)
        if index >= 0:
            self._claim(index, target - self.memory.address(index), number, count)
        else:
            self._take_known(target, self._names.get(holder, f"0x{target:x}"), number)

    def _claim(self, index: int, start: int, number: int, count: int) -> None:
        """Claim part of an object."""
        size_bytes, room = self.go[number].size_bytes, self.memory.size_bytes(index) - start
        if size_bytes <= 0 or room < size_bytes or self._claims[index] >= _MOST_CLAIMS:
            return
        count = min(count, room // size_bytes)
        if count * size_bytes <= self._covered[index]:
            return
        self._covered[index] = count * size_bytes
        self._claims[index] += 1
        self._numbers[index], self._counts[index], self._starts[index] = number, count, start
        if self.go.references(number):
            self._waiting.append(_Values(self.memory.address(index) + start, count, number))

    # ---- what is not in debug information -----------------------------------------------------------------------------

    def _point_boxed(self, holder: int, at: int) -> None:
        """An interface's value, which is a pointer to a copy where it is larger than a word."""
        name = self.dynamic_type(self.memory.word(at))
        number = None if name is None else self.go.numbers.get(name.removeprefix("*"))
        if name is None or number is None:
            return
        if name.startswith("*") or self.go[number].size_bytes > WORD_BYTES:
            self._point(holder, self.memory.word(at + WORD_BYTES), number, 1)

    def _point_context(self, holder: int, at: int) -> None:
        """The variables that a function has captured: a record of its own for each function."""
        function = self.memory.function_at(self.memory.word(at + WORD_BYTES))
        if function is not None:
            self._point_whole(holder, self.memory.word(at), f"context of {function}")

    def _point_whole(self, holder: int, target: int, name: str) -> None:
        """A pointer to an object of which no more is known than what it is for."""
        index = self.memory.object_at(target)
        if index >= 0:
            size_bytes = self.memory.size_bytes(index)
            self._point(holder, self.memory.address(index), self.go.made(Kind.UNKNOWN, name, size_bytes), 1)

    def _point_buffer(self, holder: int, at: int) -> None:
        """A channel's buffer."""
        channel = self.go.numbers.get(_CHANNEL)
        fields = {} if channel is None else {each.name: each.offset_bytes for each in self.go[channel].fields}
        if {"buf", "elementSize", "bufCap"} <= fields.keys():
            size_bytes = self.memory.word(at + fields["elementSize"])
            if 0 < size_bytes < LARGEST_ENTRY:
                number = self.go.made(Kind.UNKNOWN, f"channel's element of {size_bytes} bytes", size_bytes)
                count = self.memory.word(at + fields["bufCap"])
                self._point(holder, self.memory.word(at + fields["buf"]), number, count)

    def _point_buckets(self, holder: int, at: int) -> None:
        """A map's buckets."""
        found = self._maps.at(at)
        if found is not None:
            self._point(holder, found.address, found.type, found.length)

    def _maps_without_a_variable(self) -> Iterator[int]:
        """Maps outside of the heap that no variable leads to, since the compiler knew all that their variables ever held."""
        taken = {each.start for each in self.known}
        for at in self.memory.words_into_heap():
            if at not in taken and self._maps.is_at(at):
                yield at
