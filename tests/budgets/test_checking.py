"""What is measured is what plain loops over the rows give; and what is over, or not known, does not pass."""

from __future__ import annotations

import tomllib
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import needs
import project_files
from recordings_made import make_recording
from small_recordings import Birth, Rows, opened, recordings, requests
from tinyheap.budgets import Budget, BudgetLimit, CheckVerdict, Measurement, Quantity, budget_of, check, measure
from tinyheap.budgets.measuring import MOST_SITES
from tinyheap.errors import BudgetError
from tinyheap.profile.stacks import StackTree
from tinyheap.recordings.recording import Recording
from tinyheap.recordings.row_types import MemoryGrowthRow, MemoryRow

EXAMPLE = project_files.ROOT / "examples" / "gofmt.tinyheap"


def moments(rows: Rows) -> list[list[Birth]]:
    """What lived when each collection began, and at the end."""
    bounds = [(each.number, each.last_event_id) for each in rows.collections]
    bounds.append((len(rows.collections) + 1, rows.events))
    return [
        [each for each in rows.births if each.event_id <= last and (each.death is None or each.death >= number)]
        for number, last in bounds
    ]


def size_of(births: list[Birth]) -> int:
    return sum(each.size_bytes for each in births)


def by_site(recording: Recording, births: list[Birth], *, counts: bool = False) -> dict[object, float]:
    """What of some objects each site has, in bytes or objects; those without any weight apart."""
    sites, found = StackTree.of(recording).sites(), Counter[object]()
    for each in births:
        found[sites[each.stack_id]] += 1 if counts else each.size_bytes
    return {site: amount for site, amount in found.items() if amount}


def shares(measurement: Measurement) -> dict[object, float]:
    return {each.site: each.amount for each in measurement.sites}


@settings(max_examples=12 if needs.IN_CI else 4)
@given(recordings())
def test_memory_and_pauses_are_those_of_a_plain_loop(rows: Rows) -> None:
    with opened(rows) as recording:
        found = {each.quantity: each for each in measure(recording)}
        lived = moments(rows)
        peak = max(lived, key=size_of)
        assert found[Quantity.PEAK].value == size_of(peak)
        assert shares(found[Quantity.PEAK]) == by_site(recording, peak)
        assert found[Quantity.LIVE_AT_END].value == size_of(lived[-1])
        assert shares(found[Quantity.LIVE_AT_END]) == by_site(recording, lived[-1])
        assert found[Quantity.ALLOCATIONS].value == len(rows.births)
        assert shares(found[Quantity.ALLOCATIONS]) == by_site(recording, rows.births, counts=True)
        pauses = [each.pause_ns for each in rows.collections]
        assert found[Quantity.LONGEST_PAUSE].value == max(pauses, default=0)
        assert found[Quantity.COLLECTOR_TIME].value == sum(pauses)
        if pauses:
            assert shares(found[Quantity.LONGEST_PAUSE]) == by_site(recording, lived[pauses.index(max(pauses))])
            assert shares(found[Quantity.COLLECTOR_TIME]) == by_site(recording, rows.births)
    for each in found.values():
        assert len(each.sites) <= MOST_SITES
        assert [*each.sites] == sorted(each.sites, key=lambda site: -site.amount)
        assert sum(site.share for site in each.sites) == pytest.approx(1) or not each.sites


def value(rows: Rows, quantity: Quantity, after: int = 0) -> Measurement:
    with opened(rows) as recording:
        (found,) = measure(recording, [quantity], after=after)
    return found


def test_calls_have_garbage_and_growth() -> None:
    flat, leaking = requests(), requests(leak_from=21)
    assert value(flat, Quantity.GARBAGE_PER_CALL).value == 100
    assert value(flat, Quantity.GROWTH_PER_CALL).value == 0
    growth = value(leaking, Quantity.GROWTH_PER_CALL)
    assert growth.value == 128
    assert [(each.site.function, each.amount, each.share) for each in growth.sites] == [("main.alloc", 128, 1)]
    garbage = value(leaking, Quantity.GARBAGE_PER_CALL, after=30)
    assert {each.site.function: each.amount for each in garbage.sites} == {"main.parse": 100, "main.alloc": 128}


def test_too_few_collections_say_how_many_there_must_be() -> None:
    found = value(requests(calls=60, collect_every=20), Quantity.GROWTH_PER_CALL)
    assert found.value is None
    assert found.unknown == (
        "too few collections to tell: it takes 10 calls with one before the next, and of all (60) there are 3; a collection at "
        "every 3 allocations makes enough (gc every)"
    )
    behind = value(requests(), Quantity.GROWTH_PER_CALL, after=50)
    assert "there are 5 behind the first 50" in str(behind.unknown)
    none = value(requests(calls=0), Quantity.GROWTH_PER_CALL, after=20)
    assert none.unknown == "none of the functions of the program was called from outside"


def test_pages_are_those_at_the_end_and_of_whoever_had_memory_grow() -> None:
    rows = Rows(memories=[MemoryRow(2, None, None)])
    one, two = rows.path("main.main", "main.load"), rows.path("main.main", "main.parse")
    rows.allocate(10, one)
    for stack_id, old, new, refused_by in ((one, 2, 3, None), (two, 3, 6, None), (two, 6, 6, "limit")):
        rows.memory_growths.append(MemoryGrowthRow(0, 1, "program", old, 9, new, refused_by, stack_id))
    found = value(rows, Quantity.PAGES)
    assert found.value == 6
    assert [(each.site.function, each.amount) for each in found.sites] == [
        ("main.parse", 3 * 65536),
        ("main.load", 65536),
    ]


def test_what_deaths_were_inferred_for_is_at_most_and_a_sample_is_about() -> None:
    rows = requests()
    rows.source = "injected"
    assert value(rows, Quantity.PEAK).precision == "at most"
    assert value(rows, Quantity.ALLOCATIONS).precision == ""
    assert value(rows, Quantity.LONGEST_PAUSE).value is None
    rows = requests()
    rows.sample_bytes = 10
    assert value(rows, Quantity.PEAK).precision == value(rows, Quantity.ALLOCATIONS).precision == "about"
    assert value(rows, Quantity.LONGEST_PAUSE).precision == ""


# ---- checks -----------------------------------------------------------------------------------------------------------


def verdict(rows: Rows, quantity: Quantity, most: int) -> CheckVerdict:
    with opened(rows) as recording:
        (found,) = check(recording, Budget((BudgetLimit(quantity, most),))).checks
    return found.verdict


@settings(max_examples=12 if needs.IN_CI else 4)
@given(recordings(), st.sampled_from([Quantity.PEAK, Quantity.ALLOCATIONS, Quantity.COLLECTOR_TIME]))
def test_as_much_as_is_allowed_is_within_and_one_more_is_over(rows: Rows, quantity: Quantity) -> None:
    measured = value(rows, quantity).value
    assert measured is not None
    assert verdict(rows, quantity, int(measured)) is CheckVerdict.WITHIN
    if measured:
        assert verdict(rows, quantity, int(measured) - 1) is CheckVerdict.OVER


def test_what_is_not_known_does_not_pass() -> None:
    with opened(requests(calls=5)) as recording:
        found = check(
            recording, Budget((BudgetLimit(Quantity.GROWTH_PER_CALL, 10**9), BudgetLimit(Quantity.PAGES, 10)))
        )
    assert [each.verdict for each in found.checks] == [CheckVerdict.UNKNOWN, CheckVerdict.UNKNOWN]
    assert [each.excess for each in found.checks] == [None, None]
    assert not found.passed


def test_percentages_are_of_the_baseline() -> None:
    budget = Budget(
        tuple(BudgetLimit(Quantity.ALLOCATIONS, tolerance=Fraction(each, 100)) for each in (0, 99, 100, 1000))
    )
    with opened(requests(calls=59)) as before, opened(requests(calls=119)) as after:
        found = check(after, budget, before)
    assert [each.verdict for each in found.checks] == [
        CheckVerdict.OVER,
        CheckVerdict.OVER,
        CheckVerdict.WITHIN,
        CheckVerdict.WITHIN,
    ]
    assert [each.most for each in found.checks] == [60, 119.4, 120, 660]
    assert found.checks[0].excess == 60
    assert found.checks[0].baseline is not None


def test_a_baseline_that_does_not_know_is_said() -> None:
    with opened(requests(calls=5)) as before, opened(requests()) as after:
        found = check(after, Budget((BudgetLimit(Quantity.GROWTH_PER_CALL, tolerance=Fraction(1)),)), before)
    assert found.checks[0].verdict is CheckVerdict.UNKNOWN
    assert str(found.checks[0].unknown).startswith("in the baseline: too few collections")


def test_the_baseline_that_the_budget_names_is_opened() -> None:
    limits = (BudgetLimit(Quantity.ALLOCATIONS, tolerance=Fraction(0)),)
    with Recording.open(EXAMPLE) as recording:
        assert check(recording, Budget(limits, baseline=EXAMPLE)).passed
        with pytest.raises(BudgetError, match="allocations is a percentage, and there is no baseline"):
            check(recording, Budget(limits))
        with pytest.raises(BudgetError, match="baseline nowhere: No such file"):
            check(recording, Budget(limits, baseline=Path("nowhere")))


def test_a_baseline_that_is_a_module_has_to_be_run_first(tmp_path: Path) -> None:
    (tmp_path / "app.wasm").write_bytes(b"\0asm\1\0\0\0")
    limits = (BudgetLimit(Quantity.ALLOCATIONS, tolerance=Fraction(0)),)
    with (
        opened(requests()) as recording,
        pytest.raises(BudgetError, match=r"app\.wasm: is a module, and is run only where"),
    ):
        check(recording, Budget(limits, baseline=tmp_path / "app.wasm"))


def test_a_run_that_did_not_pass_is_within_no_budget() -> None:
    with opened(requests()) as recording:
        assert check(recording, Budget()).passed
        for run, why in (
            (replace(recording.run, exit_code=7), "the program ended with exit code 7"),
            (replace(recording.run, error="trapped"), "trapped"),
            (
                replace(recording.run, state="running"),
                "small.tinyheap: its writer was cut short: holds everything up to",
            ),
        ):
            found = check(Recording(recording.path, recording.connection, run), Budget())
            assert not found.passed
            assert str(found.failure).startswith(why)


# ---- making -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("margin", [Fraction(0), Fraction(1, 10), Fraction(3)])
@pytest.mark.slow
def test_a_run_is_within_the_budget_that_was_made_of_it(margin: Fraction, tmp_path: Path) -> None:
    path = make_recording(tmp_path / "made.tinyheap", events=1000)
    with Recording.open(path) as recording:
        text = budget_of(recording, margin)
        budget = Budget.from_toml(text.encode())
        assert check(recording, budget).passed
        known = {each.quantity: each.value for each in measure(recording) if each.value is not None}
    assert {each.quantity for each in budget.limits} == {each for each in known if not each.is_duration}
    for limit in budget.limits:
        assert limit.most is not None
        assert known[limit.quantity] * (1 + margin) <= limit.most <= known[limit.quantity] * (1 + margin) * 1.0101 + 1


def test_what_has_no_limit_in_a_made_budget_is_a_comment() -> None:
    with opened(requests(calls=5)) as recording:
        text = budget_of(recording, after=3)
    assert text.splitlines()[0] == "# What a run of 'small.wasm' took, and 10 % more."
    assert set(tomllib.loads(text)) == {"after-calls", "peak", "live-at-end", "allocations"}
    assert "# growth-per-call: too few collections to tell" in text
    assert '# longest-pause = "6 ns"  # durations differ from run to run' in text


def test_a_module_whose_name_is_odd_is_named_in_a_comment() -> None:
    with opened(requests()) as recording:
        run = replace(recording.run, module='a\npeak = 1\x00"')
        text = budget_of(Recording(recording.path, recording.connection, run))
    assert tomllib.loads(text)["peak"] != 1
