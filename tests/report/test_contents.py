"""The data of the HTML page has each column and each fact of `contents`, whatever is known of the run."""

from __future__ import annotations

import pytest

from small_recordings import Rows, opened
from tinyheap.report.html import contents
from tinyheap.report.html.data import page_data

DECLARED = {f"{table}.{column}" for table, columns in contents.COLUMNS.items() for column in columns}


def weights(*whats: str) -> set[str]:
    return {f"weight.{what}_{measure.unit}" for what in whats for measure in contents.WEIGHTS[what]}


@pytest.mark.parametrize(
    ("source", "whats"),
    [
        ("kernel", tuple(contents.WEIGHTS)),
        ("injected", ("allocated", "peak", "end")),
        ("unseen", ()),
    ],
)
@pytest.mark.share(1)
def test_the_columns_are_those_that_are_declared(source: str, whats: tuple[str, ...]) -> None:
    rows = Rows(source=source)
    rows.allocate(48, rows.path("main.main", "runtime.alloc"))
    if source == "kernel":
        rows.collect(rows.allocate(16))
        rows.sample(4096)
    with opened(rows) as recording:
        data = page_data(recording)
    assert set(data.summary_columns) == DECLARED | weights(*whats)
    assert tuple(data.object_columns) == contents.OBJECT_COLUMNS
    assert set(data.summary) == set(contents.Summary.__annotations__)
    assert set(data.summary["run"]) == set(contents.Run.__annotations__)
    assert tuple(data.summary["totals"]) == contents.TOTALS
