"""The functions that keep a log: they are what their source says, and consist of what merging expects."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import needs
from project_files import ROOT
from tinyheap.instrumentation.operation import kernel
from tinyheap.wasm import Module

SOURCES = ROOT / "src/tinyheap/instrumentation/kernel"


def test_it_is_what_its_source_says(tmp_path: Path) -> None:
    for tool in ("clang-14", "wasm-ld-14", "make"):
        needs.tool(tool)
    for package in ("instrumentation", "transplanting"):
        shutil.copytree(ROOT / f"src/tinyheap/{package}/kernel", tmp_path / package / "kernel")
    place = tmp_path / "instrumentation/kernel/log"
    command = [str(needs.tool("make")), "-C", str(ROOT), "kernel", f"KERNELS={place}", f"BUILD={tmp_path}"]
    subprocess.run(command, check=True, capture_output=True)
    made, kept = Module.parse(place.with_suffix(".wasm").read_bytes()), kernel()
    bodies = [[each.body and each.body.encoding for each in module.functions] for module in (made, kept)]
    assert bodies[0] == bodies[1], "the kernel is old: run `make kernel`, and commit it"
    assert (made.types, made.imports, made.function_indices) == (kept.types, kept.imports, kept.function_indices)


def test_it_has_nothing_but_code_and_imported_functions() -> None:
    module = kernel()
    assert {entry.kind for entry in module.imports} <= {"function", "memory"}
    assert not module.data_segments
    assert next(module.find("global.get", "global.set", "call_indirect", "memory.fill", "memory.copy"), None) is None


def test_all_of_its_imports_are_declared() -> None:
    text = (SOURCES / "log.c").read_text() + (ROOT / "src/tinyheap/transplanting/kernel/facts.h").read_text()
    declared = set(re.findall(r"(\w+)\([^()]*\);", text))
    assert {entry.name for entry in kernel().imports if entry.kind == "function"} <= declared
