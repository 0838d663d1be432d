"""The page's view of calls, and the trends of sites: what the analyses say, in a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from small_recordings import Rows, known, opened, requests
from tinyheap import profile
from tinyheap.profile import HostCalls
from tinyheap.report.html.page import write_page

OpenPage = Callable[..., Page]
Show = Callable[[Rows], tuple[Page, HostCalls]]


@pytest.fixture
def shown(open_page: OpenPage, tmp_path: Path) -> Show:
    """Opens the page of a recording, and gives what is known of its calls."""

    def show(rows: Rows) -> tuple[Page, HostCalls]:
        with opened(rows) as recording:
            write_page(recording, tmp_path / "report.html")
            return open_page(tmp_path / "report.html"), known(profile.host_calls(recording))

    return show


def test_growth_is_said_first_and_leads_to_who_allocates(shown: Show) -> None:
    page, found = shown(requests(leak_from=1, is_lent=True))
    calls = page.get_by_role("region", name="Calls")
    expect(calls.locator(".verdict.grows")).to_contain_text("grows: 128 B a call since call 2, all of it allocated in")
    expect(page.get_by_role("navigation").get_by_role("link", name="Calls")).to_contain_text("1")
    growing = calls.get_by_role("table", name="What grows").get_by_role("row").nth(1)
    expect(growing).to_contain_text("+128 B")
    growing.get_by_role("button", name="main.alloc").click()
    expect(page.get_by_role("searchbox", name="Search functions")).to_have_value("main.alloc")
    lent = calls.get_by_role("grid", name="Lent to the host, the oldest")
    expect(lent.get_by_role("row").nth(1)).to_contain_text(str(found.lent.oldest[0].age_calls))
    expect(calls).to_contain_text("These are the oldest of them.")


def test_calls_are_shown_in_their_order_and_by_export(shown: Show) -> None:
    page, found = shown(requests())
    calls = page.get_by_role("region", name="Calls")
    expect(calls.locator(".verdict.flat")).to_contain_text("flat: 100 B of garbage a call, live size constant")
    expect(calls.locator(".spans rect")).to_have_count(len(found.spans))
    expect(calls.locator(".spans rect title").first).to_have_text("call 1: 100 B a call")
    calls.get_by_text("The same as a table").click()
    expect(calls.get_by_role("grid", name="Calls in their order")).to_contain_text("100 B")
    row = calls.get_by_role("grid", name="Calls by export").get_by_role("row").nth(1)
    expect(row).to_contain_text("handle")
    expect(row.get_by_role("gridcell").nth(1)).to_have_text("60")
    expect(calls).to_contain_text("Nothing that an export allocated for the host is left at the end.")


def test_too_few_calls_are_neither_good_nor_bad(shown: Show) -> None:
    page, _ = shown(requests(calls=18))
    expect(page.locator("#calls .verdict.unknown")).to_contain_text("too few to tell whether it grows")


@pytest.mark.slow
def test_a_program_that_runs_once_shows_nothing_of_it(page: Page) -> None:
    expect(page.locator("#leaks")).to_be_visible()
    expect(page.locator("#calls")).to_have_count(0)
    expect(page.get_by_role("navigation").get_by_role("link", name="Calls")).to_have_count(0)


def test_sites_have_their_trends(shown: Show) -> None:
    rows = Rows()
    table = rows.path("_start", "main.grow")
    for size_bytes in range(100, 1000, 100):
        birth = rows.allocate(size_bytes, table)
        rows.collect(*[each for each in rows.alive() if each is not birth])
    page, _ = shown(rows)
    trend = "one object, always replaced by a larger one, 100 to 900 bytes"
    expect(page.get_by_role("list", name="Trends").get_by_role("listitem")).to_contain_text(trend)
    expect(page.get_by_role("grid", name="Allocation sites")).to_contain_text(trend)
