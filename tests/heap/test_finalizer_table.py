"""Finalizers as TinyGo 0.42 has them, on the heap itself: entries, bitmap, order, pressure; and damaged tables."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engine_fixtures import MakeHeap
from small_heaps import blocks
from tinyheap.errors import HeapCorruptError, HeapError, InvalidAddressError, OutOfMemoryError
from tinyheap.heap import Doubling, Heap
from tinyheap.heap.bestfit.afterlife import TableAfterlife
from tinyheap.heap.bestfit.finalizers import NO_POINTERS, FinalizerTable, entry_layout
from tinyheap.heap.geometry import Geometry
from tinyheap.units import KIB

START = 0x1_0000


def never(address: int) -> None:
    """A finalizer that must not run."""
    pytest.fail(f"the finalizer of {address:#x} ran")


def table_of(heap: Heap) -> FinalizerTable:
    afterlife = heap._afterlife
    assert isinstance(afterlife, TableAfterlife)
    return afterlife.table


def registered(heap: Heap) -> list[int]:
    """The objects that have finalizers, the newest first."""
    table = table_of(heap)
    return [table.object_of(entry) for entry in table.entries(table.registered)]


@pytest.mark.parametrize(
    ("word_bytes", "alignment_bytes", "layout"), [(4, 0, 841), (8, 0, 1673), (2, 2, 425), (2, 1, 1 | 8 << 1 | 81 << 5)]
)
def test_layout_words_of_entries(word_bytes: int, alignment_bytes: int, layout: int) -> None:
    assert entry_layout(Geometry(0x100, 512, word_bytes, alignment_bytes)) == layout


class TestEntries:
    @pytest.mark.parametrize("gc", ["conservative", "precise"])
    @pytest.mark.parametrize("word_bytes", [2, 4, 8])
    def test_are_objects_that_keep_nothing_alive(self, make_finalizing: MakeHeap, word_bytes: int, gc: str) -> None:
        heap = make_finalizing(4 * KIB, word_bytes=word_bytes, gc=gc)
        ran: list[int] = []
        address = heap.alloc(8)
        heap.set_finalizer(address, ran.append)
        entry = table_of(heap).registered
        assert heap.load_word(entry) == 0
        assert heap.load_word(entry + word_bytes) == ~address % heap.geometry.address_space_bytes
        assert heap.stats().mallocs == 3
        heap.verify()
        heap.collect()
        assert ran == [address]
        # Run once, and gone with its entry; what is left is the bitmap.
        assert heap.collect().live_objects == 1
        assert ran == [address]
        heap.verify()

    def test_a_second_finalizer_takes_the_place_of_the_first(self, make_finalizing: MakeHeap) -> None:
        heap = make_finalizing(4 * KIB)
        ran: list[tuple[str, int]] = []
        one, two = heap.alloc(8), heap.alloc(8)
        heap.set_finalizer(one, lambda address: ran.append(("old", address)))
        heap.set_finalizer(two, lambda address: ran.append(("two", address)))
        heap.set_finalizer(one, lambda address: ran.append(("new", address)))
        assert registered(heap) == [two, one]
        heap.collect()
        assert ran == [("new", one), ("two", two)]

    def test_clearing_allocates_nothing(self, make_finalizing: MakeHeap) -> None:
        heap = make_finalizing(4 * KIB)
        ran: list[int] = []
        kept, cleared = heap.alloc(8), heap.alloc(8)
        heap.set_finalizer(kept, ran.append)
        heap.set_finalizer(cleared, ran.append)
        mallocs = heap.stats().mallocs
        heap.set_finalizer(cleared, None)
        heap.set_finalizer(cleared, None)
        assert (heap.stats().mallocs, registered(heap)) == (mallocs, [kept])
        heap.verify()
        heap.collect()
        assert ran == [kept]

    def test_an_object_of_size_zero_keeps_its_entry_for_ever(self, make_finalizing: MakeHeap) -> None:
        heap = make_finalizing(4 * KIB)
        heap.set_finalizer(heap.alloc(0), never)
        heap.collect()
        assert registered(heap) == [heap.zero_size_address]
        heap.verify()
        with pytest.raises(InvalidAddressError):
            heap.set_finalizer(START + 8, never)

    def test_no_room_for_an_entry(self, make_finalizing: MakeHeap) -> None:
        heap = make_finalizing(blocks(8))
        address = heap.alloc(8 * 32 - 8)
        with pytest.raises(OutOfMemoryError):
            heap.set_finalizer(address, never)
        assert heap.object_at(address).address == address
        assert registered(heap) == []
        heap.verify()

    def test_the_object_is_kept_while_its_entry_is_made(self, make_finalizing: MakeHeap) -> None:
        heap = make_finalizing(blocks(8))
        heap.alloc(6 * 32 - 8)
        address = heap.alloc(2 * 32 - 8)
        heap.set_finalizer(address, never)
        assert heap.last_collection is not None
        assert registered(heap) == [address]


class TestOrder:
    def test_the_oldest_registration_first(self, make_finalizing: MakeHeap) -> None:
        heap = make_finalizing(4 * KIB)
        ran: list[int] = []
        chain = [heap.alloc(8) for _ in range(5)]
        for address, following in zip(chain, [*chain[1:], chain[0]], strict=True):
            # A cycle: all of it is due at once, whatever leads to what.
            heap.store_word(address, following)
        order = [chain[at] for at in (3, 1, 4, 0, 2)]
        for address in order:
            heap.set_finalizer(address, ran.append)
        heap.collect()
        assert ran == order

    def test_what_a_due_object_leads_to_lives_on(self, make_finalizing: MakeHeap) -> None:
        heap = make_finalizing(4 * KIB)
        seen: list[int] = []
        address, leaf = heap.alloc(8), heap.alloc(8)
        heap.store_word(address, leaf)
        heap.store_word(leaf, 7)
        heap.set_finalizer(address, lambda found: seen.append(heap.load_word(heap.load_word(found))))
        heap.collect()
        assert seen == [7]

    def test_resurrection_and_a_second_registration(self, make_finalizing: MakeHeap) -> None:
        heap = make_finalizing(4 * KIB)
        root = []

        def save(address: int) -> None:
            root.append(heap.roots.add(address))

        address = heap.alloc(8)
        heap.set_finalizer(address, save)
        heap.collect()
        heap.collect()
        assert heap.object_at(address).address == address
        heap.set_finalizer(address, save)
        root[0].remove()
        heap.collect()
        assert len(root) == 2

    def test_a_collection_in_a_finalizer(self, make_finalizing: MakeHeap) -> None:
        """What becomes due meanwhile runs next, before what has waited longer."""
        heap = make_finalizing(8 * KIB)
        ran: list[int] = []

        def first(address: int) -> None:
            ran.append(address)
            hold.remove()
            heap.collect()
            assert ran == [one]

        one, two, three = heap.alloc(8), heap.alloc(8), heap.alloc(8)
        hold = heap.roots.add(three)
        heap.set_finalizer(one, first)
        heap.set_finalizer(two, ran.append)
        heap.set_finalizer(three, ran.append)
        heap.collect()
        assert ran == [one, three, two]

    def test_an_allocation_runs_them_before_it_returns(self, make_finalizing: MakeHeap) -> None:
        heap = make_finalizing(blocks(16))
        ran: list[int] = []
        address = heap.alloc(8)
        heap.set_finalizer(address, ran.append)
        while not ran:
            heap.alloc(40)
        assert ran == [address]
        heap.verify()

    def test_freed_and_reallocated_objects(self, make_finalizing: MakeHeap) -> None:
        heap = make_finalizing(4 * KIB)
        ran: list[int] = []
        freed, moved = heap.alloc(8), heap.alloc(8)
        for address in (freed, moved):
            heap.set_finalizer(address, ran.append)
        heap.free(freed)
        heap.verify()
        heap.roots.add(heap.realloc(moved, 100))
        heap.collect()
        assert ran == [moved]

    def test_freeing_what_waits(self, make_finalizing: MakeHeap) -> None:
        heap = make_finalizing(4 * KIB)
        ran: list[int] = []
        one, two, three = heap.alloc(8), heap.alloc(8), heap.alloc(8)
        heap.set_finalizer(one, lambda address: heap.free(two))
        heap.set_finalizer(two, ran.append)
        heap.set_finalizer(three, ran.append)
        heap.collect()
        assert ran == [three]
        heap.verify()

    def test_weak_references_are_cleared_first(self, make_finalizing: MakeHeap) -> None:
        heap = make_finalizing(4 * KIB)
        seen: list[int | None] = []
        address = heap.alloc(8)
        weak = heap.weak(address)
        heap.set_finalizer(address, lambda _: seen.append(weak()))
        heap.collect()
        assert seen == [None]


class TestBitmap:
    def test_grows_with_the_heap(self, make_finalizing: MakeHeap) -> None:
        heap = make_finalizing(KIB, growth=Doubling(limit_bytes=64 * KIB))
        held = [heap.alloc(8) for _ in range(3)]
        for address in held:
            heap.roots.add(address)
        heap.set_finalizer(held[0], never)
        first = table_of(heap)
        assert (first.bits_bytes, len(first.read_bits())) == ((heap.geometry.end_block + 7) // 8,) * 2
        old = first.bits
        heap.grow()
        heap.grow()
        heap.set_finalizer(held[2], never)
        assert first.bits != old
        assert first.bits_bytes == (heap.geometry.end_block + 7) // 8
        found = int.from_bytes(first.read_bits(), "little")
        assert found == sum(1 << heap.object_at(held[at]).first for at in (0, 2))
        heap.verify()
        heap.collect()
        assert heap.object_at(first.bits).address == first.bits


class TestPressure:
    def test_an_idle_heap_collects_when_many_were_set(self, make_finalizing: MakeHeap) -> None:
        heap = make_finalizing(16 * KIB)
        ran: list[int] = []
        for _ in range(31):
            heap.set_finalizer(heap.alloc(8), ran.append)
        assert heap.idle() is None
        heap.set_finalizer(heap.alloc(8), ran.append)
        collection = heap.idle()
        assert collection is not None
        assert collection.reason == "idle"
        assert len(ran) == 32
        assert heap.idle() is None

    def test_half_of_all_that_are_set(self, make_finalizing: MakeHeap) -> None:
        heap = make_finalizing(64 * KIB)
        held = [heap.alloc(8) for _ in range(100)]
        for address in held:
            heap.roots.add(address)
            heap.set_finalizer(address, never)
        heap.collect()
        fresh = [heap.alloc(8) for _ in range(100)]
        for number, address in enumerate(fresh, 1):
            heap.roots.add(address)
            heap.set_finalizer(address, never)
            assert table_of(heap).is_pressing == (number >= max(32, (100 + number) // 2))

    def test_replaced_ones_do_not_count_and_cleared_ones_count_back(self, make_finalizing: MakeHeap) -> None:
        heap = make_finalizing(16 * KIB)
        table = table_of(heap)
        one, two = heap.alloc(8), heap.alloc(8)
        for address in (one, two, one):
            heap.set_finalizer(address, never)
        assert (table.since_collection, table.count) == (2, 2)
        heap.set_finalizer(one, None)
        assert (table.since_collection, table.count) == (1, 1)

    def test_others_do_not_count(self, make_heap: MakeHeap) -> None:
        heap = make_heap(64 * KIB)
        if not heap.collector.has_finalizers:
            for _ in range(100):
                heap.set_finalizer(heap.alloc(8), never)
            assert heap.idle() is None


def _link_to_itself(heap: Heap, table: FinalizerTable) -> None:
    heap.store_word(table.registered, table.registered)


def _link_into_an_object(heap: Heap, table: FinalizerTable) -> None:
    heap.store_word(table.registered, table.registered + 8)


def _link_out_of_the_heap(heap: Heap, table: FinalizerTable) -> None:
    heap.store_word(table.registered, 0xDEAD_BEEF)


def _link_to_free_memory(heap: Heap, table: FinalizerTable) -> None:
    heap.store_word(table.registered, START + (heap.geometry.end_block - 1) * 32)


def _another_object(heap: Heap, table: FinalizerTable) -> None:
    heap.store_word(table.registered + 8, ~(START + 17) % (1 << 64))


def _a_bit_too_many(heap: Heap, table: FinalizerTable) -> None:
    heap.store_word(table.bits, heap.load_word(table.bits) | 1 << 40)


def _no_bits(heap: Heap, table: FinalizerTable) -> None:
    heap.store_word(table.bits, 0)


@pytest.fixture
def lying(make_finalizing: MakeHeap) -> Heap:
    heap = make_finalizing(4 * KIB)
    for _ in range(3):
        address = heap.alloc(8)
        heap.roots.add(address)
        heap.set_finalizer(address, lambda _: None)
    return heap


class TestDamage:
    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (_link_to_itself, "is on its list twice"),
            (_link_into_an_object, "where no object of 4 words begins"),
            (_link_out_of_the_heap, "a list of finalizers leads to 0xdeadbeef, where no object of 4 words begins"),
            (_link_to_free_memory, "where no object of 4 words begins"),
            (_another_object, "where no object begins: it was overwritten"),
            (_a_bit_too_many, "has the bit of block 40: it was overwritten"),
            (_no_bits, "lacks the bit of block"),
        ],
    )
    def test_is_found(self, lying: Heap, spoil: Callable[[Heap, FinalizerTable], None], message: str) -> None:
        lying.verify()
        spoil(lying, table_of(lying))
        with pytest.raises(HeapCorruptError, match=message):
            lying.verify()

    @pytest.mark.parametrize(
        "spoil", [_link_to_itself, _link_into_an_object, _link_out_of_the_heap, _link_to_free_memory]
    )
    def test_a_collection_that_meets_it_has_no_effect(
        self, lying: Heap, spoil: Callable[[Heap, FinalizerTable], None]
    ) -> None:
        spoil(lying, table_of(lying))
        objects = list(lying.objects())
        with pytest.raises(HeapCorruptError):
            lying.collect()
        assert list(lying.objects()) == objects
        with pytest.raises(HeapCorruptError):
            lying.set_finalizer(objects[0].address, None)

    def test_a_bitmap_that_is_gone(self, lying: Heap) -> None:
        lying.free(table_of(lying).bits)
        with pytest.raises(HeapCorruptError, match="bitmap should be an object of"):
            lying.verify()

    def test_a_count_that_lies(self, lying: Heap) -> None:
        table_of(lying).count += 1
        with pytest.raises(HeapCorruptError, match="3 finalizer entries are registered, but 4 were counted"):
            lying.verify()

    def test_a_forged_entry_is_not_run(self, lying: Heap) -> None:
        forged = lying.alloc(32)
        table = table_of(lying)
        lying.store_word(forged + 8, ~lying.alloc(8) % (1 << 64))
        table.pending = forged
        with pytest.raises(HeapError, match="none was registered"):
            lying.collect()


def test_a_finalizer_that_has_the_bitmap_widened_meanwhile(make_finalizing: MakeHeap) -> None:
    """The allocation of a bitmap may run a finalizer that grows the heap, and registers an object before it is there."""
    heap = make_finalizing(KIB, growth=Doubling(limit_bytes=8 * KIB))
    held = [heap.alloc(8) for _ in range(2)]
    for address in held:
        heap.roots.add(address)
    table, asked = table_of(heap), list[int]()
    alloc = table._alloc

    def interrupted(size_bytes: int, layout_word: int) -> int:
        asked.append(layout_word)
        if asked == [entry_layout(heap.geometry), NO_POINTERS]:
            heap.grow()
            table.register(held[1], (0, 0))
        return alloc(size_bytes, layout_word)

    table._alloc = interrupted
    table.register(held[0], (0, 0))
    assert registered(heap) == held
    assert table.bits_bytes == (heap.geometry.end_block + 7) // 8
    heap.verify()
