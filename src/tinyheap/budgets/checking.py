"""A budget held against a recording.

What is not known is not within the budget: a limit that nothing was measured for would pass whatever the program does.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from tinyheap.budgets.measuring import Measurement, measure
from tinyheap.errors import BudgetError
from tinyheap.files import text_of
from tinyheap.recordings.recording import Recording

if TYPE_CHECKING:
    from pathlib import Path

    from tinyheap.budgets.budget import Budget, BudgetLimit
    from tinyheap.budgets.quantities import Quantity


class CheckVerdict(StrEnum):
    """What became of a limit."""

    WITHIN = "within"
    OVER = "over"
    UNKNOWN = "unknown"
    """Nothing was measured, or nothing in the baseline that it is a percentage of."""


@dataclass(frozen=True, slots=True)
class Check:
    """A limit, and what was measured."""

    measurement: Measurement
    limit: BudgetLimit
    most: float | None
    """What is allowed, in the unit of the quantity; None where that takes a baseline in which it is not known."""
    baseline: Measurement | None
    """The baseline's; None where the limit needs none."""

    @property
    def verdict(self) -> CheckVerdict:
        """Within, over, or unknown."""
        if self.measurement.value is None or self.most is None:
            return CheckVerdict.UNKNOWN
        return CheckVerdict.OVER if self.measurement.value > self.most else CheckVerdict.WITHIN

    @property
    def unknown(self) -> str | None:
        """Why the verdict is unknown, a phrase; None where it is not."""
        if self.measurement.unknown is not None or self.baseline is None or self.baseline.unknown is None:
            return self.measurement.unknown
        return f"in the baseline: {self.baseline.unknown}"

    @property
    def excess(self) -> float | None:
        """By how much it is over, in the unit of the quantity; None where it is not."""
        if self.measurement.value is None or self.most is None or self.verdict is not CheckVerdict.OVER:
            return None
        return self.measurement.value - self.most


@dataclass(frozen=True, slots=True)
class Checks:
    """A recorded run, held against a budget."""

    subject: str
    """The module that ran."""
    failure: str | None
    """Why the run itself did not pass, a phrase: an error, an exit code, an end that was not written; None where it passed."""
    checks: tuple[Check, ...]
    """In the order of the budget."""

    @property
    def passed(self) -> bool:
        """Whether the run passed, and everything is within the budget."""
        return self.failure is None and all(each.verdict is CheckVerdict.WITHIN for each in self.checks)


def check(recording: Recording, budget: Budget, baseline: Recording | None = None) -> Checks:
    """A recording, held against a budget.

    Args:
        recording: Of the run.
        budget: What it may take.
        baseline: What percentages are of; the one that the budget names if None.

    Raises:
        BudgetError: A limit is a percentage, and there is no baseline.
        RecordingError: The baseline that the budget names cannot be read.
        RecordingCorruptError: A recording contradicts itself.
    """
    measured = measure(recording, [each.quantity for each in budget.limits], after=budget.after)
    compared: dict[Quantity, Measurement] = {}
    with ExitStack() as stack:
        if baseline is None and (opened := open_baseline(budget)) is not None:
            baseline = stack.enter_context(opened)
        if baseline is not None:
            relative = [each.quantity for each in budget.limits if each.tolerance is not None]
            compared = {each.quantity: each for each in measure(baseline, relative, after=budget.after)}
    pairs = zip(budget.limits, measured, strict=True)
    checks = tuple(_checked(limit, measurement, compared.get(limit.quantity)) for limit, measurement in pairs)
    return Checks(recording.run.module, failure_of(recording), checks)


def _checked(limit: BudgetLimit, measurement: Measurement, baseline: Measurement | None) -> Check:
    return Check(measurement, limit, limit.most_for(None if baseline is None else baseline.value), baseline)


def open_baseline(budget: Budget, path: Path | None = None) -> Recording | None:
    """The recording that a budget's percentages are of, to be closed by the caller; None where there are none.

    Args:
        budget: The budget.
        path: The recording; the one that the budget names if None.

    Raises:
        BudgetError: There are percentages, and no baseline.
        RecordingError: It cannot be read.
    """
    relative = [each.quantity for each in budget.limits if each.tolerance is not None]
    path = budget.baseline if path is None else path
    if not relative:
        return None
    if path is None:
        raise BudgetError(
            f"{relative[0]} is a percentage, and there is no baseline that it is of: name a recording in the budget "
            '(baseline = "FILE"), or with --against'
        )
    return Recording.open(path)


def failure_of(recording: Recording) -> str | None:
    """Why a recorded run did not pass, a phrase; None where it did."""
    run = recording.run
    if run.ends_early is not None:
        return f"{text_of(recording.path)}: {run.ends_early}"
    if run.error is not None:
        return run.error
    return None if not run.exit_code else f"the program ended with exit code {run.exit_code}"
