"""The memory of a guest whose heap is served, and the variables in it that its own allocator would keep."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, cast

import wasmtime

from tinyheap.errors import GuestError
from tinyheap.guests.rewrite.rewriting import MEMORY_EXPORT, STACK_POINTER_EXPORT, TABLE_EXPORT
from tinyheap.heap.contract import BestFitEngine, Counters, Engine, NextFitEngine
from tinyheap.recognize.facts import BlockHeap

if TYPE_CHECKING:
    from wasmtime import Instance, Store

    from tinyheap.guests.serve._allocator import Allocator
    from tinyheap.guests.serve._list_allocator import ListAllocator
    from tinyheap.guests.serve.guard import Guard
    from tinyheap.heap.bestfit._kernel import Kernel as BestFitKernel
    from tinyheap.heap.geometry import Geometry
    from tinyheap.heap.nextfit._kernel import Kernel
    from tinyheap.recognize.facts import ServedHeap

WORD_BYTES: Final = 4
COUNTER_BYTES: Final = 8
_VIEW_OF_MEMORY: Final = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int)(
    ("PyMemoryView_FromMemory", ctypes.pythonapi)
)
_WRITABLE: Final = 0x200
"""Python's ``PyBUF_WRITE``."""


class BoundMemory:
    """An instance's memory and its stack pointer, and the functions of its table.

    Args:
        store: of the instance.
        instance: of a rewritten module.

    Raises:
        GuestError: the module was not rewritten.
    """

    start_address: Final = 0

    def __init__(self, store: Store, instance: Instance) -> None:
        exports = instance.exports(store)
        memory, stack_pointer = exports[MEMORY_EXPORT], exports[STACK_POINTER_EXPORT]
        if not isinstance(memory, wasmtime.Memory) or not isinstance(stack_pointer, wasmtime.Global):
            raise GuestError(
                "the module was not rewritten to be served by tinyheap: its memory or stack pointer is not exported"
            )
        self._store, self._memory, self._stack_pointer = store, memory, stack_pointer
        self._table = exports.get(TABLE_EXPORT)
        self.base = 0
        """Where it begins on this machine."""
        self.memory = memoryview(b"")
        """All of it, where `locate` found it last; not to be kept."""

    def locate(self) -> None:
        """Look at the memory where it is now; a growth may have moved it."""
        size_bytes = self._memory.data_len(self._store)
        self.base = ctypes.addressof(self._memory.data_ptr(self._store).contents)
        # An array of ctypes' would need a new type for each size.
        self.memory = _VIEW_OF_MEMORY(self.base, size_bytes, _WRITABLE)

    def let_go(self) -> None:
        """Hold no view of it any more."""
        self.memory = memoryview(b"")

    def read(self, address: int, size_bytes: int = WORD_BYTES) -> int:
        """The number at an address."""
        return int.from_bytes(self.memory[address : address + size_bytes], "little")

    def read_words(self, start_address: int, end_address: int) -> memoryview:
        """The words in a range of addresses, a whole number of them."""
        return self.memory[start_address:end_address].cast("I")

    def write(self, address: int, value: int, size_bytes: int = WORD_BYTES) -> None:
        """Write a number to an address."""
        self.memory[address : address + size_bytes] = value.to_bytes(size_bytes, "little")

    @property
    def stack_pointer(self) -> int:
        """Where the stack ends now, unsigned."""
        return int(self._stack_pointer.value(self._store)) & 0xFFFF_FFFF

    def set_stack_pointer(self, address: int) -> None:
        """Let the stack end elsewhere."""
        self._stack_pointer.set_value(self._store, address)

    def call(self, slot: int, arguments: Sequence[int]) -> object:
        """What a function of the module's table returns.

        Raises:
            GuestError: none is there.
        """
        function = self._table.get(self._store, slot) if isinstance(self._table, wasmtime.Table) else None
        if not isinstance(function, wasmtime.Func):
            raise GuestError(f"the program's allocator calls function {slot} of its table, where none is")
        return function(self._store, *arguments)

    @property
    def pages(self) -> int:
        """Its size."""
        return self._memory.size(self._store)

    @property
    def most_pages(self) -> int | None:
        """What the module lets it grow to; None for no limit."""
        return self._memory.type(self._store).limits.max

    def grow(self, pages: int) -> None:
        """Make it larger by so many pages.

        Raises:
            wasmtime.WasmtimeError: there are no more.
        """
        self._memory.grow(self._store, pages)


class Variables:
    """What the guest's own allocator would keep in the guest's memory, while an engine serves in its place.

    Args:
        guard: what asks the engine for more than the guest did, if anything does.
        allocator: the C function that serves without asking, if the engine has one.
    """

    def __init__(
        self,
        facts: ServedHeap,
        memory: BoundMemory,
        engine: Engine,
        guard: Guard | None,
        allocator: Allocator | ListAllocator | None,
    ) -> None:
        self._facts, self._memory, self._engine = facts, memory, engine
        self._guard, self._allocator = guard, allocator
        self._is_own = engine.collector == facts.collector
        counters = facts.counters
        self._counter_addresses = (
            counters.total_alloc_bytes_address,
            counters.mallocs_address,
            counters.frees_address,
            counters.total_blocks_address,
            counters.freed_blocks_address,
        )

    @property
    def counters(self) -> Counters:
        """What was counted, as the guest is to see it: it did not ask for red zones."""
        counts = self._engine.counters
        if self._guard is None:
            return counts
        return counts._replace(total_alloc_bytes=counts.total_alloc_bytes - self._guard.zone_bytes)

    def publish(self) -> None:
        """Leave the counters, and where room is searched, as the guest's own allocator does."""
        if self._allocator is not None and self._guard is None and isinstance(self._facts, BlockHeap):
            self._allocator.publish()
            return
        counts = self.counters
        values = (counts.total_alloc_bytes, counts.mallocs, counts.frees, counts.total_blocks, counts.freed_blocks)
        for address, value in zip(self._counter_addresses, values, strict=True):
            if address is not None:
                self._memory.write(address, value, COUNTER_BYTES)
        for address, value in self.search_words:
            self._memory.write(address, value)

    @property
    def search_words(self) -> Sequence[tuple[int, int]]:
        """The words that say where room is searched, and what else the allocator keeps: address and value of each."""
        facts, engine = self._facts, self._engine
        if not self._is_own:
            return []
        if isinstance(facts, BlockHeap):
            return [(facts.next_alloc_address, cast("NextFitEngine", engine).next_alloc)]
        words = [(facts.free_ranges_address, cast("BestFitEngine", engine).free_list), (facts.scan_list_address, 0)]
        if facts.collections_address is not None:
            words.append((facts.collections_address, engine.counters.collections))
        return words

    def take_over(self) -> None:
        """Let the engine search where the guest would; another collector begins on an empty heap.

        Raises:
            GuestError: that is not on its heap, or the heap is not empty.
        """
        facts, engine, memory = self._facts, self._engine, self._memory
        if not self._is_own:
            self._begin_empty()
            return
        if not isinstance(facts, BlockHeap):
            cast("BestFitEngine", engine).free_list = memory.read(facts.free_ranges_address)
            return
        next_alloc = memory.read(facts.next_alloc_address)
        if next_alloc > engine.geometry.end_block:
            end_block = engine.geometry.end_block
            raise GuestError(
                f"the program's heap is damaged: nextAlloc is block {next_alloc}, and the heap has {end_block} blocks"
            )
        cast("NextFitEngine", engine).next_alloc = next_alloc

    def _begin_empty(self) -> None:
        engine, table = self._engine, self._engine.read_table()
        if any(table):
            raise GuestError(
                f"the program's heap holds objects from before it began, which {engine.collector} cannot take over from "
                f"{self._facts.collector}; leave the collector out, so that the program's own serves"
            )
        engine.write_table(table)

    def _check_places(self) -> None:
        """Refuse variables that are not in memory, before compiled code writes them.

        Raises:
            GuestError: there are such.
        """
        facts, size_bytes = self._facts, len(self._memory.memory)
        addresses = (*facts.state_addresses, facts.roots.stack_chain_address, *self._counter_addresses)
        for address in addresses:
            if address is not None and address + COUNTER_BYTES > size_bytes:
                raise GuestError(
                    f"a variable of the program's allocator should be at {address:#x}, and its memory has {size_bytes} bytes"
                )

    def publish_geometry(self, geometry: Geometry) -> None:
        """Leave the heap's bounds as the guest's own allocator does when the heap has grown."""
        facts, memory = self._facts, self._memory
        memory.write(facts.heap_end_address, geometry.end_address)
        memory.write(facts.metadata_start_address, geometry.table_address)
        memory.write(facts.end_block_address, geometry.end_block)

    def tie(self, *, checked: bool) -> None:
        """Tell the C function where they lie now, and whether it is to check them before each allocation."""
        if self._allocator is None:
            return
        facts, base = self._facts, self._memory.base
        self._check_places()
        if isinstance(facts, BlockHeap):
            places = [0 if address is None else base + address for address in self._counter_addresses]
            allocator = cast("Allocator", self._allocator)
            allocator.tie(cast("Kernel", self._engine), base + facts.next_alloc_address, places)
        else:
            cast("ListAllocator", self._allocator).tie(
                cast("BestFitKernel", self._engine),
                base,
                len(self._memory.memory),
                facts.free_ranges_address,
                facts.roots.stack_chain_address or 0,
                [address or 0 for address in self._counter_addresses[:3]],
            )
        if checked:
            self._allocator.check(
                base + facts.heap_end_address, base + facts.metadata_start_address, base + facts.end_block_address
            )
