"""What a program imports: WASI preview 1, and the Go/JavaScript bridge; offered as granted, refused by name.

A program in three lines::

    session = load(Path("app.wasm").read_bytes(), Grants(arguments=("app", "-v"), stdin=b"text"))
    exit_code = session.run()
    text = session.memory.read(0, 16)

A program that a host drives is driven through its exports (`HostSession.call`), through functions that it
leaves in JavaScript's global object (`HostSession.call_script`), or through a driver that knows its calling
convention (`tinyheap.hosts.drivers.find`).
"""

from tinyheap.errors import HostError

try:
    import wasmtime as _wasmtime
except ImportError as _error:
    raise HostError("running a program needs wasmtime: install the extra, tinyheap[run]") from _error

from tinyheap.hosts.grants import INHERIT, Folder, Grants, Output
from tinyheap.hosts.memory import GuestMemory
from tinyheap.hosts.session import HostSession, compile_module, load, new_engine, offer

del _wasmtime

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
