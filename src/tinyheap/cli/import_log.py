"""`tinyheap import`: makes a recording of the log that an instrumented module has kept."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from tinyheap._loading import library_for
from tinyheap.cli.libraries import load_numpy
from tinyheap.cli.parameters import INPUT, NEW_RECORDING, Command, Input, RecordingOutput
from tinyheap.errors import LogError, MalformedModuleError, UnsupportedGuestError
from tinyheap.units import counted


class ImportCommand(Command):
    """Names the recording after the log, where no other name is given."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line; the recording has a name afterwards."""
        rest = super().parse_args(ctx, args)
        log: Input | None = ctx.params.get("log")
        if ctx.params.get("output") is None and log is not None:
            ctx.params["output"] = RecordingOutput(f"{'stdin' if log.is_stream else log.path.stem}.tinyheap")
        return rest


@click.command(cls=ImportCommand, short_help="Make a recording of the log of an instrumented module.")
@click.argument("log", type=INPUT)
@click.option(
    "--module",
    type=INPUT,
    required=True,
    help="Read names from this module: the one that wrote the log, or the one that it was made from.",
)
@click.option(
    "-o",
    "--output",
    type=NEW_RECORDING,
    help="Write the recording to this file; by default to the log's name with .tinyheap, in the current folder.",
)
@click.option("-f", "--force", is_flag=True, help="Replace a recording that is there already.")
@click.option(
    "--full-paths", is_flag=True, help="Name source files by their full paths on the machine that compiled them."
)
def command(log: Input, module: Input, output: RecordingOutput, force: bool, full_paths: bool) -> None:
    """Make a recording of LOG, which a module that `tinyheap instrument` made has kept of one run.

    It is as `tinyheap profile` makes them, with collections and the objects that they freed: `tinyheap report` and all other
    commands open it. The time at which the log's file was written stands for the run's beginning.
    """
    load_numpy()
    with library_for("a recording"):
        from tinyheap.instrumentation.importing import import_log

    options: dict[str, Any] = {"name": str(module), "overwrite": force, "full_paths": full_paths}
    data = log.read()
    if not log.is_stream:
        options["written_at"] = datetime.fromtimestamp(log.path.stat().st_mtime, UTC)
    try:
        made = import_log(data, module.read(), output.path, **options)
    except LogError as error:
        raise LogError(f"{log}: {error}") from error
    except (MalformedModuleError, UnsupportedGuestError) as error:
        raise type(error)(f"{module}: {error}") from error
    summary = f"{counted(made.events, 'event')}, {counted(made.collections, 'collection')}"
    click.echo(f"wrote {output}: {summary}", err=True)
    if made.lost:
        click.echo(
            f"the log was full: {made.lost:,} more records are missing at its end; instrument the module with a larger"
            " --log-size, or take the log more often",
            err=True,
        )
    if not made.has_times:
        click.echo("the module had no clock: all times are 0", err=True)
