"""Dominators, retained sizes and shortest paths on random graphs: against rustworkx, and against what the words mean."""

from __future__ import annotations

from itertools import chain
from typing import Final, NamedTuple

import numpy as np
import pytest
import rustworkx
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tinyheap.inspect import _reach, graph_model

NONE: Final = graph_model.NONE
ROOTS: Final = graph_model.ROOTS
engines = pytest.mark.parametrize("engine", [_reach, graph_model], ids=["kernel", "model"])


class Rows(NamedTuple):
    starts: NDArray[np.uint32]
    targets: NDArray[np.uint32]
    roots: NDArray[np.uint32]

    @property
    def objects(self) -> int:
        return len(self.starts) - 1

    def successors(self, holder: int) -> list[int]:
        found: list[int] = self.targets[self.starts[holder] : self.starts[holder + 1]].tolist()
        return found

    def reached(self, without: int | None = None) -> set[int]:
        """What is reached from the roots where one object is not there."""
        found: set[int] = set()
        todo = self.roots.tolist()
        while todo:
            each = todo.pop()
            if each not in (NONE, without) and each not in found:
                found.add(each)
                todo += self.successors(each)
        return found


def rows_of(edges: list[list[int]], roots: list[int]) -> Rows:
    starts = np.cumsum([0, *map(len, edges)]).astype(np.uint32)
    return Rows(starts, np.array(list(chain(*edges)), np.uint32), np.array(roots, np.uint32))


@st.composite
def graphs(draw: st.DrawFn, most: int = 30) -> Rows:
    objects = draw(st.integers(1, most))
    one = st.integers(0, objects - 1)
    edges = draw(st.lists(st.lists(one, max_size=3), min_size=objects, max_size=objects))
    return rows_of(edges, draw(st.lists(st.one_of(one, st.just(NONE)), max_size=3)))


class Dominated(NamedTuple):
    reached: int
    dominator: list[int]
    retained_objects: list[int]
    retained_blocks: list[int]


def dominate(engine: object, rows: Rows, blocks: NDArray[np.uint32]) -> Dominated:
    dominator, objects = (np.zeros(rows.objects, np.uint32) for _ in range(2))
    total = np.zeros(rows.objects, np.uint64)
    reached = engine.dominate(*rows, blocks, dominator, objects, total)  # type: ignore[attr-defined]
    return Dominated(reached, dominator.tolist(), objects.tolist(), total.tolist())


@engines
@pytest.mark.property
@given(rows=graphs())
def test_retained_is_what_nothing_reaches_without_the_object(engine: object, rows: Rows) -> None:
    blocks = np.arange(1, rows.objects + 1, dtype=np.uint32)
    found = dominate(engine, rows, blocks)
    reached = rows.reached()
    assert found.reached == len(reached)
    for each in range(rows.objects):
        lost = reached - rows.reached(without=each) if each in reached else set()
        assert found.retained_objects[each] == len(lost)
        assert found.retained_blocks[each] == sum(int(blocks[other]) for other in lost)


@engines
@pytest.mark.property
@given(rows=graphs(most=60))
def test_dominators_are_those_of_rustworkx(engine: object, rows: Rows) -> None:
    graph: rustworkx.PyDiGraph[None, None] = rustworkx.PyDiGraph()
    graph.add_nodes_from([None] * (rows.objects + 1))
    graph.add_edges_from_no_data([(rows.objects, each) for each in rows.roots.tolist() if each != NONE])
    graph.add_edges_from_no_data([(holder, each) for holder in range(rows.objects) for each in rows.successors(holder)])
    theirs = rustworkx.immediate_dominators(graph, rows.objects)
    names = {rows.objects: ROOTS}
    expected = [names.get(theirs[each], theirs[each]) if each in theirs else NONE for each in range(rows.objects)]
    assert dominate(engine, rows, np.ones(rows.objects, np.uint32)).dominator == expected


@engines
@pytest.mark.property
@given(rows=graphs())
def test_paths_are_shortest(engine: object, rows: Rows) -> None:
    distance, step = (np.zeros(rows.objects, np.uint32) for _ in range(2))
    reached = engine.shortest(*rows, distance, step)  # type: ignore[attr-defined]
    expected = {each: 0 for each in rows.roots.tolist() if each != NONE}
    todo = list(expected)
    for each in todo:
        new = {target: expected[each] + 1 for target in rows.successors(each) if target not in expected}
        expected |= new
        todo += new
    assert reached == len(expected)
    assert distance.tolist() == [expected.get(each, NONE) for each in range(rows.objects)]
    for each, length in expected.items():
        last = int(step[each])
        if length == 0:
            assert int(rows.roots[last - len(rows.targets)]) == each
        else:
            holder = int(np.searchsorted(rows.starts, last, side="right")) - 1
            assert (int(rows.targets[last]), expected[holder]) == (each, length - 1)


def test_a_list_of_a_million_is_as_good_as_any_graph() -> None:
    count = 1_000_000
    starts = np.minimum(np.arange(count + 1), count - 1).astype(np.uint32)
    rows = Rows(starts, np.arange(1, count, dtype=np.uint32), np.zeros(1, np.uint32))
    found = dominate(_reach, rows, np.ones(count, np.uint32))
    assert found.retained_objects == list(range(count, 0, -1))


@pytest.mark.parametrize(
    "rows",
    [
        rows_of([[5]], [0]),
        rows_of([[0]], [7]),
        Rows(np.array([0, 9], np.uint32), np.zeros(1, np.uint32), np.zeros(0, np.uint32)),
        Rows(np.array([0, 2, 1], np.uint32), np.zeros(1, np.uint32), np.zeros(0, np.uint32)),
        Rows(np.zeros(0, np.uint32), np.zeros(0, np.uint32), np.zeros(0, np.uint32)),
    ],
    ids=["a reference out", "a root out", "a row too long", "rows that cross", "no rows"],
)
def test_arrays_that_are_no_graph_are_refused(rows: Rows) -> None:
    size = max(rows.objects, 0)
    one, other = (np.zeros(size, np.uint32) for _ in range(2))
    with pytest.raises(ValueError, match="lead out of the graph"):
        _reach.dominate(*rows, one, one, other, np.zeros(size, np.uint64))
    with pytest.raises(ValueError, match="lead out of the graph"):
        _reach.shortest(*rows, one, other)
