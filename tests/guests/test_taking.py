"""Snapshots of programs: at each kind of moment, of programs that are served and of those that keep their allocator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import guests_modules
from guests import collectors
from hosts.programs import command, module_bytes
from tinyheap.errors import GuestPhaseError, GuestTrapError, SnapshotError
from tinyheap.guests.policy import Policy
from tinyheap.guests.program import NATIVE, Program
from tinyheap.hosts import Grants
from tinyheap.profile.origins import origins_of
from tinyheap.recordings import Recording
from tinyheap.snapshots import Moment, MomentKind, Snapshot

GO = "package a\n" + "".join(f"func f{number}( x int) {{ g( x,{number} ) }}\n" for number in range(300))
TRAPS = command("unreachable")


def taken(moment: str, gc: str = "default", recording: Path | None = None) -> tuple[Snapshot | None, int]:
    """The snapshot of gofmt at a moment, and how many collections there were."""
    policy = None if gc == NATIVE else Policy(gc_every=2000)
    with Program.open(
        guests_modules.path("gofmt-0.4.9"), Grants(seed=1), policy, gc=gc, snapshot_at=moment, recording=recording
    ) as program:
        program.start()
        program.driver().format(GO, "a.go")
        return program.snapshot_taken, len(program.heap.collections) if program.heap else 0


def test_a_paused_program_is_taken_as_often_as_one_likes() -> None:
    with Program.open(guests_modules.path("gofmt-0.4.9")) as program:
        program.start()
        first = program.snapshot()
        assert first == program.snapshot()
        assert first.moment == Moment(MomentKind.NOW)
        assert first.module_name == "gofmt.wasm"
        assert bytes(first.memory) == program.memory.read(0, len(program.memory))
        assert program.heap is not None
        assert first.heap is not None
        assert first.heap.geometry == program.heap.geometry
        assert first.allocations == program.heap.stats().mallocs
        assert program.snapshot_taken is None
        program.driver().format(GO, "a.go")
        assert program.snapshot().allocations != first.allocations
    with pytest.raises(GuestPhaseError):
        program.snapshot()


def test_allocations_and_collections_are_taken_by_number() -> None:
    snapshot, collections = taken("allocation:5000")
    assert snapshot is not None
    assert snapshot.allocations == 4999
    assert snapshot.frames
    snapshot, _ = taken("collection:2")
    assert snapshot is not None
    assert snapshot.moment == Moment(MomentKind.COLLECTION, 2)
    assert snapshot.allocations is not None
    assert 2000 <= snapshot.allocations <= 4002
    assert collections >= 2
    assert taken(f"collection:{collections + 1}")[0] is None
    assert taken("allocation:100000000")[0] is None


def test_watching_an_allocation_changes_nothing() -> None:
    plain, collections = taken("end")
    watched, same = taken("end")
    assert plain == watched
    assert collections == same
    assert taken("allocation:777")[1] == collections


def test_the_peak_is_the_collection_that_leaves_most() -> None:
    snapshot, _ = taken("peak")
    assert snapshot is not None
    assert snapshot.moment == Moment(MomentKind.PEAK)
    with Program.open(guests_modules.path("gofmt-0.4.9"), Grants(seed=1), snapshot_at="peak") as program:
        program.start()
        without = program.snapshot_taken
        assert without is not None, "where nothing was collected it is the end"


def test_calls_are_taken_by_number() -> None:
    module = module_bytes(
        """(memory (export "memory") 1)
        (func (export "set") (param i32) i32.const 16 local.get 0 i32.store)"""
    )
    with Program.open(module, gc=NATIVE, snapshot_at="call:2") as program:
        program.start()
        for number in (10, 11, 12):
            program.call("set", number)
        snapshot = program.snapshot_taken
    assert snapshot is not None
    assert snapshot.word_at(16) == 11
    assert snapshot.heap is None


def test_a_trap_is_taken_with_its_words_and_its_stack() -> None:
    with Program.open(TRAPS, snapshot_at="trap") as program:
        before = program.snapshot_taken
        assert before is None
        with pytest.raises(GuestTrapError):
            program.start()
        snapshot = program.snapshot_taken
    assert snapshot is not None
    assert snapshot.trap is not None
    assert "trapped (unreachable)" in snapshot.trap
    assert len(snapshot.frames) == 1


def test_who_allocated_is_known_where_the_run_was_recorded(tmp_path: Path) -> None:
    path = tmp_path / "a.tinyheap"
    snapshot, _ = taken("allocation:3000", recording=path)
    assert snapshot is not None
    assert snapshot.allocations is not None
    with Recording.open(path) as recording:
        origins = origins_of(recording, snapshot.allocations)
    assert max(origins.number) == 2999
    assert list(origins.address) == sorted(set(origins.address))
    assert all(site < len(origins.sites) for site in origins.site)
    whole = replace(snapshot, origins=origins)
    assert Snapshot.from_bytes(whole.to_bytes()) == whole


def test_moments_that_nobody_sees_are_refused() -> None:
    for moment in ("allocation:1", "collection:1"):
        with pytest.raises(SnapshotError, match="of this program's own allocator cannot be seen"):
            Program.open(TRAPS, gc=NATIVE, snapshot_at=moment)
    with pytest.raises(SnapshotError, match="invalid moment 'noon'"):
        Program.open(TRAPS, snapshot_at="noon")
    with (
        Program.open(module_bytes('(func (export "f"))'), gc=NATIVE) as program,
        pytest.raises(SnapshotError, match="a snapshot needs the program's memory, and this one exports none"),
    ):
        program.snapshot()


def test_a_heap_that_has_not_begun_has_no_record() -> None:
    build = collectors.Build("2", link_time=False, precise=False, tasks=False, explicit=True)
    with Program.open(collectors.compiled(build)) as program:
        assert program.snapshot().heap is None
