"""A sweep: one program under many conditions, each run once, and one of them twice.

That one shows whether the program is deterministic, without which outcomes cannot be compared.  Outcomes are kept as they
come, in a file where one is named; a sweep that was interrupted goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from tinyheap.errors import SweepFileError
from tinyheap.files import text_of
from tinyheap.lab.conditions import Condition
from tinyheap.lab.outcome import Outcome, OutcomeDifference, differences
from tinyheap.lab.running import Subject, Workers
from tinyheap.lab.sweep_file import SweepFile

if TYPE_CHECKING:
    Task = tuple[Condition, int]


@dataclass(frozen=True, slots=True)
class Sweep:
    """The outcomes of a sweep, in the order of its conditions."""

    subject: Subject
    outcomes: tuple[Outcome, ...]
    repeated: Outcome | None
    """The second run under the first condition; None where a sweep was interrupted before it."""

    @property
    def differences(self) -> tuple[OutcomeDifference, ...]:
        """What the two runs under the first condition do not share; nothing where the program is deterministic."""
        repeated = self.repeated
        first = None if repeated is None else self._outcome(repeated.condition)
        return () if first is None or repeated is None else differences(first, repeated)

    def _outcome(self, condition: str) -> Outcome | None:
        return next((each for each in self.outcomes if each.condition == condition), None)

    def changes_output(self, outcome: Outcome) -> bool:
        """Whether the program came to its end and wrote something else than under the first condition where it did."""
        first = next((each for each in self.outcomes if each.passed), outcome)
        return outcome.passed and outcome.output_sha256 != first.output_sha256


def sweep(
    subject: Subject,
    conditions: Sequence[Condition],
    *,
    file: str | Path | None = None,
    jobs: int = 1,
    told: Callable[[Outcome], object] | None = None,
) -> Sweep:
    """Run a program under each of some conditions.

    Args:
        subject: The program.
        conditions: At least one, none twice (see `grid`).
        file: Where outcomes are kept; those that it has already are taken from there.  None to keep them nowhere.
        jobs: How many runs may go on at the same time, from 1; more than one makes pauses longer.
        told: Called with each outcome as it comes, those of the file first.

    Raises:
        SweepFileError: The file cannot be used, or holds something else.
        InputError: The module cannot be read.
    """
    tasks = [*((condition, 1) for condition in conditions), (conditions[0], 2)]
    with SweepFile(None if file is None else Path(file), subject) as kept:
        known = kept.outcomes()
        found = {key: known[key] for key in ((str(condition), run) for condition, run in tasks) if key in known}
        missing = [(condition, run) for condition, run in tasks if (str(condition), run) not in known]
        for outcome in chain(list(found.values()), _kept(kept, _run_all(subject, missing, jobs))):
            found[outcome.condition, outcome.run] = outcome
            if told is not None:
                told(outcome)
    ordered = tuple(found[str(condition), 1] for condition in conditions)
    return Sweep(subject, ordered, found[str(conditions[0]), 2])


def read_sweep(file: str | Path) -> Sweep:
    """The sweep that a file holds, as far as it went, in the order in which its outcomes came; nothing is run.

    Raises:
        SweepFileError: There is no such file, or it holds something else, or no outcome yet.
    """
    with SweepFile(Path(file), None) as kept:
        found, subject = kept.outcomes(), kept.subject()
    outcomes = tuple(outcome for (_, run), outcome in found.items() if run == 1)
    if not outcomes:
        raise SweepFileError(f"{text_of(file)}: holds no outcome yet; let the sweep go on")
    return Sweep(subject, outcomes, next((outcome for (_, run), outcome in found.items() if run == 2), None))


def _kept(file: SweepFile, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
    for outcome in outcomes:
        file.put(outcome)
        yield outcome


def _run_all(subject: Subject, tasks: Iterable[Task], jobs: int) -> Iterator[Outcome]:
    """The outcomes of some runs, as they come; whatever stops the iteration stops the runs."""
    workers, waiting = Workers(), iter(tasks)
    with ThreadPoolExecutor(jobs) as threads:

        def begun(count: int) -> set[Future[Outcome | None]]:
            return {threads.submit(workers.run, subject, *task) for task in islice(waiting, count)}

        try:
            running = begun(jobs)
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                running |= begun(len(done))
                yield from (outcome for outcome in (each.result() for each in done) if outcome is not None)
        finally:
            workers.stop()
