"""Real programs on tinyheap's collector and on their own: equal output, addresses, statistics and memory, to the byte."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from itertools import product

import pytest
from examples.host_shutter import GENERATOR

import guests_modules
import needs
from guests import collectors, pairs, texts
from guests.pairs import Pair, Run
from guests_modules import cases
from tinyheap import formatters
from tinyheap.errors import DriverError, GuestError, GuestTrapError, OutOfMemoryError
from tinyheap.guests.policy import Policy
from tinyheap.heap.growth import ByRatio, FixedStep
from tinyheap.heap.stats import Collection
from tinyheap.recognize.facts import StackScan
from tinyheap.units import MIB

MODULES = ["gofmt-0.4.9", "sh-syntax-0.3.7", "sh-syntax-0.4.0", "sh-syntax-0.4.2", "sh-syntax-0.5.8"]
BEST_FIT_MODULES = ["sh-syntax-0.6.0", "sh-syntax-0.7.0"]
MODULES += BEST_FIT_MODULES
KINDS = list(texts.GO)
MODULES_AND_FORMS = list(product(MODULES, ("stripped", "optimized")))
FEATURES = ["--enable-bulk-memory", "--enable-sign-ext", "--enable-nontrapping-float-to-int"]


def pair_of(name: str) -> Pair:
    return pairs.compiled(guests_modules.read(name))


def formatted(run: Run, text: str) -> tuple[bool, str]:
    """Whether a formatter takes a text, and what it makes of it or says about it."""
    driver = formatters.find(run.session)
    assert driver is not None
    try:
        return True, driver.format(text, "x.txt")
    except DriverError as error:
        return False, str(error)


def assert_same(pair: Pair, text: str) -> Run:
    """Both sides do the same with a text; returns tinyheap's."""
    native, ours = pairs.start_native(pair), pairs.start_ours(pair)
    assert formatted(ours, text) == formatted(native, text)
    pairs.assert_equal(native, ours)
    return ours


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MODULES)
@pytest.mark.share(10)
def test_all_is_the_same(name: str, kind: str) -> None:
    ours = assert_same(pair_of(name), texts.kinds(name)[kind])
    record_words = 3 if ours.facts.layout_parameter is not None else 2
    calls = len(ours.allocations()) // pairs.WORD_BYTES // record_words
    # The witness saw every allocation; only those of no size are not counted.
    counted = ours.counters().get("mallocs_address", calls)
    assert 0 < counted <= calls


def test_the_kinds_are_what_they_are_called() -> None:
    for name in ("gofmt-0.4.9", "sh-syntax-0.4.0"):
        run = pairs.start_ours(pair_of(name))
        accepted = {kind: formatted(run, text)[0] for kind, text in texts.kinds(name).items()}
        assert not accepted.pop("mistake")
        accepted.pop("empty")
        assert all(accepted.values()), accepted


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.slow
def test_all_is_the_same_with_a_large_text(name: str) -> None:
    ours = assert_same(pair_of(name), texts.large(name))
    assert ours.heap is not None
    collections = ours.heap.collections
    assert collections
    assert len(ours.memory()) > 4 * MIB
    if not ours.facts.is_precise:
        assert sum(collection.freed_objects for collection in collections) > 10_000


def test_the_mark_stack_overflows_and_tasks_are_collected_in_on_the_way() -> None:
    ours = pairs.start_ours(pair_of("gofmt-0.4.9"))
    assert formatted(ours, texts.large("gofmt"))[0]
    assert ours.heap is not None
    assert ours.facts.roots.stack_scan is StackScan.SYSTEM_UNLESS_TASK
    # Some collections run in a goroutine, whose stack is an object of the heap; some on the system's stack.
    assert {bool(task) for task in ours.tasks} == {True, False}
    assert sum(collection.overflows for collection in ours.heap.collections) > 1000
    assert sum(collection.rescans for collection in ours.heap.collections) >= 5


def test_a_program_that_overflows_its_stack_ends_the_same() -> None:
    pair = pair_of("gofmt-0.4.9")
    native, ours = pairs.start_native(pair), pairs.start_ours(pair)
    said = []
    for run in (native, ours):
        with pytest.raises(GuestTrapError, match="unreachable") as trapped:
            formatted(run, texts.TOO_NESTED_GO)
        said.append(trapped.value.frames)
    assert said[0] == said[1]
    pairs.assert_equal(native, ours)


def test_gofmt_says_what_gofmt_says() -> None:
    source = texts.large("gofmt")
    real = subprocess.run([needs.tool("gofmt")], input=source, capture_output=True, text=True, check=True)
    assert formatted(pairs.start_ours(pair_of("gofmt-0.4.9")), source) == (True, real.stdout)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.share(1)
def test_a_session_stays_the_same_over_many_texts(name: str) -> None:
    pair, kinds = pair_of(name), texts.kinds(name)
    native, ours = pairs.start_native(pair), pairs.start_ours(pair)
    for kind in ("medium", "unicode", "mistake", "tiny", "medium", "nested", "medium"):
        assert formatted(ours, kinds[kind]) == formatted(native, kinds[kind])
        pairs.assert_equal(native, ours)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.share(2)
def test_the_model_does_the_same(name: str) -> None:
    text = texts.kinds(name)["small"]
    pair = pair_of(name)
    native, ours = pairs.start_native(pair), pairs.start_ours(pair, Policy(engine="model"))
    assert formatted(ours, text) == formatted(native, text)
    pairs.assert_equal(native, ours)


@pytest.mark.parametrize("name", cases(MODULES, in_ci=["gofmt-0.4.9", "sh-syntax-0.5.8", "sh-syntax-0.7.0"]))
def test_model_and_kernel_agree_under_stress(name: str) -> None:
    runs = {}
    for engine in ("model", "kernel"):
        run = pairs.start_ours(pair_of(name), Policy(engine=engine, gc_every=397))
        formatted(run, texts.kinds(name)["small"])
        runs[engine] = run
    model, kernel = runs["model"], runs["kernel"]
    pairs.assert_equal(model, kernel)
    assert model.heap is not None
    assert kernel.heap is not None
    assert len(model.heap.collections) > 1
    assert [work_of(collection) for collection in model.heap.collections] == [
        work_of(collection) for collection in kernel.heap.collections
    ]


def work_of(collection: Collection) -> tuple[object, ...]:
    """What a collection did, without how long it took."""
    return collection.reason, collection.freed_objects, collection.freed_blocks, collection.live_objects


def astro_page(names: int) -> str:
    """A page of Astro's."""
    items = "".join(f'<li class="c{n % 7}">{{name{n}}}</li>\n' for n in range(names))
    consts = "".join(f"const name{n} = {n};\n" for n in range(names))
    return f"---\n{consts}---\n<ul>{items}</ul>\n<style>.c1 {{ color: red; }}</style>\n"


SCRIPTED: dict[str, list[tuple[str, Sequence[object]]]] = {
    "astro-compiler-0.10.1": [
        ("__astro_transform", [astro_page(names), {"sourcefile": "page.astro"}]) for names in (1, 40, 3, 400, 0)
    ],
    "shutter-crypto-2.0.0": [
        ("__wasm_bridge__.encrypt", [b"Hello" * 9, GENERATOR, bytes(32), bytes(32)]),
        ("__wasm_bridge__.encrypt", [b"", GENERATOR, bytes(range(32)), bytes(range(32))]),
        ("__wasm_bridge__.encrypt", [b"Hello", b"no key", bytes(32), bytes(32)]),
        ("__wasm_bridge__.verifyDecryptionKey", [bytes(64), GENERATOR, bytes(32)]),
    ],
}
"""Calls of functions that a program leaves in JavaScript's global object."""


@pytest.mark.parametrize("engine", cases(["kernel", "model"], quick=["kernel"]))
@pytest.mark.parametrize("name", SCRIPTED)
def test_all_is_the_same_where_functions_are_left_in_the_global_object(name: str, engine: str) -> None:
    pair = pair_of(name)
    native, ours = pairs.start_native(pair), pairs.start_ours(pair, Policy(engine=engine))
    for function, arguments in SCRIPTED[name][: None if engine == "kernel" else 2]:
        assert ours.session.call_script(function, *arguments) == native.session.call_script(function, *arguments)
        pairs.assert_equal(native, ours)
    assert ours.heap is not None
    assert ours.heap.collections


POLICIES = {
    "leaking": Policy(leaking=True),
    "cleared": Policy(clear_blocks=True),
    "limited": Policy(heap_limit_bytes=32 * MIB),
    "steps": Policy(growth=FixedStep(300_000)),
    "ratio": Policy(growth=ByRatio()),
    "stress": Policy(gc_every=1000),
    "leaking steps": Policy(leaking=True, growth=FixedStep(2 * MIB)),
}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", ["gofmt-0.4.9", "sh-syntax-0.3.7", "sh-syntax-0.5.8"])
@pytest.mark.share(5)
def test_no_policy_changes_the_output(name: str, policy: str) -> None:
    text = texts.kinds(name)["medium"]
    ours = pairs.start_ours(pair_of(name), POLICIES[policy])
    assert formatted(ours, text) == formatted(pairs.start_native(pair_of(name)), text)
    assert ours.heap is not None
    if POLICIES[policy].leaking:
        assert not ours.heap.collections
    if POLICIES[policy].gc_every:
        assert len(ours.heap.collections) > 5


@pytest.mark.parametrize("engine", ["model", "kernel"])
@pytest.mark.share(1)
def test_a_heap_that_is_too_small_is_said_to_be(engine: str) -> None:
    run = pairs.start_ours(pair_of("sh-syntax-0.4.0"), Policy(engine=engine, heap_limit_bytes=200_000))
    with pytest.raises((OutOfMemoryError, GuestError), match=r"the program asked for .* limit of 200000 bytes"):
        formatted(run, texts.kinds("sh-syntax-0.4.0")["medium"])


@pytest.mark.parametrize(
    ("name", "form"),
    cases(
        MODULES_AND_FORMS,
        quick=[("sh-syntax-0.3.7", "stripped")],
        in_ci=[("gofmt-0.4.9", "optimized"), ("sh-syntax-0.5.8", "stripped")],
    ),
)
def test_all_is_the_same_in_another_form(name: str, form: str) -> None:
    command = {"stripped": ["wasm-strip"], "optimized": ["wasm-opt", *FEATURES, "-O2"]}[form]
    pair = pairs.compiled(collectors.transformed(guests_modules.read(name), *command))
    assert_same(pair, texts.kinds(name)["mistake"])
    collects_late = name in ("sh-syntax-0.5.8", *BEST_FIT_MODULES)
    text = texts.large(name) if form == "optimized" or collects_late else texts.kinds(name)["medium"]
    ours = assert_same(pair, text)
    assert ours.heap is not None
    assert ours.heap.collections
