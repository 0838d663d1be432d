"""Compiled functions as imports: wasmtime calls them with raw values, and takes a trap from them, with no Python between."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Final, Protocol

import wasmtime
from wasmtime import _ffi as ffi
from wasmtime import _func as wasmtime_func

if TYPE_CHECKING:
    from wasmtime import FuncType, Store

_NO_FINALIZER: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p)()
"""A null pointer: what serves a guest is Python's to keep."""
_SERVED: Final = "tinyheap_served"
"""The store's attribute that keeps it."""


class Callback(Protocol):
    """A compiled function and what it works on."""

    @property
    def callback(self) -> int:
        """Address of a ``wasmtime_func_unchecked_callback_t``."""

    @property
    def env(self) -> int:
        """Address that it is called with, inside this object."""


def unchecked_function(store: Store, kind: FuncType, served: Callback) -> wasmtime.Func:
    """A function for a linker; what serves it lives as long as the store, even if nothing else refers to it."""
    raw = ffi.wasmtime_func_t()
    function = ffi.wasmtime_func_unchecked_callback_t(served.callback)
    ffi.wasmtime_func_new_unchecked(
        store._context(), kind.ptr(), function, served.env, _NO_FINALIZER, ctypes.byref(raw)
    )
    # Through Python, whose collector sees the cycle, and not through wasmtime.
    vars(store).setdefault(_SERVED, []).append(served)
    return wasmtime.Func._from_raw(raw)


def trap_for(error: BaseException) -> int:
    """The address of a trap, to be returned by such a function; wasmtime raises the error where the guest was called."""
    wasmtime_func.LAST_EXCEPTION = error  # type: ignore[assignment]
    # Its text is never shown, and the error's may not be UTF-8.
    trap = wasmtime.Trap("an error of the host")._consume()
    return ctypes.cast(trap, ctypes.c_void_p).value or 0
