"""Rewriting a module to be served: functions that allocate or collect become imports, what a host must see is exported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tinyheap.recognize.facts import Role

if TYPE_CHECKING:
    from tinyheap.recognize.facts import BlockHeap, FixedRequest, SystemStack
    from tinyheap.wasm import Editor, Module

ALLOC_IMPORT: Final = "tinyheap"
"""Module name of the imports; each is named by its index among `BlockHeap.redirects`."""
STACK_POINTER_EXPORT: Final = "tinyheap.stack_pointer"
MEMORY_EXPORT: Final = "tinyheap.memory"


def rewrite(module: Module, facts: BlockHeap) -> bytes:
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


def take_out(editor: Editor, facts: BlockHeap) -> None:
    """Take a collector out of the editor's module."""
    for index, redirect in enumerate(facts.redirects):
        if redirect.role is Role.ALLOC and facts.fixed_request is not None:
            _ask_for(editor, redirect.function, str(index), facts.fixed_request)
        else:
            editor.become_import(redirect.function, ALLOC_IMPORT, str(index))
    editor.export(STACK_POINTER_EXPORT, "global", facts.roots.stack_pointer_global)
    editor.export(MEMORY_EXPORT, "memory", 0)


def _ask_for(editor: Editor, function: int, name: str, request: FixedRequest) -> None:
    """Make an alloc without parameters ask the host for what it made each time."""
    from tinyheap.wasm import Code

    ask = editor.add_import_function(ALLOC_IMPORT, name, ("i32", "i32"), ("i32",))
    editor.replace_body(function, Code().i32_const(request.size_bytes).i32_const(request.layout).call(ask))
