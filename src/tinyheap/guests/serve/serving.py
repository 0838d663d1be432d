"""A guest's heap while an engine serves it: the last of its phases, which begins with the guest's first allocation.

The engine works on the guest's own memory: the block table stays where the guest expects it, and all that its allocator and
collector would have left in memory is left there too, so that nothing else in the program can tell the difference:

* the counters and ``nextAlloc`` after each allocation (the counters are scanned as roots themselves);
* heapEnd, metadataStart and endBlock, and the moved table, after a growth;
* the mark stack, which the original keeps below the stack pointer: the engine's bounded mark stack lies in that very place.

There is one way in, `ServingHeap.allocate`, whatever the engine and the policy; only what needs no decision is served by the
C function behind the guest's import alone (`_allocator`).  Both come to the engine's callbacks below when there is no room:

1. `ServingHeap.on_exhausted` collects.
2. Where less than a third of the heap is free then, `ServingHeap.grow` makes it larger by one step (`growing`).  The policy's
   headroom may be another share; the oldest releases have none.
3. The engine searches again, and grows for as long as it finds nothing.
4. Where the heap cannot grow, `ServingHeap.finish_allocation` raises `GuestOutOfMemoryError`: the run ends with exit code 137.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, cast

from tinyheap.errors import AllocationStopError, GuestError, GuestOutOfMemoryError
from tinyheap.guests.serve.callstack import CallStack, shown
from tinyheap.guests.serve.collecting import EXHAUSTED, REQUESTED, Collecting
from tinyheap.guests.serve.growing import GROWTH, Growing, MemorySteps
from tinyheap.guests.serve.guest_finalizers import GuestFinalizers
from tinyheap.guests.serve.memory import Variables
from tinyheap.guests.serve.original_stack import MarkStackOnStack, OtherCollector, RecordOnStack
from tinyheap.guests.serve.verification import Absent, Verifier
from tinyheap.heap.collectors import Collector
from tinyheap.heap.contract import NO_BLOCK, BestFitEngine, Counters, Engine, Gc, NextFitEngine, Options, State
from tinyheap.heap.engines import choose_engine
from tinyheap.ownership import SoleOwner
from tinyheap.recognize.facts import BlockHeap, alloc_index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wasmtime import Store

    from tinyheap.guests.policy import Policy
    from tinyheap.guests.record.running_recorder import RunningRecorder
    from tinyheap.guests.serve._allocator import Allocator
    from tinyheap.guests.serve._list_allocator import ListAllocator
    from tinyheap.guests.serve.callstack import NameFrames
    from tinyheap.guests.serve.guard import Guard
    from tinyheap.guests.serve.memory import BoundMemory
    from tinyheap.guests.serve.original_stack import OriginalStack
    from tinyheap.guests.serve.residue import Residues
    from tinyheap.guests.serve.watch import Watch
    from tinyheap.heap.collectors import Collector
    from tinyheap.heap.geometry import Geometry
    from tinyheap.heap.stats import Collection
    from tinyheap.hosts.phases import Life
    from tinyheap.recognize.facts import ServedHeap

ALLOCATES: Final = "allocates"
"""What a program does while it cannot be called."""
FULL: Final = 16
"""A heap of which less than one part in so many is free is full, and not fragmented."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What a guest's heap is bound to.

    Args:
        facts: where its parts are.
        residues: what its functions leave on the stack, where that had to be learned.
        policy: how to run it.
        listener: called after each collection, with it.
        name_frames: makes the texts of call stacks.
        store: of the instance.
        memory: of the instance.
        allocator: the C function that serves the kernel's allocations; None for the model.
        calls: who calls the allocator, where the policy wants to know it.
        life: its program's, which is not to be called while it waits for its heap.
        memory_limit_bytes: what the store lets the memory grow to, for messages; None for no limit.
        collections: takes each collection.
    """

    facts: ServedHeap
    residues: Residues | None
    policy: Policy
    listener: Callable[[Collection], object] | None
    name_frames: NameFrames
    store: Store
    memory: BoundMemory
    allocator: Allocator | ListAllocator | None
    calls: CallStack | None
    life: Life
    memory_limit_bytes: int | None
    collections: list[Collection]

    @property
    def collector(self) -> Collector:
        """The one that serves."""
        return self.policy.serving(self.facts.collector)

    @property
    def is_own(self) -> bool:
        """Whether that is the program's own."""
        return self.collector is self.facts.collector


class ServingHeap(SoleOwner):
    """Serves one guest's heap by an engine, whose callbacks it answers.

    Args:
        binding: what the heap lies in.
        geometry: where it lies.
        recording: takes what happens on it; None where the run is not recorded.
        watch: waits for a moment of it; None for nobody.
    """

    def __init__(
        self, binding: Binding, geometry: Geometry, recording: RunningRecorder | None, watch: Watch | None
    ) -> None:
        facts, policy, memory = binding.facts, binding.policy, binding.memory
        self.facts, self._policy, self._memory, self._binding = facts, policy, memory, binding
        self._recording, self._watch = recording, watch
        view = memory.memory[geometry.start_address : geometry.end_address]
        engine_type = choose_engine(policy.engine, binding.collector)
        self.engine: Engine = engine_type(view, geometry, _options(binding), memory, self)
        self.engine.zero_size_address = facts.zero_size_address or 0
        self._calls = binding.calls
        self._guard = self._new_guard() if policy.guard else None
        self._absent = Absent()
        self._stack = _stack_of(binding, self.engine)
        self._alloc_index = alloc_index(facts)
        self._variables = Variables(facts, memory, self.engine, self._guard, binding.allocator)
        self._variables.take_over()
        if self._guard is not None:
            self._guard.fill_free()
        self.verifier = Verifier(facts, policy, memory, self.engine, self._variables, self._absent, self._guard)
        self._growing = Growing(policy, memory, binding.memory_limit_bytes, recording)
        self._collector = Collecting(
            memory,
            self.engine,
            self._stack,
            _finalizers_of(binding, self.engine),
            self._variables,
            self.verifier,
            self._guard,
            recording,
            watch,
            binding.listener,
            binding.collections,
            self._told,
        )
        self._calls_until_collection = policy.gc_every

    def begin(self) -> None:
        """Serve from now on."""
        if self._policy.offset_blocks:
            self.engine.alloc(self._policy.offset_blocks * self.engine.geometry.block_bytes, 0)
        self._tie()
        if self._calls_alone() is None:
            self._serve_alone()
        if self._recording is not None:
            first_address = self.engine.geometry.start_address + self.engine.shape.body_offset_bytes
            self._recording.heap_begins(self, first_address)

    def close(self) -> None:
        """Let go of the guest's memory, before the guest is dropped; it cannot allocate any more."""
        if self._recording is not None:
            self._recording.heap_ends()
        if self._binding.allocator is not None:
            self._binding.allocator.untie()
        self.engine.release_memory()
        self._memory.let_go()

    def __del__(self) -> None:
        # An engine and what answers its callbacks are a cycle, and its views of the memory have to go before the memory's own.
        if hasattr(self, "engine"):
            self.engine.release_memory()
            self._memory.let_go()

    @property
    def memory_steps(self) -> MemorySteps:
        """How its memory grew so far."""
        return self._growing.steps

    @property
    def counters(self) -> Counters:
        """What was counted, as the guest is to see it."""
        return self._variables.counters

    def root_ranges(self) -> Iterator[tuple[int, int]]:
        """What a collection would scan now; looking changes nothing."""
        return self._stack.root_ranges()

    def hidden(self) -> Iterator[int]:
        """Addresses of words that a collection would not see now."""
        return self._stack.hidden()

    def _new_guard(self) -> Guard:
        from tinyheap.guests.serve.guard import Guard

        assert self._calls is not None, "a guarded heap is bound with them"
        return Guard(self.engine, self._memory, self._calls, is_precise=self.facts.is_precise)

    def _tie(self) -> None:
        self._variables.tie(checked=self._policy.verify)
        if self._binding.allocator is not None:
            self._binding.allocator.account_for(self._absent)

    # ---- what the guest calls ---------------------------------------------------------------------------------------

    def allocate(self, size_bytes: int, layout: int) -> int:
        """The address of a new object, looked at before as the policy asks.

        Args:
            layout: the layout word; 0 where objects have none.

        Raises:
            AllocationStopError: this is the allocation to stop at.
            GuestOutOfMemoryError: there is no room.
            HeapCorruptError: something was overwritten.
        """
        self.verifier.check_variables()
        self._collect_if_due()
        self._serve_alone()
        number = self.engine.counters.mallocs + 1
        self._stack.begins(self._alloc_index, size_bytes + self._zone_bytes(number, size_bytes), layout)
        if size_bytes == 0:
            self._stack.ends()
            return self.engine.zero_size_address
        if self._watch is not None and number == self._watch.allocation:
            self._watch.allocation_begins()
        if number == self._policy.stop_at_allocation:
            raise self._stop(number, size_bytes, layout)
        self._absent.wanted_bytes = size_bytes
        try:
            address = self._new_object(size_bytes, layout)
            # Finalizers may run at the end, and allocate.
            self._variables.publish()
            self._stack.ends()
            return address
        finally:
            self._absent.wanted_bytes = None
            # An error of a callback takes back what was counted.
            self._variables.publish()

    def _collect_if_due(self) -> None:
        if self._calls_until_collection is None:
            return
        if self._calls_until_collection == 0:
            self._calls_until_collection = self._policy.gc_every
            with self._binding.life.busy(ALLOCATES):
                self._collector.collect(REQUESTED, None)
        assert self._calls_until_collection is not None
        self._calls_until_collection -= 1

    def _serve_alone(self) -> None:
        """Let the C function serve what needs no look from here, until the next collection is due."""
        if self._binding.allocator is None or self._policy.looks_at_each_allocation:
            return
        calls = self._calls_alone()
        self._binding.allocator.serve_alone(calls)
        if self._calls_until_collection is not None and calls is not None:
            self._calls_until_collection -= calls

    def _calls_alone(self) -> int | None:
        """How many calls after this one need no look; None for all."""
        due, watched = self._calls_until_collection, None if self._watch is None else self._watch.allocation
        left = None if watched is None else watched - self.engine.counters.mallocs - 2
        if left is None or left < -1:  # it is over
            return due
        return max(left, 0) if due is None else min(due, max(left, 0))

    def _zone_bytes(self, number: int, size_bytes: int) -> int:
        """How much more the engine is asked for; what may have been overrun is looked at before anything trusts it.

        Raises:
            HeapCorruptError: something was overwritten.
        """
        if self._guard is None or not size_bytes:
            return 0
        with self.verifier.blaming_the_stack():
            self._guard.begins(number)
        return self._guard.bytes_per_zone

    def _new_object(self, size_bytes: int, layout: int) -> int:
        with self.verifier.blaming_the_stack():
            if self._guard is None:
                return self.engine.alloc(size_bytes, layout)
            return self._guard.alloc(size_bytes, layout)

    def _stop(self, number: int, size_bytes: int, layout: int) -> AllocationStopError:
        assert self._calls is not None, "a heap to be stopped is bound with them"
        callers = self._calls.names()
        return AllocationStopError(
            f"stopped as asked at allocation {number}: {size_bytes} bytes, layout word {layout:#x}, "
            f"by {shown(callers)}",
            callers,
        )

    def resize_in_place(self, address: int, size_bytes: int) -> tuple[bool, int]:
        """Try the guest's ``realloc`` without a new object: whether that was enough, and the bytes to be kept if not."""
        if self._guard is None:
            room_bytes = self._room_bytes(address)
            return size_bytes <= room_bytes, room_bytes
        with self.verifier.blaming_the_stack():
            is_done = self._guard.resize(address, size_bytes)
        return is_done, self._guard.room_bytes(address)

    def _room_bytes(self, address: int) -> int:
        """How many bytes of its object lie at an address and behind it; 0 where there is no object."""
        engine, geometry = self.engine, self.engine.geometry
        if not geometry.is_on_heap(address):
            return 0
        head = engine.find_head(geometry.block_of(address))
        if head == NO_BLOCK or engine.state(head) is State.FREE:
            return 0
        first, end = engine.extent(head)
        return engine.shape.address_of(geometry, first) + engine.shape.body_bytes(geometry, end - first) - address

    @contextmanager
    def holding(self, address: int) -> Iterator[None]:
        """Around an allocation: let the object at an address live, to which only a function that waits refers."""
        self._collector.held_address = address
        try:
            yield
        finally:
            self._collector.held_address = 0

    def copy(self, address: int, made: int, kept_bytes: int) -> None:
        """Copy what a resized object held to its new place."""
        memory = self._memory.memory
        if made != self.engine.zero_size_address:
            memory[made : made + kept_bytes] = bytes(memory[address : address + kept_bytes])

    def collect_on_request(self, index: int) -> int:
        """The guest's own call of its collector; returns the free bytes.

        Args:
            index: of the function that it called, among the redirects.
        """
        with self._binding.life.busy("collects"):
            self.verifier.check_variables()
            if not self._policy.leaking:
                self._stack.begins(index, 0, 0)
                free_bytes = self._collector.collect(REQUESTED, None)
                self._stack.ends()
                return free_bytes
            # A heap that only grows is not collected by anybody.
            return self.engine.census().free_blocks * self.engine.geometry.block_bytes

    # ---- what the engine calls --------------------------------------------------------------------------------------

    def on_exhausted(self) -> int:
        """Collect on behalf of the engine; returns the free bytes, 0 for a heap that is not to be collected."""
        with self._binding.life.busy(ALLOCATES):
            if self._policy.leaking:
                # Where there would have been a collection.
                self.verifier.look("the growth")
                return 0
            free_bytes = self._collector.collect(EXHAUSTED, self._absent.wanted_bytes)
        return self._told(free_bytes)

    def _told(self, free_bytes: int) -> int:
        """What the engine is told that a collection left free: it grows at once where that is less than a third."""
        pool_bytes, headroom = self.engine.geometry.pool_bytes, self._policy.headroom
        if headroom is not None:
            is_enough = free_bytes >= pool_bytes * headroom.numerator // headroom.denominator
            return pool_bytes if is_enough else 0
        if self.facts.keeps_headroom or not self._binding.is_own:
            return free_bytes
        # Older programs grow only when a second search finds nothing, either.
        return pool_bytes

    def grow(self, needed_blocks: int) -> bool:
        """Grow the guest's memory by one step and move the block table to its end."""
        with self._binding.life.busy(ALLOCATES):
            self._stack.grows()
            # That collector keeps what a growth adds as a range of its own until it collects: steps that are all smaller than
            # the object that waits would go on to the end of the address space, and none would be enough.
            range_blocks = needed_blocks if self.engine.collector is Collector.BEST_FIT_BACK else 0
            heap_bytes = self._growing.extend(self.engine.geometry, range_blocks)
            if heap_bytes is not None:
                self._resize(heap_bytes)
            self._stack.grown(is_larger=heap_bytes is not None)
            return heap_bytes is not None

    def _resize(self, heap_bytes: int) -> None:
        engine, memory = self.engine, self._memory
        old_bytes, start_address = engine.geometry.heap_bytes, engine.geometry.start_address
        engine.release_memory()
        memory.locate()
        engine.move_memory(memory.memory[start_address : start_address + heap_bytes])
        engine.resize(heap_bytes)
        if self._guard is not None:
            self._guard.fill_free()
        self._tie()
        self._variables.publish_geometry(engine.geometry)
        if self._recording is not None:
            self._recording.note_growth(old_bytes, heap_bytes, self._absent.wanted_bytes or 0)

    def layout_word(self, layout: int, size_bytes: int) -> int:
        """Guests pass layout words."""
        return layout

    def finish_allocation(self, address: int, size_bytes: int) -> int:
        """End an allocation that had to ask.

        Raises:
            GuestOutOfMemoryError: there was no room; says who asked, and what is in the way of more.
        """
        if address:
            return address
        geometry, census = self.engine.geometry, self.engine.census()
        needed_blocks = self.engine.shape.blocks_for(geometry, size_bytes)
        self._absent.lost_blocks.append(needed_blocks)
        callers, obstacle = self._callers(), self._growing.obstacle
        free_bytes = census.free_blocks * geometry.block_bytes
        largest_bytes = census.largest_free_run_blocks * geometry.block_bytes
        is_enough = census.free_blocks >= max(needed_blocks, geometry.end_block // FULL)
        is_fragmentation = is_enough and needed_blocks > census.largest_free_run_blocks
        fragmentation = "; enough is free, but not in one piece: fragmentation" if is_fragmentation else ""
        raise GuestOutOfMemoryError(
            f"the program asked for {self._absent.wanted_bytes} bytes (by {shown(callers)}): its heap of "
            f"{geometry.heap_bytes} bytes has {free_bytes} free, at most {largest_bytes} in one piece, and cannot grow: "
            f"{obstacle}",
            callers,
            (
                f"asked for: {self._absent.wanted_bytes:,} bytes, by {shown(callers)}",
                f"free: {free_bytes:,} bytes of a heap of {geometry.heap_bytes:,}",
                f"largest free run: {largest_bytes:,} bytes{fragmentation}",
                f"{GROWTH}{obstacle}",
            ),
        )

    def _callers(self) -> tuple[str, ...]:
        """The functions that wait for this host; none where there is too little memory to find out."""
        with suppress(GuestError):
            self._calls = self._calls or CallStack(self._binding.store, self._binding.name_frames)
            return self._calls.names()
        return ()


def _stack_of(binding: Binding, engine: Engine) -> OriginalStack:
    facts, residues = binding.facts, binding.residues
    if not binding.is_own:
        return OtherCollector(facts, binding.memory)
    if isinstance(facts, BlockHeap):
        return MarkStackOnStack(facts, binding.memory, cast("NextFitEngine", engine), _options(binding))
    assert residues is not None, "such a heap is served with it"
    is_guarded = binding.policy.guard
    return RecordOnStack(facts, residues, binding.memory, cast("BestFitEngine", engine), replays=not is_guarded)


def _finalizers_of(binding: Binding, engine: Engine) -> GuestFinalizers | None:
    facts = binding.facts
    if isinstance(facts, BlockHeap) or facts.finalizers is None:
        return None
    return GuestFinalizers(facts.finalizers, binding.memory, engine)


def _options(binding: Binding) -> Options:
    facts, policy = binding.facts, binding.policy
    gc = Gc.PRECISE if facts.is_precise else Gc.CONSERVATIVE
    options = Options(gc, clear_blocks=policy.clear_blocks, collector=binding.collector)
    if isinstance(facts, BlockHeap) and binding.is_own:
        stack = facts.mark_stack
        options = replace(options, mark_stack_entries=stack.entries, mark_stack_zeroed=stack.zeroed)
    if not policy.guard:
        return options
    from tinyheap.guests.serve.guard import PATTERN_BYTE

    return replace(options, asserts=True, poison_byte=PATTERN_BYTE)
