"""What a program imports: WASI preview 1, and the Go/JavaScript bridge; offered as granted, refused by name.

A program in three lines::

    with load(Path("app.wasm").read_bytes(), Grants(arguments=("app", "-v"), stdin=b"text")) as session:
        exit_code = session.run()
        text = session.memory.read(0, 16)

A program that a host drives is driven through its exports (`HostSession.call`), through functions that it
leaves in JavaScript's global object (`HostSession.call_script`), or through a driver that knows its calling
convention (`tinyheap.hosts.drivers.find`).

Only what runs programs needs wasmtime; what is offered (`offered`) is known without.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tinyheap.errors import HostError

if TYPE_CHECKING:
    from tinyheap.hosts.grants import INHERIT, Folder, Grants, Output
    from tinyheap.hosts.memory import GuestMemory
    from tinyheap.hosts.session import HostSession, compile_module, load, new_engine, offer

_PLACES = {
    "INHERIT": "grants",
    "Folder": "grants",
    "Grants": "grants",
    "Output": "grants",
    "GuestMemory": "memory",
    "HostSession": "session",
    "compile_module": "session",
    "load": "session",
    "new_engine": "session",
    "offer": "session",
}

__all__ = [
    "INHERIT",
    "Folder",
    "Grants",
    "GuestMemory",
    "HostSession",
    "Output",
    "compile_module",
    "load",
    "new_engine",
    "offer",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - of whatever name
    """A name of this room's, from the module that it lives in.

    Raises:
        HostError: It needs wasmtime, which is not installed.
    """
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(f"tinyheap.hosts.{_PLACES[name]}"), name)
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "wasmtime":
            raise
        raise HostError("running a program needs wasmtime: install the extra, tinyheap[run]") from error
