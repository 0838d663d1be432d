"""Callbacks that do anything: both engines give the same results or typed errors, and stay sound.

A program on two heaps, one an engine.  Whenever a heap calls code of its user's (its growth policy, a root source, a listener,
a finalizer, a weak reference's hook, a number that is an argument), that code does what comes next in a plan.  What comes of
it is compared, and so are the heaps, byte for byte, after each step.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import needs
from callbacks import ACTS, CHANGES, CLOSES, EVENTS, LOOKS, OUTSIDE, Hands, Number, Pattern, Policy, Watcher
from tinyheap.errors import HeapError
from tinyheap.heap import Heap

pytestmark = pytest.mark.property

ENGINES: Final = ("kernel", "model")
CAPACITY_BYTES: Final = 3000
DEPTH: Final = 3
"""So deep callbacks are called by what callbacks do, at most."""
ANSWERS: Final = (None, None, None, 0, -5, 1 << 70, 4096.5, "more", True)
PLANS: Final = st.lists(
    st.one_of(
        st.sampled_from(sorted({**LOOKS, **OUTSIDE})),
        st.sampled_from(sorted(CHANGES)),
        st.sampled_from(sorted(CLOSES)),
        st.sampled_from(sorted(ACTS)),
    ),
    min_size=1,
    max_size=8,
)
PICKS: Final = st.integers(0, 50)
SIZES: Final = st.one_of(st.integers(0, 100), st.integers(200, 1500))


@dataclass
class Twin:
    """One of the two heaps, and what its callbacks did."""

    heap: Heap
    memory: bytearray
    hands: Hands = field(init=False)
    plan: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    depth: int = 0

    def __post_init__(self) -> None:
        self.hands = Hands(self.heap)

    def act(self, place: str) -> None:
        """Do what comes next."""
        if not self.plan or self.depth == DEPTH:
            return
        name = self.plan.pop(0)
        self.depth += 1
        try:
            outcome = repr(ACTS[name](self.hands))
        except (HeapError, TypeError, BufferError) as error:
            outcome = told(error)
        except BaseException as error:
            self.log.append(f"{place}: {name}: {told(error)}")
            raise
        finally:
            self.depth -= 1
        self.log.append(f"{place}: {name}: {outcome}")

    def source(self) -> list[bytes]:
        self.act("source")
        return []

    def report(self, unraisable: Any) -> None:  # noqa: ANN401
        self.log.append(f"reported: {told(unraisable.exc_value)}")


def told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


class Reentry(RuleBasedStateMachine):
    """One program, whose callbacks do what they please."""

    @initialize(
        gc=st.sampled_from(["conservative", "conservative", "precise", "precise", "leaking"]),
        size_bytes=st.integers(200, 1200),
        asserts=st.booleans(),
        mark_stack_entries=st.sampled_from([0, 1]),
        answers=st.lists(st.sampled_from(ANSWERS), max_size=4),
        events=st.sets(st.sampled_from(EVENTS)),
        has_source=st.booleans(),
    )
    def make_heaps(
        self,
        gc: str,
        size_bytes: int,
        asserts: bool,
        mark_stack_entries: int,
        answers: list[Any],
        events: set[str],
        has_source: bool,
    ) -> None:
        self.twins = []
        for engine in ENGINES:
            memory = bytearray(CAPACITY_BYTES)
            heap = Heap(
                memory,
                gc=gc,
                size_bytes=size_bytes,
                engine=engine,
                asserts=asserts,
                mark_stack_entries=mark_stack_entries,
                word_bytes=4,
            )
            twin = Twin(heap, memory)
            heap.growth = Answering(twin, list(answers))
            heap.add_listener(Watcher(partial(twin.act, "listener"), events))
            if has_source:
                heap.roots.add_source(twin.source)
            self.twins.append(twin)

    def both(self, request: Callable[[Twin], Any]) -> Any:  # noqa: ANN401  whatever the heap gives
        """Ask both; what they answered and did is alike."""
        answers = []
        hook = sys.unraisablehook
        for twin in self.twins:
            sys.unraisablehook = twin.report
            try:
                answers.append((request(twin), ""))
            except (HeapError, ValueError, KeyboardInterrupt) as error:
                answers.append((None, told(error)))
            finally:
                sys.unraisablehook = hook
        one, other = self.twins
        assert one.log == other.log
        assert answers[0] == answers[1]
        return answers[0][0]

    def both_with(self, plan: list[str], request: Callable[[Twin], Any]) -> Any:  # noqa: ANN401
        """Ask both, with a plan for the callbacks."""
        for twin in self.twins:
            twin.plan, twin.log = list(plan), []
        return self.both(request)

    @rule(plan=PLANS, size_bytes=SIZES, kept=st.booleans())
    def alloc(self, plan: list[str], size_bytes: int, kept: bool) -> None:
        address = self.both_with(plan, lambda twin: twin.heap.alloc(size_bytes))
        if kept and address is not None:
            self.both(lambda twin: twin.hands.roots.append(twin.heap.roots.add(address)))

    @rule(plan=PLANS, count=st.integers(0, 12), size_bytes=st.integers(0, 120))
    def alloc_many(self, plan: list[str], count: int, size_bytes: int) -> None:
        self.both_with(plan, lambda twin: list(twin.heap.alloc_many(count, size_bytes)))

    @rule(plan=PLANS, size_bytes=SIZES, count=st.integers(0, 5))
    def ask_by_numbers_that_act(self, plan: list[str], size_bytes: int, count: int) -> None:
        def request(twin: Twin) -> Any:  # noqa: ANN401
            size: Any = Number(lambda: twin.act("size"), size_bytes)
            number: Any = Number(lambda: twin.act("count"), count)
            return twin.heap.alloc(size), list(twin.heap.alloc_many(number, size))

        self.both_with(plan, request)

    @rule(plan=PLANS, size_bytes=SIZES)
    def ask_by_a_layout_that_acts(self, plan: list[str], size_bytes: int) -> None:
        self.both_with(plan, lambda twin: twin.heap.alloc(size_bytes, Pattern.that(lambda: twin.act("layout"))))

    @rule(plan=PLANS, pick=PICKS, size_bytes=SIZES)
    def realloc(self, plan: list[str], pick: int, size_bytes: int) -> None:
        self.both_with(plan, lambda twin: twin.heap.realloc(pick_of(twin, pick), size_bytes))

    @rule(plan=PLANS, pick=PICKS)
    def free(self, plan: list[str], pick: int) -> None:
        self.both_with(plan, lambda twin: twin.heap.free(pick_of(twin, pick)))

    @rule(count=st.integers(1, 6))
    def lose(self, count: int) -> None:
        """Objects that nothing keeps, and whose death is told."""

        def request(twin: Twin) -> None:
            for address in twin.heap.alloc_many(count, 40):
                twin.heap.set_finalizer(address, lambda _: twin.act("finalizer"))
                twin.heap.weak(address, lambda _: twin.act("hook"))

        self.both_with([], request)

    @rule(plan=PLANS)
    def collect(self, plan: list[str]) -> None:
        self.both_with(plan, lambda twin: twin.heap.collect().live_objects)

    @rule(plan=PLANS)
    def grow(self, plan: list[str]) -> None:
        self.both_with(plan, lambda twin: twin.heap.grow())

    @rule(drop=st.integers(0, 5))
    def drop_roots(self, drop: int) -> None:
        for _ in range(drop):
            self.both(lambda twin: twin.hands.drop_root())

    @rule(name=st.sampled_from(sorted(set(ACTS) - set(CLOSES) - {"fork", "close in a thread"})))
    def act(self, name: str) -> None:
        self.both_with([name], lambda twin: twin.act("outside"))

    @invariant()
    def heaps_are_sound_and_equal(self) -> None:
        one, other = self.twins
        for twin in self.twins:
            twin.heap.verify()
        assert one.memory == other.memory
        assert one.heap.geometry == other.heap.geometry
        assert one.heap.next_alloc == other.heap.next_alloc
        assert one.heap.stats() == other.heap.stats()
        assert one.heap.counters()[:5] == other.heap.counters()[:5]
        assert list(one.heap.objects()) == list(other.heap.objects())
        assert len(one.heap.roots.tasks) == len(other.heap.roots.tasks)

    def teardown(self) -> None:
        for twin in getattr(self, "twins", []):
            twin.heap.close()
            # The buffer was let go.
            twin.memory.append(0)


class Answering(Policy):
    """A growth policy that acts, and whose answers make sense or not."""

    def __init__(self, twin: Twin, answers: list[Any]) -> None:
        super().__init__(lambda: twin.act("growth policy"))
        self.answers = answers

    def next_bytes(self, heap_bytes: int) -> Any:  # noqa: ANN401
        self.answer = self.answers.pop(0) if self.answers else None
        return super().next_bytes(heap_bytes)

    def __repr__(self) -> str:
        return "Answering()"


def pick_of(twin: Twin, pick: int) -> int:
    """One of the objects; nil where there are none."""
    addresses = [found.address for found in twin.heap.objects()]
    return addresses[pick % len(addresses)] if addresses else 0


TestReentry = Reentry.TestCase
TestReentry.settings = settings(
    max_examples=50 if needs.IN_CI else 12, stateful_step_count=60 if needs.IN_CI else 30, deadline=None
)
