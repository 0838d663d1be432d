"""Oracles for modules: wasmtime, wabt and binaryen read, write, validate and run what the tests make."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import wasmtime

import needs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tinyheap.wasm import Module

_config = wasmtime.Config()
for _feature in ("multi_memory", "threads", "tail_call", "function_references", "exceptions", "relaxed_simd"):
    setattr(_config, f"wasm_{_feature}", True)
ENGINE = wasmtime.Engine(_config)


def assemble(text: str) -> bytes:
    """The binary of a module in the text form, by wasmtime; nothing is validated."""
    return bytes(wasmtime.wat2wasm(text))


def is_valid(data: bytes) -> bool:
    """Whether wasmtime takes the module."""
    try:
        wasmtime.Module.validate(ENGINE, data)
    except wasmtime.WasmtimeError:
        return False
    return True


def assert_valid(data: bytes, folder: Path, *, by: tuple[str, ...] = ("wasmtime", "wabt", "binaryen")) -> None:
    """Fail unless each of those named takes the module."""
    file = folder / "module.wasm"
    file.write_bytes(data)
    if "wasmtime" in by:
        wasmtime.Module.validate(ENGINE, data)
    if "wabt" in by:
        _run("wasm-validate", "--enable-all", str(file))
    if "binaryen" in by:
        _run("wasm-opt", "--all-features", str(file), "-o", str(folder / "out.wasm"))


def objdump(data: bytes, folder: Path, option: str) -> str:
    """What wabt's wasm-objdump prints."""
    file = folder / "module.wasm"
    file.write_bytes(data)
    return _run("wasm-objdump", option, str(file))


def interpret(data: bytes, folder: Path) -> list[str]:
    """What each export without parameters gives, run by wabt, which knows old exceptions."""
    file = folder / "module.wasm"
    file.write_bytes(data)
    return _run("wasm-interp", "--enable-all", "--run-all-exports", str(file)).splitlines()


def run(module: Module, imports: Mapping[tuple[str, str], Callable[..., Any]] | None = None) -> Instance:
    """The module, instantiated by wasmtime with Python functions as imports."""
    return Instance(module.encode(), imports or {})


class Instance:
    """A running module: `call` calls an export, `value` reads an exported global."""

    def __init__(self, data: bytes, imports: Mapping[tuple[str, str], Callable[..., Any]]) -> None:
        self.store = wasmtime.Store(ENGINE)
        module = wasmtime.Module(ENGINE, data)
        provided = [self._provide(entry, imports) for entry in module.imports]
        self.exports = wasmtime.Instance(self.store, module, provided).exports(self.store)

    def _provide(
        self, entry: wasmtime.ImportType, imports: Mapping[tuple[str, str], Callable[..., Any]]
    ) -> wasmtime.Func | wasmtime.Memory | wasmtime.Global:
        match entry.type:
            case wasmtime.FuncType():
                return wasmtime.Func(self.store, entry.type, imports[entry.module, entry.name or ""])
            case wasmtime.MemoryType():
                return wasmtime.Memory(self.store, entry.type)
            case wasmtime.GlobalType():
                return wasmtime.Global(self.store, entry.type, wasmtime.Val.i32(7))
        raise AssertionError(f"nothing to provide for {entry.type}")

    def call(self, name: str, *arguments: float) -> Any:  # noqa: ANN401
        function = self.exports[name]
        assert isinstance(function, wasmtime.Func)
        return function(self.store, *arguments)

    def value(self, name: str) -> Any:  # noqa: ANN401
        exported = self.exports[name]
        assert isinstance(exported, wasmtime.Global)
        return exported.value(self.store)

    def memory(self, name: str = "memory") -> wasmtime.Memory:
        exported = self.exports[name]
        assert isinstance(exported, wasmtime.Memory)
        return exported

    def read(self, address: int, length_bytes: int, memory: str = "memory") -> bytes:
        return bytes(self.memory(memory).read(self.store, address, address + length_bytes))

    def write(self, address: int, data: bytes, memory: str = "memory") -> None:
        self.memory(memory).write(self.store, data, address)


def _run(program: str, *arguments: str) -> str:
    result = subprocess.run(
        [needs.tool(program), *arguments], capture_output=True, text=True, check=False, encoding="utf-8"
    )
    assert result.returncode == 0, f"{program}: {result.stderr[:2000]}"
    return result.stdout
