"""A service that knows nothing of tinyheap: it runs a plugin by wasmtime, in a pool of stores that its threads share.

    python python_service.py plugin.wasm
    tinyheap profile python_service.py plugin.wasm

The second does the same, and records each instance: python_service-1.tinyheap, python_service-2.tinyheap and so on.  The
plugin exports `allocate(bytes) -> address`, `handle(address, bytes) -> status` and `release(address)`; needs wasmtime.
"""

from __future__ import annotations

import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from wasmtime import Engine, Linker, Module, Store, WasiConfig

STORES = 2
REQUESTS = 100


class Plugin:
    """One instance, in a store of its own."""

    def __init__(self, engine: Engine, module: Module) -> None:
        self.store = Store(engine)
        self.store.set_wasi(WasiConfig())
        linker = Linker(engine)
        linker.define_wasi()
        self.exports = linker.instantiate(self.store, module).exports(self.store)

    def handle(self, request: bytes) -> int:
        """The status of a request, whose memory is given back."""
        address = self.exports["allocate"](self.store, len(request))
        self.exports["memory"].write(self.store, request, address)
        status = self.exports["handle"](self.store, address, len(request))
        self.exports["release"](self.store, address)
        return status


def main(path: str) -> int:
    """Answer the requests; the exit code says whether each was."""
    engine = Engine()
    module = Module.from_file(engine, path)
    idle: SimpleQueue[Plugin] = SimpleQueue()
    for _ in range(STORES):
        idle.put(Plugin(engine, module))

    def handled(number: int) -> int:
        plugin = idle.get()
        try:
            return plugin.handle(f"GET /items/{number}".encode())
        finally:
            idle.put(plugin)

    with ThreadPoolExecutor(STORES) as pool:
        statuses = Counter(pool.map(handled, range(REQUESTS)))
    for status, count in sorted(statuses.items()):
        print(f"status {status}: {count} requests")
    return int(statuses[200] != REQUESTS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
