"""Evaluate a feature flag for some users with the program in PyPI's gofeatureflag-python-provider.

    tinyheap profile gofeatureflag-evaluation_0.2.4.wasi --host host_flags.py

The program exports `malloc(bytes) -> address`, `free(address)` and `evaluate(address, bytes)`, which takes JSON that ends
with a zero, and returns JSON: its address in the upper 32 bits, its length in the lower.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinyheap import Program

USERS = 100
FLAG = {
    "variations": {"on": True, "off": False},
    "targeting": [{"query": 'email ew "0@example.org"', "variation": "on"}],
    "defaultRule": {"variation": "off"},
}


def drive(program: Program) -> None:
    """Print how many users get which variation, and why."""
    answers = [evaluated(program, f"user{number}@example.org") for number in range(USERS)]
    for (variation, reason), count in sorted(
        Counter((each["variationType"], each["reason"]) for each in answers).items()
    ):
        print(f"{variation} ({reason}): {count} users")


def evaluated(program: Program, email: str) -> dict[str, str]:
    """What the flag is for a user."""
    question = {
        "flagKey": "flag",
        "flag": FLAG,
        "evalContext": {"targetingKey": email, "email": email},
        "flagContext": {"defaultSdkValue": False},
    }
    data = json.dumps(question).encode()
    address = program.call("malloc", len(data) + 1)
    program.memory.write(address, data + b"\0")
    result = program.call("evaluate", address, len(data))
    # An i64 comes signed.
    answer: dict[str, str] = json.loads(program.memory.read(result >> 32 & 0xFFFF_FFFF, result & 0xFFFF_FFFF))
    program.call("free", address)
    return answer
