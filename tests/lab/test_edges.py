"""The search for where survival begins: held against trying every size."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyheap.lab.edges import Edge, find_edge

pytestmark = pytest.mark.property


def exhaustive(answers: list[bool], low: int) -> tuple[int | None, int | None, tuple[int, ...]]:
    """Smallest size that passes, the size from which all do, and what fails in between, by trying all."""
    passing = [low + at for at, passes in enumerate(answers) if passes]
    failing = [low + at for at, passes in enumerate(answers) if not passes]
    if not passing:
        return None, None, ()
    above = tuple(size for size in failing if size > passing[0])
    return passing[0], max([passing[0], *(size + 1 for size in above)]), above


def of(edge: Edge) -> tuple[int | None, int | None, tuple[int, ...]]:
    return edge.smallest, edge.safe_from, edge.failing_above


@given(
    failing=st.integers(0, 300),
    zone=st.lists(st.booleans(), max_size=40),
    passing=st.integers(1, 300),
    low=st.integers(1, 9),
)
def test_a_ragged_zone_is_found_whole(failing: int, zone: list[bool], passing: int, low: int) -> None:
    """With a scan as long as the zone, whatever the zone is like."""
    answers = [False] * failing + zone + [True] * passing
    edge = find_edge(lambda size: answers[size - low], low, low + len(answers) - 1, len(zone) + 1)
    assert of(edge) == exhaustive(answers, low)


@given(answers=st.lists(st.booleans(), min_size=1, max_size=60))
def test_what_is_said_was_tried(answers: list[bool]) -> None:
    """However short the scan: each size once, and nothing is claimed of others."""
    asked: list[int] = []

    def passes(size: int) -> bool:
        asked.append(size)
        return answers[size]

    edge = find_edge(passes, 0, len(answers) - 1, 1)
    assert sorted(asked) == list(edge.tried) == sorted(set(asked))
    known = [answers[size] for size in edge.tried]
    smallest, safe_from, above = exhaustive(known, 0)
    assert edge.smallest == (None if smallest is None else edge.tried[smallest])
    assert edge.failing_above == tuple(edge.tried[at] for at in above)
    if answers[-1]:
        assert safe_from is not None
        assert edge.safe_from == edge.tried[safe_from]


def test_a_single_edge_takes_few_trials() -> None:
    edge = find_edge(lambda size: size >= 777_777, 1, 1_000_000, 3)
    assert (edge.smallest, edge.safe_from, edge.failing_above) == (777_777, 777_777, ())
    assert len(edge.tried) <= 20 + 2 * 3 + 1


def test_where_the_largest_fails_nothing_else_is_tried() -> None:
    assert find_edge(lambda _: False, 1, 100, 4) == Edge(None, None, (), (100,))


@given(answers=st.lists(st.booleans(), min_size=1, max_size=60), scan=st.integers(1, 5))
def test_the_zone_holds_what_was_tried_around_the_edge(answers: list[bool], scan: int) -> None:
    edge = find_edge(answers.__getitem__, 0, len(answers) - 1, scan)
    assert edge.answers == {size: answers[size] for size in edge.tried}
    sizes = [size for each in edge.zone for size in range(each.first, each.last + 1)]
    assert [each.passes for each in edge.zone for _ in range(each.first, each.last + 1)] == [
        answers[size] for size in sizes
    ]
    assert all(one.passes is not other.passes for one, other in pairwise(edge.zone))
    assert sizes == ([] if edge.smallest is None else [*range(sizes[0], sizes[-1] + 1)])
    assert {edge.smallest, edge.safe_from, *edge.failing_above} - {None} <= {*sizes}
    assert not {sizes[0] - 1, sizes[-1] + 1} & {*edge.tried} if sizes else not answers[-1]
