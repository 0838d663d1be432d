"""What the HTML page of a sweep is given: facts, which become JSON.

`lab_page` fills all of it in.  The page's code sees the same: `make generated` writes `web/src/lab/schema.ts` from here.
"""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

from tinyheap.lab.outcome import Outcome


class LabRow(TypedDict):
    """What became of the program under one condition."""

    outcome: Annotated[dict[str, Any], Outcome]
    passed: bool
    changes_output: bool
    """Whether the program wrote something else than under the first condition where it came to its end."""
    limit_bytes: int | None
    """What its linear memory could grow to; None where nothing but the address space ends it."""


class LabTrial(TypedDict):
    """Whether the program passed with one size."""

    size_bytes: int
    passed: bool


class LabSurvival(TypedDict):
    """Where the program passes, by size, under what else was chosen."""

    condition: str
    limit: str
    """What the sizes are of: an option."""
    trials: list[LabTrial]
    """By ascending size."""


class LabEffect(TypedDict):
    """What an option does, as far as a sample shows it: medians of the conditions that have these values and pass."""

    option: str
    values: str
    conditions: int
    passed: int
    peak_bytes: int | None
    memory_bytes: int | None
    longest_pause_ns: int | None


class LabDifference(TypedDict):
    """A statistic that two runs under the same condition do not share."""

    condition: str
    name: str
    first: str
    second: str


class LabSummary(TypedDict):
    """All of the facts."""

    module: str
    arguments: list[str]
    options: list[str]
    """Of all runs."""
    sample: str | None
    """Of what grid the conditions are a sample; None where they are none."""
    rows: list[LabRow]
    effects: list[LabEffect]
    """Where the conditions are a sample: of each option that varies."""
    survivals: list[LabSurvival]
    """One for each choice of everything else; none where no limit varies."""
    differences: list[LabDifference]
    """What two runs under one condition do not share; none where the program is deterministic."""
    was_repeated: bool
    """Whether there were two such runs."""
    tinyheap_version: str
