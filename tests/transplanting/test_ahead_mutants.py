"""Comparing with the original catches faults of the kernel that runs ahead, too: each of these makes a program differ."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

import pytest
import wasmtime

import guests_modules
import mutant_shares
from guests import pairs, texts
from guests.collectors import Build
from guests.test_equality import formatted
from source_edits import Edit
from tinyheap import hosts
from tinyheap.errors import GuestError
from tinyheap.heap.growth import FixedStep
from tinyheap.transplanting.operation import perform
from tinyheap.wasm import Module
from transplanting import twins
from transplanting.test_ahead import (
    APART,
    assert_grows_as_served,
    assert_same_at_collections,
    exercise,
    wasm_of,
    with_pages_of_a_host,
)
from transplanting.test_mutants import LIMITED, SOURCES, compiled, in_place, requests_differ

pytestmark = pytest.mark.mutation

AHEAD, TABLE = "best_fit.c", "nibbles.h"
MUTANTS: Final = {
    "the last word is not left": Edit(AHEAD, "", "left = 4 + (bytes & 3)", "left = bytes & 3"),
    "what the last object leads to stays marked": Edit(
        AHEAD, "", "flip_mark(table, (list - start)", "(void)((list - start)"
    ),
    "the last object is not put back": Edit(AHEAD, "", "last == first ? load32(first) : last", "load32(last)"),
    "an object has another link": Edit(AHEAD, "", "store32(header, load32(scan_list_at()))", "store32(header, 0)"),
    "an object that is scanned twice keeps its new link": Edit(
        AHEAD, "", "store32(repeated_header(), repeated_link())", "(void)(repeated_header() + repeated_link())"
    ),
    "a mask is one bit off": Edit(AHEAD, "", "mark_masked(at, layout >> 6,", "mark_masked(at, layout >> 7,"),
    "a bitmap is read one byte off": Edit(AHEAD, "", "layout + 4 + index", "layout + 5 + index"),
    "a trailing part of an element is scanned": Edit(
        AHEAD, "", "end - at >= element_bytes; at", "(int)(end - at) > 0; at"
    ),
    "tails of the next byte are overlooked": Edit(TABLE, "", "others == 0 && ++at < heap_end", "0"),
    "a head is looked for in one byte": Edit(TABLE, "", "while (others == 0) {", "while (0) {"),
    "a mark flips the block before": Edit(TABLE, "", "^ TAIL << (block & 3)", "^ TAIL << ((block - 1) & 3)"),
    "tails are skipped by sixteen bytes": Edit(TABLE, "", "at += 8;", "at += 16;"),
    "marking begins anew before the stack is scanned": Edit(
        AHEAD, "", "set_phase(body_of(stack, SAME_PLACES))", "(void)0"
    ),
    "a heap ends where a host's pages do": Edit(AHEAD, "", "wanted < there ? there - wanted : 0", "0"),
    "a growth is from where a host's pages end": Edit(AHEAD, "", "wanted < there ? 0 : wanted - there", "wanted"),
}
SHAPES: Final = [
    APART._replace(precise=True),
    APART._replace(precise=True, back=True),
    APART._replace(precise=True, tasks=True, own_stack=True),
    APART._replace(tasks=True, own_stack=True, back=True),
]
"""Tried in this order until one differs."""
REAL: Final = ("sh-syntax-0.6.0", "sh-syntax-0.7.0")
"""Tried then."""
SHARE: Final = 12
"""One mutant in so many is tried where not all are asked for."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    mutant_shares.parametrize(metafunc, MUTANTS, SHARE)


@pytest.fixture(scope="module")
def engine() -> wasmtime.Engine:
    """One that ends what hangs."""
    return hosts.new_engine(LIMITED)


def is_caught(engine: wasmtime.Engine) -> bool:
    """Whether a program in any shape differs, or one whose requests come from here."""
    return (
        any(differs(build, engine) or requests_differ(wasm_of(build), 0) for build in SHAPES)
        or growths_differ()
        or leftovers_differ(guests_modules.read("sh-syntax-0.7.0"))
        or any(text_differs(name) for name in REAL)
    )


def growths_differ() -> bool:
    """Whether a heap grows otherwise than on tinyheap's engine, where a host adds pages."""
    growth = FixedStep(300_000)
    twins.compiled.cache_clear()
    try:
        for pages in (1, 400):
            work = partial(with_pages_of_a_host, growth=growth, pages=pages)
            assert_grows_as_served(wasm_of(APART), growth, work)
    except (AssertionError, GuestError):
        return True
    finally:
        twins.compiled.cache_clear()
    return False


def leftovers_differ(wasm: bytes) -> bool:
    """Whether what collections leave differs, on the stack above all."""
    try:
        assert_same_at_collections(wasm, 3, stops_after_s=20)
    except AssertionError:
        return True
    return False


def text_differs(name: str) -> bool:
    """Whether a program that leaves its variables on the stack, and runs on one that is an object, differs."""
    text = texts.large(name)
    native, ours = twins.start(twins.compiled.__wrapped__(guests_modules.read(name)), LIMITED)
    try:
        assert formatted(native, text) == formatted(ours, text)
        twins.assert_equal(native, ours)
    except (AssertionError, GuestError):
        return True
    return False


def differs(build: Build, engine: wasmtime.Engine) -> bool:
    """Whether a program differs from what it was before."""
    made = perform(wasm_of(build))
    forms = (pairs.witnessed(Module.parse(each), made.heap.alloc_function) for each in (wasm_of(build), made.wasm))
    native, ours = (hosts.compile_module(engine, each) for each in forms)
    runs = twins.start(pairs.Pair(made.heap, None, engine, native, ours), LIMITED)
    try:
        outcomes = [exercise(run, build) for run in runs]
        twins.assert_equal(*runs)
    except (AssertionError, GuestError):
        return True
    return outcomes[0] != outcomes[1]


@pytest.mark.slow
def test_the_kernel_itself_passes(engine: wasmtime.Engine, tmp_path: Path) -> None:
    with in_place(compiled(tmp_path, collector="best_fit")):
        assert not is_caught(engine)


@pytest.mark.slow
def test_is_caught(mutant: str, engine: wasmtime.Engine, tmp_path: Path) -> None:
    with in_place(compiled(tmp_path, MUTANTS[mutant], "best_fit")):
        assert is_caught(engine)


@pytest.mark.parametrize("name", MUTANTS)
def test_has_its_place_in_the_kernel(name: str) -> None:
    source = (SOURCES / MUTANTS[name].file).read_bytes()
    assert MUTANTS[name].applied(source) != source
