"""Calls programs in any order, in a process that is expected to survive; run by test_program_phases.py.

python phases_machine.py NAME...        programs; says "survived" at the end
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import wasmtime
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

import guests_modules
from guests import collectors
from tinyheap.errors import GuestPhaseError, HeapError, TinyheapError
from tinyheap.guests.cache import Cache
from tinyheap.guests.guest_heap import GuestHeap
from tinyheap.guests.policy import Policy
from tinyheap.guests.program import Program
from tinyheap.heap.growth import FixedStep, Growth
from tinyheap.heap.stats import Collection
from tinyheap.hosts import Grants

CLANG = "clang"
SIZES = st.sampled_from([0, 1, 5, 1000, 70_000, 1 << 20, 1 << 31, -1])
WAYS = ("served", "model", "native", "recorded", "leaking", "verified", "guarded", "every")
TEXT = "package a\nfunc f( ){}\n" * 20
CACHE = Cache(Path(tempfile.mkdtemp()))


def wasm(name: str) -> bytes:
    if name == CLANG:
        build = collectors.Build("2", link_time=False, precise=True, tasks=False, explicit=True)
        return collectors.compiled(build, "faults.c")
    return guests_modules.read(name)


MODULES = {name: wasm(name) for name in sys.argv[1:]}


class Meddling:
    """User code that a program calls, and that asks the program for something in turn."""

    def __init__(self) -> None:
        self.program: Program | None = None
        self.wishes: list[Callable[[Program], object]] = []

    def act(self) -> None:
        if self.wishes and self.program is not None:
            wish = self.wishes.pop()
            with contextlib.suppress(TinyheapError):
                wish(self.program)

    def write(self, data: bytes, /) -> object:
        self.act()
        return len(data)

    def __call__(self, _: Collection) -> None:
        self.act()


class MeddlingGrowth(FixedStep):
    """A growth policy that does so."""

    __slots__ = ("meddling",)
    meddling: Meddling

    def next_bytes(self, heap_bytes: int) -> int:
        self.meddling.act()
        return super().next_bytes(heap_bytes)


def meddling_growth(meddling: Meddling) -> Growth:
    growth = MeddlingGrowth(1 << 17)
    object.__setattr__(growth, "meddling", meddling)
    return growth


def heap_of(program: Program) -> GuestHeap:
    if program.heap is None:
        raise HeapError("it has none")
    return program.heap


WISHES: dict[str, Callable[[Program], object]] = {
    "start": lambda program: program.start(),
    "run": lambda program: program.run(),
    "close": lambda program: program.close(),
    "heap.close": lambda program: heap_of(program).close(),
    "format": lambda program: program.driver().format(TEXT),
    "timers": lambda program: program.session.run_timers(),
    "script": lambda program: program.call_script("format", TEXT),
    "interrupt": lambda program: program.session.interrupt(),
    "memory": lambda program: program.memory.read(0, len(program.memory)),
    "poke": lambda program: program.memory.write(len(program.memory) // 2, b"\xff" * 64),
    "stats": lambda program: heap_of(program).stats(),
    "census": lambda program: heap_of(program).census(),
    "dump": lambda program: str(heap_of(program).dump()),
    "objects": lambda program: list(heap_of(program).objects()),
    "verify": lambda program: heap_of(program).verify(),
    "finish": lambda program: heap_of(program).finish(),
    "start_address": lambda program: heap_of(program).start_address,
    "exports": lambda program: program.exports,
    "malloc": lambda program: program.call("malloc", 100),
    "make": lambda program: program.call("make", 100_000, 0, 3),
    "wasmAlloc": lambda program: program.call("wasmAlloc", 300),
    "resume": lambda program: program.call("resume"),
}
NAMES = st.sampled_from(sorted(WISHES))


def call(name: str, arguments: list[int], program: Program) -> object:
    return program.call(name, *arguments)


class Programs(RuleBasedStateMachine):
    """One program, asked for anything; whatever it says in words is right, as long as it lives."""

    program: Program | None = None

    @initialize(name=st.sampled_from(sorted(MODULES)), way=st.sampled_from(WAYS))
    def open(self, name: str, way: str) -> None:
        self.meddling = Meddling()
        self.walks: list[Any] = []
        # A recording that nobody ended is still being written when its folder goes.
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        policies = {
            "model": Policy(engine="model"),
            "leaking": Policy(growth=meddling_growth(self.meddling)),
            "verified": Policy(verify=True, growth=meddling_growth(self.meddling)),
            "guarded": Policy(guard=True),
            "every": Policy(gc_every=7, growth=meddling_growth(self.meddling)),
        }
        gc_name = {"native": "native", "leaking": "leaking"}.get(way, "default")
        recording = Path(self.folder.name) / "run.tinyheap" if way == "recorded" else None
        listener = None if gc_name != "default" else self.meddling
        grants = Grants(seed=1, stdout=io.BytesIO(), stderr=self.meddling, memory_limit_bytes=1 << 24, timeout_s=20)
        self.program = self.meddling.program = Program.open(
            MODULES[name], grants, policies.get(way), gc=gc_name, cache=CACHE, listener=listener, recording=recording
        )

    def ask(self, wish: Callable[[Program], object]) -> None:
        assert self.program is not None
        with contextlib.suppress(TinyheapError):
            wish(self.program)

    @rule(name=st.sampled_from(sorted(MODULES)), way=st.sampled_from(WAYS))
    def open_again(self, name: str, way: str) -> None:
        self.teardown()
        self.open(name, way)

    @rule(name=NAMES)
    def wish(self, name: str) -> None:
        self.ask(WISHES[name])

    @rule()
    def call_past_the_phases(self) -> None:
        """As a program may call itself; a closed store is wasmtime's to refuse."""
        assert self.program is not None
        with contextlib.suppress(TinyheapError, ValueError, wasmtime.Trap):
            self.program.session.function("malloc")(self.program.session.store, 5)

    @rule(data=st.data(), size=SIZES)
    def call_any_export(self, data: st.DataObject, size: int) -> None:
        assert self.program is not None
        exports = sorted(self.program.exports)
        if exports:
            name = data.draw(st.sampled_from(exports))
            for count in range(4):
                self.ask(partial(call, name, [size] * count))

    @rule(names=st.lists(NAMES, min_size=1, max_size=4))
    def meddle_later(self, names: list[str]) -> None:
        self.meddling.wishes = [WISHES[name] for name in names]

    @rule(names=st.lists(NAMES, min_size=1, max_size=3))
    def ask_from_other_threads(self, names: list[str]) -> None:
        threads = [threading.Thread(target=self.ask, args=(WISHES[name],)) for name in names]
        for thread in threads:
            thread.start()
        self.ask(WISHES[names[0]])
        for thread in threads:
            thread.join()

    @rule()
    def look_a_step_further(self) -> None:
        assert self.program is not None
        if self.program.heap is not None:
            self.walks.append(self.program.heap.objects())
        for walk in self.walks:
            with contextlib.suppress(TinyheapError):
                next(walk, None)

    @rule()
    def keep_a_session_only(self) -> None:
        assert self.program is not None
        session = self.program.session
        self.program = self.meddling.program = None
        gc.collect()
        for name in ("malloc", "make", "wasmAlloc"):
            with contextlib.suppress(TinyheapError):
                session.start()
            with contextlib.suppress(TinyheapError):
                session.call(name, *[9] * (3 if name == "make" else 1))
        session.close()
        self.open("clang" if "clang" in MODULES else next(iter(MODULES)), "served")

    @invariant()
    def a_closed_program_is_refused_in_words(self) -> None:
        if self.program is not None and self.program.session.phase == "closed":
            with pytest.raises(GuestPhaseError, match="was closed"):
                self.program.call("anything")

    def teardown(self) -> None:
        if self.program is not None:
            self.meddling.wishes = []
            with contextlib.suppress(TinyheapError):
                self.program.close()
            self.folder.cleanup()


if __name__ == "__main__":
    steps = settings(
        max_examples=int(os.environ.get("PHASES_EXAMPLES", "40")),
        stateful_step_count=25,
        deadline=None,
        database=None,
        derandomize="CI" not in os.environ,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Programs, settings=steps)
    sys.stdout.write("survived\n")
