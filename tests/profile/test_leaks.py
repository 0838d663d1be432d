"""Leak suspects: a leak is found, and sites that stay, start up, or go up and down are no suspects."""

from __future__ import annotations

import random
from collections import deque
from pathlib import Path

import pytest

from recordings_made import LEAKING_FUNCTION, make_recording
from small_recordings import Birth, Rows, known, opened
from tinyheap import profile
from tinyheap.profile.leaks import FEWEST_COLLECTIONS
from tinyheap.recordings.recording import Recording


class Program:
    """Allocates at some sites between collections, and lets go of what a site says."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.rows = Rows()
        self.leak = self.rows.path("_start", "main.leak")
        self.cache = self.rows.path("_start", "main.cache", "runtime.append")
        self.startup = self.rows.path("_start", "main.startup")
        self.garbage = self.rows.path("_start", "main.garbage")
        self.cached: deque[Birth] = deque()
        self.evicted: list[Birth] = []

    def run(self, collections: int, *, leaked_bytes: int, startup_share: float = 0.3) -> Rows:
        """So many collections; the cache is full from the first on, and turns over a random part each time."""
        for number in range(collections):
            dead = [self.rows.allocate(self.random.randint(1, 500), self.garbage) for _ in range(20)]
            if leaked_bytes:
                self.rows.allocate(leaked_bytes, self.leak)
            if number < startup_share * collections:
                self.rows.allocate(1000, self.startup)
            for _ in range(100 if number == 0 else self.random.randint(0, 40)):
                self.cached.append(self.rows.allocate(self.random.randint(50, 150), self.cache))
            while len(self.cached) > 100:
                dead.append(self.cached.popleft())
            self.rows.collect(*dead)
        return self.rows


def suspects(rows: Rows) -> dict[str, profile.LeakSuspect]:
    with opened(rows) as recording:
        return {suspect.site.function: suspect for suspect in known(profile.leak_suspects(recording)).suspects}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("collections", [10, 20, 60])
@pytest.mark.share(3)
def test_a_leak_is_found_and_a_steady_cache_is_not_accused(collections: int, seed: int) -> None:
    found = suspects(Program(seed).run(collections, leaked_bytes=400))
    assert list(found) == ["main.leak"]
    assert found["main.leak"].slope_bytes == 400
    assert found["main.leak"].tau == 1
    assert found["main.leak"].series_bytes[-1] == 400 * collections


@pytest.mark.parametrize("seed", range(3))
def test_a_program_without_a_leak_has_no_suspect(seed: int) -> None:
    assert suspects(Program(seed).run(60, leaked_bytes=0)) == {}


def test_the_series_is_what_lived_after_each_collection() -> None:
    rows = Rows()
    leak = rows.path("_start", "main.leak")
    for _ in range(12):
        rows.allocate(100, leak)
        soon = rows.allocate(7, leak)
        rows.collect()
        rows.collect(soon)
    found = suspects(rows)["main.leak"]
    expected = [100 * (number // 2 + 1) + 7 * (number % 2 == 0) for number in range(24)]
    assert list(found.series_bytes) == expected


def test_what_only_grew_as_the_program_started_is_not_accused() -> None:
    assert suspects(Program(1).run(40, leaked_bytes=0, startup_share=0.45)) == {}
    assert list(suspects(Program(1).run(40, leaked_bytes=0, startup_share=1))) == ["main.startup"]


def test_what_grew_for_long_and_stopped_is_not_accused() -> None:
    rows = Rows()
    table = rows.path("_start", "main.table")
    for number in range(40):
        if number < 30:
            rows.allocate(100, table)
        rows.collect(rows.allocate(1))
    assert suspects(rows) == {}


def test_a_larger_leak_has_the_higher_score() -> None:
    rows = Rows()
    small, large = rows.path("_start", "main.small"), rows.path("_start", "main.large")
    for _ in range(10):
        rows.allocate(10, small)
        rows.allocate(1000, large)
        rows.collect()
    with opened(rows) as recording:
        found = known(profile.leak_suspects(recording)).suspects
    assert [suspect.site.function for suspect in found] == ["main.large", "main.small"]
    assert found[0].score == pytest.approx(1000 / 1010)
    assert "1,000 more each time" in found[0].explanation


def test_a_trifle_in_a_large_heap_scores_low() -> None:
    rows = Rows()
    trifle = rows.path("_start", "main.trifle")
    rows.allocate(10_000_000)
    for _ in range(10):
        rows.allocate(10, trifle)
        rows.collect()
    found = suspects(rows)["main.trifle"]
    assert 0 < found.score < 0.001


def test_one_outlier_does_not_hide_a_leak() -> None:
    rows = Rows()
    leak = rows.path("_start", "main.leak")
    for number in range(20):
        rows.allocate(100, leak)
        burst = [rows.allocate(5000, leak)] if number == 14 else []
        rows.collect()
        rows.allocate(1)
        rows.collect(*burst)
    assert suspects(rows)["main.leak"].slope_bytes == pytest.approx(50, rel=0.1)


def test_with_few_collections_nobody_can_tell() -> None:
    rows = Rows()
    leak = rows.path("_start", "main.leak")
    for _ in range(FEWEST_COLLECTIONS - 1):
        rows.allocate(100, leak)
        rows.collect()
    with opened(rows) as recording:
        found = known(profile.leak_suspects(recording))
    assert (found.can_tell, found.suspects) == (False, ())
    rows.allocate(100, leak)
    rows.collect()
    assert list(suspects(rows)) == ["main.leak"]


def test_the_planted_leak_of_a_made_program_is_found(tmp_path: Path) -> None:
    for leak in (True, False):
        path = make_recording(tmp_path / f"{leak}.tinyheap", events=8000, leak=leak)
        with Recording.open(path) as recording:
            found = known(profile.leak_suspects(recording))
        assert found.can_tell
        assert [suspect.site.function for suspect in found.suspects[:1]] == ([LEAKING_FUNCTION] if leak else [])
