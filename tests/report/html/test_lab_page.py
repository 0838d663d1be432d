"""The page of a sweep as its readers use it: what it says is what the outcomes say."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from page_labels import touching_labels
from tinyheap.lab import Outcome, Sample, Subject, Sweep
from tinyheap.report.html.lab_page import lab_summary, write_lab_page

OpenPage = Callable[..., Page]
HTML = "</script><script>document.title='out'</script><!--"
PAGE = 65536


def outcome(condition: str, ended: str = "finished", code: int = 0, output: str = "x", pages: int = 2) -> Outcome:
    return Outcome(
        condition, 1, ended, (f"because of {HTML}",), code, output, 10**9, 5, 500, 400, 300, 100_000, pages, 3,
        10**6 * pages, 2 * 10**6 * pages, 4 * 10**6 * pages, 10**7, 0.0, 0.5, None, 0.25, 64, (1, pages),
        None if code == 0 else 2 * pages,
    )  # fmt: skip


OUTCOMES = (
    outcome("memory-limit=131072", "out of memory", 137, pages=1),
    outcome("memory-limit=262144"),
    outcome("growth=pages memory-limit=131072"),
    outcome("growth=pages memory-limit=262144", output="y", pages=4),
    outcome("gc=leaking", pages=3),
)


@pytest.fixture
def sweep() -> Sweep:
    return Sweep(
        Subject(Path("folder/app.wasm"), ("file",), ("--seed=1", "--memory-limit=64MiB")), OUTCOMES, (OUTCOMES[0],)
    )


@pytest.fixture
def page(open_page: OpenPage, sweep: Sweep, tmp_path: Path) -> Page:
    write_lab_page(sweep, tmp_path / "lab.html")
    return open_page(tmp_path / "lab.html")


def test_survival_is_by_size_under_the_same_other_choices(sweep: Sweep) -> None:
    found = lab_summary(sweep)["survivals"]
    assert [(each["condition"], each["limit"]) for each in found] == [
        ("default", "memory-limit"),
        ("growth=pages", "memory-limit"),
    ]
    assert [(each["size_bytes"], each["passed"]) for each in found[0]["trials"]] == [(131072, False), (262144, True)]
    assert [row["limit_bytes"] for row in lab_summary(sweep)["rows"]] == [131072, 262144, 131072, 262144, 64 << 20]


def test_it_says_what_cannot_be_compared(page: Page) -> None:
    assert page.title() == "app.wasm: under other conditions"
    expect(page.locator(".badge")).to_have_text("does not pass under 1 of 5 conditions")
    expect(page.locator(".problem")).to_have_text(
        "The program writes something else under: growth=pages memory-limit=262144."
    )


def test_a_row_says_how_it_ended(page: Page) -> None:
    page.get_by_role("row").filter(has_text="out of memory").click()
    chosen = page.locator(".chosen-outcome")
    expect(chosen).to_contain_text("memory-limit=131072")
    expect(chosen).to_contain_text("out of memory, exit code 137")
    expect(chosen).to_contain_text(f"because of {HTML}")
    expect(page).to_have_url(re.compile("object=0"))


def test_the_table_sorts(page: Page) -> None:
    first = page.locator("[role=row][aria-rowindex='2']")
    expect(first).to_contain_text("256 KiB")
    page.get_by_role("columnheader", name="Condition").click()
    expect(first).to_contain_text("gc=leaking")


def test_a_point_for_each_condition_and_a_line_for_each_growth(page: Page) -> None:
    assert page.locator(".scatter .point").count() == len(OUTCOMES)
    assert page.locator(".scatter .mark.failed").count() == 1
    assert page.locator(".scatter .mark.changed").count() == 1
    assert page.locator("#survival .track").count() == 2
    assert page.locator("#growth .track").count() == len(OUTCOMES)
    assert page.locator("#growth .track .mark.refused").count() == 1
    assert page.locator("#growth .track .mark.limit").count() == len(OUTCOMES)


def test_a_sample_says_so_and_what_each_option_does(open_page: OpenPage, sweep: Sweep, tmp_path: Path) -> None:
    write_lab_page(replace(sweep, sample=Sample(5, 1234, 0, 1, "grid")), tmp_path / "lab.html")
    page = open_page(tmp_path / "lab.html", width=420)
    expect(page.locator(".sample")).to_have_text("A sample of 5 of 1,234 conditions (seed 0).")
    assert page.locator("#options tbody tr").all_inner_texts() == [
        "gc\tdefault\t3 of 4\t400 B\t128 KiB\t8 ms",
        "\tleaking\t1 of 1\t400 B\t192 KiB\t12 ms",
        "growth\tdefault\t2 of 3\t400 B\t128 KiB\t8 ms",
        "\tpages\t2 of 2\t400 B\t128 KiB\t8 ms",
        "memory-limit\tdefault\t1 of 1\t400 B\t192 KiB\t12 ms",
        "\t128 KiB\t1 of 2\t400 B\t128 KiB\t8 ms",
        "\t256 KiB\t2 of 2\t400 B\t128 KiB\t8 ms",
    ]
    assert page.evaluate("document.documentElement.scrollWidth") == 420


def test_all_of_a_grid_is_no_sample(page: Page) -> None:
    assert page.locator(".sample").count() == page.locator("#options").count() == 0


def test_another_pause_is_drawn_and_kept_in_the_link(page: Page) -> None:
    title = page.locator(".point").nth(1).locator("title")
    expect(title).to_have_text("memory-limit=262144\n128 KiB, 8 ms")
    page.get_by_text("50%", exact=True).first.click()
    page.locator("label").filter(has_text="50%").click()
    expect(title).to_have_text("memory-limit=262144\n128 KiB, 2 ms")
    expect(page).to_have_url(re.compile("pause=p50"))


@pytest.mark.parametrize("width", [400, 420, 1300])
def test_it_is_as_wide_as_the_window_and_no_labels_touch(
    open_page: OpenPage, sweep: Sweep, tmp_path: Path, width: int
) -> None:
    write_lab_page(sweep, tmp_path / "lab.html")
    page = open_page(tmp_path / "lab.html", width=width, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert touching_labels(page) == []


def test_outcomes_without_pauses_are_said(open_page: OpenPage, tmp_path: Path) -> None:
    native = Outcome("gc=native", 1, "finished", (), 0, "x", 5)
    write_lab_page(Sweep(Subject(Path("app.wasm")), (native,), ()), tmp_path / "lab.html")
    page = open_page(tmp_path / "lab.html")
    expect(page.locator("#pauses .empty")).to_contain_text("No condition has both")
    expect(page.locator(".note")).to_contain_text("No condition was run twice yet")
    assert page.locator("#growth").count() == page.locator("#survival").count() == 0
