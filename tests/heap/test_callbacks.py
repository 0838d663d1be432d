"""What the documentation says of callbacks is what they can do, cell by cell, on both engines."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from callbacks import (
    CALLS,
    CHANGES,
    CLOSES,
    LOOKS,
    OUTSIDE,
    Act,
    Hands,
    Policy,
    Watcher,
    call_finalizer_in_allocation,
    soundness,
)
from engine_fixtures import MakeHeap
from tinyheap.errors import HeapBusyError, HeapCorruptError, HeapError, InvalidTypeError
from tinyheap.heap import Doubling, Heap, Layout, Listener
from tinyheap.heap.contract import Engine
from tinyheap.heap.monitor import Monitor
from tinyheap.units import KIB

DOCUMENTATION: Final = Path(__file__).resolve().parents[2] / "docs" / "semantics.md"
COLUMNS: Final = {"look": LOOKS, "roots, tasks, listeners": OUTSIDE, "change": CHANGES, "close": CLOSES}
REFUSED: Final = re.compile(r"the heap cannot be \w+ while .+; try again when that has ended")
OTHER_THREAD: Final = "another thread"


def table() -> dict[str, dict[str, str]]:
    """The documentation's table, by the code that is called and by column."""
    section = DOCUMENTATION.read_text().partition("\n## Callbacks\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*\|$", section, re.M)]
    return {row[0]: dict(zip(rows[0][1:], row[1:], strict=True)) for row in rows[2:]}


CELLS: Final = [(code, column, cells[column]) for code, cells in table().items() for column in COLUMNS if code in CALLS]


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """What came out of callbacks and went no further."""
    errors: list[BaseException] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda given: errors.append(given.exc_value))
    return errors


def heap_for(make_heap: MakeHeap, code: str, act: Act) -> Heap:
    """A heap for a callback; one that traces where that is what is called."""
    if code == "debug callback":
        return make_heap(KIB, engine=None, debug=lambda line: act() if "running" in line else None)
    return make_heap(bytearray(4 * KIB), size_bytes=KIB, growth=Doubling())


def test_the_table_has_all_that_is_called() -> None:
    assert list(table()) == [*CALLS, OTHER_THREAD]
    assert [*COLUMNS, "what it raises"] == list(table()[OTHER_THREAD])


@pytest.mark.go_finalizers
@pytest.mark.parametrize(("code", "column", "cell"), CELLS)
@pytest.mark.usefixtures("reported")
def test_what_is_allowed(make_heap: MakeHeap, code: str, column: str, cell: str) -> None:
    for call in CALLS[code]:
        for name, act in COLUMNS[column].items():
            attempt = Attempt(act)
            attempt.heap = heap = heap_for(make_heap, code, attempt)
            heap.roots.add(heap.alloc(40))
            call(heap, attempt)
            assert attempt.outcome == cell, name
            assert soundness(heap) == ""
            heap.close()


class Attempt:
    """What a callback tries, once, and whether it could."""

    heap: Heap

    def __init__(self, act: Callable[[Hands], object]) -> None:
        self.act = act
        self.outcome = ""

    def __call__(self) -> None:
        if self.outcome:
            return
        self.outcome = "not done"
        try:
            self.act(Hands(self.heap))
        except HeapBusyError as error:
            self.outcome = "no" if REFUSED.fullmatch(str(error)) else str(error)
        else:
            self.outcome = "yes"


@pytest.mark.parametrize(("code", "cells"), table().items())
def test_what_becomes_of_errors(
    make_heap: MakeHeap, code: str, cells: dict[str, str], reported: list[BaseException]
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    for call in CALLS.get(code, ()):
        heap = heap_for(make_heap, code, fail)
        reported.clear()
        if cells["what it raises"] == "is reported":
            call(heap, fail)
            assert ZeroDivisionError in map(type, reported)
        else:
            with pytest.raises(ZeroDivisionError):
                call(heap, fail)
            assert reported == []
        assert soundness(heap) == ""
        heap.close()


def test_another_thread(make_heap: MakeHeap) -> None:
    heap = make_heap(KIB)
    hands, seen = Hands(heap), dict[str, str]()
    acts = {**LOOKS, **OUTSIDE, **CHANGES, **CLOSES}
    for prepare in ("add a root", "add a range", "listen"):
        acts[prepare](hands)

    def attempt() -> None:
        for name, act in acts.items():
            seen[name] = hands.thread(lambda _, act=act: act(hands))  # type: ignore[misc]

    heap.add_listener(Watcher(attempt, ["marked"]))
    heap.collect()
    for name, outcome in seen.items():
        if name in ("push a task", "pop a task", "stop listening", "repr"):
            assert outcome == "nothing", name
        else:
            assert outcome.startswith("HeapBusyError: the heap cannot be "), name
            assert "while a collection runs in another thread; a heap belongs to one thread at a time" in outcome
    assert len(heap.roots.tasks) == 0
    assert soundness(heap) == ""


class TestTheMonitor:
    @pytest.mark.parametrize("name", [name for name in vars(Heap) if not name.startswith("_")])
    def test_every_method_enters_it(self, make_heap: MakeHeap, name: str) -> None:
        """What is added to a heap's methods enters the monitor, or is listed here, with what makes it safe."""
        member = vars(Heap)[name]
        is_checked_itself = name in ("close", "verify", "objects", "interrupt")
        assert isinstance(member, property) or hasattr(member, "__wrapped__") or is_checked_itself

    def test_whatever_enters_it_leaves_it(self, make_heap: MakeHeap) -> None:
        heap = make_heap(KIB)
        hands = Hands(heap)
        for name, act in {**LOOKS, **OUTSIDE, **CHANGES}.items():
            with contextlib.suppress(HeapError):
                act(hands)
            assert heap._monitor._running == [], name
        for request in (lambda: heap.alloc(-1), lambda: heap.free(1), lambda: heap.roots.add(-1)):
            with pytest.raises(HeapError):
                request()
            assert heap._monitor._running == []

    def test_what_is_closed_is_closed_for_all(self) -> None:
        monitor = Monitor()
        monitor.close()
        assert monitor.is_closed

    def test_a_closed_heap_takes_no_roots(self, make_heap: MakeHeap) -> None:
        heap = make_heap(KIB)
        handles = [heap.roots.add(), heap.roots.add_range(bytearray(8)), heap.roots.add_source(list)]
        unlisten = heap.add_listener(Listener())
        heap.close()
        requests: list[Callable[[], object]] = [
            heap.roots.add,
            lambda: heap.roots.add_range(b""),
            lambda: heap.roots.add_source(list),
            lambda: heap.roots.tasks.push(0),
            lambda: heap.add_listener(Listener()),
            lambda: heap.interrupt().__enter__(),
        ]
        for request in requests:
            with pytest.raises(HeapError, match="this heap is closed"):
                request()
        for handle in handles:
            handle.remove()
            handle.remove()
        unlisten()
        unlisten()


class TestFinalizers:
    def test_they_may_allocate_under_asserts(self, make_heap: MakeHeap) -> None:
        heap = make_heap(KIB, asserts=True)
        call_finalizer_in_allocation(heap, lambda: heap.alloc(24))
        assert soundness(heap) == ""

    def test_one_that_interrupts_an_allocation_without_room(self, make_heap: MakeHeap) -> None:
        heap = make_heap(KIB)

        def interrupt(_: int) -> None:
            raise KeyboardInterrupt

        heap.roots.add(heap.alloc(600))
        heap.set_finalizer(heap.alloc(24), interrupt)
        with pytest.raises(KeyboardInterrupt):
            heap.alloc(600)
        assert soundness(heap) == ""

    def test_realloc_has_copied_before(self, make_heap: MakeHeap) -> None:
        heap = make_heap(KIB)
        held, seen = heap.alloc(100), list[bytes]()
        heap.write(held, b"contents")

        def finalizer(_: int) -> None:
            seen.extend(heap.read(found.address, 8) for found in heap.objects() if found.size_bytes >= 400)
            heap.free(held)

        heap.set_finalizer(heap.alloc(24), finalizer)
        heap.alloc(700)
        moved = heap.realloc(held, 400)
        assert seen == [b"contents"]
        assert heap.read(moved, 8) == b"contents"
        assert soundness(heap) == ""


class TestGrowthPolicies:
    @pytest.mark.next_fit
    @pytest.mark.parametrize("answer", [4096.5, "4096", float("nan"), True, b"", [4096], 2048.0])
    def test_answers_that_are_no_size(self, make_heap: MakeHeap, answer: object) -> None:
        for collector in ("conservative", "precise", "leaking"):
            memory = bytearray(4 * KIB)
            heap = make_heap(memory, size_bytes=KIB, gc=collector, growth=Policy(lambda: None, answer))
            heap.roots.add(heap.alloc(600))
            stats, before = heap.stats(), bytes(memory)
            for grow in (partial(heap.alloc, 600), heap.grow):
                with pytest.raises(InvalidTypeError, match=r"invalid next size .* from growth policy"):
                    grow()
                assert (heap.stats(), bytes(memory)) == (stats, before)
            assert soundness(heap) == ""

    @pytest.mark.parametrize("answer", [1 << 70, 10**5000], ids=["2**70", "10**5000"])
    def test_answers_beyond_all_bounds_are_capped(self, make_heap: MakeHeap, answer: int) -> None:
        heap = make_heap(KIB, growth=Policy(lambda: None, answer))
        assert heap.grow()
        assert heap.geometry.heap_bytes == 4 * KIB

    def test_the_limit_holds_in_a_larger_buffer(self, make_heap: MakeHeap) -> None:
        heap = make_heap(bytearray(16 * KIB), size_bytes=KIB, growth=Policy(lambda: None, 8 * KIB))
        assert heap.grow()
        assert heap.geometry.heap_bytes == 4 * KIB

    @pytest.mark.parametrize("limit", ["4096", 1.5, True, [1]])
    def test_limits_that_are_no_size(self, make_heap: MakeHeap, limit: Any) -> None:  # noqa: ANN401
        with pytest.raises(InvalidTypeError, match="invalid limit_bytes"):
            make_heap(KIB, growth=Policy(lambda: None, limit_bytes=limit))

    def test_a_policy_that_is_falsy_is_one(self, make_heap: MakeHeap) -> None:
        class Falsy(Policy):
            def __bool__(self) -> bool:
                return False

        assert make_heap(KIB, growth=Falsy(lambda: None)).grow()


class TestThreads:
    @pytest.mark.share(2)
    def test_verifying_beside_an_allocating_thread_finds_no_corruption(self, make_heap: MakeHeap) -> None:
        heap = make_heap(8 * KIB)
        wrong: list[HeapCorruptError] = []
        done = threading.Event()

        def give_way() -> None:
            """Lets the other thread run: with chance alone it is refused thousands of times, or not until both are done."""
            time.sleep(0)

        def verify() -> None:
            while not done.is_set():
                try:
                    heap.verify()
                    heap.stats()
                except HeapCorruptError as error:
                    wrong.append(error)
                except HeapBusyError:
                    pass
                give_way()

        interval = sys.getswitchinterval()
        thread = threading.Thread(target=verify)
        try:
            sys.setswitchinterval(1e-6)
            thread.start()
            made, end_s = 0, time.monotonic() + 30
            while made < 300 and time.monotonic() < end_s:
                try:
                    heap.alloc(100)
                    made += 1
                except HeapBusyError:
                    pass
                give_way()
        finally:
            done.set()
            thread.join()
            sys.setswitchinterval(interval)
        assert wrong == []
        assert made == 300
        assert soundness(heap) == ""

    def test_a_heap_may_be_handed_over(self, make_heap: MakeHeap) -> None:
        heap = make_heap(8 * KIB)
        thread = threading.Thread(target=lambda: heap.roots.add(heap.alloc(8)))
        thread.start()
        thread.join()
        assert heap.collect().live_objects == 1


WITHOUT_PYTEST: Final = """
import sys
from tinyheap.heap import Doubling, Heap, Listener

class Watcher(Listener):
    def collection_ended(self, heap, collection):
        raise ValueError("the listener's")

def finalizer(address):
    raise ValueError("the finalizer's")

def hook(reference):
    raise ValueError("the hook's")

heap = Heap(2048, word_bytes=4, engine={engine!r}, debug={debug})
heap.add_listener(Watcher())
address = heap.alloc(40)
heap.set_finalizer(address, finalizer)
reference = heap.weak(address, hook)
print(heap.collect().live_objects)
heap.verify()
"""


class TestWithoutPytest:
    """pytest puts a hook of its own in the place of Python's: what Python itself shows is seen in another process."""

    @pytest.mark.parametrize(
        ("engine_name", "debug"), [("kernel", None), ("model", None), (None, "lambda line: 1 / 0")]
    )
    def test_errors_are_shown_as_python_shows_them(
        self, kernel: type[Engine], engine_name: str | None, debug: str | None
    ) -> None:
        code = WITHOUT_PYTEST.format(engine=engine_name, debug=debug)
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
        assert (ran.returncode, ran.stdout) == (0, "1\n")
        shown = ran.stderr
        for name, error in (("Watcher.collection_ended", "listener"), ("finalizer", "finalizer"), ("hook", "hook")):
            assert f"Exception ignored in: <function {name} at 0x" in shown
            assert f"ValueError: the {error}'s" in shown
        assert shown.count("Exception ignored in: ") == (3 if debug is None else shown.count("ZeroDivisionError") + 3)
        assert ("<lambda>" in shown) == (debug is not None)
        assert "TypeError" not in shown


def test_layouts_of_arguments_are_read_before_anything_happens(make_heap: MakeHeap) -> None:
    heap = make_heap(KIB, gc="precise")
    for wrong in ("pp.", 1.5, True, [1], b"p"):
        with pytest.raises(InvalidTypeError, match="invalid layout"):
            heap.alloc(8, wrong)  # type: ignore[arg-type]
    assert heap.alloc(8, Layout.pattern("p")) != 0
    assert heap.counters().mallocs == 1
