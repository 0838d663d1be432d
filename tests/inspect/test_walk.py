"""The compiled walk along typed pointers never differs from its model: on random types, random memory, and what is hostile."""

from __future__ import annotations

import time
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspected_heaps import million_objects
from tinyheap.inspect import HeapGraph, NamedGraph, WordCertainty
from tinyheap.inspect.certainty import CERTAINTIES, word_certainties
from tinyheap.inspect.heap_memory import HeapMemory
from tinyheap.inspect.naming import Layered, ShapeNames
from tinyheap.inspect.type_names import TypeNames, typed_heap
from tinyheap.inspect.typed import TypedHeap
from tinyheap.symbols.types import Field, Kind, Type, TypedVariable, Types
from typed_worlds import FUNCTIONS, HEAP, MEMORY_BYTES, NODE_POINTER, TABLE, TEXT, World, words

_walk = pytest.importorskip("tinyheap.inspect._walk", reason="the kernel is not compiled")

pytestmark = pytest.mark.property

OPENED_IN_S = 2
ROOT = 0x1000
"""Where a variable lies."""
FAR = (-(1 << 70), -(1 << 33), -4, 1 << 20, 1 << 33, 1 << 70)
"""Offsets and sizes that no sound type has."""


def random_types(random: Random) -> list[Type]:
    """Go's own types, and others that are made of them and of each other, not all of which can be."""
    table = list(TABLE)
    count = random.randrange(1, 12)
    numbers = range(len(table) + count)
    for number in range(len(table), len(table) + count):
        kind = random.choice((Kind.RECORD, Kind.RECORD, Kind.POINTER, Kind.POINTER, Kind.ARRAY, Kind.UNSIGNED))
        element = random.choice(numbers) if random.random() < 0.9 else -1
        if kind is Kind.RECORD:
            table.append(random_record(random, f"main.r{number}", table, numbers))
        elif kind is Kind.ARRAY:
            length = random.choice((0, 1, 2, 5))
            size_bytes = table[element].size_bytes * length if 0 <= element < len(table) else 8
            table.append(Type(kind, f"main.a{number}", size_bytes, element, length))
        else:
            table.append(Type(kind, f"main.p{number}", 4, element))
    return table


def random_record(random: Random, name: str, table: list[Type], numbers: range) -> Type:
    """Fields one after the other; now and then one lies elsewhere, or the record has another size."""
    names = random.choice((("ptr", "len"), ("ptr", "len", "cap"), ("typecode", "value"), ("context", "fn"), ("a", "b")))
    fields, offset = [], 0
    for each in (*names, *random.choice(((), ("c", "d"), ("canaryPtr",)))):
        number = random.choice(numbers if random.random() < 0.4 else range(len(TABLE)))
        fields.append(Field(each, offset if random.random() < 0.97 else random.choice(FAR), number))
        offset += table[number].size_bytes if number < len(table) else 4
    size_bytes = offset if random.random() < 0.9 else random.choice((0, *FAR))
    return Type(Kind.RECORD, name, size_bytes, fields=tuple(fields))


def random_memory(random: Random) -> HeapMemory:
    """Memory whose words mostly point to objects in it, and to their beginnings."""
    objects, at = [], HEAP
    while at < MEMORY_BYTES - 256:
        size = 16 * random.choice((1, 2, 3, 3, 5, 16))
        if random.random() < 0.9:
            objects.append((at, size - random.choice((0, 0, 4, 16))))
        at += size
    memory = bytearray(random.randbytes(MEMORY_BYTES))
    for at in range(0, MEMORY_BYTES, 4):
        static, inner = 4 * random.randrange(HEAP // 4), HEAP + 4 * random.randrange((MEMORY_BYTES - HEAP) // 4)
        begin = random.choice(objects)[0]
        if random.random() < 0.9:
            memory[at : at + 4] = words(random.choice((0, 1, 2, 4, 40, static, inner, begin, begin, begin)))
    addresses, sizes = (np.array(column, np.int64) for column in zip(*objects, strict=True))
    return HeapMemory(bytes(memory), addresses, sizes, FUNCTIONS.get)


def random_variable(random: Random, index: int, table: list[Type]) -> TypedVariable:
    number = random.randrange(len(table))
    at = random.choice(FAR) if random.random() < 0.05 else 4 * random.randrange(HEAP // 4)
    is_description = random.random() < 0.2
    return TypedVariable(f"type {table[number].name}" if is_description else f"main.v{index}", at, 4, number)


def both(seed: int) -> tuple[TypedHeap, TypedHeap]:
    random = Random(seed)
    table, memory = random_types(random), random_memory(random)
    variables = [random_variable(random, index, table) for index in range(random.randrange(1, 40))]
    types = Types(table, variables)
    kernel, model = (TypedHeap(memory, types, engine=engine) for engine in ("kernel", "model"))
    return kernel, model


@given(st.integers(0, 1 << 32))
def test_the_kernel_claims_the_same(seed: int) -> None:
    kernel, model = both(seed)
    for column in ("numbers", "lengths", "starts", "covered", "times"):
        one, other = (getattr(each._claims, column).tolist() for each in (kernel, model))
        assert one == other, column
    assert kernel.known == model.known
    assert kernel.go.table == model.go.table
    for index in np.flatnonzero(kernel.numbers >= 0).tolist():
        claim = kernel.claim(index)
        assert claim is not None
        end = claim.start_bytes + claim.length * kernel.go[claim.type].size_bytes
        assert 0 <= claim.start_bytes < end <= kernel.memory.size_bytes(index)
    assert kernel.are_named.tolist() == [kernel.name(index) is not None for index in range(kernel.memory.count)]


def test_worlds_are_of_every_kind() -> None:
    """That what is compared above is something."""
    shapes, claimed, known = set(), 0, 0
    for seed in range(60):
        kernel, _ = both(seed)
        claimed += int(np.count_nonzero(kernel.numbers >= 0))
        known += len(kernel.known)
        shapes |= {kernel.go.shape(int(each)) for each in np.unique(kernel.numbers) if each >= 0}
    assert claimed > 300
    assert known > 100
    assert len(shapes) >= 5


@pytest.mark.slow
def test_a_million_objects_with_types_are_opened_in_two_seconds_more() -> None:
    """That is, of processor time: walked, named, and each reference asked how sure it is."""
    graph = million_objects()
    memory = bytearray(graph.memory)
    memory[ROOT : ROOT + 4] = graph.address_of(0).to_bytes(4, "little")
    graph = HeapGraph.of(memory, graph.facts, graph.roots)
    fields = [Field(name, 4 * at, 1) for at, name in enumerate(("left", "right", "other"))]
    node = Type(Kind.RECORD, "main.node", 16, fields=(*fields, Field("number", 12, 2)))
    table = [node, Type(Kind.POINTER, "*main.node", 4, 0), Type(Kind.UNSIGNED, "uint32", 4)]
    begun_s = time.process_time()
    typed = typed_heap(graph, Types(table, [TypedVariable("main.root", ROOT, 4, 1)]), None, list)
    assert typed is not None
    named = NamedGraph(graph, Layered(TypeNames(typed), ShapeNames()), typed)
    sure = word_certainties(named)
    assert [named.groups.names[int(each)] for each in np.unique(named.groups.of)] == ["main.node"]
    taken_s = time.process_time() - begun_s
    assert set(np.unique(sure).tolist()) == {CERTAINTIES.index(WordCertainty.BY_TYPE)}
    assert taken_s < OPENED_IN_S


def test_what_waits_is_compacted_and_grows() -> None:
    """Thousands of values wait at once, and then few."""
    count = 5000
    addresses = 0x10000 + 16 * np.arange(count, dtype=np.int64)
    memory = np.zeros(0x10000 + 16 * count, np.uint8)
    memory.view(np.uint32)[: count + 1] = [0, *addresses.tolist()]
    memory.view(np.uint32)[addresses[:-1] // 4] = addresses[1:]
    table = [
        Type(Kind.RECORD, "node", 16, fields=(Field("next", 0, 1),)),
        Type(Kind.POINTER, "*node", 4, 0),
        Type(Kind.ARRAY, f"[{count}]*node", 4 * count, 1, count),
    ]
    types = Types(table, [TypedVariable("main.first", 4, 4, 1), TypedVariable("main.all", 4, 4 * count, 2)])
    for engine in ("kernel", "model"):
        heap = TypedHeap(HeapMemory(memory.tobytes(), addresses, np.full(count, 16)), types, engine=engine)
        assert set(heap.numbers.tolist()) == {0}


@pytest.mark.parametrize("engine", ["kernel", "model"])
def test_a_list_is_followed_while_what_waits_is_moved(engine: str) -> None:
    count = 1000
    addresses = 0x1000 + 16 * np.arange(count, dtype=np.int64)
    memory = np.zeros(0x1000 + 16 * count, np.uint8)
    memory.view(np.uint32)[[1, *addresses[:-1] // 4]] = addresses
    table = [Type(Kind.RECORD, "node", 16, fields=(Field("next", 0, 1),)), Type(Kind.POINTER, "*node", 4, 0)]
    types = Types(table, [TypedVariable("main.first", 4, 4, 1)])
    heap = TypedHeap(HeapMemory(memory.tobytes(), addresses, np.full(count, 16)), types, engine=engine)
    assert heap.numbers.tolist() == [0] * count


@pytest.mark.parametrize("engine", ["kernel", "model"])
@pytest.mark.parametrize(
    ("lengths", "claimed"), [((16,), 16), ((17,), 16), ((99,), 16), ((1, 2, 3, 4, 5), 4), ((5, 4), 5)]
)
def test_claims_end_with_their_object_and_are_made_four_times(
    lengths: tuple[int, ...], claimed: int, engine: str
) -> None:
    world = World()
    text = world.put(b"text")
    for number, length in enumerate(lengths):
        world.variable(f"main.text{number}", TEXT, words(text, length))
    heap = world.heap(engine=engine)
    claim = heap.claim(0)
    assert claim is not None
    assert claim.length == claimed


@pytest.mark.parametrize("engine", ["kernel", "model"])
def test_the_last_word_of_memory_is_one(engine: str) -> None:
    world = World()
    world.put(bytes(24))
    world.memory[-4:] = words(HEAP)
    world.variables.append(TypedVariable("main.last", MEMORY_BYTES - 4, 4, NODE_POINTER))
    assert world.heap(engine=engine).name(0) == "main.node"


def test_the_border_refuses_what_is_out_of_range() -> None:
    heap = TypedHeap(HeapMemory(bytes(64), np.array([32]), np.array([16])), Types(TABLE))
    walk = heap._walk
    assert isinstance(walk, _walk.Walk)
    with pytest.raises(ValueError, match="out of range"):
        walk.claim(1, 0, 0, 1)
    with pytest.raises(ValueError, match="out of range"):
        walk.claim(0, -1, 0, 1)
    with pytest.raises(ValueError, match="not known"):
        walk.push(0, 1, 99)
    with pytest.raises(ValueError, match="out of range"):
        walk.add_type(-1, 4, ())
