"""Random programs against both engines at once: every observation is equal, and exactly what can be reached lives.

After each step both heaps verify, and their memory, tables, statistics and objects are the same, byte for byte.  At each
collection, requested or not, the survivors are those that the oracles of `object_graph` name.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Final

import pytest
from hypothesis import assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import needs
from object_graph import Fate, Graph, Scanner, Thing, words_of
from tinyheap.errors import (
    AllocationInInterruptError,
    HeapError,
    InvalidAddressError,
    InvalidSizeError,
    OutOfMemoryError,
)
from tinyheap.heap import (
    ByRatio,
    Collection,
    Doubling,
    FixedStep,
    Gc,
    Geometry,
    Growth,
    Heap,
    Layout,
    Listener,
    NoGrowth,
    Pages,
    Root,
    WeakReference,
)

pytestmark = pytest.mark.property

ENGINES: Final = ("kernel", "model")
CAPACITY_BLOCKS: Final = 160
ROOT_SLOTS: Final = 4
WORD_SHAPES: Final = ((2, 1), (2, 2), (4, 4), (8, 8))
START_ADDRESSES: Final = {2: (0x100, 0x8000), 4: (0x1_0000, 0x2000_0400), 8: (0x1_0000, 0xC0_0000_0000)}
PATTERNS: Final = ("p", ".", "p.", ".p", "pp.", "..p.", "p" + "." * 40, "." * 30 + "p" * 33)
PICKS: Final = st.integers(0, 1000)
SIZES: Final = st.one_of(st.integers(0, 100), st.integers(0, 100), st.integers(0, 800))


@dataclass(frozen=True)
class Settings:
    """What a heap of this test is made of."""

    word_bytes: int
    word_alignment_bytes: int
    start_address: int
    size_bytes: int
    gc: str
    growth: Growth
    header_alignment_bytes: int
    mark_stack_entries: int
    clear_blocks: bool
    asserts: bool
    offset_bytes: int
    dirty: bool
    misleading: bool
    """Whether the program stores integers that look like addresses."""

    @property
    def is_exact(self) -> bool:
        """Whether no word of a sound program misleads the collector."""
        return self.clear_blocks and not self.misleading and self.word_alignment_bytes == self.word_bytes

    @property
    def capacity_bytes(self) -> int:
        return CAPACITY_BLOCKS * 4 * self.word_bytes

    def memory(self) -> memoryview:
        data = bytearray(self.offset_bytes + self.capacity_bytes)
        memory = memoryview(data)[self.offset_bytes :]
        if self.dirty:
            word = (self.start_address + 40).to_bytes(self.word_bytes, "little")
            memory[:] = word * (self.capacity_bytes // self.word_bytes)
        return memory

    def heap(self, engine: str, memory: memoryview) -> Heap:
        return Heap(
            memory,
            size_bytes=self.size_bytes,
            gc=self.gc,
            word_bytes=self.word_bytes,
            word_alignment_bytes=self.word_alignment_bytes,
            start_address=self.start_address,
            growth=self.growth,
            engine=engine,
            header_alignment_bytes=self.header_alignment_bytes,
            mark_stack_entries=self.mark_stack_entries,
            clear_blocks=self.clear_blocks,
            asserts=self.asserts,
        )

    def places(self) -> Iterator[Geometry]:
        """The heap's places from its first size to its last."""
        size_bytes, larger_bytes = 0, self.size_bytes
        while larger_bytes > size_bytes:
            size_bytes = larger_bytes
            yield Geometry(self.start_address, size_bytes, self.word_bytes, self.word_alignment_bytes)
            larger_bytes = min(self.growth.next_bytes(size_bytes), self.capacity_bytes)


@st.composite
def heap_settings(draw: st.DrawFn) -> Settings:
    word_bytes, word_alignment_bytes = draw(st.sampled_from(WORD_SHAPES))
    growths: list[Growth] = [NoGrowth(), Doubling(), Doubling(1000), FixedStep(512), Pages(page_bytes=1024)]
    growths += [FixedStep(40), ByRatio(multiple_bytes=256)]
    chosen = Settings(
        word_bytes=word_bytes,
        word_alignment_bytes=word_alignment_bytes,
        start_address=draw(st.sampled_from(START_ADDRESSES[word_bytes])),
        size_bytes=draw(st.integers(20 * 4 * word_bytes, 80 * 4 * word_bytes)),
        gc=draw(st.sampled_from(["conservative", "precise"])),
        growth=draw(st.sampled_from(growths)),
        header_alignment_bytes=draw(st.sampled_from([0, 8, 16])),
        mark_stack_entries=draw(st.sampled_from([0, 1, 2, 16])),
        clear_blocks=draw(st.booleans()),
        asserts=draw(st.booleans()),
        offset_bytes=draw(st.integers(0, 8)),
        dirty=draw(st.booleans()),
        misleading=draw(st.booleans()),
    )
    places = list(chosen.places())
    if chosen.asserts:
        # The table must move far enough.
        assume(all(old.end_address <= new.table_address for old, new in pairwise(places)))
    if word_alignment_bytes < word_bytes:
        # The last word reaches over the last block's end, and must not read the table, which changes while marking.
        assume(all(place.pool_bytes % place.block_bytes for place in places))
    return chosen


class Witness(Listener):
    """Holds each collection of a heap against the oracles."""

    def __init__(self, machine: ObjectGraphs, index: int, memory: memoryview) -> None:
        self._machine = machine
        self._index = index
        self._memory = memory
        self.fates: list[Fate] = []
        self.wrong: list[str] = []

    def collection_began(self, heap: Heap, reason: str) -> None:
        machine = self._machine
        # One request may collect more than once; a batch takes the place of what died before.
        known = set.intersection(set(machine.graph.things), *(fate.live for fate in self.fates))
        run = {address for fate in self.fates for address in fate.due}
        objects = list(heap.objects())
        scanner = Scanner(heap.geometry, bytes(self._memory), objects, partial(machine.may_point, known))
        batch = [found.address for found in objects if found.address not in known]
        roots = [*machine.root_words(), *machine.resurrected[self._index], *batch]
        fate = scanner.fate(roots, [address for address in machine.finalizers if address not in run])
        self.fates.append(fate)
        if not machine.reachable() <= fate.reached:
            self.wrong.append("the oracles disagree: a stored reference is not in memory")

    def marked(self, heap: Heap) -> None:
        if heap.census().marks != len(self.fates[-1].live):
            self.wrong.append("marked others than those that live")

    def collection_ended(self, heap: Heap, collection: Collection) -> None:
        live = {found.address for found in heap.objects()}
        if live != self.fates[-1].live:
            self.wrong.append(f"{sorted(live ^ self.fates[-1].live)} should not have died, or lived")
        if collection.live_objects != len(live):
            self.wrong.append(f"{collection} does not say that {len(live)} live")


class ObjectGraphs(RuleBasedStateMachine):
    """One program on two heaps."""

    @initialize(chosen=heap_settings())
    def make_heaps(self, chosen: Settings) -> None:
        self.settings = chosen
        self.memories = [chosen.memory() for _ in ENGINES]
        self.heaps = [chosen.heap(name, memory) for name, memory in zip(ENGINES, self.memories, strict=True)]
        self.graph = Graph(chosen.word_alignment_bytes, heeds_layouts=chosen.gc == "precise")
        self.is_exact = chosen.is_exact
        self.checked_table = ""
        self.pending_layout: Layout | None = None
        self.pinned: Thing | None = None
        self.witnesses = [Witness(self, index, memory) for index, memory in enumerate(self.memories)]
        self.roots: list[tuple[list[Root], Thing | None, int]] = []
        self.slots: list[tuple[Thing | None, int]] = [(None, 0)] * ROOT_SLOTS
        self.slot_bytes = bytearray(ROOT_SLOTS * chosen.word_bytes)
        self.tasks: list[Thing] = []
        self.finalizers: dict[int, bool] = {}
        self.finalized: list[list[int]] = [[], []]
        self.resurrected: list[dict[int, Root]] = [{}, {}]
        self.weak: list[tuple[list[WeakReference], int]] = []
        # One half of the slots is a range, the other comes from a source.
        half = len(self.slot_bytes) // 2
        view = memoryview(self.slot_bytes)
        for heap, witness in zip(self.heaps, self.witnesses, strict=True):
            heap.add_listener(witness)
            heap.roots.add_range(view[:half])
            heap.roots.add_source(lambda: [view[half:]])

    # ---- what the oracles ask -----------------------------------------------------------------------------------

    def may_point(self, known: set[int], address: int, offset_bytes: int) -> bool:
        thing = self.graph.things[address] if address in known else Thing(address, bytearray(), self.pending_layout)
        return self.settings.gc != "precise" or thing.may_point(offset_bytes, self.settings.word_alignment_bytes)

    def root_words(self) -> list[int]:
        geometry, half = self.heaps[0].geometry, len(self.slot_bytes) // 2
        words = words_of(self.slot_bytes[:half], geometry) + words_of(self.slot_bytes[half:], geometry)
        words += [word for _, _, word in self.roots] + [task.address for task in self.tasks]
        return [*words, self.pinned.address if self.pinned else 0]

    def root_things(self) -> list[Thing | None]:
        return [*(thing for _, thing, _ in self.roots), *(thing for thing, _ in self.slots), *self.tasks, self.pinned]

    def reachable(self) -> set[int]:
        return self.graph.reachable(self.root_things())

    # ---- doing it twice -----------------------------------------------------------------------------------------

    def both(self, request: Callable[[Heap], Any]) -> Any:  # noqa: ANN401  whatever the heap gives
        """Ask both heaps the same; what they answer, or the error that both raise, and all that came of it."""
        answers: list[tuple[Any, HeapError | None]] = []
        for heap in self.heaps:
            try:
                answers.append((request(heap), None))
            except HeapError as error:
                answers.append((None, error))
        (answer, refusal), (other_answer, other_refusal) = answers
        assert type(refusal) is type(other_refusal)
        assert str(refusal) == str(other_refusal)
        self.settle()
        if refusal is not None:
            raise refusal
        assert answer == other_answer or isinstance(answer, Root | WeakReference)
        return [answer, other_answer] if isinstance(answer, Root | WeakReference) else answer

    def settle(self) -> None:
        """Carry out what the collections of one request did."""
        first, second = self.witnesses
        assert (first.wrong, second.wrong) == ([], [])
        assert first.fates == second.fates
        due = [address for fate in first.fates for address in fate.due]
        for fate in first.fates:
            things = self.graph.things
            if self.is_exact and not due:
                expected = self.reachable() | {address for address in fate.reached if address not in things}
                assert fate.reached == expected
            self.weak = [entry for entry in self.weak if self.still_known(entry, fate)]
            self.graph.things = {address: thing for address, thing in things.items() if address in fate.live}
        assert self.finalized == [due, due]
        for address in due:
            if self.finalizers.pop(address):
                handles = [roots.pop(address) for roots in self.resurrected]
                self.roots.append((handles, self.graph.things[address], address))
        self.finalized = [[], []]
        first.fates, second.fates = [], []

    def still_known(self, entry: tuple[list[WeakReference], int], fate: Fate) -> bool:
        references, address = entry
        if address in fate.reached or address not in self.graph.things:
            return True
        assert [reference() for reference in references] == [None, None]
        return False

    # ---- picking ------------------------------------------------------------------------------------------------

    def thing(self, pick: int) -> Thing:
        return list(self.graph.things.values())[pick % len(self.graph.things)]

    def has_things(self) -> bool:
        return bool(self.graph.things)

    def inside(self, thing: Thing, pick: int) -> int:
        """An address in an object: its start, as a rule."""
        return thing.address + (pick % thing.extent_bytes if pick % 3 == 0 else 0)

    def adopt(self, address: int, size_bytes: int, layout: Layout | None) -> Thing | None:
        """Note a new object."""
        if size_bytes == 0:
            assert address == self.heaps[0].zero_size_address
            return None
        assert address not in self.graph.things
        thing = Thing(address, bytearray(size_bytes), layout)
        thing.extent_bytes = self.heaps[0].object_at(address).size_bytes
        self.graph.things[address] = thing
        return thing

    def add_root_of(self, thing: Thing, pick: int) -> None:
        word = self.inside(thing, pick)
        handles = [heap.roots.add(word) for heap in self.heaps]
        self.roots.append((handles, thing, word))

    # ---- the mutator --------------------------------------------------------------------------------------------

    @rule(size_bytes=SIZES, pattern=st.none() | st.sampled_from(PATTERNS), pick=PICKS, raw=st.booleans())
    def alloc(self, size_bytes: int, pattern: str | None, pick: int, raw: bool) -> None:
        layout = self.fitting(pattern, size_bytes)
        given: Layout | int | None = layout
        if raw and layout is not None:
            given = layout.inline_word(self.settings.word_bytes) or layout
        try:
            address = self.both(lambda heap: heap.alloc(size_bytes, layout=given))
        except OutOfMemoryError:
            return
        thing = self.adopt(address, size_bytes, layout)
        if thing is not None and pick % 4:
            self.add_root_of(thing, pick)

    def fitting(self, pattern: str | None, size_bytes: int) -> Layout | None:
        """A layout that fits the size; half of the objects have none."""
        if pattern is None or -(-size_bytes // self.settings.word_alignment_bytes) < len(pattern):
            return None
        return Layout.pattern(pattern)

    @rule(count=st.integers(0, 12), size_bytes=st.integers(0, 70), pattern=st.none() | st.sampled_from(PATTERNS[:5]))
    def alloc_many(self, count: int, size_bytes: int, pattern: str | None) -> None:
        layout = self.pending_layout = self.fitting(pattern, size_bytes)
        try:
            addresses: array[int] = self.both(lambda heap: heap.alloc_many(count, size_bytes, layout))
        except OutOfMemoryError:
            # What was made before the room ran out has no name; the next collection takes it, or something misleads.
            self.take_in_strangers(layout)
            return
        finally:
            self.pending_layout = None
        things = [self.adopt(address, size_bytes, layout) for address in addresses]
        if things and (first := things[0]) is not None:
            self.add_root_of(first, 1)

    def take_in_strangers(self, layout: Layout | None) -> None:
        for found in self.heaps[0].objects():
            if found.address not in self.graph.things:
                thing = Thing(found.address, bytearray(), layout, extent_bytes=found.size_bytes)
                self.graph.things[found.address] = thing

    @precondition(has_things)
    @rule(pick=PICKS, other=PICKS, at=PICKS, inside=PICKS)
    def refer(self, pick: int, other: int, at: int, inside: int) -> None:
        """Store a reference in an object."""
        thing, target = self.thing(pick), self.thing(other)
        self.store(thing, at, self.inside(target, inside), target)

    @precondition(has_things)
    @rule(pick=PICKS, at=PICKS, number=st.integers(0, 5000))
    def store_integer(self, pick: int, at: int, number: int) -> None:
        looks_like_address = self.settings.misleading and number % 4
        self.store(
            self.thing(pick),
            at,
            number % 200 + (self.settings.start_address + number if looks_like_address else 0),
            None,
        )

    def store(self, thing: Thing, at: int, word: int, target: Thing | None) -> None:
        word_bytes, step_bytes = self.settings.word_bytes, self.settings.word_alignment_bytes
        places = (len(thing.content) - word_bytes) // step_bytes + 1
        if places > 0:
            offset_bytes = at % places * step_bytes
            word %= 1 << 8 * word_bytes
            self.both(lambda heap: heap.store_word(thing.address + offset_bytes, word))
            thing.write(offset_bytes, word, word_bytes, target)

    @precondition(has_things)
    @rule(pick=PICKS, size_bytes=SIZES)
    def realloc(self, pick: int, size_bytes: int) -> None:
        self.pinned = old = self.thing(pick)
        try:
            address = self.both(lambda heap: heap.realloc(old.address, size_bytes))
        except OutOfMemoryError:
            return
        finally:
            self.pinned = None
        if address == old.address:
            return
        thing = Thing(address, bytearray(size_bytes), None, dict(old.references))
        # The old object's slack is copied too.
        copied_bytes = old.extent_bytes
        thing.content[:copied_bytes] = self.heaps[0].read(address, copied_bytes)
        thing.content[: len(old.content)] = old.content
        thing.extent_bytes = self.heaps[0].object_at(address).size_bytes
        self.graph.things[address] = thing
        # What was data may be a pointer from now on, and what was copied from the slack is not known.
        self.is_exact = self.is_exact and old.layout is None
        if old.address in self.finalizers:
            self.finalizers[address] = self.finalizers.pop(old.address)
        self.add_root_of(thing, 1)

    @precondition(has_things)
    @rule(pick=PICKS)
    def free(self, pick: int) -> None:
        thing = self.thing(pick)
        self.both(lambda heap: heap.free(thing.address))
        dangling = self.graph.forget(thing) or thing in self.root_things()
        self.is_exact = self.is_exact and not dangling
        self.roots = [(handles, None if root is thing else root, word) for handles, root, word in self.roots]
        self.slots = [(None if slot is thing else slot, word) for slot, word in self.slots]
        self.finalizers.pop(thing.address, None)
        for references, address in self.weak:
            assert address != thing.address or [reference() for reference in references] == [None, None]
        self.weak = [entry for entry in self.weak if entry[1] != thing.address]
        self.drop_task(thing)
        self.refused(InvalidAddressError, lambda heap: heap.free(thing.address))

    def drop_task(self, thing: Thing) -> None:
        """Take all tasks off, and push those that are not freed."""
        for heap in self.heaps:
            while heap.roots.tasks.pop() is not None:
                pass
        self.tasks = [task for task in self.tasks if task is not thing]
        for heap in self.heaps:
            for task in self.tasks:
                heap.roots.tasks.push(task.address)

    @precondition(has_things)
    @rule(pick=PICKS, resurrect=st.booleans(), take_away=st.booleans())
    def set_finalizer(self, pick: int, resurrect: bool, take_away: bool) -> None:
        self.put_finalizer(self.thing(pick), resurrect=None if take_away else resurrect)

    @rule(links=st.permutations(range(4)), order=st.permutations(range(4)), in_circle=st.booleans(), pick=PICKS)
    def leave_a_chain_to_finalizers(self, links: list[int], order: list[int], in_circle: bool, pick: int) -> None:
        try:
            addresses: array[int] = self.both(lambda heap: heap.alloc_many(4, 3 * self.settings.word_bytes))
        except OutOfMemoryError:
            self.take_in_strangers(None)
            return
        things = [thing for address in addresses if (thing := self.adopt(address, 3 * self.settings.word_bytes, None))]
        for one, other in pairwise([*links, links[0]] if in_circle else links):
            self.store(things[one], 0, self.inside(things[other], pick), things[other])
        for index in order[: 2 + pick % 3]:
            self.put_finalizer(things[index], resurrect=pick % 5 == 0)

    def put_finalizer(self, thing: Thing, *, resurrect: bool | None) -> None:
        """Set a finalizer, which may bring its object back; None takes one away."""
        self.finalizers.pop(thing.address, None)
        for index, heap in enumerate(self.heaps):
            heap.set_finalizer(thing.address, None if resurrect is None else partial(self.finalize, index))
        if resurrect is not None:
            self.finalizers[thing.address] = resurrect

    def finalize(self, index: int, address: int) -> None:
        """A finalizer runs on one of the heaps, and may bring its object back."""
        self.finalized[index].append(address)
        if self.finalizers[address]:
            self.resurrected[index][address] = self.heaps[index].roots.add(address)

    @precondition(has_things)
    @rule(pick=PICKS, inside=PICKS)
    def refer_weakly(self, pick: int, inside: int) -> None:
        thing = self.thing(pick)
        word = self.inside(thing, inside)
        references = self.both(lambda heap: heap.weak(word))
        assert [reference() for reference in references] == [word, word]
        self.weak.append((references, thing.address))

    # ---- roots --------------------------------------------------------------------------------------------------

    @precondition(has_things)
    @rule(pick=PICKS, inside=PICKS)
    def add_root(self, pick: int, inside: int) -> None:
        self.add_root_of(self.thing(pick), inside)

    @precondition(lambda self: self.roots)
    @rule(pick=PICKS)
    def remove_root(self, pick: int) -> None:
        handles, _, _ = self.roots.pop(pick % len(self.roots))
        for handle in handles:
            handle.remove()

    @precondition(lambda self: self.roots and self.graph.things)
    @rule(pick=PICKS, other=PICKS, inside=PICKS)
    def point_root_elsewhere(self, pick: int, other: int, inside: int) -> None:
        index, thing = pick % len(self.roots), self.thing(other)
        word = self.inside(thing, inside)
        for handle in self.roots[index][0]:
            handle.address = word
        self.roots[index] = (self.roots[index][0], thing, word)

    @precondition(has_things)
    @rule(slot=st.integers(0, ROOT_SLOTS - 1), pick=PICKS, inside=PICKS)
    def set_slot(self, slot: int, pick: int, inside: int) -> None:
        thing = self.thing(pick)
        self.write_slot(slot, thing, self.inside(thing, inside))

    @rule(slot=st.integers(0, ROOT_SLOTS - 1), number=st.integers(0, 5000))
    def clear_slot(self, slot: int, number: int) -> None:
        self.write_slot(slot, None, self.settings.start_address + number if self.settings.misleading else 0)

    def write_slot(self, slot: int, thing: Thing | None, word: int) -> None:
        word_bytes = self.settings.word_bytes
        self.slots[slot] = (thing, word)
        self.slot_bytes[slot * word_bytes : (slot + 1) * word_bytes] = word.to_bytes(word_bytes, "little")

    @precondition(has_things)
    @rule(pick=PICKS)
    def push_task(self, pick: int) -> None:
        thing = self.thing(pick)
        self.tasks.append(thing)
        self.both(lambda heap: heap.roots.tasks.push(thing.address))

    @rule()
    def pop_task(self) -> None:
        expected = self.tasks.pop(0).address if self.tasks else None
        assert self.both(lambda heap: heap.roots.tasks.pop()) == expected

    # ---- the heap -----------------------------------------------------------------------------------------------

    @rule()
    def collect(self) -> None:
        self.both(lambda heap: heap.collect().live_blocks)

    @rule()
    def grow(self) -> None:
        self.both(lambda heap: heap.grow())

    @rule(size_bytes=st.integers(1, 100))
    def interrupt(self, size_bytes: int) -> None:
        with everywhere(self.heaps):
            self.refused(AllocationInInterruptError, lambda heap: heap.alloc(size_bytes))

    @rule(beyond=st.integers(0, 1 << 70), pick=PICKS)
    def ask_nonsense(self, beyond: int, pick: int) -> None:
        geometry = self.heaps[0].geometry
        self.refused(InvalidSizeError, lambda heap: heap.alloc(-1 - beyond))
        self.refused(InvalidSizeError, lambda heap: heap.alloc(geometry.address_space_bytes + beyond))
        self.refused(InvalidAddressError, lambda heap: heap.free(geometry.table_address + pick))
        self.refused(InvalidAddressError, lambda heap: heap.realloc(geometry.table_address + pick, 8))
        self.refused(InvalidAddressError, lambda heap: heap.load_word(geometry.start_address - 1 - beyond))
        self.refused(InvalidAddressError, lambda heap: heap.weak(geometry.table_address + beyond))

    def refused(self, error: type[HeapError], request: Callable[[Heap], Any]) -> None:
        before = [bytes(memory) for memory in self.memories]
        counters = [heap.counters()[:7] for heap in self.heaps]
        try:
            self.both(request)
        except error:
            pass
        else:
            raise AssertionError(f"no {error.__name__}")
        assert [bytes(memory) for memory in self.memories] == before
        assert [heap.counters()[:7] for heap in self.heaps] == counters

    # ---- what always holds --------------------------------------------------------------------------------------

    @invariant()
    def heaps_are_sound_and_equal(self) -> None:
        kernel, model = self.heaps
        kernel.verify()
        assert self.memories[0] == self.memories[1]
        assert kernel.geometry == model.geometry
        table = str(kernel.dump())
        if table == self.checked_table:
            return
        # Looking takes the model long; nothing of this changes without the table.
        self.checked_table = table
        model.verify()
        assert kernel.next_alloc == model.next_alloc
        assert kernel.stats() == model.stats()
        assert kernel.census() == model.census()
        counted = 7 if self.settings.mark_stack_entries else 5
        assert kernel.counters()[:counted] == model.counters()[:counted]
        objects = list(kernel.objects())
        assert objects == list(model.objects())
        assert [found.address for found in objects] == sorted(self.graph.things)

    @invariant()
    def objects_hold_what_was_stored(self) -> None:
        heap = self.heaps[0]
        for thing in self.graph.things.values():
            assert heap.read(thing.address, len(thing.content)) == thing.content
            found = heap.object_at(thing.address)
            assert found.size_bytes == thing.extent_bytes >= len(thing.content)
            if self.settings.gc == Gc.PRECISE:
                assert found.layout == (thing.layout.shortest() if thing.layout else Layout.UNKNOWN)
        for references, _ in self.weak:
            assert references[0]() == references[1]() is not None

    @invariant()
    def tasks_wait_in_order(self) -> None:
        assert [len(heap.roots.tasks) for heap in self.heaps] == [len(self.tasks)] * 2

    def teardown(self) -> None:
        if hasattr(self, "heaps"):
            self.both(lambda heap: heap.collect().live_objects)
            self.checked_table = ""
            self.heaps_are_sound_and_equal()
            for heap in self.heaps:
                heap.close()


@contextmanager
def everywhere(heaps: list[Heap]) -> Iterator[None]:
    """An interrupt on all heaps."""
    with heaps[0].interrupt(), heaps[1].interrupt():
        yield


TestObjectGraphs = ObjectGraphs.TestCase
TestObjectGraphs.settings = settings(
    max_examples=80 if needs.IN_CI else 15, stateful_step_count=60 if needs.IN_CI else 40, deadline=None
)
