"""DuckDB's engines are used again, one file after the other, and only where nothing is left of the last one."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb
import pytest

import recordings_sound
from recordings_made import Shape, make_recording, make_run
from tinyheap.recordings import engines
from tinyheap.recordings.recording import Recording
from tinyheap.recordings.row_types import RunEnd
from tinyheap.recordings.store import RecordingStore

END = RunEnd("finished", None, 0, 1)


@pytest.fixture(autouse=True)
def _no_idle_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_idle", [])


def files_of(engine: duckdb.DuckDBPyConnection) -> list[str]:
    """The databases that an engine has open, besides its own."""
    names = engine.execute("SELECT database_name FROM duckdb_databases() WHERE NOT internal").fetchall()
    return [name for (name,) in names if name != "memory"]


@pytest.mark.slow
def test_one_engine_writes_one_recording_after_the_other(tmp_path: Path) -> None:
    kept = []
    for number in range(3):
        path = make_recording(tmp_path / f"{number}.tinyheap", events=500)
        with Recording.open(path) as recording:
            assert recordings_sound.problems(recording) == []
            assert recording.run.is_complete
        [engine] = engines._idle
        assert files_of(engine) == []
        kept.append(engine)
    assert kept[0] is kept[1] is kept[2]


def test_engines_that_wait_are_few(tmp_path: Path) -> None:
    run = make_run(Shape(events=0))
    stores = [RecordingStore(tmp_path / f"{n}.tinyheap", run.run, (), overwrite=False) for n in range(3)]
    for store in stores:
        store.put([], END)
    assert len(engines._idle) == engines.IDLE_ENGINES


def test_an_engine_whose_recording_did_not_end_is_not_used_again(tmp_path: Path) -> None:
    run = make_run(Shape(events=0))
    store = RecordingStore(tmp_path / "a.tinyheap", run.run, (), overwrite=False)
    store.close()
    assert engines._idle == []


def test_the_second_recording_is_written_as_the_first_one_was(tmp_path: Path) -> None:
    """What has commits go into the file at once holds for the end of one recording only."""
    run = make_run(Shape(events=0))
    for name in "ab":
        store = RecordingStore(tmp_path / name, run.run, (), overwrite=False)
        engine = store._connection
        found = engine.execute("SELECT current_setting('wal_autocheckpoint')").fetchone()
        assert found == duckdb.connect().execute("SELECT current_setting('wal_autocheckpoint')").fetchone()
        store.put([], END)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_forked_process_has_engines_of_its_own(tmp_path: Path) -> None:
    make_recording(tmp_path / "parent.tinyheap", events=100)
    [engine] = engines._idle
    child = os.fork()
    if child == 0:
        code = 1
        try:
            make_recording(tmp_path / "child.tinyheap", events=100)
            code = 0 if engines._idle != [engine] else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert engines._idle == [engine]
    for name in ("parent", "child"):
        with Recording.open(tmp_path / f"{name}.tinyheap") as recording:
            assert recordings_sound.problems(recording) == []
