"""Real programs called in any order: calls in the wrong phase are refused with a reason, and never crash the interpreter."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import guests_modules
import needs
from guests import collectors
from tinyheap.errors import GuestError, GuestPhaseError, HeapCorruptError, HeapError, TinyheapError
from tinyheap.guests.policy import Policy
from tinyheap.guests.program import Program
from tinyheap.heap.growth import FixedStep
from tinyheap.heap.stats import Collection
from tinyheap.hosts import Grants
from tinyheap.wasm import Code, Editor, Module
from tinyheap.wasm.leb128 import encode_unsigned
from tinyheap.wasm.sections import HEADER, SectionId, make_section

TESTS = Path(__file__).parents[1]
SERVED = ("sh-syntax-0.3.7", "sh-syntax-0.4.0", "sh-syntax-0.4.2", "gofmt-0.4.9", "sh-syntax-0.5.8")
GO = "package a\n" + "".join(f"func f{number}( x int) {{ g( x,{number} ) }}\n" for number in range(100))


@pytest.mark.parametrize("module", guests_modules.cases(["clang", "gofmt-0.4.9", "sh-syntax-0.5.8"], in_ci=["clang"]))
def test_programs_survive_whatever_they_are_asked(module: str) -> None:
    if module == "clang":
        needs.tool("clang-14")
    else:
        guests_modules.path(module)
    examples = os.environ.get("PHASES_EXAMPLES", "40" if needs.IN_CI else "15")
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "guests/phases_machine.py", module],
        cwd=TESTS,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS / "support"))),
            "PHASES_EXAMPLES": examples,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "survived"
    assert "Exception ignored" not in done.stderr


# ---- before the start -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_call_before_the_start_is_refused_and_the_start_still_works() -> None:
    for name in SERVED:
        with Program.open(guests_modules.path(name), Grants(seed=1)) as program:
            with pytest.raises(GuestPhaseError, match=r"call of 'malloc': the program has not been started; start\(\)"):
                program.call("malloc", 5)
            with pytest.raises(GuestPhaseError, match="has not been started"):
                program.driver()
            program.start()
            assert program.call("malloc", 5)


@pytest.mark.parametrize("engine", ["kernel", "model"])
@pytest.mark.parametrize("guard", [False, True])
def test_an_allocation_without_a_heap_is_an_error_however_often_it_is_made(engine: str, guard: bool) -> None:
    with Program.open(
        guests_modules.path("gofmt-0.4.9"), Grants(seed=1), Policy(engine=engine, guard=guard)
    ) as program:
        malloc = program.session.function("malloc")
        for _ in range(3):
            # As a program may do that exports what it calls itself before its heap is there.
            with pytest.raises(GuestError, match="allocates before it has set up its heap"):
                malloc(program.session.store, 5)
        program.start()
        assert program.heap is not None
        program.heap.verify()


def test_a_program_that_allocates_when_it_is_instantiated_is_refused_in_words() -> None:
    build = collectors.Build("2", link_time=False, precise=False, tasks=False, explicit=False)
    module = Module.parse(collectors.compiled(build, "faults.c"))
    make = module.export("make")
    assert make is not None
    editor = Editor(module)
    starting = editor.add_function((), (), Code().i32_const(8).i32_const(0).i32_const(0).call(make.index).drop())
    with pytest.raises(GuestError, match="called its allocator before it was instantiated"):
        Program.open(with_start(editor.encode(), starting))


def with_start(wasm: bytes, function: int) -> bytes:
    """A module with a function that runs when it is instantiated."""
    start = make_section(SectionId.START, encode_unsigned(function))
    sections = list(Module.parse(wasm).sections)
    behind = (SectionId.ELEMENT, SectionId.DATA_COUNT, SectionId.CODE)
    sections.insert(next(at for at, section in enumerate(sections) if section.id in behind), start)
    return HEADER + b"".join(section.encode() for section in sections)


@pytest.mark.parametrize(
    "calls", [("start", "start"), ("start", "run"), ("run", "start"), ("run", "run")], ids="-".join
)
def test_a_program_is_started_once(calls: tuple[str, str]) -> None:
    with Program.open(guests_modules.path("gofmt-0.4.9"), Grants(seed=1)) as program:
        getattr(program, calls[0])()
        with pytest.raises(
            GuestPhaseError, match=f"{calls[1]}: the program has been started, which it can be only once"
        ):
            getattr(program, calls[1])()
        assert program.heap is not None
        program.heap.verify()
        assert "func f9(x int)" in program.driver().format(GO)


# ---- from inside ------------------------------------------------------------------------------------------------------


def refused(act: Callable[[], object]) -> str:
    try:
        act()
    except TinyheapError as error:
        return str(error)
    return "it was done"


@pytest.mark.parametrize("engine", ["kernel", "model"])
@pytest.mark.share(1)
def test_a_listener_may_look_and_neither_call_nor_close(engine: str) -> None:
    heard: list[str] = []

    def listen(_: Collection) -> None:
        assert program.heap is not None
        assert program.heap.stats().mallocs == program.heap.census().heads + program.heap.stats().frees + absent()
        acts = (lambda: program.call("malloc", 5), program.close, program.start, program.heap.close)
        heard.extend(map(refused, acts))

    def absent() -> int:
        """The allocation that led to the collection is counted, and not there yet."""
        assert program.heap is not None
        return program.heap.stats().mallocs - program.heap.stats().frees - program.heap.census().heads

    policy = Policy(engine=engine, gc_every=500)
    with Program.open(guests_modules.path("gofmt-0.4.9"), Grants(seed=1), policy, listener=listen) as program:
        program.start()
        assert "func f9(x int)" in program.driver().format(GO[: GO.index("func f20(")])
        assert program.heap is not None
        program.heap.verify()
    assert set(heard) == {
        "call of 'malloc': the program allocates and cannot be called from there; call it afterwards",
        "close: the program is running; do that when it has returned",
        "start: the program allocates and cannot be called from there; call it afterwards",
    }


def test_a_growth_policy_neither_calls_nor_closes() -> None:
    heard: list[str] = []

    class Meddling(FixedStep):
        def next_bytes(self, heap_bytes: int) -> int:
            heard.append(refused(lambda: program.call("malloc", 5)))
            heard.append(refused(program.close))
            return super().next_bytes(heap_bytes)

    with Program.open(guests_modules.path("gofmt-0.4.9"), Grants(seed=1), Policy(growth=Meddling(1 << 18))) as program:
        program.start()
        assert "func f9(x int)" in program.driver().format(GO + GO.replace("package a\n", "") * 5)
    assert heard
    assert all("cannot be called from there" in text or "is running" in text for text in heard), heard


# ---- lifetimes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["served", "recorded"])
def test_a_session_or_a_driver_outlives_its_program(way: str, tmp_path: Path) -> None:
    recording = tmp_path / "run.tinyheap" if way == "recorded" else None
    program = Program.open(guests_modules.path("gofmt-0.4.9"), Grants(seed=1), recording=recording)
    session = program.session
    session.start()
    driver = program.driver()
    del program
    gc.collect()
    assert "func f9(x int)" in driver.format(GO)
    assert session.call("malloc", 5)
    session.close()


def test_a_store_and_a_function_outlive_everything() -> None:
    program = Program.open(guests_modules.path("gofmt-0.4.9"), Grants(seed=1))
    program.start()
    malloc, store = program.session.function("malloc"), program.session.store
    del program
    gc.collect()
    for _ in range(1000):
        with suppress(GuestError):
            malloc(store, 50)


def test_a_heap_that_was_let_go_of_serves_nothing_and_breaks_nothing() -> None:
    with Program.open(guests_modules.path("gofmt-0.4.9"), Grants(seed=1)) as program:
        program.start()
        heap = program.heap
        assert heap is not None
        heap.close()
        for look in (heap.stats, heap.verify, heap.dump):
            with pytest.raises(HeapError, match="closed"):
                look()
        with pytest.raises(GuestError, match="called its allocator before it was instantiated"):
            program.driver().format(GO)


def test_a_walk_over_the_objects_ends_when_the_program_is_closed() -> None:
    with Program.open(guests_modules.path("gofmt-0.4.9"), Grants(seed=1)) as program:
        program.start()
        assert program.heap is not None
        walk: Iterator[object] = program.heap.objects()
        next(walk)
        program.call("malloc", 100_000)
        next(walk)
    with pytest.raises(HeapError, match="closed"):
        next(walk)


@pytest.mark.parametrize(
    "name", ["next_alloc_address", "heap_end_address", "metadata_start_address", "end_block_address"]
)
@pytest.mark.parametrize("value", [0, 1, 0x7FFF_FFFF, 0xFFFF_FFFF])
@pytest.mark.share(2)
def test_a_heap_that_makes_no_sense_from_the_start_is_an_error(name: str, value: int) -> None:
    build = collectors.Build("2", link_time=False, precise=True, tasks=False, explicit=False)
    with Program.open(collectors.compiled(build, "faults.c")) as program:
        program.start()
        assert program.guest is not None
        assert program.guest.heap is not None
        program.memory.write_u32(getattr(program.guest.heap, name), value)
        for _ in range(2):
            with suppress(GuestError, HeapCorruptError):
                program.call("make", 8, 0, 0)
    del program
    gc.collect()
