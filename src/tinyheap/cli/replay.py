"""`tinyheap replay`: replays allocation traces and shows what the collector did, or compares it with expectations.

A trace that cannot be run is an error of its own: the others still run, and the exit code says so in the end.  Running
out of memory is a result like any other.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import click
from rich.console import Console
from rich.text import Text

from tinyheap.cli.exits import ExitCode, code_of, say_error
from tinyheap.cli.parameters import COLLECTOR, INPUT, SIZE, Command, Input
from tinyheap.cli.progress import progress_bar
from tinyheap.errors import ExpectationError, GeometryError, InputError, TinyheapError
from tinyheap.files import is_folder, text_of
from tinyheap.heap.blockmap import unpack_states
from tinyheap.heap.collectors import Collector
from tinyheap.heap.contract import Gc
from tinyheap.heap.engines import ENGINES, choose_engine, engine_name_of
from tinyheap.heap.nextfit.model import MARK_STACK_WORDS
from tinyheap.report.consoles import result_console
from tinyheap.report.terminal.heap_map import HeapMap
from tinyheap.report.terminal.replay_card import Outcome, ReplayCard, ReplayTable, verdict
from tinyheap.traces.expectation import Difference, collector_of, first_difference, parse_expectation
from tinyheap.traces.replay import Replay, replay
from tinyheap.traces.replay_summary import summary_of
from tinyheap.traces.trace import Trace, unpacked

FAITHFUL: Final = "faithful"
UNBOUNDED: Final = "unbounded"
MARK_STACK_LIMIT: Final = 1 << 32


class MarkStackType(click.ParamType[int | str]):
    """How many entries the mark stack holds, or one of two words."""

    name = "entries"

    def convert(self, value: int | str, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """A positive number, `faithful` or `unbounded`; else a usage error."""
        if value in (FAITHFUL, UNBOUNDED) or isinstance(value, int):
            return value
        if not (re.fullmatch("[0-9]{1,10}", value) and 1 <= int(value) <= MARK_STACK_LIMIT):
            expected = f"{FAITHFUL}, {UNBOUNDED} or a number from 1 to {MARK_STACK_LIMIT}"
            self.fail(f"invalid number of entries {value!r}: expected {expected}", param, ctx)
        return int(value)


@dataclass(frozen=True, slots=True)
class Setting:
    """How traces are run; None leaves a choice to the trace, its expectation or the engine."""

    gc: Gc | None
    collector: Collector | None
    engine: str | None
    heap_bytes: int | None
    limit_bytes: int | None
    mark_stack: int | str | None

    def mark_stack_entries(self, trace: Trace) -> int | None:
        """What `replay` is to be told; 0 for a mark stack that never overflows."""
        if self.mark_stack == FAITHFUL:
            return MARK_STACK_WORDS * trace.word_bytes
        if self.mark_stack == UNBOUNDED:
            return 0
        return None if self.mark_stack is None else int(self.mark_stack)

    def marks_faithfully(self, result: Replay) -> bool:
        """Whether overflows and rescans are those of the original."""
        entries = self.mark_stack_entries(result.trace)
        return entries == MARK_STACK_WORDS * result.trace.word_bytes or (entries is None and result.engine == "model")


class ReplayOutput(Protocol):
    """Where the results of replays go."""

    hashes: bool
    """Whether it shows hashes of the block table, which take time to make."""

    def replayed(self, trace: str, result: Replay, outcome: Outcome) -> None:
        """A trace was replayed."""

    def failed(self, trace: str, message: str) -> None:
        """A trace could not be replayed."""

    def finish(self) -> None:
        """There are no more traces."""


class JsonOutput:
    """One line of JSON per trace on standard output, and nothing else there."""

    hashes = True

    def replayed(self, trace: str, result: Replay, outcome: Outcome) -> None:
        """Prints the statistics; a difference is for people and goes to standard error."""
        more = {"trace": trace, "collector": str(result.collector), "engine": result.engine}
        times = {"alloc_ns": result.alloc_ns, "mark_ns": result.mark_ns, "sweep_ns": result.sweep_ns}
        click.echo(json.dumps({**more, **result.as_vector(), **times}, separators=(",", ":")))
        if outcome.difference:
            click.echo(f"{outcome.name}: differs in {outcome.difference}", err=True)

    def failed(self, trace: str, message: str) -> None:
        """Prints the error."""
        click.echo(json.dumps({"trace": trace, "error": message}, separators=(",", ":")))

    def finish(self) -> None:
        """All is printed."""


class ScreenOutput:
    """Tables and heap maps for people."""

    hashes = False

    def __init__(self, console: Console, *, alone: bool, maps: bool) -> None:
        self.console = console
        self.alone = alone
        self.maps = maps
        self.outcomes: list[Outcome] = []

    def replayed(self, trace: str, result: Replay, outcome: Outcome) -> None:
        """Prints a trace that is alone; others wait for the table.  Maps are not kept waiting."""
        self.outcomes.append(outcome)
        if self.alone:
            self.console.print(ReplayCard(outcome))
        if self.maps:
            self._print_map(result, outcome)

    def _print_map(self, result: Replay, outcome: Outcome) -> None:
        self.console.print(Text("" if self.alone else outcome.name, "bold"))
        if result.gc is Gc.LEAKING:
            self.console.print("no heap map: the leaking collector has no blocks")
            return
        geometry = result.geometry
        states = unpack_states(result.table, geometry.end_block, result.collector)
        self.console.print(HeapMap(states, geometry.start_address, geometry.block_bytes))

    def failed(self, trace: str, message: str) -> None:
        """Prints the error, on standard error."""
        say_error(message)

    def finish(self) -> None:
        """Prints the table, and what became of expectations."""
        if self.outcomes and not self.alone:
            self.console.print(ReplayTable(self.outcomes))
        for line in verdict(self.outcomes):
            self.console.print(line, soft_wrap=True)


@click.command(cls=Command, short_help="Replay allocation traces on a heap.")
@click.argument("traces", nargs=-1, required=True, type=INPUT, metavar="TRACE...")
@click.option(
    "--gc",
    type=click.Choice([str(gc) for gc in Gc]),
    help="Choose which words of objects may be pointers: all (conservative) or those that layouts name (precise), or free "
    "nothing at all (leaking). By default as --expect says, or else conservative.",
)
@click.option(
    "--collector",
    type=COLLECTOR,
    metavar="NAME",
    help="Choose the collector's algorithm: next-fit, best-fit-front, best-fit-back, best-fit for the newest, or a release "
    "of TinyGo that had it, 0.20 to 0.42; by default the one whose statistics --expect has, or else next-fit.",
)
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    help="Choose the implementation of the collector; by default the kernel, where it was compiled.",
)
@click.option(
    "--heap",
    "heap_bytes",
    type=SIZE,
    help="Set the size of the heap at the start (64KiB, 16M), instead of the trace's.",
)
@click.option(
    "--limit", "limit_bytes", type=SIZE, help="Let the heap grow up to this size, instead of the trace's limit."
)
@click.option(
    "--mark-stack",
    type=MarkStackType(),
    metavar="N|faithful|unbounded",
    help=f"Limit the mark stack to N entries, 1 to {MARK_STACK_LIMIT}; `faithful` limits it to 8 words, as TinyGo does. "
    "By default it is unbounded in the kernel and faithful in the model.",
)
@click.option(
    "--expect",
    "expected",
    type=INPUT,
    multiple=True,
    help="Compare the replay with the statistics in this file, or in a folder where NAME.json belongs to NAME.trace[.gz]; "
    "may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON per trace, instead of tables.")
@click.option(
    "--map/--no-map",
    "maps",
    default=None,
    help="Draw the heap's blocks at the end; by default only for a single trace.",
)
@click.pass_context
def command(
    ctx: click.Context,
    traces: tuple[Input, ...],
    gc: str | None,
    collector: Collector | None,
    engine: str | None,
    heap_bytes: int | None,
    limit_bytes: int | None,
    mark_stack: int | str | None,
    expected: tuple[Input, ...],
    as_json: bool,
    maps: bool | None,
) -> None:
    """Replay allocation traces (`-` reads standard input) on a heap and show what the collector did."""
    if heap_bytes and limit_bytes and limit_bytes < heap_bytes:
        raise click.UsageError(f"--limit {limit_bytes} is below --heap {heap_bytes}; raise --limit, or lower --heap")
    files = pair_expectations(traces, expected)
    setting = Setting(Gc(gc) if gc else None, collector, engine, heap_bytes, limit_bytes, mark_stack)
    errors = result_console(stderr=True)
    alone = len(traces) == 1
    output: ReplayOutput = JsonOutput()
    if not as_json:
        console = result_console()
        output = ScreenOutput(console, alone=alone, maps=alone if maps is None else maps)
    codes = [run(trace, file, setting, output, errors) for trace, file in zip(traces, files, strict=True)]
    output.finish()
    ctx.exit(max(codes))


def run(trace: Input, file: Input | None, setting: Setting, output: ReplayOutput, errors: Console) -> int:
    """Replays one trace and hands over what came of it; the exit code that this means."""
    try:
        result, difference = attempt(trace, file, setting, errors, hashes=output.hashes)
    except (TinyheapError, MemoryError) as error:
        output.failed(text_of(trace.name), explain(error, trace))
        return code_of(error)
    summary = summary_of(result, limit_bytes=setting.limit_bytes)
    output.replayed(text_of(trace.name), result, Outcome(short_name(trace), summary, file is not None, difference))
    return ExitCode.DONE if difference is None else ExitCode.FAILED


def attempt(
    source: Input, file: Input | None, setting: Setting, errors: Console, *, hashes: bool
) -> tuple[Replay, Difference | None]:
    """A trace's replay, and the first difference from the expectation in a file.

    Raises:
        TinyheapError: The expectation or the trace is broken or cannot be read, or the heap cannot be laid out.
        MemoryError: This machine has too little memory for it.
    """
    expectation = parse_expectation(file.read(), str(file), setting.collector) if file else None
    collector = setting.collector or (collector_of(expectation) if expectation else Collector.NEXT_FIT)
    trace = unpacked(source.read())
    heap_bytes = setting.heap_bytes or trace.heap_bytes
    if setting.limit_bytes and setting.limit_bytes < heap_bytes:
        raise GeometryError(
            f"--limit {setting.limit_bytes} is below the trace's initial heap of {heap_bytes} bytes; raise --limit, or lower "
            "the heap by --heap"
        )
    with progress_bar(errors, short_name(source), trace.step_count) as progress:
        result = replay(
            trace,
            setting.gc or (Gc.PRECISE if expectation and expectation["precise"] else Gc.CONSERVATIVE),
            engine_name(setting.engine, collector),
            collector=collector,
            heap_bytes=setting.heap_bytes,
            limit_bytes=setting.limit_bytes,
            mark_stack_entries=setting.mark_stack_entries(trace),
            hashes=hashes or expectation is not None,
            progress=progress,
        )
    if expectation is None:
        return result, None
    return result, first_difference(expectation, result, mark_stack=setting.marks_faithfully(result))


def pair_expectations(traces: Sequence[Input], expected: Sequence[Input]) -> list[Input | None]:
    """For each trace the file with its expectation, which may not exist; None for all where none are given.

    Raises:
        click.UsageError: A trace has none, or a file is of no trace or of one that another file is of.
    """
    if not expected:
        return [None] * len(traces)
    folders = [each for each in expected if is_folder(each.path)]
    files = [each for each in expected if each not in folders]
    if len(traces) == len(expected) == len(files) == 1:
        return list(files)
    names = [f"{short_name(trace)}.json" for trace in traces]
    by_name: dict[str, Input] = {}
    for file in files:
        name = text_of(file.path.name)
        if name not in names:
            raise click.UsageError(
                f"--expect {file}: there is no trace for it: NAME.json belongs to NAME.trace or NAME.trace.gz"
            )
        if by_name.setdefault(name, file) != file:
            raise click.UsageError(
                f"--expect {file}: {by_name[name]} has the same name, and so belongs to the same trace; leave one of them out"
            )
    return [by_name.get(name) or _in_folders(name, folders) for name in names]


def _in_folders(name: str, folders: Sequence[Input]) -> Input:
    """The file of that name in the first folder that has it; else where it should be, for an error to tell."""
    if not folders:
        raise click.UsageError(f"no --expect names {name}, or a folder with it, for the trace of that name")
    places = [Input(str(folder.path / name)) for folder in folders]
    return next((place for place in places if place.path.exists()), places[0])


def short_name(trace: Input) -> str:
    """NAME of a trace at `.../NAME.trace.gz`."""
    return text_of(trace.path.name.removesuffix(".gz").removesuffix(".trace"))


def engine_name(name: str | None, collector: Collector) -> str:
    """The engine that serves a collector; that it is the slow one by necessity is said on standard error.

    Raises:
        HeapError: The kernel was asked for and is not there.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        engine = choose_engine(name, collector)
    for warning in caught:
        click.echo(f"Warning: {warning.message}", err=True)
    return engine_name_of(engine)


def explain(error: Exception, trace: Input) -> str:
    """One line on what went wrong with a trace; errors of reading and of expectations name their file."""
    if isinstance(error, InputError | ExpectationError):
        return str(error)
    return f"{trace}: {str(error) or 'this machine has too little memory for it'}"
