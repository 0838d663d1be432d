"""Changing a module: an editor collects changes to one module and writes another.

    editor = Editor(module)
    editor.become_import(17, "tinyheap", "alloc")       # function 17 is from now on the host's
    editor.export("__stack_pointer", "global", 0)
    changed = editor.build()

How numbers work: while editing, nothing moves.  What the module has keeps its index, and whatever is added
gets the next free one, be it imported or defined.  All code handed to an editor uses these numbers.  Only
when the new module is written are the imported put first, as the format demands, and every mention of a moved
index is renumbered: in code, constant expressions, exports, the start function, element and data segments,
and names.

How to make guest code call a host function, and why so: an import called directly is the shortest way at run
time (one indirect jump, no signature check), so `become_import` takes a function's definition away and lets
its own number stand for the import.  Every call, table entry and export then means the host's function, with
nothing in between; a body of `call import` would cost a second call, and `call_indirect` through a table a
check of bounds and signature.  It is also cheap to write: only functions between the imports and the one that
left move up by one, so most bodies are untouched.

Invariants: unedited functions stay byte for byte, apart from indices in them that moved.  Sections that do
not change keep their bytes.  What an edit would make untrue is dropped: custom sections that hold offsets
into code (debug information, relocations), if code changes; names of locals, if their function's body is
replaced.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby

from tinyheap.errors import ModuleEditError
from tinyheap.wasm import instructions
from tinyheap.wasm.assembler import Code
from tinyheap.wasm.body_edit import AFTER, BEFORE, END, BodyEdit, encode_locals
from tinyheap.wasm.draft import Draft, NewBody, Origins, write
from tinyheap.wasm.entities import (
    Export,
    Expression,
    Function,
    FunctionReference,
    FunctionType,
    Global,
    GlobalType,
    Import,
    Limits,
    Memory,
    MemoryType,
    Tag,
    TagType,
)
from tinyheap.wasm.immediates import ValueType
from tinyheap.wasm.module import Module
from tinyheap.wasm.sections import HEADER

EMPTY = Module.parse(HEADER)
"""The module that has nothing, to build others from."""


class Editor:
    """Changes to one module; its methods raise ModuleEditError where the module does not admit the change.

    `code` is always without the closing `end` of its function, which the editor writes.
    """

    def __init__(self, module: Module = EMPTY) -> None:
        self._draft = Draft.of(module)

    # Adding

    def add_type(self, parameters: Iterable[ValueType], results: Iterable[ValueType]) -> int:
        """The index of a function type, which is added unless the module has it."""
        function_type = FunctionType(tuple(parameters), tuple(results))
        if function_type not in self._draft.types:
            self._draft.types.append(function_type)
        return self._draft.types.index(function_type)

    def add_import_function(
        self, module: str, name: str, parameters: Iterable[ValueType], results: Iterable[ValueType]
    ) -> int:
        """The index of a new imported function."""
        type_index = self.add_type(parameters, results)
        index = len(self._draft.functions)
        self._draft.functions.append(Function(index, type_index, _function_import(module, name, type_index)))
        return index

    def add_import_memory(
        self,
        module: str,
        name: str,
        minimum_pages: int,
        maximum_pages: int | None = None,
        *,
        shared: bool = False,
    ) -> int:
        """The index of a new imported memory.

        A memory that the module defines itself then moves up by one, and with it the memory argument of every
        load and store; `add_memory` and an export leave them alone.
        """
        memory_type = MemoryType(Limits(minimum_pages, maximum_pages, shared))
        self._draft.memories.append(Memory(memory_type, Import(module, name, memory_type)))
        return len(self._draft.memories) - 1

    def add_import_global(self, module: str, name: str, value_type: ValueType, *, mutable: bool = False) -> int:
        """The index of a new imported global."""
        global_type = GlobalType(value_type, mutable)
        self._draft.globals.append(Global(global_type, Import(module, name, global_type)))
        return len(self._draft.globals) - 1

    def add_memory(self, minimum_pages: int, maximum_pages: int | None = None) -> int:
        """The index of a new memory, sizes in pages of 64 KiB."""
        self._draft.memories.append(Memory(MemoryType(Limits(minimum_pages, maximum_pages))))
        return len(self._draft.memories) - 1

    def add_global(self, value_type: ValueType, initial: float | Code, *, mutable: bool = True) -> int:
        """The index of a new global, which starts as a number or as what a constant expression gives."""
        code = initial if isinstance(initial, Code) else Code(instructions.encode(f"{value_type}.const", initial))
        self._draft.globals.append(Global(GlobalType(value_type, mutable), initial=Expression(code.encoding + END)))
        return len(self._draft.globals) - 1

    def add_tag(self, parameters: Iterable[ValueType]) -> int:
        """The index of a new exception tag."""
        self._draft.tags.append(Tag(TagType(self.add_type(parameters, ()))))
        return len(self._draft.tags) - 1

    def add_function(
        self,
        parameters: Iterable[ValueType],
        results: Iterable[ValueType],
        code: Code,
        local_types: Iterable[ValueType] = (),
        name: str | None = None,
    ) -> int:
        """The index of a new function, which `name` names in the name section."""
        index = len(self._draft.functions)
        self._draft.functions.append(Function(index, self.add_type(parameters, results)))
        self._draft.bodies[index] = _new_body(code, local_types)
        if name is not None:
            self._draft.names[index] = name
        return index

    # Imports and exports

    def export(self, name: str, kind: str, index: int) -> None:
        """Export one of `kind` (``function table memory global tag``), by its index, as `name`."""
        self._check(kind, index)
        if any(export.name == name for export in self._draft.exports):
            raise ModuleEditError(f"{name!r} is exported already; remove that export first or choose another name")
        self._draft.exports.append(Export(name, kind, index))

    def remove_export(self, name: str) -> None:
        """Remove the export `name`."""
        remaining = [export for export in self._draft.exports if export.name != name]
        if len(remaining) == len(self._draft.exports):
            raise ModuleEditError(f"{name!r} is not exported, so it cannot be removed from the exports")
        self._draft.exports = remaining

    def set_minimum(self, memory: int, pages: int) -> None:
        """Let a memory that is defined here begin with so many pages of 64 KiB."""
        old = self._draft.memories[memory]
        if old.imported is not None:
            raise ModuleEditError(f"memory {memory} is imported; how large it is, is for its exporter to say")
        limits = replace(old.type.limits, minimum=pages)
        self._draft.memories[memory] = replace(old, type=replace(old.type, limits=limits))

    def set_maximum(self, memory: int, pages: int) -> None:
        """Let a memory that is defined here grow to so many pages of 64 KiB at most."""
        old = self._draft.memories[memory]
        if old.imported is not None:
            raise ModuleEditError(f"memory {memory} is imported; how large it may be, is for its exporter to say")
        limits = replace(old.type.limits, maximum=pages)
        self._draft.memories[memory] = replace(old, type=replace(old.type, limits=limits))

    def become_import(self, function: int, module: str, name: str) -> None:
        """Turn a function into an import, without its body; all references to the function then mean the import."""
        old = self._function(function)
        self._forget_body(function)
        self._draft.functions[function] = Function(
            function, old.type_index, _function_import(module, name, old.type_index)
        )

    @property
    def has_table(self) -> bool:
        """Whether there is a table."""
        return bool(self._draft.tables)

    def set_custom_section(self, name: str, payload: bytes) -> None:
        """Give the first custom section called `name` another payload, or add one at the end.

        The name section is the editor's own: `add_function` names what it adds.
        """
        if name == "name":
            raise ModuleEditError("the name section follows from the names of functions; give those to add_function")
        self._draft.custom[name] = payload

    # Code

    def replace_body(
        self, function: int, code: Code, local_types: Iterable[ValueType] = (), name: str | None = None
    ) -> None:
        """Give a function another body, and another name if `name` is one; an imported one is defined here from now on."""
        old = self._function(function)
        self._forget_body(function)
        self._draft.functions[function] = Function(function, old.type_index)
        self._draft.bodies[function] = _new_body(code, local_types)
        if name is not None:
            self._draft.names[function] = name

    def insert_before(self, function: int, offset: int, code: Code) -> None:
        """Put code in front of the instruction at byte `offset` of the file, after code that was put there earlier."""
        edit = self._edit(function)
        if not edit.body.code_start <= offset < edit.body.end:
            raise ModuleEditError(
                f"byte {offset:#x} is outside the code of function {function}, "
                f"which is at {edit.body.code_start:#x} to {edit.body.end:#x}"
            )
        edit.insertions.append((offset, BEFORE, code.encoding))

    def insert_after(self, function: int, offset: int, code: Code) -> None:
        """Put code behind the instruction at byte `offset` of the file, after what was put there earlier."""
        edit = self._edit(function)
        inside = edit.body.code_start <= offset < edit.body.end
        instruction = instructions.instruction_at(edit.body.data, offset, edit.body.end) if inside else None
        behind = offset + len(instruction.encoding) if instruction else edit.body.end
        if behind == edit.body.end:
            raise ModuleEditError(
                f"invalid offset {offset:#x} in function {function}: expected an instruction before its last `end`; "
                f"its code is at {edit.body.code_start:#x} to {edit.body.end:#x}"
            )
        edit.insertions.append((behind, AFTER, code.encoding))

    def insert_at_entry(self, function: int, code: Code) -> None:
        """Put code at the beginning of a function, after code that was put there earlier; it runs once, also before a loop."""
        self._edit(function).entry += code.encoding

    def insert_at_exit(self, function: int, code: Code) -> None:
        """Put code wherever a function ends: returns, tail calls, branches out of it, and its end.

        The results are on the stack, and the code must leave them there.  Exceptions and traps skip it.
        """
        edit, results = self._edit(function), self._function_type(function).results
        edit.exit += code.encoding
        if results:
            edit.block_type = results[0] if len(results) == 1 else self.add_type((), results)

    def add_local(self, function: int, value_type: ValueType) -> int:
        """The index of a new local of a function whose body is kept."""
        edit = self._edit(function)
        edit.locals.append(value_type)
        parameters = self._function_type(function).parameters
        return len(parameters) + edit.body.local_count + len(edit.locals) - 1

    def redirect_calls(self, old: int, new: int) -> None:
        """Make direct calls of `old` call `new`, except in added code; tables and exports stay as they are."""
        old_type, new_type = self._function_type(old), self._function_type(new)
        if old_type != new_type:
            raise ModuleEditError(
                f"calls of function {old}, {old_type}, cannot go to function {new}, which is {new_type}"
            )
        self._draft.redirected[old] = new

    # Writing

    def encode(self) -> bytes:
        """The new module as bytes."""
        return write(self._draft)

    def origins(self) -> Origins:
        """Where the code of the new module comes from."""
        return Origins(self._draft)

    def build(self) -> Module:
        """The new module."""
        return Module.parse(self.encode())

    def _check(self, kind: str, index: int) -> None:
        space = self._draft.spaces.get(kind)
        if space is None:
            raise ModuleEditError(f"invalid index space {kind!r}: expected one of {', '.join(self._draft.spaces)}")
        if not 0 <= index < len(space):
            raise ModuleEditError(f"there is no {kind} {index}: the module has {len(space)}")

    def _function(self, index: int) -> Function:
        self._check("function", index)
        return self._draft.functions[index]

    def _function_type(self, index: int) -> FunctionType:
        return self._draft.types[self._function(index).type_index]

    def _forget_body(self, function: int) -> None:
        self._draft.edits.pop(function, None)
        self._draft.bodies.pop(function, None)

    def _edit(self, function: int) -> BodyEdit:
        body = self._function(function).body
        if body is None:
            raise ModuleEditError(f"function {function} has no body of the original module that could be edited")
        return self._draft.edits.setdefault(function, BodyEdit(body))


def _function_import(module: str, name: str, type_index: int) -> Import:
    return Import(module, name, FunctionReference(type_index))


def _new_body(code: Code, local_types: Iterable[ValueType]) -> NewBody:
    declared = [(len(list(run)), value_type) for value_type, run in groupby(local_types)]
    return NewBody(encode_locals(declared), code.encoding + END)
