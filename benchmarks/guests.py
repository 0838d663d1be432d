"""Measures real programs on tinyheap's collector against the same programs on their own: a table, then one JSON line per row.

A *run* is all between a compiled module and nothing left of its program: store and linker are made, all imports served,
the module instantiated, its start run, the text formatted, and the store closed.  On tinyheap's collector the heap is prepared
in it, too.  Finding the heap, rewriting and compiling are not part of it.  Python's own collector waits until a run is
over, as in `timeit`.  The *floor* is the same run with allocation and collection costing almost nothing: the allocator
is a bump pointer in WebAssembly.  All kinds of a run take turns in one process, each as often first as the others.
"""

from __future__ import annotations

import gc
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final

import click
import wasmtime
from rich.console import Console
from rich.table import Table

from benchmarks import inputs, tables
from tinyheap import formatters, hosts
from tinyheap.errors import DriverError
from tinyheap.guests.policy import Policy
from tinyheap.guests.rehearse.rehearsal import rehearse
from tinyheap.guests.rewrite.rewriting import ALLOC_IMPORT, rewrite
from tinyheap.guests.serve.prepared import BoundHeap, PreparedHeap
from tinyheap.heap.growth import FixedStep
from tinyheap.heap.stats import Collection
from tinyheap.recognize.facts import ServedHeap
from tinyheap.recognize.identify import block_heap, identify
from tinyheap.units import MIB
from tinyheap.wasm import Code, Editor, Module

ROOT: Final = Path(__file__).parents[1]
INSTALLED: Final = ROOT / "tests" / "guests" / "node_modules"
COMPILED: Final = ROOT / "build" / "benchmarks" / "guests"
GOFMT: Final = "@wasm-fmt/gofmt@0.4.9"
GOALS: Final[Mapping[str, float | None]] = {
    GOFMT: 0.15,
    "sh-syntax@0.3.7": 1.02,
    "sh-syntax@0.4.0": 0.15,
    "sh-syntax@0.4.2": 0.25,
    "sh-syntax@0.5.8": 1.02,
    "sh-syntax@0.6.0": None,
    "sh-syntax@0.7.0": None,
}
"""The modules, and the ratio of tinyheap's time to theirs that is to be reached on the reference inputs; None for
`FLOOR_GOAL` times the floor's."""
FLOOR_GOAL: Final = 1.25
SMALL_GOAL: Final = 1.02
SMALL: Final = {GOFMT: "package a\n"}
SMALL_SHELL: Final = "echo hi\n"
SMALL_RUNS: Final = 8
"""Short runs are made so many times as often."""
CALLS: Final = 200_000
SIZE_BYTES: Final = 16
CALLBACK_GOAL_NS: Final = 30


@dataclass(frozen=True, slots=True)
class Guest:
    """A program, compiled in each way that is compared."""

    name: str
    prepared: PreparedHeap
    engine: wasmtime.Engine
    native: wasmtime.Module
    ours: wasmtime.Module
    floor: wasmtime.Module


@dataclass(slots=True)
class Row:
    """One program on one input: times in nanoseconds."""

    name: str
    kind: str
    native_ns: list[int] = field(default_factory=list)
    ours_ns: list[int] = field(default_factory=list)
    floor_ns: list[int] = field(default_factory=list)
    collections: int = 0
    pauses_ns: list[int] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Tinyheap's time by the program's own collector's."""
        return median(self.ours_ns) / median(self.native_ns)

    @property
    def floor_ratio(self) -> float:
        """The floor by the program's own collector's time."""
        return median(self.floor_ns) / median(self.native_ns)

    @property
    def goal(self) -> float:
        """The ratio to be reached."""
        return SMALL_GOAL if self.kind == "small" else GOALS[self.name] or FLOOR_GOAL * self.floor_ratio

    def as_json(self) -> dict[str, Any]:
        """The row as it is written for programs."""
        return {
            "name": self.name,
            "input": self.kind,
            "ratio": round(self.ratio, 4),
            "native_ms": round(median(self.native_ns) / 1e6, 3),
            "ours_ms": round(median(self.ours_ns) / 1e6, 3),
            "n": len(self.ours_ns),
            "floor_ratio": round(self.floor_ratio, 4),
            "floor_ms": round(median(self.floor_ns) / 1e6, 3),
            "collections": self.collections,
            "pauses_ms": round(median(self.pauses_ns) / 1e6, 3),
        }


@click.command()
@click.option("--only", metavar="TEXT", default="", help="Only modules whose name contains this.")
@click.option("--n", type=click.IntRange(min=1), default=5, show_default=True, help="Runs of each kind; medians count.")
def main(only: str, n: int) -> None:
    """Measure real programs on tinyheap's collector against their own."""
    errors = Console(stderr=True)
    rows = []
    for name in GOALS:
        if only in name:
            errors.print(name, highlight=False, markup=False)
            guest = load(name)
            rows.append(measure(guest, "small", SMALL.get(name, SMALL_SHELL), SMALL_RUNS * n))
            rows.append(measure(guest, "reference", reference(name), n))
    called = callback(load(GOFMT), n)
    tables.show(table_of(rows))
    click.echo(
        f"an allocation's callback, without collecting: {called.warm_ns:.1f} ns (goal: {CALLBACK_GOAL_NS}), "
        f"{called.fresh_ns:.1f} ns in memory that was never touched"
    )
    for row in rows:
        click.echo(json.dumps(row.as_json()))
    results = {"ours_ns": round(called.warm_ns, 1), "fresh_ns": round(called.fresh_ns, 1)}
    click.echo(json.dumps({"name": "callback", **results, "n": n}))


def load(name: str) -> Guest:
    """A program in all its forms; compiled code is kept in the build folder."""
    module = Module.parse(path_of(name).read_bytes())
    heap, engine = prepared(module), hosts.new_engine()
    forms = module.encode(), rewrite(module, heap.facts), bump_allocated(module, heap.facts)
    return Guest(name, heap, engine, *(compiled(engine, form) for form in forms))


def path_of(name: str) -> Path:
    """The file of a program's module.

    Raises:
        click.ClickException: It is not installed.
    """
    package, _, release = name.rpartition("@")
    file = "gofmt.wasm" if name == GOFMT else "main.wasm"
    path = INSTALLED / f"{package.rpartition('/')[2]}-{release}" / file
    if not path.exists():
        raise click.ClickException(f"{name} is not at {path}: `make guests` installs it")
    return path


def prepared(module: Module) -> PreparedHeap:
    """The heap of a program, ready to be served."""
    guest = identify(module)
    if guest.best_fit is None:
        return PreparedHeap(block_heap(guest))
    rehearsed = rehearse(module, guest.best_fit)
    return PreparedHeap(rehearsed.facts, residues=rehearsed.residues)


def compiled(engine: wasmtime.Engine, wasm: bytes) -> wasmtime.Module:
    """A compiled module, from the build folder if it is there."""
    path = COMPILED / f"{hashlib.sha256(wasm).hexdigest()}-{version('wasmtime')}"
    if path.exists():
        return wasmtime.Module.deserialize(engine, path.read_bytes())
    module = hosts.compile_module(engine, wasm)
    COMPILED.mkdir(parents=True, exist_ok=True)
    path.write_bytes(module.serialize())
    return module


def bump_allocated(module: Module, facts: ServedHeap) -> bytes:
    """The module with an allocator that does nothing but move a pointer, over memory that is zero already."""
    editor = Editor(module)
    pointer = editor.add_global("i32", 0)
    size, result = facts.size_parameter, len(module.function_type(facts.alloc_function).parameters)
    if facts.heap_start_address is not None:
        start = Code().i32_const(facts.heap_start_address)
    else:
        start = Code().i32_const(facts.heap_start_variable_address).i32_load(0)
    code = Code().local_get(size).i32_eqz().if_(None).i32_const(facts.zero_size_address or 0).return_().end()
    code = code.global_get(pointer).i32_eqz().if_(None) + start + Code().global_set(pointer).end()
    code = code.global_get(pointer).local_tee(result).local_get(size).i32_add().i32_const(15).i32_add()
    code = code.i32_const(-16).i32_and().global_set(pointer)
    code = code.loop(None).global_get(pointer).memory_size(0).i32_const(16).i32_shl().i32_gt_u().if_(None)
    code = code.memory_size(0).memory_grow(0).i32_const(-1).i32_eq().if_(None).unreachable().end().br(1).end().end()
    editor.replace_body(facts.alloc_function, code.local_get(result), ["i32"])
    return editor.encode()


def reference(name: str) -> str:
    """The large input of a program."""
    if not inputs.GO_SOURCE.exists():
        raise click.ClickException(f"Go's source is not at {inputs.GO_SOURCE}: Debian's golang-1.19-src installs it")
    return inputs.go_source() if name == GOFMT else shell_reference()


def shell_reference() -> str:
    """Scripts of this machine in one text, kept in the build folder so that every run gets the same."""
    path = COMPILED / "scripts.sh"
    if not path.exists():
        formatters = [shell_formatter("sh-syntax-0.4.0/main.wasm"), shell_formatter("shfmt-0.2.7/shfmt.wasm")]
        text = inputs.shell_scripts(lambda script: all(takes(formatter, script) for formatter in formatters))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return path.read_text()


def shell_formatter(file: str) -> Callable[[], hosts.HostSession]:
    """Makes new sessions of a shell formatter."""
    engine = hosts.new_engine()
    return partial(started, engine, compiled(engine, (INSTALLED / file).read_bytes()))


def takes(formatter: Callable[[], hosts.HostSession], text: str) -> bool:
    """Whether a formatter accepts a text."""
    try:
        formatted(formatter(), text)
    except DriverError:
        return False
    return True


def measure(guest: Guest, kind: str, text: str, n: int) -> Row:
    """Runs a program `n` times each way, taking turns, after one of each that does not count.

    Raises:
        click.ClickException: The ways do not give the same text.
    """
    row = Row(guest.name, kind)
    collections: list[Collection] = []

    def ours() -> str:
        nonlocal collections
        session, heap = served(guest, guest.prepared)
        collections = heap.collections
        return formatted(session, text, heap)

    ways: list[tuple[list[int], Callable[[], str]]] = [
        (row.native_ns, lambda: formatted(started(guest.engine, guest.native), text)),
        (row.ours_ns, ours),
        (row.floor_ns, lambda: formatted(started(guest.engine, guest.floor), text)),
    ]
    for turn in range(n + 1):
        first = turn % len(ways)
        texts = set()
        for times_ns, way in ways[first:] + ways[:first]:
            time_ns, result = timed(way)
            times_ns.append(time_ns)
            texts.add(result)
        if len(texts) != 1:
            raise click.ClickException(f"{guest.name} gives another text on another allocator ({kind} input)")
        row.pauses_ns.append(sum(collection.pause_ns for collection in collections))
        row.collections = len(collections)
    for times in (row.native_ns, row.ours_ns, row.floor_ns, row.pauses_ns):
        del times[0]
    return row


def timed(action: Callable[[], str]) -> tuple[int, str]:
    """How long it takes, in nanoseconds, and what it gives."""
    gc.disable()
    begun_ns = time.perf_counter_ns()
    result = action()
    time_ns = time.perf_counter_ns() - begun_ns
    gc.enable()
    return time_ns, result


def started(engine: wasmtime.Engine, module: wasmtime.Module) -> hosts.HostSession:
    """A started session of a module, on its own collector."""
    store, linker = wasmtime.Store(engine), wasmtime.Linker(engine)
    session = hosts.offer(store, linker, module, hosts.Grants(seed=1))
    session.instantiate(module)
    session.start()
    return session


def served(guest: Guest, prepared: PreparedHeap) -> tuple[hosts.HostSession, BoundHeap]:
    """A started session on tinyheap's collector, and its heap."""
    store, linker = wasmtime.Store(guest.engine), wasmtime.Linker(guest.engine)
    offered = prepared.offer(store)
    session = hosts.offer(store, linker, guest.ours, hosts.Grants(seed=1), offered.makers)
    heap = offered.bind(session.instantiate(guest.ours))
    session.start()
    return session, heap


def formatted(session: hosts.HostSession, text: str, heap: BoundHeap | None = None) -> str:
    """What a started formatter makes of a text; it is closed then."""
    driver = formatters.find(session)
    assert driver is not None, "each of the modules has a driver"
    result = driver.format(text, "script.sh")
    if heap is not None:
        heap.close()
    session.store.close()
    return result


@dataclass(frozen=True, slots=True)
class Callback:
    """Nanoseconds of one allocation of `SIZE_BYTES` inside a program, without collecting, less those of an empty loop."""

    warm_ns: float
    """In memory that was used before."""
    fresh_ns: float
    """In memory that was never touched: most of it is the system's, that gives out its pages."""


def callback(guest: Guest, n: int) -> Callback:
    """Measures the allocator of the rewritten gofmt in a loop inside it."""
    module = looping(guest, INSTALLED / "gofmt-0.4.9" / "gofmt.wasm")
    limited = replace(guest.prepared, policy=Policy(growth=FixedStep(16 * MIB), heap_limit_bytes=16 * MIB))
    warm_ns, fresh_ns = [], []
    for _ in range(n):
        session, heap = served(replace(guest, ours=module), limited)
        session.call("allocate", CALLS)  # grows the heap once
        fresh_ns.append(call_ns(session, "allocate") - call_ns(session, "repeat"))
        grown = len(heap.collections)
        while len(heap.collections) == grown:
            session.call("allocate", CALLS)
        warm_ns.append(call_ns(session, "allocate") - call_ns(session, "repeat"))
        assert len(heap.collections) == grown + 1, "a collected heap has room for all"
        heap.close()
        session.store.close()
    return Callback(median(warm_ns), median(fresh_ns))


def looping(guest: Guest, path: Path) -> wasmtime.Module:
    """The rewritten program with two functions more, which count down: one allocates each time, the other does not."""
    rewritten = Module.parse(rewrite(Module.parse(path.read_bytes()), guest.prepared.facts))
    imported = [function for function in rewritten.functions if function.imported]
    allocator = next(each.index for each in imported if each.imported and each.imported.module == ALLOC_IMPORT)
    editor = Editor(rewritten)
    for name, body in (("allocate", Code().i32_const(SIZE_BYTES).call(allocator).drop()), ("repeat", Code())):
        loop = Code().loop(None) + body
        loop = loop.local_get(0).i32_const(1).i32_sub().local_tee(0).br_if(0).end()
        editor.export(name, "function", editor.add_function(["i32"], [], loop))
    return hosts.compile_module(guest.engine, editor.encode())


def call_ns(session: hosts.HostSession, name: str) -> float:
    """Nanoseconds of one turn of a loop."""
    begun_ns = time.perf_counter_ns()
    session.call(name, CALLS)
    return (time.perf_counter_ns() - begun_ns) / CALLS


def table_of(rows: list[Row]) -> Table:
    """The rows for people."""
    table = Table(title="whole runs on tinyheap's collector by the same on the program's own; medians")
    for name in ("name", "input"):
        table.add_column(name, no_wrap=True)
    for name in ("native ms", "ours ms", "floor ms", "pauses ms", "collections", "ratio", "floor", "goal"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        color = "[green]" if row.ratio <= row.goal else "[red]"
        times = (row.native_ns, row.ours_ns, row.floor_ns, row.pauses_ns)
        table.add_row(
            row.name,
            row.kind,
            *(f"{median(series) / 1e6:.2f}" for series in times),
            str(row.collections),
            f"{color}{row.ratio:.3f}",
            f"{row.floor_ratio:.3f}",
            f"{row.goal:.2f}",
        )
    return table


if __name__ == "__main__":
    main()
