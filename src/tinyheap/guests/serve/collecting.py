"""A collection of a guest's heap, in the original's order: mark from the stack and the globals, sweep, publish."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tinyheap.heap.contract import NO_BLOCK, Counters, Engine
from tinyheap.heap.stats import Collection

if TYPE_CHECKING:
    from tinyheap.guests.record.running_recorder import RunningRecorder
    from tinyheap.guests.serve.guard import Guard
    from tinyheap.guests.serve.guest_finalizers import GuestFinalizers
    from tinyheap.guests.serve.memory import BoundMemory, Variables
    from tinyheap.guests.serve.original_stack import OriginalStack
    from tinyheap.guests.serve.verification import Verifier
    from tinyheap.guests.serve.watch import Watch

REQUESTED: Final = "requested"
EXHAUSTED: Final = "exhausted"
"""Why a collection runs."""


class Collecting:
    """Runs the collections of one engine on a guest's memory.

    Args:
        memory: the guest's.
        engine: of its heap.
        stack: the guest's, with its roots, and what the original leaves on it.
        finalizers: of the guest, if it has any that a collection sees to.
        variables: left as the original leaves them, before and after.
        verifier: checks the heap before, as the policy asks.
        guard: of the heap, if it has one.
        recording: takes collections and deaths, if there is one.
        watch: waits for a moment, if there is one.
        listener: called after each collection, with it, if there is one.
        collections: takes each collection.
        told: makes of the free bytes what the engine is told of them (`ServingHeap`).
    """

    def __init__(
        self,
        memory: BoundMemory,
        engine: Engine,
        stack: OriginalStack,
        finalizers: GuestFinalizers | None,
        variables: Variables,
        verifier: Verifier,
        guard: Guard | None,
        recording: RunningRecorder | None,
        watch: Watch | None,
        listener: Callable[[Collection], object] | None,
        collections: list[Collection],
        told: Callable[[int], int],
    ) -> None:
        self._memory, self._engine, self._stack, self._finalizers = memory, engine, stack, finalizers
        self._variables, self._verifier, self._guard = variables, verifier, guard
        self._recording, self._watch = recording, watch
        self._listener, self._collections, self._told = listener, collections, told
        self.held_address = 0
        """An address that a collection marks from, too; 0 for none."""

    def collect(self, reason: str, wanted_bytes: int | None) -> int:
        """Run a whole collection; returns the free bytes.

        Args:
            wanted_bytes: the allocation that found no room, which is counted and has no object yet; None for none.
        """
        if self._recording is not None:
            self._recording.sample()
        begun_ns = time.perf_counter_ns()
        self._variables.publish()
        before = self._engine.counters
        self._verifier.look(f"the collection at allocation {before.mallocs}")
        roots_bytes = self._mark()
        marked_ns = time.perf_counter_ns()
        noting_ns = self._note_deaths()
        free_bytes = self._sweep()
        times_ns = (begun_ns, marked_ns, time.perf_counter_ns() - noting_ns)
        collection = self._ended(reason, before, free_bytes, times_ns, absent=0 if wanted_bytes is None else 1)
        self._tell(collection, begun_ns, wanted_bytes, roots_bytes)
        return free_bytes

    def _mark(self) -> int:
        """Mark what is reached, or report what is in the way; returns the bytes of roots that were scanned."""
        engine, verifier = self._engine, self._verifier
        try:
            roots_bytes = self._mark_from_roots()
            unreadable = engine.finish_mark()
            self._stack.marked()
            if self._finalizers is not None and unreadable == NO_BLOCK:
                unreadable = self._finalizers.after_mark()
        except BaseException:
            engine.unmark()
            raise
        if unreadable != NO_BLOCK:
            error = verifier.unreadable(unreadable)
            engine.unmark()
            with verifier.blaming_the_stack():
                raise error
        return roots_bytes

    def _mark_from_roots(self) -> int:
        memory, stack, roots_bytes = self._memory, self._stack, 0
        stack.collects()
        if self._watch is not None:
            self._watch.collection_begins(len(self._collections) + 1)
        if self.held_address:
            self._engine.mark_addresses((self.held_address,))
        for start, end in stack.root_ranges():
            roots_bytes += end - start
            self._engine.mark_roots(memory.memory[start:end])
        stack.roots_marked()
        return roots_bytes

    def _note_deaths(self) -> int:
        """Tell of what was not marked; returns the nanoseconds that this took."""
        if self._recording is None:
            return 0
        geometry = self._engine.geometry
        table_address = self._memory.base + geometry.table_address
        return self._recording.note_deaths(
            table_address, geometry.end_block, len(self._collections) + 1, self._engine.collector
        )

    def _sweep(self) -> int:
        if self._finalizers is not None:
            self._finalizers.commit()
        free_bytes = self._engine.sweep()
        self._stack.swept(self._told(free_bytes))
        if self._guard is not None:
            self._guard.forget_freed()
        self._variables.publish()
        return free_bytes

    def _ended(
        self, reason: str, before: Counters, free_bytes: int, times_ns: tuple[int, int, int], *, absent: int
    ) -> Collection:
        """The collection, and what it left: from what was counted, since a census would take its time again."""
        counters, geometry = self._engine.counters, self._engine.geometry
        free_blocks = free_bytes // geometry.block_bytes
        left = counters.mallocs - counters.frees - absent, geometry.end_block - free_blocks, free_blocks
        collection = Collection.between(len(self._collections) + 1, reason, before, counters, left, times_ns)
        self._collections.append(collection)
        return collection

    def _tell(self, collection: Collection, begun_ns: int, wanted_bytes: int | None, roots_bytes: int) -> None:
        if self._recording is not None:
            block_bytes = self._engine.geometry.block_bytes
            self._recording.note_collection(collection, begun_ns, wanted_bytes, roots_bytes, block_bytes)
        if self._watch is not None:
            self._watch.collection_ended(collection)
        if self._listener is not None:
            self._listener(collection)
