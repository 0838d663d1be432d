"""`tinyheap profile app.py`: runs a Python program as Python does, and records each instance that it makes by wasmtime.

The command only attaches to wasmtime.  Then the process is the program's: its arguments, streams, signals, its traceback
and exit code.  The summary goes to standard error when the program has ended, behind its own exit functions.
"""

from __future__ import annotations

import atexit
import builtins
import io
import os
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from tinyheap import process
from tinyheap.cli.findings import recorded, summary
from tinyheap.cli.run import policy_of
from tinyheap.errors import InputError, RecordingError
from tinyheap.files import reason_of
from tinyheap.guests.attached.attachment import Attachment, attach
from tinyheap.report.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinyheap.cli.parameters import Input

OF_MODULES: Final = frozenset(
    {
        "invoke",
        "timeout",
        "memory_limit",
        "initial_memory",
        "env",
        "folders",
        "stdin",
        "host",
        "stubs",
        "seed",
        "symbols",
        "no_driver",
    }
    | {"draws_map", "json_file", "moment", "snapshot_file"}
)
"""The parameters of the command that mean nothing to a Python program, which is a host itself."""
RAISED: Final = 1
"""The exit code of Python where an exception is not caught."""


def start(
    ctx: click.Context, program: Input, output: Path, *, overwrite: bool, instances: int, options: dict[str, Any]
) -> None:
    """Attach to wasmtime, and let the process become the program.

    Raises:
        click.UsageError: An option is for WebAssembly modules.
        InputError: The program cannot be read.
        TinyheapError: As for `attach`.
    """
    _check_options(ctx, program)
    source = _source_of(program)
    attachment = attach(
        output,
        policy=policy_of(options),
        gc=options["gc"],
        overwrite=overwrite,
        full_paths=options["full_paths"],
        sample_bytes=options["sample_bytes"],
        sample_seed=options["sample_seed"],
        last=options["last"],
        call_arguments=options["call_arguments"],
        instances=instances,
        say=_say,
    )
    if not options["no_summary"]:
        atexit.register(_say_summary, attachment, output, os.getpid())
    process.become(lambda: run(program.path, source, ctx.obj))


def _check_options(ctx: click.Context, program: Input) -> None:
    for parameter in ctx.command.params:
        name = parameter.name or ""
        if name in OF_MODULES and ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(
                f"{parameter.opts[0]} is for WebAssembly modules: {program} is a Python program, which is a host itself"
            )


def _source_of(program: Input) -> bytes:
    """The text of a program, read as Python reads what it will run.

    Raises:
        InputError: It cannot be read.
    """
    try:
        with io.open_code(str(program.path.absolute())) as file:
            return file.read()
    except OSError as error:
        raise InputError(f"{program}: {reason_of(error)}") from error


def run(path: Path, source: bytes, arguments: tuple[str, ...]) -> int:
    """Run a program as Python would, in this process; its exit code, where it does not end by ``SystemExit``."""
    sys.argv, file = [str(path), *arguments], path.absolute()
    if not sys.flags.safe_path:
        sys.path[0] = str(file.parent)
    main = ModuleType("__main__")
    loader = SourceFileLoader("__main__", str(file))
    main.__dict__.update(
        __file__=str(file), __builtins__=builtins, __loader__=loader, __annotations__={}, __cached__=None
    )
    # Where classes look for the module that they were defined in.
    sys.modules["__main__"] = main
    try:
        exec(compile(source, str(file), "exec", dont_inherit=True), vars(main))
    except SystemExit:
        raise
    except BaseException as error:
        trace = error.__traceback__
        error.__traceback__ = None if trace is None else trace.tb_next  # this function is none of the program's
        sys.excepthook(type(error), error, error.__traceback__)
        return process.INTERRUPTED if isinstance(error, KeyboardInterrupt) else RAISED
    return 0


def _say_summary(attachment: Attachment, output: Path, process_id: int) -> None:
    """End the recordings and say what they hold, unless this process was forked from the one that has them."""
    if os.getpid() != process_id:
        return
    attachment.detach()
    try:
        for line in _summary([output.with_name(path.name) for path in attachment.recordings]):
            click.echo(printable(line), err=True)
    except RecordingError as error:
        _say(str(error))


def _summary(recordings: list[Path]) -> Iterator[str]:
    """What each recording holds; of the largest also who allocated most."""
    if not recordings:
        yield "recorded nothing: the program made no instance of a module that can be recorded"
        return
    largest = max(recordings, key=lambda path: path.stat().st_size)
    for path in recordings:
        if path != largest:
            yield recorded(path)
    yield from summary(largest)


def _say(text: str) -> None:
    click.echo(f"tinyheap: {printable(text)}", err=True)
