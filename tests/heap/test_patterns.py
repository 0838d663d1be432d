"""The kernel, which looks at 32 blocks at once, agrees with one block at a time on every pattern of eight blocks.

Each pattern is laid at the start of a table, at the ragged end of tables of all lengths modulo eight bytes, and across
the boundary of two words at each of its places; what goes on before it is free, dead, or alive, and may have tails that
reach into it.  All of them are tried with ``--long``, and all of ten blocks; in CI and in a quick run a sample (`stride`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from itertools import combinations, cycle, islice, product
from typing import Final

import pytest

import patterns
from patterns import FREE, HEAD, MARK, TAIL, States
from tinyheap.errors import HeapCorruptError
from tinyheap.heap.contract import NO_BLOCK, Engine
from tinyheap.heap.nextfit.model import Model
from workbench import Workbench

pytestmark = pytest.mark.conformance

# Tables of 2 to 8 bytes, and of 17 to 24: 1, 2, ... 8 bytes in the last word, 1, 2, 3 or 4 blocks in the last byte.
SMALL_HEAPS: Final = (8, 11, 14, 17, 20, 23, 26, 29, 32)
RAGGED_HEAPS: Final = (65, 70, 75, 80, 81, 86, 91, 96)
BOUNDARY_HEAP: Final = 96
# What stands before a pattern: nothing, an object that dies with the sweep, one that lives; each with tails or without.
CONTEXTS: Final[tuple[tuple[int, ...], ...]] = ((FREE,), (HEAD,), (MARK,), (HEAD, TAIL), (MARK, TAIL, TAIL))


class Row:
    """A pattern, and what is to be said of it wherever it lies."""

    def __init__(self, states: tuple[int, ...]) -> None:
        self.states = states
        self.packed = patterns.pack(states)
        self.glyphs = patterns.draw(states)
        self.swept = [patterns.sweep(states, freeing) for freeing in (False, True)]
        self.swept_packed = [patterns.pack(swept.states) for swept in self.swept]
        self.heads = patterns.heads(states)
        self.nexts = patterns.nexts(states)
        self.leading_tails = len(self.glyphs) - len(self.glyphs.lstrip("-"))
        self.wrong = [patterns.wrong(states, before) for before in (FREE, HEAD)]


class Place:
    """A heap with room for a pattern at ``at``, something before it, and free blocks behind it."""

    def __init__(self, engine: type[Engine], blocks: int, at: int, context: States = ()) -> None:
        self.bench = Workbench(engine, blocks, word_bytes=2, offset_bytes=blocks % 8)
        self.engine = self.bench.engine
        self.table_bytes = self.engine.geometry.table_bytes
        self.block_bytes = self.engine.geometry.block_bytes
        self.blocks, self.at = blocks, at
        self.before = [FREE] * (at - len(context)) + list(context)
        self.packed = patterns.pack(self.before)
        self.glyphs = patterns.draw(self.before)
        self.context_begins = at - len(context)
        self.taken = bool(context) and context[-1] != FREE
        self.head = patterns.heads(self.before)[-1] if at else NO_BLOCK
        self.freeing = patterns.freeing_after(self.before)
        self.swept = patterns.sweep(self.before)
        self.swept_packed = patterns.pack(self.swept.states)
        self.wrong = patterns.wrong(self.before)
        self.freed_objects = self.freed_blocks = 0

    def table(self, row: Row) -> bytes:
        return (self.packed | row.packed << 2 * self.at).to_bytes(self.table_bytes, "little")

    def states(self, row: Row) -> list[int]:
        states = [*self.before, *row.states]
        return states + [FREE] * (self.blocks - len(states))

    def check(self, row: Row) -> None:
        engine, at, blocks = self.engine, self.at, range(self.at, self.at + len(row.states))
        engine.write_table(self.table(row))
        glyphs = (self.glyphs + row.glyphs).ljust(self.blocks, ".")
        assert engine.census() == patterns.census(glyphs), glyphs
        assert engine.check_table(100) == self.wrong + [at + block for block in row.wrong[self.taken]], glyphs
        heads = [self.head if head < 0 else at + head for head in row.heads]
        assert list(map(engine.find_head, blocks)) == heads, glyphs
        assert list(map(engine.find_next, blocks)) == [at + end for end in row.nexts], glyphs
        if self.taken:
            assert engine.find_next(self.context_begins) == at + row.leading_tails, glyphs
        self.check_sweep(row, glyphs)

    def check_sweep(self, row: Row, glyphs: str) -> None:
        swept = row.swept[self.freeing]
        free_blocks = swept.states.count(FREE) + self.swept.states.count(FREE)
        free_blocks += self.blocks - self.at - len(row.states)
        assert self.engine.sweep() == free_blocks * self.block_bytes, glyphs
        left = self.swept_packed | row.swept_packed[self.freeing] << 2 * self.at
        assert self.engine.read_table() == left.to_bytes(self.table_bytes, "little"), glyphs
        self.freed_objects += swept.freed_objects + self.swept.freed_objects
        self.freed_blocks += swept.freed_blocks + self.swept.freed_blocks

    def check_marks(self, row: Row) -> None:
        """Marks from each block of the pattern, whatever it is."""
        roots = range(self.at, self.at + len(row.states))
        self.engine.write_table(self.table(row))
        for block in roots:
            # The model, which looks at one block at a time, notices tails without a head; nothing is marked then.
            with suppress(HeapCorruptError):
                self.engine.mark_addresses([self.bench.address(block)])
        marked = patterns.pack(patterns.marked_from(self.states(row), roots))
        assert self.engine.read_table() == marked.to_bytes(self.table_bytes, "little"), row.glyphs

    def close(self) -> None:
        assert self.engine.counters[3:5] == (self.freed_objects, self.freed_blocks)
        self.bench.close()


def places(engine: type[Engine], pattern_blocks: int) -> list[Place]:
    starts = [Place(engine, blocks, 0) for blocks in SMALL_HEAPS if blocks >= pattern_blocks]
    ends = [
        Place(engine, blocks, blocks - pattern_blocks, context)
        for blocks, context in zip(RAGGED_HEAPS, cycle(CONTEXTS), strict=False)
    ]
    across = [Place(engine, BOUNDARY_HEAP, 32 - cut, CONTEXTS[cut % len(CONTEXTS)]) for cut in range(1, pattern_blocks)]
    behind = [Place(engine, BOUNDARY_HEAP, 32, context) for context in CONTEXTS]
    long_tails = [
        Place(engine, BOUNDARY_HEAP, 32, (HEAD, *[TAIL] * 31)),
        Place(engine, BOUNDARY_HEAP, 64, (MARK, *[TAIL] * 63)),
    ]
    return starts + ends + across + behind + long_tails


def check_everywhere(engine: type[Engine], pattern_blocks: int, stride: int = 1) -> None:
    everywhere = places(engine, pattern_blocks)
    anywhere = cycle(everywhere)
    for states in islice(patterns.all_patterns(pattern_blocks), 0, None, stride):
        row = Row(states)
        for place in everywhere:
            place.check(row)
        next(anywhere).check_marks(row)
    for place in everywhere:
        place.close()


def test_every_pattern_of_eight_blocks(kernel: type[Engine], stride: int) -> None:
    check_everywhere(kernel, 8, stride)


@pytest.mark.long
def test_every_pattern_of_ten_blocks(kernel: type[Engine]) -> None:
    check_everywhere(kernel, 10)


def test_the_model_says_the_same_on_a_sample() -> None:
    everywhere = places(Model, 8)
    anywhere = cycle(everywhere)
    for states in islice(patterns.all_patterns(8), 0, None, 61):
        row = Row(states)
        place = next(anywhere)
        place.check(row)
        place.check_marks(row)
    for place in everywhere:
        place.close()


def test_random_sweeps_of_longer_tables(kernel: type[Engine]) -> None:
    """Long objects and short ones, some with marks; tables that are counted in several pieces."""
    rng = random.Random(2)
    for lot in range(24):
        blocks = rng.randint(60, 9000)
        states: list[int] = []
        while len(states) < blocks:
            begins = rng.choice([FREE, HEAD, HEAD, MARK])
            follows = rng.choice([FREE, TAIL]) if begins == FREE else TAIL
            states += [begins] + [follows] * rng.choice([0, rng.randint(0, 5), rng.randint(0, 10 ** (lot % 4))])
        states = states[:blocks]
        bench = Workbench(kernel, blocks, word_bytes=4, offset_bytes=lot % 8)
        bench.lay(patterns.draw(states))
        assert bench.engine.census() == patterns.census(patterns.draw(states))
        swept = patterns.sweep(states)
        assert bench.engine.sweep() == swept.states.count(FREE) * 16
        assert bench.draw() == patterns.draw(swept.states)
        assert bench.engine.counters[3:5] == (swept.freed_objects, swept.freed_blocks)
        bench.close()


# ---- searching ------------------------------------------------------------------------------------------------------

Query = tuple[int, int, int, int]


def queries(at: int, pattern_blocks: int, blocks: int) -> Iterator[Query]:
    """Every start in the pattern or just before it, every end, every length, every run before the start."""
    stop = at + pattern_blocks
    for first, last in product(range(max(at - 1, 0), stop + 1), sorted({*range(at, stop + 1), blocks})):
        if first <= last:
            for needed in range(1, min(last - first, 2 * pattern_blocks) + 3):
                for run in range(needed):
                    yield first, last, needed, run


@pytest.mark.parametrize("taken", [HEAD, TAIL, MARK])
def test_every_search_in_every_row_of_free_and_taken_blocks(kernel: type[Engine], taken: int, stride: int) -> None:
    for place in places(kernel, 8)[taken - 1 :: 3]:
        asked = list(queries(place.at, 8, place.blocks))
        for row in map(Row, islice(product((FREE, taken), repeat=8), 0, None, stride)):
            states = place.states(row)
            place.engine.write_table(place.table(row))
            for query in asked:
                assert place.engine.find_run(*query) == patterns.find_run(states, *query), (row.glyphs, query)
        place.close()


def test_every_search_in_every_pattern(kernel: type[Engine], stride: int) -> None:
    """Whatever the taken blocks are: every length from every start, with no run before it and with all but one."""
    anywhere = cycle(places(kernel, 8))
    expected: dict[tuple[Place, tuple[bool, ...]], list[tuple[int, int]]] = {}
    for states in islice(patterns.all_patterns(8), 0, None, stride):
        place = next(anywhere)
        row = Row(states)
        first, stop = place.at, place.at + 8
        asked = [
            (start, stop, needed, run)
            for start in range(first, stop)
            for needed in range(1, 9)
            for run in {0, needed - 1}
        ]
        key = place, tuple(map(bool, states))
        if key not in expected:
            expected[key] = [patterns.find_run(place.states(row), *query) for query in asked]
        place.engine.write_table(place.table(row))
        assert [place.engine.find_run(*query) for query in asked] == expected[key], row.glyphs


def test_the_model_searches_the_same_on_a_sample() -> None:
    place = Place(Model, 40, 28, (HEAD, TAIL))
    for index, row in enumerate(map(Row, product((FREE, HEAD), repeat=8))):
        place.engine.write_table(place.table(row))
        for query in list(queries(place.at, 8, place.blocks))[index % 17 :: 17]:
            assert place.engine.find_run(*query) == patterns.find_run(place.states(row), *query)


@pytest.mark.parametrize("blocks", [67, 130, 200])
def test_long_searches_around_two_taken_blocks(kernel: type[Engine], blocks: int) -> None:
    """Every length, wherever two blocks are taken that have three free runs around them."""
    bench = Workbench(kernel, blocks)
    for one, two in combinations(range(0, blocks, 1 + blocks // 70), 2):
        states = [FREE] * blocks
        states[one], states[two] = HEAD, MARK
        bench.lay(patterns.draw(states))
        first = (one * 7 + two) % (one + 1)
        carried = two % 5
        for needed in range(carried + 1, blocks + 2, 1 + blocks // 50):
            expected = patterns.find_run(states, first, blocks, needed, carried)
            assert bench.engine.find_run(first, blocks, needed, carried) == expected, (one, two, first, needed)
    bench.close()


def test_random_searches_in_longer_tables(kernel: type[Engine]) -> None:
    rng = random.Random(1)
    for _ in range(400):
        blocks = rng.choice([rng.randint(1, 80), rng.randint(80, 500)])
        density = rng.choice([0.02, 0.1, 0.5, 0.9])
        states = [rng.randint(1, 3) if rng.random() < density else FREE for _ in range(blocks)]
        bench = Workbench(kernel, blocks)
        bench.lay(patterns.draw(states))
        for _ in range(50):
            first = rng.randint(0, blocks)
            last = rng.randint(first, blocks)
            needed = rng.choice([rng.randint(1, 10), rng.randint(1, 70), rng.randint(1, blocks + 9)])
            run = rng.choice([0, rng.randrange(needed)])
            expected = patterns.find_run(states, first, last, needed, run)
            assert bench.engine.find_run(first, last, needed, run) == expected, (first, last, needed, run)
        bench.close()


# ---- writing states -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocks", [13, 32, 75, 100])
def test_objects_of_every_size_at_every_place(kernel: type[Engine], blocks: int) -> None:
    """The hole is filled and freed again; not a state beside it changes."""
    bench = Workbench(kernel, blocks, word_bytes=2)
    for head, end in combinations(range(blocks + 1), 2):
        hole = "*" * head + "." * (end - head) + "*" * (blocks - end)
        bench.lay(hole)
        bench.engine.next_alloc = head * end % (head + 1)
        assert bench.engine.alloc((end - head) * 8) == bench.address(head)
        assert bench.draw() == "*" * (head + 1) + "-" * (end - head - 1) + "*" * (blocks - end)
        assert bench.engine.next_alloc == end
        assert bench.engine.free(head) == end - head
        assert bench.draw() == hole
    bench.close()


@pytest.mark.parametrize("word_bytes", [4, 8])
@pytest.mark.parametrize("mark_stack_entries", [0, 9])
def test_objects_of_every_size_at_every_place_are_scanned_to_their_end(
    kernel: type[Engine], word_bytes: int, mark_stack_entries: int
) -> None:
    """The last word of each is a reference, and so is the first word behind it, which must not be followed."""
    blocks = 75
    bench = Workbench(kernel, blocks, word_bytes=word_bytes, mark_stack_entries=mark_stack_entries)
    for head, end in combinations(range(2, blocks + 1), 2):
        bench.lay("**" + "." * (head - 2) + "*" + "-" * (end - head - 1) + "*" * (blocks - end))
        bench.refer(end - 1, 3, 0)
        if end < blocks:
            bench.refer(end, 0, 1)
        scanned = bench.engine.counters.words_scanned
        bench.roots = [bench.address(head)]
        bench.mark()
        assert bench.draw()[:2] == "#*", (head, end)
        assert bench.engine.counters.words_scanned - scanned == 4 * (end - head) + 4
        bench.engine.unmark()
        bench.engine.store_word(bench.word_address(end - 1, 3), 0)
        if end < blocks:
            bench.engine.store_word(bench.word_address(end, 0), 0)
    bench.close()
