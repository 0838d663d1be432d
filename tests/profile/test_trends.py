"""How the objects of a site follow each other: against plain loops, in words, and on a run."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from guests.test_recorder import small
from small_recordings import Rows, opened
from tinyheap import profile
from tinyheap.guests.cache import Cache
from tinyheap.guests.program import Program
from tinyheap.profile import Kept, Measure, Sizes, Trend
from tinyheap.recordings.recording import Recording
from tinyheap.report.exports.report_json import report_json
from tinyheap.report.terminal.recording_report import report


def trend_of(rows: Rows) -> Trend:
    """Of the only site."""
    with opened(rows) as recording:
        [usage] = profile.by_site(recording)
    return usage.trend


def one_site(sizes: Sequence[int], kept: Sequence[int], *, after: int = 0) -> Rows:
    """A site whose objects a last collection freed but for those of these places; so many more came after it."""
    rows = Rows()
    stack = rows.path("main.main", "main.grow")
    births = [rows.allocate(size_bytes, stack) for size_bytes in sizes]
    rows.collect(*(birth for place, birth in enumerate(births) if place not in kept))
    for _ in range(after):
        rows.allocate(sizes[-1], stack)
    return rows


@pytest.mark.parametrize(
    ("sizes", "kept", "explanation", "is_telling"),
    [
        ((30, 100, 300, 900, 2000, 3735), (5,), "one object, always replaced by a larger one, 30 to 3,735 bytes", True),
        ((8, 8, 16, 16, 32, 32), (5,), "one object, always replaced by one that is no smaller, 8 to 32 bytes", True),
        ((64,) * 6, (5,), "only the last of 6 kept, each of 64 bytes", False),
        ((64, 8, 32, 16, 8, 9), (5,), "only the last of 6 kept, 8 to 64 bytes", False),
        ((64, 8, 32, 16, 8, 9, 7, 8), (0, 1, 2, 3, 4, 5), "6 of 8 kept, 7 to 64 bytes", True),
        ((64, 8, 32, 16, 8, 9, 7, 8), (0, 1, 2, 3, 4), "5 of 8 kept, 7 to 64 bytes", False),
        ((64,) * 6, range(6), "all 6 kept, each of 64 bytes", True),
        ((1, 2, 3, 4, 5, 6), (0, 1, 5), "3 of 6 kept, each larger than the one before, 1 to 6 bytes", True),
        ((64,) * 6, (), "none of 6 kept, each of 64 bytes", False),
        ((1, 2, 3, 4, 5, 9), (4, 5), "one object, always replaced by a larger one, 1 to 9 bytes", True),
        ((1, 2, 3, 4, 5, 9), (0, 5), "one object, always replaced by a larger one, 1 to 9 bytes", True),
        ((1, 2, 3, 4, 5, 9), (3, 4), "2 of 6 kept, each larger than the one before, 1 to 9 bytes", True),
        ((1, 2, 3), (0, 2), "2 of 3 kept, each larger than the one before, 1 to 3 bytes", False),
        ((64,) * 6, (4,), "1 of 6 kept, each of 64 bytes", False),
        (
            (187, 188, 188, 188, 189, 189),
            (0, 4),
            "2 of 6 kept, none smaller than the one before, 187 to 189 bytes",
            False,
        ),
        ((9, 1, 5, 3, 7, 2), (1, 4), "2 of 6 kept, 1 to 9 bytes", False),
        ((1, 2, 3, 4, 5), (4,), "one object, always replaced by a larger one, 1 to 5 bytes", False),
        ((48,), (0,), "one object of 48 bytes", False),
    ],
)
@pytest.mark.share(6)
def test_a_trend_in_words(sizes: Sequence[int], kept: Sequence[int], explanation: str, is_telling: bool) -> None:
    trend = trend_of(one_site(sizes, kept))
    assert (trend.explanation, trend.is_telling) == (explanation, is_telling)


def test_what_came_after_the_last_collection_is_not_judged() -> None:
    trend = trend_of(one_site((10, 20, 30, 40, 50, 60), (5,), after=9))
    assert (trend.objects, trend.judged, trend.living, trend.kept) == (15, 6, 1, Kept.LAST)
    assert trend.sizes is Sizes.NO_SMALLER


def test_without_a_collection_nothing_is_judged() -> None:
    rows = Rows()
    for size_bytes in range(1, 8):
        rows.allocate(size_bytes)
    trend = trend_of(rows)
    assert (trend.judged, trend.kept) == (0, None)
    assert trend.explanation == "7 objects, each larger than the one before, 1 to 7 bytes"


def test_one_object_that_was_judged_is_replaced_by_nothing() -> None:
    trend = trend_of(one_site((16,), (0,), after=6))
    assert (trend.kept, trend.explanation) == (Kept.ALL, "1 of 1 kept, each of 16 bytes")
    assert not trend.is_telling


def test_a_heap_that_never_frees_keeps_all() -> None:
    rows = Rows(collector="leaking")
    for _ in range(7):
        rows.allocate(16)
    assert trend_of(rows).kept is Kept.ALL


@pytest.mark.parametrize(
    ("dead", "explanation"),
    [
        (6, "one object, always replaced by a larger one, 1 to 7 bytes"),
        (7, "none of 7 kept, each larger than the one before, 1 to 7 bytes"),
        (0, "at most 7 of 7 kept, each larger than the one before, 1 to 7 bytes"),
        (3, "at most 4 of 7 kept, each larger than the one before, 1 to 7 bytes"),
    ],
)
def test_what_is_kept_is_an_upper_bound_where_deaths_are_inferred(dead: int, explanation: str) -> None:
    rows = Rows(source="injected", collector="boehm")
    for size_bytes in range(1, 8):
        rows.allocate(size_bytes)
    rows.other(2)
    rows.inferred_deaths = [(number, 8) for number in range(1, dead + 1)]
    assert trend_of(rows).explanation == explanation


def test_where_no_death_is_known_only_sizes_are_told() -> None:
    rows = Rows(source="injected", collector="boehm", infers_deaths=False)
    for _ in range(7):
        rows.allocate(16)
    trend = trend_of(rows)
    assert (trend.living, trend.kept, trend.explanation) == (None, None, "7 objects, each of 16 bytes")


@pytest.mark.parametrize("seed", range(5))
def test_trends_are_those_of_a_plain_loop(seed: int) -> None:
    rng, rows = random.Random(seed), Rows()
    stacks = [rows.path("main.main", f"main.site{number}") for number in range(6)]
    for _ in range(150):
        rows.allocate(rng.randrange(1, 5), rng.choice(stacks))
        if not rng.randrange(20):
            rows.collect(*(birth for birth in rows.alive() if rng.randrange(3)))
    last = rows.collections[-1].last_event_id
    with opened(rows) as recording:
        found = {usage.site.function: usage.trend for usage in profile.by_site(recording)}
    for number, stack in enumerate(stacks):
        births = [birth for birth in rows.births if birth.stack_id == stack]
        judged = [birth for birth in births if birth.event_id <= last]
        living = [birth for birth in judged if birth.death is None]
        trend = found[f"main.site{number}"]
        assert (trend.objects, trend.judged, trend.living) == (len(births), len(judged), len(living))
        sizes = [birth.size_bytes for birth in births]
        assert (trend.least_bytes, trend.most_bytes) == (min(sizes), max(sizes))
        assert (trend.sizes is Sizes.MIXED) == (sizes != sorted(sizes))
        most = 2 if len(judged) >= 6 else 1
        assert (trend.kept is Kept.LAST) == (0 < len(living) <= most and living[-1] is judged[-1])


REPLACING = """
  (global $held (mut i32) (i32.const 0))
  (func $replace (param i32) (local i32)
    local.get 0 i32.const 0 call $runtime.alloc local.set 1
    global.get $held if global.get $held call $free end
    local.get 1 global.set $held)
  (func (export "add") (param i32) local.get 0 call $replace)
"""


def test_a_buffer_that_is_replaced_by_a_larger_one(tmp_path: Path) -> None:
    place = tmp_path / "run.tinyheap"
    with Program.open(small(REPLACING), recording=place, cache=Cache(None)) as program:
        for size_bytes in (30, 64, 150, 400, 1000, 2200, 3735):
            program.call("add", size_bytes)
    console = Console(file=io.StringIO(), width=140, record=True)
    with Recording.open(place) as recording:
        for each in report(recording, Measure.ALLOCATED_BYTES, 15):
            console.print(each)
        [found] = report_json(recording)["by_site"]
    assert ": one object, always replaced by a larger one, 30 to 3,735 bytes" in console.export_text()
    assert found["trend"]["sizes"] == "larger"
    assert found["trend"]["kept"] == "last"
    assert found["trend"]["is_upper_bound"] is True
