"""Compiled functions as imports: wasmtime calls them with raw values, and takes a trap from them, with no Python between."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Final

import wasmtime
from wasmtime import _ffi as ffi
from wasmtime import _func as wasmtime_func

if TYPE_CHECKING:
    from wasmtime import FuncType, Store

_NO_FINALIZER: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p)()
"""A null pointer: what serves a guest is Python's to keep."""


def unchecked_function(store: Store, kind: FuncType, callback: int, env: int) -> wasmtime.Func:
    """A function for a linker.

    Args:
        callback: address of a ``wasmtime_func_unchecked_callback_t``.
        env: address that it is called with; both must stay there as long as the store.
    """
    raw = ffi.wasmtime_func_t()
    function = ffi.wasmtime_func_unchecked_callback_t(callback)
    ffi.wasmtime_func_new_unchecked(store._context(), kind.ptr(), function, env, _NO_FINALIZER, ctypes.byref(raw))
    return wasmtime.Func._from_raw(raw)


def trap_for(error: BaseException) -> int:
    """The address of a trap, to be returned by such a function; wasmtime raises the error where the guest was called."""
    wasmtime_func.LAST_EXCEPTION = error  # type: ignore[assignment]
    trap = wasmtime.Trap(str(error))._consume()
    return ctypes.cast(trap, ctypes.c_void_p).value or 0
