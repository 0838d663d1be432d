"""The literal C port is an honest peer: it does what the original did, and what tinyheap's engines do."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

import pytest

import needs
from benchmarks import peers
from tinyheap.traces.replay import replay
from tinyheap.traces.trace import read_trace, write_trace
from tinyheap.traces.workloads import WORKLOADS, WorkloadOptions, generate
from tinyheap.units import KIB

VECTORS: Final = Path(os.environ.get("TINYHEAP_VECTORS") or Path(__file__).resolve().parents[3] / "shared" / "vectors")
NAMES: Final = sorted(path.name.removesuffix(".json") for path in VECTORS.glob("*.json"))
BOUNDED_WORDS: Final = 8
KNOWN: Final = 64


@pytest.fixture(autouse=True)
def compiler() -> None:
    needs.tool(peers.COMPILER)


def play_literal(trace: Path, word_bytes: int, *options: str, precise: bool, counted: bool = False) -> dict[str, Any]:
    return peers.run(peers.literal(word_bytes, precise=precise, counted=counted), trace, *options)


def test_the_vectors_are_there() -> None:
    needs.path(VECTORS, "the folder of vectors")
    assert len(NAMES) >= KNOWN


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.share(20)
def test_it_does_what_the_original_did(name: str, tmp_path: Path) -> None:
    expected = json.loads((VECTORS / f"{name}.json").read_bytes())
    write_trace(tmp_path / "t", read_trace(VECTORS / f"{name}.trace.gz"))
    said = play_literal(tmp_path / "t", expected["word_bytes"], "--full", precise=expected["precise"])
    if not expected["final_map"]:  # left out for large heaps
        expected["final_map"] = said["final_map"]
    assert {key: said[key] for key in expected} == expected


@pytest.mark.parametrize("precise", [False, True])
@pytest.mark.parametrize("word_bytes", [2, 4, 8])
@pytest.mark.parametrize("name", [name for name, workload in WORKLOADS.items() if not workload.has_finalizers])
@pytest.mark.share(20)
def test_it_does_what_our_engine_does(name: str, word_bytes: int, precise: bool, tmp_path: Path) -> None:
    program = generate(name, WorkloadOptions(heap_bytes=32 * KIB, word_bytes=word_bytes, steps=2000, precise=precise))
    write_trace(tmp_path / "t", program)
    said = play_literal(tmp_path / "t", word_bytes, "--full", precise=precise)
    gc = "precise" if precise else "conservative"
    ours = replay(program, gc, mark_stack_entries=BOUNDED_WORDS * word_bytes).as_vector()
    if not ours["final_map"]:
        ours["final_map"] = said["final_map"]
    assert {key: said[key] for key in ours} == ours


def test_counting_changes_nothing_but_the_counts(tmp_path: Path) -> None:
    write_trace(tmp_path / "t", generate("lists", WorkloadOptions(heap_bytes=32 * KIB, steps=20_000)))
    plain = play_literal(tmp_path / "t", 4, precise=False)
    counted = play_literal(tmp_path / "t", 4, precise=False, counted=True)
    assert counted.pop("blocks_examined") > 0
    assert counted.pop("words_scanned") > 0
    assert {**counted, "total_ns": 0} == {**plain, "total_ns": 0}


def test_a_trace_for_another_build_is_an_error(tmp_path: Path) -> None:
    write_trace(tmp_path / "t", generate("lists", WorkloadOptions(heap_bytes=32 * KIB, steps=100)))
    with pytest.raises(peers.PeerError, match="another word size"):
        play_literal(tmp_path / "t", 8, precise=False)
