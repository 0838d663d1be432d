"""Names of objects: shapes, and several namers one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import pytest

from inspected_heaps import GLOBALS, graph_of
from tinyheap.heap import Gc, Heap, Layout
from tinyheap.heap.engines import ENGINES, SlowEngineWarning
from tinyheap.inspect import Groups, HeapGraph, Layered, NamedGraph, RootKind, RootSource, RootTable, ShapeNames
from tinyheap.inspect import graph as graph_module
from tinyheap.inspect.naming import UNNAMED

CONTENTS: Final[dict[bytes, str]] = {
    b"": "zeros",
    b"note": "text",
    b"one line\n\tand another\r\n": "text",
    "grün, 漢字, 🚀".encode(): "text",
    # The rest of the last block may be what was there before.
    b"twelve bytes\x01\x02\x03\x04": "text",
    b"abc": "16 B data",
    b"a bell \x07 in a text that goes on behind it": "48 B data",
    b"\xc0\x80 is no UTF-8, nor is a lone surrogate": "48 B data",
    b"text then zeros" + bytes(70) + b"x": "96 B data",
    np.array([1.5, 0.0, -3e6]).tobytes(): "32 B float64",
    np.array([1.5, 0.25, -3e6, 7, 8], np.float32).tobytes(): "32 B float32",
    np.array([1, 2, 3, 4, 5], np.uint32).tobytes(): "32 B data",
    bytes(2000) + b"\x01": "over 1024 B data",
}


def with_content(content: bytes) -> Heap:
    heap = Heap(1 << 13, word_bytes=4)
    address = heap.alloc(max(len(content), 1))
    heap.write(address, content)
    return heap


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("content", CONTENTS, ids=range(len(CONTENTS)))
def test_shapes(engine: str, content: bytes) -> None:
    assert NamedGraph(graph_of(with_content(content), [], engine)).group_of(0) == CONTENTS[content]


def test_pointers_and_layouts() -> None:
    heap = Heap(1 << 13, word_bytes=4, gc=Gc.PRECISE)
    layouts = {"p.": "pointers", "p...": "some pointers", ".": "data", "p" * 40: "pointers"}
    objects = [heap.alloc(160, Layout.pattern(pattern)) for pattern in layouts]
    for address, words in zip(objects, (2, 10, 3, 1), strict=True):
        heap.store_word(address, objects[0])
        for index in range(1, words):
            heap.store_word(address + 4 * index, index)
    named = NamedGraph(graph_of(heap, []))
    assert [named.group_of(found) for found in range(4)] == [
        "176 B pointers p.",
        "176 B some pointers p...",
        "176 B data .",
        "176 B pointers p",
    ]
    assert named.word_of(0) == "+0"
    long = heap.alloc(160, Layout.pattern("." * 30 + "p" * 10))
    heap.store_word(long + 4 * 30, long)
    assert NamedGraph(graph_of(heap, [])).group_of(4) == f"176 B pointers {'.' * 30 + 'p' * 10}"
    heap._engine.store_word(long - 4, 0xFFFF_FFF0)
    assert NamedGraph(graph_of(heap, [])).group_of(4) == "176 B data unreadable layout"


class First:
    """Knows the first object only, and its first word."""

    def groups(self, graph: HeapGraph) -> Groups:
        return Groups((np.arange(len(graph)) > 0).astype(np.uint32), ("main.cache", UNNAMED))

    def word(self, graph: HeapGraph, holder: int, offset: int) -> str:
        return ".entries[17].body" if holder == 0 and offset == 0 else UNNAMED


def test_who_has_no_name_is_asked_of_the_next() -> None:
    heap = Heap(1 << 13, word_bytes=4)
    cache, text = heap.alloc(16), heap.alloc(16)
    heap.write(text, b"some text")
    heap.store_word(cache, text)
    heap.store_word(cache + 4, text)
    named = NamedGraph(graph_of(heap, [cache]), Layered(First(), ShapeNames()))
    assert [named.group_of(found) for found in range(2)] == ["main.cache", "text"]
    assert [named.word_of(reference) for reference in range(2)] == [".entries[17].body", "+4"]
    assert [named.kind_of_word(0, offset) for offset in (0, 4)] == [".entries[...].body", "+4"]
    only = NamedGraph(named.graph, Layered(First()))
    assert (only.group_of(1), only.word_of(1)) == (UNNAMED, UNNAMED)


def test_roots_in_columns() -> None:
    frame = RootSource(RootKind.STACK_FRAME, "main.run", 0x2000)
    table = RootTable.join([(GLOBALS, [4, 8], [1, 2]), (frame, 0x2010, 3), (GLOBALS, 12, 4), (frame, 0, [])])
    assert (table.address.tolist(), table.value.tolist()) == ([4, 8, 0x2010, 12], [1, 2, 3, 4])
    assert [table.source_of(root) for root in range(len(table))] == [GLOBALS, GLOBALS, frame, GLOBALS]
    assert len(RootTable.join([])) == 0


def test_the_model_serves_where_nothing_was_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(graph_module._ENGINES, "kernel")
    monkeypatch.setattr(graph_module, "_warn_once", warn_each_time(graph_module._warn_once))
    heap = with_content(b"note")
    with pytest.warns(SlowEngineWarning, match="The model serves"):
        assert graph_of(heap, []).engine_name == "model"
    with pytest.raises(Exception, match="the compiled object graph is not there; install a C compiler"):
        graph_of(heap, [], "kernel")


def warn_each_time(once: Callable[[], None]) -> Callable[[], None]:
    return once.__wrapped__  # type: ignore[attr-defined,no-any-return]
