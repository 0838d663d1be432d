"""A sweep as one HTML page, which opens anywhere and asks no network for anything."""

from __future__ import annotations

from collections import defaultdict
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, Final

from tinyheap import __version__
from tinyheap.files import write_whole
from tinyheap.json_of import json_of
from tinyheap.lab.conditions import DEFAULT, Condition
from tinyheap.report.effects import sample_text, values_text
from tinyheap.report.html.assembly import assembled
from tinyheap.report.html.data import shortened
from tinyheap.report.html.lab_contents import LabEffect, LabRow, LabSummary, LabSurvival, LabTrial
from tinyheap.report.html.packing import pack
from tinyheap.units import WASM_PAGE_BYTES

if TYPE_CHECKING:
    from pathlib import Path

    from tinyheap.lab.effects import Effect
    from tinyheap.lab.outcome import Outcome
    from tinyheap.lab.sweeping import Sweep

SIZES: Final = ("heap-limit", "memory-limit", "initial-memory")
"""The dimensions by whose values the page shows where the program passes."""
_MEMORY_LIMIT: Final = "memory-limit"


def write_lab_page(sweep: Sweep, path: Path) -> None:
    """Write what there is to see of a sweep as one HTML file, whole or not at all.

    Args:
        sweep: Its outcomes.
        path: The file, which is replaced if it is there.

    Raises:
        OutputError: The file cannot be written.
    """
    write_whole(path, lab_page(sweep).encode("utf-8"))


def lab_page(sweep: Sweep) -> str:
    """The page itself, as text; see `write_lab_page`."""
    summary = lab_summary(sweep)
    name = PureWindowsPath(summary["module"]).name or "lab"
    return assembled("lab", f"{name}: under other conditions", {"summary": pack(summary, {})})


def lab_summary(sweep: Sweep) -> LabSummary:
    """What the page holds."""
    conditions = [Condition.from_text(each.condition) for each in sweep.outcomes]
    fixed = dict(word.removeprefix("--").partition("=")[::2] for word in sweep.subject.options)
    return {
        "module": shortened(str(sweep.subject.module)),
        "arguments": [shortened(each) for each in sweep.subject.arguments],
        "options": [shortened(each) for each in sweep.subject.options],
        "sample": sample_text(sweep),
        "rows": [
            _row(sweep, outcome, Condition.of({_MEMORY_LIMIT: fixed.get(_MEMORY_LIMIT, DEFAULT), **dict(each.values)}))
            for outcome, each in zip(sweep.outcomes, conditions, strict=True)
        ],
        "effects": [] if sweep.sample is None else [_effect(each) for each in sweep.effects()],
        "survivals": _survivals(sweep, conditions),
        "differences": [
            {"condition": each.condition, "name": each.name, "first": str(each.first), "second": str(each.second)}
            for each in sweep.differences
        ],
        "was_repeated": bool(sweep.repeated),
        "tinyheap_version": __version__,
    }


def _row(sweep: Sweep, outcome: Outcome, condition: Condition) -> LabRow:
    limit = condition.value(_MEMORY_LIMIT)
    return {
        "outcome": {**json_of(outcome), "evidence": [shortened(each) for each in outcome.evidence]},
        "passed": outcome.passed,
        "changes_output": sweep.changes_output(outcome),
        "limit_bytes": None if limit == DEFAULT else int(limit),
    }


def _effect(effect: Effect) -> LabEffect:
    pages = effect.memory_pages
    return {
        "option": effect.option,
        "values": values_text(effect),
        "conditions": effect.conditions,
        "passed": effect.passed,
        "peak_bytes": effect.peak_bytes,
        "memory_bytes": None if pages is None else pages * WASM_PAGE_BYTES,
        "longest_pause_ns": effect.longest_pause_ns,
    }


def _survivals(sweep: Sweep, conditions: list[Condition]) -> list[LabSurvival]:
    """Conditions that differ in one size alone, together."""
    found: dict[tuple[str, str], dict[int, bool]] = defaultdict(dict)
    for outcome, condition in zip(sweep.outcomes, conditions, strict=True):
        for limit in SIZES:
            if (size := condition.value(limit)) != DEFAULT:
                found[str(condition.changed(limit, DEFAULT)), limit][int(size)] = outcome.passed
    return [
        LabSurvival(
            condition=rest,
            limit=limit,
            trials=[LabTrial(size_bytes=size, passed=trials[size]) for size in sorted(trials)],
        )
        for (rest, limit), trials in found.items()
        if len(trials) > 1
    ]
