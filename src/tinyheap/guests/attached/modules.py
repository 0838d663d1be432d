"""Modules that a Python program compiles: what is known of each, and the changed module that is instantiated instead.

The program keeps the module that it compiled.  So what that imports and exports, and what it is serialized to, is as ever.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wasmtime import wat2wasm

from tinyheap.errors import TinyheapError
from tinyheap.files import text_of

if TYPE_CHECKING:
    from wasmtime import Engine

    from tinyheap.guests.opening import PreparedRun, Wish
    from tinyheap.guests.preparing import Prepared

_ENGINE: Final = "a program's"
"""How the engine was configured, for the cache: wasmtime refuses what was compiled for one that differs."""


class CompiledModule:
    """A module that the program compiled.

    Args:
        wasm: what it was compiled from: bytes, or WebAssembly's text form.
    """

    def __init__(self, wasm: str | bytes | bytearray) -> None:
        self._given: str | bytes | bytearray = wasm
        self.path: str | None = None
        """The file that it came from; None where the program did not name it."""
        self._prepared: Prepared | None = None
        self._refusal: TinyheapError | None = None
        self._lock = threading.Lock()

    @cached_property
    def wasm(self) -> bytes:
        """Its bytes."""
        given = self._given.encode() if isinstance(self._given, str) else bytes(self._given)
        return given if given.startswith(b"\0") else bytes(wat2wasm(given))

    @cached_property
    def name(self) -> str:
        """What it is called when somebody is told of it."""
        if self.path is not None:
            return text_of(Path(self.path).name)
        return f"a module of {len(self.wasm):,} bytes (SHA-256 {hashlib.sha256(self.wasm).hexdigest()[:12]})"

    def came_from(self, path: object) -> None:
        """It was read from that file."""
        self.path = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else None

    def run(self, engine: Engine, wish_for: Callable[[CompiledModule], Wish]) -> PreparedRun:
        """A run of it, for which it is looked at and prepared once.

        Args:
            engine: what it was compiled for.
            wish_for: says how it is to be run.

        Raises:
            TinyheapError: it cannot be run so.
        """
        with self._lock:
            if self._refusal is not None:
                raise self._refusal.with_traceback(None)
            wish = wish_for(self)
            try:
                run = wish.prepare(engine, _ENGINE) if self._prepared is None else wish.take(self._prepared)
            except TinyheapError as error:
                self._refusal = error
                raise
            self._prepared = run.prepared
            return run
