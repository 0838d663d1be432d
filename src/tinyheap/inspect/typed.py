"""Which type each object of a heap has: found by walking from variables whose types are known.

What a pointer of a known type points to is of a known type, too, and so on; as Go's viewcore and goref do.  A *claim* says that
so many values of a type begin somewhere in an object.  An object gets the claim that covers most of it, since a pointer to
a struct's first field, say, claims less than one to the struct; claims on its inside are taken where nothing better comes.

Memory is not trusted: whatever lies there, every object is claimed a few times at most, and no claim reaches beyond its object.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from tinyheap.inspect.go_types import TYPE_VARIABLE, GoTypes, Shape
from tinyheap.inspect.heap_memory import NOTHING, WORD_BYTES, HeapMemory, no_names
from tinyheap.inspect.maps import LARGEST_ENTRY, Maps
from tinyheap.inspect.walk_model import Claims
from tinyheap.inspect.walk_model import Walk as WalkModel
from tinyheap.symbols.types import Kind, Types

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinyheap.inspect._walk import Walk

_ROUNDING_BYTES: Final = 16
"""By which an object may be larger than what was asked for."""
_NESTED: Final = 4
"""How many known pieces of memory that begin before an address are looked at for one that it is in."""
_CHANNEL: Final = "runtime.channel"
_WALKS: Final[dict[str, type[Walk | WalkModel]]] = {"model": WalkModel}
with suppress(ImportError):
    from tinyheap.inspect import _walk

    _WALKS["kernel"] = _walk.Walk
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


class TypedHeap:
    """The types of a heap's objects.

    Args:
        memory: Where they are.
        types: As the debug information tells.
        name_at: A name for what lies at an address outside of the heap and is no variable; None where it has none.
        engine: ``kernel`` or ``model``; by default the kernel, where it is there.
    """

    def __init__(
        self,
        memory: HeapMemory,
        types: Types,
        name_at: Callable[[int], str | None] = no_names,
        engine: str | None = None,
    ) -> None:
        self.memory = memory
        self.go = GoTypes(types)
        self.known: list[Known] = []
        """Variables, and what lies outside of the heap and is reached from them, by address."""
        self._plain: list[Known] = []
        """Variables in which no word can point to anything."""
        self._claims = Claims.of(memory.count)
        self._covered = self._claims.covered.data
        self._maps = Maps(memory, self.go)
        self._learned: set[int] = set()
        walk = _WALKS[engine or ("kernel" if "kernel" in _WALKS else "model")]
        self._walk = walk(memory, dict(self._boxed()), self._claims, self._learn)
        self._seen: set[tuple[int, int]] = set()
        self._names: dict[int, str] = {}
        """Of what is in ``known``, by its address."""
        self._begin(types, name_at)

    # ---- what is known ----------------------------------------------------------------------------------------------

    @property
    def numbers(self) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        """The number of each object's type, or of that of its elements; `NOTHING` where it is not known."""
        return self._claims.numbers

    @property
    def starts(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Where in each object the values begin, in bytes."""
        return self._claims.starts

    @property
    def lengths(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Of how many values each object's type is known."""
        return self._claims.lengths

    def is_within(self, indices: NDArray[np.uint32], offsets: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Of words of objects, by the objects and the offsets in them, whether they are part of values of a known type."""
        places = offsets.astype(np.int64) - self.starts[indices]
        ends = self._claims.covered[indices]
        within: NDArray[np.bool_] = (self.numbers[indices] != NOTHING) & (places >= 0) & (places < ends)
        return within

    def claim(self, index: int) -> Claim | None:
        """What an object consists of; None where that is not known."""
        number = int(self.numbers[index])
        return None if number < 0 else Claim(number, int(self.lengths[index]), int(self.starts[index]))

    def name(self, index: int) -> str | None:
        """An object's type as a program would write it; None where it is not known, or that of a small part only."""
        claim = self.claim(index)
        if claim is None or 2 * self._covered[index] < self.memory.size_bytes(index) - _ROUNDING_BYTES:
            return None  # as `are_named` has it
        each = self.go[claim.type]
        return each.name if claim.length == 1 and each.size_bytes > 1 else f"[]{each.name}"

    @property
    def are_named(self) -> NDArray[np.bool_]:
        """Of each object, whether its type has a `name`."""
        are_large = 2 * self._claims.covered >= self.memory.sizes - _ROUNDING_BYTES
        found: NDArray[np.bool_] = (self.numbers != NOTHING) & are_large
        return found

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

    def _begin(self, types: Types, name_at: Callable[[int], str | None]) -> None:
        """Walk from all variables."""
        for name, address, _, number in (*types.variables, *types.parts):
            if number >= 0 and not name.startswith(_DESCRIPTIONS):
                self._take_known(address, name, number)
                if not self.go.references(number):
                    self._plain.append(Known(address, address + self.go[number].size_bytes, name, number))
        self._walk.follow(self._meet, self._outside)
        for address in list(self._maps_without_a_variable()):
            self._take_known(address, name_at(address) or "a map", self._maps.type)
        self._walk.follow(self._meet, self._outside)
        self.known.sort()
        self._plain.sort()

    def _learn(self, number: int) -> None:
        """Make a type known to the walk."""
        if number not in self._learned:
            self._learned.add(number)
            self._walk.add_type(number, self.go[number].size_bytes, self.go.references(number))

    def _take_known(self, address: int, name: str, number: int) -> None:
        """Look at what lies outside of the heap."""
        end = address + self.go[number].size_bytes
        if (address, number) not in self._seen and 0 <= address < end <= len(self.memory):
            self._learn(number)
            if self.go.references(number):
                self._seen.add((address, number))
                self._names.setdefault(address, name)
                self.known.append(Known(address, end, name, number))
                self._walk.push(address, 1, number)

    def _outside(self, holder: int, target: int, number: int) -> None:
        """A pointer to a value outside of the heap, which is named after what leads there."""
        self._take_known(target, self._names.get(holder, f"0x{target:x}"), number)

    def _point(self, holder: int, target: int, number: int, count: int) -> None:
        """A pointer to values of a type."""
        if number < 0 or target == 0 or count == 0:
            return
        index = self.memory.object_at(target)
        if index >= 0:
            self._walk.claim(index, target - self.memory.address(index), number, count)
        else:
            self._outside(holder, target, number)

    def _meet(self, holder: int, at: int, shape: int) -> None:
        """A word of a value that is more than a pointer."""
        match Shape(shape):
            case Shape.FUNCTION:
                self._point_context(holder, at)
            case Shape.STACK:
                self._point_whole(holder, self.memory.word(at), "goroutine's stack")
            case Shape.MAP:
                self._point_buckets(holder, at)
            case Shape.CHANNEL:
                self._point_buffer(holder, at)
            case _:
                raise AssertionError("the walk follows it itself")

    # ---- what is not in debug information -----------------------------------------------------------------------------

    def _boxed(self) -> Iterator[tuple[int, int]]:
        """Type codes of interfaces whose value is a pointer, to a copy where it is larger than a word; and to what."""
        for code, name in self.go.described.items():
            number = self.go.numbers.get(name.removeprefix("*"))
            if number is not None and (name.startswith("*") or self.go[number].size_bytes > WORD_BYTES):
                yield code, number

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
