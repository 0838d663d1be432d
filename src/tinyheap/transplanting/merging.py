"""Puts functions of one module, the kernel, into another, in which something stands for each of its imports.

The kernel is a module that a C compiler made.  Its functions are named; they call each other and what they import, and use
neither globals nor tables nor data.  What is not called is not put in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinyheap.wasm import Code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tinyheap.wasm import Editor, Module
    from tinyheap.wasm.entities import Body, FunctionType
    from tinyheap.wasm.immediates import ValueType


class Merger:
    """Puts functions of a kernel into a module.

    Args:
        editor: Of the module.
        kernel: What the functions are taken from.
        parts: The code that stands for a call of each import, by its name.
        prefix: What is put in front of the functions' names; None leaves them without.
        around: By the names of functions, what makes another function of one, by its index and type, to be called instead.
    """

    def __init__(
        self,
        editor: Editor,
        kernel: Module,
        parts: Mapping[str, Code],
        prefix: str | None,
        around: Mapping[str, Callable[[int, FunctionType], int]] | None = None,
    ) -> None:
        self._editor, self._kernel, self._parts, self._prefix = editor, kernel, parts, prefix
        self._around = around or {}
        self._added: dict[int, int] = {}

    @property
    def added(self) -> frozenset[int]:
        """The indices in the module of all functions that were added."""
        return frozenset(self._added.values())

    def function(self, name: str) -> int:
        """The index in the module of a function of the kernel's, which is added with all that it calls."""
        return self._function(self._kernel.function_indices[name])

    def code(self, name: str) -> tuple[Code, list[ValueType]]:
        """The code of a function of the kernel's, without its closing `end`, and the types of its locals."""
        return self._code(self._kernel.function_indices[name])

    def _function(self, index: int) -> int:
        if index not in self._added:
            code, local_types = self._code(index)
            declared, name = self._kernel.function_type(index), self._kernel.function_name(index)
            title = None if self._prefix is None else f"{self._prefix}{name}"
            added = self._editor.add_function(declared.parameters, declared.results, code, local_types, title)
            around = self._around.get(name or "")
            self._added[index] = added if around is None else around(added, declared)
        return self._added[index]

    def _code(self, index: int) -> tuple[Code, list[ValueType]]:
        body = self._kernel.body(index)
        return Code(b"".join(self._encodings(body))), local_types_of(body)

    def _encodings(self, body: Body) -> Iterator[bytes]:
        *instructions, _ = body.instructions()
        for _, instruction in instructions:
            if instruction.name != "call":
                yield instruction.encoding
                continue
            (called,) = instruction.immediates
            imported = self._kernel.functions[called].imported
            code = Code().call(self._function(called)) if imported is None else self._parts[imported.name]
            yield code.encoding


def copied(
    module: Module, editor: Editor, function: int, name: str | None, *, after: Mapping[str, Code] | None = None
) -> int:
    """The index of a copy of a function as it was, added to its module.

    Args:
        module: The module.
        editor: Of the module.
        function: Its index.
        name: What the copy is called; None for no name.
        after: The code that follows each instruction of a name.
    """
    declared, body = module.function_type(function), module.body(function)
    *instructions, _ = body.instructions()
    code, none = Code(), Code()
    for _, instruction in instructions:
        code += instruction.encoding
        code += (after or {}).get(instruction.name, none)
    return editor.add_function(declared.parameters, declared.results, code, local_types_of(body), name)


def local_types_of(body: Body) -> list[ValueType]:
    """The types of a body's locals beside the parameters, one each."""
    return [value_type for count, value_type in body.locals for _ in range(count)]
