"""Heaps with a free list: placement, the order of the list, headers, growth; and errors where they were overwritten."""

from __future__ import annotations

import re
from typing import Final

import pytest

from engine_fixtures import BEST_FIT_KINDS, Kind, MakeHeap, engine_of, kind_id
from small_heaps import blocks
from tinyheap.errors import GeometryError, HeapCorruptError, HeapError, InvalidAddressError, OutOfMemoryError
from tinyheap.heap import Doubling, FixedStep, Heap, Layout
from tinyheap.heap.collectors import Collector, named_collector
from tinyheap.units import KIB
from workbench import Workbench

BLOCK: Final = 32
START: Final = 0x1_0000


def drawn(heap: Heap) -> str:
    return "".join(heap.dump().lines()).replace("·", ".")


def taking(heap: Heap, block_count: int) -> int:
    """An object of so many blocks."""
    return heap.alloc(block_count * BLOCK - heap.geometry.word_bytes)


def holes(heap: Heap, *lengths: int) -> list[int]:
    """Ranges of these lengths, by address, between rooted objects of one block; where each begins, as a block."""
    objects = []
    for length in lengths:
        objects.append(taking(heap, length))
        heap.roots.add(taking(heap, 1))
    firsts = [heap.object_at(address).first for address in objects]
    heap.roots.add(taking(heap, heap.census().largest_free_run_blocks))
    heap.collect()
    return firsts


class TestNames:
    @pytest.mark.parametrize(
        ("name", "collector"),
        [
            ("next-fit", Collector.NEXT_FIT),
            ("0.20", Collector.NEXT_FIT),
            ("0.39.0", Collector.NEXT_FIT),
            ("0.40.1", Collector.BEST_FIT_FRONT),
            ("0.41", Collector.BEST_FIT_FRONT),
            ("best-fit-back", Collector.BEST_FIT_BACK),
            ("best-fit", Collector.BEST_FIT_BACK),
            ("0.42.0", Collector.BEST_FIT_BACK),
        ],
    )
    def test_algorithms_and_releases(self, name: str, collector: Collector) -> None:
        assert named_collector(name) is collector
        with Heap(KIB, collector=name, engine="model") as heap:
            assert heap.collector is collector

    @pytest.mark.parametrize("name", ["boehm", "", "0.19", "0.43", "1.41", "0.41.x", "0.4", "best", 41, None])
    def test_others_are_refused(self, name: str) -> None:
        with pytest.raises(HeapError, match=r"invalid collector .*: expected next-fit, .* or a release of TinyGo from"):
            Heap(KIB, collector=name)

    def test_the_leaking_collector_is_the_same_in_all(self) -> None:
        with Heap(KIB, collector="0.42", gc="leaking") as heap:
            assert heap.collector is Collector.NEXT_FIT
            assert heap.alloc(8) == START

    def test_what_next_fit_has_alone(self, make_best_fit: MakeHeap) -> None:
        with pytest.raises(HeapError, match="has no mark stack"):
            make_best_fit(KIB, mark_stack_entries=8)
        with pytest.raises(HeapError, match="allocates from a free list"):
            _ = make_best_fit(KIB).next_alloc


class TestPlacement:
    def test_the_shortest_range_that_is_long_enough(self, make_best_fit: MakeHeap) -> None:
        heap = make_best_fit(blocks(24))
        five, three, four = holes(heap, 5, 3, 4)
        assert heap.free_ranges() == [(three, 3), (four, 4), (five, 5)]
        assert heap.object_at(taking(heap, 4)).first == four
        assert heap.object_at(taking(heap, 2)).first == three
        assert heap.free_ranges() == [(three + 2, 1), (five, 5)]

    def test_of_one_length_the_lowest_first_and_the_highest_last(self, make_best_fit: MakeHeap) -> None:
        heap = make_best_fit(blocks(24))
        firsts = holes(heap, 2, 2, 2, 2)
        assert heap.free_ranges() == [(first, 2) for first in (firsts[3], *firsts[:3])]
        assert [heap.object_at(taking(heap, 2)).first for _ in firsts] == firsts

    def test_what_is_freed_on_request_is_a_range_of_its_own(self, make_best_fit: MakeHeap) -> None:
        heap = make_best_fit(blocks(8))
        one, two = taking(heap, 2), taking(heap, 2)
        heap.free(one)
        heap.free(two)
        assert heap.free_ranges() == [(0, 2), (2, 2), (4, 4)]
        with pytest.raises(OutOfMemoryError):
            taking(heap, 9)
        assert heap.free_ranges() == [(0, 8)]
        with pytest.raises(InvalidAddressError):
            heap.free(one)

    def test_block_maps(self, make_best_fit: MakeHeap) -> None:
        heap = make_best_fit(blocks(8))
        taking(heap, 3)
        taking(heap, 1)
        assert drawn(heap) == ("--**...." if heap.collector is Collector.BEST_FIT_BACK else "*--*....")

    def test_bodies_are_zero_and_headers_are_not_theirs(self, make_best_fit: MakeHeap) -> None:
        heap = make_best_fit(bytearray(b"\xff" * blocks(8)), gc="precise", asserts=True)
        address = heap.alloc(40, Layout.DATA)
        found = heap.object_at(address)
        assert (found.blocks, found.size_bytes, found.layout) == (2, 48, Layout.DATA)
        assert heap.read(address, 48) == bytes(48)
        for outside in (address - 1, address + 48):
            with pytest.raises(InvalidAddressError):
                heap.read(outside, 1)

    def test_a_header_may_take_a_whole_block(self) -> None:
        with Heap(KIB, collector="0.41", word_bytes=4, header_alignment_bytes=16, engine="model") as heap:
            address = heap.alloc(1)
            assert address == heap.geometry.start_address + 16
            assert heap.object_at(address - 16).size_bytes == 16

    def test_a_pointer_to_the_header_keeps_an_object(self, make_best_fit: MakeHeap) -> None:
        heap = make_best_fit(KIB)
        address = taking(heap, 2)
        header = heap.geometry.address_of(heap.object_at(address).head) + (
            BLOCK - 1 if heap.collector is Collector.BEST_FIT_BACK else 0
        )
        heap.roots.add(header)
        assert heap.collect().live_objects == 1

    def test_elements_of_a_layout_are_scanned_whole_or_not(self, make_best_fit: MakeHeap) -> None:
        """The body has ten words: of a fourth element of three words only the first is there."""
        heap = make_best_fit(KIB, gc="precise")
        holder = heap.alloc(10 * 8, Layout.pattern("p.."))
        for word in (0, 3, 6, 9):
            heap.store_word(holder + 8 * word, heap.alloc(8))
        heap.roots.add(holder)
        assert heap.object_at(holder).size_bytes == 10 * 8
        assert heap.collect().live_objects == 4

    def test_a_layout_that_the_original_would_stand_still_at(self, make_best_fit: MakeHeap) -> None:
        heap = make_best_fit(memory := bytearray(KIB), gc="precise")
        address = heap.alloc(8)
        heap.roots.add(address)
        geometry, shape = heap.geometry, heap.collector.shape(heap.geometry, precise=True)
        at = shape.layout_address(geometry, 0, 1) - START
        memory[at : at + 8] = (1 | 1 << 7).to_bytes(8, "little")
        with pytest.raises(HeapCorruptError, match=r"has layout word 0x81 .*: it was overwritten"):
            heap.collect()

    @pytest.mark.parametrize(("size_bytes", "counted"), [((1 << 32) - 1, 0), ((1 << 32) - 19, 0), ((1 << 32) - 20, 1)])
    def test_sizes_that_wrap_around_are_not_counted(
        self, make_best_fit: MakeHeap, size_bytes: int, counted: int
    ) -> None:
        heap = make_best_fit(KIB, word_bytes=4)
        with pytest.raises(OutOfMemoryError):
            heap.alloc(size_bytes)
        assert heap.stats().mallocs == counted
        heap.verify()

    def test_a_failing_allocation_counts(self, make_best_fit: MakeHeap) -> None:
        heap = make_best_fit(KIB)
        with pytest.raises(OutOfMemoryError):
            heap.alloc(2 * KIB)
        assert (heap.stats().mallocs, heap.stats().total_alloc, heap.stats().frees) == (1, 2 * KIB, 1)
        heap.verify()

    def test_it_collects_once_at_most(self, make_best_fit: MakeHeap) -> None:
        heap = make_best_fit(blocks(8), growth=Doubling(limit_bytes=4 * KIB))
        heap.roots.add(taking(heap, 8))
        taking(heap, 40)
        last = heap.last_collection
        assert last is not None
        assert last.number == 1


class TestGrowth:
    def test_new_blocks_merge_or_do_not(self, make_best_fit: MakeHeap) -> None:
        heap = make_best_fit(blocks(8), growth=Doubling(limit_bytes=4 * KIB))
        heap.roots.add(taking(heap, 4))
        heap.grow()
        end = heap.geometry.end_block
        merged = [(4, end - 4)]
        assert heap.free_ranges() == (merged if heap.collector is Collector.BEST_FIT_FRONT else [(4, 4), (8, end - 8)])
        heap.collect()
        assert heap.free_ranges() == merged

    def test_by_less_than_a_block(self, make_best_fit: MakeHeap) -> None:
        heap = make_best_fit(blocks(8), growth=FixedStep(1, limit_bytes=blocks(9)))
        heap.grow()
        assert heap.free_ranges() == [(0, heap.geometry.end_block)]
        heap.verify()

    def test_over_bytes_that_are_not_zero(self, make_best_fit: MakeHeap) -> None:
        heap = make_best_fit(bytearray(b"\xee" * 4 * KIB), size_bytes=KIB, growth=Doubling())
        heap.roots.add(taking(heap, 4))
        heap.grow()
        assert heap.stats().heap_alloc == 4 * BLOCK
        heap.verify()

    def test_from_no_block_at_all(self, make_best_fit: MakeHeap) -> None:
        heap = make_best_fit(bytearray(KIB), size_bytes=8, growth=Doubling())
        assert heap.free_ranges() == []
        heap.alloc(100)
        heap.verify()


class TestMarking:
    @pytest.mark.parametrize("kind", BEST_FIT_KINDS, ids=kind_id)
    def test_a_long_object_ends_with_the_last_block(self, kind: Kind) -> None:
        """Whatever the table says of what lies behind it."""
        name, collector = kind
        scanned = []
        for behind in ("...", "--*"):
            heap = Workbench(engine_of(name, collector), 65, collector=collector)
            heap.lay("." * 36 + ("*" + "-" * 28 if collector is Collector.BEST_FIT_FRONT else "-" * 28 + "*") + behind)
            heap.roots = [heap.address(50)]
            heap.mark()
            scanned.append(heap.engine.counters.words_scanned)
            heap.close()
        assert scanned[0] == scanned[1] > 0


class TestStats:
    def test_are_taken_from_the_state(self, make_best_fit: MakeHeap) -> None:
        heap = make_best_fit(1020)
        heap.roots.add(heap.alloc(20))
        heap.alloc(70)
        heap.collect()
        stats, back = heap.stats(), heap.collector is Collector.BEST_FIT_BACK
        assert (stats.mallocs, stats.frees, stats.heap_objects, stats.total_alloc) == (2, 1, 1, 90)
        assert (stats.alloc, stats.heap_alloc, stats.heap_inuse) == (BLOCK,) * 3
        assert (stats.heap_sys, stats.gc_sys) == (heap.geometry.pool_bytes, heap.geometry.table_bytes)
        assert stats.heap_idle == (heap.geometry.end_block - 1) * BLOCK < stats.heap_sys - BLOCK
        assert stats.num_gc == (1 if back else 0)

    def test_debug_lines_are_the_originals(self, make_best_fit: MakeHeap) -> None:
        lines: list[str] = []
        heap = make_best_fit(blocks(8), engine="model", debug=lines.append)
        heap.roots.add(taking(heap, 2))
        heap.collect()
        again = "sweep" if heap.collector is Collector.BEST_FIT_BACK else "rebuild"
        assert lines[lines.index("running collection cycle...") :] == [
            "running collection cycle...",
            f"found unmarked pointer {START + heap.collector.shape(heap.geometry, precise=False).body_offset_bytes:#x}",
            f"free ranges after {again}:",
            "- 6 x 1",
            str(heap.dump()),
        ]


class TestAdopting:
    def test_a_list_is_built_anew(self, make_best_fit: MakeHeap) -> None:
        memory = bytearray(blocks(16))
        with Heap(memory, collector=make_best_fit(KIB).collector, engine="model") as first:
            firsts = holes(first, 2, 3, 2)
            expected = first.free_ranges()
            taking(first, 2)
        heap = make_best_fit(memory, adopt=True)
        assert heap.free_ranges() == [each for each in expected if each[0] != firsts[0]]
        heap.verify()


def overwrite(memory: bytearray, block: int, word: int, value: int) -> None:
    at = block * BLOCK + 8 * word
    memory[at : at + 8] = value.to_bytes(8, "little")


@pytest.fixture
def broken(make_best_fit: MakeHeap) -> tuple[Heap, bytearray, list[int]]:
    """A heap with ranges of two, three, two and two blocks, its memory, and where they begin."""
    memory = bytearray(blocks(20))
    heap = make_best_fit(memory)
    return heap, memory, holes(heap, 2, 3, 2, 2)


LENGTH, LONGER, INNER = range(3)


class TestDamage:
    """Every node's every word, overwritten: `verify` says where, an allocation that meets it is refused, nothing hangs."""

    @pytest.mark.parametrize(
        ("node", "word", "value", "message"),
        [
            (3, LENGTH, 0, "says that its range has 0 blocks, not 1 to"),
            (3, LENGTH, 5, "says that its range has 3 blocks, not 6 to"),
            (1, LENGTH, 5, r"the free range at block \d+ at 0x\w+ has 5 blocks, but block \d+ is taken"),
            (3, LENGTH, 1 << 60, "blocks, not 1 to"),
            (3, LONGER, START + 8, r"leads to 0x10008, where no free block begins"),
            (3, LONGER, 0xDEAD_BEEF_0000, "where no free block begins"),
            (3, INNER, 1, "leads to 0x1, where no free block begins"),
            (1, LENGTH, 2, r"says that its range has 2 blocks, not 3 to"),
        ],
    )
    def test_a_word_of_an_outer_node(
        self, broken: tuple[Heap, bytearray, list[int]], node: int, word: int, value: int, message: str
    ) -> None:
        heap, memory, firsts = broken
        overwrite(memory, firsts[node], word, value)
        with pytest.raises(HeapCorruptError, match=message):
            heap.verify()

    def test_the_culprit_is_named(self, broken: tuple[Heap, bytearray, list[int]]) -> None:
        heap, memory, firsts = broken
        overwrite(memory, firsts[3], LONGER, 0x41414141)
        before = heap.object_at(START + (firsts[3] - 1) * BLOCK)
        (problem, *_) = heap.problems()
        assert problem == (
            f"the node of the free list in block {firsts[3]} at {START + firsts[3] * BLOCK:#x} leads to 0x41414141, where no "
            "free block begins: something wrote to it after it was freed, or past the end of the object at "
            f"{before.address:#x} in front"
        )

    @pytest.mark.parametrize("loop", ["outer", "inner"])
    def test_loops(self, broken: tuple[Heap, bytearray, list[int]], loop: str) -> None:
        heap, memory, firsts = broken
        two, three = START + firsts[3] * BLOCK, START + firsts[0] * BLOCK
        if loop == "outer":
            overwrite(memory, firsts[1], LONGER, two)
        else:
            overwrite(memory, firsts[2], 0, three)
        with pytest.raises(HeapCorruptError, match="leads back to"):
            heap.verify()
        with pytest.raises(HeapCorruptError):
            heap.free_ranges()
        if loop == "outer":
            with pytest.raises(HeapCorruptError):
                taking(heap, 4)

    def test_ranges_in_use_and_ranges_that_are_lost(self, broken: tuple[Heap, bytearray, list[int]]) -> None:
        heap, memory, firsts = broken
        overwrite(memory, firsts[3], INNER, 0)
        assert heap.problems() == [
            f"4 free blocks are in no range of the free list, the first is block {firsts[0]} at "
            f"{START + firsts[0] * BLOCK:#x}"
        ]

    def test_every_word_of_every_node_against_every_block(self, broken: tuple[Heap, bytearray, list[int]]) -> None:
        """Whatever a word becomes: an allocation works or is refused, and objects keep their bytes."""
        heap, memory, firsts = broken
        whole = bytes(memory)
        values = [0, 1, 2, 3, 7, 1 << 63, *(START + block * BLOCK + 8 * odd for block in range(22) for odd in (0, 1))]
        places = [(node, word) for node in range(4) for word in range(3 if node in (1, 3) else 1)]
        for node, word in places:
            for value in values:
                with Heap(memory, collector=heap.collector, engine=heap.engine_name, adopt=True) as tried:
                    overwrite(memory, firsts[node], word, value)
                    self._use(tried)
                memory[:] = whole

    def _use(self, heap: Heap) -> None:
        heap.problems()
        taken = set[int]()
        for found in list(heap.objects()):
            heap.roots.add(found.address)
            taken |= set(range(found.first, found.first + found.blocks))
        for length in (2, 2, 3, 1, 1):
            try:
                made = heap.object_at(taking(heap, length))
            except (HeapCorruptError, OutOfMemoryError):
                continue
            heap.roots.add(made.address)
            assert not taken & set(range(made.first, made.first + made.blocks))
            taken |= set(range(made.first, made.first + made.blocks))

    def test_a_collection_mends_the_list(self, broken: tuple[Heap, bytearray, list[int]]) -> None:
        heap, memory, firsts = broken
        expected = heap.free_ranges()
        overwrite(memory, firsts[3], LENGTH, 0)
        with pytest.raises(HeapCorruptError):
            heap.alloc(8)
        heap.collect()
        assert heap.free_ranges() == expected
        heap.verify()

    def test_a_refused_allocation_changes_nothing(self, broken: tuple[Heap, bytearray, list[int]]) -> None:
        heap, memory, firsts = broken
        overwrite(memory, firsts[3], INNER, START + (firsts[0] + 2) * BLOCK)
        before, counters = bytes(memory), heap.counters()
        with pytest.raises(HeapCorruptError):
            taking(heap, 2)
        assert bytes(memory) == before
        assert heap.counters()[:5] == counters[:5]

    def test_nothing_is_freed_into_a_broken_list(self, broken: tuple[Heap, bytearray, list[int]]) -> None:
        heap, memory, firsts = broken
        overwrite(memory, firsts[3], LENGTH, 0)
        victim = next(heap.objects())
        with pytest.raises(HeapCorruptError):
            heap.free(victim.address)
        assert next(heap.objects()) == victim

    def test_an_orphaned_tail(self, make_best_fit: MakeHeap) -> None:
        memory = bytearray(blocks(8))
        heap = make_best_fit(memory)
        taking(heap, 2)
        memory[heap.geometry.pool_bytes] |= 1 << 4 + 3
        with pytest.raises(HeapCorruptError, match=re.escape("block 3 at 0x10060 is a tail without a head")):
            heap.verify()
        with pytest.raises(HeapCorruptError):
            heap.collect()

    def test_poisoned_blocks_apart_from_nodes(self, make_best_fit: MakeHeap) -> None:
        memory = bytearray(blocks(20))
        heap = make_best_fit(memory, asserts=True)
        firsts = holes(heap, 2, 3, 2, 2)
        heap.verify()
        memory[firsts[0] * BLOCK + 8] ^= 1
        assert heap.problems() == [
            f"block {firsts[0]} at {START + firsts[0] * BLOCK:#x} is free, but something wrote to it after that"
        ]


def test_too_small_for_a_block(make_best_fit: MakeHeap) -> None:
    with pytest.raises(GeometryError):
        make_best_fit(30)
