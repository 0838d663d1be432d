"""The walk along typed pointers, as a model in Python: what `_walk.py` does in compiled code.

::

    waiting   values whose pointers are still to be followed, first come, first served
       │ each word of a value that may point to something (`go_types.Reference`)
       ├── a pointer, string, slice or interface ──> claim part of the object that it leads to; if that is more than
       │                                             was known of the object, these values wait, too
       ├── the same, to outside of the heap ──────> `outside` of whoever walks
       └── a map, channel, function or stack ─────> `meet` of whoever walks, who knows what these consist of

Types become known as the walk comes to them: it asks to `learn` those that it meets for the first time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import numpy as np

from tinyheap.inspect.go_types import Shape
from tinyheap.inspect.heap_memory import NOTHING, WORD_BYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinyheap.inspect.go_types import Reference
    from tinyheap.inspect.heap_memory import HeapMemory

MOST_CLAIMS: Final = 4
"""By how many an object's type may become better, until it stays."""
_LENGTH_AT: Final = {Shape.STRING: WORD_BYTES, Shape.SLICE: 2 * WORD_BYTES}
"""Where what a string or a slice points to has its length: a slice's array has room for its capacity."""

Met = Callable[[int, int, int], None]
"""Takes the address of a value, that of a word in it, and the number of the word's `Shape`; or the address of a value, what
it points to, and the number of that type."""


@dataclass(frozen=True, eq=False, slots=True)
class Claims:
    """What each object consists of, in columns.

    Args:
        numbers: of its type; `NOTHING` where that is not known.
        lengths: of how many values it is known.
        starts: where in the object these begin, in bytes.
        covered: the bytes that they take.
        times: how often it was claimed.
    """

    numbers: NDArray[np.int32]
    lengths: NDArray[np.int64]
    starts: NDArray[np.int64]
    covered: NDArray[np.int64]
    times: NDArray[np.uint8]

    @classmethod
    def of(cls, count: int) -> Self:
        """Of so many objects, of which nothing is known."""
        lengths, starts, covered = (np.zeros(count, np.int64) for _ in range(3))
        return cls(np.full(count, NOTHING, np.int32), lengths, starts, covered, np.zeros(count, np.uint8))


class _Values(NamedTuple):
    """Values that are still to be looked at."""

    address: int
    length: int
    type: int


class Walk:
    """Follows typed pointers.

    Args:
        memory: where they are.
        boxed: by the type codes of interfaces, the numbers of the types that their values point to.
        claims: are written.
        learn: is asked to `add_type` a type by its number.
    """

    def __init__(
        self, memory: HeapMemory, boxed: Mapping[int, int], claims: Claims, learn: Callable[[int], None]
    ) -> None:
        self._memory, self._boxed, self._claims, self._learn = memory, boxed, claims, learn
        self._sizes: dict[int, int] = {}
        self._references: dict[int, Sequence[Reference]] = {}
        self._waiting: deque[_Values] = deque()

    def add_type(self, number: int, size_bytes: int, references: Sequence[Reference]) -> None:
        """Make a type known: the size of its values, and the words in them that may point to something."""
        self._sizes[number], self._references[number] = size_bytes, references

    def push(self, address: int, length: int, number: int) -> None:
        """Let values wait, which may lie outside of the heap; their type is known."""
        self._waiting.append(_Values(address, length, number))

    def follow(self, meet: Met, outside: Met) -> None:
        """Go on until nothing waits any more."""
        while self._waiting:
            address, length, number = self._waiting.popleft()
            size_bytes = self._sizes[number]
            for reference in self._references[number]:
                for value in range(address, address + length * size_bytes, size_bytes):
                    self._refer(value, value + reference.offset_bytes, reference, meet, outside)

    def _refer(self, holder: int, at: int, reference: Reference, meet: Met, outside: Met) -> None:
        """Follow a word of a value."""
        word, shape, number, count = self._memory.word, reference.shape, reference.target, 1
        target = word(at)
        if shape in _LENGTH_AT:
            count = word(at + _LENGTH_AT[shape])
        elif shape is Shape.INTERFACE:
            target, number = word(at + WORD_BYTES), self._boxed.get(target, NOTHING)
        elif shape is not Shape.PLAIN:
            meet(holder, at, shape.value)
            return
        if number < 0 or target == 0 or count == 0:
            return
        index = self._memory.object_at(target)
        if index >= 0:
            self.claim(index, target - self._memory.address(index), number, count)
        elif self._references.get(number) != ():
            outside(holder, target, number)

    def claim(self, index: int, start: int, number: int, count: int) -> None:
        """Claim part of an object for so many values, as far as there is room, if that is more than was claimed before."""
        claims = self._claims
        if number not in self._sizes:
            self._learn(number)
        size_bytes, room = self._sizes[number], self._memory.size_bytes(index) - start
        if size_bytes <= 0 or room < size_bytes or claims.times[index] >= MOST_CLAIMS:
            return
        count = min(count, room // size_bytes)
        if count * size_bytes <= claims.covered[index]:
            return
        claims.covered[index] = count * size_bytes
        claims.times[index] += 1
        claims.numbers[index], claims.lengths[index], claims.starts[index] = number, count, start
        if self._references[number]:
            self.push(self._memory.address(index) + start, count, number)
