"""`tinyheap generate` as its users meet it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tinyheap import cli
from tinyheap.traces.trace import read_trace
from tinyheap.traces.workloads import WORKLOADS, WorkloadOptions, generate
from tinyheap.units import KIB


def run(*arguments: str | float | Path) -> Result:
    return CliRunner().invoke(cli.main, ["generate", *map(str, arguments)])


def test_options_reach_the_program(tmp_path: Path) -> None:
    target = tmp_path / "t.trace"
    said = run(
        "mixed", "-o", target, "--seed", 7, "--word-bytes", 8, "--heap", "64KiB", "--limit", "1M", "--steps", 500,
        "--occupancy", 0.4, "--precise", "--header-alignment", 16,
    )  # fmt: skip
    assert said.exit_code == 0
    program = read_trace(target)
    assert program == generate(
        "mixed",
        WorkloadOptions(
            seed=7,
            word_bytes=8,
            heap_bytes=64 * KIB,
            limit_bytes=1024 * KIB,
            steps=500,
            occupancy=0.4,
            precise=True,
            header_alignment_bytes=16,
        ),
    )
    assert f"{program.step_count} steps" in said.stderr
    assert said.stdout == ""


def test_a_trace_that_it_wrote_is_replayed(tmp_path: Path) -> None:
    target = tmp_path / "t.trace.gz"
    assert run("trees", "-o", target, "--heap", "16K", "--steps", 2000).exit_code == 0
    assert target.read_bytes()[:2] == b"\x1f\x8b"
    assert CliRunner().invoke(cli.main, ["replay", str(target), "--json"]).exit_code == 0


def test_help_tells_the_workloads_and_the_defaults() -> None:
    said = run("--help").stdout
    assert all(f"{name} " in said for name in WORKLOADS)
    assert "256KiB" in said
    assert "200000" in said


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["forest"], 2, "'forest' is not one of"),
        (["mixed", "--heap", "lots"], 2, "invalid size 'lots'"),
        (["mixed", "--occupancy", "2"], 2, "0.05<=x<=0.95"),
        (["mixed", "--heap", "1K"], 2, "too small"),
        (["mixed", "--word-bytes", "2", "--heap", "64K"], 2, "less than 64 KiB"),
    ],
)
def test_what_cannot_be_made_is_said_in_one_line(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    target = tmp_path / "t.trace"
    said = run(*arguments, "-o", target)
    assert said.exit_code == code
    assert words in said.stderr
    assert not target.exists()


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    said = run("trees", "-o", tmp_path / "no" / "such" / "folder", "--heap", "16K", "--steps", 10)
    assert said.exit_code == 121
    assert "No such file or directory" in said.stderr
