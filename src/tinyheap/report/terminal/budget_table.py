"""A run held against a budget: a line per limit, and below them who is behind what is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tinyheap.budgets.checking import CheckVerdict
from tinyheap.budgets.quantities import Quantity, Unit
from tinyheap.report.quantities import share_text, size_text, time_text
from tinyheap.report.text import printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from tinyheap.budgets.checking import Check, Checks
    from tinyheap.budgets.measuring import Measurement

SITES_SHOWN: Final = 5
AMOUNT_COLUMNS: Final = 9
"""Under which amounts of all quantities are below each other."""
UNKNOWN: Final = "-"
_STYLES: Final = {CheckVerdict.WITHIN: "green", CheckVerdict.OVER: "bold red", CheckVerdict.UNKNOWN: "bold red"}
_TEXTS: Final[Mapping[Unit, Callable[[float], str]]] = {
    Unit.BYTES: lambda value: size_text(round(value)) if value >= 1 or not value else f"{value:.2g} B",
    Unit.COUNT: lambda value: f"{round(value):,}",
    Unit.NANOSECONDS: lambda value: time_text(round(value)),
}


def amount_text(value: float | None, unit: Unit) -> str:
    """A value for people: ``250 KiB``, ``1,234``, ``3.2 ms``; ``-`` where it is not known."""
    return UNKNOWN if value is None else _TEXTS[unit](value)


def measured_text(measurement: Measurement) -> str:
    """A measured value for people: ``at most 250 KiB``."""
    return f"{measurement.precision} {amount_text(measurement.value, measurement.quantity.unit)}".lstrip()


def verdict_text(check: Check) -> str:
    """``within``; by how much it is over, and which share of what is allowed that is; or why it is not known."""
    if check.verdict is CheckVerdict.UNKNOWN:
        return f"unknown: {check.unknown}"
    if check.excess is None or check.most is None:
        return str(check.verdict)
    share = f" ({share_text(round(check.excess), round(check.most))})" if check.most >= 1 else ""
    return f"over by {amount_text(check.excess, check.measurement.quantity.unit)}{share}"


def check_text(check: Check) -> str:
    """A check in a sentence; names in it may hold anything."""
    measurement = check.measurement
    most = amount_text(check.most, measurement.quantity.unit)
    return f"{measurement.quantity} {measured_text(measurement)} of {most}: {verdict_text(check)}"


@dataclass(frozen=True, slots=True)
class BudgetTable:
    """A renderable: all limits, and for those that are exceeded the sites."""

    checks: Checks

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table, and what is below it."""
        checks = self.checks
        if checks.failure is not None:
            yield Text("\n".join(map(printable, f"the run did not pass: {checks.failure}".split("\n"))), "bold red")
        if checks.checks:
            yield _table(checks)
        for each in checks.checks:
            if each.verdict is CheckVerdict.OVER:
                yield from site_lines(each.measurement)


def _table(checks: Checks) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for justify in ("left", "right", "right", "left"):
        table.add_column(justify=justify, no_wrap=justify == "right")
    table.add_row(*(Text(head, "dim") for head in ("quantity", "measured", "limit", "")))
    for each in checks.checks:
        verdict = Text(printable(verdict_text(each)), _STYLES[each.verdict])
        most = amount_text(each.most, each.measurement.quantity.unit)
        table.add_row(str(each.measurement.quantity), measured_text(each.measurement), most, verdict)
    return table


def site_lines(measurement: Measurement) -> Iterator[RenderableType]:
    """The sites behind a quantity, the heaviest first, with their source lines where these are known."""
    yield Text(f"\n{measurement.quantity}: {measurement.sites_are}, by allocation site", "bold")
    if not measurement.sites:
        yield Text(
            "  nothing is known of any site" if measurement.quantity is not Quantity.PAGES else "  memory never grew"
        )
        return
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True, min_width=AMOUNT_COLUMNS)
    table.add_column(justify="right", no_wrap=True)
    for each in measurement.sites[:SITES_SHOWN]:
        amount = amount_text(each.amount, measurement.sites_unit)
        table.add_row(printable(each.site.name), amount, f"{100 * each.share:3.0f}%")
    yield Padding(table, (0, 0, 0, 2), expand=False)
