"""The heap that a mutator uses: allocation, roots, collections and statistics.

An engine does the work on blocks; this is everything around it.  `Heap.collect` is the whole of a collection, top to
bottom: roots, the run queue, weak references, finalizers, sweep.  A collection is all or nothing: whatever is found wrong
before the sweep (a corrupt table, an overwritten layout) is raised with the heap as it was.

Every method enters the heap's monitor (`monitor`): while an operation runs, what the code that it calls may do is limited,
and other threads are refused, with `HeapBusyError`.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from numbers import Integral
from operator import methodcaller
from typing import TYPE_CHECKING, Final, NoReturn, Self, cast

from tinyheap.errors import (
    GeometryError,
    HeapBusyError,
    HeapCorruptError,
    HeapError,
    InvalidAddressError,
    InvalidSizeError,
    InvalidTypeError,
    LayoutError,
    OutOfMemoryError,
)
from tinyheap.heap.arguments import SHOWN_BITS, check_callable, shown, whole_number, wrong_type
from tinyheap.heap.buffers import Buffer, flat_bytes, reserve, writable_bytes
from tinyheap.heap.collectors import Collector, check_mark_stack, named_collector
from tinyheap.heap.contract import NO_BLOCK, BestFitEngine, Census, Counters, Engine, Gc, NextFitEngine, Options
from tinyheap.heap.engines import choose_engine, engine_name_of, model_of, serving_collector
from tinyheap.heap.finalization import Afterlife, Finalizer, WeakReference, report_errors
from tinyheap.heap.geometry import NIL, Geometry
from tinyheap.heap.growth import Growth, NoGrowth, check_policy, limit_of, next_size
from tinyheap.heap.layout import Layout, StaticLayouts
from tinyheap.heap.monitor import (
    ALLOCATION,
    CLOSED,
    CLOSING,
    COLLECTION,
    FINALIZERS,
    FREEING,
    GROWTH,
    LOOKING,
    VERIFICATION,
    WRITING,
    Monitor,
    entering,
)
from tinyheap.heap.problems import unreadable_layout, written_free_block, wrong_block, wrong_counts
from tinyheap.heap.roots import Roots
from tinyheap.heap.stats import Collection, MemStats
from tinyheap.heap.view import HeapObject, HeapView, walk
from tinyheap.ownership import SoleOwner
from tinyheap.units import GIB, KIB, counted

if TYPE_CHECKING:
    from tinyheap.heap.blockmap import BlockMap
    from tinyheap.heap.nextfit._kernel import Kernel

DEFAULT_START_ADDRESSES: Final = {2: 0x100, 4: 64 * KIB, 8: 64 * KIB}
"""By word size: where AVR's memory begins; the end of WebAssembly's first page."""
DEFAULT_LIMIT_BYTES: Final = GIB
"""How far a heap over memory of its own may grow where its policy names no limit."""
POISON_BYTES: Final = (0xA5, 0x5A, 0xDB, 0xEF, 0x00)
"""Candidates: the first that does not read as an address of the heap."""
PROBLEMS: Final = 16
"""So many problems are named, of each kind."""


class Listener:
    """Observes a heap; override what you want to know.

    The order is always ``collection_began``, ``marked``, ``collection_ended``; ``grew`` and ``out_of_memory`` may follow.
    Listeners cannot change the heap (`HeapBusyError`), and their errors do not reach the mutator: `sys.unraisablehook` is
    told of them.
    """

    def collection_began(self, heap: Heap, reason: str) -> None:
        """Before the first root is read."""

    def marked(self, heap: Heap) -> None:
        """After the mark phase: what is not marked will be freed."""

    def collection_ended(self, heap: Heap, collection: Collection) -> None:
        """After the sweep."""

    def grew(self, heap: Heap, old_bytes: int, new_bytes: int) -> None:
        """After the table has moved."""

    def out_of_memory(self, heap: Heap, size_bytes: int) -> None:
        """Before `OutOfMemoryError` is raised."""


class Heap(SoleOwner):
    """A garbage-collected heap over flat memory.

    It belongs to one thread at a time.  While an operation runs, other threads are refused with `HeapBusyError`, whatever they
    ask for, except pushing tasks; so is what callbacks (growth policies, root sources, listeners, finalizers) ask for beyond
    what each of them may do.  A closed heap raises `HeapError`.

    Args:
        memory: a size in bytes, for memory of its own, or any writable buffer (``bytearray``, ``mmap``, shared memory, a
            guest's linear memory), whose first byte is the heap's first.
        gc: ``conservative``, ``precise`` or ``leaking``.
        collector: ``next-fit``, ``best-fit-front``, ``best-fit-back``, ``best-fit`` for the newest, or a release of TinyGo
            that had it, such as ``0.41.1`` (`collectors`).  A leaking heap is the same in all.
        word_bytes: a pointer's size: 2, 4 or 8.
        start_address: the mutator's address of the first byte.
        size_bytes: of the heap at first, where it is less than the buffer; growth takes the rest.
        growth: how it grows; not at all by default.
        engine: ``kernel`` or ``model``; the kernel where it is there, by default.
        word_alignment_bytes: step between words that may be pointers; 1 on AVR, else the word size.
        header_alignment_bytes: what a header in front of an object is padded to: 16 on WebAssembly, 8 on Cortex-M.
        mark_stack_entries: size of the bounded mark stack of next-fit; 0 for one that never overflows (in the model: 8 words'
            worth, as in the original).  Best-fit has none.
        clear_blocks: clear whole blocks, not only the bytes asked for; closes the known leak of next-fit.  Best-fit always
            does.
        asserts: check what the original checks under ``gcAsserts``, and poison free blocks, so that `verify` finds writes
            after free.
        adopt: keep the heap that lies in the buffer already, instead of starting with an empty one.  A free list is built
            anew from its block table, as by a sweep, since the buffer does not hold where the old one began.
        debug: called with a line for each step of the collector, as the original prints; takes the model.

    Raises:
        InvalidTypeError: an argument is of a wrong type.
        GeometryError: sizes and addresses do not fit each other, or the buffer is read-only or too small for a block.
        HeapCorruptError: the adopted block table is not a valid one.
        HeapError: the engine asked for is not there, there is no such collector, or it has no mark stack to be bounded.

    Source: TinyGo's ``gc_blocks.go``.
    """

    def __init__(
        self,
        memory: int | Buffer,
        *,
        gc: Gc | str = Gc.CONSERVATIVE,
        collector: Collector | str = Collector.NEXT_FIT,
        word_bytes: int = 8,
        start_address: int | None = None,
        size_bytes: int | None = None,
        growth: Growth | None = None,
        engine: str | None = None,
        word_alignment_bytes: int = 0,
        header_alignment_bytes: int = 0,
        mark_stack_entries: int = 0,
        clear_blocks: bool = False,
        asserts: bool = False,
        adopt: bool = False,
        debug: Callable[[str], None] | None = None,
    ) -> None:
        self.gc = _named_gc(gc)
        self._collector = serving_collector(named_collector(collector), self.gc)
        self.growth = NoGrowth() if growth is None else growth
        word_bytes = whole_number("word_bytes", word_bytes)
        if isinstance(cast(object, memory), Integral):
            memory = whole_number("size", memory)
        self._debug = None if debug is None else _reporting(debug)
        if start_address is None:
            start_address = DEFAULT_START_ADDRESSES.get(word_bytes, NIL + word_bytes)
        place = Geometry(
            start_address, 0, word_bytes, word_alignment_bytes, header_alignment_bytes, self.gc is not Gc.LEAKING
        )
        self._memory = self._take_memory(memory, place, size_bytes)
        geometry = place.resized(self._memory.nbytes if size_bytes is None else size_bytes)
        if isinstance(memory, int):
            geometry = place.resized(memory)
        if geometry.resized(self.capacity_bytes).pool_bytes < geometry.block_bytes:
            raise GeometryError(
                f"{self.capacity_bytes} bytes are too small for a block of {geometry.block_bytes} bytes and its state"
            )
        largest = geometry.resized(self.capacity_bytes)
        options = Options(
            gc=self.gc,
            mark_stack_entries=_fitting_entries(mark_stack_entries, largest),
            clear_blocks=bool(clear_blocks),
            asserts=bool(asserts),
            poison_byte=_poison_byte(largest),
            collector=self._collector,
        )
        check_mark_stack(self._collector, options.mark_stack_entries)
        self._monitor = Monitor()
        self._layouts = StaticLayouts(geometry, self.capacity_bytes)
        self._engine: Engine = self._make_engine(engine, geometry, options)
        self._view = HeapView(self._engine, self.gc, self._layouts.layout_of)
        self._engine.zero_size_address = self._layouts.zero_size_address
        self._monitor.serve(self._engine)
        self._engine_name = engine_name_of(type(self._engine))
        if self._engine_name == "kernel":
            self._take_short_way(cast("Kernel", self._engine))
        self._asserts = options.asserts
        self.roots = Roots(word_bytes, self._monitor)
        self._afterlife = self._make_afterlife()
        self._finalizers_wait = False
        self._listeners: dict[object, Listener] = {}
        self._collections = 0
        self._last_collection: Collection | None = None
        self._interrupts = 0
        self._batches: list[array[int]] = []
        self._failed_mallocs = self._failed_blocks = 0
        self._adopted = Census(0, 0, 0, 0, 0, 0)
        if adopt:
            self._adopt()
        else:
            self._engine.write_table(bytes(geometry.table_bytes))
        if asserts:
            self._engine.poison_free()

    # ---- making -----------------------------------------------------------------------------------------------------

    def _take_memory(self, memory: int | Buffer, place: Geometry, size_bytes: int | None) -> memoryview:
        size_bytes = None if size_bytes is None else whole_number("size_bytes", size_bytes)
        if not isinstance(memory, int):
            view = writable_bytes(memory)
            if size_bytes is not None and not 0 <= size_bytes <= view.nbytes:
                raise GeometryError(f"a heap of {shown(size_bytes)} bytes does not fit the buffer's {view.nbytes}")
            place.resized(view.nbytes)
            return view
        if size_bytes is not None:
            raise GeometryError("size_bytes goes with a buffer; without one the size is the first argument")
        if memory <= 0:
            raise GeometryError(f"a heap of {shown(memory)} bytes is too small for a block")
        place.resized(memory)
        limit_bytes = limit_of(self._growth)
        room_bytes = place.address_space_bytes - place.start_address - 2 * place.word_bytes
        capacity_bytes = min(DEFAULT_LIMIT_BYTES if limit_bytes is None else limit_bytes, room_bytes)
        return memoryview(reserve(max(memory, capacity_bytes)))

    def _make_engine(self, name: str | None, geometry: Geometry, options: Options) -> Engine:
        embedder = _Embedder(self._on_exhausted, self._grow, self._finish_allocation, self._layout_word)
        if self._debug is None:
            return choose_engine(name, self._collector)(self._memory, geometry, options, self._layouts, embedder)
        if name == "kernel":
            raise HeapError("debug tracing shows each step, which only the model takes one by one; use engine='model'")
        return model_of(self._collector)(self._memory, geometry, options, self._layouts, embedder, self._debug)

    def _make_afterlife(self) -> Afterlife:
        if not self._collector.has_finalizers:
            return Afterlife()
        # Heaps of other collectors start sooner without it.
        from tinyheap.heap.bestfit.afterlife import TableAfterlife

        return TableAfterlife(self._engine, self._engine.alloc)

    def _take_short_way(self, kernel: Kernel) -> None:
        """Let the kernel do what `alloc` does, without a Python frame around it, whenever nothing stands in the way."""
        kernel.otherwise = self.alloc
        self.alloc = kernel.alloc_at_once  # type: ignore[method-assign]

    def _adopt(self) -> None:
        try:
            self._check_table()
        except HeapCorruptError:
            self.close()
            raise
        self._engine.write_table(self._engine.read_table())
        self._adopted = self._engine.census()

    # ---- what it is -------------------------------------------------------------------------------------------------

    @property
    def geometry(self) -> Geometry:
        """Where things lie now."""
        return self._engine.geometry

    @property
    def collector(self) -> Collector:
        """The collector that the heap runs, by its algorithm."""
        return self._collector

    @property
    def engine_name(self) -> str:
        """``kernel`` or ``model``."""
        return self._engine_name

    @property
    def growth(self) -> Growth:
        """How it grows."""
        return self._growth

    @growth.setter
    def growth(self, growth: Growth) -> None:
        check_policy(growth)
        self._growth = growth

    @property
    def capacity_bytes(self) -> int:
        """The size in bytes that the heap can grow to in its memory."""
        return self._memory.nbytes

    @property
    def zero_size_address(self) -> int:
        """The address that all objects of size zero share, outside the heap."""
        return self._layouts.zero_size_address

    @property
    def next_alloc(self) -> int:
        """The block at which the next allocation begins to search for free blocks.

        Raises:
            HeapError: the heap is best-fit and searches no blocks; see `free_ranges`.
        """
        if self._collector.has_free_list:
            raise HeapError(f"{self._collector} has no next block: it allocates from a free list; see free_ranges()")
        return cast(NextFitEngine, self._engine).next_alloc

    @property
    def last_collection(self) -> Collection | None:
        """The last run of the collector, if there was one."""
        return self._last_collection

    def __repr__(self) -> str:
        try:
            stats, geometry = self.stats(), self.geometry
        except HeapBusyError:
            return "<Heap, at work in another thread>"
        except HeapError:
            return "<Heap, closed>"
        live = self._live_objects()
        kind = self.gc if self._collector is Collector.NEXT_FIT else f"{self._collector} {self.gc}"
        return (
            f"<Heap of {_readable(geometry.heap_bytes)} at {geometry.start_address:#x}, {8 * geometry.word_bytes}-bit, "
            f"{kind}, {self.engine_name}: {counted(live)} in {_readable(stats.heap_inuse)}>"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the memory; the heap cannot be used any more.  A second call does nothing.

        Raises:
            HeapBusyError: from any callback, or while another thread works on the heap.
        """
        if self._monitor.is_closed:
            return
        with self._monitor.entered(CLOSING):
            self._engine.release_memory()
            self._memory.release()
            self._engine, self._memory = cast(Engine, _Closed()), memoryview(b"")
            self._view = replace(self._view, engine=self._engine)
            vars(self).pop("alloc", None)
            self._monitor.close()

    # ---- allocating -------------------------------------------------------------------------------------------------

    @entering(ALLOCATION)
    def alloc(self, size_bytes: int, layout: Layout | int | None = None) -> int:
        """Allocate an object of zeros, after a collection or a growth where that is needed; returns its address.

        Args:
            size_bytes: 0 or more.  All objects of size zero share one address outside the heap.
            layout: for a precise heap: a `Layout`, or a raw layout word; without one every word may be a pointer.

        Raises:
            InvalidSizeError: the size is negative or beyond the address space.
            InvalidTypeError: the size is not a whole number, the layout not a layout.
            LayoutError: the layout fits no object of this size.
            OutOfMemoryError: no free run is long enough after a collection, and the heap cannot grow.
            AllocationInInterruptError: inside an interrupt.
            HeapBusyError: from a callback that may only look, or while another thread works on the heap.
            HeapCorruptError: the collection found the block table or a layout overwritten.
        """
        return self._engine.alloc(size_bytes, layout)

    @entering(ALLOCATION)
    def alloc_many(self, count: int, size_bytes: int, layout: Layout | int | None = None) -> array[int]:
        """Allocate ``count`` objects, which stay alive until the last has been made; returns their addresses.

        Raises:
            InvalidSizeError: the count is negative, or beyond what the heap's memory can ever hold, a word for each; also
                where the objects have no bytes.
            TinyheapError: as `alloc` does; none of them is kept then.
        """
        count, size_bytes = whole_number("count", count), whole_number("size", size_bytes)
        if count < 0:
            raise InvalidSizeError(f"invalid count {shown(count)}: expected 0 or more objects")
        if count * self.geometry.word_bytes > self.capacity_bytes:
            capacity_bytes = self.capacity_bytes
            raise InvalidSizeError(f"{shown(count)} objects can never be on a heap of at most {capacity_bytes} bytes")
        addresses = array("Q", [0]) * count
        # A finalizer that runs in between may allocate a batch of its own.
        self._batches.append(addresses)
        try:
            self._engine.alloc_many(addresses, size_bytes, layout)
        finally:
            self._batches.pop()
        return addresses

    @entering(ALLOCATION)
    def realloc(self, address: int, size_bytes: int) -> int:
        """Resize an object; returns its address, a new one where the size does not fit its blocks.

        The new object's layout is unknown, as in the original; the old one is left to the collector.  Nil allocates.

        Raises:
            InvalidAddressError: no live object is there.
            InvalidSizeError, InvalidTypeError, OutOfMemoryError, AllocationInInterruptError: as `alloc`.
            HeapBusyError, HeapCorruptError: as `alloc`.
        """
        address, size_bytes = _address(address), whole_number("size", size_bytes)
        if address in (NIL, self.zero_size_address):
            return self._engine.realloc(NIL, size_bytes)
        if self.gc is Gc.LEAKING:
            self._check_bumped(address)
            return self._engine.realloc(address, size_bytes)
        old, new_address = self._view.object_at(address), NIL
        # What is yet to be copied must be taken neither by a collection nor by the finalizers that follow it.
        self._finalizers_wait = True
        try:
            with self.roots.add(address):
                new_address = self._engine.realloc(address, size_bytes)
            if new_address != address:
                self._afterlife.moved(old.head, self._view.object_at(new_address).head, new_address)
        finally:
            self._finalizers_wait = False
            self._run_due(new_address)
        return new_address

    def _check_bumped(self, address: int) -> None:
        """The leaking collector knows no objects, only how far it came."""
        start, end = self.geometry.start_address, self._engine.bump_address
        if not start <= address < end:
            raise InvalidAddressError(
                f"{address:#x} is not an object: a leaking heap has allocated {start:#x}..{end:#x} so far"
            )

    @entering(FREEING)
    def free(self, address: int) -> None:
        """Free an object at once, which TinyGo's collector does not offer.

        Its weak references are cleared; its finalizer does not run.  Nil and objects of size zero are ignored.  In a free
        list its blocks become a range of their own, not merged with free blocks beside it before the next collection.

        Raises:
            InvalidAddressError: no live object begins there: it was freed before, or lies inside an object.
            HeapBusyError: from a callback that may only look, or while another thread works on the heap.
        """
        address = _address(address)
        if address in (NIL, self.zero_size_address) or self.gc is Gc.LEAKING:
            return
        found = self._view.object_from(address)
        self._engine.free(found.head)
        self._afterlife.forget(found.head, found.address)
        self._run_due()

    def _out_of_memory(self, size_bytes: int) -> OutOfMemoryError:
        geometry, census = self.geometry, self._engine.census()
        needed_bytes = self._taken_bytes(size_bytes)
        self._tell("out_of_memory", size_bytes)
        free_bytes = census.free_blocks * geometry.block_bytes
        largest_bytes = census.largest_free_run_blocks * geometry.block_bytes
        quirk = self._search_quirk() if largest_bytes >= needed_bytes else ""
        return OutOfMemoryError(
            f"no room for {size_bytes} bytes in a heap of {geometry.heap_bytes}: {free_bytes} bytes are free, at most "
            f"{largest_bytes} in one piece{quirk}, and it cannot grow (capacity {self.capacity_bytes} bytes)"
        )

    def _search_quirk(self) -> str:
        """Why a piece that is long enough was not found."""
        if self._collector.has_free_list:
            return ", in ranges of the free list that nothing merges before a collection"
        return f", which no search from block {self.next_alloc} on crosses"

    def _taken_bytes(self, size_bytes: int) -> int:
        """What an object of so many bytes takes, its header included."""
        return size_bytes + self._engine.shape.header_bytes

    # ---- memory -----------------------------------------------------------------------------------------------------

    @entering(LOOKING)
    def load_word(self, address: int) -> int:
        """The word at an address of the heap.

        Raises:
            InvalidAddressError: it does not lie on the heap, or, under asserts, not in a live object.
        """
        address = _address(address)
        self._check_access(address, self.geometry.word_bytes)
        return self._engine.load_word(address)

    @entering(WRITING)
    def store_word(self, address: int, value: int) -> None:
        """Write a word; a value that does not fit loses its high bits.

        Raises:
            InvalidAddressError: as `load_word`.
            HeapBusyError: from a callback that may only look, or while another thread works on the heap.
        """
        address, value = _address(address), whole_number("word", value)
        self._check_access(address, self.geometry.word_bytes)
        self._engine.store_word(address, value & self.geometry.address_space_bytes - 1)

    @entering(LOOKING)
    def read(self, address: int, size_bytes: int) -> bytes:
        """A copy of bytes of the heap.

        Raises:
            InvalidAddressError: as `load_word`.
        """
        return bytes(self._bytes_at(_address(address), whole_number("size", size_bytes)))

    @entering(WRITING)
    def write(self, address: int, data: Buffer) -> None:
        """Write bytes to the heap.

        Raises:
            InvalidAddressError: as `load_word`.
            InvalidTypeError: the data are not a buffer of bytes.
            HeapBusyError: from a callback that may only look, or while another thread works on the heap.
        """
        address = _address(address)
        try:
            source = flat_bytes(memoryview(data))
        except TypeError as error:
            raise InvalidTypeError(f"cannot write {type(data).__name__} to a heap: {error}") from error
        except ValueError as error:
            raise HeapError(f"cannot write these data to a heap: {error}") from error
        self._bytes_at(address, source.nbytes)[:] = source

    def _bytes_at(self, address: int, size_bytes: int) -> memoryview:
        self._check_access(address, size_bytes)
        at = address - self.geometry.start_address
        return self._memory[at : at + size_bytes]

    def _check_access(self, address: int, size_bytes: int) -> None:
        geometry = self.geometry
        at = address - geometry.start_address
        if size_bytes < 0 or not 0 <= at <= geometry.pool_bytes - size_bytes:
            raise InvalidAddressError(
                f"{shown(size_bytes)} bytes at {address:#x} do not lie on the heap, "
                f"{geometry.start_address:#x}..{geometry.table_address:#x}"
            )
        if self._asserts and size_bytes and self.gc is not Gc.LEAKING:
            self._view.check_inside(address, size_bytes)

    # ---- objects ----------------------------------------------------------------------------------------------------

    @entering(LOOKING)
    def object_at(self, address: int) -> HeapObject:
        """The live object that an address lies in.

        Raises:
            InvalidAddressError: it lies in none.
        """
        return self._view.object_at(_address(address))

    def objects(self) -> Iterator[HeapObject]:
        """All live objects, by address; the heap must not change meanwhile."""
        return walk(self._next_object)

    @entering(LOOKING)
    def _next_object(self, block: int) -> HeapObject | None:
        return self._view.next_object(block)

    @entering(WRITING)
    def set_finalizer(self, address: int, finalizer: Finalizer | None) -> None:
        """Call ``finalizer(address)`` once the object is unreachable; None removes a finalizer.

        See `finalization` for order and resurrection, and `bestfit.afterlife` for those of best-fit-back, where setting one
        allocates, and objects of size zero may have one that never runs.

        Raises:
            InvalidAddressError: no live object begins there.
            InvalidTypeError: the finalizer cannot be called.
            OutOfMemoryError, AllocationInInterruptError, HeapCorruptError: in best-fit-back, as `alloc`.
        """
        if finalizer is not None:
            check_callable("finalizer", finalizer)
        address = _address(address)
        if self._collector.has_finalizers and address == self.zero_size_address:
            head = NO_BLOCK
        else:
            head = self._view.object_from(address).head
        with self._monitor.within(ALLOCATION):
            self._afterlife.set_finalizer(head, address, finalizer)

    @entering(COLLECTION)
    def idle(self) -> Collection | None:
        """Say that the mutator is idle: like the scheduler of TinyGo 0.42, collect if many finalizers were set.

        That is 32 since the last collection, and half of those that are set.  Collectors that do not count them (all but
        best-fit-back) never collect here.

        Raises:
            HeapBusyError, HeapCorruptError: as `collect`.
        """
        if not self._afterlife.is_pressing:
            return None
        collection = self._collect("idle")
        self._run_due()
        return collection

    @entering(WRITING)
    def weak(self, address: int, on_clear: Callable[[WeakReference], object] | None = None) -> WeakReference:
        """A weak reference to an object; calling it gives the address, or None once the object was freed.

        Args:
            address: of the object or inside of it, which is what the reference gives.
            on_clear: called with the reference after the collection that cleared it.

        Raises:
            InvalidAddressError: no live object is there.
            InvalidTypeError: the hook cannot be called.
        """
        if on_clear is not None:
            check_callable("on_clear hook", on_clear)
        address = _address(address)
        reference = WeakReference(address, on_clear)
        self._afterlife.add_weak(self._view.object_at(address).head, reference)
        return reference

    def _run_due(self, fresh_address: int = NIL) -> None:
        """Run the finalizers that are due, while the object that the mutator does not hold yet is kept alive."""
        if self._afterlife.has_due and not self._finalizers_wait:
            with self._monitor.within(FINALIZERS), self.roots.add(fresh_address):
                self._afterlife.run()

    # ---- collecting -------------------------------------------------------------------------------------------------

    @entering(COLLECTION)
    def collect(self) -> Collection:
        """Run the collector, then the finalizers that are due.

        Raises:
            HeapBusyError: from a callback that may only look, or while another thread works on the heap.
            HeapCorruptError: the block table or a layout was overwritten; the heap is as it was.
        """
        collection = self._collect("requested")
        self._run_due()
        return collection

    def _collect(self, reason: str) -> Collection:
        begun_ns = time.perf_counter_ns()
        self._debug_line("running collection cycle...")
        self._tell("collection_began", reason)
        before = self._engine.counters
        swept_from_ns = begun_ns
        if self.gc is not Gc.LEAKING:
            self._mark()
            swept_from_ns = time.perf_counter_ns()
            self._engine.sweep()
            self._debug_line(lambda: str(self.dump()))
        ended_ns = time.perf_counter_ns()
        self._collections += 1
        census = self._engine.census()
        collection = Collection.between(
            self._collections,
            reason,
            before,
            self._engine.counters,
            (census.heads, census.heads + census.tails, census.free_blocks),
            (begun_ns, swept_from_ns, ended_ns),
        )
        self._last_collection = collection
        self._tell("collection_ended", collection)
        return collection

    def _mark(self) -> None:
        """The mark phase; on any error everything is unmarked again."""
        engine = self._engine
        self._check_table()
        try:
            self.roots.mark(engine)
            engine.mark_addresses(self._afterlife.due_addresses())
            for batch in self._batches:
                engine.mark_addresses(batch)
            unreadable = self.roots.mark_tasks(engine)
            unreadable = max(unreadable, self._afterlife.after_mark(engine))
            if unreadable != NO_BLOCK:
                raise HeapCorruptError(unreadable_layout(engine, unreadable))
            self._tell("marked")
        except BaseException:
            engine.unmark()
            raise
        self._afterlife.commit()

    @contextmanager
    def interrupt(self) -> Iterator[None]:
        """Behave inside as in an interrupt handler: allocating raises `AllocationInInterruptError`, pushing tasks works."""
        with self._monitor.entered(LOOKING):
            self._interrupts += 1
            self._engine.in_interrupt = True
        try:
            yield
        finally:
            self._interrupts -= 1
            if not self._monitor.is_closed:
                self._engine.in_interrupt = self._interrupts > 0

    # ---- what the engine asks for (`contract.Embedder`) -----------------------------------------------------------

    def _on_exhausted(self) -> int:
        """Collect on behalf of the engine, which searched the whole heap in vain; returns the free bytes."""
        with self._monitor.within(COLLECTION):
            return self._collect("exhausted").free_blocks * self.geometry.block_bytes

    def _layout_word(self, layout: Layout | int, size_bytes: int) -> int:
        """The layout word for an object of that size.

        Raises:
            InvalidTypeError: this is not a layout.
            LayoutError: the layout fits no object of this size.
        """
        if not isinstance(layout, Layout):
            word = whole_number("layout", layout)
            self._layouts.layout_of(word)
            return word
        words = -(-size_bytes // self.geometry.word_alignment_bytes)
        if size_bytes and layout.shortest().words > words:
            raise LayoutError(
                f"a layout of {layout.words} words ({layout}) does not fit an object of {size_bytes} bytes"
            )
        return self._layouts.word_of(layout)

    def _finish_allocation(self, address: int, size_bytes: int) -> int:
        """End an allocation that collected: run the finalizers that are due, or raise `OutOfMemoryError`."""
        if not address and not (self._collector.has_free_list and self._engine.shape.wraps(self.geometry, size_bytes)):
            # Counted, without an object.
            self._failed_mallocs += 1
            self._failed_blocks += self.geometry.blocks_for(self._taken_bytes(size_bytes))
        self._run_due(address)
        if not address:
            raise self._out_of_memory(size_bytes)
        return address

    # ---- growing ----------------------------------------------------------------------------------------------------

    @entering(GROWTH)
    def grow(self) -> bool:
        """Grow by one step of the policy; False when that is no growth, or there is no memory for it.

        Raises:
            InvalidTypeError: the policy answers something else than a size.
            HeapBusyError: from a callback that may only look, or while another thread works on the heap.
        """
        return self._grow()

    def _grow(self, needed_blocks: int = 0) -> bool:
        """Grow, on behalf of the engine too; as in the original, by no more for what an allocation is looking for."""
        old_bytes = self.geometry.heap_bytes
        with self._monitor.within(GROWTH):
            new_bytes = min(next_size(self._growth, old_bytes), self.capacity_bytes)
            if new_bytes <= old_bytes:
                return False
            self._check_far_enough(new_bytes)
            self._engine.resize(new_bytes)
            if self._asserts:
                self._engine.poison_free()
            self._debug_line(f"heap grew from {old_bytes} to {new_bytes} bytes")
            self._tell("grew", old_bytes, new_bytes)
        return True

    def _check_far_enough(self, new_bytes: int) -> None:
        """The original asserts that the table's new place does not overlap the old one; here it may, outside of asserts."""
        old = self.geometry
        if self._asserts and old.resized(new_bytes).table_address < old.end_address:
            raise HeapError(
                f"the heap did not grow enough at once: from {old.heap_bytes} to {new_bytes} bytes its table overlaps "
                "its old place; let the growth policy take larger steps"
            )

    # ---- looking ----------------------------------------------------------------------------------------------------

    @entering(LOOKING)
    def stats(self) -> MemStats:
        """The fields of Go's MemStats, as they are now."""
        return self._view.stats()

    @entering(LOOKING)
    def counters(self) -> Counters:
        """What the engine counted since the heap was made, its work included."""
        return self._engine.counters

    @entering(LOOKING)
    def census(self) -> Census:
        """The blocks, counted by state, and the free runs among them."""
        return self._view.census()

    @entering(LOOKING)
    def free_ranges(self) -> list[tuple[int, int]]:
        """Free ranges, ``(first block, blocks)`` each.

        In best-fit these are the free list in its order: by length, and within one length the one that is used last comes
        first, then the others in the order of their use.  Ranges may lie side by side until the next collection.  In
        next-fit, which has no list, these are all maximal runs of free blocks, by address.

        Raises:
            HeapCorruptError: the free list was overwritten.
        """
        return self._engine.free_ranges()

    @entering(LOOKING)
    def dump(self) -> BlockMap:
        """A map of the heap's blocks, for printing."""
        return self._view.dump()

    @entering(LOOKING)
    def add_listener(self, listener: Listener) -> Callable[[], None]:
        """Call a listener at each event of the heap; returns a function that removes it.

        Raises:
            InvalidTypeError: the listener is not a `Listener`.
        """
        if not isinstance(listener, Listener):
            raise wrong_type("listener", listener, "an object of a class derived from Listener")
        key = object()
        self._listeners[key] = listener
        return lambda: self._remove_listener(key)

    def _remove_listener(self, key: object) -> None:
        self._listeners.pop(key, None)

    def _tell(self, event: str, *arguments: object) -> None:
        tell = methodcaller(event, self, *arguments)
        for listener in list(self._listeners.values()):
            report_errors(tell, listener, hook=getattr(type(listener), event))

    def _debug_line(self, line: str | Callable[[], str]) -> None:
        if self._debug is not None:
            self._debug(line if isinstance(line, str) else line())

    # ---- verifying --------------------------------------------------------------------------------------------------

    def verify(self) -> None:
        """Check the heap: block table, free list, layouts, finalizers on the heap, counters, and under asserts free blocks.

        Raises:
            HeapCorruptError: names each problem found and its place.
        """
        problems = self.problems()
        if problems:
            raise HeapCorruptError("; ".join(problems))

    @entering(VERIFICATION)
    def problems(self) -> list[str]:
        """What `verify` finds, one line per problem; empty for a sound heap.

        Raises:
            HeapBusyError: from a callback that may only look, or while another thread works on the heap.
        """
        engine = self._engine
        problems = [wrong_block(engine, block) for block in engine.check_table(PROBLEMS)]
        if problems or self.gc is Gc.LEAKING:
            return problems
        listed = self._free_list_problems()
        problems += listed
        problems += [unreadable_layout(engine, block) for block in engine.check_layouts(PROBLEMS)]
        problems += self._afterlife.problems(PROBLEMS)
        if self._asserts and not listed:
            problems += [written_free_block(engine, block) for block in engine.check_poison(PROBLEMS)]
        return problems + self._wrong_counts()

    def _free_list_problems(self) -> list[str]:
        if not self._collector.has_free_list:
            return []
        from tinyheap.heap.bestfit import freelist

        return freelist.problems(cast(BestFitEngine, self._engine), PROBLEMS)

    def _check_table(self) -> None:
        wrong = self._engine.check_table(PROBLEMS)
        if wrong:
            raise HeapCorruptError("; ".join(wrong_block(self._engine, block) for block in wrong))

    def _live_objects(self) -> int:
        """How many objects were allocated and not freed."""
        counters = self._engine.counters
        return counters.mallocs - counters.frees - self._failed_mallocs + self._adopted.heads

    def _wrong_counts(self) -> list[str]:
        counters, adopted = self._engine.counters, self._adopted
        objects = self._live_objects()
        blocks = counters.total_blocks - counters.freed_blocks - self._failed_blocks + adopted.heads + adopted.tails
        return wrong_counts(self._engine.census(), objects, blocks)


class _Closed:
    """Stands where the engine stood, after the memory was given back."""

    def __getattr__(self, name: str) -> NoReturn:
        raise HeapError(CLOSED)


@dataclass(frozen=True, slots=True)
class _Embedder:
    """`contract.Embedder` of a heap: apart from it, since all of this belongs to an allocation that runs."""

    on_exhausted: Callable[[], int]
    grow: Callable[[int], bool]
    finish_allocation: Callable[[int, int], int]
    layout_word: Callable[[Layout | int, int], int]


def _reporting(debug: Callable[[str], object]) -> Callable[[str], None]:
    """A callback whose errors end there.

    Raises:
        InvalidTypeError: it cannot be called.
    """
    check_callable("debug callback", debug)
    return lambda line: report_errors(debug, line)


def _address(address: int) -> int:
    """An address as a mutator gives it, on the heap or not.

    Raises:
        InvalidTypeError: it is not a whole number.
        InvalidAddressError: no word holds it.
    """
    address = whole_number("address", address)
    if address.bit_length() > SHOWN_BITS:
        raise InvalidAddressError(f"invalid address {shown(address)}: expected a number that fits a word")
    return address


def _fitting_entries(mark_stack_entries: int, largest: Geometry) -> int:
    """Entries of a bounded mark stack; it need not be larger than to hold every object.

    Raises:
        GeometryError: less than 0.
    """
    entries = whole_number("mark_stack_entries", mark_stack_entries)
    if entries < 0:
        raise GeometryError(
            f"invalid mark_stack_entries {shown(entries)}: expected 1 or more, or 0 for a mark stack that never overflows"
        )
    return min(entries, largest.end_block)


def _named_gc(gc: Gc | str) -> Gc:
    try:
        return Gc(gc)
    except ValueError:
        raise HeapError(f"invalid gc {gc!r}: expected one of {', '.join(Gc)}") from None


def _poison_byte(largest: Geometry) -> int:
    """A byte that, repeated over a word, is not an address of the heap however far it grows."""
    words = {byte: int.from_bytes(bytes([byte]) * largest.word_bytes, "little") for byte in POISON_BYTES}
    return next(byte for byte, word in words.items() if not largest.is_on_heap(word))


def _readable(size_bytes: int) -> str:
    return f"{size_bytes} B" if size_bytes < KIB else f"{size_bytes / KIB:.1f} KiB"
