"""Makes the pictures of the documentation: HTML pages of real runs, in light and in dark.

    python docs/pictures.py

It records gofmt 0.4.9 (which `make guests` installs) as it formats a file of Go's own library, and looks at the report
with Chromium, by Playwright; then at the page that runs it with both collectors.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, Literal

from playwright.sync_api import Browser, sync_playwright

from tinyheap import profile
from tinyheap.profile import HeapMoment, Unknown
from tinyheap.recordings.recording import Recording
from tinyheap.report.html.demo_page import demo_page
from tinyheap.report.html.page import write_page
from tinyheap.transplanting import perform

ROOT: Final = Path(__file__).resolve().parent.parent
PICTURES: Final = ROOT / "docs" / "pictures"
GOFMT: Final = ROOT / "tests/guests/node_modules/gofmt-0.4.9/gofmt.wasm"
GO_FILE: Final = Path("/usr/share/go-1.19/src/net/http/server.go")
WIDTH: Final = 1180
THEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")


def main() -> None:
    """Record, report, look."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page = Path(folder, "report.html")
        chosen = report(Path(folder, "gofmt.tinyheap"), page)
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        for theme in THEMES:
            look(chromium, page, theme, "heap", f"#object={chosen}")
            look(chromium, page, theme, "flame", "")
        demo = Path(folder, "demo.html")
        wasm = GOFMT.read_bytes()
        demo.write_text(demo_page(wasm, perform(wasm), name=GOFMT.name))
        for theme in THEMES:
            try_out(chromium, demo, theme)
        chromium.close()


def report(recording_file: Path, page: Path) -> int:
    """Write the report of a run, and return an object to look at: a large one that lives at the peak, counted from 0."""
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "tinyheap",
        "profile",
        GOFMT,
        "--output",
        recording_file,
        "--",
        GO_FILE,
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with Recording.open(recording_file) as recording:
        write_page(recording, page)
        fullest = profile.peak(recording)
        heap = None if isinstance(fullest, Unknown) else profile.heap_at(recording, event_id=fullest.event_id)
        assert isinstance(heap, HeapMoment), "gofmt's collector is replaced, so its heap is known"
        grown = [place for place, size_bytes in enumerate(heap.sizes_bytes) if 2000 < size_bytes < 5000]
        largest = int(heap.object_ids[grown[len(grown) // 2]])
        # The page lists objects by their births; allocations of no bytes are none.
        births = "FROM events WHERE kind = 0 AND object_id > 0"
        query = f"SELECT count(*) {births} AND id < (SELECT id {births} AND object_id = ?)"
        [(before,)] = recording.sql(query, [largest]).fetch(1)
    return int(before)


def look(chromium: Browser, page: Path, theme: Literal["light", "dark"], section: str, fragment: str) -> None:
    """Take a picture of one section."""
    tab = chromium.new_page(viewport={"width": WIDTH, "height": 1400}, color_scheme=theme, reduced_motion="reduce")
    tab.goto(page.as_uri() + fragment)
    tab.wait_for_selector("html[data-objects]", state="attached")
    # What stays on top of the window would lie over the section.
    tab.evaluate(
        "document.querySelector('.bar-top').hidden = document.querySelector('.bar-top').style.display = 'none'"
    )
    tab.locator(f"#{section}").screenshot(path=PICTURES / f"{section}-{theme}.png")
    tab.close()


def try_out(chromium: Browser, page: Path, theme: Literal["light", "dark"]) -> None:
    """Run both modules in the page of a demo, and take a picture of what comes of it."""
    tab = chromium.new_page(viewport={"width": WIDTH, "height": 1400}, color_scheme=theme, reduced_motion="reduce")
    tab.goto(page.as_uri())
    tab.get_by_role("button", name="Format it with both").click()
    tab.wait_for_selector("html[data-runs=done]", state="attached", timeout=120_000)
    # What lies between the times and the heaps is the text, twice.
    tab.evaluate(
        "for (const other of document.querySelectorAll('.bar-top, .page-head, #text, #outputs, footer')) other.remove()"
    )
    tab.locator("main").screenshot(path=PICTURES / f"demo-{theme}.png")
    tab.close()


if __name__ == "__main__":
    main()
