"""The heap as a mutator uses it: every public method, what it gives, what it refuses, and who is told."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest

import needs
from engine_fixtures import MakeHeap
from tinyheap.errors import (
    HeapBusyError,
    HeapCorruptError,
    HeapError,
    InterruptError,
    InvalidAddressError,
    InvalidSizeError,
    LayoutError,
    OutOfMemoryError,
)
from tinyheap.heap import Collection, Doubling, Heap, HeapObject, Layout, Listener
from tinyheap.heap.contract import Engine
from tinyheap.units import KIB, MIB

START = 0x1_0000
BLOCK = 32
GC_KINDS = pytest.mark.parametrize("collector", ["conservative", "precise", "leaking"])


def blocks(count: int) -> int:
    """Bytes of a heap of 64-bit words with so many blocks (up to 32)."""
    return count * BLOCK + -(-count // 4)


@contextmanager
def unchanged(memory: bytearray, heap: Heap) -> Iterator[None]:
    """Neither the memory nor what is counted changes inside."""
    before, counters = bytes(memory), heap.counters()[:7]
    yield
    assert memory == before
    assert heap.counters()[:7] == counters


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


class TestAlloc:
    @pytest.mark.parametrize("word_bytes", [2, 4, 8])
    def test_zeroed_and_side_by_side(self, make_heap: MakeHeap, word_bytes: int) -> None:
        heap = make_heap(bytearray(b"\xee" * 4096), word_bytes=word_bytes)
        block_bytes = 4 * word_bytes
        first, second = heap.alloc(block_bytes + 1), heap.alloc(3)
        assert second == first + 2 * block_bytes
        assert heap.read(first, block_bytes + 1) == bytes(block_bytes + 1)
        # Only what was asked for is cleared: the known leak.
        assert heap.read(first + block_bytes + 1, block_bytes - 1) == b"\xee" * (block_bytes - 1)

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

    def test_the_search_ends_where_it_began(self, make_heap: MakeHeap) -> None:
        heap = make_heap(blocks(8))
        heap.alloc(3 * BLOCK)
        with pytest.raises(OutOfMemoryError) as caught:
            heap.alloc(8 * BLOCK)
        assert "at most 256 in one piece, which no search from block 3 on crosses, and it" in str(caught.value)
        heap.verify()


class TestAllocMany:
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

    def test_nil_allocates(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB)
        assert heap.realloc(0, 10) == START
        assert heap.realloc(heap.zero_size_address, 10) == START + 32
        assert heap.realloc(0, 0) == heap.zero_size_address

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

    def test_the_room_is_found_again(self, make_heap: MakeHeap) -> None:
        heap = make_heap(blocks(4))
        first, _ = heap.alloc(64), heap.alloc(64)
        heap.free(first)
        assert heap.alloc(64) == first
        assert heap.last_collection is None

    def test_wrong_addresses(self, make_heap: MakeHeap) -> None:
        memory = bytearray(4096)
        heap = make_heap(memory, start_address=START)
        address, freed = heap.alloc(100), heap.alloc(8)
        heap.free(freed)
        with unchanged(memory, heap):
            for wrong, message in [
                (freed, f"{freed:#x} is in block 4, which is free: nothing is there (any more)"),
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
            with pytest.raises(InvalidAddressError, match=r"is not in what was allocated so far, 0x10000\.\.0x10018"):
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
    def test_where_and_how_large(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB)
        first, second = heap.alloc(40), heap.alloc(8)
        assert list(heap.objects()) == [HeapObject(first, 0, 2, 64, None), HeapObject(second, 2, 1, 32, None)]
        assert heap.object_at(first + 63) == HeapObject(first, 0, 2, 64, None)

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


class TestCollect:
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

    def test_free_memory_of_a_grown_heap_is_poisoned(self, make_heap: MakeHeap) -> None:
        heap = make_heap(KIB, growth=Doubling(4 * KIB), asserts=True)
        heap.roots.add(heap.alloc(2 * KIB))
        assert heap.geometry.heap_bytes == 4 * KIB
        heap.verify()

    @pytest.mark.parametrize("start_address", [0xA000, 0x5000, 0x100])
    def test_poison_is_no_address(self, make_heap: MakeHeap, start_address: int) -> None:
        memory = bytearray(0x2000)
        heap = make_heap(memory, word_bytes=2, start_address=start_address, asserts=True)
        assert len(set(memory[: heap.geometry.end_block * 8])) == 1
        assert not heap.geometry.is_on_heap(int.from_bytes(memory[:2], "little"))

    def test_counts_that_do_not_fit_the_table(self, make_heap: MakeHeap) -> None:
        memory = bytearray(4096)
        heap = make_heap(memory)
        heap.alloc(8)
        memory[heap.geometry.pool_bytes] = 0b10_01_01
        assert heap.problems() == [
            "the table holds 2 objects, but 1 were allocated and not freed",
            "3 blocks are taken, but 1 were allocated and not freed",
        ]

    def test_out_of_memory_is_counted_as_the_original_does(self, make_heap: MakeHeap) -> None:
        heap = make_heap(blocks(8))
        for _ in range(2):
            with pytest.raises(OutOfMemoryError):
                heap.alloc(300)
        assert heap.stats().mallocs == 2
        assert heap.stats().heap_alloc == 640
        heap.verify()


class TestStats:
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
        assert refused == ["the heap cannot be changed while a collection runs; try again when it has ended"]
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
                with pytest.raises(InterruptError, match="heap alloc in interrupt"):
                    request()
            with heap.interrupt():
                pass
            with pytest.raises(InterruptError):
                heap.alloc(8)
            assert heap.alloc(0) == heap.zero_size_address
            assert heap.realloc(address, 20) == address
            heap.roots.tasks.push(address)
        assert heap.alloc(8)

    def test_an_error_ends_it(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4096)
        with pytest.raises(InterruptError), heap.interrupt():
            heap.alloc(8)
        heap.alloc(8)


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


def _fill(heap: Heap, count: int) -> None:
    """A tree of objects of one block, eagerly rooted."""
    addresses = heap.alloc_many(count, 24)
    for index in range(1, count):
        heap.store_word(addresses[(index - 1) // 2] + 8 * (index % 2), addresses[index])
    heap.roots.add(addresses[0])


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


class TestLayoutsOfObjects:
    def test_a_layout_that_fits_no_object(self, make_heap: MakeHeap) -> None:
        memory = bytearray(4096)
        heap = make_heap(memory, gc="precise")
        with unchanged(memory, heap):
            refused: list[tuple[int, Layout | int, str]] = [
                (8, Layout.pattern("p."), "a layout of 2 words (p.) fits no object of 8 bytes"),
                (24, 0x1234, "layout word 0x1234 is even, but no layout of this heap lies there"),
                (24, 0b1_000000_1, "pattern of 0 words and fits no object"),
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
