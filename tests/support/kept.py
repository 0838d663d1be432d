"""What costs the tests seconds to make and is needed again: kept in the cache of prepared programs, for all workers.

The cache is that of the run (conftest.py), which outlives it, so that the next run begins with what this one made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.metadata import version

import wasmtime

from tinyheap import hosts
from tinyheap.guests.cache import Cache
from tinyheap.hosts.session import OWN_MODULES


def made(make: Callable[[], bytes], *needed: object) -> bytes:
    """What `make` makes of what it needs: texts, numbers, the bytes of files and the names of tools."""
    kept, key = Cache.of_user(), repr(needed).encode()
    content = kept.load(key)
    if content is None:
        content = make()
        kept.store(key, content)
    return content


def compiled(engine: wasmtime.Engine, wasm: bytes) -> wasmtime.Module:
    """A module compiled for an engine that `hosts.new_engine` made without grants."""
    serialized = made(
        lambda: bytes(hosts.compile_module(engine, wasm).serialize()),
        "compiled",
        version("wasmtime"),
        hashlib.sha256(wasm).hexdigest(),
    )
    try:
        module = wasmtime.Module.deserialize(engine, serialized)
    except wasmtime.WasmtimeError:  # engines are made in another way since
        return hosts.compile_module(engine, wasm)
    OWN_MODULES.add(module)
    return module
