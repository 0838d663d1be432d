"""Best-fit collectors whose marking is run ahead of: they do what they did, to the byte, in every shape that allows it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import guests_modules
from guests import collectors, pairs, texts
from guests.collectors import Build
from guests.pairs import Pair, Run
from guests.test_equality import BEST_FIT_MODULES, formatted
from guests_modules import cases
from tinyheap.errors import GuestTrapError, UnsupportedGuestError
from tinyheap.guests.policy import Policy
from tinyheap.heap.growth import ByRatio, FixedStep, Growth, NoGrowth, Pages
from tinyheap.recognize.facts import TABLE_DIVISOR, BestFitHeap
from tinyheap.recognize.identify import identify
from tinyheap.transplanting.markers import find_markers
from tinyheap.transplanting.operation import perform
from tinyheap.transplanting.options import Options
from tinyheap.units import MIB, WASM_PAGE_BYTES
from tinyheap.wasm import Code, Editor, Module
from transplanting import twins
from transplanting.test_mutators import with_maximum
from transplanting.test_requests import REQUESTS, Mutator, assert_same_requests, ended, opened

SOURCE = "best_fit_collector.c"
NOP = b"\x01"
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
@pytest.mark.share(3, in_ci=6)
def test_requests_are_served_the_same(build: Build, seed: int) -> None:
    assert_same_requests(wasm_of(build), seed)


@pytest.mark.parametrize("name", cases(REAL, quick=["eu-licence-validator-0.1.27"], in_ci=["sh-syntax-0.7.0"]))
def test_requests_of_real_programs_are_served_the_same(name: str) -> None:
    requests = 10 * REQUESTS if name == "sh-syntax-0.6.0" else REQUESTS
    assert assert_same_at_collections(guests_modules.read(name), 3, requests) > 0


def assert_same_at_collections(wasm: bytes, seed: int, requests: int = REQUESTS) -> int:
    """Memory is the same after each request that collects, what was left on the stack included; returns how many do."""
    made = perform(wasm, Options(stats=True))
    collections = 0
    with (
        opened(wasm, made.heap) as native,
        opened(made.wasm, made.heap) as ours,
    ):
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


@pytest.mark.slow
def test_its_collector_can_be_replaced_again() -> None:
    build = BUILDS[3]
    native = pairs.start_native(pairs.compiled(wasm_of(build)))
    ours = pairs.start_ours(pairs.compiled(perform(wasm_of(build)).wasm))
    assert exercise(ours, build) == exercise(native, build)
    pairs.assert_equal(native, ours)


# ---- another growth -----------------------------------------------------------------------------------------------------


UNEXPLAINED = [build for build in BUILDS if build.secret or build.own_stack]
"""Of which a collection sees words on the stack that no rehearsal explains."""


def run_growing(run: Run) -> list[object]:
    """What a program returns whose heap grows to more than half a megabyte."""
    return [run.session.call("run", trees, depth) for trees, depth in ((5, 11), (60, 6), (3, 13))]


@pytest.mark.parametrize("build", BUILDS, ids=str)
@pytest.mark.share(4)
def test_heaps_grow_as_if_the_program_had_asked_for_so_many_pages(build: Build) -> None:
    wasm = wasm_of(build)
    editor = Editor(Module.parse(wasm))
    for function, offset, _ in Module.parse(wasm).find("memory.grow"):
        editor.insert_before(function, offset, Code().drop().i32_const(5))
    native, _ = twins.start(twins.compiled(editor.encode()))
    ours = twins.start_transplanted(twins.compiled(wasm, Options(growth=FixedStep(300_000))))
    assert run_growing(ours) == run_growing(native)
    twins.assert_equal(native, ours)


def assert_grows_as_served(wasm: bytes, growth: Growth, work: Callable[[Run], object]) -> Run:
    """The engine that replaces the collector while a program runs grows as its policy says; so does the original, to the byte.

    (What no rehearsal explains, that engine asks the original for, which grows otherwise: not for builds of `UNEXPLAINED`.)
    """
    ours = twins.start_transplanted(twins.compiled(wasm, Options(growth=growth)))
    served = pairs.start_ours(pairs.compiled(wasm), Policy(growth=growth))
    assert work(ours) == work(served)
    pairs.assert_equal(served, ours)
    return ours


@pytest.mark.parametrize("growth", [FixedStep(1), FixedStep(300_000), ByRatio(3, 2), Pages()], ids=str)
@pytest.mark.parametrize("build", [build for build in BUILDS if build not in UNEXPLAINED], ids=str)
@pytest.mark.share(1, in_ci=6)
def test_heaps_grow_as_on_tinyheap_s_engine(build: Build, growth: Growth) -> None:
    assert len(assert_grows_as_served(wasm_of(build), growth, run_growing).memory()) > 8 * WASM_PAGE_BYTES


@pytest.mark.parametrize("build", [BUILDS[0], BUILDS[3]], ids=str)
@pytest.mark.slow
def test_steps_may_be_smaller_than_the_table(build: Build) -> None:
    """The table is moved to where it lies in part."""
    ours = assert_grows_as_served(wasm_of(build), FixedStep(1), lambda run: run.session.call("run", 1, 16))
    assert len(ours.memory()) // TABLE_DIVISOR > WASM_PAGE_BYTES


@pytest.mark.parametrize("growth", [FixedStep(4 * MIB), ByRatio(), Pages()], ids=str)
@pytest.mark.parametrize("name", BEST_FIT_MODULES)
@pytest.mark.slow
@pytest.mark.share(1, in_ci=1)
def test_heaps_of_real_programs_grow_as_on_tinyheap_s_engine(name: str, growth: Growth) -> None:
    wasm, text = guests_modules.read(name), texts.large(name)
    assert_grows_as_served(wasm, growth, lambda run: formatted(run, text))


@pytest.mark.parametrize(
    "name", cases([name for name in REAL if name not in BEST_FIT_MODULES], in_ci=["eu-licence-validator-0.1.27"])
)
def test_requests_of_real_programs_make_the_heap_grow_as_on_tinyheap_s_engine(name: str) -> None:
    wasm, growth = guests_modules.read(name), FixedStep(200_000)
    made = perform(wasm, Options(growth=growth))
    with opened(wasm, made.heap, Policy(growth=growth)) as served, opened(made.wasm, made.heap) as ours:
        before = len(ours.memory)
        expected, found = ([*Mutator(program, made.heap, 3).run(REQUESTS)] for program in (served, ours))
        assert found == expected
        assert len(ours.memory) > before + 200_000
        pairs.assert_same_words(
            "memory", served.memory.read(0, len(served.memory)), ours.memory.read(0, len(ours.memory))
        )


@pytest.mark.parametrize("build", BUILDS, ids=str)
@pytest.mark.share(4)
def test_no_growth_is_as_if_memory_were_refused(build: Build) -> None:
    wasm = wasm_of(build)
    pages = Module.parse(wasm).memories[0].type.limits.minimum
    native, _ = twins.start(twins.compiled(with_maximum(wasm, pages)))
    ours = twins.start_transplanted(twins.compiled(wasm, Options(growth=NoGrowth())))
    for run in (native, ours):
        run.session.call("run", 20, 4)
        with pytest.raises(GuestTrapError, match="unreachable"):
            run.session.call("run", 20, 14)
    twins.assert_equal(native, ours)


def with_pages_of_a_host(run: Run, growth: Growth, pages: int) -> list[object]:
    """What a program returns whose host adds pages before each call."""
    results: list[object] = []
    for trees, depth in ((5, 10), (60, 6), (3, 12)) if growth != NoGrowth() else ((30, 4), (60, 5), (60, 5)):
        run.session.memory.raw.grow(run.session.store, pages)
        results.append(run.session.call("run", trees, depth))
    return results


@pytest.mark.parametrize("pages", [1, 5, 400])
@pytest.mark.parametrize("growth", [NoGrowth(), FixedStep(300_000)], ids=str)
@pytest.mark.parametrize("build", [BUILDS[0], BUILDS[3]], ids=str)
@pytest.mark.share(4)
def test_pages_that_a_host_adds_are_used_when_the_policy_comes_to_them(
    build: Build, growth: Growth, pages: int
) -> None:
    assert_grows_as_served(wasm_of(build), growth, lambda run: with_pages_of_a_host(run, growth, pages))


# ---- what becomes of a module -------------------------------------------------------------------------------------------


def heap_of(wasm: bytes) -> tuple[Module, BestFitHeap]:
    module = Module.parse(wasm)
    heap = identify(module).best_fit
    assert heap is not None
    return module, heap


@pytest.mark.parametrize("name", REAL)
@pytest.mark.share(2)
def test_what_marks_is_found_as_its_names_say(name: str) -> None:
    module, heap = heap_of(guests_modules.read(name))
    markers = find_markers(module, heap)
    names = ("runtime.scanConservative", "runtime.scanWithMask", "runtime.markRoot")
    assert (*markers.scans, markers.root_marker) == tuple(module.function_indices[name] for name in names)


@pytest.mark.parametrize("build", BUILDS, ids=str)
@pytest.mark.share(4)
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


def test_a_growth_that_does_not_allow_for_smaller_steps_is_refused() -> None:
    wasm = bytearray(wasm_of(APART))
    for _, offset, instruction in Module.parse(bytes(wasm)).find("memory.copy"):
        # Where tables are moved by a function, it would be called here.
        length = len(instruction.encoding)
        wasm[offset : offset + length] = Code().drop().drop().drop().encoding.ljust(length, NOP)
    perform(bytes(wasm))
    with pytest.raises(
        UnsupportedGuestError, match=r"moves its block table without memory.copy, .*: expected no growth"
    ):
        perform(bytes(wasm), Options(growth=FixedStep(1 << 20)))


def test_a_limit_is_the_memorys_maximum() -> None:
    made = perform(wasm_of(APART), Options(limit_bytes=5 << 20))
    assert Module.parse(made.wasm).memories[0].type.limits.maximum == (5 << 20) // 65536
