"""Linear memory in a recording: what is declared, each growth, who asked for it, and what refused it."""

from __future__ import annotations

from pathlib import Path

import pytest

import guests_modules
from guests import texts
from guests.recorded import Kept
from guests.test_recorder import formatted, record
from hosts.programs import module_bytes
from tinyheap import profile
from tinyheap.errors import GuestOutOfMemoryError
from tinyheap.guests.cache import Cache
from tinyheap.guests.policy import Policy
from tinyheap.guests.program import Program
from tinyheap.heap.growth import NoGrowth
from tinyheap.hosts import Grants
from tinyheap.recordings.observed import UNSEEN
from tinyheap.recordings.recording import Recording
from tinyheap.recordings.row_types import MemoryGrowthRow, MemoryRow
from tinyheap.units import WASM_PAGE_BYTES

GROW = """
  (memory (export "memory") 2 {maximum})
  (func $grow (param i32) (result i32) local.get 0 memory.grow)
  (func (export "ask") (param i32) (result i32) local.get 0 call $grow)
  (func (export "size") (result i32) memory.size)
"""


def asked(
    *pages: int, maximum: int | None = None, grants: Grants | None = None
) -> tuple[Kept, list[int | float | None]]:
    """A run of a module that allocates nothing and grows by so many pages, and what it was given."""
    kept = Kept()
    wasm = module_bytes(GROW.format(maximum=maximum or ""))
    with Program.open(wasm, grants, recording=kept.recorder, cache=Cache(None)) as program:
        given = [program.call("ask", each) for each in pages]
        assert program.call("size") == len(program.memory) // WASM_PAGE_BYTES
    return kept, given


def outcomes(kept: Kept) -> list[tuple[int, int, int, str | None]]:
    return [(each.old_pages, each.asked_pages, each.new_pages, each.refused_by) for each in kept.memory_growths]


def test_each_growth_is_there_and_growing_by_nothing_is_none() -> None:
    kept, given = asked(1, 0, 5, maximum=9)
    assert given == [2, 3, 3]
    assert kept.memories == [MemoryRow(2, 9, None)]
    assert outcomes(kept) == [(2, 1, 3, None), (3, 5, 8, None)]
    [path] = {tuple(kept.names(each.stack_id)) for each in kept.memory_growths}
    assert path == ("function[1]", "grow")
    assert {each.asked_by for each in kept.memory_growths} == {"program"}
    assert [each.time_ns for each in kept.memory_growths] == sorted(each.time_ns for each in kept.memory_growths)
    assert kept.run is not None
    assert kept.run.source == UNSEEN


@pytest.mark.parametrize(
    ("pages", "maximum", "limit_bytes", "refused_by"),
    [
        (8, 9, None, "maximum"),
        (15, None, 16 * WASM_PAGE_BYTES, "memory limit"),
        (15, 16, 16 * WASM_PAGE_BYTES, "memory limit"),
        (65535, None, None, "address space"),
        (-1, None, None, "address space"),
    ],
)
def test_a_growth_that_is_refused_says_by_what(
    pages: int, maximum: int | None, limit_bytes: int | None, refused_by: str
) -> None:
    kept, given = asked(pages, maximum=maximum, grants=Grants(memory_limit_bytes=limit_bytes))
    assert given == [-1]
    assert kept.memories == [MemoryRow(2, maximum, limit_bytes)]
    assert outcomes(kept) == [(2, pages & 0xFFFF_FFFF, 2, refused_by)]


def test_memory_that_grows_before_the_program_starts() -> None:
    kept = Kept()
    wasm = module_bytes("(memory 1) (func $f i32.const 3 memory.grow drop) (start $f)")
    with Program.open(wasm, recording=kept.recorder, cache=Cache(None)):
        pass
    assert outcomes(kept) == [(1, 3, 4, None)]


def test_a_module_without_memory_has_none_to_grow() -> None:
    kept = Kept()
    with Program.open(module_bytes('(func (export "f"))'), recording=kept.recorder, cache=Cache(None)) as program:
        program.call("f")
    assert (kept.memories, kept.memory_growths) == ([], [])


def test_growths_without_end_are_handed_over() -> None:
    kept = Kept()
    loop = """(memory 1 1) (func (export "f") (local i32) loop
      i32.const 1 memory.grow drop
      local.get 0 i32.const 1 i32.add local.tee 0 i32.const 10000 i32.lt_u br_if 0 end)"""
    with Program.open(module_bytes(loop), recording=kept.recorder, cache=Cache(None)) as program:
        program.call("f")
        assert len(kept.batches) >= 2
    assert outcomes(kept) == [(1, 1, 1, "maximum")] * 10_000


@pytest.mark.parametrize("name", guests_modules.cases(["gofmt-0.4.9", "sh-syntax-0.5.8"], in_ci=["gofmt-0.4.9"]))
def test_a_served_heap_grows_where_the_programs_own_does(name: str) -> None:
    text = texts.kinds(name)["medium"]
    ours, _, _ = record(name, text, times=6)
    native, memory, _ = record(name, text, gc="native", times=6)
    facts = [
        [(each.last_event_id, each.old_pages, each.asked_pages, each.new_pages, each.refused_by) for each in growths]
        for growths in (ours.memory_growths, native.memory_growths)
    ]
    assert facts[0] == facts[1]
    assert facts[0][-1][3] == len(memory) // WASM_PAGE_BYTES
    assert {each.asked_by for each in ours.memory_growths} == {"collector"}
    assert {each.asked_by for each in native.memory_growths} == {"program"}
    for one, other in zip(ours.memory_growths, native.memory_growths, strict=True):
        mine, its = kept_names(ours, one), kept_names(native, other)
        assert its[: len(mine)] == mine
        assert its[len(mine) :] == ("runtime.alloc", "runtime.growHeap")


def kept_names(kept: Kept, growth: MemoryGrowthRow) -> tuple[str, ...]:
    return tuple(kept.names(growth.stack_id))


def format_much(kept: Kept, grants: Grants, policy: Policy | None) -> None:
    with Program.open(guests_modules.read("gofmt-0.4.9"), grants, policy, recording=kept.recorder) as program:
        program.start()
        for _ in range(10):
            formatted(program.driver(), texts.large("gofmt-0.4.9"))


@pytest.mark.parametrize(
    ("policy", "memory_limit_bytes", "refused_by"),
    [
        (Policy(heap_limit_bytes=500_000), None, "heap limit"),
        (Policy(growth=NoGrowth()), None, "growth policy"),
        (None, 1 << 20, "memory limit"),
    ],
)
def test_a_served_heap_that_cannot_grow_says_why(
    policy: Policy | None, memory_limit_bytes: int | None, refused_by: str
) -> None:
    kept = Kept()
    grants = Grants(seed=1, memory_limit_bytes=memory_limit_bytes)
    with pytest.raises(GuestOutOfMemoryError):
        format_much(kept, grants, policy)
    last = kept.memory_growths[-1]
    assert (last.refused_by, last.new_pages) == (refused_by, last.old_pages)
    assert {each.refused_by for each in kept.memory_growths} <= {None, refused_by}


# ---- C's allocator ------------------------------------------------------------------------------------------------------

MALLOC = """
  (memory (export "memory") 1)
  (global $next (mut i32) (i32.const 1024))
  (func $malloc (export "malloc") (param i32) (result i32)
    local.get 0 i32.const 1000 i32.gt_u if i32.const 0 return end
    global.get $next
    global.get $next local.get 0 i32.add i32.const 7 i32.add i32.const -8 i32.and global.set $next)
  (func $free (export "free") (param i32) local.get 0 global.set $next)
  (func (export "work") i32.const 24 call $malloc call $free)
"""


def test_malloc_and_free_are_heard_whoever_calls_them() -> None:
    kept = Kept()
    with Program.open(module_bytes(MALLOC), recording=kept.recorder, cache=Cache(None)) as program:
        first = program.call("malloc", 16)
        program.call("malloc", 5000)
        program.call("work")
        assert first is not None
        program.call("free", first)
        assert program.call("malloc", 40) == first
    columns = ["kind", "object_id", "address", "size_bytes"]
    assert [tuple(row) for row in kept.events[columns].tolist()] == [
        (0, 1, 1024, 16),
        (0, 2, 1040, 24),
        (2, 2, 1040, 0),
        (2, 1, 1024, 0),
        (0, 3, 1024, 40),
    ]
    assert kept.inferred_deaths.tolist() == [(2, 3), (1, 4)]
    assert kept.run is not None
    assert kept.run.source == "injected"


# ---- in a file, and analyzed ----------------------------------------------------------------------------------------------


def test_linear_memory_through_time(tmp_path: Path) -> None:
    place = tmp_path / "run.tinyheap"
    name = "sh-syntax-0.7.0"
    grants = Grants(seed=1, memory_limit_bytes=30 << 20)
    with Program.open(guests_modules.read(name), grants, gc="native", recording=place) as program:
        program.start()
        for _ in range(6):
            formatted(program.driver(), texts.kinds(name)["medium"])
        pages = len(program.memory) // WASM_PAGE_BYTES
    with Recording.open(place) as recording:
        memory = profile.linear_memory(recording)
        assert isinstance(memory, profile.LinearMemory)
        assert (memory.declared_pages, memory.maximum_pages, memory.limit_bytes) == (160, 16384, 30 << 20)
        assert memory.pages == pages
        assert [size_bytes for _, size_bytes in memory.steps] == [160 * WASM_PAGE_BYTES, pages * WASM_PAGE_BYTES]
        [growth] = memory.growths
        assert growth.site.function.startswith("(*mvdan.cc/sh/v3/syntax.Parser)")
        assert growth.stack[-1].function == "runtime.growHeap"
        assert growth.stack[-1].callee == "memory.grow"
        assert {each.export for each in memory.allocator_calls} == {"wasmAlloc", "wasmFree"}
        assert {each.calls for each in memory.allocator_calls} == {18}
