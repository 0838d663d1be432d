"""Instrumenting a module to be recorded: a shadow stack, and calls of the recorder where the host would see nothing.

A module whose collector is replaced calls its host for each allocation anyway.  Any other keeps its allocator: a wrapper
takes its place in exports and in all direct calls, calls it, and tells the recorder what it made.  In both, functions that
resize or free objects tell the recorder at their entry, as far as the module exports them under the names that C gives them,
and each ``memory.grow`` of the first memory tells what came of it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, NamedTuple

from tinyheap.errors import MalformedModuleError
from tinyheap.guests.rewrite.rewriting import MEMORY_EXPORT, STACK_POINTER_EXPORT, take_out
from tinyheap.guests.rewrite.shadow_stack import SeparateStack, ShadowStack, keep_shadow_stack
from tinyheap.guests.rewrite.sites import GROW, GROWING, GROWN, NOTE, RECORDER_IMPORT, SHADOW_STACK_EXPORT, Sites
from tinyheap.recognize.facts import BestFitHeap
from tinyheap.recordings.schema import EventKind
from tinyheap.wasm import Code, Editor
from tinyheap.wasm.entities import FunctionType

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from tinyheap.recognize.facts import Guest, ServedHeap
    from tinyheap.wasm import Module

_ALLOC_NAME: Final = "runtime.alloc"
_MALLOC_NAME: Final = "malloc"
_ALLOC_TYPES: Final = (FunctionType(("i32",), ("i32",)), FunctionType(("i32", "i32"), ("i32",)))
_RESIZERS: Final = {
    ("realloc", FunctionType(("i32", "i32"), ("i32",))): EventKind.REALLOCATION,
    ("free", FunctionType(("i32",), ())): EventKind.FREE,
    # Boehm's collector, which TinyGo's -gc=boehm links, has no other name for it.
    ("GC_free", FunctionType(("i32",), ())): EventKind.FREE,
}


class AllocationFunction(NamedTuple):
    """A function that allocates, and which of its parameters say what; None for no layout."""

    function: int
    size_parameter: int
    layout_parameter: int | None


def instrument(module: Module, guest: Guest, served: ServedHeap | None) -> tuple[bytes, Sites]:
    """The module with all that a recording needs, and the call instructions that its shadow stack names; see `edited`."""
    editor, sites = edited(module, guest, served)
    return editor.encode(), sites


def edited(module: Module, guest: Guest, served: ServedHeap | None) -> tuple[Editor, Sites]:
    """An editor in which the module has all that a recording needs, and the call instructions that its shadow stack names.

    Args:
        module: the module as it was read.
        guest: what it is.
        served: the heap whose collector is to be taken out; None to leave the module its own.

    Where nothing is known in it that allocates, only growths of memory tell of themselves.
    """
    taken = () if served is None else tuple(redirect.function for redirect in served.redirects)
    allocator = None if served is not None else allocator_of(module, guest)
    is_heard = served is not None or allocator is not None
    resizers = resizers_of(module, taken) if is_heard else {}
    growing = growing_in(module, taken)
    targets = targets_of(taken, resizers, growing) | (set() if allocator is None else {allocator.function})
    editor = Editor(module)
    if served is not None:
        take_out(editor, served)
    else:
        _expose(editor, module, guest)
    stack = SeparateStack.added_to(editor)
    sites = keep_shadow_stack(editor, module, targets, taken, stack=stack, runs_finalizers=has_finalizers(served))
    with contextlib.suppress(MalformedModuleError):
        sites.take_names(module.names.functions)
    editor.export(SHADOW_STACK_EXPORT, "memory", stack.memory)
    if growing:
        _tell_growths(editor, growing)
    if allocator is not None or resizers:
        note = editor.add_import_function(RECORDER_IMPORT, NOTE, ("i32",) * 4, ())
        for function, kind in resizers.items():
            editor.insert_at_entry(function, noting_resize(kind, note))
        if allocator is not None:
            _wrap(editor, module, allocator, note, stack)
    return editor, sites


def _expose(editor: Editor, module: Module, guest: Guest) -> None:
    """Export what a host must see of a module that keeps its allocator."""
    if guest.stack is not None:
        editor.export(STACK_POINTER_EXPORT, "global", guest.stack.pointer_global)
    if module.memories:
        editor.export(MEMORY_EXPORT, "memory", 0)


def has_finalizers(heap: ServedHeap | None) -> bool:
    """Whether the collector of a heap runs finalizers."""
    return isinstance(heap, BestFitHeap) and heap.finalizers is not None


def targets_of(taken: Iterable[int], resizers: Iterable[int], growing: Collection[int]) -> set[int]:
    """The functions whose callers a recording is to know, where these are the host's, resize and free, and grow memory."""
    return {*taken, *resizers} | ({GROWING} if growing else set())


def growing_in(module: Module, taken: Collection[int]) -> dict[int, list[int]]:
    """The functions that grow the first memory, and where they do; without those that are taken out."""
    found: dict[int, list[int]] = {}
    for function in module.defined_functions:
        assert function.body is not None
        offsets = [offset for offset, each in function.body.find(GROW) if each.immediates[0] == 0]
        if offsets and function.index not in taken:
            found[function.index] = offsets
    return found


def _tell_growths(editor: Editor, growing: Mapping[int, Sequence[int]]) -> None:
    """Let each instruction that grows memory tell what was asked for, what it gave and how large memory is then."""
    grown = editor.add_import_function(RECORDER_IMPORT, GROWN, ("i32",) * 3, ())
    for function, offsets in growing.items():
        asked, given = editor.add_local(function, "i32"), editor.add_local(function, "i32")
        tell = Code().local_get(asked).local_get(given).memory_size(0).call(grown)
        # Growing by nothing is how some ask for the size.
        told = Code().local_set(given).local_get(asked).if_(None) + tell + Code().end().local_get(given)
        for offset in offsets:
            editor.insert_before(function, offset, Code().local_tee(asked))
            editor.insert_after(function, offset, told)


def allocator_of(module: Module, guest: Guest) -> AllocationFunction | None:
    """What a guest allocates by: TinyGo's allocator, or else C's; None where neither is known."""
    known = guest.heap or guest.best_fit or guest.leaking
    if known is not None and known.size_parameter is not None:
        return AllocationFunction(known.alloc_function, known.size_parameter, known.layout_parameter)
    for name, types in ((_ALLOC_NAME, _ALLOC_TYPES), (_MALLOC_NAME, _ALLOC_TYPES[:1])):
        function = _defined(module, name)
        if function is not None and module.function_type(function) in types:
            return AllocationFunction(function, 0, 1 if len(module.function_type(function).parameters) > 1 else None)
    return None


def resizers_of(module: Module, taken: Collection[int]) -> dict[int, EventKind]:
    """The functions that resize or free an object, and the kind of event that is; without those that are taken out."""
    found: dict[int, EventKind] = {}
    for (name, function_type), kind in _RESIZERS.items():
        function = _defined(module, name)
        if function is not None and function not in taken and module.function_type(function) == function_type:
            found[function] = kind
    return found


def _defined(module: Module, name: str) -> int | None:
    """The function of that name, or that is exported by it, if its code is here."""
    export = module.export(name)
    exported = export.index if export is not None and export.kind == "function" else None
    # The export of a command is a wrapper around the function that everybody else calls.
    named = _named(module, name)
    function = exported if named is None else named
    return None if function is None or module.functions[function].body is None else function


def _named(module: Module, name: str) -> int | None:
    """The function of that name, as far as the module has names that can be read."""
    try:
        return module.function_indices.get(name)
    except MalformedModuleError:
        return None


def noting_resize(kind: EventKind, note: int) -> Code:
    """What a function that resizes or frees an object says at its entry."""
    code = Code().i32_const(kind).local_get(0)
    code = code.local_get(1) if kind == EventKind.REALLOCATION else code.i32_const(0)
    return code.i32_const(0).call(note)


def _wrap(editor: Editor, module: Module, allocator: AllocationFunction, note: int, stack: ShadowStack) -> None:
    """Let a wrapper take an allocator's calls, and tell of each."""
    signature = module.function_type(allocator.function)
    count = len(signature.parameters)
    pointer, made = count, count + 1
    code = stack.save(pointer)
    for index in range(count):
        code = code.local_get(index)
    # What the allocator itself called is not on the stack any more.
    code = code.call(allocator.function).local_set(made) + stack.restore(pointer)
    # What C's allocator did not find room for it gives no address.
    code = code.local_get(made).if_(None)
    code = code.i32_const(EventKind.ALLOCATION).local_get(made).local_get(allocator.size_parameter)
    layout = allocator.layout_parameter
    code = code.i32_const(0) if layout is None else code.local_get(layout)
    code = code.call(note).end().local_get(made)
    wrapper = editor.add_function(
        signature.parameters, signature.results, code, ["i32", "i32"], "tinyheap.recorded_alloc"
    )
    editor.redirect_calls(allocator.function, wrapper)
    for export in module.exports:
        if (export.kind, export.index) == ("function", allocator.function):
            editor.remove_export(export.name)
            editor.export(export.name, "function", wrapper)
