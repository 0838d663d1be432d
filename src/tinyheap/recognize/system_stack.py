"""The stack that a compiler keeps in a module's memory, whoever manages its heap.

LLVM's linker makes one, which grows downward; a global holds where it ends just now::

    0   stack          variables         heap                 a module that is linked with --stack-first, as TinyGo's are
    |<------- global   |
    low             top

    0   variables      stack             heap                 any other
    |                 |<------- global   |
                      low             top

A function that keeps something there takes its frame at its entry, by a constant, and gives it back at its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from tinyheap.errors import MalformedModuleError
from tinyheap.recognize.facts import SystemStack
from tinyheap.recognize.interpret import Walker
from tinyheap.recognize.locate.stack import frames
from tinyheap.wasm import Module
from tinyheap.wasm.leb128 import encode_unsigned

_NAME = "__stack_pointer"
_CANDIDATES = 16
"""So many globals are looked at: linkers define this one first."""


def system_stack(module: Module) -> SystemStack | None:
    """A module's stack; None where it has none that is known."""
    tops = dict(islice(_candidates(module), _CANDIDATES))
    pointer = _named(module)
    if pointer not in tops:
        pointer = max(tops, key=lambda index: _frames_taken(module, index), default=None)
        if pointer is None or not _frames_taken(module, pointer):
            return None
    top = tops[pointer]
    data = list(_data(module))
    low = max((end for _, end in data if end <= top), default=0)
    return SystemStack(pointer, top, low, is_first=bool(data) and min(data)[0] >= top)


def frame_bytes(module: Module, stack: SystemStack, function: int) -> int | None:
    """What a defined function takes of the stack, in bytes, 0 for nothing; None where that is not known."""
    if module.functions[function].body is None:
        return None
    taken = [size for index, size in frames(Walker(module).read(function)) if index == stack.pointer_global]
    return max(taken, default=0)


def _candidates(module: Module) -> Iterator[tuple[int, int]]:
    """The globals that may hold the end of a stack, and the address that each begins with."""
    for index, entry in enumerate(module.globals):
        if entry.initial is not None and entry.type.mutable and entry.type.value == "i32":
            top = entry.initial.constant
            if isinstance(top, int) and top > 0:
                yield index, top


def _named(module: Module) -> int | None:
    """The global of the name that LLVM gives it."""
    exported = module.export(_NAME)
    if exported is not None and exported.kind == "global":
        return exported.index
    try:
        return next((index for index, name in module.names.globals.items() if name == _NAME), None)
    except MalformedModuleError:
        return None


def _frames_taken(module: Module, pointer: int) -> int:
    """How often code takes the global and a constant, as it does for a frame."""
    bodies = [function.body for function in module.defined_functions if function.body is not None]
    if not bodies:
        return 0
    return module.data.count(b"\x23" + encode_unsigned(pointer) + b"\x41", bodies[0].start, bodies[-1].end)


def _data(module: Module) -> Iterator[tuple[int, int]]:
    """Where the data begins and ends that a module has in its memory from the start."""
    for segment in module.data_segments:
        start = None if segment.offset is None or segment.memory else segment.offset.constant
        if isinstance(start, int):
            yield start, start + len(segment.data)
