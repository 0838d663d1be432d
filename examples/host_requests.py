"""Drive a plugin as a server does, one request after the other, to see what each leaves on the heap.

    tinyheap profile plugin.wasm --host host_requests.py

The plugin exports `allocate(bytes) -> address`, `handle(address, bytes) -> status` and `release(address)`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinyheap import Program

REQUESTS = 100


def drive(program: Program) -> int:
    """Send the requests; the exit code says whether each was answered."""
    statuses = Counter(handled(program, f"GET /items/{number}".encode()) for number in range(REQUESTS))
    for status, count in sorted(statuses.items()):
        print(f"status {status}: {count} requests")
    return int(statuses[200] != REQUESTS)


def handled(program: Program, request: bytes) -> int:
    """The status of one request, whose memory is given back."""
    address = program.call("allocate", len(request))
    program.memory.write(address, request)
    status = program.call("handle", address, len(request))
    program.call("release", address)
    return status
