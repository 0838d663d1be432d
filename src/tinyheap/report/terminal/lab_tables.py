"""Results of the lab as tables: a line per condition, and below them what went wrong where."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from tinyheap.lab.conditions import program_of
from tinyheap.lab.fitting import Limit
from tinyheap.lab.outcome import OUTPUT
from tinyheap.report.effects import sample_text, values_text
from tinyheap.report.quantities import count_text, size_text, time_text
from tinyheap.report.text import printable
from tinyheap.units import WASM_PAGE_BYTES, counted

if TYPE_CHECKING:
    from tinyheap.lab.devices import DeviceFit
    from tinyheap.lab.edges import Edge
    from tinyheap.lab.fitting import Fit
    from tinyheap.lab.outcome import Outcome, OutcomeDifference
    from tinyheap.lab.starts import Start
    from tinyheap.lab.sweeping import Sweep

GOOD, BAD = "green", "bold red"
UNKNOWN: Final = "-"
GAP: Final = 2
"""Between columns."""
HOLES_SHOWN: Final = 8
CONDITIONS_NAMED: Final = 8
"""Of those that something holds for; the table has all."""
WIDE_COLUMNS: Final = 132
"""Of the console, from which all columns are shown."""
NARROW: Final = ("peak", "memory", "longest", "would fit")
"""Those that are always shown."""


def _known(text: Callable[[int], str], value: int | None) -> str:
    return UNKNOWN if value is None else text(value)


def _columns(outcome: Outcome, width: int) -> list[tuple[str, str]]:
    """What is shown of an outcome on a console of that width, by the heads of its columns."""
    return [each for each in _all_columns(outcome) if width >= WIDE_COLUMNS or each[0] in NARROW]


def _all_columns(outcome: Outcome) -> Iterator[tuple[str, str]]:
    yield "peak", _known(size_text, outcome.peak_bytes)
    yield "heap", _known(size_text, outcome.heap_bytes)
    yield "memory", _known(lambda pages: size_text(pages * WASM_PAGE_BYTES), outcome.memory_pages)
    yield "collections", _known(count_text, outcome.collections)
    yield "pauses: 99%", _known(time_text, outcome.pause_99_ns)
    yield "longest", _known(time_text, outcome.longest_pause_ns)
    yield "all", _known(time_text, outcome.collector_ns)
    scattered = outcome.fragmentation
    yield "fragmented", UNKNOWN if scattered is None else f"{100 * scattered:.0f}%"
    yield "would fit", _known(size_text, outcome.largest_free_bytes)


@dataclass(frozen=True, slots=True)
class SweepTable:
    """A renderable: an outcome a line, then how those ended that did not pass, and whether runs can be compared."""

    sweep: Sweep

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table and the sentences below it."""
        outcomes = self.sweep.outcomes
        heads = [head for each in outcomes[:1] for head, _ in _columns(each, options.max_width)]
        table = _table("condition", "ended", *heads)
        for each in outcomes:
            ended = Text(each.ended if each.exit_code in (0, None) else f"{each.ended} ({each.exit_code})")
            ended.stylize(GOOD if each.passed else BAD)
            table.add_row(printable(each.condition), ended, *(text for _, text in _columns(each, options.max_width)))
        _keep_words_whole(table, options.max_width)
        yield table
        if (sample := sample_text(self.sweep)) is not None:
            yield Text(f"\n{sample}", "bold")
            yield from self._effects()
        yield from self._best()
        yield from self._failures()
        yield from self._comparability()

    def _best(self) -> Iterator[Text]:
        """Under which conditions a program takes the least memory, where several let it pass and they differ.

        Nothing is said of pauses, which differ from run to run.
        """
        pages = {each.condition: each.memory_pages for each in self.sweep.outcomes if each.passed and each.memory_pages}
        if len({program_of(condition) for condition in pages}) == 1 and len(set(pages.values())) > 1:
            least = min(pages.values())
            first, *others = (condition for condition, taken in pages.items() if taken == least)
            more = f" and {counted(len(others), 'other')}" if others else ""
            yield Text(f"\nleast memory: {size_text(least * WASM_PAGE_BYTES)}, under {printable(first)}{more}", GOOD)

    def _effects(self) -> Iterator[RenderableType]:
        """What each option does, which single conditions of a sample do not show."""
        effects = self.sweep.effects()
        if not effects:
            return
        yield Text("by the values of one option: how many pass, and medians of those that do")
        table = _table("option", "values", "pass", *NARROW[:3])
        for option, group in groupby(effects, lambda each: each.option):
            for number, each in enumerate(group):
                pages = each.memory_pages
                table.add_row(
                    "" if number else option,
                    printable(values_text(each)),
                    f"{each.passed:,} of {each.conditions:,}",
                    _known(size_text, each.peak_bytes),
                    _known(size_text, None if pages is None else pages * WASM_PAGE_BYTES),
                    _known(time_text, each.longest_pause_ns),
                )
        yield table

    def _failures(self) -> Iterator[Text]:
        """How those ended that did not pass; what holds for several is said once."""
        alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        for each in self.sweep.outcomes:
            if not each.passed:
                alike.setdefault((each.ended, each.evidence), []).append(each.condition)
        for (ended, evidence), conditions in alike.items():
            yield Text(f"\n{printable(_named(conditions))}: {ended}", BAD)
            yield from (Text(f"  {printable(phrase)}") for phrase in evidence)

    def _comparability(self) -> Iterator[Text]:
        changed = [each.condition for each in self.sweep.outcomes if self.sweep.changes_output(each)]
        if changed:
            yield Text(f"\nthe program writes something else under: {printable(_named(changed))}", BAD)
        for condition, found in groupby(self.sweep.differences, lambda each: each.condition):
            named = ", ".join(_difference(each) for each in found)
            yield Text(
                f"\nnot deterministic: two runs under the same condition ({printable(condition)}) differ in {named}; "
                "outcomes cannot be compared, unless --seed makes runs the same",
                BAD,
            )


def _keep_words_whole(table: Table, width: int) -> None:
    """Break how runs ended between its words where words of conditions would be broken else, if that is enough."""
    conditions, endings, *others = ([str(cell) for cell in column.cells] for column in table.columns)
    left = width - sum(GAP + max(map(cell_len, each)) for each in others) - GAP
    word = max(cell_len(word) for each in conditions for word in each.split())
    needed = max(cell_len(word) for each in endings for word in each.split())
    if word > left - max(map(cell_len, endings)) and word + needed <= left:
        table.columns[1].no_wrap, table.columns[1].width = False, left - word


def _named(conditions: Sequence[str]) -> str:
    """Some conditions, of many the first."""
    more = len(conditions) - CONDITIONS_NAMED
    return ", ".join(conditions[:CONDITIONS_NAMED]) + (f" and {counted(more, 'other')}" if more > 0 else "")


def _difference(found: OutcomeDifference) -> str:
    """What differs between two runs, and by how much."""
    if found.name == OUTPUT:
        return "what it writes"
    first, second = (f"{each:,}" if isinstance(each, int) else str(each) for each in (found.first, found.second))
    return f"{found.name} ({first} and {second})"


@dataclass(frozen=True, slots=True)
class FitTable:
    """A renderable: the smallest size for each condition and limit, and what stands in the way below it."""

    fits: Sequence[Fit]
    starts: Sequence[Start] = ()
    """The initial memory, and better ones, under the limit that was given."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table and the sentences below it."""
        table = _table("condition", "limit", "smallest", "in bytes", "passes from", "runs")
        for fit in self.fits:
            edge = fit.edge
            smallest = Text(UNKNOWN, BAD) if edge.smallest is None else Text(_units(fit, edge.smallest), GOOD)
            size = _known("{:,}".format, fit.smallest_bytes)
            safe = _known(lambda units, fit=fit: _units(fit, units), edge.safe_from)  # type: ignore[misc]  # mypy: defaults
            table.add_row(printable(fit.condition), fit.limit, smallest, size, safe, f"{len(edge.tried):,}")
        yield table
        for fit in self.fits:
            yield from _remarks(fit)
        yield from _advice(self.starts)


def _advice(starts: Sequence[Start]) -> Iterator[Text]:
    """How far the initial memory gets, and which would get further."""
    for number, start in enumerate(starts):
        if not number:
            yield Text("\nwhere memory doubles, under the memory limit", "bold")
        begins, ends = (size_text(pages * WASM_PAGE_BYTES) for pages in (start.pages, start.most_pages))
        what = "an initial memory" if number else "the initial memory"
        pages, steps = counted(start.pages, "page"), counted(start.steps, "step")
        yield Text(f"  {what} of {begins} ({pages}) ends at {ends}, after {steps}")


@dataclass(frozen=True, slots=True)
class DeviceTable:
    """A renderable: whether a program passes on a device, a condition a line, and below them why some do not."""

    fits: Sequence[DeviceFit]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table and the sentences below it."""
        table = _table("condition", "device", "RAM", "run in", "ended")
        for fit in self.fits:
            ended = Text("passes", GOOD) if fit.passed else Text("does not pass", BAD)
            run_in = f"{size_text(fit.size_bytes)} of {'memory' if fit.limit is Limit.MEMORY else 'heap'}"
            table.add_row(
                printable(fit.condition), printable(fit.device.name), size_text(fit.device.ram_bytes), run_in, ended
            )
        yield table
        for fit in self.fits:
            if not fit.passed:
                yield Text(f"\n{printable(fit.condition)}, {printable(fit.device.name)}: does not pass", "bold")
                yield from (Text(f"  {printable(phrase)}") for phrase in fit.obstacle)
        board = next((fit.device for fit in self.fits if not fit.passed and fit.limit is Limit.MEMORY), None)
        if board is not None and board.stack_bytes:
            yield Text(
                f"\nstacks are in this memory, too: TinyGo makes those of a module larger than the "
                f"{size_text(board.stack_bytes)} on {board.name}, so that what does not pass may pass there"
            )


def _remarks(fit: Fit) -> Iterator[Text]:
    edge = fit.edge
    if edge.smallest is None:
        head = f"does not pass in {_units(fit, edge.tried[-1])} either"
    else:
        head = "nothing smaller can be tried" if not fit.obstacle else f"with {_units(fit, edge.smallest - 1)}"
    yield Text(f"\n{printable(fit.condition)}, {fit.limit}: {head}", "bold")
    yield from (Text(f"  {printable(phrase)}") for phrase in fit.obstacle)
    if edge.failing_above:
        yield Text(f"  not monotone: it passes with {edge.smallest:,}, and fails with {_holes(edge)}", BAD)


def _holes(edge: Edge) -> str:
    """Sizes that fail above the smallest one that passes, as many as fit into a line."""
    shown = ", ".join(f"{size:,}" for size in edge.failing_above[:HOLES_SHOWN])
    more = len(edge.failing_above) - HOLES_SHOWN
    return f"{shown} and {more:,} more" if more > 0 else shown


def _units(fit: Fit, units: int) -> str:
    return counted(units, fit.unit)


def _table(*heads: str) -> Table:
    table = Table.grid(padding=(0, GAP, 0, 0))
    for number, _ in enumerate(heads):
        table.add_column(
            justify="left" if number < 2 else "right",
            no_wrap=number > 0,
            overflow="fold" if number == 0 else "ellipsis",
        )
    table.add_row(*(Text(head, "dim") for head in heads))
    return table
