"""The kernel does in wasm what the original collector did, to the last value: the vectors of next-fit, with 32-bit words.

Vectors with other headers than those of a wasm module (16 bytes where the collector is precise) say nothing of the kernel.
"""

from __future__ import annotations

from typing import Final

import pytest

import needs
from heap.test_vectors import FOLDER, NAMES, expectation
from tinyheap.heap.collectors import Collector
from tinyheap.heap.contract import Gc
from tinyheap.traces.replay import Replay, Stage, result_of
from tinyheap.traces.trace import read_trace
from transplanting.harness import HEADER_BYTES, WORD_BYTES, WasmPlayer

pytestmark = pytest.mark.conformance

KNOWN: Final = 18


def is_served(name: str) -> bool:
    if f"-w{WORD_BYTES}-" not in name:
        return False
    return (
        name.endswith("conservative") or read_trace(FOLDER / f"{name}.trace.gz").header_alignment_bytes == HEADER_BYTES
    )


SERVED: Final = [name for name in NAMES if is_served(name)]


def play(name: str, *, has_bitmap: bool) -> Replay:
    gc = Gc.PRECISE if expectation(name)["precise"] else Gc.CONSERVATIVE
    stage = Stage.of(read_trace(FOLDER / f"{name}.trace.gz"), Collector.NEXT_FIT, gc, None, None)
    player = WasmPlayer(stage, has_bitmap=has_bitmap)
    player.advance(stage.trace.step_count)
    return result_of(stage, player, "wasm")


def test_the_vectors_are_there() -> None:
    needs.path(FOLDER, "the folder of vectors")
    assert len(SERVED) >= KNOWN


@pytest.mark.parametrize("name", SERVED)
@pytest.mark.share(3)
def test_all_is_as_recorded_where_there_is_no_memory_for_a_bitmap(name: str) -> None:
    """Then all marked objects are scanned again after an overflow, as by the original."""
    assert play(name, has_bitmap=False).as_vector() == expectation(name)


@pytest.mark.parametrize("name", SERVED)
@pytest.mark.share(5)
def test_all_is_as_recorded(name: str) -> None:
    assert play(name, has_bitmap=True).as_vector() == expectation(name)


def test_the_vectors_overflow_the_mark_stack() -> None:
    needs.path(FOLDER, "the folder of vectors")
    assert any(row[3] and row[4] for name in SERVED for row in expectation(name)["collections"])
