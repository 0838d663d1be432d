"""The recording in `examples/` is one that this version reads, and shows every part of a report."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from small_recordings import known
from tinyheap import profile
from tinyheap.cli import main
from tinyheap.recordings.recording import Recording

EXAMPLE = Path(__file__).parents[2] / "examples" / "gofmt.tinyheap"


@pytest.mark.slow
def test_it_is_reported_without_anything_else(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    result = CliRunner().invoke(main, ["report", str(EXAMPLE), "--html", str(page)])
    assert result.exit_code == 0, result.output
    assert page.stat().st_size > 100_000
    result = CliRunner().invoke(main, ["report", str(EXAMPLE)])
    for part in (
        "TinyGo 0.31.2",
        "The heap through time",
        "Allocation sites",
        "Pauses",
        "Leak suspects",
        "(*go/parser",
    ):
        assert part in result.output


def test_it_is_whole_and_of_no_machine() -> None:
    with Recording.open(EXAMPLE) as recording:
        assert recording.run.is_complete
        assert (recording.run.module, list(recording.run.arguments)) == ("gofmt.wasm", ["cookie.go"])
        totals = profile.totals(recording)
        assert known(totals.collections) >= 10
        assert known(profile.leak_suspects(recording)).can_tell
        last = recording.sql("SELECT mallocs, total_alloc_bytes FROM samples ORDER BY time_ns DESC LIMIT 1").one()
    assert last == (totals.allocations, pytest.approx(totals.allocated_bytes))
