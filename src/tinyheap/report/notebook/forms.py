"""How results show in a notebook: HTML that carries its style with it, and no script.

A time line and a flame graph are pictures; any other result shows as it would in a terminal.  All text of a recording is
escaped.
"""

from __future__ import annotations

import io
from typing import Any, Final

from rich.console import Console

from tinyheap.profile import FlameGraph, TimeLine
from tinyheap.report.notebook.svg import flame_svg, time_line_svg
from tinyheap.report.terminal.inspection import heap_card
from tinyheap.report.terminal.results import renderable_of

_WIDTH: Final = 130
_FORMAT: Final = '<pre style="line-height:1.3;font-family:ui-monospace,monospace;overflow-x:auto">{code}</pre>'


def html_of(result: Any) -> str:  # noqa: ANN401 - any result
    """A result of `tinyheap.profile` or `tinyheap.inspect` as HTML."""
    if isinstance(result, TimeLine):
        return time_line_svg(result)
    if isinstance(result, FlameGraph):
        return flame_svg(result)
    console = Console(record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True, legacy_windows=False)
    console.print(heap_card(result) or renderable_of(result))
    return console.export_html(code_format=_FORMAT, inline_styles=True)
