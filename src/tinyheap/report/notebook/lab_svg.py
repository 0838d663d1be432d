"""Pictures of the lab's results for notebooks: those of its pages, as SVG without script."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

from tinyheap.lab.fitting import Limit
from tinyheap.report.html.fit_page import telling_trials
from tinyheap.report.html.lab_page import lab_summary
from tinyheap.report.notebook.svg import CHARACTER_WIDTH, WIDTH, document, text_at
from tinyheap.report.quantities import count_text, size_text, time_text
from tinyheap.report.text import printable
from tinyheap.units import WASM_PAGE_BYTES, counted

if TYPE_CHECKING:
    from tinyheap.lab.fitting import Fit, Fits
    from tinyheap.lab.sweeping import Sweep
    from tinyheap.report.html.lab_contents import LabRow

PASSED, FAILED, CHANGED, STEP = "#2a9d8f", "#d1495b", "#8e6bbf", "#4c8fd6"
"""Readable on a light and on a dark page."""
WORDS: Final = {
    "passed": "passes",
    "changed": "passes, and writes something else",
    "failed": "does not pass",
    "step": "a size of memory",
    "refused": "a size that was refused",
    "limit": "the limit",
}
"""What marks mean."""

HEIGHT: Final = 280
LEFT, RIGHT, TOP, BOTTOM = 76, 16, 34, 22
"""Room around points for a legend and labels."""
LINE: Final = 14
TITLE: Final = 24
ROW: Final = 38
SIDE: Final = 8
TICK_WIDTH: Final = 70
MOST_ROWS: Final = 60
"""Of a picture with one for each condition; the table has all."""
STRETCH_HEIGHT: Final = 9

Marks = Sequence[tuple[int, str]]
"""Sizes above 0, each with a key of `WORDS`."""


@dataclass(frozen=True, slots=True)
class Track:
    """A line of a picture."""

    name: str
    marks: Marks


def sweep_svgs(sweep: Sweep) -> Iterator[str]:
    """Memory against the longest pause, with which sizes the program passes, and how memory grew; each where it is known."""
    summary = lab_summary(sweep)
    points = [(each, place) for each in summary["rows"] if (place := _place(each)) is not None]
    if points:
        yield document(HEIGHT, _scatter(points))
    survivals = [
        Track(
            each["limit"] if each["condition"] == "default" else f"{each['condition']}, by {each['limit']}",
            [(trial["size_bytes"], _survived(trial["passed"])) for trial in each["trials"]],
        )
        for each in summary["survivals"]
    ]
    yield from _tracks("Survival by size", survivals, ("passed", "failed"), size_text)
    steps = [Track(each["outcome"]["condition"], marks) for each in summary["rows"] if (marks := _steps(each))]
    yield from _tracks("Growth against the limit", steps, ("step", "refused", "limit"), size_text)


def fits_svgs(fits: Fits) -> Iterator[str]:
    """With which sizes the program passes, and the same around the edge in detail."""
    in_blocks = any(each.limit is Limit.BLOCKS for each in fits)
    tracks = [
        Track(
            _name(each),
            [
                (size * (1 if in_blocks else each.unit_bytes), _survived(passes))
                for size, passes in telling_trials(each.edge)
            ],
        )
        for each in fits
    ]
    title = "Survival by blocks of the heap" if in_blocks else "Survival by size"
    yield from _tracks(title, tracks, ("passed", "failed"), count_text if in_blocks else size_text)
    zones = [each for each in fits if each.edge.zone][:MOST_ROWS]
    if zones:
        yield document(TITLE + ROW * len(zones) + LINE, _zones(zones))


def _name(fit: Fit) -> str:
    return f"{fit.condition}, {fit.limit}"


def _survived(passed: bool) -> str:
    return "passed" if passed else "failed"


# ---- marks ------------------------------------------------------------------------------------------------------------


def _mark(kind: str, x: float, y: float) -> str:
    """What stands for a kind of outcome or of size: each has a shape of its own, or else a color."""
    match kind:
        case "passed" | "step":
            return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{PASSED if kind == "passed" else STEP}"/>'
        case "changed":
            return f'<path d="M{x:.1f} {y - 5:.1f}l5 5-5 5-5-5z" fill="none" stroke="{CHANGED}" stroke-width="2"/>'
        case "limit":
            return f'<path d="M{x:.1f} {y - 9:.1f}v18" stroke="currentColor" stroke-width="2" stroke-dasharray="3 2"/>'
        case _:
            return f'<path d="M{x - 4:.1f} {y - 4:.1f}l8 8m0-8l-8 8" stroke="{FAILED}" stroke-width="2.4"/>'


def _noted(name: str, note: str, drawn: str) -> str:
    """What says more when one points at it."""
    return f"<g><title>{escape(printable(name))}\n{escape(note)}</title>{drawn}</g>"


def _legend(title: str, kinds: Iterable[str]) -> Iterator[str]:
    yield text_at(SIDE, 13, title)
    at = SIDE + CHARACTER_WIDTH * len(title) + 28
    for kind in kinds:
        yield _mark(kind, at, 9.5) + text_at(at + 11, 13, WORDS[kind])
        at += 38 + CHARACTER_WIDTH * len(WORDS[kind])


def _line(x: float, y: float, path: str, opacity: float = 0.25) -> str:
    return f'<path d="M{x:.1f} {y:.1f}{path}" fill="none" stroke="currentColor" stroke-opacity="{opacity}"/>'


# ---- memory against pauses --------------------------------------------------------------------------------------------


def _place(row: LabRow) -> tuple[int, int] | None:
    """Memory in bytes and the longest pause in nanoseconds, where both are known."""
    pages, pause_ns = row["outcome"]["memory_pages"], row["outcome"]["longest_pause_ns"]
    return None if pages is None or pause_ns is None else (pages * WASM_PAGE_BYTES, pause_ns)


def _kind(row: LabRow) -> str:
    return "failed" if not row["passed"] else "changed" if row["changes_output"] else "passed"


def _scatter(points: Sequence[tuple[LabRow, tuple[int, int]]]) -> Iterator[str]:
    most_bytes, most_ns = (max(place[axis] for _, place in points) or 1 for axis in (0, 1))
    floor, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    yield from _legend("Memory against the longest pause", ("passed", "changed", "failed"))
    yield _line(LEFT, floor, f"H{right}") + _line(LEFT, TOP, f"V{floor}")
    yield text_at(LEFT - 8, TOP + 9, time_text(most_ns), "end") + text_at(LEFT - 8, floor, "0", "end")
    yield text_at(LEFT, floor + 16, "0") + text_at(right, floor + 16, size_text(most_bytes), "end")
    boxes: list[tuple[float, float, float]] = []
    for row, (size_bytes, pause_ns) in points:
        x, y = LEFT + (right - LEFT) * size_bytes / most_bytes, floor - (floor - TOP) * pause_ns / most_ns
        name = row["outcome"]["condition"]
        yield _noted(name, f"{size_text(size_bytes)}, {time_text(pause_ns)}", _mark(_kind(row), x, y))
        width = CHARACTER_WIDTH * len(printable(name))
        for left in (x + 9, x - 9 - width):
            # A name has room where it is on no other, and not beyond the edge.
            if left > LEFT and left + width < WIDTH and all(_apart((left, left + width, y), box) for box in boxes):
                boxes.append((left, left + width, y))
                yield text_at(left, y + 4, name)
                break


def _apart(one: tuple[float, float, float], other: tuple[float, float, float]) -> bool:
    """Whether two names, by their left and right ends and their height, are not on each other."""
    return one[0] > other[1] or one[1] < other[0] or abs(one[2] - other[2]) >= LINE


# ---- sizes along an axis ----------------------------------------------------------------------------------------------


def _steps(row: LabRow) -> Marks:
    """How memory grew; nothing where that is not known."""
    outcome, marks = row["outcome"], []
    if outcome["memory_steps_pages"]:
        marks = [(pages * WASM_PAGE_BYTES, "step") for pages in outcome["memory_steps_pages"]]
        if outcome["refused_pages"] is not None:
            marks.append((outcome["refused_pages"] * WASM_PAGE_BYTES, "refused"))
        if row["limit_bytes"]:
            marks.append((row["limit_bytes"], "limit"))
    return [each for each in marks if each[0] > 0]


def _tracks(title: str, tracks: Sequence[Track], kinds: Iterable[str], text: Callable[[int], str]) -> Iterator[str]:
    """The picture of some tracks; nothing where there is none."""
    shown = tracks[:MOST_ROWS]
    if shown:
        yield document(TITLE + LINE + ROW * len(shown) + 8, _tracks_drawn(title, shown, kinds, text))


def _tracks_drawn(
    title: str, tracks: Sequence[Track], kinds: Iterable[str], text: Callable[[int], str]
) -> Iterator[str]:
    """The axis is logarithmic, since sizes double."""
    sizes = [size for track in tracks for size, _ in track.marks]
    least = math.floor(math.log2(min(sizes)))
    most = max(math.ceil(math.log2(max(sizes))), least + 1)
    right, bottom = WIDTH - SIDE, TITLE + LINE + ROW * len(tracks)

    def x(size: int) -> float:
        return SIDE + (right - SIDE) * (math.log2(size) - least) / (most - least)

    yield from _legend(title, kinds)
    every = math.ceil((most - least) * TICK_WIDTH / (right - SIDE))
    for power in range(least, most + 1, every):
        at = x(1 << power)
        yield _line(at, TITLE + LINE, f"V{bottom}") + text_at(at, TITLE + LINE - 4, text(1 << power), _anchor(at))
    for number, track in enumerate(tracks):
        y = TITLE + LINE + ROW * number + 26
        yield text_at(SIDE, y - 11, track.name)
        inside = [x(size) for size, kind in track.marks if kind not in ("limit", "refused")]
        yield _line(min(inside), y, f"H{max(inside):.1f}", 0.5) if inside else ""
        for size, kind in track.marks:
            yield _noted(track.name, f"{text(size)}: {WORDS[kind]}", _mark(kind, x(size), y))


def _anchor(x: float) -> str:
    """How words at a place stay in the picture."""
    return "start" if x < TICK_WIDTH / 2 else "end" if x > WIDTH - TICK_WIDTH / 2 else "middle"


def _zones(fits: Sequence[Fit]) -> Iterator[str]:
    """A bar for the sizes around each edge: what passes above the line, what does not below it."""
    yield text_at(SIDE, 13, "Around the edge: above the line sizes that pass, below it sizes that do not")
    for number, fit in enumerate(fits):
        zone, y = fit.edge.zone, TITLE + ROW * number + 26
        first, last = zone[0].first, zone[-1].last
        unit = (WIDTH - 2 * SIDE) / (last - first + 1)
        yield text_at(SIDE, y - 14, f"{_name(fit)}, {first:,} to {counted(last, fit.unit)}")
        for each in zone:
            left, width = SIDE + unit * (each.first - first), unit * (each.last - each.first + 1)
            note = f"{each.first:,} to {each.last:,}: {WORDS[_survived(each.passes)]}"
            yield _noted(_name(fit), note, _bar(left, y, width, passes=each.passes))
        yield _line(SIDE, y, f"H{WIDTH - SIDE}", 0.5)


def _bar(left: float, y: float, width: float, *, passes: bool) -> str:
    top, fill = (y - STRETCH_HEIGHT, PASSED) if passes else (y, FAILED)
    return f'<rect x="{left:.2f}" y="{top:.1f}" width="{max(width, 0.3):.2f}" height="{STRETCH_HEIGHT}" fill="{fill}"/>'
