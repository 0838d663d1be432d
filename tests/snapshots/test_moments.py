"""The moments of a run, as text."""

from __future__ import annotations

import pytest

from tinyheap.errors import SnapshotError
from tinyheap.snapshots import Moment, MomentKind


@pytest.mark.parametrize(
    ("text", "moment", "said"),
    [
        ("end", Moment(MomentKind.END), "the end"),
        ("peak", Moment(MomentKind.PEAK), "the peak"),
        ("trap", Moment(MomentKind.TRAP), "the trap"),
        ("allocation:12345", Moment(MomentKind.ALLOCATION, 12345), "allocation 12,345"),
        ("collection:1", Moment(MomentKind.COLLECTION, 1), "collection 1"),
        ("call:7", Moment(MomentKind.CALL, 7), "call 7"),
    ],
)
def test_moments_are_named(text: str, moment: Moment, said: str) -> None:
    assert Moment.parse(text) == moment
    assert str(moment) == said


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "noon",
        "end:1",
        "call",
        "call:",
        "call:0",
        "call:-1",
        "call:x",
        "call:1:2",
        "Call:1",
        "call:" + "9" * 19,
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(SnapshotError, match=r"invalid moment .*: expected end, peak, trap, allocation:N"):
        Moment.parse(text)
