"""The report of a recording for a terminal: all analyses, in the order in which one asks.

What ran, and how much?  When?  Who allocated it, from where?  How long did the program wait?  What are the objects like?
Does anything leak?  How did linear memory grow?  And does anything grow with each call of the host?
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tinyheap import profile
from tinyheap.recordings.observed import Lives
from tinyheap.report.terminal.flame_tree import FlameTree
from tinyheap.report.terminal.results import WARNING, HistogramRows, LiveRows, UsageRows, drawn, renderable_of
from tinyheap.report.terminal.source_listing import SourceListing

if TYPE_CHECKING:
    from tinyheap.profile import Measure
    from tinyheap.recordings.recording import Recording
    from tinyheap.report.sources import Sources

TITLE_STYLE: Final = "bold underline"
ROOM_FOR_TWO: Final = 120
"""Cells."""


def report(
    recording: Recording, measure: Measure, top: int, sources: Sources | None = None
) -> Iterator[RenderableType]:
    """The sections, one after another, each when it has been computed.

    Args:
        recording: The recording.
        measure: Of the flame graph.
        top: How many lines of stacks, of sites and of source.
        sources: Source files to be shown with what their lines allocate; None for none.
    """
    totals = profile.totals(recording)
    yield renderable_of(totals)
    if totals.observed.allocations:
        yield from _of_heap(recording, measure, top, sources)
    yield from section("Linear memory", renderable_of(profile.linear_memory(recording)))
    calls = profile.host_calls(recording)
    if not isinstance(calls, profile.Unknown) and calls.is_repeated:
        yield from section("Calls of the host", renderable_of(calls))


def _of_heap(recording: Recording, measure: Measure, top: int, sources: Sources | None) -> Iterator[RenderableType]:
    """The sections on what is allocated."""
    yield from section("The heap through time", renderable_of(profile.time_line(recording)))
    graph, sites = profile.flame_graph(recording, measure), profile.by_site(recording)
    title = measure.title if isinstance(graph, profile.Unknown) else graph.title
    yield from section(f"Stacks, by {title}", drawn(graph, lambda known: FlameTree(known, top)))
    yield from section("Allocation sites", UsageRows(sites, top))
    if sites.lives is Lives.AT_MOST:
        yield from section("Live at the end, at most", LiveRows(sites, top))
    if sources:
        yield from section("Source", SourceListing(profile.by_line(recording), sources, top))
    yield from section("Pauses", renderable_of(profile.pauses(recording)))
    sizes = Group(
        Text(f"objects by size{recording.run.observed.mark}", "dim"), HistogramRows(profile.size_histogram(recording))
    )
    bounded = ", at most" if sites.lives is Lives.AT_MOST else ""
    lives = Group(
        Text(f"objects by lifetime{bounded}{recording.run.observed.mark}", "dim"),
        renderable_of(profile.lifetime_histogram(recording)),
    )
    yield from section("Objects", SideBySide(sizes, lives))
    yield from section("Leak suspects", renderable_of(profile.leak_suspects(recording)))


def comparison(before: Recording, after: Recording) -> Iterator[RenderableType]:
    """Two recordings side by side."""
    found = profile.compare(before, after)
    for name, recording in (("before", before), ("after", after)):
        yield Text.assemble(f"{name + ':':7} ", (str(recording.path), "bold"))
        if recording.run.observed.unknown is not None:
            yield Padding(Text(recording.run.observed.unknown, WARNING), (0, 0, 0, 8))
    yield Text()
    yield renderable_of(found)


@dataclass(frozen=True, slots=True)
class SideBySide:
    """A renderable: two others, beside each other where there is room."""

    left: RenderableType
    right: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Both."""
        if options.max_width < ROOM_FOR_TWO:
            yield Group(self.left, Text(), self.right)
        else:
            table = Table.grid(padding=(0, 4, 0, 0))
            table.add_row(self.left, self.right)
            yield table


def section(title: str, body: RenderableType) -> Iterator[RenderableType]:
    """A title, and what it is the title of."""
    yield Text()
    yield Text(title, TITLE_STYLE)
    yield body
