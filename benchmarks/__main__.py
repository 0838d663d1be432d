"""Measures the kernel against its peers: a table for people, then one JSON line a row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from benchmarks import object_graph, peers, tables
from benchmarks.cases import all_cases
from benchmarks.measure import Outcome, Row, measure, measure_python_calls

WORK: Final = ("mark ms", "rest ms", "collections", "table reads", "words scanned", "rescans", "mark stack")


@click.command()
@click.option("--quick", is_flag=True, help="Heaps up to 1 MiB, and a fifth of the steps.")
@click.option("--only", metavar="TEXT", default="", help="Only rows whose name contains this.")
@click.option("--n", type=click.IntRange(min=1), default=5, show_default=True, help="Runs of each side; medians count.")
def main(quick: bool, only: str, n: int) -> None:
    """Measure the kernel against a literal C port of the algorithm and against bdwgc, on the same programs; and heap graphs."""
    errors = Console(stderr=True)
    outcomes = []
    try:
        bdwgc = find_bdwgc(errors)
        for case in all_cases(quick=quick):
            if only in case.name:
                errors.print(case.name, highlight=False)
                outcomes.append(measure(case, n, bdwgc))
    except peers.PeerError as error:
        raise click.ClickException(str(error)) from error
    if only in "python-alloc-many":
        outcomes.append(measure_python_calls(n))
    if only in object_graph.NAME:
        outcomes.append(object_graph.measure_object_graph(n, quick=quick))
    show(outcomes)


def find_bdwgc(errors: Console) -> Path | None:
    """The program on bdwgc; None, said aloud, where its library is not installed."""
    try:
        return peers.bdwgc()
    except peers.PeerError as error:
        errors.print(f"bdwgc is left out: {error}", highlight=False, markup=False)
        return None


def show(outcomes: list[Outcome]) -> None:
    """Writes the table, the notes and the JSON lines to stdout."""
    rows = [row for outcome in outcomes for row in outcome.rows]
    tables.show(table_of(rows))
    for outcome in outcomes:
        for note in outcome.notes:
            click.echo(note)
    for row in rows:
        click.echo(json.dumps(row.as_json()))


def table_of(rows: list[Row]) -> Table:
    """The rows with their medians, ratios and goals, and phases and work counters as `ours / peer`.

    The rest is everything but mark and sweep: search, clearing, and the program's own steps.
    """
    table = Table(title="ratio: peer's time / ours; phases and work counters: ours / peer's")
    for name in ("name", "peer"):
        table.add_column(name, no_wrap=True)
    for name in ("ours", "peer's", "ratio", "goal", *WORK):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        color = "" if not row.goal else "[green]" if row.ratio >= row.goal else "[red]"
        table.add_row(
            row.name,
            row.peer,
            readable(row.ours_ns),
            readable(row.peer_ns),
            f"{color}{row.ratio:.2f}",
            f"{row.goal:.2f}" if row.goal else "",
            *(row.work.get(name, "") for name in WORK),
        )
    return table


def readable(time_ns: float) -> str:
    """A time with a fitting unit."""
    return f"{time_ns:.1f} ns" if time_ns < 10_000 else f"{time_ns / 1e6:.2f} ms"


if __name__ == "__main__":
    main()
