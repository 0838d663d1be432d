"""Requests from here, of the allocator in a module and of the transplanted one: of every size, and until memory is out."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from threading import Timer
from typing import Final

import pytest

import guests_modules
from guests import collectors
from guests.test_mutator import BUILDS
from tinyheap.errors import GuestError
from tinyheap.guests.policy import Policy
from tinyheap.guests.program import NATIVE, Program
from tinyheap.hosts import Grants
from tinyheap.recognize.facts import BestFitHeap, BlockHeap, Role
from tinyheap.transplanting.operation import perform
from tinyheap.transplanting.options import Options
from tinyheap.wasm import Editor, Module

ALLOC, COLLECT = "test.alloc", "test.collect"
LIMITED: Final = Grants(seed=1, memory_limit_bytes=12 << 20)
REQUESTS: Final = 1500
LAYOUTS: Final = (0, 0, 1 << 1 | 1, 4 << 6 | 3 << 1 | 1, 3 << 6 | 2 << 1 | 1, 1 << 6 | 1 << 1 | 1, 5 << 6 | 1)
"""Of precise objects: anything, no pointers, every third word from the third on, all words three ways, two words once."""
BEST_FIT_LAYOUTS: Final = tuple(layout for layout in LAYOUTS if layout >> 1 & 31 or not layout)
"""Those whose pattern has a length: a best-fit collector never comes to the end of others."""


@contextmanager
def opened(
    wasm: bytes, heap: BlockHeap | BestFitHeap, policy: Policy | None = None, *, stops_after_s: float | None = None
) -> Iterator[Program]:
    """A module, started, that exports its allocator and its collections; on tinyheap's engine, if there is a policy for it.

    One that may hang is stopped after so many seconds: all of it, since a timer for each call takes longer than the call.
    """
    editor = Editor(Module.parse(wasm))
    for redirect in heap.redirects:
        editor.export(ALLOC if redirect.role is Role.ALLOC else COLLECT, "function", redirect.function)
    served = {"gc": NATIVE} if policy is None else {"policy": policy}
    grants = replace(LIMITED, interruptible=stops_after_s is not None)
    with Program.open(editor.encode(), grants, **served) as program, ExitStack() as ends:
        if stops_after_s is not None:
            timer = Timer(stops_after_s, program.session.interrupt)
            timer.start()
            ends.callback(timer.cancel)
        program.start()
        yield program


class Mutator:
    """Makes requests, and keeps some of the objects alive: a chain of them hangs on a word of the globals."""

    def __init__(self, program: Program, heap: BlockHeap | BestFitHeap, seed: int) -> None:
        self._program, self._heap, self._chance = program, heap, random.Random(seed)
        self._root = (heap.zero_size_address or 0) & ~3
        self.parameters = Module.parse(program.wasm).function_type(heap.alloc_function).parameters

    def run(self, requests: int) -> Iterator[object]:
        """What each request gives: an address, or how it ends."""
        chance, keeping = self._chance, 0.3
        for _ in range(requests):
            if chance.random() < 0.01:
                # Much of what is made next stays, or nearly nothing does, or all goes.
                keeping = chance.choice((0.02, 0.3, 0.9))
                if chance.random() < 0.4:
                    self._program.memory.write_u32(self._root, 0)
            if chance.random() < 0.01 and COLLECT in self._program.exports:
                yield self._program.call(COLLECT)
            yield self._request(self._size(), keeps=chance.random() < keeping)

    def _size(self) -> int:
        chance = self._chance
        kinds = (chance.randrange(1, 9), chance.randrange(1, 130), chance.randrange(1, 130), chance.randrange(200, 700))
        rare = (0, chance.randrange(900, 5000), chance.randrange(5000, 60_000))
        return chance.choice(rare) if chance.random() < 0.06 else chance.choice(kinds)

    def _request(self, size_bytes: int, *, keeps: bool) -> object:
        layouts = LAYOUTS if isinstance(self._heap, BlockHeap) else BEST_FIT_LAYOUTS
        layout = self._chance.choice(layouts) if self._heap.is_precise else 0
        address = self._program.call(ALLOC, *(size_bytes, layout)[: len(self.parameters)])
        assert isinstance(address, int)
        memory = self._program.memory
        assert memory.read(address % (1 << 32), size_bytes).strip(b"\0") == b""
        if keeps and size_bytes >= 12 and layout == 0:
            memory.write_u32(address, memory.read_u32(self._root))
            memory.write_u32(address + 4, (address + self._chance.randrange(-3000, 40)) % (1 << 32))
            memory.write_u32(self._root, address)
        return address


def ended(run: Iterator[object]) -> Iterator[object]:
    """What comes of a run, and how it ends."""
    try:
        yield from run
    except GuestError as error:
        yield type(error).__name__


def assert_same_requests(
    wasm: bytes, seed: int, *, options: Options | None = None, stops_after_s: float | None = None
) -> None:
    """Both allocators give the same addresses, and leave the same memory."""
    made = perform(wasm, options or Options())
    with (
        opened(wasm, made.heap) as native,
        opened(made.wasm, made.heap, stops_after_s=stops_after_s) as ours,
    ):
        runs = [ended(Mutator(program, made.heap, seed).run(REQUESTS)) for program in (native, ours)]
        for number, (expected, found) in enumerate(zip(*runs, strict=True)):
            assert found == expected, number
        memory = native.memory.read(0, len(native.memory))
        after = ours.memory.read(0, len(ours.memory))
        assert after[: len(memory)] == memory
        assert not after[len(memory) :].strip(b"\0")


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("build", [BUILDS[at] for at in (0, 2, 3, 8, 13)], ids=str)
@pytest.mark.share(2, in_ci=6)
def test_requests_are_served_the_same(build: collectors.Build, seed: int) -> None:
    assert_same_requests(collectors.compiled(build), seed)


@pytest.mark.parametrize(
    "name",
    guests_modules.cases(
        ["sh-syntax-0.4.0", "sh-syntax-0.5.8", "gofmt-0.4.9"], in_ci=["sh-syntax-0.5.8", "gofmt-0.4.9"]
    ),
)
def test_requests_of_real_programs_are_served_the_same(name: str) -> None:
    assert_same_requests(guests_modules.read(name), 3)


@pytest.mark.parametrize("build", [BUILDS[0], BUILDS[2]], ids=str)
@pytest.mark.share(1)
def test_requests_are_served_the_same_without_bulk_memory(build: collectors.Build) -> None:
    assert_same_requests(collectors.compiled(build), 1, options=Options(bulk_memory=False))


@pytest.mark.parametrize(
    "size_bytes", [(1 << 32) - 1, (1 << 32) - 15, (1 << 32) - 16, (1 << 32) - 33, 1 << 31, 1 << 24]
)
@pytest.mark.parametrize("build", [BUILDS[0], BUILDS[2]], ids=str)
@pytest.mark.share(4)
def test_too_large_a_request_ends_the_same(build: collectors.Build, size_bytes: int) -> None:
    wasm = collectors.compiled(build)
    made = perform(wasm)
    endings = []
    for each in (wasm, made.wasm):
        with opened(each, made.heap) as program:
            with pytest.raises(GuestError) as ended_by:
                program.call(ALLOC, size_bytes, 0)
            endings.append((type(ended_by.value), str(ended_by.value).partition(" in ")[0]))
    assert endings[0] == endings[1]
