"""The kernel checks at its border what would take it out of its memory; its loops check nothing."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any

import pytest

from tinyheap.errors import GeometryError, HeapError, InvalidAddressError, InvalidSizeError
from tinyheap.heap.contract import Engine, Gc, Options
from tinyheap.heap.geometry import Geometry
from workbench import Layouts, Workbench, heap_bytes_for


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
    with pytest.raises(GeometryError, match=f"a table of {len(table)} bytes; this heap's has 2"):
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
