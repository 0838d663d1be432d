"""Debian's Chromium without its windows, driven by Playwright, for the tests that look at pages."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import pytest

import needs

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Playwright

Launch: TypeAlias = "Callable[..., Browser]"


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """Playwright, which a process can start only once at a time."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def launch(playwright: Playwright) -> Iterator[Launch]:
    """Launches a browser with the given switches; all are closed after a file's tests: one that idles works, too."""
    launched: list[Browser] = []

    def start(*switches: str) -> Browser:
        launched.append(
            playwright.chromium.launch(executable_path=needs.tool("chromium-headless-shell"), args=list(switches))
        )
        return launched[-1]

    yield start
    for browser in launched:
        browser.close()


MOST_WORK: Final = 5.0
"""What a page of a million objects may take to open, by the measure of `opened_with`; it takes half of it."""
_LOOP: Final = """() => {
  let x = 1;
  for (let i = 0; i < 1_000_000_000; i++) x = (Math.imul(x, 1103515245) + 12345) | 0;
  return x;
}"""


def opened_with(browser: Browser, open_page: Callable[[Path], Page], file: Path) -> tuple[Page, float]:
    """A page that is opened, and the work that this was, in rounds of a loop that takes this browser a second or two.

    Both are the processor's time of all its processes: what else the machine does, and how fast it is, changes both alike.
    """
    begun_s = processor_s(browser)
    page = open_page(file)
    opened_s = processor_s(browser)
    page.evaluate(_LOOP)
    return page, (opened_s - begun_s) / (processor_s(browser) - opened_s)


def processor_s(browser: Browser) -> float:
    """The seconds that the browser's processes have worked, those of the kernel for them included."""
    session = browser.new_browser_cdp_session()
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    ticks = 0
    for process in processes:
        # The name, in parentheses, may hold anything; user and system time are the 14th and 15th field.
        fields = Path(f"/proc/{process['id']}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
