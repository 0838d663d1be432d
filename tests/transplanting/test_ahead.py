"""Best-fit collectors whose marking is run ahead of: they do what they did, to the byte, in every shape that allows it."""

from __future__ import annotations

import pytest

import guests_modules
from guests import collectors, pairs
from guests.collectors import Build
from guests.pairs import Pair, Run
from tinyheap.errors import UnsupportedGuestError
from tinyheap.heap.growth import FixedStep
from tinyheap.recognize.facts import BestFitHeap
from tinyheap.recognize.identify import identify
from tinyheap.transplanting.markers import find_markers
from tinyheap.transplanting.operation import perform
from tinyheap.transplanting.options import Options
from tinyheap.wasm import Module
from transplanting import twins
from transplanting.test_requests import REQUESTS, Mutator, assert_same_requests, ended, opened

SOURCE = "best_fit_collector.c"
APART = Build("z", link_time=False, precise=False, tasks=False, explicit=False, apart=True)
BUILDS = [
    APART,
    APART._replace(back=True, optimization="2"),
    APART._replace(precise=True, optimization="1"),
    APART._replace(precise=True, back=True),
    APART._replace(precise=True, back=True, tasks=True, saved=True, explicit=True, optimization="2"),
    APART._replace(precise=True, tasks=True, own_stack=True),
    APART._replace(precise=True, tasks=True, own_stack=True, back=True),
    APART._replace(tasks=True, own_stack=True, back=True),
    APART._replace(precise=True, back=True, finalizers=True, optimization="s"),
    APART._replace(back=True, finalizers=True, explicit=True),
    APART._replace(link_time=True, precise=True, secret=True),
    # What scans marks itself.
    APART._replace(apart=False, optimization="s"),
    APART._replace(apart=False, back=True, finalizers=True, link_time=True),
]
REAL = [
    "sh-syntax-0.6.0",
    "sh-syntax-0.7.0",
    "eu-licence-validator-0.1.27",
    "gofeatureflag-1.1.0",
    "gofeatureflag-1.3.0",
]


def wasm_of(build: Build) -> bytes:
    return collectors.compiled(build, SOURCE)


def pair_of(build: Build) -> Pair:
    return twins.compiled(wasm_of(build))


def exercise(run: Run, build: Build) -> list[object]:
    """What a program's exports return, over many collections."""
    found: list[object] = []
    for trees in (60, 5, 200, 60):
        found.append(run.session.call("run", trees, 6))
        if build.own_stack:
            found.append(run.session.call("run_task", trees, 6))
        if build.finalizers:
            found.append(run.session.call("watch", 10 * trees))
    return found


@pytest.mark.parametrize("build", BUILDS, ids=str)
def test_all_is_the_same(build: Build) -> None:
    native, ours = twins.start(pair_of(build))
    assert exercise(ours, build) == exercise(native, build)
    twins.assert_equal(native, ours)


@pytest.mark.parametrize("build", [build for build in BUILDS if not build.finalizers], ids=str)
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.share(5)
def test_requests_are_served_the_same(build: Build, seed: int) -> None:
    assert_same_requests(wasm_of(build), seed)


@pytest.mark.parametrize("name", REAL)
def test_requests_of_real_programs_are_served_the_same(name: str) -> None:
    requests = 10 * REQUESTS if name == "sh-syntax-0.6.0" else REQUESTS
    assert assert_same_at_collections(guests_modules.read(name), 3, requests) > 0


def assert_same_at_collections(wasm: bytes, seed: int, requests: int = REQUESTS) -> int:
    """Memory is the same after each request that collects, what was left on the stack included; returns how many do."""
    made = perform(wasm, Options(stats=True))
    collections = 0
    with opened(wasm, made.heap) as native, opened(made.wasm, made.heap) as ours:
        runs = [ended(Mutator(program, made.heap, seed).run(requests)) for program in (native, ours)]
        for number, (expected, found) in enumerate(zip(*runs, strict=True)):
            assert found == expected, number
            counted = ours.session.read_global("tinyheap.collections")
            if counted != collections:
                memories = (program.memory.read(0, len(program.memory)) for program in (native, ours))
                pairs.assert_same_words(f"memory after request {number}", *memories)
            collections = int(counted)
    return collections


def test_collections_are_counted_on_request() -> None:
    native, ours = twins.start(twins.compiled(wasm_of(BUILDS[3]), Options(stats=True)))
    assert exercise(ours, BUILDS[3]) == exercise(native, BUILDS[3])
    heap = identify(Module.parse(wasm_of(BUILDS[3]))).best_fit
    assert heap is not None
    assert heap.collections_address is not None
    expected = native.session.memory.read_u32(heap.collections_address)
    assert ours.session.read_global("tinyheap.collections") == expected > 5


# ---- what becomes of a module -------------------------------------------------------------------------------------------


def heap_of(wasm: bytes) -> tuple[Module, BestFitHeap]:
    module = Module.parse(wasm)
    heap = identify(module).best_fit
    assert heap is not None
    return module, heap


@pytest.mark.parametrize("name", REAL)
def test_what_marks_is_found_as_its_names_say(name: str) -> None:
    module, heap = heap_of(guests_modules.read(name))
    markers = find_markers(module, heap)
    names = ("runtime.scanConservative", "runtime.scanWithMask", "runtime.markRoot")
    assert (*markers.scans, markers.root_marker) == tuple(module.function_indices[name] for name in names)
    assert 64 < markers.frame_bytes < 200


@pytest.mark.parametrize("build", BUILDS, ids=str)
def test_only_what_scans_is_changed(build: Build) -> None:
    module, heap = heap_of(wasm_of(build))
    made = perform(wasm_of(build))
    after = Module.parse(made.wasm)
    changed = [
        function
        for function in range(module.imported_function_count, len(module.functions))
        if after.body(function).encoding != module.body(function).encoding
    ]
    assert changed == sorted(made.replaced) == sorted(find_markers(module, heap).scans)
    assert len(changed) == 1 + build.precise


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (BUILDS[0]._replace(apart=False, optimization="2"), "no function of its own scans the globals"),
        (BUILDS[3]._replace(apart=False), "no function of its own scans by a mask"),
    ],
    ids=str,
)
def test_a_shape_that_does_not_allow_it_is_refused_with_what_works(build: Build, words: str) -> None:
    with pytest.raises(UnsupportedGuestError, match=rf"{words}; it can be replaced while it runs \(`tinyheap run`\)"):
        perform(wasm_of(build))


def test_another_growth_is_refused() -> None:
    with pytest.raises(UnsupportedGuestError, match=r"grows by its own code, .*: expected no growth policy"):
        perform(wasm_of(APART), Options(growth=FixedStep(1 << 20)))


def test_a_limit_is_the_memorys_maximum() -> None:
    made = perform(wasm_of(APART), Options(limit_bytes=5 << 20))
    assert Module.parse(made.wasm).memories[0].type.limits.maximum == (5 << 20) // 65536
