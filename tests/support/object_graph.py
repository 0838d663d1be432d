"""An abstract graph of objects, and what a collection must make of it.

Two oracles that know nothing of marks, blocks' states or sweeps:

* `scan` follows the words that really lie in memory, as a collector of the kind may see them: integers that look like
  addresses, stale words in slack and words that overlap included.  What it finds is exactly what lives.
* `Graph.reachable` follows the references that the program stored, by the objects' numbers.  What it finds lives in any
  case; nothing else does where no integer looks like an address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tinyheap.heap import Geometry, HeapObject, Layout


@dataclass(eq=False)
class Thing:
    """An object as the program knows it.

    Args:
        content: the bytes asked for.
        layout: the layout of a precise object; None where every word may be a pointer.
        references: what was stored, by the byte offset of the word.
    """

    address: int
    content: bytearray
    layout: Layout | None
    references: dict[int, Thing] = field(default_factory=dict)
    extent_bytes: int = 0
    """From the address to the end of its last block."""

    def may_point(self, offset_bytes: int, step_bytes: int) -> bool:
        """Whether the word at an offset is one that the collector looks at."""
        if self.layout is None or self.layout == Layout.UNKNOWN:
            return True
        return bool(self.layout.bitmap >> offset_bytes // step_bytes % self.layout.words & 1)

    def write(self, offset_bytes: int, word: int, word_bytes: int, target: Thing | None) -> None:
        """Note a word that was stored."""
        for other in [at for at in self.references if abs(at - offset_bytes) < word_bytes]:
            del self.references[other]
        self.content[offset_bytes : offset_bytes + word_bytes] = word.to_bytes(word_bytes, "little")
        if target is not None:
            self.references[offset_bytes] = target


class Graph:
    """All objects that the program has not seen die, by address.

    Args:
        step_bytes: from a word to the next one that may be a pointer.
        heeds_layouts: whether the collector looks only where layouts say, as a precise one.
    """

    def __init__(self, step_bytes: int, *, heeds_layouts: bool) -> None:
        self.things: dict[int, Thing] = {}
        self._step_bytes = step_bytes
        self._heeds_layouts = heeds_layouts

    def reachable(self, roots: Iterable[Thing | None]) -> set[int]:
        """Addresses of the objects that stored references lead to."""
        found: set[int] = set()
        todo = [root for root in roots if root is not None]
        while todo:
            thing = todo.pop()
            if thing.address not in found:
                found.add(thing.address)
                todo += [
                    target
                    for offset, target in thing.references.items()
                    if not self._heeds_layouts or thing.may_point(offset, self._step_bytes)
                ]
        return found

    def forget(self, gone: Thing) -> bool:
        """An object was freed on request; whether something still referred to it."""
        del self.things[gone.address]
        dangling = False
        for thing in self.things.values():
            for offset in [at for at, target in thing.references.items() if target is gone]:
                del thing.references[offset]
                dangling = True
        return dangling


class Fate(NamedTuple):
    """What a collection must do: addresses."""

    live: set[int]
    reached: set[int]
    """Live without help of a finalizer."""
    due: list[int]
    """Objects whose finalizers run after it, in this order."""


class Scanner:
    """Follows the words in memory.

    Args:
        memory: from the heap's first byte on.
        objects: as the block table has them.
        may_point: whether the collector looks at the word at that offset of the object at that address.
    """

    def __init__(
        self,
        geometry: Geometry,
        memory: bytes,
        objects: Iterable[HeapObject],
        may_point: Callable[[int, int], bool],
    ) -> None:
        self._geometry = geometry
        self._memory = memory
        self._may_point = may_point
        self._object_at_block = {found.head + i: found for found in objects for i in range(found.blocks)}

    def object_of(self, word: int) -> HeapObject | None:
        """The object that a word may refer to."""
        offset = word - self._geometry.start_address
        return self._object_at_block.get(offset // self._geometry.block_bytes) if offset >= 0 else None

    def words(self, found: HeapObject) -> Iterator[int]:
        """The words of an object that the collector looks at."""
        geometry = self._geometry
        for offset in range(0, found.size_bytes, geometry.word_alignment_bytes):
            if self._may_point(found.address, offset):
                at = found.address - geometry.start_address + offset
                yield int.from_bytes(self._memory[at : at + geometry.word_bytes], "little")

    def follow(self, words: Iterable[int], seen: set[int]) -> None:
        """Add all that the words lead to."""
        todo = list(words)
        while todo:
            found = self.object_of(todo.pop())
            if found is not None and found.address not in seen:
                seen.add(found.address)
                todo += self.words(found)

    def fate(self, roots: Iterable[int], finalizable: Iterable[int]) -> Fate:
        """What a collection from these root words must do, where these objects have finalizers, in the order of setting."""
        seen: set[int] = set()
        self.follow(roots, seen)
        reached = set(seen)
        lost = [address for address in finalizable if address not in reached]
        for address in lost:
            found = self.object_of(address)
            assert found is not None
            self.follow(self.words(found), seen)
        due = [address for address in lost if address not in seen]
        return Fate(seen | set(due), reached, due)


def words_of(data: bytes | bytearray, geometry: Geometry) -> list[int]:
    """The words in a range of roots."""
    width = geometry.word_bytes
    return [
        int.from_bytes(data[at : at + width], "little")
        for at in range(0, len(data) - width + 1, geometry.word_alignment_bytes)
    ]
