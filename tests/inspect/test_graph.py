"""Objects, references and what roots reach: against heaps of which every word is known, and against the collector."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspected_heaps import KnownHeap, facts_of, graph_of, hostile_images, known_heaps
from tinyheap.errors import GeometryError, HeapError, InvalidAddressError, InvalidTypeError
from tinyheap.heap import Gc, Heap, Layout
from tinyheap.inspect import Certainty, HeapGraph, RootKind, RootSource, RootTable
from tinyheap.inspect.paths import dominators_of

NO_ROOTS: Final = RootTable.join([])
ENGINES: Final = ("kernel", "model")
engines = pytest.mark.parametrize("engine", ENGINES)


def as_mmap(image: bytes) -> mmap.mmap:
    found = mmap.mmap(-1, len(image))
    found[:] = image
    return found


def edges_of(graph: HeapGraph) -> dict[int, set[tuple[int, int]]]:
    return {
        graph.address_of(holder): {
            (int(graph.offsets[each]), graph.address_of(int(graph.targets[each])))
            for each in graph.references_of(holder)
        }
        for holder in range(len(graph))
    }


@engines
@pytest.mark.property
@given(known=known_heaps())
@pytest.mark.share(1)
def test_objects_and_references_are_those_that_were_made(engine: str, known: KnownHeap) -> None:
    graph = graph_of(known.heap, known.table(), engine)
    geometry = known.heap.geometry
    if geometry.word_bytes == geometry.word_alignment_bytes:
        assert edges_of(graph) == known.edges
    else:
        # Between two words that were stored lie others, which no program stored.
        found = edges_of(graph)
        assert found.keys() == known.edges.keys()
        assert all(edges <= found[address] for address, edges in known.edges.items())
    made = {found.address: (found.first, found.blocks) for found in known.heap.objects()}
    pairs = zip(graph.first.tolist(), graph.blocks.tolist(), strict=True)
    assert dict(zip(graph.addresses.tolist(), pairs, strict=True)) == made
    assert graph.orphan_blocks == 0


@engines
@pytest.mark.property
@given(known=known_heaps(finalizers=True))
@pytest.mark.share(1)
def test_garbage_is_what_the_next_collection_frees(engine: str, known: KnownHeap) -> None:
    graph = graph_of(known.heap, known.table(), engine)
    before = {found.address for found in known.heap.objects()}
    known.heap.collect()
    freed = before - {found.address for found in known.heap.objects()}
    assert set(graph.addresses[graph.is_garbage].tolist()) == freed


@pytest.mark.property
@given(image=hostile_images(), values=st.lists(st.integers(0, 1 << 13), max_size=6))
def test_the_engines_agree_on_any_bytes(image: tuple[bytes, object], values: list[int]) -> None:
    memory, facts = image
    roots = RootTable.join([(RootSource(RootKind.GLOBAL, "x"), 0, values)])
    kernel, model = (HeapGraph.of(memory, facts, roots, engine=engine) for engine in ENGINES)  # type: ignore[arg-type]
    for name in ("first", "blocks", "certainty", "reference_starts", "targets", "offsets", "root_targets", "shapes"):
        assert np.array_equal(getattr(kernel, name), getattr(model, name)), name
    assert kernel.orphan_blocks == model.orphan_blocks
    for name in ("dominator", "retained_objects", "retained_bytes", "distance", "step", "reached"):
        assert np.array_equal(getattr(kernel.tree, name), getattr(model.tree, name)), name


@pytest.mark.parametrize("engine", ENGINES)
def test_what_lies_behind_free_blocks_is_found(engine: str) -> None:
    for blocks in (*range(29, 36), *range(61, 68), 96, 97, 128):
        heap = Heap(8192, word_bytes=4)
        free, kept = heap.alloc(16 * blocks), heap.alloc(40)
        heap.free(free)
        graph = graph_of(heap, [kept], engine)
        assert (graph.addresses.tolist(), graph.blocks.tolist()) == ([kept], [3]), f"behind {blocks} blocks"


def test_an_object_with_a_finalizer_is_held_by_that_alone_when_nothing_else_holds_it() -> None:
    heap = Heap(2048, word_bytes=4)
    kept, lost, child = (heap.alloc(16) for _ in range(3))
    heap.store_word(lost, child)
    finalizers = RootSource(RootKind.FINALIZER, "")
    globals_ = RootSource(RootKind.GLOBAL, "main.kept", 64)
    graph = graph_of(heap, RootTable.join([(globals_, 64, kept), (finalizers, 0, [kept, lost])]))
    assert not graph.is_garbage.any()
    assert graph.holding_roots.tolist() == [graph.object_at(kept), 0xFFFF_FFFF, graph.object_at(lost)]


def test_an_unreadable_layout_holds_nothing() -> None:
    heap = Heap(2048, word_bytes=4, gc=Gc.PRECISE)
    known, unknown, lost = heap.alloc(16, Layout.pattern("p...")), heap.alloc(16), heap.alloc(16)
    heap.store_word(known, lost)
    heap.store_word(unknown, lost)
    assert graph_of(heap, []).certainty.tolist() == [Certainty.CERTAIN, Certainty.POSSIBLE, Certainty.POSSIBLE]
    heap._engine.store_word(known - heap.geometry.header_bytes, 0xFFFF_FFF0)
    graph = graph_of(heap, [])
    assert Certainty(int(graph.certainty[0])) is Certainty.UNREADABLE
    assert edges_of(graph)[known] == set()


def test_what_an_object_is() -> None:
    heap = Heap(2048, word_bytes=4, gc=Gc.PRECISE, collector="best-fit")
    first, second = heap.alloc(40, Layout.pattern("p.")), heap.alloc(5)
    heap.store_word(first, second + 3)
    heap.write(second, b"hello")
    graph = graph_of(heap, [first])
    assert [graph.object_at(address) for address in (first, first + 39, second)] == [0, 0, 1]
    assert graph.body_of(1).tobytes()[:6] == b"hello\0"
    assert graph.layout_words[0] == Layout.pattern("p.").inline_word(4)
    assert graph.sizes_bytes.tolist() == [48, 16]
    assert graph.holder_of(0) == 0
    assert graph.holders.tolist() == [0]
    assert graph.references_to(1) == [0]
    assert graph.roots_to(0) == [0]
    with pytest.raises(InvalidAddressError, match="lies in no object of the heap"):
        graph.object_at(second + 64)


def test_a_heap_that_does_not_lie_in_the_image_is_refused() -> None:
    heap = Heap(2048, word_bytes=4)
    facts = facts_of(heap)
    for engine in ENGINES:
        with pytest.raises(GeometryError, match="does not lie in the memory image: it has 2047 bytes"):
            HeapGraph.of(bytes(2047), facts, NO_ROOTS, engine=engine)
        with pytest.raises(GeometryError, match="does not lie in the memory image"):
            HeapGraph.of(bytes(2048), replace(facts, memory_start_address=1 << 20), NO_ROOTS, engine=engine)


@pytest.mark.parametrize("image", [None, 7, memoryview(bytes(4096))[::2]])
def test_an_image_is_bytes_in_one_piece(image: object) -> None:
    with pytest.raises(InvalidTypeError, match="a memory image is a buffer of bytes in one piece, not this"):
        HeapGraph.of(image, facts_of(Heap(2048, word_bytes=4)), NO_ROOTS)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [bytearray, memoryview, lambda image: np.frombuffer(image, np.uint32), as_mmap])
def test_any_bytes_are_an_image(kind: Callable[[bytes], Any]) -> None:
    heap = Heap(2048, word_bytes=4)
    heap.store_word(heap.alloc(16), heap.alloc(16))
    graph = HeapGraph.of(kind(bytes(heap._memory)[:2048]), facts_of(heap), NO_ROOTS)
    assert (len(graph), len(graph.targets)) == (2, 1)


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(HeapError, match="invalid engine 'fast': expected kernel or model"):
        graph_of(Heap(2048), [], "fast")


def test_an_object_with_two_references_takes_less_than_100_bytes() -> None:
    heap = Heap(1 << 20, word_bytes=4)
    made = heap.alloc_many(10_000, 32)
    for address in made:
        heap.store_word(address, made[0])
        heap.store_word(address + 4, made[9_999])
    graph = graph_of(heap, made[:10])
    tables = [graph, graph.tree, graph.incoming]
    arrays = [each for table in tables for each in vars_of(table) if isinstance(each, np.ndarray)]
    assert len(graph.targets) == 20_000
    assert sum(each.nbytes for each in arrays) < 100 * len(graph)


def vars_of(table: object) -> list[object]:
    return [getattr(table, name) for name in table.__dataclass_fields__]  # type: ignore[attr-defined]


@engines
@pytest.mark.property
@given(known=known_heaps(), seed=st.integers(0, 1 << 16))
@pytest.mark.share(1)
def test_outermost_are_those_that_none_of_their_group_dominates(engine: str, known: KnownHeap, seed: int) -> None:
    graph = graph_of(known.heap, known.table(), engine)
    groups = np.random.default_rng(seed).integers(0, 2, len(graph)).astype(np.uint32)
    if len(graph) < 2:
        groups[:] = 0
    for found, is_outermost in enumerate(graph.outermost(groups).tolist()):
        above = {int(groups[each]) for each in dominators_of(graph, found)}
        assert is_outermost == (not graph.is_garbage[found] and int(groups[found]) not in above)
