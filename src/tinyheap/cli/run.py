"""`tinyheap run`: runs a WebAssembly program, with this collector in the place of its own where that can be.

Standard output is the program's, byte for byte; what we have to say goes to standard error.  Exit codes:

======  ================================================================================
0..255  the program's own
1       also: a formatter refused the text
2       also: the program panicked; or the command line makes no sense
122     the heap was found overwritten (`--verify`, `--guard`, or by a collection)
123     stopped at the allocation that `--stop-at` names
124     stopped by `--timeout`
125     the module cannot be run, or not as asked
130     interrupted
134     the program trapped
137     the heap is full (`--heap-limit`, `--growth`, `--memory-limit`)
141     nobody reads the program's output any more
======  ================================================================================
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import click

from tinyheap.cli.interrupt import EXIT_CODE as INTERRUPTED
from tinyheap.cli.interrupt import on_interrupt
from tinyheap.cli.parameters import SIZE
from tinyheap.errors import (
    AllocationStopError,
    DriverError,
    GeometryError,
    GuestError,
    GuestExitError,
    GuestInterruptError,
    GuestTimeoutError,
    GuestTrapError,
    HeapCorruptError,
    HostError,
    OutOfMemoryError,
    RecordingError,
    TinyheapError,
)
from tinyheap.guests.program import COLLECTORS, Program
from tinyheap.guests.takeover import Policy
from tinyheap.heap.engines import ENGINES
from tinyheap.hosts import INHERIT, Folder, Grants
from tinyheap.hosts.drivers import Formatter, find

if TYPE_CHECKING:
    from tinyheap.guests.guest_heap import GuestHeap
    from tinyheap.guests.recorder import Recorder
    from tinyheap.heap.growth import Growth
    from tinyheap.hosts.memory import GuestMemory
    from tinyheap.report.run_summary import RunReport

CANNOT_RECORD: Final = 121
CANNOT_RUN: Final = 125
BROKEN_PIPE: Final = 141
EXIT_CODES: Final[tuple[tuple[type[TinyheapError], int], ...]] = (
    (DriverError, 1),
    (HeapCorruptError, 122),
    (AllocationStopError, 123),
    (GuestTimeoutError, 124),
    (GuestInterruptError, INTERRUPTED),
    (OutOfMemoryError, 137),
    (RecordingError, CANNOT_RECORD),
)
"""The first that fits counts."""


class GrowthType(click.ParamType["Growth"]):
    """How a heap grows: `none`, `double`, `pages`, `step:SIZE` or `ratio:4/3`."""

    name = "growth"

    def convert(self, value: str | Growth, param: click.Parameter | None, ctx: click.Context | None) -> Growth:
        """The policy; a usage error where the text names none."""
        if not isinstance(value, str):
            return value
        from tinyheap.heap.growth import parse_growth

        try:
            return parse_growth(value, lambda size: SIZE.convert(size, param, ctx))
        except GeometryError as error:
            self.fail(str(error), param, ctx)


class FolderType(click.ParamType[Folder]):
    """A folder for the program: `HOST[:GUEST][:rw]`."""

    name = "folder"

    def convert(self, value: str | Folder, param: click.Parameter | None, ctx: click.Context | None) -> Folder:
        """The folder; a usage error where there is none."""
        if isinstance(value, Folder):
            return value
        place, writable = (value[:-3], True) if value.endswith(":rw") else (value, False)
        host, _, guest = place.partition(":")
        if not Path(host).is_dir():
            self.fail(f"{host!r} is no folder; write HOST[:GUEST][:rw]", param, ctx)
        return Folder(Path(host), guest or host, writable)


class VariableType(click.ParamType[tuple[str, str]]):
    """An environment variable: `NAME=VALUE`."""

    name = "variable"

    def convert(
        self, value: str | tuple[str, str], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Name and value; a usage error where there is no name."""
        if isinstance(value, tuple):
            return value
        name, equals, text = value.partition("=")
        if not name or not equals:
            self.fail(f"{value!r} is not NAME=VALUE", param, ctx)
        return name, text


class RunCommand(click.Command):
    """A command line that is cut at the first ``--``: what follows is the program's."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what is ours; words that look like options must be options, or numbers."""
        at = args.index("--") if "--" in args else len(args)
        ctx.obj = tuple(args[at + 1 :])
        rest = super().parse_args(ctx, args[:at])
        for word in ctx.params.get("words", ()):
            if re.match(r"-(?!\d|\.\d|inf|nan|$)", word):
                raise click.NoSuchOption(word, ctx=ctx)
        return rest


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be done with a program."""

    path: Path
    arguments: tuple[str, ...]
    invoked: str | None
    numbers: tuple[str, ...]
    """What is passed to the export that is invoked."""
    stdin: Path | None


RUN_PARAMETERS: Final = (
    click.argument("module", type=click.Path(path_type=Path)),
    click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[-- ARGUMENTS]..."),
    click.option(
        "--invoke", metavar="EXPORT", help="Call this export with the numbers that follow, and print its result."
    ),
    click.option(
        "--gc",
        type=click.Choice(COLLECTORS),
        default="default",
        show_default=True,
        help="default: ours where the module's can be replaced; leaking: none, the heap grows; native: the module as it is.",
    ),
    click.option("--engine", type=click.Choice(ENGINES), help="By default the kernel, where it was compiled."),
    click.option("--clear-blocks", is_flag=True, help="Clear whole blocks, so that stale words keep nothing alive."),
    click.option("--heap-limit", type=SIZE, help="The size up to which the heap may grow."),
    click.option(
        "--growth",
        type=GrowthType(),
        metavar="none|double|pages|step:SIZE|ratio:N/M",
        help="How the heap grows: not at all, to twice its size, the same in whole pages, by SIZE, or to N/M of its size. "
        "By default the program's memory doubles, as it would itself.",
    ),
    click.option("--gc-every", type=click.IntRange(min=1), metavar="N", help="Collect at every N allocations, too."),
    click.option("--verify", is_flag=True, help="Check the heap at each collection and at the end."),
    click.option("--guard", is_flag=True, help="Find out who writes past the end of an object; slow."),
    click.option(
        "--stop-at", type=click.IntRange(min=1), metavar="N", help="Stop at allocation N and say who makes it."
    ),
    click.option(
        "--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Stop the program then."
    ),
    click.option("--memory-limit", type=SIZE, help="The size up to which all of the program's memory may grow."),
    click.option("--env", type=VariableType(), multiple=True, metavar="NAME=VALUE", help="May be repeated."),
    click.option(
        "--dir",
        "folders",
        type=FolderType(),
        multiple=True,
        metavar="HOST[:GUEST][:rw]",
        help="A folder that the program may read, with :rw also write; may be repeated.",
    ),
    click.option("--stdin", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="By default ours."),
    click.option("--seed", type=int, metavar="N", help="Make clock and randomness a function of this number."),
    click.option("-q", "--no-summary", is_flag=True, help="Say nothing of the heap."),
    click.option("--map", "draws_map", is_flag=True, help="Draw the heap at the end, on standard error."),
    click.option(
        "--json", "json_file", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="Write figures."
    ),
)
"""What everybody takes who runs a program."""


def takes_run_parameters(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the parameters of a run, in their order."""
    for decorate in reversed(RUN_PARAMETERS):
        function = decorate(function)
    return function


@click.command(
    cls=RunCommand,
    short_help="Run a WebAssembly program with its heap in our hands.",
    context_settings={"ignore_unknown_options": True},
)
@takes_run_parameters
@click.pass_context
def command(ctx: click.Context, /, module: Path, words: tuple[str, ...], invoke: str | None, **options: Any) -> None:  # noqa: ANN401
    """Run MODULE with its heap in our hands; standard output and the exit code are the program's.

    What follows `--` are the program's arguments.  A module that formats texts is driven: it formats the files that
    its arguments name, or else standard input.  The summary of the heap goes to standard error.

    \b
    Exit codes of ours: 2 panic or usage, 122 heap overwritten, 123 --stop-at,
    124 --timeout, 125 cannot be run, 130 interrupted, 134 trap, 137 heap full,
    141 nobody reads the output.
    """  # noqa: D301 - a backspace is what click knows a block of lines by
    run = Run.asked_for(module, words, invoke, ctx.obj, options)
    run.to_the_end()
    run.report(options["json_file"], says=not options["no_summary"], draws_map=options["draws_map"])
    ctx.exit(run.exit_code)


def _policy(options: dict[str, Any]) -> Policy:
    return Policy(
        engine=options["engine"],
        clear_blocks=options["clear_blocks"],
        heap_limit_bytes=options["heap_limit"],
        growth=options["growth"],
        gc_every=options["gc_every"],
        verify=options["verify"],
        guard=options["guard"],
        stop_at_allocation=options["stop_at"],
    )


def _grants(task: Task, options: dict[str, Any]) -> Grants:
    return Grants(
        arguments=(task.path.name, *task.arguments),
        environment=dict(options["env"]),
        stdin=task.stdin or INHERIT,
        folders=options["folders"],
        seed=options["seed"],
        timeout_s=options["timeout"],
        memory_limit_bytes=options["memory_limit"],
        interruptible=True,
    )


class Run:
    """One run: what is done, how it ended, and what there is to say of it."""

    def __init__(self, task: Task, grants: Grants, policy: Policy, gc: str, recorder: Recorder | None = None) -> None:
        self.task, self.grants, self.policy, self.gc, self.recorder = task, grants, policy, gc, recorder
        self.exit_code = 0
        self.error: str | None = None
        self.program: Program | None = None
        self.prepare_ns = self.run_ns = 0

    @classmethod
    def asked_for(
        cls,
        module: Path,
        words: tuple[str, ...],
        invoke: str | None,
        arguments: tuple[str, ...],
        options: dict[str, Any],
        recorder: Recorder | None = None,
    ) -> Self:
        """The run that a command line asks for."""
        numbers = () if invoke is None else words
        task = Task(module, (*(() if invoke else words), *arguments), invoke, numbers, options["stdin"])
        return cls(task, _grants(task, options), _policy(options), options["gc"], recorder)

    def to_the_end(self) -> None:
        """Prepare the program, run it, and keep how it ended."""
        try:
            with _timed() as prepared, warnings.catch_warnings(record=True) as warned:
                self.program = Program.open(
                    self.task.path, self.grants, self.policy, gc=self.gc, recording=self.recorder
                )
            self.prepare_ns = prepared.elapsed_ns
            for warning in warned:
                click.echo(f"Warning: {warning.message}", err=True)
            try:
                with on_interrupt(self.program.session.interrupt):
                    self.exit_code = self._work(self.program)
            finally:
                self.run_ns = self.program.session.ran_ns
            if self.program.heap is not None:
                self.program.heap.finish()
        except (TinyheapError, OSError, UnicodeDecodeError) as error:
            self._fail(error)
        except KeyboardInterrupt:
            self.exit_code, self.error = INTERRUPTED, "interrupted"
        self._end_recording()

    def _end_recording(self) -> None:
        """Write how the program ended into its recording, if it has one."""
        if self.recorder is None or self.program is None:
            return
        try:
            self.recorder.finish(error=self.error, exit_code=self.program.exit_code)
        except RecordingError as error:
            self._fail(error)

    def _work(self, program: Program) -> int:
        """The exit code of what was asked for."""
        program.start()
        if self.task.invoked is not None and not program.exit_code:
            return self._invoke(program, self.task.invoked)
        # Newer TinyGo lets _start exit with 0, and the exports are there to be called all the same.
        driver = None if program.exit_code else find(program.session)
        if driver is not None:
            return self._format(driver)
        if "_start" not in program.exports:
            names = ", ".join(sorted(program.exports)) or "nothing"
            raise GuestError(f"this module has no _start, so it cannot run alone; --invoke one of its exports: {names}")
        program.session.run_timers()
        return program.exit_code or 0

    def _invoke(self, program: Program, name: str) -> int:
        result = program.call(name, *program.session.arguments_from_text(name, self.task.numbers))
        if result is not None:
            click.echo(result)
        return program.exit_code or 0

    def _format(self, driver: Formatter) -> int:
        """Format the files that the program's arguments name, or else standard input."""
        for name in self.task.arguments or ("-",):
            text, path = self._text(name)
            try:
                formatted = driver.format(text, path)
            except DriverError as error:
                raise DriverError(f"{path or 'standard input'}: {error}") from error
            sys.stdout.buffer.write(formatted.encode())
        sys.stdout.buffer.flush()
        return 0

    def _text(self, name: str) -> tuple[str, str]:
        """A text to be formatted, and its name."""
        if name != "-":
            return Path(name).read_bytes().decode(), Path(name).name
        if self.task.stdin is not None:
            return self.task.stdin.read_bytes().decode(), self.task.stdin.name
        stdin = sys.stdin.buffer
        if stdin.isatty():
            module = self.task.path.name
            raise click.UsageError(
                f"{module} formats texts: name files (tinyheap run {module} -- FILE...), or pipe a text to it"
            )
        return stdin.read().decode(), ""

    def _fail(self, error: Exception) -> None:
        """Keep what an error means to a shell, and to people."""
        if _is_broken_pipe(error):
            self.exit_code, self.error = BROKEN_PIPE, "nobody reads the program's output"
            _silence_stdout()
            return
        if isinstance(error, GuestTrapError | GuestExitError):
            self.exit_code = error.exit_code
        else:
            self.exit_code = next((code for kind, code in EXIT_CODES if isinstance(error, kind)), CANNOT_RUN)
        if isinstance(error, OSError) and not isinstance(error, TinyheapError):
            self.error = f"{error.filename}: {error.strerror}"
        elif isinstance(error, UnicodeDecodeError):
            self.error = f"the text is not UTF-8 at byte {error.start}"
        else:
            self.error = str(error)

    def report(self, json_file: Path | None, *, says: bool, draws_map: bool) -> None:
        """Say how it ended, and what became of the heap."""
        if self.error is not None and self.exit_code != BROKEN_PIPE:
            click.echo(f"Error: {self.error}", err=True)
        program = self.program
        heap = None if program is None or program.heap is None else program.heap
        if says and program is not None:
            for line in self._summary(heap).lines():
                click.echo(line, err=True)
        if draws_map and heap is not None and heap.is_begun:
            from tinyheap.cli.guest_map import draw

            draw(heap)
        if json_file is not None:
            _write_json(json_file, self._summary(heap))
        if program is not None:
            program.close()

    def _summary(self, heap: GuestHeap | None) -> RunReport:
        from tinyheap.report.run_summary import HeapReport, RunReport, own_counters

        program = self.program
        memory = None if program is None else _memory_of(program)
        return RunReport(
            str(self.task.path),
            self.gc,
            None if program is None else program.guest,
            self.exit_code,
            self.error,
            program is not None and program.was_cached,
            self.prepare_ns,
            self.run_ns,
            None if memory is None else len(memory),
            None if program is None or memory is None or heap is not None else own_counters(program.guest, memory),
            None if heap is None else HeapReport.of(heap),
        )


def _memory_of(program: Program) -> GuestMemory | None:
    """A program's memory, if it exports one."""
    try:
        return program.memory
    except HostError:
        return None


class _Clock:
    """Measures from when it is made."""

    def __init__(self) -> None:
        self._begun_ns = time.perf_counter_ns()
        self._ended_ns: int | None = None

    def stop(self) -> None:
        self._ended_ns = time.perf_counter_ns()

    @property
    def elapsed_ns(self) -> int:
        return (self._ended_ns or time.perf_counter_ns()) - self._begun_ns


@contextlib.contextmanager
def _timed() -> Iterator[_Clock]:
    clock = _Clock()
    try:
        yield clock
    finally:
        clock.stop()


def _write_json(file: Path, report: RunReport) -> None:
    try:
        file.write_text(json.dumps(report.as_json(), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise click.FileError(str(file), error.strerror or str(error)) from error


def _is_broken_pipe(error: BaseException) -> bool:
    return isinstance(error, BrokenPipeError) or isinstance(error.__cause__, BrokenPipeError)


def _silence_stdout() -> None:
    """What is still buffered has nowhere to go; the interpreter would complain of it at its end."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
