"""Why an object is alive: shortest and distinct paths, and who keeps it when the program does not."""

from __future__ import annotations

from itertools import pairwise

import pytest
import rustworkx
from hypothesis import given

from inspected_heaps import GLOBALS, KnownHeap, graph_of, known_heaps
from tinyheap.heap import Gc, Heap, Layout
from tinyheap.heap.engines import ENGINES
from tinyheap.inspect import (
    HeapGraph,
    NamedGraph,
    Path,
    RootKind,
    RootSource,
    RootTable,
    Verdict,
    WordCertainty,
    distinct_paths,
    shortest_path,
    why,
)
from tinyheap.inspect.graph import NONE, ROOTS
from tinyheap.json_of import json_of


def objects_on(path: Path) -> list[int]:
    return [step.holder for step in path.steps]


def check_path(graph: HeapGraph, path: Path, found: int) -> None:
    """That each word of a path is there, and leads to the next object."""
    ways = [*objects_on(path), found]
    assert graph.root_targets[path.root.root] == ways[0]
    for step, (holder, target) in zip(path.steps, pairwise(ways), strict=True):
        words = {int(graph.offsets[each]): int(graph.targets[each]) for each in graph.references_of(holder)}
        assert words[step.offset] == target


@pytest.mark.property
@given(known=known_heaps(finalizers=True))
def test_shortest_paths_are_as_short_as_can_be(known: KnownHeap) -> None:
    graph = graph_of(known.heap, known.table())
    for found in range(len(graph)):
        path = shortest_path(NamedGraph(graph), found)
        assert (path is None) == graph.is_garbage[found]
        if path is not None:
            check_path(graph, path, found)
            assert len(path.steps) == graph.tree.distance[found]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.property
@given(known=known_heaps())
@pytest.mark.share(1)
def test_distinct_paths_are_as_many_as_objects_must_go(engine: str, known: KnownHeap) -> None:
    graph = graph_of(known.heap, known.table(), engine)
    for found in range(len(graph)):
        paths = distinct_paths(NamedGraph(graph), found, most=1000)
        for path in paths:
            check_path(graph, path, found)
        dominator = int(graph.tree.dominator[found])
        inner = [each for path in paths for each in behind(dominator, objects_on(path))]
        assert len(inner) == len(set(inner)), "two paths share an object"
        assert len({(path.root.root, *((step.holder, step.offset) for step in path.steps)) for path in paths}) == len(
            paths
        )
        assert len(paths) == most_paths(graph, found)


def behind(dominator: int, ways: list[int]) -> list[int]:
    """The objects of a path that others need not lead through: all go the same way as far as there."""
    return ways if dominator == ROOTS else ways[ways.index(dominator) + 1 :]


def most_paths(graph: HeapGraph, found: int) -> int:
    """How many distinct paths there are, by a network of unit capacities whose minimal cut rustworkx knows to find."""
    source = int(graph.tree.dominator[found])
    if source == NONE:
        return 0
    if source == ROOTS:
        firsts = [int(target) for target in graph.root_targets if target != NONE]
    else:
        firsts = [int(graph.targets[each]) for each in graph.references_of(source)]
    direct, between = firsts.count(found), {each for each in firsts if each not in (found, source)}
    cut = rustworkx.PyDiGraph()
    cut.add_nodes_from(range(2 * len(graph) + 1))
    start = 2 * len(graph)
    cut.add_edges_from([(start, 2 * each, 1) for each in between])
    cut.add_edges_from([(2 * each, 2 * each + 1, 1) for each in range(len(graph)) if each != source])
    for holder in range(len(graph)):
        targets = {int(graph.targets[each]) for each in graph.references_of(holder)}
        cut.add_edges_from([(2 * holder + 1, 2 * each, 1) for each in targets if holder != found])
    return direct + flow(cut, start, 2 * found)


def flow(graph: rustworkx.PyDiGraph[int, int], start: int, end: int) -> int:
    """The maximal flow by taking paths, and turning their edges around, until there is none."""
    count = 0
    while True:
        paths = rustworkx.digraph_dijkstra_shortest_paths(graph, start, target=end)
        if end not in paths:
            return count
        count += 1
        for one, other in pairwise(paths[end]):
            graph.remove_edge(one, other)
            graph.add_edge(other, one, 1)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_path_is_led_around_where_another_one_needs_its_object(engine: str) -> None:
    """The shortest one, by a and b, leaves no second one; together there are two."""
    heap = Heap(4096, word_bytes=4)
    a, b, c, d, e, found = (heap.alloc(16) for _ in "abcdef")
    for holder, offset, target in ((a, 0, b), (a, 4, d), (c, 0, b), (b, 0, found), (d, 0, e), (e, 0, found)):
        heap.store_word(holder + offset, target)
    graph = graph_of(heap, [a, c], engine)
    paths = distinct_paths(NamedGraph(graph), graph.object_at(found))
    assert [[step.address for step in path.steps] for path in paths] == [[c, b], [a, d, e]]


@pytest.mark.parametrize("engine", ENGINES)
def test_an_object_that_a_path_gave_up_is_there_for_another_one(engine: str) -> None:
    """The shortest path leads by b; the second one takes x from it, so that it is led around; the third one needs b."""
    heap = Heap(4096, word_bytes=4)
    at = {name: heap.alloc(16) for name in "abcdefghijkvwxyzt"}
    for holder, targets in {"a": "bd", "b": "xy", "x": "t", "d": "e", "e": "f", "f": "t", "c": "g", "g": "x"}.items():
        for offset, target in enumerate(targets):
            heap.store_word(at[holder] + 4 * offset, at[target])
    for holder, target in pairwise("hkijb"):
        heap.store_word(at[holder], at[target])
    for holder, target in pairwise("yzwvt"):
        heap.store_word(at[holder], at[target])
    graph = graph_of(heap, [at["a"], at["c"], at["h"]], engine)
    names = {address: name for name, address in at.items()}
    paths = distinct_paths(NamedGraph(graph), graph.object_at(at["t"]))
    assert ["".join(names[step.address] for step in path.steps) for path in paths] == ["cgx", "adef", "hkijbyzwv"]


def test_a_path_names_each_word() -> None:
    heap = Heap(4096, word_bytes=4, gc=Gc.PRECISE)
    first = heap.alloc(16, Layout.pattern(".p"))
    second, third = heap.alloc(32), heap.alloc(16, Layout.DATA)
    heap.store_word(first + 4, second + 8)
    heap.store_word(second + 12, third)
    graph = graph_of(heap, [0, first])
    (path,) = distinct_paths(NamedGraph(graph), 2)
    assert path.root.source == GLOBALS
    assert (path.root.address, path.root.offset, path.root.value) == (0x1008, 8, first)
    assert [(step.address, step.offset, step.certainty) for step in path.steps] == [
        (first, 4, WordCertainty.BY_LAYOUT),
        (second, 12, WordCertainty.POSSIBLE),
    ]
    assert str(path) == (f"global main.kept+8 -> 32 B pointers .p at {first:#x} +4 -> 48 B pointers at {second:#x} +12")


def test_who_keeps_what_the_program_does_not() -> None:
    heap = Heap(4096, word_bytes=4)
    program, host, below, finalized, nobody = made = [heap.alloc(16) for _ in range(5)]
    heap.store_word(host, below)
    roots = RootTable.join(
        [
            (GLOBALS, 0x1000, program),
            (RootSource(RootKind.HOST, "buffer"), 0, [program, host]),
            (RootSource(RootKind.FINALIZER, ""), 0, [finalized, program]),
        ]
    )
    named = NamedGraph(graph_of(heap, roots))
    reasons = {address: why(named, named.graph.object_at(address)) for address in made}
    assert {address: reason.verdict for address, reason in reasons.items()} == {
        program: Verdict.PROGRAM,
        host: Verdict.HOST,
        below: Verdict.HOST,
        finalized: Verdict.FINALIZER,
        nobody: Verdict.NOBODY,
    }
    assert str(reasons[nobody].verdict) == "held by nobody: garbage, freed by the next collection"
    assert reasons[nobody].paths == ()
    assert reasons[below].dominators == (host,)
    assert reasons[host].retained_bytes == 32
    assert json_of(reasons[nobody])["verdict"] == "held by nobody: garbage, freed by the next collection"
    assert json_of(reasons[below])["paths"][0]["root"]["source"]["kind"] == "host"
    assert [str(path.root) for path in reasons[finalized].paths] == ["finalizer table"]
