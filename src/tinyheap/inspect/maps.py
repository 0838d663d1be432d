"""Go's maps as they lie in memory.

What debug information says of a map ends with the sizes of its keys and values.  Their types are inferred: keys are strings
where the map's hash function is that of strings, and else both are what all of those that are there can be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from tinyheap.inspect.go_types import BUCKET_ENTRIES, GoTypes
from tinyheap.inspect.heap_memory import WORD_BYTES, HeapMemory
from tinyheap.symbols.types import Kind

MAP: Final = "runtime.hashmap"
LARGEST_ENTRY: Final = 1 << 16
"""Bytes of a map's key or value that are believed."""
_FIELDS: Final = frozenset({"buckets", "count", "keySize", "valueSize", "bucketBits", "keyHash"})
_MOST_BUCKET_BITS: Final = 26
_MOST_SAMPLES: Final = 4096
"""Of a map's entries, by which the types of its keys and values are inferred, and of further buckets."""
_ROUNDING_BYTES: Final = 16
"""By which an object may be larger than what was asked for."""


class FoundMap(NamedTuple):
    """A map's buckets."""

    address: int
    length: int
    """How many."""
    type: int
    """The number of one bucket's type."""


class _Parts(NamedTuple):
    """What a map consists of, as it says itself."""

    buckets: int
    bucket_count: int
    entry_count: int
    key_bytes: int
    value_bytes: int
    hash_function: str | None


class _Entry(NamedTuple):
    """Where the key and the value of an entry lie."""

    key: int
    value: int


class Maps:
    """Finds out what maps consist of.

    Args:
        memory: Where they are.
        go: The types that there are, to which those of buckets are added.
    """

    def __init__(self, memory: HeapMemory, go: GoTypes) -> None:
        self._memory, self._go = memory, go
        self.type = go.numbers.get(MAP, -1)
        """The number of the type of maps; -1 where the module has none."""
        fields = go[self.type].fields if self.type >= 0 else ()
        self._offsets = {each.name: each.offset_bytes for each in fields}
        if not self._offsets.keys() >= _FIELDS:
            self.type = -1

    def at(self, address: int) -> FoundMap | None:
        """The buckets of the map at an address; None where it has none, or there can be no map."""
        parts = self._parts(address)
        if parts is None:
            return None
        entries = list(self._entries(parts))
        key = self._inferred(parts.key_bytes, [each.key for each in entries], parts.hash_function)
        value = self._inferred(parts.value_bytes, [each.value for each in entries], None)
        return FoundMap(parts.buckets, parts.bucket_count, self._go.bucket(key, value))

    def is_at(self, address: int) -> bool:
        """Whether there is a map at an address: all of its parts agree, and with the object that its buckets would be."""
        parts = self._parts(address)
        if parts is None or not parts.key_bytes:
            return False
        index = self._memory.object_at(parts.buckets)
        bucket_bytes = self._bucket_bytes(parts)
        room = self._memory.size_bytes(index) - parts.bucket_count * bucket_bytes if index >= 0 else -1
        if not 0 <= room < _ROUNDING_BYTES + bucket_bytes or self._memory.address(index) != parts.buckets:
            return False
        entry_count = sum(1 for _ in self._entries(parts))
        return entry_count == parts.entry_count or entry_count >= _MOST_SAMPLES

    def _parts(self, at: int) -> _Parts | None:
        if self.type < 0 or at + self._go[self.type].size_bytes > len(self._memory):
            return None
        word, offsets = self._memory.word, self._offsets
        sizes = [offsets.get(f"{each}SlotSize", offsets[f"{each}Size"]) for each in ("key", "value")]
        key_bytes, value_bytes = (word(at + each) for each in sizes)
        bits, buckets = self._memory.byte(at + offsets["bucketBits"]), word(at + offsets["buckets"])
        if bits > _MOST_BUCKET_BITS or max(key_bytes, value_bytes) > LARGEST_ENTRY or not buckets:
            return None
        hash_function = self._memory.function_at(word(at + offsets["keyHash"] + WORD_BYTES))
        return _Parts(buckets, 1 << bits, word(at + offsets["count"]), key_bytes, value_bytes, hash_function)

    def _bucket_bytes(self, parts: _Parts) -> int:
        return self._go.bucket_header_bytes + BUCKET_ENTRIES * (parts.key_bytes + parts.value_bytes)

    def _entries(self, parts: _Parts) -> Iterator[_Entry]:
        """The places of a map that are taken, some thousand at most."""
        memory, header, size_bytes = self._memory, self._go.bucket_header_bytes, self._bucket_bytes(parts)
        found, further = 0, _MOST_SAMPLES
        end = min(parts.buckets + parts.bucket_count * size_bytes, len(memory) - size_bytes + 1)
        for first in range(parts.buckets, end, size_bytes):
            bucket = first
            while bucket and bucket + size_bytes <= len(memory):
                keys, values = bucket + header, bucket + header + BUCKET_ENTRIES * parts.key_bytes
                for place in range(BUCKET_ENTRIES):
                    if memory.data[bucket + place]:
                        yield _Entry(keys + place * parts.key_bytes, values + place * parts.value_bytes)
                        found += 1
                bucket, further = memory.word(bucket + BUCKET_ENTRIES), further - 1
                if found >= _MOST_SAMPLES or (bucket and further <= 0):
                    return

    # ---- what keys and values can be ----------------------------------------------------------------------------------

    def _inferred(self, size_bytes: int, places: Sequence[int], hash_function: str | None) -> int:
        """The number of the type of a map's keys or values."""
        if hash_function is not None and "String" in hash_function and "string" in self._go.numbers:
            return self._go.numbers["string"]
        for name in self._candidates(size_bytes, places):
            if name in self._go.numbers:
                return self._go.numbers[name]
        if size_bytes == WORD_BYTES and any(self._memory.object_at(self._memory.word(each)) >= 0 for each in places):
            return self._go.made(Kind.POINTER, "unsafe.Pointer", WORD_BYTES)
        kind = Kind.UNSIGNED if size_bytes in (1, 2, 4, 8) else Kind.UNKNOWN
        name = f"uint{8 * size_bytes}" if kind is Kind.UNSIGNED else f"[{size_bytes}]byte"
        return self._go.numbers.get(name, -1) if name in self._go.numbers else self._go.made(kind, name, size_bytes)

    def _candidates(self, size_bytes: int, places: Sequence[int]) -> Iterator[str]:
        """The names of types that all values could have, the stricter ones first."""
        if size_bytes == 2 * WORD_BYTES and places:
            if all(self._could_be_interface(each) for each in places):
                yield "runtime._interface"
            if all(self._memory.could_hold(self._word(each, 0), self._word(each, 1)) for each in places):
                yield "string"
        if size_bytes == 3 * WORD_BYTES and places and all(self._could_be_slice(each) for each in places):
            yield from ("[]byte", "[]uint8")

    def _word(self, at: int, index: int) -> int:
        return self._memory.word(at + WORD_BYTES * index)

    def _could_be_slice(self, at: int) -> bool:
        capacity = self._word(at, 2)
        return self._word(at, 1) <= capacity and self._memory.could_hold(self._word(at, 0), capacity)

    def _could_be_interface(self, at: int) -> bool:
        return self._word(at, 0) == self._word(at, 1) == 0 or self._word(at, 0) in self._go.described
