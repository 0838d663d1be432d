"""A call that collects, made again by the guest's own allocator on a copy of the guest's memory, for what only it leaves.

A rehearsal explains what compilers leave on the stack, as far as the algorithm's variables do.  Where they do not, in cases
that never came up in it, and where finalizers are looked at, the truth is found when it is needed: the memory is copied as
it was before the call, the original's allocator makes the call on the copy, and if that comes to the same heap, the copy is
what the guest has from then on.  Where the original runs finalizers at once, from within its frame, the guest runs them::

    guest     alloc ── asks ──┐                        ┌─ finalizer, allocates ─┐              ┌── goes on
    tinyheap                  └ collects, allocates ─┐ │ takes the copy         │ copies again │ takes the copy
    copy                                             └─┘ alloc, up to its call  └── the rest ──┘

An embedder with another idea of growth or of when to collect than the original comes to another heap; then nothing is
taken, and finalizers are run or woken by a further allocation of one byte, which is freed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import wasmtime

from tinyheap.guests.serve.alone import Alone
from tinyheap.guests.serve.memory import COUNTER_BYTES, WORD_BYTES
from tinyheap.heap.contract import NO_BLOCK, State

if TYPE_CHECKING:
    from tinyheap.guests.serve.memory import BoundMemory
    from tinyheap.heap.contract import BestFitEngine
    from tinyheap.recognize.facts import BestFitHeap

FUEL: Final = 1 << 36
"""Instructions that one call may take, as wasmtime counts them: a minute or so."""
_BLOCKS_PER_BYTE: Final = 4
_MARKS_TAKEN_BACK: Final = bytes(states & ~((states & states >> 4 & 0xF) << 4) for states in range(256))
"""What four blocks' states are without their marks: a mark has the bits of both a head and a tail."""


class _Call(NamedTuple):
    """What is called."""

    function: int
    stack_pointer: int
    size_bytes: int
    layout: int


class _OtherHeapError(Exception):
    """The copy's heap is not the guest's."""


class Replay:
    """The original's allocator beside a guest.

    Args:
        wasm: the allocator, as a module.
        facts: where the guest's variables are.
        memory: the guest's.
        engine: of its heap.
    """

    def __init__(self, wasm: bytes, facts: BestFitHeap, memory: BoundMemory, engine: BestFitEngine) -> None:
        self._wasm, self._facts, self._memory, self._engine = wasm, facts, memory, engine
        self._idle: list[Alone] = []
        """Those that do not wait for a finalizer."""
        self._copy: Alone | None = None
        """Has what was kept of a call."""
        self._made: int | None = None
        """What the call has returned there, if it was made already."""
        self._call = _Call(0, 0, 0, 0)
        self._counts: list[tuple[int, bytes]] = []

    def begins(self, index: int, size_bytes: int, layout: int) -> None:
        """A call begins; what is counted in it is remembered, and nothing is kept of an earlier one."""
        self._forget()
        self._call = _Call(index, self._memory.stack_pointer, size_bytes, layout)
        memory = self._memory.memory
        counts = [(address, COUNTER_BYTES) for address in vars(self._facts.counters).values()]
        counts.append((self._facts.collections_address, WORD_BYTES))
        self._counts = [
            (address, bytes(memory[address : address + size])) for address, size in counts if address is not None
        ]

    def _forget(self) -> None:
        if self._copy is not None:
            self._idle.append(self._copy)
        self._copy = self._made = None

    def make(self) -> bool:
        """Make the call on a copy now, before anything is marked; whether the original came to its end without the guest."""
        self.keep(())
        assert self._copy is not None, "it was kept just now"
        try:
            self._made = self._copy.call(*self._call)
        except (wasmtime.Trap, wasmtime.WasmtimeError):
            self._forget()
        return self._made is not None

    def has_survived(self, word: int) -> bool:
        """Whether a word refers to an object that the original's collection left alive, in the call that was made."""
        assert self._copy is not None, "a call was made"
        engine, geometry, copy = self._engine, self._engine.geometry, self._copy.memory
        block = geometry.block_of(word) if geometry.is_on_heap(word) else geometry.end_block
        if block >= geometry.end_block or engine.state(block) is State.FREE:
            return False
        head = engine.find_head(block)
        if head == NO_BLOCK or head in self._made_blocks():
            return False
        table_at = self._facts.metadata_start_address
        table = int.from_bytes(copy[table_at : table_at + WORD_BYTES], "little")
        return bool(copy[table + head // _BLOCKS_PER_BYTE] >> head % _BLOCKS_PER_BYTE & 1)

    def _made_blocks(self) -> range:
        """The blocks of the new object."""
        geometry, shape = self._engine.geometry, self._engine.shape
        if not self._made or not self._call.size_bytes:
            return range(0)
        first = geometry.block_of(self._made - shape.body_offset_bytes)
        return range(first, first + shape.blocks_for(geometry, self._call.size_bytes))

    def left(self, address: int) -> int:
        """The word that the call that was made has left at an address."""
        assert self._copy is not None, "a call was made"
        return int.from_bytes(self._copy.memory[address : address + WORD_BYTES], "little")

    @property
    def has_kept(self) -> bool:
        """Whether there is a copy for this call."""
        return self._copy is not None

    def keep(self, covered: Iterable[tuple[int, int]]) -> None:
        """Copy the memory as it was when the call began; all is marked, and nothing swept.

        Args:
            covered: words that were overwritten since then: address, and what was there.
        """
        memory, geometry = self._memory.memory, self._engine.geometry
        copied = self._idle.pop() if self._idle else Alone(self._wasm, self._facts, FUEL)
        copied.resize(len(memory))
        copy = copied.memory
        copy[:] = memory
        table = slice(geometry.table_address, geometry.end_address)
        copy[table] = bytes(memory[table]).translate(_MARKS_TAKEN_BACK)
        for address, value in self._counts:
            copy[address : address + len(value)] = value
        for address, word in covered:
            copy[address : address + WORD_BYTES] = word.to_bytes(WORD_BYTES, "little")
        self._copy = copied

    def take(self) -> bool:
        """Leave what the original leaves; whether it came to the same heap, so that it is known."""
        copied, made = self._copy, self._made
        self._copy = self._made = None
        if copied is None:
            return False
        run = _Run(copied, self._memory, lambda: self._is_same(copied.memory))
        try:
            if made is None:
                copied.call(*self._call, run.call_guest)
            run.take()
        except _OtherHeapError:
            return False
        except (wasmtime.Trap, wasmtime.WasmtimeError):
            if run.guest_failed:
                raise
            return False
        self._idle.append(copied)
        return True

    def _is_same(self, copy: memoryview) -> bool:
        """Whether the heap of the copy is the guest's: as large, the same blocks in use, the same list of free ranges."""
        memory, free_ranges = self._memory.memory, self._facts.free_ranges_address
        found = int.from_bytes(copy[free_ranges : free_ranges + WORD_BYTES], "little")
        table = slice(self._engine.geometry.table_address, self._engine.geometry.end_address)
        return (
            len(copy) == len(memory) and found == self._engine.free_list and bytes(copy[table]) == bytes(memory[table])
        )

    def wake(self, index: int) -> None:
        """Run finalizers that are queued, or have them run, where there is room for another object.

        Args:
            index: of the allocator among the heap's redirects.
        """
        fixed, engine = self._facts.fixed_request, self._engine
        size_bytes = 1 if fixed is None else fixed.size_bytes
        needed_blocks = engine.shape.blocks_for(engine.geometry, size_bytes)
        if any(blocks >= needed_blocks for _, blocks in engine.free_ranges()):
            self.begins(index, size_bytes, 0)
            self.keep(())
            address = engine.alloc(size_bytes, 0)
            self.take()
            engine.free(engine.find_head(engine.geometry.block_of(address - engine.shape.body_offset_bytes)))


class _Run:
    """One call on a copy."""

    def __init__(self, copied: Alone, memory: BoundMemory, is_same: Callable[[], bool]) -> None:
        self._copied, self._memory, self._is_same = copied, memory, is_same
        self._is_taken = False
        self.guest_failed = False

    def take(self) -> None:
        """Let the guest have the copy.

        Raises:
            _OtherHeapError: its heap is another.
        """
        if not self._is_taken and not self._is_same():
            raise _OtherHeapError
        self._is_taken = True
        self._memory.memory[:] = self._copied.memory
        self._memory.set_stack_pointer(self._copied.stack_pointer)

    def call_guest(self, slot: int, arguments: Sequence[int]) -> object:
        """Call a function of the guest's, which may allocate."""
        self.take()
        memory = self._memory
        try:
            result = memory.call(slot, arguments)
        except BaseException:
            self.guest_failed = True
            raise
        memory.locate()
        self._copied.resize(len(memory.memory))
        self._copied.memory[:] = memory.memory
        return result
