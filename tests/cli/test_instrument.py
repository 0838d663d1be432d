"""`tinyheap instrument` and `tinyheap import`, as their users meet them."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner, Result

import guests_modules
from instrumentation import logged
from tinyheap import cli, transplant
from tinyheap.cli.exits import ExitCode
from tinyheap.instrumentation import instrument, script, take_log
from wasm import oracles


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def log() -> str:
    """The log of a run, beside the module `out.wasm` that wrote it."""
    made = logged.instrumented_mutator()
    Path("out.wasm").write_bytes(made.wasm)
    with logged.opened(made.wasm) as program:
        program.start()
        program.call("mutate", 1, 900)
        Path("run.log").write_bytes(take_log(program))
    return "run.log"


def run(*words: str, **options: bytes) -> Result:
    return CliRunner().invoke(cli.main, words, **options)  # type: ignore[arg-type]


def test_writes_the_module_and_the_script_and_says_what_it_did() -> None:
    Path("in.wasm").write_bytes(logged.mutator())
    done = run("instrument", "in.wasm", "-o", "out.wasm", "--js", "log.js", "--log-size", "2MiB")
    assert done.exit_code == 0
    assert Path("out.wasm").read_bytes() == instrument(logged.mutator(), log_bytes=2 << 20).wasm
    assert Path("log.js").read_text() == script()
    assert done.stderr.startswith("wrote out.wasm\nwrote log.js\nfollowed: ")
    assert "log: 2 MiB, behind the program's memory\ntimes: none; " in done.stderr


@pytest.mark.slow
def test_a_module_may_be_kept_from_asking_for_the_time() -> None:
    Path("in.wasm").write_bytes(guests_modules.read("gofmt-0.4.9"))
    assert "times: from the module's import runtime.ticks" in run("instrument", "in.wasm", "-o", "a.wasm").stderr
    assert "times: none" in run("instrument", "in.wasm", "-o", "b.wasm", "--no-clock").stderr


def test_a_module_that_cannot_be_instrumented_is_named(log: str) -> None:
    done = run("instrument", "out.wasm", "-o", "again.wasm")
    assert done.exit_code in (ExitCode.CANNOT_READ, ExitCode.CANNOT_WRITE)
    assert done.stderr.startswith("Error: out.wasm: tinyheap ")
    assert not Path("again.wasm").exists()
    Path("none.wasm").write_bytes(oracles.assemble('(module (memory (export "memory") 1))'))
    done = run("instrument", "none.wasm", "-o", "again.wasm")
    assert done.exit_code == ExitCode.CANNOT_READ
    assert done.stderr.startswith("Error: none.wasm: ")
    assert not Path("again.wasm").exists()


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("0", "invalid size '0'"),
        ("63KiB", "Error: --log-size: invalid log size of 64512 bytes"),
        ("2GiB", "--log-size: "),
    ],
)
def test_a_log_of_no_such_size_is_refused(size: str, message: str) -> None:
    Path("in.wasm").write_bytes(logged.mutator())
    done = run("instrument", "in.wasm", "-o", "out.wasm", "--log-size", size)
    assert done.exit_code != 0
    assert message in done.stderr
    assert not Path("out.wasm").exists()


def test_what_tinyheap_has_written_into_before_is_refused_with_what_to_take(log: str) -> None:
    Path("fast.wasm").write_bytes(transplant(logged.mutator()))
    for words in (
        ("instrument", "fast.wasm", "-o", "x.wasm"),
        ("import", log, "--module", "fast.wasm"),
        ("transplant", "out.wasm", "-o", "x.wasm"),
    ):
        done = run(*words)
        assert done.exit_code == ExitCode.CANNOT_READ
        assert "take the module that it was made from" in done.stderr


def test_a_log_of_another_module_is_refused_with_what_to_name(log: str) -> None:
    Path("other.wasm").write_bytes(logged.mutator(3))
    done = run("import", log, "--module", "other.wasm", "-o", "x.tinyheap")
    assert done.exit_code == ExitCode.CANNOT_READ
    assert done.stderr.startswith("Error: run.log: this log is of another module: ")
    assert done.stderr.endswith("; name the module that wrote it\n")


def test_a_log_that_is_cut_off_is_to_be_taken_again(log: str) -> None:
    data = Path(log).read_bytes()
    for size in (30, 1000):
        Path(log).write_bytes(data[:size])
        done = run("import", log, "--module", "out.wasm")
        assert done.exit_code == ExitCode.CANNOT_READ
        assert "is cut off" in done.stderr
        assert done.stderr.endswith("; copy or take the log again\n")


def test_an_imported_recording_is_reported_like_any_other(log: str) -> None:
    done = run("import", log, "--module", "out.wasm")
    assert done.exit_code == 0
    assert done.stderr.startswith("wrote run.tinyheap: ")
    assert "the module had no clock: all times are 0" in done.stderr
    report = run("report", "run.tinyheap")
    assert report.exit_code == 0
    assert "collections" in report.stdout
    with duckdb.connect("run.tinyheap", read_only=True) as connection:
        assert connection.execute("SELECT module, source, state FROM run").fetchone() == (
            "out.wasm",
            "kernel",
            "finished",
        )


def test_a_recording_is_replaced_only_on_request(log: str) -> None:
    assert run("import", log, "--module", "out.wasm", "-o", "x.tinyheap").exit_code == 0
    done = run("import", log, "--module", "out.wasm", "-o", "x.tinyheap")
    assert done.exit_code in (ExitCode.CANNOT_READ, ExitCode.CANNOT_WRITE)
    assert "x.tinyheap" in done.stderr
    assert run("import", log, "--module", "out.wasm", "-o", "x.tinyheap", "-f").exit_code == 0


def test_a_log_may_come_as_a_stream(log: str) -> None:
    done = run("import", "-", "--module", "out.wasm", input=Path(log).read_bytes())
    assert done.exit_code == 0
    assert Path("stdin.tinyheap").exists()


def test_a_file_that_is_no_log_is_named(log: str) -> None:
    done = run("import", "out.wasm", "--module", "out.wasm", "-o", "x.tinyheap")
    assert done.exit_code in (ExitCode.CANNOT_READ, ExitCode.CANNOT_WRITE)
    assert done.stderr.startswith("Error: out.wasm: this is not a log of an instrumented module")
    done = run("import", log, "--module", log, "-o", "x.tinyheap")
    assert done.exit_code in (ExitCode.CANNOT_READ, ExitCode.CANNOT_WRITE)
    assert done.stderr.startswith("Error: run.log: ")
    assert not Path("x.tinyheap").exists()
