"""The host of a plugin that logs by env.log(address, length).

    tinyheap run plugin.wasm --host host_log.py --invoke handle 7

A function whose first parameter is named `caller` sees the program's memory and may call its exports.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinyheap.hosts import Caller


def log(caller: Caller, address: int, length_bytes: int) -> None:
    """Print a line of the program's."""
    text = caller.memory.read(address, length_bytes).decode(errors="replace")
    print(f"log: {text}", file=sys.stderr)


imports = {"env": {"log": log}}
