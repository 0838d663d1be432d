"""Runs commands in processes forked from one that has imported all of them: many starts in the time of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

CLOSED: Final = "(closed)"
BROKEN: Final = "(broken)"
"""Where a standard stream leads, beside names of files: nowhere, and to a pipe that nobody reads."""
TIMEOUT_S: Final = 300

_SERVE: Final = """
import json, os, sys
from tinyheap import cli
from tinyheap.__main__ import main
for name, entry in cli.COMMANDS.items():
    cli.load(name, entry)

def lead(stream, place):
    if place == "(closed)":
        os.close(stream)
        return
    if place == "(broken)":
        reader, opened = os.pipe()
        os.close(reader)
    else:
        opened = os.open(place, os.O_RDONLY if stream == 0 else os.O_WRONLY | os.O_CREAT)
    os.dup2(opened, stream)
    os.close(opened)

for case in json.loads(sys.argv[1]):
    sys.stdout.flush()
    child = os.fork()
    if not child:
        for stream, place in case["streams"].items():
            lead(int(stream), place)
        if case["streams"].get("1") == "(closed)":
            sys.stdout = None
        if case["streams"].get("2") == "(closed)":
            sys.stderr = None
        sys.argv = ["tinyheap", *case["words"]]
        main()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


class Ended(NamedTuple):
    """How a process ended."""

    exit_code: int
    stderr: str


def run(cases: Sequence[tuple[Sequence[str], Mapping[int, str]]]) -> list[Ended]:
    """Run commands one after the other, with standard streams that lead elsewhere.

    Args:
        cases: The words of each command line, and where its streams lead, by number; standard error, unless it is named
            there, into what is returned.
    """
    said = [Path(f"stderr-{number}") for number in range(len(cases))]
    asked = [
        {"words": list(words), "streams": dict.fromkeys((0, 1), os.devnull) | {2: str(file)} | dict(streams)}
        for (words, streams), file in zip(cases, said, strict=True)
    ]
    command = [sys.executable, "-c", _SERVE, json.dumps(asked)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)
    codes = [int(line) for line in ran.stdout.split()]
    return [Ended(code, file.read_text() if file.exists() else "") for code, file in zip(codes, said, strict=True)]
