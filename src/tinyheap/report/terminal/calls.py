"""Calls of the host for a terminal: the verdict first, then what each export costs, and what the host was lent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from tinyheap.profile import CallTrend, ExportCalls, HostCalls, Lent, Unknown
from tinyheap.profile.leaks import FEWEST_COLLECTIONS
from tinyheap.report.quantities import size_text, time_text
from tinyheap.report.terminal.charts import series
from tinyheap.report.text import printable

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
        yield verdict(calls.trend, calls.lent)
        yield _exports(calls.exports[:EXPORTS_SHOWN])
        if len(calls.exports) > EXPORTS_SHOWN:
            yield Text(f"and {len(calls.exports) - EXPORTS_SHOWN:,} more exports", "dim")
        costs = [round(each.allocated_bytes / each.calls) for each in calls.spans]
        drawn = series(costs, min(40, options.max_width - 40), ascii_only=options.ascii_only)
        span = f"allocated a call, over {calls.calls:,} calls, at most {size_text(max(costs, default=0))}"
        yield Text.assemble((f"{span}  ", "dim"), drawn, no_wrap=True)
        yield from _lent(calls.lent)


def verdict(trend: CallTrend | Unknown, lent: Lent) -> Text:
    """Whether the heap grows with the calls, in a sentence or two."""
    if isinstance(trend, Unknown):
        return Text(f"whether it grows is {trend}", "dim")
    if not trend.can_tell:
        return Text(_too_few(trend), "dim")
    if trend.growing:
        return Text(printable(_grows(trend)), _BAD)
    return Text(_flat(trend), _GOOD)


def _too_few(trend: CallTrend) -> str:
    few = (
        f"too few to tell whether it grows: {trend.calls:,} calls, {trend.collections:,} of them followed by a collection;"
        f" it takes {FEWEST_COLLECTIONS}"
    )
    return few if trend.enough_at is None else f"{few}: `tinyheap profile --gc-every {trend.enough_at}` makes as many"


def _flat(trend: CallTrend) -> str:
    least, most = trend.least_live_bytes or 0, trend.most_live_bytes or 0
    live = "constant" if least == most else f"between {size_text(least)} and {size_text(most)}"
    garbage = size_text(round(trend.garbage_bytes or 0))
    return f"flat: {garbage} of garbage a call, live size {live} since call {trend.since_call:,}"


def _grows(trend: CallTrend) -> str:
    functions: dict[str, float] = {}
    for each in trend.growing:
        functions[each.site.function] = functions.get(each.site.function, 0) + each.slope_bytes
    place = max(functions, key=lambda name: functions[name])
    is_all = len(functions) == 1
    where = f"all of it allocated in {place}" if is_all else f"most of it, {_per_call(functions[place])}, in {place}"
    said = f"grows: {_per_call(trend.slope_bytes)} since call {trend.since_call:,}, {where}"
    sites = [each for each in trend.growing if each.site.function == place]
    if 2 * sum(each.lent_bytes for each in sites) < sum(each.live_bytes for each in sites):
        return said
    frees = "no call of free or dealloc" if not trend.frees else f"{trend.frees:,} calls of free or dealloc"
    return f"{said}, lent to the host and never freed by it ({frees})"


def _per_call(size_bytes: float) -> str:
    return f"{size_text(round(size_bytes))} a call" if size_bytes >= 1 else f"{size_bytes:.2f} bytes a call"


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
    yield Text(f"lent to the host at the end: {most}{size_text(lent.bytes)} in {lent.objects:,} objects; the oldest:")
    for each in lent.oldest[:LENT_SHOWN]:
        made = f"{size_text(each.size_bytes)} by {printable(each.export)}"
        yield Text(f"  {made}, {each.age_calls:,} calls and {time_text(each.age_ns)} ago", "dim")
