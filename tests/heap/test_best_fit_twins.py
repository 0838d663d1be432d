"""Best-fit's kernel and model, given the same requests in any order, leave the same bytes: `test_twins` for free lists."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import pytest

import needs
from engine_fixtures import BEST_FIT_KINDS, engine_of
from tinyheap.heap.bestfit import freelist
from tinyheap.heap.collectors import Collector
from tinyheap.heap.contract import NO_BLOCK, BestFitEngine, Gc, LastLeads, State
from workbench import Workbench, inline_layout

pytestmark = pytest.mark.conformance

REQUESTS: Final = 120


def shape(rng: random.Random) -> dict[str, Any]:
    """Options of a bench, any that make sense."""
    word_bytes = rng.choice([2, 4, 8])
    heap_bytes = rng.choice([rng.randint(0, 300), rng.randint(300, 3000), rng.randint(300, 6000)])
    grow_to = sorted(rng.randint(heap_bytes, 2 * heap_bytes + 100) for _ in range(rng.choice([0, 0, 1, 3])))
    return {
        "heap_bytes": heap_bytes,
        "word_bytes": word_bytes,
        "word_alignment_bytes": rng.choice([word_bytes, word_bytes, 1 if word_bytes == 2 else word_bytes]),
        "header_alignment_bytes": rng.choice([0, 0, 8, 16]),
        "grow_to": grow_to,
        "offset_bytes": rng.randint(0, 9),
        "fill": rng.choice([0, 0xEE]),
        "gc": rng.choice([Gc.CONSERVATIVE, Gc.PRECISE]),
        "asserts": rng.random() < 0.3,
        "poison_byte": rng.choice([0, 0xDB, 0xFF]),
    }


class Twins:
    """All engines of a collector, on benches alike."""

    def __init__(self, collector: Collector, engines: list[str], rng: random.Random) -> None:
        self.rng = rng
        options = {**shape(rng), "collector": collector}
        self.benches = [Workbench(engine_of(name, collector), **options) for name in engines]
        self.gc: Gc = options["gc"]
        self.asserts: bool = options["asserts"]
        self.word_bytes: int = options["word_bytes"]
        self.out_of_line = self.all(
            lambda bench: [
                bench.layouts.add(bits, self.word_bytes) for bits in ("1", "01", "1" * 9 + "0", "0" * 40 + "1")
            ]
        )
        self.all(lambda bench: bench.lay(""))
        if self.asserts:
            self.all(lambda bench: bench.engine.poison_free())

    @property
    def one(self) -> Workbench:
        """Any of them: they are the same."""
        return self.benches[-1]

    def all(self, ask: Callable[[Workbench], Any]) -> Any:  # noqa: ANN401
        """Ask all the same; the answer, which is the same too."""
        answers = [ask(bench) for bench in self.benches]
        assert all(answer == answers[0] for answer in answers)
        return answers[0]

    def compare(self) -> None:
        self.all(lambda bench: bench.memory.tobytes())
        self.all(lambda bench: (bench.engine.counters[:7], bench.engine.counters.collections))
        self.all(lambda bench: (bench.engine.free_ranges(), cast(BestFitEngine, bench.engine).free_list))
        self.all(lambda bench: (bench.asked, bench.settled, bench.engine.geometry))
        self.all(lambda bench: [block == NO_BLOCK for block in bench.unreadable])
        assert self.all(lambda bench: bench.engine.check_table()) == []
        assert self.all(lambda bench: freelist.problems(cast(BestFitEngine, bench.engine))) == []
        if self.asserts and not any(request.startswith("grow") for request in self.one.asked):
            # What a growth brings is poisoned by the embedder.
            assert self.all(lambda bench: bench.engine.check_poison()) == []

    # ---- random things ------------------------------------------------------------------------------------------

    def size(self) -> int:
        rng = self.rng
        return rng.choice([0, rng.randint(1, 16), rng.randint(1, 80), rng.randint(1, 600), rng.randint(1, 4000)])

    def layout(self) -> int:
        bits = "".join(self.rng.choices("01", k=self.rng.choice([1, 3, 9])))
        size = self.rng.choice([None, None, 0, 1, 2, len(bits) + 2])
        inline = inline_layout(bits, self.word_bytes, size=size) % (1 << 8 * self.word_bytes)
        layouts: list[int] = [0, 1, inline, inline, *self.out_of_line, 0xEEE2]
        return self.rng.choice(layouts)

    def head(self) -> int | None:
        engine = self.one.engine
        heads = [block for block in range(engine.geometry.end_block) if engine.state(block) is State.HEAD]
        return self.rng.choice(heads) if heads else None

    def extent(self) -> tuple[int, int] | None:
        head = self.head()
        return None if head is None else self.one.engine.extent(head)

    def object_address(self) -> int:
        """The body of an object, or nil."""
        extent = self.extent()
        if extent is None or self.rng.random() < 0.1:
            return 0
        return self.one.engine.shape.address_of(self.one.engine.geometry, extent[0])

    def pointer(self) -> int:
        """Something that an object or a root may hold."""
        address, geometry = self.object_address(), self.one.engine.geometry
        anywhere = geometry.start_address + self.rng.randint(-9, geometry.heap_bytes + 9)
        return max(self.rng.choice([0, address, address, address + self.rng.randint(0, 90), anywhere]), 0)

    # ---- requests -----------------------------------------------------------------------------------------------

    def allocate(self) -> None:
        size, layout = self.size(), self.layout() if self.gc is Gc.PRECISE else 0
        if size < 1 << 8 * self.word_bytes:
            self.all(lambda bench: bench.engine.alloc(size, layout))

    def reallocate(self) -> None:
        address, size = self.object_address(), self.size()
        self.all(lambda bench: bench.engine.realloc(address, size))

    def free(self) -> None:
        head = self.head()
        if head is not None and self.rng.random() < 0.5:
            self.all(lambda bench: bench.engine.free(head))

    def write(self) -> None:
        extent = self.extent()
        if extent is None:
            return
        engine, value = self.one.engine, self.pointer() % (1 << 8 * self.word_bytes)
        room = engine.shape.body_bytes(engine.geometry, extent[1] - extent[0]) // self.word_bytes
        if room > 0:
            address = engine.shape.address_of(engine.geometry, extent[0]) + self.rng.randrange(room) * self.word_bytes
            self.all(lambda bench: bench.engine.store_word(address, value))

    def root(self) -> None:
        roots = [self.pointer() % (1 << 8 * self.word_bytes) for _ in range(self.rng.randint(0, 6))]
        self.all(lambda bench: bench.roots.__setitem__(slice(None), roots))

    def collect(self) -> None:
        self.all(lambda bench: bench.collect())

    def give_up(self) -> None:
        """A collection that ends before its sweep."""
        self.all(lambda bench: bench.mark())
        self.all(lambda bench: bench.engine.unmark())

    def mark_children(self) -> None:
        head = self.head()
        if head is not None:
            self.all(lambda bench: bench.engine.mark_children(head))
            self.collect()

    def look(self) -> None:
        self.all(lambda bench: bench.engine.census())
        self.all(lambda bench: (bench.engine.check_table(), bench.engine.check_layouts(), bench.draw()))
        engine = self.one.engine
        taken = [block for block in range(engine.geometry.end_block) if engine.state(block) is not State.FREE]
        self.all(lambda bench: [(bench.engine.find_head(block), bench.engine.extent(block)) for block in taken])
        words = [self.pointer() % (1 << 8 * self.word_bytes) for _ in range(self.rng.randint(0, 8))]
        buffer = b"".join(word.to_bytes(self.word_bytes, "little") for word in words)
        piece = b"\xff" * self.rng.randrange(self.word_bytes)
        leads = self.all(lambda bench: cast(BestFitEngine, bench.engine).last_leads(buffer + piece))
        assert leads == followed(self.one, words)

    def run(self) -> None:
        requests = [self.allocate] * 8 + [
            self.reallocate,
            self.free,
            *[self.write] * 3,
            *[self.root] * 2,
            self.collect,
            self.give_up,
            self.mark_children,
            self.look,
        ]
        for _ in range(REQUESTS):
            self.rng.choice(requests)()
            self.compare()
        for bench in self.benches:
            bench.close()


def followed(bench: Workbench, words: Sequence[int]) -> LastLeads:
    """One word after another, and each as far as it goes, as the original does."""
    leads, engine = LastLeads(), bench.engine
    for word in words:
        block = engine.geometry.block_of(word)
        if word < engine.geometry.start_address:
            continue
        leads = leads._replace(upward=word)
        if block >= engine.geometry.end_block:
            continue
        leads = leads._replace(to_block=word)
        if engine.state(block) is State.FREE:
            continue
        leads = leads._replace(to_used=word)
        if engine.find_head(block) == NO_BLOCK:
            continue
        leads = leads._replace(to_object=word, inside=leads.inside if engine.find_head(block) == block else word)
    return leads


ENGINES: Final = {
    collector: [engine for engine, of in BEST_FIT_KINDS if of is collector]
    for collector in (Collector.BEST_FIT_FRONT, Collector.BEST_FIT_BACK)
}


@pytest.mark.parametrize("collector", ENGINES)
def test_all_engines_leave_the_same_sound_bytes(collector: Collector, soak_seeds: range) -> None:
    """Where there is no kernel, the model alone leaves sound heaps."""
    if needs.IN_CI:
        assert ENGINES[collector] == ["kernel", "model"]
    for seed in soak_seeds:
        Twins(collector, ENGINES[collector], random.Random(seed)).run()


@pytest.mark.parametrize("collector", ENGINES)
def test_words_are_followed_alike_where_tails_lead_to_no_head(collector: Collector) -> None:
    table = {Collector.BEST_FIT_FRONT: "--..*--.*-..", Collector.BEST_FIT_BACK: "..--*.--*.--"}[collector]
    for word_bytes in (2, 4, 8):
        benches = [
            Workbench(engine_of(name, collector), len(table), word_bytes=word_bytes, collector=collector)
            for name in ENGINES[collector]
        ]
        for bench in benches:
            bench.lay(table)
        addresses = [*map(benches[0].address, range(len(table))), 0, benches[0].address(0) - 1, benches[0].address(40)]
        for last in addresses:
            for before in addresses:
                words = [before + 1, last]
                buffer = b"".join(word.to_bytes(word_bytes, "little") for word in words)
                for bench in benches:
                    assert cast(BestFitEngine, bench.engine).last_leads(buffer) == followed(bench, words)
        for bench in benches:
            bench.close()
