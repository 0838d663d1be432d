"""Kernel and model, given the same requests in any order, leave the same bytes.

Where the vectors play whole programs, this is every verb of the contract by itself, in heaps of all shapes: after each
request the two heaps are compared to the last byte, their counters too.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

import pytest

from tinyheap.heap.contract import NO_BLOCK, Engine, Gc, State
from tinyheap.heap.nextfit.model import Model
from workbench import Workbench, inline_layout

pytestmark = pytest.mark.conformance

REQUESTS: Final = 120
UNBOUNDED: Final = 1 << 20
"""Entries of a mark stack that no heap here fills: what the model has where the kernel's is not bounded."""


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
        "gc": rng.choice([Gc.CONSERVATIVE, Gc.CONSERVATIVE, Gc.PRECISE, Gc.PRECISE, Gc.LEAKING]),
        "mark_stack_entries": rng.choice([0, 0, 0, 1, 2, 5, 8 * word_bytes, UNBOUNDED]),
        "clear_blocks": rng.random() < 0.2,
        "asserts": rng.random() < 0.3,
        "poison_byte": rng.choice([0, 0xDB, 0xFF]),
    }


class Twins:
    """A kernel and a model on benches alike."""

    def __init__(self, kernel: type[Engine], rng: random.Random) -> None:
        self.rng = rng
        options = shape(rng)
        self.bounded = options["mark_stack_entries"] > 0
        model_options = options if self.bounded else {**options, "mark_stack_entries": UNBOUNDED}
        self.pair = Workbench(kernel, **options), Workbench(Model, **model_options)
        self.kernel, self.model = self.pair
        self.gc: Gc = options["gc"]
        self.word_bytes: int = options["word_bytes"]
        self.out_of_line = self.both(
            lambda bench: [
                bench.layouts.add(bits, self.word_bytes) for bits in ("1", "01", "1" * 9 + "0", "0" * 40 + "1")
            ]
        )

    def both(self, ask: Callable[[Workbench], Any]) -> Any:  # noqa: ANN401
        """Ask both the same; the answer, which is the same too."""
        kernel_says, model_says = (ask(bench) for bench in self.pair)
        assert kernel_says == model_says
        return kernel_says

    def compare(self) -> None:
        self.both(lambda bench: bench.memory.tobytes())
        self.both(lambda bench: bench.engine.counters[:7])
        self.both(lambda bench: bench.engine.next_alloc)
        self.both(lambda bench: (bench.asked, bench.settled, bench.engine.geometry))
        # Roots are scanned in another order where nothing bounds the mark stack: another unreadable layout is met first.
        self.both(lambda bench: [block if self.bounded else block == NO_BLOCK for block in bench.unreadable])
        if self.model.engine.counters.rescans == 0:
            # How much a rescan reads is an engine's own affair.
            self.both(lambda bench: bench.engine.counters.words_scanned)

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

    def heads(self) -> list[int]:
        return [
            block
            for block in range(self.model.engine.geometry.end_block)
            if self.model.engine.state(block) is State.HEAD
        ]

    def object_address(self) -> int:
        """The payload of an object, or nil."""
        heads = self.heads()
        if not heads or self.rng.random() < 0.1:
            return 0
        return self.model.address(self.rng.choice(heads)) + (
            self.model.engine.geometry.header_bytes if self.gc is Gc.PRECISE else 0
        )

    def word_address(self) -> int | None:
        geometry = self.model.engine.geometry
        room = geometry.pool_bytes - self.word_bytes
        if room < 0:
            return None
        heads = self.heads()
        if heads and self.rng.random() < 0.9:
            head = self.rng.choice(heads)
            bytes_there = (self.model.engine.find_next(head) - head) * geometry.block_bytes
            word = self.rng.randrange(bytes_there // self.word_bytes)
            return min(self.model.word_address(head, word), geometry.start_address + room)
        return geometry.start_address + self.rng.randint(0, room)

    def value(self) -> int:
        geometry = self.model.engine.geometry
        anywhere = geometry.start_address + self.rng.randint(-20, geometry.heap_bytes + 20)
        return self.rng.choice([self.object_address(), self.object_address(), anywhere % geometry.address_space_bytes])

    # ---- requests -----------------------------------------------------------------------------------------------

    def alloc(self) -> None:
        size, layout = self.size(), self.layout()
        address = self.both(lambda bench: bench.engine.alloc(size, layout))
        if address and self.rng.random() < 0.6:
            self.keep(address)

    def keep(self, address: int) -> None:
        at = self.rng.randrange(12)
        for bench in self.pair:
            bench.roots = [*bench.roots, *[0] * 12][:12]
            bench.roots[at] = address

    def realloc(self) -> None:
        address, size = self.object_address(), self.size()
        if self.gc is not Gc.LEAKING:
            self.keep(self.both(lambda bench: bench.engine.realloc(address, size)))

    def free(self) -> None:
        heads = self.heads()
        if heads:
            head = self.rng.choice(heads)
            self.both(lambda bench: bench.engine.free(head))

    def store(self) -> None:
        address, value = self.word_address(), self.value()
        if address is not None:
            self.both(lambda bench: bench.engine.store_word(address, value))
            self.both(lambda bench: bench.engine.load_word(address))

    def collect(self) -> None:
        if self.gc is not Gc.LEAKING:
            self.both(lambda bench: bench.collect())

    def collect_in_steps(self) -> None:
        """Roots one by one, what an object refers to without itself, and perhaps it is all given up."""
        if self.gc is Gc.LEAKING:
            return
        addresses = [self.value() for _ in range(3)]
        self.both(lambda bench: bench.engine.mark_addresses(addresses))
        heads = self.heads()
        if heads:
            head = self.rng.choice(heads)
            self.both(lambda bench: bench.engine.mark_children(head))
        self.both(lambda bench: bench.memory.tobytes())
        if self.rng.random() < 0.5:
            self.both(lambda bench: bench.engine.unmark())
        else:
            self.both(lambda bench: bench.mark())
            self.both(lambda bench: bench.memory.tobytes())
            self.both(lambda bench: bench.engine.sweep())

    def look(self) -> None:
        if self.gc is Gc.LEAKING:
            return
        self.both(lambda bench: bench.engine.census())
        self.both(lambda bench: bench.engine.check_table())
        blocks = self.model.engine.geometry.end_block
        if blocks:
            block = self.rng.randrange(blocks)
            self.both(lambda bench: (bench.engine.find_head(block), bench.engine.find_next(block)))

    def jump(self) -> None:
        """Let the next search begin somewhere else."""
        block = self.rng.randint(0, self.model.engine.geometry.end_block)
        for bench in self.pair:
            bench.engine.next_alloc = block

    def grow(self) -> None:
        if self.rng.random() < 0.1:
            self.both(lambda bench: bench.grow(0))


@pytest.mark.parametrize("lot", range(8))
def test_twins(kernel: type[Engine], lot: int, stride: int) -> None:
    for seed in range(lot, 400, 8 * stride):
        rng = random.Random(seed)
        twins = Twins(kernel, rng)
        requests = [
            *[twins.alloc] * 6,
            *[twins.store] * 6,
            twins.realloc,
            twins.free,
            twins.collect,
            twins.collect_in_steps,
            twins.look,
            twins.jump,
            twins.grow,
        ]
        for _ in range(REQUESTS):
            request = rng.choice(requests)
            request()
            twins.compare()
        for bench in twins.pair:
            bench.close()
