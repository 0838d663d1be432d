"""The literal C port of best-fit is an honest peer: it does what the original did, and what tinyheap's engines do."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

import pytest

import needs
from benchmarks import peers
from tinyheap.heap.collectors import Collector
from tinyheap.traces.replay import replay
from tinyheap.traces.trace import read_trace, write_trace
from tinyheap.traces.workloads import WORKLOADS, WorkloadOptions, generate
from tinyheap.units import KIB

OLDER: Final = Path(os.environ.get("TINYHEAP_VECTORS") or Path(__file__).resolve().parents[3] / "shared" / "vectors")
VECTORS: Final = OLDER.parent / "vectors-newer" / "0.41"
NAMES: Final = sorted(path.stem for path in VECTORS.glob("*.json"))
KNOWN: Final = 106
NOT_PRINTED: Final = {"final_ranges", "ranges_after"}
FRONT: Final = Collector.BEST_FIT_FRONT


@pytest.fixture(autouse=True)
def compiler() -> None:
    needs.tool(peers.COMPILER)


def test_the_vectors_are_there() -> None:
    needs.path(VECTORS, "the folder of vectors of newer generations")
    assert len(NAMES) >= KNOWN


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.share(20)
def test_it_does_what_the_original_did(name: str, tmp_path: Path) -> None:
    expected = json.loads((VECTORS / f"{name}.json").read_bytes())
    newer = VECTORS.parent / "traces" / f"{name}.trace.gz"
    write_trace(tmp_path / "t", read_trace(newer if newer.exists() else OLDER / f"{name}.trace.gz"))
    port = peers.literal(expected["word_bytes"], precise=expected["precise"], collector=FRONT)
    said = peers.run(port, tmp_path / "t", "--full")
    if not expected["final_map"]:  # left out for large heaps
        expected["final_map"] = said["final_map"]
    kept = expected.keys() - NOT_PRINTED
    assert {key: said[key] for key in kept} == {key: expected[key] for key in kept}


@pytest.mark.parametrize("precise", [False, True])
@pytest.mark.parametrize("word_bytes", [2, 4, 8])
@pytest.mark.parametrize("name", [name for name, workload in WORKLOADS.items() if not workload.has_finalizers])
@pytest.mark.share(20)
def test_it_does_what_our_engine_does(name: str, word_bytes: int, precise: bool, tmp_path: Path) -> None:
    program = generate(name, WorkloadOptions(heap_bytes=32 * KIB, word_bytes=word_bytes, steps=2000, precise=precise))
    write_trace(tmp_path / "t", program)
    said = peers.run(peers.literal(word_bytes, precise=precise, collector=FRONT), tmp_path / "t", "--full")
    ours = replay(program, "precise" if precise else "conservative", collector=FRONT).as_vector()
    if not ours["final_map"]:
        ours["final_map"] = said["final_map"]
    kept = ours.keys() - NOT_PRINTED
    assert {key: said[key] for key in kept} == {key: ours[key] for key in kept}
