"""Where a disk is full the writer ends with one error, and the file is sound up to the batch that it names."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import guests_modules
import needs
import recordings_sound
from tinyheap.recordings.recording import Recording

SUPPORT = Path(__file__).resolve().parents[1] / "support"
KIB = 1024
MADE_ROOM = (
    0,
    4 * KIB,
    100 * KIB,
    200 * KIB,
    300 * KIB,
    1024 * KIB,
    *((2500 * KIB, 6000 * KIB) if needs.IN_CI else ()),
)
"""How large a file may become, each time.  A new recording takes some 150 KiB."""

# Batches go on and on, in two sizes: small ones wait in NAME.wal for the next checkpoint, large ones go to the file.
WRITE = """
import json, resource, signal, sys
import numpy as np
import recordings_made
from pathlib import Path
from tinyheap.errors import RecordingWriteError
from tinyheap.recordings.batch import EVENT, Batch
from tinyheap.recordings.writer import RecordingWriter
room, size = int(sys.argv[2]), int(sys.argv[3])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
rng = np.random.default_rng(0)
made, appended = recordings_made.make_run(), 0
try:
    with RecordingWriter.create(Path(sys.argv[1]), made.run) as writer:
        while True:
            events = np.zeros(size, EVENT)
            events["time_ns"] = appended + 1
            events["object_id"] = np.arange(appended * size + 1, (appended + 1) * size + 1)
            events["address"] = rng.integers(0, 1 << 32, size)
            events["size_bytes"] = 8
            writer.append(Batch(appended + 1, events))
            appended += 1
except RecordingWriteError as error:
    print(json.dumps({"appended": appended, "error": str(error)}))
"""


@pytest.mark.parametrize("batch_events", [1000, 200_000])
@pytest.mark.parametrize("room_bytes", MADE_ROOM)
@pytest.mark.share(2, in_ci=4)
def test_a_file_that_cannot_grow(tmp_path: Path, room_bytes: int, batch_events: int) -> None:
    path = tmp_path / "full.tinyheap"
    command: list[str | Path] = [sys.executable, "-c", WRITE, path, str(room_bytes), str(batch_events)]
    ended = subprocess.run(command, cwd=SUPPORT, check=True, capture_output=True, text=True)
    assert ended.stderr == ""
    said = json.loads(ended.stdout)
    assert said["error"].startswith(f"{path}: the recording cannot ")
    assert "File too large" in said["error"]
    if not path.exists():
        assert room_bytes <= 200 * KIB
        assert "the recording cannot be made: " in said["error"]
        assert list(tmp_path.iterdir()) == []
        return
    with Recording.open(path) as recording:
        batches = re.search(r"holds everything up to batch (\d+):", said["error"])
        assert batches is not None
        assert recording.run.batches == int(batches[1]) <= said["appended"]
        assert recordings_sound.problems(recording) == []
        assert not recording.run.is_complete


FINISH = """
import json, resource, signal, sys
import duckdb, recordings_made
from pathlib import Path
from tinyheap.recordings.row_types import RunEnd
from tinyheap.recordings.store import RecordingStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
made = recordings_made.make_run(recordings_made.Shape(events=20_000, batch_events=5000))
first, *rest = made.batches
path = Path(sys.argv[1])
store = RecordingStore(path, made.run, made.frames, overwrite=False)
store.put([first])
size = path.stat().st_size + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
try:
    store.put(rest, RunEnd("finished", None, 0, rest[-1].time_ns))
    print(json.dumps(None))
except duckdb.Error as error:
    print(json.dumps(str(error)))
store.close()
"""


@pytest.mark.parametrize("room_kib", [0, 16, 64, 100, 150, 200, 300, 400, 600, 4096])
@pytest.mark.share(1, in_ci=3)
@pytest.mark.slow
def test_a_run_that_ends_where_the_disk_is_all_but_full(tmp_path: Path, room_kib: int) -> None:
    """The last batches and the end are written in another way than those before."""
    path = tmp_path / "full.tinyheap"
    command: list[str | Path] = [sys.executable, "-c", FINISH, path, str(room_kib * KIB)]
    ended = subprocess.run(command, cwd=SUPPORT, check=True, capture_output=True, text=True)
    assert ended.stderr == ""
    error = json.loads(ended.stdout)
    with Recording.open(path) as recording:
        assert recordings_sound.problems(recording) == []
        assert recording.run.is_complete == (error is None)
        assert recording.run.batches == (1 if error else 5)
    if room_kib in (0, 4096):
        assert (error is None) == bool(room_kib)
    assert error is None or "File too large" in error


def test_there_is_room_for_something() -> None:
    # So that the test above is about full files, and not only about those that could never be made.
    assert max(MADE_ROOM) > 1000 * KIB


RUN = """
import resource, signal, sys
from tinyheap.errors import RecordingError
from tinyheap.guests.program import Program
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with Program.open(sys.argv[2]):
    pass  # so that it is prepared, and in the cache
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
source = "package main\\n" + "func f(a,b int)int{ return a+b }\\n" * 300
try:
    with Program.open(sys.argv[2], recording=sys.argv[1]) as program:
        program.start()
        while True:
            print(len(program.driver().format(source)), flush=True)
except RecordingError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_real_program_ends_with_the_error(tmp_path: Path) -> None:
    path = tmp_path / "full.tinyheap"
    command: list[str | Path] = [sys.executable, "-c", RUN, path, guests_modules.path("gofmt-0.4.9")]
    ended = subprocess.run(command, cwd=SUPPORT, check=True, capture_output=True, text=True)
    *lengths, error = ended.stdout.splitlines()
    assert len(set(lengths)) <= 1, "what the program printed is whole"
    assert error.startswith(f"{path}: the recording cannot go on, and holds everything up to batch ")
    with Recording.open(path) as recording:
        assert recordings_sound.problems(recording) == []
        assert error.count(f" {recording.run.batches}: ") == 1, "the batch that the error names is the last one"
        assert not recording.run.is_complete
