"""Snapshots of a program that is run here: taken between calls, or at a moment of its run that was chosen before.

At an allocation or a collection the program waits for its heap, in the function behind its import.  A copy of its memory is
taken there, with the ranges that a collection scans just then; of all else little is copied, and only when it is asked for.

The *peak* is the collection that left most bytes in use: each one that leaves more than all before is copied, in the place of
the copy before.  So a run whose heap grows is copied some times, one whose heap does not a few.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from hashlib import sha256
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wasmtime import Memory

from tinyheap.errors import GuestError, SnapshotError
from tinyheap.files import text_of
from tinyheap.guests.rewrite.rewriting import MEMORY_EXPORT, STACK_POINTER_EXPORT
from tinyheap.guests.serve.callstack import CallStack
from tinyheap.guests.serve.roots import root_ranges
from tinyheap.guests.source_frames import origins_of
from tinyheap.recognize.facts import BestFitHeap, BlockHeap, StackScan
from tinyheap.snapshots.moments import Moment, MomentKind
from tinyheap.snapshots.snapshot import Frame, GlobalValue, HeapRecord, RootRange, RootRangeKind, Snapshot

if TYPE_CHECKING:
    from tinyheap.guests.opening import BoundRun, PreparedRun
    from tinyheap.guests.serve.serving import ServingHeap
    from tinyheap.heap.collectors import Collector
    from tinyheap.heap.geometry import Geometry
    from tinyheap.heap.stats import Collection
    from tinyheap.hosts import HostSession
    from tinyheap.hosts.frames import GuestFrame
    from tinyheap.recognize.facts import ServedHeap
    from tinyheap.wasm.draft import Origins

NOW: Final = Moment(MomentKind.NOW)
_WORD_BYTES: Final = 4
_OWN_EXPORTS: Final = "tinyheap"


class Taker:
    """Takes snapshots of one program; waits for a moment of its run, if one was chosen.

    Args:
        bound: the run.
        session: its host.
        moment: the one to wait for; None for none.

    Raises:
        SnapshotError: nobody sees that moment of this program.
    """

    def __init__(self, bound: BoundRun, session: HostSession, moment: Moment | None) -> None:
        self._heap, self._session, self._moment = bound.heap, session, moment
        self._places = _Places(bound.run)
        self._run = bound.run
        self._kept: Snapshot | None = None
        self._most_blocks = -1
        self._calls = 0
        kind = None if moment is None else moment.kind
        self.allocation = moment.number if moment is not None and kind is MomentKind.ALLOCATION else None
        if kind in (MomentKind.ALLOCATION, MomentKind.COLLECTION) and self._heap is None:
            raise SnapshotError(
                f"{kind}s of this program's own allocator cannot be seen: expected end, peak, trap or call:N as the moment"
            )
        if kind is MomentKind.CALL:
            self._listen()
        if self._heap is not None and kind in (MomentKind.ALLOCATION, MomentKind.COLLECTION, MomentKind.PEAK):
            self._heap.watch = self

    def _listen(self) -> None:
        """Count calls that have returned, beside whoever else hears of them."""
        other = self._session.after_call

        def after_call(result: int | float | None, returned: bool, memory_bytes: int | None) -> None:
            if other is not None:
                other(result, returned, memory_bytes)
            self._calls += 1
            if self._moment is not None and self._calls == self._moment.number:
                self._keep(self._moment)

        self._session.after_call = after_call

    # ---- the moments of a heap --------------------------------------------------------------------------------------

    def allocation_begins(self) -> None:
        """Take it: this is the allocation."""
        assert self._moment is not None, "nobody else is told"
        self._keep(self._moment)

    def collection_begins(self, number: int) -> None:
        """Take it, if this is the collection."""
        if self._moment == Moment(MomentKind.COLLECTION, number):
            self._keep(self._moment)

    def collection_ended(self, collection: Collection) -> None:
        """Take it, if the peak is wanted and no collection has left as much."""
        if self._moment == Moment(MomentKind.PEAK) and collection.live_blocks > self._most_blocks:
            self._most_blocks = collection.live_blocks
            self._keep(self._moment)

    def _keep(self, moment: Moment) -> None:
        self._kept = self.take(moment, is_waiting=self._session.life.is_running)

    # ---- taking -----------------------------------------------------------------------------------------------------

    @property
    def taken(self) -> Snapshot | None:
        """The snapshot of the moment; None where that has not come.  The end is when it is asked for."""
        kind = None if self._moment is None else self._moment.kind
        if self._kept is None and self._moment is not None and self._is_at(kind):
            self._kept = self.take(self._moment)
        return self._kept

    def _is_at(self, kind: MomentKind | None) -> bool:
        """Whether a moment is now that comes when the run is over."""
        return kind in (MomentKind.END, MomentKind.PEAK) or (
            kind is MomentKind.TRAP and self._session.failure is not None
        )

    def take(self, moment: Moment, *, is_waiting: bool = False) -> Snapshot:
        """A snapshot of the program as it is.

        Args:
            moment: what it is to be called.
            is_waiting: whether the program runs, and waits for its host.

        Raises:
            SnapshotError: it exports no memory.
        """
        serving = None if self._heap is None else self._heap.serving
        memory = self._memory()
        heap = self._record(serving, is_waiting=is_waiting, memory_bytes=len(memory))
        if serving is not None and is_waiting:
            for address in serving.hidden():
                memory[address : address + _WORD_BYTES] = bytes(_WORD_BYTES)
        return Snapshot(
            memory=memoryview(memory).toreadonly(),
            moment=moment,
            trap=self._session.failure,
            module_name=self._places.module_name,
            module_sha256=self._places.module_sha256,
            stack_pointer=self._stack_pointer,
            globals=tuple(self._globals()),
            frames=self._places.frames(self._frames(is_waiting=is_waiting)),
            heap=heap,
            allocations=None if serving is None else serving.counters.mallocs,
        )

    def _memory(self) -> bytearray:
        if self._heap is not None:
            return bytearray(self._heap.bound_memory.memory)
        store, exports = self._session.store, self._session.exported_memories
        memory = exports.get(MEMORY_EXPORT) or next(iter(exports.values()), None)
        if not isinstance(memory, Memory):
            raise SnapshotError("a snapshot needs the program's memory, and this one exports none")
        return bytearray(memory.read(store, 0, memory.data_len(store)))

    @property
    def _stack_pointer(self) -> int | None:
        values = {name: each.value for name, each in self._all_globals().items()}
        value = values.get(STACK_POINTER_EXPORT, values.get("__stack_pointer"))
        return None if value is None else int(value)

    def _globals(self) -> Iterator[GlobalValue]:
        """What the program itself exports."""
        return (each for name, each in self._all_globals().items() if not name.startswith(_OWN_EXPORTS))

    def _all_globals(self) -> dict[str, GlobalValue]:
        found = {}
        for name, each in self._session.exported_globals.items():
            kind, value = str(each.type(self._session.store).content), each.value(self._session.store)
            if isinstance(value, int | float):
                number = value % (1 << int(kind[1:])) if isinstance(value, int) else value
                found[name] = GlobalValue(name, kind, number)
        return found

    def _frames(self, *, is_waiting: bool) -> Sequence[GuestFrame]:
        if not is_waiting:
            return self._session.trap_frames
        try:
            return CallStack(self._session.store).frames()
        except GuestError:
            return ()

    def _record(self, serving: ServingHeap | None, *, is_waiting: bool, memory_bytes: int) -> HeapRecord | None:
        if serving is None or self._heap is None:
            return None
        memory = self._heap.bound_memory
        ranges = serving.root_ranges() if is_waiting else root_ranges(serving.facts.roots, memory, memory.stack_pointer)
        pointer = memory.stack_pointer
        return record_of(
            serving.facts, serving.engine.geometry, ranges, pointer, memory_bytes, serving.engine.collector
        )


class _Places:
    """What a snapshot says of the module, and of places in its code."""

    def __init__(self, run: PreparedRun) -> None:
        self._run = run
        source = run.wish.source
        self.module_name = text_of(Path(source).name) if isinstance(source, str | PathLike) else ""

    @cached_property
    def module_sha256(self) -> str:
        """The hash of the module as it was given."""
        return sha256(self._run.wish.wasm).hexdigest()

    @cached_property
    def _module_and_origins(self) -> tuple[object, Origins]:
        from tinyheap.wasm import Module

        module = Module.parse(self._run.wish.wasm)
        return module, origins_of(module, self._run.prepared, self._run.wish.form)

    def frames(self, frames: Sequence[GuestFrame]) -> tuple[Frame, ...]:
        """Calls by their places in the module as it was given; those of functions that were added are left out."""
        if not frames:
            return ()
        from tinyheap.wasm import Module

        module, origins = self._module_and_origins
        assert isinstance(module, Module)
        found = []
        for frame in frames:
            origin = origins.of(frame.function, frame.offset)
            if origin is not None:
                function, offset = origin
                body = module.functions[function].body
                at = 0 if body is None else max(offset - body.start, 0)
                found.append(Frame(function, at, module.function_name(function) or f"function {function}"))
        return tuple(found)


def record_of(
    facts: ServedHeap,
    geometry: Geometry,
    ranges: Iterator[tuple[int, int]],
    stack_pointer: int,
    memory_bytes: int,
    collector: Collector | None = None,
) -> HeapRecord:
    """Where a heap and its roots lie.

    Args:
        facts: of its program.
        geometry: where it lies now.
        ranges: what a collection would scan.
        stack_pointer: where the stack ends.
        memory_bytes: the size of memory; what lies outside is left out.
        collector: the one that serves; None for its own.
    """
    words = None if isinstance(facts, BlockHeap) else facts.finalizers
    roots = (RootRange(_kind_of(facts, start, end, stack_pointer), start, end) for start, end in ranges)
    return HeapRecord(
        collector or facts.collector,
        facts.is_precise,
        geometry.start_address,
        geometry.heap_bytes,
        geometry.table_counts_itself,
        tuple(each for each in roots if 0 <= each.start_address < each.end_address <= memory_bytes),
        None if words is None else (words.registered_address, words.pending_address),
        facts.roots.stack_canary,
    )


def _kind_of(facts: BlockHeap | BestFitHeap, start: int, end: int, stack_pointer: int) -> RootRangeKind:
    if start == facts.roots.globals_start_address:
        return RootRangeKind.GLOBALS
    if facts.roots.stack_scan is StackScan.CHAIN:
        return RootRangeKind.CHAIN
    is_whole = end > stack_pointer or end == facts.roots.stack_top_address
    return RootRangeKind.STACK if is_whole else RootRangeKind.COLLECTOR
