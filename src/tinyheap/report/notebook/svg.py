"""Pictures for notebooks: the heap through time, and a flame graph, as SVG without script.

Lines and text take the color of the page, so that the pictures can be read on a light and on a dark one.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Final

from tinyheap.report.quantities import count_text, size_text, time_text
from tinyheap.report.terminal.charts import asked_for
from tinyheap.report.text import printable

if TYPE_CHECKING:
    from tinyheap.profile import FlameGraph, FlameNode, TimeLine

WIDTH: Final = 760
FONT: Final = "font-family:ui-monospace,monospace;font-size:11px"
USED_FILL, LIVE_STROKE, HEAP_STROKE, MARK_STROKE = "#2a9d8f", "currentColor", "#8d99ae", "#e9a23b"

CHART_HEIGHT: Final = 200
LEFT, TOP, BOTTOM = 76, 24, 20
"""Room around the chart for labels."""

ROW_HEIGHT: Final = 18
MOST_ROWS: Final = 48
NARROWEST: Final = 0.4
"""In pixels; what is narrower is not drawn."""
CHARACTER_WIDTH: Final = 6.7


def document(height: float, parts: Iterator[str]) -> str:
    """A picture that is `WIDTH` wide, or as wide as there is room."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
        f'style="max-width:100%;{FONT};color:inherit" fill="currentColor">{"".join(parts)}</svg>'
    )


def text_at(x: float, y: float, words: str, anchor: str = "start") -> str:
    """Words that begin, or by `anchor` end or have their middle, at a place."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(printable(words))}</text>'


# ---- the heap through time --------------------------------------------------------------------------------------------


def time_line_svg(line: TimeLine) -> str:
    """What was in use as an area, what lived and the heap's size as lines, and a tick for each collection."""
    return document(TOP + CHART_HEIGHT + BOTTOM, _time_line(line))


def _time_line(line: TimeLine) -> Iterator[str]:
    used = [(each.time_ns, each.used_bytes) for each in line.points if each.used_bytes is not None]
    heap = [(each.time_ns, each.heap_bytes) for each in line.points if each.heap_bytes is not None]
    title, asked = asked_for(line)
    top = max((value for _, value in (*used, *heap, *asked)), default=0) or 1
    begun_ns = line.observed.begun_ns
    whole_ns = max(line.wall_ns - begun_ns, 1)

    def x(time_ns: int) -> float:
        return LEFT + (WIDTH - LEFT - 4) * (time_ns - begun_ns) / whole_ns

    def y(size_bytes: int) -> float:
        return TOP + CHART_HEIGHT * (1 - size_bytes / top)

    floor = y(0)
    for each in line.collections or ():
        begin, width = x(each.begun_ns), max((WIDTH - LEFT) * each.pause_ns / whole_ns, 1)
        note = f"collection {each.number} ({each.reason}): {time_text(each.pause_ns)}"
        yield f'<rect x="{begin:.1f}" y="{TOP}" width="{width:.1f}" height="{CHART_HEIGHT}" fill="{MARK_STROKE}" '
        yield f'fill-opacity=".45"><title>{escape(note)}</title></rect>'
    drawn = [("in use", used, USED_FILL), ("heap", heap, HEAP_STROKE), (title, asked, LIVE_STROKE)]
    if used:
        area = [(x(used[0][0]), floor), *((x(at), y(value)) for at, value in used), (x(used[-1][0]), floor)]
        yield f'<polygon points="{_points(area)}" fill="{USED_FILL}" fill-opacity=".35"/>'
    for _, values, stroke in drawn:
        if values:
            points = _points([(x(at), y(value)) for at, value in values])
            yield f'<polyline points="{points}" fill="none" stroke="{stroke}" stroke-width="1.4"/>'
    yield f'<line x1="{LEFT}" x2="{WIDTH}" y1="{floor}" y2="{floor}" stroke="currentColor" stroke-opacity=".4"/>'
    yield text_at(LEFT - 8, TOP + 9, size_text(top), "end") + text_at(LEFT - 8, floor, "0", "end")
    yield text_at(LEFT, floor + 14, time_text(begun_ns) if begun_ns else "0") + text_at(
        WIDTH - 4, floor + 14, time_text(line.wall_ns), "end"
    )
    shown = [(name, color) for name, values, color in drawn if values]
    yield from _legend(shown + ([("collection", MARK_STROKE)] if line.collections else []))


def _legend(names: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Names with their colors."""
    at = float(LEFT)
    for name, fill in names:
        yield f'<rect x="{at:.1f}" y="4" width="10" height="10" fill="{fill}"/>' + text_at(at + 14, 13, name)
        at += 30 + CHARACTER_WIDTH * len(name)


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


# ---- flame graphs -----------------------------------------------------------------------------------------------------


def flame_svg(graph: FlameGraph) -> str:
    """A box a function, below its caller and as wide as it weighs; pointing at one tells its name and weight."""
    boxes = list(_boxes(graph))
    rows = max((row for row, _, _, _ in boxes), default=0) + 1
    return document(rows * ROW_HEIGHT + 2, (_box(graph, *each) for each in boxes))


def _boxes(graph: FlameGraph) -> Iterator[tuple[int, float, float, FlameNode]]:
    """What is drawn: row, left edge, width, and node."""
    if not graph.root.total:
        yield 0, 0.0, float(WIDTH), graph.root
        return
    scale = WIDTH / graph.root.total
    waiting = [(0, 0.0, graph.root)]
    while waiting:
        row, left, node = waiting.pop()
        yield row, left, node.total * scale, node
        for child in node.children if row + 1 < MOST_ROWS else ():
            if child.total * scale >= NARROWEST:
                waiting.append((row + 1, left, child))
            left += child.total * scale


def _box(graph: FlameGraph, row: int, left: float, width: float, node: FlameNode) -> str:
    weigh = size_text if graph.measure.is_bytes else count_text
    share = 100 * node.total / graph.root.total if graph.root.total else 0
    name = printable(node.name) if row else graph.title
    note = f"{name}\n{weigh(node.total)}, {share:.1f}%; own {weigh(node.own)}"
    fits = int((width - 6) / CHARACTER_WIDTH)
    label = name if len(name) <= fits else f"…{name[1 - fits :]}" if fits > 3 else ""
    top = row * ROW_HEIGHT + 1
    return (
        f'<g><title>{escape(note)}</title><rect x="{left:.2f}" y="{top}" width="{max(width - 0.6, 0.3):.2f}" '
        f'height="{ROW_HEIGHT - 1}" rx="2" fill="{_color(node.name)}"/>'
        f'<text x="{left + 4:.1f}" y="{top + 12.5}" fill="#1b1b1b">{escape(label)}</text></g>'
    )


def _color(name: str) -> str:
    """A warm color that is always the same for a name."""
    seed = zlib.crc32(name.encode("utf-8", "backslashreplace"))
    return f"hsl({18 + seed % 36} {62 + seed // 36 % 20}% {66 + seed // 720 % 10}%)"
