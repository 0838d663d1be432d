"""A call that collects, made again by the guest's own allocator on a copy of the guest's memory, for what only it leaves.

A rehearsal explains what compilers leave on the stack, as far as the algorithm's variables do.  Where they do not, in cases
that never came up in it, and where finalizers are looked at, the truth is found when it is needed: the memory is copied as
it was before the call, the original's allocator makes the call on the copy, and if that comes to the same heap, the copy is
what the guest has from then on.  Where the original set about running finalizers it is stopped, in the middle of its frame::

    guest     alloc ── asks ──┐                         ┌─ wake ── said to be over ──┐
    tinyheap                  └ collects, allocates ────┘ the frame is on the stack   └ the frame is taken off again
    copy                          └ alloc ── up to wake

An embedder with another idea of growth or of when to collect than the original comes to another heap; then nothing is taken.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

import wasmtime

from tinyheap.guests.serve.alone import Alone
from tinyheap.guests.serve.memory import COUNTER_BYTES, WORD_BYTES

if TYPE_CHECKING:
    from tinyheap.guests.serve.memory import BoundMemory
    from tinyheap.heap.contract import BestFitEngine
    from tinyheap.recognize.facts import BestFitHeap

FUEL: Final = 1 << 36
"""Instructions that one call may take, as wasmtime counts them: a minute or so."""
_MARKS_TAKEN_BACK: Final = bytes(states & ~((states & states >> 4 & 0xF) << 4) for states in range(256))
"""What four blocks' states are without their marks: a mark has the bits of both a head and a tail."""


class _Call(NamedTuple):
    index: int
    stack_pointer: int
    size_bytes: int
    layout: int


class _Waking(NamedTuple):
    """A frame of the original's that is on the stack while finalizers are run."""

    stack_pointer: int
    chain: int
    body: slice


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
        self._alone: Alone | None = None
        self._call = _Call(0, 0, 0, 0)
        self._counts: list[tuple[int, bytes]] = []
        self._is_kept = False
        self._waking: list[_Waking] = []

    def begins(self, index: int, size_bytes: int, layout: int) -> None:
        """A call begins; what is counted in it is remembered."""
        self._call = _Call(index, self._memory.stack_pointer, size_bytes, layout)
        self._is_kept = False
        memory = self._memory.memory
        counts = [(address, COUNTER_BYTES) for address in vars(self._facts.counters).values()]
        counts.append((self._facts.collections_address, WORD_BYTES))
        self._counts = [
            (address, bytes(memory[address : address + size])) for address, size in counts if address is not None
        ]

    def keep(self, covered: Iterable[tuple[int, int]]) -> None:
        """Copy the memory as it was when the call began; all is marked, and nothing swept.

        Args:
            covered: words that were overwritten since then: address, and what was there.
        """
        memory, geometry = self._memory.memory, self._engine.geometry
        if self._alone is None:
            self._alone = Alone(self._wasm, self._facts, FUEL)
        self._alone.resize(len(memory))
        copy = self._alone.memory
        copy[:] = memory
        table = slice(geometry.table_address, geometry.end_address)
        copy[table] = bytes(memory[table]).translate(_MARKS_TAKEN_BACK)
        for address, value in self._counts:
            copy[address : address + len(value)] = value
        for address, word in covered:
            copy[address : address + WORD_BYTES] = word.to_bytes(WORD_BYTES, "little")
        self._is_kept = True

    def take(self, body: slice) -> bool:
        """Leave what the original leaves; whether it came to the same heap, so that it is known.

        Args:
            body: of the new object; empty where none was made.
        """
        if not self._is_kept or self._alone is None:
            return False
        self._is_kept = False
        memory, copied = self._memory, self._alone
        try:
            is_waking = copied.call(*self._call) is None
        except (wasmtime.Trap, wasmtime.WasmtimeError):
            return False
        if not self._is_same(copied.memory):
            return False
        chain = self._read_chain()
        memory.memory[:] = copied.memory
        if is_waking:
            self._waking.append(_Waking(self._call.stack_pointer, chain, body))
            memory.set_stack_pointer(copied.stack_pointer)
            # The guest's own code, which the host returns to, sets about running them.
            memory.write(self._queued_address, 1, 1)
        return True

    def _is_same(self, copy: memoryview) -> bool:
        """Whether the heap of the copy ends where the guest's does, and has the same list of free ranges."""
        free_ranges = self._facts.free_ranges_address
        found = int.from_bytes(copy[free_ranges : free_ranges + WORD_BYTES], "little")
        return len(copy) == len(self._memory.memory) and found == self._engine.free_list

    def _read_chain(self) -> int:
        chain = self._facts.roots.stack_chain_address
        return 0 if chain is None else self._memory.read(chain)

    @property
    def _queued_address(self) -> int:
        words = self._facts.finalizers
        assert words is not None, "others are not woken"
        assert words.queued_address is not None, "this is how they are woken"
        return words.queued_address

    def woken(self) -> None:
        """Finalizers were run, as far as that is done at once; what of the call was left to be done is done."""
        if not self._waking:
            return
        frame, memory, chain = self._waking.pop(), self._memory, self._facts.roots.stack_chain_address
        memory.set_stack_pointer(frame.stack_pointer)
        if chain is not None:
            memory.write(chain, frame.chain)
        memory.locate()
        memory.memory[frame.body] = bytes(frame.body.stop - frame.body.start)
