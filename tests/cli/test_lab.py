"""`tinyheap lab` and `tinyheap fit` as their users meet them."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner, Result

import guests_modules
from hosts.programs import command, say
from tinyheap import cli
from tinyheap.cli.exits import ExitCode
from tinyheap.traces.trace import TraceBuilder, write_trace

ECHO = command(say(64, "(i32.const 6)"), head='(data (i32.const 64) "hello\\n")')
SPIN = command("(loop (br 0))")


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("app.wasm").write_bytes(ECHO)
    Path("spin.wasm").write_bytes(SPIN)
    made = TraceBuilder(4096)
    made.root(0, made.alloc(512))
    write_trace(Path("t.trace"), made.build())


def tinyheap(*words: str) -> Result:
    return CliRunner().invoke(cli.main, words)


def facts_of(page: Path) -> dict[str, Any]:
    """The facts that a page holds."""
    found = re.search('id="summary">([^<]*)<', page.read_text())
    assert found is not None
    data = gzip.decompress(base64.b64decode(found[1]))
    facts: dict[str, Any] = json.loads(data[4 : 4 + int.from_bytes(data[:4], "little")])
    return facts


def test_a_line_per_condition_and_why_some_did_not_pass() -> None:
    said = tinyheap("lab", "app.wasm", "--vary", "gc=default,native", "--vary", "heap-limit=default,1M")
    assert said.exit_code == 0
    head, *lines = said.stdout.splitlines()
    assert head.split()[:2] == ["condition", "ended"]
    assert [line.split()[:2] for line in lines[:3]] == [
        ["default", "finished"],
        ["heap-limit=1048576", "failed"],
        ["gc=native", "finished"],
    ]
    assert "heap-limit=1048576: failed" in lines
    assert "is not a TinyGo program" in said.stdout
    assert "hello" not in said.output


def test_json_has_the_outcomes() -> None:
    said = tinyheap("lab", "app.wasm", "--json", "--seed", "1")
    found = json.loads(said.stdout)
    assert set(found) == {"module", "sample", "outcomes", "effects", "differences"}
    assert [each["condition"] for each in found["outcomes"]] == ["default"]
    assert (found["outcomes"][0]["passed"], found["outcomes"][0]["changes_output"]) == (True, False)
    assert found["differences"] == found["effects"] == []
    assert found["sample"] is None


SAMPLE = ("--vary", "memory-limit=default,64K..64000K/+64K", "--sample", "3")


@pytest.mark.slow
def test_a_sample_is_told_wherever_it_is_shown() -> None:
    said = "a sample of 3 of 1,001 conditions (seed 4)"
    words = (*SAMPLE, "--sample-seed", "4", "--file", "s.duckdb")
    assert said in tinyheap("lab", "app.wasm", *words).stdout.splitlines()
    assert said in tinyheap("lab", "s.duckdb", "--html", "s.html").stdout.splitlines()
    assert facts_of(Path("s.html"))["sample"] == said
    found = json.loads(tinyheap("lab", "s.duckdb", "--json").stdout)
    assert {name: found["sample"][name] for name in ("size", "of", "seed", "programs")} == {
        "size": 3, "of": 1001, "seed": 4, "programs": 1,
    }  # fmt: skip
    assert found["outcomes"][0]["condition"] == "default"
    assert [(each["option"], each["conditions"]) for each in found["effects"]] == [("memory-limit", 1)] * 3
    more = json.loads(tinyheap("lab", "app.wasm", *words, "--sample", "4", "--json").stdout)
    conditions = [{each["condition"] for each in some["outcomes"]} for some in (found, more)]
    assert conditions[0] < conditions[1]


@pytest.mark.slow
def test_what_is_run_has_to_be_confirmed_not_the_grid() -> None:
    many = ("--vary", "memory-limit=default,64K..64000K/+64K", "--vary", "module=default,spin.wasm")
    said = tinyheap("lab", "app.wasm", *many)
    assert said.exit_code == ExitCode.USAGE
    assert "2,002 combinations, a run each: vary less, run a sample of them (--sample N), or confirm" in said.stderr
    said = tinyheap("lab", "app.wasm", *many, "--sample", "101")
    assert said.exit_code == ExitCode.USAGE
    assert "202 combinations, a run each: vary less, or confirm" in said.stderr
    said = tinyheap("lab", "app.wasm", *many, "--sample", "1", "--timeout", "0.1")
    assert [line.split()[0] for line in said.stdout.splitlines()[1:3]] == ["default", "module=spin.wasm"]
    assert "a sample of 1 of 1,001 conditions (seed 0), for each of 2 programs" in said.stdout.splitlines()
    fits = tinyheap("fit", "app.wasm", "--vary", "gc-every=1..300/+1")
    assert "300 combinations, a run each: vary less, or confirm" in fits.stderr


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--vary", "color=red"], "invalid dimension 'color': expected gc, collector, growth"),
        (["--vary", "growth"], "invalid variation 'growth': expected NAME=VALUE,VALUE..."),
        (["--vary", "gc=native", "--vary", "gc=leaking"], "--vary gc is given twice"),
        (["--gc", "native", "--vary", "gc=leaking"], "--gc and --vary gc exclude each other"),
        (["--vary", "gc=leaking", "--vary", "gc-every=5"], "every condition contradicts itself"),
        (
            ["--vary", "gc-every=1..300/+1"],
            "these are 300 combinations, a run each: vary less, run a sample of them (--sample N), or confirm them with --yes",
        ),
        (["--jobs", "0"], "0 is not in the range"),
        (["--sample", "0"], "0 is not in the range"),
        (["--sample", "some"], "'some' is not a valid integer"),
        (["--stdin", "app.wasm", "--vary", "input=app.wasm"], "--stdin and --vary input exclude each other where no"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(words: list[str], why: str) -> None:
    said = tinyheap("lab", "app.wasm", *words)
    assert said.exit_code == ExitCode.USAGE
    assert why in " ".join(said.stderr.split())


@pytest.mark.slow
def test_options_of_a_run_go_to_each_run() -> None:
    said = tinyheap("lab", "spin.wasm", "--timeout", "0.1", "--env", "A=1", "--env", "B=2", "--json", "--no-driver")
    assert [each["ended"] for each in json.loads(said.stdout)["outcomes"]] == ["timed out"]


def test_a_file_of_something_else_is_said() -> None:
    Path("notes").write_text("mine")
    said = tinyheap("lab", "app.wasm", "--file", "notes")
    assert said.exit_code == ExitCode.CANNOT_READ
    assert said.stderr.startswith("Error: notes: cannot be used as the file of a sweep")
    assert Path("notes").read_text() == "mine"


@pytest.mark.slow
def test_ctrl_c_ends_the_runs_and_leaves_a_file_to_go_on_with() -> None:
    line = [sys.executable, "-m", "tinyheap", "lab", "spin.wasm", "--file", "s.duckdb", "--vary", "memory-limit=64K,1M"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not Path("s.duckdb").exists():
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (ExitCode.INTERRUPTED, b"")
    assert errors == b"Error: interrupted\n"
    said = tinyheap("lab", "spin.wasm", "--file", "s.duckdb", "--timeout", "0.1")
    assert "holds the sweep of another program, or with other arguments, options" in said.stderr


def test_the_fit_of_a_trace_is_in_blocks() -> None:
    said = tinyheap("fit", "t.trace")
    assert said.exit_code == 0
    assert "next-fit conservative" in said.stdout
    assert "32 blocks" in said.stdout
    assert "out of memory in step 0 (ALLOC id=1 size=512" in said.stdout
    found = json.loads(tinyheap("fit", "t.trace", "--json", "--precise").stdout)["fits"]
    assert [each["condition"] for each in found] == [
        f"{name} precise" for name in ("next-fit", "best-fit-front", "best-fit-back")
    ]
    assert {each["unit_bytes"] for each in found} == {16}


@pytest.mark.parametrize("words", [["--seed", "1"], ["--vary", "growth=pages"], ["--", "file"]])
def test_a_trace_is_not_run(words: list[str]) -> None:
    said = tinyheap("fit", "t.trace", *words)
    assert said.exit_code == ExitCode.USAGE
    assert "a trace is replayed, not run" in said.stderr


def test_a_module_whose_heap_cannot_be_seen_has_no_fit() -> None:
    said = tinyheap("fit", "app.wasm")
    assert said.exit_code == ExitCode.CANNOT_READ
    assert "nothing is known of its heap" in said.stderr
    assert tinyheap("fit", "app.wasm", "--precise").exit_code == ExitCode.USAGE


def test_a_device_is_one_size_that_is_tried() -> None:
    said = tinyheap("fit", "t.trace", "--device", "microbit")
    assert said.exit_code == 0
    assert [line.split()[-1] for line in said.stdout.splitlines()[1:]] == ["passes"] * 3
    found = json.loads(tinyheap("fit", "t.trace", "--device", "500", "--json").stdout)["devices"]
    assert [each["passed"] for each in found] == [False] * 3
    assert "next-fit conservative, 500: does not pass" in tinyheap("fit", "t.trace", "--device", "500").stdout


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--device", "pico3"], "invalid device 'pico3': expected microbit, arduino-nano33"),
        (["--device", "pico", "--scan", "3"], "--device and --scan exclude each other"),
        (["--device", "pico", "--memory-limit", "1M"], "--device and --memory-limit exclude each other"),
        (["--device", "pico", "--vary", "growth=double"], "--device and --growth exclude each other"),
    ],
)
def test_what_makes_no_sense_beside_a_device_is_a_usage_error(words: list[str], why: str) -> None:
    said = tinyheap("fit", "app.wasm", *words)
    assert said.exit_code == ExitCode.USAGE
    assert why in " ".join(said.stderr.split())


@pytest.mark.slow
def test_the_start_that_was_given_is_the_one_that_is_doubled() -> None:
    words = ("fit", "app.wasm", "--gc", "native", "--vary", "heap-limit=default", "--memory-limit", "1M")
    said = tinyheap(*words, "--initial-memory", "640K")
    assert "the initial memory of 640 KiB (10 pages) ends at 640 KiB, after 0 steps" in said.stdout
    assert "an initial memory of 1 MiB (16 pages) ends at 1 MiB, after 0 steps" in said.stdout
    assert "ends at 1 MiB, after 4 steps" in tinyheap(*words).stdout


@pytest.mark.slow
def test_a_program_that_fails_under_a_limit_is_told_a_better_start() -> None:
    Path("dies.wasm").write_bytes(command("unreachable"))
    said = tinyheap("fit", "dies.wasm", "--memory-limit", "768K")
    assert said.exit_code == ExitCode.CANNOT_READ
    end = "where memory doubles, an initial memory of 192 KiB (--initial-memory) would end at 768 KiB\n"
    assert said.stderr.endswith(end)
    assert "where memory doubles" not in tinyheap("fit", "dies.wasm").stderr


@pytest.mark.slow
def test_under_a_limit_it_is_said_which_start_ends_best() -> None:
    shutil.copy(guests_modules.path("gofmt-0.4.9"), "gofmt.wasm")
    Path("a.go").write_text("package a")
    words = ("fit", "gofmt.wasm", "--memory-limit", "128MiB", "--seed", "1", "--json")
    starts = json.loads(tinyheap(*words, "--html", "fit.html", "--", "a.go").stdout)["starts"]
    assert [(each["pages"], each["most_pages"]) for each in starts] == [(3, 1536), (4, 2048)]
    assert facts_of(Path("fit.html"))["starts"] == starts
    assert "starts" not in json.loads(tinyheap(*words[:2], *words[4:], "--", "a.go").stdout)


# ---- pages, and sweeps that are there -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_sweep_that_is_there_is_shown_without_a_run() -> None:
    words = ("--file", "s.duckdb", "--vary", "memory-limit=64K,128K")
    ran = tinyheap("lab", "app.wasm", *words, "--html", "first.html")
    Path("app.wasm").unlink()
    again = tinyheap("lab", "s.duckdb", "--html", "again.html")
    assert (ran.exit_code, again.exit_code) == (0, 0)
    assert again.stdout == ran.stdout
    assert again.stderr == "wrote again.html\n"
    assert Path("again.html").read_bytes() == Path("first.html").read_bytes()
    assert json.loads(tinyheap("lab", "s.duckdb", "--json").stdout)["module"] == "app.wasm"


@pytest.mark.slow
def test_a_sweep_that_is_there_takes_nothing_of_runs() -> None:
    tinyheap("lab", "app.wasm", "--file", "s.duckdb")
    for words, what in (
        (("--seed", "1"), "--seed"),
        (("--vary", "growth=pages"), "--vary"),
        (("--", "x"), "an argument"),
    ):
        said = tinyheap("lab", "s.duckdb", *words)
        assert said.exit_code == ExitCode.USAGE
        assert f"{what} is for modules: s.duckdb is a sweep, which is not run again" in said.stderr


@pytest.mark.slow
def test_a_page_on_standard_output_is_all_there() -> None:
    said = tinyheap("lab", "app.wasm", "--html", "-")
    assert said.stdout.startswith("<!doctype html>")
    assert said.stdout.rstrip().endswith("</html>")
    assert tinyheap("lab", "app.wasm", "--html", "-", "--json").exit_code == ExitCode.USAGE


def test_another_database_is_no_sweep() -> None:
    with duckdb.connect("other.duckdb") as connection:
        connection.execute("CREATE TABLE mine AS SELECT 1 AS one")
    said = tinyheap("lab", "other.duckdb")
    assert said.exit_code == ExitCode.CANNOT_READ
    assert "other.duckdb: is not the file of a sweep" in said.stderr


def test_what_fit_found_is_a_page_and_the_same_table() -> None:
    said = tinyheap("fit", "t.trace", "--html", "fit.html")
    assert said.stderr == "wrote fit.html\n"
    assert said.stdout == tinyheap("fit", "t.trace").stdout
    assert "<title>t.trace: how small</title>" in Path("fit.html").read_text()
    plain = tinyheap("fit", "t.trace", "--json").stdout
    assert tinyheap("fit", "t.trace", "--json", "--html", "again.html").stdout == plain
    assert Path("again.html").read_bytes() == Path("fit.html").read_bytes()


def test_the_page_of_fit_on_standard_output_is_all_there() -> None:
    said = tinyheap("fit", "t.trace", "--html", "-")
    assert said.stdout.startswith("<!doctype html>")
    assert said.stdout.rstrip().endswith("</html>")
    for words in (("--json",), ("--device", "pico")):
        assert tinyheap("fit", "t.trace", "--html", "-", *words).exit_code == ExitCode.USAGE
