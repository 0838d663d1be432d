"""Where marking begins: words, ranges, sources, and the run queue that others push to while it runs."""

from __future__ import annotations

import threading
from array import array
from typing import Any

import pytest

from engine_fixtures import MakeHeap
from tinyheap.errors import HeapError, InvalidAddressError, OutOfMemoryError
from tinyheap.heap import Heap, Layout, Listener
from tinyheap.units import KIB


def live(heap: Heap) -> list[int]:
    """Collect; the addresses of what lives."""
    heap.collect()
    return [found.address for found in heap.objects()]


class TestWords:
    @pytest.mark.next_fit
    def test_keep_an_object_until_removed(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB)
        first, second = heap.alloc(40), heap.alloc(8)
        root = heap.roots.add(first + 63)
        assert root.address == first + 63
        assert live(heap) == [first]
        root.remove()
        root.remove()
        assert root.address == 0
        assert live(heap) == []
        assert second != first

    def test_point_elsewhere(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB)
        root = heap.roots.add()
        root.address = address = heap.alloc(8)
        assert live(heap) == [address]
        root.address = 0
        assert live(heap) == []

    def test_as_context_managers(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB)
        with heap.roots.add(heap.alloc(8)) as root:
            assert live(heap) == [root.address]
        assert live(heap) == []

    def test_a_removed_one_does_not_come_back(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB)
        address = heap.alloc(8)
        removed = heap.roots.add(address)
        removed.remove()
        # The next root takes the place of the removed one.
        other = heap.roots.add(0)
        with pytest.raises(HeapError, match="this root was removed; add another"):
            removed.address = address
        removed.remove()
        other.address = address
        assert live(heap) == [address]

    @pytest.mark.parametrize("address", [-1, 1 << 64])
    def test_what_is_no_address(self, make_heap: MakeHeap, address: int) -> None:
        heap = make_heap(4 * KIB)
        for request in (heap.roots.add, heap.roots.tasks.push):
            with pytest.raises(InvalidAddressError, match="invalid address"):
                request(address)
        root = heap.roots.add()
        with pytest.raises(InvalidAddressError):
            root.address = address

    @pytest.mark.parametrize("word_bytes", [2, 4, 8])
    def test_addresses_elsewhere_keep_nothing(self, make_heap: MakeHeap, word_bytes: int) -> None:
        heap = make_heap(4 * KIB, word_bytes=word_bytes)
        heap.alloc(8)
        geometry = heap.geometry
        for address in (0, 1, geometry.start_address - 1, geometry.table_address, geometry.end_address, (1 << 64) - 1):
            heap.roots.add(address)
        if word_bytes < 8:
            # Beyond the address space, but equal in its low bits.
            heap.roots.add(geometry.start_address + (1 << 8 * word_bytes))
        assert live(heap) == []

    def test_many(self, make_heap: MakeHeap) -> None:
        heap = make_heap(8 * KIB)
        addresses = heap.alloc_many(200, 8)
        roots = [heap.roots.add(address) for address in addresses]
        for root in roots[::2]:
            root.remove()
        assert live(heap) == list(addresses[1::2])


class TestRanges:
    def test_are_read_anew_each_time(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB)
        words = array("Q", [0, heap.alloc(8), 0])
        handle = heap.roots.add_range(words)
        assert live(heap) == [words[1]]
        words[2], words[1] = heap.alloc(8), 0
        assert live(heap) == [words[2]]
        handle.remove()
        handle.remove()
        assert live(heap) == []
        # The buffer was let go.
        words.append(0)

    @pytest.mark.parametrize("word_bytes", [2, 4, 8])
    def test_are_words_of_the_heap(self, make_heap: MakeHeap, word_bytes: int) -> None:
        heap = make_heap(4 * KIB, word_bytes=word_bytes)
        addresses = [heap.alloc(8) for _ in range(3)]
        data = b"".join(address.to_bytes(word_bytes, "little") for address in addresses)
        with heap.roots.add_range(data):
            assert live(heap) == addresses
        # A ragged end is not a word, nor is one that does not begin at a word's alignment.
        with heap.roots.add_range(data[:-1]):
            assert live(heap) == addresses[:-1]
        with heap.roots.add_range(b"\xff" + data[:word_bytes]):
            assert live(heap) == []

    def test_overlap_where_words_do(self, make_heap: MakeHeap) -> None:
        heap = make_heap(bytearray(2048), word_bytes=2, word_alignment_bytes=1)
        address = heap.alloc(8)
        data = b"\xff" + address.to_bytes(2, "little")
        with heap.roots.add_range(data):
            assert live(heap) == [address]
        # No read crosses the end.
        with heap.roots.add_range(memoryview(data)[:2]):
            assert live(heap) == []

    @pytest.mark.parametrize("words", [b"", b"\0", bytearray(), array("Q"), memoryview(b"12345678")[8:]])
    def test_may_be_empty(self, make_heap: MakeHeap, words: Any) -> None:  # noqa: ANN401
        heap = make_heap(4 * KIB)
        heap.alloc(8)
        heap.roots.add_range(words)
        assert live(heap) == []

    def test_must_be_buffers_in_one_piece(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB)
        with pytest.raises(HeapError, match="a root range is a buffer of words, not list"):
            heap.roots.add_range([1, 2])  # type: ignore[arg-type]
        with pytest.raises(HeapError, match="a root range must lie in one piece"):
            heap.roots.add_range(memoryview(bytearray(64))[::2])

    @pytest.mark.next_fit
    def test_are_scanned_conservatively_in_a_precise_heap(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB, gc="precise")
        address = heap.alloc(8, Layout.DATA)
        # The header and the middle are as good as the address.
        for word in (address - 8, address, address + 7):
            with heap.roots.add_range(array("Q", [word])):
                assert live(heap) == [address]


class TestSources:
    def test_are_asked_at_each_collection(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB)
        stack = array("Q", [heap.alloc(8), heap.alloc(8)])
        depth = 2
        handle = heap.roots.add_source(lambda: [memoryview(stack)[:depth], b""])
        assert live(heap) == list(stack)
        depth = 1
        assert live(heap) == [stack[0]]
        handle.remove()
        handle.remove()
        assert live(heap) == []

    def test_one_that_goes_hides_no_other(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB)
        addresses = array("Q", [heap.alloc(8)])

        def once() -> list[bytes]:
            leaving.remove()
            return []

        leaving = heap.roots.add_source(once)
        heap.roots.add_source(lambda: [addresses])
        assert live(heap) == list(addresses)

    @pytest.mark.next_fit
    @pytest.mark.parametrize("trouble", [ValueError("no stack"), KeyboardInterrupt()])
    def test_an_error_leaves_the_heap_as_it_was(self, make_heap: MakeHeap, trouble: BaseException) -> None:
        memory = bytearray(4096)
        heap = make_heap(memory)
        heap.roots.add_range(array("Q", [heap.alloc(8)]))
        weak = heap.weak(heap.alloc(8))

        def source() -> list[bytes]:
            raise trouble

        handle = heap.roots.add_source(source)
        before = bytes(memory)
        with pytest.raises(type(trouble)):
            heap.collect()
        assert memory == before
        assert weak() is not None
        heap.verify()
        handle.remove()
        assert heap.collect().freed_objects == 1

    def test_an_error_ends_an_allocation_as_if_it_had_not_been(self, make_heap: MakeHeap) -> None:
        heap = make_heap(KIB)
        heap.alloc(800)
        stats = heap.stats()
        handle = heap.roots.add_source(lambda: ["no range"])  # type: ignore[list-item]
        with pytest.raises(HeapError, match="a root range is a buffer of words, not str"):
            heap.alloc(800)
        assert heap.stats() == stats
        handle.remove()
        heap.verify()

    def test_must_not_change_the_heap(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB)
        kept = heap.alloc(8)
        heap.roots.add(kept)

        def source() -> list[bytes]:
            return [heap.alloc(8).to_bytes(8, "little")]

        with heap.roots.add_source(source), pytest.raises(HeapError, match="while a collection runs"):
            heap.collect()
        assert live(heap) == [kept]


class TestTasks:
    def test_first_in_first_out(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB)
        addresses = [heap.alloc(8) for _ in range(3)]
        for address in addresses:
            heap.roots.tasks.push(address)
        heap.alloc(8)
        assert live(heap) == addresses
        assert len(heap.roots.tasks) == 3
        assert [heap.roots.tasks.pop() for _ in range(4)] == [*addresses, None]
        assert live(heap) == []

    @pytest.mark.next_fit
    @pytest.mark.parametrize("mark_stack_entries", [0, 1])
    def test_lead_to_other_objects(self, make_heap: MakeHeap, mark_stack_entries: int) -> None:
        heap = make_heap(4 * KIB, mark_stack_entries=mark_stack_entries)
        task, *children = heap.alloc_many(5, 40)
        heap.write(task, array("Q", children))
        heap.roots.tasks.push(task)
        heap.alloc(8)
        assert live(heap) == [task, *children]

    @pytest.mark.parametrize("event", ["collection_began", "marked", "collection_ended"])
    def test_pushed_by_a_listener(self, make_heap: MakeHeap, event: str) -> None:
        heap = make_heap(4 * KIB)
        waiting, coming, held = heap.alloc(8), heap.alloc(8), heap.alloc(8)
        heap.roots.tasks.push(waiting)
        heap.roots.add(held)

        class Interrupt(Listener):
            pass

        def push(_: Listener, heap: Heap, *__: object) -> None:
            # In time to be marked, or else of what is alive.
            heap.roots.tasks.push(coming if event == "collection_began" else held)

        setattr(Interrupt, event, push)
        heap.add_listener(Interrupt())
        collection = heap.collect()
        assert collection.live_objects == (3 if event == "collection_began" else 2)
        first, second = heap.roots.tasks.pop(), heap.roots.tasks.pop()
        assert (first, second) == (waiting, coming if event == "collection_began" else held)
        heap.verify()

    def test_pushed_by_a_source(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB)
        waiting, coming = heap.alloc(8), heap.alloc(40)
        child = heap.alloc(8)
        heap.store_word(coming + 8, child)
        heap.roots.tasks.push(waiting)

        def source() -> list[bytes]:
            heap.roots.tasks.push(coming)
            return []

        with heap.roots.add_source(source):
            assert live(heap) == [waiting, coming, child]
        assert [heap.roots.tasks.pop() for _ in range(3)] == [waiting, coming, None]

    def test_pushed_while_the_queue_is_being_marked(self, make_heap: MakeHeap, monkeypatch: pytest.MonkeyPatch) -> None:
        # The queue is empty then; what comes in is marked in another round, and stays behind the others.
        heap = make_heap(4 * KIB)
        waiting, coming = heap.alloc(8), heap.alloc(8)
        tasks = heap.roots.tasks
        tasks.push(waiting)
        restore = tasks.restore
        rounds: list[int] = []

        def restore_after_interrupt(marked: Any) -> bool:  # noqa: ANN401
            rounds.append(len(marked))
            if len(rounds) == 1:
                tasks.push(coming)
            return restore(marked)

        monkeypatch.setattr(tasks, "restore", restore_after_interrupt)
        assert live(heap) == [waiting, coming]
        assert rounds == [1, 2]
        assert [tasks.pop(), tasks.pop(), tasks.pop()] == [waiting, coming, None]

    def test_pushed_by_a_thread(self, make_heap: MakeHeap) -> None:
        heap = make_heap(64 * KIB)
        addresses = heap.alloc_many(500, 8)
        heap.roots.add_range(addresses)
        pushed: list[int] = []
        started, done = threading.Event(), threading.Event()

        def interrupts() -> None:
            for address in addresses:
                heap.roots.tasks.push(address)
                pushed.append(address)
                if len(pushed) == 10:
                    started.set()
            done.set()

        thread = threading.Thread(target=interrupts)
        thread.start()
        assert started.wait(30)
        while not done.is_set():
            assert heap.collect().live_objects == 500
        thread.join()
        assert [heap.roots.tasks.pop() for _ in addresses] == list(addresses)
        assert heap.roots.tasks.pop() is None

    def test_stay_when_a_collection_fails(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB, gc="precise")
        tasks = [heap.alloc(8), heap.alloc(8)]
        for task in tasks:
            heap.roots.tasks.push(task)
        heap.write(tasks[1] - 8, b"buffer!!")
        with pytest.raises(HeapError, match="was overwritten"):
            heap.collect()
        assert [heap.roots.tasks.pop() for _ in range(3)] == [*tasks, None]

    def test_stay_when_a_collection_is_interrupted(self, make_heap: MakeHeap, monkeypatch: pytest.MonkeyPatch) -> None:
        heap = make_heap(4 * KIB)
        waiting, coming = heap.alloc(8), heap.alloc(8)
        tasks = heap.roots.tasks
        tasks.push(waiting)

        def interrupted(marked: Any) -> bool:  # noqa: ANN401
            tasks.push(coming)
            raise KeyboardInterrupt

        monkeypatch.setattr(tasks, "restore", interrupted)
        with pytest.raises(KeyboardInterrupt):
            heap.collect()
        heap.verify()
        assert [tasks.pop() for _ in range(3)] == [waiting, coming, None]

    def test_outlive_an_allocation_that_runs_out(self, make_heap: MakeHeap) -> None:
        heap = make_heap(KIB)
        task = heap.alloc(8)
        heap.roots.tasks.push(task)
        with pytest.raises(OutOfMemoryError):
            heap.alloc(2 * KIB)
        assert heap.roots.tasks.pop() == task
