"""`tinyheap run`: runs a WebAssembly program, on tinyheap's collector where its own can be replaced.

Standard output is the program's, byte for byte; messages of tinyheap's go to standard error.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Self

import click

from tinyheap.cli.exits import ExitCode, code_of, code_of_trap, say_error, write_exit_codes
from tinyheap.cli.parameters import (
    COLLECTOR,
    COUNT,
    HOST,
    INPUT,
    MOMENT,
    MOMENTS,
    OUTPUT,
    SEED,
    SIZE,
    Command,
    Input,
    InputFile,
    NumberRange,
    OptionalValue,
    OutputTarget,
    takes,
)
from tinyheap.errors import (
    AllocationStopError,
    ArgumentError,
    DriverError,
    GeometryError,
    GuestError,
    GuestTrapError,
    HostError,
    InputError,
    MalformedModuleError,
    PolicyError,
    RecordingError,
    TinyheapError,
)
from tinyheap.files import identity_of, is_file, is_folder, text_of
from tinyheap.formatters import Formatter, find
from tinyheap.guests.ending import Ending, EndKind, ending_of
from tinyheap.guests.policy import Policy, parse_headroom
from tinyheap.guests.program import COLLECTORS, LEAKING, Program
from tinyheap.heap.engines import ENGINES
from tinyheap.hosts import INHERIT, Folder, Grants
from tinyheap.hosts.functions import ALL
from tinyheap.hosts.grants import TIMEOUT_LIMIT_S
from tinyheap.hosts.host_file import HostFile
from tinyheap.process import on_interrupt
from tinyheap.report.text import printable
from tinyheap.snapshots.moments import Moment, MomentKind
from tinyheap.snapshots.snapshot import COMPRESSED

if TYPE_CHECKING:
    from tinyheap.guests.guest_heap import GuestHeap
    from tinyheap.guests.record.recorder import Recorder
    from tinyheap.heap.growth import Growth
    from tinyheap.hosts.memory import GuestMemory
    from tinyheap.report.terminal.run_summary import RunReport
    from tinyheap.snapshots.snapshot import Snapshot

ALWAYS_COLLECTED: Final = {"gc_every": "--gc-every", "clear_blocks": "--clear-blocks", "headroom": "--headroom"}
"""Options that mean nothing for a heap that is never collected."""


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


class HeadroomType(click.ParamType[Fraction]):
    """What a collection is to leave free: `none` or a share such as `1/3`."""

    name = "headroom"

    def convert(self, value: str | Fraction, param: click.Parameter | None, ctx: click.Context | None) -> Fraction:
        """The share; a usage error where the text names none."""
        if isinstance(value, Fraction):
            return value
        try:
            return parse_headroom(value)
        except PolicyError as error:
            self.fail(str(error), param, ctx)


class FolderType(click.ParamType[Folder]):
    """A folder for the program: `HOST[:GUEST][:ro|:rw]`."""

    name = "folder"

    def convert(self, value: str | Folder, param: click.Parameter | None, ctx: click.Context | None) -> Folder:
        """The folder; a usage error where there is none, or the program could not name it."""
        if isinstance(value, Folder):
            return value
        match = re.fullmatch(r"([^:]*)(?::([^:]*))??(?::(ro|rw))?", value, re.DOTALL)
        if match is None or not match[1] or match[2] == "":
            self.fail(f"invalid folder {text_of(value)!r}: expected HOST[:GUEST][:ro|:rw]", param, ctx)
        host, guest, access = match.groups()
        if not is_folder(Path(host)):
            self.fail(f"invalid folder {text_of(host)!r}: there is no such folder", param, ctx)
        if guest not in (None, ".") and not PurePosixPath(guest).is_absolute():
            self.fail(
                f"invalid folder {text_of(guest)!r} for the program: expected an absolute path, or . for its current folder",
                param,
                ctx,
            )
        return Folder(Path(host), text_of(guest or host), access == "rw")


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
            self.fail(f"invalid variable {text_of(value)!r}: expected NAME=VALUE", param, ctx)
        return name, text


MODULE_WITH_SYMBOLS: Final = InputFile("that is for the program; name a file")


class RunCommand(Command):
    """A command line that is cut at the first ``--``: what follows is the program's."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what is before the ``--``; words that look like options must be options, or numbers."""
        at = args.index("--") if "--" in args else len(args)
        ctx.obj = tuple(args[at + 1 :])
        own = args[:at]
        for parameter in self.params:
            if isinstance(parameter, OptionalValue):
                own = [parameter.without_value(word) for word in own]
        rest = super().parse_args(ctx, own)
        module: Input | None = ctx.params.get("module")
        for word in (*([module.name] if module else []), *ctx.params.get("words", ())):
            if re.match(r"-(?!\d|\.\d|inf|nan|$)", word):
                name = word.partition("=")[0]
                known = [each for parameter in self.params for each in (*parameter.opts, *parameter.secondary_opts)]
                raise click.NoSuchOption(name, possibilities=get_close_matches(name, known, n=1), ctx=ctx)
        return rest

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the table of exit codes, or what a command says instead."""
        if self.epilog:
            super().format_epilog(ctx, formatter)
        else:
            write_exit_codes(formatter)

    def files_read(self, ctx: click.Context) -> Iterator[tuple[object, str]]:
        """What the command reads, and files that the program's arguments name."""
        yield from super().files_read(ctx)
        for word in (*ctx.params["words"], *ctx.obj):
            for path in (Path(word), *_seen_as(word, ctx.params["folders"])):
                if is_file(path):
                    yield identity_of(path), f"{text_of(path)}, which is an argument of the program"


def _seen_as(word: str, folders: tuple[Folder, ...]) -> Iterator[Path]:
    """The files of this machine that a program may mean by a word."""
    for folder in folders:
        with contextlib.suppress(ValueError):
            yield folder.host_path / PurePosixPath(word).relative_to(folder.guest_path)


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be done with a program."""

    module: Input
    arguments: tuple[str, ...]
    invoked: str | None
    numbers: tuple[str, ...]
    """What is passed to the export that is invoked."""
    stdin: Input
    may_drive: bool
    """Whether a driver may call the program, where one is known for it."""
    host: Input | None = None
    """The file of Python that is its host."""
    stubs: tuple[str, ...] = ()
    """The imports that answer zero."""


RUN_PARAMETERS: Final = (
    click.argument("module", type=INPUT),
    click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[-- ARGUMENTS]..."),
    click.option(
        "--invoke",
        metavar="EXPORT",
        help="Call this export with the numbers that follow MODULE, and print its result.",
    ),
    click.option(
        "--gc",
        type=click.Choice(COLLECTORS),
        default="default",
        show_default=True,
        help="Choose who manages the heap: `default` is tinyheap's collector, where the module's own can be replaced; "
        "`leaking` is tinyheap without collections, so that the heap only grows; `native` is the module as it is.",
    ),
    click.option(
        "--collector",
        type=COLLECTOR,
        metavar="NAME",
        help="Serve the heap by another collector than the program's own: next-fit, best-fit-front, best-fit-back, best-fit "
        "or a release of TinyGo from 0.20 to 0.42. Addresses are others then, and the program runs slower, since no compiled "
        "code serves its allocations. Programs that depend on their own collector are refused.",
    ),
    click.option(
        "--engine",
        type=click.Choice(ENGINES),
        help="Choose the implementation of tinyheap's collector; by default the kernel, where it was compiled.",
    ),
    click.option(
        "--clear-blocks",
        is_flag=True,
        help="Zero every block of a new object, including the padding, so that stale pointers there retain nothing.",
    ),
    click.option(
        "--heap-limit",
        type=SIZE,
        help="Let the heap, a part of the program's memory, grow up to this size, and no further.",
    ),
    click.option(
        "--growth",
        type=GrowthType(),
        metavar="none|double|pages|step:SIZE|ratio:N/M",
        help="Choose how the heap grows: not at all; to twice its size; to twice its size, rounded up to pages of 64 KiB; by "
        "SIZE; or to N/M of its size. By default it grows until the program's memory has doubled, as with TinyGo's collector.",
    ),
    click.option(
        "--headroom",
        type=HeadroomType(),
        metavar="none|N/M",
        help="Let the heap grow at once where a collection leaves less than this share of it free. By default a third, as in "
        "TinyGo's collector; with `none` it grows only when there is no room.",
    ),
    click.option(
        "--gc-every",
        type=COUNT,
        metavar="N",
        help="Collect at every Nth allocation, too, not only when the heap is full.",
    ),
    click.option("--verify", is_flag=True, help="Check the heap for damage at each collection and at the end."),
    click.option(
        "--guard",
        is_flag=True,
        help="Find out which function writes past the end of an object. The program runs slower.",
    ),
    click.option(
        "--stop-at", type=COUNT, metavar="N", help="Stop the program at allocation N and show which function makes it."
    ),
    click.option(
        "--timeout",
        type=NumberRange(0, TIMEOUT_LIMIT_S, min_open=True),
        metavar="SECONDS",
        help="Stop the program after SECONDS.",
    ),
    click.option(
        "--memory-limit",
        type=SIZE,
        help="Let the linear memory of the program (stack, globals and heap) grow up to this size, and no further.",
    ),
    click.option(
        "--initial-memory",
        type=SIZE,
        help="Let the linear memory of the program begin with this size, as if it had been linked with it, instead of the size "
        "that the module says.",
    ),
    click.option(
        "--env",
        type=VariableType(),
        multiple=True,
        metavar="NAME=VALUE",
        help="Set an environment variable of the program; may be repeated.",
    ),
    click.option(
        "--dir",
        "folders",
        type=FolderType(),
        multiple=True,
        metavar="HOST[:GUEST][:ro|:rw]",
        help="Let the program read the folder HOST as GUEST, and with :rw write to it; may be repeated.",
    ),
    click.option(
        "--stdin",
        type=INPUT,
        default="-",
        help="Give the program this file as its standard input; by default the command's own.",
    ),
    click.option(
        "--host",
        type=HOST,
        metavar="FILE.py",
        help="Offer the program the functions that this Python file defines, and let the file drive the program if it "
        "defines how.",
    ),
    click.option(
        "--stub-imports",
        "stubs",
        cls=OptionalValue,
        is_flag=False,
        flag_value=ALL,
        multiple=True,
        metavar="MODULE.NAME",
        help="Replace imported functions by stubs that return zero: without a value, all that no host offers; with "
        "MODULE.NAME, that function even if it is offered. May be repeated.",
    ),
    click.option(
        "--seed",
        type=SEED,
        metavar="N",
        help="Seed the program's clock and random numbers, so that every run is the same.",
    ),
    click.option(
        "--symbols",
        type=MODULE_WITH_SYMBOLS,
        help="Read debug information (source lines) from this other build of MODULE, whose code must be the same; by default "
        "from MODULE itself.",
    ),
    click.option(
        "--full-paths",
        is_flag=True,
        help="Show source files by their full paths on the machine that compiled them, instead of shortened names.",
    ),
    click.option(
        "--no-driver",
        is_flag=True,
        help="Run a module that formats texts like any other module, without passing texts to it.",
    ),
    click.option(
        "--at",
        "moment",
        type=MOMENT,
        metavar=MOMENTS,
        help="Choose the moment of the snapshot: the end of the run (by default), the collection that leaves most in use, a "
        "trap, or allocation, collection or call number N.",
    ),
)
"""The parameters of every command that runs a program, whatever it tells of the run."""
REPORT_PARAMETERS: Final = (
    click.option(
        "--snapshot",
        "snapshot_file",
        type=OUTPUT,
        help="Write a snapshot of the program to this file, for `tinyheap inspect`: a WebAssembly core dump, compressed if "
        "the name ends in .gz.",
    ),
    click.option("-q", "--no-summary", is_flag=True, help="Print no summary of the heap."),
    click.option("--map", "draws_map", is_flag=True, help="Draw the heap's blocks at the end, on standard error."),
    click.option(
        "--json", "json_file", type=OUTPUT, help="Write the summary of the run and its heap to this file, as JSON."
    ),
)
"""The parameters of every command that runs a program and then reports on the run."""


takes_run_parameters: Final = takes(*RUN_PARAMETERS, *REPORT_PARAMETERS)
"""Gives a command the parameters of a run, in their order."""


@click.command(
    cls=RunCommand,
    short_help="Run a WebAssembly program on tinyheap's collector.",
    context_settings={"ignore_unknown_options": True},
)
@takes_run_parameters
@click.pass_context
def command(ctx: click.Context, /, module: Input, words: tuple[str, ...], invoke: str | None, **options: Any) -> None:  # noqa: ANN401
    """Run MODULE on tinyheap's collector, where its own can be replaced; else as it is.

    Standard output and the exit code are the program's.  The words after `--` are the program's arguments.  A module that
    is known to format texts is given the files that its arguments name, or else standard input, and the formatted texts
    are printed.  The summary of the heap goes to standard error.
    """
    run = CommandRun.from_command_line(module, words, invoke, ctx.obj, options)
    run.execute()
    run.report_as(options)
    ctx.exit(run.exit_code)


def policy_of(options: dict[str, Any]) -> Policy:
    """How the options of a run say that heaps are run."""
    return Policy(
        collector=options["collector"],
        engine=options["engine"],
        clear_blocks=options["clear_blocks"],
        heap_limit_bytes=options["heap_limit"],
        growth=options["growth"],
        headroom=options["headroom"],
        gc_every=options["gc_every"],
        verify=options["verify"],
        guard=options["guard"],
        stop_at_allocation=options["stop_at"],
    )


def _grants(task: Task, options: dict[str, Any]) -> Grants:
    return Grants(
        arguments=(text_of(task.module.path.name), *task.arguments),
        environment=dict(options["env"]),
        stdin=INHERIT if task.stdin.is_stream else task.stdin.path,
        folders=options["folders"],
        seed=options["seed"],
        timeout_s=options["timeout"],
        memory_limit_bytes=options["memory_limit"],
        initial_memory_bytes=options["initial_memory"],
        interruptible=True,
    )


def _check(options: dict[str, Any]) -> None:
    """Refuse options that mean nothing beside others.

    Raises:
        click.UsageError: Says which.
    """
    for name, option in ALWAYS_COLLECTED.items():
        if options["gc"] == LEAKING and options[name] not in (None, False):
            raise click.UsageError(f"--gc leaking and {option} exclude each other: a leaking heap is never collected")
    if options["moment"] is not None and options.get("snapshot_file", True) is None:
        raise click.UsageError("--at is the moment of a snapshot; name its file, too (--snapshot FILE)")


class CommandRun:
    """The run of a program that a command line asks for: what is done, how it ended, and the report on it.

    Attributes:
        recorded: The whole recording of the run, once there is one, for the origins of a snapshot's objects.
        wasm: The module's bytes, where they were read before from what can be read once; None to read it.
        says_on_stderr: Whether results go to standard error, since standard output is for something else.
    """

    def __init__(
        self,
        task: Task,
        grants: Grants,
        policy: Policy,
        gc: str,
        recorder: Recorder | None = None,
        symbols: Input | None = None,
        moment: Moment | None = None,
    ) -> None:
        self.moment = moment
        self.recorded: Path | None = None
        self.says_on_stderr = False
        self.wasm: bytes | None = None
        self.task, self.grants, self.policy, self.gc, self.recorder = task, grants, policy, gc, recorder
        self.symbols = symbols
        self.exit_code = 0
        self.error: str | None = None
        self.failure: BaseException | None = None
        self.ending = Ending(EndKind.FINISHED)
        self.program: Program | None = None
        self.driver: Formatter | None = None
        self.host: HostFile | None = None
        self.prepare_ns = self.run_ns = 0

    @classmethod
    def from_command_line(
        cls,
        module: Input,
        words: tuple[str, ...],
        invoke: str | None,
        arguments: tuple[str, ...],
        options: dict[str, Any],
        recorder: Recorder | None = None,
    ) -> Self:
        """The run that a command line asks for.

        Raises:
            click.UsageError: It makes no sense.
        """
        _check(options)
        numbers = () if invoke is None else words
        own = (*(() if invoke else words), *arguments)
        may_drive, host, stubs = not options["no_driver"], options["host"], options["stubs"]
        task = Task(module, own, invoke, numbers, options["stdin"], may_drive, host, stubs)
        wanted = options.get("snapshot_file", True)
        moment = None if wanted is None else options["moment"] or Moment(MomentKind.END)
        grants, policy = _grants(task, options), policy_of(options)
        return cls(task, grants, policy, options["gc"], recorder, options["symbols"], moment)

    def execute(self) -> None:
        """Prepare the program, run it, and keep how it ended."""
        try:
            self._prepare()
            assert self.program is not None
            try:
                with on_interrupt(self.program.session.interrupt):
                    self.exit_code = self._work(self.program)
            finally:
                self.run_ns = self.program.session.ran_ns
            if self.program.heap is not None:
                self.program.heap.finish()
        except TinyheapError as error:
            self._fail(error)
        except KeyboardInterrupt as error:
            self.exit_code, self.error, self.failure = ExitCode.INTERRUPTED, "interrupted", error
        except (Exception, SystemExit) as error:
            self._end_by_host(error)
        self.ending = ending_of(self.failure, self.program, self.exit_code)
        if isinstance(self.failure, GuestTrapError):
            self.exit_code = code_of_trap(self.failure, self.ending.kind)
        self._end_recording()

    def _end_by_host(self, error: Exception | SystemExit) -> None:
        """Keep what the code of a host file raised; any other error that is not tinyheap's is a bug."""
        if self.host is None:
            raise error
        if isinstance(error, Exception):
            self._fail(self.host.raised(error))
        elif error.code is None or isinstance(error.code, int):
            self.exit_code = (error.code or 0) & 0xFF
        else:
            self.exit_code, self.error = ExitCode.FAILED, error.code

    def _prepare(self) -> None:
        module = self.task.module
        self.task.stdin.check()
        if self.task.host is not None:
            self.host = self._loaded(self.task.host)
        imports = None if self.host is None else self.host.imports
        with _timed() as prepared, warnings.catch_warnings(record=True) as warned:
            try:
                is_kept = not module.is_stream and is_file(module.path)
                source = module.path if is_kept else self.wasm if self.wasm is not None else module.read()
                symbols = None if self.symbols is None else self.symbols.read()
                self.program = Program.open(
                    source,
                    self.grants,
                    self.policy,
                    gc=self.gc,
                    recording=self.recorder,
                    imports=imports,
                    stub_imports=self.task.stubs,
                    symbols=symbols,
                    snapshot_at=self.moment,
                )
            except InputError as error:
                if self.task.invoked is None:
                    raise
                written = f"tinyheap run --invoke {self.task.invoked} MODULE NUMBERS..."
                raise InputError(f"{error}; the module comes before the numbers: {written}") from error
            except MalformedModuleError as error:
                raise MalformedModuleError(f"{module}: {error}") from error
        self.prepare_ns = prepared.elapsed_ns
        for warning in warned:
            click.echo(f"Warning: {warning.message}", err=True)

    def _loaded(self, file: Input) -> HostFile:
        """The host that a file defines.

        Raises:
            HostFileError: It defines none.
            click.UsageError: It drives the program, and so does --invoke.
        """
        if isinstance(sys.stdout, io.TextIOWrapper):
            # What the file prints comes before what the program writes afterwards.
            sys.stdout.reconfigure(write_through=True)
        host = HostFile.load(file.path)
        if host.drive is not None and self.task.invoked is not None:
            raise click.UsageError(f"--invoke and {file} exclude each other: both drive the program")
        return host

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
        if self.host is not None and self.host.drive is not None and not program.exit_code:
            return self.host.driven(program)
        if self.task.invoked is not None and not program.exit_code:
            return self._invoke(program, self.task.invoked)
        # Newer TinyGo lets _start exit with 0, and the exports are there to be called all the same.
        if self.task.may_drive and not program.exit_code:
            self.driver = find(program.session)
        if self.driver is not None:
            return self._format(self.driver)
        if "_start" not in program.exports:
            names = ", ".join(sorted(program.exports)) or "nothing"
            raise GuestError(
                f"this module exports no _start, which would run it: call one of its exports ({names}) with --invoke, or from "
                "a file with --host"
            )
        program.session.run_timers()
        return program.exit_code or 0

    def _invoke(self, program: Program, name: str) -> int:
        try:
            numbers = program.session.arguments_from_text(name, self.task.numbers)
        except ArgumentError as error:
            written = f"tinyheap run --invoke {name} {self.task.module} NUMBERS..."
            raise ArgumentError(f"{error}; write them after the module, before any --: {written}") from error
        result = program.call(name, *numbers)
        if result is not None:
            click.echo(result, err=self.says_on_stderr)
        return program.exit_code or 0

    def _format(self, driver: Formatter) -> int:
        """Format the files that the program's arguments name, or else standard input."""
        output = sys.stderr.buffer if self.says_on_stderr else sys.stdout.buffer
        for source in map(Input, self.task.arguments or ("-",)):
            text, name = self._text(self.task.stdin if source.is_stream else source)
            try:
                formatted = driver.format(text, "" if source.is_stream and not name else text_of(Path(name).name))
            except DriverError as error:
                raise DriverError(f"{name or source}: {error}") from error
            output.write(formatted.encode())
        output.flush()
        return 0

    def _text(self, source: Input) -> tuple[str, str]:
        """A text to be formatted, and its file's name, empty for standard input.

        Raises:
            InputError: It cannot be read, or is not UTF-8.
            click.UsageError: Somebody would have to type it.
        """
        if source.is_stream and sys.stdin.isatty():
            module = self.task.module
            raise click.UsageError(
                f"{module} formats texts: name files (tinyheap run {module} -- FILE...), or pipe a text to it"
            )
        try:
            return source.read().decode(), "" if source.is_stream else str(source)
        except UnicodeDecodeError as error:
            raise InputError(f"{source}: the text is not UTF-8 at byte {error.start}") from error

    def _fail(self, error: Exception) -> None:
        """Keep what an error means to a shell, and to people."""
        self.failure, self.exit_code = error, code_of(error)
        self.error = (
            "the program's output is not read any more" if self.exit_code == ExitCode.BROKEN_PIPE else str(error)
        )

    def report_as(self, options: dict[str, Any]) -> None:
        """Say how it ended, and what became of the heap, as a command line asks for it.

        Raises:
            OutputError: A file cannot be written.
        """
        snapshot_file: OutputTarget | None = options["snapshot_file"]
        says, draws_map = not options["no_summary"], options["draws_map"]
        if snapshot_file is not None and self.program is not None:
            self._write_snapshot(snapshot_file, self.program)
        self.report(options["json_file"], says=says, draws_map=draws_map)

    def _write_snapshot(self, file: OutputTarget, program: Program) -> None:
        """Write the snapshot, or say why there is none."""
        snapshot = self.snapshot_of(program)
        if snapshot is None:
            click.echo(f"--at {self.moment}: not reached, so that there is no snapshot", err=True)
            return
        file.write(snapshot.to_bytes(compressed=file.name.endswith(COMPRESSED)))

    def snapshot_of(self, program: Program) -> Snapshot | None:
        """The snapshot of the moment that was asked for, with the origins of objects where the run was recorded."""
        snapshot = program.snapshot_taken
        if snapshot is None or self.recorded is None or snapshot.allocations is None:
            return snapshot
        from tinyheap.profile.origins import origins_of
        from tinyheap.recordings.recording import Recording

        with Recording.open(self.recorded) as recording:
            if recording.run.sample_bytes is not None:  # it has few of the objects
                return snapshot
            return replace(snapshot, origins=origins_of(recording, snapshot.allocations))

    def report(self, json_file: OutputTarget | None, *, says: bool, draws_map: bool) -> None:
        """Say how it ended, and what became of the heap.

        Raises:
            OutputError: The file cannot be written.
        """
        if self.error is not None and self.exit_code != ExitCode.BROKEN_PIPE:
            say_error(self.error)
        if self.program is None:
            heap = None
        else:
            heap = self.program.heap
            self._say(self.program, heap, says=says, draws_map=draws_map)
        try:
            if json_file is not None:
                json_file.write(json.dumps(self._summary(heap).as_json(), indent=2).encode() + b"\n")
        finally:
            if self.program is not None:
                self.program.close()

    def _say(self, program: Program, heap: GuestHeap | None, *, says: bool, draws_map: bool) -> None:
        """Print the summary, and why there is not what was asked for."""
        if says and self.driver is not None:
            click.echo(
                f"{self.task.module}: its exports show a formatter, so it was given texts; --no-driver runs it as it is",
                err=True,
            )
        if says:
            for line in self._summary(heap).lines():
                click.echo(printable(line), err=True)
        wanted = self.policy.stop_at_allocation
        if wanted is not None and heap is not None and not isinstance(self.failure, AllocationStopError):
            made = heap.stats().mallocs
            click.echo(f"--stop-at {wanted}: not reached, since the program made only {made:,} allocations", err=True)
        if draws_map:
            if heap is not None and heap.is_begun:
                from tinyheap.cli.guest_map import draw

                draw(heap)
            else:
                why = "the program allocated nothing" if heap is not None else f"this module {_serving_of(program)}"
                click.echo(f"--map: there is no heap to draw: {why}", err=True)

    def _summary(self, heap: GuestHeap | None) -> RunReport:
        from tinyheap.report.terminal.run_summary import HeapReport, RunReport, own_counters

        program = self.program
        memory = None if program is None else _memory_of(program)
        return RunReport(
            str(self.task.module),
            self.gc,
            None if program is None else program.guest,
            self.exit_code,
            self.error,
            program is not None and program.was_cached,
            self.prepare_ns,
            self.run_ns,
            None if memory is None else len(memory),
            None if program is None or memory is None or heap is not None else own_counters(program.guest, memory),
            None if program is None or heap is None else HeapReport.of(heap, program.session.entered_ns),
            {} if program is None else dict(program.stub_calls),
            self.ending,
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


def _serving_of(program: Program) -> str:
    """What works for a module that runs as it is."""
    return "ran natively" if program.guest is None else program.guest.served
