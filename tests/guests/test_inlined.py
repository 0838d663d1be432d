"""What the compiler inlined into a function of the runtime is the program's: each call there is a site of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from guests import collectors
from guests.recorded import Kept
from small_recordings import known
from tinyheap import profile
from tinyheap.guests.policy import Policy
from tinyheap.guests.program import Program
from tinyheap.guests.record.recorder import Recorder
from tinyheap.profile.stacks import is_runtime
from tinyheap.recordings.recording import Recording
from tinyheap.report.live.statistics import LiveStatistics

ROUNDS = 2400
HOLDER = "runtime.run$1"


def run(recorder: Recorder, gc_every: int | None = 100) -> None:
    build = collectors.Build("2", link_time=False, precise=False, tasks=False, explicit=False)
    wasm = collectors.compiled(build, "inlined.c")
    with Program.open(wasm, policy=Policy(gc_every=gc_every), recording=recorder) as program:
        program.start()
        program.call("tinygo_launch", ROUNDS)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recording]:
    path = tmp_path_factory.mktemp("inlined") / "inlined.tinyheap"
    run(Recorder.to_file(path))
    with Recording.open(path) as found:
        yield found


def test_each_call_is_a_site_of_its_own_with_its_name_and_place(recording: Recording) -> None:
    sites = profile.by_site(recording)
    assert [site.own_objects for site in sites] == [ROUNDS, 64, ROUNDS]
    assert {site.site.function for site in sites} == {HOLDER}
    assert len({site.name for site in sites}) == 3
    assert all(site.name == f"{HOLDER}+{site.site.code_offset:#x}" for site in sites)
    assert [site.live_objects for site in sites][2] == ROUNDS, "all of the audit lives"


def test_a_leak_among_them_is_found(recording: Recording) -> None:
    found = known(profile.leak_suspects(recording))
    assert found.collections > 40
    audit = min(profile.by_site(recording), key=lambda site: site.own_bytes / site.own_objects)
    assert [suspect.site for suspect in found.suspects] == [audit.site]


def test_advice_on_how_often_to_collect_is_good(tmp_path: Path) -> None:
    run(Recorder.to_file(tmp_path / "seldom.tinyheap"), gc_every=None)
    with Recording.open(tmp_path / "seldom.tinyheap") as recording:
        found = known(profile.leak_suspects(recording))
    assert not found.can_tell
    run(Recorder.to_file(tmp_path / "often.tinyheap"), gc_every=found.enough_at)
    with Recording.open(tmp_path / "often.tinyheap") as recording:
        assert known(profile.leak_suspects(recording)).can_tell


def test_who_watches_sees_the_same_function() -> None:
    kept = Kept()
    run(kept.recorder)
    assert kept.run is not None
    statistics = LiveStatistics(kept.run, kept.frames)
    for batch in kept.batches:
        statistics.take(batch)
    assert [(owner.name, owner.objects) for owner in statistics.view(9).owners] == [(HOLDER, 2 * ROUNDS + 64)]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("runtime.run", False),
        ("runtime.run$1", False),
        ("runtime.run$1$gowrapper", False),
        ("runtime.run$1.llvm.4711", False),
        ("runtime.initAll", False),
        ("runtime.wasmEntryCommand", False),
        ("main.worker$1$gowrapper", False),
        ("main.main", False),
        ("runtimes.run", False),
        ("runtime.runtimePanic", True),
        ("runtime.alloc", True),
        ("runtime.sliceAppend", True),
        ("runtime.scheduler", True),
    ],
)
def test_which_functions_are_the_runtimes_alone(function: str, expected: bool) -> None:
    assert is_runtime(function) == expected
