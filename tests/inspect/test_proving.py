"""Numbers that happen to be addresses are told from pointers, by running a program twice; no pointer is ever accused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guests import collectors
from tinyheap.errors import SnapshotError
from tinyheap.guests.policy import Policy
from tinyheap.guests.program import Program
from tinyheap.guests.record.recorder import Recorder
from tinyheap.hosts import Grants
from tinyheap.inspect.graph import NONE
from tinyheap.inspect.inspection import Inspection
from tinyheap.inspect.proving import Meaning, Proof, SecondRun, _numbers, _Runs, prove, same_objects
from tinyheap.profile.origins import births_of, origins_of
from tinyheap.recordings.recording import Recording
from tinyheap.snapshots.moments import Moment, MomentKind
from tinyheap.snapshots.snapshot import Births

ROUNDS = 1500
NUMBER_OFFSET = 4
"""Of the number in each object."""
NEXT_OFFSET = 0


def ran(wasm: bytes, path: Path, policy: Policy, rounds: int = ROUNDS) -> tuple[Inspection, Births]:
    """The end of a run, and all that it allocated."""
    with Program.open(
        wasm, Grants(seed=1), policy, recording=Recorder.to_file(path), snapshot_at=Moment(MomentKind.END)
    ) as program:
        program.start()
        program.call("tinygo_launch", rounds)
        snapshot = program.snapshot_taken
    assert snapshot is not None
    assert snapshot.allocations is not None
    with Recording.open(path) as recording:
        inspection = Inspection.of(replace(snapshot, origins=origins_of(recording, snapshot.allocations)), wasm)
        return inspection, births_of(recording, snapshot.allocations)


def built(optimization: str, dwarf: int | None) -> bytes:
    build = collectors.Build(optimization, link_time=False, precise=False, tasks=False, explicit=False)
    return collectors.compiled(build, "numbers.c", dwarf=dwarf)


Runs = tuple[Inspection, SecondRun]


@pytest.fixture(scope="module", params=[("2", None), ("z", None), ("2", 4)], ids=["2", "z", "debug"])
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    wasm, folder = built(*request.param), tmp_path_factory.mktemp("proof")
    first, births = ran(wasm, folder / "first.tinyheap", Policy(gc_every=200))
    second, own_births = ran(wasm, folder / "second.tinyheap", Policy(leaking=True, offset_blocks=7))
    return first, SecondRun(second, births, own_births)


def table_of_numbers(inspection: Inspection) -> tuple[int, int]:
    """Where the program's table of numbers begins and ends, by what is in it: they are constants of the source."""
    memory = inspection.snapshot.memory
    first = (0x11004).to_bytes(4, "little") + (0x11004 + 0x1B0).to_bytes(4, "little")
    at = bytes(memory).find(first)
    return at, at + 96 * 4


@pytest.mark.share(1)
def test_every_word_is_what_the_source_says(runs: Runs) -> None:
    inspection, second = runs
    graph = inspection.graph
    moved_numbers = _numbers(second.inspection.graph, second.own_births)
    numbers = same_objects(second.births, second.own_births)[moved_numbers]
    state = _Runs(graph, second.inspection.graph, _numbers(graph, second.births), numbers, second.births.address)
    references, roots = state.references(), state.roots()
    seen: set[object] = set()
    for reference, meaning in enumerate(references.tolist()):
        expected = {NUMBER_OFFSET: Meaning.NUMBER, NEXT_OFFSET: Meaning.POINTER}[int(graph.offsets[reference])]
        assert meaning in (expected, Meaning.STALE) if expected is Meaning.POINTER else meaning == expected
        seen.add(expected)
    start, end = table_of_numbers(inspection)
    for root, meaning in enumerate(roots.tolist()):
        if graph.holding_roots[root] != NONE and start <= int(graph.roots.address[root]) < end:
            assert meaning == Meaning.NUMBER
            seen.add("root")
    assert seen == {Meaning.NUMBER, Meaning.POINTER, "root"}


def proof_of(runs: Runs) -> Proof:
    return prove(*runs)


@pytest.mark.share(1)
def test_what_only_numbers_keep_is_what_no_pointer_reaches(runs: Runs) -> None:
    inspection, _ = runs
    proof = proof_of(runs)
    graph = inspection.graph
    start, end = table_of_numbers(inspection)
    pointed: set[int] = set()
    waiting = [
        int(target)
        for root, target in enumerate(graph.holding_roots.tolist())
        if target != NONE and not start <= int(graph.roots.address[root]) < end
    ]
    while waiting:
        found = waiting.pop()
        if found not in pointed:
            pointed.add(found)
            waiting += [
                int(graph.targets[each]) for each in graph.references_of(found) if graph.offsets[each] == NEXT_OFFSET
            ]
    alive = {each for each in range(len(graph)) if not graph.is_garbage[each]}
    assert proof.false_objects >= len(alive - pointed) > 0, (
        "other words may be numbers, too: counters, what a stack has left"
    )
    assert {word.meaning for word in proof.words} <= {Meaning.NUMBER, Meaning.STALE}
    assert proof.words
    assert proof.pointers > 30
    addresses = {each.target for each in proof.words}
    assert addresses <= {graph.address_of(each) for each in alive}


def births(sizes: Sequence[int], sites: Sequence[str] = ()) -> Births:
    names = ("", *sorted({*sites}))
    site = [names.index(each) for each in sites] or [0] * len(sizes)
    addresses = range(0x1000, 0x1000 + 16 * len(sizes), 16)
    address, size_bytes, made_by = (np.array([0, *column], np.int64) for column in (addresses, sizes, site))
    return Births(address, size_bytes, made_by, names)


@given(
    st.lists(st.integers(1, 30), min_size=200, max_size=400),
    st.lists(st.integers(0, 399), max_size=4),
    st.integers(1, 3),
)
def test_objects_are_the_same_but_for_some(sizes: list[int], where: list[int], count: int) -> None:
    truth, second = list(range(1, len(sizes) + 1)), list(sizes)
    for at in sorted({each % len(sizes) // 50 * 50 for each in where}, reverse=True):
        second[at:at] = [100] * count
        truth[at:at] = [0] * count
    found = same_objects(births(sizes), births(second))
    assert found[1:].tolist() == truth
    back = same_objects(births(second), births(sizes))
    assert [back[each] for each in truth if each] == [at for at, each in enumerate(truth, 1) if each]


def test_objects_of_other_sites_are_others() -> None:
    found = same_objects(births([8] * 40, ["a", "b"] * 20), births([8] * 41, ["b", *["a", "b"] * 20]))
    assert found.tolist() == [0, 0, *range(1, 41)]


def test_a_run_that_did_something_else_is_refused() -> None:
    with pytest.raises(SnapshotError, match="of its 100 allocations 100 were not made then"):
        same_objects(births([8] * 100), births([16] * 100))


def test_a_run_that_was_not_recorded_is_refused(runs: Runs) -> None:
    first, second = runs
    with pytest.raises(SnapshotError, match="was not recorded"):
        prove(replace(first, snapshot=replace(first.snapshot, origins=None)), second)
