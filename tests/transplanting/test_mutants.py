"""Comparing with the original catches faults: each of these, put into the kernel's source, makes a program differ."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
import wasmtime

import mutant_shares
import needs
from guests import collectors, pairs
from guests.collectors import Build
from guests.pairs import Run
from guests.test_mutator import BUILDS, SOURCE
from project_files import ROOT
from source_edits import Edit
from tinyheap import hosts
from tinyheap.errors import GuestError
from tinyheap.transplanting import operation
from tinyheap.transplanting.operation import perform
from tinyheap.transplanting.options import Options
from tinyheap.wasm import Module
from transplanting import twins
from transplanting.test_mutators import with_maximum
from transplanting.test_requests import assert_same_requests

pytestmark = pytest.mark.mutation

SOURCES: Final = ROOT / "src/tinyheap/transplanting/kernel"
LIMITED: Final = hosts.Grants(seed=1, timeout_s=10)
ALLOCATE, MARK, TABLE, SWEEP, WHOLE = "allocate.h", "mark.h", "table.h", "sweep.h", "next_fit.c"

MUTANTS: Final = {
    "a head is looked for one block too low": Edit(TABLE, "", "<< (6 -", "<< (4 -"),
    "a head in the eight bytes before is one off": Edit(TABLE, "", "29 + (block & 3)", "28 + (block & 3)"),
    "tails end with the first eight bytes": Edit(TABLE, "", "if (tails < known)", "if (tails <= known)"),
    "the table's last bytes are read one too high": Edit(TABLE, "", "- last - 1) << 3) >> 8", "- last) << 3) >> 8"),
    "marks replace the state of a neighbour": Edit(TABLE, "", "load8(at) | MARK <<", "MARK <<"),
    "full blocks take one more": Edit(WHOLE, "", "(bytes + BLOCK_BYTES - 1)", "(bytes + BLOCK_BYTES)"),
    "the headroom is never seen to": Edit(WHOLE, "", "keeps_headroom() &&", "0 &&"),
    "the headroom is a half": Edit(WHOLE, "", "heap_start()) / 3", "heap_start()) / 2"),
    "what memory was out for stays counted": Edit(WHOLE, "", "needed, -1ull", "needed, 0ull"),
    "a run's end is past the heap": Edit(ALLOCATE, "", "if (end > load32(end_block_at()))", "if (0)"),
    "a long run begins one block early": Edit(ALLOCATE, "", ": end - taken - 1;", ": end - taken;"),
    "the states of a long object lack its last": Edit(
        ALLOCATE, "", "(62 - (((end - 1) & 31) << 1));\n    while", "(62 - (((end - 2) & 31) << 1));\n    while"
    ),
    "seven bytes are not cleared": Edit(ALLOCATE, "", "bytes > 0; bytes--", "bytes > 8; bytes--"),
    "blocks are not counted": Edit(ALLOCATE, "", "add_to(total_blocks_at(), blocks * sign);", ""),
    "an interior pointer marks a tail": Edit(MARK, "", "if (state == TAIL)", "if (state == HEAD)"),
    "the mark stack holds one more": Edit(
        MARK, "", "length == mark_stack_entries()", "length == mark_stack_entries() + 1"
    ),
    "the mark stack is not zeroed": Edit(MARK, "", "if (mark_stack_is_zeroed())", "if (0)"),
    "the mark stack is one word too low": Edit(
        MARK, "", "alloc_stack_pointer - root_bytes_below_alloc()", "alloc_stack_pointer - root_bytes_below_alloc() - 4"
    ),
    "dropped objects are forgotten": Edit(MARK, "", "1u << (head & 7)", "0u << (head & 7)"),
    "what is dropped ahead waits for the next pass": Edit(MARK, "", "& ONES << 1 << bit", "& 0"),
    "the last marked object is not scanned again": Edit(MARK, "", "if (final != last)", "if (0)"),
    "the second period of a layout is left out": Edit(MARK, "", "bits |= bits << size", "bits |= 0"),
    "a constant layout is read one byte off": Edit(MARK, "", "layout + 4 + (index >> 3)", "layout + 5 + (index >> 3)"),
    "the stack that a task left is not scanned": Edit(MARK, "", "? stack_left_by_task()", "? stack_top()"),
    "the stack is scanned while a task runs": Edit(MARK, "", "task_runs() ?", "0 ?"),
    "a chain's first word is left out": Edit(MARK, "", "mark_range(at + 8, at", "mark_range(at + 12, at"),
    "the carry stops at the end of a word": Edit(SWEEP, "", "(head << 2 | carry)", "(head << 2 | (carry & 0))"),
    "freed blocks are not counted": Edit(
        SWEEP, "", "add_to(freed_blocks_at(), freed_blocks)", "add_to(freed_blocks_at(), freed_blocks & 1)"
    ),
    "the new table is one block off": Edit(
        WHOLE, "", "(new_table - start) >> BLOCK_SHIFT", "((new_table - start) >> BLOCK_SHIFT) - 1"
    ),
}
SHAPES: Final = [BUILDS[at] for at in (3, 1, 2, 4, 5, 6, 13)]
"""Tried in this order until one differs."""
SHARE: Final = 6
"""One mutant in so many is tried where not all are asked for."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    mutant_shares.parametrize(metafunc, MUTANTS, SHARE)


@pytest.fixture(scope="module")
def engine() -> wasmtime.Engine:
    """One that ends what hangs."""
    return hosts.new_engine(LIMITED)


def compiled(folder: Path, edit: Edit | None = None, collector: str = "next_fit") -> Module:
    """A kernel, with a fault."""
    shutil.copytree(SOURCES, folder / "kernel")
    if edit is not None:
        edit.apply(folder / "kernel")
    command = [
        str(needs.tool("make")),
        "-C",
        str(ROOT),
        "kernel",
        f"KERNELS={folder}/kernel/{collector}",
        f"BUILD={folder}",
    ]
    collectors.run(*command, f"CLANG={needs.tool('clang-14')} -Wno-unused", f"WASM_LD={needs.tool('wasm-ld-14')}")
    return Module.parse((folder / f"kernel/{collector}.wasm").read_bytes())


@contextmanager
def in_place(kernel: Module) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operation, "kernel", lambda _: kernel)
        yield


def differs(build: Build, engine: wasmtime.Engine, maximum: int | None) -> bool:
    """Whether a program differs from what it was before."""
    wasm = collectors.compiled(build, SOURCE)
    wasm = wasm if maximum is None else with_maximum(wasm, maximum)
    made = perform(wasm, Options())
    forms = (pairs.witnessed(Module.parse(each), made.heap.alloc_function) for each in (wasm, made.wasm))
    native, ours = (hosts.compile_module(engine, each) for each in forms)
    pair = pairs.Pair(made.heap, None, engine, native, ours)
    for seed in (0, 2, 3):
        runs = twins.start(replace(pair), LIMITED)
        try:
            for call in range(2):
                outcomes = [outcome(run, seed + 1000 * call) for run in runs]
                if outcomes[0] != outcomes[1]:
                    return True
                twins.assert_equal(*runs)
        except AssertionError:
            return True
    return False


def outcome(run: Run, seed: int) -> object:
    try:
        return run.session.call("mutate", seed, 1500)
    except GuestError as error:
        return type(error).__name__


def is_caught(engine: wasmtime.Engine) -> bool:
    """Whether a program in any shape, or one whose memory is out, differs, or one whose requests come from here."""
    if any(differs(build, engine, None) for build in SHAPES) or differs(SHAPES[0], engine, 3):
        return True
    return any(requests_differ(wasm, seed) for wasm in map(collectors.compiled, SHAPES[:3]) for seed in range(2))


def requests_differ(wasm: bytes, seed: int) -> bool:
    try:
        assert_same_requests(wasm, seed, stops_after_s=20)
    except AssertionError:
        return True
    return False


@pytest.mark.slow
def test_the_kernel_itself_passes(engine: wasmtime.Engine, tmp_path: Path) -> None:
    with in_place(compiled(tmp_path)):
        assert not is_caught(engine)


@pytest.mark.slow
def test_is_caught(mutant: str, engine: wasmtime.Engine, tmp_path: Path) -> None:
    with in_place(compiled(tmp_path, MUTANTS[mutant])):
        assert is_caught(engine)


@pytest.mark.parametrize("name", MUTANTS)
def test_has_its_place_in_the_kernel(name: str) -> None:
    source = (SOURCES / MUTANTS[name].file).read_bytes()
    assert MUTANTS[name].applied(source) != source
