"""How results show in a notebook: HTML that carries its style with it, and no script.

A result with a picture (`charts`) shows that; any other shows what the terminal would, through rich.  All text of the
recording is escaped.
"""

from __future__ import annotations

import io
from typing import Final

from rich.console import Console

from tinyheap.report.profiles import renderable_of

_WIDTH: Final = 120
_FORMAT: Final = '<pre style="line-height:1.25;font-family:monospace;white-space:pre;overflow-x:auto">{code}</pre>'


def html_of(result: object) -> str:
    """A result of `tinyheap.profile` as HTML."""
    console = Console(record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True, legacy_windows=False)
    console.print(renderable_of(result))
    return console.export_html(code_format=_FORMAT, inline_styles=True)
