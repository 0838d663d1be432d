"""Who called: the guest's call stack while the guest waits for its host.

wasmtime shows a stack to whom a trap reaches, and to nobody else.  But its trace goes through all of a store's calls,
those further out included; so a function that does nothing but trap, called in between, shows who waits.  That takes some
50 us, which is for debugging only.
"""

from __future__ import annotations

from ctypes import POINTER, byref
from typing import TYPE_CHECKING, Final

import wasmtime
from wasmtime import _ffi as ffi

from tinyheap.errors import GuestError
from tinyheap.hosts.frames import shown, without_ours

if TYPE_CHECKING:
    from wasmtime import Store

__all__ = ["CallStack", "shown"]

_TRAPPING: Final = '(module (func (export "trap") unreachable))'


class CallStack:
    """The call stack of the guests in one store.

    Raises:
        GuestError: the store admits no further instance.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._names: dict[int, str] = {}
        self._kept: dict[tuple[int, ...], tuple[str, ...]] = {}
        try:
            instance = wasmtime.Instance(store, wasmtime.Module(store.engine, _TRAPPING), [])
        except wasmtime.WasmtimeError as error:
            raise GuestError(f"no room to look at the program's call stack: {error}") from error
        function = instance.exports(store)["trap"]
        assert isinstance(function, wasmtime.Func)
        self._trapping = function

    def names(self) -> tuple[str, ...]:
        """The functions that wait for the host, innermost first, as far as wasmtime tells; equal stacks are one object."""
        trap = POINTER(ffi.wasm_trap_t)()
        ffi.wasmtime_func_call(self._store._context(), byref(self._trapping._func), None, 0, None, 0, byref(trap))
        frames = ffi.wasm_frame_vec_t()
        ffi.wasm_trap_trace(trap, byref(frames))
        # The first is the trapping function.
        indices = []
        for at in range(1, frames.size):
            index = ffi.wasm_frame_func_index(frames.data[at])
            indices.append(index)
            if index not in self._names:
                self._names[index] = _name(frames.data[at]) or f"function {index}"
        ffi.wasm_frame_vec_delete(byref(frames))
        ffi.wasm_trap_delete(trap)
        key = tuple(indices)
        return self._kept.setdefault(key, without_ours([self._names[index] for index in key]))


def _name(frame: ffi.wasm_frame_t) -> str | None:
    try:
        return ffi.to_str(ffi.wasmtime_frame_func_name(frame).contents)
    except ValueError:
        # A null pointer: it has no name; or one that is not text.
        return None
