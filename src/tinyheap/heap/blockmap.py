"""A map of a heap: one glyph per block, as the original's ``dumpHeap`` prints it.

An object of three blocks is drawn ``*--``, or ``--*`` where the last block is the head (`collectors`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from tinyheap.heap.collectors import Collector
from tinyheap.heap.contract import State
from tinyheap.heap.geometry import BLOCKS_PER_TABLE_BYTE, Geometry

LINE_BLOCKS: Final = 64
FREE_RUN: Final = re.compile(rb"\0+")
GLYPHS: Final = tuple(state.glyph for state in State)
STYLES: Final = ("bright_black", "bold cyan", "cyan", "bold magenta")
"""By state, for terminals."""
COLORS: Final = ("#8a8f98", "#0b7285", "#22b8cf", "#ae3ec9")
"""By state, for notebooks: readable on light and dark."""


def unpack_states(table: bytes, end_block: int, collector: Collector = Collector.NEXT_FIT) -> bytes:
    """The states of blocks, a byte each, as `State` numbers them.

    Args:
        table: A block table.
        end_block: How many blocks it describes.
        collector: Whose table it is.
    """
    states = bytearray(len(table) * BLOCKS_PER_TABLE_BYTE)
    for place in range(BLOCKS_PER_TABLE_BYTE):
        states[place::BLOCKS_PER_TABLE_BYTE] = table.translate(collector.encoding.states(place))
    return bytes(states[:end_block])


def free_runs_of(table: bytes, collector: Collector, end_block: int) -> list[tuple[int, int]]:
    """Maximal runs of free blocks in a block table, ``(first block, blocks)`` each, by address."""
    runs = FREE_RUN.finditer(unpack_states(table, end_block, collector))
    return [(run.start(), run.end() - run.start()) for run in runs]


def lowest_free_run_of(table: bytes, collector: Collector, end_block: int) -> tuple[int, int] | None:
    """The first of `free_runs_of`, without looking for the others; None where no block is free."""
    run = FREE_RUN.search(unpack_states(table, end_block, collector))
    return None if run is None else (run.start(), run.end() - run.start())


@dataclass(frozen=True, slots=True)
class BlockMap:
    """The states of all blocks at one moment.

    ``str()`` is the original's text, 64 blocks a line; in a terminal (``rich``) and in a notebook it is colored, with the
    address of each line and equal free lines folded.
    """

    geometry: Geometry
    table: bytes
    collector: Collector = Collector.NEXT_FIT

    def states(self) -> Iterator[State]:
        """The state of each block, from block 0 on."""
        return map(State, unpack_states(self.table, self.geometry.end_block, self.collector))

    def lines(self) -> list[str]:
        """Glyphs, 64 blocks a line, without addresses."""
        glyphs = "".join(state.glyph for state in self.states())
        return [glyphs[at : at + LINE_BLOCKS] for at in range(0, len(glyphs), LINE_BLOCKS)]

    def __str__(self) -> str:
        return "\n".join(["heap:", *self.lines()])

    def _folded(self) -> Iterator[tuple[int, str, int]]:
        """``(first block, glyphs, times)`` of each line; equal lines of one kind of glyph come once."""
        block = 0
        for line, equal in groupby(self.lines()):
            count = len(list(equal))
            times = 1 if len(set(line)) > 1 else count
            for _ in range(count // times):
                yield block, line, times
                block += times * LINE_BLOCKS

    def __rich__(self) -> str:
        return "\n".join(self._drawn(_terminal_run, "[dim]{}[/]", "\u00d7"))

    def _repr_html_(self) -> str:
        body = "\n".join(self._drawn(_notebook_run, "{}", "&times;"))
        return f'<pre style="line-height:1.15;font-family:monospace">{body}</pre>'

    def _drawn(self, run: Callable[[str, int], str], aside: str, times_sign: str) -> Iterator[str]:
        """Lines with their addresses, and at the end what the glyphs stand for.

        Args:
            run: How equal glyphs are drawn, so many of them.
            aside: The format of what is not glyphs.
            times_sign: How a multiplication sign is written.
        """
        for block, line, times in self._folded():
            runs = "".join(run(glyph, len(list(equal))) for glyph, equal in groupby(line))
            more = " " + aside.format(f"{times_sign} {times} lines") if times > 1 else ""
            yield aside.format(f"{self.geometry.address_of(block):#10x}") + f" {runs}{more}"
        legend = "  ".join(f"{run(state.glyph, 1)} {state.name.lower()}" for state in State)
        yield aside.format(f"{'':10}") + f" {legend}"


def _terminal_run(glyph: str, count: int) -> str:
    return f"[{STYLES[GLYPHS.index(glyph)]}]{glyph * count}[/]"


def _notebook_run(glyph: str, count: int) -> str:
    return f'<span style="color:{COLORS[GLYPHS.index(glyph)]}">{glyph * count}</span>'
