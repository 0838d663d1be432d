"""Programs for the tests of hosts: real ones by name, and small ones written in WebAssembly's text form."""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING, Any

import wasmtime

import guests_modules
import kept
from tinyheap import hosts

if TYPE_CHECKING:
    from collections.abc import Iterable

WASI = "wasi_snapshot_preview1"
_POINTERS = {"proc_exit": "(param i32)", "clock_time_get": "(param i32 i64 i32) (result i32)"}
_WIDTHS = {
    "args_get": 2,
    "args_sizes_get": 2,
    "environ_get": 2,
    "environ_sizes_get": 2,
    "fd_read": 4,
    "fd_write": 4,
    "random_get": 2,
    "clock_res_get": 2,
    "poll_oneoff": 4,
}


@cache
def _compiled(name: str) -> tuple[wasmtime.Engine, wasmtime.Module]:
    engine = hosts.new_engine()
    return engine, kept.compiled(engine, guests_modules.read(name))


def real(name: str, seed: int | None = 1) -> hosts.HostSession:
    """A real program, instantiated anew and started."""
    engine, module = _compiled(name)
    session = hosts.offer(wasmtime.Store(engine), wasmtime.Linker(engine), module, hosts.Grants(seed=seed))
    session.instantiate(module)
    session.start()
    return session


def command(body: str, uses: Iterable[str] = (), head: str = "") -> bytes:
    """A WASI command whose ``_start`` is ``body``, importing the functions that it uses."""
    imports = []
    for name in ("proc_exit", "fd_write", *uses):
        signature = _POINTERS.get(name) or f"(param {'i32 ' * _WIDTHS[name]}) (result i32)"
        imports.append(f'(import "{WASI}" "{name}" (func ${name} {signature}))')
    return module_bytes(
        f'{" ".join(dict.fromkeys(imports))} (memory (export "memory") 1) {head}(func (export "_start") {body})'
    )


def module_bytes(text: str) -> bytes:
    """A module from its text form."""
    return bytes(wasmtime.wat2wasm(f"(module {text})"))


def run(wasm: bytes, **grants: Any) -> tuple[int, bytes, bytes, hosts.HostSession]:  # noqa: ANN401 - whatever Grants takes
    """Run a program to its end: exit code, standard output, standard error, session."""
    out, err = io.BytesIO(), io.BytesIO()
    session = hosts.load(wasm, hosts.Grants(stdout=out, stderr=err, **grants))
    return session.run(), out.getvalue(), err.getvalue(), session


def say(address: int, length: str, stream: int = 1) -> str:
    """Instructions that write ``length`` bytes at ``address`` to a stream, by way of the first 16 bytes."""
    return f"""
      (i32.store (i32.const 0) (i32.const {address})) (i32.store (i32.const 4) {length})
      (drop (call $fd_write (i32.const {stream}) (i32.const 0) (i32.const 1) (i32.const 8)))"""
