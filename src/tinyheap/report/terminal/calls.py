"""Calls of the host for a terminal: the verdict first, then what each export costs, and what the host was lent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from tinyheap.profile import CallTrend, ExportCalls, HostCalls, Lent, Unknown
from tinyheap.report.quantities import size_text, time_text
from tinyheap.report.terminal.charts import series
from tinyheap.report.text import printable
from tinyheap.report.verdicts import verdict
from tinyheap.units import counted

EXPORTS_SHOWN: Final = 8
LENT_SHOWN: Final = 3
_GOOD, _BAD = "green", "red"


@dataclass(frozen=True, slots=True)
class HostCallsCard:
    """A renderable: whether the heap grows with the calls, and what they cost."""

    calls: HostCalls

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The verdict, a line for each export, the calls in their order, and what is lent."""
        calls = self.calls
        yield _verdict(calls.trend)
        yield _exports(calls.exports[:EXPORTS_SHOWN])
        if len(calls.exports) > EXPORTS_SHOWN:
            yield Text(f"and {len(calls.exports) - EXPORTS_SHOWN:,} more exports", "dim")
        costs = [round(each.allocated_bytes / each.calls) for each in calls.spans]
        drawn = series(costs, min(40, options.max_width - 40), ascii_only=options.ascii_only)
        span = f"allocated a call, over {calls.calls:,} calls, at most {size_text(max(costs, default=0))}"
        yield Text.assemble((f"{span}  ", "dim"), drawn, no_wrap=True)
        yield from _lent(calls.lent)


def _verdict(trend: CallTrend | Unknown) -> Text:
    style = "dim"
    if isinstance(trend, CallTrend) and trend.can_tell:
        style = _BAD if trend.growing else _GOOD
    return Text(printable(verdict(trend)), style)


def _exports(exports: tuple[ExportCalls, ...]) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    for title in ("calls", "allocated", "a call", "at most", "time a call", "memory", "collections"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("export", overflow="fold")
    table.add_row(*(Text(str(column.header), "dim") for column in table.columns))
    for each in exports:
        failed = f" ({each.failed:,} failed)" if each.failed else ""
        table.add_row(
            f"{each.calls:,}",
            size_text(each.allocated_bytes),
            size_text(round(each.allocated_bytes / each.calls)),
            size_text(each.most_allocated_bytes),
            time_text(each.duration_ns // each.calls),
            f"+{size_text(each.memory_growth_bytes)}" if each.memory_growth_bytes else "-",
            "-" if each.collections is None else f"{each.collections:,}",
            printable(each.export) + failed,
        )
    return table


def _lent(lent: Lent) -> Iterator[Text]:
    if not lent.objects:
        return
    most = "at most " if lent.is_upper_bound else ""
    yield Text(f"lent to the host at the end: {most}{size_text(lent.bytes)} in {counted(lent.objects)}; the oldest:")
    for each in lent.oldest[:LENT_SHOWN]:
        made = f"{size_text(each.size_bytes)} by {printable(each.export)}"
        yield Text(f"  {made}, {each.age_calls:,} calls and {time_text(each.age_ns)} ago", "dim")
