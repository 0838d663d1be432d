"""The report of a recording as one HTML page, which opens anywhere and asks no network for anything."""

from __future__ import annotations

from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, Final

from tinyheap.files import write_whole
from tinyheap.report.html.assembly import assembled
from tinyheap.report.html.data import PageData, page_data, shortened
from tinyheap.report.html.packing import pack
from tinyheap.report.sources import Sources

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tinyheap.recordings.recording import Recording

STEPS: Final = 4
"""In which the work of `write_page` is counted."""


def write_page(
    recording: Recording,
    path: Path,
    *,
    sources: Sources | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write the report of a recording as one HTML file, whole or not at all.

    Args:
        recording: What to report on.
        path: The file, which is replaced if it is there.
        sources: Source files to be shown with what their lines allocate, which become part of the page; None for none.
        progress: Told how many of `STEPS` are done.

    Raises:
        OutputError: The file cannot be written.
    """
    write_whole(path, page(recording, sources, progress=progress).encode("utf-8"))


def page(recording: Recording, sources: Sources | None = None, *, progress: Callable[[int], None] | None = None) -> str:
    """The page itself, as text; see `write_page`."""
    done = 0

    def tell() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done)

    data = page_data(recording, tell, sources or Sources())
    text = _filled(recording, data)
    tell()
    return text


def _filled(recording: Recording, data: PageData) -> str:
    """The page's code with the data."""
    name = PureWindowsPath(shortened(recording.run.module)).name
    containers = {
        "summary": pack(data.summary, data.summary_columns),
        "objects": pack(data.objects, data.object_columns),
    }
    return assembled("recording", f"{name}: heap of a run", containers)
