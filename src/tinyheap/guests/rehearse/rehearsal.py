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
from dataclasses import dataclass, replace
from typing import Final

from tinyheap.guests.rehearse.explaining import Explanation, Left, simplicity
from tinyheap.guests.rehearse.guest_alone import Guest, RehearsalError, allocator_alone
from tinyheap.guests.rehearse.requests import sizes_asked_for
from tinyheap.guests.rehearse.scenes import NO_POINTERS, SIZES, WINDOW_WORDS, WORD_BYTES, Scene, heap_of
from tinyheap.guests.serve.residue import Case, Kind, Residue, Residues, Word
from tinyheap.guests.serve.tracing import Tracer
from tinyheap.recognize.facts import BestFitHeap, FixedRequest, Role
from tinyheap.wasm import Module

ENOUGH: Final = 8
"""Trials of each case that change no explanation, before it is believed."""
ROUNDS: Final = 12
"""So often each kind of scene is tried at least."""
MOST_ROUNDS: Final = 24
LOOKS: Final = 4
"""So often it is looked which words a collection sees."""
_FREED: Final = 5
"""So many free ranges are there where it is looked whether that makes a difference."""
_STALE: Final = 0x7EE0_0000
"""Words that are not addresses of the heap."""


class _Learner:
    """Calls one of a module's functions in scenes of all kinds, until nothing new is learned.

    Args:
        guest: the module.
        facts: where its heap's parts are.
        index: of the function among the heap's redirects.
        asked: the sizes that the module's code asks for, where all are known.
        rng: chooses.
    """

    def __init__(self, guest: Guest, facts: BestFitHeap, index: int, asked: Sequence[int], rng: random.Random) -> None:
        self._guest, self._facts, self._index, self._asked, self._rng = guest, facts, index, asked, rng
        self._sizes = asked or (*(() if facts.zero_size_address is None else (0,)), *SIZES, 900)
        self._collects = facts.redirects[index].role is Role.COLLECT
        self._known: dict[Case, list[Explanation]] = {}
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
        words: dict[Case, list[Word]] = {case: [] for case in self._known if self._trials[case] >= ENOUGH}
        for index in range(WINDOW_WORDS):
            for case, word in self._chosen(index, list(words)):
                words[case].append(word)
        self._agree(words)
        self._complete(words)
        has_tasks = self._facts.roots.current_task_address is not None
        return Residue(
            words,
            self._seen(in_task=False),
            self._seen(in_task=True) if has_tasks else (),
            has_tasks and self._seen(in_task=True) != self._seen(in_task=True, freed=_FREED),
            {case: list(self._doubts(case, words[case])) for case in words if case.collects},
        )

    def _chosen(self, index: int, cases: Sequence[Case]) -> Iterator[tuple[Case, Word]]:
        """What explains one word, in each case that touches it: the simplest of what may.

        Allocations that need no collection differ little, and as a rule are the same frame: for them what holds in most of
        their cases comes first.
        """
        found = {case: self._known[case][index] for case in cases if not self._known[case][index].is_untouched}
        votes = Counter(word for case, each in found.items() if not case.collects for word in each.candidates)
        for case, each in found.items():
            if each.candidates:
                is_alike = not case.collects
                yield case, min(each.candidates, key=lambda word: (-votes[word] * is_alike, *simplicity(word)))
            elif case.collects:
                # It can be found out again when it runs; allocations are too many for that.
                yield case, Word((index + 1) * WORD_BYTES, Kind.UNKNOWN, "", 0)
            else:
                raise RehearsalError(
                    f"its function {self._facts.redirects[self._index].function} leaves a word on the stack, "
                    f"{(index + 1) * WORD_BYTES} bytes below where it was called, that is not understood ({case.text})"
                )

    def _agree(self, words: Mapping[Case, list[Word]]) -> None:
        """A word that was always 0 in one case, and a variable in another, is that variable in both, if that was always nil.

        It is the same frame, and the trials of the one case never had the variable set.
        """
        sources: dict[int, list[Word]] = {}
        for word in (each for found in words.values() for each in found):
            if word.variable and word not in sources.setdefault(word.below_bytes, []):
                sources[word.below_bytes].append(word)
        for case, found in words.items():
            for index, word in enumerate(found):
                nil = self._known[case][word.below_bytes // WORD_BYTES - 1].nil
                others = [each for each in sources.get(word.below_bytes, ()) if (each.kind, each.variable) in nil]
                if word.kind is Kind.CONSTANT and others:
                    found[index] = others[0]

    @staticmethod
    def _complete(words: dict[Case, list[Word]]) -> None:
        """What is left of a range is hardly ever the first of its length with some, and with others always is."""
        for case in [case for case in words if case.splits and not case.collects]:
            words.setdefault(case._replace(lists=not case.lists), words[case])

    def _doubts(self, case: Case, words: Sequence[Word]) -> Iterator[list[Word]]:
        """What else may explain a word that one of the marking's variables explains, or that was always 0."""
        for word in words:
            known = self._known[case][word.below_bytes // WORD_BYTES - 1]
            others = [each for each in known.candidates if _is_early(each.variable)]
            if word.kind is Kind.CONSTANT and not word.added:
                others += [
                    Word(word.below_bytes, kind, name, 1)
                    for kind, name in known.nil
                    if kind is Kind.VARIABLE and _is_early(name)
                ]
            if others and word.kind is not Kind.UNKNOWN and (not word.variable or _is_early(word.variable)):
                yield [word, *(each for each in others if each != word)]

    def _seen(self, *, in_task: bool, freed: int = 0) -> tuple[int, ...]:
        """Which words from before a call are still there, and looked at, when it marks: those that are each time.

        What is seen once may be kept by a number in the globals that happens to be its address.
        """
        seen = set.intersection(*(self._seen_once(in_task=in_task, freed=freed) for _ in range(LOOKS)))
        return tuple(sorted(seen))

    def _scenes(self) -> Iterator[Scene]:
        """One of each kind: heaps from full to nearly empty, all alive, without layouts."""
        for free_share in (0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8):
            scene = self._scene()
            scene.fill(free_share)
            yield scene
        for layouts in ((), (), (0,)):
            scene = self._scene()
            scene.fill(0, layouts=layouts)
            yield scene
        for _ in range(3):
            scene = self._scene()
            scene.comb()
            yield scene
        # What is left of five blocks goes to others of two, of which there are many.
        for free_share, kept_share in ((0.5, 0), (0.8, 0), (0, 0.5)):
            scene = self._scene()
            scene.fill(free_share, sizes=(16, 64))
            if kept_share:
                scene.keep(kept_share)
            if not self._asked:
                scene.request_bytes = 32
            yield scene
        has_tasks = self._facts.roots.current_task_address is not None
        for in_task in (False, True) if has_tasks else (False,):
            if in_task:
                for free_share in (0, 0.2):
                    scene = self._scene(in_task=True)
                    scene.fill(free_share)
                    yield scene
            yield from self._chains(in_task=in_task)

    def _chains(self, *, in_task: bool) -> Iterator[Scene]:
        """Objects each of which refers to the next, so that all are scanned: of all kinds, without layouts, with some only.

        Of some heaps all stay alive, of others a share; and of some all objects are as large as what is asked for, so that
        it takes up a whole range.
        """
        for kind, share, is_alike in (
            *(("any", 1, False), ("none", 1, False), ("masks", 1, False)),
            *(("any", 0.9, False), ("any", 0.8, False), ("any", 0.7, False)),
            *(("any", 0.5, True), ("masks", 0.5, True)),
        ):
            scene = self._scene(in_task=in_task)
            kinds = {
                "any": [layout for layout in scene.layouts if layout != NO_POINTERS],
                "none": [0],
                "masks": [layout for layout, element_bytes in scene.layouts.items() if element_bytes] or [0],
            }
            if is_alike:
                scene.request_bytes = self._rng.choice([size for size in self._sizes if size])
            size_bytes = self._request_of(scene.request_bytes or 0, 0)[0]
            scene.fill(0, sizes=(size_bytes,) if is_alike else SIZES, layouts=kinds[kind])
            scene.keep(share)
            yield scene

    def _scene(self, *, in_task: bool = False, is_large: bool = False) -> Scene:
        return Scene(self._guest.fresh_bytes(), self._facts, self._rng, in_task=in_task, is_large=is_large)

    def _request_of(self, size_bytes: int, layout: int) -> tuple[int, int]:
        """What the allocator makes of a request."""
        fixed = self._facts.fixed_request
        if fixed is None:
            return size_bytes, layout
        return size_bytes if self._facts.size_parameter is not None else fixed.size_bytes, fixed.layout

    def _try(self, scene: Scene) -> None:
        """One trial: the guest's allocator and the engine, on the same heap."""
        stale = [_STALE + 8 * index for index in range(WINDOW_WORDS)]
        scene.place_words(stale)
        scene.publish()
        sizes = self._sizes
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

    def _compare(self, scene: Scene, size_bytes: int, address: int, expected: int) -> None:
        geometry, memory = scene.engine.geometry, self._guest.memory
        if address != expected:
            found = f"it returns {address:#x} for {size_bytes} bytes, where {expected:#x} was expected"
        elif heap_of(memory, scene) != heap_of(scene.memory, scene):
            found = f"it leaves another heap than expected, after {size_bytes} bytes"
        else:
            return
        raise RehearsalError(
            f"it is not the collector that it was taken for: on a heap of {geometry.heap_bytes} bytes {found}"
        )

    def _learn(self, scene: Scene, tracer: Tracer, stale: Sequence[int]) -> None:
        memory, stack_pointer, geometry = self._guest.memory, scene.stack_pointer, scene.engine.geometry
        window = memory[stack_pointer - WINDOW_WORDS * WORD_BYTES : stack_pointer].cast("I")[::-1]
        touched = {index for index, (value, before) in enumerate(zip(window, stale, strict=True)) if value != before}

        def left(index: int) -> Left:
            is_untouched = index not in touched
            return Left((index + 1) * WORD_BYTES, window[index], is_untouched, tracer.values, stack_pointer, geometry)

        self._trials[tracer.case] += 1
        known = self._known.get(tracer.case)
        if known is None:
            self._known[tracer.case] = [left(index).begin() for index in range(WINDOW_WORDS)]
            return
        # Most words are never touched, and there are thousands of trials.
        again = [index for index, each in enumerate(known) if not each.is_untouched or index in touched]
        size = sum(known[index].size for index in again)
        for index in again:
            left(index).narrow(known[index])
        is_steady = sum(known[index].size for index in again) == size
        self._steady[tracer.case] = self._steady[tracer.case] + 1 if is_steady else 0

    def _seen_once(self, *, in_task: bool, freed: int) -> set[int]:
        scene = self._scene(in_task=in_task, is_large=True)
        scene.fill(0, layouts=(0,))
        size_bytes, layout = self._request_of(self._sizes[-1], 0)
        scene.free_small(freed, size_bytes)
        alone = self._rng.sample(scene.objects, WINDOW_WORDS)
        for address in scene.objects:
            scene.write(address, 0)
        for address in range(scene.stack_pointer, scene.stack_end, WORD_BYTES):
            scene.write(address, 0)
        for index, address in enumerate(alone):
            scene.write(scene.stack_pointer - (index + 1) * WORD_BYTES, address)
        scene.publish()
        made = self._guest.call(self._index, scene, size_bytes, layout)
        memory = self._guest.memory
        table_at = self._facts.metadata_start_address
        table = memory[int.from_bytes(memory[table_at : table_at + WORD_BYTES], "little") :]
        return {
            (index + 1) * WORD_BYTES
            for index, address in enumerate(alone)
            if _is_head(table, scene.head_of(address)) and not made <= address < made + size_bytes
        }


def _is_early(variable: str) -> bool:
    """Whether marking sets a variable."""
    return variable.startswith(("scan.", "mark.", "span.", "found.", "table.collected"))


def _is_head(table: memoryview, block: int) -> bool:
    """Whether a block of a best-fit heap is a head, by its table."""
    return table[block // 4] >> block % 4 & 0x11 == 1


def _fixed_request(guest: Guest, facts: BestFitHeap, rng: random.Random) -> FixedRequest | None:
    """What each call of the allocator asks for, where it is not told.

    Raises:
        RehearsalError: it cannot be found out.
    """
    if facts.size_parameter is not None and (facts.layout_parameter is not None or not facts.is_precise):
        return None
    total_address = facts.counters.total_alloc_bytes_address
    if total_address is None:
        raise RehearsalError("nothing tells what its allocator is asked for")
    scene = Scene(guest.fresh_bytes(), facts, rng, in_task=False, is_large=False)
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
        residues: what calls leave on the stack.
    """

    facts: BestFitHeap
    residues: Residues


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
    alone = allocator_alone(module, facts)
    guest = Guest(alone, facts, rng)
    facts = replace(facts, fixed_request=_fixed_request(guest, facts, rng))
    asked = sizes_asked_for(module, facts)
    learned = {index: _Learner(guest, facts, index, asked, rng).learn() for index in range(len(facts.redirects))}
    return Rehearsed(facts, Residues(learned, alone))
