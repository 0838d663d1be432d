"""What a notebook shows of results of the lab: pictures to scale, and the table of the terminal below them."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tinyheap.lab import Edge, Fit, Fits, Limit, Outcome, Subject, Sweep
from tinyheap.results import Result
from tinyheap.units import WASM_PAGE_BYTES

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "module='<script>x</script> a.wasm'"


def outcome(condition: str, *, code: int = 0, output: str = "x", pages: int | None = 2) -> Outcome:
    return Outcome(
        condition, 1, "finished" if code == 0 else "out of memory", ("asked for: <b>",), code, output,
        memory_pages=pages, longest_pause_ns=None if pages is None else 1000 * pages,
        memory_steps_pages=None if pages is None else (1, pages), refused_pages=None if code == 0 else 8,
    )  # fmt: skip


def pictures(result: Result) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(each) for each in re.findall("<svg.*?</svg>", result._repr_html_(), re.DOTALL)]


def notes(picture: ElementTree.Element) -> list[str]:
    """What one reads when one points at its marks."""
    return [str(each.text) for each in picture.iter(f"{SVG}title")]


def shown(result: Result) -> str:
    return unescape(re.sub("<[^>]*>", "", result._repr_html_()))


def test_a_sweep_is_three_pictures_and_a_table() -> None:
    conditions = ("memory-limit=131072", "memory-limit=262144", "growth=pages")
    outcomes = outcome(conditions[0], code=137), outcome(conditions[1], pages=4), outcome(conditions[2], output="y")
    sweep = Sweep(Subject(Path("app.wasm"), options=("--memory-limit=1MiB",)), outcomes, ())
    scatter, survival, growth = pictures(sweep)
    assert notes(scatter) == [
        f"{conditions[0]}\n128 KiB, 2 us", f"{conditions[1]}\n256 KiB, 4 us", f"{conditions[2]}\n128 KiB, 2 us",
    ]  # fmt: skip
    assert notes(survival) == ["memory-limit\n128 KiB: does not pass", "memory-limit\n256 KiB: passes"]
    assert [note for note in notes(growth) if note.startswith(conditions[0])] == [
        f"{conditions[0]}\n64 KiB: a size of memory",
        f"{conditions[0]}\n128 KiB: a size of memory",
        f"{conditions[0]}\n512 KiB: a size that was refused",
        f"{conditions[0]}\n128 KiB: the limit",
    ]
    assert f"{conditions[2]}\n1 MiB: the limit" in notes(growth)
    assert "out of memory (137)" in shown(sweep)
    assert "the program writes something else under: growth=pages" in shown(sweep)


def test_points_are_where_their_memory_and_pauses_are() -> None:
    outcomes = outcome("gc-every=1", pages=4), outcome("gc-every=2", pages=1)
    scatter, *_ = pictures(Sweep(Subject(Path("app.wasm")), outcomes, ()))
    circles = [each for group in scatter.iter(f"{SVG}g") for each in group.iter(f"{SVG}circle")]
    places = [(float(each.attrib["cx"]), float(each.attrib["cy"])) for each in circles]
    left, right, top, floor = 76, 760 - 16, 34, 280 - 22
    assert places == [(right, top), (left + (right - left) / 4, floor - (floor - top) / 4)]


def test_what_is_not_known_is_no_picture() -> None:
    native = Sweep(Subject(Path("app.wasm")), (outcome("gc=native", pages=None),), ())
    assert pictures(native) == []
    assert "gc=native" in shown(native)
    assert pictures(Sweep(Subject(Path("app.wasm")), (), ())) == pictures(Fits()) == []
    assert "condition" in shown(Fits())


def test_names_cannot_act_as_code() -> None:
    sweep = Sweep(Subject(Path("app.wasm")), (outcome(HOSTILE), outcome("growth=pages")), ())
    form = sweep._repr_html_()
    assert "<script" not in form
    assert "<b>" not in form
    assert HOSTILE in shown(sweep)


@pytest.mark.slow
def test_of_many_conditions_the_picture_has_some_and_the_table_all() -> None:
    sweep = Sweep(Subject(Path("app.wasm")), tuple(outcome(f"gc-every={at}") for at in range(1, 101)), ())
    growth = pictures(sweep)[-1]
    assert len({note.partition("\n")[0] for note in notes(growth)}) == 60
    table = shown(sweep)
    assert all(f"gc-every={at} " in table for at in range(1, 101))


def fit(limit: Limit, unit_bytes: int, edge: Edge) -> Fit:
    return Fit("default", limit, unit_bytes, edge, edge.smallest, ("out of memory",))


def test_a_ragged_edge_is_drawn_to_scale() -> None:
    edge = Edge(60, 75, (61, 64, 65, 66, 74), (1, 32, *range(50, 90), 128))
    found = Fits([fit(Limit.BLOCKS, 16, edge)])
    survival, around = pictures(found)
    assert notes(survival)[:2] == ["default, heap\n1: does not pass", "default, heap\n32: does not pass"]
    assert notes(survival)[-1] == "default, heap\n128: passes"
    bars = [float(each.attrib["width"]) * 40 / (760 - 2 * 8) for each in around.iter(f"{SVG}rect")]
    assert [round(each, 2) for each in bars] == [10, 1, 1, 2, 3, 7, 1, 15]
    assert notes(around)[:2] == ["default, heap\n50 to 59: does not pass", "default, heap\n60 to 60: passes"]
    assert "not monotone: it passes with 60, and fails with 61, 64, 65, 66, 74" in shown(found)


def test_pages_are_shown_as_bytes_and_what_never_passes_has_no_edge() -> None:
    found = Fits([fit(Limit.MEMORY, WASM_PAGE_BYTES, Edge(None, None, (), (4,)))])
    [survival] = pictures(found)
    assert notes(survival) == ["default, memory-limit\n256 KiB: does not pass"]
