"""Comparing with the original's marking catches faults of the kernel that runs ahead: each of these makes memory differ."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
import wasmtime

import mutant_shares
from source_edits import Edit
from tinyheap.errors import TinyheapError
from transplanting import marking
from transplanting.test_marking_ahead import (
    GROWTHS,
    SEEDS,
    assert_grows_as_the_policy_says,
    assert_leaves_a_word,
    assert_marks_the_same,
)
from transplanting.test_mutants import SOURCES, compiled, in_place

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
    "tails of the next byte are overlooked": Edit(TABLE, "", "others == 0 && heap_end - at > 1", "0"),
    "a head is looked for in one byte": Edit(TABLE, "", "while (others == 0) {", "while (0) {"),
    "a mark flips the block before": Edit(TABLE, "", "^ TAIL << (block & 3)", "^ TAIL << ((block - 1) & 3)"),
    "tails are skipped by sixteen bytes": Edit(TABLE, "", "at += 8;", "at += 16;"),
    "marking begins anew before the stack is scanned": Edit(
        AHEAD, "", "set_phase(body_of(stack, SAME_PLACES))", "(void)0"
    ),
    "a heap ends where a host's pages do": Edit(AHEAD, "", "wanted < there ? there - wanted : 0", "0"),
    "a growth is from where a host's pages end": Edit(AHEAD, "", "wanted < there ? 0 : wanted - there", "wanted"),
    "a growth of nothing is no refusal": Edit(AHEAD, "", "wanted <= heap_end >> PAGE_SHIFT", "0"),
    "no object is scanned once more": Edit(AHEAD, "", "last_mapped != 0 && last_mapped != object", "0"),
    "an object is scanned once more where none is to be": Edit(
        AHEAD, "", "last_mapped != 0 && last_mapped != object", "last_mapped != object"
    ),
    "the last object is scanned once more, too": Edit(
        AHEAD, "", "last_mapped != 0 && last_mapped != object", "last_mapped != 0"
    ),
    "an object is scanned once more in the next collection": Edit(AHEAD, "", "set_repeated_body(0);", ""),
    "an object shorter than its element is scanned": Edit(AHEAD, "", "if (end - at < element_bytes)", "if (0)"),
    "the present stack is scanned ahead": Edit(AHEAD, "", "object != 0 && object != stack", "object != 0"),
    "the present stack's words are marked from ahead": Edit(AHEAD, "", "stack_pointer() - from < bytes", "0"),
    "nothing is ahead once the present stack is scanned": Edit(AHEAD, "", "if (phase() == at)", "if (0)"),
    "marking stops at the present stack a second time": Edit(AHEAD, "", "if (first == stack)", "if (0)"),
    "marking begins anew when all is marked": Edit(AHEAD, "", "set_phase(NOTHING_IS_AHEAD);", ""),
    "all of a range is left": Edit(AHEAD, "", "    return left;", "    return bytes + 0 * left;"),
    "short ranges are left a word": Edit(AHEAD, "", "bytes < 8 ||", ""),
    "what is behind the last word is forgotten": Edit(AHEAD, "", "4 + (bytes & 3)", "4"),
    "a scan that marks itself is left one word": Edit(AHEAD, "", "!marks_in_own_frame() ||", ""),
    "the table's first address is the heap's": Edit(
        AHEAD, "", "address - start < table - start", "address - start <= table - start"
    ),
    "an object ends where the heap does not": Edit(TABLE, "", "heap_end - at > 1", "heap_end - at > 0"),
    "tails are skipped to the heap's end": Edit(TABLE, "", "heap_end - at > 8", "heap_end - at > 7"),
    "tails are skipped to before the table": Edit(TABLE, "", "at - table >= 8", "at - table >= 7"),
    "tails begin before the table": Edit(TABLE, "", "if (at == table) return 0;", ""),
    "a head in the first block has one before": Edit(TABLE, "", "if (end == 0) return 0;", ""),
    "an object without pointers is scanned": Edit(AHEAD, "", "(layout & 1) && layout >> 6 == 0", "0"),
    "a bitmap lacks its last byte": Edit(AHEAD, "", "(words + 7) >> 3", "words >> 3"),
    "any object may be scanned once more": Edit(AHEAD, "", "if (how == MAPPED)", ""),
    "what is scanned is not told": Edit(AHEAD, "", "tell_scanned(end - at);", "", nth=2),
    "what is marked ahead is not told": Edit(AHEAD, "", "tell_marked();", ""),
}
SHARE: Final = 3
"""One mutant in so many is tried where not all are asked for."""
DIFFERENCES: Final = (AssertionError, TinyheapError, wasmtime.Trap, LookupError, ValueError)
"""Memory is another; or it makes no sense any more, to the model or to the kernel."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    mutant_shares.parametrize(metafunc, MUTANTS, SHARE)


def assert_all_is_the_same() -> None:
    """The kernel does what it is there for, in every shape of the original."""
    assert_leaves_a_word()
    for growth in GROWTHS:
        assert_grows_as_the_policy_says(growth)
    for seed in range(SEEDS):
        for shape in marking.SHAPES:
            assert_marks_the_same(shape, seed)


@pytest.mark.slow
def test_the_kernel_itself_passes(tmp_path: Path) -> None:
    with in_place(compiled(tmp_path, collector="best_fit")):
        assert_all_is_the_same()


@pytest.mark.slow
def test_is_caught(mutant: str, tmp_path: Path) -> None:
    with in_place(compiled(tmp_path, MUTANTS[mutant], "best_fit")), pytest.raises(DIFFERENCES):
        assert_all_is_the_same()


@pytest.mark.parametrize("name", MUTANTS)
def test_has_its_place_in_the_kernel(name: str) -> None:
    source = (SOURCES / MUTANTS[name].file).read_bytes()
    assert MUTANTS[name].applied(source) != source
