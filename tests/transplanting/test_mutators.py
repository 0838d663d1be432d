"""Programs that do random things with their heap, transplanted and as they were, in every shape of the collector."""

from __future__ import annotations

import random

import pytest

from guests import collectors, pairs
from guests.collectors import Build
from guests.pairs import Pair, Run
from guests.test_mutator import BUILDS, FEATURES, FORMS, SOURCE, STEPS
from tinyheap import hosts
from tinyheap.errors import GuestTrapError
from tinyheap.guests.policy import Policy
from tinyheap.guests.program import NATIVE, Program
from tinyheap.heap.growth import ByRatio, FixedStep, Growth, Pages
from tinyheap.transplanting.operation import perform
from tinyheap.transplanting.options import Options
from tinyheap.units import WASM_PAGE_BYTES
from tinyheap.wasm import Editor, Module
from transplanting import twins

ROUNDS = 3


def wasm_of(build: Build, form: str = "plain") -> bytes:
    wasm = collectors.compiled(build, SOURCE)
    return collectors.transformed(wasm, *FORMS[form]) if FORMS[form] else wasm


def with_maximum(wasm: bytes, pages: int) -> bytes:
    """The module with a memory that can grow to so many pages."""
    editor = Editor(Module.parse(wasm))
    editor.set_maximum(0, pages)
    return editor.encode()


def assert_same(pair: Pair, seed: int, steps: int = STEPS, grants: hosts.Grants = pairs.SEEDED) -> tuple[Run, Run]:
    """Both do the same in three calls of one session."""
    native, ours = twins.start(pair, grants)
    for call in range(ROUNDS):
        arguments = seed + 1000 * call, steps // ROUNDS
        assert outcome(ours, *arguments) == outcome(native, *arguments)
        twins.assert_equal(native, ours)
    return native, ours


def outcome(run: Run, *arguments: int) -> object:
    """What a call returns, or how it traps."""
    try:
        return run.session.call("mutate", *arguments)
    except GuestTrapError as error:
        return type(error).__name__, str(error).partition(" in ")[0]


@pytest.mark.parametrize("build", BUILDS, ids=str)
@pytest.mark.share(5)
def test_all_is_the_same(build: Build) -> None:
    pair = twins.compiled(wasm_of(build))
    runs = [assert_same(pair, seed) for seed in range(4)]
    assert max(len(ours.memory()) for _, ours in runs) > 4 * WASM_PAGE_BYTES
    # Objects were dropped, and noted in pages of the kernel's own.
    assert any(len(ours.memory()) > len(native.memory()) for native, ours in runs)


@pytest.mark.parametrize("form", ["stripped", "optimized", "switched"])
@pytest.mark.parametrize("build", [build for build in BUILDS if build.link_time], ids=str)
@pytest.mark.share(4)
def test_all_is_the_same_in_another_form(build: Build, form: str) -> None:
    assert_same(twins.compiled(wasm_of(build, form)), seed=7)


@pytest.mark.parametrize("build", BUILDS, ids=str)
@pytest.mark.share(3)
def test_counts_what_happens(build: Build) -> None:
    pair = twins.compiled(wasm_of(build), Options(stats=True))
    sums = dict.fromkeys(("collections", "growths", "drops", "rescans"), 0)
    for seed in range(4):
        _, ours = assert_same(pair, seed)
        for name in sums:
            sums[name] += int(ours.session.read_global(f"tinyheap.{name}"))
    assert sums["collections"] > 20
    assert all(sums.values())


@pytest.mark.parametrize("pages", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("build", BUILDS, ids=str)
@pytest.mark.share(5, in_ci=15)
def test_memory_that_is_refused_changes_nothing(build: Build, pages: int) -> None:
    """Neither the kernel's own pages nor those of a growth are there: objects are all scanned again, and memory is out."""
    pair = twins.compiled(with_maximum(wasm_of(build), pages))
    native, ours = twins.start(pair)
    for call in range(6):
        before = outcome(native, call, STEPS)
        assert outcome(ours, call, STEPS) == before
        twins.assert_equal(native, ours)
        if isinstance(before, tuple):
            return
    assert pages > 3, "memory was never out"


@pytest.mark.parametrize("build", BUILDS, ids=str)
@pytest.mark.share(3)
def test_engines_without_bulk_memory_do_the_same(build: Build) -> None:
    assert_same(twins.compiled(wasm_of(build), Options(bulk_memory=False)), seed=11)


@pytest.mark.parametrize("growth", [FixedStep(70_000), ByRatio(3, 2), Pages()], ids=str)
@pytest.mark.parametrize("build", BUILDS[:4], ids=str)
@pytest.mark.share(4)
def test_heaps_grow_as_on_tinyheap_s_engine(build: Build, growth: Growth) -> None:
    """The engine that replaces the collector while a program runs grows as its policy says; so does the kernel."""
    wasm = wasm_of(build)
    ours = twins.start_transplanted(twins.compiled(wasm, Options(growth=growth)))
    served = pairs.start_ours(pairs.compiled(wasm), Policy(growth=growth))
    for call in range(ROUNDS):
        arguments = 5 + 1000 * call, STEPS // ROUNDS
        assert outcome(ours, *arguments) == outcome(served, *arguments)
        twins.assert_equal(served, ours)


@pytest.mark.parametrize("build", BUILDS[:4], ids=str)
def test_cleared_blocks_are_those_of_tinyheap_s_engine(build: Build) -> None:
    wasm = wasm_of(build)
    ours = twins.start_transplanted(twins.compiled(wasm, Options(clear_blocks=True)))
    served = pairs.start_ours(pairs.compiled(wasm), Policy(clear_blocks=True))
    assert outcome(ours, 5, 1000) == outcome(served, 5, 1000)
    twins.assert_equal(served, ours)


@pytest.mark.parametrize("build", BUILDS[:4], ids=str)
def test_a_limit_is_kept(build: Build) -> None:
    """It is rounded down to pages, and memory that is out ends the program as it did where the module had that limit."""
    wasm = wasm_of(build)
    ours = twins.start_transplanted(twins.compiled(wasm, Options(limit_bytes=3 * WASM_PAGE_BYTES + 5)))
    native, _ = twins.start(twins.compiled(with_maximum(wasm, 3)))
    for call in range(4):
        ended = outcome(ours, call, STEPS)
        assert ended == outcome(native, call, STEPS)
        if isinstance(ended, tuple):
            break
    else:
        pytest.fail("memory was never out")
    assert len(ours.memory()) <= 3 * WASM_PAGE_BYTES


@pytest.mark.parametrize("precise", [False, True], ids=["conservative", "precise"])
def test_a_program_that_only_makes_objects_of_one_size(precise: bool) -> None:
    build = Build("2", link_time=True, precise=precise, tasks=True, explicit=False, one_size=True)
    pair = twins.compiled(collectors.compiled(build))
    assert pair.facts.fixed_request is not None
    native, ours = twins.start(pair)
    for run in (native, ours):
        run.session.call("run", 1500, 7)
    twins.assert_equal(native, ours)


@pytest.mark.parametrize("level", ["-O3", "-Oz"])
@pytest.mark.parametrize("build", BUILDS[1:3], ids=str)
@pytest.mark.share(1)
def test_an_optimizer_may_come_afterwards(build: Build, level: str) -> None:
    wasm = wasm_of(build)
    optimized = collectors.transformed(perform(wasm).wasm, "wasm-opt", *FEATURES, level)
    native, _ = twins.start(twins.compiled(wasm))
    with Program.open(optimized, pairs.SEEDED, gc=NATIVE) as program:
        program.start()
        for call in range(ROUNDS):
            assert program.call("mutate", call, 1000) == native.session.call("mutate", call, 1000)
        memory = native.memory()
        assert program.memory.read(0, len(memory)) == memory


def test_random_programs_in_random_shapes_are_the_same(soak_seeds: range) -> None:
    for seed in soak_seeds:
        chosen = random.Random(seed)
        pair = twins.compiled(wasm_of(chosen.choice(BUILDS), chosen.choice(list(FORMS))))
        assert_same(pair, chosen.randrange(1 << 31), chosen.randrange(300, 2 * STEPS))
