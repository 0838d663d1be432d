"""Small heaps of 64-bit words: their start, the size of a number of blocks, and a check that nothing in them changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tinyheap.heap import Heap

START = 0x1_0000
BLOCK = 32


def blocks(count: int) -> int:
    """Bytes of a heap of 64-bit words with so many blocks."""
    return count * BLOCK + -(-count // 4)


@contextmanager
def unchanged(memory: bytearray, heap: Heap) -> Iterator[None]:
    """Neither the memory nor what is counted changes inside."""
    before, counters = bytes(memory), heap.counters()[:7]
    yield
    assert memory == before
    assert heap.counters()[:7] == counters
