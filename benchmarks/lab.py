"""Measures sweeps of the lab on a Dask cluster of this machine: a table, then one JSON line a row.

*Scaling* is the time that the same tasks take with one worker, by the time with two, in turns: real runs, which need a core
each, and tasks that only sleep as long as a run takes, which show what the cluster itself costs.  *Overhead* is the time that
one of these takes longer than it sleeps, and that of a task that does nothing, from asking for it to its row in the file of
a sweep.  A hundred thousand tasks are planned, too: told is by how much memory this process grows, in which the scheduler is.
"""

from __future__ import annotations

import json
import os
import resource
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
from distributed import Client, LocalCluster
from rich.table import Table

from benchmarks import tables
from benchmarks.guests import INSTALLED
from tinyheap.lab import Condition, Outcome, Subject, grid, sweep
from tinyheap.lab.cluster import results
from tinyheap.lab.sweep_file import SweepFile
from tinyheap.units import KIB, MIB

SOURCE: Final = Path(__file__).parents[1] / "examples/input/unformatted.go"
RUN_S: Final = 0.3
"""About what a small run takes, from the start of its process to its end."""
SLEEPS: Final = 100
RUNS: Final = grid({"heap-limit": "64M..83M/+1M"})
SMALL_TASKS: Final = 2000
PLANNED: Final = 100_000
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
def client_of(workers: int) -> Iterator[Client]:
    """A client of a cluster of so many workers, all there."""
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, memory_limit=0, dashboard_address="127.0.0.1:0") as made,
        Client(made, set_as_default=False) as client,
    ):
        client.wait_for_workers(workers)
        yield client


def sleep_s(client: Client) -> float:
    """The time of tasks that sleep."""
    begun = time.perf_counter()
    done = {number for _, number in results(client, sleeping, "sleeping", ((RUN_S, each) for each in range(SLEEPS)))}
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
        for _, outcome in results(client, nothing, "nothing", tasks):
            assert isinstance(outcome, Outcome)
            file.put(outcome)
    Path("s.duckdb").unlink()
    return time.perf_counter() - begun


def small(count: int) -> Iterator[tuple[Condition, int]]:
    """So many tasks."""
    return ((Condition((("gc-every", str(each)),)), 1) for each in range(1, count + 1))


def overhead(turns: int) -> Iterator[Row]:
    """Of a task, and of a hundred thousand."""
    with client_of(1) as client:
        kept_s(client, small(100))
        a_task = median(kept_s(client, small(SMALL_TASKS)) for _ in range(turns)) / SMALL_TASKS
        yield Row("overhead of a task that does nothing", 1000 * a_task, "ms", OVERHEAD_GOAL_MS)
        longer = median(sleep_s(client) for _ in range(turns)) / SLEEPS - RUN_S
        yield Row("overhead of a task that sleeps", 1000 * longer, "ms", OVERHEAD_GOAL_MS)
        before, begun = peak_bytes(), time.perf_counter()
        assert sum(1 for _ in results(client, nothing, "planned", small(PLANNED))) == PLANNED
        yield Row(f"{PLANNED:,} tasks", time.perf_counter() - begun, "s")
        yield Row(f"memory of {PLANNED:,} tasks", (peak_bytes() - before) / MIB, "MiB")


def peak_bytes() -> int:
    """The most memory that this process had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB


@click.command()
@click.option("--n", "turns", type=click.IntRange(min=1), default=3, show_default=True, help="Turns; medians count.")
@click.option("--only", type=click.Choice(["scaling", "overhead"]), help="Only these rows.")
def main(turns: int, only: str | None) -> None:
    """Measure sweeps of the lab on a cluster of this machine."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        shutil.copy(INSTALLED / "gofmt-0.4.9/gofmt.wasm", "gofmt.wasm")
        shutil.copy(SOURCE, "a.go")
        kinds = {"scaling": scaling, "overhead": overhead}
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
