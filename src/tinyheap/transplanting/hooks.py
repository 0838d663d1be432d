"""What else is done as the heap of a module is run: the places at which a recorder, for one, has its code put in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tinyheap.wasm import Code


@dataclass(frozen=True)
class Hooks:
    """What else is done as the heap is run."""

    parts: Mapping[str, Code]
    """The code for imports of the kernel that stand for nothing otherwise (`parts.untold`, `parts.uncounted`)."""
    around_alloc: Callable[[int], Code]
    """Makes alloc's body, given the index of the function that allocates, with alloc's type."""
