"""A module's own allocator by itself, with a memory that is given to it.

It is rehearsed before it is replaced, and a served guest asks it for what only it knows (`replay`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final, NoReturn, cast

import wasmtime

from tinyheap.guests.rewrite.rewriting import STACK_POINTER_EXPORT
from tinyheap.guests.serve.memory import BoundMemory
from tinyheap.hosts import compile_module
from tinyheap.recognize.facts import Role
from tinyheap.units import WASM_PAGE_BYTES

if TYPE_CHECKING:
    from tinyheap.recognize.facts import BestFitHeap

FUNCTION_EXPORT: Final = "tinyheap.{index}"
"""As what the functions are exported that are to be replaced, by their index among the heap's redirects."""
TABLE_IMPORT: Final = "tinyheap.table"
"""Module name of the functions that only the guest has, which its allocator calls by its table; each is named by its slot."""

CallGuest = Callable[[int, Sequence[int]], object]


def _nobody(slot: int, arguments: Sequence[int]) -> NoReturn:
    raise wasmtime.Trap(f"there is no guest whose function in slot {slot} could be called")


@lru_cache(maxsize=8)
def _compiled(wasm: bytes) -> tuple[wasmtime.Engine, wasmtime.Module]:
    """A module ready for any number of instances: compiling it takes as long as half a run of its program."""
    config = wasmtime.Config()
    config.consume_fuel = True
    engine = wasmtime.Engine(config)
    return engine, compile_module(engine, wasm)


class Alone:
    """An instance of nothing but a guest's allocator.

    Args:
        wasm: the module, as `rehearse.guest_alone.allocator_alone` makes it.
        facts: where its heap's parts are.
        fuel: how many instructions a call may take, as wasmtime counts them; what does not end is not an allocator.

    Raises:
        wasmtime.WasmtimeError: it cannot be run by itself.
    """

    def __init__(self, wasm: bytes, facts: BestFitHeap, fuel: int) -> None:
        self._facts, self._fuel = facts, fuel
        self._call_guest: CallGuest = _nobody
        self._engine, self._compiled = _compiled(wasm)
        self.begin()

    def begin(self) -> None:
        """Begin anew, with the memory that the module begins with."""
        self._store = wasmtime.Store(self._engine)
        self._store.set_fuel(self._fuel)
        linker = wasmtime.Linker(self._engine)
        for each in self._compiled.imports:
            if each.module == TABLE_IMPORT and each.name is not None:
                kind, slot = cast("wasmtime.FuncType", each.type), int(each.name)
                linker.define_func(each.module, each.name, kind, partial(self._ask_guest, slot))
        linker.define_unknown_imports_as_traps(self._compiled)
        instance = linker.instantiate(self._store, self._compiled)
        exports = instance.exports(self._store)
        self._memory = BoundMemory(self._store, instance)
        self._memory.locate()
        self._stack_pointer = cast("wasmtime.Global", exports[STACK_POINTER_EXPORT])
        self._functions = {
            index: cast("wasmtime.Func", exports[FUNCTION_EXPORT.format(index=index)])
            for index, redirect in enumerate(self._facts.redirects)
            if redirect.role is not Role.REALLOC
        }

    def _ask_guest(self, slot: int, *arguments: int) -> object:
        self._memory.locate()
        return self._call_guest(slot, arguments)

    @property
    def memory(self) -> memoryview:
        """Its memory now; not to be kept."""
        return self._memory.memory

    @property
    def stack_pointer(self) -> int:
        """Where its stack ends now."""
        return self._memory.stack_pointer

    def resize(self, size_bytes: int) -> None:
        """Have a memory of so many bytes, a whole number of pages, whatever is in it."""
        if len(self.memory) > size_bytes:
            self.begin()
        self.grow((size_bytes - len(self.memory)) // WASM_PAGE_BYTES)

    def grow(self, pages: int) -> None:
        """Make its memory larger by so many pages."""
        if pages > 0:
            self._memory.grow(pages)
            self._memory.locate()

    def call(
        self, index: int, stack_pointer: int, size_bytes: int, layout: int, call_guest: CallGuest = _nobody
    ) -> int:
        """What one of the functions returns: an address, or 0 where it makes nothing.

        Args:
            index: of the function among the heap's redirects.
            stack_pointer: at the call.
            size_bytes: what is asked for.
            layout: the layout word.
            call_guest: calls a function of the guest's by its slot in the table; the memory may be changed meanwhile.

        Raises:
            wasmtime.Trap: it traps.
        """
        self._call_guest = call_guest
        self._store.set_fuel(self._fuel)
        self._memory.set_stack_pointer(stack_pointer)
        facts, function = self._facts, self._functions[index]
        arguments = [0] * len(function.type(self._store).params)
        for parameter, value in ((facts.size_parameter, size_bytes), (facts.layout_parameter, layout)):
            if parameter is not None and facts.redirects[index].role is Role.ALLOC:
                arguments[parameter] = value
        try:
            return int(function(self._store, *arguments) or 0) & 0xFFFF_FFFF
        finally:
            self._memory.locate()
