"""What no rehearsal can explain is exact all the same: the original makes the call again, on a copy of the memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from guests import collectors, pairs
from guests.collectors import Build
from guests.pairs import Pair, Run
from tinyheap.errors import GuestTrapError
from tinyheap.guests.policy import Policy
from tinyheap.guests.program import Program
from tinyheap.guests.rehearse.rehearsal import rehearse
from tinyheap.guests.rehearse.requests import sizes_asked_for
from tinyheap.guests.serve.replay import Replay
from tinyheap.guests.serve.residue import Kind, Residue
from tinyheap.heap.growth import FixedStep
from tinyheap.profile.summary import totals
from tinyheap.recognize.facts import FixedRequest
from tinyheap.recognize.identify import identify
from tinyheap.recordings import Recording
from tinyheap.units import WASM_PAGE_BYTES
from tinyheap.wasm import Module

PLAIN = Build("2", link_time=False, precise=False, tasks=False, explicit=False, back=True)
SECRET = PLAIN._replace(secret=True)
FINALIZERS = PLAIN._replace(finalizers=True)
OWN_STACK = PLAIN._replace(tasks=True, own_stack=True)
ONE_SIZE = PLAIN._replace(link_time=True, one_size=True, back=False)
BUILDS = [
    SECRET,
    SECRET._replace(precise=True, tasks=True, back=False),
    SECRET._replace(explicit=True, optimization="z"),
    FINALIZERS,
    FINALIZERS._replace(explicit=True),
    FINALIZERS._replace(precise=True, tasks=True, optimization="s"),
    PLAIN._replace(smallest=True),
    ONE_SIZE,
    PLAIN._replace(indirect=True, tasks=True, saved=True, explicit=True, optimization="1"),
    PLAIN._replace(indirect=True, tasks=True, saved=True, explicit=True, precise=True, back=False),
]


def wasm_of(build: Build) -> bytes:
    return collectors.compiled(build, "best_fit_collector.c")


def pair_of(build: Build) -> Pair:
    return pairs.compiled(wasm_of(build))


def exercise(run: Run, build: Build) -> list[object]:
    """What a program's exports return, over a few collections."""
    found: list[object] = [run.session.call("run", 60, 6)]
    for count in (900, 2000, 50) if build.finalizers else ():
        found += [run.session.call("watch", count), run.session.call("run", 20, 6)]
    return found


@pytest.mark.parametrize("build", BUILDS, ids=str)
@pytest.mark.share(3, in_ci=4)
def test_all_is_the_same(build: Build) -> None:
    native, ours = pairs.start_native(pair_of(build)), pairs.start_ours(pair_of(build))
    assert exercise(native, build) == exercise(ours, build)
    pairs.assert_equal(native, ours)
    assert ours.heap is not None
    assert len(ours.heap.collections) > 1
    assert not ours.heap.problems()


def test_without_it_a_word_would_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    residues = pair_of(SECRET).residues
    assert residues is not None
    words = [word for found in residues.functions[0].words.values() for word in found]
    assert {word.kind for word in words} == {Kind.UNKNOWN}
    monkeypatch.setattr(Replay, "take", lambda _: False)
    native, ours = pairs.start_native(pair_of(SECRET)), pairs.start_ours(pair_of(SECRET))
    assert exercise(native, SECRET) == exercise(ours, SECRET)
    with pytest.raises(AssertionError, match=r"memory of .* differ"):
        pairs.assert_equal(native, ours)


def test_where_all_is_explained_nothing_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    copies: list[object] = []
    monkeypatch.setattr(Replay, "keep", lambda *arguments: copies.append(arguments))
    ours = pairs.start_ours(pair_of(PLAIN))
    exercise(ours, PLAIN)
    assert ours.heap is not None
    assert len(ours.heap.collections) > 1
    assert not copies


@pytest.mark.parametrize("back", [True, False])
@pytest.mark.parametrize("is_doubted", [False, True])
@pytest.mark.share(1)
def test_all_is_the_same_in_tasks_whose_dead_words_keep_objects(
    monkeypatch: pytest.MonkeyPatch, back: bool, is_doubted: bool
) -> None:
    """Whoever doubts has the call made first, and marks what survived: not in the original's order, but the same."""
    if is_doubted:
        monkeypatch.setattr(Residue, "is_understood", False)
    pair = pair_of(OWN_STACK._replace(back=back))
    assert pair.residues is not None
    left = [word for found in pair.residues.functions[0].words.values() for word in found]
    # By these words it shows which object was scanned last.
    assert {word.variable for word in left} <= {"scan.header", "scan.first"}
    native, ours = pairs.start_native(pair), pairs.start_ours(pair)
    assert ours.session.call("run_task", 80, 6) == native.session.call("run_task", 80, 6)
    pairs.assert_equal(native, ours)
    assert len(ours.tasks) > 1
    assert all(ours.tasks)


@pytest.mark.parametrize(
    "policy",
    [
        Policy(gc_every=100),
        Policy(gc_every=100, verify=True),
        Policy(growth=FixedStep(WASM_PAGE_BYTES)),
        Policy(clear_blocks=True),
    ],
    ids=str,
)
@pytest.mark.share(2)
def test_finalizers_are_run_under_other_policies(policy: Policy) -> None:
    ours = pairs.start_ours(pair_of(FINALIZERS), policy)
    for _ in range(4):
        finalized = ours.session.call("watch", 900)
    # All but the few that are kept, and what is not known to be dead yet.
    assert isinstance(finalized, int)
    assert finalized > 2 * sum(range(900))
    assert ours.heap is not None
    assert not ours.heap.problems()


@pytest.mark.parametrize("policy", [Policy(), Policy(gc_every=100)], ids=str)
@pytest.mark.share(1)
def test_a_recording_has_all_that_dies(policy: Policy, tmp_path: Path) -> None:
    path = tmp_path / "finalizers.tinyheap"
    with Program.open(wasm_of(FINALIZERS), policy=policy, recording=path) as program:
        program.start()
        program.call("watch", 3000)
        assert program.heap is not None
        collections = program.heap.collections
    with Recording.open(path) as recording:
        assert totals(recording).freed_objects == sum(each.freed_objects for each in collections) > 0


def test_a_finalizer_that_traps_ends_the_program_the_same() -> None:
    said = []
    for run in (pairs.start_native(pair_of(FINALIZERS)), pairs.start_ours(pair_of(FINALIZERS))):
        run.session.call("break_finalizers")
        with pytest.raises(GuestTrapError, match="unreachable") as trapped:
            run.session.call("watch", 5000)
        said.append(trapped.value.frames[0])
    assert said[0].split("+")[0] == said[1].split("+")[0]


@pytest.mark.slow
def test_an_allocator_that_relies_on_sizes_is_asked_for_those() -> None:
    module = Module.parse(wasm_of(PLAIN._replace(smallest=True)))
    facts = identify(module).best_fit
    assert facts is not None
    assert list(sizes_asked_for(module, facts)) == [12, 100]
    assert rehearse(module, facts).residues.functions[0].words
    other = Module.parse(wasm_of(PLAIN))
    others = identify(other).best_fit
    assert others is not None
    # What one of the calls asks for is computed.
    assert not sizes_asked_for(other, others)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.slow
def test_what_collections_see_is_found_where_all_objects_are_of_one_size(seed: int) -> None:
    module = Module.parse(wasm_of(ONE_SIZE))
    facts = identify(module).best_fit
    assert facts is not None
    rehearsed = rehearse(module, facts, seed)
    assert rehearsed.facts.fixed_request == FixedRequest(12, 0)
    # The end of its frame, where nothing is written before it collects.
    assert rehearsed.residues.functions[0].seen == (4, 8, 12, 16)
