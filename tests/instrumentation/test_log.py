"""Logs: what is handed over when, what happens when they are full, and files that are none."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import guests_modules
from instrumentation import logged
from tinyheap.errors import LogError, PolicyError, UnsupportedGuestError
from tinyheap.guests.program import Program
from tinyheap.instrumentation.importing import import_log
from tinyheap.instrumentation.log import MAGIC, Kind, read_log, take_log
from tinyheap.instrumentation.operation import MOST_LOG_BYTES, instrument
from tinyheap.recognize.identify import identify
from tinyheap.recognize.instrumented import SECTION
from tinyheap.transplanting.operation import transplant
from tinyheap.units import WASM_PAGE_BYTES
from tinyheap.wasm import Editor, Module


def run(wasm: bytes, *, takes_each: bool = False, steps: int = 900) -> tuple[list[object], bytes]:
    """What three calls return, and the log."""
    with logged.opened(wasm) as program:
        program.start()
        results, parts = list[object](), list[bytes]()
        for seed in range(3):
            results.append(program.call("mutate", seed, steps))
            parts += [take_log(program)] if takes_each else []
        return results, b"".join([*parts, take_log(program)])


@cache
def short_log() -> bytes:
    return run(logged.instrumented_mutator().wasm, steps=60)[1]


def test_a_log_that_is_taken_in_pieces_says_the_same(tmp_path: Path) -> None:
    made = logged.instrumented_mutator()
    for name, takes_each in (("whole", False), ("pieces", True)):
        _, log = run(made.wasm, takes_each=takes_each)
        assert log.count(MAGIC) == (4 if takes_each else 1)
        import_log(log, made.wasm, tmp_path / name)
    logged.assert_same(tmp_path / "whole", tmp_path / "pieces")


def test_other_bytes_between_chunks_are_passed_over(tmp_path: Path) -> None:
    made = logged.instrumented_mutator()
    _, log = run(made.wasm, takes_each=True)
    mixed = b"panic: what a program prints\n" + log.replace(MAGIC, b"\nmore of it\n" + MAGIC)
    assert read_log(mixed) == read_log(log)


def test_a_full_log_stops_and_says_what_is_missing(tmp_path: Path) -> None:
    whole, small = logged.instrumented_mutator(), instrument(logged.mutator(), log_bytes=WASM_PAGE_BYTES)
    results, log = run(small.wasm)
    expected, all_of_it = run(whole.wasm)
    assert results == expected
    part, complete = read_log(log), read_log(all_of_it)
    kept, full = list(part.records()), list(complete.records())
    assert 0 < len(kept) < len(full)
    assert len(kept) + part.lost == len(full)
    assert [each._replace(time_ns=0) for each in kept] == [each._replace(time_ns=0) for each in full[: len(kept)]]
    done = import_log(log, small.wasm, tmp_path / "part.tinyheap")
    assert done.lost == part.lost
    state, error = logged.Facts(tmp_path / "part.tinyheap").end
    assert (state, f"{part.lost:,} more records were not kept" in error) == ("failed", True)


def test_a_log_stays_full_when_it_is_taken() -> None:
    small = instrument(logged.mutator(), log_bytes=WASM_PAGE_BYTES)
    _, log = run(small.wasm, takes_each=True, steps=3000)
    assert read_log(log).lost > 0
    last = log.rindex(MAGIC)
    assert read_log(log[: log.index(MAGIC, 1)]).lost > 0
    assert struct.unpack_from("<I", log, last + 24) == (0,)


def test_a_call_that_traps_ends_with_what_comes_after_it(tmp_path: Path) -> None:
    made = logged.instrumented_mutator()
    with logged.opened(made.wasm) as program:
        program.start()
        program.call("mutate", 1, 50)
        log = take_log(program)
    # The last call's end is the last record.
    *_, last = read_log(log).records()
    assert last.kind == Kind.CALL_ENDS
    words = 2 + 2 * read_log(log).has_clock + len(last.sites) + 3
    cut = bytearray(log[: -4 * words])
    struct.pack_into("<I", cut, 24, len(cut) - 48)
    import_log(bytes(cut), made.wasm, tmp_path / "cut.tinyheap")
    with duckdb.connect(str(tmp_path / "cut.tinyheap"), read_only=True) as connection:
        assert connection.execute("SELECT returned FROM calls ORDER BY number").fetchall()[-1] == (False,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda log: b"", "is not a log"),
        (lambda log: b"\0asm\1\0\0\0", "is not a log"),
        (lambda log: log[:30], "cut off in its header"),
        (lambda log: log[:-4], "is cut off"),
        (lambda log: log[:16] + b"\2" + log[17:], "of format 2"),
        (lambda log: log[:20] + b"\1" + log[21:], "is number 1 of its run: expected 0"),
        (lambda log: log + log, "is number 0 of its run: expected 1"),
        (lambda log: log[:8] + bytes(8) + log[16:], "is of another module"),
        (lambda log: log[:48] + b"\x09" + log[49:], "invalid kind of record 9"),
        (lambda log: log[:51] + b"\xff" + log[52:], "goes on to word"),
    ],
)
def test_what_is_no_log_is_refused_in_words(change: Callable[[bytes], bytes], message: str, tmp_path: Path) -> None:
    with pytest.raises(LogError, match=message):
        import_log(change(short_log()), logged.instrumented_mutator().wasm, tmp_path / "no.tinyheap")


@settings(max_examples=30)
@given(data=st.data())
@pytest.mark.slow
def test_bytes_that_changed_are_refused_or_make_a_recording(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = bytearray(short_log())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(8, len(log) - 1))
        log[at] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("changed") / "x.tinyheap"
    try:
        done = import_log(bytes(log), logged.instrumented_mutator().wasm, path)
    except LogError:
        return
    assert done.events > 0


def test_the_log_of_another_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="is of another module: it was made from one whose SHA-256 begins with"):
        import_log(short_log(), logged.instrumented_mutator(3).wasm, tmp_path / "x.tinyheap")


def test_a_module_without_its_sites_is_refused(tmp_path: Path) -> None:
    editor = Editor(Module.parse(logged.instrumented_mutator().wasm))
    editor.set_custom_section("tinyheap.sites", b"nothing")
    with pytest.raises(LogError, match=r"section tinyheap\.sites of this module cannot be read"):
        import_log(short_log(), editor.encode(), tmp_path / "x.tinyheap")


def test_facts_that_cannot_be_read_are_none() -> None:
    wasm = logged.instrumented_mutator().wasm
    editor = Editor(Module.parse(wasm))
    editor.set_custom_section(SECTION, b"nothing")
    assert "keeps a log" in identify(Module.parse(wasm)).served
    assert "keeps a log" not in identify(editor.build()).served


def test_no_module_is_instrumented_twice_or_after_a_transplant() -> None:
    with pytest.raises(UnsupportedGuestError, match="has instrumented this module already"):
        instrument(logged.instrumented_mutator().wasm)
    with pytest.raises(UnsupportedGuestError, match="has written its collector into this module already"):
        instrument(transplant(logged.mutator()))
    with pytest.raises(UnsupportedGuestError, match="keeps a log of its own run"):
        transplant(logged.instrumented_mutator().wasm)


@pytest.mark.parametrize("size", [0, WASM_PAGE_BYTES - 1, MOST_LOG_BYTES + 1])
def test_a_log_of_no_such_size_is_refused(size: int) -> None:
    with pytest.raises(PolicyError, match="invalid log size"):
        instrument(logged.mutator(), log_bytes=size)


@pytest.mark.slow
def test_an_instrumented_module_may_be_profiled_on_its_own_allocator(tmp_path: Path) -> None:
    """Its collector is not replaced, since the log lies behind its heap."""
    wasm = guests_modules.read("gofmt-0.4.9")
    path = tmp_path / "own.tinyheap"
    with Program.open(instrument(wasm).wasm, logged.SEEDED, recording=path) as program:
        program.start()
    with duckdb.connect(str(path), read_only=True) as connection:
        assert connection.execute("SELECT source FROM run").fetchone() == ("injected",)
