"""A module's own allocator by itself: all of the module that is not its allocator is left out."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import wasmtime

from tinyheap.errors import GuestError
from tinyheap.guests.rehearse.scenes import BLOCK_BYTES, LARGEST_HEAP_BYTES
from tinyheap.guests.rewrite.rewriting import MEMORY_EXPORT, STACK_POINTER_EXPORT
from tinyheap.guests.serve.alone import FUNCTION_EXPORT, TABLE_IMPORT, Alone
from tinyheap.guests.serve.memory import COUNTER_BYTES
from tinyheap.units import WASM_PAGE_BYTES
from tinyheap.wasm import Code, Editor, Module, instructions

if TYPE_CHECKING:
    from tinyheap.guests.rehearse.scenes import Scene
    from tinyheap.recognize.facts import BestFitHeap

FUEL: Final = 1 << 28
"""Instructions that one call may take, as wasmtime counts them: a hundred times what the largest scene does."""
LEAST_STACK_BYTES: Final = 2048


class RehearsalError(GuestError):
    """The guest's own allocator did something else than what it was taken for."""


def allocator_alone(module: Module, facts: BestFitHeap) -> bytes:
    """The module with nothing left in it but what is to be replaced, and what that calls.

    Where finalizers are run at once, they are the guest's.
    """
    editor = Editor(module)
    kept = set().union(*(_reached(module, redirect.function) for redirect in facts.redirects))
    slots = {} if facts.finalizers is None else {function: slot for slot, function in module.slots.items()}
    for function in module.functions:
        if function.body is None or function.index in kept:
            continue
        if function.index in slots:
            editor.become_import(function.index, TABLE_IMPORT, str(slots[function.index]))
        else:
            editor.replace_body(function.index, Code().unreachable())
    for index, redirect in enumerate(facts.redirects):
        editor.export(FUNCTION_EXPORT.format(index=index), "function", redirect.function)
    editor.export(STACK_POINTER_EXPORT, "global", facts.roots.stack_pointer_global)
    editor.export(MEMORY_EXPORT, "memory", 0)
    if module.memories and module.memories[0].imported is None:
        # A large memory only takes time; the heap need not reach to its end.
        editor.set_minimum(0, min(module.memories[0].type.limits.minimum, _pages_used(module, facts)))
    return editor.encode()


def _pages_used(module: Module, facts: BestFitHeap) -> int:
    """The pages up to the heap, the stack and all data included."""
    ends = [facts.heap_start_address or 0, facts.roots.globals_end_address, facts.roots.stack_top_address or 0]
    for segment in module.data_segments:
        start = None if segment.offset is None else segment.offset.constant
        ends.append((start if isinstance(start, int) else 0) + len(segment.data))
    return -(-max(ends) // WASM_PAGE_BYTES) + 1


def _check_places(facts: BestFitHeap, memory_bytes: int) -> None:
    """Refuse facts that lead out of memory.

    Raises:
        RehearsalError: they do.
    """
    roots, top = facts.roots, facts.roots.stack_top_address
    words = [
        *(facts.heap_start_variable_address, facts.scan_list_address, facts.collections_address),
        *(roots.current_task_address, roots.saved_stack_pointer_address, roots.stack_chain_address),
        *facts.state_addresses,
        *vars(facts.counters).values(),
        *(() if facts.finalizers is None else (item for item in vars(facts.finalizers).values())),
    ]
    ends = [*(word + COUNTER_BYTES for word in words if word is not None), roots.globals_end_address, top or 0]
    start = facts.heap_start_address or 0
    if max(ends) > memory_bytes or start % BLOCK_BYTES or start + LARGEST_HEAP_BYTES > memory_bytes:
        raise RehearsalError(f"its variables or its heap are not in its memory of {memory_bytes} bytes")
    if top is not None and top < LEAST_STACK_BYTES:
        raise RehearsalError(f"its stack of {top} bytes is too small to see what is left on it")


def _reached(module: Module, function: int) -> set[int]:
    """The functions that one calls, directly or not, and itself."""
    reached: set[int] = set()
    waiting = [function]
    while waiting:
        function = waiting.pop()
        body = module.functions[function].body
        if function not in reached and body is not None:
            calls = (each for _, each in instructions.walk(body.data, body.code_start, body.end) if each.name == "call")
            waiting += [int(call.immediates[0]) for call in calls]
        reached.add(function)
    return reached


class Guest:
    """The guest's allocator by itself, in scenes."""

    def __init__(self, wasm: bytes, facts: BestFitHeap, rng: random.Random) -> None:
        self._rng = rng
        try:
            self._alone = Alone(wasm, facts, FUEL)
            self._begin()
        except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
            raise RehearsalError(f"its allocator cannot be run by itself: {error}") from error
        _check_places(facts, len(self._first_bytes))

    def _begin(self) -> None:
        """With the memory that the module begins with, and some more."""
        self._alone.grow(self._rng.randrange(2, 6))
        self._first_bytes = bytes(self.memory)

    def call(self, index: int, scene: Scene, size_bytes: int, layout: int) -> int:
        """What one of the functions returns in a scene: an address, or 0 where it makes nothing.

        Raises:
            RehearsalError: it traps.
        """
        self.memory[:] = scene.memory
        try:
            return self._alone.call(index, scene.stack_pointer, size_bytes, layout) or 0
        except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
            raise RehearsalError(f"it traps on a heap of ours: {error}") from error

    def fresh_bytes(self) -> bytes:
        """Its memory as it begins with it; in an instance of another size after a growth, which is not taken back."""
        if len(self.memory) != len(self._first_bytes):
            self._alone.begin()
            self._begin()
        return self._first_bytes

    @property
    def memory(self) -> memoryview:
        """Its memory now."""
        return self._alone.memory
