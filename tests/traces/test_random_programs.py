"""Random programs leave the same heap behind on the kernel, on the model, and on a literal port of the algorithm to C.

Programs of all word sizes, header sizes, collectors and ways to grow, in heaps from a block to 256 KiB: with dangling
ids, interior pointers, integers that look like addresses, objects reallocated, layouts in line and out of line.
A seed takes about 0.4 seconds of one core, most of it the model's: the 200 that CI plays take 80 seconds, and
``--soak-seeds 3000`` takes twenty minutes.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest

import needs
from engine_fixtures import BEST_FIT_KINDS
from tinyheap.errors import HeapCorruptError, TraceError
from tinyheap.heap.blockmap import free_runs_of
from tinyheap.heap.collectors import Collector
from tinyheap.heap.contract import Engine, Gc
from tinyheap.traces.replay import Replay, replay
from tinyheap.traces.trace import Trace, TraceBuilder, TraceGrowth, write_trace
from workbench import inline_layout

pytestmark = pytest.mark.soak

LITERAL: Final = Path(__file__).resolve().parents[2] / "benchmarks" / "literal.c"
LITERAL_MARK_STACK_WORDS: Final = 8
RERUN: Final = 'again with: make test ARGS="tests/traces --soak-seeds {after} -k test_seed[{seed}]"'

PlayLiteral: TypeAlias = Callable[[Trace, Gc], dict[str, Any]]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(metafunc.config.getoption("--soak-seeds")))


class Author:
    """Writes one random program.

    A *gentle* program writes only to objects that a root slot holds; a wild one writes to whatever its ids name, which
    may long be something else.  Values are wild in both.
    """

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        self.gc = rng.choice([Gc.CONSERVATIVE, Gc.CONSERVATIVE, Gc.PRECISE, Gc.PRECISE, Gc.PRECISE, Gc.LEAKING])
        self.word_bytes = rng.choice([2, 4, 4, 8, 8])
        self.gentle = rng.random() < 0.7
        largest = 12 << 10 if self.word_bytes == 2 else 256 << 10
        self.heap_bytes = min(int(2 ** rng.uniform(rng.choice([3, 8, 10]), 18)), largest)
        limit_bytes = min(self.heap_bytes * rng.choice([1, 1, 2, 3, 16]), largest)
        self.builder = TraceBuilder(
            self.heap_bytes,
            word_bytes=self.word_bytes,
            limit_bytes=max(self.heap_bytes, limit_bytes),
            growth=rng.choice(list(TraceGrowth)),
            header_alignment_bytes=rng.choice([0, 0, 4, 8, 16]),
        )
        self.sizes: dict[int, int] = {}
        """Bytes of each id, as the program's checker counts them."""
        self.slots = rng.choice([1, 3, 20])
        self.held: dict[int, int] = {}
        """The id that each root slot holds."""
        self.typical_bytes = 2 ** rng.uniform(3, max(4, self.heap_bytes.bit_length() - rng.choice([3, 7, 9])))

    def write(self) -> Trace:
        steps = [
            *[self.alloc] * 6,
            *[self.store] * 6,
            *[self.store_number] * 2,
            *[self.root] * 3,
            *[self.realloc] * self.rng.choice([0, 1]),
            self.copy,
        ]
        rare = [self.fan, self.builder.collect]
        self.alloc()
        for _ in range(self.rng.choice([300, 1000, 3000])):
            self.rng.choice(steps)()
            if self.rng.random() < 0.02:
                self.rng.choice(rare)()
        return self.builder.build()

    # ---- choices --------------------------------------------------------------------------------------------------

    def size(self) -> int:
        rng = self.rng
        size = rng.choice([rng.randint(0, 40), int(rng.expovariate(1 / self.typical_bytes)), int(self.typical_bytes)])
        if rng.random() < 0.001:
            size = self.heap_bytes + rng.randint(-64, 64)
        return min(max(size, 0), 1 << 15 if self.word_bytes == 2 else 1 << 30)

    def layout(self) -> int:
        rng = self.rng
        if rng.random() < 0.3:
            # Out of line: so many bits.
            return 2 * rng.choice([1, 3, 24, 25, rng.randint(1, 200)])
        bits = "".join(rng.choices("01", k=rng.choice([1, 2, 3, 7])))
        size = rng.choice([None, None, None, 0, len(bits) + 2])
        word = inline_layout(bits, self.word_bytes, size=size)
        return rng.choice([0, 1, word, word]) % (1 << 8 * min(self.word_bytes, 4))

    def any_id(self) -> int:
        return self.rng.choice(list(self.sizes)) if self.sizes else 0

    def target(self) -> int:
        """An id to write to, with room for a word; 0 where there is none."""
        chosen = self.any_id()
        if self.gentle and self.held:
            chosen = self.rng.choice(list(self.held.values()))
        elif self.gentle:
            return 0
        return chosen if self.sizes.get(chosen, 0) >= self.word_bytes else 0

    def word_of(self, target: int) -> int:
        return self.rng.randrange(min(self.sizes[target] // self.word_bytes, 1 << 20))

    def referable(self, chosen: int) -> bool:
        """Whether the peers agree on the address: not that of objects without bytes where words overlap."""
        return bool(chosen) and not (self.word_bytes == 2 and self.sizes[chosen] == 0)

    # ---- steps ----------------------------------------------------------------------------------------------------

    def bound(self, changed: int, size: int) -> None:
        """An id names another object now, which is mostly held at once."""
        self.sizes[changed] = size
        self.held = {slot: held for slot, held in self.held.items() if held != changed}
        if self.referable(changed) and self.rng.random() < 0.7:
            self.hold(self.rng.randrange(self.slots), changed, 0)

    def hold(self, slot: int, chosen: int, offset_bytes: int) -> None:
        self.builder.root(slot, chosen, offset_bytes=offset_bytes)
        self.held.pop(slot, None)
        if offset_bytes == 0:
            self.held[slot] = chosen

    def alloc(self) -> None:
        size = self.size()
        again = self.any_id() if self.rng.random() < 0.1 else 0
        self.bound(self.builder.alloc(size, self.layout(), id=again), size)

    def store(self) -> None:
        target, value = self.target(), self.any_id()
        if not target:
            return
        if not self.referable(value):
            value = 0
        far = self.rng.random() < 0.2 and self.word_bytes != 2
        self.builder.store(target, self.word_of(target), value, interior_words=self.rng.randint(0, 40) if far else 0)

    def store_number(self) -> None:
        target = self.target()
        if not target:
            return
        if self.rng.random() < 0.5:
            self.builder.store_address(target, self.word_of(target), self.rng.randrange(self.heap_bytes + 100))
        else:
            number = self.rng.choice([0, 1, self.rng.getrandbits(16), self.rng.getrandbits(32)])
            self.builder.store_integer(target, self.word_of(target), number % (1 << 8 * min(self.word_bytes, 4)))

    def root(self) -> None:
        slot, chosen = self.rng.randrange(self.slots), self.any_id()
        if not self.referable(chosen) or self.rng.random() < 0.3:
            self.builder.root(slot)
            self.held.pop(slot, None)
        else:
            self.hold(slot, chosen, self.rng.choice([0, 0, 0, self.rng.randint(0, self.sizes[chosen] + 9)]))

    def realloc(self) -> None:
        chosen = self.target()
        if chosen:
            size = self.size()
            self.builder.realloc(chosen, size)
            self.bound(chosen, max(size, self.sizes[chosen]))

    def fan(self) -> None:
        """An object that refers to many others, more than a mark stack holds; then a collection."""
        children = self.rng.randint(1, self.heap_bytes // 200 + 2) % 150 + 1
        parent = self.builder.alloc(children * self.word_bytes)
        self.sizes[parent] = children * self.word_bytes
        self.hold(0, parent, 0)
        for word in range(children):
            child = self.builder.alloc(self.word_bytes)
            self.sizes[child] = self.word_bytes
            self.builder.store(parent, word, child)
        self.builder.collect()

    def copy(self) -> None:
        target, source = self.any_id(), self.any_id()
        if target != source and target and source:
            self.builder.copy(target, source)
            self.bound(target, self.sizes[source])


@pytest.fixture(scope="session")
def play_literal(tmp_path_factory: pytest.TempPathFactory) -> PlayLiteral:
    """Plays a program on the literal port, compiled for its word size and scanner."""
    compiler = needs.tool("gcc")
    folder = tmp_path_factory.mktemp("literal")

    def play(program: Trace, gc: Gc) -> dict[str, Any]:
        command = folder / f"literal-{program.word_bytes}-{gc}"
        if not command.exists():
            defines = [f"-DWORD_BYTES={program.word_bytes}", f"-DPRECISE={int(gc is Gc.PRECISE)}"]
            subprocess.run([compiler, "-O1", "-std=gnu11", *defines, LITERAL, "-o", command], check=True)
        trace = folder / "program.trace"
        write_trace(trace, program)
        ran = subprocess.run([command, "--full", trace], check=True, capture_output=True)
        result: dict[str, Any] = json.loads(ran.stdout)
        return result

    return play


def play(program: Trace, gc: Gc, engine: str, entries: int) -> Replay | str:
    """What a replay gave; the message where the program could not be played to its end."""
    try:
        return replay(program, gc, engine, mark_stack_entries=entries)
    except TraceError as error:
        return str(error)


def without_overflows(replayed: dict[str, Any]) -> dict[str, Any]:
    return replayed | {"collections": [[*row[:3], 0, 0, row[5]] for row in replayed["collections"]]}


def test_seed(seed: int, kernel: type[Engine], play_literal: PlayLiteral) -> None:
    author = Author(seed)
    program, gc = author.write(), author.gc
    seeds_own = LITERAL_MARK_STACK_WORDS * program.word_bytes
    entries = author.rng.choice([1, 3, seeds_own, seeds_own])
    again = RERUN.format(seed=seed, after=seed + 1)
    model = play(program, gc, "model", entries)
    bounded = play(program, gc, "kernel", entries)
    unbounded = play(program, gc, "kernel", 0)
    if isinstance(model, str) or isinstance(bounded, str) or isinstance(unbounded, str):
        # A wild program that wrote outside the heap.
        assert model == bounded == unbounded, again
        return
    vector = model.as_vector()
    assert bounded.as_vector() == vector, again
    assert unbounded.as_vector() == without_overflows(vector), again
    assert bounded.table == unbounded.table == model.table, again
    assert bounded.counters[:7] == model.counters[:7], again
    assert bounded.counters.mark_stack_peak == model.counters.mark_stack_peak, again
    if not model.counters.rescans:
        # How much a rescan reads is an engine's own affair.
        assert bounded.counters.words_scanned == model.counters.words_scanned, again
    if gc is not Gc.LEAKING and author.gentle:
        literal = play_literal(program, gc)
        expected = vector if entries == seeds_own else without_overflows(vector)
        actual = literal if entries == seeds_own else without_overflows(literal)
        named = {key: actual[key] for key in expected}
        if not expected["final_map"]:
            named["final_map"] = ""
        assert named == expected, again


class CarefulAuthor(Author):
    """Writes programs that write to live objects only: a free list lies in what is free, and would be overwritten."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.gentle = True

    def held_id(self) -> int:
        return self.rng.choice(list(self.held.values())) if self.held else 0

    def root(self) -> None:
        slot, chosen = self.rng.randrange(self.slots), self.held_id()
        if not chosen or self.rng.random() < 0.3:
            self.builder.root(slot)
            self.held.pop(slot, None)
        else:
            self.hold(slot, chosen, self.rng.choice([0, 0, self.rng.randint(0, self.sizes[chosen])]))

    def copy(self) -> None:
        target, source = self.any_id(), self.held_id()
        if target != source and target and source:
            self.builder.copy(target, source)
            self.bound(target, self.sizes[source])


def best_fit_of(seed: int) -> tuple[Collector, list[str]]:
    """One of the two collectors, seed by seed, and its engines."""
    collector = (Collector.BEST_FIT_FRONT, Collector.BEST_FIT_BACK)[seed % 2]
    return collector, [engine for engine, of in BEST_FIT_KINDS if of is collector]


def test_seed_of_best_fit(seed: int) -> None:
    author = CarefulAuthor(seed)
    program, gc = author.write(), Gc.PRECISE if author.gc is Gc.LEAKING else author.gc
    again = RERUN.format(seed=seed, after=seed + 1).replace("test_seed", "test_seed_of_best_fit")
    collector, engines = best_fit_of(seed)
    first, *others = (replay(program, gc, engine, collector=collector) for engine in engines)
    for other in others:
        assert other.as_vector() == first.as_vector(), again
        assert other.counters[:5] == first.counters[:5], again
    runs = free_runs_of(first.table, collector, first.geometry.end_block)
    assert sum(blocks for _, blocks in first.ranges) == sum(blocks for _, blocks in runs), again


def refusal(program: Trace, engine: str, collector: Collector) -> str:
    """Why a program could not be played to its end; empty where it could."""
    try:
        replay(program, Gc.CONSERVATIVE, engine, collector=collector)
    except (HeapCorruptError, TraceError) as error:
        return str(error)
    return ""


def test_wild_programs_are_refused_where_they_meet_their_damage(seed: int) -> None:
    program = Author(seed).write()
    collector, engines = best_fit_of(seed)
    for engine in engines:
        assert re.match(r"$|step \d+ \([A-Z]", refusal(program, engine, collector))
