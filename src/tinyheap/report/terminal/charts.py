"""Numbers drawn in characters: bars, series, and the heap through time.

Where a terminal has no block elements, ASCII takes their place; what color says, shape says as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from tinyheap.recordings.observed import Lives
from tinyheap.report.quantities import size_text, time_text

if TYPE_CHECKING:
    from tinyheap.profile import TimeLine

HORIZONTAL: Final = " ▏▎▍▌▋▊▉█"
VERTICAL: Final = " ▁▂▃▄▅▆▇█"
BAR_STYLE: Final = "cyan"
HEAP_STYLE: Final = "dim"
MARK_STYLE: Final = "yellow"
ROWS: Final = 8
MOST_COLUMNS: Final = 120


def bar(share: float, width: int, *, ascii_only: bool) -> str:
    """A share from 0 to 1 as a bar of up to `width` cells; what is more than nothing is seen."""
    share = min(max(share, 0.0), 1.0)
    if ascii_only:
        return ("#" * max(round(share * width), share > 0)).ljust(width)
    eighths = max(round(share * width * 8), share > 0)
    partial = HORIZONTAL[eighths % 8].strip()
    return ("█" * (eighths // 8) + partial).ljust(width)


def series(values: Sequence[float], width: int, *, ascii_only: bool) -> str:
    """Numbers from 0 up as a row of columns; more than `width` of them are thinned, the last one stays."""
    top = max(values, default=0)
    if len(values) > width:
        values = [values[(number + 1) * len(values) // width - 1] for number in range(width)]
    if ascii_only:
        return "".join(".:-=+*#@"[round(7 * value / top)] if top else "." for value in values)
    return "".join(VERTICAL[1 + round(7 * value / top)] if top else VERTICAL[1] for value in values)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A time line sampled to columns, one a cell."""

    used_bytes: list[float]
    heap_bytes: list[float]
    marks: list[int]
    """Collections that began in each column."""
    what: str
    """What the columns show."""


def sampled(line: TimeLine, columns: int) -> Drawn:
    """The time line in so many columns: the most that was in use in each; between samples, a straight line."""
    begun_ns = line.observed.begun_ns
    column_ns = max(line.wall_ns - begun_ns, 1) / columns
    known = [point for point in line.points if point.used_bytes is not None]
    used = _filled(((point.time_ns - begun_ns, point.used_bytes or 0) for point in known), columns, column_ns)
    heap = _filled(((point.time_ns - begun_ns, point.heap_bytes or 0) for point in known), columns, column_ns)
    what = "in use"
    if not known:
        name, values = asked_for(line)
        used = _filled(((time_ns - begun_ns, value) for time_ns, value in values), columns, column_ns)
        what = f"{name} (the heap was not seen)"
    marks = [0] * columns
    for collection in line.collections or ():
        marks[min(int((collection.begun_ns - begun_ns) / column_ns), columns - 1)] += 1
    return Drawn(used, heap, marks, what)


def asked_for(line: TimeLine) -> tuple[str, list[tuple[int, int]]]:
    """What is known where the heap was not seen, and its values by time: what lived, or else what was allocated."""
    live = [(point.time_ns, point.live_bytes) for point in line.points if point.live_bytes is not None]
    if line.observed.lives is not Lives.UNKNOWN:
        most = ", at most" if line.observed.lives is Lives.AT_MOST else ""
        return f"live{most}, as asked for", live
    return "allocated so far, as asked for", [(point.time_ns, point.allocated_bytes) for point in line.points]


def _filled(points: Iterable[tuple[int, int]], columns: int, column_ns: float) -> list[float]:
    """The greatest value of each column; where there is none, what lies between its neighbors."""
    greatest: dict[int, float] = {}
    for time_ns, value in points:
        column = min(max(int(time_ns / column_ns), 0), columns - 1)
        greatest[column] = max(greatest.get(column, 0), value)
    known = sorted(greatest)
    if not known:
        return [0.0] * columns
    values = [greatest[known[0]]] * columns
    for left, right in zip(known, [*known[1:], columns], strict=True):
        end = greatest.get(right, greatest[left])
        for column in range(left, right):
            values[column] = greatest[left] + (end - greatest[left]) * (column - left) / (right - left)
    return values


@dataclass(frozen=True, slots=True)
class TimeLineChart:
    """A renderable: what was in use against the heap's size, with a mark below each collection."""

    line: TimeLine

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Rows from the top down, the axis with its marks, and a legend."""
        if not self.line.points:
            yield Text("nothing was recorded of the heap", "dim")
            return
        columns = max(min(options.max_width - 12, MOST_COLUMNS), 10)
        drawn = sampled(self.line, columns)
        top = max(*drawn.heap_bytes, *drawn.used_bytes, 1)
        for row in reversed(range(ROWS)):
            label = size_text(round(top)) if row == ROWS - 1 else ""
            yield Text.assemble(
                f"{label:>10} ", self._row(drawn, row, top, ascii_only=options.ascii_only), no_wrap=True
            )
        yield Text.assemble(f"{'0':>10} ", (self._axis(drawn, ascii_only=options.ascii_only), MARK_STYLE), no_wrap=True)
        begun_ns, end = self.line.observed.begun_ns, time_text(self.line.wall_ns)
        start = time_text(begun_ns) if begun_ns else "0"
        yield Text(f"{'':11}{start}{end:>{columns - len(start)}}", "dim", no_wrap=True)
        yield self._legend(drawn, ascii_only=options.ascii_only)

    def _row(self, drawn: Drawn, row: int, top: float, *, ascii_only: bool) -> Text:
        """A row of cells, each an eighth of a row high at least where anything is in use."""
        text = Text()
        for used, heap in zip(drawn.used_bytes, drawn.heap_bytes, strict=True):
            level = min(max(round((used / top * ROWS - row) * 8), int(row == 0 and used > 0)), 8)
            if level > 0:
                text.append("#" if ascii_only else VERTICAL[level], BAR_STYLE)
            elif heap and min(int(heap / top * ROWS), ROWS - 1) == row:
                text.append("-" if ascii_only else "╌", HEAP_STYLE)
            else:
                text.append(" ")
        return text

    def _axis(self, drawn: Drawn, *, ascii_only: bool) -> str:
        none, one = ("-", "^") if ascii_only else ("─", "▲")
        return "".join(one if count else none for count in drawn.marks)

    def _legend(self, drawn: Drawn, *, ascii_only: bool) -> Text:
        used, heap, mark = ("#", "-", "^") if ascii_only else ("█", "╌", "▲")
        legend = Text(" " * 11)
        legend.append(used, BAR_STYLE).append(f" {drawn.what}")
        if any(drawn.heap_bytes):
            legend.append(f"   {heap}", HEAP_STYLE).append(" heap")
        if self.line.collections:
            legend.append(f"   {mark}", MARK_STYLE).append(" collection")
        return legend
