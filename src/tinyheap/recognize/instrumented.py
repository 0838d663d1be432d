"""Modules that keep a log of their own run: the custom section that says so, and what it tells of the module before.

Payload: as in a transplanted module (`encode_tersely`).  The facts of the heap hold for the changed module, too, but nobody
else may serve it: its pages lie in front of the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tinyheap.recognize.facts import BestFitHeap, BlockHeap
from tinyheap.recognize.facts_json import decode_terse, encode_tersely

if TYPE_CHECKING:
    from tinyheap.wasm import Module

SECTION: Final = "tinyheap.instrument"


@dataclass(frozen=True)
class Instrumented:
    """What an instrumented module says of itself."""

    version: str
    """Of the tinyheap that did it."""
    module_sha256: str
    """Of the module before."""
    runtime: str
    runtime_version: str | None
    collector: str
    heap: BlockHeap | None
    """Of TinyGo up to 0.39."""
    exports: tuple[str, ...]
    """The exported functions whose calls are in the log, by number."""
    declared_pages: int
    maximum_pages: int | None
    """How the module before declares its memory."""
    best_fit: BestFitHeap | None = None
    """The heap of later ones.  One of the two is there."""

    @property
    def module_id(self) -> int:
        """The number by which a log names its module."""
        return int.from_bytes(bytes.fromhex(self.module_sha256)[:8], "little")


def encode_instrumented(instrumented: Instrumented) -> bytes:
    """The payload of the section."""
    return encode_tersely(instrumented)


def instrumented(module: Module) -> Instrumented | None:
    """What a module says of an instrumentation; None where it has none, or what it says cannot be read."""
    section = module.custom_section(SECTION)
    if section is None:
        return None
    try:
        found = decode_terse(Instrumented, section.payload)
        found.module_id  # noqa: B018 - which is not a hash may be no number
    except ValueError:
        return None
    return None if found.heap is None and found.best_fit is None else found
