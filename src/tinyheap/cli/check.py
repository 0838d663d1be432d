"""`tinyheap check`: holds a run against a budget, and says what is over and by whom.

It is given a recording, or a module, which it runs as `tinyheap run` does and records meanwhile.  What the program prints then
goes to standard error, since the result is what is printed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import click
from click.core import ParameterSource

from tinyheap.budgets.budget import Budget, percentage
from tinyheap.budgets.checking import Checks, baseline_of, check, failure_of, is_module
from tinyheap.budgets.making import budget_of
from tinyheap.budgets.measuring import measure
from tinyheap.budgets.quantities import Quantity
from tinyheap.cli.exits import ExitCode, say_error
from tinyheap.cli.parameters import INPUT, NEW_RECORDING, OUTPUT, Input, InputFile, OutputTarget, check_only, takes
from tinyheap.cli.run import RUN_PARAMETERS, CommandRun, RunCommand
from tinyheap.errors import BudgetError
from tinyheap.files import text_of
from tinyheap.guests.record.recorder import Recorder
from tinyheap.recordings.place import begins_as_recording
from tinyheap.recordings.recording import Recording
from tinyheap.report.consoles import result_console
from tinyheap.report.exports.checks_json import checks_json
from tinyheap.report.exports.junit import junit_xml
from tinyheap.report.terminal.budget_table import BudgetTable

_RUN_OPTIONS: Final = RUN_PARAMETERS[1:-1]
"""Without the module, which is declared here, and without the moment of a snapshot, which none is taken of."""
_OF_RECORDINGS: Final = frozenset({"module", "budget", "against", "as_json", "junit", "write", "margin"})
"""The parameters that mean something for a recording, too."""


class PercentageType(click.ParamType[Fraction]):
    """A percentage: `10`, `10%` or `10 %`."""

    name = "percentage"

    def convert(self, value: str | Fraction, param: click.Parameter | None, ctx: click.Context | None) -> Fraction:
        """The share; a usage error where the text says none."""
        if isinstance(value, Fraction):
            return value
        try:
            return percentage(value)
        except BudgetError as error:
            self.fail(str(error), param, ctx)


@click.command(
    cls=RunCommand,
    short_help="Hold a run against a budget of memory and pauses.",
    context_settings={"ignore_unknown_options": True},
)
@click.argument("module", metavar="MODULE|RECORDING", type=INPUT)
@takes(*_RUN_OPTIONS)
@click.option("--budget", type=INPUT, help="Check against the limits in this file, which is TOML.")
@click.option(
    "--against",
    type=InputFile("a baseline is a file that is told by its content; name it"),
    metavar="FILE",
    help="Take percentages in the budget of this baseline, instead of the one that the budget names: a recording, a module "
    "that is run as MODULE is, or what --json printed of an earlier run.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON object instead of a table. It has all quantities, so that it can be the baseline of a later run; it "
    "needs no budget.",
)
@click.option("--junit", type=OUTPUT, help="Write the result as JUnit XML to this file.")
@click.option(
    "--write", type=OUTPUT, help="Make a budget of what the run took, with a margin, and write it to this file."
)
@click.option(
    "--margin",
    type=PercentageType(),
    default="10%",
    show_default=True,
    metavar="PERCENT",
    help="Allow so many percent more in the budget of --write than the run took.",
)
@click.option(
    "-o",
    "--output",
    type=NEW_RECORDING,
    help="Keep the recording of the run in this file: as a baseline, or to see more of it with `tinyheap report`.",
)
@click.option("-f", "--force", is_flag=True, help="Replace a recording that is there already.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    module: Input,
    words: tuple[str, ...],
    invoke: str | None,
    budget: Input | None,
    against: Input | None,
    as_json: bool,
    junit: OutputTarget | None,
    write: OutputTarget | None,
    margin: Fraction,
    output: OutputTarget | None,
    force: bool,
    **options: Any,  # noqa: ANN401 - a run's
) -> None:
    """Check whether a run is within a budget: what it may take of memory, how much it may allocate, how long it may pause.

    A RECORDING is checked as it is; a MODULE is run as `tinyheap run` does. What it prints goes to standard error. Below the
    table are the allocation sites behind all that is over.

    The exit code is 3 where something is over the budget, or a limit is of something that is not known; where the run itself
    did not pass, it is the run's.
    """
    if budget is None and write is None and not as_json:
        raise click.UsageError(
            "name a budget to check against (--budget FILE), or one to make (--write FILE), or keep what the run takes (--json)"
        )
    for label, target in (("--junit", junit), ("--write", write)):
        if as_json and target is not None and target.is_stream:
            raise click.UsageError(f"--json is printed on standard output: name a file for {label}")
    if against is not None:
        against.check()
    limits = Budget() if budget is None else Budget.from_toml(budget.read(), str(budget), budget.path.parent)
    is_run = module.is_stream or not begins_as_recording(module.path)
    compared = limits.baseline if against is None else against.path
    if is_run and limits.relative and compared is not None and is_module(compared) and options["stdin"].is_stream:
        if ctx.get_parameter_source("stdin") is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--stdin -: {text_of(compared)} is run, too, and reads it again; name a file")
        options["stdin"] = Input(os.devnull)
    with ExitStack() as stack:
        # Before the program runs, which may take its time.
        if budget is not None and not limits.limits:
            click.echo(f"Warning: {budget} limits nothing; only the run itself is checked", err=True)
        again = partial(_baseline_run, ctx, module, words, invoke, options) if is_run else None
        baseline = stack.enter_context(baseline_of(limits, compared, again))
        if baseline is not None and (failure := failure_of(baseline)) is not None:
            click.echo(f"Warning: the run of the baseline did not pass: {failure}", err=True)
        exit_code, recording = stack.enter_context(_recorded(ctx, module, words, invoke, options, output, force=force))
        checks = check(recording, limits, baseline)
        _write(recording, checks, margin, junit, write)
        if as_json:
            limited = {each.quantity for each in limits.limits}
            others = measure(recording, [each for each in Quantity if each not in limited], after=limits.after)
            click.echo(json.dumps(checks_json(checks, others)))
        elif budget is not None:
            result_console().print(BudgetTable(checks))
    failed = ExitCode.FAILED if checks.failure is not None else ExitCode.DONE if checks.passed else ExitCode.OVER_BUDGET
    ctx.exit(exit_code or failed)


@contextmanager
def _recorded(
    ctx: click.Context,
    module: Input,
    words: tuple[str, ...],
    invoke: str | None,
    options: dict[str, Any],
    kept: OutputTarget | None,
    *,
    force: bool,
) -> Iterator[tuple[int, Recording]]:
    """The recording, made now where it is of a module, and the exit code of the run.

    Raises:
        click.UsageError: An option is for modules.
        TinyheapError: The program could not be run.
    """
    if not module.is_stream and begins_as_recording(module.path):
        check_only(ctx, _OF_RECORDINGS, f"is for modules: {module} is a recording, which is not run")
        with Recording.open(module.path) as recording:
            yield recording.run.exit_code or 0, recording
        return
    with TemporaryDirectory(prefix="tinyheap-") as folder:
        path = Path(folder) / "run.tinyheap" if kept is None else kept.path
        recorder = Recorder.to_file(path, overwrite=force, full_paths=options["full_paths"])
        run = CommandRun.from_command_line(
            module, words, invoke, ctx.obj, {**options, "moment": None, "snapshot_file": None}, recorder
        )
        _execute(run)
        with Recording.open(path) as recording:
            yield run.exit_code, recording


@contextmanager
def _baseline_run(
    ctx: click.Context,
    module: Input,
    words: tuple[str, ...],
    invoke: str | None,
    options: dict[str, Any],
    path: Path,
) -> Iterator[Recording]:
    """The recording of a baseline, a module that is run as the one is that is checked.

    Raises:
        TinyheapError: The program could not be run.
    """
    click.echo(f"running the baseline {text_of(path)}", err=True)
    own = {**options, "symbols": None}  # are those of the other module's code
    with _recorded(ctx, Input(str(path)), words, invoke, own, None, force=False) as (_, recording):
        yield recording


def _execute(run: CommandRun) -> None:
    """Run a program to its end, and say of a failure what it was.

    Raises:
        TinyheapError: There was no run: it could not begin, or not be recorded.
        KeyboardInterrupt: It was interrupted.
    """
    run.grants, run.says_on_stderr = replace(run.grants, stdout=run.grants.stderr), True
    run.execute()
    if run.program is not None:
        run.program.close()
    assert run.recorder is not None, "it is recorded"
    if run.failure is not None and (run.program is None or not run.recorder.is_complete or _is_interrupt(run.failure)):
        raise run.failure
    if run.error is not None:
        say_error(run.error)


def _is_interrupt(failure: BaseException) -> bool:
    return isinstance(failure, KeyboardInterrupt)


def _write(
    recording: Recording,
    checks: Checks,
    margin: Fraction,
    junit: OutputTarget | None,
    write: OutputTarget | None,
) -> None:
    """Write every file that was asked for; a budget only of a run that passed."""
    if junit is not None:
        junit.write(junit_xml(checks))
        click.echo(f"wrote {junit}", err=True)
    if write is not None and checks.failure is None:
        write.write(budget_of(recording, margin, after=checks.after).encode())
        click.echo(f"wrote {write}", err=True)
    elif write is not None:
        click.echo(f"did not write {write}: the run did not pass", err=True)
