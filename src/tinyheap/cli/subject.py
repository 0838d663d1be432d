"""The command lines of the lab: options of ``tinyheap run`` that are the same in each run, and those that vary.

The words of a command line go to ``tinyheap run`` as they were given, after they were checked as there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from tinyheap.cli.parameters import Decorator, Input, InputFile, takes
from tinyheap.cli.run import RUN_PARAMETERS, RunCommand
from tinyheap.errors import ConditionError
from tinyheap.lab.conditions import INPUT, read_values
from tinyheap.lab.grids import Grid, expanded, size_of
from tinyheap.lab.running import INPUT_MARK, Subject

FREE_CONDITIONS: Final = 200
"""A larger grid has to be confirmed."""
_NOT_SHARED: Final = frozenset({"module", "stdin", "symbols", "full_paths", "stop_at", "guard", "moment"})
"""Parameters of a run that the lab has its own of, or that only say what is told of one run."""
_WORDS: Final = "tinyheap.lab words"


class VariationType(click.ParamType[tuple[str, tuple[str, ...]]]):
    """A dimension and its values: `NAME=VALUE,VALUE...`."""

    name = "variation"

    def convert(
        self, value: str | tuple[str, tuple[str, ...]], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, tuple[str, ...]]:
        """The name and the values; a usage error where there is no such dimension, or a value is not one of it."""
        if isinstance(value, tuple):
            return value
        name, equals, text = value.partition("=")
        if not equals:
            self.fail(f"invalid variation {value!r}: expected NAME=VALUE,VALUE... or NAME=FIRST..LAST/xN", param, ctx)
        try:
            return name, read_values(name, text)
        except ConditionError as error:
            self.fail(str(error), param, ctx)


class SubjectCommand(RunCommand):
    """Keeps the options of a run as they were written."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line, and note the words of options that are the runs'."""
        at = args.index("--") if "--" in args else len(args)
        rest = super().parse_args(ctx, list(args))
        written, _, _ = self.make_parser(ctx).parse_args(args[:at])
        ctx.meta[_WORDS] = tuple(word for parameter in self.params for word in _words_of(parameter, written))
        return rest


def _words_of(parameter: click.Parameter, written: Mapping[str, Any]) -> Iterator[str]:
    """The words of an option, if it is one of the runs'."""
    if not isinstance(parameter, click.Option) or parameter.name not in _OPTIONS or parameter.name not in written:
        return
    value, name = written[parameter.name], parameter.opts[0]
    if parameter.is_flag:
        yield name
    else:
        yield from (f"{name}={each}" for each in (value if parameter.multiple else [value]))


def _declared() -> Iterator[tuple[str, Callable[..., Any]]]:
    """The parameters of a run that the lab shares, by name."""
    for decorate in RUN_PARAMETERS:
        parameter = decorate(lambda: None).__click_params__[0]  # type: ignore[attr-defined]  # click's
        if parameter.name not in _NOT_SHARED:
            yield parameter.name, decorate


SHARED: Final = dict(_declared())
"""What declares a parameter of a run that goes to each run, by the parameter's name."""
_OPTIONS: Final = frozenset({*SHARED, "stdin"} - {"words"})
_OWN: Final = (
    click.option(
        "--stdin",
        type=InputFile("each run reads it again; name a file"),
        help="Give each run this file as its standard input; by default it is empty.",
    ),
    click.option(
        "--vary",
        type=VariationType(),
        multiple=True,
        metavar="NAME=VALUES",
        help="Run it with each of these values of an option: NAME is gc, collector, growth, headroom, heap-limit, "
        "memory-limit, initial-memory, gc-every, clear-blocks or engine, VALUES are as for `tinyheap run`, with commas between "
        "them. `default` leaves the option out; FIRST..LAST/xN and FIRST..LAST/+STEP are ranges of numbers. NAME is module to "
        "run other modules, too, and input for what takes the place of {input} in the program's arguments, or else is its "
        "standard input; VALUES are files then, or patterns such as '*.wasm'. May be repeated, for all combinations.",
    ),
    click.option(
        "--yes", is_flag=True, help=f"Make the runs even if there are more than {FREE_CONDITIONS} combinations."
    ),
)


def takes_subject(module: Decorator) -> Decorator:
    """Give a command a program, the options of its runs, and what varies; `module` declares the argument for it."""
    return takes(module, *SHARED.values(), *_OWN)


def subject_of(ctx: click.Context) -> Subject:
    """The program that a command line names, and what is the same in all of its runs.

    Raises:
        InputError: A file that each run would read cannot be read.
    """
    module: Input = ctx.params["module"]
    for source in (module, ctx.params["stdin"], ctx.params["host"]):
        if source is not None:
            source.check()
    words: tuple[str, ...] = ctx.params["words"]
    arguments: tuple[str, ...] = ctx.obj
    if ctx.params["invoke"] is not None:
        return Subject(Path(module.path), arguments, ctx.meta[_WORDS], words)
    return Subject(Path(module.path), (*words, *arguments), ctx.meta[_WORDS])


def conditions_of(ctx: click.Context) -> Grid:
    """The conditions that a command line asks for; a sample of them where the command has such an option and it is given.

    Raises:
        click.UsageError: A dimension is named twice, or is an option of all runs too; or there are too many conditions.
    """
    values: dict[str, tuple[str, ...]] = {}
    given = {word.partition("=")[0] for word in ctx.meta[_WORDS]}
    for name, each in ctx.params["vary"]:
        if name in values:
            raise click.UsageError(
                f"--vary {name} is given twice: name all of its values at once, with commas between them"
            )
        if f"--{name}" in given:
            raise click.UsageError(f"--{name} and --vary {name} exclude each other: leave one of them out")
        values[name] = each
    is_read = not any(INPUT_MARK in word for word in (*ctx.params["words"], *ctx.obj))
    if INPUT in values and is_read and "--stdin" in given:
        raise click.UsageError(
            f"--stdin and --vary {INPUT} exclude each other where no argument has {INPUT_MARK}: leave one of them out"
        )
    sample: int | None = ctx.params.get("sample")
    count = size_of(values, sample)
    if count > FREE_CONDITIONS and not ctx.params["yes"]:
        less = ", run a sample of them (--sample N)" if "sample" in ctx.params and sample is None else ""
        raise click.UsageError(
            f"these are {count:,} combinations, a run each: vary less{less}, or confirm them with --yes"
        )
    try:
        return expanded(values, sample, ctx.params.get("sample_seed", 0))
    except ConditionError as error:
        raise click.UsageError(str(error)) from error
