"""Instrumented programs of TinyGo 0.40 and later: their logs make the recordings of their profiles."""

from __future__ import annotations

import struct
from pathlib import Path

import duckdb
import pytest

import guests_modules
from guests.collectors import Build
from instrumentation import logged
from tinyheap.errors import LogError, UnsupportedGuestError
from tinyheap.guests.program import Program
from tinyheap.instrumentation.importing import import_log
from tinyheap.instrumentation.log import MAGIC, read_log, take_log
from tinyheap.instrumentation.operation import instrument
from tinyheap.recognize.facts import BestFitHeap, Role
from tinyheap.recognize.identify import identify
from tinyheap.recordings.observed import Observed
from tinyheap.recordings.recording import Recording
from tinyheap.units import WASM_PAGE_BYTES
from tinyheap.wasm import Editor, Module
from transplanting.test_ahead import APART, BUILDS, REAL, wasm_of
from transplanting.test_requests import ALLOC, COLLECT, REQUESTS, Mutator


def exercised(program: Program, build: Build) -> list[object]:
    """What a program's exports return, over many collections."""
    found: list[object] = []
    for trees in (60, 5, 60):
        found.append(program.call("run", trees, 6))
        if build.own_stack:
            found.append(program.call("run_task", trees, 6))
        if build.finalizers:
            found.append(program.call("watch", 10 * trees))
    # A tree that no heap has room for from the beginning.
    return [*found, program.call("run", 2, 13)]


@pytest.mark.parametrize("build", BUILDS, ids=str)
@pytest.mark.share(2, in_ci=3)
def test_every_shape_of_the_collector_is_recorded(build: Build, tmp_path: Path) -> None:
    wasm = wasm_of(build)
    with Program.open(wasm, logged.SEEDED, recording=tmp_path / "profiled", stub_imports=True) as program:
        program.start()
        expected = exercised(program, build)
    made = instrument(wasm)
    with logged.opened(made.wasm) as program:
        program.start()
        assert exercised(program, build) == expected
        log = take_log(program)
    assert import_log(log, made.wasm, tmp_path / "imported").lost == 0
    with Recording.open(tmp_path / "imported") as recording:
        assert recording.run.served == "on its own collector"
        assert recording.run.observed == Observed.of("kernel", recording.run.collector)
    # A profile has finalizers called by the host, where they are called from here.
    found = logged.assert_same(tmp_path / "imported", tmp_path / "profiled", without="drain")
    assert len(found.tables["collections"]) > 2
    assert len(found.tables["deaths"]) > 1000
    assert found.tables["growths"]
    assert all(words > 0 for (words,) in found.scanned)


def with_allocator(wasm: bytes) -> tuple[bytes, BestFitHeap]:
    """A module that exports its allocator and its collections, and its heap."""
    module = Module.parse(wasm)
    editor, heap = Editor(module), identify(module).best_fit
    assert heap is not None
    for redirect in heap.redirects:
        editor.export(ALLOC if redirect.role is Role.ALLOC else COLLECT, "function", redirect.function)
    return editor.encode(), heap


@pytest.mark.parametrize("name", guests_modules.cases(REAL, in_ci=["eu-licence-validator-0.1.27"]))
def test_requests_of_real_programs_are_recorded(name: str, tmp_path: Path) -> None:
    wasm, heap = with_allocator(guests_modules.read(name))
    made = instrument(wasm)
    # The heap of some is large from the beginning.
    requests = 10 * REQUESTS if name == "sh-syntax-0.6.0" else REQUESTS
    with Program.open(wasm, logged.SEEDED, recording=tmp_path / "profiled") as program:
        program.start()
        expected = list(Mutator(program, heap, 3).run(requests))
    with logged.opened(made.wasm) as program:
        program.start()
        assert list(Mutator(program, heap, 3).run(requests)) == expected
        log = take_log(program)
    import_log(log, made.wasm, tmp_path / "imported")
    # What of its own frames the collector sees as roots, a profile knows of a rehearsal.
    found = logged.assert_same(tmp_path / "imported", tmp_path / "profiled", same_roots=False)
    assert found.tables["collections"]
    assert found.tables["deaths"]


@pytest.mark.parametrize("build", [BUILDS[0], BUILDS[3], BUILDS[7]], ids=str)
def test_the_memory_that_the_program_sees_is_the_same(build: Build) -> None:
    made = instrument(wasm_of(build))
    with logged.opened(wasm_of(build)) as native, logged.opened(made.wasm) as ours:
        native.start()
        ours.start()
        for _ in range(2):
            assert exercised(ours, build) == exercised(native, build)
            before, after = (program.memory.read(0, len(program.memory)) for program in (native, ours))
            assert after[: len(before)] == before
            assert len(after) - len(before) == made.log_bytes + 16 * WASM_PAGE_BYTES
            assert len(take_log(ours)) > 1000


# ---- logs that lie, and modules that cannot be instrumented --------------------------------------------------------------


def log_of(build: Build) -> tuple[bytes, bytes]:
    """The log of a short run, and its module."""
    made = instrument(wasm_of(build))
    with logged.opened(made.wasm) as program:
        program.start()
        program.call("run", 60, 6)
        return take_log(program), made.wasm


def of_collection(log: bytes, word: int) -> int:
    """Where in a log a word of the first collection's lies."""
    at = 0
    for record in read_log(log).records():
        words = 2 + 2 * read_log(log).has_clock + len(record.sites)
        if record.heads:
            return 48 + 4 * (at + words + word)
        at += words + len(record.words)
    raise AssertionError("no collection is there")


def test_a_log_that_ends_inside_an_allocation_makes_the_recording_up_to_there(tmp_path: Path) -> None:
    log, wasm = log_of(APART)
    at = of_collection(log, 14)
    assert struct.unpack_from("<I", log, at) > (1,)
    cut = bytearray(log)
    struct.pack_into("<I", cut, at, 1)
    done = import_log(bytes(cut), wasm, tmp_path / "cut.tinyheap")
    assert done.collections == 0
    assert done.events > 100
    with duckdb.connect(str(tmp_path / "cut.tinyheap"), read_only=True) as connection:
        state, error = connection.execute("SELECT state, error FROM run").fetchall()[0]
    assert state == "failed"
    assert "the log ends inside an allocation" in error


@pytest.mark.parametrize(
    ("word", "value", "message"), [(14, 0, "was allocated again while it lived"), (14, 16, "outside of a heap")]
)
def test_a_collection_with_another_new_object_is_refused(word: int, value: int, message: str, tmp_path: Path) -> None:
    log, wasm = log_of(APART)
    changed = bytearray(log)
    struct.pack_into("<I", changed, of_collection(log, word), value)
    with pytest.raises(LogError, match=message):
        import_log(bytes(changed), wasm, tmp_path / "x.tinyheap")


def test_a_log_of_another_collector_is_refused(tmp_path: Path) -> None:
    log, wasm = log_of(APART)
    assert log.startswith(MAGIC)
    with pytest.raises(LogError, match="it is of another collector than this module's"):
        import_log(log[:19] + b"\0" + log[20:], wasm, tmp_path / "x.tinyheap")


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (
            APART._replace(apart=False, optimization="2"),
            r"cannot be replaced in the module as its compiler put it together",
        ),
        (APART._replace(apart=False, optimization="s", link_time=True, one_size=True), r"is not told the size"),
    ],
    ids=str,
)
def test_a_shape_that_does_not_allow_it_is_refused_with_what_works(build: Build, words: str) -> None:
    with pytest.raises(UnsupportedGuestError, match=words):
        instrument(wasm_of(build))
