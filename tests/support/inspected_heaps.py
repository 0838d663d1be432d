"""Heaps to be inspected: on all collectors, with every reference known; and memory that nobody vouches for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from tinyheap.heap import Geometry, Heap, Layout
from tinyheap.heap.collectors import Collector
from tinyheap.heap.contract import Gc
from tinyheap.inspect import HeapFacts, HeapGraph, RootKind, RootSource, RootTable

GLOBALS: Final = RootSource(RootKind.GLOBAL, "main.kept", 0x1000)
WORD_SHAPES: Final = ((2, 1), (2, 2), (4, 4), (8, 8))
PATTERNS: Final = ("p", ".", "p.", ".p", "pp.", "..p.", "p" + "." * 40, "." * 30 + "p" * 33)


def facts_of(heap: Heap) -> HeapFacts:
    """What is known of a heap of tinyheap's own, whose memory is all of the image."""
    start_address = heap.geometry.start_address
    return HeapFacts(heap.geometry, heap.collector, heap.gc is Gc.PRECISE, start_address, heap._layouts)


def graph_of(heap: Heap, roots: RootTable | Iterable[int], engine: str | None = None) -> HeapGraph:
    """The graph of a heap of tinyheap's own, from its roots or from words that are."""
    if not isinstance(roots, RootTable):
        words = np.array(list(roots), np.uint64)
        roots = RootTable.join([(GLOBALS, GLOBALS.start_address + 8 * np.arange(len(words)), words)])
    return HeapGraph.of(bytes(heap._memory), facts_of(heap), roots, engine=engine)


@dataclass
class KnownHeap:
    """A heap, and every word that was stored in it.

    Args:
        edges: for each object by address its references: offset and target.
        roots: words from which a collection begins.
        finalizable: objects that have a finalizer.
    """

    heap: Heap
    edges: dict[int, set[tuple[int, int]]] = field(default_factory=dict)
    layouts: dict[int, Layout] = field(default_factory=dict)
    roots: list[int] = field(default_factory=list)
    finalizable: list[int] = field(default_factory=list)

    def table(self) -> RootTable:
        """The roots, those of finalizers included."""
        finalizers = RootSource(RootKind.FINALIZER, "")
        words = GLOBALS.start_address + 8 * np.arange(len(self.roots))
        # Where the table of finalizers lies on the heap, globals hold its parts.
        entries = self.heap._afterlife.due_addresses()
        return RootTable.join([(GLOBALS, words, self.roots), (GLOBALS, 0, entries), (finalizers, 0, self.finalizable)])


@st.composite
def known_heaps(draw: st.DrawFn, *, finalizers: bool = False) -> KnownHeap:
    """Heaps with random objects, of which each word is a reference that is known, or 0."""
    word_bytes, step = draw(st.sampled_from(WORD_SHAPES))
    heap = Heap(
        200 * 4 * word_bytes,
        gc=draw(st.sampled_from((Gc.CONSERVATIVE, Gc.PRECISE))),
        collector=draw(st.sampled_from(list(Collector))),
        word_bytes=word_bytes,
        word_alignment_bytes=step,
        header_alignment_bytes=draw(st.sampled_from((0, 16))),
        clear_blocks=True,
    )
    known = KnownHeap(heap)
    # All live until the edges are drawn.
    held = []
    for size_words in draw(st.lists(st.integers(1, 40), min_size=1, max_size=14)):
        pattern = Layout.pattern(draw(st.sampled_from([each for each in PATTERNS if len(each) <= size_words])))
        layout = draw(st.sampled_from((None, pattern))) if heap.gc is Gc.PRECISE and step == word_bytes else None
        address = heap.alloc(size_words * word_bytes, layout)
        held.append(heap.roots.add(address))
        known.edges[address] = set()
        known.layouts[address] = layout or Layout.UNKNOWN
    _free_some(draw, known)
    _link(draw, known)
    if finalizers:
        for address in draw(st.lists(st.sampled_from([*known.edges]), unique=True, max_size=3)) if known.edges else ():
            heap.set_finalizer(address, lambda _: None)
            known.finalizable.append(address)
    for root in held:
        root.remove()
    addresses = [*known.edges]
    known.roots = draw(st.lists(st.sampled_from([*addresses, 0, 1, heap.geometry.table_address]), max_size=3))
    for word in known.roots:
        heap.roots.add(word)
    return known


def _free_some(draw: st.DrawFn, known: KnownHeap) -> None:
    for address in [*known.edges]:
        if draw(st.integers(0, 4)) == 0:
            known.heap.free(address)
            del known.edges[address]


def _link(draw: st.DrawFn, known: KnownHeap) -> None:
    """Store random references, some to the inside of objects."""
    heap, width = known.heap, known.heap.geometry.word_bytes
    for address in known.edges:
        body = heap.object_at(address)
        for offset in range(0, body.size_bytes - width + 1, width):
            target = draw(st.sampled_from([0, 0, 0, *known.edges]))
            if target == 0:
                heap.store_word(address + offset, 0)
                continue
            inside = draw(st.integers(0, heap.object_at(target).size_bytes - 1))
            heap.store_word(address + offset, target + inside)
            if _counts(known, address, offset, body.size_bytes):
                known.edges[address].add((offset, target))


def _counts(known: KnownHeap, address: int, offset: int, body_bytes: int) -> bool:
    """Whether the collector looks at a word: the layout says so, in best-fit of whole elements only."""
    layout, width = known.layouts[address], known.heap.geometry.word_bytes
    if layout == Layout.UNKNOWN:
        return True
    layout, words = layout.shortest(), body_bytes // width
    if known.heap.collector.has_free_list:
        words -= words % layout.words
    index = offset // width
    return index < words and bool(layout.bitmap >> index % layout.words & 1)


@st.composite
def hostile_images(draw: st.DrawFn) -> tuple[bytes, HeapFacts]:
    """A heap of random bytes: its table, its layouts and its words say anything."""
    word_bytes, step = draw(st.sampled_from(WORD_SHAPES))
    start = 16 * word_bytes
    geometry = Geometry(
        start,
        draw(st.integers(0, 60 * 4 * word_bytes)),
        word_bytes,
        step,
        header_alignment_bytes=draw(st.sampled_from((0, 16))),
        table_counts_itself=True,
    )
    collector, is_precise = draw(st.sampled_from(list(Collector))), draw(st.booleans())
    facts = HeapFacts(geometry, collector, is_precise)
    size = geometry.end_address + draw(st.integers(0, 20))
    random = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    image = random.integers(0, 256, size, np.uint8)
    _sprinkle(image, geometry, random)
    return image.tobytes(), facts


def _sprinkle(image: NDArray[np.uint8], geometry: Geometry, random: np.random.Generator) -> None:
    """Let half of the words be small numbers or addresses, and a part of the table be tails or free."""
    for at in range(0, geometry.table_address - geometry.word_bytes, geometry.word_bytes):
        kind = random.integers(0, 4)
        word = random.integers(0, geometry.end_address) if kind == 0 else random.integers(0, 64)
        if kind < 2:
            image[at : at + geometry.word_bytes] = np.frombuffer(
                int(word).to_bytes(geometry.word_bytes, "little"), np.uint8
            )
    for at in range(geometry.table_address, geometry.end_address):
        image[at] = random.choice([image[at], 0, 0xAA, 0xF0, image[at]])
