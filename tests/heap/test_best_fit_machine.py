"""Random requests to a heap with finalizers on it: what lives, what runs and in which order is as an object graph predicts.

A state machine of Hypothesis's drives a heap and, beside it, a graph of objects, roots and registrations, which knows no
blocks.  Collections happen when the heap needs them; as each begins, the graph predicts its
result.  The heap is precise, so that no number is taken for an address.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from engine_fixtures import FINALIZING_KINDS, Kind, kind_id
from tinyheap.errors import OutOfMemoryError
from tinyheap.heap import ByRatio, Collection, Doubling, FixedStep, Heap, Layout, Listener, NoGrowth, RootHandle
from tinyheap.heap.bestfit.afterlife import TableAfterlife
from tinyheap.units import KIB

pytestmark = pytest.mark.property

POINTERS = Layout.pattern("p")
GROWTHS = (NoGrowth(), Doubling(16 * KIB), FixedStep(KIB, 16 * KIB), ByRatio(4, 3, 256, 16 * KIB))


class Graph:
    """Objects by address: what each refers to, which are rooted, which have finalizers, the newest first."""

    def __init__(self) -> None:
        self.words: dict[int, list[int]] = {}
        self.roots: dict[int, RootHandle] = {}
        self.registered: list[int] = []
        self.pending: list[int] = []
        self.held: list[int] = []
        """What an operation, or a finalizer that runs, keeps alive."""

    def reached(self, addresses: Iterable[int]) -> set[int]:
        """These objects, and all that they lead to."""
        found, todo = set[int](), list(addresses)
        while todo:
            address = todo.pop()
            if address in self.words and address not in found:
                found.add(address)
                todo += self.words[address]
        return found

    def collect(self) -> None:
        """What a collection makes of it."""
        live = self.reached([*self.roots, *self.held])
        dead = [address for address in self.registered if address not in live]
        self.registered = [address for address in self.registered if address in live]
        self.pending = [*reversed(dead), *self.pending]
        live |= self.reached(self.pending)
        self.words = {address: words for address, words in self.words.items() if address in live}


class Told(Listener):
    """Tells the graph of each collection, and checks what that left."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.collections = 0

    def collection_began(self, heap: Heap, reason: str) -> None:
        self.graph.collect()

    def collection_ended(self, heap: Heap, collection: Collection) -> None:
        self.collections += 1


class FinalizingHeap(RuleBasedStateMachine):
    """A heap whose finalizers lie on it, and the graph."""

    kind: Kind
    objects = Bundle("objects")

    @initialize(
        word_bytes=st.sampled_from([2, 4, 8]),
        growth=st.sampled_from(GROWTHS),
        asserts=st.booleans(),
        heap_bytes=st.sampled_from([600, 1500, 4000]),
    )
    def begin(self, word_bytes: int, growth: Any, asserts: bool, heap_bytes: int) -> None:  # noqa: ANN401
        engine, collector = self.kind
        self.heap = Heap(
            heap_bytes,
            engine=engine,
            collector=collector,
            growth=growth,
            word_bytes=word_bytes,
            gc="precise",
            # A last step up to the limit may let the table overlap its old place, which asserts refuse.
            asserts=asserts and isinstance(growth, NoGrowth),
        )
        self.graph = Graph()
        self.told = Told(self.graph)
        self.heap.add_listener(self.told)
        self.running = 0

    @property
    def table(self) -> Any:  # noqa: ANN401
        afterlife = self.heap._afterlife
        assert isinstance(afterlife, TableAfterlife)
        return afterlife.table

    # ---- what a mutator does ----------------------------------------------------------------------------------------

    @rule(target=objects, words=st.integers(1, 12))
    def allocate(self, words: int) -> int:
        """A new object, which is rooted; nil where there is no room."""
        try:
            address = self.heap.alloc(words * self.heap.geometry.word_bytes, POINTERS)
        except OutOfMemoryError:
            return 0
        self.graph.words[address] = [0] * words
        self.root(address)
        return address

    @rule(address=objects)
    def root(self, address: int) -> None:
        if address in self.graph.words and address not in self.graph.roots:
            self.graph.roots[address] = self.heap.roots.add(address)

    @rule(address=objects)
    def unroot(self, address: int) -> None:
        handle = self.graph.roots.pop(address, None)
        if handle is not None:
            handle.remove()

    @rule(source=objects, to=objects, word=st.integers(0, 11))
    def link(self, source: int, to: int, word: int) -> None:
        words = self.graph.words.get(source, [])
        if word < len(words) and to in (0, *self.graph.words):
            self.heap.store_word(source + word * self.heap.geometry.word_bytes, to)
            words[word] = to

    @rule(address=objects, saves=st.booleans(), allocates=st.booleans())
    def set_finalizer(self, address: int, saves: bool, allocates: bool) -> None:
        if address not in self.graph.words:
            return

        def finalizer(found: int) -> None:
            self.run(found, saves, allocates)

        self.graph.held.append(address)
        try:
            self.heap.set_finalizer(address, finalizer)
        except OutOfMemoryError:
            return
        finally:
            self.graph.held.remove(address)
        if address not in self.graph.registered:
            self.graph.registered.insert(0, address)

    def run(self, address: int, saves: bool, allocates: bool) -> None:
        """A finalizer runs, the one that has to be next."""
        assert self.graph.pending.pop(0) == address
        self.running += 1
        if saves:
            self.graph.roots[address] = self.heap.roots.add(address)
        if allocates:
            self.graph.held.append(address)
            try:
                self.heap.alloc(3, POINTERS)
            except OutOfMemoryError:
                pass
            finally:
                self.graph.held.remove(address)

    @rule(count=st.integers(2, 5), saves=st.booleans())
    def litter(self, count: int, saves: bool) -> None:
        """Objects that die together, with finalizers."""
        for address in [self.allocate(1) for _ in range(count)]:
            self.set_finalizer(address, saves, False)
            self.unroot(address)

    @rule(address=objects)
    def clear_finalizer(self, address: int) -> None:
        if address in self.graph.words:
            self.heap.set_finalizer(address, None)
            if address in self.graph.registered:
                self.graph.registered.remove(address)

    @rule()
    def collect(self) -> None:
        collection = self.heap.collect()
        if self.heap.last_collection is collection and self.running == 0:
            entries = len(self.graph.registered) + len(self.graph.pending)
            assert collection.live_objects == len(self.graph.words) + entries + (self.table.bits != 0)
        self.running = 0

    @rule()
    def idle(self) -> None:
        is_pressing = self.table.is_pressing
        assert (self.heap.idle() is not None) == is_pressing

    @rule()
    def grow(self) -> None:
        self.heap.grow()

    # ---- what holds then --------------------------------------------------------------------------------------------

    @invariant()
    def heap_is_as_the_graph_says(self) -> None:
        heap, word_bytes = self.heap, self.heap.geometry.word_bytes
        heap.verify()
        assert self.graph.pending == []
        for address, words in self.graph.words.items():
            assert heap.object_at(address).address == address
            assert [heap.load_word(address + at * word_bytes) for at in range(len(words))] == words
        table = self.table
        assert [table.object_of(entry) for entry in table.entries(table.registered)] == self.graph.registered
        assert heap.stats().num_gc == self.told.collections

    def teardown(self) -> None:
        if hasattr(self, "heap"):
            self.heap.close()


@pytest.mark.parametrize("kind", FINALIZING_KINDS, ids=kind_id)
@pytest.mark.share(1)
def test_finalizers_in_any_order(kind: Kind) -> None:
    machine = type("Machine", (FinalizingHeap,), {"kind": kind})
    run_state_machine_as_test(machine)
