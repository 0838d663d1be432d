"""Programs that do random things with their heap, on tinyheap's collector and on their own, in every shape of the collector."""

from __future__ import annotations

import atexit
import random
from functools import cache

import pytest

from guests import collectors, pairs
from guests.collectors import Build
from guests.pairs import Pair, Run
from guests.recorded import Kept
from tinyheap.guests.policy import Policy
from tinyheap.guests.program import Program
from tinyheap.recognize.facts import StackScan

SOURCE = "mutator.c"
FEATURES = ["--enable-bulk-memory", "--enable-sign-ext", "--enable-nontrapping-float-to-int"]
STEPS = 3000
BUILDS = [
    Build("2", link_time=False, precise=False, tasks=False, explicit=False),
    Build("z", link_time=True, precise=False, tasks=True, explicit=True),
    Build("1", link_time=False, precise=True, tasks=True, explicit=True),
    Build("2", link_time=True, precise=True, tasks=False, explicit=False),
    Build("s", link_time=False, precise=True, tasks=True, explicit=False, saved=True),
    Build("1", link_time=True, precise=False, tasks=True, explicit=True, saved=True),
    Build("z", link_time=False, precise=False, tasks=False, explicit=True, chain=True, headroom=False),
    Build("2", link_time=True, precise=False, tasks=False, explicit=False, chain=True),
    Build("1", link_time=False, precise=False, tasks=False, explicit=False, headroom=False),
    Build("2", link_time=False, precise=True, tasks=True, explicit=True, panics=True),
    Build("1", link_time=True, precise=False, tasks=True, explicit=False, panics=True),
    Build("z", link_time=True, precise=True, tasks=True, explicit=True, panics=True, saved=True),
    Build("z", link_time=False, precise=False, tasks=False, explicit=True, chain=True, headroom=False, old_table=True),
    Build("2", link_time=True, precise=False, tasks=True, explicit=False, headroom=False, old_table=True),
]
FORMS = {
    "plain": [],
    "stripped": ["wasm-strip"],
    "optimized": ["wasm-opt", *FEATURES, "-O2"],
    "switched": ["wasm-opt", *FEATURES, "--asyncify", "-O1"],
}


@cache
def pair_of(build: Build, form: str = "plain") -> Pair:
    wasm = collectors.compiled(build, SOURCE)
    return pairs.compiled(collectors.transformed(wasm, *FORMS[form]) if FORMS[form] else wasm)


# wasmtime's objects have to go before wasmtime does.
atexit.register(pair_of.cache_clear)


def assert_same(pair: Pair, seed: int, steps: int = STEPS) -> Run:
    """Both sides do the same in three calls of one session; returns tinyheap's."""
    native, ours = pairs.start_native(pair), pairs.start_ours(pair)
    for call in range(3):
        arguments = seed + 1000 * call, steps // 3
        assert ours.session.call("mutate", *arguments) == native.session.call("mutate", *arguments)
        pairs.assert_equal(native, ours)
    return ours


@pytest.mark.parametrize("build", BUILDS, ids=str)
@pytest.mark.share(5)
def test_all_is_the_same(build: Build) -> None:
    runs = [assert_same(pair_of(build), seed) for seed in range(4)]
    collections = [collection for run in runs if run.heap for collection in run.heap.collections]
    assert len(collections) > 20
    assert sum(collection.freed_objects for collection in collections) > 10_000
    assert sum(collection.rescans for collection in collections) > 0
    assert max(len(run.memory()) for run in runs) > len(pairs.start_ours(pair_of(build)).memory())
    if build.tasks:
        assert {bool(task) for run in runs for task in run.tasks} >= {False}
    if build.explicit:
        assert any(collection.reason == "requested" for collection in collections)


def test_tasks_run_while_collections_do() -> None:
    runs = [assert_same(pair_of(build), 5) for build in BUILDS if build.tasks]
    assert {bool(task) for run in runs for task in run.tasks} == {False, True}


def test_every_kind_of_stack_is_among_them() -> None:
    found = [pair_of(build).facts for build in BUILDS]
    assert {facts.roots.stack_scan for facts in found} == set(StackScan) - {StackScan.UNKNOWN}
    assert {facts.keeps_headroom for facts in found} == {True, False}
    assert {facts.is_precise for facts in found} == {True, False}


@pytest.mark.parametrize("form", ["stripped", "optimized", "switched"])
@pytest.mark.parametrize("build", [build for build in BUILDS if build.link_time], ids=str)
@pytest.mark.share(5)
def test_all_is_the_same_in_another_form(build: Build, form: str) -> None:
    ours = assert_same(pair_of(build, form), seed=7)
    assert ours.heap is not None
    assert ours.heap.collections


@pytest.mark.parametrize("build", BUILDS, ids=str)
@pytest.mark.share(2)
def test_model_and_kernel_agree_under_stress(build: Build) -> None:
    runs = [pairs.start_ours(pair_of(build), Policy(engine=engine, gc_every=31)) for engine in ("model", "kernel")]
    model, kernel = runs
    assert model.session.call("mutate", 3, 60) == kernel.session.call("mutate", 3, 60)
    pairs.assert_equal(model, kernel)
    assert model.heap is not None
    assert kernel.heap is not None
    freed = [[collection.freed_objects for collection in heap.collections] for heap in (model.heap, kernel.heap)]
    assert len(freed[0]) > 1
    assert freed[0] == freed[1]


@pytest.mark.slow
def test_random_programs_in_random_shapes_are_the_same(soak_seeds: range) -> None:
    for seed in soak_seeds:
        chosen = random.Random(seed)
        pair = pair_of(chosen.choice(BUILDS), chosen.choice(list(FORMS)))
        assert_same(pair, chosen.randrange(1 << 31), chosen.randrange(300, 2 * STEPS))


@pytest.mark.parametrize("engine", ["kernel", "model"])
@pytest.mark.parametrize("precise", [False, True], ids=["conservative", "precise"])
@pytest.mark.share(2)
def test_a_program_that_only_makes_objects_of_one_size_runs_the_same(precise: bool, engine: str) -> None:
    build = Build("2", link_time=True, precise=precise, tasks=True, explicit=False, one_size=True)
    pair = pairs.compiled(collectors.compiled(build))
    assert pair.facts.fixed_request is not None
    native, ours = pairs.start_native(pair), pairs.start_ours(pair, Policy(engine=engine))
    trees = 1500 if engine == "kernel" else 300
    for run in (native, ours):
        run.session.call("run", trees, 7 if engine == "kernel" else 6)
    pairs.assert_equal(native, ours)
    assert ours.heap is not None
    assert ours.heap.collections


def test_a_recording_of_such_a_program_has_every_object() -> None:
    build = Build("2", link_time=True, precise=True, tasks=False, explicit=False, one_size=True)
    kept = Kept()
    with Program.open(collectors.compiled(build), recording=kept.recorder) as program:
        program.start()
        program.call("run", 40, 5)
    assert set(kept.allocations["size_bytes"].tolist()) == {12}
    assert len(kept.allocations) == 40 * 63
