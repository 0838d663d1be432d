"""`tinyheap inspect` as its users meet it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import guests_modules
from hosts.programs import command, module_bytes
from tinyheap import cli
from tinyheap.cli.exits import ExitCode
from tinyheap.inspect import Inspection, NamedGraph, objects_of
from tinyheap.report import HEAP_FORMATS
from tinyheap.snapshots import Snapshot

GO = "package a\n" + "".join(f"func f{number}( x int) {{ g( x,{number} ) }}\n" for number in range(200))


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.go").write_text(GO)


def tinyheap(*words: str | Path) -> Result:
    return CliRunner().invoke(cli.main, list(map(str, words)))


@pytest.fixture
def gofmt() -> Path:
    return guests_modules.path("gofmt-0.4.9")


def taken(gofmt: Path, name: str = "a.core", *options: str) -> str:
    said = tinyheap("run", gofmt, "--seed", "1", "-q", "--snapshot", name, *options, "--", "a.go")
    assert said.exit_code == 0, said.output
    return name


def asked(*words: str | Path) -> dict[str, dict[str, object]]:
    said = tinyheap("inspect", "--json", *words)
    assert said.exit_code == 0, said.output
    found: dict[str, dict[str, object]] = json.loads(said.stdout)
    return found


@pytest.mark.slow
def test_a_snapshot_is_written_and_inspected(gofmt: Path) -> None:
    snapshot = Snapshot.load(taken(gofmt))
    overview = asked("a.core")["overview"]
    assert overview["module"] == "gofmt.wasm"
    assert overview["moment"] == "the end"
    assert overview["memory_bytes"] == len(snapshot.memory)
    said = tinyheap("inspect", "a.core", "--module", gofmt)
    assert "garbage, freed by the next collection: " in said.stdout
    assert "alone hold" in said.stdout


@pytest.mark.slow
def test_a_module_is_run_and_what_it_prints_goes_elsewhere(gofmt: Path) -> None:
    said = tinyheap("inspect", gofmt, "--seed", "1", "--json", "--", "a.go")
    assert said.exit_code == 0
    assert json.loads(said.stdout)["overview"]["moment"] == "the end"
    assert said.stderr.startswith("package a\n")
    early = asked(gofmt, "--seed", "1", "--at", "allocation:100", "--", "a.go")["overview"]
    assert early["moment"] == "allocation 100"


def test_objects_are_explained(gofmt: Path) -> None:
    taken(gofmt)
    top = asked("a.core")["overview"]["top"]
    assert isinstance(top, list)
    address = hex(top[0]["address"])
    answer = asked("a.core", "--why", address, "--object", address, "--retained", "--holes", "64K")
    assert set(answer) == {"why", "object", "retained", "holes"}
    assert answer["why"]["objects"] == 1
    assert answer["object"]["retained_bytes"] == top[0]["retained_bytes"]
    said = tinyheap("inspect", "a.core", "--why", address, "--object", address, "--retained", "--holes", "64K").stdout
    assert "held by the program" in said
    assert "what would take others with it" in said
    assert f"at {address}" in said
    assert "65,536 bytes" in said


@pytest.mark.slow
def test_two_snapshots_are_compared(gofmt: Path) -> None:
    taken(gofmt, "early.core.gz", "--at", "allocation:1000")
    taken(gofmt, "late.core")
    said = tinyheap("inspect", "late.core", "--against", "early.core.gz", "--module", gofmt)
    assert said.exit_code == 0, said.output
    assert said.stdout.startswith("new: ")
    comparison = asked("late.core", "--against", "late.core")["comparison"]
    assert (comparison["new_objects"], comparison["gone_objects"]) == (0, 0)


@pytest.mark.slow
def test_who_allocated_names_the_objects_of_a_recorded_run(gofmt: Path) -> None:
    said = tinyheap("profile", gofmt, "--seed", "1", "-q", "--snapshot", "a.core", "--", "a.go")
    assert said.exit_code == 0, said.output
    groups = asked("a.core")["overview"]["groups"]
    assert isinstance(groups, list)
    assert any("(*go/" in group["group"] or "go/" in group["group"] for group in groups)
    top = asked("a.core")["overview"]["top"]
    assert isinstance(top, list)
    shown = asked("a.core", "--object", hex(top[0]["address"]))["object"]
    assert isinstance(shown["number"], int)
    assert isinstance(shown["site"], str)


def test_objects_are_found_by_who_allocated_them_whatever_else_they_are_called(gofmt: Path) -> None:
    tinyheap("profile", gofmt, "--seed", "1", "-q", "--snapshot", "a.core", "--", "a.go")
    by_site = Inspection.of(Snapshot.load("a.core"), gofmt.read_bytes())
    by_shape = replace(by_site, named=NamedGraph(by_site.graph))
    assert by_site.snapshot.origins is not None
    site = by_site.snapshot.origins.sites[0]
    assert site not in by_shape.named.groups.names
    assert objects_of(by_shape, site) == objects_of(by_site, site)


@pytest.mark.slow
def test_a_recorded_run_is_compared_with_one_that_was_not_by_what_both_know(gofmt: Path) -> None:
    taken(gofmt, "early.core", "--at", "allocation:1000")
    tinyheap(
        "profile", gofmt, "--seed", "1", "-q", "--snapshot", "early_sites.core", "--at", "allocation:1000", "--", "a.go"
    )
    said = tinyheap("profile", gofmt, "--seed", "1", "-q", "--force", "--snapshot", "late.core", "--", "a.go")
    assert said.exit_code == 0, said.output
    mixed = asked("late.core", "--against", "early.core")["comparison"]
    assert mixed["left_out"] == ["allocation sites"]
    taken(gofmt, "late_shapes.core")
    plain = asked("late_shapes.core", "--against", "early.core")["comparison"]
    assert mixed == {**plain, "left_out": ["allocation sites"]}
    assert asked("late.core", "--against", "early_sites.core")["comparison"]["left_out"] == []
    assert "not compared by allocation sites" in tinyheap("inspect", "late.core", "--against", "early.core").stdout


def test_a_recording_is_no_snapshot(gofmt: Path) -> None:
    tinyheap("profile", gofmt, "--seed", "1", "-q", "-o", "a.tinyheap", "--", "a.go")
    said = tinyheap("inspect", "a.tinyheap")
    assert said.exit_code == ExitCode.CANNOT_READ
    assert "a.tinyheap: invalid snapshot: this is a recording, which `tinyheap report` shows" in said.stderr
    assert "`tinyheap profile MODULE --snapshot FILE`" in said.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["none"], ExitCode.CANNOT_READ, "none: No such file"),
        (["a.go"], ExitCode.CANNOT_READ, "a.go: invalid snapshot of "),
        (["a.core", "--at", "end"], ExitCode.USAGE, "is a snapshot, which is not run"),
        (["a.core", "--", "x"], ExitCode.USAGE, "is a snapshot, which is not run"),
        (["a.core", "--why", "0x10"], ExitCode.CANNOT_READ, "0x10 lies in no object"),
        (["a.core", "--why", "nobody"], ExitCode.CANNOT_READ, "invalid name 'nobody'"),
        (["a.core", "--holes", "0"], ExitCode.USAGE, "invalid size '0': expected 1 to "),
        (["a.core", "--holes", "5G"], ExitCode.CANNOT_READ, "invalid size 5368709120"),
        (["a.core", "--module", "other.wasm"], ExitCode.CANNOT_READ, "invalid module: this one has the SHA-256"),
        (["other.wasm"], ExitCode.CANNOT_READ, "the heap of this module"),
        (["other.wasm", "--at", "collection:1"], ExitCode.CANNOT_READ, "own allocator cannot be seen"),
        (["other.wasm", "--at", "noon"], ExitCode.USAGE, "invalid moment 'noon'"),
    ],
)
def test_what_cannot_be_asked_is_said(gofmt: Path, words: list[str], code: ExitCode, message: str) -> None:
    taken(gofmt)
    Path("other.wasm").write_bytes(command(""))
    said = tinyheap("inspect", *words)
    assert said.exit_code == code, said.output
    assert message in said.stderr


def test_moments_belong_to_snapshots(gofmt: Path) -> None:
    said = tinyheap("run", gofmt, "--at", "end", "--", "a.go")
    assert said.exit_code == ExitCode.USAGE
    assert "name its file, too (--snapshot FILE)" in said.stderr
    said = tinyheap("run", gofmt, "--at", "collection:9999", "--snapshot", "a.core", "--", "a.go")
    assert said.exit_code == 0
    assert "--at collection 9,999: not reached" in said.stderr
    assert not Path("a.core").exists()


def test_a_trap_is_inspected_with_its_words() -> None:
    Path("trap.wasm").write_bytes(module_bytes('(memory (export "memory") 1) (func (export "_start") unreachable)'))
    said = tinyheap("run", "trap.wasm", "-q", "--snapshot", "a.core", "--at", "trap")
    assert said.exit_code != 0
    snapshot = Snapshot.load("a.core")
    assert snapshot.trap is not None
    assert "unreachable" in snapshot.trap


def test_a_run_that_failed_is_told_of(gofmt: Path) -> None:
    said = tinyheap("inspect", gofmt, "--invoke", "malloc", "--json")
    assert said.exit_code == 0, said.output
    assert "the run failed: malloc takes (i32): 1 expected, got 0" in said.stderr
    assert "the run failed" not in tinyheap("inspect", gofmt, "--json", "--", "a.go").stderr


@pytest.mark.slow
def test_words_are_proved_by_a_second_run(gofmt: Path) -> None:
    proof = asked(gofmt, "--prove", "--stdin", "a.go")["proof"]
    assert isinstance(proof["pointers"], int)
    assert proof["pointers"] > 1000
    assert set(proof) >= {"numbers", "stale", "unknown", "false_objects", "false_bytes", "words"}
    said = tinyheap("inspect", gofmt, "--prove", "--at", "collection:1", "--", "a.go")
    assert said.stdout.startswith("words that hold objects, proved by a second run: "), said.output


def test_a_snapshot_is_not_run_twice(gofmt: Path) -> None:
    said = tinyheap("inspect", taken(gofmt), "--prove")
    assert said.exit_code == ExitCode.USAGE
    assert "arguments, --at and --prove are for modules" in said.stderr


def test_what_is_not_served_is_not_proved() -> None:
    said = tinyheap("inspect", guests_modules.path("gofmt-0.7.3"), "--prove", "--", "a.go")
    assert said.exit_code == ExitCode.USAGE
    assert "--prove needs a module whose heap tinyheap serves" in said.stderr


@pytest.mark.slow
def test_files_are_written_and_nothing_else_is_printed(gofmt: Path) -> None:
    taken(gofmt, "early.core", "--at", "allocation:1000")
    taken(gofmt)
    exports = [f"--export={name}={name}.out" for name in HEAP_FORMATS]
    said = tinyheap("inspect", "a.core", "--against", "early.core", "--why", "zeros", "--html", "a.html", *exports)
    assert said.exit_code == 0, said.output
    assert said.stdout == ""
    assert said.stderr.splitlines() == ["wrote a.html", *(f"wrote {name}.out" for name in HEAP_FORMATS)]
    assert "what is alive</title>" in Path("a.html").read_text(encoding="utf-8")
    assert json.loads(Path("heapsnapshot.out").read_text(encoding="utf-8"))["snapshot"]["node_count"] > 0
    assert Path("dot.out").read_text(encoding="utf-8").startswith("digraph why {")
    assert sorted(path.name for path in Path("csv.out").iterdir()) == ["objects.csv", "roots.csv", "words.csv"]


def test_a_file_may_go_to_standard_output(gofmt: Path) -> None:
    taken(gofmt)
    assert tinyheap("inspect", "a.core", "--html", "-").stdout.startswith("<!doctype html>")
    said = tinyheap("inspect", "a.core", "--json", "--export", "heapsnapshot=-")
    assert said.exit_code == ExitCode.USAGE
    assert "--json is printed on standard output" in said.stderr


def test_a_graph_needs_a_question(gofmt: Path) -> None:
    taken(gofmt)
    said = tinyheap("inspect", "a.core", "--export", "dot=a.dot")
    assert said.exit_code == ExitCode.CANNOT_READ
    assert "name them (--why)" in said.stderr
    assert not Path("a.dot").exists()


def test_formats_are_listed() -> None:
    said = tinyheap("inspect", "--list-formats")
    assert [line.split()[0] for line in said.stdout.splitlines()] == list(HEAP_FORMATS)
