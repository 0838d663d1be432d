"""A best-fit collector's marking in Python, with the frames of its functions, and the kernel that runs ahead of it.

The kernel makes up a module with one page of memory, and nothing else is in it: what calls it is `Original`, which marks as
TinyGo does and keeps its variables where TinyGo has them, on the stack.  All else is the model's: it makes the objects, says
where they are, and sweeps.

    0x100    heapEnd, metadataStart, scanList
    0x200    layouts
    0x800    globals
    0x1000   system stack
    0x2000   heap, with its table at the end; an object may be the present stack
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple

import wasmtime

from tinyheap.heap.bestfit.model import BestFitModel
from tinyheap.heap.contract import NO_BLOCK, Gc, Options, State
from tinyheap.heap.engines import model_of
from tinyheap.heap.geometry import Geometry
from tinyheap.heap.growth import Growth
from tinyheap.recognize.facts import BestFitHeap, CounterAddresses, HeaderPlace, RootAddresses, StackScan
from tinyheap.transplanting import operation, parts
from tinyheap.transplanting.markers import Markers
from tinyheap.transplanting.merging import Merger
from tinyheap.wasm import Code, Editor

HEAP_END, TABLE, SCAN_LIST = 0x100, 0x104, 0x108
LAYOUTS_START: Final = 0x200
GLOBALS_START, GLOBALS_END = 0x800, 0x840
STACK_BOTTOM, LEFT_AT, STACK_TOP = 0x1000, 0x11C0, 0x1200
START: Final = 0x2000
HEAP_SIZES: Final = (65 * 128, 65 * 128 + 9)
"""In bytes: blocks use the table up, or else there is room between both, and unused places at the table's end."""
FINISH_FRAME_BYTES, SCAN_FRAME_BYTES, MARK_FRAME_BYTES = 32, 16, 16
WORD_BYTES: Final = 4
MOST_SCANNED: Final = 4 * 128
"""There are no more objects."""
MOST_FUEL: Final = 5_000_000
"""What a kernel may do in all, in wasmtime's units, before it counts as one that hangs."""


class Shape(NamedTuple):
    """How a collector is put together."""

    place: HeaderPlace
    is_precise: bool
    marks_in_own_frame: bool = True
    """Whether what marks from a word is a function of its own."""

    def __str__(self) -> str:
        kind = "precise" if self.is_precise else "conservative"
        return f"{self.place.value}-{kind}{'' if self.marks_in_own_frame else '-inlined'}"


SHAPES: Final = [
    Shape(place, is_precise, marks_in_own_frame)
    for is_precise in (True, False)
    for place in HeaderPlace
    for marks_in_own_frame in (True, False)
]


def facts(shape: Shape) -> BestFitHeap:
    """Where the heap's parts are."""
    header_bytes = 16 if shape.place is HeaderPlace.FRONT else 8 if shape.is_precise else 4
    return BestFitHeap(
        alloc_function=0,
        size_parameter=0,
        layout_parameter=1,
        header_place=shape.place,
        header_bytes=header_bytes,
        is_precise=shape.is_precise,
        zero_size_address=None,
        heap_start_address=START,
        heap_start_variable_address=None,
        heap_end_address=HEAP_END,
        metadata_start_address=TABLE,
        end_block_address=0,
        free_ranges_address=0,
        scan_list_address=SCAN_LIST,
        collections_address=None,
        counters=CounterAddresses(),
        roots=RootAddresses(GLOBALS_START, GLOBALS_END, StackScan.SYSTEM, 0, stack_top_address=STACK_TOP),
        finalizers=None,
        redirects=(),
        uncovered=(),
        readers=(),
        initializers=(),
    )


TOLD: Final = ("roots", "scanned", "marked")
"""What a kernel tells to whoever records the run."""


class Ahead:
    """The kernel in its module.

    Args:
        shape: What it is to run ahead of.
        growth: How the heap is to grow; where there is a policy it can be asked.
    """

    def __init__(self, shape: Shape, growth: Growth | None = None) -> None:
        config = wasmtime.Config()
        config.consume_fuel = True
        self._store = wasmtime.Store(wasmtime.Engine(config))
        self._store.set_fuel(MOST_FUEL)
        module = wasmtime.Module(self._store.engine, _module(shape, growth))
        self._exports = wasmtime.Instance(self._store, module, []).exports(self._store)

    @property
    def memory(self) -> memoryview:
        """Its memory, in place."""
        memory = self._memory
        every_byte = ctypes.c_ubyte * memory.data_len(self._store)
        return memoryview(every_byte.from_address(ctypes.addressof(memory.data_ptr(self._store).contents))).cast("B")

    def add_pages(self, count: int) -> None:
        """Make memory larger, as a host may."""
        self._memory.grow(self._store, count)

    def begin_range(self, stack_pointer: int, at: int, size_bytes: int) -> int:
        """How many bytes of a range are left."""
        self._global("stack_pointer").set_value(self._store, stack_pointer)
        return self._call("begin_range", at, size_bytes)

    def begin_mask(self, stack_pointer: int, at: int) -> None:
        """A part of an object is about to be scanned by a mask."""
        self._global("stack_pointer").set_value(self._store, stack_pointer)
        self._call("begin_mask", at)

    def begin_growth(self, heap_end: int) -> int:
        """By how many pages memory is to grow, where the heap ends at an address."""
        self.memory.cast("I")[HEAP_END // WORD_BYTES] = heap_end
        return self._call("begin_growth", 1)

    def extra_pages(self) -> int:
        """How many pages of memory the original is not to see."""
        return self._call("extra_pages")

    def told(self) -> dict[str, int]:
        """What it has told so far: bytes, or how often."""
        return {name: int(self._global(name).value(self._store)) for name in ("collections", *TOLD)}

    @property
    def _memory(self) -> wasmtime.Memory:
        memory = self._exports["memory"]
        assert isinstance(memory, wasmtime.Memory)
        return memory

    def _global(self, name: str) -> wasmtime.Global:
        found = self._exports[name if name == "stack_pointer" else f"tinyheap.{name}"]
        assert isinstance(found, wasmtime.Global)
        return found

    def _call(self, name: str, *arguments: int) -> int:
        """What a function returns; 0 where that is nothing."""
        function = self._exports[name]
        assert isinstance(function, wasmtime.Func)
        return int(function(self._store, *arguments) or 0) % (1 << 32)


def _module(shape: Shape, growth: Growth | None) -> bytes:
    editor, heap = Editor(), facts(shape)
    editor.export("memory", "memory", editor.add_memory(1))
    editor.export("stack_pointer", "global", editor.add_global("i32", 0))
    markers = Markers(0, None, 0 if shape.marks_in_own_frame else None)
    code = parts.best_fit_parts_of(editor, heap, markers, growth) | parts.counted(editor, parts.BEST_FIT_EVENTS)
    for event in TOLD:
        # Bytes are added up, or times are counted.
        index = editor.add_global("i32", 0)
        editor.export(f"tinyheap.{event}", "global", index)
        told = Code().i32_const(1) if event == "marked" else Code()
        code[f"tell_{event}"] = told.global_get(index).i32_add().global_set(index)
    if growth is not None:
        extra = editor.add_function((), ("i32",), code["extra_pages"])
        editor.export("extra_pages", "function", extra)
    merger = Merger(editor, operation.kernel("best_fit"), code, None)
    kind = "precise" if shape.is_precise else "conservative"
    functions = {
        "begin_range": f"begin_range_{shape.place.value}_{kind}",
        "begin_mask": f"begin_mask_{shape.place.value}",
    }
    if growth is not None:
        functions["begin_growth"] = "begin_growth"
    for name, function in functions.items():
        editor.export(name, "function", merger.function(function))
    return editor.encode()


# ---- the original -------------------------------------------------------------------------------------------------------


class Embedder:
    """Where there is no room for an object there is none."""

    def on_exhausted(self) -> int:
        """Nothing is collected."""
        return 0

    def grow(self, needed_blocks: int) -> bool:
        """The heap stays as large as it is."""
        return False

    def finish_allocation(self, address: int, size_bytes: int) -> int:
        """Nothing is done after an allocation."""
        return address

    def layout_word(self, layout: object, size_bytes: int) -> int:
        """Layouts are given as words."""
        assert isinstance(layout, int)
        return layout


class Statics(NamedTuple):
    """Where layouts are."""

    start_address: int
    memory: memoryview


@dataclass
class Work:
    """What a collection has scanned."""

    root_bytes: int = 0
    object_bytes: int = 0
    objects: int = 0
    words: int = 0
    """Of ranges; without the present stack."""


class Original:
    """Marks a heap as TinyGo's functions do, each with its frame on the stack.

    Args:
        shape: How they are put together.
        memory: What they work on.
        ahead: What runs ahead of them; nothing where they are on their own.
        heap_bytes: How large its heap is to be; by default there is one already.
    """

    def __init__(self, shape: Shape, memory: memoryview, ahead: Ahead | None = None, heap_bytes: int = 0) -> None:
        self.shape, self._ahead, self.memory = shape, ahead, memory
        self._words = memory.cast("I")
        collector = facts(shape).collector
        heap_end = START + heap_bytes if heap_bytes else self.get(HEAP_END)
        geometry = Geometry(START, heap_end - START, WORD_BYTES, header_alignment_bytes=16)
        options = Options(gc=Gc.PRECISE if shape.is_precise else Gc.CONSERVATIVE, collector=collector)
        region = memory[START:heap_end]
        model = model_of(collector)(region, geometry, options, Statics(0, memory), Embedder())
        assert isinstance(model, BestFitModel)
        self.model = model
        if heap_bytes:
            model.write_table(bytes(geometry.table_bytes))
            self.put(HEAP_END, geometry.end_address)
            self.put(TABLE, geometry.table_address)
        self.stack_pointer = STACK_TOP
        self.work = Work()

    def put(self, address: int, word: int) -> None:
        """Write a word."""
        self._words[address // WORD_BYTES] = word

    def get(self, address: int) -> int:
        """Read a word."""
        return self._words[address // WORD_BYTES]

    @property
    def system_stack_pointer(self) -> int:
        """Where the system's stack is scanned from: from where a task left it, if that runs on an object."""
        return self.stack_pointer if self.stack_pointer <= STACK_TOP else LEFT_AT

    def mark(self) -> None:
        """Mark from the system's stack and the globals."""
        self.work = Work()
        for at, end in ((self.system_stack_pointer, STACK_TOP), (GLOBALS_START, GLOBALS_END)):
            self.work.root_bytes += end - at
            self._scan_range(at, end - at)
        self.finish_mark()

    def finish_mark(self) -> None:
        """Scan what is on the list, and all that it leads to."""
        with self._frame(FINISH_FRAME_BYTES) as frame:
            scanned = 0
            while header := self.get(SCAN_LIST):
                scanned += 1
                assert scanned < MOST_SCANNED, "the list has no end"
                self.put(frame, header)
                self.put(SCAN_LIST, self.get(header))
                self._scan(header, frame)

    def mark_root(self, root: int) -> None:
        """Mark from a word, as is done for an object that has a finalizer."""
        with self._frame(MARK_FRAME_BYTES) as frame:
            self._mark_root(root, frame)

    @contextmanager
    def _frame(self, size_bytes: int) -> Iterator[int]:
        """Room on the stack, zeroed."""
        self.stack_pointer -= size_bytes
        at = self.stack_pointer
        self.memory[at : at + size_bytes] = bytes(size_bytes)
        yield at
        self.stack_pointer += size_bytes

    def _scan(self, header: int, frame: int) -> None:
        model = self.model
        first, end = model.extent(model.geometry.block_of(header))
        layout = self.get(header + WORD_BYTES) if self.shape.is_precise else 0
        if layout & 1 and layout >> 6 == 0:
            return
        at = model.shape.address_of(model.geometry, first)
        size_bytes = model.shape.body_bytes(model.geometry, end - first)
        if layout == 0:
            self._count_object(size_bytes)
            self._scan_range(at, size_bytes)
            return
        if layout & 1:
            words, masks = layout >> 1 & 31, [layout >> 6]
        else:
            words, masks = self.get(layout), self.memory[layout + 4 : layout + 4 + (self.get(layout) + 7) // 8].tolist()
            self.put(frame + 4, layout)
            self.put(frame + 8, layout + 4)
        elements = size_bytes // (words * WORD_BYTES)
        if elements:
            self._count_object(size_bytes)
        for element in range(elements):
            for number, mask in enumerate(masks):
                self._scan_mask(at + (element * words + number * 8) * WORD_BYTES, mask)

    def _count_object(self, size_bytes: int) -> None:
        self.work.objects += 1
        self.work.object_bytes += size_bytes

    def _scan_range(self, at: int, size_bytes: int) -> None:
        is_stack = at <= self.stack_pointer < at + size_bytes
        if self._ahead is not None:
            left = self._ahead.begin_range(self.stack_pointer, at, size_bytes)
            at, size_bytes = at + size_bytes - left, left
        self.work.words += 0 if is_stack else size_bytes // WORD_BYTES
        with self._frame(SCAN_FRAME_BYTES) as frame:
            for address in range(at, at + size_bytes - WORD_BYTES + 1, WORD_BYTES):
                self._visit(frame, address)

    def _scan_mask(self, at: int, mask: int) -> None:
        if self._ahead is not None:
            self._ahead.begin_mask(self.stack_pointer, at)
        with self._frame(SCAN_FRAME_BYTES) as frame:
            for index in range(mask.bit_length()):
                if mask >> index & 1:
                    self._visit(frame, at + index * WORD_BYTES)

    def _visit(self, frame: int, address: int) -> None:
        self.put(frame, address)
        root = self.get(address)
        self.put(frame + 4, root)
        if not self.shape.marks_in_own_frame:
            self._mark_root(root, frame + 8)
            return
        with self._frame(MARK_FRAME_BYTES) as inner:
            self._mark_root(root, inner)

    def _mark_root(self, root: int, variables: int) -> None:
        model = self.model
        head = model._unmarked_head(root)
        if head == NO_BLOCK:
            return
        model._set_state(head, State.MARK)
        header, link = model._header_address(head), self.get(SCAN_LIST)
        self.put(variables, header)
        self.put(variables + 4, link)
        self.put(header, link)
        self.put(SCAN_LIST, header)
