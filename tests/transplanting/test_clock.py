"""Collections are timed by a clock that the module imports, whatever that says, and nothing else changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Final

import pytest
import wasmtime

from guests.test_mutator import BUILDS
from tinyheap.hosts.offered import WASI_MODULE
from tinyheap.transplanting.operation import perform
from tinyheap.transplanting.options import Options
from tinyheap.wasm import Editor, Module
from transplanting import twins
from transplanting.test_mutators import assert_same, wasm_of

TICKS: Final = ("gojs", "runtime.ticks")
CLOCK: Final = (WASI_MODULE, "clock_time_get")
STEPS: Final = 2000


def with_import(module: str, name: str, parameters: tuple[Any, ...], results: tuple[Any, ...]) -> bytes:
    """A program that imports one function more, and does not call it."""
    editor = Editor(Module.parse(wasm_of(BUILDS[1])))
    editor.add_import_function(module, name, parameters, results)
    return editor.encode()


WITH_WASI: Final = (*CLOCK, ("i32", "i64", "i32"), ("i32",))
WITH_MILLISECONDS: Final = (*TICKS, (), ("f64",))
WITH_NANOSECONDS: Final = (*TICKS, (), ("i64",))


def timed(wasm: bytes, clock: tuple[str, str], function: Callable[..., Any]) -> tuple[int, int]:
    """Run a transplanted program, with a function as its clock: its collections, and their nanoseconds."""
    made = perform(wasm, Options(stats=True))
    assert made.clock == ".".join(clock)
    store = wasmtime.Store()
    module = wasmtime.Module(store.engine, made.wasm)
    offered: list[Any] = []
    for entry in module.imports:
        assert isinstance(entry.type, wasmtime.FuncType)
        served = function if (entry.module, entry.name) == clock else lambda *_: None
        offered.append(wasmtime.Func(store, entry.type, served, access_caller=True))
    exports = wasmtime.Instance(store, module, offered).exports(store)
    exports["_start"](store)  # type: ignore[operator]
    exports["mutate"](store, 3, STEPS)  # type: ignore[operator]
    counted = (exports[f"tinyheap.{name}"].value(store) for name in ("collections", "nanoseconds"))  # type: ignore[union-attr]
    collections, collector_ns = counted
    assert collections > 5
    return collections, collector_ns


def test_wasi_s_clock_leaves_memory_as_it_was() -> None:
    pair = twins.compiled(with_import(*WITH_WASI), Options(stats=True))
    _, ours = assert_same(pair, 3)
    # A seeded world's clock goes on by the same time whenever it is read.
    collections, collector_ns = (
        int(ours.session.read_global(f"tinyheap.{name}")) for name in ("collections", "nanoseconds")
    )
    assert collector_ns > 0
    assert collector_ns % collections == 0


def test_wasi_s_clock_is_read_around_each_collection() -> None:
    ticks = count(step=7)

    def clock_time_get(caller: wasmtime.Caller, clock: int, _precision: int, address: int) -> int:
        assert clock == 1, "monotonic"
        memory = caller["memory"]
        assert isinstance(memory, wasmtime.Memory)
        memory.write(caller, next(ticks).to_bytes(8, "little"), address)
        return 0

    collections, collector_ns = timed(with_import(*WITH_WASI), CLOCK, clock_time_get)
    assert collector_ns == 7 * collections


def test_a_clock_that_fails_tells_no_time() -> None:
    _, collector_ns = timed(with_import(*WITH_WASI), CLOCK, lambda *_: 28)
    assert collector_ns == 0


def times(start: float, step: float) -> Callable[..., float]:
    readings: Iterator[float] = count(start, step)
    return lambda *_: next(readings)


def test_the_runtime_s_clock_is_in_milliseconds_or_nanoseconds_by_its_type() -> None:
    collections, collector_ns = timed(with_import(*WITH_MILLISECONDS), TICKS, times(0.0, 0.25))
    assert collector_ns == 250_000 * collections
    collections, collector_ns = timed(with_import(*WITH_NANOSECONDS), TICKS, times(0, 11))
    assert collector_ns == 11 * collections


@pytest.mark.parametrize("reading", [math.nan, math.inf, -math.inf, 1e300, -5.0])
def test_a_clock_that_tells_nonsense_ends_nothing(reading: float) -> None:
    _, collector_ns = timed(with_import(*WITH_MILLISECONDS), TICKS, lambda *_: reading)
    assert collector_ns == 0


def test_a_clock_that_is_set_back_takes_no_time_away() -> None:
    _, collector_ns = timed(with_import(*WITH_NANOSECONDS), TICKS, times(10**9, -(10**6)))
    assert collector_ns == 0


def test_wasi_s_clock_is_preferred_to_the_runtime_s() -> None:
    editor = Editor(Module.parse(with_import(*WITH_MILLISECONDS)))
    editor.add_import_function(*WITH_WASI)
    assert perform(editor.encode(), Options(stats=True)).clock == ".".join(CLOCK)


def test_a_function_of_another_type_is_no_clock() -> None:
    assert perform(with_import(*TICKS, ("i32",), ("f64",)), Options(stats=True)).clock is None
