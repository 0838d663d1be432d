"""The report of a recording as one HTML page, which opens anywhere and asks no network for anything.

The page's code is built from `web/` and lies in `page/`: a script, a style sheet and the licenses of the libraries that
are in the script.  Here it becomes one file with the recording's data.  Nothing of a recording is ever part of HTML but
through base64 (the title apart, which is escaped); and the page's policy lets run, by its hash, this very script alone.
"""

from __future__ import annotations

import base64
import hashlib
import html
from importlib import resources
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, Final

from tinyheap.files import write_whole
from tinyheap.report.html.data import PageData, page_data, shortened
from tinyheap.report.html.packing import pack
from tinyheap.report.sources import Sources

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tinyheap.recordings.recording import Recording

STEPS: Final = 4
"""In which the work of `write_page` is counted."""

# Four blocks of a heap, as the browser's tab shows them.
_ICON: Final = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Cpath fill='%23c2410c' d='M1 1h6v14H1z'/%3E%3Cpath fill='%23f0a67c' d='M9 1h6v6H9z'/%3E"
    "%3Cpath fill='%23bbb' d='M9 9h6v6H9z'/%3E%3C/svg%3E"
)

_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="{icon}">
<style>{style}</style>
</head>
<body>
<div id="page"><noscript>This page shows a heap by a script of its own; please allow it to run.</noscript></div>
<script type="text/plain" id="licenses">{licenses}</script>
<script type="text/plain" id="summary">{summary}</script>
<script type="text/plain" id="objects">{objects}</script>
<script>{script}</script>
</body>
</html>
"""


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
    """The template with the code and the data in it."""
    script, style = _asset("page.js"), _asset("page.css")
    name = PureWindowsPath(shortened(recording.run.module)).name
    return _PAGE.format(
        policy=f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'",
        title=html.escape(f"{name}: heap of a run"),
        icon=_ICON,
        style=style,
        licenses=_asset("licenses.txt"),
        summary=pack(data.summary, data.summary_columns),
        objects=pack(data.objects, data.object_columns),
        script=script,
    )


def _asset(name: str) -> str:
    return resources.files("tinyheap.report").joinpath("page", name).read_text(encoding="utf-8")


def _hash(code: str) -> str:
    """A script or style as a policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(code.encode()).digest()).decode("ascii")
