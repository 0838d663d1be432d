"""The blocks of a heap drawn on a terminal: one glyph per block, or a shade for several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from tinyheap.heap.blockmap import GLYPHS, STYLES
from tinyheap.heap.contract import State
from tinyheap.report.quantities import size_text

MOST_ROWS: Final = 16
"""So that map and legend fit a terminal of 24 lines beside a prompt."""
MOST_CELLS: Final = 128
"""In a row; where there is no terminal, there is no end to the room."""
CELL_STEP: Final = 8
"""Cells in a row are a multiple of this, for round addresses."""

FREE_STYLE, USED_STYLE = STYLES[State.FREE], STYLES[State.TAIL]
SHADE_GLYPHS: Final = "\N{MIDDLE DOT}\N{LIGHT SHADE}\N{MEDIUM SHADE}\N{DARK SHADE}\N{FULL BLOCK}"
"""From free to full."""
ASCII_SHADE_GLYPHS: Final = ".:+%#"
SHADE_STYLES: Final = (FREE_STYLE, USED_STYLE, USED_STYLE, USED_STYLE, USED_STYLE)
SHADE_NAMES: Final = ("free", "up to 1/3 in use", "up to 2/3", "more", "full")


@dataclass(frozen=True, slots=True)
class HeapMap:
    """A renderable; as wide as the terminal allows, up to `MOST_CELLS`, never more than ``most_rows`` high, and a legend.

    Where one glyph per block takes more than that, each glyph stands for several blocks and shows how many of
    them are in use.
    """

    states: bytes
    """One byte per block, numbered as `State`."""
    start_address: int
    """Of the first block."""
    block_bytes: int
    most_rows: int = MOST_ROWS

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The rows, each behind the address of its first block, and a legend."""
        label_width = len(f"{self.start_address + len(self.states) * self.block_bytes:#x}")
        room = options.max_width - label_width - 2
        row_cells = min(max(room - room % CELL_STEP, CELL_STEP), MOST_CELLS)
        cell_blocks = max(-(-len(self.states) // (row_cells * self.most_rows)), 1)
        row_blocks = row_cells * cell_blocks
        glyphs = _glyphs(cell_blocks, ascii_only=options.ascii_only)
        for first in range(0, len(self.states), row_blocks):
            blocks = self.states[first : first + row_blocks]
            levels = blocks if cell_blocks == 1 else _shades(blocks, cell_blocks)
            label = f"{self.start_address + first * self.block_bytes:#{label_width}x}  "
            yield Text.assemble(label, *(glyphs[level] for level in levels), no_wrap=True)
        yield self._legend(cell_blocks, ascii_only=options.ascii_only)

    def _legend(self, cell_blocks: int, *, ascii_only: bool) -> Text:
        cell_size = size_text(cell_blocks * self.block_bytes)
        if cell_blocks == 1:
            legend = Text(f"one glyph per block of {cell_size}:")
            # A mark outlives no collection, but a heap may be looked at inside one.
            names = [state.name.lower() for state in State if state != State.MARK or state in self.states]
        else:
            legend = Text(f"one glyph per {cell_blocks:,} blocks ({cell_size}):")
            names = list(SHADE_NAMES)
        for name, (glyph, style) in zip(names, _glyphs(cell_blocks, ascii_only=ascii_only), strict=False):
            legend.append("  ").append(glyph, style).append(f" {name}")
        return legend


def _glyphs(cell_blocks: int, *, ascii_only: bool) -> Sequence[tuple[str, str]]:
    """Glyphs and their styles: of states where a cell is one block, else of shades."""
    if cell_blocks > 1:
        shades = ASCII_SHADE_GLYPHS if ascii_only else SHADE_GLYPHS
        return list(zip(shades, SHADE_STYLES, strict=True))
    return list(zip("." + "".join(GLYPHS[1:]) if ascii_only else GLYPHS, STYLES, strict=True))


def _shades(blocks: bytes, cell_blocks: int) -> Iterator[int]:
    """For each cell how much of it is in use, from 0 (nothing) to 4 (all)."""
    for first in range(0, len(blocks), cell_blocks):
        cell = blocks[first : first + cell_blocks]
        used = len(cell) - cell.count(State.FREE)
        # The shades between the ends are thirds; a trace of use is seen, a trace of room as well.
        yield 4 if used == len(cell) else min(-(-3 * used // len(cell)), 3)
