"""A recording whose writer is killed, at any moment, opens, is a sound beginning of the run, and says so."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import guests_modules
import needs
import recordings_sound
from killing import killed_after
from tinyheap.recordings.recording import Recording

KILLS = 12 if needs.IN_CI else 2
"""Of each kind of writer."""

MADE = """
import sys
from pathlib import Path
from recordings_made import Shape, make_recording
make_recording(Path(sys.argv[1]), shape=Shape(events=10**9, batch_events=300, heap_bytes=16 * 1024))
"""
REAL = """
import sys
from tinyheap.guests.program import Program
source = "package main\\n" + "func f(a,b int)int{ return a+b }\\n" * 300
with Program.open(sys.argv[2], recording=sys.argv[1]) as program:
    program.start()
    while True:
        program.driver().format(source)
"""


def check(path: Path) -> Recording:
    """The recording, held against all that must be so."""
    assert Recording.open(path).run.state == "running"
    with Recording.open(path) as recording:
        run = recording.run
        assert recordings_sound.problems(recording) == []
        assert not run.is_complete
        assert run.ends_early is not None
        if run.batches:
            assert f"holds everything up to batch {run.batches}, " in run.ends_early
        else:
            assert "before it had anything to write" in run.ends_early
    return recording


@pytest.mark.parametrize("seed", range(KILLS))
@pytest.mark.share(1, in_ci=3)
def test_a_killed_writer(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "made.tinyheap"
    # The first moments are the likeliest to be wrong.
    killed_after(random.Random(seed).random() ** 2, path, MADE)
    check(path)


@pytest.mark.parametrize("seed", range(KILLS))
@pytest.mark.slow
@pytest.mark.share(2, in_ci=2)
def test_a_killed_run_of_a_real_program(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "gofmt.tinyheap"
    killed_after(3 * random.Random(seed).random() ** 2, path, REAL, guests_modules.path("gofmt-0.4.9"))
    check(path)


@pytest.mark.slow
def test_what_was_killed_late_holds_what_came_before(tmp_path: Path) -> None:
    path = tmp_path / "made.tinyheap"
    killed_after(2, path, MADE)
    assert check(path).run.events >= 3000


@pytest.mark.slow
def test_a_killed_recording_can_be_read_where_nothing_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "made.tinyheap"
    path.parent.mkdir()
    killed_after(0.5, path, MADE)
    tmp_path.chmod(0o755)
    path.parent.chmod(0o555)
    try:
        names = sorted(each.name for each in path.parent.iterdir())
        check(path)
        assert sorted(each.name for each in path.parent.iterdir()) == names, "reading leaves everything as it was"
    finally:
        path.parent.chmod(0o755)
