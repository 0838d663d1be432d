"""Modules with debug information, and what llvm-symbolizer says of them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import needs
from guests import collectors
from tinyheap.symbols.reading import code_section
from tinyheap.wasm import Module
from tinyheap.wasm.sections import HEADER

SOURCE = Path(collectors.__file__).with_name("inlined.c")
BUILD = collectors.Build("2", link_time=False, precise=False, tasks=False, explicit=False)
VERSIONS = (4, 5)

Row = tuple[str, str, int]
"""Function, file's name, line."""


def built(version: int, source: str = "inlined.c", build: collectors.Build = BUILD) -> bytes:
    """A module with debug information of a version of DWARF."""
    return collectors.compiled(build, source, dwarf=version)


def built_types(version: int) -> bytes:
    """A module with variables of all kinds of types."""
    compiler, linker = needs.tool("clang-14"), needs.tool("wasm-ld-14")
    with TemporaryDirectory() as name:
        objects, program = Path(name) / "types.o", Path(name) / "types.wasm"
        options = ["--target=wasm32", "-ffreestanding", "-O1", "-g", f"-gdwarf-{version}"]
        collectors.run(str(compiler), "-c", *options, str(Path(__file__).with_name("types.c")), "-o", str(objects))
        collectors.run(str(linker), "--no-entry", str(objects), "-o", str(program))
        return program.read_bytes()


def without(wasm: bytes, *beginnings: str) -> bytes:
    """A module without the custom sections whose names begin so."""
    sections = Module.parse(wasm).sections
    kept = [each for each in sections if not (each.id == 0 and each.name.startswith(beginnings))]
    return HEADER + b"".join(each.encode() for each in kept)


def call_addresses(module: Module) -> list[int]:
    """The addresses of all calls."""
    code = code_section(module)
    assert code is not None
    return sorted(offset - code.offset for _, offset, _ in module.find("call", "call_indirect"))


def symbolized(wasm: bytes, addresses: Sequence[int]) -> list[list[Row]]:
    """What stands at addresses, the outermost function first, as llvm-symbolizer says.

    It takes the outermost function's name from a table that it counts wrongly in WebAssembly, so that one is left empty.
    """
    symbolizer = needs.tool("llvm-symbolizer-14")
    with TemporaryDirectory() as folder:
        file = Path(folder) / "program.wasm"
        file.write_bytes(wasm)
        asked = "\n".join(map(hex, addresses))
        command = [str(symbolizer), f"--obj={file}", "--inlines", "--no-demangle"]
        answer = subprocess.run(command, input=asked, capture_output=True, text=True, check=True).stdout
    return [_rows(block.splitlines()) for block in answer.strip("\n").split("\n\n")]


def _rows(lines: list[str]) -> list[Row]:
    rows = []
    for function, place in zip(lines[::2], lines[1::2], strict=True):
        file, line, _ = place.rsplit(":", 2)
        rows.append((function, Path(file).name if file != "??" else "", int(line)))
    outermost = rows.pop()
    return [("", *outermost[1:]), *reversed(rows)]
