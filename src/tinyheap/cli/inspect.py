"""`tinyheap inspect`: what is alive in a program's heap at one moment, what keeps it alive, and by which word.

It is given a snapshot, or a module, which it runs as `tinyheap run` does, to inspect its end or another moment.  What the
program prints then goes to standard error.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import click

from tinyheap.cli.exporting import export_options
from tinyheap.cli.parameters import COUNT, INPUT, OUTPUT, SIZE, Input, InputFile, OutputTarget, takes
from tinyheap.cli.run import RUN_PARAMETERS, CommandRun, RunCommand
from tinyheap.errors import SnapshotError
from tinyheap.guests.program import LEAKING
from tinyheap.inspect.answers import answers_of
from tinyheap.inspect.inspection import Inspection
from tinyheap.inspect.paths import MOST_PATHS
from tinyheap.inspect.proving import SecondRun
from tinyheap.json_of import json_of
from tinyheap.report.consoles import result_console
from tinyheap.report.exports.formats import HEAP_FORMATS, export_heap
from tinyheap.report.html.heap_page import heap_page
from tinyheap.report.terminal.inspection import AnswersCard
from tinyheap.snapshots.moments import Moment, MomentKind
from tinyheap.snapshots.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinyheap.guests.record.recorder import Recorder
    from tinyheap.inspect.answers import Answers
    from tinyheap.snapshots.snapshot import Births

PROVING_SEED: Final = 1
"""Of runs that are to be the same, where none was chosen."""
OFFSET_BLOCKS: Final = 7
"""By so many blocks all objects have moved in the second run of a proof."""
_FILE: Final = InputFile("that is for the program; name a file")
_CORE: Final = b"\x04core"
"""How the section begins that core dumps have and modules have not: its name, with its length."""


@click.command(
    cls=RunCommand,
    short_help="Say what is alive in a heap, and what keeps it alive.",
    context_settings={"ignore_unknown_options": True},
)
@click.argument("module", metavar="FILE", type=INPUT)
@takes(*RUN_PARAMETERS[1:])  # without the module, which is declared here
@click.option(
    "--module",
    "ran",
    type=_FILE,
    help="Read names from this module, the one that ran; needed for memory that does not say where its heap lies.",
)
@click.option(
    "--why",
    "wanted",
    metavar="ADDRESS|NAME",
    help="Say what keeps an object alive, or the objects of a name: a type, an allocation site or a root.",
)
@click.option(
    "--paths",
    type=COUNT,
    default=MOST_PATHS,
    show_default=True,
    metavar="COUNT",
    help="Show at most so many paths with --why; no two of them share an object that another path could avoid.",
)
@click.option("--object", "shown", metavar="ADDRESS", help="Show an object: its words, its text, who refers to it.")
@click.option("--retained", is_flag=True, help="Show which objects would take others with them, as a tree.")
@click.option("--holes", type=SIZE, help="Say why an object of this size has no room, and what is in the way.")
@click.option("--against", type=_FILE, help="Compare with this earlier snapshot of the same program.")
@click.option(
    "--prove",
    "proves",
    is_flag=True,
    help="Run the module twice, the second time with all objects at other addresses, and say which words that hold objects are "
    "numbers, or stale pointers, and what they alone keep alive.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--html", type=OUTPUT, help="Write all that there is to see as one HTML page to this file.")
@export_options(HEAP_FORMATS, "the heap")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    module: Input,
    words: tuple[str, ...],
    invoke: str | None,
    ran: Input | None,
    wanted: str | None,
    paths: int,
    shown: str | None,
    retained: bool,
    holes: int | None,
    against: Input | None,
    proves: bool,
    as_json: bool,
    html: OutputTarget | None,
    exports: tuple[tuple[str, OutputTarget], ...],
    **options: Any,  # noqa: ANN401 - a run's
) -> None:
    """Say what is alive in the heap of FILE, what keeps it alive, and what will be freed.

    FILE is a snapshot (of `tinyheap run --snapshot`, or a WebAssembly core dump of another tool, or the bare image of a
    memory), or a module: that is run as `tinyheap run` does, and inspected at its end or at the moment that --at names. What
    it prints goes to standard error.

    A NAME is that of objects or of what holds them, as the overview shows them, or a part of it.
    """
    if as_json and any(output.is_stream for output in (html, *(output for _, output in exports)) if output):
        raise click.UsageError("--json is printed on standard output: name a file for --html and --export")
    for file in (ran, against, options["symbols"], options["host"], options["stdin"]):
        if file is not None:
            file.check()
    data = module.read()
    symbols = None if options["symbols"] is None else options["symbols"].read()
    if is_module(data):
        if ran is not None:
            raise click.UsageError(f"{module} is a module itself: --module is for snapshots")

        def made(recorder: Recorder | None = None) -> CommandRun:
            run = CommandRun.from_command_line(module, words, invoke, ctx.obj, options, recorder)
            run.wasm = data
            return run

        inspection, second_run = _opened(ctx, made, data, symbols, options, proves=proves)
    else:
        if proves or words or ctx.obj or options["moment"] is not None:
            raise click.UsageError(
                f"{module} is a snapshot, which is not run: arguments, --at and --prove are for modules"
            )
        code = None if ran is None else ran.read()
        inspection, second_run = Inspection.of(_loaded(module, data), code, symbols), None
    earlier = None if against is None else _earlier(against, inspection, symbols)
    answers = answers_of(inspection, wanted, shown, holes, earlier, second_run, retained=retained, paths=paths)
    if html:
        html.write(heap_page(inspection, earlier).encode())
        click.echo(f"wrote {html}", err=True)
    _export(inspection, answers, exports)
    if as_json:
        found = {name: each for name, each in json_of(answers).items() if each is not None}
        click.echo(json.dumps(found))
    elif not html and not exports:
        result_console().print(AnswersCard(answers))


def _opened(
    ctx: click.Context,
    made: Callable[..., CommandRun],
    data: bytes,
    symbols: bytes | None,
    options: dict[str, Any],
    *,
    proves: bool,
) -> tuple[Inspection, SecondRun | None]:
    """The heap of a module that is run now; where words are to be proved, a second run, too."""
    if not proves:
        return Inspection.of(_ran(made()), data, symbols), None
    options["seed"] = PROVING_SEED if options["seed"] is None else options["seed"]
    options["stdin"] = _kept(ctx, options["stdin"])
    (snapshot, births), (second, own_births) = _ran_twice(made)
    second_run = SecondRun(Inspection.of(second, data, symbols), births, own_births)
    return Inspection.of(snapshot, data, symbols), second_run


def _export(inspection: Inspection, answers: Answers, exports: tuple[tuple[str, OutputTarget], ...]) -> None:
    """Write every file that was asked for."""
    for name, output in exports:
        content = HEAP_FORMATS[name].content
        if content is None:
            export_heap(inspection, name, output.path)
        else:
            output.write(content(inspection, answers.why))
        click.echo(f"wrote {output}", err=True)


def is_module(data: bytes) -> bool:
    """Whether a file is a module to be run, and not a snapshot."""
    return data.startswith(b"\0asm") and _CORE not in data[:64]


def _earlier(file: Input, inspection: Inspection, symbols: bytes | None) -> Inspection:
    """The snapshot to compare with.

    Raises:
        SnapshotError: it is of another program.
    """
    snapshot, later = _loaded(file, file.read()), inspection.snapshot
    if later.module_sha256 is not None:
        snapshot.check_module(later.module_sha256)
    return Inspection.of(snapshot, None if inspection.module is None else bytes(inspection.module.data), symbols)


def _loaded(file: Input, data: bytes) -> Snapshot:
    try:
        return Snapshot.from_bytes(data)
    except SnapshotError as error:
        raise SnapshotError(f"{file}: {error}") from error


def _ran_twice(
    made: Callable[[Recorder | None], CommandRun],
) -> tuple[tuple[Snapshot, Births], tuple[Snapshot, Births]]:
    """A program run as it is, and then without collections and with its objects elsewhere: for both, what became of it.

    Raises:
        click.UsageError: the program's heap is not served.
        SnapshotError: as `_ran`.
    """
    from tinyheap.guests.record.recorder import Recorder

    with TemporaryDirectory(prefix="tinyheap-") as folder:
        first, second = Path(folder) / "first.tinyheap", Path(folder) / "second.tinyheap"
        run = made(Recorder.to_file(first))
        found = _recorded(run, first)
        again = made(Recorder.to_file(second))
        again.moment, again.gc = _when(found[0], run.moment), LEAKING
        again.policy = replace(run.policy, leaking=True, gc_every=None, clear_blocks=False, offset_blocks=OFFSET_BLOCKS)
        return found, _recorded(again, second)


def _recorded(run: CommandRun, path: Path) -> tuple[Snapshot, Births]:
    """The snapshot of a recorded run, and all objects that it allocated."""
    from tinyheap.profile.origins import births_of
    from tinyheap.recordings.recording import Recording

    run.recorded = path
    snapshot = _ran(run)
    if snapshot.heap is None or snapshot.allocations is None:
        raise click.UsageError("--prove needs a module whose heap tinyheap serves, so that it can move its objects")
    with Recording.open(path) as recording:
        return snapshot, births_of(recording, snapshot.allocations)


def _kept(ctx: click.Context, stdin: Input) -> Input:
    """Standard input as a file that can be read twice, until the command ends."""
    if not stdin.is_stream or sys.stdin.isatty():
        return stdin
    file = Path(ctx.with_resource(TemporaryDirectory(prefix="tinyheap-"))) / "stdin"
    file.write_bytes(stdin.read())
    return Input(str(file))


def _when(snapshot: Snapshot, moment: Moment | None) -> Moment | None:
    """The moment in a run without collections that a moment is in one with them."""
    is_collection = moment is not None and moment.kind in (MomentKind.COLLECTION, MomentKind.PEAK)
    if not is_collection or snapshot.allocations is None or snapshot.moment is None:
        return moment
    return Moment(MomentKind.ALLOCATION, snapshot.allocations + 1)


def _ran(run: CommandRun) -> Snapshot:
    """The snapshot of a program that is run now.

    Raises:
        SnapshotError: the moment did not come.
        TinyheapError: the program could not be run.
    """
    run.grants, run.says_on_stderr = replace(run.grants, stdout=run.grants.stderr), True
    run.execute()
    if run.program is None:
        assert run.failure is not None, "else there would be a program"
        raise run.failure
    try:
        snapshot = run.snapshot_of(run.program)
    finally:
        run.program.close()
    if snapshot is None:
        raise SnapshotError(f"--at {run.moment}: not reached, so that there is nothing to inspect")
    if run.failure is not None and snapshot.trap is None:
        click.echo(f"the run failed: {run.error}", err=True)
    return snapshot
