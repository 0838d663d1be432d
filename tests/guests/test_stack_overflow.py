"""A stack overflow is reported before the damage that it did to the heap, with evidence; and never of a sound stack."""

from __future__ import annotations

import re

import pytest

import guests_modules
from guests import collectors
from guests.texts import GO, SHELL
from tinyheap.errors import GuestTrapError, HeapCorruptError, StackOverflowError, TinyheapError
from tinyheap.guests.policy import Policy
from tinyheap.guests.program import Program
from tinyheap.guests.serve import verification
from tinyheap.guests.serve.stack_overflow import stack_overflow
from tinyheap.heap.nextfit.model import Model
from tinyheap.hosts import Grants
from tinyheap.recognize.identify import block_heap, identify
from tinyheap.wasm import Module

POLICIES = {
    "plain": Policy(),
    "verify": Policy(verify=True),
    "guard": Policy(guard=True),
    "often": Policy(verify=True, gc_every=10),
}
AMONG_VARIABLES = r"its stack pointer is at 0x[0-9a-f]+, among the program's variables"
CANARY = r"the canary at the end of its goroutine's stack, [\d,]+ bytes from 0x[0-9a-f]+, was overwritten"
TOO_SMALL = r"its stack pointer is at 0x[0-9a-f]+, in an object too small to be a goroutine's stack"
BELOW = r"its stack pointer is [\d,]+ bytes below the start of its memory"


def nested(depth: int) -> str:
    return f"package a\nvar x = {'(' * depth}1{')' * depth}\nfunc f(){{{'{' * depth}{'}' * depth}}}\n"


def faulty(*, stack_first: bool = True) -> bytes:
    build = collectors.Build("2", link_time=False, precise=False, tasks=False, explicit=False)
    return collectors.compiled(build, "faults.c", stack_first=stack_first)


def formatting(name: str, text: str, policy: Policy) -> str:
    """What comes of a format, in the words of its error."""
    with Program.open(guests_modules.path(name), Grants(seed=1), policy) as program:
        program.start()
        try:
            program.driver().format(text)
            assert program.heap is not None
            program.heap.finish()
        except TinyheapError as error:
            return f"{type(error).__name__}: {error}"
    return "fine"


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("depth", [60, 200, 1000])
def test_a_goroutine_that_recurses_too_deep_is_named_whatever_it_wrote_over(policy: str, depth: int) -> None:
    words = formatting("gofmt-0.4.9", nested(depth), POLICIES[policy])
    evidence = f"the program's stack overflowed \\(({AMONG_VARIABLES}|{CANARY}|{TOO_SMALL}|{BELOW})\\)"
    assert re.match(f"(GuestTrapError|StackOverflowError): {evidence}", words), words
    if words.startswith("StackOverflowError"):
        assert "wrote over its heap or its variables: " in words


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", ["small", "mistake", "nested"])
@pytest.mark.share(3, in_ci=5)
def test_a_sound_stack_is_not_blamed(policy: str, kind: str) -> None:
    for name, texts in (("gofmt-0.4.9", GO), ("sh-syntax-0.3.7", SHELL), ("sh-syntax-0.5.8", SHELL)):
        assert "stack" not in formatting(name, texts[kind], POLICIES[policy])


@pytest.mark.parametrize("module", ["gofmt-0.4.9", "sh-syntax-0.4.0", "sh-syntax-0.5.8"])
def test_each_allocation_of_a_sound_program_has_a_sound_stack(module: str) -> None:
    """Wherever it is asked, in `main` and in goroutines, there is no overflow."""
    seen: list[object] = []

    def look(_: object) -> None:
        assert program.session.explain_trap is not None
        seen.append(program.session.explain_trap())

    with Program.open(guests_modules.path(module), Grants(seed=1), Policy(gc_every=50), listener=look) as program:
        program.start()
        texts = GO if module.startswith("gofmt") else SHELL
        program.driver().format(texts["medium"])
    assert len(seen) > 20
    assert set(seen) == {None}


@pytest.mark.parametrize("policy", POLICIES)
def test_a_system_stack_that_comes_first_ends_below_its_memory(policy: str) -> None:
    with Program.open(faulty(), policy=POLICIES[policy]) as program:
        program.start()
        assert program.call("recurse", 50)
    with Program.open(faulty(), policy=POLICIES[policy]) as program:
        program.start()
        with pytest.raises(GuestTrapError, match=rf"stack overflowed \({BELOW}\), and it trapped \(memory") as caught:
            program.call("recurse", 1000)
        assert re.search(r"recurse \d+ times < \.\.\. \(what called that is not known\)", str(caught.value))
        assert len(caught.value.frames) == 20


def test_calls_within_calls_have_an_end_too() -> None:
    with Program.open(faulty()) as program:
        program.start()
        with pytest.raises(
            GuestTrapError, match=r"stack overflowed \(calls within calls\) in descend \d+ times"
        ) as caught:
            program.call("descend", 10**9)
        assert caught.value.exit_code == 134


@pytest.mark.parametrize("policy", ["verify", "guard"])
def test_a_stack_behind_the_variables_is_seen_among_them(policy: str) -> None:
    wasm = faulty(stack_first=False)
    roots = block_heap(identify(Module.parse(wasm))).roots
    assert roots.stack_top_address is not None
    assert roots.globals_start_address < roots.stack_top_address
    with Program.open(wasm, policy=POLICIES[policy]) as program:
        program.start()
        assert program.call("recurse", 50)
        evidence = rf"the program's stack overflowed \({AMONG_VARIABLES}|{BELOW}\)"
        with pytest.raises((HeapCorruptError, GuestTrapError), match=evidence):
            program.call("recurse", 65)


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        (None, r"^a node leads nowhere$"),
        ("its canary is gone", r"the program's stack overflowed \(its canary is gone\) .*: a node leads nowhere$"),
    ],
)
def test_damage_that_an_allocation_meets_is_blamed_on_a_stack_that_overflowed(
    evidence: str | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meet_damage(*_: object) -> int:
        raise HeapCorruptError("a node leads nowhere")

    monkeypatch.setattr(Model, "alloc", meet_damage)
    monkeypatch.setattr(verification, "stack_overflow", lambda *_: evidence)
    with Program.open(faulty(), policy=Policy(engine="model")) as program:
        program.start()
        with pytest.raises(HeapCorruptError if evidence is None else StackOverflowError, match=words):
            program.call("make", 64, 3, 0)


def test_what_is_no_evidence_is_none() -> None:
    facts = block_heap(identify(Module.parse(faulty())))
    memory = memoryview(bytearray(4 << 16))
    for sound in (0, 16, facts.roots.stack_top_address or 0, 3 << 16):
        assert stack_overflow(facts, memory, None, sound) is None
    assert stack_overflow(facts, memory, None, (facts.roots.stack_top_address or 0) + 16) is not None
    assert (
        stack_overflow(facts, memory, None, (1 << 32) - 16)
        == "its stack pointer is 16 bytes below the start of its memory"
    )
