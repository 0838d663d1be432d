"""Rewriting a module to be served: functions that allocate or collect become imports, what a host must see is exported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tinyheap.recognize.facts import BestFitHeap, Role

if TYPE_CHECKING:
    from tinyheap.recognize.facts import FixedRequest, ServedHeap, SystemStack
    from tinyheap.wasm import Editor, Module

ALLOC_IMPORT: Final = "tinyheap"
"""Module name of the imports; each is named by its index among the heap's redirects."""
STACK_POINTER_EXPORT: Final = "tinyheap.stack_pointer"
MEMORY_EXPORT: Final = "tinyheap.memory"
TABLE_EXPORT: Final = "tinyheap.table"
_ASKING: Final = "tinyheap.ask"
"""What an alloc that asks the host is called; call stacks leave out what is called so (`tinyheap.hosts.frames`)."""


def rewrite(module: Module, facts: ServedHeap) -> bytes:
    """The module with its collector taken out; everything else is as it was, byte for byte where no index changed."""
    # Guests that were rewritten before start sooner without all that edits.
    from tinyheap.wasm import Editor

    editor = Editor(module)
    take_out(editor, facts)
    return editor.encode()


def expose_stack(module: Module, stack: SystemStack) -> bytes:
    """The module with its stack pointer where a host can see it, and nothing else changed."""
    from tinyheap.wasm import Editor

    editor = Editor(module)
    editor.export(STACK_POINTER_EXPORT, "global", stack.pointer_global)
    return editor.encode()


def take_out(editor: Editor, facts: ServedHeap) -> None:
    """Take a collector out of the editor's module."""
    for index, redirect in enumerate(facts.redirects):
        if isinstance(facts, BestFitHeap) and redirect.role is Role.ALLOC:
            _ask_with_stack(editor, redirect.function, str(index), facts)
        elif redirect.role is Role.ALLOC and facts.fixed_request is not None:
            _ask_for(editor, redirect.function, str(index), facts.fixed_request)
        else:
            editor.become_import(redirect.function, ALLOC_IMPORT, str(index))
    editor.export(STACK_POINTER_EXPORT, "global", facts.roots.stack_pointer_global)
    editor.export(MEMORY_EXPORT, "memory", 0)
    if isinstance(facts, BestFitHeap) and facts.finalizers is not None and editor.has_table:
        # Finalizers are called by it.
        editor.export(TABLE_EXPORT, "table", 0)


def _ask_with_stack(editor: Editor, function: int, name: str, facts: BestFitHeap) -> None:
    """Make an alloc ask the host, and say where its stack ends: the host leaves there what it would have left itself."""
    from tinyheap.wasm import Code

    ask = editor.add_import_function(ALLOC_IMPORT, name, ("i32", "i32", "i32"), ("i32",))
    fixed, code = facts.fixed_request, Code()
    for parameter, value in (
        (facts.size_parameter, 0 if fixed is None else fixed.size_bytes),
        (facts.layout_parameter, 0 if fixed is None else fixed.layout),
    ):
        code = code.i32_const(value) if parameter is None else code.local_get(parameter)
    editor.replace_body(function, code.global_get(facts.roots.stack_pointer_global).call(ask), name=_ASKING)


def _ask_for(editor: Editor, function: int, name: str, request: FixedRequest) -> None:
    """Make an alloc without parameters ask the host for what it made each time."""
    from tinyheap.wasm import Code

    ask = editor.add_import_function(ALLOC_IMPORT, name, ("i32", "i32"), ("i32",))
    code = Code().i32_const(request.size_bytes).i32_const(request.layout).call(ask)
    editor.replace_body(function, code, name=_ASKING)
