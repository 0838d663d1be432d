"""Statistics of a sample: the analyses against plain loops over weights, and that each says that it is an estimate."""

from __future__ import annotations

import gzip
import io
import random
from math import exp, sqrt
from pathlib import Path

import pytest
from rich.console import Console

from small_recordings import Birth, Rows, known, opened
from tinyheap import profile
from tinyheap.errors import RecordingCorruptError
from tinyheap.profile import Measure
from tinyheap.recordings.row_types import CallRow, MemoryRow
from tinyheap.report.exports.formats import export
from tinyheap.report.exports.report_json import report_json
from tinyheap.report.html.data import page_data
from tinyheap.report.terminal.recording_report import comparison, report

MEAN_BYTES = 512
MARK = "sampled every 512 bytes"


def made(seed: int = 0, count: int = 150) -> Rows:
    """A sample of a run in which collections freed some objects."""
    rng, rows = random.Random(seed), Rows(sample_bytes=MEAN_BYTES)
    stacks = [rows.path("_start", "main.main", name) for name in ("main.load", "main.parse", "main.keep")]
    for number in range(1, count + 1):
        rows.allocate(rng.choice((8, 16, 100, 1000, 9000)), rng.choice(stacks))
        if number % 30 == 20:
            rows.collect(*rng.sample(rows.alive(), len(rows.alive()) // 2))
    rows.memories = [MemoryRow(2, None, None)]
    events = rows.events
    rows.calls = [
        CallRow(1, "alloc", 1, 0, rows.time_ns // 2, 1, events // 2, None, None, True, 0, rows.alive()[0].object_id),
        CallRow(2, "go", 1, rows.time_ns // 2 + 1, rows.time_ns, events // 2 + 1, events, None, None, True, 0, 0),
    ]
    return rows


def chance(birth: Birth) -> float:
    return 1 - exp(-birth.size_bytes / MEAN_BYTES)


def objects_of(births: list[Birth]) -> float:
    return sum(1 / chance(birth) for birth in births)


def bytes_of(births: list[Birth]) -> float:
    return sum(birth.size_bytes / chance(birth) for birth in births)


def bytes_error(births: list[Birth]) -> float:
    return sqrt(sum((1 - chance(each)) * (each.size_bytes / chance(each)) ** 2 for each in births))


@pytest.mark.parametrize("seed", range(3))
def test_totals_are_sums_of_weights(seed: int) -> None:
    rows = made(seed)
    with opened(rows) as recording:
        totals = profile.totals(recording)
        weighed = recording.sql("SELECT sum(weight), sum(weight * size_bytes) FROM objects").one()
    assert weighed == pytest.approx((objects_of(rows.births), bytes_of(rows.births)))
    assert totals.allocations == pytest.approx(objects_of(rows.births), abs=1)
    assert totals.allocated_bytes == pytest.approx(bytes_of(rows.births), abs=1)
    assert totals.live_bytes == pytest.approx(bytes_of(rows.alive()), abs=len(rows.births))
    assert totals.allocated_bytes_error == pytest.approx(bytes_error(rows.births))
    assert totals.live_bytes_error == pytest.approx(bytes_error(rows.alive()))
    spread = sum((1 - chance(each)) / chance(each) ** 2 for each in rows.births)
    assert totals.allocations_error == pytest.approx(sqrt(spread))


def test_all_analyses_add_up_to_the_same() -> None:
    rows = made()
    with opened(rows) as recording:
        totals = profile.totals(recording)
        graph = known(profile.flame_graph(recording))
        at_end = known(profile.flame_graph(recording, Measure.LIVE_AT_END_BYTES))
        at_peak = known(profile.flame_graph(recording, Measure.LIVE_AT_PEAK_BYTES))
        sites, sizes = profile.by_site(recording), profile.size_histogram(recording)
        lifetimes, line = known(profile.lifetime_histogram(recording)), profile.time_line(recording)
        calls = known(profile.host_calls(recording))
        memory = known(profile.linear_memory(recording))
    last = line.points[-1]
    whole = totals.allocated_bytes
    assert whole == graph.root.total == sum(usage.own_bytes for usage in sites) == last.allocated_bytes
    assert whole == sum(each.bytes for each in sizes.buckets) == sum(each.allocated_bytes for each in calls.exports)
    assert totals.allocations == sizes.objects == sum(usage.own_objects for usage in sites) == last.allocated_objects
    assert totals.allocations == sum(each.allocated_objects for each in calls.exports)
    assert totals.live_bytes == at_end.root.total == lifetimes.beyond_bytes == last.live_bytes
    assert totals.peak is not None
    assert totals.peak.bytes == at_peak.root.total
    [allocating] = [each for each in calls.exports if each.export == "alloc"]
    assert memory.allocator_calls[0].bytes == allocating.allocated_bytes > 0
    assert calls.lent.bytes == pytest.approx(bytes_of(rows.alive()[:1]), abs=1)


def test_a_site_has_its_weighted_median_and_its_error() -> None:
    rows = made()
    with opened(rows) as recording:
        sites = profile.by_site(recording)
    for usage in sites:
        own = [
            birth for birth in rows.births if rows.frames[rows.stacks[birth.stack_id - 1][2] - 1].id == usage.site.id
        ]
        half, so_far = objects_of(own) / 2, 0.0
        for birth in sorted(own, key=lambda each: each.size_bytes):
            so_far += 1 / chance(birth)
            if so_far >= half:
                assert usage.median_size_bytes == birth.size_bytes
                break
        assert usage.own_bytes_error == pytest.approx(bytes_error(own))
        assert usage.own_bytes == pytest.approx(bytes_of(own), abs=len(own))
        assert usage.trend.explanation.startswith("of those sampled: ")


def test_where_all_was_recorded_nothing_has_an_error() -> None:
    rows = made()
    rows.sample_bytes = None
    with opened(rows) as recording:
        totals, sites = profile.totals(recording), profile.by_site(recording)
        assert recording.sql("SELECT DISTINCT weight FROM objects").one() == (1,)
    assert (totals.allocations_error, totals.allocated_bytes_error, totals.live_bytes_error) == (None,) * 3
    assert {(each.own_objects_error, each.own_bytes_error, each.live_bytes_error) for each in sites} == {(None,) * 3}
    assert totals.allocations == len(rows.births)


@pytest.mark.slow
def test_every_medium_says_that_it_is_an_estimate(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=160, record=True)
    with opened(made()) as recording:
        for each in (*report(recording, Measure.ALLOCATED_BYTES, 15), *comparison(recording, recording)):
            console.print(each)
        found, page = report_json(recording), page_data(recording)
        contents = {}
        for form in ("speedscope", "perfetto", "pprof"):
            export(recording, form, tmp_path / form)
            contents[form] = (tmp_path / form).read_bytes()
        notebook = recording._repr_html_()
    sentence = "Sampled: about one object for each 512 bytes allocated was recorded"
    text = " ".join(console.export_text().split())
    for words in (
        sentence,
        f"Stacks, by bytes allocated, {MARK}",
        f"objects by size, {MARK}",
        f"objects by lifetime, {MARK}",
        "KiB +- ",
        "allocated +- share",
    ):
        assert words in text, words
    assert text.count(sentence) == 3
    assert found["observed"]["sample_bytes"] == found["run"]["sample_bytes"] == MEAN_BYTES
    assert found["totals"]["allocated_bytes_error"] > 0
    assert any(note.startswith(sentence) for note in page.summary["notes"])
    assert any("those that were sampled" in note for note in page.summary["notes"])
    assert f"bytes allocated, {MARK}".encode() in contents["speedscope"]
    assert f"live, as asked for, {MARK}".encode() in contents["perfetto"]
    assert sentence.encode() in gzip.decompress(contents["pprof"])
    assert sentence in notebook


def test_an_address_may_have_had_objects_that_a_sample_does_not_have() -> None:
    rows = made()
    console = Console(file=io.StringIO(), width=100, record=True)
    with opened(rows) as recording:
        owners = known(profile.owners_of(recording, rows.births[0].address))
    assert owners.sample_bytes == MEAN_BYTES
    from tinyheap.report.terminal.results import renderable_of

    console.print(renderable_of(owners))
    assert "a sample was recorded" in console.export_text()


def test_a_sampled_object_without_bytes_is_refused() -> None:
    rows = made()
    rows.allocate(0)
    with opened(rows) as recording, pytest.raises(RecordingCorruptError, match="is damaged"):
        profile.totals(recording)
