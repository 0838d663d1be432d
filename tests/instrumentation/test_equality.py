"""An instrumented program does what it did, and its log makes the recording that `tinyheap profile` would have made."""

from __future__ import annotations

from pathlib import Path

import pytest

import guests_modules
from guests import texts
from guests.test_mutator import BUILDS
from instrumentation import logged
from tinyheap import formatters
from tinyheap.guests.program import Program
from tinyheap.hosts import Grants
from tinyheap.instrumentation.importing import import_log
from tinyheap.instrumentation.log import read_log, take_log
from tinyheap.instrumentation.operation import instrument
from tinyheap.units import WASM_PAGE_BYTES
from tinyheap.wasm import Editor, Module

FORMATTERS = ["gofmt-0.4.9", "sh-syntax-0.3.7", "sh-syntax-0.4.0", "sh-syntax-0.4.2", "sh-syntax-0.5.8"]
PARAMETERS = guests_modules.cases(FORMATTERS, in_ci=["gofmt-0.4.9", "sh-syntax-0.3.7", "sh-syntax-0.5.8"])


def formatted(program: Program, name: str, kind: str) -> str:
    driver = formatters.find(program.session)
    assert driver is not None
    return driver.format(texts.kinds(name)[kind], "x.go" if name.startswith("gofmt") else "x.sh")


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_formatter_s_log_makes_the_recording_of_its_profile(name: str, tmp_path: Path) -> None:
    wasm = guests_modules.read(name)
    with Program.open(wasm, logged.SEEDED, recording=tmp_path / "profiled.tinyheap") as program:
        program.start()
        expected = formatted(program, name, "medium")
    made = instrument(wasm)
    with logged.opened(made.wasm) as program:
        program.start()
        assert formatted(program, name, "medium") == expected
        log = take_log(program)
    done = import_log(log, made.wasm, tmp_path / "imported.tinyheap")
    assert (done.lost, done.has_times) == (0, made.clock is not None)
    found = logged.assert_same(tmp_path / "imported.tinyheap", tmp_path / "profiled.tinyheap")
    # The heap of 0.5.8 is so large from the beginning that it is not collected.
    assert bool(found.tables["deaths"]) == (name != "sh-syntax-0.5.8")
    assert found.end == ("finished", None)


def test_a_wasi_program_is_timed_by_its_own_clock(tmp_path: Path) -> None:
    editor = Editor(Module.parse(logged.mutator()))
    editor.add_import_function("wasi_snapshot_preview1", "clock_time_get", ("i32", "i64", "i32"), ("i32",))
    wasm = editor.encode()
    made = instrument(wasm)
    assert made.clock == "wasi_snapshot_preview1.clock_time_get"
    with Program.open(wasm, logged.SEEDED, recording=tmp_path / "profiled.tinyheap") as program:
        program.start()
        expected = program.call("mutate", 5, 900)
    with logged.opened(made.wasm, Grants()) as program:
        program.start()
        assert program.call("mutate", 5, 900) == expected
        log = take_log(program)
    import_log(log, made.wasm, tmp_path / "imported.tinyheap")
    logged.assert_same(tmp_path / "imported.tinyheap", tmp_path / "profiled.tinyheap")
    times = [record.time_ns for record in read_log(log).records()]
    assert times[0] < times[-1]
    assert times == sorted(times)


@pytest.mark.parametrize("build", range(len(BUILDS)), ids=lambda at: str(BUILDS[at]))
@pytest.mark.share(2, in_ci=5)
def test_every_shape_of_the_collector_is_recorded(build: int, tmp_path: Path) -> None:
    wasm, made = logged.mutator(build), logged.instrumented_mutator(build)
    calls = [(seed, 1500) for seed in range(3)]
    recording = tmp_path / "profiled.tinyheap"
    with Program.open(wasm, logged.SEEDED, recording=recording, stub_imports=True) as program:
        program.start()
        expected = [program.call("mutate", *each) for each in calls]
    with logged.opened(made.wasm) as program:
        program.start()
        assert [program.call("mutate", *each) for each in calls] == expected
        log = take_log(program)
    import_log(log, made.wasm, tmp_path / "imported.tinyheap")
    found = logged.assert_same(tmp_path / "imported.tinyheap", tmp_path / "profiled.tinyheap")
    assert len(found.tables["collections"]) > 5
    assert found.tables["growths"]
    assert all(words > 0 for (words,) in found.scanned[1:])


@pytest.mark.parametrize("build", [0, 3, 5], ids=lambda at: str(BUILDS[at]))
def test_the_memory_that_the_program_sees_is_the_same(build: int) -> None:
    """Also in the middle of the log: takes, growths, and a host that grows the memory."""
    made = logged.instrumented_mutator(build)
    with logged.opened(logged.mutator(build)) as native, logged.opened(made.wasm) as ours:
        native.start()
        ours.start()
        for seed in range(5):
            assert ours.call("mutate", seed, 700) == native.call("mutate", seed, 700)
            before, after = (program.memory.read(0, len(program.memory)) for program in (native, ours))
            log_pages = (made.log_bytes >> 16) + 16
            behind = after[len(before) : len(after) - log_pages * WASM_PAGE_BYTES]
            assert after[: len(before)] == before
            assert len(behind) <= WASM_PAGE_BYTES
            assert not behind.strip(b"\0")
            assert len(take_log(ours)) > 1000
            if seed == 2:
                for program in (native, ours):
                    program.session.memory.raw.grow(program.session.store, 1)
                    # The log moves when the program looks at its memory next, at the latest.
                    program.call("mutate", 7, 4000)


@pytest.mark.slow
def test_names_and_lines_come_from_either_module(tmp_path: Path) -> None:
    wasm = guests_modules.read("gofmt-0.4.9")
    made = instrument(wasm)
    with logged.opened(made.wasm) as program:
        program.start()
        formatted(program, "gofmt-0.4.9", "tiny")
        log = take_log(program)
    import_log(log, made.wasm, tmp_path / "a.tinyheap")
    import_log(log, wasm, tmp_path / "b.tinyheap")
    logged.assert_same(tmp_path / "a.tinyheap", tmp_path / "b.tinyheap")
