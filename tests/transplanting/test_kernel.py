"""The compiled kernel: it is what its source says, and consists of what merging expects."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import needs
from project_files import ROOT
from tinyheap.transplanting import parts
from tinyheap.transplanting.operation import kernel
from tinyheap.wasm import Editor, Module

SOURCES = ROOT / "src/tinyheap/transplanting/kernel"


COLLECTORS = ("next_fit", "best_fit")


@pytest.fixture(scope="module")
def compiled_anew(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for tool in ("clang-14", "wasm-ld-14", "make"):
        needs.tool(tool)
    folder = tmp_path_factory.mktemp("kernel")
    shutil.copytree(SOURCES, folder / "kernel")
    for collector in COLLECTORS:
        (folder / f"kernel/{collector}.wasm").unlink()
    command = [
        str(needs.tool("make")),
        "-C",
        str(ROOT),
        "kernel",
        f"KERNELS={' '.join(f'{folder}/kernel/{collector}' for collector in COLLECTORS)}",
        f"BUILD={folder}",
    ]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "kernel"


@pytest.mark.parametrize("collector", COLLECTORS)
def test_it_is_what_its_source_says(compiled_anew: Path, collector: str) -> None:
    made, kept = Module.parse((compiled_anew / f"{collector}.wasm").read_bytes()), kernel(collector)
    assert [each.body and each.body.encoding for each in made.functions] == [
        each.body and each.body.encoding for each in kept.functions
    ], "the kernel is old: run `make kernel`, and commit it"
    assert (made.types, made.imports, made.function_indices) == (kept.types, kept.imports, kept.function_indices)


@pytest.mark.parametrize("collector", COLLECTORS)
def test_it_has_nothing_but_code_and_imported_functions(collector: str) -> None:
    module = kernel(collector)
    assert {entry.kind for entry in module.imports} <= {"function", "memory"}
    assert not module.data_segments
    assert not module.elements
    assert next(module.find("global.get", "global.set", "call_indirect", "memory.fill", "memory.copy"), None) is None


@pytest.mark.parametrize("collector", COLLECTORS)
def test_it_needs_no_more_than_the_first_release_of_webassembly(collector: str, tmp_path: Path) -> None:
    place = tmp_path / "kernel.wasm"
    place.write_bytes(kernel(collector).encode())
    first = ["--disable-sign-extension", "--disable-bulk-memory", "--disable-simd", "--disable-multi-value"]
    subprocess.run([str(needs.tool("wasm-validate")), *first, str(place)], check=True, capture_output=True)


@pytest.mark.parametrize(("collector", "events"), [("next_fit", parts.EVENTS), ("best_fit", parts.BEST_FIT_EVENTS)])
def test_each_of_its_imports_is_declared_and_has_something_to_stand_for_it(
    collector: str, events: tuple[str, ...]
) -> None:
    text = (SOURCES / "facts.h").read_text()
    declared = set(re.findall(r"^(?:CONSTANT|(?:__attribute__\(\(pure\)\) )?u32|void) (\w+)\(", text, re.MULTILINE))
    wanted = {entry.name for entry in kernel(collector).imports if entry.kind == "function"}
    assert wanted <= declared
    counted = parts.counted(Editor(), events)
    assert set(counted) == set(parts.uncounted(events)) <= wanted
    told = {name for name in wanted if name.startswith("tell_")}
    # Nothing in a best-fit module says that a collection or a growth is over.
    later = {"tell_swept", "tell_grown"} if collector == "best_fit" else set()
    assert told | later == set(parts.untold())
