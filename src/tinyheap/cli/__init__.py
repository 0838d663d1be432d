"""The command `tinyheap`: a table of its commands, each imported from a module of its own when it is used.

A command is the object `command` of its module.  Its entry in the table holds all that `tinyheap --help`
shows, so that help imports neither the commands nor the libraries behind them.

An error that tinyheap raises on purpose ends a command with its message and the exit code that `tinyheap.cli.exits` has
for it.  Anything else is a bug and shows its traceback.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import click

from tinyheap import __version__, process
from tinyheap.cli.exits import ExitCode, code_of, say_error, write_exit_codes
from tinyheap.errors import MissingLibraryError, TinyheapError

__all__ = ["COMMANDS", "main"]


class Entry(NamedTuple):
    """Where a command lives, and what `--help` says of it."""

    module: str
    help: str
    extra: str | None = None
    """The optional dependencies that it needs, by their name in `pip install 'tinyheap[NAME]'`."""


COMMANDS = {
    "replay": Entry("tinyheap.cli.replay", "Replay allocation traces on a heap."),
    "generate": Entry("tinyheap.cli.generate", "Write the trace of a synthetic workload."),
    "run": Entry("tinyheap.cli.run", "Run a WebAssembly program on tinyheap's collector.", "run"),
    "profile": Entry("tinyheap.cli.profile", "Run a program and record what happens on its heap.", "profile"),
    "identify": Entry("tinyheap.cli.identify", "Say what a WebAssembly module is and where its heap lies."),
    "transplant": Entry("tinyheap.cli.transplant", "Write tinyheap's collector into a module.", "run"),
    "instrument": Entry("tinyheap.cli.instrument", "Write a recorder into a module.", "run"),
    "import": Entry("tinyheap.cli.import_log", "Make a recording of an instrumented module's log.", "profile"),
    "live": Entry("tinyheap.cli.live", "Run a program and watch its heap while it runs.", "profile"),
    "report": Entry("tinyheap.cli.report", "Show what a recorded run did to its heap.", "profile"),
    "inspect": Entry("tinyheap.cli.inspect", "Say what is alive in a heap, and what keeps it alive.", "profile"),
    "at": Entry("tinyheap.cli.at", "Say who an address belonged to in a recorded run.", "profile"),
    "lab": Entry("tinyheap.cli.lab", "Run a program under many conditions and compare.", "profile"),
    "fit": Entry("tinyheap.cli.fit", "Find the smallest heap in which a program passes.", "profile"),
    "check": Entry("tinyheap.cli.check", "Hold a run against a budget of memory and pauses.", "profile"),
    "sql": Entry("tinyheap.cli.sql", "Query a recorded run in SQL.", "profile"),
}


class CommandTable(click.Group):
    """A group of commands that are imported one by one, when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None where there is none.

        Raises:
            Failure: A library that the command needs is missing or does not load.
        """
        entry = COMMANDS.get(cmd_name)
        return None if entry is None else load(cmd_name, entry)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the table of commands without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the table of exit codes."""
        write_exit_codes(formatter)

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:  # noqa: ANN401 - click's
        """Parses the words in front of a command; prints the help that they ask for."""
        with ending():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> object:
        """Runs a command."""
        with ending():
            return super().invoke(ctx)


class Failure(click.ClickException):
    """Ends a command with a message, if there is one to give, and an exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click has it by class

    def show(self, file: Any = None) -> None:  # noqa: ANN401 - click's
        """Print the message on standard error."""
        if self.exit_code != ExitCode.BROKEN_PIPE:
            say_error(self.message)


@contextmanager
def ending() -> Iterator[None]:
    """Turns what ends a command into its message and exit code; what was printed is written before."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt as interrupt:
        raise Failure("interrupted", ExitCode.INTERRUPTED) from interrupt
    except (TinyheapError, MemoryError) as error:
        if process.was_interrupted():  # which libraries have errors of their own for
            raise Failure("interrupted", ExitCode.INTERRUPTED) from error
        raise Failure(str(error) or "this machine has too little memory for it", code_of(error)) from error


def load(name: str, entry: Entry) -> click.Command:
    """The command `name`, imported from the module that its entry names.

    Raises:
        Failure: A library that the command needs is missing or does not load.
    """
    try:
        command: click.Command = importlib.import_module(entry.module).command
    except ImportError as error:
        # A module of tinyheap's that is missing is a bug, which the traceback shows best.
        if (error.name or "").partition(".")[0] == "tinyheap":
            raise
        raise Failure(explain_missing(name, entry, error), ExitCode.CANNOT_READ) from error
    return command


def explain_missing(name: str, entry: Entry, error: ImportError) -> str:
    """One sentence on what the command lacks and how to get it."""
    package = f"tinyheap[{entry.extra}]" if entry.extra else "tinyheap"
    reason = error.__cause__ if isinstance(error, MissingLibraryError) else error
    return (
        f"`tinyheap {name}` needs a library that does not load here ({reason}): "
        f"install it with pip install --upgrade '{package}'."
    )


@click.group(
    cls=CommandTable,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="tinyheap")
def main() -> None:
    """Run, replay and inspect the garbage-collected heaps of TinyGo programs."""
