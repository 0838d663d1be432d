"""Verifying a guest's heap: each part that is overwritten is reported with its address, and a sound run is not disturbed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest

import guests_modules
from guests import collectors
from tinyheap.errors import HeapCorruptError, OutOfMemoryError
from tinyheap.formatters import ShSyntaxFormatter
from tinyheap.guests.policy import Policy
from tinyheap.guests.program import Program
from tinyheap.hosts import Grants
from tinyheap.recognize.facts import BlockHeap

ENGINES = ["kernel", "model"]
KINDS = ["conservative", "precise"]
POINTER_FREE = 0x43
BLOCK_BYTES = 16
NAMES: dict[str, Callable[[BlockHeap], int | None]] = {
    "heapEnd": lambda heap: heap.heap_end_address,
    "metadataStart": lambda heap: heap.metadata_start_address,
    "endBlock": lambda heap: heap.end_block_address,
    "nextAlloc": lambda heap: heap.next_alloc_address,
    "gcTotalAlloc": lambda heap: heap.counters.total_alloc_bytes_address,
    "gcMallocs": lambda heap: heap.counters.mallocs_address,
    "gcFrees": lambda heap: heap.counters.frees_address,
}


def faulty(kind: str) -> bytes:
    build = collectors.Build("2", link_time=False, precise=kind == "precise", tasks=False, explicit=False)
    return collectors.compiled(build, "faults.c")


@contextmanager
def running(wasm: bytes, policy: Policy) -> Iterator[Program]:
    with Program.open(wasm, Grants(seed=1), policy) as program:
        program.start()
        yield program


def facts(program: Program) -> BlockHeap:
    assert program.guest is not None
    assert program.guest.heap is not None
    return program.guest.heap


def make(program: Program, size_bytes: int, slot: int = 0) -> int:
    address = program.call("make", size_bytes, POINTER_FREE, slot)
    assert isinstance(address, int)
    return address


def finish(program: Program) -> None:
    assert program.heap is not None
    program.heap.finish()


def write_state(program: Program, address: int, state: int) -> None:
    """Overwrite the state of the block at an address in the guest's block table."""
    heap = facts(program)
    assert heap.heap_start_address is not None
    block = (address - heap.heap_start_address) // BLOCK_BYTES
    at = program.memory.read_u32(heap.metadata_start_address) + block // 4
    shift = 2 * (block % 4)
    byte = program.memory.read(at, 1)[0] & ~(3 << shift) | state << shift
    program.memory.write(at, bytes([byte]))


def collect(program: Program) -> None:
    """Allocate until the policy's next collection is over."""
    for _ in range(5):
        make(program, 8, 9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("look", [finish, collect])
def test_a_table_without_sense_is_named(kind: str, engine: str, look: Callable[[Program], None]) -> None:
    with running(faulty(kind), Policy(engine=engine, verify=True, gc_every=4)) as program:
        first, second = make(program, 8, 1), make(program, 8, 2)
        write_state(program, second + 1024, 2)
        where = f"at {(second + 1024) & -16:#x} is a tail without a head"
        with pytest.raises(HeapCorruptError, match=f"{where}.*run with --guard"):
            look(program)
    assert first < second


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_table_that_lost_an_object_is_named(kind: str, engine: str) -> None:
    with running(faulty(kind), Policy(engine=engine, verify=True)) as program:
        make(program, 8, 1)
        address = make(program, 8, 2)
        blocks = 1 if kind == "conservative" else 2
        for block in range(blocks):
            write_state(program, (address & -16) - BLOCK_BYTES * block, 0)
        with pytest.raises(HeapCorruptError, match="the table holds 1 objects, but 2 were allocated and not freed"):
            finish(program)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("look", [finish, collect])
def test_an_overwritten_layout_is_named_with_the_object_in_front(engine: str, look: Callable[[Program], None]) -> None:
    with running(faulty("precise"), Policy(engine=engine, verify=True, gc_every=4)) as program:
        first = make(program, 8, 1)
        second = make(program, 8, 2)
        program.memory.write(second - 16, b"pyri")
        what = rf"block \d+ \({second - 16:#x}\) has layout word 0x69727970 \(b'pyri'\)"
        with pytest.raises(HeapCorruptError, match=rf"{what}.*in front of it lies the object at {first:#x}, 2 blocks"):
            look(program)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("look", [finish, partial(make, size_bytes=8)])
def test_an_overwritten_variable_is_named_with_the_allocation_before(
    engine: str, name: str, look: Callable[[Program], object]
) -> None:
    with running(faulty("conservative"), Policy(engine=engine, verify=True)) as program:
        make(program, 8)
        make(program, 8)
        address = NAMES[name](facts(program))
        assert address is not None
        program.memory.write(address, b"\x34\x12")
        with pytest.raises(HeapCorruptError, match=f"{name} at {address:#x} is 0x.*1234,.*since allocation 2"):
            look(program)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", ENGINES)
def test_verifying_changes_nothing_in_a_sound_run(kind: str, engine: str) -> None:
    ends = []
    for verify in (False, True):
        with running(faulty(kind), Policy(engine=engine, verify=verify, gc_every=50)) as program:
            result = program.call("run", 6, 5)
            finish(program)
            assert program.heap is not None
            assert len(program.heap.collections) > 5
            ends.append((result, program.memory.read(0, len(program.memory))))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("engine", ENGINES)
def test_an_allocation_that_found_no_room_is_no_corruption(engine: str) -> None:
    policy = Policy(engine=engine, verify=True, heap_limit_bytes=100_000)
    with running(faulty("precise"), policy) as program:
        make(program, 8, 1)
        with pytest.raises(OutOfMemoryError):
            make(program, 200_000, 2)
        finish(program)


def test_nothing_is_checked_where_nobody_asked() -> None:
    with running(faulty("conservative"), Policy()) as program:
        address = make(program, 8)
        write_state(program, address + 1024, 2)
        finish(program)
        assert program.memory.read_u32(facts(program).next_alloc_address) == 1


TEXT = "#!/bin/sh\n#\n# Copyright\n" + "".join(f"echo {n} 'text' | cat\n" for n in range(1000))


def test_the_overwritten_layout_of_sh_syntax_is_found() -> None:
    policy = Policy(verify=True)
    with running(guests_modules.read("sh-syntax-0.5.8"), policy) as program:
        answer = ShSyntaxFormatter(program.session, overrun=True).format(TEXT)
        assert answer
        with pytest.raises(
            HeapCorruptError, match=r"layout word 0x69727970 \(b'pyri'\).*in front of it lies the object"
        ):
            finish(program)


@pytest.mark.parametrize(("collector", "is_guarded"), [(None, True), ("best-fit-back", False)])
@pytest.mark.share(1)
def test_what_can_be_guarded_is_to_be_run_with_a_guard(collector: str | None, is_guarded: bool) -> None:
    with running(guests_modules.read("gofeatureflag-1.1.0"), Policy(verify=True, collector=collector)) as program:
        address = program.call("malloc", 32)
        assert isinstance(address, int)
        program.memory.write(address, b"a" * 400)
        with pytest.raises(HeapCorruptError, match="something wrote to it after it was freed") as caught:
            finish(program)
    assert ("run with --guard to find out" in str(caught.value)) is is_guarded


@pytest.mark.parametrize("module", ["gofmt-0.4.9", "sh-syntax-0.4.0", "sh-syntax-0.4.2", "sh-syntax-0.5.8"])
@pytest.mark.parametrize("lines", [50, pytest.param(4000, marks=pytest.mark.slow)])
def test_nothing_is_found_in_sound_real_programs(module: str, lines: int) -> None:
    text = "package a\n" + "".join(f"var v{n}={n}*( {n}+1)\n" for n in range(lines))
    if not module.startswith("gofmt"):
        text = "".join(f"if [ $a = {n} ];then echo   {n};fi\n" for n in range(lines))
    ends = []
    for verify in (False, True):
        with running(guests_modules.read(module), Policy(verify=verify)) as program:
            answer = program.driver().format(text, "x")
            finish(program)
            ends.append((answer, program.memory.read(0, len(program.memory))))
    assert ends[0] == ends[1]
