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
from dataclasses import dataclass, field, replace
from typing import Final, cast

import wasmtime

from tinyheap.errors import GuestError
from tinyheap.guests.rewrite.rewriting import MEMORY_EXPORT, STACK_POINTER_EXPORT
from tinyheap.guests.serve.memory import COUNTER_BYTES, BoundMemory
from tinyheap.guests.serve.residue import Case, Kind, Residue, Word, cell_of
from tinyheap.guests.serve.roots import root_ranges
from tinyheap.guests.serve.tracing import Tracer, Walk
from tinyheap.heap.contract import BestFitEngine, Gc, Options
from tinyheap.heap.engines import choose_engine
from tinyheap.heap.geometry import Geometry
from tinyheap.hosts import compile_module
from tinyheap.recognize.facts import BestFitHeap, FixedRequest, Role, StackScan
from tinyheap.units import WASM_PAGE_BYTES
from tinyheap.wasm import Code, Editor, Module, instructions

_EXPORT: Final = "tinyheap.{index}"
"""As what the functions are exported that are to be replaced, by their index among the heap's redirects."""
WORD_BYTES: Final = 4
BLOCK_BYTES: Final = 16
STACK_BYTES: Final = 4096
WINDOW_WORDS: Final = 256
"""So many words below the stack pointer are looked at."""
ENOUGH: Final = 8
"""Trials of each case that change no explanation, before it is believed."""
ROUNDS: Final = 12
"""So often each kind of scene is tried at least."""
MOST_ROUNDS: Final = 24
LOOKS: Final = 4
"""So often it is looked which words a collection sees."""
FUEL: Final = 1 << 28
"""Instructions that one call may take, as wasmtime counts them: a hundred times what the largest scene does."""
LEAST_STACK_BYTES: Final = 2048
LARGEST_HEAP_BYTES: Final = 65536
NO_POINTERS: Final = 3
"""A layout word: one word, and no pointer."""
ALL_POINTERS: Final = 0x43
TWO_OF_THREE: Final = 5 << 6 | 3 << 1 | 1
"""A layout word: of three words the first and the last."""
SIZES: Final = (1, 8, 8, 16, 16, 24, 40, 100, 200, 600)
_STALE: Final = 0x7EE0_0000
"""Words that are not addresses of the heap."""


class RehearsalError(GuestError):
    """The guest's own allocator did something else than what it was taken for."""


def allocator_alone(module: Module, facts: BestFitHeap) -> bytes:
    """The module with nothing left in it but what is to be replaced, and what that calls."""
    editor = Editor(module)
    kept = set().union(*(_reached(module, redirect.function) for redirect in facts.redirects))
    for function in module.functions:
        if function.body is not None and function.index not in kept:
            editor.replace_body(function.index, Code().unreachable())
    for index, redirect in enumerate(facts.redirects):
        editor.export(_EXPORT.format(index=index), "function", redirect.function)
    editor.export(STACK_POINTER_EXPORT, "global", facts.roots.stack_pointer_global)
    editor.export(MEMORY_EXPORT, "memory", 0)
    if module.memories and module.memories[0].imported is None:
        # A large memory only takes time; the heap need not reach to its end.
        editor.set_minimum(0, min(module.memories[0].type.limits.minimum, _pages_used(module, facts)))
    return editor.encode()


def _pages_used(module: Module, facts: BestFitHeap) -> int:
    """The pages up to the heap, the stack and all data included."""
    ends = [facts.heap_start_address or 0, facts.roots.globals_end_address, facts.roots.stack_top_address or 0]
    for segment in module.data_segments:
        start = None if segment.offset is None else segment.offset.constant
        ends.append((start if isinstance(start, int) else 0) + len(segment.data))
    return -(-max(ends) // WASM_PAGE_BYTES) + 1


def _check_places(facts: BestFitHeap, memory_bytes: int) -> None:
    """Refuse facts that lead out of memory.

    Raises:
        RehearsalError: they do.
    """
    roots, top = facts.roots, facts.roots.stack_top_address
    words = [
        *(facts.heap_start_variable_address, facts.scan_list_address, facts.collections_address),
        *(roots.current_task_address, roots.saved_stack_pointer_address, roots.stack_chain_address),
        *facts.state_addresses,
        *vars(facts.counters).values(),
        *(() if facts.finalizers is None else (item for item in vars(facts.finalizers).values())),
    ]
    ends = [*(word + COUNTER_BYTES for word in words if word is not None), roots.globals_end_address, top or 0]
    start = facts.heap_start_address or 0
    if max(ends) > memory_bytes or start % BLOCK_BYTES or start + LARGEST_HEAP_BYTES > memory_bytes:
        raise RehearsalError(f"its variables or its heap are not in its memory of {memory_bytes} bytes")
    if top is not None and top < LEAST_STACK_BYTES:
        raise RehearsalError(f"its stack of {top} bytes is too small to see what is left on it")


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


# ---- the guest's side -----------------------------------------------------------------------------------------------------


class _Guest:
    """An instance of nothing but the guest's allocator."""

    def __init__(self, module: Module, facts: BestFitHeap, rng: random.Random) -> None:
        self._rng, self._facts = rng, facts
        config = wasmtime.Config()
        # What does not end is not the allocator that it was taken for.
        config.consume_fuel = True
        self._engine = wasmtime.Engine(config)
        self._compiled = compile_module(self._engine, allocator_alone(module, facts))
        self.begin()
        _check_places(facts, len(self._first_bytes))

    def begin(self) -> None:
        """Begin anew, with the memory that the module begins with, and some more.

        Raises:
            RehearsalError: it cannot be run by itself.
        """
        self._store = wasmtime.Store(self._engine)
        self._store.set_fuel(FUEL)
        linker = wasmtime.Linker(self._engine)
        try:
            linker.define_unknown_imports_as_traps(self._compiled)
            instance = linker.instantiate(self._store, self._compiled)
            self._memory = BoundMemory(self._store, instance)
            self._memory.grow(self._rng.randrange(2, 6))
        except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
            raise RehearsalError(f"its allocator cannot be run by itself: {error}") from error
        exports = instance.exports(self._store)
        self._memory.locate()
        self._functions = [
            cast("wasmtime.Func", exports[_EXPORT.format(index=index)]) for index in range(len(self._facts.redirects))
        ]
        self._stack_pointer = cast("wasmtime.Global", exports[STACK_POINTER_EXPORT])
        self._first_bytes = bytes(self._memory.memory)

    def call(self, index: int, scene: _Scene, size_bytes: int, layout: int) -> int:
        """What one of the functions returns in a scene: an address, or 0 where it makes nothing."""
        self._store.set_fuel(FUEL)
        self._memory.memory[:] = bytes(scene.memory)
        self._stack_pointer.set_value(self._store, scene.stack_pointer)
        facts, function = self._facts, self._functions[index]
        arguments = [0] * len(function.type(self._store).params)
        for parameter, value in ((facts.size_parameter, size_bytes), (facts.layout_parameter, layout)):
            if parameter is not None and arguments:
                arguments[parameter] = value
        try:
            address = int(function(self._store, *arguments) or 0) & 0xFFFF_FFFF
        except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
            raise RehearsalError(f"it traps on a heap of ours: {error}") from error
        self._memory.locate()
        return address

    def fresh_bytes(self) -> bytes:
        """Its memory as it begins with it; in an instance of another size after a growth, which is not taken back."""
        if len(self.memory) != len(self._first_bytes):
            self.begin()
        return self._first_bytes

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
            (roots.stack_chain_address, 0 if roots.stack_scan is StackScan.CHAIN else self._rng.randrange(1 << 31)),
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
        return address

    def layout_word(self, layout: int, size_bytes: int) -> int:
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
                self.write(address, self._any_word())

    def _fill_with(self, sizes: Sequence[int], layouts: Sequence[int]) -> None:
        while address := self.engine.alloc(*self.any_request(sizes, layouts)):
            self.objects.append(address)

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

    def read_words(self, start_address: int, end_address: int) -> memoryview:
        return memoryview(bytes(self.memory[start_address:end_address])).cast("I")

    def write(self, address: int, value: int, size_bytes: int = WORD_BYTES) -> None:
        self.memory[address : address + size_bytes] = value.to_bytes(size_bytes, "little")


# ---- learning -------------------------------------------------------------------------------------------------------------

VARIABLES: Final = (
    *("chain", "task", "table", "table.collected", "table.before", "table.end", "heap.start", "heap.end"),
    *(f"{walk}.{name}" for walk in Walk for name in ("link", "node", "met", "passed", "range", "inner")),
    *("take.inner_next", "take.longer", "take.following"),
    *("taken", "taken.several", "taken.table", "taken.second", "taken.before_last", "taken.last"),
    *("scan.table", "scan.several", "scan.first", "scan.end", "scan.header", "scan.layout"),
    *("scan.word", "scan.whole", "scan.inline", "scan.outside"),
    *(
        f"{which}.{name}"
        for which in ("found", "mark", "span")
        for name in (
            *("table", "table_block", "table_object", "table_walked"),
            *("block", "object", "head", "walked", "header", "link"),
        )
    ),
)
"""The names of `tracing`'s variables, the likeliest first."""


@dataclass(slots=True)
class _Explanation:
    """What may explain one word in one case, by all trials so far.

    Args:
        is_untouched: whether the word was left alone each time.
        candidates: what gave its value each time.
        nil: sources that were nil whenever the word was 0, and never anything else.
    """

    is_untouched: bool
    candidates: list[Word] = field(default_factory=list)
    nil: list[tuple[Kind, str]] = field(default_factory=list)

    @property
    def is_understood(self) -> bool:
        return self.is_untouched or bool(self.candidates)

    @property
    def size(self) -> int:
        return len(self.candidates) + len(self.nil)


@dataclass(frozen=True, slots=True)
class _Left:
    """What a call left: one word below the stack pointer, and what it is to be explained by."""

    below_bytes: int
    value: int
    is_untouched: bool
    variables: Mapping[str, int]
    stack_pointer: int
    geometry: Geometry

    def begin(self) -> _Explanation:
        """What may explain it, if there was no trial before."""
        made = _Explanation(self.is_untouched)
        if not self.is_untouched:
            made.candidates = [
                Word(self.below_bytes, Kind.CONSTANT, "", self.value),
                Word(self.below_bytes, Kind.STACK, "", self.value - self.stack_pointer),
            ]
            made.nil = [(kind, name) for name in VARIABLES for kind in (Kind.VARIABLE, Kind.CELL)]
            self._see(made)
        return made

    def narrow(self, known: _Explanation) -> None:
        """Drop what does not explain it."""
        if known.is_untouched and not self.is_untouched:
            known.is_untouched = False
        elif not known.is_untouched:
            known.candidates = [each for each in known.candidates if self._is_explained_by(each)]
            self._see(known)

    def _is_explained_by(self, word: Word) -> bool:
        return word.value(self.variables, self.stack_pointer, self.geometry) == self.value

    def _see(self, known: _Explanation) -> None:
        """Sources that are not nil for the first time become candidates, or go."""
        nil = []
        for kind, name in known.nil:
            source = self.variables.get(name, 0)
            if not source:
                if not self.value:
                    nil.append((kind, name))
                continue
            if kind is Kind.CELL:
                if not self.geometry.start_address <= source < self.geometry.table_address:
                    continue
                source = cell_of(source, self.geometry)
            known.candidates.append(Word(self.below_bytes, kind, name, self.value - source))
        known.nil = nil


class _Learner:
    """Calls one of a module's functions in scenes of all kinds, until nothing new is learned.

    Args:
        guest: the module.
        facts: where its heap's parts are.
        index: of the function among the heap's redirects.
        rng: chooses.
    """

    def __init__(self, guest: _Guest, facts: BestFitHeap, index: int, rng: random.Random) -> None:
        self._guest, self._facts, self._index, self._rng = guest, facts, index, rng
        self._collects = facts.redirects[index].role is Role.COLLECT
        self._known: dict[Case, list[_Explanation]] = {}
        self._trials: Counter[Case] = Counter()
        self._steady: Counter[Case] = Counter()

    def learn(self) -> Residue:
        """What it leaves on the stack."""
        for round_ in range(MOST_ROUNDS):
            for scene in self._scenes():
                self._try(scene)
            if round_ >= ROUNDS and all(self._steady[case] >= ENOUGH for case in self._known):
                break
        # What was hardly ever seen is not known.
        words = {case: list(self._words(case)) for case in self._known if self._trials[case] >= ENOUGH}
        self._agree(words)
        has_tasks = self._facts.roots.current_task_address is not None
        return Residue(words, self._seen(in_task=False), self._seen(in_task=True) if has_tasks else ())

    def _agree(self, words: Mapping[Case, list[Word]]) -> None:
        """A word that was always 0 in one case, and a variable in another, is that variable in both, if that was always nil.

        It is the same frame, and the trials of the one case never had the variable set.
        """
        sources: dict[int, list[Word]] = {}
        for word in (each for found in words.values() for each in found):
            if word.kind >= Kind.VARIABLE and word not in sources.setdefault(word.below_bytes, []):
                sources[word.below_bytes].append(word)
        for case, found in words.items():
            for index, word in enumerate(found):
                nil = self._known[case][word.below_bytes // WORD_BYTES - 1].nil
                others = [each for each in sources.get(word.below_bytes, ()) if (each.kind, each.variable) in nil]
                if word.kind is Kind.CONSTANT and others:
                    found[index] = others[0]

    def _seen(self, *, in_task: bool) -> tuple[int, ...]:
        """Which words from before a call are still there, and looked at, when it marks: those that are each time.

        What is seen once may be kept by a number in the globals that happens to be its address.
        """
        seen = set.intersection(*(self._seen_once(in_task=in_task) for _ in range(LOOKS)))
        return tuple(sorted(seen))

    def _scenes(self) -> Iterator[_Scene]:
        """One of each kind: heaps from full to nearly empty, all alive, without layouts."""
        for free_share in (0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8):
            scene = self._scene()
            scene.fill(free_share)
            yield scene
        for layouts in ((), (), (0,)):
            scene = self._scene()
            scene.fill(0, layouts=layouts)
            yield scene
        # What is left of five blocks goes to others of two, of which there are many.
        for free_share, kept_share in ((0.5, 0), (0.8, 0), (0, 0.5)):
            scene = self._scene()
            scene.fill(free_share, sizes=(16, 64))
            if kept_share:
                scene.keep(kept_share)
            scene.request_bytes = 32
            yield scene
        has_tasks = self._facts.roots.current_task_address is not None
        for in_task in (False, True) if has_tasks else (False,):
            if in_task:
                for free_share in (0, 0.2):
                    scene = self._scene(in_task=True)
                    scene.fill(free_share)
                    yield scene
            for layouts, share in (((), 1), ((0,), 1), ((), 0.9), ((), 0.8), ((), 0.7)):
                scene = self._scene(in_task=in_task)
                with_pointers = [layout for layout in scene.layouts if layout != NO_POINTERS]
                scene.fill(0, layouts=layouts or with_pointers)
                scene.keep(share)
                yield scene

    def _scene(self, *, in_task: bool = False, is_large: bool = False) -> _Scene:
        return _Scene(self._guest.fresh_bytes(), self._facts, self._rng, in_task=in_task, is_large=is_large)

    def _request_of(self, size_bytes: int, layout: int) -> tuple[int, int]:
        """What the allocator makes of a request."""
        fixed = self._facts.fixed_request
        if fixed is None:
            return size_bytes, layout
        return size_bytes if self._facts.size_parameter is not None else fixed.size_bytes, fixed.layout

    def _try(self, scene: _Scene) -> None:
        """One trial: the guest's allocator and the engine, on the same heap."""
        stale = [_STALE + 8 * index for index in range(WINDOW_WORDS)]
        scene.place_words(stale)
        scene.publish()
        sizes: Sequence[int] = (*SIZES, 900) if self._facts.zero_size_address is None else (0, *SIZES, 900)
        if scene.request_bytes is not None:
            sizes = (scene.request_bytes,)
        size_bytes, layout = self._request_of(*scene.any_request(sizes))
        if self._collects:
            size_bytes = 0
        address = self._guest.call(self._index, scene, size_bytes, layout)
        tracer = scene.tracer = Tracer(self._facts, scene.engine, scene.read, scene.read_words)
        tracer.begins(size_bytes)
        if self._collects:
            free_bytes = scene.collect()
            expected = free_bytes if self._facts.redirects[self._index].returns_free_bytes else 0
        else:
            expected = scene.engine.alloc(size_bytes, layout)
        tracer.ends()
        self._compare(scene, size_bytes, address, expected)
        self._learn(scene, tracer, stale)

    def _compare(self, scene: _Scene, size_bytes: int, address: int, expected: int) -> None:
        geometry, memory = scene.engine.geometry, self._guest.memory
        if address != expected:
            found = f"it returns {address:#x} for {size_bytes} bytes, where {expected:#x} was expected"
        elif _heap_of(memory, scene) != _heap_of(scene.memory, scene):
            found = f"it leaves another heap than expected, after {size_bytes} bytes"
        else:
            return
        raise RehearsalError(
            f"it is not the collector that it was taken for: on a heap of {geometry.heap_bytes} bytes {found}"
        )

    def _learn(self, scene: _Scene, tracer: Tracer, stale: Sequence[int]) -> None:
        memory, stack_pointer, geometry = self._guest.memory, scene.stack_pointer, scene.engine.geometry
        window = memory[stack_pointer - WINDOW_WORDS * WORD_BYTES : stack_pointer].cast("I")[::-1]
        left = [
            _Left((index + 1) * WORD_BYTES, value, value == before, tracer.values, stack_pointer, geometry)
            for index, (value, before) in enumerate(zip(window, stale, strict=True))
        ]
        self._trials[tracer.case] += 1
        known = self._known.get(tracer.case)
        if known is None:
            self._known[tracer.case] = [each.begin() for each in left]
            return
        size = sum(each.size for each in known)
        for each, explanation in zip(left, known, strict=True):
            each.narrow(explanation)
        is_steady = sum(each.size for each in known) == size
        self._steady[tracer.case] = self._steady[tracer.case] + 1 if is_steady else 0

    def _words(self, case: Case) -> Iterator[Word]:
        """The explanation of each word that a case touches: the simplest of those that are left."""
        for index, each in enumerate(self._known[case]):
            if not each.is_understood:
                raise RehearsalError(
                    f"its function {self._facts.redirects[self._index].function} leaves a word on the stack, "
                    f"{(index + 1) * WORD_BYTES} bytes below where it was called, that is not understood ({case.text})"
                )
            if not each.is_untouched:
                yield min(each.candidates, key=_simplicity)

    def _seen_once(self, *, in_task: bool) -> set[int]:
        scene = self._scene(in_task=in_task, is_large=True)
        scene.fill(0, layouts=(0,))
        alone = self._rng.sample(scene.objects, WINDOW_WORDS)
        for address in scene.objects:
            scene.write(address, 0)
        for address in range(scene.stack_pointer, scene.stack_end, WORD_BYTES):
            scene.write(address, 0)
        for index, address in enumerate(alone):
            scene.write(scene.stack_pointer - (index + 1) * WORD_BYTES, address)
        scene.publish()
        made = self._guest.call(self._index, scene, *self._request_of(900, 0))
        memory = self._guest.memory
        table_at = self._facts.metadata_start_address
        table = memory[int.from_bytes(memory[table_at : table_at + WORD_BYTES], "little") :]
        return {
            (index + 1) * WORD_BYTES
            for index, address in enumerate(alone)
            if _is_head(table, scene.head_of(address)) and not made <= address < made + 900
        }


def _heap_of(memory: memoryview | bytearray, scene: _Scene) -> bytes:
    """The heap in a memory, without what is left below the stack pointer, which is compared by itself."""
    start = scene.engine.geometry.start_address
    heap = bytearray(memory[start : scene.engine.geometry.end_address])
    if scene.stack_pointer > start:
        window = slice(scene.stack_pointer - WINDOW_WORDS * WORD_BYTES - start, scene.stack_pointer - start)
        heap[window] = bytes(WINDOW_WORDS * WORD_BYTES)
    return bytes(heap)


def _is_head(table: memoryview, block: int) -> bool:
    """Whether a block of a best-fit heap is a head, by its table."""
    return table[block // 4] >> block % 4 & 0x11 == 1


def _simplicity(word: Word) -> tuple[int, int, int]:
    """How simple an explanation is, the simplest first."""
    return (
        word.kind,
        abs(word.added) if word.kind >= Kind.VARIABLE else 0,
        0 if not word.variable else VARIABLES.index(word.variable),
    )


def _fixed_request(guest: _Guest, facts: BestFitHeap, rng: random.Random) -> FixedRequest | None:
    """What each call of the allocator asks for, where it is not told.

    Raises:
        RehearsalError: it cannot be found out.
    """
    if facts.size_parameter is not None and (facts.layout_parameter is not None or not facts.is_precise):
        return None
    total_address = facts.counters.total_alloc_bytes_address
    if total_address is None:
        raise RehearsalError("nothing tells what its allocator is asked for")
    scene = _Scene(guest.fresh_bytes(), facts, rng, in_task=False, is_large=False)
    scene.publish()
    allocator = next(index for index, redirect in enumerate(facts.redirects) if redirect.role is Role.ALLOC)
    address = guest.call(allocator, scene, 1, 0)
    memory = guest.memory
    if not scene.engine.geometry.is_on_heap(address):
        raise RehearsalError(f"its allocator returns {address:#x}, which is not on its heap")
    size = int.from_bytes(memory[total_address : total_address + 8], "little") - scene.read(total_address, 8)
    shape, geometry = scene.engine.shape, scene.engine.geometry
    first = geometry.block_of(address - shape.body_offset_bytes)
    if not facts.is_precise:
        return FixedRequest(size, 0)
    layout_address = shape.layout_address(geometry, first, first + shape.blocks_for(geometry, size))
    return FixedRequest(size, int.from_bytes(memory[layout_address : layout_address + WORD_BYTES], "little"))


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What was learned of a module's allocator.

    Args:
        facts: where its heap's parts are, and what it asks for each time, if it always asks for the same.
        residues: what calls leave on the stack, by the index of what is called among the heap's redirects.
    """

    facts: BestFitHeap
    residues: Mapping[int, Residue]


def rehearse(module: Module, facts: BestFitHeap, seed: int = 1) -> Rehearsed:
    """What the allocator of a module leaves below the stack pointer.

    Args:
        module: whose allocator it is.
        facts: where its heap's parts are.
        seed: of the heaps; any number will do.

    Raises:
        RehearsalError: it is not the allocator that it was taken for, or leaves something that is not understood.
    """
    rng = random.Random(seed)
    guest = _Guest(module, facts, rng)
    facts = replace(facts, fixed_request=_fixed_request(guest, facts, rng))
    return Rehearsed(
        facts, {index: _Learner(guest, facts, index, rng).learn() for index in range(len(facts.redirects))}
    )
