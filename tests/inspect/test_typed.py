"""Objects get the types that a program would give them, whatever a pointer leads to; memory that lies leads nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyheap.inspect.decoding import decoded, expression, shown, variable_name, word_name
from tinyheap.inspect.heap_memory import HeapMemory
from tinyheap.inspect.typed import TypedHeap
from tinyheap.symbols.types import Kind, Type, TypedVariable, Types
from typed_worlds import (
    ANY,
    CHANNEL,
    CLOSURE,
    HASH_STRING,
    HEAP,
    MAIN_CLOSURE,
    MAP,
    MAP_POINTER,
    MEMORY_BYTES,
    NODE,
    NODE_POINTER,
    NODES,
    PAIR,
    TABLE,
    TEXT,
    UINT32,
    VARIABLES,
    World,
    words,
)


def names(heap: TypedHeap) -> list[str | None]:
    return [heap.name(index) for index in range(len(heap.numbers))]


def test_a_list_is_followed_to_its_end() -> None:
    world, last = World(), 0
    for number in range(40):
        text = world.put(b"node %d" % number)
        last = world.put(words(last, text, 6, 0, 0, 0))
    world.variable("main.first", NODE_POINTER, words(last))
    heap = world.heap()
    assert set(names(heap)) == {"main.node", "[]uint8"}
    assert word_name(heap, 1, 0) == ".next"
    assert word_name(heap, 1, 4) == ".name"
    assert variable_name(heap, VARIABLES) == "main.first"
    assert [(each.name, each.text) for each in decoded(heap, 3)][1] == (".name", '"node 1"')


def test_a_slice_has_room_for_its_capacity() -> None:
    world = World()
    nodes = [world.put(bytes(24)) for _ in range(3)]
    array = world.put(words(*nodes), room=64)
    world.variable("main.nodes", NODES, words(array, 3, 16))
    heap = world.heap()
    assert names(heap) == ["main.node"] * 3 + ["[]*main.node"]
    claim = heap.claim(3)
    assert claim is not None
    assert claim.length == 16
    assert word_name(heap, 3, 8) == "[2]"


def test_an_interface_holds_what_its_type_code_says() -> None:
    world = World()
    node, boxed = world.put(bytes(24)), world.put(words(0, 0, 0, 0, 0, 0))
    pointer_code = world.variable("type *main.node", UINT32, words(21))
    value_code = world.variable("type main.node", UINT32, words(26))
    world.variable("main.any", ANY, words(pointer_code, node))
    at = world.variable("main.other", ANY, words(value_code, boxed))
    world.variable("main.nothing", ANY, words(0, 0))
    heap = world.heap()
    assert names(heap) == ["main.node", "main.node"]
    assert variable_name(heap, at + 4) == "main.other.(main.node)"


def test_a_function_has_a_context_of_its_own() -> None:
    world = World()
    world.variable("main.serve", CLOSURE, words(world.put(words(1, 2)), MAIN_CLOSURE))
    assert names(world.heap()) == ["context of main.serve$1"]


def test_a_channel_has_a_buffer() -> None:
    world = World()
    world.variable("main.channel", CHANNEL, words(0, 8, 4, 0, 0, world.put(bytes(32))))
    assert names(world.heap()) == ["[]channel's element of 8 bytes"]


def bucket(keys: Sequence[bytes], values: Sequence[bytes], following: int = 0) -> bytes:
    """A map's bucket of as many entries."""
    hashes = bytes([7] * len(keys) + [0] * (8 - len(keys)))
    places = [b"".join(each) + bytes((8 - len(each)) * len(each[0])) for each in (keys, values)]
    return hashes + words(following) + places[0] + places[1]


def hashmap(buckets: int, key_bytes: int, value_bytes: int, hash_function: int = 0, count: int = 1) -> bytes:
    return words(buckets, 1, count, key_bytes, value_bytes, 0, 0, 0, 0, hash_function)


def test_a_map_of_strings_to_nodes_has_names_for_its_entries() -> None:
    world = World()
    texts = [world.put(b"first"), world.put(b"second")]
    node = world.put(bytes(24))
    overflow = world.put(bucket([words(texts[1], 6)], [words(node)]))
    buckets = world.put(bucket([words(texts[0], 5)], [words(node)], overflow))
    at = world.variable("main.nodes", MAP_POINTER, words(world.put(hashmap(buckets, 8, 4, HASH_STRING))))
    heap = world.heap()
    found = names(heap)
    assert found[:2] == ["[]uint8", "[]uint8"]
    assert found[3:5] == ["map[string]unsafe.Pointer bucket"] * 2
    assert found[5] == "runtime.hashmap"
    assert word_name(heap, 5, 0) == ""
    assert word_name(heap, 4, 8) == ""
    assert word_name(heap, 4, 12 + 64) == '["first"]'
    assert word_name(heap, 3, 12) == '["second"] (key)'
    assert variable_name(heap, at) == "main.nodes"
    assert [each.name for each in decoded(heap, 4)] == ['["first"]', " (next bucket)"]


def test_a_map_of_slices_is_inferred_from_all_its_values() -> None:
    world = World()
    body = world.put(b"body")
    buckets = world.put(bucket([words(17)], [words(body, 4, 4)]))
    world.variable("main.map", MAP_POINTER, words(world.static(hashmap(buckets, 4, 12))))
    heap = world.heap()
    assert names(heap) == ["[]uint8", "map[uint32][]byte bucket"]
    assert word_name(heap, 1, 12 + 32) == "[17]"


def test_a_map_that_is_a_constant_is_found_by_its_parts() -> None:
    world = World()
    buckets = world.put(bucket([words(17)], [words(world.put(b"body"), 4, 4)]))
    at = world.static(hashmap(buckets, 4, 12))
    heap = world.heap({at: "main.pinned"})
    assert variable_name(heap, at) == "main.pinned"
    assert "map[uint32][]byte bucket" in names(heap)


def test_the_names_along_a_path_make_one_expression() -> None:
    world = World()
    text = world.put(b"key")
    body = world.put(b"body")
    node = world.put(words(0, 0, 0, body, 4, 4))
    array = world.put(words(0, node), room=32)
    at = world.variable("main.nodes", NODES, words(array, 2, 2))
    other = world.variable("main.text", TEXT, words(text, 3))
    heap = world.heap()
    assert expression(heap, at, [(3, 4), (2, 12)]) == "main.nodes[1].body"
    assert expression(heap, other, []) == "main.text"
    assert expression(heap, at, [(3, 4), (1, 0)]) == "main.nodes[1][0]"
    assert expression(heap, at, [(3, 20)]) is None
    assert expression(heap, HEAP, []) is None


def test_a_pointer_to_the_inside_claims_no_more_than_there_is() -> None:
    world = World()
    pair = world.put(bytes(48))
    world.variable("main.second", NODE_POINTER, words(pair + 24))
    heap = world.heap()
    claim = heap.claim(0)
    assert claim is not None
    assert (claim.length, claim.start_bytes) == (1, 24)
    assert word_name(heap, 0, 24) == ".next"
    assert word_name(heap, 0, 0) == "+0x0"


def test_what_covers_more_wins() -> None:
    world = World()
    pair = world.put(bytes(48))
    world.variable("main.one", NODE_POINTER, words(pair))
    world.variable("main.both", NODES, words(world.put(words(pair)), 1, 1))
    pointer = len(TABLE)
    world.variables.append(TypedVariable("main.pair", world.static(words(pair)), 4, pointer))
    addresses, sizes = np.array(world.objects, np.int64).T
    types = Types([*TABLE, Type(Kind.POINTER, "*[2]main.node", 4, PAIR)], world.variables)
    heap = TypedHeap(HeapMemory(bytes(world.memory), addresses, sizes), types)
    assert heap.name(0) == "[2]main.node"
    assert word_name(heap, 0, 24 + 4) == "[1].name"


def test_what_is_pointed_to_outside_of_the_heap_is_named_after_its_variable() -> None:
    world = World()
    text = world.put(b"static")
    static = world.static(words(0, text, 6, 0, 0, 0))
    world.variable("main.default", NODE_POINTER, words(static))
    heap = world.heap()
    assert variable_name(heap, static + 4) == "main.default.name"
    assert names(heap) == ["[]uint8"]


def test_a_small_part_does_not_name_the_whole() -> None:
    world = World()
    world.variable("main.canary", NODE_POINTER, words(world.put(bytes(512))))
    heap = world.heap()
    assert heap.name(0) is None
    assert word_name(heap, 0, 4) == ".name"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"plain", '"plain"'),
        (b':path\0"x"', '":path\\x00\\"x\\""'),
        (bytes(9), "9 zeros"),
        (bytes(range(128, 138)), "80 81 82 83 84 85 86 87 88 89"),
        (b"a" * 40, '"' + "a" * 32 + '"...'),
        ("größe".encode(), '"größe"'),
    ],
)
def test_bytes_are_shown_as_what_they_are(data: bytes, text: str) -> None:
    assert shown(data) == text


@given(st.integers(0, 2**32), st.integers(0, 40))
def test_memory_that_lies_leads_nowhere(seed: int, count: int) -> None:
    random, world = Random(seed), World()
    world.memory[:] = random.randbytes(MEMORY_BYTES)
    for at in range(0, MEMORY_BYTES, 4):
        if random.random() < 0.6:
            world.memory[at : at + 4] = words(random.choice((0, 1, 4, 8, 12, HEAP, HEAP + 16 * random.randrange(200))))
    for _ in range(count):
        world.objects.append((HEAP + 48 * len(world.objects), 16 * random.randrange(1, 4)))
    for number in (NODE, NODES, MAP, MAP_POINTER, CHANNEL, ANY, CLOSURE, PAIR):
        at = 4 * random.randrange(VARIABLES // 4)
        world.variables.append(TypedVariable(f"v{number}", at, TABLE[number].size_bytes, number))
    heap = world.heap()
    for index, (_, size) in enumerate(world.objects):
        claim = heap.claim(index)
        if claim is not None:
            assert claim.start_bytes + claim.length * heap.go[claim.type].size_bytes <= size
        assert len(decoded(heap, index, 16)) <= 16
        assert all(isinstance(word_name(heap, index, at), str) for at in range(0, size, 4))
