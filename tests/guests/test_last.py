"""The last part of a real run has what lived then, and what the host holds, as a recording of all of it has."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

import guests_modules
from project_files import ROOT
from tinyheap import profile
from tinyheap.guests.program import Program
from tinyheap.guests.record.recorder import Recorder
from tinyheap.hosts.grants import Grants
from tinyheap.profile import HostCalls
from tinyheap.recordings.last import Last
from tinyheap.recordings.recording import Recording

FLAGS = ROOT / "examples" / "host_flags.py"
QUESTIONS = 700
"""More than two buffers of events."""


@pytest.fixture(scope="module", params=["default", "native"])
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run of a host that frees every other question, whole and the last batch of it."""
    folder = tmp_path_factory.mktemp("last")
    paths = folder / "whole.tinyheap", folder / "last.tinyheap"
    for path, last in zip(paths, (None, Last(batches=1)), strict=True):
        module = guests_modules.path("gofeatureflag-1.1.0")
        recorder = Recorder.to_file(path, last=last)
        with Program.open(module, Grants(seed=1), gc=request.param, recording=recorder) as program:
            program.start()
            ask(program)
    return paths


def ask(program: Program) -> None:
    evaluated = runpy.run_path(str(FLAGS))["evaluated"]

    class Forgetful:
        """A program whose host keeps every other question."""

        def __init__(self) -> None:
            self.memory, self.frees = program.memory, 0

        def call(self, export: str, *arguments: int) -> int | None:
            self.frees += export == "free"
            keeps = export == "free" and self.frees % 2
            result = None if keeps else program.call(export, *arguments)
            assert result is None or isinstance(result, int)
            return result

    forgetful = Forgetful()
    for number in range(QUESTIONS):
        evaluated(forgetful, f"user{number}@example.org")


@pytest.mark.share(1, in_ci=1)
@pytest.mark.slow
def test_what_lives_and_what_is_lent_is_complete(recorded: tuple[Path, Path]) -> None:
    with Recording.open(recorded[0]) as whole, Recording.open(recorded[1]) as last:
        part = last.run.last_part
        assert part is not None
        assert part.cut_objects > 30_000
        assert last.run.events < whole.run.events - part.cut_objects
        living = "SELECT stack_id, size_bytes, count(*) FROM objects WHERE death_ns IS NULL GROUP BY ALL ORDER BY ALL"
        assert last.sql(living).fetch() == whole.sql(living).fetch()
        (calls, all_calls) = (profile.host_calls(each) for each in (last, whole))
        assert isinstance(calls, HostCalls)
        assert isinstance(all_calls, HostCalls)
        assert 0 < calls.calls < all_calls.calls
        assert (calls.lent.objects, calls.lent.bytes) == (all_calls.lent.objects, all_calls.lent.bytes)
        assert calls.lent.objects == QUESTIONS // 2
        assert profile.totals(last).live_bytes == profile.totals(whole).live_bytes
        assert profile.totals(last).observed.cut is not None
