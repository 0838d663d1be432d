"""The benchmarks: what they write, and that they compare equal work only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest
from benchmarks.__main__ import main
from benchmarks.cases import Case, all_cases
from click.testing import CliRunner

import needs
from benchmarks import measure, peers
from tinyheap.heap.contract import Engine
from tinyheap.traces.trace import TraceBuilder, write_trace
from tinyheap.traces.workloads import WorkloadOptions, generate
from tinyheap.units import KIB

GC_HEADER: Final = Path("/usr/include/gc/gc.h")
SMALL: Final = WorkloadOptions(heap_bytes=32 * KIB, word_bytes=8, steps=2000)


@pytest.fixture(autouse=True)
def compiler() -> None:
    needs.tool(peers.COMPILER)


@pytest.fixture
def bdwgc() -> Path:
    needs.path(GC_HEADER, "the header of libgc")
    return peers.bdwgc()


@pytest.mark.usefixtures("kernel")
@pytest.mark.slow
def test_every_row_ends_as_a_json_line() -> None:
    said = CliRunner().invoke(main, ["--quick", "--n", "1", "--only", "mixed-w8-64KiB-30%"])
    assert said.exit_code == 0, said.output
    lines = [json.loads(line) for line in said.stdout.splitlines() if line.startswith("{")]
    assert {"mixed-w8-64KiB-30%-conservative", "mixed-w8-64KiB-30%-conservative-sweep"} <= {
        line["name"] for line in lines
    }
    for line in lines:
        assert line["n"] == 1
        assert line["peer"] in ("literal", "bdwgc")
        assert line["ratio"] == pytest.approx(line["peer_ns"] / line["ours_ns"], rel=0.01)


def test_names_tell_cases_apart() -> None:
    cases = list(all_cases(quick=False))
    assert len({case.name for case in cases}) == len(cases)
    assert {case.name for case in all_cases(quick=True)} < {case.name for case in cases}


def test_other_work_is_not_compared(kernel: type[Engine], tmp_path: Path) -> None:
    del kernel
    write_trace(tmp_path / "t", generate("mixed", SMALL))
    said = peers.run(peers.literal(8, precise=False), tmp_path / "t")
    case = Case("mixed", SMALL)
    measure.check_agreement(case, generate("mixed", SMALL), said)
    with pytest.raises(measure.DisagreementError, match="next_alloc"):
        measure.check_agreement(case, generate("mixed", SMALL), {**said, "next_alloc": said["next_alloc"] + 1})


@pytest.mark.parametrize("options", [[], ["--precise"]])
def test_bdwgc_runs_a_program_within_the_limit(bdwgc: Path, tmp_path: Path, options: list[str]) -> None:
    program = generate("mixed", WorkloadOptions(heap_bytes=1024 * KIB, word_bytes=8, steps=50_000, occupancy=0.3))
    write_trace(tmp_path / "t", program)
    said = peers.run(bdwgc, tmp_path / "t", *options)
    assert (said["oom"], said["ops_done"]) == ("", program.step_count)
    assert said["heap_bytes"] <= 1024 * KIB
    assert said["collection_count"] > 0


def test_bdwgc_keeps_what_roots_reach_and_says_where_memory_ends(bdwgc: Path, tmp_path: Path) -> None:
    objects = 64
    for kept in (False, True):
        builder = TraceBuilder(1024 * KIB, word_bytes=8)
        for slot in range(objects):
            object_id = builder.alloc(32 * KIB)
            builder.root(slot if kept else 0, object_id)
        write_trace(tmp_path / "t", builder.build())
        said = peers.run(bdwgc, tmp_path / "t")
        if kept:
            assert said["oom"]
            assert 0 < said["ops_done"] < 2 * objects
        else:
            assert (said["oom"], said["ops_done"]) == ("", 2 * objects)
