"""How often an allocation that finds the heap full crosses between C and Python: counted, since times would not show it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import guests_modules
from guests import texts
from tinyheap.guests.program import Program
from tinyheap.guests.serve.prepared import OfferedHeap
from tinyheap.guests.serve.serving import ServingHeap
from tinyheap.hosts import Grants

CALLED_BY_C = {
    function.__code__: function.__name__
    for function in (
        OfferedHeap.allocate,
        ServingHeap.on_exhausted,
        ServingHeap.grow,
        ServingHeap.layout_word,
        ServingHeap.finish_allocation,
    )
}


class Counted:
    """Stands for a compiled object, and counts what is asked of it."""

    def __init__(self, compiled: object, asked: Counter[str]) -> None:
        self.compiled, self.asked = compiled, asked

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        self.asked[name] += 1
        return getattr(self.compiled, name)


@contextmanager
def calls_from_c() -> Iterator[Counter[str]]:
    """What C calls of a served heap, meanwhile."""
    calls: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code in CALLED_BY_C:
            calls[CALLED_BY_C[frame.f_code]] += 1

    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(None)


def test_a_collection_for_an_allocation_crosses_as_seldom_as_it_can() -> None:
    source = texts.GO["medium"]
    with Program.open(guests_modules.path("gofmt-0.4.9"), Grants(seed=1)) as program:
        program.start()
        driver = program.driver()
        driver.format(source)
        heap = program.heap
        assert heap is not None
        bound = heap._open()
        assert bound.serving is not None
        asked: Counter[str] = Counter()
        collector: Any = bound.serving._collector
        collector._engine = collector._stack._engine = Counted(collector._engine, asked)
        variables: Any = bound.serving._variables
        variables._allocator = Counted(variables._allocator, asked)
        begun = len(heap.collections)
        with calls_from_c() as calls:
            while len(heap.collections) < begun + 3:
                driver.format(source)
        collections = len(heap.collections) - begun
        assert {collection.reason for collection in heap.collections[begun:]} == {"exhausted"}
        # No allocation of all the others, and none of these but by the engine's own callbacks.
        assert set(calls) <= {"on_exhausted", "finish_allocation", "grow"}
        assert (calls["on_exhausted"], calls["finish_allocation"]) == (collections, collections)
        del asked["tie"], asked["account_for"]
        # The globals, and the stack where no goroutine runs.
        assert collections <= asked.pop("mark_roots") <= 2 * collections
        each = {"use_mark_stack": 1, "finish_mark": 1, "sweep": 1, "counters": 2, "geometry": 1}
        assert asked == {name: collections * times for name, times in {**each, "publish": 2}.items()}


def test_an_allocation_that_finds_room_crosses_never() -> None:
    with Program.open(guests_modules.path("gofmt-0.4.9"), Grants(seed=1)) as program, calls_from_c() as calls:
        program.start()
        program.driver().format(texts.GO["small"])
        heap = program.heap
        assert heap is not None
        assert heap.stats().mallocs > 100
        # The first allocation of a run begins the heap; of all, those come here that lead to a collection.
        assert calls["allocate"] == 0
        assert calls.total() < 10
