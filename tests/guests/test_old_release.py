"""A program of TinyGo 0.20 to 0.22, as far as it runs without the host that it was made for: by its exported ``malloc``."""

from __future__ import annotations

import random
from typing import NamedTuple

import pytest
import wasmtime

import guests_modules
from guests import pairs
from tinyheap.guests.policy import Policy
from tinyheap.guests.rewrite.rewriting import ALLOC_IMPORT
from tinyheap.guests.serve.prepared import BoundHeap, PreparedHeap
from tinyheap.recognize.facts import OLD_TABLE_DIVISOR

NAME = "astro-compiler-0.10.1"


class Started(NamedTuple):
    """The program, started as far as its first request of the host that is not there."""

    store: wasmtime.Store
    malloc: wasmtime.Func
    memory: wasmtime.Memory
    witness: wasmtime.Memory
    heap: BoundHeap | None

    def all_of(self, memory: wasmtime.Memory) -> bytes:
        """All bytes of one of its memories."""
        return bytes(memory.read(self.store, 0, memory.data_len(self.store)))


def start(*, engine: str | None) -> Started:
    """The program on its own collector, or on an engine of tinyheap."""
    pair = pairs.compiled(guests_modules.read(NAME))
    store, linker = wasmtime.Store(pair.engine), wasmtime.Linker(pair.engine)
    module = pair.native if engine is None else pair.ours
    offered = None if engine is None else PreparedHeap(pair.facts, Policy(engine=engine)).offer(store)
    for wanted in module.imports:
        if offered is not None and wanted.module == ALLOC_IMPORT:
            assert wanted.name is not None
            linker.define(store, ALLOC_IMPORT, wanted.name, offered.makers[ALLOC_IMPORT](wanted.name, wanted.type))
    linker.define_unknown_imports_as_traps(module)
    instance = linker.instantiate(store, module)
    heap = None if offered is None else offered.bind(instance)
    exports = instance.exports(store)
    begin, malloc, memory, witness = (exports[name] for name in ("_start", "malloc", "memory", pairs.LOG))
    assert isinstance(begin, wasmtime.Func)
    assert isinstance(malloc, wasmtime.Func)
    assert isinstance(memory, wasmtime.Memory)
    assert isinstance(witness, wasmtime.Memory)
    with pytest.raises(wasmtime.WasmtimeError, match=r"syscall/js.valueGet. has not been defined"):
        begin(store)
    return Started(store, malloc, memory, witness, heap)


@pytest.mark.parametrize(("engine", "calls"), [("kernel", 5000), ("model", 1500)])
@pytest.mark.slow
def test_its_heap_is_the_same_to_the_last_byte(engine: str, calls: int) -> None:
    native, ours = start(engine=None), start(engine=engine)
    assert ours.heap is not None
    assert ours.heap.facts.table_divisor == OLD_TABLE_DIVISOR
    chance = random.Random(NAME)
    for _ in range(calls):
        size_bytes = chance.choice([0, chance.randrange(1, 100), chance.randrange(1, 4000)])
        assert ours.malloc(ours.store, size_bytes) == native.malloc(native.store, size_bytes)
    pairs.assert_same_words("allocations", native.all_of(native.witness), ours.all_of(ours.witness))
    pairs.assert_same_words("memory", native.all_of(native.memory), ours.all_of(ours.memory))
    assert ours.heap.collections
    ours.heap.verify()
    ours.heap.close()
