"""Programs whose source says who holds what: each question gets the answer that follows from it, whatever the compiler did."""

from __future__ import annotations

from collections import Counter

import pytest

from guests import collectors
from tinyheap.guests.policy import Policy
from tinyheap.guests.program import Program
from tinyheap.hosts import Grants
from tinyheap.inspect import Gathering, HeapGraph, Inspection, Verdict, accumulation, overview, shortest_path, why
from tinyheap.inspect.graph import NONE

ENTRIES, NODES, TASKS, LENT = 1000, 12_000, 9, 20
CACHES = 12
LENT_BYTES = 500
"""Each, which no other object has."""
SITES = {"registry": ENTRIES, "list": NODES, "parked": TASKS, "ring": CACHES}


def built(optimization: str, dwarf: int | None) -> bytes:
    build = collectors.Build(optimization, link_time=False, precise=False, tasks=False, explicit=False)
    return collectors.compiled(build, "held.c", dwarf=dwarf)


def inspected(wasm: bytes) -> Inspection:
    with Program.open(wasm, Grants(seed=1), Policy()) as program:
        program.start()
        program.call("tinygo_launch", ENTRIES, NODES, TASKS)
        for _ in range(LENT):
            program.call("malloc", LENT_BYTES)
        return Inspection.of(program.snapshot(), wasm)


@pytest.fixture(scope="module", params=["1", "2", "s"])
def heap(request: pytest.FixtureRequest) -> Inspection:
    """With debug information, so that variables have names and objects have types."""
    return inspected(built(request.param, 4))


@pytest.fixture(scope="module", params=["2", "z"])
def nameless(request: pytest.FixtureRequest) -> Inspection:
    """Without it: variables are addresses that functions mention."""
    return inspected(built(request.param, None))


def held_by(inspection: Inspection, variable: str) -> int:
    """The object that a variable holds."""
    graph = inspection.graph
    sources = [each.name for each in graph.roots.sources]
    roots = [
        root
        for root, target in enumerate(graph.holding_roots.tolist())
        if target != NONE and sources[int(graph.roots.source[root])] == variable
    ]
    assert len(roots) == 1, f"{variable} is held once"
    return int(graph.holding_roots[roots[0]])


def below(graph: HeapGraph, first: int, blocks: int) -> list[int]:
    """The objects of so many blocks that an object dominates, itself included."""
    found, waiting = [], [first]
    while waiting:
        each = waiting.pop()
        found += [each] * (int(graph.blocks[each]) == blocks)
        waiting += graph.dominated.by(each).tolist()
    return found


@pytest.mark.share(1)
def test_a_registry_that_grows_is_where_entries_accumulate(heap: Inspection) -> None:
    slots = held_by(heap, "registry")
    place = accumulation(heap.named, slots)
    assert place is not None
    assert (place.place.object, place.gathering, place.count) == (slots, Gathering.FAN, ENTRIES)
    assert place.place.retained_objects == 1 + 2 * ENTRIES, "a table, entries, and a body each"
    assert place.path.root.source.name == "registry"
    entry = heap.graph.dominated.by(slots).tolist()[0]
    answer = why(heap.named, entry)
    assert answer.verdict is Verdict.PROGRAM
    assert len(answer.paths) == 1, "there is no other way"


@pytest.mark.share(1)
def test_the_list_of_12000_is_found_by_its_length(heap: Inspection) -> None:
    first = held_by(heap, "list")
    place = accumulation(heap.named, first)
    assert place is not None
    assert (place.place.object, place.gathering) == (first, Gathering.CHAIN)
    assert place.count > NODES - 100
    assert int(heap.graph.tree.retained_objects[first]) == NODES
    last = below(heap.graph, first, 1)[-1]
    path = shortest_path(heap.named, last)
    assert path is not None
    assert len(path.steps) == NODES - 1
    assert path.root.source.name == "list"


def test_a_ring_holds_each_of_its_caches_and_the_last_body_of_each(heap: Inspection) -> None:
    first, graph = held_by(heap, "ring"), heap.graph
    assert int(graph.tree.retained_objects[first]) == 2 * CACHES, "bodies that were replaced are garbage"
    caches = below(graph, first, 1)
    assert len(caches) == CACHES
    distances = Counter(int(graph.tree.distance[each]) for each in caches)
    assert distances == Counter(range(CACHES)), "one after the other, from the variable on"
    for each in caches:
        assert {path.root.source.name for path in why(heap.named, each).paths} == {"ring"}


def test_tasks_that_wait_for_ever_hold_their_stacks_and_what_these_hold(heap: Inspection) -> None:
    first, graph = held_by(heap, "parked"), heap.graph
    assert int(graph.tree.retained_objects[first]) == 3 * TASKS
    buffers = below(graph, first, 25)
    assert len(buffers) == TASKS
    for each in buffers:
        [path] = why(heap.named, each).paths
        assert path.root.source.name == "parked"
        assert path.steps[-1].offset == 800, "a word of the stack"


@pytest.mark.slow
@pytest.mark.share(1, in_ci=1)
def test_what_was_lent_to_the_host_is_held_by_it(nameless: Inspection) -> None:
    graph = nameless.graph
    lent = [each for each in range(len(graph)) if graph.blocks[each] == (LENT_BYTES + 15) // 16]
    assert len(lent) == LENT
    assert {why(nameless.named, each).verdict for each in lent} == {Verdict.HOST}
    by_host = [each for each in overview(nameless).held_by if each.source.startswith("host")]
    assert [each.objects for each in by_host] == [LENT + 1], "with the table of them"
    others = {why(nameless.named, each).verdict for each in range(len(graph)) if each % 500 == 0} - {Verdict.NOBODY}
    assert others <= {Verdict.PROGRAM, Verdict.HOST}


@pytest.mark.share(1)
def test_types_say_the_same(heap: Inspection) -> None:
    found = {each.group: each for each in overview(heap).groups}
    assert heap.named.typed is not None
    # In C nothing tells how many a pointer leads to, so that only the first entry of the registry is known.
    names = {"list": "node", "parked": "task", "ring": "cache"}
    for variable, name in names.items():
        [group] = [each for title, each in found.items() if title.split()[-1].endswith(name)]
        assert group.objects - group.garbage_objects == SITES[variable], name


def test_nothing_else_is_alive(heap: Inspection) -> None:
    graph = heap.graph
    variables = ("registry", "list", "parked", "ring", "lent")
    retained = sum(int(graph.tree.retained_objects[held_by(heap, each)]) for each in variables)
    assert retained == 1 + 2 * ENTRIES + NODES + 3 * TASKS + 2 * CACHES + LENT + 1
    alive = len(graph) - int(graph.is_garbage.sum())
    assert retained <= alive <= retained + 3, "but for what a dead word of the stack still shows"
    assert heap.problem is None
