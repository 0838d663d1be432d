"""A program twice on its own memory: as it was compiled, and transplanted; each with the same witness (guests/pairs.py)."""

from __future__ import annotations

import atexit
from dataclasses import replace
from functools import cache

import wasmtime

import kept
from guests import pairs
from guests.pairs import Pair, Run
from tinyheap import hosts
from tinyheap.transplanting.operation import perform
from tinyheap.transplanting.options import Options
from tinyheap.wasm import Module


@cache
def compiled(wasm: bytes, options: Options | None = None) -> Pair:
    """A module's two forms, compiled once a test run."""
    made = perform(wasm, options or Options())
    engine, alloc = hosts.new_engine(), made.heap.alloc_function
    native, ours = (kept.compiled(engine, pairs.witnessed(Module.parse(each), alloc)) for each in (wasm, made.wasm))
    return Pair(made.heap, None, engine, native, ours)


# wasmtime's objects have to go before wasmtime does.
atexit.register(compiled.cache_clear)


def start(pair: Pair, grants: hosts.Grants = pairs.SEEDED) -> tuple[Run, Run]:
    """Both, started: the native one first."""
    native, ours = (_start(pair, module, grants) for module in (pair.native, pair.ours))
    return native, ours


def start_transplanted(pair: Pair, grants: hosts.Grants = pairs.SEEDED) -> Run:
    """The transplanted one alone."""
    return _start(pair, pair.ours, grants)


def _start(pair: Pair, module: wasmtime.Module, grants: hosts.Grants) -> Run:
    return pairs.start_native(replace(pair, native=module), grants)


def assert_equal(native: Run, ours: Run) -> None:
    """Every allocation, every counter and every byte agree, but for pages of zeros behind the original's memory."""
    pairs.assert_same_words("allocations", native.allocations(), ours.allocations())
    memory, transplanted = native.memory(), ours.memory()
    pairs.assert_same_words("memory", memory, transplanted[: len(memory)])
    assert not transplanted[len(memory) :].strip(b"\0")
    assert native.counters() == ours.counters()
