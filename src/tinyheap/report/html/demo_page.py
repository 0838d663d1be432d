"""A page to try a transplant: it runs both modules side by side in the reader's browser, and shows times and heaps.

The modules are in the page, which asks no network for anything.  What a program needs of its host is in the page's code; it is
the same for all programs, so that whatever a program imports beyond that is refused here.
"""

from __future__ import annotations

from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, Final

import numpy as np

from tinyheap import __version__
from tinyheap.errors import UnsupportedGuestError
from tinyheap.formatters import ReactorFormatter, ScriptFormatter, ShellOptions, ShSyntaxFormatter, process_arguments
from tinyheap.heap.collectors import Encoding
from tinyheap.hosts.gojs.abi import shape_of
from tinyheap.hosts.gojs.bridge import MODULES, PREFIX
from tinyheap.hosts.imports import Signature
from tinyheap.hosts.offered import is_offered
from tinyheap.report.html.assembly import assembled
from tinyheap.report.html.data import shortened
from tinyheap.report.html.demo_contents import BridgeFunction, DemoFacts, HeapPlaces
from tinyheap.report.html.packing import pack
from tinyheap.wasm import Module

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinyheap.recognize.facts import ServedHeap
    from tinyheap.transplanting.operation import Transplant

BLOCK_BYTES: Final = 16
_TICKS: Final = "runtime.ticks"


def demo_page(original: bytes, made: Transplant, *, name: str, text: str | None = None) -> str:
    """A page that runs a module as it was and transplanted.

    Args:
        original: The module before.
        made: What became of it.
        name: The name of the module's file.
        text: What is to be formatted at first; None for a text of the page's own.

    Raises:
        UnsupportedGuestError: The program is no formatter that is known, or imports what the page does not have.
    """
    module = Module.parse(original)
    _check_imports(module)
    facts = _facts(module, made, PureWindowsPath(shortened(name)).name or "a module", text)
    modules = {"module.original": original, "module.transplanted": made.wasm}
    columns = {column: np.frombuffer(wasm, np.uint8) for column, wasm in modules.items()}
    return assembled("demo", f"{facts['name']}: two collectors", {"demo": pack(facts, columns)}, runs_modules=True)


def _check_imports(module: Module) -> None:
    for entry in module.imports:
        if entry.kind != "function":
            raise UnsupportedGuestError(
                f"the page cannot run this module: it imports the {entry.kind} {entry.module}.{entry.name}, and the page has "
                "functions alone"
            )
    for module_name, name, signature in _imported_functions(module):
        if not is_offered(module_name, name, signature):
            raise UnsupportedGuestError(
                f"the page cannot run this module: it imports {module_name}.{name}, and the page has WASI and the functions of "
                "Go's bridge to JavaScript alone; use --verify with --host to compare both modules"
            )


def _imported_functions(module: Module) -> Iterator[tuple[str, str, Signature]]:
    for index in range(module.imported_function_count):
        imported, declared = module.functions[index].imported, module.function_type(index)
        assert imported is not None
        yield imported.module, imported.name, Signature(tuple(declared.parameters), tuple(declared.results))


def _facts(module: Module, made: Transplant, name: str, text: str | None) -> DemoFacts:
    driver = _driver(module)
    bridge, is_addressed = _bridge(module)
    return {
        "name": name,
        "driver": driver,
        "starts_anew": driver == ShSyntaxFormatter.name,
        "language": "shell" if driver == ShSyntaxFormatter.name or module.export("set_options") else "go",
        "process_arguments": _process_arguments(module) if driver == ShSyntaxFormatter.name else [],
        "bridge": bridge,
        "is_addressed": is_addressed,
        "ticks_in_nanoseconds": any(
            name == _TICKS and signature.results == ("i64",) for _, name, signature in _imported_functions(module)
        ),
        "heap": _places(made.heap),
        "is_exact": made.is_exact,
        "text": text,
        "tinyheap_version": __version__,
    }


def _driver(module: Module) -> str:
    """By which convention a program is called.

    Raises:
        UnsupportedGuestError: By none that is known.
    """
    exports = {export.name for export in module.exports}
    for formatter in (ShSyntaxFormatter, ReactorFormatter):
        if exports >= formatter.exports:
            return formatter.name
    if any(imported in MODULES for imported, _, _ in _imported_functions(module)):
        # Whether it leaves a function there is seen when it runs.
        return ScriptFormatter.name
    raise UnsupportedGuestError(
        "the page cannot run this module: it is not one of the formatters that the page can call (gofmt, sh-syntax and those "
        "that are called alike); use --verify with --host to compare both modules"
    )


def _process_arguments(module: Module) -> list[str | int]:
    """The arguments of sh-syntax's function, with names for what the page has to fill in."""
    process = module.export("process")
    assert process is not None
    count = len(module.function_type(process.index).parameters)
    path, source, stop_at = ((part, f"{part}_bytes", f"{part}_bytes") for part in ("path", "source", "stop_at"))
    words: list[str | int] = process_arguments(count, path, source, stop_at, ShellOptions())
    return [word if isinstance(word, str) else int(word) for word in words]


def _bridge(module: Module) -> tuple[list[BridgeFunction], bool]:
    """The bridge's functions that a program imports, and whether it speaks the addressed ABI."""
    functions: list[BridgeFunction] = []
    addressed = False
    for module_name, name, signature in _imported_functions(module):
        found = shape_of(name.removeprefix(PREFIX), signature) if module_name in MODULES else None
        if found is not None:
            shape, is_addressed = found
            addressed |= is_addressed
            functions.append(
                {"name": name.removeprefix(PREFIX), "parameters": list(shape.parameters), "result": shape.result}
            )
    return functions, addressed


def _places(heap: ServedHeap) -> HeapPlaces:
    return {
        "start_address": heap.heap_start_address,
        "start_variable_address": heap.heap_start_variable_address,
        "table_start_variable_address": heap.metadata_start_address,
        "block_bytes": BLOCK_BYTES,
        "has_planes": heap.collector.encoding is Encoding.PLANES,
        "head_is_last": heap.collector.head_is_last,
    }
