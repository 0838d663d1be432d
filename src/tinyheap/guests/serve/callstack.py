"""The guest's call stack while the guest waits for its host.

wasmtime gives a call stack only with a trap.  But the stack has all calls in the store, those of the waiting guest
included; so a function that does nothing but trap is called, and its trap shows the guest's stack.  That takes some 50 us,
and is done for debugging only.
"""

from __future__ import annotations

from ctypes import POINTER, byref
from typing import TYPE_CHECKING, Final

import wasmtime
from wasmtime import _ffi as ffi

from tinyheap.errors import GuestError
from tinyheap.hosts import compile_module
from tinyheap.hosts.frames import GuestFrame, plain_names, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wasmtime import Store

    NameFrames = Callable[[Sequence[GuestFrame]], tuple[str, ...]]

__all__ = ["CallStack", "shown"]

_TRAPPING: Final = b'(module (func (export "trap") unreachable))'


class CallStack:
    """The call stack of the guests in one store.

    Args:
        store: the guests'.
        name_frames: makes the text of a stack.

    Raises:
        GuestError: the store admits no further instance.
    """

    def __init__(self, store: Store, name_frames: NameFrames = plain_names) -> None:
        self._store, self._name_frames = store, name_frames
        self._functions: dict[int, str | None] = {}
        self._kept: dict[tuple[int, ...], tuple[GuestFrame, ...]] = {}
        try:
            instance = wasmtime.Instance(store, compile_module(store.engine, _TRAPPING), [])
        except wasmtime.WasmtimeError as error:
            raise GuestError(f"too little memory to read the program's call stack: {error}") from error
        function = instance.exports(store)["trap"]
        assert isinstance(function, wasmtime.Func)
        self._trapping = function

    def names(self) -> tuple[str, ...]:
        """The functions that wait for the host, innermost first, as far as wasmtime tells."""
        return self.named(self.frames())

    def named(self, frames: Sequence[GuestFrame]) -> tuple[str, ...]:
        """The text of a stack."""
        return self._name_frames(frames)

    def frames(self) -> tuple[GuestFrame, ...]:
        """The calls that wait for the host, innermost first, as far as wasmtime tells; equal stacks are one object."""
        trap = POINTER(ffi.wasm_trap_t)()
        ffi.wasmtime_func_call(self._store._context(), byref(self._trapping._func), None, 0, None, 0, byref(trap))
        found = ffi.wasm_frame_vec_t()
        ffi.wasm_trap_trace(trap, byref(found))
        key: list[int] = []
        # The first is the trapping function.
        for at in range(1, found.size):
            index = ffi.wasm_frame_func_index(found.data[at])
            key += index, ffi.wasm_frame_module_offset(found.data[at])
            if index not in self._functions:
                self._functions[index] = _name(found.data[at])
        ffi.wasm_frame_vec_delete(byref(found))
        ffi.wasm_trap_delete(trap)
        frames = self._kept.get(tuple(key))
        if frames is None:
            pairs = zip(key[::2], key[1::2], strict=True)
            frames = tuple(GuestFrame(index, offset, self._functions[index]) for index, offset in pairs)
            self._kept[tuple(key)] = frames
        return frames


def _name(frame: ffi.wasm_frame_t) -> str | None:
    try:
        return ffi.to_str(ffi.wasmtime_frame_func_name(frame).contents)
    except ValueError:
        # A null pointer: it has no name; or one that is not text.
        return None
