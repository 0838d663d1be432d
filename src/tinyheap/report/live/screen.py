"""A run while it goes, on a terminal: as much of it as the terminal has lines for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from tinyheap.heap.blockmap import STYLES, unpack_states
from tinyheap.heap.contract import State
from tinyheap.recordings.observed import LEAKING, manager_of
from tinyheap.report.live.statistics import LiveCalls, LiveStatistics, LiveView
from tinyheap.report.quantities import count_text, share_text, size_text, time_text
from tinyheap.report.terminal.heap_map import HeapMap
from tinyheap.report.text import printable
from tinyheap.units import counted

if TYPE_CHECKING:
    from rich.console import JustifyMethod, OverflowMethod

    from tinyheap.recordings.row_types import SampleRow

LIVE_STYLE, USED_STYLE, FREE_STYLE = STYLES[State.HEAD], STYLES[State.TAIL], STYLES[State.FREE]
BAR_GLYPHS: Final = ("\N{FULL BLOCK}", "\N{MEDIUM SHADE}", "\N{MIDDLE DOT}")
"""Of what lived through the last collection, what was allocated since, and what is free."""
ASCII_BAR_GLYPHS: Final = ("#", "+", ".")
LEAST_BAR_CELLS: Final = 8
MOST_BAR_CELLS: Final = 40
TEXT_COLUMNS: Final = 58
"""Of a line, beside a bar."""
RATE_GLYPHS: Final = "".join(chr(0x2581 + level) for level in range(8))
"""Blocks of one to eight eighths of a line."""
ASCII_RATE_GLYPHS: Final = "._-=+*%#"
FIXED_LINES: Final = 14
"""Headline, statistics, legend, names of columns, empty lines, and one for the prompt."""


class LiveScreen:
    """A renderable that is another one at each moment."""

    def __init__(self, statistics: Callable[[], LiveStatistics | None]) -> None:
        self._statistics = statistics

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The statistics of now."""
        statistics = self._statistics()
        if statistics is None:
            yield Text("the program is being prepared ...")
            return
        spare = max(options.size.height - FIXED_LINES, 8)
        map_rows = min(spare // 3, 12)
        owners = min((spare - map_rows) * 3 // 5, 12)
        view = statistics.view(owners)
        yield from _Drawing(view, options.max_width, ascii_only=options.ascii_only).lines(
            map_rows, min(spare - map_rows - owners, 8)
        )


def line(view: LiveView) -> str:
    """The statistics of now in one line, where there is no terminal."""
    allocated = f"{size_text(view.allocated_bytes)} allocated ({size_text(view.rate_bytes)}/s)"
    parts = [f"{_about(view)}{counted(view.objects)}, {allocated}{view.observed.mark}"]
    if view.sample is not None:
        parts.append(f"{size_text(view.sample.used_bytes)} used of {size_text(view.sample.heap_bytes)}")
    if view.collections is not None:
        longest = "" if view.longest_pause_ns is None else f", longest pause {time_text(view.longest_pause_ns)}"
        parts.append(f"{counted(view.collections, 'collection')}{longest}")
    if view.calls is not None:
        parts.append(f"calls: {call_text(view.calls, _about(view))}")
    return f"{view.elapsed_ns / 1e9:.1f} s: {'; '.join(parts)}"


def call_text(calls: LiveCalls, about: str) -> str:
    """What the host's calls cost so far, in a line."""
    each = f"{time_text(calls.mean_ns)} and {about}{size_text(calls.allocated_bytes)} each"
    failed = f", {calls.failed:,} failed" if calls.failed else ""
    exports = ", ".join(f"{printable(name)} {count:,}" for name, count in calls.exports)
    return f"{calls.count:,}{failed}, {calls.per_s:,.0f}/s, {each} ({exports})"


def _about(view: LiveView) -> str:
    """What stands before an estimate."""
    return "" if view.sample_bytes is None else "about "


class _Drawing:
    """One moment, for a terminal of so many columns."""

    def __init__(self, view: LiveView, columns: int, *, ascii_only: bool) -> None:
        self.view = view
        self.bar_cells = min(max(columns - TEXT_COLUMNS, LEAST_BAR_CELLS), MOST_BAR_CELLS)
        self.bar_glyphs, self.rate_glyphs = (
            (ASCII_BAR_GLYPHS, ASCII_RATE_GLYPHS) if ascii_only else (BAR_GLYPHS, RATE_GLYPHS)
        )
        self.overflow: OverflowMethod = "crop" if ascii_only else "ellipsis"

    def lines(self, map_rows: int, collections: int) -> Iterator[RenderableType]:
        """All of it, with a map and a list of collections of so many lines."""
        view = self.view
        yield self.headline()
        if view.sample is not None and view.peak_bytes is not None:
            used = f"{size_text(view.sample.used_bytes)} used of {size_text(view.sample.heap_bytes)}"
            yield self.metric("heap", self.bar(view.sample), f"{used}, peak {size_text(view.peak_bytes)}")
        allocated = f"{size_text(view.allocated_bytes)} in {count_text(view.objects)} objects"
        rate = f"{size_text(view.rate_bytes)}/s{view.observed.mark}"
        yield self.metric("allocated", self.rates(), f"{_about(view)}{allocated}, {rate}")
        yield self.metric("collections", self.pauses(), "")
        if view.calls is not None:
            yield self.metric("calls", Text(call_text(view.calls, _about(view))), "")
        if view.observed.heap:
            yield ""
            yield self.map(map_rows)
        if view.recent:
            yield ""
            yield self.collections(collections)
        if view.owners:
            yield ""
            yield self.owners()

    def headline(self) -> Text:
        """What matters most comes first: a narrow terminal cuts the rest."""
        view, run = self.view, self.view.run
        runtime = printable(f"{run.runtime} {run.runtime_version or ''}".rstrip())
        served = f"served by {manager_of(run.source)}"
        state = f"  {view.state or 'running'}, {view.elapsed_ns / 1e9:.1f} s"
        return Text.assemble(
            (printable(Path(run.module).name), "bold"),
            (state, "green" if view.state is None else "yellow"),
            f"  {runtime}, {run.collector}, {served}  ",
            (printable(" ".join(run.arguments)), "dim"),
            no_wrap=True,
            overflow=self.overflow,
        )

    def metric(self, name: str, chart: Text, text: str) -> Text:
        """A name, a chart and a text, in one line."""
        return Text.assemble(f"{name:13}", chart, f"  {text}", no_wrap=True, overflow=self.overflow)

    def bar(self, sample: SampleRow) -> Text:
        """The heap as a bar: what lived through the last collection, what came since, what is free."""
        live, since, free = self.bar_glyphs
        cells, heap_bytes = self.bar_cells, max(sample.heap_bytes, 1)
        used = min(-(-cells * sample.used_bytes // heap_bytes), cells)
        lived = min(cells * self.view.recent[-1].live_bytes // heap_bytes, used) if self.view.recent else 0
        return Text.assemble(
            (live * lived, LIVE_STYLE), (since * (used - lived), USED_STYLE), (free * (cells - used), FREE_STYLE)
        )

    def rates(self) -> Text:
        """How much was allocated lately, one glyph per batch."""
        rates = self.view.rates_bytes[-self.bar_cells :]
        most = max(rates, default=0) or 1
        glyphs = "".join(self.rate_glyphs[rate * (len(self.rate_glyphs) - 1) // most] for rate in rates)
        return Text(f"{glyphs:{self.bar_cells}}", USED_STYLE)

    def pauses(self) -> Text:
        """How many collections there were, how long, and what they left."""
        view = self.view
        if view.collections is None or view.pause_ns is None:
            return Text(f"unknown: {view.observed.unseen_collections}")
        if view.longest_pause_ns is None:
            return Text("none: this heap never frees" if view.run.collector == LEAKING else "none yet")
        pauses = f"{time_text(view.pause_ns)} in all, longest {time_text(view.longest_pause_ns)}"
        return Text(f"{view.collections:,}, {pauses}; {size_text(view.recent[-1].live_bytes)} live after the last")

    def map(self, rows: int) -> RenderableType:
        """The last map of the heap."""
        run, snapshot = self.view.run, self.view.snapshot
        if snapshot is None:
            when = "at its end" if run.collector == LEAKING else "after its first collection"
            return Text(f"a map of the heap is shown {when}", "dim")
        return HeapMap(unpack_states(snapshot.states, snapshot.blocks), run.heap_start_address, run.block_bytes, rows)

    def collections(self, count: int) -> Table:
        """The last collections, the latest last."""
        table = self.table("collection", "at", "why", "pause", "freed", "live", left={2})
        for each in self.view.recent[-count:]:
            at = f"{each.begun_ns / 1e9:.2f} s"
            statistics = time_text(each.pause_ns), size_text(each.freed_bytes), size_text(each.live_bytes)
            table.add_row(f"{each.number:,}", at, printable(each.reason), *statistics)
        return table

    def owners(self) -> Table:
        """Who allocated most so far; estimates say so."""
        table = self.table("function", f"{_about(self.view)}allocated", "share", "objects", left={0})
        for each in self.view.owners:
            share = share_text(each.size_bytes, self.view.allocated_bytes)
            table.add_row(Text(printable(each.name)), size_text(each.size_bytes), share, count_text(each.objects))
        return table

    def table(self, *names: str, left: set[int]) -> Table:
        """An empty table with these columns, those of texts among them ``left``."""
        table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="dim")
        for at, name in enumerate(names):
            justify: JustifyMethod = "left" if at in left else "right"
            table.add_column(name, justify=justify, no_wrap=True, overflow=self.overflow)
        return table
