"""Of a run whose last part is kept the file has just that, stays small, and says what of the run is missing."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

import needs
import recordings_made
from killing import killed_after
from recordings_made import Shape
from tinyheap import profile
from tinyheap.errors import RecordingCorruptError, RecordingError
from tinyheap.profile import HeapMoment, LeakSuspects, Unknown
from tinyheap.recordings.batch import DEATH, EVENT, Batch
from tinyheap.recordings.last import Last
from tinyheap.recordings.observed import LastPart
from tinyheap.recordings.recording import Recording
from tinyheap.recordings.row_types import CollectionRow, RunEnd
from tinyheap.recordings.store import RecordingStore
from tinyheap.recordings.writer import QUEUED_BATCHES

KILLS = 12 if needs.IN_CI else 2
SHAPE = Shape(events=6000, batch_events=200, heap_bytes=16 * 1024)
BUSY = 10_000
"""Events of a batch."""
BYTES_AN_EVENT = 32
SECOND_NS = 1_000_000_000
TABLES = ("collections", "snapshots", "growths")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recordings_made.make_recording(tmp_path_factory.mktemp("whole") / "whole.tinyheap", shape=SHAPE)


def part_of(tmp_path: Path, last: Last, shape: Shape = SHAPE) -> Path:
    return recordings_made.make_recording(tmp_path / "last.tinyheap", shape=shape, last=last)


def rows(recording: Recording, query: str) -> list[Any]:
    return sorted(recording.sql(query))


def begins(recording: Recording) -> LastPart:
    """Where the last part begins, of which something was cut away."""
    assert recording.run.last_part is not None
    return recording.run.last_part


def check_against(whole: Recording, part: Recording) -> None:
    """A recording has what a whole one has of its part, and what lived at its beginning."""
    kept = begins(part)
    first, over_ns = kept.first_event_id, kept.begun_ns
    lived = f"""
        SELECT objects.id FROM objects LEFT JOIN collections ON number = death_collection
        WHERE death_collection IS NULL OR collections.begun_ns > {over_ns}
    """
    latest = f"SELECT max(id) FROM events WHERE id < {first} GROUP BY object_id, kind"
    events = f"FROM events WHERE id >= {first} OR (object_id IN ({lived}) AND id IN ({latest}))"
    assert rows(part, "FROM events") == rows(whole, events)
    deaths = f"SELECT deaths.* FROM deaths JOIN collections ON number = collection WHERE begun_ns > {over_ns}"
    assert rows(part, "FROM deaths") == rows(whole, deaths)
    for table in TABLES:
        time = "begun_ns" if table == "collections" else "time_ns"
        assert rows(part, f"FROM {table}") == rows(whole, f"FROM {table} WHERE {time} > {over_ns}"), table
    last = f"(SELECT max(rowid) FROM samples WHERE time_ns <= {over_ns})"
    assert rows(part, "FROM samples") == rows(whole, f"FROM samples WHERE time_ns > {over_ns} OR rowid = {last}")
    for table in ("stacks", "frames", "memories", "memory_growths"):
        assert rows(part, f"FROM {table}") == rows(whole, f"FROM {table}"), table
    gone = (
        f"SELECT count(*), sum(size_bytes)::BIGINT FROM objects WHERE birth_event_id < {first} AND id NOT IN ({lived})"
    )
    assert rows(whole, gone) == [(kept.cut_objects, kept.cut_bytes)]
    before = f"SELECT count(*), max(last_event_id) FROM collections WHERE begun_ns <= {over_ns}"
    assert rows(whole, before) == [(kept.cut_collections, kept.collection_event_id)]


@pytest.mark.parametrize("last", [Last(batches=1), Last(batches=7), Last(batches=20)])
@pytest.mark.share(1, in_ci=2)
@pytest.mark.slow
def test_the_last_batches_and_what_lived_before_are_kept(whole: Path, tmp_path: Path, last: Last) -> None:
    with Recording.open(whole) as all_of_it, Recording.open(part_of(tmp_path, last)) as part:
        check_against(all_of_it, part)
        assert part.sql("SELECT count(*), max(number) FROM batches").fetch() == [(last.batches, 31)]
        assert part.run.batches == 31
        assert part.run.events == part.sql("SELECT count(*) FROM events").fetch()[0][0]


def test_a_time_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "seconds.tinyheap"
    store = RecordingStore(path, recordings_made.make_run().run, (), overwrite=False, last=Last(seconds=3))
    for number in range(12):
        store.put([busy_batch(number, event_ns=SECOND_NS // BUSY)])
    store.put([], RunEnd("finished", None, 0, 12 * SECOND_NS))
    with Recording.open(path) as recording:
        # Behind each ends a second.  The batch is kept that ends just when the time begins.
        assert recording.sql("SELECT number FROM batches").fetch() == [(9,), (10,), (11,), (12,)]
        assert begins(recording).begun_ns == 8 * SECOND_NS
        assert recording.run.batches == 12


@pytest.mark.parametrize("batches", [1, 4, 12])
@pytest.mark.share(1, in_ci=2)
@pytest.mark.slow
def test_analyses_say_of_the_part_what_they_say_of_the_run(whole: Path, tmp_path: Path, batches: int) -> None:
    with Recording.open(whole) as all_of_it, Recording.open(part_of(tmp_path, Last(batches=batches))) as part:
        kept = begins(part)
        totals, all_totals = profile.totals(part), profile.totals(all_of_it)
        assert (totals.live_objects, totals.live_bytes) == (all_totals.live_objects, all_totals.live_bytes)
        assert totals.allocations == (all_totals.allocations or 0) - kept.cut_objects
        assert totals.allocated_bytes == (all_totals.allocated_bytes or 0) - kept.cut_bytes
        assert totals.collections == (all_totals.collections or 0) - kept.cut_collections
        assert (totals.heap_bytes, totals.used_bytes) == (all_totals.heap_bytes, all_totals.used_bytes)
        assert living(part) == living(all_of_it)
        check_moments(all_of_it, part, kept)
        check_time_line(all_of_it, part, kept)
        check_deaths(all_of_it, part, kept)
        assert totals.recorded_ns == totals.wall_ns - kept.begun_ns
        found = profile.pauses(part)
        assert not isinstance(found, Unknown)
        assert found.wall_ns == totals.recorded_ns
        # The last window is the whole part.
        assert found.utilizations[-1].utilization == pytest.approx(1 - found.total_ns / found.wall_ns)


def living(recording: Recording) -> dict[str, tuple[int | None, int | None]]:
    return {each.name: (each.live_objects, each.live_bytes) for each in profile.by_site(recording) if each.live_bytes}


def check_moments(whole: Recording, part: Recording, kept: LastPart) -> None:
    begins_with = max(kept.first_event_id - 1, kept.collection_event_id + 1)
    ends = range(begins_with, whole.run.events + 1, 97)
    for event_id in ends:
        here, there = (profile.heap_at(each, event_id=event_id) for each in (part, whole))
        assert isinstance(here, HeapMoment)
        assert isinstance(there, HeapMoment)
        assert here.object_ids.tolist() == there.object_ids.tolist()
    assert isinstance(profile.heap_at(part, event_id=begins_with - 1), Unknown)
    here, there = (profile.heap_at(each, time_ns=kept.begun_ns) for each in (part, whole))
    assert isinstance(here, HeapMoment)
    assert isinstance(there, HeapMoment)
    assert here.object_ids.tolist() == there.object_ids.tolist()


def check_time_line(whole: Recording, part: Recording, kept: LastPart) -> None:
    live = {each.event_id: each.live_bytes for each in profile.time_line(whole, 10**6).points}
    points = profile.time_line(part, 10**6).points
    assert points
    assert min(each.event_id for each in points) >= kept.first_event_id - 1
    by_event = {each.event_id: each.live_bytes for each in points}
    same = [event_id for event_id in by_event if event_id in live and event_id >= kept.first_event_id]
    assert [by_event[each] for each in same] == [live[each] for each in same]


def check_deaths(whole: Recording, part: Recording, kept: LastPart) -> None:
    """Who died young did so in the whole run, and what lived after each collection is what lived there."""
    young = "SELECT id FROM objects JOIN collections ON number = death_collection"
    young += " WHERE birth_event_id > (SELECT max(last_event_id) FROM collections WHERE number < death_collection)"
    expected = {each for (each,) in whole.sql(f"{young} AND death_collection > {kept.cut_collections}")}
    dead_young = profile.flame_graph(part, profile.Measure.DEAD_YOUNG_OBJECTS)
    assert not isinstance(dead_young, Unknown)
    assert dead_young.root.total == len(expected)
    suspects, all_suspects = profile.leak_suspects(part), profile.leak_suspects(whole)
    assert isinstance(suspects, LeakSuspects)
    assert isinstance(all_suspects, LeakSuspects)
    series = {each.site.id: each.series_bytes for each in all_suspects.suspects}
    for each in suspects.suspects:
        if each.site.id in series:
            assert each.series_bytes == series[each.site.id][kept.cut_collections :]


@pytest.mark.slow
def test_a_leak_is_found_in_the_last_part(tmp_path: Path) -> None:
    shape = Shape(events=20_000, batch_events=500)
    with Recording.open(part_of(tmp_path, Last(batches=20), shape)) as part:
        found = profile.leak_suspects(part)
    assert isinstance(found, LeakSuspects)
    assert found.can_tell
    assert [each.site.function for each in found.suspects] == [recordings_made.LEAKING_FUNCTION]


def test_a_run_that_is_shorter_is_whole(whole: Path, tmp_path: Path) -> None:
    with Recording.open(whole) as all_of_it, Recording.open(part_of(tmp_path, Last(batches=1000))) as part:
        assert part.run.last_part is None
        assert part.run.observed == all_of_it.run.observed
        assert rows(part, "FROM events") == rows(all_of_it, "FROM events")


@pytest.mark.slow
def test_the_files_stay_as_small_as_what_is_kept(tmp_path: Path) -> None:
    """Both of them, at each moment: the recording, and the log that DuckDB keeps beside it."""
    path, most = tmp_path / "long.tinyheap", []
    store = RecordingStore(path, recordings_made.make_run().run, (), overwrite=False, last=Last(batches=8))
    for number in range(128):
        store.put([busy_batch(number)])
        most.append(sum(each.stat().st_size for each in tmp_path.iterdir()))
    store.put([], RunEnd("finished", None, 0, 128 * BUSY))
    assert max(most[64:]) <= 1.1 * max(most[:64]), "no larger for a run twice as long"
    assert path.stat().st_size < 10 * BUSY * BYTES_AN_EVENT
    with Recording.open(path) as recording:
        # One of a hundred objects lives for ever.
        assert recording.run.events == 8 * BUSY + 120 * BUSY // 100


def busy_batch(number: int, event_ns: int = 1) -> Batch:
    """Objects of which all but one of a hundred are freed by a collection at its end."""
    objects = np.arange(number * BUSY + 1, (number + 1) * BUSY + 1)
    events = np.zeros(BUSY, EVENT)
    events["object_id"], events["time_ns"] = objects, objects * event_ns
    rng = np.random.default_rng(number)
    events["address"], events["size_bytes"] = rng.integers(0, 1 << 26, BUSY), rng.integers(1, 500, BUSY)
    dead = objects[objects % 100 != 0]
    deaths = np.zeros(len(dead), DEATH)
    deaths["object_id"], deaths["collection"] = dead, number + 1
    end = int(objects[-1])
    blocks = (len(dead), 0, 0, 0)
    collection = CollectionRow(number + 1, "exhausted", end * event_ns, 0, 0, 0, end, 1, 0, 0, 0, 0, 0, *blocks)
    return Batch(end * event_ns, events, deaths, collections=[collection])


@pytest.mark.parametrize(
    "lie",
    [
        "first_event_id = -1",
        "cut_objects = -5",
        "collection_event_id = first_event_id",
        "earlier_events = earlier_events + 1",
        "cut_collections = cut_collections + 1",
    ],
)
@pytest.mark.share(2)
def test_a_part_that_cannot_be_is_refused(tmp_path: Path, lie: str) -> None:
    path = part_of(tmp_path, Last(batches=4))
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"UPDATE kept SET {lie}")
    with pytest.raises(RecordingCorruptError, match="is damaged: "), Recording.open(path) as recording:
        profile.totals(recording)


def test_a_part_is_there_once(tmp_path: Path) -> None:
    path = part_of(tmp_path, Last(batches=4))
    with duckdb.connect(str(path)) as connection:
        connection.execute("INSERT INTO kept FROM kept")
    with pytest.raises(RecordingCorruptError, match="is damaged: invalid kept: expected one row at most"):
        Recording.open(path)


KILLED = """
import sys
from pathlib import Path
from recordings_made import Shape, make_recording
from tinyheap.recordings.batch import DEATH, EVENT, Batch
from tinyheap.recordings.last import Last
shape = Shape(events=10**9, batch_events=300, heap_bytes=16 * 1024)
make_recording(Path(sys.argv[1]), shape=shape, last=Last(batches=3))
"""


@pytest.mark.parametrize("seed", range(KILLS))
@pytest.mark.share(1, in_ci=2)
@pytest.mark.slow
def test_a_killed_writer_leaves_a_sound_part(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "killed.tinyheap"
    killed_after(1 + 2 * random.Random(seed).random(), path, KILLED)
    with Recording.open(path) as part:
        assert not part.run.is_complete
        kept, batches = part.run.last_part, part.run.batches
        [(first, count)] = part.sql("SELECT min(number), count(*) FROM batches")
        assert first + count - 1 == batches
        assert (kept is None) == (first == 1), "a slow machine may not have cut anything yet"
        assert 3 <= count <= 4 + 2 * QUEUED_BATCHES, "a quarter too much, and what was written together with the last"
        whole = recordings_made.make_recording(
            tmp_path / "whole.tinyheap",
            shape=Shape(events=300 * batches, batch_events=300, heap_bytes=16 * 1024),
            state=None,
        )
        with Recording.open(whole) as all_of_it:
            check_beginning(all_of_it, part, kept)


def check_beginning(whole: Recording, part: Recording, kept: LastPart | None) -> None:
    """What lived at the part's beginning is there, and all that happened up to the last batch that was written."""
    first = 1 if kept is None else max(kept.first_event_id - 1, kept.collection_event_id + 1)
    for event_id in (
        first,
        part.sql("SELECT max(id) FROM events").fetch()[0][0],
    ):
        here, there = (profile.heap_at(each, event_id=event_id) for each in (part, whole))
        assert isinstance(here, HeapMoment)
        assert isinstance(there, HeapMoment)
        assert here.object_ids.tolist() == there.object_ids.tolist()


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "10 m", "m", "10d", "64 batches", "9999999999"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(
        RecordingError, match=r"^invalid last '.*': expected a number of batches, such as 64, or a time"
    ):
        Last.of(text)


def test_what_is_one_is_understood() -> None:
    assert [Last.of(each) for each in ("64", "90s", "10m", "2h")] == [
        Last(batches=64),
        Last(seconds=90),
        Last(seconds=600),
        Last(seconds=7200),
    ]
    for wrong in ({}, {"batches": 1, "seconds": 1}, {"batches": 0}, {"seconds": True}):
        with pytest.raises(RecordingError, match=r"^invalid last part"):
            Last(**wrong)
