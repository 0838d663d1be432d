"""A guest's heap before it serves: *prepared*, *offered*, *bound*.

::

    PreparedHeap ──offer(store)──> OfferedHeap ──bind(instance)──> BoundHeap ──the guest allocates──> ServingHeap
    facts and policy               the imports                     memory, stack pointer              an engine

Each phase is a type, and has what can be done in it.  The guest's ``runtime.alloc`` has become an import (`rewriting`), which
needs a function before there is an instance, and a heap only when the guest calls it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Final

import wasmtime

from tinyheap.errors import GeometryError, GuestError, PolicyError
from tinyheap.guests.policy import Policy
from tinyheap.guests.rewrite.rewriting import ALLOC_IMPORT
from tinyheap.guests.serve.callstack import CallStack
from tinyheap.guests.serve.memory import WORD_BYTES, BoundMemory
from tinyheap.guests.serve.residue import left_by_allocations
from tinyheap.guests.serve.serving import Binding, ServingHeap
from tinyheap.guests.serve.stack_overflow import stack_overflow
from tinyheap.guests.serve.unchecked import unchecked_function
from tinyheap.heap.engines import KERNEL, KERNELS, choose_engine, engine_name_of
from tinyheap.heap.geometry import Geometry
from tinyheap.hosts.frames import plain_names
from tinyheap.hosts.phases import Life
from tinyheap.ownership import SoleOwner
from tinyheap.recognize.facts import TABLE_DIVISOR, Role, alloc_index

if KERNEL is not None:
    from tinyheap.guests.serve._allocator import Allocator
    from tinyheap.guests.serve._list_allocator import ListAllocator

if TYPE_CHECKING:
    from array import array

    from wasmtime import Instance, Store

    from tinyheap.guests.record._recorder import EventLog
    from tinyheap.guests.record.running_recorder import RunningRecorder
    from tinyheap.guests.serve.callstack import NameFrames
    from tinyheap.guests.serve.residue import Residues
    from tinyheap.guests.serve.watch import Watch
    from tinyheap.heap.collectors import Collector
    from tinyheap.heap.stats import Collection
    from tinyheap.hosts.imports import Maker
    from tinyheap.recognize.facts import ServedHeap

HEADER_ALIGNMENT_BYTES: Final = 16
"""Of precise objects on WebAssembly."""
_TYPES_OF_NAMES: Final = [(ctypes.c_ubyte * len(name), ctypes.c_char * (len(name) + 1)) for name in (ALLOC_IMPORT, "0")]
"""wasmtime passes names as arrays; ctypes makes a type for each length, unless one lives, and that takes longer than all else
about an import."""
_WORD: Final = 0xFFFF_FFFF
_DEFAULT_POLICY: Final = Policy()
# A program is often run many times, its heap in the same place each time.
_geometry = lru_cache(Geometry)


@dataclass(frozen=True)
class PreparedHeap:
    """A heap that can be served, once for each run.

    Args:
        facts: where the heap's parts are.
        policy: how to run it.
        listener: called after each collection, with it.
        name_frames: makes the texts of call stacks.
        residues: what the guest's own functions leave on the stack, where that had to be learned.
    """

    facts: ServedHeap
    policy: Policy = _DEFAULT_POLICY
    listener: Callable[[Collection], object] | None = None
    name_frames: NameFrames = plain_names
    residues: Residues | None = None

    @cached_property
    def left_by_allocations(self) -> Sequence[array[int]]:
        """What allocations leave on the stack, for compiled code; the same for all runs."""
        assert self.residues is not None, "such a heap is prepared with them"
        return left_by_allocations(self.residues.functions[alloc_index(self.facts)])

    def offer(self, store: Store, log: EventLog | None = None) -> OfferedHeap:
        """The functions that the rewritten module imports, in a store.

        Args:
            store: of the instance to be.
            log: notes each allocation; None where the run is not recorded.
        """
        return OfferedHeap(self, store, log)


class OfferedHeap(SoleOwner):
    """What a rewritten module imports: functions that serve its heap as soon as there is an instance (`bind`).

    Args:
        prepared: what is to be served.
        store: of the instance to be.
        log: notes each allocation, if the run is recorded.
    """

    def __init__(self, prepared: PreparedHeap, store: Store, log: EventLog | None) -> None:
        self._prepared, self._store = prepared, store
        facts, policy = prepared.facts, prepared.policy
        self._bound: BoundHeap | None = None
        self._allocator: Allocator | ListAllocator | None = None
        is_own = policy.serving(facts.collector) is facts.collector
        if is_own and choose_engine(policy.engine, facts.collector) in KERNELS.values():
            self._allocator = self._new_allocator()
            if log is not None:
                self._allocator.record(log)
        self._calls = CallStack(store, prepared.name_frames) if policy.looks_at_each_allocation else None

    def _new_allocator(self) -> Allocator | ListAllocator:
        facts, residues = self._prepared.facts, self._prepared.residues
        if residues is None:
            return Allocator(self, *facts.import_parameters)
        allocator = ListAllocator(self)
        allocator.leave(self._prepared.left_by_allocations)
        return allocator

    @property
    def makers(self) -> Mapping[str, Maker]:
        """What makes the imports, to be given to the hosts' `offer`."""
        return {ALLOC_IMPORT: self._function}

    def bind(self, instance: Instance, life: Life | None = None, memory_limit_bytes: int | None = None) -> BoundHeap:
        """The heap in the instance, which is not started yet.

        Args:
            instance: of the rewritten module.
            life: its program's, which is not to be called while it waits for its heap.
            memory_limit_bytes: what the store lets its memory grow to, for messages; None for no limit.

        Raises:
            GuestError: the module was not rewritten.
        """
        prepared = self._prepared
        binding = Binding(
            facts=prepared.facts,
            residues=prepared.residues,
            policy=prepared.policy,
            listener=prepared.listener,
            name_frames=prepared.name_frames,
            store=self._store,
            memory=BoundMemory(self._store, instance),
            allocator=self._allocator,
            calls=self._calls,
            life=life or Life(),
            memory_limit_bytes=memory_limit_bytes,
            collections=[],
        )
        self._bound = BoundHeap(binding)
        return self._bound

    # ---- the imports -------------------------------------------------------------------------------------------------

    def _function(self, name: str, kind: object) -> wasmtime.Func:
        if not isinstance(kind, wasmtime.FuncType):
            raise GuestError(f"invalid import {ALLOC_IMPORT}.{name}: expected a function")
        role, store = self._prepared.facts.redirects[int(name)].role, self._store
        if role is Role.COLLECT:
            return wasmtime.Func(store, kind, lambda *_: self._collect(int(name), bool(kind.results)))
        if role is Role.REALLOC:
            return wasmtime.Func(store, kind, lambda *arguments: self._resize(arguments[0], arguments[-1]))
        if self._allocator is None:
            return wasmtime.Func(store, kind, self._allocate)
        return unchecked_function(store, kind, self._allocator)

    def _serving(self) -> ServingHeap:
        """The heap that serves, which begins with the first call.

        Raises:
            GuestError: there is none yet, or none any more.
        """
        serving = None if self._bound is None else self._bound.begun()
        if serving is None:
            raise GuestError("the program called its allocator before it was instantiated, or after it was closed")
        return serving

    def begin(self) -> None:
        """Serve from now on; the C function asks for it at the first call."""
        self._serving()

    def allocate(self, size_bytes: int, layout: int) -> int:
        """The address of a new object; the C function asks it where it cannot decide alone."""
        return self._serving().allocate(size_bytes, layout)

    def _allocate(self, *arguments: int) -> int:
        """The import where no C function serves; its arguments come signed."""
        size_index, layout_index = self._prepared.facts.import_parameters
        layout = 0 if layout_index is None else arguments[layout_index] & _WORD
        return _signed(self._noted(arguments[size_index] & _WORD, layout))

    def _noted(self, size_bytes: int, layout: int) -> int:
        """The address of a new object that compiled code does not note itself."""
        address = self.allocate(size_bytes, layout)
        recording = None if self._bound is None else self._bound.recording
        if recording is not None:
            recording.note_allocation(address, size_bytes, layout)
        return address

    def _resize(self, address: int, size_bytes: int) -> int:
        """The guest's ``realloc``, as its own does it, but for what lies behind an object."""
        serving = self._serving()
        address, size_bytes = address & _WORD, size_bytes & _WORD
        is_done, kept_bytes = serving.resize_in_place(address, size_bytes)
        if is_done:
            return _signed(address)
        with serving.holding(address):
            made = self._noted(size_bytes, 0)
        serving.copy(address, made, kept_bytes)
        return _signed(made)

    def _collect(self, index: int, wants_free_bytes: bool) -> int | None:
        free_bytes = self._serving().collect_on_request(index)
        return free_bytes if wants_free_bytes else None


class BoundHeap(SoleOwner):
    """A guest's heap in its instance, from then to its end.

    Attributes:
        facts: Where its parts are.
        policy: How it is run.
        life: Of the program whose heap it is.
        collections: All so far, in order.
        recording: Takes what happens on it, if the run is recorded.
        watch: Waits for a moment of it, if anybody does.
        serving: The heap while an engine serves it; None before the guest's first allocation, and after the end.
    """

    def __init__(self, binding: Binding) -> None:
        self._binding = binding
        self.facts, self.policy, self.life = binding.facts, binding.policy, binding.life
        self.collections = binding.collections
        self.recording: RunningRecorder | None = None
        self.watch: Watch | None = None
        self.serving: ServingHeap | None = None
        self._is_closed = False

    @property
    def engine_name(self) -> str:
        """``kernel`` or ``model``."""
        return engine_name_of(choose_engine(self.policy.engine, self.collector))

    @property
    def collector(self) -> Collector:
        """The one that serves."""
        return self._binding.collector

    @property
    def bound_memory(self) -> BoundMemory:
        """The instance's memory and stack pointer, located anew."""
        self._binding.memory.locate()
        return self._binding.memory

    @property
    def memory(self) -> memoryview:
        """The guest's memory, from address 0 on; not to be kept."""
        return self._binding.memory.memory

    @property
    def heap_start_address(self) -> int:
        """Of the first block; 0 where the guest does not know it yet."""
        facts, memory = self.facts, self._binding.memory
        if facts.heap_start_address is not None:
            return facts.heap_start_address
        memory.locate()
        return memory.read(facts.heap_start_variable_address or 0)

    def close(self) -> None:
        """Let go of the guest's memory, before the guest is dropped; it cannot allocate any more."""
        self._is_closed = True
        serving, self.serving = self.serving, None
        if serving is not None:
            serving.close()

    def begun(self) -> ServingHeap | None:
        """The heap that serves, from now on if it did not yet: the guest has set its heap up; None after the end.

        Raises:
            GuestError: the guest's heap is not as its allocator would have left it.
            PolicyError: it is beyond its limit.
        """
        if self.serving is None and not self._is_closed:
            self.serving = self._new_serving()
            try:
                self.serving.begin()
            except BaseException:
                # An engine that is still referred to holds the memory.
                self.close()
                raise
        return self.serving

    def _new_serving(self) -> ServingHeap:
        facts, memory = self.facts, self._binding.memory
        memory.locate()
        start_address = self.heap_start_address
        heap_bytes = memory.read(facts.heap_end_address) - start_address
        geometry = _geometry_of(start_address, heap_bytes, table_counts_itself=facts.table_divisor == TABLE_DIVISOR)
        self._check_table(geometry)
        self._check_limit(heap_bytes)
        return ServingHeap(self._binding, geometry, self.recording, self.watch)

    def _check_table(self, geometry: Geometry) -> None:
        facts, memory = self.facts, self._binding.memory
        found = (memory.read(facts.metadata_start_address), memory.read(facts.end_block_address))
        if found != (geometry.table_address, geometry.end_block):
            raise GuestError(
                f"the program's heap is not laid out as TinyGo's: its block table is at {found[0]:#x} for {found[1]} blocks; "
                "for a heap of "
                f"{geometry.heap_bytes} bytes at {geometry.start_address:#x} it should be at "
                f"{geometry.table_address:#x} for {geometry.end_block}"
            )

    def _check_limit(self, heap_bytes: int) -> None:
        """Refuse a limit that the heap is beyond from the start."""
        limits = self.policy.limits_bytes
        if limits and min(limits) < heap_bytes:
            raise PolicyError(
                f"a heap limit of {min(limits)} bytes cannot be kept: the program's heap has {heap_bytes} bytes when it "
                f"begins; give {heap_bytes} or more"
            )

    def finish(self) -> None:
        """Check the heap for the last time, as far as the policy asks for it; call it when the program has ended.

        Raises:
            HeapCorruptError: something was overwritten.
        """
        if self.serving is not None:
            self.serving.verifier.check_variables()
            self.serving.verifier.look("the program's end")

    def verify(self) -> None:
        """Check block table, layouts and counts, whatever the policy; nothing before the first allocation.

        Raises:
            HeapCorruptError: names each problem found and its place.
        """
        if self.serving is not None:
            self.serving.verifier.verify()

    def problems(self) -> list[str]:
        """What `verify` finds, one line per problem; empty for a sound heap, and before the first allocation."""
        return [] if self.serving is None else self.serving.verifier.problems()

    def stack_overflow(self) -> str | None:
        """By what the program's stack is seen to have overflowed, in a phrase; None where it is not."""
        if self._is_closed:
            return None
        memory = self._binding.memory
        memory.locate()
        engine = None if self.serving is None else self.serving.engine
        return stack_overflow(self.facts, memory.memory, engine, memory.stack_pointer)


def _geometry_of(start_address: int, heap_bytes: int, *, table_counts_itself: bool) -> Geometry:
    if heap_bytes <= 0:
        raise GuestError(
            "the program allocates before it has set up its heap, which would fail on its own allocator, too; first call the "
            "function that starts it (_start or _initialize)"
        )
    try:
        return _geometry(
            start_address,
            heap_bytes,
            WORD_BYTES,
            header_alignment_bytes=HEADER_ALIGNMENT_BYTES,
            table_counts_itself=table_counts_itself,
        )
    except GeometryError as error:
        message = f"the program's heap, {heap_bytes} bytes at {start_address:#x}, makes no sense: {error}"
        raise GuestError(message) from error


def _signed(number: int) -> int:
    """A 32-bit number as wasmtime wants it."""
    return number - (1 << 32) if number >> 31 else number
