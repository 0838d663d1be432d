"""Evidence that the program's stack overflowed, which can look as if an object on the heap had been overrun.

Compiled code keeps variables whose address is taken on a stack in linear memory, which grows downward, and which nothing
bounds::

    0     system stack     globals                  heap          a program whose stack comes first, as TinyGo links it
    |<-------------- sp |  heapEnd, gcMallocs ... | goroutine's stack | object | ...
                                                  ^ canary <------ sp |
                                <- - - - - an overflow writes on here

The system stack ends in a trap, below address 0.  A goroutine's stack is an object of the heap: it runs on into the object
in front of it, or into the globals, where the allocator's own variables are.  Traps and allocations leave the stack pointer
where it is, so that it can be read:

* among the globals, below address 0 or in free memory there is no stack, so one has overflowed;
* nor in an object that is too small for one;
* a larger object that it lies in is the stack of the goroutine that runs.  TinyGo puts a *canary* into its first word, and
  looks at it itself only when goroutines switch.  (The canary of a goroutine that waits is overwritten on purpose.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from tinyheap.heap.contract import NO_BLOCK, Engine, State

if TYPE_CHECKING:
    from tinyheap.recognize.facts import ServedHeap

WORD_BYTES: Final = 4
_LEAST_STACK_BYTES: Final = 1 << 10
"""No goroutine has a smaller stack: TinyGo's smallest are 1 KiB, and 64 KiB where it compiles to WebAssembly."""
_HALF: Final = 1 << 31


def stack_overflow(facts: ServedHeap, memory: memoryview, engine: Engine | None, stack_pointer: int) -> str | None:
    """The evidence that the program's stack overflowed, as a phrase; None where there is none.

    Args:
        facts: where the guest's heap and variables are.
        memory: the guest's, all of it.
        engine: of its heap, if it has one yet.
        stack_pointer: as the guest's global has it, unsigned.
    """
    if stack_pointer >= _HALF > len(memory):
        return f"its stack pointer is {(1 << 32) - stack_pointer:,} bytes below the start of its memory"
    if _is_among_variables(facts, stack_pointer):
        return f"its stack pointer is at {stack_pointer:#x}, among the program's variables"
    # At the stack's very end, where it is empty, the next object begins.
    if engine is None or not engine.geometry.is_on_heap(stack_pointer - 1):
        return None
    return _overflow_on_heap(facts, memory, engine, stack_pointer)


def _is_among_variables(facts: ServedHeap, stack_pointer: int) -> bool:
    roots, top = facts.roots, facts.roots.stack_top_address
    if top is None:
        return False
    if roots.globals_start_address >= top:
        return top < stack_pointer < roots.globals_end_address
    # The stack comes behind the variables; those that are known lie in front of it.
    known = max((address for address in _variables(facts) if address < top), default=0)
    return roots.globals_start_address <= stack_pointer <= known


def _variables(facts: ServedHeap) -> Iterator[int]:
    yield from facts.state_addresses
    yield from (address for address in vars(facts.counters).values() if address is not None)


def _overflow_on_heap(facts: ServedHeap, memory: memoryview, engine: Engine, stack_pointer: int) -> str | None:
    geometry, canary = engine.geometry, facts.roots.stack_canary
    block = geometry.block_of(stack_pointer - 1)
    if canary is None or block >= geometry.end_block:
        return None
    head = engine.find_head(block)
    if head == NO_BLOCK or engine.state(head) is State.FREE:
        return f"its stack pointer is at {stack_pointer:#x}, in free memory"
    start_address = engine.shape.address_of(geometry, engine.extent(head)[0])
    if int.from_bytes(memory[start_address : start_address + WORD_BYTES], "little") == canary:
        return None
    end_address = geometry.address_of(engine.extent(head)[1])
    if end_address - start_address < _LEAST_STACK_BYTES:
        return f"its stack pointer is at {stack_pointer:#x}, in an object too small to be a goroutine's stack"
    size = f"{end_address - start_address:,} bytes from {start_address:#x}"
    return f"the canary at the end of its goroutine's stack, {size}, was overwritten"
