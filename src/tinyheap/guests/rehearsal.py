"""A rehearsal: the guest's own allocator is called on heaps of ours, before another takes its place.

All of the module but its allocator is left out.  What is left runs on small random heaps, and so does an engine; address,
heap and variables have to come out the same each time, and what is left below the stack pointer has to be explained by
the variables of the algorithm (`tracing`).  So nothing is served that was not seen to be what it was taken for, and what
only compilers know is learned.

A word's explanation is what all trials agree on::

    trial 1   sp-96 holds 0x120f44      take.link is 0x120f44, taken is 0x120f60: link, or taken - 28
    trial 2   sp-96 holds 0x120c84      take.link is 0x120c84, taken is 0x121a10: link
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

import wasmtime

from tinyheap.errors import GuestError
from tinyheap.guests.rewrite.rewriting import MEMORY_EXPORT, STACK_POINTER_EXPORT
from tinyheap.guests.serve.memory import BoundMemory
from tinyheap.guests.serve.residue import Case, Kind, Residue, Word, cell_of
from tinyheap.guests.serve.roots import root_ranges
from tinyheap.guests.serve.tracing import Tracer, Walk
from tinyheap.heap.collectors import Collector
from tinyheap.heap.contract import BestFitEngine, Gc, Options, State
from tinyheap.heap.engines import choose_engine
from tinyheap.heap.geometry import Geometry
from tinyheap.recognize.facts import BestFitHeap, FixedRequest, HeaderPlace, StackScan
from tinyheap.units import WASM_PAGE_BYTES
from tinyheap.wasm import Code, Editor, Module, instructions

ALLOC_EXPORT: Final = "tinyheap.alloc"
WORD_BYTES: Final = 4
BLOCK_BYTES: Final = 16
STACK_BYTES: Final = 4096
WINDOW_WORDS: Final = 256
"""So many words below the stack pointer are looked at."""
ENOUGH: Final = 12
"""Trials of each case that change no explanation, before it is believed."""
MOST: Final = 1500
"""Trials at all."""
SIZES: Final = (1, 8, 8, 16, 16, 24, 40, 100, 200, 600)
_STALE: Final = 0x7EE0_0000
"""Words that are not addresses of the heap."""


class RehearsalError(GuestError):
    """The guest's own allocator did something else than what it was taken for."""


def collector_of(facts: BestFitHeap) -> Collector:
    """The collector that a guest has."""
    return Collector.BEST_FIT_FRONT if facts.header_place is HeaderPlace.FRONT else Collector.BEST_FIT_BACK


def allocator_alone(module: Module, facts: BestFitHeap) -> bytes:
    """The module with nothing left in it but its allocator, and what that calls."""
    editor, kept = Editor(module), _reached(module, facts.alloc_function)
    for function in module.functions:
        if function.body is not None and function.index not in kept:
            editor.replace_body(function.index, Code().unreachable())
    editor.export(ALLOC_EXPORT, "function", facts.alloc_function)
    editor.export(STACK_POINTER_EXPORT, "global", facts.roots.stack_pointer_global)
    editor.export(MEMORY_EXPORT, "memory", 0)
    return editor.encode()


def _reached(module: Module, function: int) -> set[int]:
    """The functions that one calls, directly or not, and itself."""
    reached: set[int] = set()
    waiting = [function]
    while waiting:
        function = waiting.pop()
        body = module.functions[function].body
        if function not in reached and body is not None:
            calls = (each for _, each in instructions.walk(body.data, body.code_start, body.end) if each.name == "call")
            waiting += [int(call.immediates[0]) for call in calls]
        reached.add(function)
    return reached


def rehearse(module: Module, facts: BestFitHeap, seed: int = 1) -> Residue:
    """What the allocator of a module leaves below the stack pointer.

    Args:
        module: whose allocator it is.
        facts: where its heap's parts are.
        seed: of the heaps; any number will do.

    Raises:
        RehearsalError: it is not the allocator that it was taken for, or leaves something that is not understood.
    """
    engine = wasmtime.Engine()
    compiled = wasmtime.Module(engine, allocator_alone(module, facts))
    return _Rehearsal(engine, compiled, facts, random.Random(seed)).learn()


# ---- the guest's side -----------------------------------------------------------------------------------------------------


class _Guest:
    """An instance of nothing but the guest's allocator."""

    def __init__(self, module: Module, facts: BestFitHeap) -> None:
        self._engine = wasmtime.Engine()
        self._compiled = wasmtime.Module(self._engine, allocator_alone(module, facts))
        self._facts = facts
        self.begin()

    def begin(self) -> None:
        """Begin anew, with the memory that the module begins with."""
        self._store = wasmtime.Store(self._engine)
        linker = wasmtime.Linker(self._engine)
        linker.define_unknown_imports_as_traps(self._compiled)
        instance = linker.instantiate(self._store, self._compiled)
        exports = instance.exports(self._store)
        self._memory = BoundMemory(self._store, instance)
        self._memory.grow(1)
        self._memory.locate()
        self._alloc, self._stack_pointer = exports[ALLOC_EXPORT], exports[STACK_POINTER_EXPORT]
        self.first_bytes = bytes(self._memory.memory)

    def alloc(self, memory: bytearray, stack_pointer: int, size_bytes: int, layout: int) -> int:
        """What its allocator returns, when its memory is a copy of this one."""
        self._memory.memory[:] = memory
        self._stack_pointer.set_value(self._store, stack_pointer)
        facts = self._facts
        arguments = [0] * len(self._alloc.type(self._store).params)
        for index, value in ((facts.size_parameter, size_bytes), (facts.layout_parameter, layout)):
            if index is not None:
                arguments[index] = value
        address = int(self._alloc(self._store, *arguments)) & 0xFFFF_FFFF
        self._memory.locate()
        return address

    @property
    def memory(self) -> memoryview:
        """Its memory now."""
        return self._memory.memory


# ---- our side -------------------------------------------------------------------------------------------------------------


class _Scene:
    """One trial: a random heap in a copy of the guest's memory, an engine on it, and a stack.

    Args:
        memory: the guest's, as its module begins.
        facts: where its heap's parts are.
        rng: chooses.
        in_task: whether the stack is an object of the heap.
    """

    start_address: Final = 0

    def __init__(self, memory: bytes, facts: BestFitHeap, rng: random.Random, *, in_task: bool) -> None:
        self.memory, self._facts, self._rng = bytearray(memory), facts, rng
        start = facts.heap_start_address
        if start is None:
            start = -(-(len(memory) - WASM_PAGE_BYTES) // BLOCK_BYTES) * BLOCK_BYTES
            self.write(facts.heap_start_variable_address or 0, start)
        heap_bytes = rng.randrange(*((8192, 16384) if in_task else (1024, 8192)))
        geometry = Geometry(start, heap_bytes, WORD_BYTES, header_alignment_bytes=16)
        self._view = memoryview(self.memory)
        collector = collector_of(facts)
        options = Options(Gc.PRECISE if facts.is_precise else Gc.CONSERVATIVE, collector=collector)
        engine_type = cast("type[BestFitEngine]", choose_engine(None, collector))
        self.engine = engine_type(self._view[start : start + heap_bytes], geometry, options, self, self)
        self.engine.zero_size_address = facts.zero_size_address or 0
        self.engine.write_table(bytes(geometry.table_bytes))
        self.tracer: Tracer | None = None
        self.roots: Sequence[memoryview] = ()
        self.objects: list[int] = []
        self._set_stack(in_task=in_task)
        self.layouts = self._new_layouts()

    def _set_stack(self, *, in_task: bool) -> None:
        roots, top = self._facts.roots, self._facts.roots.stack_top_address or WASM_PAGE_BYTES
        task = self.engine.alloc(STACK_BYTES, 0) if in_task else 0
        self.stack_end = task + STACK_BYTES if in_task else top
        self.stack_pointer = (self.stack_end - self._rng.randrange(32, 256)) & ~15
        for address, value in (
            (roots.current_task_address, task),
            (roots.saved_stack_pointer_address, top),
            (roots.stack_chain_address, 0 if roots.stack_scan is StackScan.CHAIN else self._rng.randrange(1 << 31)),
        ):
            if address is not None:
                self.write(address, value)
        self._in_task = in_task

    def _new_layouts(self) -> Mapping[int, int]:
        """Layout words and the bytes of their elements: conservative, no pointers, all pointers, some, and out of line."""
        if not self._facts.is_precise:
            return {0: 0}
        address = self.stack_pointer - WORD_BYTES * WINDOW_WORDS - 64
        self.write(address, 40)
        self.write(address + WORD_BYTES, 0b1000_0001_0000_0000_0000_0000_0000_0010, 5)
        return {0: 0, 3: 0, 0x43: 0, 5 << 6 | 7: 12, address: 160}

    # ---- what the engine asks -----------------------------------------------------------------------------------------

    def on_exhausted(self) -> int:
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
        self.tracer.swept()
        return free_bytes

    def grow(self, needed_blocks: int) -> bool:
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
        self.tracer.grown()
        return True

    def finish_allocation(self, address: int, size_bytes: int) -> int:
        return address

    def layout_word(self, layout: int, size_bytes: int) -> int:
        return layout

    # ---- what happens ---------------------------------------------------------------------------------------------------

    def fill(self, free_share: float) -> None:
        """Objects of many sizes, some of which are freed again, and words that refer to them."""
        rng, engine = self._rng, self.engine
        while True:
            address = engine.alloc(*self.any_request())
            if not address:
                break
            self.objects.append(address)
        for address in rng.sample(self.objects, int(len(self.objects) * free_share)):
            self.objects.remove(address)
            engine.free(engine.find_head(engine.geometry.block_of(address) - (0 if engine.shape.head_is_last else 1)))
        for address in self.objects:
            if rng.random() < 0.6:
                self.write(address, self._any_word())

    def any_request(self, *sizes: int) -> tuple[int, int]:
        """A size, and a layout of which an object of that size has at least one whole element."""
        size = self._rng.choice(sizes or SIZES)
        return size, self._rng.choice([layout for layout, least in self.layouts.items() if least <= size])

    def place_words(self, below: Sequence[int]) -> None:
        """Words on the stack: some roots, and what is there from before, `below` the stack pointer."""
        rng = self._rng
        for address in range(self.stack_pointer, self.stack_end, WORD_BYTES):
            self.write(address, self._any_word() if rng.random() < 0.3 else 0)
        for index, value in enumerate(below):
            self.write(self.stack_pointer - (index + 1) * WORD_BYTES, value)

    def _any_word(self) -> int:
        """A word that refers to an object, or into one."""
        return self._rng.choice(self.objects) + self._rng.choice((0, 0, 0, 4, 16)) if self.objects else 0

    def publish(self) -> None:
        """Leave the variables as the guest's own set-up would."""
        facts, geometry = self._facts, self.engine.geometry
        self.write(facts.heap_end_address, geometry.end_address)
        self.write(facts.metadata_start_address, geometry.table_address)
        self.write(facts.end_block_address, geometry.end_block)
        self.write(facts.free_ranges_address, self.engine.free_list)

    def read(self, address: int, size_bytes: int = WORD_BYTES) -> int:
        return int.from_bytes(self.memory[address : address + size_bytes], "little")

    def write(self, address: int, value: int, size_bytes: int = WORD_BYTES) -> None:
        self.memory[address : address + size_bytes] = value.to_bytes(size_bytes, "little")


# ---- learning -------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Explanation:
    """What may explain one word of one case, by all trials so far."""

    is_untouched: bool
    """Whether the word was left alone each time."""
    candidates: list[Word] = field(default_factory=list)
    nil: list[tuple[Kind, str]] = field(default_factory=list)
    """Variables that were nil whenever the word was 0, and are not seen with another value yet."""
    history: list = field(default_factory=list)

    @property
    def is_understood(self) -> bool:
        return self.is_untouched or bool(self.candidates) or bool(self.nil)


class Learner:
    """Calls the allocator until nothing new is learned."""

    def __init__(self, module: Module, facts: BestFitHeap, seed: int) -> None:
        self._facts, self._rng = facts, random.Random(seed)
        self._guest = _Guest(module, facts)
        self._fixed = self._measure()
        self.explanations: dict[Case, list[_Explanation]] = {}
        self.trials: Counter[Case] = Counter()
        self.news: dict[Case, int] = {}

    def _measure(self) -> FixedRequest | None:
        """What each call asks for, where the allocator is not told."""
        facts = self._facts
        if facts.size_parameter is not None and (facts.layout_parameter is not None or not facts.is_precise):
            return None
        total_address = facts.counters.total_alloc_bytes_address
        assert total_address is not None, "allocations are known by what they add to it"
        scene = _Scene(self._guest.first_bytes, facts, self._rng, in_task=False)
        scene.publish()
        address = self._guest.alloc(scene.memory, scene.stack_pointer, 1, 0)
        memory = self._guest.memory
        size = int.from_bytes(memory[total_address : total_address + 8], "little") - scene.read(total_address, 8)
        shape, geometry = scene.engine.shape, scene.engine.geometry
        first = geometry.block_of(address) - (0 if shape.head_is_last else 1)
        if not facts.is_precise:
            return FixedRequest(size, 0)
        layout_address = shape.layout_address(geometry, first, first + shape.blocks_for(geometry, size))
        return FixedRequest(size, int.from_bytes(memory[layout_address : layout_address + WORD_BYTES], "little"))

    def trial(self, *, in_task: bool = False) -> Case:
        rng, guest = self._rng, self._guest
        scene = _Scene(guest.first_bytes, self._facts, rng, in_task=in_task)
        scene.fill(rng.choice((0, 0, 0.05, 0.1, 0.3, 0.5, 0.7)))
        stale = [_STALE + 8 * index for index in range(WINDOW_WORDS)]
        scene.place_words(stale)
        scene.publish()
        if len(guest.memory) != len(scene.memory):
            guest.begin()
        size, layout = scene.any_request(*SIZES, 900)
        if self._fixed is not None:
            layout = self._fixed.layout
            if self._facts.size_parameter is None:
                size = self._fixed.size_bytes
        address = guest.alloc(scene.memory, scene.stack_pointer, size, layout)
        tracer = scene.tracer = Tracer(self._facts, scene.engine, scene.read)
        tracer.begins(size)
        ours = scene.engine.alloc(size, layout)
        tracer.ends(ours)
        start, end = scene.engine.geometry.start_address, scene.engine.geometry.end_address
        if address != ours or guest.memory[start:end] != scene.memory[start:end]:
            self.last = (scene, bytes(guest.memory), size, layout, address, ours)
            raise RehearsalError(f"its allocator gives {address:#x} for {size} bytes where {ours:#x} was expected, in {scene.stack_pointer:#x}")
        case = Case(tracer.has_collected, tracer.has_masked, tracer.has_built, tracer.has_grown, tracer.has_split)
        words = [int.from_bytes(guest.memory[at : at + 4], "little") for at in range(scene.stack_pointer - 4, scene.stack_pointer - 4 * WINDOW_WORDS - 4, -4)]
        self._learn(case, words, stale, tracer.values, scene)
        return case

    def _learn(self, case: Case, words: list[int], stale: list[int], values: Mapping[str, int], scene: _Scene) -> None:
        geometry, sp = scene.engine.geometry, scene.stack_pointer
        self.trials[case] += 1
        news = False
        if case not in self.explanations:
            news = True
            self.explanations[case] = [_first(word, index, word == stale[index], values, sp, geometry) for index, word in enumerate(words)]
        else:
            for index, (word, each) in enumerate(zip(words, self.explanations[case], strict=True)):
                before = len(each.candidates) + len(each.nil)
                if each.is_untouched and word != stale[index]:
                    each.is_untouched = False
                _filter(each, word, index, word == stale[index], values, sp, geometry)
                news |= len(each.candidates) + len(each.nil) != before
        for word, each in zip(words, self.explanations[case], strict=True):
            each.history.append((word, scene.stack_pointer))
        self.news[case] = 0 if news else self.news.get(case, 0) + 1


def _sources(values: Mapping[str, int], geometry: Geometry) -> Iterator[tuple[Kind, str, int]]:
    for name, value in values.items():
        yield Kind.VARIABLE, name, value
        if value == 0:
            yield Kind.CELL, name, 0
        elif geometry.start_address <= value < geometry.table_address:
            yield Kind.CELL, name, cell_of(value, geometry)


NAMES: list[str] = []


def _first(word, index, untouched, values, sp, geometry) -> _Explanation:
    made = _Explanation(untouched)
    if untouched:
        return made
    below = 4 * (index + 1)
    made.candidates.append(Word(below, Kind.CONSTANT, "", word))
    made.candidates.append(Word(below, Kind.STACK, "", word - sp))
    for kind, name, value in _sources({name: values.get(name, 0) for name in ALL_VARIABLES}, geometry):
        if value:
            made.candidates.append(Word(below, kind, name, word - value))
        elif not word:
            made.nil.append((kind, name))
    return made


def _filter(each, word, index, untouched, values, sp, geometry) -> None:
    if each.is_untouched:
        return
    each.candidates = [c for c in each.candidates if c.value(values, sp, geometry) == word]
    below = 4 * (index + 1)
    nil = []
    for kind, name in each.nil:
        value = values.get(name, 0)
        if value and kind is Kind.CELL:
            value = cell_of(value, geometry) if geometry.start_address <= value < geometry.table_address else 0
        if value:
            each.candidates.append(Word(below, kind, name, word - value))
        elif not word:
            nil.append((kind, name))
    each.nil = nil


ALL_VARIABLES = (
    "chain", "task", "table", "table.collected", "table.before", "table.end", "heap.start", "heap.end",
    *(f"{walk}.{name}" for walk in Walk for name in ("link", "node", "met", "passed", "range", "inner")),
    "take.inner_next", "take.longer", "take.following", "taken", "taken.several", "taken.last",
    "scan.table", "scan.first", "scan.end", "scan.header", "scan.word", "scan.whole", "scan.inline", "scan.outside", "scan.layout",
    "taken.table", "taken.second", "taken.before_last",
    *(f"{which}.{name}" for which in ("found", "mark", "span") for name in ("table", "block", "object", "head", "walked", "header", "link")),
)
