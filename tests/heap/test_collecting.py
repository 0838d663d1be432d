"""Collections: what survives and what is freed, all or nothing, listeners, and what callbacks and threads may do meanwhile."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

import needs
from engine_fixtures import MakeHeap
from small_heaps import BLOCK, START, blocks, unchanged
from tinyheap.errors import (
    AllocationInInterruptError,
    HeapBusyError,
    HeapCorruptError,
    HeapError,
    OutOfMemoryError,
)
from tinyheap.heap import Collection, Doubling, Heap, Layout, Listener
from tinyheap.heap.contract import Engine
from tinyheap.units import KIB, MIB


class TestCollect:
    @pytest.mark.next_fit
    def test_exactly_the_unreachable_die(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB)
        chain = [heap.alloc(40) for _ in range(5)]
        for address, following in pairwise(chain):
            heap.store_word(address + 32, following)
        heap.alloc(8)
        root = heap.roots.add(chain[2] + 17)
        collection = heap.collect()
        assert [found.address for found in heap.objects()] == chain[2:]
        assert (collection.number, collection.reason) == (1, "requested")
        assert (collection.freed_objects, collection.freed_blocks) == (3, 5)
        assert (collection.live_objects, collection.live_blocks) == (3, 6)
        assert collection.free_blocks == heap.geometry.end_block - 6
        assert collection.words_scanned == 24
        assert (collection.overflows, collection.rescans) == (0, 0)
        assert 0 <= collection.mark_ns <= collection.pause_ns
        assert 0 <= collection.sweep_ns <= collection.pause_ns
        assert str(collection).startswith("collection 1 (requested): 3 objects freed, 3 live, ")
        assert heap.last_collection is collection
        root.remove()
        assert heap.collect().number == 2

    @pytest.mark.next_fit
    def test_the_bounded_mark_stack_overflows(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB, mark_stack_entries=2)
        wide = heap.alloc(10 * 8)
        leaves = heap.alloc_many(10, 8)
        heap.write(wide, leaves)
        heap.roots.add(wide)
        collection = heap.collect()
        assert collection.live_objects == 11
        assert (collection.overflows, collection.rescans) == (8, 1)

    def test_precise_heaps_follow_layouts_only(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB, gc="precise")
        kept, lost = heap.alloc(8), heap.alloc(8)
        holder = heap.alloc(24, Layout.pattern("p.."))
        heap.store_word(holder, kept)
        heap.store_word(holder + 8, lost)
        heap.roots.add(holder)
        heap.collect()
        assert [found.address for found in heap.objects()] == [kept, holder]

    @pytest.mark.next_fit
    def test_the_known_leak_and_its_fix(self, make_heap: MakeHeap) -> None:
        for clear_blocks, live in ((False, 2), (True, 1)):
            heap = make_heap(blocks(8), clear_blocks=clear_blocks)
            target, old, _ = heap.alloc(8), heap.alloc(32), heap.alloc(6 * BLOCK)
            heap.store_word(old + 24, target)
            heap.free(old)
            # The only free block has a stale last word, unless it is cleared.
            reused = heap.alloc(8)
            assert reused == old
            heap.roots.add(reused)
            assert heap.collect().live_objects == live


class TestAllOrNothing:
    """Whatever is found wrong before the sweep leaves the heap as it was, byte for byte."""

    @pytest.mark.next_fit
    def test_a_corrupt_table(self, make_heap: MakeHeap) -> None:
        memory = bytearray(4096)
        heap = make_heap(memory)
        heap.roots.add(heap.alloc(40))
        heap.alloc(8)
        memory[heap.geometry.pool_bytes + 1] = 0b10_00
        with unchanged(memory, heap):
            for request in (heap.collect, heap.verify):
                with pytest.raises(HeapCorruptError, match="block 5 at 0x100a0 is a tail without a head"):
                    request()
            with pytest.raises(HeapCorruptError, match="block 5 at 0x100a0 is a tail without a head"):
                heap.object_at(START + 5 * BLOCK)
        memory[heap.geometry.pool_bytes + 1] = 0
        assert heap.collect().live_objects == 1

    @pytest.mark.next_fit
    def test_an_overwritten_layout(self, make_heap: MakeHeap) -> None:
        memory = bytearray(4096)
        heap = make_heap(memory, gc="precise")
        held = heap.alloc(8)
        heap.roots.add(held)
        heap.alloc(8)
        heap.write(held - 8, b"buffer!!")
        message = "the object at block 0 (0x10000) has layout word 0x2121726566667562 (b'buffer!!'): it was overwritten"
        with unchanged(memory, heap):
            for request in (heap.collect, heap.verify):
                with pytest.raises(HeapCorruptError) as caught:
                    request()
                assert str(caught.value) == message
        heap.write(held - 8, bytes(8))
        assert heap.collect().live_objects == 1

    def test_an_allocation_that_finds_it(self, make_heap: MakeHeap) -> None:
        memory = bytearray(blocks(8))
        heap = make_heap(memory)
        heap.alloc(7 * BLOCK)
        memory[heap.geometry.pool_bytes] = 0b10_10_10_10
        with unchanged(memory, heap), pytest.raises(HeapCorruptError):
            heap.alloc(2 * BLOCK)

    @pytest.mark.next_fit
    @pytest.mark.parametrize("event", ["collection_began", "marked"])
    def test_an_interrupted_program(self, make_heap: MakeHeap, event: str) -> None:
        memory = bytearray(4096)
        heap = make_heap(memory)
        heap.roots.add(heap.alloc(40))
        weak = heap.weak(heap.alloc(8))

        class Impatient(Listener):
            pass

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        setattr(Impatient, event, interrupt)
        remove = heap.add_listener(Impatient())
        with unchanged(memory, heap), pytest.raises(KeyboardInterrupt):
            heap.collect()
        assert weak() is not None
        heap.verify()
        remove()
        assert heap.collect().freed_objects == 1


class TestVerify:
    @pytest.mark.next_fit
    def test_use_after_free_is_found_under_asserts(self, make_heap: MakeHeap) -> None:
        memory = bytearray(4096)
        heap = make_heap(memory, asserts=True)
        heap.roots.add(heap.alloc(8))
        dangling = heap.alloc(8)
        heap.collect()
        heap.verify()
        memory[dangling - START + 31] ^= 1
        with pytest.raises(HeapCorruptError) as caught:
            heap.verify()
        assert str(caught.value) == "block 1 at 0x10020 is free, but something wrote to it after that"
        assert heap.problems() == [str(caught.value)]

    @pytest.mark.next_fit
    def test_free_memory_of_a_grown_heap_is_poisoned(self, make_heap: MakeHeap) -> None:
        heap = make_heap(KIB, growth=Doubling(4 * KIB), asserts=True)
        heap.roots.add(heap.alloc(2 * KIB))
        assert heap.geometry.heap_bytes == 4 * KIB
        heap.verify()

    @pytest.mark.next_fit
    @pytest.mark.parametrize("start_address", [0xA000, 0x5000, 0x100])
    def test_poison_is_no_address(self, make_heap: MakeHeap, start_address: int) -> None:
        memory = bytearray(0x2000)
        heap = make_heap(memory, word_bytes=2, start_address=start_address, asserts=True)
        assert len(set(memory[: heap.geometry.end_block * 8])) == 1
        assert not heap.geometry.is_on_heap(int.from_bytes(memory[:2], "little"))

    @pytest.mark.next_fit
    def test_counts_that_do_not_fit_the_table(self, make_heap: MakeHeap) -> None:
        memory = bytearray(4096)
        heap = make_heap(memory)
        heap.alloc(8)
        memory[heap.geometry.pool_bytes] = 0b10_01_01
        assert heap.problems() == [
            "the table holds 2 objects, but 1 were allocated and not freed",
            "3 blocks are taken, but 1 were allocated and not freed",
        ]

    @pytest.mark.next_fit
    def test_out_of_memory_is_counted_as_the_original_does(self, make_heap: MakeHeap) -> None:
        heap = make_heap(blocks(8))
        for _ in range(2):
            with pytest.raises(OutOfMemoryError):
                heap.alloc(300)
        assert heap.stats().mallocs == 2
        assert heap.stats().heap_alloc == 640
        heap.verify()


class Diary(Listener):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def collection_began(self, heap: Heap, reason: str) -> None:
        self.lines.append(f"began, {reason}, {heap.census().heads} objects")

    def marked(self, heap: Heap) -> None:
        self.lines.append(f"marked {heap.census().marks}")

    def collection_ended(self, heap: Heap, collection: Collection) -> None:
        self.lines.append(f"ended {collection.number}, {heap.census().heads} objects")
        assert heap.last_collection is collection

    def grew(self, heap: Heap, old_bytes: int, new_bytes: int) -> None:
        self.lines.append(f"grew {old_bytes} {new_bytes}")
        assert heap.geometry.heap_bytes == new_bytes

    def out_of_memory(self, heap: Heap, size_bytes: int) -> None:
        self.lines.append(f"out of memory {size_bytes}")


class TestListeners:
    def test_order(self, make_heap: MakeHeap) -> None:
        heap = make_heap(blocks(16), growth=Doubling(2 * blocks(16)))
        diary = Diary()
        remove = heap.add_listener(diary)
        heap.collect()
        held = heap.roots.add(heap.alloc(14 * BLOCK))
        heap.alloc(8)
        heap.alloc(4 * BLOCK)
        with pytest.raises(OutOfMemoryError):
            heap.alloc(40 * BLOCK)
        assert diary.lines == [
            "began, requested, 0 objects",
            "marked 0",
            "ended 1, 0 objects",
            "began, exhausted, 2 objects",
            "marked 1",
            "ended 2, 1 objects",
            "grew 516 1032",
            "began, exhausted, 2 objects",
            "marked 1",
            "ended 3, 1 objects",
            "out of memory 1280",
        ]
        held.remove()
        remove()
        heap.collect()
        assert len(diary.lines) == 11

    def test_a_leaking_heap_marks_nothing(self, make_heap: MakeHeap) -> None:
        heap = make_heap(KIB, gc="leaking")
        diary = Diary()
        heap.add_listener(diary)
        heap.collect()
        assert diary.lines == ["began, requested, 0 objects", "ended 1, 0 objects"]

    def test_their_errors_do_not_steer(self, make_heap: MakeHeap, monkeypatch: pytest.MonkeyPatch) -> None:
        reported: list[Any] = []
        monkeypatch.setattr(sys, "unraisablehook", reported.append)
        heap = make_heap(blocks(8), growth=Doubling(2 * blocks(8)))

        class Broken(Listener):
            def __getattribute__(self, name: str) -> Any:  # noqa: ANN401
                def fail(*_: object) -> None:
                    raise ValueError(name)

                return fail

        diary = Diary()
        heap.add_listener(Broken())
        heap.add_listener(diary)
        heap.roots.add(heap.alloc(8))
        with pytest.raises(OutOfMemoryError):
            heap.alloc(40 * BLOCK)
        heap.verify()
        names = ["collection_began", "marked", "collection_ended", "grew", "out_of_memory"]
        assert [str(error.exc_value) for error in reported] == names
        assert len(diary.lines) == 5

    @pytest.mark.parametrize(
        "change",
        [
            lambda heap, address: heap.alloc(8),
            lambda heap, address: heap.alloc_many(3, 8),
            lambda heap, address: heap.realloc(address, 800),
            lambda heap, address: heap.free(address),
            lambda heap, address: heap.store_word(address, 1),
            lambda heap, address: heap.write(address, b"1"),
            lambda heap, address: heap.collect(),
            lambda heap, address: heap.grow(),
            lambda heap, address: heap.verify(),
            lambda heap, address: heap.weak(address),
            lambda heap, address: heap.set_finalizer(address, print),
        ],
    )
    @pytest.mark.parametrize("event", ["collection_began", "marked", "collection_ended"])
    def test_they_cannot_change_the_heap(
        self, make_heap: MakeHeap, event: str, change: Callable[[Heap, int], object]
    ) -> None:
        heap = make_heap(4 * KIB, growth=Doubling(8 * KIB))
        address = heap.alloc(8)
        heap.roots.add(address)
        refused: list[str] = []

        class Meddler(Listener):
            pass

        def meddle(_: Listener, heap: Heap, *__: object) -> None:
            with pytest.raises(HeapBusyError) as caught:
                change(heap, address)
            refused.append(str(caught.value))

        setattr(Meddler, event, meddle)
        heap.add_listener(Meddler())
        assert heap.collect().live_objects == 1
        verb = "verified" if "verify" in change.__code__.co_names else "changed"
        assert refused == [f"the heap cannot be {verb} while a collection runs; try again when that has ended"]
        heap.verify()
        assert heap.alloc(8)


class TestInterrupts:
    def test_allocating_is_an_error_inside(self, make_heap: MakeHeap) -> None:
        memory = bytearray(4096)
        heap = make_heap(memory)
        address = heap.alloc(8)
        with unchanged(memory, heap), heap.interrupt():
            for request in (
                lambda: heap.alloc(8),
                lambda: heap.alloc_many(2, 8),
                lambda: heap.realloc(address, 100),
                lambda: heap.realloc(0, 8),
            ):
                with pytest.raises(AllocationInInterruptError, match="heap alloc in interrupt"):
                    request()
            with heap.interrupt():
                pass
            with pytest.raises(AllocationInInterruptError):
                heap.alloc(8)
            assert heap.alloc(0) == heap.zero_size_address
            assert heap.realloc(address, 20) == address
            heap.roots.tasks.push(address)
        assert heap.alloc(8)

    def test_an_error_ends_it(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4096)
        with pytest.raises(AllocationInInterruptError), heap.interrupt():
            heap.alloc(8)
        heap.alloc(8)


def _fill(heap: Heap, count: int) -> None:
    """A tree of objects of one block, eagerly rooted."""
    addresses = heap.alloc_many(count, 24)
    for index in range(1, count):
        heap.store_word(addresses[(index - 1) // 2] + 8 * (index % 2), addresses[index])
    heap.roots.add(addresses[0])


class TestThreads:
    def test_a_collection_in_another_thread_makes_the_heap_busy(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB)
        address = heap.alloc(8)
        collecting, tried = threading.Event(), threading.Event()
        refused: list[HeapError] = []

        def other() -> None:
            assert collecting.wait(30)
            for request in (lambda: heap.alloc(8), lambda: heap.free(address), heap.collect, heap.close):
                try:
                    request()
                except HeapBusyError as error:
                    refused.append(error)
            tried.set()

        def source() -> list[bytes]:
            collecting.set()
            assert tried.wait(30)
            return [address.to_bytes(8, "little")]

        thread = threading.Thread(target=other)
        thread.start()
        heap.roots.add_source(source)
        assert heap.collect().live_objects == 1
        thread.join()
        assert len(refused) == 4

    def test_large_collections_release_the_interpreter(self, kernel: type[Engine]) -> None:
        heap = Heap(32 * MIB, engine="kernel")
        _fill(heap, 200_000)
        steps = 0
        done = False

        def other() -> None:
            nonlocal steps
            while not done:
                steps += 1
                # Hands the interpreter over at once; nothing else in this test does, but the kernel.
                time.sleep(0)

        interval = sys.getswitchinterval()
        thread = threading.Thread(target=other)
        gained = 0
        try:
            sys.setswitchinterval(1000)
            thread.start()
            for _ in range(20):
                before = steps
                collection = heap.collect()
                gained += steps - before
        finally:
            done = True
            sys.setswitchinterval(interval)
            thread.join()
        assert collection.live_objects == 200_000
        assert gained > 0


def _c_heap() -> Callable[[], int]:
    """Gives the bytes that C code holds by ``malloc``."""

    class MallInfo(ctypes.Structure):
        _fields_ = [
            *((f"_{index}", ctypes.c_size_t) for index in range(4)),
            ("mapped_bytes", ctypes.c_size_t),
            *((f"_{index}", ctypes.c_size_t) for index in range(5, 7)),
            ("used_bytes", ctypes.c_size_t),
            *((f"_{index}", ctypes.c_size_t) for index in range(8, 10)),
        ]

    library = ctypes.CDLL(None)
    if not hasattr(library, "mallinfo2"):
        needs.fail_or_skip("the C library has no mallinfo2")
    library.mallinfo2.restype = MallInfo

    def held() -> int:
        info = library.mallinfo2()
        return int(info.mapped_bytes + info.used_bytes)

    return held


class TestMemoryBeyondTheHeap:
    @pytest.mark.parametrize("collector", ["conservative", "precise"])
    def test_the_mark_stack_takes_under_four_bytes_an_object(self, kernel: type[Engine], collector: str) -> None:
        heap = Heap(4 * MIB, gc=collector, engine="kernel")
        _fill(heap, 30_000)
        assert heap.collect().live_objects == 30_000
        assert 0 < heap.counters().mark_stack_peak * 4 < 4 * 30_000

    def test_a_wide_object_is_the_worst_case(self, kernel: type[Engine]) -> None:
        heap = Heap(4 * MIB, engine="kernel")
        leaves = heap.alloc_many(30_000, 8)
        wide = heap.alloc(8 * len(leaves))
        heap.write(wide, leaves)
        heap.roots.add(wide)
        assert heap.collect().live_objects == 30_001
        assert heap.counters().mark_stack_peak * 4 <= 4 * 30_001

    def test_nothing_is_held_between_collections(self, kernel: type[Engine]) -> None:
        allocated = _c_heap()
        heap = Heap(64 * MIB, engine="kernel")
        while_marking: list[int] = []

        class Watch(Listener):
            def marked(self, heap: Heap) -> None:
                while_marking.append(allocated())

        heap.add_listener(Watch())
        heap.roots.add(heap.alloc(8))
        gc.collect()
        stack_bytes = heap.geometry.end_block * 4
        held, left = [], []
        # Other threads of this process allocate and free, too, but not every time.
        for _ in range(3):
            before = allocated()
            heap.collect()
            held.append(while_marking[-1] - before)
            left.append(allocated() - before)
        assert max(held) >= stack_bytes
        assert min(left) < stack_bytes // 16


class TestDebugTracing:
    def test_the_lines_of_the_original(self) -> None:
        lines: list[str] = []
        heap = Heap(blocks(8), debug=lines.append)
        assert heap.engine_name == "model"
        first, second = heap.alloc(40), heap.alloc(8)
        heap.store_word(first, second)
        heap.store_word(first + 8, START + 6 * BLOCK)
        heap.roots.add(first)
        heap.collect()
        assert lines == [
            "found memory: 0x10000 40",
            "found memory: 0x10040 8",
            "running collection cycle...",
            "found unmarked pointer 0x10000",
            "stack popped, remaining stack: 0",
            "marking block: 2",
            "found reference to free memory: 0x100c0",
            "stack popped, remaining stack: 0",
            "heap:\n*-*·····",
        ]

    def test_growth_and_overflow(self) -> None:
        lines: list[str] = []
        heap = Heap(blocks(16), growth=Doubling(2 * blocks(16)), mark_stack_entries=1, debug=lines.append)
        wide = heap.alloc(24)
        heap.write(wide, heap.alloc_many(3, 8))
        heap.roots.add(wide)
        heap.collect()
        heap.grow()
        assert lines.count("gc stack overflowed") == 2
        assert lines[-1] == "heap grew from 516 to 1032 bytes"

    def test_the_kernel_does_not_trace(self) -> None:
        with pytest.raises(HeapError, match="use engine='model'"):
            Heap(KIB, engine="kernel", debug=print)
