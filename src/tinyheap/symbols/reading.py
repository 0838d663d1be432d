"""Reads what stands at addresses of a module's code: its debug information, in another process (`worker`).

WebAssembly's DWARF lies in custom sections; its addresses begin where the content of the code section does.  The reader is
given these sections only.  Source: Yury Delendik, "DWARF for WebAssembly".
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tinyheap._loading import require
from tinyheap.errors import MissingLibraryError, SymbolsError
from tinyheap.symbols.places import Place, Places, Variable, checked, shortened
from tinyheap.symbols.types import Types
from tinyheap.wasm import Module
from tinyheap.wasm.sections import Section, SectionId

TIMEOUT_S: Final = 30.0
"""So long reading may take; a module of 2 MB takes a tenth of a second."""
_PYTHON: Final = re.compile(r"(?:python|pypy)", re.IGNORECASE)
_WORKER: Final = Path(__file__).with_name("worker.py")
_INFO: Final = ".debug_info"
_SECTIONS: Final = ".debug_"
_FAILURES: Final = (OSError, ValueError, LookupError, TypeError, AttributeError, subprocess.SubprocessError)
"""Of asking the reader, and of its answer not being one."""


def code_section(module: Module) -> Section | None:
    """The section that addresses are counted in; None where a module has no code."""
    return next((section for section in module.sections if section.id is SectionId.CODE), None)


def has_debug_information(module: Module) -> bool:
    """Whether there is any in the module."""
    return module.custom_section(_INFO) is not None


def check_same_code(module: Module, symbols: Module) -> None:
    """Refuse debug information of another build.

    Args:
        module: The module that is run.
        symbols: The module that is to say what stands where.

    Raises:
        SymbolsError: Their code is not the same, byte for byte, or the second has no debug information.
    """
    ours, theirs = code_section(module), code_section(symbols)
    if (ours.payload if ours else b"") != (theirs.payload if theirs else b""):
        raise SymbolsError(
            "invalid symbols: the code of this build differs from the module's: expected the same, byte for byte; build once "
            "with debug information, and strip a copy to run"
        )
    if not has_debug_information(symbols):
        raise SymbolsError("invalid symbols: this build has no debug information; build it with -g")


def places_of(module: Module, addresses: Sequence[int], *, timeout_s: float = TIMEOUT_S) -> Places:
    """What stands at addresses, as the module's debug information says.

    Args:
        module: The module with the debug information.
        addresses: Offsets in bytes from the beginning of the code section's content.
        timeout_s: How long reading may take.

    Returns:
        The chains that are known; none where the module has no debug information.  Where that cannot be read, `problem`
        says why.
    """
    if not has_debug_information(module) or not addresses:
        return Places()
    try:
        require("elftools", "reading debug information")
    except MissingLibraryError as error:
        return Places(problem=str(error))
    try:
        answer = _asked(module, list(addresses), timeout_s)
        return Places.of({int(address): _chain(found) for address, found in answer["chains"].items()})
    except _FAILURES as error:
        return Places(problem=f"the module's debug information cannot be read: {_reason(error)}")


def types_of(module: Module, *, timeout_s: float = TIMEOUT_S) -> Types:
    """The types of a module, and the variables that have an address of their own, as its debug information says.

    Args:
        module: The module with the debug information.
        timeout_s: How long reading may take.

    Returns:
        What is known; nothing where the module has no debug information.  Where that cannot be read, `problem` says why.
    """
    if not has_debug_information(module):
        return Types()
    try:
        require("elftools", "reading debug information")
        return Types.of_json(_asked(module, None, timeout_s))
    except MissingLibraryError as error:
        return Types(problem=str(error))
    except _FAILURES as error:
        return Types(problem=f"the module's debug information cannot be read: {_reason(error)}")


def variables_of(module: Module, *, timeout_s: float = TIMEOUT_S) -> tuple[tuple[Variable, ...] | None, str | None]:
    """The variables that have an address of their own, as the module's debug information says, the largest first.

    Args:
        module: The module with the debug information.
        timeout_s: How long reading may take.

    Returns:
        The variables, None where the module has no debug information or it cannot be read; and why it cannot, else None.
    """
    types = types_of(module, timeout_s=timeout_s)
    return types.sizes if has_debug_information(module) and not types.problem else None, types.problem


def _asked(module: Module, addresses: list[int] | None, timeout_s: float) -> Any:  # noqa: ANN401 - JSON
    """What the reader answers on a module; see `worker`."""
    found = (section for section in module.custom_sections if section.name.startswith(_SECTIONS))
    sections = {section.name.removeprefix(_SECTIONS): section.payload for section in found}
    sizes = {name: len(content) for name, content in sections.items()}
    asked = {"path": sys.path, "addresses": addresses, "sections": sizes}
    return json.loads(_answer(b"".join([json.dumps(asked).encode(), b"\n", *sections.values()]), timeout_s))


def _chain(found: Sequence[tuple[str, str, int]]) -> tuple[Place, ...]:
    return shortened(checked(*place) for place in found)


def _answer(asked: bytes, timeout_s: float) -> bytes:
    # A program that embeds Python, or is frozen, is not to be started once more in its place.
    if not _PYTHON.match(Path(sys.executable or "").name):
        raise ValueError("its reader needs a Python interpreter to run in, and sys.executable names none")
    command = [sys.executable, "-I", str(_WORKER)]
    done = subprocess.run(command, input=asked, capture_output=True, timeout=timeout_s, check=False)
    if done.returncode:
        *_, last = done.stderr.decode(errors="replace").strip().splitlines() or [""]
        raise ValueError(last or f"its reader ended with exit code {done.returncode}")
    return done.stdout


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return f"its reader took longer than {error.timeout:g} s"
    return str(error) or type(error).__name__
