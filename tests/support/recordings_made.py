"""Synthetic recordings: made by a random mutator on a real heap, with no guest.

    path = recordings_made.make_recording(tmp_path / "made.tinyheap", events=2000)

The heap is a real one, and so are addresses, collections, deaths, growths and block maps; the program, its stacks and
its clock are made from a seed, so that the same arguments always make the same recording.  With ``leak`` one site,
`LEAKING_FUNCTION`, never frees.  Also in it, so that every test meets them: recursion, a method, generic names
with characters that mean something in HTML, a function without a name, an indirect call, a call at an unknown place,
reallocations, allocations of no bytes, which make no object, and calls of free, which frees nothing in TinyGo.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from tinyheap.heap import Collection, Heap, Listener, Pages, Root
from tinyheap.recordings.batch import DEATH, EVENT, STACK, Batch
from tinyheap.recordings.last import Last
from tinyheap.recordings.row_types import (
    CollectionRow,
    FrameRow,
    GrowthRow,
    MemoryGrowthRow,
    MemoryRow,
    RunRow,
    SampleRow,
    SnapshotRow,
)
from tinyheap.recordings.schema import EventKind
from tinyheap.recordings.writer import RecordingWriter
from tinyheap.units import WASM_PAGE_BYTES

LEAKING_FUNCTION: Final = "(*main.Cache).Add"
ALLOCATOR: Final = "runtime.alloc"
START: Final = "_start"

INDIRECT: Final = "main.render$1"

CALLS: Final = (
    (START, "runtime.run"),
    ("runtime.run", "main.main"),
    ("main.main", "main.load"),
    ("main.main", "main.render"),
    ("main.main", "main.parse"),
    ("main.main", None),
    ("main.load", "os.ReadFile"),
    ("os.ReadFile", ALLOCATOR),
    ("os.ReadFile", "(*bytes.Buffer).grow"),
    ("(*bytes.Buffer).grow", ALLOCATOR),
    ("main.parse", "(*main.parser).parseExpr"),
    ("(*main.parser).parseExpr", "(*main.parser).parseBinary"),
    ("(*main.parser).parseExpr", ALLOCATOR),
    ("(*main.parser).parseBinary", "(*main.parser).parseExpr"),
    ("(*main.parser).parseBinary", "(*main.parser).parseExpr"),
    ("(*main.parser).parseBinary", ALLOCATOR),
    ("main.render", "main.Map[go.shape.string,chan<- int]"),
    ("main.render", "fmt.Sprintf"),
    ("main.Map[go.shape.string,chan<- int]", "main.render$1"),
    ("main.Map[go.shape.string,chan<- int]", ALLOCATOR),
    ("main.render$1", "fmt.Sprintf"),
    ("fmt.Sprintf", "(*fmt.pp).doPrintf"),
    ("(*fmt.pp).doPrintf", ALLOCATOR),
    ("(*fmt.pp).doPrintf", "function[17]"),
    ("function[17]", ALLOCATOR),
    ("main.main", LEAKING_FUNCTION),
    (LEAKING_FUNCTION, ALLOCATOR),
)
"""Call instructions: who calls whom; None is an indirect call, which leads to `INDIRECT`."""
FUNCTIONS: Final = {name: index for index, name in enumerate(dict(CALLS), start=5)}
"""Their indices; the one without a name has the index that it is called by."""
FRAMES: Final = tuple(
    FrameRow(number, FUNCTIONS[caller], caller, -1 if caller == INDIRECT else 1000 + 12 * number, callee)
    for number, (caller, callee) in enumerate(CALLS, start=1)
)
FOREVER: Final = 1 << 60


@dataclass(frozen=True)
class Site:
    """A stack that allocates: its frames from the outermost in, sizes, and how many events its objects live for."""

    frames: tuple[int, ...]
    sizes_bytes: tuple[int, ...]
    lifetime_events: int


@dataclass
class Shape:
    """What the program is like."""

    events: int = 2000
    seed: int = 0
    leak: bool = True
    sites: int = 30
    recursion: int = 60
    """How deep the parser calls itself at one of them."""
    batch_events: int = 500
    collect_every: int = 600
    """Events between two collections that the program asks for; others happen when the heap is full."""
    sample_every: int = 100
    heap_bytes: int = 64 * 1024
    """At first; it doubles when that is too small."""
    limit_bytes: int = 256 * 1024 * 1024


@dataclass
class MadeRun:
    """A run to be recorded: what a recorder would hand over."""

    run: RunRow
    frames: tuple[FrameRow, ...]
    batches: Iterator[Batch]


def make_run(shape: Shape | None = None) -> MadeRun:
    """A run of that shape; its batches are made as they are asked for."""
    shape = shape or Shape()
    mutator = Mutator(shape)
    run = RunRow(
        module="made.wasm",
        module_sha256="0" * 64,
        arguments=("made.wasm", "-v"),
        runtime="TinyGo",
        runtime_version="0.41.0",
        collector="conservative",
        source="kernel",
        options={"seed": shape.seed},
        started_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        block_bytes=mutator.heap.geometry.block_bytes,
        heap_start_address=mutator.heap.geometry.start_address,
    )
    return MadeRun(run, FRAMES, mutator.run())


def make_recording(
    path: Path,
    *,
    events: int = 2000,
    seed: int = 0,
    leak: bool = True,
    shape: Shape | None = None,
    state: str | None = "finished",
    error: str | None = None,
    exit_code: int | None = 0,
    last: Last | None = None,
) -> Path:
    """Write a recording, and return its path.

    Args:
        path: The file, which is replaced if it is there.
        events: How many; `shape`, where it is given, says this and the next two.
        seed: Another one makes another program.
        leak: Whether one site lets nothing go.
        shape: All that the program can be.
        state: How it ends; None leaves it as if its writer had been killed.
        error: Why it failed.
        exit_code: The program's.
        last: How much of its end is kept.
    """
    made = make_run(shape or Shape(events=events, seed=seed, leak=leak))
    time_ns = 0
    with RecordingWriter.create(path, made.run, made.frames, overwrite=True, last=last) as writer:
        for batch in made.batches:
            time_ns = batch.time_ns
            writer.append(batch)
        if state is not None:
            writer.finish(state, error=error, exit_code=exit_code, time_ns=time_ns + 1000)
    return path


class Stacks:
    """The tree of stacks, and those that were not handed over yet."""

    def __init__(self) -> None:
        self._ids: dict[tuple[int, int], int] = {}
        self.fresh: list[tuple[int, int, int, int]] = []

    def of(self, frames: tuple[int, ...]) -> int:
        """The stack of these frames; 0 if there are none."""
        stack = 0
        for depth, frame in enumerate(frames, start=1):
            if (stack, frame) not in self._ids:
                self._ids[stack, frame] = len(self._ids) + 1
                self.fresh.append((self._ids[stack, frame], stack, frame, depth))
            stack = self._ids[stack, frame]
        return stack


@dataclass
class Pending:
    """What the next batch will hold."""

    events: list[tuple[int, int, int, int, int, int, int]] = field(default_factory=list)
    deaths: list[tuple[int, int]] = field(default_factory=list)
    collections: list[CollectionRow] = field(default_factory=list)
    samples: list[SampleRow] = field(default_factory=list)
    growths: list[GrowthRow] = field(default_factory=list)
    snapshots: list[SnapshotRow] = field(default_factory=list)
    memories: list[MemoryRow] = field(default_factory=list)
    memory_growths: list[MemoryGrowthRow] = field(default_factory=list)


class Mutator(Listener):
    """The program: allocates at random sites, and lets each object go when its time has come."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.random = random.Random(shape.seed)
        self.heap = Heap(shape.heap_bytes, word_bytes=4, start_address=0x1_0000, growth=Pages(shape.limit_bytes))
        self.heap.add_listener(self)
        self.stacks = Stacks()
        self.sites = list(self._make_sites())
        self.weights = list(itertools.accumulate(4 if each.lifetime_events == FOREVER else 1 for each in self.sites))
        self.pending = Pending(memories=[MemoryRow(pages(shape.heap_bytes), None, None)])
        self.time_ns = self.events = self.objects = 0
        self.wanted_bytes: int | None = None
        self.stack_id = 0
        self.begun_ns = 0
        self.held: dict[int, Root] = {}  # by object
        self.on_heap: dict[int, int] = {}  # objects by address, the dead that no collection has seen among them
        self.expiring: list[tuple[int, int]] = []  # when, which object

    def _make_sites(self) -> Iterator[Site]:
        if self.shape.leak:
            yield Site(path_to(LEAKING_FUNCTION), (48,), FOREVER)
        yield Site(path_to("os.ReadFile"), (1024, 4096), 50)
        yield Site(recursion(self.shape.recursion), (24,), 30)
        for _ in range(self.shape.sites):
            sizes = tuple(self.random.choices((8, 16, 24, 40, 64, 100, 256), k=self.random.randint(1, 3)))
            yield Site(self._walk(), sizes, self.random.choice((3, 30, 30, 200, 1500)))

    def _walk(self) -> tuple[int, ...]:
        """Calls at random from the start to an allocator."""
        function = START
        frames: list[int] = []
        while function != ALLOCATOR:
            calls = [frame for frame in FRAMES if frame.function == function and frame.callee != LEAKING_FUNCTION]
            call = self.random.choice(calls)
            frames.append(call.id)
            function = call.callee or INDIRECT
        return tuple(frames)

    def run(self) -> Iterator[Batch]:
        """The whole run, batch by batch."""
        self._sample()
        for number in range(1, self.shape.events + 1):
            self._let_go()
            self._step()
            if number % self.shape.collect_every == 0:
                self.stack_id = self.stacks.of(path_to("main.main"))
                self.heap.collect()
            if number % self.shape.sample_every == 0:
                self._sample()
            if number % self.shape.batch_events == 0:
                yield self._batch()
        self._sample()
        self._snapshot(0)
        yield self._batch()
        self.heap.close()

    def _step(self) -> None:
        """One event; a reallocation that moves its object makes two, which count as one here."""
        self.time_ns += 50 + int(1450 * self.random.random())
        site = self.random.choices(self.sites, cum_weights=self.weights)[0]
        self.stack_id = self.stacks.of(site.frames)
        size_bytes = self.random.choice(site.sizes_bytes)
        dice = self.random.random()
        old = self.expiring[0][1] if self.expiring else 0
        if dice >= 0.03 or old not in self.held or site.lifetime_events == FOREVER:
            self._allocate(size_bytes, site.lifetime_events)
        elif dice < 0.02:
            self._reallocate(old, 2 * size_bytes)
        else:
            self._log(EventKind.FREE, old, self.held[old].address, 0)
            self.held.pop(old).remove()

    def _allocate(self, size_bytes: int, lifetime_events: int) -> None:
        if self.random.random() < 0.005:
            self._log(EventKind.ALLOCATION, 0, self.heap.alloc(0), 0)
            return
        self.wanted_bytes = size_bytes
        address = self.heap.alloc(size_bytes)
        self.wanted_bytes = None
        self._born(address, size_bytes, lifetime_events)

    def _reallocate(self, old: int, size_bytes: int) -> None:
        old_address = self.held[old].address
        self._log(EventKind.REALLOCATION, old, old_address, size_bytes)
        self.wanted_bytes = size_bytes
        address = self.heap.realloc(old_address, size_bytes)
        self.wanted_bytes = None
        if address != old_address:
            self.held.pop(old).remove()
            self._born(address, size_bytes, 30)

    def _born(self, address: int, size_bytes: int, lifetime_events: int) -> None:
        self.objects += 1
        self._log(EventKind.ALLOCATION, self.objects, address, size_bytes)
        self.on_heap[address] = self.objects
        self.held[self.objects] = self.heap.roots.add(address)
        if lifetime_events < FOREVER:
            due = self.events + 1 + int(self.random.expovariate(1 / lifetime_events))
            heapq.heappush(self.expiring, (due, self.objects))

    def _log(self, kind: int, thing: int, address: int, size_bytes: int) -> None:
        self.events += 1
        self.pending.events.append((self.time_ns, thing, address, size_bytes, 0, self.stack_id, kind))

    def _let_go(self) -> None:
        """Let go of the objects whose time has come."""
        while self.expiring and self.expiring[0][0] <= self.events:
            _, old = heapq.heappop(self.expiring)
            if old in self.held:
                self.held.pop(old).remove()

    # ---- what the heap tells -----------------------------------------------------------------------------------------

    def collection_began(self, heap: Heap, reason: str) -> None:
        self._sample()
        self.begun_ns = self.time_ns

    def collection_ended(self, heap: Heap, collection: Collection) -> None:
        dead = {address: thing for address, thing in self.on_heap.items() if thing not in self.held}
        assert len(dead) == collection.freed_objects, "what nobody holds is what the sweep frees"
        for address, thing in dead.items():
            del self.on_heap[address]
            self.pending.deaths.append((thing, collection.number))
        mark_ns, sweep_ns = 2000 + 30 * collection.live_objects, 500 + 3 * collection.freed_objects
        self.time_ns += mark_ns + sweep_ns + 100
        self.pending.collections.append(self._collection_row(collection, mark_ns, sweep_ns))
        self._sample()
        self._snapshot(collection.number)

    def _collection_row(self, collection: Collection, mark_ns: int, sweep_ns: int) -> CollectionRow:
        block_bytes = self.heap.geometry.block_bytes
        return CollectionRow(
            number=collection.number,
            reason=collection.reason,
            begun_ns=self.begun_ns,
            pause_ns=mark_ns + sweep_ns + 100,
            mark_ns=mark_ns,
            sweep_ns=sweep_ns,
            last_event_id=self.events,
            wanted_bytes=self.wanted_bytes if collection.reason == "exhausted" else None,
            stack_id=self.stack_id,
            roots_bytes=4 * len(self.held),
            words_scanned=collection.words_scanned,
            overflows=collection.overflows,
            rescans=collection.rescans,
            freed_objects=collection.freed_objects,
            freed_bytes=collection.freed_blocks * block_bytes,
            live_objects=collection.live_objects,
            live_bytes=collection.live_blocks * block_bytes,
        )

    def grew(self, heap: Heap, old_bytes: int, new_bytes: int) -> None:
        row = GrowthRow(self.time_ns, self.events, old_bytes, new_bytes, self.wanted_bytes or 0)
        self.pending.growths.append(row)
        old, new = pages(old_bytes), pages(new_bytes)
        self.pending.memory_growths.append(
            MemoryGrowthRow(self.time_ns, self.events, "collector", old, new - old, new, None, self.stack_id)
        )
        self._sample()

    def _sample(self) -> None:
        stats, census, block_bytes = self.heap.stats(), self.heap.census(), self.heap.geometry.block_bytes
        self.pending.samples.append(
            SampleRow(
                time_ns=self.time_ns,
                last_event_id=self.events,
                heap_bytes=self.heap.geometry.heap_bytes,
                used_bytes=stats.heap_inuse,
                free_bytes=stats.heap_idle,
                free_runs=census.free_runs,
                largest_free_run_bytes=census.largest_free_run_blocks * block_bytes,
                objects=census.heads,
                total_alloc_bytes=stats.total_alloc,
                mallocs=stats.mallocs,
                frees=stats.frees,
            )
        )

    def _snapshot(self, collection: int) -> None:
        table = self.heap.dump().table
        row = SnapshotRow(self.time_ns, self.events, collection, self.heap.geometry.end_block, table)
        self.pending.snapshots.append(row)

    def _batch(self) -> Batch:
        pending, self.pending = self.pending, Pending()
        stacks, self.stacks.fresh = self.stacks.fresh, []
        return Batch(
            time_ns=self.time_ns,
            events=np.array(pending.events, EVENT),
            deaths=np.array(pending.deaths, DEATH),
            stacks=np.array(stacks, STACK),
            collections=pending.collections,
            samples=pending.samples,
            growths=pending.growths,
            snapshots=pending.snapshots,
            memories=pending.memories,
            memory_growths=pending.memory_growths,
        )


def pages(size_bytes: int) -> int:
    """Of linear memory, if it held the heap and nothing else."""
    return -(-size_bytes // WASM_PAGE_BYTES)


def recursion(depth: int) -> tuple[int, ...]:
    """The calls into the parser and `depth` times through itself, to the allocator."""
    inside, out = "(*main.parser).parseExpr", "(*main.parser).parseBinary"
    circle = [frame.id for frame in FRAMES if (frame.function, frame.callee) in {(inside, out), (out, inside)}][:2]
    to_parser = path_to(inside)
    return (*to_parser[:-1], *(circle * depth), to_parser[-1])


def path_to(function: str) -> tuple[int, ...]:
    """The calls that lead the shortest way from the start into a function, and on to the allocator if it calls that."""
    reached: dict[str, tuple[int, ...]] = {START: ()}
    for frame in FRAMES:  # callers stand in front of those whom they call
        if frame.callee and frame.callee not in reached:
            reached[frame.callee] = (*reached[frame.function], frame.id)
    inside = [frame.id for frame in FRAMES if (frame.function, frame.callee) == (function, ALLOCATOR)]
    return (*reached[function], *inside[:1])
