"""What a module declares of its linear memory, and what lies there when it begins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from tinyheap.errors import MalformedModuleError
from tinyheap.recognize.facts import DataRange, MemoryLayout

if TYPE_CHECKING:
    from tinyheap.recognize.facts import BestFitHeap, BlockHeap, LeakingHeap
    from tinyheap.wasm import Module

_HEAP_BASE: Final = "__heap_base"
"""A global of LLVM's linker: where its data and stack end."""
_WORD_BYTES: Final = 4


def memory_layout(
    module: Module, heap: BlockHeap | BestFitHeap | None, leaking: LeakingHeap | None
) -> MemoryLayout | None:
    """The layout of a module's first memory when it begins; None where it has none.

    Args:
        module: the module.
        heap: its heap, if that has a block table and was recognized.
        leaking: its heap, if that frees nothing.
    """
    if not module.memories:
        return None
    memory = module.memories[0]
    data = tuple(sorted(_data(module), key=lambda each: each.start_address))
    limits, is_imported = memory.type.limits, memory.imported is not None
    return MemoryLayout(limits.minimum, limits.maximum, is_imported, data, _heap_start(module, heap, leaking))


def _data(module: Module) -> Iterator[DataRange]:
    """The data that is in memory from the start; a range for each segment."""
    try:
        names = module.names.by_space.get("data", {})
    except MalformedModuleError:
        names = {}
    for number, segment in enumerate(module.data_segments):
        start = None if segment.offset is None or segment.memory else segment.offset.constant
        if isinstance(start, int) and segment.data:
            yield DataRange(names.get(number), start & 0xFFFF_FFFF, len(segment.data))


def _heap_start(module: Module, heap: BlockHeap | BestFitHeap | None, leaking: LeakingHeap | None) -> int | None:
    """Where the heap begins: as its allocator has it, or else where the linker lets it."""
    if heap is not None and heap.heap_start_address is not None:
        return heap.heap_start_address
    variable = None if leaking is None else leaking.heap_pointer_address
    if heap is not None:
        variable = heap.heap_start_variable_address
    begins = None if variable is None else _word_at(module, variable)
    return begins or _heap_base(module)


def _word_at(module: Module, address: int) -> int | None:
    """What is at an address when the module begins; None for nothing."""
    for segment in module.data_segments:
        start = None if segment.offset is None or segment.memory else segment.offset.constant
        if isinstance(start, int) and start <= address <= start + len(segment.data) - _WORD_BYTES:
            return int.from_bytes(segment.data[address - start : address - start + _WORD_BYTES], "little") or None
    return None


def _heap_base(module: Module) -> int | None:
    """The value of the linker's global, where it is exported or named."""
    exported = module.export(_HEAP_BASE)
    index = exported.index if exported is not None and exported.kind == "global" else None
    if index is None:
        try:
            index = next((at for at, name in module.names.globals.items() if name == _HEAP_BASE), None)
        except MalformedModuleError:
            return None
    if index is None or not 0 <= index < len(module.globals):
        return None
    initial = module.globals[index].initial
    value = None if initial is None else initial.constant
    return value & 0xFFFF_FFFF if isinstance(value, int) else None
