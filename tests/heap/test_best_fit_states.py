"""Best-fit on tiny heaps, exhaustively: every state and list order that operations can reach, and every operation on each.

An oracle over tuples (`best_fit_oracle`) says what the states are and what becomes of them; an engine is put into each by its
bytes.  Heaps of eight blocks have 149,556 states, and growth adds none.  A quick run takes those of five, and samples of larger
ones; CI larger samples; `--long` all of eight, in shares.
A state of seven blocks takes 0.7 ms with the kernel and 1.8 with the model.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, cast

import pytest

from best_fit_oracle import HeapState, Range, allocated, collected, freed, insert, reachable, rebuilt, subsets
from engine_fixtures import BEST_FIT_KINDS, Kind, engine_of, kind_id
from tinyheap.heap.bestfit import freelist
from tinyheap.heap.collectors import Collector
from tinyheap.heap.contract import BestFitEngine
from workbench import Workbench, heap_bytes_for

pytestmark = pytest.mark.conformance

GROWN_BLOCKS: Final = 3
"""So many blocks are added by a growth."""
SHARES: Final = 64
"""The states of eight blocks are tried in so many tests."""
STATES: Final = {1: 2, 2: 7, 3: 26, 4: 110, 5: 532, 6: 3002, 7: 19_722, 8: 149_556}

states_of = lru_cache(maxsize=1)(reachable)


class TinyHeap:
    """An engine over so many blocks, which can be put into any state."""

    def __init__(self, kind: Kind, blocks: int) -> None:
        name, self.collector = kind
        self.blocks = blocks
        self.grown_bytes = heap_bytes_for(blocks + GROWN_BLOCKS)
        self.bench = Workbench(
            engine_of(name, self.collector), blocks, grow_to=[self.grown_bytes], collector=self.collector
        )
        self.bench.grow_to.clear()
        self.first_geometry = self.bench.engine.geometry

    @property
    def engine(self) -> BestFitEngine:
        return cast(BestFitEngine, self.bench.engine)

    def drawn(self, objects: tuple[Range, ...], blocks: int) -> str:
        glyphs = ["."] * blocks
        for first, count in objects:
            glyphs[first : first + count] = "-" * count
            glyphs[self.engine.shape.head_of(first, first + count)] = "*"
        return "".join(glyphs)

    def enter(self, state: HeapState) -> None:
        # What lay there before must not be taken for pointers.
        self.bench.memory[:] = bytes(len(self.bench.memory))
        self.bench.lay(self.drawn(state.objects, self.blocks))
        self.bench.lay_ranges(state.ranges)

    def holds(self, state: HeapState, blocks: int | None = None) -> None:
        assert self.bench.draw() == self.drawn(state.objects, blocks or self.blocks)
        assert tuple(self.engine.free_ranges()) == state.ranges
        assert freelist.problems(self.engine) == []

    def body(self, found: Range) -> int:
        return self.engine.shape.address_of(self.engine.geometry, found[0])

    # ---- every operation --------------------------------------------------------------------------------------------

    def try_all(self, state: HeapState) -> None:
        self.try_allocations(state)
        for found in state.objects:
            self.enter(state)
            assert self.engine.free(self.engine.shape.head_of(found[0], sum(found))) == found[1]
            self.holds(freed(state, found))
        for kept in subsets(state.objects):
            self.enter(state)
            self.bench.roots = [self.body(found) for found in kept]
            expected = collected(kept, self.blocks)
            assert self.bench.collect() == sum(blocks for _, blocks in expected.ranges) * 32
            self.holds(expected)

    def try_allocations(self, state: HeapState) -> None:
        self.bench.roots = [self.body(found) for found in state.objects]
        for blocks in range(1, self.blocks + 1):
            self.enter(state)
            address = self.engine.alloc(self.engine.shape.body_bytes(self.engine.geometry, blocks))
            expected = allocated(state, blocks, self.blocks)
            self.holds(expected)
            made = set(expected.objects) - set(state.objects)
            assert address == (self.body(made.pop()) if made else 0)

    def try_growth(self, state: HeapState) -> None:
        """Growth is last: no engine takes it back."""
        self.enter(state)
        self.engine.resize(self.grown_bytes)
        blocks = self.blocks + GROWN_BLOCKS
        ranges = rebuilt(state.objects, blocks)
        if self.collector is Collector.BEST_FIT_BACK:
            ranges = insert(state.ranges, self.blocks, GROWN_BLOCKS)
        self.holds(HeapState(state.objects, ranges), blocks)


@pytest.mark.parametrize("blocks", [1, 2, 3, 4, 5])
def test_so_many_states(blocks: int) -> None:
    assert len(states_of(blocks)) == STATES[blocks]


@pytest.mark.parametrize("kind", BEST_FIT_KINDS, ids=kind_id)
@pytest.mark.parametrize("blocks", [1, 2, 3, 4, 5])
def test_every_operation_on_every_state(kind: Kind, blocks: int) -> None:
    heap = TinyHeap(kind, blocks)
    for state in states_of(blocks):
        heap.try_all(state)
    heap.bench.close()


@pytest.mark.parametrize("kind", BEST_FIT_KINDS, ids=kind_id)
@pytest.mark.parametrize("blocks", [6, 7])
@pytest.mark.share(3, in_ci=4)
def test_every_operation_on_states_of_larger_heaps(kind: Kind, blocks: int, stride: int) -> None:
    heap = TinyHeap(kind, blocks)
    for state in states_of(blocks)[:: stride if blocks == 6 else 7 * stride]:
        heap.try_all(state)
    heap.bench.close()


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("kind", BEST_FIT_KINDS, ids=kind_id)
@pytest.mark.long
def test_every_operation_on_every_state_of_eight_blocks(kind: Kind, share: int) -> None:
    states = states_of(8)
    assert len(states) == STATES[8]
    heap = TinyHeap(kind, 8)
    for state in states[share::SHARES]:
        heap.try_all(state)
    heap.bench.close()


@pytest.mark.parametrize(
    "blocks", [2, 3, 4, 5, pytest.param(6, marks=pytest.mark.slow), pytest.param(8, marks=pytest.mark.long)]
)
def test_growth_reaches_no_other_state(blocks: int) -> None:
    """What is added behind a smaller heap, in whatever state, is a state that the larger one reaches by itself."""
    known = set(reachable(blocks))
    for smaller in range(1, blocks):
        for state in reachable(smaller):
            assert HeapState(state.objects, insert(state.ranges, smaller, blocks - smaller)) in known
            assert HeapState(state.objects, rebuilt(state.objects, blocks)) in known


@pytest.mark.parametrize("kind", BEST_FIT_KINDS, ids=kind_id)
@pytest.mark.parametrize("blocks", [1, 2, 3, 4, 5])
def test_growth_of_every_state(kind: Kind, blocks: int) -> None:
    for state in states_of(blocks):
        heap = TinyHeap(kind, blocks)
        heap.try_growth(state)
        heap.bench.close()
