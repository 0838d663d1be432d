"""The variables of the original's allocator: what they hold, and how much is read to know it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import cast

import pytest

import guests_modules
from engine_fixtures import engine_of
from tinyheap.guests.serve.tracing import Tracer
from tinyheap.heap.collectors import Collector
from tinyheap.heap.contract import BestFitEngine
from tinyheap.recognize.identify import identify
from tinyheap.wasm import Module
from workbench import Workbench

WORD = 4
BLOCK = 16


@pytest.mark.parametrize("engine", ["kernel", "model"])
@pytest.mark.parametrize("words", [100, 10_000])
@pytest.mark.share(1)
def test_a_large_object_that_was_scanned_last_is_not_read_word_by_word(engine: str, words: int) -> None:
    """Such as the stack of a goroutine, at each collection."""
    heap = identify(Module.parse(guests_modules.read("sh-syntax-0.7.0"))).best_fit
    assert heap is not None
    collector = Collector.BEST_FIT_BACK
    bench = Workbench(engine_of(engine, collector), heap_bytes=64 << 10, word_bytes=WORD, collector=collector)
    bench.lay("")
    whole, small, large = (bench.engine.alloc(size) for size in (words * WORD, WORD, 100))
    geometry, memory = bench.engine.geometry, bench.memory
    free = geometry.start_address + (60 << 10)
    reads: Counter[str] = Counter()

    def read(address: int) -> int:
        reads["word"] += 1
        return bench.engine.load_word(address)

    def read_words(first: int, end: int) -> memoryview:
        reads["range"] += 1
        return memory[first - geometry.start_address : end - geometry.start_address]

    for index, word in enumerate((large + 40, small, free)):
        bench.engine.store_word(whole + index * WORD, word)
    # What the roots lead to is scanned last in, first out: the large object at the end.
    bench.roots[:] = [whole, small, large]
    facts = replace(
        heap, is_precise=False, roots=replace(heap.roots, stack_chain_address=None, current_task_address=None)
    )
    tracer = Tracer(facts, cast(BestFitEngine, bench.engine), read, read_words)
    tracer.begins(0)
    tracer.collects()
    bench.mark()
    tracer.marked()
    found = {name: tracer.values[f"span.{name}"] for name in ("block", "object", "walked", "head")}

    def block_at(address: int) -> int:
        return address // BLOCK * BLOCK

    assert found == {"block": free, "object": block_at(small), "walked": block_at(large + 40), "head": block_at(small)}
    assert reads["range"] == 1
    assert reads["word"] < 10
    bench.engine.unmark()
    bench.close()
