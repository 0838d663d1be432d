"""Linear memory for a terminal: what is declared, how it grew, who asked, and what refused it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from tinyheap.profile import LinearMemory, MemoryGrowth
from tinyheap.recordings.refusals import Refusal
from tinyheap.report.quantities import maximum_text, pages_text, size_text, time_text
from tinyheap.report.terminal.flame_tree import fitted
from tinyheap.report.text import printable
from tinyheap.units import WASM_PAGE_BYTES

GROWTHS_SHOWN: Final = 12
BESIDE_NAME: Final = 48
"""Cells of a growth's numbers, at most."""
_BAD: Final = "red"
_REFUSALS: Final = {
    Refusal.MAXIMUM.value: "refused: the module allows no more",
    Refusal.MEMORY_LIMIT.value: "refused: over the memory limit",
    Refusal.HEAP_LIMIT.value: "refused: over the heap limit",
    Refusal.POLICY.value: "refused: the growth policy makes it no larger",
    Refusal.ADDRESS_SPACE.value: "refused: addresses reach no further",
    Refusal.HOST.value: "refused: its host gives no more",
}


@dataclass(frozen=True, slots=True)
class LinearMemoryCard:
    """A renderable: what is declared, and the growths."""

    memory: LinearMemory

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """A line for what is declared, one for how it ended, the growths, and who was asked to allocate."""
        memory = self.memory
        yield Text(f"declared {pages_text(memory.declared_pages)}, {limits_text(memory)}")
        if memory.growths:
            yield Text(_summary(memory), _BAD if memory.growths[-1].refused_by else "")
            yield self._table(options)
            rest = len(memory.growths) - GROWTHS_SHOWN
            if rest > 0:
                yield Text(f"and {rest:,} before", "dim")
            if memory.last_fragmentation is not None:
                yield Text(fragmentation_line(memory.last_fragmentation))
        else:
            yield Text("it never grew", "dim")
        if memory.allocator_calls:
            yield Text(f"the host called {', '.join(_called(memory))}")

    def _table(self, options: ConsoleOptions) -> RenderableType:
        table = Table.grid(padding=(0, 2, 0, 0))
        for title in ("at", "from", "to", "asked for"):
            table.add_column(title, justify="right", no_wrap=True)
        table.add_column("by", no_wrap=True)
        table.add_row(*(Text(str(column.header), "dim") for column in table.columns))
        for each in self.memory.growths[-GROWTHS_SHOWN:]:
            to = "-" if each.refused_by else size_text(each.new_pages * WASM_PAGE_BYTES)
            name = fitted("", _who(each), max(options.max_width - BESIDE_NAME, 12), options)
            sizes = size_text(each.old_pages * WASM_PAGE_BYTES), to, f"+{size_text(each.asked_pages * WASM_PAGE_BYTES)}"
            table.add_row(time_text(each.time_ns), *sizes, name, style=_BAD if each.refused_by else "")
        return table


def fragmentation_line(growth: MemoryGrowth) -> str:
    """Of a growth that enough memory was free for, but not in one piece: what was asked for, and what there was."""
    came = "was to grow" if growth.refused_by else "grew"
    name = printable(growth.site.name)
    return (
        f"fragmentation: for {size_text(growth.wanted_bytes or 0)} asked for in {name} the heap {came}, since of its "
        f"{size_text(growth.free_bytes or 0)} free at most {size_text(growth.largest_free_bytes or 0)} were in one piece"
    )


def limits_text(memory: LinearMemory) -> str:
    """What it may grow to."""
    limit = "" if memory.limit_bytes is None else f"; the run's limit is {size_text(memory.limit_bytes)}"
    return f"{maximum_text(memory.maximum_pages)}{limit}"


def _summary(memory: LinearMemory) -> str:
    grown = sum(each.refused_by is None for each in memory.growths)
    refused = len(memory.growths) - grown
    last = memory.growths[-1].refused_by
    why = "" if last is None else f"; the last time it was {_REFUSALS.get(last, last)}"
    times = "once" if grown == 1 else f"{grown:,} times"
    said = f", refused {refused:,} {'time' if refused == 1 else 'times'}{why}" if refused else ""
    return f"grew {times}, to {pages_text(memory.pages)}{said}"


def _who(growth: MemoryGrowth) -> str:
    """Who asked, and what refused it."""
    name = growth.site.name if growth.stack else "the host's call itself"
    who = f"{name}, for its heap" if growth.asked_by == "collector" else name
    refused = growth.refused_by
    return printable(who if refused is None else f"{_REFUSALS.get(refused, refused)}; {who}")


def _called(memory: LinearMemory) -> Iterator[str]:
    for each in memory.allocator_calls:
        times = "once" if each.calls == 1 else f"{each.calls:,} times"
        allocated = f" ({size_text(each.bytes)})" if each.bytes else ""
        yield f"{printable(each.export)} {times}{allocated}"
