"""The kernel that runs ahead of best-fit's marking, by itself: on heaps made by chance all of memory is what it would be."""

from __future__ import annotations

from random import Random
from typing import Final

import pytest

from guests import pairs
from tinyheap.heap.contract import State
from tinyheap.heap.growth import ByRatio, FixedStep, Growth, NoGrowth, Pages
from tinyheap.units import WASM_PAGE_BYTES
from transplanting.marking import (
    GLOBALS_END,
    GLOBALS_START,
    HEAP_SIZES,
    LAYOUTS_START,
    SHAPES,
    STACK_BOTTOM,
    STACK_TOP,
    START,
    WORD_BYTES,
    Ahead,
    Original,
    Shape,
)

NO_POINTERS: Final = 1 << 1 | 1
LAYOUTS, LAYOUT_BYTES = 16, 16
HEADS, TAILS = 0x0F, 0xF0
"""Bytes of a table: four blocks each."""
REFUSED: Final = (1 << 32) - 1
COLLECTIONS: Final = 5
MOST_MADE: Final = (5, 15, 40)
"""How many objects are made in front of a collection."""
SEEDS: Final = 6


class Program:
    """Allocates, writes pointers, and collects: the same for the same seed."""

    def __init__(self, shape: Shape, memory: memoryview, seed: int, ahead: Ahead | None = None) -> None:
        self._chance = Random(seed)
        heap_bytes = HEAP_SIZES[seed % len(HEAP_SIZES)]
        self.original = original = Original(shape, memory, ahead, heap_bytes)
        geometry = original.model.geometry
        end_of_blocks = geometry.address_of(geometry.end_block)
        for start, end in ((end_of_blocks, geometry.table_address), (geometry.end_address, len(memory))):
            # What is no part of the table may look as if it went on there.
            memory[start:end] = bytes([TAILS if seed % 3 else HEADS]) * (end - start)
        self._most = MOST_MADE[seed % len(MOST_MADE)]
        self._sizes: dict[int, int] = {}
        """How many bytes objects have, by their addresses."""
        self._mapped: list[tuple[int, int]] = []
        """For how many bytes layouts are that lie in the program's data, and where."""
        for number in range(LAYOUTS):
            at, words = LAYOUTS_START + number * LAYOUT_BYTES, self._chance.choice((1, 2, 3, 9, 40, 80))
            self._mapped.append((words * WORD_BYTES, at))
            # The compiler has no map without pointers.
            bits = self._chance.getrandbits(words) | 1 << self._chance.randrange(words)
            original.put(at, words)
            original.memory[at + 4 : at + 14] = bits.to_bytes(10, "little")
        # One that takes the table's first nine bytes and more, or a single block; or any.
        size_bytes = (584, 1, self._chance.randrange(1, 1000))[seed // 2 % 3]
        original.put(GLOBALS_START, self._make(size_bytes, 0))
        self._fill()

    def mutate(self) -> int:
        """Make objects and pointers; returns the object in which the present stack lies, or 0."""
        chance, original = self._chance, self.original
        made = [address for _ in range(chance.randrange(self._most)) if (address := self._make(*self._request()))]
        stack = self._make(chance.randrange(400, 1500), 0) if chance.random() < 0.5 else 0
        for address in made:
            self._scatter(address, address + self._sizes[address], chance.choice((0.05, 0.3, 1)))
        self._scatter(STACK_BOTTOM, STACK_TOP, 0.05)
        self._scatter(GLOBALS_START, GLOBALS_END - WORD_BYTES, 0.5)
        if chance.random() < 0.6:
            # What is scanned first, this time and maybe the next.
            original.put(GLOBALS_END - WORD_BYTES, self._make(*chance.choice((self._request(), self._mapped[0]))))
        original.stack_pointer = chance.randrange(STACK_BOTTOM + 0x100, STACK_TOP + 1, 16)
        if stack:
            original.stack_pointer = stack + chance.randrange(0x80, self._sizes[stack], 16)
            self._scatter(stack, stack + self._sizes[stack], 0.1)
            # Where it is scanned late, first, or from somewhere in between.
            places = GLOBALS_START, GLOBALS_END - WORD_BYTES, chance.choice((*made, GLOBALS_START))
            original.put(chance.choice(places), stack)
        self._leave_below(original.stack_pointer)
        return stack

    def sweep(self) -> None:
        """Mark from an object that has a finalizer, at times; then sweep."""
        original = self.original
        if self._sizes and self._chance.random() < 0.5:
            original.mark_root(self._chance.choice([*self._sizes]))
            original.finish_mark()
        original.model.sweep()
        block_of, state = original.model.geometry.block_of, original.model.state
        self._sizes = {at: size for at, size in self._sizes.items() if state(block_of(at)) is not State.FREE}

    def _fill(self) -> None:
        """Take all that is left: what nothing leads to, and an object at the heap's end."""
        model = self.original.model
        ((_, blocks),) = model.free_ranges()
        last = self._chance.choice((2, 4, 36, 68))
        model.alloc(model.shape.body_bytes(model.geometry, blocks - last), 0)
        self.original.put(GLOBALS_START + WORD_BYTES, self._make(model.shape.body_bytes(model.geometry, last), 0))
        assert model.free_ranges() == []

    def _leave_below(self, stack_pointer: int) -> None:
        """Leave pointers where the collector's frames will be, to objects that nothing else leads to."""
        for at in range(stack_pointer - 0x60, stack_pointer, WORD_BYTES):
            if self._chance.random() < 0.3:
                self.original.put(at, self._make(1, 0))

    def _request(self) -> tuple[int, int]:
        """The size of an object, and its layout."""
        chance = self._chance
        size_bytes = chance.choice((chance.randrange(1, 40), chance.randrange(1, 200), chance.randrange(1, 200)))
        size_bytes = chance.randrange(600, 1500) if chance.random() < 0.05 else size_bytes
        if not self.original.shape.is_precise or chance.random() < 0.2:
            return size_bytes, 0
        if chance.random() < 0.4:
            element_bytes, layout = chance.choice(self._mapped)
            # The compiler has no layout for less than one element.
            return max(size_bytes, element_bytes), layout
        words = chance.randrange(1, 27)
        return size_bytes, chance.randrange(1, 1 << words) << 6 | words << 1 | 1

    def _make(self, size_bytes: int, layout: int) -> int:
        model = self.original.model
        address = model.alloc(size_bytes, layout)
        if address:
            blocks = model.shape.blocks_for(model.geometry, size_bytes)
            self._sizes[address] = model.shape.body_bytes(model.geometry, blocks)
        return address

    def _scatter(self, start: int, end: int, density: float) -> None:
        """Write pointers to objects, to their beginnings or not, and to where there is none."""
        chance, objects = self._chance, [*self._sizes]
        for at in range(start, end, WORD_BYTES):
            if chance.random() < density:
                self.original.put(at, self._pointer(objects))

    def _pointer(self, objects: list[int]) -> int:
        chance = self._chance
        if chance.random() < 0.2:
            return self._make(1, NO_POINTERS)
        if not objects or chance.random() < 0.2:
            edges = START - 1, START, START + HEAP_SIZES[0] // 65 * 64
            return chance.choice((*edges, chance.randrange(1 << 16)))
        target = chance.choice(objects)
        return target + (chance.randrange(self._sizes[target]) if chance.random() < 0.3 else 0)


def assert_marks_the_same(shape: Shape, seed: int) -> None:
    """Memory is the same after each collection, what is told is right, and little is left to the original."""
    ahead = Ahead(shape)
    native = Program(shape, memoryview(bytearray(WASM_PAGE_BYTES)), seed)
    ours = Program(shape, ahead.memory, seed, ahead)
    for number in range(COLLECTIONS):
        before = ahead.told()
        stack, _ = (program.mutate() for program in (native, ours))
        for program in (native, ours):
            program.original.mark()
        assert_same_memory(f"memory {number} of {seed}, marked", native, ours)
        told = {name: count - before[name] for name, count in ahead.told().items()}
        expected, left = native.original.work, ours.original.work
        assert told.pop("marked") >= (expected.objects > 0)
        assert told == {"collections": 1, "roots": expected.root_bytes, "scanned": expected.object_bytes}
        # The first, the last, the last of those with a map of pointers; the stack, and the same behind it.
        assert left.objects <= (7 if stack else 3)
        assert left.words <= left.objects + 2 or not shape.marks_in_own_frame
        for program in (native, ours):
            program.sweep()
        assert_same_memory(f"memory {number} of {seed}", native, ours)


def assert_same_memory(what: str, native: Program, ours: Program) -> None:
    pairs.assert_same_words(what, bytes(native.original.memory), bytes(ours.original.memory))


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.share(12, in_ci=24)
def test_all_is_marked_as_without_it(shape: Shape, seed: int) -> None:
    assert_marks_the_same(shape, seed)


def assert_leaves_a_word() -> None:
    """Of a range of any length the last word is left, and what there is behind it; or all of it, where a scan marks itself."""
    ahead, inlined = Ahead(SHAPES[0]), Ahead(SHAPES[0]._replace(marks_in_own_frame=False))
    for size_bytes in range(40):
        left = ahead.begin_range(STACK_BOTTOM, GLOBALS_START, size_bytes)
        assert left == min(size_bytes, WORD_BYTES + size_bytes % WORD_BYTES)
        assert inlined.begin_range(STACK_BOTTOM, GLOBALS_START, size_bytes) == size_bytes


def test_a_word_is_left_of_each_range() -> None:
    assert_leaves_a_word()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_original_it_is_compared_with_marks_as_the_model(shape: Shape) -> None:
    program = Program(shape, memoryview(bytearray(WASM_PAGE_BYTES)), 2)
    compared = 0
    for _ in range(3 * COLLECTIONS):
        stack, original = program.mutate(), program.original
        other = memoryview(bytearray(original.memory))
        model = Original(shape, other).model
        model.mark_roots(original.memory[original.system_stack_pointer : STACK_TOP])
        model.mark_roots(original.memory[GLOBALS_START:GLOBALS_END])
        model.finish_mark()
        original.mark()
        if stack == 0:
            # Else frames are on the heap.
            assert other[START:] == original.memory[START:]
            compared += 1
        program.sweep()
    assert compared > COLLECTIONS


# ---- growth -------------------------------------------------------------------------------------------------------------

GROWTHS: Final = (NoGrowth(), FixedStep(1), FixedStep(300_000), ByRatio(3, 2), Pages())


def assert_grows_as_the_policy_says(growth: Growth) -> None:
    """Whatever a host has added: it is used as far as the policy goes, and no growth is one of nothing."""
    ahead, there = Ahead(SHAPES[0], growth), 1
    for pages in (1, 1, 2, 5, 7, 7, 7, 12):
        added = ahead.begin_growth(pages * WASM_PAGE_BYTES)
        next_bytes = START + growth.next_bytes(pages * WASM_PAGE_BYTES - START)
        wanted = -(-next_bytes // WASM_PAGE_BYTES)
        if wanted <= pages:
            assert added == REFUSED
        else:
            assert (added, ahead.extra_pages()) == (max(wanted - there, 0), max(there - wanted, 0))
        there += 2
        ahead.add_pages(2)


@pytest.mark.parametrize("growth", GROWTHS, ids=str)
def test_memory_grows_as_the_policy_says(growth: Growth) -> None:
    assert_grows_as_the_policy_says(growth)
