"""Leak suspects: a leak is found, and sites that stay, start up, or go up and down are no suspects."""

from __future__ import annotations

import random
from collections import deque
from fractions import Fraction
from itertools import accumulate, combinations, permutations, product
from math import ceil, factorial
from pathlib import Path

import pytest

from recordings_made import LEAKING_FUNCTION, make_recording
from small_recordings import Birth, Rows, known, opened
from tinyheap import profile
from tinyheap.profile.leaks import (
    BY_CHANCE,
    FEWEST_COLLECTIONS,
    MOST_LATER,
    STEADY,
    advised_every,
    chance_of,
    growth_of,
    is_beyond_chance,
    later_of,
    needed_collections,
    varying_sites,
)
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
@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.parametrize("values", range(2, 8))
def test_chances_are_those_of_all_orders(values: int) -> None:
    pairs = values * (values - 1) // 2
    found = [sum(1 if b > a else -1 for a, b in combinations(order, 2)) for order in permutations(range(values))]
    for least in range(-pairs, pairs + 1, 2):
        expected = Fraction(sum(each >= least for each in found), factorial(values))
        assert chance_of(least / pairs, values) == expected


def test_chances_of_the_longest_series() -> None:
    pairs = MOST_LATER * (MOST_LATER - 1) // 2
    assert chance_of(-1, MOST_LATER) == 1
    assert chance_of(1, MOST_LATER) == Fraction(1, factorial(MOST_LATER))
    assert chance_of(2 / pairs, MOST_LATER) + chance_of(0, MOST_LATER) == 1


def test_equal_values_are_on_the_safe_side() -> None:
    """A tau that a site must have is no more probable where some values are equal, whichever they are."""
    for rises in product((0, 1), repeat=5):
        orders = permutations(accumulate(rises, initial=0))
        found = [sum((b > a) - (b < a) for a, b in combinations(order, 2)) for order in orders]
        for least in range(ceil(STEADY * 15), 16):
            assert Fraction(sum(each >= least for each in found), len(found)) <= chance_of(least / 15, 6)


@pytest.mark.parametrize(("sites", "needed"), [(0, 10), (6, 10), (7, 11), (36, 11), (37, 13), (252, 13), (253, 15)])
def test_more_sites_need_more_collections(sites: int, needed: int) -> None:
    assert needed_collections(sites) == needed
    assert is_beyond_chance(1, later_of(needed), sites)
    assert needed == FEWEST_COLLECTIONS or not is_beyond_chance(1, later_of(needed - 1), sites)


def shuffled_sites(seed: int) -> list[list[int]]:
    """Series of 200 sites that grow over a run, but for the order of what lived."""
    rng = random.Random(seed)
    collections = rng.randint(needed_collections(200), 40)
    return [rng.sample(range(100, 10_000), collections) for _ in range(200)]


def suspected(series: list[list[int]]) -> list[int]:
    """The numbers of the sites that grow."""
    sites = varying_sites(series)
    return [at for at, each in enumerate(series) if growth_of(each, range(len(each)), sites)]


@pytest.mark.slow
def test_sites_in_a_random_order_are_seldom_accused() -> None:
    """In one run of 20, at most, by `BY_CHANCE`; more than 8 of 50 would then come once in a thousand times."""
    seeds = 50
    assert BY_CHANCE * seeds <= 2.5
    assert sum(bool(suspected(shuffled_sites(seed))) for seed in range(seeds)) <= 8


@pytest.mark.parametrize("seed", range(5))
def test_a_leak_is_found_among_many_sites_that_vary(seed: int) -> None:
    series = shuffled_sites(seed)
    series[77] = [1000 + 100 * at for at in range(len(series[0]))]
    assert 77 in suspected(series)


@pytest.mark.slow
def test_ten_collections_do_not_tell_a_leak_from_many_sites_that_vary() -> None:
    """With advice that is followed they are told apart."""
    rows = noisy(10)
    with opened(rows) as recording:
        few = known(profile.leak_suspects(recording))
    assert (few.can_tell, few.needed_collections, few.suspects) == (False, 13, ())
    assert few.enough_at == advised_every(len(rows.births), 13) == len(rows.births) // 26
    with opened(noisy(26)) as recording:
        enough = known(profile.leak_suspects(recording))
    assert enough.can_tell
    assert [each.site.function for each in enough.suspects] == ["main.leak"]


def noisy(collections: int) -> Rows:
    """A leak, and 60 sites each of which has another amount alive at each collection, in no order."""
    rng, rows = random.Random(1), Rows()
    leak, others = rows.path("_start", "main.leak"), [rows.path("_start", f"main.site{at}") for at in range(60)]
    dead: list[Birth] = []
    for _ in range(collections):
        rows.allocate(100, leak)
        born = [rows.allocate(rng.randint(1, 10_000), each) for each in others]
        rows.collect(*dead)
        dead = born
    return rows


@pytest.mark.slow
def test_the_planted_leak_of_a_made_program_is_found(tmp_path: Path) -> None:
    for leak in (True, False):
        path = make_recording(tmp_path / f"{leak}.tinyheap", events=8000, leak=leak)
        with Recording.open(path) as recording:
            found = known(profile.leak_suspects(recording))
        assert found.can_tell
        assert [suspect.site.function for suspect in found.suspects[:1]] == ([LEAKING_FUNCTION] if leak else [])
