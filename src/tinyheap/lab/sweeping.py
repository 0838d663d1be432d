"""A sweep: programs under many conditions, each run once, and one condition of each program twice.

That one shows whether the program is deterministic, without which outcomes cannot be compared.  Outcomes are kept as they
come, in a file where one is named; a sweep that was interrupted goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from tinyheap._loading import library_for
from tinyheap.errors import LabError, SweepFileError
from tinyheap.files import text_of
from tinyheap.lab.clusters import local_processes
from tinyheap.lab.conditions import DEFAULT, DIMENSIONS, Condition, program_of
from tinyheap.lab.data_frames import columns_of, frame_of
from tinyheap.lab.effects import Effect, effects_of
from tinyheap.lab.grids import Grid, Sample
from tinyheap.lab.outcome import OUTPUT, Outcome, OutcomeDifference, differences
from tinyheap.lab.running import Subject, Workers
from tinyheap.lab.sweep_file import SweepFile
from tinyheap.results import Result

if TYPE_CHECKING:
    from collections.abc import Generator

    from distributed import Client

    from tinyheap.lab.running import Task
    from tinyheap.recordings.rows import Rows


@dataclass(frozen=True)
class Sweep(Result):
    """The outcomes of a sweep, in the order of its conditions."""

    subject: Subject
    outcomes: tuple[Outcome, ...]
    repeated: tuple[Outcome, ...]
    """The second run of each program, under the first of its conditions."""
    sample: Sample | None = None
    """How the conditions were drawn from a grid; None where they are all that were wanted."""

    @property
    def differences(self) -> tuple[OutcomeDifference, ...]:
        """What the two runs of a program under one condition do not share; nothing where programs are deterministic."""
        first = {each.condition: each for each in self.outcomes}
        pairs = ((first[each.condition], each) for each in self.repeated if each.condition in first)
        return tuple(found for pair in pairs for found in differences(*pair))

    def changes_output(self, outcome: Outcome) -> bool:
        """Whether the program came to its end and wrote something else than under the first condition where it did.

        That of a program which writes something else each time is no condition's doing, so that it is False.
        """
        program = program_of(outcome.condition)
        return outcome.passed and program not in self._unstable and outcome.output_sha256 != self._outputs[program]

    def effects(self) -> tuple[Effect, ...]:
        """What each option does of which there are several values, whatever the others were: groups of outcomes compared."""
        return effects_of(self.outcomes)

    def frame(self) -> Rows:
        """A row for each outcome; `Rows` has them as data frames.

        The columns are the fields of `Outcome`, ``passed`` and ``changes_output``; and what conditions choose, a column each
        that is named as the option, with underscores: ``growth``, ``heap_limit``.  NULL is an option that is left out.
        """
        conditions = [Condition.from_text(each.condition) for each in self.outcomes]
        chosen = {name for each in conditions for name, _ in each.values}
        varied = {name: each for name, each in DIMENSIONS.items() if name in chosen}
        columns = {name.replace("-", "_"): "BIGINT" if each.is_number else "VARCHAR" for name, each in varied.items()}
        own = columns_of(Outcome)
        rows = (
            [
                *(getattr(outcome, name) for name in own),
                outcome.passed,
                self.changes_output(outcome),
                *(None if (value := condition.value(name)) == DEFAULT else value for name in varied),
            ]
            for outcome, condition in zip(self.outcomes, conditions, strict=True)
        )
        return frame_of("outcomes", {**own, "passed": "BOOLEAN", "changes_output": "BOOLEAN", **columns}, rows)

    @cached_property
    def _outputs(self) -> dict[tuple[str, str], str | None]:
        """What each program wrote under the first condition where it passed."""
        passed = (each for each in reversed(self.outcomes) if each.passed)
        return {program_of(each.condition): each.output_sha256 for each in passed}

    @cached_property
    def _unstable(self) -> frozenset[tuple[str, str]]:
        """The programs that wrote something else when they were run again under the same condition."""
        return frozenset(program_of(each.condition) for each in self.differences if each.name == OUTPUT)


def sweep(
    subject: Subject,
    conditions: Sequence[Condition],
    *,
    file: str | Path | None = None,
    jobs: int = 1,
    cluster: str | Client | None = None,
    told: Callable[[Outcome], object] | None = None,
) -> Sweep:
    """Run a program under each of some conditions, which may choose other modules and inputs for it.

    Args:
        subject: The program.
        conditions: At least one, none twice: those of `grid`, all or a sample, or any others.
        file: Where outcomes are kept; those that it has already are taken from there.  None to keep them nowhere.
        jobs: How many runs may go on at the same time, from 1; more than one makes pauses longer.
        cluster: A Dask cluster that makes the runs instead, as many at a time as it has threads: the address of its scheduler,
            ``local`` or ``local:N`` for one of N processes on this machine, or a client.  It needs the extra `cluster`.
        told: Called with each outcome as it comes, those of the file first.

    Raises:
        SweepFileError: The file cannot be used, or holds something else.
        InputError: A module or an input cannot be read.
        ClusterError: The cluster cannot be used, was lost, or has no workers any more; the file has what was done until then.
        LabError: Both `jobs` and a cluster are chosen, or no cluster is named so.
    """
    if cluster is not None and jobs != 1:
        raise LabError("jobs and a cluster exclude each other: it makes as many runs at a time as it has threads")
    if isinstance(cluster, str):
        local_processes(cluster)
    tasks = [
        *((condition, 1) for condition in conditions),
        *((condition, 2) for condition in first_of_each(conditions)),
    ]
    sample = conditions.sample if isinstance(conditions, Grid) else None
    with SweepFile(None if file is None else Path(file), subject) as kept:
        kept.admit(subject.files_of(conditions))
        known = kept.outcomes()
        kept.note(sample)
        found = {key: known[key] for key in ((str(condition), run) for condition, run in tasks) if key in known}
        missing = [(condition, run) for condition, run in tasks if (str(condition), run) not in known]
        tell = told or (lambda _: None)
        for outcome in found.values():
            tell(outcome)
        with closing(_run_all(subject, missing, jobs, cluster)) as batches:
            for outcomes in batches:
                kept.put(outcomes)
                for outcome in outcomes:
                    found[outcome.condition, outcome.run] = outcome
                    tell(outcome)
    results = tuple(found[str(condition), run] for condition, run in tasks)
    return Sweep(subject, results[: len(conditions)], results[len(conditions) :], sample)


def read_sweep(file: str | Path) -> Sweep:
    """The sweep that a file holds, as far as it went, in the order in which its outcomes came; nothing is run.

    Raises:
        SweepFileError: There is no such file, or it holds something else, or no outcome yet.
    """
    with SweepFile(Path(file), None) as kept:
        found, subject, sample = kept.outcomes(), kept.subject(), kept.sample()
    first, repeated = (tuple(outcome for (_, run), outcome in found.items() if run == wanted) for wanted in (1, 2))
    if not first:
        raise SweepFileError(f"{text_of(file)}: holds no outcome yet; let the sweep go on")
    return Sweep(subject, first, repeated, sample)


def first_of_each(conditions: Iterable[Condition]) -> tuple[Condition, ...]:
    """The first condition of each program."""
    found: dict[tuple[str, str], Condition] = {}
    for condition in conditions:
        found.setdefault(condition.program, condition)
    return tuple(found.values())


def _run_all(
    subject: Subject, tasks: Sequence[Task], jobs: int, cluster: str | Client | None
) -> Generator[list[Outcome], None, None]:
    """The outcomes of some runs, those together that came together; whatever closes the iterator stops the runs."""
    if cluster is None or not tasks:
        return _run_here(subject, tasks, jobs)
    with library_for("A sweep on a cluster"):
        from tinyheap.lab.cluster import run_on

    return run_on(cluster, subject, tasks)


def _run_here(subject: Subject, tasks: Iterable[Task], jobs: int) -> Generator[list[Outcome], None, None]:
    """Runs by processes of this one, each with a thread that waits for it."""
    workers, waiting = Workers(), iter(tasks)
    with ThreadPoolExecutor(jobs) as threads:

        def begun(count: int) -> set[Future[Outcome | None]]:
            return {threads.submit(workers.run, subject, *task) for task in islice(waiting, count)}

        try:
            running = begun(jobs)
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                running |= begun(len(done))
                if outcomes := [outcome for each in done if (outcome := each.result()) is not None]:
                    yield outcomes
        finally:
            workers.stop()
