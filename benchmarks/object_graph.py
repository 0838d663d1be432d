"""Timing the object graph of a heap of a million objects, from its memory to retained sizes, beside rustworkx.

rustworkx is given the graph as it stands, and finds the immediate dominators, which is the larger part of what is
compared; ours reads objects and references out of memory first, and adds up what is retained after that.
"""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.measure import DisagreementError, Outcome, Row
from tinyheap.heap.buffers import reserve
from tinyheap.heap.heap import Heap
from tinyheap.inspect import HeapFacts, HeapGraph, RootKind, RootSource, RootTable
from tinyheap.inspect.graph import NONE, ROOTS

if TYPE_CHECKING:
    import rustworkx

NAME: Final = "object-graph"
OBJECTS: Final = 1_000_000
QUICK_OBJECTS: Final = 100_000
OBJECT_BYTES: Final = 32
GOAL_NS_PER_OBJECT: Final = 1000
ROOT_WORDS: Final = 20
NEAR: Final = 1000
"""One of an object's two references leads to one of so many objects behind it, the other one anywhere."""


def measure_object_graph(n: int, *, quick: bool) -> Outcome:
    """Reads the same heap so many times on each side.

    Raises:
        DisagreementError: The dominators differ.
    """
    count = QUICK_OBJECTS if quick else OBJECTS
    memory, facts, roots = made(count)
    graph = HeapGraph.of(memory, facts, roots)
    name = f"{NAME}-{count}"
    seconds = [read(memory, facts, roots) for _ in range(n)]
    ours_ns = 1e9 * median(whole for whole, _ in seconds)
    notes = [f"{name}: {ours_ns / 1e6:.0f} ms from memory to retained sizes, {graph.tree.reached} objects reached"]
    try:
        theirs = [rustworkx_seconds(graph) for _ in range(n)]
    except ImportError:
        return Outcome([], [*notes, f"{name}: left out, because rustworkx is not installed"])
    theirs_ns = 1e9 * median(theirs)
    rows = [
        Row(name, "rustworkx", n, ours_ns, theirs_ns, theirs_ns / (GOAL_NS_PER_OBJECT * count)),
        Row(f"{name}-tree", "rustworkx", n, 1e9 * median(tree for _, tree in seconds), theirs_ns, 0),
    ]
    return Outcome(rows, notes)


def made(count: int) -> tuple[memoryview, HeapFacts, RootTable]:
    """A conservative heap of objects with two references each, and roots that reach four fifths of them."""
    memory = memoryview(reserve(2 * OBJECT_BYTES * count, prefault=True))
    heap = Heap(memory, word_bytes=4)
    start = heap.geometry.start_address
    addresses = np.array(heap.alloc_many(count, OBJECT_BYTES), np.uint32)
    random = np.random.default_rng(1)
    words, at = np.frombuffer(memory, np.uint32), (addresses - start) // 4
    words[at] = addresses[random.integers(0, count, count)]
    words[at + 1] = addresses[np.minimum(np.arange(count) + random.integers(0, NEAR, count), count - 1)]
    source = RootSource(RootKind.GLOBAL, "roots")
    roots = RootTable.join([(source, 0, addresses[random.integers(0, count, ROOT_WORDS)])])
    return memory, HeapFacts(heap.geometry, heap.collector, False, start), roots


def read(memory: memoryview, facts: HeapFacts, roots: RootTable) -> tuple[float, float]:
    """Seconds from memory to retained sizes, and those of them that go to what the roots reach."""
    begun = time.perf_counter()
    graph = HeapGraph.of(memory, facts, roots)
    read_at = time.perf_counter()
    _ = graph.tree
    ended = time.perf_counter()
    return ended - begun, ended - read_at


def rustworkx_seconds(graph: HeapGraph) -> float:
    """Seconds that its dominators take, without what it takes to hand it the graph."""
    import rustworkx

    theirs = handed_over(graph)
    begun = time.perf_counter()
    found = rustworkx.immediate_dominators(theirs, len(graph))
    seconds = time.perf_counter() - begun
    expected = [ROOTS if found.get(each) == len(graph) else found.get(each, NONE) for each in range(len(graph))]
    if not np.array_equal(graph.tree.dominator, np.array(expected, np.uint32)):
        raise DisagreementError(f"{NAME}: rustworkx finds other dominators")
    return seconds


def handed_over(graph: HeapGraph) -> rustworkx.PyDiGraph[None, None]:
    """The graph with one vertex more, which stands for the roots."""
    import rustworkx

    theirs: rustworkx.PyDiGraph[None, None] = rustworkx.PyDiGraph()
    theirs.add_nodes_from([None] * (len(graph) + 1))
    theirs.add_edges_from_no_data([(len(graph), each) for each in graph.root_targets.tolist() if each != NONE])
    theirs.add_edges_from_no_data(list(zip(graph.holders.tolist(), graph.targets.tolist(), strict=True)))
    return theirs
