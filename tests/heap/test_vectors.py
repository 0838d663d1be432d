"""Both engines do what the original collector did, to the last value.

Each vector is a program and the original's record of running it: all addresses, the heap after every collection, the
end.  The folder of vectors lies beside the checkout; ``TINYHEAP_VECTORS`` names another one.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

import pytest

import needs
from tinyheap.heap.contract import Engine, Gc
from tinyheap.traces.replay import Replay, replay
from tinyheap.traces.trace import read_trace

pytestmark = pytest.mark.conformance

FOLDER: Final = Path(os.environ.get("TINYHEAP_VECTORS") or Path(__file__).resolve().parents[3] / "shared" / "vectors")
NAMES: Final = sorted(path.name.removesuffix(".json") for path in FOLDER.glob("*.json"))
KNOWN: Final = 64
MARK_STACK_WORDS: Final = 8
"""The recorded collectors' mark stack holds so many words' worth of entries."""


def expectation(name: str) -> dict[str, Any]:
    expected: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_bytes())
    return expected


def play(name: str, engine: str, mark_stack_entries: int | None) -> Replay:
    program = read_trace(FOLDER / f"{name}.trace.gz")
    gc = Gc.PRECISE if expectation(name)["precise"] else Gc.CONSERVATIVE
    return replay(program, gc, engine, mark_stack_entries=mark_stack_entries)


def bounded_entries(name: str) -> int:
    word_bytes: int = expectation(name)["word_bytes"]
    return MARK_STACK_WORDS * word_bytes


def test_the_vectors_are_there() -> None:
    needs.path(FOLDER, "the folder of vectors")
    assert len(NAMES) >= KNOWN


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.share(24, in_ci=len(NAMES))
def test_model(name: str) -> None:
    assert play(name, "model", None).as_vector() == expectation(name)


@pytest.mark.parametrize("name", NAMES)
def test_kernel_with_the_bounded_mark_stack(name: str, kernel: type[Engine]) -> None:
    assert play(name, "kernel", bounded_entries(name)).as_vector() == expectation(name)


@pytest.mark.parametrize("name", NAMES)
def test_kernel_with_a_mark_stack_that_never_overflows(name: str, kernel: type[Engine]) -> None:
    expected = expectation(name)
    for row in expected["collections"]:
        row[3:5] = 0, 0
    assert play(name, "kernel", 0).as_vector() == expected


def test_the_vectors_overflow_the_mark_stack() -> None:
    needs.path(FOLDER, "the folder of vectors")
    assert any(row[3] and row[4] for name in NAMES for row in expectation(name)["collections"])
