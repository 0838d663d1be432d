"""Retained sizes, leaks, holders, holes and comparisons, on heaps whose answers are known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspected_heaps import GLOBALS, KnownHeap, graph_of, hostile_images, known_heaps
from tinyheap.errors import InvalidSizeError
from tinyheap.heap import Heap
from tinyheap.heap.collectors import Collector
from tinyheap.inspect import (
    Gathering,
    HeapFacts,
    HeapGraph,
    NamedGraph,
    RootKind,
    RootSource,
    RootTable,
    accumulation,
    compare_heaps,
    holders_of,
    holes_for,
    in_group,
    retained_by_group,
    retained_tree,
    top_retained,
    why,
)
from tinyheap.inspect.graph import NONE, ROOTS

COLLECTORS: Final = list(Collector)


def named_of(heap: Heap, roots: RootTable | Iterable[int]) -> NamedGraph:
    return NamedGraph(graph_of(heap, roots))


@pytest.mark.property
@given(known=known_heaps(finalizers=True))
@pytest.mark.slow
def test_what_groups_retain_is_what_goes_with_them(known: KnownHeap) -> None:
    named = named_of(known.heap, known.table())
    graph = named.graph
    for each in retained_by_group(named):
        mine = set(in_group(named, each.group).tolist())
        assert each.objects == len(mine)
        assert each.size_bytes == sum(int(graph.sizes_bytes[found]) for found in mine)
        assert each.garbage_objects == sum(bool(graph.is_garbage[found]) for found in mine)
        # Each object with one of the group above it in the dominator tree, or of the group itself, is retained by it.
        kept = [found for found in range(len(graph)) if not graph.is_garbage[found] and mine & chain(graph, found)]
        assert each.retained_bytes == sum(int(graph.sizes_bytes[found]) for found in kept)


def chain(graph: HeapGraph, found: int) -> set[int]:
    objects = {found}
    while (found := int(graph.tree.dominator[found])) not in (ROOTS, NONE):
        objects.add(found)
    return objects


@pytest.mark.property
@given(known=known_heaps())
@pytest.mark.slow
def test_the_tree_has_each_object_once(known: KnownHeap) -> None:
    named = named_of(known.heap, known.table())
    seen = []
    todo = list(retained_tree(named, depth=100, most=100))
    while todo:
        node = todo.pop()
        assert node.more_objects == node.more_bytes == 0
        below_bytes = sum(each.retained.retained_bytes for each in node.below)
        assert node.retained.retained_bytes == node.retained.size_bytes + below_bytes
        seen.append(node.retained.object)
        todo += node.below
    assert sorted(seen) == np.flatnonzero(~named.graph.is_garbage).tolist()
    tops = [each.retained_bytes for each in top_retained(named, most=100)]
    assert tops == sorted(tops, reverse=True)


def test_the_tree_says_what_it_leaves_out() -> None:
    heap = Heap(1 << 14, word_bytes=4)
    holder = heap.alloc(64)
    for index in range(10):
        heap.store_word(holder + 4 * index, heap.alloc(16))
    (node,) = retained_tree(named_of(heap, [holder]), depth=2, most=3)
    assert (len(node.below), node.more_objects, node.more_bytes) == (3, 7, 7 * 16)
    (node,) = retained_tree(named_of(heap, [holder]), depth=1)
    assert (node.below, node.more_objects) == ((), 10)


def test_the_tree_is_as_deep_as_a_list_is_long() -> None:
    heap = Heap(1 << 18, word_bytes=4)
    first = linked(heap, 3000)
    nodes, depth = retained_tree(named_of(heap, [first]), depth=1 << 60, most=1), 0
    while nodes:
        nodes, depth = nodes[0].below, depth + 1
    # The last element's text is below it.
    assert depth == 3001


@pytest.mark.parametrize("collector", COLLECTORS)
def test_a_slice_of_many_is_where_they_accumulate(collector: Collector) -> None:
    heap = Heap(1 << 18, word_bytes=4, collector=collector)
    header, elements, small = heap.alloc(12), heap.alloc(4 * 1000), heap.alloc(16)
    heap.store_word(header, elements)
    heap.store_word(header + 8, small)
    for index in range(1000):
        heap.store_word(elements + 4 * index, heap.alloc(40))
    named = named_of(heap, [header])
    found = accumulation(named, named.graph.object_at(header))
    assert found is not None
    assert (found.place.address, found.gathering, found.count) == (elements, Gathering.FAN, 1000)
    assert found.group == named.group_of(named.graph.object_at(heap.load_word(elements)))
    assert [step.address for step in found.path.steps] == [header]


def linked(heap: Heap, count: int, first: int = 0) -> int:
    """A list, each of whose elements has a text; returns the address of the newest element."""
    for index in range(count):
        element, text = heap.alloc(16), heap.alloc(16)
        heap.write(text, b"note %06d" % index)
        heap.store_word(element, first)
        heap.store_word(element + 8, text)
        first = element
    return first


@pytest.mark.parametrize("collector", COLLECTORS)
@pytest.mark.share(1)
def test_a_list_of_12000_accumulates_where_it_begins(collector: Collector) -> None:
    heap = Heap(1 << 21, word_bytes=4, collector=collector)
    first = linked(heap, 12_000)
    list_ = heap.alloc(60)
    heap.store_word(list_ + 24, first)
    named = named_of(heap, [list_])
    found = accumulation(named, named.graph.object_at(list_))
    assert found is not None
    assert (found.place.address, found.gathering) == (first, Gathering.CHAIN)
    # The last few retain too little to be followed.
    assert 11_900 < found.count <= 12_000


def test_one_large_object_accumulates_itself_and_garbage_nowhere() -> None:
    heap = Heap(1 << 16, word_bytes=4)
    large, lost = heap.alloc(8000), heap.alloc(16)
    named = named_of(heap, [large])
    found = accumulation(named, named.graph.object_at(large))
    assert found is not None
    assert (found.place.address, found.gathering, found.count, found.group) == (large, Gathering.SINGLE, 0, "")
    assert accumulation(named, named.graph.object_at(lost)) is None


def test_who_holds_the_objects_of_a_group() -> None:
    heap = Heap(1 << 16, word_bytes=4)
    texts = []
    for index in range(5):
        texts.append(heap.alloc(16))
        heap.write(texts[-1], b"note %d, and more" % index)
    table, record, lost = heap.alloc(400), heap.alloc(16), heap.alloc(16)
    for index in (3, 50, 60):
        heap.store_word(table + 4 * index, texts[0])
    heap.store_word(table, texts[1])
    heap.store_word(record + 8, texts[2])
    heap.store_word(lost, texts[3])
    named = named_of(heap, [table, record, texts[4]])
    assert sorted(named.graph.addresses[in_group(named, "text")].tolist()) == texts
    found = {(each.group, each.word): each for each in holders_of(named, in_group(named, "text"))}
    assert {key: (each.references, each.holders, each.objects, each.size_bytes) for key, each in found.items()} == {
        ("400 B pointers", "[...]"): (4, 1, 2, 32),
        ("16 B pointers", "+8"): (1, 1, 1, 16),
        ("global main.kept", ""): (1, 0, 1, 16),
    }
    assert holders_of(named, []) == ()


# ---- holes --------------------------------------------------------------------------------------------------------------


def cut(heap: Heap) -> list[int]:
    """Three runs of 3 free blocks and two of 4, each with an object of one block behind it; then what is left."""
    made = [heap.alloc(16 * blocks) for blocks in (3, 1, 3, 1, 3, 1, 4, 1, 4, 1, 1)]
    for index in (0, 2, 4, 6, 8):
        heap.free(made[index])
    return made


def test_the_fewest_objects_that_must_go() -> None:
    heap = Heap(1 << 10, word_bytes=4)
    made = cut(heap)
    while True:
        free = [run for run in heap.free_ranges() if run[1] > 4]
        if not free:
            break
        made.append(heap.alloc(16 * free[0][1]))
    named = named_of(heap, made)
    nine = holes_for(named, 9 * 16)
    assert (nine.needed_bytes, nine.largest_bytes, nine.fits) == (144, 64, False)
    assert [(each.least_blocks, each.runs, each.free_bytes) for each in nine.lengths] == [(2, 3, 144), (4, 2, 128)]
    assert sum(each.objects for each in nine.cutters) == 5
    assert sum(each.free_bytes for each in nine.cutters) == nine.free_bytes == 272
    assert nine.window is not None
    assert (nine.window.count, nine.window.address, nine.window.room_bytes) == (1, made[6], 144)
    assert [named.graph.address_of(each) for each in nine.window.objects] == [made[7]]
    large = np.flatnonzero(named.graph.blocks > 1)
    pinned = holes_for(named, 9 * 16, [named.graph.object_at(made[7]), *large]).window
    assert pinned is not None
    assert (pinned.count, pinned.address, pinned.size_bytes) == (2, made[0], 32)
    assert holes_for(named, 9 * 16, range(len(named.graph))).window is None
    assert holes_for(named, 4 * 16).window is None


def test_the_next_collection_may_make_room() -> None:
    heap = Heap(1 << 10, word_bytes=4)
    made = cut(heap)
    found = holes_for(named_of(heap, [made[5]]), 10 * 16)
    assert found.largest_after_bytes > found.largest_bytes
    heap.roots.add(made[5])
    heap.collect()
    assert found.largest_after_bytes == 16 * max(blocks for _, blocks in heap.free_ranges())


@pytest.mark.property
@given(known=known_heaps(), blocks=st.integers(1, 60), data=st.data())
def test_no_fewer_objects_make_room(known: KnownHeap, blocks: int, data: st.DataObject) -> None:
    named = named_of(known.heap, known.table())
    graph, geometry = named.graph, known.heap.geometry
    pinned = data.draw(st.lists(st.integers(0, len(graph) - 1), max_size=3)) if len(graph) else []
    size = blocks * geometry.block_bytes - graph.facts.shape.header_bytes
    if size <= 0:
        return
    found = holes_for(named, size, pinned)
    owner = {
        block: each
        for each in range(len(graph))
        for block in range(graph.first[each], graph.first[each] + graph.blocks[each])
    }
    windows = [
        {owner[block] for block in range(start, start + blocks) if block in owner}
        for start in range(geometry.end_block - blocks + 1)
    ]
    counts = [len(window) for window in windows if not window & set(pinned)]
    assert found.fits == any(not window for window in windows)
    if found.fits or not counts:
        assert found.window is None
    else:
        assert found.window is not None
        assert found.window.count == min(counts)
        assert found.window.room_bytes >= found.needed_bytes


@pytest.mark.parametrize("size", [0, -1, 1 << 40])
def test_a_request_that_nobody_can_make(size: int) -> None:
    with pytest.raises(InvalidSizeError, match="expected 1 to 4294967296 bytes"):
        holes_for(named_of(Heap(1 << 10, word_bytes=4), []), size)


# ---- comparing ----------------------------------------------------------------------------------------------------------


def test_the_same_path_got_257_longer() -> None:
    heap = Heap(1 << 17, word_bytes=4)
    first = linked(heap, 100)
    gone = heap.alloc(32)
    heap.write(gone, b"a text that goes away")
    before = named_of(heap, [first, gone])
    heap.free(gone)
    after = named_of(heap, [linked(heap, 257, first)])
    found = compare_heaps(before, after)
    assert (found.new_objects, found.gone_objects) == (2 * 257, 1)
    assert {each.group: (each.objects_before, each.objects_after, each.new, each.gone) for each in found.groups} == {
        "16 B pointers": (100, 357, 257, 0),
        "text": (101, 357, 257, 1),
    }
    paths = {each.path: each for each in found.paths}
    longer = paths["global main.kept: 16 B pointers -> +0: 16 B pointers"]
    assert (longer.growth_objects, longer.growth_length) == (257, 257)
    assert str(longer) == "the same path got 257 longer: global main.kept: 16 B pointers -> +0: 16 B pointers"
    assert str(paths["global main.kept: text"]) == "1 fewer objects on global main.kept: text"
    same = compare_heaps(after, after)
    assert (same.groups, same.paths) == ((), ())


# ---- whatever the memory says -------------------------------------------------------------------------------------------


@pytest.mark.property
@given(image=hostile_images(), values=st.lists(st.integers(0, 1 << 13), min_size=1, max_size=6))
def test_analyses_bear_any_bytes(image: tuple[bytes, HeapFacts], values: list[int]) -> None:
    memory, facts = image
    roots = RootTable.join([(GLOBALS, 0, values), (RootSource(RootKind.FINALIZER, ""), 0, values[:1])])
    named = NamedGraph(HeapGraph.of(memory, facts, roots))
    graph = named.graph
    assert sum(each.objects for each in retained_by_group(named)) == len(graph)
    assert sum(end - first for first, end in graph.orphans.tolist()) == graph.orphan_blocks
    assert compare_heaps(named, named).new_objects == 0
    found = holes_for(named, 1)
    free = found.free_bytes // facts.geometry.block_bytes
    assert free + int(graph.blocks.sum()) + graph.orphan_blocks == facts.geometry.end_block
    assert len(holders_of(named, range(len(graph)))) >= (len(graph) > 0 and bool((~graph.is_garbage).any()))
    for each in range(len(graph)):
        assert (accumulation(named, each) is None) == graph.is_garbage[each]
        assert (why(named, each).paths == ()) == graph.is_garbage[each]
