"""Source lines of a running program: in recordings, and in messages about where it was stopped."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guests.recorded import Kept
from symbols import debug_builds
from symbols.test_reading import line_of
from tinyheap import profile
from tinyheap.errors import AllocationStopError, GuestError, GuestTrapError, HeapOverrunError, SymbolsError
from tinyheap.guests.cache import Cache
from tinyheap.guests.policy import Policy
from tinyheap.guests.program import NATIVE, Program
from tinyheap.guests.record.frames import Unfolding
from tinyheap.guests.record.recorder import Recorder
from tinyheap.guests.rewrite.sites import Sites
from tinyheap.recordings.batch import EVENT, STACK, Batch
from tinyheap.recordings.recording import Recording
from tinyheap.report.exports.pprof import pprof
from tinyheap.report.live.statistics import LiveStatistics
from tinyheap.report.sources import Sources
from tinyheap.symbols.places import Place, Places
from tinyheap.symbols.reading import places_of
from tinyheap.wasm import Module

ROUNDS = 300
AUDITED = "struct record *record = append"
FORGOTTEN = "forgotten = (word)(uintptr_t)alloc"
TABLE = "table[slot] = append"


def recorded(path: Path, wasm: bytes, **arguments: object) -> None:
    policy = None if arguments.get("gc") == NATIVE else Policy(gc_every=100)
    with Program.open(wasm, policy=policy, recording=path, **arguments) as program:  # type: ignore[arg-type]
        program.start()
        program.call("tinygo_launch", ROUNDS)


@pytest.fixture(scope="module", params=debug_builds.VERSIONS)
def recording(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recording]:
    path = tmp_path_factory.mktemp("lines") / "lines.tinyheap"
    recorded(path, debug_builds.built(request.param))
    with Recording.open(path) as found:
        yield found


@pytest.mark.share(1)
def test_a_site_is_a_line_of_the_function_that_was_inlined(recording: Recording) -> None:
    sites = {usage.name: usage.own_objects for usage in profile.by_site(recording)}
    assert sites == {
        f"main_main (inlined.c:{line_of(TABLE)})": 64,
        f"main_main (inlined.c:{line_of(AUDITED)})": ROUNDS,
        f"main_main (inlined.c:{line_of(FORGOTTEN)})": ROUNDS,
    }


def test_inlined_calls_are_frames_of_their_own(recording: Recording) -> None:
    query = """
        SELECT position, function, file, line, inlined, callee, code_offset >= 0 FROM stack_frames
        WHERE stack_id = (SELECT stack_id FROM events JOIN stacks ON stacks.id = stack_id ORDER BY events.id LIMIT 1)
        ORDER BY position
    """
    outer, holder, inlined, innermost = recording.sql(query).fetch()
    assert outer[1] == "launch"
    assert holder[1:] == ("runtime.run$1", "inlined.c", line_of("{ main_main(rounds); }"), False, "main_main", False)
    assert inlined[1:] == ("main_main", "inlined.c", line_of(TABLE), True, "runtime.sliceAppend", True)
    assert innermost[1:5] == ("runtime.sliceAppend", "inlined.c", line_of("uint8_t *made = alloc"), False)
    assert [each[0] for each in (outer, holder, inlined, innermost)] == [1, 2, 3, 4]


def test_lines_have_what_is_allocated_on_them_and_below(recording: Recording) -> None:
    lines = {usage.line: usage for usage in profile.by_line(recording)}
    assert lines[line_of(AUDITED)].own_objects == ROUNDS
    assert lines[line_of("{ main_main(rounds); }")].own_objects == 0
    assert lines[line_of("{ main_main(rounds); }")].total_objects == 64 + 2 * ROUNDS
    assert sum(usage.own_bytes for usage in lines.values()) == profile.totals(recording).allocated_bytes


@pytest.mark.share(1)
def test_the_stacks_weigh_what_they_weigh_without_lines(recording: Recording, tmp_path: Path) -> None:
    """Unfolding moves no object: by the module's own functions all is as it is without debug information."""
    recorded(tmp_path / "plain.tinyheap", debug_builds.without(debug_builds.built(4), ".debug_"))
    query = "SELECT object_id, size_bytes, address FROM events ORDER BY id"
    with Recording.open(tmp_path / "plain.tinyheap") as plain:
        assert plain.sql(query).fetch() == recording.sql(query).fetch()
        assert plain.sql("SELECT count(*) FROM frames WHERE inlined OR file IS NOT NULL OR line IS NOT NULL").one() == (
            0,
        )
        for name in ("launch", "runtime.run$1", "runtime.sliceAppend"):
            expected, found = (
                next(usage for usage in profile.by_function(each) if usage.function == name).total_bytes
                for each in (plain, recording)
            )
            assert found == expected, name


def test_a_flame_graph_marks_what_was_inlined(recording: Recording) -> None:
    graph = profile.flame_graph(recording)
    assert isinstance(graph, profile.FlameGraph)
    inlined = {node.name for _, node in graph.root.walk() if node.is_inlined}
    assert inlined == {"main_main"}
    assert graph.files["main_main"] == "inlined.c"


def test_pprof_has_files_and_lines(recording: Recording) -> None:
    profile_bytes = gzip.decompress(pprof(recording))
    assert b"inlined.c" in profile_bytes
    assert b"main_main" in profile_bytes


def test_live_statistics_name_lines() -> None:
    kept = Kept()
    with Program.open(debug_builds.built(4), policy=Policy(gc_every=100), recording=kept.recorder) as program:
        program.start()
        program.call("tinygo_launch", ROUNDS)
    assert kept.run is not None
    statistics = LiveStatistics(kept.run, kept.frames)
    for batch in kept.batches:
        statistics.take(batch)
    names = {owner.name: owner.objects for owner in statistics.view(8).owners}
    assert names[f"main_main (inlined.c:{line_of(AUDITED)})"] == ROUNDS


def test_sources_are_found_in_the_folder_that_was_named(recording: Recording) -> None:
    sources = Sources([debug_builds.SOURCE.parent])
    for usage in profile.by_line(recording):
        text = sources.lines(usage.file)
        assert text is not None
        assert usage.line <= len(text)


@pytest.mark.parametrize("gc", ["default", NATIVE])
@pytest.mark.share(1)
def test_lines_may_come_from_another_file(tmp_path: Path, gc: str) -> None:
    whole = debug_builds.built(5)
    recorded(tmp_path / "a.tinyheap", debug_builds.without(whole, ".debug_"), symbols=whole, gc=gc)
    with Recording.open(tmp_path / "a.tinyheap") as found:
        lines = {usage.line: usage.own_objects for usage in profile.by_line(found) if usage.own_objects}
    assert lines == {line_of(TABLE): 64, line_of(AUDITED): ROUNDS, line_of(FORGOTTEN): ROUNDS}


def test_functions_without_names_have_those_of_debug_information(tmp_path: Path) -> None:
    recorded(tmp_path / "a.tinyheap", debug_builds.without(debug_builds.built(4), "name"))
    with Recording.open(tmp_path / "a.tinyheap") as found:
        functions = {function for (function,) in found.sql("SELECT function FROM frames").fetch()}
    assert functions == {"launch", "runtime.run$1", "main_main", "runtime.sliceAppend"}


def test_symbols_of_another_build_are_refused(tmp_path: Path) -> None:
    for gc in ("default", NATIVE):
        with pytest.raises(SymbolsError, match="the same, byte for byte"):
            Program.open(debug_builds.built(4), symbols=debug_builds.built(4, "mutator.c"), gc=gc)
    with pytest.raises(SymbolsError, match="expected a module with debug information"):
        Program.open(debug_builds.built(4), symbols=b"nothing")
    with pytest.raises(GuestError, match="invalid symbols 7: expected a path or bytes"):
        Program.open(debug_builds.built(4), symbols=7)  # type: ignore[arg-type]
    with pytest.raises(GuestError, match="No such file"):
        Program.open(debug_builds.built(4), symbols=tmp_path / "none.wasm")


def test_full_paths_are_kept_where_they_are_asked_for(tmp_path: Path) -> None:
    recorded(tmp_path / "a.tinyheap", debug_builds.built(4), full_paths=True)
    with Recording.open(tmp_path / "a.tinyheap") as found:
        assert found.sql("SELECT DISTINCT file FROM frames").fetch() == [(str(debug_builds.SOURCE),)]


def test_debug_information_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, read = Cache(tmp_path / "cache"), []

    def counted(module: Module, addresses: Sequence[int]) -> Places:
        read.append(addresses)
        return places_of(module, addresses)

    monkeypatch.setattr("tinyheap.symbols.reading.places_of", counted)
    for name in ("first", "second"):
        recorded(tmp_path / f"{name}.tinyheap", debug_builds.built(4), cache=cache)
    with Recording.open(tmp_path / "second.tinyheap") as found:
        assert len(profile.by_line(found)), "what was read is kept"
    assert len(read) == 1


def test_what_cannot_be_read_is_said_and_the_run_is_recorded(tmp_path: Path) -> None:
    wasm = bytearray(debug_builds.built(4))
    at = wasm.index(b".debug_abbrev") + len(b".debug_abbrev")
    wasm[at : at + 64] = b"\xff" * 64
    with pytest.warns(UserWarning, match="without source lines: the module's debug information cannot be read"):
        recorded(tmp_path / "a.tinyheap", bytes(wasm), cache=Cache(None))
    with Recording.open(tmp_path / "a.tinyheap") as found:
        assert profile.totals(found).allocations == 64 + 2 * ROUNDS
        assert not len(profile.by_line(found))


# ---- where a program is stopped ---------------------------------------------------------------------------------------

STOPPED_AT = f"main_main (inlined.c:{line_of(FORGOTTEN)}, inlined)"


@pytest.mark.parametrize("is_recorded", [False, True])
@pytest.mark.parametrize("guard", [False, True])
@pytest.mark.share(1)
def test_a_stop_names_the_line(tmp_path: Path, *, guard: bool, is_recorded: bool) -> None:
    policy = Policy(stop_at_allocation=66, guard=guard)
    recorder = Recorder.to_file(tmp_path / "a.tinyheap") if is_recorded else None
    with Program.open(debug_builds.built(4), policy=policy, recording=recorder) as program:
        program.start()
        with pytest.raises(AllocationStopError) as stopped:
            program.call("tinygo_launch", ROUNDS)
    assert stopped.value.callers[:2] == (STOPPED_AT, f"runtime.run$1 (inlined.c:{line_of('{ main_main(rounds); }')})")


def test_an_overrun_names_the_line_of_its_object() -> None:
    with Program.open(debug_builds.built(4, "faults.c"), policy=Policy(guard=True)) as program:
        program.start()
        address = program.call("make", 24, 0, 0)
        assert isinstance(address, int)
        program.call("fill", address, 28, 0x41)
        with pytest.raises(HeapOverrunError, match=r"by make \(faults\.c:\d+\)") as found:
            program.call("make", 24, 0, 1)
    assert found.value.callers[0].startswith("make (faults.c:")


@pytest.mark.parametrize("gc", ["default", NATIVE])
@pytest.mark.share(1)
def test_a_trap_names_the_line_it_happened_on(gc: str) -> None:
    with Program.open(debug_builds.built(4, "faults.c"), gc=gc) as program:
        program.start()
        with pytest.raises(GuestTrapError) as trapped:
            program.call("fill", 0x7FFF_0000, 64, 1)
    assert trapped.value.frames[0].startswith("fill (faults.c:")


# ---- unfolding --------------------------------------------------------------------------------------------------------


def unfolding(*chains: tuple[Place, ...]) -> Unfolding:
    """Of a module with a call instruction for each chain, all in function 1."""
    sites = Sites(names={1: "main.main", 2: "runtime.alloc"})
    for number in range(len(chains)):
        sites.add(1, 100 + number, 2)
    sites.places = Places.of({100 + number: chain for number, chain in enumerate(chains) if chain})
    return Unfolding(sites, full_paths=False)


def batch(stacks: list[tuple[int, int, int, int]], events: list[int]) -> Batch:
    made = Batch(0, np.zeros(len(events), EVENT), stacks=np.array(stacks, STACK))
    made.events["stack_id"] = events
    return made


def test_stacks_share_the_calls_that_they_share_in_the_source() -> None:
    outer = Place("main.main", "/p/main.go", 10)
    found = unfolding((outer, Place("a.A", "/p/a.go", 1)), (outer, Place("a.A", "/p/a.go", 2)), ())
    unfolded = found.unfold(batch([(1, 0, 1, 1), (2, 0, 2, 1), (3, 2, 3, 2)], [0, 1, 2, 3, 3]))
    assert [(number, parent, depth) for number, parent, _, depth in unfolded.stacks.tolist()] == [
        (1, 0, 1),
        (2, 1, 2),
        (3, 1, 2),
        (4, 3, 3),
    ]
    paths = {row[0]: row for row in unfolded.stacks.tolist()}
    assert unfolded.events["stack_id"].tolist() == [0, 2, 3, 4, 4]
    frames = {row.id: row for row in found.frames}
    assert (frames[paths[1][2]].function, frames[paths[1][2]].line, frames[paths[1][2]].callee) == (
        "main.main",
        10,
        "a.A",
    )
    assert [frames[paths[number][2]].inlined for number in (1, 2, 3, 4)] == [False, True, True, False]
    last = frames[paths[4][2]]
    assert (last.function, last.callee, last.file, last.line, last.code_offset) == (
        "main.main",
        "runtime.alloc",
        None,
        None,
        102,
    )


def test_a_stack_of_an_earlier_batch_stays_known() -> None:
    found = unfolding((Place("main.main", "/p/main.go", 10), Place("a.A", "/p/a.go", 1)))
    found.unfold(batch([(1, 0, 1, 1)], [1]))
    again = found.unfold(batch([], [1, 0]))
    assert len(again.stacks) == 0
    assert again.events["stack_id"].tolist() == [2, 0]


@st.composite
def trees(draw: st.DrawFn) -> tuple[list[tuple[Place, ...]], list[tuple[int, int, int, int]]]:
    """Chains of sites, and stacks of these as a recorder numbers them."""
    places = st.builds(
        Place, st.sampled_from(["a.A", "b.B"]), st.sampled_from(["/p/a.go", "/p/b.go"]), st.integers(1, 3)
    )
    chains = draw(st.lists(st.lists(places, max_size=3).map(tuple), min_size=1, max_size=6))
    stacks: list[tuple[int, int, int, int]] = []
    for number in range(1, draw(st.integers(1, 25)) + 1):
        parent = draw(st.integers(0, number - 1))
        depth = stacks[parent - 1][3] + 1 if parent else 1
        stacks.append((number, parent, draw(st.integers(1, len(chains))), depth))
    return chains, stacks


@given(trees(), st.integers(0, 25))
def test_each_stack_becomes_the_calls_of_its_sites(
    tree: tuple[list[tuple[Place, ...]], list[tuple[int, int, int, int]]], first: int
) -> None:
    chains, stacks = tree
    found = unfolding(*chains)
    rows: dict[int, tuple[int, int, int]] = {}
    numbers: dict[int, int] = {0: 0}
    for part in (stacks[:first], stacks[first:]):
        unfolded = found.unfold(batch(part, [each[0] for each in part]))
        numbers |= dict(zip([each[0] for each in part], unfolded.events["stack_id"].tolist(), strict=True))
        for number, parent, frame, depth in unfolded.stacks.tolist():
            assert number not in rows
            assert parent < number
            assert depth == (rows[parent][2] + 1 if parent else 1)
            rows[number] = parent, frame, depth
    calls: dict[int, tuple[tuple[int | None, bool], ...]] = {0: ()}
    for number, parent, site, _ in stacks:
        lines = tuple((place.line, at > 0) for at, place in enumerate(chains[site - 1]))
        calls[number] = calls[parent] + (lines or ((None, False),))
    for number, expected in calls.items():
        assert path_of(found, rows, numbers[number]) == expected


def path_of(
    found: Unfolding, rows: dict[int, tuple[int, int, int]], number: int
) -> tuple[tuple[int | None, bool], ...]:
    """The lines on a stack, outermost first, and whether each is in a function that was inlined."""
    path: list[tuple[int | None, bool]] = []
    while number:
        number, frame, _ = rows[number]
        path.insert(0, (found.frames[frame - 1].line, found.frames[frame - 1].inlined))
    return tuple(path)
