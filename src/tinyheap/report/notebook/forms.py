"""How results show in a notebook: HTML that carries its style with it, and no script.

A time line and a flame graph are pictures; any other result shows as it would in a terminal, those of the lab below their
pictures.  All text from outside is escaped.
"""

from __future__ import annotations

import io
from typing import Any, Final

from rich.console import Console, RenderableType

from tinyheap.lab.fitting import Fits
from tinyheap.lab.sweeping import Sweep
from tinyheap.profile import FlameGraph, TimeLine
from tinyheap.report.notebook.lab_svg import fits_svgs, sweep_svgs
from tinyheap.report.notebook.svg import flame_svg, time_line_svg
from tinyheap.report.terminal.inspection import heap_card
from tinyheap.report.terminal.lab_tables import FitTable, SweepTable
from tinyheap.report.terminal.results import renderable_of

_WIDTH: Final = 130
_FORMAT: Final = '<pre style="line-height:1.3;font-family:ui-monospace,monospace;overflow-x:auto">{code}</pre>'


def html_of(result: Any) -> str:  # noqa: ANN401 - any result
    """A result of `tinyheap.profile`, `tinyheap.inspect` or `tinyheap.lab` as HTML."""
    if isinstance(result, TimeLine):
        return time_line_svg(result)
    if isinstance(result, FlameGraph):
        return flame_svg(result)
    if isinstance(result, Sweep):
        return "".join(sweep_svgs(result)) + _as_in_terminal(SweepTable(result))
    if isinstance(result, Fits):
        return "".join(fits_svgs(result)) + _as_in_terminal(FitTable(result))
    return _as_in_terminal(heap_card(result) or renderable_of(result))


def _as_in_terminal(renderable: RenderableType) -> str:
    console = Console(record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True, legacy_windows=False)
    console.print(renderable)
    return console.export_html(code_format=_FORMAT, inline_styles=True)
