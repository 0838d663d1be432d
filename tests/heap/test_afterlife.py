"""Unreachable objects: weak references, finalizers, their order, and resurrection."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from engine_fixtures import MakeHeap
from tinyheap.errors import HeapCorruptError, InvalidAddressError, OutOfMemoryError
from tinyheap.heap import Heap, Listener, WeakReference
from tinyheap.units import KIB


@pytest.fixture
def heap(make_heap: MakeHeap) -> Heap:
    return make_heap(8 * KIB, asserts=True, clear_blocks=True)


def live(heap: Heap) -> list[int]:
    return [found.address for found in heap.objects()]


class TestWeakReferences:
    def test_do_not_keep_alive(self, heap: Heap) -> None:
        kept, lost = heap.alloc(40), heap.alloc(40)
        inner = heap.weak(kept + 33)
        outer = heap.weak(lost)
        assert (inner(), outer()) == (kept + 33, lost)
        assert repr(outer) == f"<WeakReference to {lost:#x}>"
        heap.roots.add(kept)
        heap.collect()
        assert (inner(), outer()) == (kept + 33, None)
        assert repr(outer) == "<WeakReference, cleared>"

    def test_stay_cleared_when_the_place_is_taken_again(self, heap: Heap) -> None:
        address = heap.alloc(8)
        weak = heap.weak(address)
        heap.free(address)
        assert weak() is None
        while heap.alloc(8) != address:
            pass
        assert weak() is None

    def test_on_clear_is_called_after_the_collection(self, heap: Heap) -> None:
        seen: list[Any] = []

        def on_clear(reference: WeakReference) -> None:
            seen.append((reference, reference(), heap.alloc(8)))

        weak = heap.weak(heap.alloc(8), on_clear)
        heap.collect()
        assert len(seen) == 1
        assert seen[0][:2] == (weak, None)
        heap.collect()
        assert len(seen) == 1

    def test_on_clear_is_called_after_a_free(self, heap: Heap) -> None:
        cleared: list[WeakReference] = []
        address = heap.alloc(8)
        references = [heap.weak(address, cleared.append), heap.weak(address), heap.weak(address + 1, cleared.append)]
        heap.free(address)
        assert cleared == [references[0], references[2]]
        assert [reference() for reference in references] == [None] * 3

    def test_forgotten_by_hand(self, heap: Heap) -> None:
        weak = heap.weak(heap.alloc(8))
        weak.clear()
        assert weak() is None

    def test_stay_with_the_old_place_of_what_moves(self, heap: Heap) -> None:
        address = heap.alloc(8)
        weak = heap.weak(address)
        heap.roots.add(heap.realloc(address, 400))
        assert weak() == address
        heap.collect()
        assert weak() is None

    def test_need_an_object(self, heap: Heap) -> None:
        address = heap.alloc(8)
        heap.free(address)
        for wrong in (address, 0, heap.zero_size_address, heap.geometry.table_address, -1):
            with pytest.raises(InvalidAddressError):
                heap.weak(wrong)


class TestFinalizers:
    @pytest.mark.go_finalizers
    def test_run_once_after_the_sweep(self, heap: Heap) -> None:
        calls: list[tuple[int, list[int]]] = []
        address = heap.alloc(8)
        heap.set_finalizer(address, lambda lost: calls.append((lost, live(heap))))
        heap.collect()
        # The object is alive when its finalizer runs, and dies at the next collection.
        assert calls == [(address, [address])]
        heap.collect()
        assert len(calls) == 1
        assert live(heap) == []

    def test_not_while_the_object_is_reached(self, heap: Heap) -> None:
        calls: list[int] = []
        address = heap.alloc(8)
        heap.set_finalizer(address, calls.append)
        with heap.roots.add(address + 3):
            heap.collect()
        assert calls == []
        heap.collect()
        assert calls == [address]

    @pytest.mark.go_finalizers
    def test_one_an_object(self, heap: Heap) -> None:
        calls: list[str] = []
        first, second = heap.alloc(8), heap.alloc(8)
        heap.set_finalizer(first, lambda _: calls.append("old"))
        heap.set_finalizer(first, lambda _: calls.append("new"))
        heap.set_finalizer(second, lambda _: calls.append("none"))
        heap.set_finalizer(second, None)
        heap.set_finalizer(second, None)
        heap.collect()
        assert calls == ["new"]
        assert live(heap) == [first]

    @pytest.mark.go_finalizers
    def test_referrers_before_what_they_refer_to(self, heap: Heap) -> None:
        calls: list[int] = []
        child, parent, grandparent = heap.alloc(8), heap.alloc(8), heap.alloc(8)
        heap.store_word(grandparent, parent)
        heap.store_word(parent, child)
        for address in (child, parent, grandparent):
            heap.set_finalizer(address, calls.append)
        expected: list[int] = []
        for address in (grandparent, parent, child):
            heap.collect()
            expected.append(address)
            assert calls == expected
            assert child in live(heap)
        heap.collect()
        assert live(heap) == []

    @pytest.mark.go_finalizers
    def test_of_one_collection_in_the_order_of_setting(self, heap: Heap) -> None:
        calls: list[int] = []
        addresses = heap.alloc_many(6, 8)
        order = [addresses[index] for index in (3, 0, 5, 1, 4, 2)]
        for address in order:
            heap.set_finalizer(address, calls.append)
        # Set again, it is the last.
        heap.set_finalizer(order[1], calls.append)
        heap.collect()
        assert calls == [order[0], *order[2:], order[1]]

    @pytest.mark.go_finalizers
    def test_what_leads_to_itself_is_never_finalized(self, heap: Heap) -> None:
        calls: list[int] = []
        alone, one, other = heap.alloc(8), heap.alloc(8), heap.alloc(8)
        heap.store_word(alone, alone)
        heap.store_word(one, other)
        heap.store_word(other, one)
        for address in (alone, one, other):
            heap.set_finalizer(address, calls.append)
        heap.collect()
        assert calls == []
        assert live(heap) == [alone, one, other]
        heap.store_word(other, 0)
        heap.collect()
        assert calls == [one]

    @pytest.mark.next_fit
    @pytest.mark.parametrize("mark_stack_entries", [0, 1])
    def test_all_that_a_due_object_leads_to_lives_on(self, make_heap: MakeHeap, mark_stack_entries: int) -> None:
        heap = make_heap(8 * KIB, mark_stack_entries=mark_stack_entries)
        found: list[int] = []
        holder, *children = heap.alloc_many(5, 40)
        for index, child in enumerate(children):
            heap.store_word(holder + 8 * index, child)
        heap.store_word(children[0], heap.alloc(8))
        heap.set_finalizer(holder, lambda address: found.extend(live(heap)))
        heap.alloc(8)
        heap.collect()
        assert found == [holder, *children, heap.load_word(children[0])]

    @pytest.mark.go_finalizers
    def test_resurrection(self, heap: Heap) -> None:
        address, child = heap.alloc(8), heap.alloc(8)
        heap.store_word(address, child)
        weak = heap.weak(address)
        heap.set_finalizer(address, heap.roots.add)
        heap.collect()
        # A weak reference is cleared although the object comes back.
        assert weak() is None
        heap.collect()
        assert live(heap) == [address, child]
        # The finalizer ran; it may be set again.
        calls: list[int] = []
        heap.set_finalizer(address, calls.append)
        heap.collect()
        assert calls == []

    def test_a_finalizer_may_set_another(self, heap: Heap) -> None:
        calls: list[int] = []

        def again(address: int) -> None:
            calls.append(address)
            heap.set_finalizer(address, again)

        address = heap.alloc(8)
        heap.set_finalizer(address, again)
        for _ in range(3):
            heap.collect()
        assert calls == [address] * 3

    def test_the_object_lives_while_its_finalizer_runs(self, heap: Heap) -> None:
        contents: list[bytes] = []

        def finalizer(address: int) -> None:
            heap.collect()
            heap.alloc_many(50, 8)
            heap.collect()
            contents.append(heap.read(address, 8))

        for text in (b"inkstand", b"teaspoon"):
            address = heap.alloc(8)
            heap.write(address, text)
            heap.set_finalizer(address, finalizer)
        heap.collect()
        assert sorted(contents) == [b"inkstand", b"teaspoon"]
        heap.verify()

    @pytest.mark.go_finalizers
    def test_run_by_an_allocation_too(self, make_heap: MakeHeap) -> None:
        heap = make_heap(KIB)
        calls: list[int] = []
        heap.set_finalizer(heap.alloc(800), calls.append)
        heap.alloc_many(5, 8)
        # The first collection keeps the object for its finalizer, and finds no room.
        with pytest.raises(OutOfMemoryError):
            heap.alloc(800)
        assert len(calls) == 1
        assert heap.alloc(800)

    @pytest.mark.go_finalizers
    def test_what_was_just_allocated_lives_through_the_finalizers(self, make_heap: MakeHeap) -> None:
        heap = make_heap(KIB)
        lost = heap.alloc(8)
        heap.set_finalizer(lost, lambda _: heap.collect())
        heap.alloc(900)
        address = heap.alloc(500)
        assert live(heap) == [lost, address]
        assert heap.counters().frees == 1

    def test_their_errors_end_there(self, heap: Heap, monkeypatch: pytest.MonkeyPatch) -> None:
        reported: list[Any] = []
        monkeypatch.setattr(sys, "unraisablehook", reported.append)
        calls: list[int] = []

        def fail(address: int) -> None:
            raise ValueError(address)

        first, second = heap.alloc(8), heap.alloc(8)
        heap.set_finalizer(first, fail)
        heap.set_finalizer(second, calls.append)
        heap.collect()
        assert calls == [second]
        assert len(reported) == 1
        assert reported[0].exc_value.args == (first,)
        assert reported[0].object.__wrapped__ is fail
        assert repr(reported[0].object) == repr(fail)

    @pytest.mark.go_finalizers
    def test_move_with_their_object(self, heap: Heap) -> None:
        calls: list[int] = []
        address = heap.alloc(8)
        heap.set_finalizer(address, calls.append)
        moved = heap.realloc(address, 400)
        heap.collect()
        assert calls == [moved]

    def test_do_not_run_for_what_is_freed(self, heap: Heap) -> None:
        calls: list[int] = []
        address = heap.alloc(8)
        heap.set_finalizer(address, calls.append)
        heap.free(address)
        heap.collect()
        assert calls == []

    def test_do_not_run_for_what_another_finalizer_frees(self, heap: Heap) -> None:
        calls: list[int] = []
        first, second, third = heap.alloc(8), heap.alloc(8), heap.alloc(8)
        heap.set_finalizer(first, lambda _: heap.free(second))
        heap.set_finalizer(second, calls.append)
        heap.set_finalizer(third, calls.append)
        heap.collect()
        assert calls == [third]
        heap.verify()

    def test_need_an_objects_start(self, heap: Heap) -> None:
        address = heap.alloc(40)
        for wrong, message in ((address + 8, "not at its start"), (address + 64, "free"), (0, "not on the heap")):
            with pytest.raises(InvalidAddressError, match=message):
                heap.set_finalizer(wrong, print)

    def test_neither_runs_nor_clears_when_a_collection_fails(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB, gc="precise")
        calls: list[int] = []
        lost, broken = heap.alloc(8), heap.alloc(8)
        weak = heap.weak(lost)
        heap.set_finalizer(lost, calls.append)
        heap.store_word(lost, broken)
        heap.write(broken - 8, b"buffer!!")
        before = live(heap)
        with pytest.raises(HeapCorruptError, match="was overwritten"):
            heap.collect()
        assert (calls, weak(), live(heap)) == ([], lost, before)
        heap.write(broken - 8, bytes(8))
        heap.collect()
        assert (calls, weak()) == ([lost], None)

    @pytest.mark.go_finalizers
    def test_listeners_see_what_is_kept_for_them(self, heap: Heap) -> None:
        marks: list[int] = []

        class Watch(Listener):
            def marked(self, heap: Heap) -> None:
                marks.append(heap.census().marks)

        heap.add_listener(Watch())
        heap.set_finalizer(heap.alloc(8), lambda _: None)
        heap.alloc(8)
        assert heap.collect().freed_objects == 1
        assert heap.collect().freed_objects == 1
        assert marks == [1, 0]
