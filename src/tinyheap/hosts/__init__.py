"""Hosts of programs: WASI preview 1 and the Go/JavaScript bridge, with what is granted and nothing else.

A program in three lines::

    with load(Path("app.wasm").read_bytes(), Grants(arguments=("app", "-v"), stdin=b"text")) as session:
        exit_code = session.run()
        text = session.memory.read(0, 16)

A host calls a program through its exports (`HostSession.call`), through functions that it
leaves in JavaScript's global object (`HostSession.call_script`), or through a driver that knows its calling
convention (`tinyheap.formatters.find`).  All that runs anything needs the extra `run`; what is offered (`offered`) is
known without.
"""

from tinyheap import _loading

__getattr__, __dir__, __all__ = _loading.attach(__name__)
