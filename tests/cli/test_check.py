"""`tinyheap check` as its users meet it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result

import guests_modules
import project_files
from hosts.programs import command, module_bytes, say
from tinyheap import cli
from tinyheap.cli.exits import ExitCode

SOURCE = project_files.ROOT / "examples" / "input" / "unformatted.go"
EXAMPLE = project_files.ROOT / "examples" / "gofmt.tinyheap"
ALLOCATOR = '(func (export "malloc") (param i32) (result i32) (i32.const 0))'


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(EXAMPLE, "run.tinyheap")
    Path("tight.toml").write_text('peak = "192 KiB"\nallocations = 100_000\nlongest-pause = "5 s"\n')
    Path("wide.toml").write_text('peak = "1 MiB"\nallocations = 100_000\n')
    Path("relative.toml").write_text('baseline = "run.tinyheap"\nallocations = "0 %"\n')


def tinyheap(*words: str) -> Result:
    return CliRunner().invoke(cli.main, words)


def test_what_is_over_is_said_with_who_it_was() -> None:
    said = tinyheap("check", "run.tinyheap", "--budget", "tight.toml")
    assert said.exit_code == 3
    lines = [line.split() for line in said.stdout.splitlines()]
    assert lines[0] == ["quantity", "measured", "limit"]
    assert lines[1] == ["peak", "360", "KiB", "192", "KiB", "over", "by", "168", "KiB", "(87%)"]
    assert lines[2] == ["allocations", "10,630", "100,000", "within"]
    assert lines[3][-1] == "within"
    assert "peak: live at the peak, by allocation site" in said.stdout
    assert ["internal/task.start+0x967d", "128", "KiB", "36%"] in lines
    assert "allocations: objects allocated" not in said.stdout


def test_long_names_of_sites_make_room_for_what_is_told_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines = tinyheap("check", "run.tinyheap", "--budget", "tight.toml").stdout.splitlines()
    sites = lines[lines.index("peak: live at the peak, by allocation") + 2 :]
    assert sites[0].startswith("  internal/task.start")
    assert sites[0].endswith("128 KiB   36%")
    assert all(len(line) <= 40 for line in sites)


def test_within_is_exit_code_0() -> None:
    said = tinyheap("check", "run.tinyheap", "--budget", "wide.toml")
    assert (said.exit_code, said.stderr) == (0, "")
    assert "by allocation site" not in said.stdout


def test_a_budget_without_limits_passes_with_a_warning() -> None:
    Path("empty.toml").touch()
    said = tinyheap("check", "run.tinyheap", "--budget", "empty.toml")
    assert said.exit_code == 0
    assert said.stderr == "Warning: empty.toml limits nothing; only the run itself is checked\n"


def test_json_has_all_of_it() -> None:
    said = tinyheap("check", "run.tinyheap", "--budget", "tight.toml", "--json")
    assert said.exit_code == ExitCode.OVER_BUDGET
    found = json.loads(said.stdout)
    assert (found["subject"], found["passed"], found["failure"]) == ("gofmt.wasm", False, None)
    peak, allocations, pause = found["checks"]
    assert (peak["verdict"], peak["most"], peak["excess"]) == ("over", 192 * 1024, peak["measured"] - 192 * 1024)
    assert peak["sites"][0]["function"] == "internal/task.start"
    assert (allocations["verdict"], allocations["unit"], allocations["baseline"]) == ("within", "count", None)
    assert pause["unit"] == "ns"


def test_percentages_are_of_the_baseline_or_of_against() -> None:
    assert tinyheap("check", "run.tinyheap", "--budget", "relative.toml").exit_code == 0
    Path("no.toml").write_text('allocations = "0 %"\n')
    said = tinyheap("check", "run.tinyheap", "--budget", "no.toml")
    assert said.exit_code == ExitCode.CANNOT_READ
    assert "allocations is a percentage, and there is no baseline" in said.stderr
    found = tinyheap("check", "run.tinyheap", "--budget", "no.toml", "--against", "run.tinyheap", "--json")
    (check,) = json.loads(found.stdout)["checks"]
    assert check["most"] == check["baseline"] == check["measured"] == 10630


@pytest.mark.slow
def test_what_json_keeps_is_a_baseline() -> None:
    said = tinyheap("check", "run.tinyheap", "--json")
    assert (said.exit_code, said.stderr) == (0, "")
    found = json.loads(said.stdout)
    assert (found["checks"], found["after_calls"]) == ([], 0)
    assert {each["quantity"]: each["measured"] for each in found["others"]}["allocations"] == 10630
    Path("before.json").write_text(said.stdout)
    Path("same.toml").write_text('baseline = "before.json"\nallocations = "0 %"\npeak = "0 %"\n')
    assert tinyheap("check", "run.tinyheap", "--budget", "same.toml").exit_code == 0
    found["others"] = [each | {"measured": 10629} for each in found["others"] if each["quantity"] == "allocations"]
    Path("before.json").write_text(json.dumps(found))
    over = tinyheap("check", "run.tinyheap", "--budget", "same.toml")
    assert over.exit_code == ExitCode.OVER_BUDGET
    assert "in the baseline: it was not measured in that run" in over.stdout
    Path("before.json").write_text("{}")
    bad = tinyheap("check", "run.tinyheap", "--budget", "same.toml")
    assert (bad.exit_code, bad.stdout) == (ExitCode.CANNOT_READ, "")
    assert bad.stderr.startswith("Error: baseline before.json: is not the JSON of a run: expected what `tinyheap check")


def test_a_budget_that_is_written_is_kept_to() -> None:
    said = tinyheap("check", "run.tinyheap", "--write", "made.toml", "--margin", "0 %")
    assert (said.exit_code, said.stdout, said.stderr) == (0, "", "wrote made.toml\n")
    assert tinyheap("check", "run.tinyheap", "--budget", "made.toml").exit_code == 0
    assert "allocations = 10630\n" in Path("made.toml").read_text()


@pytest.mark.parametrize("margin", ["20", "20%", "20 %", "+20%"])
def test_a_margin_is_in_percent_with_and_without_the_sign(margin: str) -> None:
    assert tinyheap("check", "run.tinyheap", "--write", "made.toml", "--margin", margin).exit_code == 0
    assert "allocations = 12756\n" in Path("made.toml").read_text()


@pytest.mark.slow
def test_the_recording_of_a_run_is_kept_where_it_is_asked_for() -> None:
    module = str(guests_modules.path("gofmt-0.4.9"))
    line = ("check", module, "--budget", "tight.toml", "--seed", "1", "--output", "kept.tinyheap")
    ran = tinyheap(*line, "--", str(SOURCE))
    kept = tinyheap("check", "kept.tinyheap", "--budget", "tight.toml")
    assert ran.exit_code == kept.exit_code == ExitCode.OVER_BUDGET
    assert kept.stdout == ran.stdout
    again = tinyheap(*line, "--", str(SOURCE))
    assert (again.exit_code, "--force" in again.stderr) == (ExitCode.CANNOT_WRITE, True)
    assert tinyheap(*line, "--force", "--", str(SOURCE)).exit_code == ExitCode.OVER_BUDGET
    refused = tinyheap("check", "kept.tinyheap", "--budget", "tight.toml", "--output", "x")
    assert "--output is for modules: kept.tinyheap is a recording, which is not run" in refused.stderr


@pytest.mark.slow
def test_of_a_module_on_its_own_collector_collections_are_not_seen_instead_of_few() -> None:
    Path("growth.toml").write_text('growth-per-call = "0 B"\n')
    module = str(guests_modules.path("gofmt-0.4.9"))
    said = tinyheap("check", module, "--gc", "native", "--budget", "growth.toml", "--", str(SOURCE))
    assert said.exit_code == ExitCode.OVER_BUDGET
    assert "unknown" in said.stdout
    assert "too few" not in said.stdout
    assert "collect" in said.stdout


def test_junit_is_written() -> None:
    said = tinyheap("check", "run.tinyheap", "--budget", "tight.toml", "--junit", "j.xml")
    assert (said.exit_code, said.stderr) == (ExitCode.OVER_BUDGET, "wrote j.xml\n")
    assert ET.parse("j.xml").getroot().attrib["failures"] == "1"


@pytest.mark.parametrize(
    ("words", "why", "code"),
    [
        (["run.tinyheap"], "name a budget to check against (--budget FILE), or one to make", 2),
        (
            ["run.tinyheap", "--budget", "wide.toml", "--seed", "1"],
            "--seed is for modules: run.tinyheap is a recording",
            2,
        ),
        (["run.tinyheap", "--budget", "wide.toml", "--", "x"], "an argument is for modules", 2),
        (["run.tinyheap", "x", "--budget", "wide.toml"], "an argument is for modules", 2),
        (["run.tinyheap", "--write", "b", "--margin", "much"], "invalid percentage 'much'", 2),
        (["run.tinyheap", "--budget", "wide.toml", "--json", "--junit", "-"], "name a file for --junit", 2),
        (["run.tinyheap", "--budget", "wide.toml", "--write", "wide.toml"], "is the same as", 2),
        (["run.tinyheap", "--budget", "nowhere"], "nowhere: No such file", 125),
        (["nowhere", "--budget", "wide.toml"], "nowhere: No such file", 125),
        (["wide.toml", "--budget", "wide.toml"], "begins with 70 65 61 6b", 125),
        (["run.tinyheap", "--budget", "bad.toml"], "bad.toml, line 2: invalid key 'peek'", 125),
    ],
    ids=lambda each: None if isinstance(each, list) else str(each)[:20],
)
def test_what_makes_no_sense_is_said(words: list[str], why: str, code: int) -> None:
    Path("bad.toml").write_text("\npeek = 1\n")
    said = tinyheap("check", *words)
    assert why in " ".join(said.stderr.split())
    assert (said.exit_code, said.stdout) == (code, "")


# ---- modules ----------------------------------------------------------------------------------------------------------


def test_a_module_is_run_and_its_output_is_not_the_result() -> None:
    shutil.copy(guests_modules.path("gofmt-0.4.9"), "gofmt.wasm")
    said = tinyheap("check", "gofmt.wasm", "--budget", "tight.toml", "--seed", "1", "--", str(SOURCE))
    assert said.exit_code == ExitCode.OVER_BUDGET
    assert said.stdout.startswith("quantity")
    assert "package main" in said.stderr
    found = {line.split()[0]: line.split()[1:3] for line in said.stdout.splitlines() if line.startswith("peak ")}
    assert found == {"peak": ["229", "KiB"]}


def test_a_run_that_fails_ends_with_its_own_code() -> None:
    Path("app.wasm").write_bytes(
        command(
            f"{say(64, '(i32.const 6)')} (call $proc_exit (i32.const 7))",
            head=f'(data (i32.const 64) "hello\\n") {ALLOCATOR}',
        )
    )
    said = tinyheap("check", "app.wasm", "--budget", "wide.toml", "--write", "made.toml", "--json")
    assert said.exit_code == 7
    found = json.loads(said.stdout)
    assert (found["passed"], found["failure"]) == (False, "the program ended with exit code 7")
    assert "did not write made.toml: the run did not pass" in said.stderr
    assert "hello" in said.stderr


def test_a_run_that_traps_says_so() -> None:
    Path("app.wasm").write_bytes(command("(drop (i32.load (i32.const 0x7fffffff)))", head=ALLOCATOR))
    said = tinyheap("check", "app.wasm", "--budget", "wide.toml")
    assert said.exit_code == ExitCode.TRAPPED
    assert said.stdout.startswith("the run did not pass: ")
    assert said.stderr.startswith("Error: ")


def test_a_run_that_cannot_begin_is_an_error() -> None:
    Path("app.wasm").write_bytes(module_bytes('(import "env" "f" (func)) (func (export "_start"))' + ALLOCATOR))
    said = tinyheap("check", "app.wasm", "--budget", "wide.toml")
    assert (said.exit_code, said.stdout) == (ExitCode.CANNOT_READ, "")
    assert "env.f" in said.stderr


@pytest.mark.slow
def test_a_baseline_is_run_as_the_module_is() -> None:
    """What it takes depends on its arguments: a call of one export with the same numbers."""
    grow = '(func (export "grow") (param i32) (drop (memory.grow (i32.mul (local.get 0) (i32.const {times})))))'
    for name, times in (("before.wasm", 1), ("after.wasm", 2)):
        code = grow.format(times=times) + '(memory (export "memory") 1)' + ALLOCATOR
        Path(name).write_bytes(module_bytes(code))
    Path("no_worse.toml").write_text('baseline = "before.wasm"\npages = "0 %"\n')
    line = ("--budget", "no_worse.toml", "--invoke", "grow")
    assert tinyheap("check", "before.wasm", "3", *line).exit_code == 0
    said = tinyheap("check", "after.wasm", "3", *line, "--json")
    assert (said.exit_code, said.stderr) == (ExitCode.OVER_BUDGET, "running the baseline before.wasm\n")
    (pages,) = json.loads(said.stdout)["checks"]
    assert (pages["measured"], pages["baseline"]) == (7, 4)


def test_a_baseline_that_does_not_pass_is_said() -> None:
    Path("app.wasm").write_bytes(command("(call $proc_exit (i32.const 7))", head=ALLOCATOR))
    Path("pages.toml").write_text('baseline = "app.wasm"\npages = "0 %"\n')
    said = tinyheap("check", "app.wasm", "--budget", "pages.toml")
    assert said.exit_code == 7
    assert "Warning: the run of the baseline did not pass: the program ended with exit code 7\n" in said.stderr


def test_standard_input_is_not_read_by_two_runs() -> None:
    Path("app.wasm").write_bytes(command("", head=ALLOCATOR))
    Path("pages.toml").write_text('baseline = "app.wasm"\npages = "0 %"\n')
    said = tinyheap("check", "app.wasm", "--budget", "pages.toml", "--stdin", "-")
    assert (said.exit_code, "--stdin -: app.wasm is run, too, and reads it again" in said.stderr) == (2, True)
    refused = tinyheap("check", "run.tinyheap", "--budget", "pages.toml")
    assert (refused.exit_code, "is a module, and is run only where" in refused.stderr) == (ExitCode.CANNOT_READ, True)
