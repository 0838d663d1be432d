"""What lives where deaths are inferred: the analyses against plain loops, and that each says that it is an upper bound."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

import project_files
from inferred_lives import living, made
from small_recordings import Birth, Rows, known, opened
from tinyheap import profile
from tinyheap.errors import RecordingCorruptError
from tinyheap.profile import Measure
from tinyheap.recordings.observed import Lives
from tinyheap.recordings.recording import Recording
from tinyheap.recordings.row_types import GrowthRow, MemoryGrowthRow, MemoryRow, SampleRow
from tinyheap.report.exports.formats import export
from tinyheap.report.exports.report_json import report_json
from tinyheap.report.html.data import page_data
from tinyheap.report.terminal.memory import fragmentation_line
from tinyheap.report.terminal.recording_report import comparison, report


def weighed(births: list[Birth]) -> dict[int, int]:
    found: dict[int, int] = {}
    for birth in births:
        found[birth.stack_id] = found.get(birth.stack_id, 0) + birth.size_bytes
    return found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.share(1)
def test_what_lives_is_what_was_not_seen_dead(seed: int) -> None:
    rows, lives = made(seed)
    at_end = living(lives, rows.events)
    sizes = {event: sum(birth.size_bytes for birth in living(lives, event)) for event in range(1, rows.events + 1)}
    peak_event = max(sizes, key=lambda event: (sizes[event], -event))
    with opened(rows) as recording:
        totals, peak = profile.totals(recording), known(profile.peak(recording))
        assert totals.observed.lives is Lives.AT_MOST
        assert (totals.live_objects, totals.live_bytes) == (len(at_end), sizes[rows.events])
        assert (peak.collection, peak.event_id, peak.bytes) == (None, peak_event, sizes[peak_event])
        assert peak.objects == len(living(lives, peak_event))
        assert profile.flame.weights(recording, Measure.LIVE_AT_PEAK_BYTES) == weighed(living(lives, peak_event))
        assert profile.flame.weights(recording, Measure.LIVE_AT_END_BYTES) == weighed(at_end)
        for point in profile.time_line(recording).points:
            assert (point.live_objects, point.live_bytes) == (
                len(living(lives, point.event_id)),
                sizes[point.event_id],
            )
        moment = known(profile.heap_at(recording, event_id=77))
        assert moment.is_upper_bound
        assert sorted(moment.object_ids.tolist()) == [birth.object_id for birth in living(lives, 77)]
        by_site = {usage.site.function: usage.live_bytes for usage in profile.by_site(recording)}
        assert sum(filter(None, by_site.values())) == sizes[rows.events]
        lifetimes = known(profile.lifetime_histogram(recording))
        assert (lifetimes.objects, lifetimes.beyond_objects) == (len(lives) - len(at_end), len(at_end))


def test_an_objects_death_is_the_event_that_shows_it() -> None:
    rows = Rows(source="injected", collector="boehm")
    rows.allocate(16)
    rows.allocate(16)
    rows.inferred_deaths = [(1, 2)]
    with opened(rows) as recording:
        found = known(profile.object_at(recording, rows.births[0].address, event_id=1))
        assert (found.death_collection, found.death_event_id, found.death_ns) == (None, 2, 20)
        assert profile.object_at(recording, rows.births[0].address, event_id=2) is None


def test_what_needs_collections_stays_unknown() -> None:
    rows, _ = made()
    with opened(rows) as recording:
        for analysis in (profile.pauses, profile.survival_histogram):
            assert isinstance(analysis(recording), profile.Unknown)
        assert isinstance(profile.flame_graph(recording, Measure.DEAD_YOUNG_BYTES), profile.Unknown)
        assert {usage.dead_young_objects for usage in profile.by_site(recording)} == {None}
        assert profile.totals(recording).collections is None


@pytest.mark.parametrize("death", [(1, 1), (1, 9), (9, 2), (2, 1)])
def test_deaths_that_cannot_be_are_refused(death: tuple[int, int]) -> None:
    rows = Rows(source="injected", collector="boehm")
    for _ in range(3):
        rows.allocate(16)
    rows.inferred_deaths = [death]
    with opened(rows) as recording, pytest.raises(RecordingCorruptError, match="dead by an event before its birth"):
        profile.totals(recording)


@pytest.mark.slow
def test_every_medium_says_that_it_is_an_upper_bound(tmp_path: Path) -> None:
    rows, _ = made()
    console = Console(file=io.StringIO(), width=160, record=True)
    with opened(rows) as recording:
        for each in (*report(recording, Measure.LIVE_AT_END_BYTES, 15), *comparison(recording, recording)):
            console.print(each)
        found = report_json(recording)
        page = page_data(recording)
        contents = {}
        for form in ("speedscope", "perfetto"):
            export(recording, form, tmp_path / form)
            contents[form] = (tmp_path / form).read_bytes()
    text = " ".join(console.export_text().split())
    for words in (
        "What lives is an upper bound: an object counts as dead once its bytes are handed out again",
        "live at the end at most ",
        "peak at most ",
        "Stacks, by bytes live at the end, at most",
        "Live at the end, at most",
        "live, at most, as asked for",
        "objects by lifetime, at most",
        "live, at most lifetime, at most where",
    ):
        assert words in text, words
    assert found["observed"] == {
        "allocations": True,
        "collections": False,
        "heap": False,
        "lives": "at most",
        "sample_bytes": None,
        "last_part": None,
    }
    assert found["totals"]["observed"]["lives"] == "at most"
    assert page.summary["run"]["lives"] == "at most"
    assert b"bytes live at the end, at most" in contents["speedscope"]
    assert b"live, as asked for, at most" in contents["perfetto"]


def test_of_a_module_whose_allocator_is_unknown_nothing_is_claimed() -> None:
    rows = Rows(source="unseen", collector="unknown")
    stack = rows.path("ask", "grow")
    rows.memories = [MemoryRow(2, 16, None)]
    rows.memory_growths = [
        MemoryGrowthRow(10, 0, "program", 2, 4, 6, None, stack),
        MemoryGrowthRow(20, 0, "program", 6, 100, 6, "maximum", stack),
    ]
    rows.time_ns = 30
    console = Console(file=io.StringIO(), width=140, record=True)
    with opened(rows) as recording:
        totals = profile.totals(recording)
        found = report_json(recording)
        for each in report(recording, Measure.ALLOCATED_BYTES, 15):
            console.print(each)
        page = page_data(recording)
    assert (totals.allocations, totals.allocated_bytes, totals.live_bytes, totals.peak) == (None,) * 4
    assert found["observed"]["allocations"] is False
    assert [found[name] for name in ("by_site", "flame_graphs", "time_line", "size_histogram")] == [None] * 4
    assert found["linear_memory"]["growths"][1]["refused_by"] == "maximum"
    assert page.summary_columns["memory.bytes"].tolist() == [2 * 65536, 6 * 65536, 6 * 65536]
    assert page.summary["totals"]["allocations"] is None
    text = console.export_text()
    for line in (
        "allocated        unknown",
        "declared 2 pages (128 KiB), at most 16 pages (1 MiB)",
        "grew once, to 6 pages (384 KiB), refused 1 time; the last time it was refused: the module allows no more",
        "10 ns  128 KiB  384 KiB   +256 KiB  grow+0x20",
        "20 ns  384 KiB        -  +6.25 MiB  refused: the module allows no more; grow+0x20",
    ):
        assert line in text, text
    assert "Allocation sites" not in text


@pytest.mark.parametrize(
    "fault",
    [
        "INSERT INTO memories VALUES (1, NULL, NULL)",
        "UPDATE memories SET declared_pages = -1",
        "INSERT INTO memory_growths VALUES (10, 0, 'program', 6, 1, 5, NULL, 0)",
        "INSERT INTO memory_growths VALUES (10, 0, 'program', 6, 1, 7, 'maximum', 0)",
    ],
)
def test_memory_that_cannot_be_is_refused(fault: str) -> None:
    rows = Rows()
    rows.memories = [MemoryRow(2, 16, None)]
    with opened(rows) as recording:
        recording.connection.execute(fault)
        with pytest.raises(RecordingCorruptError, match="linear memory"):
            profile.linear_memory(recording)


def test_a_growth_of_a_stack_that_is_not_there_has_none() -> None:
    rows = Rows()
    rows.memories = [MemoryRow(2, None, None)]
    rows.memory_growths = [MemoryGrowthRow(10, 0, "collector", 2, 2, 4, None, 99)]
    with opened(rows) as recording:
        [growth] = known(profile.linear_memory(recording)).growths
    assert (growth.stack, growth.site.function) == ((), profile.NO_STACK)


@pytest.mark.parametrize(("largest_bytes", "is_fragmentation"), [(256, True), (512, False)])
def test_a_growth_is_of_fragmentation_where_enough_was_free_but_not_in_one_piece(
    largest_bytes: int, is_fragmentation: bool
) -> None:
    rows = Rows()
    rows.memories = [MemoryRow(2, None, None)]
    stack = rows.path("ask", "hold")
    rows.samples = [
        SampleRow(5, 0, 1 << 17, 0, 1 << 16, 1, 1 << 16, 0, 0, 0, 0),
        SampleRow(9, 0, 1 << 17, 512, 2048, 8, largest_bytes, 4, 0, 0, 0),
        SampleRow(12, 0, 1 << 18, 512, 1 << 16, 8, 1 << 16, 4, 0, 0, 0),
    ]
    rows.memory_growths = [
        MemoryGrowthRow(10, 0, "collector", 2, 2, 4, None, stack),
        MemoryGrowthRow(20, 3, "program", 4, 1, 5, None, stack),
    ]
    rows.growths = [GrowthRow(11, 0, 1 << 17, 1 << 18, 512)]
    with opened(rows) as recording:
        memory = known(profile.linear_memory(recording))
    heaps, programs = memory.growths
    assert (heaps.wanted_bytes, heaps.free_bytes, heaps.largest_free_bytes) == (512, 2048, largest_bytes)
    assert (programs.wanted_bytes, programs.free_bytes, programs.largest_free_bytes) == (None,) * 3
    assert (heaps.is_fragmentation, programs.is_fragmentation) == (is_fragmentation, False)
    words = (
        "fragmentation: for 512 B asked for in hold+0x20 the heap grew, since of its 2 KiB free at most 256 B were in one "
        "piece"
    )
    found = memory.last_fragmentation
    assert (found and fragmentation_line(found)) == (words if is_fragmentation else None)


@pytest.mark.slow
def test_of_a_recording_made_before_memory_was_noted_nothing_is_claimed() -> None:
    with Recording.open(project_files.ROOT / "examples" / "gofmt.tinyheap") as recording:
        assert not recording.run.knows_memory
        assert isinstance(profile.linear_memory(recording), profile.Unknown)
        assert report_json(recording)["linear_memory"] is None
