"""All batches are in the file; what goes wrong is raised as one error."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Sequence
from dataclasses import astuple
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

import recordings_made
import recordings_sound
from recordings_made import Shape, make_recording, make_run
from tinyheap.errors import RecordingWriteError
from tinyheap.recordings import writer as writer_module
from tinyheap.recordings.batch import EVENT, STACK, Batch
from tinyheap.recordings.recording import Recording
from tinyheap.recordings.row_types import FrameRow, RunEnd, RunRow
from tinyheap.recordings.store import RecordingStore
from tinyheap.recordings.writer import RecordingWriter


def run_row(**changes: object) -> RunRow:
    values: dict[str, object] = {
        "module": "app.wasm",
        "module_sha256": "ab" * 32,
        "arguments": ("app.wasm", "it's", 'a "b"'),
        "runtime": "TinyGo",
        "runtime_version": None,
        "collector": "conservative",
        "source": "model",
        "options": {"growth": "double", "limit": None},
        "started_at": datetime(2026, 5, 6, 7, 8, 9, 123456, tzinfo=UTC),
        "block_bytes": 16,
        "heap_start_address": 0xFFFF_FFF0,
    }
    return RunRow(**{**values, **changes})  # type: ignore[arg-type]


def events(count: int, first_object: int = 1) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    made = np.zeros(count, EVENT)
    made["object_id"] = np.arange(first_object, first_object + count)
    made["time_ns"] = made["object_id"] * 10
    return made


def test_what_is_handed_over_stands_in_the_file(tmp_path: Path) -> None:
    path = make_recording(tmp_path / "made.tinyheap")
    batches = list(make_run().batches)
    with Recording.open(path) as recording:
        for name in ("collections", "samples", "growths"):
            given = [astuple(row) for batch in batches for row in getattr(batch, name)]
            assert given
            assert recording.frame(name).fetch() == given
        for name in ("deaths", "stacks"):
            assert recording.frame(name).fetch() == [row for batch in batches for row in getattr(batch, name).tolist()]
        given = [row for batch in batches for row in batch.events.tolist()]
        found = recording.sql("SELECT time_ns, object_id, address, size_bytes, layout, stack_id, kind FROM events")
        assert found.fetch() == given
        assert recording.sql("SELECT id FROM events").fetch() == [(number,) for number in range(1, len(given) + 1)]
        snapshots = [row for batch in batches for row in batch.snapshots]
        found = recording.sql("SELECT time_ns, last_event_id, collection, blocks, states FROM snapshots")
        assert [(*row[:4], zlib.decompress(row[4])) for row in found] == [astuple(row) for row in snapshots]
        assert recording_sound(recording)


def recording_sound(recording: Recording) -> bool:
    assert recordings_sound.problems(recording) == []
    return True


def test_the_run_is_described(tmp_path: Path) -> None:
    path = tmp_path / "run.tinyheap"
    with RecordingWriter.create(path, run_row()) as writer:
        writer.finish("failed", error="it trapped", exit_code=134, time_ns=5_000)
    with Recording.open(path) as recording:
        run = recording.run
    assert (run.module, run.arguments, run.runtime_version) == ("app.wasm", ("app.wasm", "it's", 'a "b"'), None)
    assert run.options == {"growth": "double", "limit": None}
    assert run.heap_start_address == 0xFFFF_FFF0
    assert (run.state, run.error, run.exit_code, run.ended_ns) == ("failed", "it trapped", 134, 5_000)
    assert run.is_complete
    assert run.ends_early is None


def test_its_beginning_is_told_in_utc(tmp_path: Path) -> None:
    east = datetime(2026, 5, 6, 1, 0, tzinfo=timezone(timedelta(hours=3)))
    with RecordingWriter.create(tmp_path / "run.tinyheap", run_row(started_at=east)):
        pass
    with Recording.open(tmp_path / "run.tinyheap") as recording:
        assert recording.run.started_at == datetime(2026, 5, 5, 22, 0)


def test_only_frames_that_stacks_mention_are_written_and_once(tmp_path: Path) -> None:
    frames = [FrameRow(number, number, f"main.f{number}", 10 * number, None) for number in range(1, 1001)]
    path = tmp_path / "run.tinyheap"
    with RecordingWriter.create(path, run_row(), frames) as writer:
        writer.append(Batch(10, events(1), stacks=np.array([(1, 0, 7, 1), (2, 1, 900, 2)], STACK)))
        writer.append(Batch(20, events(1, 2), stacks=np.array([(3, 0, 900, 1), (4, 0, 8, 1)], STACK)))
    with Recording.open(path) as recording:
        assert recording.sql("SELECT id, function, callee FROM frames ORDER BY id").fetch() == [
            (number, f"main.f{number}", None) for number in (7, 8, 900)
        ]


def test_a_stack_with_a_frame_that_there_is_not_is_a_bug_of_who_records(tmp_path: Path) -> None:
    path = tmp_path / "run.tinyheap"
    with RecordingWriter.create(path, run_row()) as writer:
        writer.append(Batch(10, events(3)))
        writer.append(Batch(20, events(3, 4), stacks=np.array([(1, 0, 1, 1)], STACK)))
        with pytest.raises(IndexError):
            writer.finish("finished", time_ns=30)
    with Recording.open(path) as recording:
        assert (recording.run.batches, recording.run.events) in [(0, 0), (1, 3)]
        assert not recording.run.is_complete


def test_the_same_arguments_make_the_same_recording(tmp_path: Path) -> None:
    def tables(path: Path) -> list[object]:
        with Recording.open(path) as recording:
            return [recording.frame(name).fetch() for name in ("run", "events", "deaths", "stacks", "snapshots")]

    first, second = (tables(make_recording(tmp_path / name, events=700, seed=3)) for name in ("one", "two"))
    assert first == second
    assert tables(make_recording(tmp_path / "other", events=700, seed=4)) != first


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("leak", [False, True])
@pytest.mark.share(4)
def test_made_recordings_are_sound_and_leak_as_asked(tmp_path: Path, seed: int, leak: bool) -> None:
    shape = Shape(events=3000, seed=seed, leak=leak)
    with Recording.open(make_recording(tmp_path / "made.tinyheap", shape=shape)) as recording:
        assert recording_sound(recording)
        survivors = recording.sql(
            """
            SELECT number, count(DISTINCT objects.id) FROM collections
            JOIN objects ON birth_event_id <= last_event_id AND coalesce(death_collection, 1 << 30) > number
            JOIN stack_frames ON stack_frames.stack_id = objects.stack_id WHERE stack_frames.function = $1
            GROUP BY number ORDER BY number
            """,
            [recordings_made.LEAKING_FUNCTION],
        ).fetch()
        assert (len(survivors) >= 4) is leak
        counts = [count for _, count in survivors]
        assert counts == sorted(counts)


def test_the_file_appears_under_its_name_only_when_it_is_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, made = tmp_path / "run.tinyheap", threading.Event()

    class Waiting(RecordingStore):
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, **options)  # type: ignore[arg-type]
            made.set()

    monkeypatch.setattr(writer_module, "RecordingStore", Waiting)
    with RecordingWriter.create(path, run_row()):
        made.wait()
        assert path.exists()
    assert list(tmp_path.iterdir()) == [path], "no other file is left"
    with Recording.open(path) as recording:
        assert recording.run.ends_early == "its writer was cut short before it had anything to write"


def test_the_program_waits_when_the_file_does_not_keep_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_go_on = threading.Event()

    class Slow(RecordingStore):
        def put(self, batches: Sequence[Batch], end: RunEnd | None = None) -> None:
            may_go_on.wait()
            super().put(batches, end)

    monkeypatch.setattr(writer_module, "RecordingStore", Slow)
    handed_over = []

    def hand_over(writer: RecordingWriter) -> None:
        for number in range(2 * writer_module.QUEUED_BATCHES + 5):
            writer.append(Batch(number * 10, events(1, number + 1)))
            handed_over.append(number)

    with RecordingWriter.create(tmp_path / "run.tinyheap", run_row()) as writer:
        program = threading.Thread(target=hand_over, args=(writer,))
        program.start()
        program.join(0.5)
        assert program.is_alive()
        assert len(handed_over) <= 2 * writer_module.QUEUED_BATCHES + 1
        may_go_on.set()
        program.join()
    with Recording.open(tmp_path / "run.tinyheap") as recording:
        assert recording.run.batches == 2 * writer_module.QUEUED_BATCHES + 5


def test_the_thread_that_writes_may_end_its_own_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python collects a program on whatever thread it is in; that one must not be waited for."""
    ended, put = threading.Event(), RecordingStore.put

    def collecting(store: RecordingStore, batches: Sequence[Batch], end: RunEnd | None = None) -> None:
        put(store, batches, end)
        if not ended.is_set():
            ended.set()
            for number in range(4 * writer_module.QUEUED_BATCHES):
                writer.append(Batch(number), waits=False)
            writer.finish_later("finished", time_ns=5)

    monkeypatch.setattr(RecordingStore, "put", collecting)
    writer = RecordingWriter.create(tmp_path / "run.tinyheap", run_row())
    writer.append(Batch(0))
    assert ended.wait(60)
    writer.wait()
    with Recording.open(tmp_path / "run.tinyheap") as recording:
        assert recording.run.state == "finished"
        assert recording.sql("SELECT count(*) FROM batches").one() == (1 + 4 * writer_module.QUEUED_BATCHES,)


def test_a_recording_is_not_replaced_unasked(tmp_path: Path) -> None:
    path = make_recording(tmp_path / "made.tinyheap", events=100)
    before = path.read_bytes()
    with pytest.raises(RecordingWriteError, match="is there already; choose another name"):
        RecordingWriter.create(path, run_row())
    assert path.read_bytes() == before
    with RecordingWriter.create(path, run_row(), overwrite=True):
        pass
    with Recording.open(path) as recording:
        assert (recording.run.module, recording.run.events) == ("app.wasm", 0)


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.tinyheap"

    def late(*arguments: object, **options: object) -> RecordingStore:
        path.write_text("somebody else's")
        return RecordingStore(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(writer_module, "RecordingStore", late)
    with RecordingWriter.create(path, run_row()) as writer, pytest.raises(RecordingWriteError, match="cannot be made"):
        writer.finish("finished", time_ns=1)
    assert path.read_text() == "somebody else's"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("is_there", [False, True])
def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool) -> None:
    path = tmp_path / "run.tinyheap"

    def refuse(self: Path, target: Path) -> None:
        if is_there:
            path.write_text("somebody else's")
        raise PermissionError("no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    with RecordingWriter.create(path, run_row()) as writer:
        if is_there:
            with pytest.raises(RecordingWriteError, match="is there already"):
                writer.finish("finished", time_ns=1)
            assert path.read_text() == "somebody else's"
        else:
            writer.finish("finished", time_ns=1)
    assert list(tmp_path.iterdir()) == [path]


def test_what_another_recording_left_beside_is_not_read_into_a_new_one(tmp_path: Path) -> None:
    path, log = tmp_path / "run.tinyheap", tmp_path / "run.tinyheap.wal"
    log.write_bytes(b"of another one")
    with pytest.raises(RecordingWriteError, match="was left behind by"):
        RecordingWriter.create(path, run_row())
    assert log.read_bytes() == b"of another one"
    with RecordingWriter.create(path, run_row(), overwrite=True) as writer:
        writer.finish("finished", time_ns=1)
    with Recording.open(path) as recording:
        assert recording.run.is_complete


@pytest.mark.parametrize(
    ("name", "words"),
    [("missing/run.tinyheap", "is not a folder; make it first"), ("folder", "is there already|is a folder")],
)
def test_where_no_file_can_be(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "folder").mkdir()
    for overwrite in (False, True):
        with pytest.raises(RecordingWriteError, match=words):
            RecordingWriter.create(tmp_path / name, run_row(), overwrite=overwrite)


def test_after_its_end_a_recording_takes_nothing_more(tmp_path: Path) -> None:
    with RecordingWriter.create(tmp_path / "run.tinyheap", run_row()) as writer:
        writer.finish("finished", time_ns=1)
        with pytest.raises(RecordingWriteError, match="is closed"):
            writer.append(Batch(10, events(1)))
        with pytest.raises(RecordingWriteError, match="is closed"):
            writer.finish("finished", time_ns=1)
        writer.close()
