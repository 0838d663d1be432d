"""The real clock for `runtime.ticks`, without a way through Python.

A program that is instrumented reads the clock at each event.  By Python that takes a hundred times as long as the event; so
where the clock is the machine's own, a small module reads it by wasmtime's WASI.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wasmtime import Linker, Module

from tinyheap.hosts.imports import Signature
from tinyheap.hosts.offered import WASI_MODULE

if TYPE_CHECKING:
    from wasmtime import Store

    from tinyheap.hosts.imports import RequiredImport

NAME: Final = "runtime.ticks"
MILLISECONDS: Final = Signature((), ("f64",))
"""Up to TinyGo 0.40."""
NANOSECONDS: Final = Signature((), ("i64",))
"""From 0.41 on."""
_CLOCK: Final = "clock_time_get"
_FROM_NANOSECONDS: Final = {MILLISECONDS: "f64.convert_i64_u f64.const 1e6 f64.div", NANOSECONDS: ""}
_MODULE: Final = """
(module
  (import "{wasi}" "{clock}" (func $clock (param i32 i64 i32) (result i32)))
  (memory (export "memory") 1 1)
  (func (export "ticks") (result {result})
    i32.const 0 i64.const 1 i32.const 0 call $clock drop
    i32.const 0 i64.load {converted}))
"""


def define_ticks(store: Store, linker: Linker, wanted: RequiredImport) -> bool:
    """Whether ``wanted`` is the clock's import; it is defined in ``linker`` then, for a ``store`` that has a WASI state."""
    if wanted.name != NAME or wanted.signature not in _FROM_NANOSECONDS:
        return False
    text = _MODULE.format(
        wasi=WASI_MODULE,
        clock=_CLOCK,
        result=wanted.signature.results[0],
        converted=_FROM_NANOSECONDS[wanted.signature],
    )
    wasi = Linker(store.engine)
    wasi.define_wasi()
    exports = wasi.instantiate(store, Module(store.engine, text)).exports(store)
    linker.define(store, wanted.module, NAME, exports["ticks"])
    return True
