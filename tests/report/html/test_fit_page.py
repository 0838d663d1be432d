"""The page of `tinyheap fit` as its readers use it: what it says is what was found."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from page_labels import touching_labels
from tinyheap.lab import Edge, Fit, Limit, Subject, better_starts, start_of
from tinyheap.report.html.fit_page import fit_summary, write_fit_page
from tinyheap.units import WASM_PAGE_BYTES

OpenPage = Callable[..., Page]
HTML = "</script><script>document.title='out'</script><!--"
SUBJECT = Subject(Path("folder/app.wasm"), ("file",), ("--seed=1", "--memory-limit=134217728"))


def fit(condition: str, limit: Limit, edge: Edge, unit_bytes: int = WASM_PAGE_BYTES) -> Fit:
    smallest_bytes = None if edge.smallest is None else edge.smallest * unit_bytes
    return Fit(condition, limit, unit_bytes, edge, smallest_bytes, ("out of memory", f"asked for: {HTML}"))


RAGGED = fit("growth=pages", Limit.MEMORY, Edge(30, 70, (31, 32, 69), (16, *range(28, 73), 200)))
FITS = (
    fit("default", Limit.HEAP, Edge(4, 4, (), (2, 3, 4, 5))),
    RAGGED,
    fit("gc=leaking", Limit.MEMORY, Edge(None, None, (), (40,))),
)
STARTS = (start_of(3, 2048), *better_starts(3, 2048))


@pytest.fixture
def page(open_page: OpenPage, tmp_path: Path) -> Page:
    write_fit_page(SUBJECT, FITS, tmp_path / "fit.html", STARTS)
    return open_page(tmp_path / "fit.html")


def test_of_sizes_without_gap_the_page_has_the_first_and_the_last() -> None:
    row = fit_summary(SUBJECT, FITS)["rows"][1]
    assert [each["size"] for each in row["trials"]] == [16, 28, 29, 30, 31, 32, 33, 68, 69, 70, 72, 200]
    assert [each["size"] for each in row["trials"] if not each["passed"]] == [16, 28, 29, 31, 32, 69]
    assert row["tried"] == len(RAGGED.edge.tried)


def test_the_head_says_what_was_run_and_what_is_special(page: Page) -> None:
    assert page.title() == "app.wasm: how small"
    expect(page.locator(".badge")).to_have_text("passes in no size in 1 of 3 cases")
    expect(page.locator(".page-head .problem")).to_contain_text("Larger is not always better")
    expect(page.locator(".page-head .problem")).to_contain_text("growth=pages, memory-limit")
    expect(page.locator(".page-head")).to_contain_text("Each run with --seed=1 --memory-limit=134217728")


def test_the_table_has_the_smallest_sizes(page: Page) -> None:
    first = page.locator("[role=row][aria-rowindex='2']")
    expect(first).to_contain_text(re.compile("growth=pages.*memory-limit.*30 pages.*1,966,080.*70 pages.*47"))
    expect(page.locator("[role=row][aria-rowindex='4']")).to_contain_text(
        re.compile("gc=leaking.*\N{EN DASH}.*\N{EN DASH}.*\N{EN DASH}.*1")
    )


def test_a_row_of_the_table_leads_to_its_edge(page: Page) -> None:
    page.get_by_role("row").filter(has_text="30 pages").click()
    expect(page.locator(".edges .chosen h3")).to_have_text("growth=pages, memory-limit")
    expect(page.locator("#edge-1")).to_be_in_viewport()
    expect(page).to_have_url(re.compile("object=1"))


def test_a_ragged_edge_is_drawn_to_scale(page: Page) -> None:
    bars = page.locator("#edge-1 .stretch")
    assert [each.get_attribute("class") for each in bars.all()] == [
        f"stretch {'passes' if each.passes else 'fails'}" for each in RAGGED.edge.zone
    ]
    widths = [float(str(each.get_attribute("width"))) for each in bars.all()]
    sizes = [each.last - each.first + 1 for each in RAGGED.edge.zone]
    assert [round(width / widths[1], 3) for width in widths] == sizes
    expect(bars.nth(2).locator("title")).to_have_text("31 to 32: does not pass")
    expect(page.locator("#edge-1 .problem")).to_have_text(
        "Not monotone: it passes with 30, and fails with 31, 32, 69. From 70 on all that were tried pass."
    )


def test_what_stands_in_the_way_is_said_of_each(page: Page) -> None:
    expect(page.locator("#edge-0")).to_contain_text("With 3 pages:")
    expect(page.locator("#edge-1")).to_contain_text("With 29 pages:")
    expect(page.locator("#edge-2")).to_contain_text("Does not pass in 40 pages either:")
    expect(page.locator("#edge-0")).to_contain_text(f"asked for: {HTML}")
    assert page.locator("#edge-2 svg").count() == 0


def test_starts_are_drawn_against_the_limit(page: Page) -> None:
    tracks = page.locator("#start .track")
    assert [each.text_content() for each in tracks.locator(".name").all()] == [
        "the initial memory of 192 KiB ends at 96 MiB",
        "an initial memory of 256 KiB ends at 128 MiB",
    ]
    assert tracks.nth(0).locator(".mark.step").count() == 10
    titles = [str(each.text_content()).partition("\n")[2] for each in tracks.nth(0).locator("title").all()]
    assert titles[-3:] == ["96 MiB", "192 MiB", "128 MiB"], "the last size, what was refused, and the limit"


@pytest.mark.parametrize("width", [420, 1300])
def test_it_is_as_wide_as_the_window_and_no_labels_touch(open_page: OpenPage, tmp_path: Path, width: int) -> None:
    write_fit_page(SUBJECT, FITS, tmp_path / "fit.html", STARTS)
    page = open_page(tmp_path / "fit.html", width=width, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert touching_labels(page) == []


def test_a_trace_is_measured_in_blocks(open_page: OpenPage, tmp_path: Path) -> None:
    found = fit("next-fit conservative", Limit.BLOCKS, Edge(577, 577, (), (512, 576, 577, 578)), 16)
    write_fit_page(Subject(Path("lists.trace")), [found], tmp_path / "fit.html")
    page = open_page(tmp_path / "fit.html")
    expect(page.locator(".badge")).to_have_text("passes in 577 blocks")
    expect(page.locator("#survival title").first).to_have_text("next-fit conservative, heap\n512")
    assert page.locator("#start").count() == 0
