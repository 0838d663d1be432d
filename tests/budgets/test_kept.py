"""A baseline that is the JSON of an earlier run is that run; whatever else is given for one is refused with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from small_recordings import Rows, opened, recordings, requests
from tinyheap.budgets import Budget, CheckVerdict, KeptMeasurements, Quantity, check, measure
from tinyheap.budgets.kept import MOST_BYTES
from tinyheap.errors import BudgetError
from tinyheap.report.exports.checks_json import checks_json

RUN = {
    "exit_code": 0,
    "error": None,
    "memory_bytes": 3 * 65536,
    "heap": {"allocations": 7, "pause_ns": 30, "longest_pause_ns": 20, "peak_bytes": 4096},
}
CHECK = {"quantity": "pages", "unit": "count", "measured": 6, "precision": "", "unknown": None}


def written(rows: Rows, budget: Budget) -> bytes:
    """What `tinyheap check --json` prints."""
    with opened(rows) as recording:
        limited = {each.quantity for each in budget.limits}
        others = measure(recording, [each for each in Quantity if each not in limited], after=budget.after)
        return json.dumps(checks_json(check(recording, budget), others)).encode()


@settings(max_examples=20)
@given(recordings(), st.sampled_from([b"", b"peak = 1", b"pages = 1\nallocations = 3\ncollector-time = '1 s'"]))
@pytest.mark.slow
def test_what_check_wrote_is_what_was_measured(rows: Rows, limits: bytes) -> None:
    kept = KeptMeasurements.from_json(written(rows, Budget.from_toml(limits)))
    with opened(rows) as recording:
        measured = measure(recording)
    assert [(each.quantity, each.value, each.precision, each.unknown) for each in kept.measure(Quantity)] == [
        (each.quantity, each.value, each.precision, each.unknown) for each in measured
    ]
    assert not any(each.sites for each in kept.measure(Quantity))


def test_it_is_a_baseline(tmp_path: Path) -> None:
    (tmp_path / "before.json").write_bytes(written(requests(), Budget()))
    budget = Budget.from_toml(
        b'baseline = "before.json"\nallocations = "0 %"\ngrowth-per-call = "0 %"', folder=tmp_path
    )
    with opened(requests()) as same, opened(requests(leak_from=21)) as worse:
        assert check(same, budget).passed
        assert {each.verdict for each in check(worse, budget).checks} == {CheckVerdict.OVER}


def test_growth_is_of_the_same_calls() -> None:
    kept = KeptMeasurements.from_json(written(requests(), Budget(after=5)))
    (same,), (other,) = (kept.measure([Quantity.GROWTH_PER_CALL], after=after) for after in (5, 0))
    assert (same.value, same.unknown) == (0, None)
    assert (other.value, other.unknown) == (None, "it is of the calls after the first 5, and not 0")
    assert kept.measure([Quantity.ALLOCATIONS], after=0)[0].value is not None


def test_what_was_not_measured_is_unknown() -> None:
    kept = KeptMeasurements.from_json(json.dumps({"checks": [CHECK]}).encode())
    assert [each.value for each in kept.measure([Quantity.PAGES, Quantity.PEAK])] == [6, None]
    assert kept.measure([Quantity.PEAK])[0].unknown == "it was not measured in that run"


def test_of_the_summary_of_a_run_that_is_taken_which_means_the_same() -> None:
    kept = KeptMeasurements.from_json(json.dumps(RUN).encode())
    assert {each.quantity: each.value for each in kept.measure(Quantity) if each.value is not None} == {
        Quantity.PAGES: 3,
        Quantity.ALLOCATIONS: 7,
        Quantity.LONGEST_PAUSE: 20,
        Quantity.COLLECTOR_TIME: 30,
    }
    (peak,) = kept.measure([Quantity.PEAK])
    assert "counts whole blocks" in str(peak.unknown)
    unseen = KeptMeasurements.from_json(json.dumps(RUN | {"heap": None, "memory_bytes": None, "exit_code": 3}).encode())
    assert unseen.failure == "the program ended with exit code 3"
    assert [each.value for each in unseen.measure(Quantity)] == [None] * len(Quantity)


def of_check(**changed: Any) -> str:  # noqa: ANN401 - whatever somebody wrote
    return json.dumps({"checks": [CHECK | changed]})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "before.json: invalid JSON: Expecting value: line 1"),
        ("[" * 100_000, "before.json: invalid JSON: "),
        ('{"checks": [' + "9" * 5000 + "]}", "before.json: invalid JSON: "),
        ("{}", "before.json: is not the JSON of a run: expected what `tinyheap check --json`"),
        ("[]", "is not the JSON of a run"),
        ('{"checks": {}}', "invalid checks {}: expected a list"),
        ('{"checks": [3]}', "invalid checks[0] 3: expected an object"),
        ('{"checks": [], "others": 1}', "invalid others 1: expected a list"),
        ('{"checks": [], "failure": 1}', "invalid failure 1: expected a text or null"),
        ('{"checks": [], "after_calls": -1}', "invalid after_calls -1: expected a number, 0 or more"),
        ('{"checks": [], "after_calls": 1.5}', "invalid after_calls 1.5: expected a whole number"),
        (of_check(quantity="peek"), "invalid checks[0].quantity 'peek': expected peak, live-at-end, "),
        (of_check(quantity=[]), "invalid checks[0].quantity []"),
        (of_check(unit="bytes"), "invalid checks[0].unit 'bytes': expected 'count', which pages is in"),
        (of_check(precision="exactly"), "invalid checks[0].precision 'exactly': expected 'at most', 'about'"),
        (of_check(precision=[]), "invalid checks[0].precision []"),
        (of_check(measured="6"), "invalid checks[0].measured '6': expected a number, 0 or more"),
        (of_check(measured=True), "invalid checks[0].measured True"),
        (of_check(measured=-1), "invalid checks[0].measured -1"),
        (of_check(measured=10**30), "invalid checks[0].measured 1000000000000000000000000000000"),
        (of_check(measured=float("nan")), "invalid checks[0].measured nan"),
        (of_check(measured=float("inf")), "invalid checks[0].measured inf"),
        (of_check(measured=None), "invalid checks[0].measured None: expected a number, or in `unknown` why"),
        (of_check(measured="x" * 1000), f"invalid checks[0].measured '{'x' * 59}...: expected"),
        (
            json.dumps({"checks": [CHECK], "others": [CHECK]}),
            "invalid others[0].quantity 'pages': expected each quantity once",
        ),
        (json.dumps(RUN | {"heap": []}), "invalid heap []: expected an object"),
        (json.dumps(RUN | {"heap": {}}), "invalid heap.allocations None: expected a whole number"),
        (json.dumps(RUN | {"memory_bytes": "1"}), "invalid memory_bytes '1'"),
        (json.dumps(RUN | {"error": 1}), "invalid error 1: expected a text or null"),
    ],
    ids=lambda each: each[-30:],
)
def test_what_is_no_baseline_is_refused_with_its_place(text: str, why: str) -> None:
    with pytest.raises(BudgetError) as caught:
        KeptMeasurements.from_json(text.encode(), "before.json")
    assert f"baseline {why}" in str(caught.value) or f"baseline before.json: {why}" in str(caught.value)


def test_bytes_that_are_no_text_and_files_that_are_large_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="invalid text at byte 1: expected JSON in UTF-8"):
        KeptMeasurements.from_json(b"{\xff")
    with (tmp_path / "zeros").open("wb") as file:
        file.truncate(100 * MOST_BYTES)
    with pytest.raises(BudgetError, match=r"zeros: is larger than 64 MiB"):
        KeptMeasurements.read(tmp_path / "zeros")
    with pytest.raises(BudgetError, match=r"nowhere: No such file"):
        KeptMeasurements.read(tmp_path / "nowhere")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([*Quantity, "bytes"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*RUN, *CHECK, "checks", "others", "allocations"]), inner, max_size=4)
    ),
)


@settings(max_examples=200)
@given(JSON)
def test_any_json_is_taken_or_refused(value: object) -> None:
    try:
        kept = KeptMeasurements.from_json(json.dumps(value).encode())
    except BudgetError:
        return
    assert len(kept.measure(Quantity)) == len(Quantity)
