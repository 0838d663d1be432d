"""`tinyheap lab`: runs a program under many conditions and compares what became of its heap.

The table goes to standard output, what the program writes nowhere.  That a program ends badly under some condition is a
result, not an error.
"""

from __future__ import annotations

import json
from typing import Any, Final

import click

from tinyheap.cli.parameters import (
    COUNT,
    NUMBER_LIMIT,
    OUTPUT,
    SEED,
    Input,
    InputFile,
    OutputFile,
    OutputTarget,
    check_only,
)
from tinyheap.cli.progress import progress_bar
from tinyheap.cli.subject import SubjectCommand, conditions_of, subject_of, takes_subject
from tinyheap.errors import LabError
from tinyheap.json_of import json_of
from tinyheap.lab.clusters import local_processes
from tinyheap.lab.outcome import Outcome
from tinyheap.lab.sweeping import Sweep, first_of_each, read_sweep, sweep
from tinyheap.recordings.place import begins_as_recording
from tinyheap.report.consoles import result_console
from tinyheap.report.terminal.lab_tables import SweepTable
from tinyheap.report.text import printable


class ClusterType(click.ParamType[str]):
    """The name of a cluster: ``local``, ``local:N`` or an address."""

    name = "cluster"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name; a usage error where it is none. Whether a scheduler answers there is found out later."""
        try:
            local_processes(value)
        except LabError as error:
            self.fail(str(error), param, ctx)
        return value


MODULE: Final = click.argument(
    "module", type=InputFile("each run reads the module again; name a file"), metavar="MODULE|SWEEP"
)
_OF_SWEEPS: Final = frozenset({"module", "as_json", "html"})
"""The parameters that mean something for a sweep that is there, too."""


@click.command(
    cls=SubjectCommand,
    short_help="Run a program under many conditions and compare.",
    context_settings={"ignore_unknown_options": True},
)
@takes_subject(MODULE)
@click.option(
    "--sample",
    type=COUNT,
    metavar="N",
    help="Run only N of the combinations, drawn at random, each module and input under the same ones. The one that leaves all "
    "of these options out is among them, if --vary allows it.",
)
@click.option(
    "--sample-seed",
    type=SEED,
    default=0,
    show_default=True,
    metavar="N",
    help="Draw the combinations by this number: the same one draws the same ones, and for a larger N these and others.",
)
@click.option(
    "--file",
    "kept",
    type=OutputFile(OutputTarget, "it is a database, which cannot be written as a stream"),
    help="Keep the outcomes in this DuckDB file as they come; a sweep that was interrupted goes on where it was.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, NUMBER_LIMIT),
    default=1,
    show_default=True,
    metavar="N",
    help="Make up to N runs at the same time, which makes pauses longer.",
)
@click.option(
    "--cluster",
    type=ClusterType(),
    metavar="local[:N]|ADDRESS",
    help="Make the runs on a Dask cluster: on N processes of this machine, or on that whose scheduler is at ADDRESS, such as "
    "tcp://HOST:8786, with as many runs at the same time as it has threads.",
)
@click.option(
    "--html",
    type=OUTPUT,
    help="Write a page with pictures to this file: memory against pauses, survival by size, growth.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    module: Input,
    kept: OutputTarget | None,
    jobs: int,
    cluster: str | None,
    html: OutputTarget | None,
    *,
    as_json: bool,
    **_: Any,  # noqa: ANN401 - a subject's
) -> None:
    """Run MODULE under each combination of the conditions that --vary names, or a sample of them, and compare.

    Each run is a `tinyheap run` of its own.  The words after `--` are the program's arguments.  One condition of each program
    is run twice, to see whether it does the same each time.  A SWEEP, which is a file of --file, is shown as it is, and
    nothing is run.
    """
    if cluster is not None and jobs != 1:
        raise click.UsageError(
            "--jobs and --cluster exclude each other: a cluster makes as many runs as it has threads"
        )
    if as_json and html is not None and html.is_stream:
        raise click.UsageError("--json is printed on standard output: name a file for --html")
    if begins_as_recording(module.path):
        check_only(ctx, _OF_SWEEPS, f"is for modules: {module} is a sweep, which is not run again")
        found = read_sweep(module.path)
    else:
        found = _run(ctx, kept, jobs, cluster)
    if html is not None:
        from tinyheap.report.html.lab_page import lab_page

        html.write(lab_page(found).encode())
        click.echo(f"wrote {html}", err=True)
        if html.is_stream:
            return
    if as_json:
        click.echo(json.dumps(sweep_json(found)))
    else:
        result_console().print(SweepTable(found))


def _run(ctx: click.Context, kept: OutputTarget | None, jobs: int, cluster: str | None) -> Sweep:
    """The sweep that a command line asks for, with its progress shown meanwhile."""
    subject, conditions = subject_of(ctx), conditions_of(ctx)
    errors = result_console(stderr=True)
    with progress_bar(errors, "running", len(conditions) + len(first_of_each(conditions))) as progress:
        count = 0

        def tell(outcome: Outcome) -> None:
            nonlocal count
            count += 1
            if progress is not None:
                progress(count)
                errors.print(printable(f"{outcome.condition}: {outcome.ended}"))

        place = None if kept is None else kept.path
        return sweep(subject, conditions, file=place, jobs=jobs, cluster=cluster, told=tell)


def sweep_json(found: Sweep) -> dict[str, Any]:
    """A sweep as JSON: each outcome by the names of `Outcome`, and what differed when a run was repeated."""
    rows = [
        {**json_of(each), "passed": each.passed, "changes_output": found.changes_output(each)}
        for each in found.outcomes
    ]
    return {
        "module": str(found.subject.module),
        "sample": json_of(found.sample),
        "outcomes": rows,
        "effects": json_of(found.effects()),
        "differences": json_of(found.differences),
    }
