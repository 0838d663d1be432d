"""What allocators rehearse on: a random heap and a stack in a copy of the module's memory, and an engine on the heap."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, cast

from tinyheap.guests.serve.roots import root_ranges
from tinyheap.heap.contract import BestFitEngine, Gc, Options
from tinyheap.heap.engines import choose_engine
from tinyheap.heap.geometry import Geometry
from tinyheap.recognize.facts import BestFitHeap, StackScan
from tinyheap.units import WASM_PAGE_BYTES

if TYPE_CHECKING:
    from tinyheap.guests.serve.tracing import Tracer

WORD_BYTES: Final = 4
BLOCK_BYTES: Final = 16
STACK_BYTES: Final = 4096
LARGEST_HEAP_BYTES: Final = 65536
WINDOW_WORDS: Final = 256
"""So many words below the stack pointer are looked at."""
NO_POINTERS: Final = 3
"""A layout word: one word, and no pointer."""
ALL_POINTERS: Final = 0x43
TWO_OF_THREE: Final = 5 << 6 | 3 << 1 | 1
"""A layout word: of three words the first and the last."""
SIZES: Final = (1, 8, 8, 16, 16, 24, 40, 100, 200, 600)


class Scene:
    """One trial: a random heap in a copy of the guest's memory, an engine on it, and a stack.

    Args:
        memory: the guest's, as its module begins.
        facts: where its heap's parts are.
        rng: chooses.
        in_task: whether the stack is an object of the heap.
        is_large: whether there are many objects.
    """

    start_address: Final = 0

    def __init__(self, memory: bytes, facts: BestFitHeap, rng: random.Random, *, in_task: bool, is_large: bool) -> None:
        self.memory, self._facts, self._rng = bytearray(memory), facts, rng
        start = facts.heap_start_address
        if start is None:
            start = -(-(len(memory) - WASM_PAGE_BYTES) // BLOCK_BYTES) * BLOCK_BYTES
            self.write(facts.heap_start_variable_address or 0, start)
        heap_bytes = rng.randrange(
            *((49152, LARGEST_HEAP_BYTES) if is_large else (8192, 16384) if in_task else (1024, 8192))
        )
        geometry = Geometry(start, heap_bytes, WORD_BYTES, header_alignment_bytes=16)
        self._view = memoryview(self.memory)
        collector = facts.collector
        options = Options(Gc.PRECISE if facts.is_precise else Gc.CONSERVATIVE, collector=collector)
        engine_type = cast("type[BestFitEngine]", choose_engine(None, collector))
        self.engine = engine_type(self._view[start : start + heap_bytes], geometry, options, self, self)
        self.engine.zero_size_address = facts.zero_size_address or 0
        self.engine.write_table(bytes(geometry.table_bytes))
        self._root_share = rng.choice((0, 0.02, 0.1, 0.3))
        self.tracer: Tracer | None = None
        self.objects: list[int] = []
        self._kept: list[int] = []
        self.request_bytes: int | None = None
        """What is asked for; None for anything."""
        self._set_stack(in_task=in_task)
        self.layouts = self._new_layouts()

    def _set_stack(self, *, in_task: bool) -> None:
        roots, top = self._facts.roots, self._facts.roots.stack_top_address or WASM_PAGE_BYTES
        task = self.engine.alloc(STACK_BYTES, 0) if in_task else 0
        self.stack_end = task + STACK_BYTES if in_task else top
        self.stack_pointer = (self.stack_end - self._rng.randrange(32, 256)) & ~15
        for address, value in (
            (roots.current_task_address, task),
            (roots.saved_stack_pointer_address, top - 64),
            (
                roots.stack_chain_address,
                0 if roots.stack_scan is StackScan.CHAIN else self._rng.randrange(1 << 30, 1 << 31),
            ),
        ):
            if address is not None:
                self.write(address, value)

    def _new_layouts(self) -> Mapping[int, int]:
        """Layout words and the bytes of their elements: conservative, no pointers, all pointers, some, and out of line."""
        if not self._facts.is_precise:
            return {0: 0}
        address = self.stack_pointer - WORD_BYTES * WINDOW_WORDS - 64
        self.write(address, 40)
        self.write(address + WORD_BYTES, 0b1000_0001_0000_0000_0000_0000_0000_0011, 5)
        return {0: 0, NO_POINTERS: 0, ALL_POINTERS: 0, TWO_OF_THREE: 12, address: 160}

    # ---- what the engine asks -----------------------------------------------------------------------------------------

    def on_exhausted(self) -> int:
        """Collect; while the heap is made, nothing is collected."""
        if self.tracer is None:
            return self.engine.geometry.pool_bytes
        return self.collect()

    def collect(self) -> int:
        """A whole collection; the free bytes."""
        assert self.tracer is not None, "the engine collects only in the trial"
        self.tracer.collects()
        for start, end in root_ranges(self._facts.roots, self, self.stack_pointer):
            self.engine.mark_roots(self._view[start:end])
        self.engine.finish_mark()
        self.tracer.marked()
        free_bytes = self.engine.sweep()
        self.tracer.swept(free_bytes)
        return free_bytes

    def grow(self, needed_blocks: int) -> bool:
        """Double the memory; while the heap is made, it does not grow."""
        if self.tracer is None:
            return False
        self.tracer.grows()
        old = len(self.memory)
        self.engine.release_memory()
        self._view.release()
        self.memory.extend(bytes(old))
        self._view = memoryview(self.memory)
        start = self.engine.geometry.start_address
        self.engine.move_memory(self._view[start:])
        self.engine.resize(2 * old - start)
        self.tracer.grown(is_larger=True)
        return True

    def finish_allocation(self, address: int, size_bytes: int) -> int:
        """Nothing is left to do."""
        return address

    def layout_word(self, layout: int, size_bytes: int) -> int:
        """Layouts are layout words."""
        return layout

    # ---- what happens ---------------------------------------------------------------------------------------------------

    def fill(self, free_share: float, *, sizes: Sequence[int] = SIZES, layouts: Sequence[int] = ()) -> None:
        """Objects of many sizes, a share of which is freed again, and words that refer to them.

        Args:
            free_share: from 0 to 1.
            sizes: those that objects have.
            layouts: the same; by default any.
        """
        rng, engine = self._rng, self.engine
        pointer_share = rng.choice((0, 0.1, 0.6))
        self._fill_with(sizes, layouts)
        self._fill_with((1,), layouts)
        for address in rng.sample(self.objects, int(len(self.objects) * free_share)):
            self.objects.remove(address)
            engine.free(self.head_of(address))
        for address in self.objects:
            if rng.random() < pointer_share:
                self.write(address + self._any_place(address), self._any_word())

    def _fill_with(self, sizes: Sequence[int], layouts: Sequence[int]) -> None:
        while address := self.engine.alloc(*self.any_request(sizes, layouts)):
            self.objects.append(address)

    def free_small(self, count: int, size_bytes: int) -> None:
        """Free up to so many objects that together are too small for a size."""
        engine, left = self.engine, self.engine.shape.blocks_for(self.engine.geometry, size_bytes) - 1
        for address in self._rng.sample(self.objects, len(self.objects)):
            first, end = engine.extent(self.head_of(address))
            if count and end - first <= left:
                engine.free(self.head_of(address))
                self.objects.remove(address)
                count, left = count - 1, left - (end - first)

    def comb(self) -> None:
        """Free ranges of up to eight blocks, or of no more than so many lengths, none beside another; the rest is full."""
        engine, between = self.engine, []
        lengths = self._rng.sample(range(1, 9), self._rng.randrange(1, 9))
        for blocks in self._rng.choices(lengths, k=self._rng.randrange(1, 40)):
            size_bytes = max(engine.shape.body_bytes(engine.geometry, blocks), 1)
            between.append(engine.alloc(size_bytes, 0))
            self.objects.append(engine.alloc(1, 0))
        self.objects = [address for address in self.objects if address]
        self._fill_with(SIZES, (0,))
        self._fill_with((1,), (0,))
        for address in between:
            if address:
                engine.free(self.head_of(address))

    def keep(self, share: float) -> None:
        """Let each of a share of the objects refer to the next, and the stack to the first; the others go."""
        kept = self._rng.sample(self.objects, max(1, int(len(self.objects) * share))) if self.objects else []
        for address, following in zip(kept, [*kept[1:], 0], strict=False):
            self.write(address, following)
        self._kept = kept[:1]

    def head_of(self, address: int) -> int:
        """The head block of the object at an address."""
        geometry, shape = self.engine.geometry, self.engine.shape
        return self.engine.find_head(geometry.block_of(address - shape.body_offset_bytes))

    def any_request(self, sizes: Sequence[int], layouts: Sequence[int] = ()) -> tuple[int, int]:
        """A size, and a layout of which an object of that size has at least one whole element."""
        size = self._rng.choice(sizes)
        fitting = [layout for layout in layouts or self.layouts if self.layouts[layout] <= size]
        return size, self._rng.choice(fitting or [NO_POINTERS])

    def place_words(self, below: Sequence[int]) -> None:
        """Words on the stack: some roots, and what is there from before, `below` the stack pointer."""
        rng = self._rng
        for address in range(self.stack_pointer, self.stack_end, WORD_BYTES):
            self.write(address, self._any_word() if rng.random() < self._root_share else 0)
        for address in self._kept:
            self.write(self.stack_pointer, address)
        for index, value in enumerate(below):
            self.write(self.stack_pointer - (index + 1) * WORD_BYTES, value)

    def _any_place(self, address: int) -> int:
        """How far one of an object's first words is from its start."""
        first, end = self.engine.extent(self.head_of(address))
        words = self.engine.shape.body_bytes(self.engine.geometry, end - first) // WORD_BYTES
        return WORD_BYTES * self._rng.randrange(min(max(words, 1), 4))

    def _any_word(self) -> int:
        """A word that refers to an object, or into one; some are numbers that are larger than any address of the heap."""
        if not self.objects or self._rng.random() < 0.1:
            return self.engine.geometry.end_address + self._rng.randrange(1 << 30)
        return self._rng.choice(self.objects) + self._rng.choice((0, 0, 0, 4, 16))

    def publish(self) -> None:
        """Leave the variables as the guest's own set-up would."""
        facts, geometry = self._facts, self.engine.geometry
        self.write(facts.heap_end_address, geometry.end_address)
        self.write(facts.metadata_start_address, geometry.table_address)
        self.write(facts.end_block_address, geometry.end_block)
        self.write(facts.free_ranges_address, self.engine.free_list)

    def read(self, address: int, size_bytes: int = WORD_BYTES) -> int:
        """The number at an address."""
        return int.from_bytes(self.memory[address : address + size_bytes], "little")

    def read_words(self, start_address: int, end_address: int) -> memoryview:
        """The words in a range of addresses, a whole number of them."""
        return memoryview(bytes(self.memory[start_address:end_address])).cast("I")

    def write(self, address: int, value: int, size_bytes: int = WORD_BYTES) -> None:
        """Write a number to an address."""
        self.memory[address : address + size_bytes] = value.to_bytes(size_bytes, "little")


def heap_of(memory: memoryview | bytearray, scene: Scene) -> bytearray:
    """The heap in a memory, without what is left below the stack pointer, which is compared by itself."""
    start = scene.engine.geometry.start_address
    heap = bytearray(memory[start : scene.engine.geometry.end_address])
    if scene.stack_pointer > start:
        window = slice(scene.stack_pointer - WINDOW_WORDS * WORD_BYTES - start, scene.stack_pointer - start)
        heap[window] = bytes(WINDOW_WORDS * WORD_BYTES)
    return heap
