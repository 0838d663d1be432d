"""Taking the place of a guest's own collector while the guest runs.

The guest's ``runtime.alloc`` has become an import (`rewriting`).  What serves it is an engine of `tinyheap.heap` on the
guest's own memory: the block table stays where the guest expects it, and all that its allocator and collector would have
left in memory is left there too, so that nothing else in the program can tell the difference:

* the counters and ``nextAlloc`` after each allocation (the counters are scanned as roots themselves);
* heapEnd, metadataStart and endBlock, and the moved table, after a growth;
* the mark stack, which the original keeps below the stack pointer: the engine's bounded mark stack lies in that very place.

`Takeover` is the engine's embedder.  The kernel serves allocations without it (`_takeover.serve`) until there is no
room; the model asks it every time.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final, cast

import wasmtime

from tinyheap.errors import (
    AllocationStopError,
    GeometryError,
    GuestError,
    GuestOutOfMemoryError,
    HeapCorruptError,
    PolicyError,
)
from tinyheap.guests.policy import Policy
from tinyheap.guests.rewrite.rewriting import ALLOC_IMPORT, MEMORY_EXPORT, STACK_POINTER_EXPORT
from tinyheap.guests.serve.callstack import CallStack, shown
from tinyheap.guests.serve.overflow import stack_overflow
from tinyheap.guests.serve.unchecked import unchecked_function
from tinyheap.guests.serve.verification import heap_problems, layout_problem, variable_problems
from tinyheap.heap.contract import NO_BLOCK, Counters, Engine, Gc, Options
from tinyheap.heap.engines import KERNEL, choose_engine
from tinyheap.heap.geometry import Geometry
from tinyheap.heap.growth import growth_text, next_size
from tinyheap.heap.stats import Collection
from tinyheap.hosts.phases import Life
from tinyheap.ownership import SoleOwner
from tinyheap.recognize.facts import BlockHeap, Frame, Role, StackScan
from tinyheap.units import WASM_PAGE_BYTES

if KERNEL is not None:
    from tinyheap.guests.serve._takeover import Allocator

if TYPE_CHECKING:
    from wasmtime import Global, Instance, Memory, Store

    from tinyheap.guests.record.recorder import Recorder
    from tinyheap.guests.serve.guard import Guard
    from tinyheap.heap.nextfit._kernel import Kernel
    from tinyheap.hosts.imports import Maker

__all__ = ["EXHAUSTED", "REQUESTED", "Policy", "Statics", "Takeover"]

WORD_BYTES: Final = 4
REQUESTED: Final = "requested"
EXHAUSTED: Final = "exhausted"
"""Why a collection runs."""
ALLOCATES: Final = "allocates"
"""What it does while it cannot be called."""
HEADER_ALIGNMENT_BYTES: Final = 16
"""Of precise objects on WebAssembly."""
PROBLEMS: Final = 16
_VIEW_OF_MEMORY: Final = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int)(
    ("PyMemoryView_FromMemory", ctypes.pythonapi)
)
_TYPES_OF_NAMES: Final = [(ctypes.c_ubyte * len(name), ctypes.c_char * (len(name) + 1)) for name in (ALLOC_IMPORT, "0")]
"""wasmtime passes names as arrays; ctypes makes a type for each length, unless one lives, and that takes longer than all else
about an import."""
_WRITABLE: Final = 0x200
"""Python's ``PyBUF_WRITE``."""


_DEFAULT_POLICY: Final = Policy()
# A program is often run many times, its heap in the same place each time.
_geometry = lru_cache(Geometry)


@dataclass(slots=True)
class Statics:
    """The whole of the guest's memory, where out-of-line layouts lie."""

    memory: memoryview
    start_address: int = 0


class Takeover(SoleOwner):
    """Serves one guest's heap.

    Args:
        facts: where the heap's parts are.
        policy: how to run it.
        listener: called after each collection, with it.
        recorder: takes what happens on the heap.
    """

    def __init__(
        self,
        facts: BlockHeap,
        policy: Policy | None = None,
        listener: Callable[[Collection], object] | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.facts = facts
        self.policy = policy or _DEFAULT_POLICY
        self.collections: list[Collection] = []
        self._listener = listener
        self._recorder = recorder
        self._wanted_bytes = self._roots_bytes = 0
        self._engine_type = choose_engine(self.policy.engine)
        self._engine: Engine | None = None
        self._statics = Statics(memoryview(b""))
        self._memory: Memory | None = None
        self._stack_pointer: Global | None = None
        self._until_collection = self.policy.gc_every
        self._peak_bytes = 0
        self._absent_blocks: list[int] = []
        self._life = Life()
        self._memory_limit_bytes: int | None = None
        self._obstacle = ""
        self._calls: CallStack | None = None
        self._guard: Guard | None = None
        self._zone_bytes = 0
        self._allocator: Allocator | None = None
        if self._engine_type is KERNEL:
            self._allocator = Allocator(self, facts.size_parameter, facts.layout_parameter)
            if recorder is not None:
                self._allocator.record(recorder.log)

    @property
    def engine(self) -> Engine | None:
        """What serves the heap; None before the guest's first allocation, and after the end."""
        return self._engine

    @property
    def engine_name(self) -> str:
        """``kernel`` or ``model``."""
        return "kernel" if self._engine_type is KERNEL else "model"

    @property
    def life(self) -> Life:
        """Of the program whose heap it is."""
        return self._life

    @property
    def memory(self) -> memoryview:
        """The guest's memory, from address 0 on; not to be kept."""
        return self._statics.memory

    @property
    def heap_start_address(self) -> int:
        """Of the first block; 0 where the guest does not know it yet."""
        facts = self.facts
        if facts.heap_start_address is not None:
            return facts.heap_start_address
        self._take_memory()
        return self._read(facts.heap_start_variable_address or 0)

    def close(self) -> None:
        """Let go of the guest's memory, before the guest is dropped; it cannot allocate any more."""
        if self._allocator is not None:
            self._allocator.untie()
        if self._engine is not None:
            self._engine.release_memory()
        self._engine = self._memory = None
        self._statics.memory = memoryview(b"")

    def __del__(self) -> None:
        # An engine and its embedder are a cycle, and its views of the memory have to go before the memory's own.
        if getattr(self, "_engine", None) is not None:
            self.close()

    # ---- tying ------------------------------------------------------------------------------------------------------

    def makers(self, store: Store) -> Mapping[str, Maker]:
        """What makes the functions that the rewritten module imports for this, to be given to its hosts' `offer`."""
        self._store = store
        if self.policy.guard or self.policy.stop_at_allocation is not None:
            self._calls = CallStack(store)
        return {ALLOC_IMPORT: self._function}

    def _function(self, name: str, kind: object) -> wasmtime.Func:
        if not isinstance(kind, wasmtime.FuncType):
            raise GuestError(f"the import {ALLOC_IMPORT}.{name} is no function")
        role, store = self.facts.redirects[int(name)].role, self._store
        if role is Role.COLLECT:
            return wasmtime.Func(store, kind, lambda *_: self._collect_on_request(bool(kind.results)))
        if role is Role.REALLOC:
            return wasmtime.Func(store, kind, lambda *arguments: self._resize_object(arguments[0], arguments[-1]))
        if self._allocator is None:
            return wasmtime.Func(store, kind, self._serve_python)
        return unchecked_function(store, kind, self._allocator)

    def attach(self, instance: Instance, life: Life | None = None, memory_limit_bytes: int | None = None) -> None:
        """Let the heap be found in the instance, which is not started yet.

        Args:
            instance: of the rewritten module.
            life: its program's, which is not to be called while it waits for its heap.
            memory_limit_bytes: what the store lets its memory grow to, for messages; None for no limit.
        """
        self._life, self._memory_limit_bytes = life or self._life, memory_limit_bytes
        exports = instance.exports(self._store)
        memory, stack_pointer = exports[MEMORY_EXPORT], exports[STACK_POINTER_EXPORT]
        if not isinstance(memory, wasmtime.Memory) or not isinstance(stack_pointer, wasmtime.Global):
            raise GuestError("the module was not prepared for a takeover")
        self._memory, self._stack_pointer = memory, stack_pointer

    def _adopt(self) -> Engine:
        """Begin to serve, at the first allocation: the guest has set its heap up by then."""
        self._take_memory()
        facts, start_address = self.facts, self.heap_start_address
        heap_bytes = self._read(facts.heap_end_address) - start_address
        geometry = self._geometry(start_address, heap_bytes)
        found = (self._read(facts.metadata_start_address), self._read(facts.end_block_address))
        if found != (geometry.table_address, geometry.end_block):
            raise GuestError(
                f"the guest's block table is at {found[0]:#x} for {found[1]} blocks; for a heap of {heap_bytes} bytes at "
                f"{start_address:#x} it should be at {geometry.table_address:#x} for {geometry.end_block}"
            )
        self._check_limit(heap_bytes)
        next_alloc = self._read(facts.next_alloc_address)
        if next_alloc > geometry.end_block:
            raise GuestError(f"the guest's nextAlloc is {next_alloc}, and its heap has {geometry.end_block} blocks")
        view = self._heap_view(start_address, heap_bytes)
        engine = self._engine_type(view, geometry, self._options(), self._statics, self)
        self._engine = engine
        try:
            self._begin(engine, next_alloc)
        except BaseException:
            # An engine that nobody lets go of holds the memory.
            self.close()
            raise
        return engine

    def _begin(self, engine: Engine, next_alloc: int) -> None:
        """Serve by a new engine."""
        facts, geometry = self.facts, engine.geometry
        engine.zero_size_address = facts.zero_size_address or 0
        engine.next_alloc = next_alloc
        self._peak_bytes = geometry.heap_bytes
        if self.policy.guard:
            self._guard = self._new_guard(engine)
        self._tie()
        if self._allocator is not None and not self.policy.looks_at_each_allocation:
            self._allocator.ask_after(self._until_collection)
        if self._recorder is not None:
            self._recorder.heap_begins(geometry.start_address + facts.header_bytes)

    def _geometry(self, start_address: int, heap_bytes: int) -> Geometry:
        if heap_bytes <= 0:
            raise GuestError(
                "the program allocates before it has set up its heap, which its own allocator could not do, either; start "
                "it first, by the function that it is made to be started by"
            )
        try:
            return _geometry(start_address, heap_bytes, WORD_BYTES, header_alignment_bytes=HEADER_ALIGNMENT_BYTES)
        except GeometryError as error:
            message = f"the program's heap, {heap_bytes} bytes at {start_address:#x}, makes no sense: {error}"
            raise GuestError(message) from error

    def _check_limit(self, heap_bytes: int) -> None:
        """Refuse a limit that the heap is beyond from the start."""
        limits = self.policy.limits_bytes
        if limits and min(limits) < heap_bytes:
            raise PolicyError(
                f"a heap limit of {min(limits)} bytes cannot be kept: the program's heap has {heap_bytes} bytes when it "
                f"begins; give {heap_bytes} or more"
            )

    def _options(self) -> Options:
        gc = Gc.PRECISE if self.facts.is_precise else Gc.CONSERVATIVE
        stack = self.facts.mark_stack
        options = Options(gc, stack.entries, stack.zeroed, self.policy.clear_blocks)
        if not self.policy.guard:
            return options
        from tinyheap.guests.serve.guard import PATTERN_BYTE

        return replace(options, asserts=True, poison_byte=PATTERN_BYTE)

    def _new_guard(self, engine: Engine) -> Guard:
        from tinyheap.guests.serve.guard import ZONE_BYTES, Guard

        assert self._calls is not None
        self._zone_bytes = ZONE_BYTES
        return Guard(engine, self._statics, self.facts.header_bytes, self._calls)

    # ---- the guest's memory -----------------------------------------------------------------------------------------

    def _take_memory(self) -> None:
        """Look at the memory where it is now; a growth may have moved it."""
        if self._memory is None:
            raise GuestError(
                "the program allocates while it is not there: before it has its instance, or after its end"
            )
        size_bytes = self._memory.data_len(self._store)
        self._base = ctypes.addressof(self._memory.data_ptr(self._store).contents)
        # An array of ctypes' would need a new type for each size.
        self._statics.memory = _VIEW_OF_MEMORY(self._base, size_bytes, _WRITABLE)

    def _heap_view(self, start_address: int, heap_bytes: int) -> memoryview:
        return self._statics.memory[start_address : start_address + heap_bytes]

    def _read(self, address: int, size_bytes: int = WORD_BYTES) -> int:
        return int.from_bytes(self._statics.memory[address : address + size_bytes], "little")

    def _write(self, address: int, value: int, size_bytes: int = WORD_BYTES) -> None:
        self._statics.memory[address : address + size_bytes] = value.to_bytes(size_bytes, "little")

    def _counter_addresses(self) -> tuple[int | None, ...]:
        counters = self.facts.counters
        return (
            counters.total_alloc_bytes_address,
            counters.mallocs_address,
            counters.frees_address,
            counters.total_blocks_address,
            counters.freed_blocks_address,
        )

    def _tie(self) -> None:
        """Tell the C function where things lie."""
        if self._allocator is not None:
            places = [0 if address is None else self._base + address for address in self._counter_addresses()]
            self._allocator.tie(cast("Kernel", self._engine), self._base + self.facts.next_alloc_address, places)
            if self.policy.verify:
                facts, base = self.facts, self._base
                self._allocator.check(
                    base + facts.heap_end_address, base + facts.metadata_start_address, base + facts.end_block_address
                )

    def _publish(self) -> None:
        """Leave counters and ``nextAlloc`` as the guest's own allocator does."""
        assert self._engine is not None
        if self._allocator is not None and self._guard is None:
            self._allocator.publish()
            return
        counts = self.figures(self._engine)
        values = (counts.total_alloc_bytes, counts.mallocs, counts.frees, counts.total_blocks, counts.freed_blocks)
        for address, value in zip(self._counter_addresses(), values, strict=True):
            if address is not None:
                self._write(address, value, 8)
        self._write(self.facts.next_alloc_address, self._engine.next_alloc)

    def figures(self, engine: Engine) -> Counters:
        """What was counted, as the guest is to see it: it did not ask for red zones."""
        counts = engine.counters
        if self._guard is None:
            return counts
        return counts._replace(total_alloc_bytes=counts.total_alloc_bytes - self._guard.zone_bytes)

    # ---- serving ----------------------------------------------------------------------------------------------------

    def _serve(self, size_bytes: int, layout: int) -> int:
        """What the C function asks: an allocation that found no room, or one that it was told to bring here."""
        allocator = self._allocator
        assert allocator is not None
        counted, layout, self._wanted_bytes = layout >> 32, layout & 0xFFFF_FFFF, size_bytes
        with self._life.busy(ALLOCATES):
            if self.policy.looks_at_each_allocation:
                return self._allocate(size_bytes, layout)
            if counted:
                return self._allocate_slowly(allocator, size_bytes, layout)
            is_first = self._engine is None
            self._check_variables(self._engine or self._adopt())
            if self._until_collection is not None and not is_first:
                self._collect(REQUESTED)
            allocator.ask_after(self._until_collection)
            return allocator.allocate(size_bytes, layout) or self._allocate_slowly(allocator, size_bytes, layout)

    def _allocate_slowly(self, allocator: Allocator, size_bytes: int, layout: int) -> int:
        """The address of an object that is counted, but is to be collected or grown for."""
        with self._absent(size_bytes):
            try:
                return allocator.allocate_slowly(size_bytes, layout)
            finally:
                # An error of a callback takes back what was counted.
                self._publish()

    @contextmanager
    def _absent(self, size_bytes: int) -> Iterator[None]:
        """Around an allocation: until the object is there it is counted without being in the table."""
        engine = self._engine
        assert engine is not None
        self._absent_blocks.append(engine.geometry.blocks_for(size_bytes + self.facts.header_bytes + self._zone_bytes))
        try:
            yield
        finally:
            self._absent_blocks.pop()

    def _serve_python(self, *arguments: int) -> int:
        """An allocation on the model; its arguments come signed."""
        size_bytes = arguments[self.facts.size_parameter] & 0xFFFF_FFFF
        index = self.facts.layout_parameter
        layout = 0 if index is None else arguments[index] & 0xFFFF_FFFF
        with self._life.busy(ALLOCATES):
            return _signed(self._noted(self._allocate(size_bytes, layout), size_bytes, layout))

    def _noted(self, address: int, size_bytes: int, layout: int) -> int:
        """The address of a new object; for those that compiled code does not note itself."""
        if self._recorder is not None:
            self._recorder.note_allocation(address, size_bytes, layout)
        return address

    def _allocate(self, size_bytes: int, layout: int) -> int:
        """The address of a new object of the guest's, looked at before as the policy asks."""
        engine = self._engine or self._adopt()
        self._check_variables(engine)
        if self._until_collection == 0:
            self._until_collection = self.policy.gc_every
            self._collect(REQUESTED)
        if self._until_collection is not None:
            self._until_collection -= 1
        if size_bytes == 0:
            return engine.zero_size_address
        self._wanted_bytes, number = size_bytes, engine.counters.mallocs + 1
        if number == self.policy.stop_at_allocation:
            raise self._stop(number, size_bytes, layout)
        try:
            with self._absent(size_bytes):
                if self._guard is None:
                    return engine.alloc(size_bytes, layout)
                with self._blaming_the_stack(engine):
                    return self._guard.alloc(number, size_bytes, layout)
        finally:
            self._publish()

    def _stop(self, number: int, size_bytes: int, layout: int) -> AllocationStopError:
        assert self._calls is not None
        callers = self._calls.names()
        return AllocationStopError(
            f"stopped as asked at allocation {number}: {size_bytes} bytes, layout word {layout:#x}, "
            f"by {shown(callers)}",
            callers,
        )

    def _resize_object(self, address: int, size_bytes: int) -> int:
        """The guest's ``realloc``, as its own does it, but for what lies behind an object."""
        with self._life.busy(ALLOCATES):
            return self._resized(address, size_bytes)

    def _resized(self, address: int, size_bytes: int) -> int:
        engine, guard = self._engine or self._adopt(), self._guard
        assert guard is not None
        address, size_bytes = address & 0xFFFF_FFFF, size_bytes & 0xFFFF_FFFF
        with self._blaming_the_stack(engine):
            if guard.resize(address, size_bytes):
                return _signed(address)
        kept_bytes = guard.room_bytes(address)
        made = self._noted(self._allocate(size_bytes, 0), size_bytes, 0)
        memory = self._statics.memory
        if made != engine.zero_size_address:
            memory[made : made + kept_bytes] = bytes(memory[address : address + kept_bytes])
        return _signed(made)

    def _collect_on_request(self, wants_free_bytes: bool) -> int | None:
        with self._life.busy("collects"):
            engine = self._engine or self._adopt()
            self._check_variables(engine)
            # A heap that only grows is not collected by anybody.
            free_bytes = _free_bytes(engine) if self.policy.leaking else self._collect(REQUESTED)
        return free_bytes if wants_free_bytes else None

    # ---- the engine's embedder ----------------------------------------------------------------------------------

    def on_exhausted(self) -> int:
        """Collect on behalf of the engine; returns the free bytes, 0 for a heap that is not to be collected."""
        if self.policy.leaking:
            # Where there would have been a collection.
            self._look("the growth")
            return 0
        free_bytes = self._collect(EXHAUSTED)
        if self.facts.keeps_headroom:
            return free_bytes
        # Enough for the engine: older programs grow only when a second search finds nothing, either.
        assert self._engine is not None
        return self._engine.geometry.pool_bytes

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
        assert self._engine is not None
        geometry, census = self._engine.geometry, self._engine.census()
        self._absent_blocks.append(geometry.blocks_for(size_bytes + self.facts.header_bytes))
        callers = self._callers()
        raise GuestOutOfMemoryError(
            f"the program asked for {size_bytes - self._zone_bytes} bytes (by {shown(callers)}): its heap of "
            f"{geometry.heap_bytes} bytes has {census.free_blocks * geometry.block_bytes} free, at most "
            f"{census.largest_free_run_blocks * geometry.block_bytes} in one piece, and cannot grow: {self._obstacle}",
            callers,
        )

    def _callers(self) -> tuple[str, ...]:
        """Who waits for this host; nobody where there is no room to find out."""
        with suppress(GuestError):
            self._calls = self._calls or CallStack(self._store)
            return self._calls.names()
        return ()

    def grow(self, needed_blocks: int) -> bool:
        """Grow the guest's memory by one step and move the block table to its end."""
        assert self._engine is not None
        assert self._memory is not None
        old = self._engine.geometry
        pages = self._memory.size(self._store)
        end_address = self._next_end(old, pages)
        new_pages = -(-end_address // WASM_PAGE_BYTES)
        if end_address <= old.end_address:
            self._obstacle = self._why_not_larger(old)
            return False
        if new_pages > pages:
            try:
                self._memory.grow(self._store, new_pages - pages)
            except wasmtime.WasmtimeError:
                self._obstacle = self._why_no_memory(pages, new_pages)
                return False
        self._resize(end_address - old.start_address)
        return True

    def _why_not_larger(self, old: Geometry) -> str:
        """Why the policy has no larger heap."""
        limits = [limit for limit in self.policy.limits_bytes if limit <= old.heap_bytes]
        if limits:
            return f"it has reached its limit of {min(limits)} bytes; allow it more (--heap-limit)"
        if old.end_address + old.block_bytes > old.address_space_bytes:
            return "it ends where the address space does"
        policy = "double" if self.policy.growth is None else growth_text(self.policy.growth)
        return f"its growth policy ({policy}) makes it no larger; choose another (--growth)"

    def _why_no_memory(self, pages: int, new_pages: int) -> str:
        """Why there are no further pages for the next step."""
        assert self._memory is not None
        step = f"the next step is from {pages * WASM_PAGE_BYTES} to {new_pages * WASM_PAGE_BYTES} bytes of memory"
        limit_bytes, most = self._memory_limit_bytes, self._memory.type(self._store).limits.max
        if limit_bytes is not None and new_pages * WASM_PAGE_BYTES > limit_bytes:
            return (
                f"{step}, over the memory limit of {limit_bytes}; allow more (--memory-limit), or smaller steps "
                "(--growth step:64K)"
            )
        if most is not None and new_pages > most:
            return f"{step}, over the {most * WASM_PAGE_BYTES} that the module allows; try smaller steps (--growth step:64K)"
        return f"{step}, which this machine does not have; try smaller steps (--growth step:64K)"

    def _next_end(self, old: Geometry, pages: int) -> int:
        """The address at which the heap is to end next."""
        growth, limit_bytes = self.policy.growth, self.policy.heap_limit_bytes
        # As the original: what there is, again.  wasm-ld's memory ends where the heap does.
        end_address = 2 * pages * WASM_PAGE_BYTES
        if growth is not None:
            end_address = old.start_address + next_size(growth, old.heap_bytes)
        if limit_bytes is not None:
            end_address = min(end_address, old.start_address + limit_bytes)
        return min(end_address, old.address_space_bytes)

    def _resize(self, heap_bytes: int) -> None:
        engine, facts = self._engine, self.facts
        assert engine is not None
        old_bytes = engine.geometry.heap_bytes
        engine.release_memory()
        self._take_memory()
        start_address = engine.geometry.start_address
        engine.move_memory(self._heap_view(start_address, heap_bytes))
        engine.resize(heap_bytes)
        geometry = engine.geometry
        if self._guard is not None:
            self._guard.grown()
        self._tie()
        self._write(facts.heap_end_address, geometry.end_address)
        self._write(facts.metadata_start_address, geometry.table_address)
        self._write(facts.end_block_address, geometry.end_block)
        self._peak_bytes = max(self._peak_bytes, heap_bytes)
        if self._recorder is not None:
            self._recorder.note_growth(old_bytes, heap_bytes, self._wanted_bytes)

    # ---- collecting -------------------------------------------------------------------------------------------------

    def _collect(self, reason: str) -> int:
        """A whole collection, in the original's order; returns the free bytes."""
        engine = self._engine
        assert engine is not None
        recorder = self._recorder
        if recorder is not None:
            recorder.sample()
        begun_ns = time.perf_counter_ns()
        self._publish()
        before = engine.counters
        self._look(f"the collection at allocation {before.mallocs}")
        self._mark(engine)
        marked_ns = time.perf_counter_ns()
        noting_ns = 0 if recorder is None else self._note_deaths(recorder, engine)
        free_bytes = engine.sweep()
        if self._guard is not None:
            self._guard.forget_freed()
        self._publish()
        ended_ns = time.perf_counter_ns() - noting_ns
        times_ns, left = (begun_ns, marked_ns, ended_ns), self._left(engine, reason, free_bytes)
        collection = Collection.between(len(self.collections) + 1, reason, before, engine.counters, left, times_ns)
        self.collections.append(collection)
        if recorder is not None:
            wanted_bytes = self._wanted_bytes if reason == EXHAUSTED else None
            recorder.note_collection(collection, begun_ns, wanted_bytes, self._roots_bytes, engine.geometry.block_bytes)
        if self._listener is not None:
            self._listener(collection)
        return free_bytes

    def _note_deaths(self, recorder: Recorder, engine: Engine) -> int:
        """Tell of what was not marked; returns the nanoseconds that this took."""
        geometry = engine.geometry
        return recorder.note_deaths(self._base + geometry.table_address, geometry.end_block, len(self.collections) + 1)

    def _left(self, engine: Engine, reason: str, free_bytes: int) -> tuple[int, int, int]:
        """Live objects, their blocks, and free blocks after a sweep; counted, since a census would take its time again."""
        counters, geometry = engine.counters, engine.geometry
        free_blocks = free_bytes // geometry.block_bytes
        # The allocation that led to it is counted and has no object yet.
        absent = 1 if reason == EXHAUSTED else 0
        return counters.mallocs - counters.frees - absent, geometry.end_block - free_blocks, free_blocks

    def _mark(self, engine: Engine) -> None:
        stack = self.facts.mark_stack
        stack_pointer = self._stack_pointer_now()
        try:
            self._use_mark_stack(engine, stack_pointer - stack.root_bytes_below_alloc)
            self._roots_bytes = 0
            for start, end in self._root_ranges(stack_pointer):
                self._roots_bytes += end - start
                engine.mark_roots(self._statics.memory[start:end])
            if stack.rescan_bytes_below_alloc != stack.root_bytes_below_alloc:
                self._use_mark_stack(engine, stack_pointer - stack.rescan_bytes_below_alloc)
            unreadable = engine.finish_mark()
        except BaseException:
            engine.unmark()
            raise
        if unreadable != NO_BLOCK:
            message = self._advised([layout_problem(self.facts, engine, unreadable)])
            engine.unmark()
            with self._blaming_the_stack(engine):
                raise HeapCorruptError(message)

    def _stack_pointer_now(self) -> int:
        assert self._stack_pointer is not None
        return int(self._stack_pointer.value(self._store)) & 0xFFFF_FFFF

    def _use_mark_stack(self, engine: Engine, address: int) -> None:
        """Lay the mark stack where the original's is, if there is such a place left."""
        if address >= 0:
            engine.use_mark_stack(self._statics.memory[address : address + 4 * self.facts.mark_stack.entries])

    def _root_ranges(self, stack_pointer: int) -> Iterator[tuple[int, int]]:
        """What the original scans, in its order: the stack, then the globals."""
        roots = self.facts.roots
        # The frames of alloc and of what it calls to collect are on the stack when it is scanned.
        scanned_from = stack_pointer - sum(frame.size_bytes for frame in self._frames_in_scan())
        task = self._read(roots.current_task_address) if roots.current_task_address is not None else 0
        top = roots.stack_top_address or 0
        if roots.stack_scan is StackScan.CHAIN:
            yield from self._chain_ranges(roots.stack_chain_address or 0)
        elif roots.stack_scan is StackScan.SYSTEM or (roots.stack_scan is StackScan.SYSTEM_UNLESS_TASK and not task):
            yield scanned_from, top
        elif roots.stack_scan is StackScan.SYSTEM_OR_SAVED:
            saved = self._read(roots.saved_stack_pointer_address or 0)
            yield (saved if task else scanned_from), top
        yield roots.globals_start_address, roots.globals_end_address

    def _frames_in_scan(self) -> Iterator[Frame]:
        """Frames between alloc's entry and the function that scans a range of roots."""
        mark_roots = self.facts.functions.get("markRoots")
        for frame in self.facts.mark_stack.root_chain[:-1]:
            if frame.function == mark_roots:
                return
            yield frame

    def _chain_ranges(self, first_address: int) -> Iterator[tuple[int, int]]:
        """The stack objects of a guest that links them: ``{next, number of words, words...}``."""
        seen = set()
        at = self._read(first_address)
        while at and at not in seen:
            seen.add(at)
            words_at = at + 2 * WORD_BYTES
            yield words_at, words_at + self._read(at + WORD_BYTES) * WORD_BYTES
            at = self._read(at)

    # ---- verifying --------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Check the heap for the last time, as far as the policy asks for it; call it when the program has ended.

        Raises:
            HeapCorruptError: something was overwritten.
        """
        if self._engine is not None:
            self._check_variables(self._engine)
            self._look("the program's end")

    def verify(self) -> None:
        """Check block table, layouts and counts, whatever the policy.

        Raises:
            HeapCorruptError: names each problem found and its place.
        """
        problems = self.problems()
        if problems:
            raise HeapCorruptError(self._advised(problems))

    def problems(self) -> list[str]:
        """What `verify` finds, a line each; empty for a sound heap, and before the first allocation."""
        return [] if self._engine is None else heap_problems(self.facts, self._engine, self._absent_blocks)

    def _look(self, until: str) -> None:
        """Check as far as the policy asks for it; the guard comes first, because it knows who did it."""
        if self._engine is None or not (self.policy.verify or self.policy.guard):
            return
        with self._blaming_the_stack(self._engine):
            if self._guard is not None:
                self._guard.check(until)
            self.verify()

    def _check_variables(self, engine: Engine) -> None:
        """Check the guest's own variables, which hold what was left there after the last allocation or collection."""
        if not (self.policy.verify or self.policy.guard):
            return
        problems = variable_problems(self.facts, engine, self.figures(engine), self._read)
        if problems:
            number = engine.counters.mallocs
            since = f"since allocation {number}" if number else "before the first allocation"
            with self._blaming_the_stack(engine):
                raise HeapCorruptError(f"{'; '.join(problems)}; that happened {since}")

    @contextmanager
    def _blaming_the_stack(self, engine: Engine) -> Iterator[None]:
        """Around checks: where the program's stack overflowed, that comes first, and what it wrote over second."""
        try:
            yield
        except HeapCorruptError as error:
            overflow = stack_overflow(self.facts, self._statics.memory, engine, self._stack_pointer_now())
            if overflow is None:
                raise
            message = f"the program's stack overflowed ({overflow}) and wrote over its heap or its variables: {error}"
            raise HeapCorruptError(message) from error

    def stack_overflow(self) -> str | None:
        """By what the program's stack is seen to have overflowed, in a phrase; None where it is not."""
        if self._memory is None:
            return None
        self._take_memory()
        return stack_overflow(self.facts, self._statics.memory, self._engine, self._stack_pointer_now())

    def _advised(self, problems: list[str]) -> str:
        advice = "" if self.policy.guard else "; run with --guard to find out who overran its object"
        return "; ".join(problems) + advice


def _free_bytes(engine: Engine) -> int:
    return engine.census().free_blocks * engine.geometry.block_bytes


def _signed(number: int) -> int:
    """A 32-bit number as wasmtime wants it."""
    return number - (1 << 32) if number >> 31 else number
