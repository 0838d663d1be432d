"""Measures what recording a run costs: a table, then one JSON line a row.

A *run* is all from opening a program, prepared before, to its result and its closed file.  Each module runs recorded on
tinyheap's collector (or on its own, where that stays) and unrecorded as it is, in turns; the ratio is the recorded run's median
time by the other's.  The ratio *to the result* leaves out what the file still takes when the program has ended, and that of
*processor time* counts all threads, so that it says what a machine has to do that has no core to spare.  One run of each has
gone before, so that libraries are loaded and an engine of DuckDB's waits.  Modules that keep their allocators are recorded as
samples, too.

A *command* is `tinyheap profile` by `tinyheap run`, both from the start of the process to its end, its summary included, in
processor time.

Beside that a program that does nothing but allocate is recorded for ten million events in a process of its own, whose peak of
resident memory is told.
"""

from __future__ import annotations

import json
import multiprocessing
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

import click
from rich.console import Console
from rich.table import Table

from benchmarks import inputs, tables
from benchmarks.guests import GOFMT, INSTALLED, shell_reference
from tinyheap.guests.cache import Cache
from tinyheap.guests.program import NATIVE, Program
from tinyheap.guests.record.recorder import Recorder
from tinyheap.hosts import Grants
from tinyheap.recognize.identify import block_heap, identify
from tinyheap.units import KIB, MIB
from tinyheap.wasm import Code, Editor, Module

GOFMT_FILE: Final = "gofmt-0.4.9/gofmt.wasm"
MODULES: Final = {
    GOFMT: (GOFMT_FILE, 0.30),
    "sh-syntax@0.4.2": ("sh-syntax-0.4.2/main.wasm", 0.45),
    "sh-syntax@0.6.0": ("sh-syntax-0.6.0/main.wasm", 1.00),
    "@wasm-fmt/gofmt@0.7.3": ("gofmt-0.7.3/gofmt.wasm", 1.50),
    "@wasm-fmt/shfmt@0.2.7": ("shfmt-0.2.7/shfmt.wasm", 1.50),
}
"""Files, and the ratios that are to be reached."""
KEEP_ALLOCATORS: Final = ("@wasm-fmt/gofmt@0.7.3", "@wasm-fmt/shfmt@0.2.7")
SAMPLE_BYTES: Final = 512 * KIB
SAMPLED_GOAL: Final = 1.10
COMMAND_GOAL: Final = 1.50
EVENTS: Final = 10_000_000


class Times(NamedTuple):
    """How long a run took, in nanoseconds."""

    whole: int
    result: int
    processor: int


@dataclass(slots=True)
class Row:
    """One program on its reference input."""

    name: str
    goal: float
    sample_bytes: int | None = None
    native: list[Times] = field(default_factory=list)
    ours: list[Times] = field(default_factory=list)
    events: int = 0
    file_bytes: int = 0

    def ratio(self, kind: str, middle: Callable[[list[int]], float] = median) -> float:
        """A recorded run's time by an unrecorded one's, of those that are a field of `Times`."""
        ours, native = ([getattr(each, kind) for each in times] for times in (self.ours, self.native))
        return middle(ours) / middle(native)

    def as_json(self) -> dict[str, Any]:
        """The row as it is written for programs."""
        return {
            "name": self.name,
            "ratio": round(self.ratio("whole"), 4),
            "ratio_of_minima": round(self.ratio("whole", min), 4),
            "ratio_to_result": round(self.ratio("result"), 4),
            "ratio_of_processor_time": round(self.ratio("processor"), 4),
            "native_ms": round(median(each.whole for each in self.native) / 1e6, 3),
            "ours_ms": round(median(each.whole for each in self.ours) / 1e6, 3),
            "n": len(self.ours),
            "events": self.events,
            "file_bytes": self.file_bytes,
        }


@click.command()
@click.option("--only", metavar="TEXT", default="", help="Only modules whose name contains this.")
@click.option("--n", type=click.IntRange(min=1), default=5, show_default=True, help="Runs of each kind; medians count.")
@click.option("--events", default=EVENTS, show_default=True, help="Events of the long recording; 0 for none.")
def main(only: str, n: int, events: int) -> None:
    """Measure what recording a run costs."""
    errors = Console(stderr=True)
    rows = []
    for name, (file, goal) in MODULES.items():
        if only in name:
            errors.print(name, highlight=False, markup=False)
            rows.append(measure(Row(name, goal), read(file), reference(name), n))
            if name in KEEP_ALLOCATORS:
                sampled = Row(f"{name}, a sample", SAMPLED_GOAL, SAMPLE_BYTES)
                rows.append(measure(sampled, read(file), reference(name), n))
    commands = [measure_command(name, n) for name in KEEP_ALLOCATORS if only in name]
    long = record_in_a_process(events) if events else None
    tables.show(table_of(rows))
    for command in commands:
        click.echo(
            f"`tinyheap profile` by `tinyheap run`, {command['name']}: {command['ratio']:.2f} (goal: {COMMAND_GOAL:.2f})"
        )
    if long is not None:
        click.echo(
            f"{long['events']:,} events: {long['ours_ms']:,.0f} ms, a file of {long['file_bytes'] / MIB:,.0f} MiB, "
            f"{long['peak_bytes'] / MIB:,.0f} MiB resident at most"
        )
    for results in [row.as_json() for row in rows] + commands + ([] if long is None else [long]):
        click.echo(json.dumps(results))


def read(file: str) -> bytes:
    """A module as it was fetched."""
    path = INSTALLED / file
    if not path.exists():
        raise click.ClickException(f"{file} is not at {path}: `make guests` installs it")
    return path.read_bytes()


def reference(name: str) -> str:
    """The large input of a program."""
    return inputs.go_source() if "gofmt" in name else shell_reference()


def measure(row: Row, wasm: bytes, text: str, n: int) -> Row:
    """Runs a program `n` times each way, taking turns, after one of each that does not count.

    Raises:
        click.ClickException: The ways do not give the same text.
    """
    for number in range(n + 1):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.tinyheap"
            recorder, ours, said = timed(wasm, text, path, row.sample_bytes)
            assert recorder is not None, "it was asked for"
            row.events, row.file_bytes = recorder.events, path.stat().st_size
        _, native, native_said = timed(wasm, text, None)
        if said != native_said:
            raise click.ClickException(f"{row.name} gives another text when it is recorded")
        if number:
            row.ours.append(ours)
            row.native.append(native)
    return row


def timed(
    wasm: bytes, text: str, path: Path | None, sample_bytes: int | None = None
) -> tuple[Recorder | None, Times, str]:
    """What recorded a run, if that was asked for; how long it took; and what it gives."""
    begun_ns, begun_processor_ns = time.perf_counter_ns(), time.process_time_ns()
    recorder = None if path is None else Recorder.to_file(path, sample_bytes=sample_bytes)
    gc = NATIVE if recorder is None else "default"
    with Program.open(wasm, Grants(seed=1), gc=gc, recording=recorder) as program:
        program.start()
        said = program.driver().format(text, "script.sh")
        result_ns = time.perf_counter_ns() - begun_ns
    times = Times(time.perf_counter_ns() - begun_ns, result_ns, time.process_time_ns() - begun_processor_ns)
    return recorder, times, said


def measure_command(name: str, n: int) -> dict[str, Any]:
    """The commands `tinyheap profile` and `tinyheap run`, in turns: processor time of whole processes."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / ("a.go" if "gofmt" in name else "a.sh")
        source.write_text(reference(name))
        rest = [str(INSTALLED / MODULES[name][0]), "--", str(source)]
        output = ["--force", "--output", str(Path(folder) / "a.tinyheap")]
        ways = {"run": ["run", *rest], "profile": ["profile", *output, *rest]}
        times: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(n + 1):
            for way, words in ways.items():
                taken_s = processor_s_of([sys.executable, "-m", "tinyheap", *words])
                times[way] += [taken_s] if number else []
    run_s, profile_s = median(times["run"]), median(times["profile"])
    facts = {"run_ms": round(run_s * 1e3, 1), "profile_ms": round(profile_s * 1e3, 1), "n": n}
    return {"name": f"command, {name}", "ratio": round(profile_s / run_s, 4), **facts}


def processor_s_of(command: list[str]) -> float:
    """The processor time of a process, the system's for it included, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def record_in_a_process(events: int) -> dict[str, Any]:
    """A recording of so many events, made where nothing else takes memory."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(record_many, (events,))


def record_many(events: int) -> dict[str, Any]:
    """A recording of a program that allocates and drops objects of 16 bytes, in a heap that is collected."""
    module = Module.parse(read(GOFMT_FILE))
    editor = Editor(module)
    loop = Code().loop(None).i32_const(16).call(block_heap(identify(module)).alloc_function).drop()
    loop = loop.local_get(0).i32_const(1).i32_sub().local_tee(0).br_if(0).end()
    editor.export("allocate", "function", editor.add_function(["i32"], [], loop))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tinyheap"
        recorder = Recorder.to_file(path)
        with Program.open(editor.encode(), Grants(seed=1), recording=recorder, cache=Cache(None)) as program:
            program.start()
            begun_ns = time.perf_counter_ns()
            program.call("allocate", events)
        ours_ns = time.perf_counter_ns() - begun_ns
        return {
            "name": "many events",
            "ours_ms": round(ours_ns / 1e6, 3),
            "n": 1,
            "events": recorder.events,
            "file_bytes": path.stat().st_size,
            "peak_bytes": peak_bytes(),
        }


def peak_bytes() -> int:
    """The most memory that this process had resident; what `getrusage` says may be that of the one that started it."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def table_of(rows: list[Row]) -> Table:
    """The rows for people."""
    table = Table(title="whole runs, recorded, by the same unrecorded on the program's own collector; medians")
    table.add_column("name", no_wrap=True)
    for name in ("native ms", "recorded ms", "events", "ratio", "of minima", "to result", "processor", "goal"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        ratio = row.ratio("whole")
        color = "[green]" if ratio <= row.goal else "[red]"
        times = (f"{median(each.whole for each in series) / 1e6:.2f}" for series in (row.native, row.ours))
        others = (row.ratio("whole", min), row.ratio("result"), row.ratio("processor"))
        ratios = (f"{color}{ratio:.3f}", *(f"{each:.3f}" for each in others))
        table.add_row(row.name, *times, f"{row.events:,}", *ratios, f"{row.goal:.2f}")
    return table


if __name__ == "__main__":
    main()
