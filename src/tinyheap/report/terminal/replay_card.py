"""Replays on a terminal: a table of several, or one in all its metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from tinyheap.report.quantities import share_text, size_text, time_text
from tinyheap.traces.expectation import Difference
from tinyheap.traces.replay_summary import ReplaySummary

WIDE_COLUMNS: Final = 132
"""Of the terminal, from which the table shows more of its columns."""
BAD: Final = "bold red"
GOOD: Final = "green"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A trace that was replayed, and what there is to say of it."""

    name: str
    summary: ReplaySummary
    held: bool = False
    """Whether it was held against an expectation."""
    difference: Difference | None = None


class Detail(IntEnum):
    """How much room a metric needs to be shown."""

    NARROW = 0
    WIDE = 1
    ALONE = 2
    """Only where one trace is shown alone."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A column of the table, a line where a trace is shown alone."""

    title: str
    """With a line break where a column's head may have one."""
    text: Callable[[ReplaySummary], str]
    detail: Detail = Detail.NARROW


def _live(summary: ReplaySummary) -> str:
    return "-" if summary.live_objects is None else f"{summary.live_objects:,}"


def _longest_pause(summary: ReplaySummary) -> str:
    return time_text(summary.longest_pause_ns) if summary.collections else "-"


METRICS: Final = (
    Metric("gc", lambda summary: summary.gc, Detail.WIDE),
    Metric("collector", lambda summary: summary.collector, Detail.ALONE),
    Metric("engine", lambda summary: summary.engine, Detail.WIDE),
    Metric("word size", lambda summary: f"{summary.word_bytes} bytes", Detail.ALONE),
    Metric("steps", lambda summary: f"{summary.steps_done:,}", Detail.WIDE),
    Metric("allocations", lambda summary: f"{summary.allocations:,}", Detail.WIDE),
    Metric("frees", lambda summary: f"{summary.frees:,}", Detail.ALONE),
    Metric("collections", lambda summary: f"{summary.collections:,}"),
    Metric("overflows", lambda summary: f"{summary.overflows:,}", Detail.ALONE),
    Metric("rescans", lambda summary: f"{summary.rescans:,}", Detail.ALONE),
    Metric("live", _live),
    Metric("used", lambda summary: share_text(summary.used_bytes, summary.heap_bytes)),
    Metric("heap", lambda summary: size_text(summary.heap_bytes), Detail.WIDE),
    Metric("heap limit", lambda summary: size_text(summary.limit_bytes), Detail.ALONE),
    Metric("largest\nfree", lambda summary: size_text(summary.largest_free_bytes)),
    Metric("longest\npause", _longest_pause),
    Metric("in allocation", lambda summary: time_text(summary.alloc_ns), Detail.ALONE),
    Metric("in mark", lambda summary: time_text(summary.mark_ns), Detail.ALONE),
    Metric("in sweep", lambda summary: time_text(summary.sweep_ns), Detail.ALONE),
    Metric("time", lambda summary: time_text(summary.total_ns)),
)
"""Of a summary, in the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class ReplayTable:
    """A renderable: one row per trace, with as many columns as the terminal has room for."""

    outcomes: Sequence[Outcome]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table; what its columns leave out for want of room stands in its title."""
        wide = options.max_width >= WIDE_COLUMNS
        metrics = [metric for metric in METRICS if metric.detail <= (Detail.WIDE if wide else Detail.NARROW)]
        table = Table(
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            collapse_padding=True,
            title_style="",
            title_justify="left",
        )
        if not wide:
            table.title = ", ".join(sorted({f"{each.summary.gc} {each.summary.engine}" for each in self.outcomes}))
        table.add_column("trace", overflow="fold")
        table.add_column("result", no_wrap=True)
        for metric in metrics:
            numeric = metric.title not in ("gc", "engine")
            table.add_column(metric.title, justify="right" if numeric else "left", no_wrap=True)
        for outcome in self.outcomes:
            table.add_row(Text(outcome.name), _result(outcome), *(metric.text(outcome.summary) for metric in metrics))
        yield table


@dataclass(frozen=True, slots=True)
class ReplayCard:
    """A renderable: one trace in all its metrics, one line per metric."""

    outcome: Outcome

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The name, what came of it, and the metrics."""
        yield Text.assemble((self.outcome.name, "bold"), "  ", _long_result(self.outcome))
        table = Table.grid(padding=(0, 2, 0, 0))
        for metric in METRICS:
            table.add_row(Text("  " + metric.title.replace("\n", " "), "dim"), metric.text(self.outcome.summary))
        yield table


def _result(outcome: Outcome) -> Text:
    if outcome.difference:
        return Text("differs", BAD)
    return Text("oom", BAD) if outcome.summary.out_of_memory else Text("ok", GOOD)


def _long_result(outcome: Outcome) -> Text:
    summary = outcome.summary
    if summary.out_of_memory:
        text = Text(f"out of memory at step {summary.steps_done:,} of {summary.steps:,}", BAD)
    else:
        text = Text("ok", GOOD)
    if outcome.difference:
        text.append(", but not as expected", BAD)
    elif outcome.held:
        text.append(", as expected", GOOD)
    return text


def verdict(outcomes: Sequence[Outcome]) -> Iterator[Text]:
    """Lines on the expectations: each difference, and how many held."""
    for outcome in outcomes:
        if outcome.difference:
            yield Text.assemble((outcome.name, "bold"), ": ", ("differs", BAD), f" in {outcome.difference}")
    held = [outcome for outcome in outcomes if outcome.held]
    if held:
        good = sum(outcome.difference is None for outcome in held)
        yield Text(f"{good:,} of {len(held):,} as expected", GOOD if good == len(held) else BAD)
