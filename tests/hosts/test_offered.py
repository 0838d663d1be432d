"""The imports listed as offered are those that are offered: wasmtime's functions of WASI, and the bridge's."""

from __future__ import annotations

import pytest
import wasmtime

from tinyheap import hosts
from tinyheap.errors import HostError
from tinyheap.hosts.imports import Signature
from tinyheap.hosts.offered import WASI_FUNCTIONS, WASI_MODULE, is_offered


@pytest.fixture(scope="module")
def wasi() -> tuple[wasmtime.Store, wasmtime.Linker]:
    engine = wasmtime.Engine()
    store, linker = wasmtime.Store(engine), wasmtime.Linker(engine)
    linker.define_wasi()
    store.set_wasi(wasmtime.WasiConfig())
    return store, linker


@pytest.mark.parametrize("name", WASI_FUNCTIONS)
def test_functions_of_wasi_are_those_of_wasmtime(wasi: tuple[wasmtime.Store, wasmtime.Linker], name: str) -> None:
    store, linker = wasi
    found = linker.get(store, WASI_MODULE, name)
    assert isinstance(found, wasmtime.Func)
    assert Signature.of(found.type(store)) == WASI_FUNCTIONS[name]


TICKS = Signature((), ("f64",))


@pytest.mark.parametrize(
    ("module", "name", "signature"),
    [
        (WASI_MODULE, "fd_write", WASI_FUNCTIONS["fd_write"]),
        (WASI_MODULE, "fd_write", Signature()),
        (WASI_MODULE, "fd_fly", Signature()),
        ("wasi_unstable", "fd_write", WASI_FUNCTIONS["fd_write"]),
        ("gojs", "runtime.ticks", TICKS),
        ("env", "runtime.ticks", TICKS),
        ("elsewhere", "runtime.ticks", TICKS),
        ("gojs", "runtime.ticks", Signature(("i32",))),
        ("gojs", "syscall/js.valueGet", Signature(("i64", "i32", "i32"), ("i64",))),
        ("gojs", "syscall/js.valueGet", Signature(("i64", "i32"), ("i64",))),
        ("gojs", "valueGet", Signature(("i64", "i32", "i32"), ("i64",))),
        ("env", "invoke_ii", Signature(("i32", "i32"), ("i32",))),
    ],
)
def test_what_is_offered_is_what_a_session_takes(module: str, name: str, signature: Signature) -> None:
    parameters, results = (" ".join(kinds) for kinds in (signature.parameters, signature.results))
    text = f'(module (import "{module}" "{name}" (func (param {parameters}) (result {results}))))'
    try:
        hosts.load(bytes(wasmtime.wat2wasm(text)))
        taken = True
    except HostError:
        taken = False
    assert is_offered(module, name, signature) is taken
