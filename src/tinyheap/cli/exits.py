"""The exit codes of all commands, in one table from which help texts and the documentation take them."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import click

from tinyheap import process
from tinyheap.errors import (
    AllocationStopError,
    ArgumentError,
    DriverError,
    GuestExitError,
    GuestInterruptError,
    GuestTimeoutError,
    GuestTrapError,
    HeapCorruptError,
    HostRaisedError,
    OutOfMemoryError,
    OutputError,
    QueryError,
    TinyheapError,
)
from tinyheap.guests.ending import EndKind
from tinyheap.report.text import printable


class ExitCode(IntEnum):
    """How a command ends; between 0 and 255 a program's own codes come to these."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    OVER_BUDGET = 3
    CANNOT_WRITE = process.CANNOT_WRITE
    OVERWRITTEN = 122
    STOPPED = 123
    TIMED_OUT = 124
    CANNOT_READ = 125
    INTERRUPTED = process.INTERRUPTED
    TRAPPED = 134
    HEAP_FULL = 137
    BROKEN_PIPE = process.BROKEN_PIPE


MEANINGS: Final = {
    ExitCode.DONE: "done; `run`, `profile` and `live` end with the program's own code, 0 to 255",
    ExitCode.FAILED: "failed: a replay is not as expected, a formatter refuses the text, a host file raises an exception, or a "
    "transplanted module does something else",
    ExitCode.USAGE: "the command line or a query is invalid; also the code of a Go program that panics",
    ExitCode.OVER_BUDGET: "a run is over its budget, or it is not known whether it is (see `check`)",
    ExitCode.CANNOT_WRITE: "something cannot be written: a file, a recording, standard output",
    ExitCode.OVERWRITTEN: "the heap was overwritten: --verify, --guard or a collection found damage",
    ExitCode.STOPPED: "stopped at the allocation that --stop-at names",
    ExitCode.TIMED_OUT: "stopped after the time that --timeout names",
    ExitCode.CANNOT_READ: "an input is missing, unreadable or of the wrong kind, or cannot be run as asked",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C",
    ExitCode.TRAPPED: "the program trapped",
    ExitCode.HEAP_FULL: "the heap is full and cannot grow (see --heap-limit, --growth, --memory-limit)",
    ExitCode.BROKEN_PIPE: "whatever read the output has stopped reading (a broken pipe)",
}
"""In the order of their numbers, a phrase each."""

_BY_ERROR: Final[tuple[tuple[type[Exception], ExitCode], ...]] = (
    (OutputError, ExitCode.CANNOT_WRITE),
    (DriverError, ExitCode.FAILED),
    (HostRaisedError, ExitCode.FAILED),
    (ArgumentError, ExitCode.USAGE),
    (QueryError, ExitCode.USAGE),
    (HeapCorruptError, ExitCode.OVERWRITTEN),
    (AllocationStopError, ExitCode.STOPPED),
    (GuestTimeoutError, ExitCode.TIMED_OUT),
    (GuestInterruptError, ExitCode.INTERRUPTED),
    (OutOfMemoryError, ExitCode.HEAP_FULL),
    (TinyheapError, ExitCode.CANNOT_READ),
    (MemoryError, ExitCode.CANNOT_READ),
)
"""The first that fits counts."""


_BY_KIND: Final = {EndKind.OUT_OF_MEMORY: ExitCode.HEAP_FULL, EndKind.STACK_OVERFLOW: ExitCode.TRAPPED}
"""Where a trap alone says less."""


def code_of(error: BaseException) -> int:
    """What an error means to a shell: one of `ExitCode`, or with what the program ended itself."""
    if is_broken_pipe(error):
        return ExitCode.BROKEN_PIPE
    if isinstance(error, GuestTrapError | GuestExitError):
        return error.exit_code
    return next(code for kind, code in _BY_ERROR if isinstance(error, kind))


def code_of_trap(error: GuestTrapError, kind: EndKind) -> int:
    """What a trap means to a shell, once it is known what it was."""
    return _BY_KIND.get(kind, error.exit_code)


def is_broken_pipe(error: BaseException | None) -> bool:
    """Whether an error, or one of its causes, is a broken pipe: the output is not read any more."""
    while error is not None and not isinstance(error, BrokenPipeError):
        error = error.__cause__
    return error is not None


def say_error(message: str) -> None:
    """Print an error on standard error, with nothing in it that a terminal would obey."""
    click.echo("\n".join(map(printable, f"Error: {message}".split("\n"))), err=True)


def write_exit_codes(formatter: click.HelpFormatter) -> None:
    """Write the table of exit codes below a help text."""
    with formatter.section("Exit codes"):
        formatter.write_dl([(str(int(code)), meaning) for code, meaning in MEANINGS.items()])
