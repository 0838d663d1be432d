"""The memory of a heap: buffers that it takes and refuses, adopting a heap that lies there already, and closing."""

from __future__ import annotations

import gc
import mmap
import sys
import weakref
from array import array
from collections.abc import Callable, Iterator
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import pytest

from engine_fixtures import MakeHeap
from tinyheap.errors import GeometryError, HeapBusyError, HeapCorruptError, HeapError, TinyheapError
from tinyheap.heap import Doubling, Heap, Listener
from tinyheap.heap.contract import Engine
from tinyheap.heap.nextfit.model import Model
from tinyheap.units import KIB

SIZE_BYTES = 4 * KIB
LAST_TABLE_BYTE = -1


@pytest.fixture(params=["bytearray", "array", "mmap", "shared memory", "odd slice", "words"])
def buffer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Writable memory of each kind, `SIZE_BYTES` long."""
    match request.param:
        case "bytearray":
            yield bytearray(SIZE_BYTES)
        case "array":
            yield array("Q", bytes(SIZE_BYTES))
        case "mmap":
            (tmp_path / "heap").write_bytes(bytes(SIZE_BYTES))
            with (tmp_path / "heap").open("r+b") as file, mmap.mmap(file.fileno(), SIZE_BYTES) as memory:
                yield memory
        case "shared memory":
            shared = SharedMemory(create=True, size=SIZE_BYTES)
            assert shared.buf is not None
            view = shared.buf[:SIZE_BYTES]
            yield view
            view.release()
            shared.close()
            shared.unlink()
        case "odd slice":
            yield memoryview(bytearray(SIZE_BYTES + 8))[3 : SIZE_BYTES + 3]
        case "words":
            yield memoryview(bytearray(SIZE_BYTES)).cast("I")


class TestBuffers:
    @pytest.mark.next_fit
    def test_a_heap_lies_in_any_writable_buffer(self, make_heap: MakeHeap, buffer: Any) -> None:  # noqa: ANN401
        with make_heap(buffer) as heap:
            assert heap.capacity_bytes == heap.geometry.heap_bytes == SIZE_BYTES
            address = heap.alloc(24)
            heap.store_word(address + 8, 0x1122334455667788)
            with heap.roots.add(address):
                heap.alloc(100)
                heap.collect()
            assert [found.address for found in heap.objects()] == [address]
            heap.verify()
            content = bytes(buffer)
        assert content[8:16] == bytes.fromhex("8877665544332211")
        # One object of one block: the table's first state is a head's.
        assert content[heap_table(SIZE_BYTES)] == 0b01

    def test_what_lies_around_a_slice_is_not_touched(self, make_heap: MakeHeap) -> None:
        data = bytearray(b"\xee" * (SIZE_BYTES + 8))
        with make_heap(memoryview(data)[3:-5]) as heap:
            heap.roots.add(heap.alloc(2000))
            for _ in range(200):
                heap.alloc(50)
            heap.collect()
        assert data[:3] == b"\xee" * 3
        assert data[-5:] == b"\xee" * 5

    @pytest.mark.next_fit
    def test_a_part_of_the_buffer_at_first(self, make_heap: MakeHeap) -> None:
        heap = make_heap(bytearray(SIZE_BYTES), size_bytes=KIB, growth=Doubling())
        assert (heap.geometry.heap_bytes, heap.capacity_bytes) == (KIB, SIZE_BYTES)
        heap.roots.add(heap.alloc(2500))
        assert heap.geometry.heap_bytes == 4 * KIB

    @pytest.mark.next_fit
    @pytest.mark.parametrize("word_bytes", [2, 4, 8])
    def test_memory_of_its_own(self, make_heap: MakeHeap, word_bytes: int) -> None:
        heap = make_heap(SIZE_BYTES, word_bytes=word_bytes)
        assert heap.geometry.heap_bytes == heap.capacity_bytes == SIZE_BYTES
        assert heap.geometry.start_address == (0x100 if word_bytes == 2 else 0x1_0000)
        assert heap.alloc(1) == heap.geometry.start_address
        assert heap.read(heap.geometry.start_address, 8) == bytes(8)

    def test_memory_of_its_own_goes_as_far_as_the_policy_and_the_address_space(self, make_heap: MakeHeap) -> None:
        assert make_heap(SIZE_BYTES, growth=Doubling(64 * KIB)).capacity_bytes == 64 * KIB
        small = make_heap(SIZE_BYTES, growth=Doubling(), word_bytes=2)
        assert small.capacity_bytes == 0x1_0000 - 0x100 - 4
        while small.grow():
            pass
        assert small.geometry.heap_bytes == small.capacity_bytes
        assert not small.geometry.is_on_heap(small.zero_size_address)

    @pytest.mark.next_fit
    def test_the_start_address_is_the_mutators(self, make_heap: MakeHeap) -> None:
        heap = make_heap(bytearray(SIZE_BYTES), word_bytes=4, start_address=0x2000_0400)
        assert [heap.alloc(1), heap.alloc(1)] == [0x2000_0400, 0x2000_0410]


class TestRefusals:
    @pytest.mark.parametrize(
        ("memory", "message"),
        [
            (0, "a heap of 0 bytes is too small for a block"),
            (-1, "a heap of -1 bytes is too small for a block"),
            (32, "32 bytes are too small for a block of 32 bytes and its state"),
            (bytearray(32), "32 bytes are too small for a block"),
            (bytearray(), "0 bytes are too small for a block"),
            (array("I"), "0 bytes are too small for a block"),
            (bytes(100), "the buffer (bytes) is read-only"),
            pytest.param(memoryview(bytearray(200))[::2], "not contiguous", id="every second byte"),
            ("64 KiB", "a size in bytes or a writable buffer, not str"),
            (1.5, "a size in bytes or a writable buffer, not float"),
            (None, "a size in bytes or a writable buffer, not NoneType"),
            (1 << 64, "does not fit the 64-bit address space"),
            (1 << 62, "cannot reserve 4611686018427387904 bytes"),
        ],
        ids=repr,
    )
    def test_memory_that_holds_no_heap(self, make_heap: MakeHeap, memory: object, message: str) -> None:
        with pytest.raises(GeometryError) as caught:
            make_heap(memory)
        assert message in str(caught.value)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"word_bytes": 3}, "invalid word size of 3 bytes: expected 2, 4 or 8"),
            ({"word_bytes": 4, "word_alignment_bytes": 1}, "expected the word size, or 1 for two-byte words"),
            ({"header_alignment_bytes": 12}, "invalid header alignment of 12 bytes"),
            ({"header_alignment_bytes": -8}, "invalid header alignment of -8 bytes"),
            ({"start_address": 0}, "invalid heap start 0x0: expected a positive"),
            ({"start_address": -8}, "expected a positive"),
            ({"start_address": 12}, "a positive multiple of 8"),
            ({"start_address": (1 << 64) - 8}, "does not fit the 64-bit address space"),
            ({"word_bytes": 2, "start_address": 0xFFFE}, "does not fit the 16-bit address space"),
            ({"size_bytes": 5000}, "a heap of 5000 bytes does not fit the buffer's 4096"),
            ({"size_bytes": -1}, "a heap of -1 bytes does not fit"),
        ],
    )
    def test_places_that_hold_no_heap(self, make_heap: MakeHeap, options: dict[str, int], message: str) -> None:
        memory = bytearray(b"\xee" * SIZE_BYTES)
        with pytest.raises(GeometryError) as caught:
            make_heap(memory, **options)
        assert message in str(caught.value)
        assert memory == b"\xee" * SIZE_BYTES

    def test_a_size_goes_with_a_buffer(self, make_heap: MakeHeap) -> None:
        with pytest.raises(GeometryError, match="size_bytes goes with a buffer"):
            make_heap(SIZE_BYTES, size_bytes=KIB)

    def test_no_address_left_for_objects_of_size_zero(self, make_heap: MakeHeap) -> None:
        with pytest.raises(
            GeometryError, match="fills the address space; leave 2 bytes, for the address of objects without bytes"
        ):
            make_heap(bytearray(0x1_0000 - 2), word_bytes=2, start_address=2)
        heap = make_heap(bytearray(0x1_0000 - 4), word_bytes=2, start_address=4)
        assert heap.alloc(0) == 2

    def test_errors_are_values_errors_too(self, make_heap: MakeHeap) -> None:
        with pytest.raises(ValueError, match="too small"):
            make_heap(1)

    def test_unknown_names(self) -> None:
        with pytest.raises(HeapError, match="invalid gc 'boehm': expected one of conservative, precise, leaking"):
            Heap(KIB, gc="boehm")
        with pytest.raises(HeapError, match="invalid engine 'turbo': expected kernel or model"):
            Heap(KIB, engine="turbo")


class TestAdopting:
    def test_a_file_is_opened_again(self, make_heap: MakeHeap, tmp_path: Path) -> None:
        path = tmp_path / "heap"
        path.write_bytes(bytes(SIZE_BYTES))
        with path.open("r+b") as file, mmap.mmap(file.fileno(), SIZE_BYTES) as memory:
            with make_heap(memory) as heap:
                first = heap.alloc(40)
                second = heap.alloc(8)
                heap.store_word(first, second)
                heap.alloc(500)
            memory.flush()
        with (
            path.open("r+b") as file,
            mmap.mmap(file.fileno(), SIZE_BYTES) as memory,
            make_heap(memory, adopt=True) as heap,
        ):
            heap.verify()
            assert heap.census().heads == 3
            assert "3 objects" in repr(heap)
            assert heap.load_word(first) == second
            with heap.roots.add(first):
                assert heap.collect().freed_objects == 1
            assert [found.address for found in heap.objects()] == [first, second]
            # The search begins at the start, and sees what is taken.
            assert heap.alloc(8) == second + 32
            heap.verify()

    @pytest.mark.next_fit
    def test_without_adopting_the_heap_starts_empty(self, make_heap: MakeHeap) -> None:
        memory = bytearray(b"\xff" * SIZE_BYTES)
        heap = make_heap(memory)
        assert heap.census().heads == 0
        assert heap.geometry.pool_bytes == heap_table(SIZE_BYTES)
        # Only the table is written.
        assert memory[: heap.geometry.pool_bytes] == b"\xff" * heap.geometry.pool_bytes

    @pytest.mark.next_fit
    @pytest.mark.parametrize(
        ("at", "byte", "message"),
        [
            (0, 0b10, "block 0 at 0x10000 is a tail without a head"),
            (0, 0b10_00_01, "block 2 at 0x10040 is a tail without a head"),
            (1, 0b11, "block 4 at 0x10080 is marked, but no collection runs"),
            (LAST_TABLE_BYTE, 0b01_00_00_00, "is head, but the heap ends at block"),
        ],
    )
    @pytest.mark.parametrize("asserts", [False, True])
    def test_a_corrupt_table_is_refused(
        self, make_heap: MakeHeap, at: int, byte: int, message: str, asserts: bool
    ) -> None:
        memory = bytearray(b"\xee" * SIZE_BYTES)
        table = heap_table(SIZE_BYTES)
        memory[table:] = bytes(SIZE_BYTES - table)
        memory[at if at < 0 else table + at] = byte
        before = bytes(memory)
        with pytest.raises(HeapCorruptError) as caught:
            make_heap(memory, adopt=True, asserts=asserts)
        assert message in str(caught.value)
        assert memory == before
        # The buffer was let go.
        memory.append(0)

    def test_many_problems_are_not_all_named(self, make_heap: MakeHeap) -> None:
        memory = bytearray(b"\xff" * SIZE_BYTES)
        with pytest.raises(HeapCorruptError) as caught:
            make_heap(memory, adopt=True)
        assert str(caught.value).count(";") == 15


class TestClosing:
    def test_the_memory_is_given_back(self, make_heap: MakeHeap) -> None:
        memory = bytearray(SIZE_BYTES)
        heap = make_heap(memory)
        with pytest.raises(BufferError):
            memory.append(0)
        heap.close()
        memory.append(0)
        heap.close()
        assert repr(heap) == "<Heap, closed>"

    @pytest.mark.next_fit
    @pytest.mark.parametrize(
        "use",
        [
            lambda heap: heap.alloc(8),
            lambda heap: heap.alloc(0),
            lambda heap: heap.alloc_many(3, 8),
            lambda heap: heap.realloc(0x1_0000, 8),
            lambda heap: heap.free(0x1_0000),
            lambda heap: heap.collect(),
            lambda heap: heap.grow(),
            lambda heap: heap.stats(),
            lambda heap: heap.counters(),
            lambda heap: heap.census(),
            lambda heap: heap.dump(),
            lambda heap: heap.verify(),
            lambda heap: heap.load_word(0x1_0000),
            lambda heap: heap.store_word(0x1_0000, 1),
            lambda heap: heap.read(0x1_0000, 8),
            lambda heap: heap.write(0x1_0000, b"x"),
            lambda heap: heap.object_at(0x1_0000),
            lambda heap: list(heap.objects()),
            lambda heap: heap.weak(0x1_0000),
            lambda heap: heap.set_finalizer(0x1_0000, print),
            lambda heap: heap.geometry,
            lambda heap: heap.next_alloc,
        ],
    )
    def test_a_closed_heap_cannot_be_used(self, make_heap: MakeHeap, use: Callable[[Heap], object]) -> None:
        heap = make_heap(SIZE_BYTES)
        heap.alloc(8)
        heap.close()
        with pytest.raises(HeapError, match="this heap is closed"):
            use(heap)

    @pytest.mark.slow
    def test_one_that_is_forgotten_in_a_cycle_lets_go_first(
        self, engine: type[Engine], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Python clears a cycle in any order; a view of memory that somebody still looks into must not be cleared."""
        reported: list[object] = []
        monkeypatch.setattr(sys, "unraisablehook", reported.append)

        def forget() -> weakref.ref[Heap]:
            heap = Heap(SIZE_BYTES, engine="model" if engine is Model else "kernel")
            try:
                heap.free(5)
            except HeapError as error:
                kept = error
                assert kept.__traceback__ is not None
            return weakref.ref(heap)

        forgotten = forget()
        gc.collect()
        assert forgotten() is None
        assert reported == []

    def test_an_error_inside_the_context_closes_too(self, make_heap: MakeHeap) -> None:
        memory = bytearray(SIZE_BYTES)
        with pytest.raises(TinyheapError), make_heap(memory) as heap:
            heap.free(1)
        memory.append(0)

    def test_not_while_a_collection_runs(self, make_heap: MakeHeap) -> None:
        heap = make_heap(SIZE_BYTES)
        refused: list[HeapBusyError] = []

        class Closer(Listener):
            def marked(self, heap: Heap) -> None:
                with pytest.raises(HeapBusyError) as caught:
                    heap.close()
                refused.append(caught.value)

        heap.add_listener(Closer())
        heap.roots.add(heap.alloc(8))
        assert heap.collect().live_objects == 1
        assert len(refused) == 1

    @pytest.mark.next_fit
    def test_repr(self, make_heap: MakeHeap) -> None:
        heap = make_heap(64 * KIB, word_bytes=4, gc="precise")
        heap.alloc(100)
        name = heap.engine_name
        assert repr(heap) == f"<Heap of 64.0 KiB at 0x10000, 32-bit, precise, {name}: 1 object in 112 B>"


def heap_table(size_bytes: int) -> int:
    """Offset of the block table in a heap of 64-bit words."""
    return size_bytes - (size_bytes + 4 * 32) // (1 + 4 * 32)
