"""The front door as a typed program uses it: `make types` checks that each name is known there as what it is."""

from __future__ import annotations

import io
from pathlib import Path
from typing import assert_type

import pytest

import tinyheap
from tinyheap import (
    KIB,
    Collection,
    Doubling,
    Gc,
    Grants,
    Growth,
    Guest,
    Heap,
    HeapObject,
    Layout,
    Listener,
    MemStats,
    Module,
    OutOfMemoryError,
    Policy,
    Program,
    Recording,
    Replay,
    TinyheapError,
    Trace,
    TraceBuilder,
    WeakReference,
    identify,
    profile,
    read_trace,
    replay,
    write_trace,
)
from tinyheap.guests import Cache, GuestHeap
from tinyheap.wasm import Code, Editor

EXAMPLE = Path(__file__).resolve().parent.parent / "examples/gofmt.tinyheap"


def test_a_heap() -> None:
    class Counting(Listener):
        collections = 0

        def collection_ended(self, heap: Heap, collection: Collection) -> None:
            self.collections += collection.number

    growth: Growth = Doubling(limit_bytes=4 * KIB)
    heap = Heap(1 * KIB, word_bytes=4, gc=Gc.PRECISE, growth=growth)
    assert_type(heap, Heap)
    listener = Counting()
    heap.add_listener(listener)
    address = heap.alloc(8, Layout.pattern("p."))
    assert_type(heap.object_at(address), HeapObject)
    assert_type(heap.weak(address), WeakReference)
    assert_type(heap.collect(), Collection)
    assert_type(heap.stats(), MemStats)
    assert listener.collections == 1
    with pytest.raises(OutOfMemoryError):
        heap.alloc(64 * KIB)


def test_a_trace(tmp_path: Path) -> None:
    builder = TraceBuilder(1 * KIB)
    builder.alloc(8)
    write_trace(tmp_path / "small.trace", builder.build())
    trace = read_trace(tmp_path / "small.trace")
    assert_type(trace, Trace)
    assert_type(replay(trace), Replay)


def test_a_program() -> None:
    editor = Editor()
    answer = editor.add_function([], ["i32"], Code().i32_const(42))
    editor.export("answer", "function", answer)
    module = editor.build()
    assert_type(module, Module)
    assert_type(identify(module), Guest)
    with Program.open(module.data, Grants(stdout=io.BytesIO()), Policy(), cache=Cache(None)) as program:
        assert_type(program, Program)
        assert_type(program.heap, GuestHeap | None)
        assert program.call("answer") == 42


def test_a_recording() -> None:
    with Recording.open(EXAMPLE) as recording:
        assert_type(recording, Recording)
        assert_type(profile.totals(recording), profile.Totals)


def test_what_a_type_checker_does_not_know_is_not_there() -> None:
    with pytest.raises(AttributeError):
        tinyheap.Colection  # type: ignore[attr-defined]  # noqa: B018
    assert issubclass(TinyheapError, Exception)
