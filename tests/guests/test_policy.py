"""Policies of a guest's heap: each is carried out, or refused with a reason; and the errors of an exhausted heap."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import guests_modules
from guests import collectors
from tinyheap.errors import (
    GuestError,
    GuestOutOfMemoryError,
    HeapCorruptError,
    HostError,
    PolicyError,
    UnsupportedGuestError,
)
from tinyheap.guests.cache import Cache
from tinyheap.guests.policy import Policy, headroom_text, parse_headroom
from tinyheap.guests.program import Program
from tinyheap.guests.serve.growing import MemorySteps
from tinyheap.heap.growth import Doubling, FixedStep, Growth, NoGrowth, parse_growth
from tinyheap.hosts import Grants
from tinyheap.units import WASM_PAGE_BYTES

GO = "package a\n" + "".join(f"func f{number}( x int) {{ g( x,{number} ) }}\n" for number in range(3000))
POINTER_FREE = 0x43


def gofmt(policy: Policy | None = None, **options: Any) -> Program:  # noqa: ANN401 - whatever open takes
    return Program.open(guests_modules.path("gofmt-0.4.9"), policy=policy, **options)


def faulty() -> bytes:
    build = collectors.Build("2", link_time=False, precise=True, tasks=False, explicit=True)
    return collectors.compiled(build, "faults.c")


@pytest.mark.parametrize("name", ["heap_limit_bytes", "gc_every", "stop_at_allocation"])
@pytest.mark.parametrize("value", [0, -1, 1 << 63, 10**23, 1.0, float("nan"), True, "5"], ids=repr)
def test_numbers_are_whole_and_from_1_on(name: str, value: object) -> None:
    with pytest.raises(
        PolicyError, match=f"invalid {name} .*: expected None or a whole number from 1 to 922337203685477"
    ):
        Policy(**{name: value})  # type: ignore[arg-type]
    for good in (1, (1 << 63) - 1):
        Policy(**{name: good})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("leaking", 1),
        ("verify", "yes"),
        ("guard", None),
        ("clear_blocks", 0),
        ("offset_blocks", -1),
        ("offset_blocks", 4097),
        ("offset_blocks", True),
        ("engine", "boehm"),
        ("growth", 5),
        ("growth", "double"),
    ],
)
def test_fields_of_wrong_types_are_refused(name: str, value: object) -> None:
    with pytest.raises(PolicyError, match=f"invalid {name} .*: expected "):
        Policy(**{name: value})  # type: ignore[arg-type]


def test_what_contradicts_leaking_is_refused() -> None:
    with pytest.raises(PolicyError, match="never collected; leave gc_every out"):
        Policy(leaking=True, gc_every=5)
    with pytest.raises(PolicyError, match="leave one of them out"):
        Policy(leaking=True, clear_blocks=True)
    with pytest.raises(PolicyError, match="a collection would free the object that offset_blocks asks for"):
        Policy(offset_blocks=5)
    for policy in ({"gc_every": 5}, {"clear_blocks": True}):
        with pytest.raises(PolicyError):
            gofmt(Policy(**policy), gc="leaking")


@pytest.mark.slow
def test_an_offset_moves_all_objects() -> None:
    placed = []
    for blocks in (1, 8):
        with gofmt(Policy(leaking=True, offset_blocks=blocks), grants=Grants(seed=1)) as program:
            program.start()
            program.driver().format(GO[: GO.index("func f300(")])
            assert program.heap is not None
            placed.append([(each.address, each.size_bytes) for each in program.heap.objects()][1:])
            block_bytes = program.heap.geometry.block_bytes
    before, after = (objects[:10_000] for objects in placed)
    assert [(address + 7 * block_bytes, size_bytes) for address, size_bytes in before] == after


@pytest.mark.parametrize("gc", ["leaking", "native"])
def test_a_listener_of_collections_that_nobody_sees_is_refused(gc: str) -> None:
    with pytest.raises((UnsupportedGuestError, PolicyError), match="listener"):
        gofmt(gc=gc, listener=print)
    with pytest.raises(UnsupportedGuestError, match=r"leave it out: this module \(TinyGo\) runs"):
        Program.open(guests_modules.path("gofmt-0.7.3"), listener=print)


@pytest.mark.parametrize(
    "arguments",
    [{"grants": 5}, {"policy": "verify"}, {"cache": "/tmp"}, {"listener": 5}, {"gc": None}, {"recording": 5}],
    ids=str,
)
def test_arguments_of_wrong_types_are_named(arguments: dict[str, Any]) -> None:
    with pytest.raises(GuestError, match=r"invalid (grants|policy|cache|listener|gc|recording) .*: expected "):
        Program.open(faulty(), **arguments)


@pytest.mark.parametrize("module", [5, None, 1.5, [], "a\0b", Path("nowhere.wasm"), ""], ids=repr)
def test_modules_that_are_none_are_named(module: Any) -> None:  # noqa: ANN401 - anything
    with pytest.raises(GuestError):
        Program.open(module)


def test_bytes_of_any_kind_are_a_module() -> None:
    for kind in (bytes, bytearray, memoryview):
        with Program.open(kind(faulty())) as program:
            program.start()
            assert program.call("make", 8, POINTER_FREE, 0)


def format_much(program: Program) -> str:
    program.start()
    return program.driver().format(GO)


def fill(program: Program) -> None:
    for _ in range(1000):
        program.call("make", 4000, POINTER_FREE, 2)


# ---- leaking, and yet looked at ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("guard", [False, True])
@pytest.mark.parametrize("engine", ["kernel", "model"])
@pytest.mark.share(1)
def test_a_heap_that_only_grows_is_verified_where_it_would_be_collected(engine: str, guard: bool) -> None:
    policy = Policy(leaking=True, verify=True, guard=guard, engine=engine)
    with Program.open(faulty(), policy=policy) as program:
        program.start()
        program.call("make", 8, POINTER_FREE, 0)
        victim = program.call("make", 8, POINTER_FREE, 1)
        assert isinstance(victim, int)
        program.memory.write(victim - 16, b"pyri")
        with pytest.raises(HeapCorruptError):
            fill(program)
    with Program.open(faulty(), policy=policy) as program:
        program.start()
        for _ in range(100):
            program.call("make", 4000, POINTER_FREE, 2)
        assert program.heap is not None
        program.heap.finish()
        assert program.heap.stats().frees == 0


def test_a_heap_that_only_grows_is_not_collected_on_request_either() -> None:
    build = collectors.Build("2", link_time=False, precise=True, tasks=False, explicit=True)
    with Program.open(collectors.compiled(build, "mutator.c"), policy=Policy(leaking=True)) as program:
        program.start()
        # It collects when it likes, every some hundred steps.
        program.call("mutate", 7, 20_000)
        assert program.heap is not None
        assert program.heap.collections == ()
        assert program.heap.stats().frees == 0


# ---- limits, and the end of memory ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "policy", [Policy(heap_limit_bytes=1), Policy(growth=Doubling(limit_bytes=1))], ids=["heap", "growth"]
)
def test_a_limit_that_the_heap_begins_beyond_says_the_least_that_is_possible(policy: Policy) -> None:
    refusal = r"limit of 1 bytes cannot be kept: .* has 65104 bytes .* give 65104 or more"
    with gofmt(policy) as program, pytest.raises(PolicyError, match=refusal):
        program.start()
    with gofmt(Policy(heap_limit_bytes=65104)) as program, pytest.raises(GuestOutOfMemoryError):
        program.start()


@pytest.mark.parametrize("engine", ["kernel", "model"])
@pytest.mark.parametrize(
    ("policy", "memory_limit_bytes", "obstacle"),
    [
        (
            {"heap_limit_bytes": 500_000},
            None,
            r"reached its limit of 500000 bytes, as far as whole pages of 65536 bytes go; .*--heap-limit",
        ),
        ({"growth": FixedStep(4096, 400_000)}, None, "reached its limit of 400000 bytes"),
        ({"growth": NoGrowth()}, None, r"growth policy \(none\) makes it no larger"),
        (
            {},
            700_000,
            r"step is from 393216 to 786432 bytes of memory, over the memory limit of 700000; .*--memory-limit.*--growth step",
        ),
    ],
    ids=["heap limit", "growth limit", "no growth", "memory limit"],
)
@pytest.mark.share(3)
def test_the_end_of_memory_says_who_asked_and_what_is_in_the_way(
    engine: str, policy: dict[str, Any], memory_limit_bytes: int | None, obstacle: str
) -> None:
    grants = Grants(seed=1, memory_limit_bytes=memory_limit_bytes)
    with gofmt(Policy(engine=engine, **policy), grants=grants) as program:
        with pytest.raises(GuestOutOfMemoryError, match=f"asked for .*cannot grow: .*{obstacle}") as caught:
            format_much(program)
        assert caught.value.callers
        assert caught.value.callers[0] in str(caught.value)
        assert program.heap is not None
        program.heap.verify()


@pytest.mark.parametrize(
    ("growth", "heap_limit_bytes"),
    [
        (parse_growth("double"), None),
        (parse_growth("ratio:4/3"), None),
        (FixedStep(5000, 3_000_001), None),
        (None, 3_000_001),
    ],
    ids=["double", "ratio", "step with a limit", "limit"],
)
def test_a_heap_ends_where_the_memory_does_however_it_grows(
    growth: Growth | None, heap_limit_bytes: int | None
) -> None:
    # gofmt sets its heap's end from the size of its memory again, once it has started.
    policy = Policy(growth=growth, heap_limit_bytes=heap_limit_bytes, verify=True)
    with gofmt(policy) as program:
        try:
            format_much(program)
        except GuestOutOfMemoryError:
            assert policy.limits_bytes
        heap = program.heap
        assert heap is not None
        assert heap.geometry.heap_bytes > 65104
        assert heap.geometry.end_address == len(program.memory)
        assert all(heap.geometry.heap_bytes <= limit_bytes for limit_bytes in policy.limits_bytes)
        heap.verify()


def test_the_modules_own_maximum_is_named() -> None:
    from tinyheap.wasm import Module

    wasm = faulty()
    memory = Module.parse(wasm).memories[0].type.limits
    assert memory.maximum is None
    # The memory section: one memory, with a minimum; and with a maximum, of one page more.
    old, new = bytes([5, 3, 1, 0, memory.minimum]), bytes([5, 4, 1, 1, memory.minimum, memory.minimum + 1])
    assert wasm.count(old) == 1
    with Program.open(wasm.replace(old, new)) as program:
        program.start()
        most = (memory.minimum + 1) * 65536
        with pytest.raises(GuestOutOfMemoryError, match=rf"over the {most} that the module allows; try smaller steps"):
            program.call("make", 1 << 20, POINTER_FREE, 0)


# ---- in recordings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("growth", "text"),
    [(None, None), *((parse_growth(text), text) for text in ("none", "double", "pages", "step:65536", "ratio:4/3"))],
    ids=str,
)
@pytest.mark.share(2)
def test_options_are_recorded_as_the_command_line_takes_them(
    growth: Growth | None, text: str | None, tmp_path: Path
) -> None:
    pytest.importorskip("duckdb")
    from tinyheap.recordings.recording import Recording

    place = tmp_path / "run.tinyheap"
    with Program.open(
        faulty(), Grants(seed=1), Policy(growth=growth), recording=place, cache=Cache(tmp_path / "c")
    ) as program:
        program.start()
        program.call("make", 8, POINTER_FREE, 0)
    with Recording.open(place) as recording:
        assert recording.run.options["growth"] == text
        assert all(isinstance(value, bool | int | str | None) for value in recording.run.options.values())


@pytest.mark.slow
def test_every_combination_is_done_or_refused() -> None:
    fields: dict[str, tuple[Any, ...]] = {
        "leaking": (False, True),
        "clear_blocks": (False, True),
        "gc_every": (None, 3),
        "verify": (False, True),
        "guard": (False, True),
        "stop_at_allocation": (None, 10**6),
        "heap_limit_bytes": (None, 1 << 20),
        "growth": (None, FixedStep(1 << 17)),
    }
    module = faulty()
    done = 0
    for values in itertools.product(*fields.values()):
        try:
            policy = Policy(**dict(zip(fields, values, strict=True)))
        except PolicyError:
            continue
        with Program.open(module, policy=policy) as program:
            program.start()
            for _ in range(20):
                program.call("make", 8000, POINTER_FREE, 0)
            heap = program.heap
            assert heap is not None
            heap.finish()
            collections = len(heap.collections)
            assert (collections == 0) == policy.leaking or not policy.gc_every
            assert collections >= 20 // policy.gc_every if policy.gc_every else True
        done += 1
    # Two of a heap that only grows are refused with anything else.
    assert done == 256 // 2 + 256 // 8


# ---- headroom, and the memory that a program begins with -----------------------------------------------------------------


@pytest.mark.parametrize("text", ["none", "1/3", "1/2", "0/1", "7/8"])
def test_a_headroom_has_one_spelling(text: str) -> None:
    assert parse_headroom(headroom_text(parse_headroom(text))) == parse_headroom(text)


@pytest.mark.parametrize("text", ["", "1", "1/1", "2/1", "1/0", "-1/3", "33%", "a third"])
def test_what_is_no_headroom_is_refused(text: str) -> None:
    with pytest.raises(PolicyError, match="expected none, or N/M with N below M"):
        parse_headroom(text)


@pytest.mark.parametrize("headroom", [Fraction(1), Fraction(-1, 3), 0.5, 0])
def test_a_headroom_is_a_share(headroom: Fraction) -> None:
    with pytest.raises(PolicyError, match=r"invalid headroom .*expected None or a Fraction from 0 to below 1"):
        Policy(headroom=headroom)
    with pytest.raises(PolicyError, match="leave one of them out"):
        Policy(headroom=Fraction(1, 3), leaking=True)


@pytest.mark.parametrize("headroom", [Fraction(0), Fraction(1, 3), Fraction(3, 4)])
def test_a_heap_grows_wherever_a_collection_leaves_less_than_its_headroom(headroom: Fraction) -> None:
    """The next collection tells whether it grew; with none it also goes on in whatever is free."""
    with gofmt(Policy(headroom=headroom, growth=FixedStep(1 << 16))) as program:
        format_much(program)
        assert program.heap is not None
        heaps = [(each.free_blocks, each.free_blocks + each.live_blocks) for each in program.heap.collections]
    grown = [(free < blocks * headroom, later > blocks) for (free, blocks), (_, later) in itertools.pairwise(heaps)]
    assert all(is_larger for is_needy, is_larger in grown if is_needy)
    assert any(is_needy for is_needy, _ in grown) == (headroom > 0)
    assert all(is_larger for _, is_larger in grown) == (headroom > 0)


def test_a_third_of_headroom_is_what_the_program_has_itself() -> None:
    runs = []
    for headroom in (None, Fraction(1, 3)):
        with gofmt(Policy(headroom=headroom), grants=Grants(seed=1)) as program:
            format_much(program)
            assert program.heap is not None
            collections = [each[:10] for each in program.heap.collections]
            runs.append((collections, program.memory.read(0, len(program.memory))))
    assert runs[0] == runs[1]


def test_more_headroom_takes_fewer_collections() -> None:
    counts = []
    for headroom in (Fraction(0), Fraction(1, 3), Fraction(3, 4)):
        with gofmt(Policy(headroom=headroom)) as program:
            format_much(program)
            assert program.heap is not None
            counts.append(len(program.heap.collections))
    assert counts[0] > counts[1] > counts[2]


def linked_with(pages: int) -> bytes:
    """gofmt as the linker makes it with another initial memory: its memory section says 3 pages, and no more than that."""
    module = guests_modules.path("gofmt-0.4.9").read_bytes()
    was, made = bytes([5, 3, 1, 0, 3]), bytes([5, 3, 1, 0, pages])
    assert module.count(was) == 1
    return module.replace(was, made)


@pytest.mark.parametrize("gc", ["native", "default"])
@pytest.mark.parametrize("pages", [3, 4, 40])
@pytest.mark.share(1)
def test_an_initial_memory_is_what_the_linker_would_have_made_of_it(gc: str, pages: int) -> None:
    memories = []
    for module, initial in (
        (linked_with(pages), None),
        (guests_modules.path("gofmt-0.4.9"), pages * WASM_PAGE_BYTES - 1),
    ):
        grants = Grants(seed=1, initial_memory_bytes=initial)
        with Program.open(module, grants, gc=gc) as program:
            format_much(program)
            memories.append(program.memory.read(0, len(program.memory)))
            if program.heap is not None:
                assert program.heap.memory_steps.pages[0] == pages
    assert memories[0] == memories[1]


def test_an_initial_memory_that_cannot_be_is_refused() -> None:
    for grants, why in (
        (Grants(initial_memory_bytes=1 << 33), "cannot begin with 8589934592 bytes"),
        (Grants(initial_memory_bytes=1 << 20, memory_limit_bytes=1 << 19), "has 1048576 bytes when it begins"),
    ):
        with pytest.raises(GuestError, match=why):
            gofmt(grants=grants)
    with pytest.raises(HostError, match="invalid initial_memory_bytes"):
        Grants(initial_memory_bytes=0)


def test_the_steps_of_memory_end_with_what_was_refused() -> None:
    with gofmt(Policy(), grants=Grants(seed=1, memory_limit_bytes=700_000)) as program:
        with pytest.raises(GuestOutOfMemoryError):
            format_much(program)
        assert program.heap is not None
        assert program.heap.memory_steps == MemorySteps((3, 6), 12)
