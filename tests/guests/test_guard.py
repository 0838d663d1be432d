"""Red zones: objects that are overrun are named, on both engines; sound runs, of real programs too, are not disturbed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

import guests_modules
from guests import collectors
from tinyheap.errors import AllocationStopError, DriverError, HeapCorruptError, HeapOverrunError
from tinyheap.formatters import ShSyntaxFormatter
from tinyheap.guests.policy import Policy
from tinyheap.guests.program import Program
from tinyheap.guests.serve.guard import RECENT, ZONE_BYTES
from tinyheap.hosts import Grants
from tinyheap.recognize.facts import Role, ServedHeap

ENGINES = ["kernel", "model"]
NEXT_FIT = ["conservative", "precise"]
FRONT = ["front-conservative", "front-precise"]
BACK = ["back-conservative", "back-precise"]
BEST_FIT = FRONT + BACK
KINDS = NEXT_FIT + BEST_FIT
HEADER_BYTES = {"back-conservative": 4, "back-precise": 8}
"""Behind an object's red zone."""
NODE_BYTES = 12
"""Of a range of the free list; what they should hold is not known."""
BLOCK_BYTES = 16
POINTER_FREE = 0x43
"""A layout: one word, no pointer."""
TEXT = b"text that is too long for its place"

SHELL_LINE = 'for i in a b;do if [ $i = a ];then echo "$i" # comment\nfi;done\n'
GO_LINE = 'func f{n}(a int)(b string){{if a>1{{return "x"+"y"}};return ""}}\n'
INPUTS: dict[str, Callable[[int], str]] = {
    "gofmt-0.4.9": lambda size_bytes: "package a\n" + "".join(GO_LINE.format(n=n) for n in range(size_bytes // 60)),
    **dict.fromkeys(
        ("sh-syntax-0.4.0", "sh-syntax-0.4.2", "sh-syntax-0.5.8", "sh-syntax-0.6.0", "sh-syntax-0.7.0"),
        lambda size_bytes: "#!/bin/sh\n# Copyright\n" + SHELL_LINE * (size_bytes // len(SHELL_LINE)),
    ),
}


class Culprit:
    """A program that can be told to do what it must not."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def make(self, size_bytes: int, slot: int = 0, layout: int = POINTER_FREE) -> int:
        """The address of a new object, kept alive by a slot."""
        return self._number("make", size_bytes, layout, slot)

    def drop(self, slot: int) -> None:
        self.program.call("drop", slot)

    def fill(self, address: int, count: int, byte: int = 0x41) -> None:
        self.program.call("fill", address, count, byte)

    def resize(self, address: int, size_bytes: int) -> int:
        return self._number("resize", address, size_bytes)

    def total_bytes(self) -> int:
        return self._number("total_bytes")

    def finish(self) -> None:
        assert self.program.heap is not None
        self.program.heap.finish()

    @property
    def facts(self) -> ServedHeap:
        guest = self.program.guest
        assert guest is not None
        facts = guest.heap or guest.best_fit
        assert facts is not None
        return facts

    def _number(self, name: str, *arguments: int) -> int:
        result = self.program.call(name, *arguments)
        assert isinstance(result, int)
        return result & 0xFFFF_FFFF


def faulty(kind: str) -> bytes:
    is_precise, is_back = kind.endswith("precise"), kind in BACK
    build = collectors.Build("2", link_time=False, precise=is_precise, tasks=False, explicit=False, back=is_back)
    return collectors.compiled(build, "best_fit_faults.c" if kind in BEST_FIT else "faults.c")


@contextmanager
def culprit(kind: str, engine: str, guard: bool = True, gc_every: int | None = None) -> Iterator[Culprit]:
    policy = Policy(engine=engine, guard=guard, gc_every=gc_every)
    with Program.open(faulty(kind), Grants(seed=1), policy) as program:
        program.start()
        yield Culprit(program)


def formatted(module: str, text: str, policy: Policy, overrun: bool = False) -> str:
    with Program.open(guests_modules.read(module), Grants(seed=1), policy) as program:
        program.start()
        driver = ShSyntaxFormatter(program.session, overrun=True) if overrun else program.driver()
        answer = driver.format(text, "x.go" if module.startswith("gofmt") else "x.sh")
        assert program.heap is not None
        program.heap.finish()
    return answer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("size_bytes", [1, 12, 15, 16, 17, 100])
@pytest.mark.parametrize("beyond_bytes", [1, 16, 33, 200])
@pytest.mark.share(32, in_ci=64)
def test_an_overrun_is_measured_and_its_object_named(
    kind: str, engine: str, size_bytes: int, beyond_bytes: int
) -> None:
    with culprit(kind, engine) as guest:
        guest.make(8, 1)
        address = guest.make(size_bytes)
        guest.fill(address, size_bytes + beyond_bytes)
        with pytest.raises(HeapOverrunError) as caught:
            guest.make(8, 2)
    error = caught.value
    found = (error.address, error.size_bytes, error.allocation, error.data)
    assert found == (address, size_bytes, 2, b"A" * error.overrun_bytes)
    end_bytes = behind_bytes(kind, size_bytes)
    is_in_node = kind in BEST_FIT and end_bytes < beyond_bytes <= end_bytes + NODE_BYTES
    assert error.overrun_bytes == (end_bytes if is_in_node else beyond_bytes)
    assert ("by at least" in str(error)) is (is_in_node or (kind in BEST_FIT and beyond_bytes == end_bytes))
    assert error.callers[0] == "make"
    assert "after allocation 2 and before allocation 3 (by make" in str(error)
    assert ("layout word 0x43" in str(error)) is kind.endswith("precise")


def behind_bytes(kind: str, size_bytes: int) -> int:
    """How many bytes lie between an object and the end of its last block, its red zone and a header among them."""
    blocks = -(-(size_bytes + ZONE_BYTES + HEADER_BYTES.get(kind, 0)) // BLOCK_BYTES)
    return blocks * BLOCK_BYTES - size_bytes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.share(3)
def test_an_overrun_over_other_objects_is_the_first_one_s(kind: str, engine: str) -> None:
    with culprit(kind, engine) as guest:
        addresses = [guest.make(20, slot) for slot in range(4)]
        guest.fill(addresses[1], addresses[3] - addresses[1])
        with pytest.raises(HeapOverrunError, match=r"at least \d+ bytes.*damaged objects behind it: [12]") as caught:
            guest.make(8, 5)
    assert caught.value.allocation == 2


def test_what_was_written_is_shown_as_text() -> None:
    with culprit("conservative", "kernel") as guest:
        guest.program.memory.write(guest.make(12), TEXT)
        with pytest.raises(HeapOverrunError, match="too long for its place") as caught:
            guest.finish()
    assert caught.value.data == TEXT[12:]
    assert "before the program's end (by the host)" in str(caught.value)


@pytest.mark.parametrize("kind", ["precise", *FRONT])
@pytest.mark.parametrize("engine", ENGINES)
def test_writing_in_front_of_an_object_with_a_header_is_told_apart_from_an_overrun(kind: str, engine: str) -> None:
    with culprit(kind, engine) as guest:
        guest.make(16, 1)
        address = guest.make(16, 2)
        guest.fill(address - 3, 3)
        with pytest.raises(HeapOverrunError, match="from 3 bytes before its start") as caught:
            guest.make(8, 3)
    assert caught.value.address == address


@pytest.mark.parametrize("kind", ["conservative", *BACK])
@pytest.mark.parametrize("engine", ENGINES)
def test_writing_in_front_of_an_object_without_a_header_there_names_both_neighbors(kind: str, engine: str) -> None:
    with culprit(kind, engine) as guest:
        guest.make(16, 1)
        address = guest.make(16, 2)
        guest.fill(address - 2, 2)
        gap = behind_bytes(kind, 16) - 2
        with pytest.raises(HeapOverrunError, match=rf"from {gap} bytes past its end \(or the object at {address:#x}"):
            guest.make(8, 3)


@pytest.mark.parametrize("kind", BEST_FIT)
@pytest.mark.parametrize("engine", ENGINES)
def test_links_that_collections_write_into_headers_are_known(kind: str, engine: str) -> None:
    with culprit(kind, engine, gc_every=8) as guest:
        addresses = [guest.make(16, slot) for slot in range(1, 10)]
        guest.make(8, 10)
        # The newest before the collection: the link of its header leads to another that was marked.
        end = addresses[6] + 16 + behind_bytes(kind, 16)
        header = addresses[6] - 16 if kind in FRONT else end - HEADER_BYTES[kind]
        assert guest.program.memory.read_u32(header) not in (0, 0xFDFDFDFD)
        guest.fill(header, 1, 0x47)
        with pytest.raises(HeapOverrunError) as caught:
            guest.finish()
    assert caught.value.address == addresses[6]
    assert caught.value.data[:1] == b"G"


@pytest.mark.parametrize("kind", BEST_FIT)
@pytest.mark.parametrize("engine", ENGINES)
def test_an_overrun_into_the_free_list_is_blamed_before_the_list_is_used(kind: str, engine: str) -> None:
    with culprit(kind, engine) as guest:
        address = guest.make(16)
        node = address + 16 + behind_bytes(kind, 16)
        guest.fill(address, node - address)
        # A list that leads to itself.
        guest.program.memory.write(node, (1).to_bytes(4, "little") + node.to_bytes(4, "little"))
        with pytest.raises(HeapOverrunError, match="overrun by at least") as caught:
            guest.make(8, 2)
    assert caught.value.address == address


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_write_after_free_is_found_by_the_next_collection(kind: str, engine: str) -> None:
    # What is freed last is in front of the free list's first node, which hides its beginning.
    at = 4 if kind in NEXT_FIT else 20
    with culprit(kind, engine, gc_every=4) as guest:
        address = guest.make(40, 1)
        for slot in (2, 3, 4):
            guest.make(8, slot)
        guest.drop(1)
        for slot in (5, 6, 7, 8):
            guest.make(200, slot)
        guest.fill(address + at, 3)
        where = rf"{address + at:#x} .* is free, but was written to: 41 41 41.*as part of the object of 40 bytes"
        with pytest.raises(HeapCorruptError, match=where):
            guest.finish()


@pytest.mark.parametrize("engine", ENGINES)
def test_an_older_object_is_looked_at_by_collections(engine: str) -> None:
    count = RECENT + 8
    with culprit("conservative", engine, gc_every=count) as guest:
        address = guest.make(20, 1)
        for _ in range(RECENT + 1):
            guest.make(8, 2)
        guest.fill(address, 21)
        for _ in range(count - RECENT - 2):
            guest.make(8, 2)
        with pytest.raises(HeapOverrunError, match=f"before the collection at allocation {count}") as caught:
            guest.make(8, 2)
    assert caught.value.overrun_bytes == 1
    assert caught.value.allocation == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.share(4)
def test_zones_live_and_die_with_their_objects(kind: str, engine: str) -> None:
    with culprit(kind, engine, gc_every=10) as guest:
        for n in range(100):
            guest.make(n % 50, 1 + n % 3)
        guest.finish()
        assert guest.program.heap is not None
        last = guest.program.heap.collections[-1]
        assert last.freed_objects > 0
        # What the slots hold, and what may still be seen on the stack.
        assert last.live_objects <= 6


@pytest.mark.parametrize(("kind", "header_bytes"), [("precise", 16), ("front-precise", 0), ("back-precise", 0)])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.share(2)
def test_the_guest_sees_the_bytes_that_it_asked_for(kind: str, header_bytes: int, engine: str) -> None:
    sums = []
    for guard in (False, True):
        with culprit(kind, engine, guard) as guest:
            for size_bytes in range(1, 40):
                guest.make(size_bytes)
            sums.append(guest.total_bytes())
    assert sums[0] == sums[1] == sum(range(1, 40)) + 39 * header_bytes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.share(3, in_ci=5)
def test_nothing_is_found_in_a_sound_program_that_collects_and_grows(kind: str, engine: str) -> None:
    with culprit(kind, engine) as guest:
        for n in range(60):
            size_bytes = 300 * n
            guest.fill(guest.make(size_bytes, n % 16), size_bytes)
        guest.finish()
        heap = guest.program.heap
        assert heap is not None
        assert heap.collections[-1].freed_objects > 0
        assert guest.program.memory.read_u32(guest.facts.heap_end_address) > 4 * 65536


@pytest.mark.parametrize(
    ("kind", "room_bytes"),
    [("conservative", 32), ("front-precise", 32), ("back-conservative", 28), ("back-precise", 24)],
)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_resized_object_keeps_its_place_where_it_would_and_is_guarded_there(
    kind: str, room_bytes: int, engine: str
) -> None:
    with culprit(kind, engine) as guest:
        assert Role.REALLOC in [redirect.role for redirect in guest.facts.redirects]
        address = guest.make(17, 1)
        guest.fill(address, 17)
        assert guest.resize(address, room_bytes) == address
        assert guest.program.memory.read(address, room_bytes) == b"A" * 17 + bytes(room_bytes - 17)
        guest.fill(address, room_bytes)
        guest.make(8, 2)
        guest.fill(address + room_bytes, 1)
        with pytest.raises(HeapOverrunError, match="overrun by 1 byte:") as caught:
            guest.make(8, 3)
    assert caught.value.size_bytes == room_bytes


@pytest.mark.parametrize("kind", ["conservative", *BEST_FIT])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_resized_object_that_does_not_fit_moves_without_its_zone(kind: str, engine: str) -> None:
    with culprit(kind, engine) as guest:
        address = guest.make(17, 1)
        guest.fill(address, 17)
        moved = guest.resize(address, 33)
        assert moved != address
        assert guest.program.memory.read(moved, 33) == b"A" * 17 + bytes(16)
        assert guest.resize(0, 5) not in (0, address, moved)
        guest.finish()


def test_a_module_is_stopped_at_an_allocation_and_says_who_made_it() -> None:
    with Program.open(faulty("precise"), Grants(seed=1), Policy(stop_at_allocation=3)) as program:
        program.start()
        guest = Culprit(program)
        guest.make(8)
        guest.make(0)
        guest.make(8)
        with pytest.raises(AllocationStopError, match="allocation 3: 12 bytes, layout word 0x43, by make") as caught:
            guest.make(12)
    assert caught.value.callers[0] == "make"


@pytest.mark.parametrize("module", [name for name in INPUTS if name.startswith("sh-syntax")])
@pytest.mark.share(1, in_ci=2)
def test_the_real_overrun_of_sh_syntax_is_found_and_named(module: str) -> None:
    text = INPUTS[module](3000)
    with pytest.raises(HeapOverrunError) as caught:
        formatted(module, text, Policy(guard=True), overrun=True)
    error = caught.value
    assert error.size_bytes == 12
    assert error.callers[0].startswith("wasmAlloc")
    written = text.encode()[12:]
    assert error.overrun_bytes >= ZONE_BYTES
    assert written.startswith(error.data[: error.overrun_bytes])


@pytest.mark.parametrize("module", INPUTS)
@pytest.mark.parametrize("size_bytes", guests_modules.cases([1000, 4000, 100_000], quick=[1000], in_ci=[4000]))
@pytest.mark.share(3, in_ci=6)
@pytest.mark.slow
def test_nothing_is_found_in_real_programs_whose_host_does_right(module: str, size_bytes: int) -> None:
    text = INPUTS[module](size_bytes)
    assert formatted(module, text, Policy(guard=True)) == formatted(module, text, Policy())


@pytest.mark.parametrize("module", ["sh-syntax-0.5.8", "sh-syntax-0.6.0", "sh-syntax-0.7.0"])
@pytest.mark.slow
def test_nothing_is_found_in_real_programs_that_collect(module: str) -> None:
    text = INPUTS[module](2000)
    assert formatted(module, text, Policy(guard=True, gc_every=500)) == formatted(module, text, Policy())


@pytest.mark.parametrize("precise", [False, True])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.share(1, in_ci=2)
@pytest.mark.slow
def test_finalizers_run_in_a_guarded_heap(precise: bool, engine: str) -> None:
    build = collectors.Build("2", link_time=False, precise=precise, tasks=False, explicit=False, back=True)
    module = collectors.compiled(build._replace(finalizers=True), "best_fit_collector.c")
    with Program.open(module, Grants(seed=1), Policy(engine=engine, guard=True)) as program:
        program.start()
        for _ in range(4):
            finalized = program.call("watch", 900)
        assert isinstance(finalized, int)
        # All but the few that are kept, and what is not known to be dead yet.
        assert finalized > sum(range(900))
        assert program.heap is not None
        assert program.heap.collections
        program.heap.finish()


@pytest.mark.slow
def test_a_real_program_still_refuses_what_it_refuses() -> None:
    with pytest.raises(DriverError):
        formatted("sh-syntax-0.4.0", "if\n", Policy(guard=True))
