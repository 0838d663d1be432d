"""Two recordings side by side, as tables for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from tinyheap.report.quantities import size_text, time_text
from tinyheap.report.terminal.flame_tree import fitted
from tinyheap.report.text import printable

if TYPE_CHECKING:
    from tinyheap.profile import Comparison, MetricDifference, Totals, UsageDifference

MOST_ROWS: Final = 15
LESS, MORE = "green", "red"
METRICS: Final = {
    "wall_ns": "ran for",
    "allocations": "objects allocated",
    "allocated_bytes": "allocated",
    "peak_bytes": "peak",
    "live_bytes": "live at the end",
    "heap_bytes": "heap",
    "growths": "growths",
    "fragmentation": "fragmentation",
    "collections": "collections",
    "collector_ns": "in the collector",
}
"""The totals that are shown, and what they are called."""
OF_LIVES: Final = ("peak_bytes", "live_bytes")
"""Those that may be upper bounds."""
PAUSES: Final = {
    "percentile_50_ns": "half of the pauses, at most",
    "percentile_99_ns": "99% of the pauses, at most",
    "percentile_100_ns": "longest pause",
}


@dataclass(frozen=True, slots=True)
class ComparisonTables:
    """A renderable: totals and pauses, then the source lines whose own bytes changed the most, or else the functions."""

    comparison: Comparison

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Both tables."""
        yield self._totals()
        yield Text()
        yield from self._usages(options)

    def _totals(self) -> Table:
        table = _table("", "before", "after", "change")
        by_name = {each.name: each for each in (*self.comparison.totals, *self.comparison.pauses)}
        for name, title in {**METRICS, **PAUSES}.items():
            each = by_name[name]
            if each.before is not None or each.after is not None:
                sides = (
                    _known(each.before, name, self.comparison.before),
                    _known(each.after, name, self.comparison.after),
                )
                table.add_row(title, *sides, _change(each))
        return table

    def _usages(self, options: ConsoleOptions) -> Iterator[Text | Table]:
        by_line = self.comparison.is_by_line
        usages = self.comparison.sites if by_line else self.comparison.functions
        changed = [each for each in usages if each.own_change_bytes]
        if not changed:
            yield Text(f"every {'line' if by_line else 'function'} allocates as much as before", "dim")
            return
        table = _table("before", "after", "change", "allocated at" if by_line else "allocated by")
        table.columns[-1].justify = "left"
        for each in changed[:MOST_ROWS]:
            before, after = each.own_bytes
            name = fitted("", printable(each.name), max(options.max_width - 38, 12), options)
            table.add_row(size_text(before), size_text(after), _size_change(each), name)
        yield table
        if len(changed) > MOST_ROWS:
            yield Text(f"and {len(changed) - MOST_ROWS:,} more", "dim")


def _table(*titles: str) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for number, _ in enumerate(titles):
        table.add_column(justify="right" if number or titles[0] else "left", no_wrap=True)
    table.add_row(*(Text(title, "dim") for title in titles))
    return table


def _text_of(name: str) -> Callable[[float], str]:
    """How a metric of that name is written."""
    if name.endswith("_bytes"):
        return lambda value: size_text(int(value))
    if name.endswith("_ns"):
        return lambda value: time_text(int(value))
    return (lambda value: f"{100 * value:.0f}%") if name == "fragmentation" else (lambda value: f"{int(value):,}")


def _known(value: float | None, name: str, totals: Totals) -> str:
    """A metric of one side; where it is missing, it is unknown, or there was nothing that could have it."""
    if value is not None:
        return (totals.observed.lives.prefix if name in OF_LIVES else "") + _text_of(name)(value)
    return "-" if totals.observed.heap else "unknown"


def _change(each: MetricDifference) -> Text:
    """By how much, in percent; in color where less is better, which it is for all of them."""
    if each.change is None or not each.change:
        return Text("same" if each.change == 0 else "-", "dim")
    style = MORE if each.change > 0 else LESS
    if each.name == "fragmentation":
        return Text(f"{100 * each.change:+.0f} points", style)
    return Text("new" if each.ratio is None else f"{100 * (each.ratio - 1):+.1f}%", style)


def _size_change(each: UsageDifference) -> Text:
    change = each.own_change_bytes
    return Text(f"{'+' if change > 0 else '-'}{size_text(abs(change))}", MORE if change > 0 else LESS)
