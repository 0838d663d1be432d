"""Results of analyses as tables and charts for a terminal; `renderable_of` finds the one for a result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import PurePath
from typing import Any, Final, TypeVar

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from tinyheap.profile import (
    Comparison,
    FlameGraph,
    FunctionUsage,
    Histogram,
    HostCalls,
    LeakSuspects,
    LinearMemory,
    Owners,
    Pauses,
    SiteUsage,
    TimeLine,
    Totals,
    Unknown,
    Usage,
    UsageTable,
)
from tinyheap.profile.stacks import holds_program
from tinyheap.recordings.observed import LEAKING, Lives, manager_of
from tinyheap.recordings.schema import RUNNING
from tinyheap.report.quantities import count_text, share_text, size_text, time_text
from tinyheap.report.terminal.calls import HostCallsCard
from tinyheap.report.terminal.charts import BAR_STYLE, TimeLineChart, bar, series
from tinyheap.report.terminal.comparison import ComparisonTables
from tinyheap.report.terminal.flame_tree import FlameTree, fitted
from tinyheap.report.terminal.memory import LinearMemoryCard
from tinyheap.report.terminal.owners import OwnersCard
from tinyheap.report.text import printable
from tinyheap.report.verdicts import TURNOVERS
from tinyheap.units import counted

USAGES_SHOWN: Final = 15
SUSPECTS_SHOWN: Final = 5
TRENDS_SHOWN: Final = 5
NARROW: Final = 120
"""Cells; a table of sites that has fewer leaves columns out."""
RESULT_BAR: Final = 24
BESIDE_BAR: Final = 46
"""Cells of a histogram's numbers, at most."""
NARROW_BARS: Final = 50
"""Cells; a histogram that has fewer leaves its bytes out."""
GOOD, WARNING, BAD = "green", "yellow", "red"
UNKNOWN: Final = "unknown"

Known = TypeVar("Known")


def facts(lines: Iterable[tuple[str, str | Text]]) -> Table:
    """Names and statistics, one line per name."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, statistic in lines:
        table.add_row(name, statistic if isinstance(statistic, Text) else Text(statistic))
    return table


# ---- totals -----------------------------------------------------------------------------------------------------------


def totals_card(totals: Totals) -> RenderableType:
    """What ran, how it ended, and its statistics."""
    return Group(_headline(totals), *_warnings(totals), facts(_statistics(totals)))


def _headline(totals: Totals) -> Text:
    version = f" {totals.runtime_version}" if totals.runtime_version else ""
    name = PurePath(totals.module).name
    # A program that is a command has its own name as its first argument.
    arguments = totals.arguments[1:] if totals.arguments[:1] == (name,) else totals.arguments
    return Text.assemble(
        (printable(" ".join((name, *arguments))), "bold"),
        f"\n{printable(totals.runtime + version)}, {printable(totals.collector)}, on {manager_of(totals.source)}",
    )


def _warnings(totals: Totals) -> Iterator[Text]:
    if totals.state == RUNNING:
        yield Text("The recording has no end: the run goes on, or its writer was killed or the disk was full.", WARNING)
    elif totals.state == "failed":
        yield Text(f"The program failed: {printable(totals.error or 'for an unknown reason')}", BAD)
    if totals.observed.unknown is not None:
        yield Text(totals.observed.unknown, WARNING)


def _statistics(totals: Totals) -> Iterator[tuple[str, str]]:
    ended = "" if totals.exit_code is None else f", exit code {totals.exit_code}"
    yield "recorded for" if totals.state == RUNNING else "ran for", f"{time_text(totals.wall_ns)}{ended}"
    allocated = _sized(
        totals.allocated_bytes, totals.allocations, totals.allocated_bytes_error, totals.allocations_error
    )
    if totals.allocated_bytes is not None and totals.allocations:
        allocated += f", {size_text(round(totals.allocated_bytes / totals.allocations))} on average"
    yield "allocated", allocated
    yield from _of_collections(totals)
    yield from _of_heap(totals)


def _of_collections(totals: Totals) -> Iterator[tuple[str, str]]:
    peak, most = totals.peak, totals.observed.lives.prefix
    after = "" if peak is None else f"{most}{_sized(peak.bytes, peak.objects)}, after {time_text(peak.time_ns)}"
    yield "peak", after or UNKNOWN
    live = _sized(totals.live_bytes, totals.live_objects, totals.live_bytes_error)
    yield f"live at {_end(totals)}", live if live == UNKNOWN else most + live
    if totals.collections is None or totals.collector_ns is None:
        yield "collections", UNKNOWN
    elif totals.collections:
        share = share_text(totals.collector_ns, totals.recorded_ns)
        yield "collections", f"{totals.collections:,}, {time_text(totals.collector_ns)} in all, {share} of the run"
        yield "freed", _sized(totals.freed_bytes, totals.freed_objects)
    else:
        yield "collections", "none: this heap never frees" if totals.collector == LEAKING else "none"


def _of_heap(totals: Totals) -> Iterator[tuple[str, str]]:
    if totals.heap_bytes is None or totals.used_bytes is None:
        yield "heap", UNKNOWN
    else:
        times = "once" if totals.growths == 1 else f"{totals.growths:,} times"
        grew = f", grew {times}" if totals.growths else ""
        used = f"{size_text(totals.used_bytes)} in use at {_end(totals)}"
        yield "heap", f"{size_text(totals.heap_bytes)}{grew}, {used}"
    if totals.fragmentation is not None:
        share = f"{100 * totals.fragmentation:.0f}%"
        yield "fragmentation", f"{share} of what is free at {_end(totals)} is not in the largest run"


def _end(totals: Totals) -> str:
    """Up to when the statistics go."""
    return "its last batch" if totals.state == RUNNING else "the end"


def _sized(
    size_bytes: int | None, objects: int | None, bytes_error: float | None = None, objects_error: float | None = None
) -> str:
    """Bytes and objects, each with its standard error where it is an estimate."""
    if size_bytes is None or objects is None:
        return UNKNOWN
    many = counted(objects) if objects_error is None else f"{objects:,} +- {round(objects_error):,} objects"
    return f"{size_text(size_bytes)}{_error_text(bytes_error)} in {many}"


def _error_text(error_bytes: float | None) -> str:
    return "" if error_bytes is None else f" +- {size_text(round(error_bytes))}"


# ---- sites and functions ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UsageRows:
    """A renderable: functions or sites, those that own the most bytes first."""

    usages: UsageTable[Any]
    most: int = USAGES_SHOWN

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """One line per row; on a narrow terminal with fewer statistics."""
        shown = [usage for usage in self.usages if usage.own_bytes or usage.own_objects][: self.most]
        if not shown:
            yield Text("nothing was allocated", "dim")
            return
        columns = [each for each in _COLUMNS if each.is_basic or options.max_width >= NARROW]
        columns = [each for each in columns if self.usages.lives in each.known_where]
        if self.usages.sample_bytes is None:
            columns = [each for each in columns if not each.is_error]
        table = Table.grid(padding=(0, 2, 0, 0))
        titles = [column.title_of(self.usages.lives) for column in columns]
        for title in titles:
            table.add_column(title, justify="right", no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_row(*(Text(title, "dim") for title in titles), Text("where", "dim"))
        whole = sum(usage.own_bytes for usage in self.usages)
        cells = [[column.text(usage, whole) for column in columns] for usage in shown]
        room = options.max_width - sum(
            max(len(title), *(len(row[number]) for row in cells)) + 2 for number, title in enumerate(titles)
        )
        for row, usage in zip(cells, shown, strict=True):
            table.add_row(*row, fitted("", printable(usage.name), max(room, 12), options))
        yield table
        rest = sum(1 for usage in self.usages if usage.own_bytes or usage.own_objects) - len(shown)
        if rest > 0:
            yield Text(f"and {rest:,} more", "dim")
        yield from _trends(shown, options)
        # Where lines are known, a function holds its own code only.
        functions = {usage.site.function for usage in shown if isinstance(usage, SiteUsage) and not usage.site.place}
        functions |= {usage.function for usage in shown if isinstance(usage, FunctionUsage)}
        if holders := ", ".join(sorted(filter(holds_program, functions))):
            yield Text(f"{printable(holders)}: holds inlined code of the program, such as main.main", "dim")


def _trends(shown: Iterable[Usage], options: ConsoleOptions) -> Iterator[Text]:
    """The sites among them whose objects follow each other in a way that says something."""
    telling = [usage for usage in shown if isinstance(usage, SiteUsage) and usage.trend.is_telling][:TRENDS_SHOWN]
    for usage in telling:
        explanation = usage.trend.explanation
        name = fitted("", printable(usage.name), max(options.max_width - len(explanation) - 2, 12), options)
        yield Text.assemble(name, (f": {explanation}", "dim"), overflow="fold")


@dataclass(frozen=True, slots=True)
class LiveRows:
    """A renderable: functions or sites by what lives of them at the end, the most bytes first."""

    usages: UsageTable[Any]
    most: int = USAGES_SHOWN

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """One line per row."""
        living = self.usages.by_live_bytes()
        if not len(living):
            yield Text("nothing", "dim")
            return
        table = Table.grid(padding=(0, 2, 0, 0))
        for title in ("bytes", "share", "objects"):
            table.add_column(title, justify="right", no_wrap=True)
        table.add_column("where", no_wrap=True)
        table.add_row(*(Text(str(column.header), "dim") for column in table.columns))
        whole = sum(usage.live_bytes or 0 for usage in living)
        for usage in living[: self.most]:
            live_bytes, live_objects = usage.live_bytes or 0, usage.live_objects or 0
            name = fitted("", printable(usage.name), max(options.max_width - 32, 12), options)
            table.add_row(size_text(live_bytes), share_text(live_bytes, whole), count_text(live_objects), name)
        yield table
        if len(living) > self.most:
            yield Text(f"and {len(living) - self.most:,} more", "dim")


@dataclass(frozen=True, slots=True)
class UsageColumn:
    """A column of usages."""

    title: str
    text: Callable[[Usage, int], str]
    """From a usage and the bytes of all."""
    is_basic: bool = False
    known_where: tuple[Lives, ...] = tuple(Lives)
    """What has to be known of lives, so that it is."""
    is_error: bool = False
    """Whether it says how far off an estimate may be; nothing where all was recorded."""

    def title_of(self, lives: Lives) -> str:
        """Its title, which says whether it is an upper bound."""
        return (
            f"{self.title}, at most" if Lives.UNKNOWN not in self.known_where and lives is Lives.AT_MOST else self.title
        )


def _or_none(value: float | None, text: Callable[[int], str]) -> str:
    return "-" if value is None else text(int(value))


_BOUNDED: Final = (Lives.EXACT, Lives.AT_MOST)
_COLUMNS: Final = (
    UsageColumn("allocated", lambda usage, _: size_text(usage.own_bytes), is_basic=True),
    UsageColumn("+-", lambda usage, _: _or_none(usage.own_bytes_error, size_text), is_basic=True, is_error=True),
    UsageColumn("share", lambda usage, whole: share_text(usage.own_bytes, whole), is_basic=True),
    UsageColumn("objects", lambda usage, _: count_text(usage.own_objects), is_basic=True),
    UsageColumn("median size", lambda usage, _: _or_none(usage.median_size_bytes, size_text)),
    UsageColumn("live", lambda usage, _: _or_none(usage.live_bytes, size_text), is_basic=True, known_where=_BOUNDED),
    UsageColumn(
        "died young",
        lambda usage, _: _or_none(usage.dead_young_objects, lambda dead: share_text(dead, usage.own_objects)),
        known_where=(Lives.EXACT,),
    ),
    UsageColumn(
        "survived",
        lambda usage, _: "-" if usage.mean_survived is None else f"{usage.mean_survived:.1f}",
        known_where=(Lives.EXACT,),
    ),
    UsageColumn("lifetime", lambda usage, _: _or_none(usage.median_lifetime_ns, time_text), known_where=_BOUNDED),
)


# ---- pauses, histograms, suspects -------------------------------------------------------------------------------------


def pauses_card(pauses: Pauses) -> RenderableType:
    """How long the program waited, and what was left to it."""
    if not pauses.count:
        return Text("no collection", "dim")
    half, most, nearly, longest = (time_text(pauses.percentiles_ns[percent]) for percent in (50, 90, 99, 100))
    lines = [
        ("pauses", f"{pauses.count:,}, {time_text(pauses.total_ns)} in all"),
        ("spent on", f"marking {time_text(pauses.mark_ns)}, sweeping {time_text(pauses.sweep_ns)}"),
        ("longest", longest),
        ("half, 90%, 99%", f"at most {half}, {most}, {nearly}"),
        ("left to the program", ", ".join(_utilizations(pauses))),
    ]
    return facts(lines)


def _utilizations(pauses: Pauses) -> Iterator[str]:
    """What the worst windows leave, as far as they are worse than the whole run; the last is the whole."""
    if not pauses.utilizations:
        return
    *windows, whole = pauses.utilizations
    for each in windows:
        if 0 < each.utilization < 0.99 * whole.utilization:
            yield f"{100 * each.utilization:.0f}% of any {time_text(each.window_ns)}"
    yield f"{100 * whole.utilization:.1f}% of the run"


@dataclass(frozen=True, slots=True)
class HistogramRows:
    """A renderable: one bar per bucket, as long as its share of the objects."""

    histogram: Histogram

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """As wide as its longest bar."""
        return Measurement(min(NARROW_BARS, options.max_width), min(RESULT_BAR + BESIDE_BAR, options.max_width))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """A line a bucket, from its least value to below its upper end, and what is beyond."""
        whole = self.histogram.objects + self.histogram.beyond_objects
        if not whole:
            yield Text("nothing", "dim")
            return
        text = {"bytes": size_text, "ns": time_text}.get(self.histogram.unit, str)
        table = Table.grid(padding=(0, 1, 0, 0))
        for justify in ("right", "left", "right", "right"):
            table.add_column(justify=justify, no_wrap=True)
        ends = [(text(each.low), text(each.high)) for each in self.histogram.buckets]
        room = max((len(high) for _, high in ends), default=0)
        labels = [f"{low} to < {high:>{room}}" for low, high in ends]
        lines = [(label, each.objects, each.bytes) for label, each in zip(labels, self.histogram.buckets, strict=True)]
        if self.histogram.beyond_objects:
            lines.append(("lived on", self.histogram.beyond_objects, self.histogram.beyond_bytes))
        width = max(min(RESULT_BAR, options.max_width - BESIDE_BAR), 4)
        has_bytes = options.max_width >= NARROW_BARS
        top = max(objects for _, objects, _ in lines)
        for label, objects, size_bytes in lines:
            drawn = Text(bar(objects / top, width, ascii_only=options.ascii_only), BAR_STYLE)
            table.add_row(label, drawn, count_text(objects), Text(size_text(size_bytes) if has_bytes else "", "dim"))
        yield table


@dataclass(frozen=True, slots=True)
class SuspectRows:
    """A renderable: who may leak, and why one thinks so."""

    found: LeakSuspects
    most: int = SUSPECTS_SHOWN

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Each suspect with its series and a sentence."""
        step = "turnover" if self.found.are_turnovers else "collection"
        if not self.found.can_tell:
            few = f"{self.found.collections} {step}s are too few to tell, it takes {self.found.needed_collections}"
            every = self.found.enough_at
            more = "" if every is None else f": `tinyheap profile --gc-every {every}` makes enough"
            yield Text(f"{few}{more}", "dim")
            return
        if not self.found.suspects:
            share = " by a tenth of what lives" if self.found.are_turnovers else ""
            yield Text(f"none: nothing grows steadily{share} from {step} to {step}", GOOD)
            return
        if self.found.are_turnovers:
            yield Text(TURNOVERS, "dim")
        for suspect in self.found.suspects[: self.most]:
            name = fitted("", printable(suspect.site.name), options.max_width - 7, options)
            yield Text.assemble((f"{100 * suspect.score:4.0f}%", BAD), "  ", name, no_wrap=True)
            drawn = series(suspect.series_bytes, min(40, options.max_width - 8), ascii_only=options.ascii_only)
            yield Text.assemble(" " * 7, (drawn, BAR_STYLE), no_wrap=True)
            yield Text.assemble(" " * 7, (suspect.explanation, "dim"))
        rest = len(self.found.suspects) - self.most
        if rest > 0:
            yield Text(f"and {rest:,} more", "dim")
        yield Text("what keeps their objects alive: `--snapshot FILE`, then `tinyheap inspect FILE`", "dim")


# ---- any result -------------------------------------------------------------------------------------------------------


def drawn(result: Known | Unknown, draw: Callable[[Known], RenderableType]) -> RenderableType:
    """What shows a result, or why it is not known."""
    return Text(str(result), "dim") if isinstance(result, Unknown) else draw(result)


_RENDERABLES: Final[dict[type, Callable[[Any], RenderableType]]] = {
    Totals: totals_card,
    FlameGraph: FlameTree,
    UsageTable: UsageRows,
    TimeLine: TimeLineChart,
    Pauses: pauses_card,
    Histogram: HistogramRows,
    LeakSuspects: SuspectRows,
    HostCalls: HostCallsCard,
    LinearMemory: LinearMemoryCard,
    Owners: OwnersCard,
    Comparison: ComparisonTables,
    Unknown: lambda unknown: Text(str(unknown), "dim"),
}


def renderable_of(result: Any) -> RenderableType:  # noqa: ANN401 - any result
    """What rich prints for a result of `tinyheap.profile`: a table or chart of its own, or else its fields."""
    if type(result) in _RENDERABLES:
        return _RENDERABLES[type(result)](result)
    return facts((field.name, printable(str(getattr(result, field.name)))) for field in fields(result))
