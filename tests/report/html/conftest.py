"""A real browser for the tests of the HTML report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from browser_fixtures import Launch
from tinyheap.units import KIB

# Libraries are imported in the fixtures: where one is missing, tests can be skipped, a conftest cannot.
if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tinyheap.recordings.recording import Recording

OpenPage = Callable[..., "Page"]
Scheme = Literal["light", "dark"]


@pytest.fixture(scope="module")
def browser(launch: Launch) -> Browser:
    return launch()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens a page file and waits until all is there.  Nothing may be complained of, nothing else be asked for."""
    complaints: list[str] = []
    requests: list[str] = []
    contexts = []

    def opened(
        file: Path,
        fragment: str = "",
        width: int = 1300,
        color_scheme: Scheme = "light",
        ready: str = "html[data-objects]",
    ) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=color_scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(file.as_uri() + fragment)
        page.wait_for_selector(ready, state="attached")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []
    others = [url for url in requests if not url.startswith("blob:")]  # a page's own threads
    assert {url.partition("#")[0].rpartition(".")[2] for url in others} <= {"html"}, "a page is all there is"


@pytest.fixture(scope="session")
def recording_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording with leaks, growths, collections and a deep recursion, whose heap has more blocks than the map cells."""
    import recordings_made

    shape = recordings_made.Shape(events=6000, heap_bytes=256 * KIB)
    return recordings_made.make_recording(tmp_path_factory.mktemp("web") / "made.tinyheap", shape=shape)


@pytest.fixture(scope="session")
def recording(recording_file: Path) -> Iterator[Recording]:
    from tinyheap.recordings.recording import Recording

    with Recording.open(recording_file) as opened:
        yield opened


@pytest.fixture(scope="session")
def page_file(recording: Recording, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of `recording`."""
    from tinyheap.report.html.page import write_page

    file = tmp_path_factory.mktemp("page") / "report.html"
    write_page(recording, file)
    return file


@pytest.fixture
def page(open_page: OpenPage, page_file: Path) -> Page:
    """The report, opened."""
    return open_page(page_file)
