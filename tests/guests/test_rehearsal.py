"""Rehearsals: a module's own allocator is what it was taken for, and what it leaves is understood."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import guests_modules
from guests import pairs, test_equality, texts
from tinyheap.guests import Program
from tinyheap.guests.policy import Policy
from tinyheap.guests.rehearse.guest_alone import RehearsalError
from tinyheap.guests.rehearse.rehearsal import Rehearsed, rehearse
from tinyheap.guests.serve.residue import (
    OF_ALLOCATIONS,
    Case,
    Kind,
    Residue,
    Residues,
    Word,
    decode_residues,
    encode_residues,
    left_by_allocations,
)
from tinyheap.guests.serve.tracing import Walk
from tinyheap.heap.geometry import Geometry
from tinyheap.profile.summary import totals
from tinyheap.recognize.facts import BestFitHeap, HeaderPlace
from tinyheap.recognize.identify import identify
from tinyheap.recordings import Recording
from tinyheap.wasm import Module

NAMES = ["sh-syntax-0.6.0", "sh-syntax-0.7.0", "gofeatureflag-1.3.0", "eu-licence-validator-0.1.27"]
PLAIN = Case(*[False] * len(Case._fields))


def heap_of(name: str) -> tuple[Module, BestFitHeap]:
    module = Module.parse(guests_modules.read(name))
    heap = identify(module).best_fit
    assert heap is not None
    return module, heap


@cache
def rehearsed(name: str) -> Rehearsed:
    return pairs.rehearsed(guests_modules.read(name))


@pytest.mark.parametrize("name", guests_modules.cases(NAMES, in_ci=["sh-syntax-0.7.0", "eu-licence-validator-0.1.27"]))
def test_the_allocators_of_real_modules_are_what_they_are_taken_for(name: str) -> None:
    residue = rehearsed(name).residues.functions[0]
    assert {PLAIN, PLAIN._replace(splits=True)} <= set(residue.words)
    assert any(case.collects and case.grows for case in residue.words)
    found = {(word.kind, word.variable) for words in residue.words.values() for word in words}
    assert {(Kind.VARIABLE, "taken"), (Kind.VARIABLE, "take.link"), (Kind.VARIABLE, "put.node")} <= found
    # Its record is chained, and says how many pointers it has.
    assert any(kind is Kind.STACK for kind, _ in found)
    assert any(kind is Kind.CONSTANT for kind, _ in found)


@pytest.mark.slow
def test_a_rehearsal_is_the_same_each_time() -> None:
    again = rehearse(*heap_of("eu-licence-validator-0.1.27"))
    known = rehearsed("eu-licence-validator-0.1.27")
    assert again.facts == known.facts
    assert encode_residues(again.residues) == encode_residues(known.residues)


@pytest.mark.slow
def test_another_seed_explains_the_usual_allocations_in_the_same_way() -> None:
    other = rehearse(*heap_of("eu-licence-validator-0.1.27"), seed=7).residues.functions[0]
    known = rehearsed("eu-licence-validator-0.1.27").residues.functions[0]
    for case in (PLAIN, PLAIN._replace(splits=True)):
        assert tuple(other.words[case]) == known.words[case]


def wrong_facts(heap: BestFitHeap) -> dict[str, BestFitHeap]:
    return {
        "header": replace(heap, header_place=HeaderPlace.BACK, header_bytes=8),
        "list": replace(heap, free_ranges_address=heap.scan_list_address),
        "layouts": replace(heap, is_precise=False),
        "start": replace(heap, heap_start_address=(heap.heap_start_address or 0) + 16),
    }


@pytest.mark.parametrize("what", ["header", "list", "layouts", "start"])
@pytest.mark.share(1)
def test_an_allocator_that_does_otherwise_is_refused(what: str) -> None:
    module, heap = heap_of("eu-licence-validator-0.1.27")
    with pytest.raises(RehearsalError):
        rehearse(module, wrong_facts(heap)[what])


words = st.builds(
    Word,
    st.integers(1, 256).map(lambda index: 4 * index),
    st.sampled_from(Kind),
    st.sampled_from(["taken", "chain", "scan.word"]),
    st.integers(-(1 << 32), 1 << 32),
)
residues = st.builds(
    Residue,
    st.dictionaries(st.tuples(*[st.booleans()] * len(Case._fields)).map(Case._make), st.lists(words).map(tuple)),
    st.lists(st.integers(4, 1024)).map(tuple),
    st.lists(st.integers(4, 1024)).map(tuple),
    st.booleans(),
    st.dictionaries(
        st.tuples(*[st.booleans()] * len(Case._fields)).map(Case._make),
        st.lists(st.lists(words).map(tuple)).map(tuple),
        max_size=2,
    ),
)


@settings(max_examples=25)
@given(st.builds(Residues, st.dictionaries(st.integers(0, 3), residues), st.binary()))
@pytest.mark.slow
def test_what_is_learned_survives_being_written(learned: Residues) -> None:
    assert decode_residues(encode_residues(learned)) == learned


@pytest.mark.parametrize("data", [b"", b"7", b"[1]", b"[[0]]", b"[[0, 1, 2, 3, 4, 5]]", b"[[0, [], [], [], 0, [], 0]]"])
def test_residues_that_are_none_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not residues"):
        decode_residues(data)


def test_values_come_from_variables() -> None:
    geometry = Geometry(0x10000, 4096, 4)
    variables = {"taken": 0x10040}
    for word, value in (
        (Word(4, Kind.CONSTANT, "", 24), 24),
        (Word(4, Kind.STACK, "", -104), 0x8000 - 104),
        (Word(4, Kind.VARIABLE, "taken", 4), 0x10044),
        (Word(4, Kind.VARIABLE, "task", 4), 0),
        (Word(4, Kind.CELL, "taken", 0), geometry.table_address + 1),
    ):
        assert word.value(variables, 0x8000, geometry) == value


def test_compiled_code_gets_four_numbers_a_word() -> None:
    residue = Residue(
        {PLAIN: (Word(52, Kind.VARIABLE, "taken", -4), Word(56, Kind.VARIABLE, f"{Walk.BUILD}.link", 0))},
        (),
        (),
        False,
        {},
    )
    empty, plain, splits, lists = left_by_allocations(residue)
    assert (list(empty), list(splits), list(lists)) == ([], [], [])
    # What only collections set is nil.
    assert list(plain) == [52, 2, OF_ALLOCATIONS.index("taken"), (1 << 64) - 4, 56, 0, 0, 0]


@pytest.mark.parametrize("name", ["sh-syntax-0.6.0", "sh-syntax-0.7.0"])
@pytest.mark.parametrize(
    "policy",
    [
        Policy(leaking=True),
        Policy(clear_blocks=True),
        Policy(gc_every=1000),
        Policy(verify=True),
        Policy(verify=True, gc_every=2000),
        Policy(stop_at_allocation=1 << 40),
    ],
    ids=str,
)
@pytest.mark.share(3)
def test_no_policy_changes_the_output(name: str, policy: Policy) -> None:
    text = texts.kinds(name)["small"]
    ours = pairs.start_ours(test_equality.pair_of(name), policy)
    native = pairs.start_native(test_equality.pair_of(name))
    assert test_equality.formatted(ours, text) == test_equality.formatted(native, text)
    assert ours.heap is not None
    assert not ours.heap.problems()


@pytest.mark.slow
def test_a_recording_has_the_deaths_of_each_collection(tmp_path_factory: pytest.TempPathFactory) -> None:
    from tinyheap import formatters

    path = tmp_path_factory.mktemp("recorded") / "r.tinyheap"
    with Program.open(guests_modules.path("sh-syntax-0.7.0"), policy=Policy(gc_every=3000), recording=path) as program:
        program.start()
        driver = formatters.find(program.session)
        assert driver is not None
        driver.format(texts.kinds("sh-syntax-0.7.0")["medium"], "x.sh")
        collections = program.heap.collections if program.heap is not None else ()
    assert collections
    with Recording.open(path) as recording:
        assert totals(recording).freed_objects == sum(each.freed_objects for each in collections) > 0
