"""Analyses of recordings with nothing in them, of runs without an end, of deep stacks, and of files with contradictions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from small_recordings import Rows, known, opened
from tinyheap import profile
from tinyheap.errors import RecordingCorruptError
from tinyheap.profile import Measure
from tinyheap.recordings.observed import Lives, Observed
from tinyheap.recordings.recording import Recording

ANALYSES: tuple[Callable[[Recording], Any], ...] = (
    profile.totals,
    profile.peak,
    profile.flame_graph,
    profile.by_function,
    profile.by_site,
    profile.by_layout,
    profile.time_line,
    profile.pauses,
    profile.size_histogram,
    profile.lifetime_histogram,
    profile.survival_histogram,
    profile.leak_suspects,
    profile.heap_at,
)


@pytest.mark.parametrize("analysis", ANALYSES, ids=lambda analysis: analysis.__name__)
def test_of_nothing(analysis: Callable[[Recording], Any]) -> None:
    with opened(Rows(state="running")) as recording:
        analysis(recording)


def test_nothing_is_nothing() -> None:
    with opened(Rows(state="running")) as recording:
        totals = profile.totals(recording)
        graph = known(profile.flame_graph(recording))
        pauses = known(profile.pauses(recording))
        line = profile.time_line(recording)
    assert (totals.state, totals.allocations, totals.wall_ns, totals.fragmentation) == ("running", 0, 0, None)
    assert (known(totals.peak).collection, known(totals.peak).bytes, totals.heap_bytes) == (1, 0, None)
    assert (graph.root.total, graph.root.children) == (0, ())
    assert (pauses.count, pauses.longest_ns, pauses.utilizations) == (0, None, ())
    assert line.points == ()


def test_without_stacks_all_is_the_roots_own() -> None:
    rows = Rows()
    rows.allocate(10)
    with opened(rows) as recording:
        assert known(profile.flame_graph(recording)).root.own == 10
        assert [usage.function for usage in profile.by_function(recording)] == [profile.NO_STACK]
        assert [usage.site.function for usage in profile.by_site(recording)] == [profile.NO_STACK]


@pytest.mark.parametrize(
    ("source", "collector", "observed"),
    [
        ("kernel", "conservative", Observed(allocations=True, collections=True, heap=True, lives=Lives.EXACT)),
        ("model", "leaking", Observed(allocations=True, collections=True, heap=True, lives=Lives.EXACT)),
        (
            "injected",
            "best-fit, precise",
            Observed(allocations=True, collections=False, heap=False, lives=Lives.AT_MOST),
        ),
        ("injected", "leaking", Observed(allocations=True, collections=True, heap=False, lives=Lives.EXACT)),
    ],
)
def test_what_is_known_follows_from_who_served_the_heap(source: str, collector: str, observed: Observed) -> None:
    rows = Rows(source=source, collector=collector)
    rows.allocate(10)
    rows.sample(used_bytes=16)
    with opened(rows) as recording:
        totals = profile.totals(recording)
    assert totals.observed == observed
    assert totals.collections == (0 if observed.collections else None)
    assert totals.live_bytes == 10
    assert totals.used_bytes == (16 if observed.heap else None)


def test_what_came_after_the_peak_was_not_at_it() -> None:
    rows = Rows()
    early, late = rows.path("main.early"), rows.path("main.late")
    rows.collect(rows.allocate(1000, early))
    rows.allocate(10, late)
    rows.collect()
    with opened(rows) as recording:
        graph = known(profile.flame_graph(recording, Measure.LIVE_AT_PEAK_BYTES))
        assert known(profile.peak(recording)).collection == 1
    assert dict(graph.stacks()) == {("main.early",): 1000}


def test_an_object_lives_to_the_very_end_of_the_collection_that_frees_it() -> None:
    rows = Rows()
    rows.collect(rows.allocate(100), pause_ns=50)
    with opened(rows) as recording:
        living = {
            time_ns: len(known(profile.heap_at(recording, time_ns=time_ns))) for time_ns in (9, 10, 20, 69, 70, 71)
        }
    assert living == {9: 0, 10: 1, 20: 1, 69: 1, 70: 0, 71: 0}


def test_fragmentation_is_what_is_free_beside_the_largest_run() -> None:
    rows = Rows()
    rows.allocate(10)
    rows.sample(4096, heap_bytes=8192, largest_free_run_bytes=1024)
    rows.allocate(10)
    rows.sample(8192, heap_bytes=8192)
    with opened(rows) as recording:
        first, last = [point for point in profile.time_line(recording).points if point.heap_bytes]
    assert first.fragmentation == 0.75
    assert last.fragmentation is None


def test_recursion_counts_once_and_may_be_deep() -> None:
    rows = Rows()
    even, odd = rows.frame("main.even"), rows.frame("main.odd")
    stack = 0
    for depth in range(3000):
        stack = rows.stack(stack, odd if depth % 2 else even)
    rows.allocate(10, stack)
    with opened(rows) as recording:
        graph = known(profile.flame_graph(recording))
        functions = {usage.function: usage.total_bytes for usage in profile.by_function(recording)}
        assert len(profile.stack_of(recording, stack)) == 3000
    assert max(depth for depth, _ in graph.root.walk()) == 3000
    assert functions == {"main.even": 10, "main.odd": 10}


def test_folding_takes_recursion_out_and_nothing_else() -> None:
    rows = Rows()
    rows.allocate(1, rows.path("all", "f", "g", "f", "h", "f", "g"))
    rows.allocate(2, rows.path("all", "f", "g"))
    rows.allocate(4, rows.path("all", "f", "f", "h"))
    rows.allocate(8, rows.path("h", "f", "g"))
    with opened(rows) as recording:
        graph = profile.folded(known(profile.flame_graph(recording)))
    assert dict(graph.stacks()) == {("all", "f", "g"): 3, ("all", "f", "h"): 4, ("h", "f", "g"): 8}
    assert graph.root.total == 15


def test_the_runtime_allocates_for_its_callers() -> None:
    rows = Rows()
    rows.allocate(10, rows.path("_start", "main.main", "runtime.append", "runtime.grow"))
    rows.allocate(20, rows.path("runtime.init", "runtime.makeslice"))
    with opened(rows) as recording:
        sites = {usage.site.function: usage.own_bytes for usage in profile.by_site(recording)}
        functions = {usage.function: usage.own_bytes for usage in profile.by_function(recording) if usage.own_bytes}
    assert sites == {"main.main": 10, "runtime.makeslice": 20}
    assert functions == {"runtime.grow": 10, "runtime.makeslice": 20}


def test_long_time_lines_are_thinned_and_keep_their_extremes() -> None:
    rows = Rows()
    for number in range(500):
        rows.allocate(1)
        rows.sample(9999 if number == 333 else 1 if number == 222 else 5000)
    with opened(rows) as recording:
        points = profile.time_line(recording, points=40).points
    used = {point.used_bytes for point in points if point.used_bytes is not None}
    assert len(points) <= 60
    assert used == {1, 5000, 9999}


def test_a_census_is_taken_again_when_there_is_more(tmp_path: object) -> None:
    rows = Rows()
    rows.allocate(10)
    with opened(rows) as recording:
        assert profile.totals(recording).allocations == 1
        recording.connection.execute("INSERT INTO events VALUES (2, 20, 0, 2, 99, 5, 0, 0)")
        assert profile.totals(recording).allocations == 1
        recording.connection.execute("INSERT INTO batches VALUES (2, 20, 1)")
        assert (profile.totals(recording).allocations, known(profile.flame_graph(recording)).root.total) == (2, 15)


def sound() -> Rows:
    rows = Rows()
    birth = rows.allocate(10, rows.path("_start", "main.main"))
    rows.collect(birth)
    return rows


@pytest.mark.parametrize(
    ("lie", "word"),
    [
        ("UPDATE stacks SET parent_id = 2 WHERE id = 2", "stack 2 has parent 2"),
        ("UPDATE stacks SET parent_id = 7 WHERE id = 2", "stack 2 has parent 7"),
        ("UPDATE stacks SET id = 1", "stack 1"),
        ("UPDATE stacks SET frame_id = 9 WHERE id = 2", "frame 9"),
        ("UPDATE stacks SET frame_id = 0 WHERE id = 2", "frame 0"),
        ("UPDATE events SET stack_id = 9", "a stack that there is not"),
        ("UPDATE deaths SET collection = 0", "before it was born"),
        ("UPDATE deaths SET collection = 2", "never was"),
        ("UPDATE collections SET last_event_id = 0", "before it was born"),
        ("UPDATE collections SET number = 3", "not 1, 2, 3"),
        ("INSERT INTO deaths VALUES (1, 1)", "died twice"),
        ("UPDATE events SET size_bytes = 9223372036854775807; INSERT INTO events FROM events", "range"),
    ],
)
def test_a_recording_that_contradicts_itself_is_refused(lie: str, word: str) -> None:
    with opened(sound()) as recording:
        recording.connection.execute(lie)
        with pytest.raises(RecordingCorruptError, match=word):
            profile.totals(recording)


def test_a_moment_is_an_event_or_a_time() -> None:
    with opened(sound()) as recording, pytest.raises(TypeError):
        known(profile.heap_at(recording, event_id=1, time_ns=1))


@pytest.mark.parametrize("measure", Measure)
def test_measures_have_titles(measure: Measure) -> None:
    assert measure.title.startswith(measure.unit)
    assert "  " not in measure.title
