"""The heap as a mutator uses it: allocating, resizing, freeing, reading and writing, and what is refused."""

from __future__ import annotations

from array import array

import pytest

from engine_fixtures import MakeHeap
from small_heaps import BLOCK, START, blocks, unchanged
from tinyheap.errors import (
    InvalidAddressError,
    InvalidSizeError,
    LayoutError,
    OutOfMemoryError,
)
from tinyheap.heap import Doubling, HeapObject, Layout
from tinyheap.units import KIB

GC_KINDS = pytest.mark.parametrize("collector", ["conservative", "precise", "leaking"])


class TestAlloc:
    @pytest.mark.next_fit
    @pytest.mark.parametrize("word_bytes", [2, 4, 8])
    def test_zeroed_and_side_by_side(self, make_heap: MakeHeap, word_bytes: int) -> None:
        heap = make_heap(bytearray(b"\xee" * 4096), word_bytes=word_bytes)
        block_bytes = 4 * word_bytes
        first, second = heap.alloc(block_bytes + 1), heap.alloc(3)
        assert second == first + 2 * block_bytes
        assert heap.read(first, block_bytes + 1) == bytes(block_bytes + 1)
        # Only what was asked for is cleared: the known leak.
        assert heap.read(first + block_bytes + 1, block_bytes - 1) == b"\xee" * (block_bytes - 1)

    @pytest.mark.next_fit
    def test_whole_blocks_are_cleared_on_demand(self, make_heap: MakeHeap) -> None:
        heap = make_heap(bytearray(b"\xee" * 4096), clear_blocks=True)
        assert heap.read(heap.alloc(33), 64) == bytes(64)

    @GC_KINDS
    def test_size_zero(self, make_heap: MakeHeap, collector: str) -> None:
        heap = make_heap(4 * KIB, gc=collector)
        if collector == "leaking":
            assert heap.alloc(0) == heap.alloc(0) == START
            return
        assert heap.alloc(0) == heap.alloc(0) == heap.zero_size_address
        assert not heap.geometry.is_on_heap(heap.zero_size_address)
        assert heap.stats().mallocs == 0
        heap.free(heap.zero_size_address)

    @pytest.mark.next_fit
    @pytest.mark.parametrize("header_alignment_bytes", [0, 16, 64])
    def test_precise_objects_have_a_header(self, make_heap: MakeHeap, header_alignment_bytes: int) -> None:
        heap = make_heap(4 * KIB, gc="precise", header_alignment_bytes=header_alignment_bytes)
        address = heap.alloc(8, layout=Layout.DATA)
        assert address == START + max(8, header_alignment_bytes)
        assert heap.load_word(START) == 0b0_000001_1

    @GC_KINDS
    @pytest.mark.parametrize(
        ("word_bytes", "size_bytes"),
        [(8, -1), (8, -(1 << 80)), (8, 1 << 62), (8, 1 << 64), (8, 1 << 80), (4, 1 << 32), (2, 1 << 16)],
    )
    def test_sizes_out_of_range(self, make_heap: MakeHeap, collector: str, word_bytes: int, size_bytes: int) -> None:
        memory = bytearray(4096)
        heap = make_heap(memory, gc=collector, word_bytes=word_bytes)
        held = heap.alloc(40)
        with unchanged(memory, heap):
            for request in (heap.alloc, lambda size: heap.alloc_many(2, size), lambda size: heap.realloc(held, size)):
                with pytest.raises(InvalidSizeError) as caught:
                    request(size_bytes)
                assert str(size_bytes) in str(caught.value)

    @pytest.mark.parametrize("size_bytes", ["8", None, 1.5])
    def test_sizes_that_are_no_integers(self, make_heap: MakeHeap, size_bytes: object) -> None:
        memory = bytearray(4096)
        heap = make_heap(memory)
        with unchanged(memory, heap), pytest.raises(TypeError):
            heap.alloc(size_bytes)  # type: ignore[arg-type]

    @pytest.mark.parametrize("word_bytes", [4, 8])
    def test_sizes_just_in_range_run_out_of_memory(self, make_heap: MakeHeap, word_bytes: int) -> None:
        heap = make_heap(4 * KIB, word_bytes=word_bytes, gc="precise")
        with pytest.raises(OutOfMemoryError, match="no room for"):
            heap.alloc(min(1 << 8 * word_bytes, 1 << 62) - 1)
        heap.verify()

    @pytest.mark.next_fit
    def test_collects_on_exhaustion_then_gives_up(self, make_heap: MakeHeap) -> None:
        heap = make_heap(blocks(8))
        root = heap.roots.add(heap.alloc(5 * BLOCK))
        heap.alloc(3 * BLOCK)
        assert heap.alloc(2 * BLOCK) == START + 5 * BLOCK
        assert heap.last_collection is not None
        assert heap.last_collection.reason == "exhausted"
        with pytest.raises(OutOfMemoryError) as caught:
            heap.alloc(4 * BLOCK)
        assert str(caught.value) == (
            "no room for 128 bytes in a heap of 258: 96 bytes are free, at most 96 in one piece, "
            "and it cannot grow (capacity 258 bytes)"
        )
        assert isinstance(caught.value, MemoryError)
        heap.verify()
        root.remove()
        assert heap.alloc(5 * BLOCK) == START

    @pytest.mark.next_fit
    def test_the_search_ends_where_it_began(self, make_heap: MakeHeap) -> None:
        heap = make_heap(blocks(8))
        heap.alloc(3 * BLOCK)
        with pytest.raises(OutOfMemoryError) as caught:
            heap.alloc(8 * BLOCK)
        assert "at most 256 in one piece, which no search from block 3 on crosses, and it" in str(caught.value)
        heap.verify()


class TestAllocMany:
    @pytest.mark.next_fit
    def test_as_one_by_one(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB)
        addresses = heap.alloc_many(3, 40)
        assert addresses == array("Q", [START, START + 64, START + 128])
        assert heap.alloc_many(0, 40) == array("Q")
        assert heap.alloc_many(2, 0) == array("Q", [heap.zero_size_address] * 2)
        assert heap.stats().mallocs == 3

    def test_layouts(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB, gc="precise")
        layout = Layout.pattern("p" + "." * 70)
        for address in heap.alloc_many(3, 71 * 8, layout):
            assert heap.object_at(address).layout == layout

    def test_the_batch_lives_while_it_is_made(self, make_heap: MakeHeap) -> None:
        heap = make_heap(blocks(32))
        heap.alloc_many(20, 8)
        addresses = heap.alloc_many(30, 8)
        assert heap.last_collection is not None
        assert heap.last_collection.live_objects == 12
        assert len(set(addresses)) == 30
        assert [found.address for found in heap.objects()] == sorted(addresses)
        # From now on it is up to the roots.
        assert heap.collect().live_objects == 0

    def test_none_is_kept_when_the_room_runs_out(self, make_heap: MakeHeap) -> None:
        heap = make_heap(blocks(32))
        with pytest.raises(OutOfMemoryError):
            heap.alloc_many(31, 40)
        heap.verify()
        assert heap.collect().live_objects == 0
        heap.verify()

    def test_a_batch_inside_a_batch(self, make_heap: MakeHeap) -> None:
        heap = make_heap(blocks(32))
        inner: list[int] = []

        def finalizer(address: int) -> None:
            inner.extend(heap.alloc_many(2, 8))
            heap.collect()

        heap.set_finalizer(heap.alloc(8), finalizer)
        heap.alloc_many(20, 8)
        addresses = heap.alloc_many(25, 8)
        assert len(inner) == 2
        assert set(addresses) <= {found.address for found in heap.objects()}
        assert len(set(addresses)) == 25

    @pytest.mark.parametrize("count", [-1, 1 << 20, 1 << 62, 1 << 70])
    def test_counts_out_of_range(self, make_heap: MakeHeap, count: int) -> None:
        memory = bytearray(4096)
        heap = make_heap(memory)
        with unchanged(memory, heap), pytest.raises(InvalidSizeError, match=str(count)):
            heap.alloc_many(count, 8)


class TestRealloc:
    @pytest.mark.next_fit
    def test_within_its_blocks(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB)
        address = heap.alloc(33)
        assert [heap.realloc(address, size) for size in (0, 1, 33, 64)] == [address] * 4
        assert heap.stats().mallocs == 1

    @pytest.mark.parametrize("collector", ["conservative", "precise"])
    def test_moves_what_outgrows_them(self, make_heap: MakeHeap, collector: str) -> None:
        heap = make_heap(4 * KIB, gc=collector)
        address = heap.alloc(24, layout=Layout.pattern("p.."))
        heap.write(address, bytes(range(24)))
        larger = heap.realloc(address, 100)
        assert larger != address
        assert heap.read(larger, 24) == bytes(range(24))
        # The old one is left to the collector, and the new one's layout is unknown.
        assert heap.census().heads == 2
        assert heap.object_at(larger).layout == (Layout.UNKNOWN if collector == "precise" else None)
        with heap.roots.add(larger):
            assert heap.collect().freed_objects == 1

    @pytest.mark.next_fit
    def test_nil_allocates(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB)
        assert heap.realloc(0, 10) == START
        assert heap.realloc(heap.zero_size_address, 10) == START + 32
        assert heap.realloc(0, 0) == heap.zero_size_address

    @pytest.mark.next_fit
    @pytest.mark.parametrize("asserts", [False, True])
    def test_what_is_copied_lives_through_a_collection(self, make_heap: MakeHeap, asserts: bool) -> None:
        heap = make_heap(blocks(12), asserts=asserts)
        address = heap.alloc(40)
        heap.write(address, b"x" * 40)
        heap.alloc_many(10, 32)
        larger = heap.realloc(address, 80)
        assert heap.last_collection is not None
        assert heap.read(larger, 40) == b"x" * 40
        heap.verify()

    def test_an_interior_address_keeps_its_tail(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB)
        address = heap.alloc(64)
        heap.write(address, bytes(range(64)))
        assert heap.realloc(address + 40, 24) == address + 40
        assert heap.read(heap.realloc(address + 40, 25), 24) == bytes(range(40, 64))

    @pytest.mark.parametrize("address", [START + 64, START + 4097, START - 8, 1, -1, 1 << 64, 1 << 80])
    def test_no_object_there(self, make_heap: MakeHeap, address: int) -> None:
        memory = bytearray(4096)
        heap = make_heap(memory)
        heap.alloc(8)
        with unchanged(memory, heap), pytest.raises(InvalidAddressError, match=f"{address:#x} is"):
            heap.realloc(address, 8)

    def test_out_of_memory_leaves_the_old_one(self, make_heap: MakeHeap) -> None:
        heap = make_heap(blocks(4))
        address = heap.alloc(40)
        heap.write(address, b"y" * 40)
        with pytest.raises(OutOfMemoryError):
            heap.realloc(address, 100)
        assert heap.read(address, 40) == b"y" * 40
        heap.verify()


class TestFree:
    @pytest.mark.parametrize("collector", ["conservative", "precise"])
    def test_frees_all_blocks_at_once(self, make_heap: MakeHeap, collector: str) -> None:
        heap = make_heap(4 * KIB, gc=collector)
        first, second = heap.alloc(100), heap.alloc(8)
        heap.free(first)
        stats = heap.stats()
        assert (stats.mallocs, stats.frees) == (2, 1)
        assert [found.address for found in heap.objects()] == [second]
        heap.verify()

    @pytest.mark.next_fit
    def test_the_room_is_found_again(self, make_heap: MakeHeap) -> None:
        heap = make_heap(blocks(4))
        first, _ = heap.alloc(64), heap.alloc(64)
        heap.free(first)
        assert heap.alloc(64) == first
        assert heap.last_collection is None

    @pytest.mark.next_fit
    def test_wrong_addresses(self, make_heap: MakeHeap) -> None:
        memory = bytearray(4096)
        heap = make_heap(memory, start_address=START)
        address, freed = heap.alloc(100), heap.alloc(8)
        heap.free(freed)
        with unchanged(memory, heap):
            for wrong, message in [
                (freed, f"{freed:#x} is in block 4, which is free: no object is there (any more)"),
                (address + 1, "0x10001 lies in the object at 0x10000 (128 bytes), not at its start; pass 0x10000"),
                (address + 64, "0x10040 lies in the object at 0x10000"),
                (0x500, "0x500 is not on the heap, 0x10000..0x10fe0"),
                (heap.geometry.table_address, "0x10fe0 is not on the heap"),
                (-8, "-0x8 is not on the heap"),
                (1 << 70, "is not on the heap"),
            ]:
                with pytest.raises(InvalidAddressError) as caught:
                    heap.free(wrong)
                assert message in str(caught.value)

    @pytest.mark.next_fit
    def test_the_header_is_not_an_objects_start(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB, gc="precise")
        address = heap.alloc(8)
        with pytest.raises(InvalidAddressError, match="not at its start"):
            heap.free(address - 8)
        heap.free(address)

    def test_nil(self, make_heap: MakeHeap) -> None:
        make_heap(4 * KIB).free(0)


class TestLeaking:
    def test_a_bump_pointer(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB, gc="leaking", header_alignment_bytes=16)
        assert [heap.alloc(1), heap.alloc(17), heap.alloc(1)] == [START, START + 16, START + 48]
        heap.free(START)
        collection = heap.collect()
        assert (collection.freed_objects, collection.live_objects) == (0, 0)
        stats = heap.stats()
        assert (stats.mallocs, stats.frees, stats.total_alloc) == (3, 0, 64)
        assert stats.heap_inuse == stats.heap_alloc == 64
        heap.verify()

    def test_the_last_byte_is_never_used(self, make_heap: MakeHeap) -> None:
        heap = make_heap(128, gc="leaking")
        heap.alloc(64)
        with pytest.raises(OutOfMemoryError):
            heap.alloc(64)
        assert heap.alloc(56) == START + 64

    def test_realloc_copies_and_checks(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB, gc="leaking")
        address = heap.alloc(8)
        heap.write(address, b"12345678")
        assert heap.read(heap.realloc(address, 16), 8) == b"12345678"
        for wrong in (START + 24, START - 1, 1 << 70, -5):
            with pytest.raises(InvalidAddressError, match=r"a leaking heap has allocated 0x10000\.\.0x10018 so far"):
                heap.realloc(wrong, 8)

    def test_objects_are_not_known(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB, gc="leaking")
        address = heap.alloc(8)
        for request in (heap.object_at, heap.weak, lambda at: heap.set_finalizer(at, print)):
            with pytest.raises(InvalidAddressError, match="leaking heap, which does not know its objects"):
                request(address)
        assert list(heap.objects()) == []
        assert str(heap.dump()) == "heap:"

    def test_grows(self, make_heap: MakeHeap) -> None:
        heap = make_heap(128, gc="leaking", growth=Doubling(KIB))
        addresses = [heap.alloc(64) for _ in range(15)]
        assert addresses == list(range(START, START + 960, 64))
        assert heap.geometry.heap_bytes == KIB
        with pytest.raises(OutOfMemoryError):
            heap.alloc(64)


class TestAccess:
    @pytest.mark.parametrize("word_bytes", [2, 4, 8])
    def test_words(self, make_heap: MakeHeap, word_bytes: int) -> None:
        heap = make_heap(4 * KIB, word_bytes=word_bytes)
        address = heap.alloc(4 * word_bytes)
        heap.store_word(address + 1, -2)
        assert heap.load_word(address + 1) == (1 << 8 * word_bytes) - 2
        heap.store_word(address, 1 << 8 * word_bytes | 5)
        assert heap.load_word(address) == 5

    def test_bytes(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB)
        address = heap.alloc(64)
        heap.write(address + 3, b"abc")
        heap.write(address + 6, array("H", [0x6564]))
        heap.write(address, array("H"))
        assert heap.read(address, 9) == b"\0\0\0abcde\0"[:9]
        assert heap.read(address, 0) == b""
        assert heap.load_word(address) == int.from_bytes(b"\0\0\0abcde", "little")

    @pytest.mark.parametrize(
        ("address", "size_bytes"),
        [
            (START - 1, 8),
            (START + 4096 - 32 - 7, 8),
            (START + 4096, 8),
            (-1, 8),
            (1 << 80, 8),
            (START, -1),
            (START, 4096),
        ],
    )
    def test_outside_the_heap(self, make_heap: MakeHeap, address: int, size_bytes: int) -> None:
        memory = bytearray(4096)
        heap = make_heap(memory)
        with unchanged(memory, heap):
            with pytest.raises(InvalidAddressError, match="do not lie on the heap"):
                heap.read(address, size_bytes)
            if size_bytes != 8:
                return
            with pytest.raises(InvalidAddressError, match=f"8 bytes at {address:#x} do not lie on the heap"):
                heap.load_word(address)
            with pytest.raises(InvalidAddressError, match="do not lie on the heap"):
                heap.store_word(address, 1)
            with pytest.raises(InvalidAddressError, match="do not lie on the heap"):
                heap.write(address, b"12345678")

    @pytest.mark.next_fit
    @pytest.mark.parametrize("collector", ["conservative", "precise"])
    def test_under_asserts_only_in_an_object(self, make_heap: MakeHeap, collector: str) -> None:
        memory = bytearray(4096)
        heap = make_heap(memory, gc=collector, asserts=True)
        address = heap.alloc(16)
        end = heap.object_at(address).size_bytes + address
        heap.store_word(end - 8, 7)
        with unchanged(memory, heap):
            with pytest.raises(InvalidAddressError, match="reach past the object"):
                heap.store_word(end - 7, 7)
            with pytest.raises(InvalidAddressError, match="which is free"):
                heap.store_word(end, 7)
            if collector == "precise":
                with pytest.raises(InvalidAddressError, match=f"header of the object at {address:#x}"):
                    heap.store_word(address - 8, 7)
        heap.free(address)
        with pytest.raises(InvalidAddressError, match="which is free"):
            heap.load_word(address)


class TestObjects:
    @pytest.mark.next_fit
    def test_where_and_how_large(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB)
        first, second = heap.alloc(40), heap.alloc(8)
        assert list(heap.objects()) == [HeapObject(first, 0, 2, 64, None), HeapObject(second, 2, 1, 32, None)]
        assert heap.object_at(first + 63) == HeapObject(first, 0, 2, 64, None)

    @pytest.mark.next_fit
    def test_precise_objects_say_their_layout(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB, gc="precise")
        address = heap.alloc(56, Layout.pattern("pp....."))
        assert heap.object_at(address) == HeapObject(address, 0, 2, 56, Layout.pattern("pp....."))
        heap.store_word(address - 8, 0x4242_4242)
        assert heap.object_at(address).layout is None

    def test_none_there(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB + 7)
        with pytest.raises(InvalidAddressError, match="is in block 3, which is free"):
            heap.object_at(START + 96)
        # The slack behind the last block is on the heap, and in no block.
        with pytest.raises(InvalidAddressError, match="which is free"):
            heap.object_at(heap.geometry.table_address - 1)


class TestLayoutsOfObjects:
    def test_a_layout_that_fits_no_object(self, make_heap: MakeHeap) -> None:
        memory = bytearray(4096)
        heap = make_heap(memory, gc="precise")
        with unchanged(memory, heap):
            refused: list[tuple[int, Layout | int, str]] = [
                (8, Layout.pattern("p."), "a layout of 2 words (p.) does not fit an object of 8 bytes"),
                (24, 0x1234, "layout word 0x1234 is even, but no layout of this heap lies there"),
                (24, 0b1_000000_1, "pattern of 0 words: expected 1 or more"),
                (24, -1, "does not fit 8 bytes"),
                (24, 1 << 64 | 1, "does not fit 8 bytes"),
            ]
            for size_bytes, layout, message in refused:
                with pytest.raises(LayoutError) as caught:
                    heap.alloc(size_bytes, layout)
                assert message in str(caught.value)

    def test_raw_words(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB, gc="precise")
        word = 0b01_000010_1
        assert heap.object_at(heap.alloc(16, word)).layout == Layout.pattern("p.")
        assert heap.object_at(heap.alloc(16, 0)).layout == Layout.UNKNOWN
        assert heap.object_at(heap.alloc(16)).layout == Layout.UNKNOWN

    @pytest.mark.next_fit
    def test_out_of_line_layouts_are_kept_once(self, make_heap: MakeHeap) -> None:
        heap = make_heap(16 * KIB, gc="precise")
        layout = Layout.pattern("p" + "." * 99)
        addresses = [heap.alloc(800, layout) for _ in range(2)]
        words = {heap.load_word(address - 8) for address in addresses}
        assert len(words) == 1
        word = words.pop()
        assert word % 2 == 0
        assert not heap.geometry.is_on_heap(word)
        # A program may pass such a word on.
        assert heap.object_at(heap.alloc(800, word)).layout == layout
        target = heap.alloc(8)
        heap.store_word(addresses[1], target)
        heap.roots.add(addresses[1])
        heap.collect()
        assert {found.address for found in heap.objects()} == {addresses[1], target}

    def test_structs_on_avr_keep_their_pointers(self, make_heap: MakeHeap) -> None:
        heap = make_heap(bytearray(2048), word_bytes=2, word_alignment_bytes=1, gc="precise")
        layout = Layout.struct({"tag": "byte", "next": "*node", "count": "int", "name": "string"}, 2, 1)
        held = heap.alloc(9, layout)
        by_next, by_name, by_count = heap.alloc(2), heap.alloc(2), heap.alloc(2)
        for offset_bytes, address in ((1, by_next), (3, by_count), (5, by_name)):
            heap.store_word(held + offset_bytes, address)
        heap.roots.add(held)
        heap.collect()
        assert [found.address for found in heap.objects()] == [held, by_next, by_name]


class TestStats:
    @pytest.mark.next_fit
    def test_the_fields_of_go(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB, gc="precise", header_alignment_bytes=16)
        heap.roots.add(heap.alloc(10))
        heap.alloc(40)
        heap.collect()
        stats = heap.stats()
        geometry = heap.geometry
        assert stats.as_go() == {
            "Mallocs": 2,
            "Frees": 1,
            "TotalAlloc": 26 + 56,
            "HeapAlloc": 32,
            "HeapInuse": 32,
            "HeapIdle": (geometry.end_block - 1) * 32,
            "HeapSys": geometry.end_block * 32,
            "GCSys": geometry.table_bytes,
            "Sys": 4096,
        }
        assert (stats.alloc, stats.heap_released) == (32, 0)

    @pytest.mark.next_fit
    def test_census_and_counters(self, make_heap: MakeHeap) -> None:
        heap = make_heap(blocks(8))
        first, _, third = heap.alloc(64), heap.alloc(32), heap.alloc(64)
        heap.free(first)
        assert heap.census() == (5, 2, 1, 0, 2, 3)
        heap.roots.add(third)
        heap.collect()
        counters = heap.counters()
        assert (counters.mallocs, counters.frees, counters.freed_blocks, counters.total_blocks) == (3, 2, 3, 5)
        assert counters.words_scanned == 8
        assert counters.table_reads > 0
