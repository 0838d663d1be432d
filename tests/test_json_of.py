"""Results as JSON: each kind of value in one way, as JSON parsers accept it."""

import json
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pytest

from tinyheap.errors import InvalidTypeError
from tinyheap.heap import Gc, State
from tinyheap.json_of import json_of
from tinyheap.profile import Unknown


class Pair(NamedTuple):
    first: object
    second: object


@dataclass(frozen=True, slots=True)
class Result:
    gc: Gc
    pairs: tuple[Pair, ...]
    share: float


NAN = float("nan")
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678, UTC)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: None, "null"),
        (lambda: True, "true"),
        (lambda: 2**64, "18446744073709551616"),
        (lambda: 'a"\n\N{EURO SIGN}', '"a\\"\\n\\u20ac"'),
        (lambda: 0.1, "0.1"),
        (lambda: [NAN, float("inf"), -float("inf")], "[null, null, null]"),
        (lambda: Gc.PRECISE, '"precise"'),
        (lambda: State.TAIL, "2"),
        (lambda: b"\x00\xff", '"00ff"'),
        (lambda: MOMENT, '"2026-01-02T03:04:05.000678+00:00"'),
        (lambda: {1: (1, 2), "b": MappingProxyType({"c": []})}, '{"1": [1, 2], "b": {"c": []}}'),
        (lambda: Pair(1, Pair(b"\x01", None)), '{"first": 1, "second": {"first": "01", "second": null}}'),
        (lambda: Result(Gc.LEAKING, (Pair(1, 2),), NAN),
         '{"gc": "leaking", "pairs": [{"first": 1, "second": 2}], "share": null}'),
        (lambda: (np.uint64(2**63), np.float64(NAN), np.float32(0.5), np.bool_(True)),
         "[9223372036854775808, null, 0.5, true]"),
        (lambda: np.array([[1.5, NAN]]), "[[1.5, null]]"),
        (lambda: array("q", [-1, 2]), "[-1, 2]"),
        (lambda: (Unknown("it was not seen"), 1), "[null, 1]"),
    ],
)  # fmt: skip
def test_each_kind_of_value_has_one_form(make: Callable[[], object], expected: str) -> None:
    found = json_of(make())
    assert json.dumps(found, allow_nan=False) == expected
    # It is plain JSON already, which stays as it is.
    assert json_of(found) == found


@pytest.mark.parametrize("value", [object(), Result, {1, 2}, 1j])
def test_what_has_no_form_is_refused(value: object) -> None:
    with pytest.raises(InvalidTypeError, match="cannot be written as JSON"):
        json_of([value])
