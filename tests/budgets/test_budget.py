"""Budget files: what they say, and what is refused, with the line."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyheap.budgets import Budget, BudgetLimit, Quantity, Unit
from tinyheap.errors import BudgetError, InputError, InvalidDurationError
from tinyheap.units import KIB, MIB, parse_duration

WHOLE = """
# A budget of everything.
baseline = "runs/before.tinyheap"
after-calls = 20
peak = "512 KiB"
live-at-end = 65536
pages = 6
allocations = "5 %"
garbage-per-call = "+2.5%"
growth-per-call = "0 B"
longest-pause = "5 ms"
collector-time = "1.5s"
"""


def test_all_that_a_budget_can_say(tmp_path: Path) -> None:
    (tmp_path / "heap.toml").write_text(WHOLE)
    budget = Budget.read(tmp_path / "heap.toml")
    assert (budget.after, budget.baseline) == (20, tmp_path / "runs" / "before.tinyheap")
    assert budget.limits == (
        BudgetLimit(Quantity.PEAK, 512 * KIB),
        BudgetLimit(Quantity.LIVE_AT_END, 64 * KIB),
        BudgetLimit(Quantity.PAGES, 6),
        BudgetLimit(Quantity.ALLOCATIONS, tolerance=Fraction(1, 20)),
        BudgetLimit(Quantity.GARBAGE_PER_CALL, tolerance=Fraction(1, 40)),
        BudgetLimit(Quantity.GROWTH_PER_CALL, 0),
        BudgetLimit(Quantity.LONGEST_PAUSE, 5_000_000),
        BudgetLimit(Quantity.COLLECTOR_TIME, 1_500_000_000),
    )
    assert {each.quantity for each in budget.limits} == set(Quantity)


def test_an_empty_budget_limits_nothing() -> None:
    assert Budget.from_toml(b"") == Budget()


def test_a_percentage_is_exact() -> None:
    limit = BudgetLimit(Quantity.ALLOCATIONS, tolerance=Fraction(1, 20))
    assert limit.most_for(1000) == 1050
    assert limit.most_for(0) == 0
    assert limit.most_for(None) is None
    assert BudgetLimit(Quantity.PAGES, 6).most_for(None) == 6


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("\npeek = 1", "heap.toml, line 2: invalid key 'peek': expected baseline, after-calls, peak, "),
        ("peek = 1", "did you mean peak?"),
        ("[peak]\nmost = 1", "heap.toml, line 1: peak: invalid size \"{'most': 1}\""),
        ("[limits]\npeak = 1", "heap.toml, line 1: invalid key 'limits'"),
        ("a = 1\npeak = '5 KB'", "heap.toml, line 1: invalid key 'a'"),
        ("pages = 3\npeak = '5 KB'", "heap.toml, line 2: peak: invalid size '5 KB': expected a number and a unit"),
        ("peak = 1.5", "peak: invalid size '1.5'"),
        ("peak = true", "peak: invalid size 'True'"),
        ("peak = -1", "peak: invalid size '-1'"),
        ("peak = '99999999999 GiB'", "peak: invalid size '99999999999 GiB'"),
        ("pages = '3 KiB'", "pages: invalid number '3 KiB': expected a whole number, 0 or more"),
        ("pages = 99999999999999999999", "pages: invalid number 99999999999999999999"),
        ("pages = []", "pages: invalid number []"),
        ("longest-pause = 5", "longest-pause: invalid duration '5': expected a number and a unit, such as 800us"),
        ("longest-pause = '5 min'", "longest-pause: invalid duration '5 min'"),
        ("peak = '5 percent %'", "peak: invalid percentage '5 percent %': expected 0 % to 1000000 %"),
        ("peak = '-5 %'", "peak: invalid percentage '-5 %'"),
        ("peak = '1000001 %'", "peak: invalid percentage '1000001 %'"),
        ("after-calls = -1", "heap.toml, line 1: after-calls: invalid number -1"),
        ("baseline = 3", "heap.toml, line 1: invalid baseline 3: expected the name of a file"),
        ("baseline = ''", "invalid baseline ''"),
        ("baseline = 'a\\u0000'".replace("'", '"'), "invalid baseline 'a\\x00'"),
        ("peak = ", "heap.toml: invalid TOML: "),
        ("peak = 1\npeak = 2", "heap.toml: invalid TOML: Cannot overwrite a value"),
        ("x = " + "[" * 100_000, "heap.toml: invalid TOML: "),
        ("x = " + "9" * 5000, "heap.toml: invalid TOML: "),
    ],
    ids=lambda each: each[:25],
)
def test_what_is_no_budget_is_refused_with_its_place(text: str, why: str) -> None:
    with pytest.raises(BudgetError) as caught:
        Budget.from_toml(text.encode(), "heap.toml")
    assert why in str(caught.value)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(BudgetError, match=r"heap.toml: invalid text at byte 2: expected UTF-8"):
        Budget.from_toml(b"a \xff", "heap.toml")


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        Budget.read(tmp_path / "nowhere")


@given(st.sampled_from(Unit), st.floats(0, 1e15))
def test_what_is_written_is_read_as_no_less_and_hardly_more(unit: Unit, value: float) -> None:
    written = unit.written(value)
    ((_, read),) = (
        (each.quantity, each.most) for each in Budget.from_toml(f"{_key(unit)} = {written}".encode()).limits
    )
    assert read is not None
    assert value <= read <= max(value + 1, value * 1.0101)


def _key(unit: Unit) -> Quantity:
    return next(each for each in Quantity if each.unit is unit)


@pytest.mark.parametrize(
    ("text", "duration_ns"), [("0 ns", 0), ("5ms", 5_000_000), ("1.5 us", 1500), (" 2 s ", 2_000_000_000)]
)
def test_durations_are_read(text: str, duration_ns: int) -> None:
    assert parse_duration(text) == duration_ns


@pytest.mark.parametrize("text", ["", "5", "ms", "-1 ms", "5 m", "1.5 ns", "1e3 ms", "9" * 19 + " s", "٣ ms", "5  ms"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidDurationError, match="invalid duration"):
        parse_duration(text)


def test_sizes_in_a_budget_are_those_of_the_commands() -> None:
    (limit,) = Budget.from_toml(b"peak = '16m'").limits
    assert limit.most == 16 * MIB
