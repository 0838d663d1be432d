"""A module that consists of the transplant kernel and nothing else, and a player of traces on it.

The heap lies at the address at which the vectors were recorded.  The player is the mutator, and grows the heap, since the
kernel's own growth is by pages of WebAssembly's, which no vector is; all else is done by the kernel, in wasm.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Any, Final

import wasmtime

from tinyheap.heap.blockmap import unpack_states
from tinyheap.heap.collectors import Collector
from tinyheap.heap.contract import Counters, Gc, State
from tinyheap.recognize.facts import BlockHeap, CounterAddresses, MarkStack, RootAddresses, StackScan
from tinyheap.traces.replay import STATICS_ADDRESS, ZERO_SIZE_ADDRESS, Stage, table_hash
from tinyheap.traces.trace import STORE_INTERIOR_SHIFT, STORE_WORD_MASK, Op, TraceGrowth
from tinyheap.transplanting import parts
from tinyheap.transplanting.merging import Merger
from tinyheap.transplanting.operation import kernel
from tinyheap.units import WASM_PAGE_BYTES
from tinyheap.wasm import Code, Editor
from tinyheap.wasm.entities import FunctionType

STACK_ADDRESS: Final = 0x8000
ROOTS_ADDRESS: Final = 0x80_0000
MARK_STACK_ENTRIES: Final = 32
HEADER_BYTES: Final = 16
WORD_BYTES: Final = 4

COUNTERS: Final = CounterAddresses(0x100, 0x108, 0x110, 0x118, 0x120)
HEAP_END, TABLE, END_BLOCK, NEXT_ALLOC, OVERFLOW_FLAG = (0x140 + 4 * at for at in range(5))


def facts(stage: Stage) -> BlockHeap:
    """Where the parts of the harness's heap are."""
    roots_end = ROOTS_ADDRESS + WORD_BYTES * stage.trace.root_slots
    size_bytes = WORD_BYTES * MARK_STACK_ENTRIES
    return BlockHeap(
        alloc_function=0,
        size_parameter=0,
        layout_parameter=1,
        fixed_request=None,
        header_bytes=HEADER_BYTES if stage.gc is Gc.PRECISE else 0,
        zero_size_address=ZERO_SIZE_ADDRESS,
        heap_start_address=stage.geometry.start_address,
        heap_start_variable_address=None,
        heap_end_address=HEAP_END,
        metadata_start_address=TABLE,
        end_block_address=END_BLOCK,
        table_divisor=65,
        next_alloc_address=NEXT_ALLOC,
        keeps_headroom=True,
        counters=COUNTERS,
        # The stack is empty.
        roots=RootAddresses(ROOTS_ADDRESS, roots_end, StackScan.SYSTEM, 0, stack_top_address=STACK_ADDRESS),
        mark_stack=MarkStack(MARK_STACK_ENTRIES, OVERFLOW_FLAG, (), size_bytes, (), size_bytes, False),
        redirects=(),
        uncovered=(),
        readers=(),
        initializers=(),
    )


@dataclass(frozen=True)
class Imports:
    """The harness's imported functions, by index."""

    collected: int
    grow: int
    original_alloc: int


def module(stage: Stage, *, has_bitmap: bool) -> bytes:
    """The kernel, put into a module as into any other."""
    editor, heap = Editor(), facts(stage)
    imports = Imports(
        editor.add_import_function("harness", "collected", (), ()),
        editor.add_import_function("harness", "grow", (), ("i32",)),
        editor.add_import_function("harness", "original_alloc", ("i32", "i32"), ("i32",)),
    )
    end = stage.geometry.start_address + stage.limit_bytes
    pages = -(-end // WASM_PAGE_BYTES)
    editor.export("memory", "memory", editor.add_memory(pages, None if has_bitmap else pages))
    assert editor.add_global("i32", STACK_ADDRESS) == heap.roots.stack_pointer_global
    state = parts.add_globals(editor)
    editor.export("bitmap_address", "global", state.bitmap_address)
    code = parts.parts_of(editor, heap, state, growth=None, clear_blocks=False) | parts.counted(editor) | parts.untold()
    code |= {"fill": Code().memory_fill(0), "copy": Code().memory_copy(0, 0)}
    code["original_alloc"] = Code().call(imports.original_alloc)
    kind = "precise" if heap.is_precise else "conservative"

    def watched(collect: int, declared: FunctionType) -> int:
        body = Code().local_get(0).call(collect).call(imports.collected)
        return editor.add_function(declared.parameters, declared.results, body)

    merger = Merger(
        editor, kernel("next_fit"), code, None, {f"collect_{kind}": watched, "grow": lambda *_: imports.grow}
    )
    for name in ("alloc", "collect"):
        editor.export(name, "function", merger.function(f"{name}_{kind}"))
    return editor.encode()


class WasmPlayer:
    """Plays a trace on the kernel in wasm; what it tells is what `traces.replay.Player` does."""

    def __init__(self, stage: Stage, *, has_bitmap: bool) -> None:
        self._stage, self._trace, self._precise = stage, stage.trace, stage.gc is Gc.PRECISE
        self._geometry = stage.geometry
        self._store = wasmtime.Store()
        compiled = wasmtime.Module(self._store.engine, module(stage, has_bitmap=has_bitmap))
        self._exports = wasmtime.Instance(self._store, compiled, self._functions()).exports(self._store)
        memory = self._exports["memory"]
        assert isinstance(memory, wasmtime.Memory)
        self._memory = memory
        self._memory.write(self._store, bytes(stage.memory), STATICS_ADDRESS)
        self._place()
        self._ids = [0] * max(self._trace.object_ids, 1)
        self.addresses = array("q")
        self.rows: list[tuple[int, ...]] = []
        self.out_of_memory = self.stray = False
        self.step = 0
        self._counted = (0, 0)

    # ---- what the kernel asks for -----------------------------------------------------------------------------------

    def _functions(self) -> list[Any]:
        word = wasmtime.ValType.i32()
        return [
            wasmtime.Func(self._store, wasmtime.FuncType([], []), self._collected),
            wasmtime.Func(self._store, wasmtime.FuncType([], [word]), self._grow),
            wasmtime.Func(self._store, wasmtime.FuncType([word, word], [word]), self._original_alloc),
        ]

    def _collected(self) -> None:
        counts = self._global("tinyheap.drops"), self._global("tinyheap.rescans")
        marking = [now - before for now, before in zip(counts, self._counted, strict=True)]
        self._counted = counts
        hashed = table_hash(self.read_table(), self._geometry.end_block)
        self.rows.append((*self.census, *marking, hashed, 0, 0))

    def _grow(self) -> int:
        old_bytes = self._geometry.heap_bytes
        new_bytes = (
            old_bytes * 4 // 3 // 4096 * 4096 if self._trace.growth is TraceGrowth.FOUR_THIRDS else old_bytes * 2
        )
        new_bytes = min(new_bytes, self._stage.limit_bytes)
        if new_bytes <= old_bytes:
            return 0
        table = self.read_table()
        self._geometry = self._geometry.resized(new_bytes)
        self._place()
        self._memory.write(self._store, table, self._geometry.table_address)
        # The bitmap is for the old heap's blocks; another one is made when it is needed.
        self._exports["bitmap_address"].set_value(self._store, 0)  # type: ignore[union-attr]
        return 1

    def _place(self) -> None:
        """Say where the heap is, and empty its table."""
        geometry = self._geometry
        for at, word in (
            (HEAP_END, geometry.end_address),
            (TABLE, geometry.table_address),
            (END_BLOCK, geometry.end_block),
        ):
            self._write_word(at, word)
        self._memory.write(self._store, bytes(geometry.table_bytes), geometry.table_address)

    def _original_alloc(self, size_bytes: int, _layout: int) -> int:
        """Serves objects of size 0; else memory is out, which the original finds after it has counted the request."""
        if size_bytes == 0:
            return ZERO_SIZE_ADDRESS
        self.out_of_memory = True
        bytes_taken = size_bytes % (1 << 32) + HEADER_BYTES * self._precise
        blocks = self._geometry.blocks_for(bytes_taken)
        counted = {"total_alloc_bytes": bytes_taken, "mallocs": 1, "total_blocks": blocks}
        for name, count in counted.items():
            address = getattr(COUNTERS, f"{name}_address")
            self._memory.write(self._store, (self._counter(name) + count).to_bytes(8, "little"), address)
        return 0

    # ---- the mutator ------------------------------------------------------------------------------------------------

    def advance(self, steps: int) -> bool:
        """Play so many steps, or as many as there is memory for; whether there are more."""
        stop = min(self.step + steps, self._trace.step_count)
        while self.step < stop and not self.out_of_memory:
            self._play(*self._trace.step(self.step))
            self.step += not self.out_of_memory
        return self.step < self._trace.step_count and not self.out_of_memory

    def _play(self, op: int, a: int, b: int, c: int) -> None:
        ids = self._ids
        match op:
            case Op.ALLOC:
                self._bind(a, self._alloc(b, self._stage.layouts.get(c, c)))
            case Op.REALLOC:
                self._bind(a, self._realloc(ids[a], b))
            case Op.STORE:
                value = ids[c] and ids[c] + (b >> STORE_INTERIOR_SHIFT) * WORD_BYTES
                self._write_word(ids[a] + (b & STORE_WORD_MASK) * WORD_BYTES, value)
            case Op.STORE_ADDRESS:
                self._write_word(ids[a] + b * WORD_BYTES, self._geometry.start_address + c)
            case Op.STORE_INTEGER:
                self._write_word(ids[a] + b * WORD_BYTES, c)
            case Op.ROOT:
                self._write_word(ROOTS_ADDRESS + a * WORD_BYTES, ids[b] + c if b else 0)
            case Op.COLLECT:
                self._call("collect", 0)
            case Op.COPY:
                ids[a] = ids[b]
            case _:
                raise AssertionError(op)

    def _alloc(self, size_bytes: int, layout: int) -> int:
        return self._call("alloc", size_bytes, layout)

    def _realloc(self, address: int, size_bytes: int) -> int:
        """As TinyGo has it: in its place where there is room, else a new object with the old one's bytes."""
        geometry = self._geometry
        if not geometry.is_on_heap(address):
            return self._alloc(size_bytes, 0)
        states = unpack_states(self.read_table(), geometry.end_block, Collector.NEXT_FIT)
        end = geometry.block_of(address) + 1
        while end < geometry.end_block and states[end] == State.TAIL:
            end += 1
        old_bytes = (geometry.address_of(end) - address) % (1 << 32)
        if size_bytes <= old_bytes:
            return address
        made = self._alloc(size_bytes, 0)
        if made:
            self._memory.write(self._store, self._memory.read(self._store, address, address + old_bytes), made)
        return made

    def _bind(self, object_id: int, address: int) -> None:
        if address == 0:
            return
        self._ids[object_id] = address
        start_address = self._geometry.start_address
        self.addresses.append(-1 if address == ZERO_SIZE_ADDRESS else address - start_address)

    # ---- what there is to know --------------------------------------------------------------------------------------

    def read_table(self) -> bytes:
        geometry = self._geometry
        start = geometry.table_address
        return bytes(self._memory.read(self._store, start, start + geometry.table_bytes))

    @property
    def census(self) -> tuple[int, int, int]:
        states = unpack_states(self.read_table(), self._geometry.end_block, Collector.NEXT_FIT)
        return states.count(State.FREE), states.count(State.HEAD), states.count(State.TAIL)

    @property
    def counters(self) -> Counters:
        overflows, rescans = self._counted
        return Counters(
            total_alloc_bytes=self._counter("total_alloc_bytes"),
            total_blocks=self._counter("total_blocks"),
            mallocs=self._counter("mallocs"),
            frees=self._counter("frees"),
            freed_blocks=self._counter("freed_blocks"),
            overflows=overflows,
            rescans=rescans,
            table_reads=0,
            words_scanned=0,
            mark_stack_peak=0,
        )

    @property
    def next_alloc(self) -> int:
        return self._read(NEXT_ALLOC, WORD_BYTES)

    @property
    def heap_bytes(self) -> int:
        return self._geometry.heap_bytes

    @property
    def addresses_done(self) -> int:
        return len(self.addresses)

    bump_address = 0
    times_ns = (0, 0, 0, 0)

    def _counter(self, name: str) -> int:
        return self._read(getattr(COUNTERS, f"{name}_address"), 8)

    def _read(self, address: int, size_bytes: int) -> int:
        return int.from_bytes(self._memory.read(self._store, address, address + size_bytes), "little")

    def _write_word(self, address: int, word: int) -> None:
        self._memory.write(self._store, (word % (1 << 32)).to_bytes(WORD_BYTES, "little"), address)

    def _global(self, name: str) -> int:
        found = self._exports[name]
        assert isinstance(found, wasmtime.Global)
        return int(found.value(self._store))

    def _call(self, name: str, *arguments: int) -> int:
        function = self._exports[name]
        assert isinstance(function, wasmtime.Func)
        signed = [word - (1 << 32) if word >> 31 else word for word in arguments]
        return int(function(self._store, *signed)) % (1 << 32)
