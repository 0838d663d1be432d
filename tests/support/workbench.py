"""A test bench for an engine: over guarded memory, with an embedder that the test controls.

A heap is written as a string, one glyph per block: ``.`` free, ``*`` head, ``-`` tail, ``#`` mark.  The bytes in front of
and behind the heap's memory are guards, which no engine may touch.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any, Final, TypeAlias, cast

from tinyheap.heap.collectors import Encoding
from tinyheap.heap.contract import BestFitEngine, Engine, Gc, NextFitEngine, Options
from tinyheap.heap.geometry import BLOCKS_PER_TABLE_BYTE, Geometry

GLYPHS: Final = ".*-#"
# None where a sanitizer watches, which sees better what lies just outside the memory.
GUARD_BYTES: Final = int(os.environ.get("TINYHEAP_GUARD_BYTES", "64"))
GUARD: Final = 0xA5
START_ADDRESSES: Final = {2: 0x100, 4: 0x2000_0000, 8: 0x10_0000_0000}
ZERO_SIZE_ADDRESS: Final = 0x10
STATICS_ADDRESS: Final = 0xE000
"""Where the out-of-line layouts lie: behind every heap of two-byte words that is put on the bench."""


@dataclass
class Layouts:
    """Out-of-line layouts at addresses outside the heap."""

    memory: bytearray | memoryview = field(default_factory=lambda: bytearray(2))
    start_address: int = STATICS_ADDRESS

    def add(self, bits: str, word_bytes: int, *, size: int | None = None) -> int:
        """Put a layout there, its first word's bit first; returns its address."""
        memory = bytearray(self.memory)
        memory += bytes(-len(memory) % word_bytes)
        address = self.start_address + len(memory)
        memory += (len(bits) if size is None else size).to_bytes(word_bytes, "little")
        memory += int(bits[::-1] or "0", 2).to_bytes((len(bits) + 7) // 8, "little")
        self.memory = memory
        return address


def inline_layout(bits: str, word_bytes: int, *, size: int | None = None) -> int:
    """The layout word of a pattern that repeats, its first word's bit first."""
    size_bits = {2: 4, 4: 5, 8: 6}[word_bytes]
    return 1 | (len(bits) if size is None else size) << 1 | int(bits[::-1], 2) << 1 + size_bits


def pack_states(states: Sequence[int], encoding: Encoding = Encoding.PAIRS) -> bytes:
    """A block table of these states, four to a byte."""
    padded = [*states, *[0] * (-len(states) % BLOCKS_PER_TABLE_BYTE)]
    if encoding is Encoding.PAIRS:
        return bytes(
            padded[at] | padded[at + 1] << 2 | padded[at + 2] << 4 | padded[at + 3] << 6
            for at in range(0, len(padded), BLOCKS_PER_TABLE_BYTE)
        )
    return bytes(
        sum((state & 1 | (state & 2) << 3) << place for place, state in enumerate(padded[at : at + 4]))
        for at in range(0, len(padded), BLOCKS_PER_TABLE_BYTE)
    )


def unpack_states(table: bytes, encoding: Encoding = Encoding.PAIRS) -> list[int]:
    """The states in a block table."""
    if encoding is Encoding.PAIRS:
        return [byte >> shift & 3 for byte in table for shift in (0, 2, 4, 6)]
    return [byte >> place & 1 | (byte >> place + 4 & 1) << 1 for byte in table for place in range(4)]


def heap_bytes_for(blocks: int, word_bytes: int = 8) -> int:
    """The smallest heap that has exactly so many blocks."""
    heap_bytes = blocks * 4 * word_bytes + -(-blocks // BLOCKS_PER_TABLE_BYTE)
    while Geometry(START_ADDRESSES[word_bytes], heap_bytes, word_bytes).end_block < blocks:
        heap_bytes += 1
    return heap_bytes


class Workbench:
    """One engine, its memory between guards, its roots and how it grows.

    Args:
        engine_type: the engine.
        blocks: of the heap; or else ``heap_bytes``.
        grow_to: sizes in bytes that the heap grows to when asked, one after the other; then it grows no more.
        offset_bytes: from an aligned place to the memory's first byte.
        fill: what the pool's bytes are before anything happens.
        options: of the engine, as ``contract.Options``.
    """

    def __init__(
        self,
        engine_type: type[Engine],
        blocks: int | None = None,
        *,
        heap_bytes: int = 0,
        word_bytes: int = 8,
        word_alignment_bytes: int = 0,
        header_alignment_bytes: int = 0,
        grow_to: Iterable[int] = (),
        offset_bytes: int = 0,
        fill: int = 0,
        gc: Gc = Gc.CONSERVATIVE,
        **options: Any,  # noqa: ANN401
    ) -> None:
        if blocks is not None:
            heap_bytes = heap_bytes_for(blocks, word_bytes)
        geometry = Geometry(
            START_ADDRESSES[word_bytes],
            heap_bytes,
            word_bytes,
            word_alignment_bytes,
            header_alignment_bytes,
            has_table=gc is not Gc.LEAKING,
        )
        self.grow_to = list(grow_to)
        self._first = GUARD_BYTES + offset_bytes
        self._last = self._first + max([heap_bytes, *self.grow_to])
        # Exactly so long: an array that was never extended has nothing behind it.
        self._place = array("B", [GUARD]) * (self._last + GUARD_BYTES)
        self.memory = memoryview(self._place)[self._first : self._last]
        self.memory[:] = bytes([fill]) * len(self.memory)
        self.memory[geometry.pool_bytes : heap_bytes] = bytes(geometry.table_bytes)
        self.layouts = Layouts()
        self.roots: list[int] = []
        self.asked: list[str] = []
        """What the engine asked of its embedder."""
        self.settled: list[tuple[int, int]] = []
        """Allocations that had to ask: address and size in bytes."""
        self.unreadable: list[int] = []
        engine = engine_type(self.memory, geometry, Options(gc, **options), self.layouts, self)
        # Whoever benches another kind says so.
        self.engine = cast(NextFitEngine, engine)
        self.engine.zero_size_address = ZERO_SIZE_ADDRESS

    # ---- the engine's embedder -------------------------------------------------------------------------------------------

    def on_exhausted(self) -> int:
        self.asked.append("collect")
        return self.collect()

    def grow(self, needed_blocks: int) -> bool:
        self.asked.append(f"grow {needed_blocks}")
        if not self.grow_to:
            return False
        self.engine.resize(self.grow_to.pop(0))
        return True

    def finish_allocation(self, address: int, size_bytes: int) -> int:
        self.settled.append((address, size_bytes))
        return address

    def layout_word(self, layout: int, size_bytes: int) -> int:
        return layout

    # ---- what tests do with it ----------------------------------------------------------------------------------

    def root_bytes(self) -> bytes:
        word_bytes = self.engine.geometry.word_bytes
        return b"".join(word.to_bytes(word_bytes, "little") for word in self.roots)

    def mark(self) -> None:
        self.engine.mark_roots(self.root_bytes())
        self.unreadable.append(self.engine.finish_mark())

    def collect(self) -> int:
        """Mark from the roots and sweep; the free bytes."""
        self.mark()
        return self.engine.sweep()

    def address(self, block: int) -> int:
        return self.engine.geometry.address_of(block)

    def word_address(self, block: int, word: int) -> int:
        return self.address(block) + word * self.engine.geometry.word_bytes

    def refer(self, block: int, word: int, to_block: int, *, offset_bytes: int = 0) -> None:
        """Write a block's address to a word of another one."""
        self.engine.store_word(self.word_address(block, word), self.address(to_block) + offset_bytes)

    def lay(self, glyphs: str) -> None:
        """Replace the whole table, written as glyphs; blocks beyond the glyphs are free."""
        states = [GLYPHS.index(glyph) for glyph in glyphs]
        table = pack_states(states, self.engine.collector.encoding)
        self.engine.write_table(table.ljust(self.engine.geometry.table_bytes, b"\0"))

    def lay_ranges(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Replace the free list by these ranges, ``(first block, blocks)`` each, in list order."""
        word_bytes = self.engine.geometry.word_bytes
        levels = [list(group) for _, group in groupby(ranges, key=itemgetter(1))]
        starts = [self.address(level[0][0]) for level in levels]
        for level, start, longer in zip(levels, starts, [*starts[1:], 0], strict=False):
            inner = [*(self.address(first) for first, _ in level[1:]), 0]
            for index, word in enumerate((level[0][1], longer, inner[0])):
                self.engine.store_word(start + index * word_bytes, word)
            for node, following in pairwise(inner):
                self.engine.store_word(node, following)
        cast(BestFitEngine, self.engine).free_list = starts[0] if starts else 0

    def draw(self) -> str:
        """The heap as glyphs."""
        states = unpack_states(self.engine.read_table(), self.engine.collector.encoding)[
            : self.engine.geometry.end_block
        ]
        return "".join(GLYPHS[state] for state in states)

    def pool(self) -> bytes:
        return bytes(self.memory[: self.engine.geometry.pool_bytes])

    def check_guards(self) -> None:
        """Nothing in front of or behind the memory was written."""
        assert self._place[: self._first].tobytes() == bytes([GUARD]) * self._first
        assert self._place[self._last :].tobytes() == bytes([GUARD]) * GUARD_BYTES

    def close(self) -> None:
        self.check_guards()
        self.engine.release_memory()


MakeBench: TypeAlias = Callable[..., Workbench]
"""Takes what `Workbench` takes, but the engine."""
