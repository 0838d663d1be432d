"""Growth policies: the sizes they name, and that a heap that does not grow runs out of memory instead of looping."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from engine_fixtures import MakeHeap
from tinyheap.errors import GeometryError, HeapError, OutOfMemoryError
from tinyheap.heap import ByRatio, Doubling, FixedStep, Growth, NoGrowth, Pages
from tinyheap.heap.growth import growth_text, parse_growth
from tinyheap.units import GIB, KIB


def sizes(growth: Growth, heap_bytes: int, steps: int) -> list[int]:
    """What a policy makes of a heap, step by step."""
    grown = [heap_bytes]
    for _ in range(steps):
        grown.append(growth.next_bytes(grown[-1]))
    return grown


class TestPolicies:
    @pytest.mark.parametrize(
        ("growth", "heap_bytes", "expected"),
        [
            (NoGrowth(), 100, [100, 100]),
            (Doubling(), 100, [100, 200, 400, 800]),
            (Doubling(350), 100, [100, 200, 350, 350]),
            (Pages(), 1, [1, 64 * KIB, 128 * KIB, 256 * KIB]),
            (Pages(), 40 * KIB, [40 * KIB, 128 * KIB]),
            (Pages(100 * KIB), 40 * KIB, [40 * KIB, 100 * KIB, 100 * KIB]),
            (Pages(page_bytes=100), 130, [130, 300, 600]),
            (FixedStep(64), 100, [100, 164, 228]),
            (FixedStep(64, 150), 100, [100, 150, 150]),
            (ByRatio(), 12 * KIB, [12 * KIB, 16 * KIB, 20 * KIB, 24 * KIB]),
            # Rounding takes the growth away: the trap of the original's 4/3.
            (ByRatio(), 8 * KIB, [8 * KIB, 8 * KIB]),
            (ByRatio(3, 2, 1, 200), 100, [100, 150, 200, 200]),
        ],
    )
    def test_sizes(self, growth: Growth, heap_bytes: int, expected: list[int]) -> None:
        assert sizes(growth, heap_bytes, len(expected) - 1) == expected

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: FixedStep(0), "invalid step of 0 bytes: expected 1 or more"),
            (lambda: FixedStep(-64), "invalid step of -64 bytes: expected 1 or more"),
            (lambda: Pages(page_bytes=0), "invalid page of 0 bytes: expected 1 or more"),
            (lambda: ByRatio(multiple_bytes=0), "invalid multiple of 0 bytes: expected 1 or more"),
            (lambda: ByRatio(3, 3), "invalid ratio 3/3: expected one above 1"),
            (lambda: ByRatio(2, 3), "invalid ratio 2/3: expected"),
            (lambda: ByRatio(2, 0), "invalid ratio 2/0: expected"),
            (lambda: ByRatio(-2, -3), "invalid ratio -2/-3: expected"),
        ],
    )
    def test_what_is_no_growth(self, make: type, message: str) -> None:
        with pytest.raises(GeometryError) as caught:
            make()
        assert message in str(caught.value)

    def test_limits(self) -> None:
        assert NoGrowth().limit_bytes == 0
        assert Doubling().limit_bytes is None
        assert FixedStep(8, GIB).limit_bytes == GIB


@dataclass
class Stubborn:
    """A policy of a user that names the same sizes again and again."""

    answers: list[int]
    limit_bytes: int | None = 64 * KIB
    asked: int = 0

    def next_bytes(self, heap_bytes: int) -> int:
        self.asked += 1
        return self.answers[min(self.asked, len(self.answers)) - 1]


class TestHeaps:
    @pytest.mark.parametrize(
        "growth",
        [NoGrowth(), ByRatio(limit_bytes=64 * KIB), Doubling(8 * KIB), Doubling(100), FixedStep(8, 0), Pages(8 * KIB)],
    )
    def test_one_that_does_not_grow_runs_out_of_memory(self, make_heap: MakeHeap, growth: Growth) -> None:
        heap = make_heap(8 * KIB, growth=growth)
        heap.roots.add(heap.alloc(4 * KIB))
        with pytest.raises(OutOfMemoryError):
            heap.alloc(6 * KIB)
        assert not heap.grow()
        assert heap.geometry.heap_bytes == 8 * KIB
        heap.verify()
        assert heap.alloc(KIB)

    @pytest.mark.parametrize("answers", [[0], [-5], [8 * KIB], [4 * KIB], [9 * KIB, 9 * KIB], [9 * KIB, 0]])
    def test_a_users_policy_that_gets_stuck(self, make_heap: MakeHeap, answers: list[int]) -> None:
        growth = Stubborn(answers)
        heap = make_heap(8 * KIB, growth=growth)
        heap.roots.add(heap.alloc(8000))
        with pytest.raises(OutOfMemoryError):
            heap.alloc(20 * KIB)
        assert growth.asked <= 4
        assert heap.geometry.heap_bytes == max([8 * KIB, *answers])
        heap.verify()

    @pytest.mark.next_fit
    @pytest.mark.parametrize("collector", ["conservative", "precise", "leaking"])
    def test_as_far_as_needed_and_no_further(self, make_heap: MakeHeap, collector: str) -> None:
        heap = make_heap(KIB, growth=Doubling(64 * KIB), gc=collector)
        held = heap.alloc(500)
        heap.write(held, b"before!!" * 62)
        heap.roots.add(held)
        address = heap.alloc(5000)
        assert heap.geometry.heap_bytes == 8 * KIB
        assert heap.read(held, 496) == b"before!!" * 62
        assert heap.read(address, 5000) == bytes(5000)
        heap.verify()

    @pytest.mark.next_fit
    def test_a_third_of_headroom(self, make_heap: MakeHeap) -> None:
        # 62 blocks; a collection that leaves fewer than a third of them free grows the heap, although there is room.
        for live_blocks, grown in ((40, False), (43, True)):
            heap = make_heap(2000, growth=Doubling(8000))
            assert heap.geometry.end_block == 62
            heap.roots.add(heap.alloc(live_blocks * 32))
            heap.alloc((62 - live_blocks) * 32)
            heap.alloc(8)
            assert (heap.geometry.heap_bytes > 2000) == grown

    @pytest.mark.next_fit
    def test_the_table_moves_and_its_old_place_keeps_its_bytes(self, make_heap: MakeHeap) -> None:
        heap = make_heap(bytearray(2 * 2064), size_bytes=2064, growth=Doubling())
        old = heap.geometry
        for _ in range(old.end_block):
            heap.alloc(32)
        table = bytes([0b01_01_01_01]) * old.table_bytes
        assert heap.grow()
        assert heap.geometry.end_block == 2 * old.end_block
        assert heap.read(old.table_address, old.table_bytes) == table
        assert heap.census().heads == old.end_block
        heap.verify()

    def test_the_buffer_ends_growth(self, make_heap: MakeHeap) -> None:
        heap = make_heap(bytearray(3000), size_bytes=1000, growth=Doubling())
        assert [heap.grow(), heap.grow(), heap.grow()] == [True, True, False]
        assert heap.geometry.heap_bytes == 3000

    @pytest.mark.next_fit
    def test_from_no_block_at_all(self, make_heap: MakeHeap) -> None:
        heap = make_heap(bytearray(4000), size_bytes=10, growth=FixedStep(1000))
        assert heap.geometry.end_block == 0
        assert heap.alloc(8) == heap.geometry.start_address
        assert heap.geometry.heap_bytes == 1010
        heap.verify()

    @pytest.mark.next_fit
    def test_asserts_refuse_a_table_that_overlaps_its_old_place(self, make_heap: MakeHeap) -> None:
        memory = bytearray(8 * KIB)
        heap = make_heap(memory, size_bytes=4 * KIB, growth=FixedStep(16), asserts=True)
        held = heap.alloc(3 * KIB)
        heap.roots.add(held)
        before = bytes(memory)
        message = "did not grow enough at once: from 4096 to 4112 bytes its table overlaps its old place"
        with pytest.raises(HeapError, match=message):
            heap.grow()
        stats = heap.stats()
        with pytest.raises(HeapError, match=message):
            heap.alloc(2 * KIB)
        assert memory == before
        assert heap.stats() == stats
        heap.verify()

    @pytest.mark.next_fit
    def test_without_asserts_it_may_overlap(self, make_heap: MakeHeap) -> None:
        heap = make_heap(4 * KIB, growth=FixedStep(16, 8 * KIB))
        addresses = [heap.alloc(32) for _ in range(heap.geometry.end_block)]
        heap.roots.add_range(b"".join(address.to_bytes(8, "little") for address in addresses))
        assert heap.alloc(500)
        assert [found.address for found in heap.objects()][: len(addresses)] == addresses
        heap.verify()

    @pytest.mark.next_fit
    def test_errors_of_a_policy_reach_the_mutator_and_leave_the_counts(self, make_heap: MakeHeap) -> None:
        class Broken(Stubborn):
            def next_bytes(self, heap_bytes: int) -> int:
                raise ZeroDivisionError

        for collector in ("conservative", "leaking"):
            heap = make_heap(KIB, growth=Broken([]), gc=collector)
            held = heap.alloc(500)
            with pytest.raises(ZeroDivisionError):
                heap.alloc(2 * KIB)
            heap.verify()
            assert heap.alloc(100) == held + (512 if collector == "conservative" else 504)


class TestTexts:
    @pytest.mark.parametrize(
        "text", ["none", "double", "pages", "step:1", "step:65536", "ratio:4/3", "ratio:999999999/1"]
    )
    def test_what_is_read_is_written_alike(self, text: str) -> None:
        assert growth_text(parse_growth(text)) == text

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "None",
            "step",
            "step:",
            "step:0",
            "step:-1",
            "ratio:",
            "ratio:3/4",
            "ratio:3/3",
            "ratio:4/0",
            "ratio:4",
            "double:2",
        ],
    )
    def test_what_is_no_growth_is_refused(self, text: str) -> None:
        with pytest.raises(GeometryError, match="growth"):
            parse_growth(text)

    def test_sizes_are_read_as_the_caller_likes(self) -> None:
        assert parse_growth("step:64K", lambda text: int(text[:-1]) * KIB) == FixedStep(64 * KIB)

    def test_a_limit_and_a_policy_of_ones_own_are_named(self) -> None:
        class Mine(FixedStep):
            pass

        assert growth_text(Doubling(350)) == "double up to 350 bytes"
        assert growth_text(Mine(5)).startswith("step:5")

        @dataclass
        class Other:
            limit_bytes: int | None = None

            def next_bytes(self, heap_bytes: int) -> int:
                return heap_bytes

        assert growth_text(Other()) == "Other"
