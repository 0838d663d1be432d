"""`tinyheap profile` as its users meet it: the program's output and exit code, and a recording of the run."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import guests_modules
import recordings_sound
from hosts.programs import module_bytes
from small_recordings import Rows, opened
from tinyheap import cli
from tinyheap.cli.findings import findings
from tinyheap.profile import totals
from tinyheap.recordings.recording import Recording

GO = "package a\n" + "".join(f"func f{number}( x int) {{ g( x,{number} ) }}\n" for number in range(300))
ALLOC = """(memory (export "memory") 1)
  (func $runtime.alloc (param i32 i32) (result i32) i32.const 1024)
  (func $once i32.const 24 i32.const 0 call $runtime.alloc drop)"""
"""An allocator that is known by its name, and gives everybody the same."""


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.go").write_text(GO)


def profile(module: Path | bytes, *arguments: str) -> Result:
    return CliRunner().invoke(cli.main, ["profile", str(written(module)), *arguments])


def written(module: Path | bytes) -> Path:
    if isinstance(module, bytes):
        Path("app.wasm").write_bytes(module)
        return Path("app.wasm")
    return module


def exits_with(code: int) -> bytes:
    head = '(import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))'
    return module_bytes(f'{head} {ALLOC} (func (export "_start") call $once i32.const {code} call $proc_exit)')


def test_a_real_program_runs_as_ever_and_leaves_a_recording() -> None:
    gofmt = guests_modules.path("gofmt-0.4.9")
    run = CliRunner().invoke(cli.main, ["run", str(gofmt), "--", "a.go"])
    result = profile(gofmt, "--", "a.go")
    assert result.exit_code == run.exit_code == 0
    assert result.stdout == run.stdout
    assert "allocated most:" in result.stderr
    assert "see more: tinyheap report gofmt.tinyheap" in result.stderr
    with Recording.open("gofmt.tinyheap") as recording:
        assert recording.run.is_complete
        assert recording.run.state == "finished"
        (events,) = recording.sql("SELECT count(*) FROM events").one()
        (allocated,) = recording.sql("SELECT max(mallocs) FROM samples").one()
        (objects,) = recording.sql("SELECT count(*) FROM objects").one()
        assert recording.sql("SELECT count(*) FROM collections").one()[0] >= 2
    assert f"recorded {events:,} events" in result.stderr
    assert events >= objects == allocated > 10_000


def test_options_are_those_of_run() -> None:
    result = profile(
        guests_modules.path("gofmt-0.4.9"),
        "--gc-every",
        "5000",
        "--json",
        "run.json",
        "-o",
        "my.db",
        "-q",
        "--",
        "a.go",
    )
    assert result.exit_code == 0
    assert not result.stderr
    statistics = json.loads(Path("run.json").read_text())
    with Recording.open("my.db") as recording:
        assert recording.run.options["gc_every"] == 5000
        collections = recording.sql(
            "SELECT reason, freed_objects, live_objects FROM collections ORDER BY number"
        ).fetch()
    assert len(collections) == len(statistics["heap"]["collections"]) > 5
    assert sum(row[1] for row in collections) == statistics["heap"]["freed_objects"]


@pytest.mark.parametrize("module", ["gofmt-0.4.9", "gofmt-0.7.3", "sh-syntax-0.6.0"])
@pytest.mark.slow
@pytest.mark.share(1, in_ci=2)
def test_a_sample_is_recorded_by_its_seed_and_marked(module: str) -> None:
    Path("a.sh").write_text("f() { echo $1; }\n" * 300)
    text = "a.sh" if module.startswith("sh") else "a.go"
    runs = ("first", "1"), ("again", "1"), ("other", "2")
    for name, seed in runs:
        chosen = ("--sample", "2K", "--sample-seed", seed, "--seed", "1")
        result = profile(guests_modules.path(module), *chosen, "-o", name, "--", text)
        assert result.exit_code == 0
        assert "allocated most, estimated from a sample:" in result.stderr
        assert ", sampled every 2 KiB, in " in result.stderr
        assert " B +- " in result.stderr or " KiB +- " in result.stderr
    found = {}
    for name, seed in runs:
        with Recording.open(name) as recording:
            assert recordings_sound.problems(recording) == []
            assert recording.sql("FROM sampling").fetch() == [(2048, int(seed))]
            assert recording.run.sample_bytes == 2048
            found[name] = recording.sql("SELECT kind, address, size_bytes, layout FROM events ORDER BY id").fetch()
            assert totals(recording).allocated_bytes_error
    assert found["first"] == found["again"] != found["other"]
    assert len(found["first"]) > 20


@pytest.mark.slow
def test_the_last_part_of_a_run_is_kept_and_marked() -> None:
    Path("a.go").write_text(GO + "".join(f"func g{number}( x int) {{ g( x,{number} ) }}\n" for number in range(2000)))
    gofmt = guests_modules.path("gofmt-0.4.9")
    result = profile(gofmt, "--last", "1", "-o", "last", "--", "a.go")
    assert result.exit_code == 0
    assert re.search(r"recorded [0-9,]+ events, the last from [0-9.]+ m?s on, in last ", result.stderr)
    assert "allocated most in the last part, or before and lived then:" in result.stderr
    for asked in (("--html", "last.html"), ("--export", "pprof=last.pb.gz")):
        assert CliRunner().invoke(cli.main, ["report", "last", *asked]).exit_code == 0
    shown = CliRunner().invoke(cli.main, ["report", "last"]).stdout
    assert "Only the last part of the run was kept, from " in " ".join(shown.split())
    as_json = json.loads(CliRunner().invoke(cli.main, ["report", "last", "--json"]).stdout)
    assert as_json["totals"]["observed"]["last_part"]["cut_objects"] > 10_000


@pytest.mark.parametrize("last", ["0", "-1", "10d", "1.5h", "some"])
def test_a_last_part_that_cannot_be_is_refused(last: str) -> None:
    result = profile(exits_with(0), f"--last={last}")
    assert result.exit_code == 2
    assert f"Invalid value for '--last': invalid last '{last}': expected a number of batches" in result.stderr
    assert not Path("app.tinyheap").exists()


def test_watching_without_a_recording_has_no_last_part() -> None:
    result = CliRunner().invoke(cli.main, ["live", str(written(exits_with(0))), "--last", "3"])
    assert result.exit_code == 2
    assert "--last is for a recording: name its file by --output" in result.stderr


@pytest.mark.parametrize("size", ["0", "-1", "3GiB", "some", "1.5"])
def test_a_sample_that_cannot_be_is_refused(size: str) -> None:
    result = profile(exits_with(0), "--sample", size)
    assert result.exit_code == 2
    assert "Invalid value for '--sample'" in result.stderr
    assert not Path("app.tinyheap").exists()


def test_the_exit_code_is_the_programs_and_is_kept() -> None:
    result = profile(exits_with(7))
    assert result.exit_code == 7
    with Recording.open("app.tinyheap") as recording:
        assert (recording.run.state, recording.run.exit_code) == ("finished", 7)
        assert recording.sql("SELECT size_bytes, address FROM events").fetch() == [(24, 1024)]


def test_a_recording_is_replaced_on_request_only() -> None:
    Path("app.tinyheap").write_text("somebody's work")
    refused = profile(exits_with(0))
    assert refused.exit_code == 121
    assert "app.tinyheap: is there already" in refused.stderr
    assert Path("app.tinyheap").read_text() == "somebody's work"
    assert profile(exits_with(0), "--force").exit_code == 121
    assert Path("app.tinyheap").read_text() == "somebody's work"
    Path("app.tinyheap").unlink()
    for option in ("-q", "--force"):
        assert profile(exits_with(0), option).exit_code == 0
    with Recording.open("app.tinyheap") as recording:
        assert recording.run.is_complete


def test_a_folder_that_is_not_there_is_said() -> None:
    result = profile(exits_with(0), "-o", "nowhere/a.tinyheap")
    assert result.exit_code == 121
    assert "nowhere is not a folder" in result.stderr


def test_a_trap_is_told_and_kept() -> None:
    result = profile(module_bytes(f'{ALLOC} (func (export "_start") call $once unreachable)'))
    assert result.exit_code == 2
    assert "trapped (unreachable)" in result.stderr
    with Recording.open("app.tinyheap") as recording:
        assert recording.run.state == "failed"
        assert "trapped (unreachable)" in str(recording.run.error)
        assert recording.sql("SELECT count(*) FROM events").one() == (1,)


def test_an_export_is_called() -> None:
    result = profile(
        module_bytes(f'{ALLOC} (func (export "f") (param i32) (result i32) call $once local.get 0)'),
        "--invoke",
        "f",
        "42",
    )
    assert (result.exit_code, result.stdout) == (0, "42\n")


@pytest.mark.slow
def test_the_model_records_too() -> None:
    Path("a.sh").write_text("echo  hi\n")
    result = profile(guests_modules.path("sh-syntax-0.4.0"), "--engine", "model", "--", "a.sh")
    assert (result.exit_code, result.stdout) == (0, "echo hi\n")
    with Recording.open("main.tinyheap") as recording:
        assert recording.run.source == "model"
        assert recording.sql("SELECT count(*) FROM objects").one()[0] > 100


def test_a_program_on_its_own_collector() -> None:
    result = profile(guests_modules.path("gofmt-0.4.9"), "--gc", "native", "--", "a.go")
    assert result.exit_code == 0
    with Recording.open("gofmt.tinyheap") as recording:
        assert recording.run.source == "injected"
        assert recording.sql("SELECT count(*) FROM objects").one()[0] > 10_000
        assert recording.sql("SELECT count(*) FROM collections").one() == (0,)


@pytest.mark.parametrize("gc", ["default", "native"])
def test_the_recording_is_no_longer_than_the_run(gc: str) -> None:
    result = profile(guests_modules.path("gofmt-0.4.9"), "--gc", gc, "--json", "run.json", "--", "a.go")
    assert result.exit_code == 0
    run = json.loads(Path("run.json").read_text())
    with Recording.open("gofmt.tinyheap") as recording:
        (last_ns,) = recording.sql("SELECT max(time_ns) FROM events").one()
        assert last_ns <= recording.run.duration_ns <= run["run_ns"]
        assert totals(recording).wall_ns == recording.run.duration_ns


@pytest.mark.slow
def test_what_cannot_be_run_is_not_recorded() -> None:
    result = profile(guests_modules.path("micropython-1.27.0"))
    assert result.exit_code == 125
    assert "imports that no host here offers" in result.stderr
    assert not Path("micropython.tinyheap").exists()


LOOPING = f"""{ALLOC} (func (export "_start") (local i32)
  (loop call $once (local.set 0 (i32.const 1000)) (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    br 0))"""


@pytest.mark.slow
def test_control_c_ends_a_recording_well() -> None:
    written(module_bytes(LOOPING))
    command = [sys.executable, "-m", "tinyheap", "profile", "app.wasm"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        await_file(Path("app.tinyheap"))
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"interrupted" in said
    with Recording.open("app.tinyheap") as recording:
        assert recording.run.state == "failed"
        assert recording.sql("SELECT count(*) > 0 FROM events").one() == (True,)


@pytest.mark.slow
def test_a_killed_run_leaves_what_was_written() -> None:
    written(module_bytes(LOOPING))
    with subprocess.Popen([sys.executable, "-m", "tinyheap", "profile", "app.wasm"], stderr=subprocess.PIPE) as process:
        await_file(Path("app.tinyheap"))
        time.sleep(1.5)
        process.kill()
    with Recording.open("app.tinyheap") as recording:
        assert not recording.run.is_complete
        count, written_events = recording.sql(
            "SELECT (SELECT count(*) FROM events), (SELECT sum(events) FROM batches)"
        ).one()
        assert count == written_events > 0


def await_file(path: Path) -> None:
    for _ in range(600):
        if path.exists():
            return
        time.sleep(0.1)
    raise AssertionError(f"{path} never appeared")


# ---- what is said of a recording --------------------------------------------------------------------------------------


def test_what_is_striking_is_said_at_once() -> None:
    rows = Rows()
    deep = rows.path("main.main", *["main.read"] * 40)
    pinned = rows.path("main.pin")
    kept = [rows.allocate(100, pinned) for _ in range(8)]
    rows.allocate(16, deep)
    rows.collect(kept[3])
    with opened(rows) as recording:
        assert [*findings(recording)] == [
            "allocated most:",
            "  main.pin+0x2a0       800 B   98%  8 objects",
            "  main.read+0x290       16 B    2%  1 object",
            "main.pin+0x2a0: 7 of 8 kept, each of 100 bytes",
            "deepest recursion: main.read 40 times, 41 calls in all",
        ]


def test_where_nothing_is_striking_nothing_more_is_said() -> None:
    rows = Rows()
    shallow = rows.path("main.main", *["main.read"] * 31)
    rows.collect(*[rows.allocate(100, shallow) for _ in range(8)])
    with opened(rows) as recording:
        assert [line for line in findings(recording) if not line.startswith(("allocated most:", "  "))] == []


def test_a_recording_with_no_stack_has_no_recursion() -> None:
    with opened(Rows()) as recording:
        assert [*findings(recording)] == []
