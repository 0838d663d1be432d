"""Results of the lab as rows and data frames say what the results say."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from tinyheap.errors import ConditionError
from tinyheap.heap.collectors import Collector
from tinyheap.lab import Condition, Edge, Fit, Fits, Limit, Outcome, Subject, Sweep, fit_trace
from tinyheap.traces.trace import TraceBuilder
from tinyheap.units import KIB

CONDITIONS = [
    Condition.of({"growth": "double", "heap-limit": "64KiB"}),
    Condition.of({"gc-every": 3}),
    Condition.of({"module": "a b.wasm", "clear-blocks": "yes"}),
]
SWEEP = Sweep(
    Subject(Path("app.wasm")),
    (
        Outcome(str(CONDITIONS[0]), 1, "finished", (), 0, "x", 10, memory_steps_pages=(1, 2), fragmentation=0.25),
        Outcome(str(CONDITIONS[1]), 1, "finished", (), 0, "y"),
        Outcome(str(CONDITIONS[2]), 1, "out of memory", ("asked for", "'quotes'"), 137, None),
    ),
    (),
)


def column(sweep: Sweep, name: str) -> list[object]:
    rows = sweep.frame()
    place = rows.columns.index(name)
    return [row[place] for row in rows]


def test_a_sweep_has_a_row_for_each_outcome_with_all_that_it_says() -> None:
    names = SWEEP.frame().columns
    assert names[: len(fields(Outcome))] == tuple(each.name for each in fields(Outcome))
    for name in (each.name for each in fields(Outcome)):
        said = [getattr(each, name) for each in SWEEP.outcomes]
        assert column(SWEEP, name) == [list(each) if isinstance(each, tuple) else each for each in said]
    assert column(SWEEP, "passed") == [True, True, False]
    assert column(SWEEP, "changes_output") == [False, True, False]


def test_what_conditions_choose_are_columns_of_their_types() -> None:
    rows = SWEEP.frame()
    chosen = dict(zip(rows.columns, rows.types, strict=True))
    assert list(chosen)[-5:] == ["growth", "heap_limit", "gc_every", "clear_blocks", "module"]
    assert (chosen["growth"], chosen["heap_limit"], chosen["gc_every"]) == ("VARCHAR", "BIGINT", "BIGINT")
    assert column(SWEEP, "heap_limit") == [65536, None, None]
    assert column(SWEEP, "gc_every") == [None, 3, None]
    assert column(SWEEP, "module") == [None, None, "a b.wasm"]
    assert column(SWEEP, "clear_blocks") == [None, None, "yes"]


def test_no_outcome_is_no_row() -> None:
    assert len(Sweep(Subject(Path("app.wasm")), (), ()).frame()) == len(Fits().frame()) == 0


def test_a_condition_that_is_none_is_an_error() -> None:
    outcome = Outcome("nonsense=1", 1, "finished", (), 0, None)
    with pytest.raises(ConditionError, match="invalid dimension 'nonsense'"):
        Sweep(Subject(Path("app.wasm")), (outcome,), ()).frame()


def test_what_fit_finds_is_a_tuple_and_rows() -> None:
    made = TraceBuilder(4 * KIB)
    made.root(0, made.alloc(512))
    found = fit_trace(made.build(), [Collector.NEXT_FIT, Collector.BEST_FIT_BACK])
    assert [each.condition for each in found[:2]] == ["next-fit conservative", "best-fit-back conservative"]
    rows = found.frame()
    assert rows.columns == (
        "condition", "limit", "unit_bytes", "smallest_bytes", "obstacle", "smallest", "safe_from", "failing_above", "tried",
    )  # fmt: skip
    for each, row in zip(found, rows, strict=True):
        assert row[:4] == (each.condition, "heap", 16, each.smallest_bytes)
        assert row[4:] == (list(each.obstacle), each.edge.smallest, each.edge.safe_from, [], list(each.edge.tried))


def test_data_frames_of_each_library_say_the_same() -> None:
    for library in ("pandas", "polars", "pyarrow"):
        pytest.importorskip(library)
    edge = Edge(None, None, (), (1, 2))
    for rows in SWEEP.frame(), Fits([Fit("default", Limit.HEAP, 65536, edge, None, ("why",))]).frame():
        assert list(rows.pandas()["condition"]) == list(rows.polars()["condition"])
        assert rows.arrow()["condition"].to_pylist() == list(rows.numpy()["condition"]) == [row[0] for row in rows]
