"""Grids are the products of their dimensions; samples of them are the same everywhere, and a larger one has a smaller in it."""

from __future__ import annotations

import time
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyheap.errors import ConditionError
from tinyheap.lab import Condition, grid
from tinyheap.lab.grids import MOST_CONDITIONS, expanded, shuffled, size_of

HUGE = {
    "heap-limit": "default,64K..64000K/+64K",
    "memory-limit": "64K..64000K/+64K",
    "gc-every": "1..1000/+1",
    "initial-memory": "64K..64000K/+64K",
}
"""A grid of 10^12 conditions, about."""


def written(dimensions: dict[str, str], sample: int | None = None, seed: int = 0) -> list[str]:
    return [str(each) for each in grid(dimensions, sample=sample, seed=seed)]


def test_no_dimensions_are_one_condition() -> None:
    assert written({}) == ["default"]
    assert grid({})[0].options == ()


def test_a_grid_is_the_product_in_the_order_of_its_dimensions() -> None:
    assert written({"growth": "default,double", "heap-limit": "1MiB,2M"}) == [
        "heap-limit=1048576",
        "heap-limit=2097152",
        "growth=double heap-limit=1048576",
        "growth=double heap-limit=2097152",
    ]


def test_contradictions_are_left_out_of_a_grid() -> None:
    assert written({"gc": "default,leaking,native", "gc-every": "default,5"}) == [
        "default",
        "gc-every=5",
        "gc=leaking",
        "gc=native",
    ]
    with pytest.raises(ConditionError, match=r"every condition contradicts itself, as 'gc=native growth=pages'"):
        grid({"gc": "native", "growth": "pages"})


def test_a_grid_that_no_memory_holds_is_refused_and_can_be_sampled() -> None:
    many = dict.fromkeys(("heap-limit", "memory-limit", "gc-every"), "1..1000/+1")
    with pytest.raises(
        ConditionError, match="it has 1,000,000,000 conditions to run; expected 1,000,000 at most, or a sa"
    ):
        grid(many)
    with pytest.raises(ConditionError, match="it has 1,000,001 conditions to run"):
        grid(many, sample=MOST_CONDITIONS + 1)
    assert len(grid(many, sample=3)) == 3


# ---- samples ----------------------------------------------------------------------------------------------------------


def test_the_same_number_and_seed_draw_the_same_everywhere() -> None:
    """These were drawn once: another Python, another machine or another way to draw gives others if it is at fault."""
    dimensions = {"growth": "default,double,pages", "heap-limit": "default,1M..8M/x2", "clear-blocks": "no,yes"}
    assert written(dimensions, 4) == [
        "default",
        "heap-limit=1048576",
        "heap-limit=8388608 clear-blocks=yes",
        "growth=pages heap-limit=8388608",
    ]
    assert written(dimensions, 4, seed=1) == [
        "default",
        "heap-limit=1048576 clear-blocks=yes",
        "growth=double",
        "growth=pages heap-limit=8388608",
    ]


def test_a_sample_says_what_it_is_of() -> None:
    found = grid({"gc-every": "1..3456/+1"}, sample=40, seed=7)
    assert str(found.sample) == "a sample of 40 of 3,456 conditions (seed 7)"
    assert len(set(found)) == len(found) == 40


@pytest.mark.parametrize("sample", [6, 7, 10**20])
def test_a_sample_of_all_is_the_grid(sample: int) -> None:
    dimensions = {"growth": "default,pages", "gc-every": "default,5,6"}
    found = grid(dimensions, sample=sample)
    assert found == grid(dimensions)
    assert found.sample is None


@pytest.mark.parametrize("sample", [0, -1])
def test_a_sample_has_one_condition_at_least(sample: int) -> None:
    with pytest.raises(ConditionError, match=f"invalid sample {sample}: expected 1 condition or more"):
        grid({}, sample=sample)


def test_a_huge_grid_is_sampled_without_being_made() -> None:
    begun = time.process_time()
    found = grid(HUGE, sample=50)
    assert time.process_time() - begun < 1  # to make all would take weeks
    assert found.sample is not None
    assert found.sample.of == 1001 * 1000**3
    assert len(set(found)) == 50


def test_the_programs_own_condition_is_always_there_and_first() -> None:
    dimensions = {"growth": "pages,double,default", "gc": "leaking,default", "gc-every": "1..1000/+1,default"}
    for seed in range(20):
        assert written(dimensions, 2, seed)[0] == "default"
    without = {"growth": "pages,double", "gc-every": "1..1000/+1"}
    assert {written(without, 2, seed)[0] for seed in range(20)} == {"growth=pages gc-every=1"}


def test_every_program_is_run_under_the_same_choices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b.wasm", "a.wasm"):
        Path(name).write_bytes(b"")
    dimensions = {"growth": "default,double,pages", "module": "*.wasm", "gc-every": "1..50/+1", "input": "x,y"}
    found = grid(dimensions, sample=5)
    programs: dict[tuple[str, str], set[tuple[str, ...]]] = {}
    for each in found:
        programs.setdefault(each.program, set()).add(each.options)
    assert list(programs) == list(product(("a.wasm", "b.wasm"), ("x", "y")))
    (options,) = {frozenset(each) for each in programs.values()}
    assert len(options) == 5
    assert str(found.sample) == "a sample of 5 of 150 conditions (seed 0), for each of 4 programs"


VALUES = {
    "gc": ("default", "leaking", "native"),
    "growth": ("default", "double", "pages"),
    "headroom": ("default", "none"),
    "memory-limit": ("default", "65536", "131072"),
    "gc-every": tuple(map(str, range(1, 8))),
    "clear-blocks": ("yes", "default"),
    "module": ("default", "a.wasm", "b.wasm"),
    "input": ("x", "y"),
}
grids = st.lists(st.sampled_from(sorted(VALUES)), unique=True).flatmap(
    lambda names: st.fixed_dictionaries(
        {name: st.lists(st.sampled_from(VALUES[name]), min_size=1, unique=True) for name in names}
    )
)


def by_hand(values: dict[str, list[str]]) -> list[Condition]:
    """The product, without what contradicts itself."""
    every = (dict(zip(values, each, strict=True)) for each in product(*values.values()))
    made = (Condition(tuple((name, value) for name, value in each.items() if value != "default")) for each in every)
    return [each for each in made if each.contradiction is None]


@given(grids, st.integers(1, 30), st.integers(1, 30), st.integers(-5, 5))
def test_samples_are_of_the_grid_and_grow(values: dict[str, list[str]], one: int, other: int, seed: int) -> None:
    all_of_them = by_hand(values)
    assert size_of(values) == len(all_of_them)
    if not all_of_them:
        return
    assert list(expanded(values)) == all_of_them
    small, large = (expanded(values, count, seed) for count in sorted((one, other)))
    programs = len({each.program for each in all_of_them})
    for found, count in ((small, min(one, other)), (large, max(one, other))):
        assert len(set(found)) == len(found) == size_of(values, count) == min(count * programs, len(all_of_them))
        assert set(found) <= set(all_of_them)
        assert expanded(values, count, seed) == found
    assert set(small) <= set(large)
    own = Condition(tuple((name, value) for name, value in small[0].values if name in ("module", "input")))
    if own in all_of_them:
        assert small[0] == own


@given(st.integers(1, 200), st.integers(), st.data())
def test_a_shuffle_has_each_number_once(count: int, seed: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, count - 1))
    found = list(shuffled(count, seed, first))
    assert found[0] == first
    assert sorted(found) == list(range(count))


def test_each_place_of_a_shuffle_has_each_number_as_often() -> None:
    """Of 6,000 shuffles of four numbers each of the six orders behind the first comes about 1,000 times."""
    times: dict[tuple[int, ...], int] = {}
    for seed in range(6000):
        order = tuple(shuffled(4, seed, 2))
        times[order] = times.get(order, 0) + 1
    assert len(times) == 6
    assert all(900 < each < 1100 for each in times.values())
