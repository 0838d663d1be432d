"""The sizes that a module's code asks its allocator for, where all of its calls say so.

A compiler that sees all of them leaves out of the allocator what none needs, such as an object of one block; then it must not
be asked for other sizes in a rehearsal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tinyheap.wasm import Module, instructions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tinyheap.recognize.facts import BestFitHeap
    from tinyheap.wasm.instructions import Instruction

_PUSHES: Final = ("i32.const", "local.get", "global.get")


def sizes_asked_for(module: Module, facts: BestFitHeap) -> Sequence[int]:
    """The sizes in all calls of the allocator, in order; none where a call's is not a constant."""
    sizes = set(_sizes(module, facts))
    return () if None in sizes else sorted(size for size in sizes if size is not None)


def _sizes(module: Module, facts: BestFitHeap) -> Iterator[int | None]:
    count = len(module.function_type(facts.alloc_function).parameters)
    for function in module.defined_functions:
        assert function.body is not None, "functions that are defined have one"
        before: list[Instruction] = []
        for _, instruction in instructions.walk(function.body.data, function.body.code_start, function.body.end):
            if instruction.name == "call" and instruction.immediates[0] == facts.alloc_function:
                yield _size(before[-count:], facts.size_parameter)
            before = [*before[1 - count :], instruction] if count > 1 else [instruction]


def _size(arguments: Sequence[Instruction], parameter: int | None) -> int | None:
    if parameter is None or len(arguments) <= parameter or any(each.name not in _PUSHES for each in arguments):
        return None
    size = arguments[parameter]
    return int(size.immediates[0]) % (1 << 32) if size.name == "i32.const" else None
