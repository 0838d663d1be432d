"""How sure words are: by layout, by type, or not at all; a number is never called a pointer, nor the other way round."""

from __future__ import annotations

import numpy as np
import pytest

from inspected_heaps import graph_of, typed_nodes
from tinyheap.heap import Gc, Heap, Layout
from tinyheap.inspect import (
    NamedGraph,
    RootKind,
    RootSource,
    RootTable,
    WordCertainty,
    distinct_paths,
    object_view,
    why,
)
from tinyheap.inspect.certainty import CERTAINTIES, certainty_of, certainty_of_root, word_certainties
from typed_worlds import ANY, MAP_POINTER, NODE, NODE_POINTER, NODES, TABLE, TEXT, UINT32, World, words


def certainties(named: NamedGraph) -> dict[tuple[int, int], str]:
    """Of each reference, by holder and offset; said at once and one by one."""
    graph, at_once = named.graph, word_certainties(named)
    found = {}
    for reference in range(len(graph.targets)):
        place = graph.holder_of(reference), int(graph.offsets[reference])
        found[place] = str(CERTAINTIES[int(at_once[reference])])
        assert certainty_of(named, *place) == found[place]
    return found


def test_a_layout_tells_of_every_word() -> None:
    heap = Heap(4096, word_bytes=4, gc=Gc.PRECISE)
    target, held = heap.alloc(16), heap.alloc(16, Layout.pattern("p."))
    anything = heap.alloc(16)
    heap.store_word(held, target)
    heap.store_word(held + 4, target)
    heap.store_word(anything, target)
    assert certainties(NamedGraph(graph_of(heap, [held, anything]))) == {
        (1, 0): "certain by layout",
        (2, 0): "possible",
    }


def test_a_field_that_is_a_pointer_is_one_and_a_number_is_none() -> None:
    world = World()
    node = world.put(bytes(24))
    # main.node: next, name (pointer, length), body (pointer, length, capacity).
    world.put(words(node, node, node, node, node, node))
    array = world.put(words(node, node + 4) + bytes(8) + words(node), room=32)
    world.variable("main.node", NODE_POINTER, words(node + 32))
    world.variable("main.nodes", NODES, words(array, 2, 4))
    named = world.named()
    sure, number = "certain by type", "false by type"
    assert certainties(named) == {
        **{(1, offset): sure for offset in (0, 4, 12)},
        **{(1, offset): number for offset in (8, 16, 20)},
        **{(2, offset): sure for offset in (0, 4)},
        (2, 16): "possible",
    }, "beyond the slice's room nothing is known"


def test_what_is_inferred_is_not_taken_for_known() -> None:
    world = World()
    node = world.put(bytes(24))
    bucket = world.put(bytes([7] + [0] * 7) + words(0) + words(node) + bytes(28) + words(node) + bytes(28))
    hashmap = world.put(words(bucket, 1, 1, 4, 4, 0, 0, 0, 0, 0))
    world.variable("main.map", MAP_POINTER, words(hashmap))
    found = certainties(world.named())
    assert found[2, 0] == "certain by type"
    assert found[1, 12] == found[1, 44] == "possible"


def test_the_type_code_of_an_interface_tells_of_its_value() -> None:
    world = World()
    node = world.put(bytes(24))
    pointer_code = world.variable("type *main.node", UINT32, words(21))
    value_code = world.variable("type uint32", UINT32, words(21))
    roots = [
        world.variable("main.pointer", ANY, words(pointer_code, node)) + 4,
        world.variable("main.small", ANY, words(value_code, node)) + 4,
        world.variable("main.unknown", ANY, words(1, node)) + 4,
    ]
    named = world.named()
    numbers = {int(address): root for root, address in enumerate(named.graph.roots.address)}
    assert [certainty_of_root(named, numbers[at]) for at in roots] == ["certain by type", "possible", "possible"]


def test_a_variable_that_is_a_number_holds_nothing_for_sure() -> None:
    world = World()
    node = world.put(bytes(24))
    world.variable("main.seed", UINT32, words(node))
    text = world.variable("main.text", TEXT, words(node, node))
    named = world.named()
    graph = named.graph
    told = {int(graph.roots.address[root]) - text: certainty_of_root(named, root) for root in range(len(graph.roots))}
    assert [told[at] for at in (-8, 0, 4)] == ["false by type", "certain by type", "false by type"]
    answer = why(named, 0)
    assert [path.root.certainty for path in answer.paths] == ["certain by type", "false by type", "false by type"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (RootKind.HOST, WordCertainty.BY_RUNTIME),
        (RootKind.FINALIZER, WordCertainty.BY_RUNTIME),
        (RootKind.REGISTER, WordCertainty.POSSIBLE),
    ],
)
def test_roots_in_no_memory(kind: RootKind, expected: WordCertainty) -> None:
    heap = Heap(4096, word_bytes=4)
    held = heap.alloc(16)
    named = NamedGraph(graph_of(heap, RootTable.join([(RootSource(kind, ""), 0, held)])))
    assert certainty_of_root(named, 0) is expected
    assert distinct_paths(named, 0)[0].certainties == (expected,)


def test_every_type_tells_the_same_of_all_of_its_values() -> None:
    named = typed_nodes(40)
    assert set(certainties(named).values()) == {"certain by type"}
    assert np.all(word_certainties(NamedGraph(named.graph)) == CERTAINTIES.index(WordCertainty.POSSIBLE))


def test_a_path_without_numbers_is_said_first() -> None:
    world = World()
    node = world.put(bytes(24))
    world.put(words(0, 0, node, 0, 0, 0))
    world.put(words(node, 0, 0, 0, 0, 0))
    world.variable("main.first", NODE_POINTER, words(node + 32))
    world.variable("main.second", NODE_POINTER, words(node + 64))
    assert TABLE[NODE].size_bytes == 24
    answer = why(world.named(), 0)
    assert [path.certainties[-1] for path in answer.paths] == ["certain by type", "false by type"]
    assert answer.are_all_paths
    assert not why(world.named(), 0, most=1).are_all_paths
    assert len(why(world.named(), 0, most=1).paths) == 1


def test_an_object_shows_it_of_the_words_that_refer_to_others() -> None:
    from inspected_heaps import inspected

    view = object_view(inspected(typed_nodes()), 2)
    assert [word.certainty for word in view.words] == [
        "certain by type",
        "certain by type",
        None,
        None,
        None,
        None,
        None,
        None,
    ]
