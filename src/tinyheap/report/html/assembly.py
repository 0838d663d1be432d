"""Puts a page together that opens anywhere and asks no network for anything: its code and its data, in one file.

The code is built from `web/` and lies in `page/`, in a folder for each page: a script, a style sheet and the licenses of the
libraries that are in the script.  No data is ever part of HTML but through base64 (the title apart, which is escaped); and
the page's policy lets run, by its hash, this very script alone.
"""

from __future__ import annotations

import base64
import hashlib
import html
from importlib import resources
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

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
{data}
<script>{script}</script>
</body>
</html>
"""


def assembled(page: str, title: str, data: Mapping[str, str], *, runs_modules: bool = False) -> str:
    """The whole page.

    Args:
        page: Which one, a folder of `page/`.
        title: For the browser's tab.
        data: What `packing.pack` made, by the ids that the page's code reads.
        runs_modules: Whether it runs WebAssembly, and workers with code of its own.
    """
    script, style = _asset(page, "page.js"), _asset(page, "page.css")
    scripts = (f'<script type="text/plain" id="{name}">{container}</script>' for name, container in data.items())
    return _PAGE.format(
        policy=_policy(script, style, runs_modules=runs_modules),
        title=html.escape(title),
        icon=_ICON,
        style=style,
        licenses=_asset(page, "licenses.txt"),
        data="\n".join(scripts),
        script=script,
    )


def _policy(script: str, style: str, *, runs_modules: bool) -> str:
    """What the page may do: run this script, and nothing that comes from elsewhere."""
    scripts, workers = (" 'wasm-unsafe-eval'", "blob:") if runs_modules else ("", "'none'")
    return (
        f"default-src 'none'; script-src '{_hash(script)}'{scripts}; worker-src {workers}; style-src '{_hash(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _asset(page: str, name: str) -> str:
    return resources.files("tinyheap.report").joinpath("page", page, name).read_text(encoding="utf-8")


def _hash(code: str) -> str:
    """A script or style as a policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(code.encode()).digest()).decode("ascii")
