"""A flame graph as collapsed stacks: one line per stack, its functions between semicolons, and what it weighs.

This is what `flamegraph.pl`, inferno and many others read.  It has no way to quote: a semicolon or a line's end within a
name becomes a colon.  Behind a function that was inlined into its caller stands ``_[i]``, as these tools expect.  Objects
without a stack are under `tinyheap.profile.NO_STACK`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tinyheap.profile import NO_STACK

if TYPE_CHECKING:
    from tinyheap.profile import FlameGraph

INLINED: Final = "_[i]"
_SEPARATORS: Final = re.compile(r"[;\r\n]")


def collapsed(graph: FlameGraph) -> bytes:
    """The lines, sorted."""
    lines = sorted(f"{_path(functions)} {weight}\n" for functions, weight in graph.stacks(INLINED))
    return "".join(lines).encode()


def _path(functions: tuple[str, ...]) -> str:
    return ";".join(_SEPARATORS.sub(":", function) for function in functions) or NO_STACK
