"""Source lines on the page: a table, the text beside what is allocated, and places in stacks and sites."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from playwright.sync_api import Page, expect

from small_recordings import Rows, opened
from tinyheap.report.html.page import write_page
from tinyheap.report.sources import Sources

OpenPage = Callable[..., Page]
HOSTILE = "return `</script><script>document.title='out'</script>` // {}"


def made() -> Rows:
    rows = Rows()
    stack = rows.path("main.main", "store.New")
    rows.frames[0] = replace(rows.frames[0], file="main.go", line=7, code_offset=-1)
    rows.frames[1] = replace(rows.frames[1], file="store.go", line=2, inlined=True)
    rows.allocate(100, stack)
    rows.allocate(28, stack)
    return rows


def test_lines_are_a_table_with_the_text_beside(open_page: OpenPage, tmp_path: Path) -> None:
    (tmp_path / "store.go").write_text(f"func New() string {{\n\t{HOSTILE}\n}}\n")
    with opened(made()) as recording:
        write_page(recording, tmp_path / "page.html", sources=Sources([tmp_path]))
    page = open_page(tmp_path / "page.html")
    expect(page.get_by_role("grid", name="Source lines")).to_contain_text("store.go:2")
    listing = page.get_by_role("table", name="store.go")
    expect(listing.get_by_role("row")).to_have_count(4)
    expect(listing.get_by_role("row").nth(2)).to_contain_text("128 B")
    expect(listing.get_by_role("row").nth(2)).to_contain_text(HOSTILE)
    assert page.title() != "out"
    expect(page.get_by_role("grid", name="Allocation sites")).to_contain_text("store.go:2")


def test_without_sources_the_page_says_how_to_get_them(open_page: OpenPage, tmp_path: Path) -> None:
    with opened(made()) as recording:
        write_page(recording, tmp_path / "page.html")
    page = open_page(tmp_path / "page.html")
    expect(page.locator("#lines")).to_contain_text("--source FOLDER")


def test_without_lines_the_page_says_why(open_page: OpenPage, tmp_path: Path) -> None:
    rows = Rows()
    rows.allocate(8, rows.path("main.main"))
    with opened(rows) as recording:
        write_page(recording, tmp_path / "page.html")
    page = open_page(tmp_path / "page.html")
    expect(page.locator("#lines")).to_contain_text("No source line is known")
    expect(page.get_by_role("grid", name="Allocation sites")).to_contain_text("Call at")
