"""What lives where deaths are inferred: the analyses against plain loops, and that each says that it is an upper bound."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest
from rich.console import Console

from small_recordings import Birth, Rows, known, opened
from tinyheap import profile
from tinyheap.errors import RecordingCorruptError
from tinyheap.profile import Measure
from tinyheap.recordings.observed import Lives
from tinyheap.report.exports.formats import export
from tinyheap.report.exports.report_json import report_json
from tinyheap.report.html.data import page_data
from tinyheap.report.terminal.recording_report import comparison, report


def made(seed: int = 0, count: int = 200) -> tuple[Rows, list[tuple[Birth, int | None]]]:
    """A recording with objects of which some were dead by an event, and that event of each."""
    rng, rows = random.Random(seed), Rows(source="injected", collector="best-fit, precise")
    stacks = [rows.path("_start", "main.main", name) for name in ("main.load", "main.parse", "runtime.sliceAppend")]
    alive: list[Birth] = []
    dead_by: dict[int, int] = {}
    for _ in range(count):
        birth = rows.allocate(8 * rng.randrange(1, 40), rng.choice(stacks))
        for lost in rng.sample(alive, min(len(alive), rng.choice((0, 0, 1, 3)))):
            alive.remove(lost)
            dead_by[lost.object_id] = birth.event_id
        alive.append(birth)
    rows.inferred_deaths = list(dead_by.items())
    return rows, [(birth, dead_by.get(birth.object_id)) for birth in rows.births]


def living(lives: list[tuple[Birth, int | None]], event_id: int) -> list[Birth]:
    return [birth for birth, dead in lives if birth.event_id <= event_id and (dead is None or event_id < dead)]


def weighed(births: list[Birth]) -> dict[int, int]:
    found: dict[int, int] = {}
    for birth in births:
        found[birth.stack_id] = found.get(birth.stack_id, 0) + birth.size_bytes
    return found


@pytest.mark.parametrize("seed", range(4))
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
        for analysis in (profile.pauses, profile.survival_histogram, profile.leak_suspects):
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
    assert found["observed"] == {"collections": False, "heap": False, "lives": "at most"}
    assert found["totals"]["observed"]["lives"] == "at most"
    assert page.summary["run"]["lives"] == "at most"
    assert b"bytes live at the end, at most" in contents["speedscope"]
    assert b"live, as asked for, at most" in contents["perfetto"]
