"""A budget held against a recording.

What is not known is not within the budget: a limit that nothing was measured for would pass whatever the program does.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

from tinyheap.budgets.kept import KeptMeasurements
from tinyheap.budgets.measuring import Measurement, measure
from tinyheap.errors import BudgetError
from tinyheap.files import beginning_of, text_of
from tinyheap.recordings.place import begins_as_recording
from tinyheap.recordings.recording import Recording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tinyheap.budgets.budget import Budget, BudgetLimit
    from tinyheap.budgets.quantities import Quantity

_MODULE: Final = b"\0asm"
Baseline: TypeAlias = Recording | KeptMeasurements
"""What percentages are of: another recorded run, or what is kept of one."""


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
    after: int = 0
    """How many calls came before those that garbage and growth per call are of."""

    @property
    def passed(self) -> bool:
        """Whether the run passed, and everything is within the budget."""
        return self.failure is None and all(each.verdict is CheckVerdict.WITHIN for each in self.checks)


def check(recording: Recording, budget: Budget, baseline: Baseline | None = None) -> Checks:
    """A recording, held against a budget.

    Args:
        recording: Of the run.
        budget: What it may take.
        baseline: What percentages are of; the one that the budget names if None.

    Raises:
        BudgetError: A limit is a percentage, and there is no baseline; or the one that the budget names cannot be read, or is
            a module, which has to be run first.
        RecordingError: The recording that the budget names as its baseline cannot be read.
        RecordingCorruptError: A recording contradicts itself.
    """
    measured = measure(recording, [each.quantity for each in budget.limits], after=budget.after)
    with baseline_of(budget) if baseline is None else nullcontext(baseline) as of:
        compared = _compared(of, budget)
    pairs = zip(budget.limits, measured, strict=True)
    checks = tuple(_checked(limit, measurement, compared.get(limit.quantity)) for limit, measurement in pairs)
    return Checks(recording.run.module, failure_of(recording), checks, budget.after)


def _compared(baseline: Baseline | None, budget: Budget) -> dict[Quantity, Measurement]:
    """The baseline's, of all quantities whose limits are percentages of it."""
    if isinstance(baseline, Recording):
        found = measure(baseline, budget.relative, after=budget.after)
    else:
        found = () if baseline is None else baseline.measure(budget.relative, after=budget.after)
    return {each.quantity: each for each in found}


def _checked(limit: BudgetLimit, measurement: Measurement, baseline: Measurement | None) -> Check:
    return Check(measurement, limit, limit.most_for(None if baseline is None else baseline.value), baseline)


@contextmanager
def baseline_of(
    budget: Budget, path: Path | None = None, run: Callable[[Path], AbstractContextManager[Recording]] | None = None
) -> Iterator[Baseline | None]:
    """What a budget's percentages are of; None where there are none.

    Args:
        budget: The budget.
        path: A recording, a module, or the JSON of an earlier run; the one that the budget names if None.
        run: Runs a module as the one was that is checked; None where that cannot be done.

    Raises:
        BudgetError: There are percentages and no baseline; or it cannot be read, or is a module and there is no `run`.
        RecordingError: It is a recording, and cannot be read.
    """
    path = budget.baseline if path is None else path
    if not budget.relative:
        yield None
        return
    if path is None:
        raise BudgetError(
            f"{budget.relative[0]} is a percentage, and there is no baseline that it is of: name a recording, a module or a "
            'run\'s JSON in the budget (baseline = "FILE"), or with --against'
        )
    if begins_as_recording(path):
        opened: AbstractContextManager[Baseline] = Recording.open(path)
    elif not is_module(path):
        opened = nullcontext(KeptMeasurements.read(path))
    elif run is not None:
        opened = run(path)
    else:
        raise BudgetError(
            f"baseline {text_of(path)}: is a module, and is run only where the one that is checked is run, too: name a "
            "recording or a run's JSON"
        )
    with opened as baseline:
        yield baseline


def is_module(path: Path) -> bool:
    """Whether a baseline is a module, which has to be run first."""
    return beginning_of(path, len(_MODULE)) == _MODULE


def failure_of(of: Baseline) -> str | None:
    """Why a run did not pass, a phrase; None where it did."""
    if isinstance(of, KeptMeasurements):
        return of.failure
    if of.run.ends_early is not None:
        return f"{text_of(of.path)}: {of.run.ends_early}"
    if of.run.error is not None:
        return of.run.error
    return None if not of.run.exit_code else f"the program ended with exit code {of.run.exit_code}"
