"""Both engines of best-fit do what TinyGo 0.40 to 0.42 did, to the last statistic.

As `test_vectors`, for the newer generations; vectors that both have are of the same programs.  The folder lies beside the
other one.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

import pytest

import needs
from engine_fixtures import BEST_FIT_KINDS, kind_id
from tinyheap.heap.collectors import Collector
from tinyheap.heap.contract import Gc
from tinyheap.traces.expectation import first_difference
from tinyheap.traces.replay import replay
from tinyheap.traces.trace import read_trace

pytestmark = pytest.mark.conformance

OLDER: Final = Path(os.environ.get("TINYHEAP_VECTORS") or Path(__file__).resolve().parents[3] / "shared" / "vectors")
FOLDER: Final = OLDER.parent / "vectors-newer"
GENERATIONS: Final = {Collector.BEST_FIT_FRONT: ("0.41", 106), Collector.BEST_FIT_BACK: ("0.42", 116)}
"""The folder of each collector, and how many vectors are known to be there."""


def folder_of(collector: Collector) -> Path:
    return FOLDER / GENERATIONS[collector][0]


def trace_of(name: str) -> Path:
    newer = FOLDER / "traces" / f"{name}.trace.gz"
    return newer if newer.exists() else OLDER / f"{name}.trace.gz"


def expectation(collector: Collector, name: str) -> dict[str, Any]:
    expected: dict[str, Any] = json.loads((folder_of(collector) / f"{name}.json").read_bytes())
    return expected


CASES: Final = [
    pytest.param(*kind, name, id=f"{kind_id(kind)}-{name}")
    for kind in BEST_FIT_KINDS
    for name in sorted(path.stem for path in folder_of(kind[1]).glob("*.json"))
]


@pytest.mark.parametrize("collector", GENERATIONS)
def test_the_vectors_are_there(collector: Collector) -> None:
    needs.path(FOLDER, "the folder of vectors of newer generations")
    assert len(list(folder_of(collector).glob("*.json"))) >= GENERATIONS[collector][1]


@pytest.mark.parametrize(("engine", "collector", "name"), CASES)
@pytest.mark.share(150, in_ci=len(CASES))
def test_vector(engine: str, collector: Collector, name: str) -> None:
    expected = expectation(collector, name)
    gc = Gc.PRECISE if expected["precise"] else Gc.CONSERVATIVE
    played = replay(read_trace(trace_of(name)), gc, engine, collector=collector)
    assert first_difference(expected, played, mark_stack=False) is None
    assert {key: value for key, value in played.as_vector().items() if key in expected} == expected
