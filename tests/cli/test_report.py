"""`tinyheap report` as its users meet it: on synthetic recordings, on a real program, and with inputs that cannot be shown."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import guests_modules
from recordings_made import make_recording
from tinyheap import cli
from tinyheap.report.exports.formats import FORMATS

GO = "package a\n" + "".join(f"func f{number}( x int) {{ g( x,{number} ) }}\n" for number in range(1500))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_recording(tmp_path_factory.mktemp("report") / "made.tinyheap", events=3000)


def report(*arguments: str | Path, width: int = 100) -> Result:
    environment = {"COLUMNS": str(width), "NO_COLOR": "1"}
    return CliRunner().invoke(cli.main, ["report", *map(str, arguments)], env=environment)


def test_a_report_in_the_terminal(made: Path) -> None:
    said = report(made)
    assert said.exit_code == 0
    assert said.stdout.startswith("made.wasm -v\n")
    assert "Leak suspects" in said.stdout
    assert "\x1b" not in said.stdout


def test_measure_and_top_choose_what_is_shown(made: Path) -> None:
    said = report(made, "--measure", "dead-young-objects", "--top", "2").stdout
    stacks = said.partition("Stacks, by objects dead young\n")[2].partition("Allocation sites\n")[0]
    assert len([line for line in stacks.splitlines() if "%" in line]) == 2
    assert report(made, "--measure", "apples").exit_code == 2


def test_json_and_nothing_else(made: Path) -> None:
    said = report(made, "--json")
    assert json.loads(said.stdout)["totals"]["module"] == "made.wasm"
    assert said.stderr == ""


def test_files_are_written_and_named(made: Path, tmp_path: Path) -> None:
    arguments = [f"--export={name}={tmp_path / name}" for name in FORMATS]
    said = report(made, "--html", tmp_path / "page.html", *arguments)
    assert (said.exit_code, said.stdout) == (0, "")
    assert said.stderr.splitlines() == [f"wrote {tmp_path / name}" for name in ("page.html", *FORMATS)]
    assert {path.name for path in tmp_path.iterdir()} == {"page.html", *FORMATS}
    assert "<html" in (tmp_path / "page.html").read_text()


def test_json_beside_files(made: Path, tmp_path: Path) -> None:
    said = report(made, "--json", "--export", f"pprof={tmp_path / 'heap.pb.gz'}")
    assert json.loads(said.stdout)
    assert (tmp_path / "heap.pb.gz").exists()


@pytest.mark.parametrize("value", ["apples=x", "pprof", "pprof=", "=x"])
def test_an_export_has_a_form_and_a_place(value: str, made: Path) -> None:
    said = report(made, "--export", value)
    assert said.exit_code == 2
    assert "expected one of" in said.stderr or "expected pprof=PATH" in said.stderr


def test_formats_are_listed() -> None:
    said = report("--list-formats")
    assert said.exit_code == 0
    assert [line.split()[0] for line in said.stdout.splitlines()] == list(FORMATS)


@pytest.mark.slow
def test_two_recordings(made: Path, tmp_path: Path) -> None:
    other = make_recording(tmp_path / "other.tinyheap", events=3000, leak=False)
    said = report(made, "--against", other)
    assert said.exit_code == 0
    assert re.search(r"\+\d.* +\(\*main\.Cache\)\.Add", said.stdout)
    back = report(other, "--against", made)
    assert re.search(r"-\d.* +\(\*main\.Cache\)\.Add", back.stdout)
    found = json.loads(report(made, "--against", other, "--json").stdout)
    assert found["comparison"]["after"]["module"] == "made.wasm"
    assert report(made, "--against", other, "--html", "x").exit_code == 2


def test_a_recording_without_an_end_says_so(tmp_path: Path) -> None:
    path = make_recording(tmp_path / "killed.tinyheap", events=2000, state=None)
    said = report(path)
    assert said.exit_code == 0
    assert "The recording has no end" in said.stdout
    assert "recorded for" in said.stdout
    assert "live at its last batch" in said.stdout
    assert "ran for" not in said.stdout


def test_a_failed_program_says_why(tmp_path: Path) -> None:
    path = make_recording(tmp_path / "bad.tinyheap", state="failed", error="unreachable\x1b[31m", exit_code=134)
    said = report(path)
    assert "The program failed: unreachable\\x1b[31m" in said.stdout


def test_what_is_no_recording(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    for name in ("text", "missing"):
        said = report(tmp_path / name)
        assert said.exit_code == 125
        assert said.stderr.startswith(f"Error: {tmp_path / name}: ")


def test_a_place_that_cannot_be_written(made: Path, tmp_path: Path) -> None:
    said = report(made, "--export", f"pprof={tmp_path / 'missing' / 'heap'}")
    assert said.exit_code == 121
    assert "cannot be written" in said.stderr


@pytest.mark.slow
def test_an_export_goes_into_a_pipe(made: Path) -> None:
    command: list[str | Path] = [sys.executable, "-m", "tinyheap", "report", made, "--export", "collapsed=/dev/stdout"]
    ran = subprocess.run(command, capture_output=True, check=True, text=True, env={**os.environ, "NO_COLOR": "1"})
    assert re.fullmatch(r"(?:_start;\S.* \d+\n)+", ran.stdout)


@pytest.mark.parametrize("width", [80, 160])
@pytest.mark.share(1)
def test_a_real_program(width: int, tmp_path: Path) -> None:
    """gofmt: what it allocates most is its output, and what its stacks begin with is the formatter."""
    (tmp_path / "a.go").write_text(GO)
    recording = tmp_path / "gofmt.tinyheap"
    module = guests_modules.path("gofmt-0.4.9")
    profiled = CliRunner().invoke(
        cli.main, ["profile", str(module), "-o", str(recording), "--", str(tmp_path / "a.go")]
    )
    assert profiled.exit_code == 0
    said = report(recording, width=width)
    assert said.exit_code == 0
    assert max(map(len, said.stdout.splitlines())) <= width
    assert "TinyGo 0.31.2, conservative, on tinyheap's kernel" in said.stdout
    stacks = said.stdout.partition("Stacks, by bytes allocated\n")[2].partition("Allocation sites")[0]
    assert "% " in stacks.splitlines()[0]
    assert "resume.command_export" in stacks.splitlines()[0]
    assert "main.Format" in stacks
    assert "(*bytes.Buffer).grow" in said.stdout
