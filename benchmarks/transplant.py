"""Measures transplanted programs against the same programs as they were: in wasmtime, and in node with their own JavaScript.

In wasmtime a run is what `benchmarks.guests` says, and beside the transplanted module stand tinyheap's collector in the
host and the floor.  In node a process loads a package, and formats the input a few times; its first time has the engine's own
compiling in it, and the second often, too; the *warm* time is the mean of the others, since a program that goes on with its
heap collects in some of them.  All kinds of a run take turns, each as often first.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from benchmarks import guests, tables
from tinyheap.transplanting.operation import perform

WARM_RUNS: Final = 4
SMALL_WARM_RUNS: Final = 60
WAYS: Final = ("native", "served", "transplanted", "floor")
NODE_WAYS: Final = ("native", "transplanted")
GOALS: Final = {guests.GOFMT: 0.10, "sh-syntax@0.3.7": 0.04, "sh-syntax@0.4.0": 0.04, "sh-syntax@0.4.2": 0.17}
"""Of the warm time in node on the reference inputs; elsewhere, and on small inputs, no slower than before is the goal."""
MODULES: Final = (*GOALS, "sh-syntax@0.5.8", "sh-syntax@0.6.0", "sh-syntax@0.7.0")

_SCRIPT: Final = """
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
const { entry, isGo, text, runs, processor } = JSON.parse(await new Response(process.stdin).text());
Object.defineProperty(globalThis, "crypto", { value: globalThis.crypto, writable: true });
const glue = await import(pathToFileURL(entry));
if (isGo) await glue.default();
const format = isGo ? (text) => glue.format(text) : (text) => glue.print(text, { filepath: "x.sh" });
const worked = () => Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, "utf8").split(" ")[0]) / 1e6;
const now = processor ? worked : () => performance.now();
const times = [];
let result;
for (let run = 0; run <= runs; run++) {
  const begun = now();
  result = await format(text);
  times.push(now() - begun);
}
process.stdout.write(JSON.stringify([times, String(result)]), () => process.exit(0));
"""


@dataclass(slots=True)
class Row:
    """One program on one input in one host: times in milliseconds, by the way in which it ran."""

    name: str
    host: str
    kind: str
    goal: float
    times_ms: dict[str, list[float]] = field(default_factory=dict)

    def add(self, way: str, time_ms: float) -> None:
        """One run more."""
        self.times_ms.setdefault(way, []).append(time_ms)

    def ratio(self, way: str) -> float:
        """A way's time by the native one's."""
        return median(self.times_ms[way]) / median(self.times_ms["native"])

    def as_json(self) -> dict[str, Any]:
        """The row as it is written for programs."""
        medians = {f"{way}_ms": round(median(times), 3) for way, times in self.times_ms.items()}
        ratios = {f"{way}_ratio": round(self.ratio(way), 4) for way in self.times_ms if way != "native"}
        kind = {"name": self.name, "host": self.host, "input": self.kind}
        return {**kind, **medians, **ratios, "n": len(self.times_ms["native"])}


@click.command()
@click.option("--only", metavar="TEXT", default="", help="Only modules whose name contains this.")
@click.option("--n", type=click.IntRange(min=1), default=7, show_default=True, help="Runs of each kind; medians count.")
@click.option("--node/--no-node", default=True, show_default=True, help="Whether node runs them, too.")
@click.option(
    "--processor",
    is_flag=True,
    help="Measure node alone, by the processor time of its main thread, which waiting for others is not part of; on Linux.",
)
def main(only: str, n: int, node: bool, processor: bool) -> None:
    """Measure transplanted programs against the same programs as they were."""
    errors = Console(stderr=True)
    rows = []
    for name in MODULES:
        if only not in name:
            continue
        errors.print(name, highlight=False, markup=False)
        inputs = {"small": guests.SMALL.get(name, guests.SMALL_SHELL), "reference": guests.reference(name)}
        guest = guests.load(name)
        if not processor:
            rows += [in_wasmtime(guest, kind, text, n) for kind, text in inputs.items()]
        if node and shutil.which("node"):
            # The others end with an error there on texts of that size, by themselves.
            kinds = inputs if name in GOALS else ["small"]
            rows += [row for kind in kinds for row in in_node(guest, kind, inputs[kind], n, processor=processor)]
    tables.show(table_of(rows))
    for row in rows:
        click.echo(json.dumps(row.as_json()))


def in_wasmtime(guest: guests.Guest, kind: str, text: str, n: int) -> Row:
    """Runs a program each way, taking turns, after one of each that does not count.

    Raises:
        click.ClickException: The ways do not give the same text.
    """
    row = Row(guest.name, "wasmtime", kind, 1.0)
    transplanted = guests.compiled(guest.engine, perform(guests.path_of(guest.name).read_bytes()).wasm)

    def served() -> str:
        session, heap = guests.served(guest, guest.prepared)
        return guests.formatted(session, text, heap)

    ways: dict[str, Callable[[], str]] = {
        "native": lambda: guests.formatted(guests.started(guest.engine, guest.native), text),
        "served": served,
        "transplanted": lambda: guests.formatted(guests.started(guest.engine, transplanted), text),
        "floor": lambda: guests.formatted(guests.started(guest.engine, guest.floor), text),
    }
    turns = n * (guests.SMALL_RUNS if kind == "small" else 1)
    for turn in range(turns + 1):
        first = turn % len(WAYS)
        results = set()
        for way in WAYS[first:] + WAYS[:first]:
            time_ns, result = guests.timed(ways[way])
            results.add(result)
            if turn:
                row.add(way, time_ns / 1e6)
        if len(results) != 1:
            raise click.ClickException(f"{guest.name} gives another text on another allocator ({kind} input)")
    return row


def in_node(guest: guests.Guest, kind: str, text: str, n: int, *, processor: bool) -> list[Row]:
    """The same in node: the rows of first and of warm times."""
    first, warm = (
        Row(guest.name, f"node, {when}", kind, GOALS.get(guest.name, 1.0) if kind == "reference" else 1.0)
        for when in ("first", "warm")
    )
    with tempfile.TemporaryDirectory() as folder:
        entries = {way: installed(guest.name, Path(folder) / way, way) for way in NODE_WAYS}
        for turn in range(n):
            results = set()
            for way in NODE_WAYS if turn % 2 else NODE_WAYS[::-1]:
                times_ms, result = node_run(entries[way], guest.name, text, kind, processor=processor)
                results.add(result)
                first.add(way, times_ms[0])
                warm.add(way, mean(times_ms[2:]))
            if len(results) != 1:
                raise click.ClickException(f"{guest.name} gives another text when it is transplanted ({kind} input)")
    return [first, warm]


def installed(name: str, folder: Path, way: str) -> Path:
    """The JavaScript of a package, copied with its module or with the transplanted one."""
    module = guests.path_of(name)
    package = folder / module.parent.name
    shutil.copytree(module.parent, package)
    (folder / "node_modules").symlink_to(guests.INSTALLED)
    if way == "transplanted":
        (package / module.name).write_bytes(perform(module.read_bytes()).wasm)
    return package / ("gofmt_node.js" if name == guests.GOFMT else "lib/index.js")


def node_run(entry: Path, name: str, text: str, kind: str, *, processor: bool) -> tuple[list[float], str]:
    """One process: how long each formatting took, in milliseconds, and its result."""
    runs = SMALL_WARM_RUNS if kind == "small" else WARM_RUNS
    request = {"entry": str(entry), "isGo": name == guests.GOFMT, "text": text, "runs": runs, "processor": processor}
    done = subprocess.run(
        ["node", "--input-type=module", "--eval", _SCRIPT],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
    )
    times_ms, result = json.loads(done.stdout)
    return times_ms, result


def table_of(rows: list[Row]) -> Table:
    """The rows for people."""
    table = Table(title="whole runs by the same of the module as it was; medians")
    for name in ("name", "host", "input"):
        table.add_column(name, no_wrap=True)
    for name in ("native ms", "transplanted ms", "ratio", "goal", "served", "floor"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        others = [f"{row.ratio(way):.3f}" if way in row.times_ms else "" for way in ("served", "floor")]
        ratio = row.ratio("transplanted")
        color = "[green]" if ratio <= row.goal else "[red]"
        times = [f"{median(row.times_ms[way]):.2f}" for way in NODE_WAYS]
        table.add_row(row.name, row.host, row.kind, *times, f"{color}{ratio:.3f}", f"{row.goal:.2f}", *others)
    return table


if __name__ == "__main__":
    main()
