"""Names for the words of a snapshot's memory that hold roots: variables, and the frames of functions.

Debug information names variables that have an address.  Those that a compiler has put somewhere else, or made part of another,
have none: there the functions tell more whose code mentions an address, and are named instead.

The frames on the system stack follow from the call stack: each function takes a frame at its entry, of a size that its
code tells (`recognize.system_stack`), so that they can be laid one upon the other from the end of the stack.  While a
goroutine runs, only those who have switched to it have their frames there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import dropwhile
from typing import TYPE_CHECKING, Final

from tinyheap.inspect.nameless import nameless_spans
from tinyheap.inspect.roots import Span, without_overlaps
from tinyheap.recognize.system_stack import frame_bytes, system_stack
from tinyheap.snapshots.snapshot import WORD_BYTES, RootRangeKind
from tinyheap.symbols.places import Places
from tinyheap.symbols.reading import code_section, places_of
from tinyheap.wasm.immediates import MemoryArgument

if TYPE_CHECKING:
    from tinyheap.snapshots.snapshot import RootRange, Snapshot
    from tinyheap.symbols.types import Types
    from tinyheap.wasm.module import Module

_LAUNCH: Final = "tinygo_launch"
"""The function that a goroutine's own functions are called by: its callers have their frames on the system stack."""
_ACCESSES: Final = ("i32.load", "i64.load", "f32.load", "f64.load", "i32.store", "i64.store", "f32.store", "f64.store")


class RootNames:
    """What a module tells of a snapshot's memory.

    Args:
        snapshot: with a record of the heap.
        module: that ran; None for no names.
        symbols: the same, or a build of it that has debug information.
        types: what that says of variables.
    """

    def __init__(self, snapshot: Snapshot, module: Module | None, symbols: Module | None, types: Types) -> None:
        self._snapshot, self._module = snapshot, module
        self._unplaced = [name for name, _ in types.unplaced]
        spans = [
            Span(each.address, each.address + each.size_bytes, each.name) for each in (*types.variables, *types.parts)
        ]
        self._known, self._symbols = without_overlaps(spans), symbols

    @cached_property
    def variables(self) -> list[Span]:
        """Variables, and names for what lies between them."""
        ranges = self._roots(RootRangeKind.GLOBALS)
        if self._module is None or not ranges:
            return self._known
        start, end = ranges[0].start_address, ranges[-1].end_address
        mentions = self._named(_mentions(self._module, start, end))
        return without_overlaps(
            [*self._known, *nameless_spans(self._known, mentions, end, self._unplaced, self._holds)]
        )

    def _named(self, mentions: Sequence[tuple[int, int, int]]) -> Iterator[tuple[int, str]]:
        """Addresses with the functions that mention them, in the source: those that were inlined for themselves."""
        module, symbols = self._module, self._symbols
        assert module is not None, "mentions are a module's"
        code = code_section(module)
        start = 0 if code is None else code.offset
        places = Places() if symbols is None else places_of(symbols, [offset - start for _, offset, _ in mentions])
        for function, offset, address in mentions:
            inlined = [place.function for place in places.chain(offset - start)[1:]][-1:]
            yield address, (*inlined, module.function_name(function) or f"function {function}")[0]

    def _holds(self, span: Span) -> bool:
        """Whether any word of a span refers to the heap."""
        heap = self._snapshot.heap
        assert heap is not None, "a snapshot with a record"
        start, end = heap.start_address, heap.geometry.table_address
        words = range(span.start_address, span.end_address, WORD_BYTES)
        return any(start <= self._snapshot.word_at(each) < end for each in words)

    @cached_property
    def frames(self) -> list[Span]:
        """The frames on the system stack, from its end up, as far as their sizes are known."""
        ranges = self._roots(RootRangeKind.STACK)
        return [] if self._module is None or not ranges else list(self._frames(self._module, ranges[0]))

    def _roots(self, kind: RootRangeKind) -> list[RootRange]:
        heap = self._snapshot.heap
        return [] if heap is None else [each for each in heap.roots if each.kind is kind]

    def _frames(self, module: Module, stack_range: RootRange) -> Iterator[Span]:
        stack, pointer = system_stack(module), self._snapshot.stack_pointer
        if stack is None or pointer is None:
            return
        frames, at = list(self._snapshot.frames), pointer
        if not stack_range.start_address <= pointer <= stack_range.end_address:
            frames = list(dropwhile(lambda frame: frame.name != _LAUNCH, frames))
            at = stack_range.start_address
        elif pointer > stack_range.start_address:
            yield Span(stack_range.start_address, pointer, "of the allocator")
        for frame in frames:
            is_known = frame.function < len(module.functions)
            size_bytes = frame_bytes(module, stack, frame.function) if is_known else None
            if size_bytes is None:
                return
            yield Span(at, at + size_bytes, frame.name)
            at += size_bytes


def _mentions(module: Module, start: int, end: int) -> list[tuple[int, int, int]]:
    """Instructions that mention an address in a range: their functions, offsets in the file, and the addresses."""
    found = module.find("i32.const", *_ACCESSES)
    mentions = ((function, offset, _address(each.immediates[0])) for function, offset, each in found)
    return [each for each in mentions if start <= each[2] < end]


def _address(immediate: object) -> int:
    """The constant of an instruction, or where it loads from or stores to where nothing is added."""
    value = immediate.offset_bytes if isinstance(immediate, MemoryArgument) else immediate
    return value & 0xFFFF_FFFF if isinstance(value, int) else -1
