"""The contract of an engine, each clause on both engines by the same test."""

from __future__ import annotations

import contextlib
import importlib.machinery
import mmap
import random
import sys
from array import array
from typing import Any, cast

import pytest

from tinyheap.errors import (
    AllocationInInterruptError,
    HeapCorruptError,
    InvalidAddressError,
    InvalidSizeError,
)
from tinyheap.heap.contract import NO_BLOCK, Census, Engine, Gc, NextFitEngine, Options, State
from tinyheap.heap.geometry import Geometry
from tinyheap.heap.nextfit.model import Model
from workbench import (
    GLYPHS,
    START_ADDRESSES,
    ZERO_SIZE_ADDRESS,
    Layouts,
    MakeBench,
    Workbench,
    heap_bytes_for,
    inline_layout,
)

WORD_SIZES = pytest.mark.parametrize("word_bytes", [2, 4, 8])
EMPTY = "." * 12


class TestEngines:
    def test_the_compiled_engine_really_is_compiled(self, kernel: type[Engine]) -> None:
        module = sys.modules[kernel.__module__]
        assert module.__name__ == "tinyheap.heap.nextfit._kernel"
        assert module.__file__ is not None
        assert module.__file__.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES))
        assert isinstance(module.__loader__, importlib.machinery.ExtensionFileLoader)

    def test_the_two_engines_are_two(self, kernel: type[Engine]) -> None:
        assert kernel is not Model
        assert sys.modules[Model.__module__].__file__ == sys.modules["tinyheap.heap.nextfit.model"].__file__


class TestAlloc:
    @WORD_SIZES
    @pytest.mark.parametrize(("sixteenths", "blocks"), [(1, 1), (15, 1), (16, 1), (17, 2), (32, 2), (40, 3)])
    def test_whole_blocks(self, bench: MakeBench, word_bytes: int, sixteenths: int, blocks: int) -> None:
        heap = bench(12, word_bytes=word_bytes)
        size_bytes = -(-sixteenths * 4 * word_bytes // 16)
        assert heap.engine.alloc(size_bytes) == heap.address(0)
        assert heap.draw() == ("*" + "-" * (blocks - 1)).ljust(12, ".")
        assert heap.engine.next_alloc == blocks
        counters = heap.engine.counters
        assert counters[:5] == (size_bytes, blocks, 1, 0, 0)

    def test_next_fit(self, bench: MakeBench) -> None:
        heap = bench(8)
        heap.lay("*..*-...")
        assert heap.engine.alloc(33) == heap.address(1)
        assert heap.draw() == "**-*-..."
        assert heap.engine.alloc(33) == heap.address(5)
        assert heap.draw() == "**-*-*-."
        # A smaller hole before next_alloc is not looked at while there is one behind.
        heap.lay(".*-*-*-.")
        assert heap.engine.alloc(1) == heap.address(7)
        assert heap.engine.next_alloc == 8
        assert heap.engine.alloc(1) == heap.address(0)
        assert heap.engine.next_alloc == 1
        assert heap.asked == []

    def test_runs_do_not_wrap(self, bench: MakeBench) -> None:
        heap = bench(8)
        heap.lay(".*****..")
        heap.engine.next_alloc = 6
        heap.roots = [heap.address(block) for block in range(1, 6)]
        assert heap.engine.alloc(96) == 0
        assert heap.asked == ["collect", "grow 3"]
        assert heap.draw() == ".*****.."
        assert heap.engine.next_alloc == 6
        # As in the original, what ran out of memory has been counted.
        assert heap.engine.counters[:5] == (96, 3, 1, 0, 0)

    def test_the_run_before_next_alloc_carries_over_a_collection(self, bench: MakeBench) -> None:
        heap = bench(8)
        heap.lay("...*....")
        heap.engine.next_alloc = 3
        assert heap.engine.alloc(7 * 32) == heap.address(0)
        assert heap.asked == ["collect"]
        assert heap.draw() == "*------."
        assert heap.engine.next_alloc == 7

    def test_a_full_heap_is_collected(self, bench: MakeBench) -> None:
        heap = bench(8)
        addresses = [heap.engine.alloc(32) for _ in range(8)]
        heap.roots = [addresses[2], addresses[7]]
        assert heap.engine.alloc(32) == addresses[0]
        assert heap.asked == ["collect"]
        assert heap.draw() == "*.*....*"
        assert heap.engine.counters[2:5] == (9, 6, 6)

    def test_a_third_of_headroom_is_kept(self, bench: MakeBench) -> None:
        heap = bench(12, grow_to=[heap_bytes_for(24)])
        heap.lay("*" * 9 + "...")
        heap.engine.next_alloc = 9
        heap.roots = [heap.address(block) for block in range(9)]
        assert heap.engine.alloc(96) == heap.address(9)
        assert heap.asked == []
        assert heap.engine.alloc(32) == heap.address(12)
        assert heap.asked == ["collect", "grow 1"]
        assert heap.draw() == "*" * 9 + "...*" + "." * 11

    @pytest.mark.parametrize(("live", "asked"), [(8, ["collect"]), (9, ["collect", "grow 1"])])
    def test_how_much_headroom_is_enough(self, bench: MakeBench, live: int, asked: list[str]) -> None:
        # 12 blocks are 384 bytes: less than 128 free, four blocks, is too little.
        heap = bench(12)
        heap.lay("*" * 12)
        heap.engine.next_alloc = 12
        heap.roots = [heap.address(block) for block in range(live)]
        assert heap.engine.alloc(1) == heap.address(live)
        assert heap.asked == asked

    def test_growth_until_it_fits(self, bench: MakeBench) -> None:
        heap = bench(8, grow_to=[heap_bytes_for(blocks) for blocks in (16, 32, 64)])
        heap.lay("*****...")
        heap.engine.next_alloc = 5
        heap.roots = [heap.address(block) for block in range(5)]
        assert heap.engine.alloc(20 * 32) == heap.address(5)
        assert heap.asked == ["collect", "grow 20", "grow 20"]
        assert heap.draw() == "******" + "-" * 19 + "." * 7
        assert heap.engine.geometry.heap_bytes == heap_bytes_for(32)

    def test_out_of_memory_after_growth(self, bench: MakeBench) -> None:
        heap = bench(8, grow_to=[heap_bytes_for(16)])
        assert heap.engine.alloc(17 * 32) == 0
        assert heap.asked == ["collect", "grow 17", "grow 17"]
        assert heap.draw() == "." * 16
        assert heap.engine.alloc(16 * 32) == heap.address(0)

    @pytest.mark.parametrize("blocks", [0, 1])
    def test_tiny_heaps(self, bench: MakeBench, blocks: int) -> None:
        heap = bench(blocks, grow_to=[heap_bytes_for(8)])
        if blocks:
            assert heap.engine.alloc(32) == heap.address(0)
            assert heap.asked == []
        assert heap.engine.alloc(64) == heap.address(0)
        assert heap.draw() == "*-......"
        assert heap.asked[0] == "collect"

    def test_a_heap_of_no_bytes(self, bench: MakeBench) -> None:
        heap = bench(heap_bytes=0)
        assert heap.engine.alloc(1) == 0
        assert heap.collect() == 0
        assert heap.engine.census() == (0, 0, 0, 0, 0, 0)
        assert heap.engine.check_table() == []
        assert heap.engine.read_table() == b""

    @pytest.mark.parametrize("fill", [0x00, 0xEE])
    @pytest.mark.parametrize("size_bytes", [*range(1, 80), 95, 96, 97, 112, 113, 127, 128, 129, 1000])
    def test_exactly_the_requested_bytes_are_cleared(self, bench: MakeBench, size_bytes: int, fill: int) -> None:
        heap = bench(64, fill=fill, offset_bytes=size_bytes % 8)
        heap.engine.alloc(1)
        heap.engine.alloc(size_bytes)
        filling = bytes([fill])
        expected = bytes(1) + filling * 31 + bytes(size_bytes)
        assert heap.pool() == expected.ljust(heap.engine.geometry.pool_bytes, filling)

    @pytest.mark.parametrize("size_bytes", [1, 31, 32, 33, 100])
    def test_whole_blocks_are_cleared_on_request(self, bench: MakeBench, size_bytes: int) -> None:
        heap = bench(8, fill=0xEE, clear_blocks=True)
        heap.engine.alloc(size_bytes)
        cleared = -(-size_bytes // 32) * 32
        assert heap.pool() == bytes(cleared).ljust(8 * 32, b"\xee")

    @WORD_SIZES
    @pytest.mark.parametrize("clear_blocks", [False, True])
    @pytest.mark.parametrize("align", [0, 8, 16])
    def test_precise_objects_have_a_header(
        self, bench: MakeBench, word_bytes: int, align: int, clear_blocks: bool
    ) -> None:
        heap = bench(
            16,
            word_bytes=word_bytes,
            header_alignment_bytes=align,
            gc=Gc.PRECISE,
            fill=0xEE,
            clear_blocks=clear_blocks,
        )
        header_bytes = max(word_bytes, align)
        assert heap.engine.alloc(5, 0x1234) == heap.address(0) + header_bytes
        blocks = -(-(5 + header_bytes) // (4 * word_bytes))
        assert heap.draw() == ("*" + "-" * (blocks - 1)).ljust(16, ".")
        # The padding of the header keeps its old bytes.
        expected = (0x1234).to_bytes(word_bytes, "little").ljust(header_bytes, b"\xee")
        expected += bytes(blocks * 4 * word_bytes - header_bytes if clear_blocks else 5)
        assert heap.pool() == expected.ljust(16 * 4 * word_bytes, b"\xee")
        assert heap.engine.counters[:2] == (5 + header_bytes, blocks)

    def test_a_table_that_was_replaced_is_looked_at_anew(self, bench: MakeBench) -> None:
        heap = bench(8)
        heap.engine.alloc(1)
        heap.lay("*.*-....")
        assert heap.engine.alloc(64) == heap.address(4)
        assert heap.draw() == "*.*-*-.."

    def test_no_bytes_have_one_place_outside_the_heap(self, bench: MakeBench) -> None:
        heap = bench(4)
        assert {heap.engine.alloc(0) for _ in range(3)} == {ZERO_SIZE_ADDRESS}
        assert heap.engine.counters[:3] == (0, 0, 0)
        heap.engine.in_interrupt = True
        assert heap.engine.alloc(0) == ZERO_SIZE_ADDRESS

    @pytest.mark.parametrize("gc", list(Gc))
    @pytest.mark.parametrize(("word_bytes", "size_bytes"), [(2, -1), (2, 1 << 16), (4, -1), (4, 1 << 32), (8, -1)])
    def test_sizes_that_no_address_space_holds(
        self, bench: MakeBench, gc: Gc, word_bytes: int, size_bytes: int
    ) -> None:
        heap = bench(heap_bytes=300, word_bytes=word_bytes, gc=gc)
        before = bytes(heap.memory), heap.engine.counters[:7]
        with pytest.raises(InvalidSizeError, match=f"invalid size {size_bytes}: expected 0 to "):
            heap.engine.alloc(size_bytes)
        with pytest.raises(InvalidSizeError):
            heap.engine.alloc_many(array("Q", [0]), size_bytes)
        assert (bytes(heap.memory), heap.engine.counters[:7]) == before
        assert heap.asked == []

    @pytest.mark.parametrize(("word_bytes", "size_bytes"), [(2, 0xFFFF), (4, 0xFFFF_FFFF), (8, (1 << 62) - 1)])
    def test_the_largest_sizes_only_run_out_of_memory(self, bench: MakeBench, word_bytes: int, size_bytes: int) -> None:
        for gc in Gc:
            heap = bench(heap_bytes=300, word_bytes=word_bytes, gc=gc)
            assert heap.engine.alloc(size_bytes) == 0
            assert heap.engine.alloc(8) != 0

    @pytest.mark.parametrize("gc", list(Gc))
    def test_refused_in_interrupts(self, bench: MakeBench, gc: Gc) -> None:
        heap = bench(8, gc=gc)
        heap.engine.in_interrupt = True
        assert heap.engine.in_interrupt
        with pytest.raises(AllocationInInterruptError, match="heap alloc in interrupt"):
            heap.engine.alloc(1)
        heap.engine.in_interrupt = False
        assert heap.engine.counters[:3] == (0, 0, 0)
        assert heap.draw().strip(".") == ""
        assert heap.engine.alloc(1) >= heap.address(0)

    def test_an_error_while_collecting_leaves_nothing_counted(
        self, bench: MakeBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        heap = bench(2)
        heap.engine.alloc(64)
        before = heap.engine.counters[:5]

        def fail() -> int:
            raise ZeroDivisionError

        monkeypatch.setattr(heap, "on_exhausted", fail)
        with pytest.raises(ZeroDivisionError):
            heap.engine.alloc(40)
        assert heap.engine.counters[:5] == before
        assert heap.draw() == "*-"

    @pytest.mark.parametrize("gc", list(Gc))
    def test_many_at_once(self, bench: MakeBench, gc: Gc) -> None:
        heap, one_by_one = (bench(heap_bytes=heap_bytes_for(8), gc=gc, fill=0xEE) for _ in range(2))
        for twin in (heap, one_by_one):
            twin.roots = [twin.address(block) for block in range(8)]
        addresses = array("Q", [7] * 12)
        heap.engine.alloc_many(addresses, 20, 1)
        assert addresses.tolist() == [one_by_one.engine.alloc(20, 1) for _ in range(12)]
        # Those that found no room, as `finish_allocation` would have them.
        assert addresses.count(0) == (2 if gc is Gc.LEAKING else 4)
        assert bytes(heap.memory) == bytes(one_by_one.memory)
        assert heap.engine.counters[:5] == one_by_one.engine.counters[:5]
        assert heap.asked == one_by_one.asked

    def test_what_had_to_ask_is_settled(self, bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
        heap = bench(4, gc=Gc.PRECISE)
        assert heap.engine.alloc(100) == heap.address(0) + 8
        assert heap.settled == []
        assert heap.engine.alloc(24) == heap.address(0) + 8
        assert heap.settled == [(heap.address(0) + 8, 24)]
        monkeypatch.setattr(heap, "finish_allocation", lambda address, size_bytes: address + size_bytes)
        assert heap.engine.alloc(1000) == 1000

    def test_the_embedder_reads_layouts(self, bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
        heap = bench(4, gc=Gc.PRECISE)
        monkeypatch.setattr(heap, "layout_word", lambda layout, size_bytes: len(layout) * 1000 + size_bytes)
        heap.engine.alloc(24, "four")
        heap.engine.alloc(16)
        heap.engine.alloc_many(array("Q", [0]), 17, "one")
        words = [heap.engine.load_word(heap.address(block)) for block in range(3)]
        assert words == [4024, 0, 3017]


class TestLeaking:
    @WORD_SIZES
    @pytest.mark.parametrize("align", [0, 16])
    def test_a_pointer_is_bumped(self, bench: MakeBench, word_bytes: int, align: int) -> None:
        heap = bench(heap_bytes=256, word_bytes=word_bytes, header_alignment_bytes=align, gc=Gc.LEAKING, fill=0xEE)
        unit = max(word_bytes, align)
        start = heap.engine.geometry.start_address
        assert heap.engine.alloc(1) == start
        assert heap.engine.alloc(unit + 1) == start + unit
        # Nothing is somewhere, too: where the next object will be.
        assert heap.engine.alloc(0) == heap.engine.alloc(1) == start + 3 * unit
        assert bytes(heap.memory[: 4 * unit]) == bytes(4 * unit)
        assert bytes(heap.memory[4 * unit :]) == b"\xee" * (256 - 4 * unit)
        assert heap.engine.counters[:5] == (4 * unit, 0, 4, 0, 0)

    def test_the_last_byte_is_never_used(self, bench: MakeBench) -> None:
        heap = bench(heap_bytes=64, gc=Gc.LEAKING, grow_to=[65])
        start = heap.engine.geometry.start_address
        assert heap.engine.alloc(56) == start
        assert heap.engine.alloc(8) == start + 56
        assert heap.asked == ["grow 1"]
        assert heap.engine.alloc(1) == 0
        assert heap.asked == ["grow 1", "grow 1"]

    def test_realloc_copies_as_much_as_is_asked_for(self, bench: MakeBench) -> None:
        heap = bench(heap_bytes=256, gc=Gc.LEAKING)
        first = heap.engine.alloc(16)
        second = heap.engine.alloc(8)
        heap.engine.store_word(first, 0x1111)
        heap.engine.store_word(second, 0x2222)
        third = heap.engine.realloc(first, 24)
        assert third == second + 8
        assert [heap.engine.load_word(third + at) for at in (0, 8, 16)] == [0x1111, 0, 0x2222]
        assert heap.engine.realloc(0, 8) == third + 24
        assert heap.engine.realloc(third, 8) == third + 32
        assert heap.engine.realloc(first, 4096) == 0


class TestRealloc:
    def test_nothing_is_allocated(self, bench: MakeBench) -> None:
        heap = bench(8)
        assert heap.engine.realloc(0, 40) == heap.address(0)
        assert heap.engine.realloc(ZERO_SIZE_ADDRESS, 40) == heap.address(2)
        assert heap.engine.realloc(0, 0) == ZERO_SIZE_ADDRESS
        assert heap.draw() == "*-*-...."

    @pytest.mark.parametrize("size_bytes", [0, 1, 40, 63, 64])
    def test_stays_where_it_fits(self, bench: MakeBench, size_bytes: int) -> None:
        heap = bench(8)
        address = heap.engine.alloc(40)
        before = bytes(heap.memory), heap.engine.counters[:5]
        assert heap.engine.realloc(address, size_bytes) == address
        assert (bytes(heap.memory), heap.engine.counters[:5]) == before

    def test_stays_where_it_fits_with_hundreds_of_bytes_in_words_of_two(self, bench: MakeBench) -> None:
        heap = bench(100, word_bytes=2)
        address = heap.engine.alloc(300)
        assert heap.engine.realloc(address, 280) == address

    def test_moves_with_its_bytes(self, bench: MakeBench) -> None:
        heap = bench(8)
        address = heap.engine.alloc(40)
        heap.engine.alloc(1)
        for word in range(8):
            heap.engine.store_word(address + 8 * word, 0x1000 + word)
        new_address = heap.engine.realloc(address, 65)
        assert new_address == heap.address(3)
        assert [heap.engine.load_word(new_address + 8 * word) for word in range(9)] == [
            *range(0x1000, 0x1008),
            0,
        ]
        assert heap.draw() == "*-**--.."
        assert heap.engine.counters[:5] == (40 + 1 + 65, 6, 3, 0, 0)

    def test_precise_objects_keep_their_bytes_but_not_their_layout(self, bench: MakeBench) -> None:
        heap = bench(8, gc=Gc.PRECISE)
        address = heap.engine.alloc(16, 0x55)
        heap.engine.store_word(address, 7)
        heap.engine.store_word(address + 16, 9)
        new_address = heap.engine.realloc(address, 25)
        assert new_address == heap.address(1) + 8
        words = [heap.engine.load_word(heap.word_address(1, word)) for word in range(5)]
        assert words == [0, 7, 0, 9, 0]

    def test_an_interior_address_counts_from_itself(self, bench: MakeBench) -> None:
        heap = bench(8)
        address = heap.engine.alloc(64)
        heap.engine.store_word(address + 56, 5)
        assert heap.engine.realloc(address + 40, 24) == address + 40
        assert heap.engine.realloc(address + 40, 25) == heap.address(2)
        assert heap.engine.load_word(heap.address(2) + 16) == 5

    def test_out_of_memory_keeps_the_object(self, bench: MakeBench) -> None:
        heap = bench(4)
        address = heap.engine.alloc(40)
        heap.roots = [address]
        heap.engine.store_word(address, 3)
        assert heap.engine.realloc(address, 100) == 0
        assert heap.draw() == "*-.."
        assert heap.engine.load_word(address) == 3

    @pytest.mark.parametrize("size_bytes", [-1, -(1 << 40)])
    def test_sizes_that_are_none(self, bench: MakeBench, size_bytes: int) -> None:
        heap = bench(4)
        address = heap.engine.alloc(40)
        for start in (0, address):
            with pytest.raises(InvalidSizeError):
                heap.engine.realloc(start, size_bytes)


class TestFree:
    @pytest.mark.parametrize("asserts", [False, True])
    @pytest.mark.parametrize(
        ("before", "head", "after", "blocks"),
        [
            ("**-*--.", 0, ".*-*--.", 1),
            ("**-*--.", 1, "*..*--.", 2),
            ("**-*--.", 3, "**-....", 3),
            ("*" + "-" * 69 + "*", 0, "." * 70 + "*", 70),
            ("*" * 30 + "*---*", 30, "*" * 30 + "....*", 4),
            ("*" * 31 + "*" + "-" * 31, 31, "*" * 31 + "." * 32, 32),
            ("*" * 32 + "*" + "-" * 31 + "*", 32, "*" * 32 + "." * 32 + "*", 32),
            ("*" * 40 + "*-", 40, "*" * 40 + "..", 2),
        ],
    )
    def test_on_request(self, bench: MakeBench, before: str, head: int, after: str, blocks: int, asserts: bool) -> None:
        heap = bench(len(before), fill=0xEE, asserts=asserts, poison_byte=0xDB)
        heap.lay(before)
        assert heap.engine.free(head) == blocks
        assert heap.draw() == after
        assert heap.engine.counters[3:5] == (1, blocks)
        poisoned = b"\xdb" if asserts else b"\xee"
        expected = b"\xee" * 32 * head + poisoned * 32 * blocks
        assert heap.pool() == expected.ljust(len(before) * 32, b"\xee")

    @pytest.mark.parametrize("block", [0, 2, 32, 33])
    def test_only_where_an_object_begins(self, bench: MakeBench, block: int) -> None:
        heap = bench(34)
        heap.lay(".*-" + "*" * 28 + "*--")
        before = bytes(heap.memory)
        with pytest.raises(InvalidAddressError, match=f"no object begins at block {block}"):
            heap.engine.free(block)
        assert bytes(heap.memory) == before
        assert heap.engine.counters[3:5] == (0, 0)

    def test_what_was_freed_is_allocated_again(self, bench: MakeBench) -> None:
        heap = bench(4)
        addresses = [heap.engine.alloc(32) for _ in range(4)]
        heap.engine.free(1)
        assert heap.engine.alloc(20) == addresses[1]
        assert heap.asked == []


class TestWords:
    @WORD_SIZES
    def test_are_stored_little_endian(self, bench: MakeBench, word_bytes: int) -> None:
        heap = bench(8, word_bytes=word_bytes, offset_bytes=3)
        value = int.from_bytes(bytes(range(0x81, 0x81 + word_bytes)), "little")
        heap.engine.store_word(heap.address(1), value)
        assert heap.pool()[4 * word_bytes : 5 * word_bytes] == bytes(range(0x81, 0x81 + word_bytes))
        assert heap.engine.load_word(heap.address(1)) == value
        assert heap.engine.load_word(heap.address(1) + 1) == value >> 8

    @WORD_SIZES
    def test_lie_on_the_heap(self, bench: MakeBench, word_bytes: int) -> None:
        heap = bench(8, word_bytes=word_bytes)
        geometry = heap.engine.geometry
        last = geometry.table_address - word_bytes
        heap.engine.store_word(last, 1)
        assert heap.engine.load_word(last) == 1
        before = bytes(heap.memory)
        for address in (geometry.start_address - 1, last + 1, geometry.table_address, geometry.end_address, 0):
            with pytest.raises(InvalidAddressError, match="do not lie on the heap"):
                heap.engine.store_word(address, 2)
            with pytest.raises(InvalidAddressError, match=f"{word_bytes} bytes at {address:#x}"):
                heap.engine.load_word(address)
        assert bytes(heap.memory) == before

    def test_no_word_lies_on_a_heap_smaller_than_one(self, bench: MakeBench) -> None:
        heap = bench(heap_bytes=5)
        with pytest.raises(InvalidAddressError):
            heap.engine.load_word(heap.engine.geometry.start_address)


class TestMark:
    def chain(self, bench: MakeBench, **options: Any) -> Workbench:  # noqa: ANN401
        """Objects 0 (one block), 1 (two blocks), 3 (one) and 4 (four), where 0 refers into 1's tail, and 1 to 4."""
        heap = bench(12, **options)
        heap.lay("**-**---....")
        heap.refer(0, 3, 2, offset_bytes=3)
        heap.refer(1, 4 + 2, 4)
        return heap

    def test_from_roots(self, bench: MakeBench) -> None:
        heap = self.chain(bench)
        heap.roots = [heap.address(0)]
        heap.mark()
        assert heap.draw() == "##-*#---...."
        assert heap.unreadable == [NO_BLOCK]
        assert heap.engine.counters.words_scanned == 4 + 8 + 16

    def test_from_addresses(self, bench: MakeBench) -> None:
        heap = self.chain(bench)
        heap.engine.mark_addresses([heap.address(7) + 31, heap.address(3)])
        assert heap.engine.finish_mark() == NO_BLOCK
        assert heap.draw() == "**-##---...."

    def test_from_children_only(self, bench: MakeBench) -> None:
        heap = self.chain(bench)
        heap.engine.mark_children(1)
        assert heap.engine.finish_mark() == NO_BLOCK
        assert heap.draw() == "**-*#---...."

    def test_an_object_that_refers_to_itself_marks_itself_as_a_child(self, bench: MakeBench) -> None:
        heap = self.chain(bench)
        heap.refer(1, 0, 1)
        heap.engine.mark_children(1)
        assert heap.draw() == "*#-*#---...."

    def test_unmark_gives_a_collection_up(self, bench: MakeBench) -> None:
        heap = self.chain(bench, mark_stack_entries=1)
        heap.roots = [heap.address(0), heap.address(3)]
        heap.engine.mark_roots(heap.root_bytes())
        heap.engine.unmark()
        assert heap.draw() == "**-**---...."
        heap.mark()
        assert heap.draw() == "##-##---...."

    def test_what_is_no_reference(self, bench: MakeBench) -> None:
        heap = self.chain(bench)
        geometry = heap.engine.geometry
        heap.roots = [
            0,
            1,
            ZERO_SIZE_ADDRESS,
            geometry.start_address - 1,
            geometry.table_address,
            geometry.end_address,
            geometry.address_space_bytes - 1,
            heap.address(9),
        ]
        heap.mark()
        assert heap.draw() == "**-**---...."

    @WORD_SIZES
    @pytest.mark.parametrize("mark_stack_entries", [0, 64])
    @pytest.mark.parametrize("place", range(8))
    def test_one_reference_among_addresses_off_the_heap(
        self, bench: MakeBench, word_bytes: int, mark_stack_entries: int, place: int
    ) -> None:
        """Addresses that differ in one bit from the heap's first or last; as roots, and as an object's words."""
        heap = bench(64, word_bytes=word_bytes, mark_stack_entries=mark_stack_entries)
        geometry = heap.engine.geometry
        last = geometry.table_address - 1
        words = [end ^ 1 << bit for end in (geometry.start_address, last) for bit in range(8 * word_bytes)]
        words = [geometry.start_address - 1, last + 1, *(word for word in words if not geometry.is_on_heap(word))]
        words.insert(place, last)
        glyphs = ("*" + "-" * ((len(words) - 1) // 4)).ljust(63, ".")
        heap.lay(glyphs + "*")
        heap.roots = words
        heap.mark()
        assert heap.draw() == glyphs + "#"
        heap.engine.unmark()
        for index, word in enumerate(words):
            heap.engine.store_word(heap.word_address(0, index), word)
        heap.engine.mark_children(0)
        assert heap.draw() == glyphs + "#"

    def test_a_pointer_into_the_slack(self, bench: MakeBench) -> None:
        heap = bench(heap_bytes=heap_bytes_for(5) + 31)
        geometry = heap.engine.geometry
        assert (geometry.end_block, geometry.pool_bytes) == (5, 5 * 32 + 31)
        heap.lay("*****")
        heap.roots = [heap.address(5), heap.address(5) + 30]
        heap.mark()
        assert heap.draw() == "*****"

    @pytest.mark.parametrize("offset", range(8))
    def test_roots_lie_anywhere(self, bench: MakeBench, offset: int) -> None:
        heap = self.chain(bench)
        roots = bytes(offset) + heap.address(0).to_bytes(8, "little") + heap.address(3).to_bytes(7, "little")
        heap.engine.mark_roots(memoryview(roots)[offset:])
        # The second one is cut short, and not read.
        assert heap.draw() == "##-*#---...."

    @WORD_SIZES
    @pytest.mark.parametrize("offset_bytes", [0, 1, 5])
    def test_memory_at_any_place(self, bench: MakeBench, word_bytes: int, offset_bytes: int) -> None:
        heap = bench(12, word_bytes=word_bytes, offset_bytes=offset_bytes)
        heap.lay("*-*-*-*-*-..")
        for block, to_block in ((0, 5), (4, 6)):
            heap.refer(block, 7, to_block, offset_bytes=4 * word_bytes - 1)
        heap.roots = [heap.address(1)]
        assert heap.collect() == 6 * 4 * word_bytes
        assert heap.draw() == "*-..*-*-...."

    def test_words_that_overlap(self, bench: MakeBench) -> None:
        """AVR: a pointer may lie at any byte; the last read reaches one byte into what follows the object."""
        heap = bench(12, word_bytes=2, word_alignment_bytes=1)
        heap.lay("****.*......")
        heap.engine.store_word(heap.address(0) + 3, heap.address(2))
        # Half of it in block 1, which is not reached, and half in block 0.
        heap.engine.store_word(heap.address(0) + 7, heap.address(5))
        heap.roots = [heap.address(0)]
        heap.mark()
        assert heap.draw() == "#*#*.#......"
        assert heap.engine.counters.words_scanned == 3 * 8

    def test_the_last_read_of_overlapping_words_may_reach_into_the_table(self, bench: MakeBench) -> None:
        heap = bench(4, word_bytes=2, word_alignment_bytes=1)
        heap.lay("*..*")
        # The last byte of the pool is the low byte of a pointer, the table's first its high byte: 0x41 -> 0x4100.
        heap.memory[heap.engine.geometry.pool_bytes - 1] = 0x00
        heap.roots = [heap.address(3)]
        heap.mark()
        assert heap.draw() == "*..#"

    def test_no_read_crosses_the_end_of_a_range(self, bench: MakeBench) -> None:
        heap = bench(12, word_bytes=2, word_alignment_bytes=1)
        heap.lay("***.........")
        block_2 = heap.address(2).to_bytes(2, "little")
        heap.engine.mark_roots(memoryview(b"\0\0\0" + block_2)[:4])
        assert heap.draw() == "***........."
        heap.engine.mark_roots(memoryview(b"\0\0\0" + block_2)[:5])
        assert heap.draw() == "**#........."
        heap.engine.mark_roots(memoryview(heap.address(0).to_bytes(2, "little"))[:1])
        assert heap.draw() == "**#........."

    def test_aligned_words_only(self, bench: MakeBench) -> None:
        heap = bench(12)
        heap.lay("**..........")
        heap.engine.store_word(heap.address(0) + 4, heap.address(1))
        heap.roots = [heap.address(0)]
        heap.mark()
        assert heap.draw() == "#*.........."

    def test_the_most_entries_of_the_mark_stack(self, bench: MakeBench) -> None:
        heap = bench(64)
        heap.lay("*" + "-" * 9 + "*" * 40)
        for child in range(40):
            heap.refer(0, child, 10 + child)
        heap.roots = [heap.address(0)]
        heap.mark()
        assert heap.engine.counters.mark_stack_peak == 40

    @pytest.mark.parametrize("mark_stack_entries", [0, 64])
    def test_all_of_a_graph_is_scanned(self, bench: MakeBench, mark_stack_entries: int) -> None:
        """Objects of all kinds that wait on the mark stack for one another: each has two children, the last have none."""
        heap = bench(500, gc=Gc.PRECISE, mark_stack_entries=mark_stack_entries)
        layouts = [0, inline_layout("11", 8), heap.layouts.add("110", 8), inline_layout("1100", 8)]
        nodes = [heap.engine.alloc(600 if index % 7 == 3 else 16, layouts[index % 4]) for index in range(127)]
        for index, node in enumerate(nodes[:63]):
            heap.engine.store_word(node, nodes[2 * index + 1])
            heap.engine.store_word(node + 8, nodes[2 * index + 2])
        heap.roots = nodes[:1]
        heap.collect()
        assert heap.engine.counters.frees == 0

    def test_a_mark_stack_that_is_not_bounded_is_not_cleared(self, bench: MakeBench) -> None:
        heap = bench(8, mark_stack_zeroed=True)
        heap.lay("*.*.....")
        heap.refer(0, 0, to_block=2)
        heap.engine.mark_addresses([heap.address(0)])
        assert heap.draw() == "#.#....."

    @pytest.mark.parametrize("mark_stack_zeroed", [False, True])
    def test_the_mark_stack_may_lie_in_an_object(self, bench: MakeBench, mark_stack_zeroed: bool) -> None:
        """What is pushed while an object is scanned takes the place of its words that were not read yet."""
        heap = bench(16, word_bytes=4, mark_stack_entries=2, mark_stack_zeroed=mark_stack_zeroed)
        heap.lay("*******")
        for word in range(4):
            heap.refer(0, word, 3 + word)
        geometry = heap.engine.geometry
        place = heap.word_address(0, 2) - geometry.start_address
        heap.engine.use_mark_stack(heap.memory[place : place + 8])
        heap.roots = [heap.address(0)]
        heap.mark()
        heap.engine.sweep()
        assert heap.draw() == "*..**".ljust(16, ".")

    @WORD_SIZES
    def test_the_bounded_mark_stack_overflows(self, bench: MakeBench, word_bytes: int) -> None:
        heap = bench(64, word_bytes=word_bytes, mark_stack_entries=16)
        heap.lay("*" + "-" * 9 + "*" * 40)
        for child in range(40):
            heap.refer(0, child, 10 + child)
        heap.roots = [heap.address(0)]
        heap.mark()
        assert heap.draw() == ("#" + "-" * 9 + "#" * 40).ljust(64, ".")
        counters = heap.engine.counters
        assert (counters.overflows, counters.rescans, counters.mark_stack_peak) == (24, 1, 16)

    def test_rescans_until_nothing_overflows(self, bench: MakeBench) -> None:
        """A list whose nodes stand behind an object that fills the stack: each rescan takes it up again."""
        heap = bench(64, mark_stack_entries=1)
        heap.lay("*" * 40)
        for block in range(20):
            heap.refer(39 - 2 * block, 0, 38 - 2 * block)
            if block < 19:
                heap.refer(39 - 2 * block, 1, 37 - 2 * block)
        heap.roots = [heap.address(39)]
        heap.mark()
        assert heap.draw() == ("#" * 40).ljust(64, ".")
        assert heap.engine.counters.overflows == 19
        assert heap.engine.counters.rescans == 19

    def test_what_overflows_ahead_is_scanned_in_the_same_rescan(self, bench: MakeBench) -> None:
        heap = bench(128, mark_stack_entries=1)
        heap.lay("*" * 100)
        for block in range(0, 100, 2):
            heap.refer(block, 0, block + 1)
            if block < 98:
                heap.refer(block, 1, block + 2)
        heap.roots = [heap.address(0)]
        heap.mark()
        assert heap.draw() == ("#" * 100).ljust(128, ".")
        assert (heap.engine.counters.overflows, heap.engine.counters.rescans) == (49, 2)

    def test_the_heap_is_as_if_nothing_had_overflowed(self, bench: MakeBench) -> None:
        heap = self.chain(bench, mark_stack_entries=1)
        heap.refer(0, 0, 3)
        heap.roots = [heap.address(0)]
        heap.collect()
        assert heap.draw() == "**-**---...."


class TestLargeHeaps:
    """More than a megabyte, which the kernel marks in another order."""

    @pytest.mark.parametrize(
        ("word_bytes", "gc", "children"),
        [(4, Gc.CONSERVATIVE, 1), (8, Gc.CONSERVATIVE, 3), (8, Gc.PRECISE, 2), (4, Gc.PRECISE, 5)],
    )
    def test_exactly_what_can_be_reached_lives(self, bench: MakeBench, word_bytes: int, gc: Gc, children: int) -> None:
        rng = random.Random(children)
        heap = bench(heap_bytes=1_300_000, word_bytes=word_bytes, gc=gc)
        count = 6000
        sizes = [(children + rng.choice([0, 3, 20])) * word_bytes for _ in range(count)]
        addresses = [heap.engine.alloc(size) for size in sizes]
        # Each object refers to older ones and to younger ones, one in three to none.
        graph = [rng.sample(range(count), children) if rng.random() < 0.67 else [] for _ in range(count)]
        for address, referents in zip(addresses, graph, strict=True):
            for word, referent in enumerate(referents):
                heap.engine.store_word(address + word * word_bytes, addresses[referent])
        roots = rng.sample(range(count), 40)
        heap.roots = [addresses[root] for root in roots]
        reached, waiting = set(roots), list(roots)
        while waiting:
            fresh = set(graph[waiting.pop()]) - reached
            reached |= fresh
            waiting += fresh
        heap.collect()
        assert 40 < len(reached) < count
        live = [self.lives(heap, address) for address in addresses]
        assert [index for index in range(count) if live[index]] == sorted(reached)
        assert heap.engine.counters.frees == count - len(reached)

    @pytest.mark.parametrize(("word_bytes", "heap_bytes"), [(4, 3 << 30), (8, 5 << 30)])
    def test_references_over_gigabytes(self, engine: type[Engine], word_bytes: int, heap_bytes: int) -> None:
        """Offsets that half a word does not hold, or only without a sign, in memory that is hardly touched."""
        geometry = Geometry(START_ADDRESSES[word_bytes], heap_bytes, word_bytes)
        blocks = (7, geometry.end_block - 9, geometry.end_block // 2, geometry.end_block - 1)
        first, second, third, last = map(geometry.address_of, blocks)
        with mmap.mmap(-1, heap_bytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory, memoryview(memory) as view:
            made = engine(view, geometry, Options(Gc.CONSERVATIVE), Layouts(), Workbench(Model, 1))
            heap = cast(NextFitEngine, made)
            for block in blocks:
                heap.next_alloc = block
                heap.alloc(1)
            heap.store_word(first, second)
            heap.store_word(second, third)
            heap.mark_roots(b"".join(word.to_bytes(word_bytes, "little") for word in (0, first, 0, last)))
            states = [heap.state(block) for block in blocks]
            heap.release_memory()
        assert states == [State.MARK] * 4

    def lives(self, heap: Workbench, address: int) -> bool:
        return heap.engine.state(heap.engine.geometry.block_of(address)) is not State.FREE


class TestLayouts:
    """One object of twelve words of payload in block 0; which of the one-block objects behind it does it keep?"""

    WORDS = 12

    def kept(self, bench: MakeBench, layout: int | str, word_bytes: int = 8, align: int = 0) -> str:
        """A ``1`` for each payload word that was read as a reference; an inline layout may be given by its bits."""
        heap = bench(64, word_bytes=word_bytes, header_alignment_bytes=align, gc=Gc.PRECISE)
        layout_word = inline_layout(layout, word_bytes) if isinstance(layout, str) else layout
        return self.survivors(heap, layout_word)

    def survivors(self, heap: Workbench, layout_word: int, words: int = WORDS) -> str:
        word_bytes = heap.engine.geometry.word_bytes
        address = heap.engine.alloc(words * word_bytes, layout_word)
        children = [heap.engine.alloc(word_bytes, inline_layout("0", word_bytes)) for _ in range(words)]
        for word, child in enumerate(children):
            heap.engine.store_word(address + word * word_bytes, child)
        heap.roots = [address]
        heap.collect()
        return "".join(
            "01"[heap.engine.state(heap.engine.geometry.block_of(child)) is not State.FREE] for child in children
        )

    @WORD_SIZES
    @pytest.mark.parametrize("align", [0, 8, 16])
    @pytest.mark.parametrize(
        ("bits", "kept"),
        [
            ("1", "111111111111"),
            ("0", "000000000000"),
            ("01", "010101010101"),
            ("10", "101010101010"),
            ("001", "001001001001"),
            ("10000", "100001000010"),
            ("0110", "011001100110"),
            ("0000001", "000000100000"),
            ("1000000", "100000010000"),
        ],
    )
    def test_inline_patterns_repeat(self, bench: MakeBench, word_bytes: int, align: int, bits: str, kept: str) -> None:
        assert self.kept(bench, bits, word_bytes, align) == kept

    @WORD_SIZES
    @pytest.mark.parametrize("align", [0, 16])
    def test_no_layout_means_every_word(self, bench: MakeBench, word_bytes: int, align: int) -> None:
        assert self.kept(bench, 0, word_bytes, align) == "1" * 12

    @pytest.mark.parametrize(
        ("layout", "kept"),
        [
            (inline_layout("1010", 8, size=0), "101000000000"),
            (inline_layout("1111", 8, size=2), "111111111111"),
            (inline_layout("0111", 8, size=2), "010101010101"),
            (inline_layout("0" * 11 + "1", 8), "000000000001"),
            (inline_layout("0" * 12 + "1", 8), "000000000000"),
            (inline_layout("1" + "0" * 50, 8, size=63), "100000000000"),
        ],
    )
    def test_strange_inline_layouts(self, bench: MakeBench, layout: int, kept: str) -> None:
        assert self.kept(bench, layout) == kept

    @WORD_SIZES
    @pytest.mark.parametrize(
        ("bits", "kept"),
        [
            ("1", "111111111111"),
            ("01", "010101010101"),
            ("00000001", "000000010000"),
            ("000000001", "000000001000"),
            ("1000000001", "100000000110"),
            ("011111111111", "011111111111"),
            ("1" * 11 + "0" * 60, "111111111110"),
            ("0", "000000000000"),
        ],
    )
    def test_layouts_outside_the_heap(self, bench: MakeBench, word_bytes: int, bits: str, kept: str) -> None:
        heap = bench(64, word_bytes=word_bytes, gc=Gc.PRECISE)
        heap.layouts.add("1" * 40, word_bytes)
        layout = heap.layouts.add(bits, word_bytes)
        heap.layouts.add("1" * 40, word_bytes)
        assert layout % 2 == 0
        assert self.survivors(heap, layout) == kept
        assert heap.unreadable == [NO_BLOCK]

    @WORD_SIZES
    @pytest.mark.parametrize("mark_stack_entries", [0, 1000])
    @pytest.mark.parametrize("words", [66, 150])
    @pytest.mark.parametrize("bits", ["1", "01", "001", "10000", "0000001", "10000000011"])
    def test_patterns_repeat_in_long_objects(
        self, bench: MakeBench, word_bytes: int, mark_stack_entries: int, words: int, bits: str
    ) -> None:
        for out_of_line in (False, True):
            heap = bench(200, word_bytes=word_bytes, gc=Gc.PRECISE, mark_stack_entries=mark_stack_entries)
            layout = heap.layouts.add(bits, word_bytes) if out_of_line else inline_layout(bits, word_bytes)
            assert self.survivors(heap, layout, words) == (bits * words)[:words]

    @pytest.mark.parametrize("words", [66, 150])
    def test_a_pattern_of_no_length_does_not_repeat(self, bench: MakeBench, words: int) -> None:
        heap = bench(200, gc=Gc.PRECISE)
        assert self.survivors(heap, inline_layout("1010", 8, size=0), words) == "1010".ljust(words, "0")

    def test_the_last_layout_may_end_with_the_statics(self, bench: MakeBench) -> None:
        heap = bench(64, gc=Gc.PRECISE)
        assert self.survivors(heap, heap.layouts.add("10000000", 8)) == "100000001000"

    @pytest.mark.parametrize("offset", [-2, 2, 16, 1 << 40], ids=["before", "cut size word", "behind", "far away"])
    def test_layouts_that_lie_nowhere(self, bench: MakeBench, offset: int) -> None:
        heap = bench(64, gc=Gc.PRECISE)
        heap.layouts.memory = bytearray(8)
        kept = self.survivors(heap, heap.layouts.start_address + offset)
        assert kept == "0" * 12
        assert heap.unreadable == [0]
        # It is said once, for the collection that met it.
        heap.collect()
        heap.engine.free(0)
        heap.roots = []
        heap.collect()
        assert heap.unreadable == [0, 0, NO_BLOCK]

    @pytest.mark.parametrize("size", [0, 9, 1 << 20, (1 << 64) - 1])
    def test_layouts_whose_bitmap_does_not_lie_there(self, bench: MakeBench, size: int) -> None:
        heap = bench(64, gc=Gc.PRECISE)
        layout = heap.layouts.add("11111111", 8, size=size)
        assert self.survivors(heap, layout) == "0" * 12
        assert heap.unreadable == [0]

    def test_one_unreadable_layout_is_named(self, bench: MakeBench) -> None:
        heap = bench(64, gc=Gc.PRECISE)
        heap.roots = [heap.engine.alloc(8, layout) for layout in (1, 0x6662, 0x7772, 1)]
        heap.collect()
        assert heap.unreadable[0] in (1, 2)

    def test_a_collection_given_up_names_none(self, bench: MakeBench) -> None:
        heap = bench(64, gc=Gc.PRECISE)
        heap.engine.mark_addresses([heap.engine.alloc(8, 0x6662)])
        heap.engine.unmark()
        assert heap.engine.finish_mark() == NO_BLOCK

    def test_the_header_is_not_scanned(self, bench: MakeBench) -> None:
        heap = bench(16, gc=Gc.PRECISE, header_alignment_bytes=16, fill=0xEE)
        one = heap.engine.alloc(8)
        two = heap.engine.alloc(8)
        # In the padding between the layout word and the object.
        heap.engine.store_word(heap.word_address(0, 1), two)
        heap.roots = [one]
        heap.collect()
        assert heap.draw() == "*".ljust(16, ".")

    @pytest.mark.parametrize(("layout", "words"), [(0, 11), (1, 0), (inline_layout("0001", 8), 11)])
    def test_words_scanned(self, bench: MakeBench, layout: int, words: int) -> None:
        heap = bench(16, gc=Gc.PRECISE)
        heap.roots = [heap.engine.alloc(70, layout)]
        heap.collect()
        assert heap.engine.counters.words_scanned == words

    @WORD_SIZES
    @pytest.mark.parametrize("align", [0, 8, 16])
    @pytest.mark.parametrize("bits", ["", "1", "0001"])
    def test_what_lies_behind_the_object_is_not_scanned(
        self, bench: MakeBench, word_bytes: int, align: int, bits: str
    ) -> None:
        heap = bench(16, word_bytes=word_bytes, header_alignment_bytes=align, gc=Gc.PRECISE)
        heap.lay("*----.*")
        heap.engine.store_word(heap.address(0), inline_layout(bits, word_bytes) if bits else 0)
        for word in range(4):
            heap.engine.store_word(heap.word_address(5, word), heap.address(6) + word_bytes)
        heap.roots = [heap.address(0)]
        heap.mark()
        assert heap.draw() == "#----.*".ljust(16, ".")

    @pytest.mark.parametrize(("word_bytes", "align"), [(2, 16), (2, 64), (4, 32), (4, 64), (8, 64)])
    def test_an_object_that_is_all_header(self, bench: MakeBench, word_bytes: int, align: int) -> None:
        heap = bench(16, word_bytes=word_bytes, header_alignment_bytes=align, gc=Gc.PRECISE)
        heap.lay("*-*-*-..")
        heap.roots = [heap.address(0)]
        heap.engine.store_word(heap.address(1), heap.address(2))
        heap.collect()
        assert heap.draw() == "*-".ljust(16, ".")
        assert heap.engine.counters.words_scanned == 0


class TestSweep:
    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("............", "............"),
            ("*-*#--*.-#..", "...*--...*.."),
            ("#-*-#-*-#-*-", "*-..*-..*-.."),
            ("*-----------", "............"),
            ("#-----------", "*-----------"),
            ("*" * 31 + "*---#-*", "." * 35 + "*-."),
            ("#" * 31 + "#---*-#", "*" * 32 + "---..*"),
            ("*" + "-" * 200 + "#", "." * 201 + "*"),
        ],
    )
    def test_frees_what_is_not_marked(self, bench: MakeBench, before: str, after: str) -> None:
        heap = bench(len(before))
        heap.lay(before)
        free_blocks = after.count(".")
        assert heap.engine.sweep() == free_blocks * 32
        assert heap.draw() == after.replace("-#", "-*")
        freed_blocks = free_blocks - before.count(".")
        assert heap.engine.counters[3:5] == (before.count("*"), freed_blocks)

    @pytest.mark.parametrize("word_bytes", [2, 8])
    def test_poison(self, bench: MakeBench, word_bytes: int) -> None:
        heap = bench(40, word_bytes=word_bytes, fill=0xEE, asserts=True, poison_byte=0xFF)
        heap.lay("#-*--#.*" + "#" * 22 + "*----#-*-#")
        heap.engine.sweep()
        poisoned = [2, 3, 4, 7, *range(30, 35), 37, 38]
        block_bytes = 4 * word_bytes
        for block in range(40):
            expected = b"\xff" if block in poisoned else b"\xee"
            assert heap.pool()[block * block_bytes : (block + 1) * block_bytes] == expected * block_bytes

    def test_poison_may_be_zeros(self, bench: MakeBench) -> None:
        heap = bench(4, fill=0xEE, asserts=True)
        heap.lay("*-#.")
        heap.engine.sweep()
        assert heap.pool() == bytes(64) + b"\xee" * 64

    def test_a_large_heap_is_counted_whole(self, bench: MakeBench) -> None:
        heap = bench(20_000, word_bytes=4)
        heap.lay(("*---" * 3 + "#" * 4) * 1250)
        assert heap.engine.sweep() == 15_000 * 16
        assert heap.engine.counters[3:5] == (3750, 15_000)
        assert heap.engine.census() == Census(15_000, 5000, 0, 0, 1250, 12)
        heap.lay("#---" * 5000)
        assert heap.engine.sweep() == 0
        assert heap.engine.census() == Census(0, 5000, 15_000, 0, 0, 0)
        heap.lay("*" * 20_000)
        assert heap.engine.sweep() == 20_000 * 16
        assert heap.engine.census() == Census(20_000, 0, 0, 0, 1, 20_000)


class TestAsserts:
    def test_the_heap_works_as_without_them(self, bench: MakeBench) -> None:
        heap = bench(8, fill=0xEE, asserts=True, poison_byte=0xDB)
        heap.roots = [heap.engine.alloc(40)]
        heap.engine.alloc(64)
        assert heap.engine.alloc(100) == heap.address(4)
        assert heap.engine.alloc(33) == heap.address(2)
        assert heap.asked == ["collect"]
        assert heap.draw() == "*-*-...."
        expected = bytes(40) + b"\xee" * 24 + bytes(33) + b"\xdb" * 31 + b"\xdb" * 128
        assert heap.pool() == expected


class TestResize:
    def test_the_table_moves_and_its_old_place_keeps_its_bytes(self, bench: MakeBench) -> None:
        heap = bench(8, grow_to=[heap_bytes_for(40)])
        heap.lay("*--***-*")
        old = heap.engine.geometry
        table = heap.engine.read_table()
        heap.memory[old.heap_bytes :] = b"\xee" * (len(heap.memory) - old.heap_bytes)
        heap.engine.resize(heap_bytes_for(40))
        geometry = heap.engine.geometry
        assert geometry == old.resized(heap_bytes_for(40))
        assert heap.draw() == "*--***-*".ljust(40, ".")
        assert bytes(heap.memory[old.pool_bytes : old.heap_bytes]) == table
        assert heap.engine.read_table() == table + bytes(geometry.table_bytes - len(table))
        assert set(heap.memory[old.heap_bytes : geometry.pool_bytes]) == {0xEE}

    @WORD_SIZES
    def test_the_new_table_may_overlap_the_old_one(self, bench: MakeBench, word_bytes: int) -> None:
        for more_bytes in range(60):
            heap_bytes = heap_bytes_for(200, word_bytes)
            heap = bench(200, word_bytes=word_bytes, grow_to=[heap_bytes + more_bytes])
            glyphs = ("*--.*-.**" * 23)[:200]
            heap.lay(glyphs)
            heap.engine.resize(heap_bytes + more_bytes)
            assert heap.draw() == glyphs.ljust(heap.engine.geometry.end_block, ".")
            assert heap.engine.check_table() == []

    def test_the_search_goes_on_at_the_same_block(self, bench: MakeBench) -> None:
        heap = bench(8, grow_to=[heap_bytes_for(40)])
        heap.engine.alloc(64)
        heap.engine.resize(heap_bytes_for(40))
        assert heap.engine.next_alloc == 2
        assert heap.engine.alloc(38 * 32) == heap.address(2)
        assert heap.asked == []

    def test_old_table_bytes_may_look_like_a_reference(self, bench: MakeBench) -> None:
        heap = bench(heap_bytes=heap_bytes_for(8, 2), word_bytes=2, grow_to=[heap_bytes_for(64, 2)])
        old = heap.engine.geometry
        # Table bytes 0x00 0x01: the address of the heap's first block.
        heap.engine.write_table(b"\x01\x01")
        heap.engine.resize(heap_bytes_for(64, 2))
        heap.engine.free(4)
        place = old.table_address - old.start_address
        assert heap.pool()[place : place + 2] == b"\x01\x01"

    def test_the_leaking_collector_has_no_table_to_move(self, bench: MakeBench) -> None:
        heap = bench(heap_bytes=64, gc=Gc.LEAKING, grow_to=[128], fill=0xEE)
        heap.engine.alloc(40)
        heap.engine.resize(128)
        assert heap.pool() == bytes(40) + b"\xee" * 88
        assert heap.engine.alloc(80) == heap.engine.geometry.start_address + 40


class TestLooking:
    def test_states(self, bench: MakeBench) -> None:
        heap = bench(8)
        heap.lay(".*-#.*-#")
        assert [heap.engine.state(block) for block in range(8)] == [*State, *State]
        assert [state.value for state in State] == [0, 1, 2, 3]

    def test_the_table_is_two_bits_a_block(self, bench: MakeBench) -> None:
        heap = bench(6)
        heap.engine.write_table(bytes([0b10_10_01_00, 0b00_11]))
        assert heap.draw() == ".*--#."
        assert heap.engine.read_table() == bytes([0b10_10_01_00, 0b00_11])
        assert bytes(heap.memory[heap.engine.geometry.pool_bytes :]) == heap.engine.read_table()

    @pytest.mark.parametrize(
        ("glyphs", "wrong"),
        [
            ("*-**--.*", []),
            ("-*", [0]),
            ("*.-*-.--", [2, 6]),
            ("#*#-", [0, 2]),
            ("." * 31 + "*-." + "-", [34]),
            ("." * 31 + ".-*", [32]),
        ],
    )
    def test_check_table(self, bench: MakeBench, glyphs: str, wrong: list[int]) -> None:
        heap = bench(40)
        heap.lay(glyphs)
        assert heap.engine.check_table() == wrong
        assert heap.engine.check_table(1) == wrong[:1]

    @pytest.mark.parametrize("blocks", [5, 6, 7, 29, 31, 33, 65, 66])
    def test_states_beyond_the_last_block_are_wrong(self, bench: MakeBench, blocks: int) -> None:
        heap = bench(blocks)
        past = range(blocks, heap.engine.geometry.table_bytes * 4)
        assert len(past) > 0
        for block in past:
            for glyph in "*#":
                heap.lay("." * block + glyph)
                assert heap.engine.check_table() == [block]

    def test_a_table_that_is_all_wrong(self, bench: MakeBench) -> None:
        heap = bench(70)
        heap.lay("#" * 70)
        assert heap.engine.check_table() == list(range(16))
        assert heap.engine.check_table(1000) == list(range(70))

    @pytest.mark.parametrize("glyphs", ["", "*-.#..*---", "." * 31 + "**.", "-.-", "*" * 12, "..*" * 30])
    def test_census(self, bench: MakeBench, glyphs: str) -> None:
        heap = bench(len(glyphs))
        heap.lay(glyphs)
        runs = [len(run) for run in glyphs.translate(str.maketrans("*#-", "   ")).split()]
        assert heap.engine.census() == (*(glyphs.count(glyph) for glyph in GLYPHS), len(runs), max([0, *runs]))


class TestClosing:
    def test_the_buffer_is_given_back(self, engine: type[Engine]) -> None:
        heap = Workbench(engine, 8)
        heap.engine.alloc(1)
        heap.engine.release_memory()
        heap.memory.release()


class TestCorruptTables:
    @WORD_SIZES
    @pytest.mark.parametrize("asserts", [False, True])
    @pytest.mark.parametrize("blocks", [2, 5, 6, 7, 29, 65])
    @pytest.mark.parametrize("last", ["*", "*-"])
    def test_tails_past_the_last_block_belong_to_no_object(
        self, bench: MakeBench, blocks: int, asserts: bool, word_bytes: int, last: str
    ) -> None:
        heap = bench(blocks, word_bytes=word_bytes, asserts=asserts, poison_byte=0xDB)
        past = heap.engine.geometry.table_bytes * 4 - blocks
        head = blocks - len(last)
        last_bytes = len(last) * 4 * word_bytes
        heap.lay("." * head + last + "-" * past)
        assert heap.engine.find_next(head) == blocks
        assert heap.engine.realloc(heap.address(head), last_bytes) == heap.address(head)
        heap.roots = [heap.address(head)]
        heap.mark()
        assert heap.engine.counters.words_scanned == len(last) * 4
        heap.engine.unmark()
        assert heap.engine.free(head) == len(last)
        assert heap.pool()[-last_bytes:] == (b"\xdb" if asserts else b"\0") * last_bytes

    def test_a_long_object_ends_with_the_last_block(self, bench: MakeBench) -> None:
        heap = bench(65)
        heap.lay("." * 36 + "*" + "-" * 28 + "--*")
        heap.roots = [heap.address(36)]
        heap.mark()
        assert heap.engine.counters.words_scanned == 29 * 4

    @pytest.mark.parametrize("gc", [Gc.CONSERVATIVE, Gc.PRECISE])
    @pytest.mark.parametrize("blocks", [4, 5, 6, 7, 65])
    def test_states_past_the_last_block_lead_nowhere(self, bench: MakeBench, blocks: int, gc: Gc) -> None:
        """Neither poisoned nor read, and what they seem to refer to is not marked; guards stand around the heap."""
        for states in (0b01010101, 0b11111111, 0b10101001):
            for slack_bytes in (0, 1, 31):
                heap_bytes = heap_bytes_for(blocks) + slack_bytes
                heap = bench(heap_bytes=heap_bytes, gc=gc, asserts=True, poison_byte=0xDB, fill=0xEE)
                geometry = heap.engine.geometry
                table = bytearray(geometry.table_bytes)
                table[-1] = states << 2 * (geometry.end_block % 4) & 0xFF if geometry.end_block % 4 else 0
                heap.engine.write_table(bytes(table))
                heap.roots = [geometry.table_address - 1, geometry.table_address - 9]
                assert heap.engine.check_layouts() == []
                heap.mark()
                heap.engine.sweep()
                assert heap.draw() == "." * geometry.end_block
                assert heap.pool() == b"\xee" * geometry.pool_bytes

    def test_a_state_past_the_last_block_leaves_the_bounded_mark_stack_alone(self, bench: MakeBench) -> None:
        """Such a block may be dropped, too, by an object that refers to it."""
        heap = bench(heap_bytes=heap_bytes_for(64) + 9, mark_stack_entries=1)
        assert heap.engine.geometry.end_block == 64
        heap.lay("*.*.......*".ljust(64, ".") + "*")
        for head, word, target in ((0, 0, 2), (0, 1, 64), (2, 0, 10)):
            heap.refer(head, word, target)
        heap.roots = [heap.address(0)]
        heap.mark()
        assert heap.draw() == "#.#.......#".ljust(64, ".")
        assert heap.engine.counters.overflows == 1

    @pytest.mark.parametrize("block", [0, 1, 4])
    def test_a_reference_to_a_stray_tail_marks_nothing(self, bench: MakeBench, block: int) -> None:
        heap = bench(8)
        heap.lay("--*.-...")
        before = bytes(heap.memory)
        # The model, which looks at one block at a time, notices.
        with contextlib.suppress(HeapCorruptError):
            heap.engine.mark_addresses([heap.address(block)])
        assert bytes(heap.memory) == before
