"""`tinyheap profile`: runs a WebAssembly program as `tinyheap run` does, and records what happens on its heap.

Standard output and the exit code are the program's; the summary goes to standard error.  When the recording cannot go on
the program is ended.  An existing recording is only replaced on request.

A Python program that runs WebAssembly by wasmtime is run as Python runs it (`python_program`), and goes on whatever happens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from tinyheap._loading import library_for
from tinyheap.cli.libraries import load_numpy
from tinyheap.cli.parameters import (
    COUNT,
    NEW_RECORDING,
    Input,
    NumberedRecordings,
    RecordingOutput,
    takes_recorded,
    takes_sample,
)
from tinyheap.cli.run import CommandRun, RunCommand, takes_run_parameters
from tinyheap.guests.attached.names import INSTANCES

if TYPE_CHECKING:
    from tinyheap.recordings.last import Last

SUFFIX: Final = ".tinyheap"
PYTHON: Final = ".py"


class ProfileCommand(RunCommand):
    """Names the recording after the module, where no other name is given; all behind a Python program is its own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line; the recording has a name afterwards."""
        at = self._behind_python(ctx, args)
        rest = super().parse_args(ctx, args[:at])
        module: Input = ctx.params["module"]
        output: RecordingOutput | None = ctx.params["output"]
        name = f"{'stdin' if module.is_stream else module.path.stem}{SUFFIX}" if output is None else output.name
        if at is None:
            ctx.params["output"] = output or RecordingOutput(name)
        else:
            ctx.params["output"] = NumberedRecordings(name)
            ctx.obj = tuple(args[at + 1 :] if args[at : at + 1] == ["--"] else args[at:])
        return rest

    def _behind_python(self, ctx: click.Context, args: list[str]) -> int | None:
        """Where the arguments of a Python program begin; None where the first word names none."""
        parser = self.make_parser(ctx)
        parser.allow_interspersed_args = False
        found, _, _ = parser.parse_args([*args])
        is_python = isinstance(found.get("module"), str) and found["module"].endswith(PYTHON)
        words = found["words"]
        return len(args) - (len(words) if isinstance(words, tuple) else 0) if is_python else None


@click.command(
    cls=ProfileCommand,
    short_help="Run a WebAssembly program and record what happens on its heap.",
    context_settings={"ignore_unknown_options": True},
    epilog="Exit codes are those of `tinyheap run`.",
)
@takes_run_parameters
@click.option(
    "-o",
    "--output",
    type=NEW_RECORDING,
    help="Write the recording to this file; by default to the module's name with .tinyheap, in the current folder.",
)
@click.option("-f", "--force", is_flag=True, help="Replace a recording that is there already.")
@takes_sample
@takes_recorded
@click.option(
    "--instances",
    type=COUNT,
    default=INSTANCES,
    show_default=True,
    metavar="N",
    help="Record the first N instances that a Python program makes, each in a file of its own.",
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    module: Input,
    words: tuple[str, ...],
    invoke: str | None,
    output: RecordingOutput,
    force: bool,
    instances: int,
    sample: int | None,
    sample_seed: int,
    last: Last | None,
    call_arguments: bool,
    **options: Any,  # noqa: ANN401 - a run's
) -> None:
    """Run MODULE as `tinyheap run` does, and record what happens on its heap in one file.

    Recorded are every allocation with its call stack, every object freed, every collection, every growth of the heap, every
    call into the program and how memory grew in it; and now and then a sample of the heap's size and use, and a map of its
    blocks.

    Where the module's own collector stays (it cannot be replaced, or --gc native), allocations, calls and what the program
    frees itself are recorded: collections, and the objects that they free, cannot be seen.

    With --sample, objects are chosen at random, large ones rather than small ones: collections, growths and calls are recorded
    as ever, and statistics of objects are estimates, with their standard errors.

    With --last, what had died before the last part of the run is cut away from the file while the program runs, and every
    report says so.

    Standard output and the exit code are the program's.  The words after `--` are its arguments.

    MODULE may be a Python program (FILE.py) that runs WebAssembly by wasmtime. All words behind it are its own. Each
    instance that it makes is recorded in a file of its own: FILE-1.tinyheap, FILE-2.tinyheap and so on.
    """
    path = output.path
    if isinstance(output, NumberedRecordings):
        from tinyheap.cli.python_program import start

        chosen = {"sample_bytes": sample, "sample_seed": sample_seed, "last": last, "call_arguments": call_arguments}
        start(ctx, module, path, overwrite=force, instances=instances, options={**options, **chosen})
        return
    load_numpy()
    with library_for("recording a run"):
        from tinyheap.guests.record.recorder import Recorder

    recorder = Recorder.to_file(
        path,
        overwrite=force,
        full_paths=options["full_paths"],
        sample_bytes=sample,
        sample_seed=sample_seed,
        last=last,
        call_arguments=call_arguments,
    )
    run = CommandRun.from_command_line(module, words, invoke, ctx.obj, options, recorder)
    run.execute()
    run.recorded = path if recorder.is_complete else None
    run.report_as(options)
    if recorder.is_complete and not options["no_summary"]:
        # What only reads recordings is loaded when the program has ended.
        from tinyheap.cli.findings import summary

        for line in summary(path):
            click.echo(line, err=True)
    ctx.exit(run.exit_code)
