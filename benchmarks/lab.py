"""Measures sweeps of the lab on a Dask cluster of this machine: a table, then one JSON line a row.

*Scaling* is the time that the same tasks take with one worker, by the time with two, in turns: real runs, which need a core
each, and tasks that only sleep as long as a run takes, which show what the cluster itself costs.  *Overhead* is the time that
one of these takes longer than it sleeps, and that of a task that does nothing, from asking for it to its row in the file of
a sweep.  A hundred thousand tasks that do nothing are *planned*, too, for 64 threads, and their outcomes kept in a file: told
is how many the cluster knew of at any time, at most, and by how much this process grew, in which the scheduler is.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Final

import click
import psutil
from distributed import Client, LocalCluster
from rich.table import Table

from benchmarks import tables
from benchmarks.guests import INSTALLED
from tinyheap.lab import Condition, Outcome, Subject, grid, sweep
from tinyheap.lab.cluster import TASKS_PER_THREAD, results, short_logs
from tinyheap.lab.sweep_file import SweepFile
from tinyheap.units import MIB

SOURCE: Final = Path(__file__).parents[1] / "examples/input/unformatted.go"
RUN_S: Final = 0.3
"""About what a small run takes, from the start of its process to its end."""
SLEEPS: Final = 100
RUNS: Final = grid({"heap-limit": "64M..83M/+1M"})
SMALL_TASKS: Final = 2000
PLANNED: Final = 100_000
PLANNED_THREADS: Final = 64
"""Of the cluster that they are planned for: on a core or two nobody makes so many runs."""
SCALING_GOAL: Final = 1.8
OVERHEAD_GOAL_MS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Row:
    """A figure, and what it should be; None where nothing is asked of it."""

    name: str
    value: float
    unit: str
    goal: float | None = None


def sleeping(_: str, seconds: float, number: int) -> int:
    """A task that takes a while, and no core."""
    time.sleep(seconds)
    return number


def nothing(_: str, condition: Condition, run: int) -> Outcome:
    """A task that has the outcome of one."""
    return Outcome(str(condition), run, "finished", (), 0, "0" * 64, *range(12))


@contextmanager
def client_of(workers: int, threads: int = 1) -> Iterator[Client]:
    """A client of a cluster of so many workers with so many threads each, all there."""
    with (
        short_logs(),
        LocalCluster(
            n_workers=workers, threads_per_worker=threads, memory_limit=0, dashboard_address="127.0.0.1:0"
        ) as made,
        Client(made, set_as_default=False) as client,
    ):
        client.wait_for_workers(workers)
        yield client


def sleep_s(client: Client) -> float:
    """The time of tasks that sleep."""
    begun = time.perf_counter()
    found = results(client, sleeping, "sleeping", ((RUN_S, each) for each in range(SLEEPS)))
    done = {number for batch in found for _, number in batch}
    assert len(done) == SLEEPS
    return time.perf_counter() - begun


def sweep_s(client: Client) -> float:
    """The time of real runs."""
    subject = Subject(Path("gofmt.wasm"), ("a.go",), ("--seed=1",))
    begun = time.perf_counter()
    assert all(each.passed for each in sweep(subject, RUNS, cluster=client).outcomes)
    return time.perf_counter() - begun


def scaling(turns: int) -> Iterator[Row]:
    """One worker by two."""
    with client_of(1) as one, client_of(2) as two:
        for name, measured in (("tasks that sleep", sleep_s), ("runs of gofmt", sweep_s)):
            times = [(measured(one), measured(two)) for _ in range(turns)]
            ratio = median(first for first, _ in times) / median(second for _, second in times)
            yield Row(f"scaling, {name}", ratio, "times", SCALING_GOAL)


def kept_s(client: Client, tasks: Iterable[tuple[Condition, int]]) -> float:
    """The time of tasks whose outcomes are kept in a file."""
    begun = time.perf_counter()
    with SweepFile(Path("s.duckdb"), Subject(Path("gofmt.wasm"))) as file:
        for batch in results(client, nothing, "nothing", tasks):
            file.put([outcome for _, outcome in batch if isinstance(outcome, Outcome)])
    Path("s.duckdb").unlink()
    return time.perf_counter() - begun


def small(count: int) -> Iterator[tuple[Condition, int]]:
    """So many tasks."""
    return ((Condition((("gc-every", str(each)),)), 1) for each in range(1, count + 1))


def overhead(turns: int) -> Iterator[Row]:
    """Of a task."""
    with client_of(1) as client:
        kept_s(client, small(100))
        a_task = median(kept_s(client, small(SMALL_TASKS)) for _ in range(turns)) / SMALL_TASKS
        yield Row("overhead of a task that does nothing", 1000 * a_task, "ms", OVERHEAD_GOAL_MS)
        longer = median(sleep_s(client) for _ in range(turns)) / SLEEPS - RUN_S
        yield Row("overhead of a task that sleeps", 1000 * longer, "ms", OVERHEAD_GOAL_MS)


class Planning:
    """Sees how far tasks are planned ahead of those whose outcomes are kept, and how much memory that takes."""

    def __init__(self, total: int) -> None:
        self.total, self.taken, self.done, self.most_ahead = total, 0, 0, 0
        self.begun_bytes, self.tenth_bytes, self.most_bytes = memory_bytes(), 0, 0
        self._begun = time.perf_counter()

    def tasks(self) -> Iterator[tuple[Condition, int]]:
        """The tasks, made when they are asked for."""
        for task in small(self.total):
            self.taken += 1
            yield task

    def add(self, count: int) -> None:
        """So many more are done; says so at each tenth."""
        self.most_ahead = max(self.most_ahead, self.taken - self.done)
        self.most_bytes = max(self.most_bytes, memory_bytes())
        tenth = self.total // 10
        if (self.done + count) // tenth > self.done // tenth:
            self.tenth_bytes = self.tenth_bytes or self.most_bytes
            told = f"{self.done + count:,} of {self.total:,} tasks in {self.elapsed_s:.0f} s, {self.most_bytes / MIB:.0f} MiB"
            click.echo(told, err=True)
        self.done += count

    @property
    def elapsed_s(self) -> float:
        """Since it began."""
        return time.perf_counter() - self._begun


def planned(_: int) -> Iterator[Row]:
    """A hundred thousand tasks, once, whose outcomes are kept in a file."""
    with client_of(1, PLANNED_THREADS) as client, SweepFile(Path("p.duckdb"), Subject(Path("gofmt.wasm"))) as file:
        seen = Planning(PLANNED)
        for batch in results(client, nothing, "planned", seen.tasks()):
            file.put([outcome for _, outcome in batch if isinstance(outcome, Outcome)])
            seen.add(len(batch))
        assert len(file.outcomes()) == PLANNED
    yield Row(f"{PLANNED:,} tasks", seen.elapsed_s, "s")
    yield Row("overhead of each", 1000 * seen.elapsed_s / PLANNED, "ms", OVERHEAD_GOAL_MS)
    # What the cluster knows of, and as many whose outcomes are about to be written.
    yield Row("planned and not in the file, at most", seen.most_ahead, "tasks", 2 * TASKS_PER_THREAD * PLANNED_THREADS)
    yield Row(f"memory grown by the first {PLANNED // 10:,}", (seen.tenth_bytes - seen.begun_bytes) / MIB, "MiB")
    yield Row("memory grown by the others", (seen.most_bytes - seen.tenth_bytes) / MIB, "MiB")


def memory_bytes() -> int:
    """The memory that this process has now."""
    return int(psutil.Process().memory_info().rss)


@click.command()
@click.option("--n", "turns", type=click.IntRange(min=1), default=3, show_default=True, help="Turns; medians count.")
@click.option("--only", type=click.Choice(["scaling", "overhead", "planned"]), help="Only these rows.")
def main(turns: int, only: str | None) -> None:
    """Measure sweeps of the lab on a cluster of this machine."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        shutil.copy(INSTALLED / "gofmt-0.4.9/gofmt.wasm", "gofmt.wasm")
        shutil.copy(SOURCE, "a.go")
        kinds = {"scaling": scaling, "overhead": overhead, "planned": planned}
        rows = [row for name, measured in kinds.items() if only in (None, name) for row in measured(turns)]
        os.chdir(SOURCE.parent)
    table = Table()
    for head in ("name", "value", "goal"):
        table.add_column(head, justify="left" if head == "name" else "right")
    for row in rows:
        table.add_row(row.name, f"{row.value:.2f} {row.unit}", "" if row.goal is None else f"{row.goal:g} {row.unit}")
    tables.show(table)
    for row in rows:
        click.echo(json.dumps(asdict(row)))


if __name__ == "__main__":
    main()
