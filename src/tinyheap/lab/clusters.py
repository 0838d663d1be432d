"""How a cluster is named: by the address of its scheduler, or as one that is begun on this machine."""

from __future__ import annotations

import re
from typing import Final

from tinyheap.errors import LabError
from tinyheap.files import text_of

MOST_LOCAL: Final = 999
"""Processes on this machine: more are taken for the port of a scheduler, whose address has ``tcp://`` in front."""
_LOCAL: Final = re.compile(r"local(:.*)?", re.DOTALL)
_COUNT: Final = re.compile(r":([1-9][0-9]{0,2})")


def local_processes(name: str) -> int | None:
    """How many processes ``local`` or ``local:N`` asks for, 0 for one on each core; None for the address of a scheduler.

    Raises:
        LabError: It is ``local`` with something else behind it.
    """
    found = _LOCAL.fullmatch(name)
    if found is None:
        return None
    if found[1] is None:
        return 0
    if (count := _COUNT.fullmatch(found[1])) is None:
        raise LabError(
            f"invalid cluster {text_of(name)!r}: expected local, local:N for 1 to {MOST_LOCAL} processes on this machine, or "
            "the address of a scheduler, such as tcp://HOST:8786"
        )
    return int(count[1])
