"""Measures what recording a run costs: a table, then one JSON line a row.

A *run* is all from opening a program, prepared before, to its result and its closed file.  Each module runs recorded on
tinyheap's collector (or on its own, where that stays) and unrecorded as it is, in turns; the ratio is the recorded run's median
time by the other's.  The ratio *to the result* leaves out what the file still takes when the program has ended.  Beside
that a program that does nothing but allocate is recorded for ten million events in a process of its own, whose peak of
resident memory is told.
"""

from __future__ import annotations

import json
import multiprocessing
import re
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from benchmarks import inputs
from benchmarks.guests import GOFMT, INSTALLED, shell_reference
from tinyheap.guests.cache import Cache
from tinyheap.guests.program import NATIVE, Program
from tinyheap.guests.record.recorder import Recorder
from tinyheap.hosts import Grants
from tinyheap.recognize.identify import block_heap, identify
from tinyheap.units import MIB
from tinyheap.wasm import Code, Editor, Module

GOFMT_FILE: Final = "gofmt-0.4.9/gofmt.wasm"
MODULES: Final = {
    GOFMT: (GOFMT_FILE, 0.30),
    "sh-syntax@0.4.2": ("sh-syntax-0.4.2/main.wasm", 0.45),
    "sh-syntax@0.6.0": ("sh-syntax-0.6.0/main.wasm", 1.00),
    "@wasm-fmt/gofmt@0.7.3": ("gofmt-0.7.3/gofmt.wasm", 1.15),
    "@wasm-fmt/shfmt@0.2.7": ("shfmt-0.2.7/shfmt.wasm", 1.15),
}
"""Files, and the ratios that are to be reached; the last two keep their own allocators."""
EVENTS: Final = 10_000_000


@dataclass(slots=True)
class Row:
    """One program on its reference input: times in nanoseconds."""

    name: str
    goal: float
    native_ns: list[int] = field(default_factory=list)
    ours_ns: list[int] = field(default_factory=list)
    native_result_ns: list[int] = field(default_factory=list)
    ours_result_ns: list[int] = field(default_factory=list)
    events: int = 0
    file_bytes: int = 0

    @property
    def ratio(self) -> float:
        """A recorded run's time by an unrecorded one's."""
        return median(self.ours_ns) / median(self.native_ns)

    @property
    def ratio_of_minima(self) -> float:
        """The same of the shortest times, which a busy machine disturbs least."""
        return min(self.ours_ns) / min(self.native_ns)

    @property
    def ratio_to_result(self) -> float:
        """The same of the times up to the program's result."""
        return median(self.ours_result_ns) / median(self.native_result_ns)

    def as_json(self) -> dict[str, Any]:
        """The row as it is written for programs."""
        return {
            "name": self.name,
            "ratio": round(self.ratio, 4),
            "ratio_of_minima": round(self.ratio_of_minima, 4),
            "ratio_to_result": round(self.ratio_to_result, 4),
            "native_ms": round(median(self.native_ns) / 1e6, 3),
            "ours_ms": round(median(self.ours_ns) / 1e6, 3),
            "n": len(self.ours_ns),
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
    long = record_in_a_process(events) if events else None
    Console().print(table_of(rows))
    if long is not None:
        click.echo(
            f"{long['events']:,} events: {long['ours_ms']:,.0f} ms, a file of {long['file_bytes'] / MIB:,.0f} MiB, "
            f"{long['peak_bytes'] / MIB:,.0f} MiB resident at most"
        )
    for results in [row.as_json() for row in rows] + ([] if long is None else [long]):
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
            recorder = Recorder.to_file(path)
            ours_result_ns, ours_ns, ours = timed(wasm, text, recorder)
            row.events, row.file_bytes = recorder.events, path.stat().st_size
        native_result_ns, native_ns, native = timed(wasm, text, None)
        if ours != native:
            raise click.ClickException(f"{row.name} gives another text when it is recorded")
        if number:
            row.ours_ns.append(ours_ns)
            row.native_ns.append(native_ns)
            row.ours_result_ns.append(ours_result_ns)
            row.native_result_ns.append(native_result_ns)
    return row


def timed(wasm: bytes, text: str, recorder: Recorder | None) -> tuple[int, int, str]:
    """How long a run takes up to its result, and whole, in nanoseconds; and what it gives."""
    begun_ns = time.perf_counter_ns()
    gc = NATIVE if recorder is None else "default"
    with Program.open(wasm, Grants(seed=1), gc=gc, recording=recorder) as program:
        program.start()
        said = program.driver().format(text, "script.sh")
        result_ns = time.perf_counter_ns() - begun_ns
    return result_ns, time.perf_counter_ns() - begun_ns, said


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
    for name in ("native ms", "recorded ms", "events", "ratio", "of minima", "to result", "goal"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        color = "[green]" if row.ratio <= row.goal else "[red]"
        times = (f"{median(series) / 1e6:.2f}" for series in (row.native_ns, row.ours_ns))
        ratios = (f"{color}{row.ratio:.3f}", f"{row.ratio_of_minima:.3f}", f"{row.ratio_to_result:.3f}")
        table.add_row(row.name, *times, f"{row.events:,}", *ratios, f"{row.goal:.2f}")
    return table


if __name__ == "__main__":
    main()
