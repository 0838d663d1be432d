"""The kernel checks at its border all arguments that would let it leave its memory; its loops check nothing."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any

import pytest

from tinyheap.errors import GeometryError, HeapError, InvalidAddressError, InvalidSizeError
from tinyheap.heap.contract import Engine, Gc, Options
from tinyheap.heap.geometry import Geometry
from workbench import ZERO_SIZE_ADDRESS, Layouts, Workbench, heap_bytes_for


@pytest.fixture
def heap(kernel: type[Engine]) -> Workbench:
    heap = Workbench(kernel, 8)
    heap.lay("*--.*...")
    return heap


@pytest.mark.parametrize(
    "ask",
    [
        lambda engine: engine.state(8),
        lambda engine: engine.find_head(8),
        lambda engine: engine.find_next(1 << 62),
        lambda engine: engine.find_run(0, 9, 1, 0),
        lambda engine: engine.find_run(5, 4, 1, 0),
        lambda engine: engine.find_run(0, 8, 2, 2),
        lambda engine: engine.find_run(0, 8, 0, 0),
        lambda engine: engine.free(8),
        lambda engine: engine.mark_children(8),
        lambda engine: setattr(engine, "next_alloc", 9),
    ],
)
def test_blocks_past_the_end(heap: Workbench, ask: Callable[[Engine], Any]) -> None:
    before = bytes(heap.memory)
    with pytest.raises(InvalidAddressError):
        ask(heap.engine)
    assert bytes(heap.memory) == before
    heap.close()


def test_negative_numbers(heap: Workbench) -> None:
    for ask in (heap.engine.state, heap.engine.find_head, heap.engine.free, heap.engine.load_word):
        with pytest.raises(OverflowError):
            ask(-1)


@pytest.mark.parametrize("size_bytes", [-1, 1 << 62, 1 << 64, 1 << 200, -(1 << 200)])
def test_sizes_beyond_all_bounds(heap: Workbench, size_bytes: int) -> None:
    for ask in (
        lambda: heap.engine.alloc(size_bytes),
        lambda: heap.engine.alloc(size_bytes, 1),
        lambda: heap.engine.alloc_many(array("Q", [0]), size_bytes),
        lambda: heap.engine.realloc(heap.address(0), size_bytes),
    ):
        with pytest.raises(InvalidSizeError):
            ask()
    assert heap.draw() == "*--.*..."
    assert heap.engine.counters[:3] == (0, 0, 0)


@pytest.mark.parametrize("table", [b"", b"\0", b"\0" * 3])
def test_tables_of_another_size(heap: Workbench, table: bytes) -> None:
    with pytest.raises(GeometryError, match=f"invalid block table of {len(table)} bytes: expected 2"):
        heap.engine.write_table(table)
    assert heap.draw() == "*--.*..."


def test_growth_beyond_the_buffer(heap: Workbench) -> None:
    with pytest.raises(GeometryError, match="does not fit"):
        heap.engine.resize(heap_bytes_for(9))
    assert heap.draw() == "*--.*..."
    heap.close()


@pytest.mark.parametrize("blocks", [8, 0])
def test_a_buffer_too_small(kernel: type[Engine], blocks: int) -> None:
    geometry = Geometry(0x100, heap_bytes_for(blocks) + 1, 8)
    with pytest.raises(GeometryError, match=r"the buffer has \d+ bytes; the heap needs"):
        kernel(bytearray(heap_bytes_for(blocks)), geometry, Options(), Layouts(), Workbench(kernel, 1))


def test_a_read_only_buffer(kernel: type[Engine]) -> None:
    with pytest.raises(BufferError):
        kernel(bytes(1000), Geometry(0x100, 1000, 8), Options(), Layouts(), Workbench(kernel, 1))


@pytest.mark.parametrize("gc", list(Gc))
def test_after_closing(kernel: type[Engine], gc: Gc) -> None:
    heap = Workbench(kernel, heap_bytes=300, gc=gc)
    engine = heap.engine
    address = engine.alloc(8)
    engine.release_memory()
    engine.release_memory()
    asks: list[Callable[[], Any]] = [
        lambda: engine.alloc(8),
        lambda: engine.alloc_many(array("Q", [0]), 8),
        lambda: engine.realloc(address, 64),
        lambda: engine.realloc(0, 64),
        lambda: engine.free(0),
        lambda: engine.state(0),
        lambda: engine.find_head(0),
        lambda: engine.find_next(0),
        lambda: engine.find_run(0, 1, 1, 0),
        lambda: engine.load_word(address),
        lambda: engine.store_word(address, 1),
        lambda: engine.mark_roots(b"12345678"),
        lambda: engine.mark_addresses([address]),
        lambda: engine.mark_children(0),
        engine.finish_mark,
        engine.unmark,
        engine.sweep,
        engine.census,
        engine.check_table,
        engine.read_table,
        lambda: engine.write_table(b""),
        lambda: engine.resize(300),
    ]
    for ask in asks:
        with pytest.raises(HeapError, match="this heap is closed"):
            ask()


class TestAllocAtOnce:
    """The way into the kernel without a Python frame: allocations without callbacks; the rest is left to the heap."""

    @pytest.fixture
    def left(self, heap: Workbench) -> list[tuple[Any, Any]]:
        """What was left to others."""
        left: list[tuple[Any, Any]] = []

        def otherwise(size_bytes: Any, layout: Any) -> int:  # noqa: ANN401
            left.append((size_bytes, layout))
            return 7

        heap.engine.otherwise = otherwise  # type: ignore[attr-defined]
        return left

    def test_as_alloc(self, heap: Workbench, left: list[Any]) -> None:
        allocate = heap.engine.alloc_at_once  # type: ignore[attr-defined]
        assert [allocate(8), allocate(0), allocate(64)] == [heap.address(3), ZERO_SIZE_ADDRESS, heap.address(5)]
        assert heap.draw() == "*--***-."
        assert left == []

    @pytest.mark.parametrize("size_bytes", [-1, 1 << 62, 1 << 80, 1.5, True, None, "8"])
    def test_odd_sizes_are_left(self, heap: Workbench, left: list[Any], size_bytes: Any) -> None:  # noqa: ANN401
        assert heap.engine.alloc_at_once(size_bytes) == 7  # type: ignore[attr-defined]
        assert left == [(size_bytes, None)]

    def test_what_finds_no_room_is_left_and_not_counted(self, heap: Workbench, left: list[Any]) -> None:
        before = heap.engine.counters[:5]
        assert heap.engine.alloc_at_once(4 * 32) == 7  # type: ignore[attr-defined]
        assert (left, heap.asked) == ([(128, None)], [])
        assert heap.engine.counters[:5] == before

    @pytest.mark.parametrize("gc", list(Gc))
    def test_all_is_left_while_something_runs(self, kernel: type[Engine], gc: Gc) -> None:
        heap = Workbench(kernel, heap_bytes=300, gc=gc)
        left: list[tuple[Any, Any]] = []

        def otherwise(size_bytes: Any, layout: Any) -> int:  # noqa: ANN401
            left.append((size_bytes, layout))
            return 7

        allocate = heap.engine.alloc_at_once  # type: ignore[attr-defined]
        heap.engine.otherwise = otherwise  # type: ignore[attr-defined]
        heap.engine.guarded = True
        assert heap.engine.guarded
        assert (allocate(0), allocate(8)) == (7, 7)
        heap.engine.guarded = False
        heap.engine.in_interrupt = True
        assert allocate(8) == 7
        heap.engine.in_interrupt = False
        assert allocate(8) != 7
        heap.engine.release_memory()
        assert allocate(8) == 7
        assert left == [(0, None), (8, None), (8, None), (8, None)]


@pytest.mark.parametrize(
    ("gc", "asked"),
    [
        (gc, asked)
        for gc in Gc
        for asked in ("on_exhausted", "grow", "layout_word")
        if (gc, asked) != ("leaking", "on_exhausted")
    ],
)
def test_an_embedder_that_lets_go_of_the_memory(kernel: type[Engine], gc: Gc, asked: str) -> None:
    """Whatever is asked in the middle of an allocation may close the heap: it is looked at anew after each answer."""
    heap = Workbench(kernel, heap_bytes=300, gc=gc, grow_to=[600])
    heap.engine.alloc(200)

    def let_go(*_: object) -> int:
        engine.release_memory()
        return 1

    engine = heap.engine
    setattr(heap, asked, let_go)
    for ask in (
        lambda: heap.engine.alloc(280, 1),
        lambda: heap.engine.alloc_many(array("Q", [0]), 280, 1),
        lambda: heap.engine.realloc(heap.address(0), 280),
    ):
        with pytest.raises(HeapError, match="this heap is closed"):
            ask()
