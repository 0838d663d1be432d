"""Reads debug information in a process of its own; run as a script.

Debug information can come from anywhere: so what reads it may take so much memory and time and no more, and if it ends in
any other way, this is the only process that is lost.  Standard input is a line of JSON (``path``, where libraries are;
``addresses``; ``sections``, names and sizes), and behind it the sections.  Standard output is JSON: ``chains``, for each
address a list of (function, file, line), the outermost first; or, where ``addresses`` is null, what
`variables.variables` finds.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Final

MEMORY_LIMIT_BYTES: Final = 4 << 30


def main() -> None:
    """Answer what standard input asks."""
    asked = json.loads(sys.stdin.buffer.readline())
    _limit()
    sys.path[:] = asked["path"]
    from tinyheap.symbols.dwarf import Dwarf

    sections = {name: sys.stdin.buffer.read(size) for name, size in asked["sections"].items()}
    if asked["addresses"] is None:
        from tinyheap.symbols.variables import variables

        json.dump(variables(Dwarf(sections)), sys.stdout)
    else:
        json.dump({"chains": Dwarf(sections).chains(asked["addresses"])}, sys.stdout)


def _limit() -> None:
    """Bound the memory that this process may take, where the system can."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))


if __name__ == "__main__":
    main()
