"""Run a trace on a collector and say what the collector did.

A trace plays on any engine: on the kernel of next-fit in compiled code (``_replay``), on others step by step
(`StepPlayer`); in compiled code again where a step needs no Python and the engine is compiled (``_steps``).  Both players are
made from the same `Stage` (where heap, layouts and sentinel lie) and give the same `Replay`, whose JSON form has the keys of
the conformance vectors.
"""

from __future__ import annotations

import sys
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from mmap import mmap
from typing import Any, Final, Protocol, cast

from tinyheap.errors import GeometryError, HeapCorruptError, InvalidAddressError, TraceError
from tinyheap.heap.arguments import shown, whole_number
from tinyheap.heap.bestfit.finalizers import FinalizerTable
from tinyheap.heap.blockmap import unpack_states
from tinyheap.heap.buffers import reserve
from tinyheap.heap.collectors import Collector, check_mark_stack, named_collector
from tinyheap.heap.contract import Counters, Engine, Gc, NextFitEngine, Options
from tinyheap.heap.engines import KERNEL, choose_engine, engine_name_of, serving_collector
from tinyheap.heap.geometry import BLOCKS_PER_TABLE_BYTE, NIL, Geometry
from tinyheap.heap.stats import MemStats, mem_stats
from tinyheap.traces.trace import (
    STEP_WORDS,
    STORE_INTERIOR_SHIFT,
    STORE_WORD_MASK,
    Fault,
    Op,
    Trace,
    TraceGrowth,
    describe_step,
    fault_message,
)

START_ADDRESSES: Final = {2: 0x100, 4: 0x2000_0000, 8: 0x10_0000_0000}
"""Where heaps of traces begin, by word size: AVR's and Cortex-M's memory, and the place the vectors were recorded at."""
STATICS_ADDRESS: Final = 0x1_0000
ZERO_SIZE_ADDRESS: Final = 0x10
MAP_LIMIT_BLOCKS: Final = 4096
"""Larger heaps have an empty ``final_map``; the vectors' largest with a map has 4032 blocks."""
MAP_GLYPHS: Final = b".*-#".ljust(256)
"""By state, as the vectors draw them."""
OUT_OF_MEMORY: Final = "out of memory"
FNV_BASIS: Final = 14695981039346656037
FNV_PRIME: Final = 1099511628211
ROUND_STEPS: Final = 1 << 20
"""Steps between two reports of progress."""

RANGES_AFTER_BLOCKS: Final = 256

Progress = Callable[[int], None]
Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ReplayedCollection:
    """A collection of a replay, right after its sweep.

    ``overflows`` and ``rescans`` are zero where the mark stack is not bounded; ``table_hash`` (FNV-1a, 64 bits) is zero
    where hashes were not asked for.
    """

    free_blocks: int
    heads: int
    tails: int
    overflows: int
    rescans: int
    table_hash: int
    mark_ns: int
    sweep_ns: int
    ranges_hash: int = 0
    """FNV-1a of the free list, where there is one."""


@dataclass(frozen=True, slots=True)
class FinalizerRun:
    """A finalizer that ran: in which step, after how many collections, its number, and its object's offset."""

    step: int
    collections: int
    number: int
    offset_bytes: int
    """From the heap's start; -1 for the place of objects without bytes."""


@dataclass(frozen=True, slots=True)
class FinalizerRecord:
    """Which finalizers of a trace ran, and which are pending."""

    due: tuple[tuple[int, ...], ...]
    """For each collection, the numbers that wait right after it, in the order in which they will run."""
    ran: tuple[FinalizerRun, ...]
    registered: tuple[int, ...]
    """Numbers at the end, the newest entry first."""
    pending: tuple[int, ...]
    entries: tuple[int, ...]
    """Places of the table's own allocations (entries and bitmaps), from the heap's start."""
    since_collection: int
    bits: bytes
    """The bitmap."""

    def as_vector(self) -> dict[str, Any]:
        """The record under the keys of the conformance vectors."""
        return {
            "due": [list(numbers) for numbers in self.due],
            "ran": [[run.step, run.collections, run.number, run.offset_bytes] for run in self.ran],
            "registered": list(self.registered),
            "pending": list(self.pending),
            "addresses": list(self.entries),
            "since_collection": self.since_collection,
            "bits_bytes": len(self.bits),
            "bits_fnv1a": f"{fnv1a(self.bits):016x}",
        }


@dataclass(frozen=True, slots=True)
class Replay:
    """The result of running a trace: addresses, collections, statistics and times.

    ``addresses`` holds, for each allocation and reallocation, the address minus the heap's start; -1 for the place of
    objects without bytes.  ``out_of_memory`` says whether the trace ended early, at step ``ops_done``.
    """

    trace: Trace
    gc: Gc
    engine: str
    addresses: array[int]
    collections: tuple[ReplayedCollection, ...]
    table: bytes
    geometry: Geometry
    next_alloc: int
    """Block where the next search would begin; 0 where there is a free list."""
    counters: Counters
    mem_stats: MemStats
    out_of_memory: bool
    ops_done: int
    total_ns: int
    alloc_ns: int
    """Time inside allocations without collections, the clock's own included; 0 unless timing was asked for."""
    mark_ns: int
    sweep_ns: int
    collector: Collector = Collector.NEXT_FIT
    ranges: tuple[Range, ...] = ()
    """The free list at the end, ``(first block, blocks)`` each; empty where there is none."""
    ranges_after: tuple[tuple[Range, ...], ...] | None = None
    """The free list after each step, of heaps that never have more than `RANGES_AFTER_BLOCKS` blocks."""
    finalizers: FinalizerRecord | None = None
    """Of traces that have any."""

    def final_map(self) -> str:
        """One glyph per block (``.`` free, ``*`` head, ``-`` tail); empty for large heaps."""
        if self.geometry.end_block > MAP_LIMIT_BLOCKS:
            return ""
        return unpack_states(self.table, self.geometry.end_block, self.collector).translate(MAP_GLYPHS).decode()

    def as_vector(self) -> dict[str, Any]:
        """The replay under the keys of the conformance vectors of its collector."""
        common = {
            "addresses": self.addresses.tolist(),
            "collections": [self._row(row) for row in self.collections],
            "end_block": self.geometry.end_block,
            "final_map": self.final_map(),
            "final_table_fnv1a": f"{table_hash(self.table, self.geometry.end_block):016x}",
            "heap_base": self.geometry.start_address,
            "heap_bytes": self.geometry.heap_bytes,
            "mem_stats": self.mem_stats.as_go(self.collector),
            "oom": OUT_OF_MEMORY if self.out_of_memory else "",
            "ops_done": self.ops_done,
            "precise": self.gc is Gc.PRECISE,
            "word_bytes": self.geometry.word_bytes,
        }
        return common | (self._list_as_vector() if self.collector.has_free_list else {"next_alloc": self.next_alloc})

    def _row(self, row: ReplayedCollection) -> list[int | str]:
        blocks = [row.free_blocks, row.heads, row.tails]
        if self.collector.has_free_list:
            return [*blocks, f"{row.table_hash:016x}", f"{row.ranges_hash:016x}"]
        return [*blocks, row.overflows, row.rescans, f"{row.table_hash:016x}"]

    def _list_as_vector(self) -> dict[str, Any]:
        """What only collectors with a free list have."""
        found: dict[str, Any] = {
            "final_ranges_fnv1a": f"{ranges_hash(self.ranges, self.geometry.block_bytes):016x}",
            "final_ranges": _listed(self.ranges) if self.geometry.end_block <= MAP_LIMIT_BLOCKS else [],
        }
        if self.ranges_after is not None:
            found["ranges_after"] = [_listed(ranges) for ranges in self.ranges_after]
        if self.finalizers is not None:
            found["finalizers"] = self.finalizers.as_vector()
        return found


def _listed(ranges: Sequence[Range]) -> list[list[int]]:
    return [list(each) for each in ranges]


def table_hash(table: bytes, end_block: int) -> int:
    """FNV-1a of the table bytes that cover blocks."""
    return fnv1a(table[: -(-end_block // BLOCKS_PER_TABLE_BYTE)])


def ranges_hash(ranges: Sequence[Range], block_bytes: int) -> int:
    """FNV-1a of a free list: for each range its offset in bytes and its length in blocks, 32 bits each."""
    words = array("I", (word for first, blocks in ranges for word in (first * block_bytes, blocks)))
    if sys.byteorder == "big":
        words.byteswap()
    return fnv1a(words.tobytes())


def fnv1a(data: bytes) -> int:
    """FNV-1a, 64 bits."""
    value = FNV_BASIS
    for byte in data:
        value = (value ^ byte) * FNV_PRIME & 0xFFFF_FFFF_FFFF_FFFF
    return value


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a trace plays: its heap, its layouts and the place of objects without bytes."""

    trace: Trace
    collector: Collector
    gc: Gc
    geometry: Geometry
    limit_bytes: int
    heap_memory: mmap
    start_address: int
    """Of the statics: where out-of-line layouts lie."""
    memory: bytearray
    """The statics' bytes."""
    layouts: dict[int, int]
    """Addresses of out-of-line layouts, by the trace's number for them, ascending."""

    @classmethod
    def of(
        cls,
        trace: Trace,
        collector: Collector,
        gc: Gc,
        heap_bytes: int | None,
        limit_bytes: int | None,
        *,
        prefault: bool = False,
    ) -> Stage:
        """Lay a trace's memory out; sizes in bytes override the trace's own."""
        heap_bytes = heap_bytes or trace.heap_bytes
        limit_bytes = max(limit_bytes or trace.limit_bytes, heap_bytes)
        word_bytes = trace.word_bytes
        geometry = Geometry(
            START_ADDRESSES[word_bytes],
            heap_bytes,
            word_bytes,
            # The 16-bit machine that the original serves is AVR, which aligns nothing.
            word_alignment_bytes=1 if word_bytes == 2 else word_bytes,
            header_alignment_bytes=trace.header_alignment_bytes,
            has_table=gc is not Gc.LEAKING,
        )
        # The address space has to hold the heap at its largest.
        end_address = geometry.resized(limit_bytes).end_address
        statics_address = end_address + -end_address % word_bytes if word_bytes == 2 else STATICS_ADDRESS
        # One word at least, so that there is one to point at.
        statics, layouts = bytearray(word_bytes), dict[int, int]()
        if gc is Gc.PRECISE:
            statics, layouts = cls._place_layouts(trace, statics_address)
        memory = reserve(limit_bytes, prefault=prefault)
        return cls(trace, collector, gc, geometry, limit_bytes, memory, statics_address, statics, layouts)

    @staticmethod
    def _place_layouts(trace: Trace, address: int) -> tuple[bytearray, dict[int, int]]:
        """Lay the trace's out-of-line bitmaps out one after the other, each behind its size word."""
        ops = trace.ops
        used = {c for op, c in zip(ops[::4], ops[3::4], strict=True) if op == Op.ALLOC and c and not c & 1}
        statics, layouts = bytearray(trace.word_bytes), {}
        for layout in sorted(used):
            layouts[layout] = address + len(statics)
            statics += (layout // 2).to_bytes(trace.word_bytes, "little") + bitmap_of(layout // 2)
            statics += bytes(-len(statics) % trace.word_bytes)
        return statics, layouts


def bitmap_of(bits: int) -> bytes:
    """The bitmap of out-of-line layouts in traces: every third word may be a pointer, the first one too."""
    period = bytes([0b01001001, 0b10010010, 0b00100100])
    bitmap = bytearray((period * (bits // 24 + 1))[: (bits + 7) // 8])
    if bits % 8:
        bitmap[-1] &= (1 << bits % 8) - 1
    return bytes(bitmap)


class Player(Protocol):
    """Plays a trace, some steps at a time; what it tells are the fields of `Replay`."""

    @property
    def step(self) -> int:
        """Steps played whole."""

    @property
    def addresses(self) -> array[int]:
        """Results of allocations, of which the first ``addresses_done`` count."""

    @property
    def addresses_done(self) -> int:
        """How many allocations there were."""

    @property
    def out_of_memory(self) -> bool:
        """Whether memory ran out."""

    @property
    def stray(self) -> bool:
        """Whether the step wrote past the heap."""

    @property
    def heap_bytes(self) -> int:
        """The heap's size now."""

    @property
    def next_alloc(self) -> int:
        """Block where the next search begins; 0 where there is a free list."""

    @property
    def bump_address(self) -> int:
        """Where the leaking collector's next object goes."""

    @property
    def times_ns(self) -> tuple[int, int, int, int]:
        """Total, allocation, mark, sweep."""

    @property
    def rows(self) -> Sequence[tuple[int, ...]]:
        """The fields of a `ReplayedCollection` each."""

    @property
    def census(self) -> tuple[int, int, int]:
        """Free blocks, heads, tails."""

    @property
    def counters(self) -> Counters:
        """The engine's."""

    def advance(self, steps: int) -> bool:
        """Play so many steps more; False when the trace has ended."""

    def read_table(self) -> bytes:
        """The block table."""


def replay(
    trace: Trace,
    gc: Gc | str = Gc.CONSERVATIVE,
    engine: str | None = None,
    *,
    collector: Collector | str = Collector.NEXT_FIT,
    heap_bytes: int | None = None,
    limit_bytes: int | None = None,
    mark_stack_entries: int | None = None,
    timing: bool = True,
    hashes: bool = True,
    prefault: bool = False,
    progress: Progress | None = None,
) -> Replay:
    """Run a trace from its first step to its last, or to where memory runs out.

    Args:
        trace: what to run.
        gc: ``conservative``, ``precise`` or ``leaking``.
        engine: ``kernel`` or ``model``; the kernel where it is there, by default.
        collector: by its algorithm or a release of TinyGo (`collectors.named_collector`); leaking is the same in all.
        heap_bytes, limit_bytes: instead of the trace's own sizes.
        mark_stack_entries: of the bounded mark stack; 0 for one that never overflows (the kernel's default), None for
            the engine's default (the model's is the original's own, 8 words' worth).  Best-fit has no mark stack.
        timing: measure the time in allocations, too (reads the clock around each).
        hashes: hash the block table, and the free list, after each collection.
        prefault: have all memory there from the start, so that the system's page faults are not measured.
        progress: called now and then with the number of steps done.

    Raises:
        TraceError: a step asks for the impossible, or for finalizers of a collector that has none.
        HeapError: there is no such collector, or it has no mark stack to be bounded.
        HeapCorruptError: the program wrote through a dangling id to the free list or to a list of finalizers.
        GeometryError: the heap does not fit its address space, or the machine.
        InvalidTypeError: a size is not a whole number.
    """
    heap_bytes, limit_bytes = _optional("heap_bytes", heap_bytes), _optional("limit_bytes", limit_bytes)
    mark_stack_entries = _optional("mark_stack_entries", mark_stack_entries)
    gc = Gc(gc)
    collector = serving_collector(named_collector(collector), gc)
    check_mark_stack(collector, mark_stack_entries or 0)
    has_finalizers = _check_finalizers(trace, collector, gc)
    stage = Stage.of(trace, collector, gc, heap_bytes, limit_bytes, prefault=prefault)
    engine_type = choose_engine(engine, collector)
    player: Player
    if engine_type is KERNEL:
        player, round_steps = _kernel_player(stage, _fitting(mark_stack_entries, stage), timing, hashes), ROUND_STEPS
    else:
        # A mark stack of the model has some bound always; no heap has so many objects.
        entries = (
            sys.maxsize if mark_stack_entries == 0 and collector is Collector.NEXT_FIT else mark_stack_entries or 0
        )
        player = StepPlayer(stage, engine_type, entries, timing, hashes, has_finalizers)
        round_steps = ROUND_STEPS if engine_name_of(engine_type) == "kernel" else ROUND_STEPS >> 8
    while player.advance(round_steps):
        if progress is not None:
            progress(player.step)
    if player.stray:
        raise TraceError(fault_message(player.step, trace.step(player.step), Fault.STRAY_WRITE))
    return result_of(stage, player, engine_name_of(engine_type))


def _fitting(mark_stack_entries: int | None, stage: Stage) -> int:
    """Entries of a bounded mark stack, no more than there can be objects; 0 for one that never overflows."""
    return min(mark_stack_entries or 0, max(1, stage.geometry.resized(stage.limit_bytes).end_block))


def _check_finalizers(trace: Trace, collector: Collector, gc: Gc) -> bool:
    """Whether a trace has finalizers.

    Raises:
        TraceError: it has, and the collector has none.
    """
    operations = trace.ops[::STEP_WORDS]
    # Numbers are found faster than members of an enumeration.
    wanted = map(int, (Op.SET_FINALIZER, Op.RUN_FINALIZERS, Op.IDLE))
    found = [operations.index(op) for op in wanted if op in operations]
    first = min(found, default=None)
    if first is not None and (gc is Gc.LEAKING or not collector.has_finalizers):
        raise TraceError(fault_message(first, trace.step(first), Fault.NO_FINALIZERS))
    return first is not None


def _optional(what: str, number: int | None) -> int | None:
    if number is None:
        return None
    number = whole_number(what, number)
    if number < 0:
        raise GeometryError(f"invalid {what} {shown(number)}: expected 0 or more")
    return number


def _kernel_player(stage: Stage, mark_stack_entries: int, timing: bool, hashes: bool) -> Player:
    from tinyheap.traces import _replay

    trace = stage.trace
    allocations = _check_compiled(trace)
    player: Player = _replay.Player(
        trace,
        stage.heap_memory,
        stage.geometry,
        Options(stage.gc, mark_stack_entries),
        stage.limit_bytes,
        ZERO_SIZE_ADDRESS,
        stage.memory,
        stage.start_address,
        array("I", stage.layouts.keys()),
        array("Q", stage.layouts.values()),
        # One more, so that there is one to point at.
        array("q", bytes(8 * (allocations + 1))),
        timing,
        hashes,
    )
    return player


def _check_compiled(trace: Trace) -> int:
    """`Trace.check`, compiled; returns how many steps allocate or reallocate."""
    from tinyheap.traces import _replay

    index, fault, allocations = _replay.first_fault(trace)
    if fault:
        raise TraceError(fault_message(index, trace.step(index), Fault(fault)))
    return allocations


class Steps(Protocol):
    """Plays the steps that need no Python; ``_steps.Steps``."""

    @property
    def addresses_done(self) -> int:
        """How many allocations there were, as `Player.addresses_done`."""

    @property
    def rows(self) -> Sequence[tuple[int, ...]]:
        """The collections of all plays."""

    @property
    def out_of_memory(self) -> bool:
        """Whether memory ran out in the step that the last play came to."""

    @property
    def stray(self) -> bool:
        """Whether that step would write past the heap."""

    @property
    def times_ns(self) -> tuple[int, int, int]:
        """Allocation, mark, sweep, of all plays."""

    def play(self, step: int, stop: int, addresses_done: int) -> int:
        """Play from a step up to ``stop``, or to one that is left; returns that step."""

    def check_list(self) -> None:
        """Raises HeapCorruptError where the last play came upon a damaged list."""


class StepPlayer:
    """Plays a trace on any engine, step by step; see `Player`.

    On a compiled engine only what has to do with finalizers is played in Python, the rest by `Steps`.

    It is the engine's embedder, too: its only roots are the trace's slots and what finalizers need, and it grows as the
    header says.
    """

    def __init__(
        self,
        stage: Stage,
        engine_type: type[Engine],
        mark_stack_entries: int,
        timing: bool,
        hashes: bool,
        has_finalizers: bool,
    ) -> None:
        self.trace = stage.trace
        if engine_name_of(engine_type) == "kernel":
            allocations = _check_compiled(self.trace)
        else:
            self.trace.check()
            operations = self.trace.ops[::STEP_WORDS]
            allocations = sum(operations.count(int(op)) for op in (Op.ALLOC, Op.REALLOC))
        self.limit_bytes = stage.limit_bytes
        self.layouts = stage.layouts
        options = Options(stage.gc, mark_stack_entries, collector=stage.collector)
        self.engine = engine_type(stage.heap_memory, stage.geometry, options, stage, self)
        self.engine.zero_size_address = ZERO_SIZE_ADDRESS
        # Builds the first free list.
        self.engine.write_table(bytes(stage.geometry.table_bytes))
        self.ids = array("Q", bytes(8 * max(self.trace.object_ids, 1)))
        self.roots = bytearray(self.trace.root_slots * self.trace.word_bytes)
        # One more, so that there is one to point at.
        self.addresses = array("q", bytes(8 * (allocations + 1)))
        self.addresses_done = 0
        self.hashes = hashes
        self.timing = timing
        self.out_of_memory = False
        self.stray = False
        self.step = 0
        self._rows: list[tuple[int, ...]] = []
        self.finalizers = TracedFinalizers(self) if has_finalizers else None
        most_blocks = stage.geometry.resized(stage.limit_bytes).end_block
        self.ranges_after: list[tuple[Range, ...]] | None = [] if most_blocks <= RANGES_AFTER_BLOCKS else None
        self._total_ns = self._alloc_ns = self._mark_ns = self._sweep_ns = 0
        self._steps = _compiled_steps(self, engine_type)

    def advance(self, steps: int) -> bool:
        stop = min(self.step + steps, self.trace.step_count)
        begun_ns = time.perf_counter_ns()
        while self._goes_on(stop):
            try:
                if self._steps is not None:
                    self._play_compiled(self._steps, stop)
                if self._goes_on(stop):
                    self._play(*self.trace.step(self.step))
            except HeapCorruptError as error:
                # A program that writes through a dangling id writes over what the collector has there.
                raise HeapCorruptError(f"{describe_step(self.step, self.trace.step(self.step))}: {error}") from error
        self._total_ns += time.perf_counter_ns() - begun_ns
        return self._goes_on(self.trace.step_count)

    def _goes_on(self, stop: int) -> bool:
        """Whether there is a step to be played before ``stop``."""
        return self.step < stop and not self.out_of_memory and not self.stray

    def _play_compiled(self, steps: Steps, stop: int) -> None:
        """Play up to the first step that is left to Python."""
        self.step = steps.play(self.step, stop, self.addresses_done)
        self.addresses_done = steps.addresses_done
        self.out_of_memory, self.stray = steps.out_of_memory, steps.stray
        steps.check_list()

    def _play(self, op: int, a: int, b: int, c: int) -> None:
        word_bytes = self.trace.word_bytes
        match op:
            case Op.ALLOC:
                self._bind(a, lambda: self.engine.alloc(b, c))
            case Op.REALLOC:
                self._bind(a, lambda: self.engine.realloc(self.ids[a], b))
            case Op.STORE:
                value = self.ids[c] and self.ids[c] + (b >> STORE_INTERIOR_SHIFT) * word_bytes
                self._write(self.ids[a], b & STORE_WORD_MASK, value)
            case Op.STORE_ADDRESS:
                self._write(self.ids[a], b, self.engine.geometry.start_address + c)
            case Op.STORE_INTEGER:
                self._write(self.ids[a], b, c)
            case Op.ROOT:
                self.set_root(a, self.ids[b] + c if b else 0)
            case Op.COLLECT if self.engine.geometry.has_table:
                self.on_exhausted()
                self._run_finalizers_at_once()
            case Op.COPY:
                self.ids[a] = self.ids[b]
            case Op.SET_FINALIZER | Op.RUN_FINALIZERS | Op.IDLE:
                self._play_finalizers(op, a, b, c)
        if not self.out_of_memory and not self.stray:
            self._finish_step()

    def _play_finalizers(self, op: int, a: int, b: int, c: int) -> None:
        assert self.finalizers is not None
        if op == Op.SET_FINALIZER:
            self.out_of_memory = not self.finalizers.set(self.ids[a], b, c)
        elif op == Op.RUN_FINALIZERS:
            self.finalizers.run()
        elif self.finalizers.table.is_pressing:
            self.on_exhausted()
            self._run_finalizers_at_once()

    def _finish_step(self) -> None:
        self.step += 1
        if self.ranges_after is not None and self.engine.collector.has_free_list:
            self.ranges_after.append(tuple(self.engine.free_ranges()))

    def set_root(self, slot: int, address: int) -> None:
        """Point a root slot at an address."""
        word_bytes = self.trace.word_bytes
        word = address % self.engine.geometry.address_space_bytes
        self.roots[slot * word_bytes : (slot + 1) * word_bytes] = word.to_bytes(word_bytes, "little")

    def _bind(self, object_id: int, allocate: Callable[[], int]) -> None:
        begun_ns = time.perf_counter_ns() - self._mark_ns - self._sweep_ns
        address = allocate()
        if self.timing:
            self._alloc_ns += time.perf_counter_ns() - self._mark_ns - self._sweep_ns - begun_ns
        if address == 0:
            self.out_of_memory = True
            return
        self.ids[object_id] = address
        start_address = self.engine.geometry.start_address
        self.addresses[self.addresses_done] = -1 if address == ZERO_SIZE_ADDRESS else address - start_address
        self.addresses_done += 1

    def _write(self, address: int, word: int, value: int) -> None:
        try:
            self.engine.store_word(address + word * self.trace.word_bytes, value)
        except InvalidAddressError:
            self.stray = True

    def on_exhausted(self) -> int:
        """A whole collection; returns the free bytes."""
        before = self.engine.counters
        begun_ns = time.perf_counter_ns()
        self._mark()
        marked_ns = time.perf_counter_ns()
        free_bytes = self.engine.sweep()
        mark_ns, sweep_ns = marked_ns - begun_ns, time.perf_counter_ns() - marked_ns
        census, after = self.engine.census(), self.engine.counters
        marking = (after.overflows - before.overflows, after.rescans - before.rescans)
        hashed, listed = self._hashes() if self.hashes else (0, 0)
        self._rows.append((*census[:3], *marking, hashed, mark_ns, sweep_ns, listed))
        if self.finalizers is not None:
            self.finalizers.note_due()
        self._mark_ns += mark_ns
        self._sweep_ns += sweep_ns
        return free_bytes

    def _mark(self) -> None:
        self.engine.mark_roots(self.roots)
        if self.finalizers is None:
            self.engine.finish_mark()
            return
        self.engine.mark_addresses(self.finalizers.table.roots())
        self.engine.finish_mark()
        self.finalizers.table.after_mark()
        self.finalizers.table.commit()

    def _hashes(self) -> tuple[int, int]:
        """Of the table, and of the free list where there is one."""
        geometry = self.engine.geometry
        listed = (
            ranges_hash(self.engine.free_ranges(), geometry.block_bytes) if self.engine.collector.has_free_list else 0
        )
        return table_hash(self.engine.read_table(), geometry.end_block), listed

    def _run_finalizers_at_once(self) -> None:
        """Where no scheduler does it later, what collected runs the finalizers, too."""
        if self.finalizers is not None and not self.trace.has_scheduler:
            self.finalizers.run()

    def grow(self, needed_blocks: int) -> bool:
        """Grow as the trace's header says; False at the limit, or where rounding down takes the growth away."""
        old_bytes = self.heap_bytes
        new_bytes = old_bytes * 4 // 3 // 4096 * 4096 if self.trace.growth is TraceGrowth.FOUR_THIRDS else old_bytes * 2
        new_bytes = min(new_bytes, self.limit_bytes)
        if new_bytes <= old_bytes:
            return False
        self.engine.resize(new_bytes)
        return True

    def finish_allocation(self, address: int, size_bytes: int) -> int:
        """Running out of memory is a result."""
        if address:
            self._run_finalizers_at_once()
        return address

    def layout_word(self, layout: int, size_bytes: int) -> int:
        """Inline layouts are words already, out-of-line ones lie in the statics."""
        return self.layouts.get(layout, layout)

    @property
    def rows(self) -> Sequence[tuple[int, ...]]:
        # All of them are compiled, or none is.
        return self._rows if self._steps is None or self.finalizers is not None else self._steps.rows

    @property
    def heap_bytes(self) -> int:
        return self.engine.geometry.heap_bytes

    @property
    def next_alloc(self) -> int:
        engine = self.engine
        return 0 if engine.collector.has_free_list else cast(NextFitEngine, engine).next_alloc

    @property
    def bump_address(self) -> int:
        return self.engine.bump_address

    @property
    def ranges(self) -> tuple[Range, ...]:
        """The free list, where there is one."""
        return tuple(self.engine.free_ranges()) if self.engine.collector.has_free_list else ()

    @property
    def times_ns(self) -> tuple[int, int, int, int]:
        alloc_ns, mark_ns, sweep_ns = self._steps.times_ns if self._steps else (0, 0, 0)
        return self._total_ns, self._alloc_ns + alloc_ns, self._mark_ns + mark_ns, self._sweep_ns + sweep_ns

    @property
    def census(self) -> tuple[int, int, int]:
        return self.engine.census()[:3]

    @property
    def counters(self) -> Counters:
        return self.engine.counters

    def read_table(self) -> bytes:
        return self.engine.read_table()


def _compiled_steps(player: StepPlayer, engine_type: type[Engine]) -> Steps | None:
    """What plays steps without Python; None on a model, and where the list is to be told after each step."""
    if player.ranges_after is not None or engine_name_of(engine_type) != "kernel":
        return None
    from tinyheap.traces import _steps

    numbers, addresses = array("I", player.layouts.keys()), array("Q", player.layouts.values())
    has_finalizers = player.finalizers is not None
    steps: Steps = _steps.Steps(
        player, player.engine, numbers, addresses, player.timing, player.hashes, not has_finalizers
    )
    return steps


class TracedFinalizers:
    """The finalizers of a trace: a table of them, and what became of each.

    A function value is the finalizer's number, and one more than the root slot that it writes, or 0.
    """

    def __init__(self, player: StepPlayer) -> None:
        self._player = player
        self.table = FinalizerTable(player.engine, self._alloc)
        self._entries: list[int] = []
        self._due: list[tuple[int, ...]] = []
        self._ran: list[FinalizerRun] = []

    def _alloc(self, size_bytes: int, layout_word: int) -> int:
        address = self._player.engine.alloc(size_bytes, layout_word)
        if address:
            self._entries.append(self._offset_of(address))
        return address

    def _offset_of(self, address: int) -> int:
        return -1 if address == ZERO_SIZE_ADDRESS else address - self._player.engine.geometry.start_address

    def set(self, address: int, number: int, slot_and_one: int) -> bool:
        """Set an object's finalizer, or clear it (number 0); False where memory ran out."""
        if number == 0:
            self.table.unregister(address)
            return True
        return self.table.register(address, (number, slot_and_one)) != NIL

    def note_due(self) -> None:
        """After a collection: what waits."""
        self._due.append(self._numbers(self.table.pending))

    def run(self) -> None:
        """Run what waits."""
        while (pending := self.table.take_pending()) is not None:
            number, slot_and_one = pending.function
            player = self._player
            self._ran.append(FinalizerRun(player.step, len(player.rows), number, self._offset_of(pending.address)))
            if slot_and_one:
                player.set_root(slot_and_one - 1, pending.address)

    def _numbers(self, entry: int) -> tuple[int, ...]:
        return tuple(self.table.function_of(each)[0] for each in self.table.entries(entry))

    def record(self) -> FinalizerRecord:
        """What became of all of them."""
        table = self.table
        return FinalizerRecord(
            due=tuple(self._due),
            ran=tuple(self._ran),
            registered=self._numbers(table.registered),
            pending=self._numbers(table.pending),
            entries=tuple(self._entries),
            since_collection=table.since_collection,
            bits=table.read_bits(),
        )


def result_of(stage: Stage, player: Player, engine: str) -> Replay:
    """What a player tells after its last step."""
    geometry = stage.geometry.resized(player.heap_bytes)
    total_ns, alloc_ns, mark_ns, sweep_ns = player.times_ns
    free_blocks, heads, _ = player.census
    counters, blocks = player.counters, (free_blocks, heads)
    stepped = player if isinstance(player, StepPlayer) else None
    return Replay(
        trace=stage.trace,
        gc=stage.gc,
        engine=engine,
        addresses=player.addresses[: player.addresses_done],
        collections=tuple(ReplayedCollection(*row) for row in player.rows),
        table=player.read_table(),
        geometry=geometry,
        next_alloc=player.next_alloc,
        counters=counters,
        mem_stats=mem_stats(stage.collector, geometry, counters, stage.gc, blocks, player.bump_address),
        out_of_memory=player.out_of_memory,
        ops_done=player.step if player.out_of_memory else max(player.step - 1, 0),
        total_ns=total_ns,
        alloc_ns=alloc_ns,
        mark_ns=mark_ns,
        sweep_ns=sweep_ns,
        collector=stage.collector,
        ranges=stepped.ranges if stepped else (),
        ranges_after=tuple(stepped.ranges_after) if stepped and stepped.ranges_after is not None else None,
        finalizers=stepped.finalizers.record() if stepped and stepped.finalizers else None,
    )
