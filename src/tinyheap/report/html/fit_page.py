"""What `tinyheap fit` found as one HTML page, which opens anywhere and asks no network for anything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING

from tinyheap import __version__
from tinyheap.files import write_whole
from tinyheap.json_of import json_of
from tinyheap.report.html.assembly import assembled
from tinyheap.report.html.data import shortened
from tinyheap.report.html.fit_contents import FitRow, FitSummary, FitTrial
from tinyheap.report.html.packing import pack

if TYPE_CHECKING:
    from pathlib import Path

    from tinyheap.lab.edges import Edge
    from tinyheap.lab.fitting import Fit
    from tinyheap.lab.running import Subject
    from tinyheap.lab.starts import Start


def write_fit_page(subject: Subject, fits: Sequence[Fit], path: Path, starts: Sequence[Start] = ()) -> None:
    """Write what was found as one HTML file, whole or not at all.

    Args:
        subject: Which program it was; or the file of a trace as its module.
        fits: What was found, one at least, all of a program or all of a trace.
        path: The file, which is replaced if it is there.
        starts: The initial memory, and better ones, under the memory limit of all runs.

    Raises:
        OutputError: The file cannot be written.
    """
    write_whole(path, fit_page(subject, fits, starts).encode("utf-8"))


def fit_page(subject: Subject, fits: Sequence[Fit], starts: Sequence[Start] = ()) -> str:
    """The page itself, as text; see `write_fit_page`."""
    summary = fit_summary(subject, fits, starts)
    name = PureWindowsPath(summary["module"]).name or "fit"
    return assembled("fit", f"{name}: how small", {"summary": pack(summary, {})})


def fit_summary(subject: Subject, fits: Sequence[Fit], starts: Sequence[Start] = ()) -> FitSummary:
    """What the page holds."""
    return {
        "module": shortened(str(subject.module)),
        "arguments": [shortened(each) for each in subject.arguments],
        "options": [shortened(each) for each in subject.options],
        "unit": fits[0].unit,
        "unit_bytes": fits[0].unit_bytes,
        "rows": [_row(each) for each in fits],
        "starts": [json_of(each) for each in starts],
        "tinyheap_version": __version__,
    }


def _row(fit: Fit) -> FitRow:
    edge = fit.edge
    return {
        "condition": fit.condition,
        "limit": fit.limit,
        "smallest": edge.smallest,
        "smallest_bytes": fit.smallest_bytes,
        "safe_from": edge.safe_from,
        "failing_above": [*edge.failing_above],
        "tried": len(edge.tried),
        "trials": [FitTrial(size=size, passed=passed) for size, passed in telling_trials(edge)],
        "zone": [json_of(each) for each in edge.zone],
        "below": fit.obstacle_at,
        "obstacle": [shortened(each) for each in fit.obstacle],
    }


def telling_trials(edge: Edge) -> list[tuple[int, bool]]:
    """Sizes that were tried, and whether they pass: of a stretch without gap the first and the last."""
    answers = edge.answers
    return [
        (size, passes)
        for size, passes in answers.items()
        if answers.get(size - 1) is not passes or answers.get(size + 1) is not passes
    ]
