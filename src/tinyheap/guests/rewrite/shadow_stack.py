"""A second call stack that a host can read: code that notes, in a memory of its own, which call instruction runs.

    editor = Editor(module)
    stack = SeparateStack.added_to(editor)
    sites = keep_shadow_stack(editor, module, {17}, stack=stack)      who calls function 17, directly or through others
    compile(editor.encode())

A *site* is a call instruction; sites are numbered from 1.  The *targets* are the functions in which the stack will be
read, and only functions that can reach one are changed.  The shadow stack lies in a memory that is added to the module
and never grows:

    byte 0        8        16       24
    [ pointer    ][ entry 0 ][ entry 1 ][ entry 2 ]...      pointer: 8 bytes an entry that counts, 32 bits
                    site, 0    site, 0                      entry: 32 bits each of site and of what its reader puts there

A function keeps the pointer that it found at its entry.  In front of each of its calls it writes the call's site into the
entry there, zeroing the other half, and sets the pointer behind it; the arguments are on WebAssembly's own stack already,
so that this changes nothing for the call.  After a call it does nothing: the next one writes into the same entry.  A
return needs no work, and whatever leaves functions in other ways (exceptions, stack switching by unwinding and rewinding)
needs none, either.  A tail call takes its function off the stack, as it does on the real one.

A function that the host calls puts the pointer back when it returns, so that the host's next call begins where it did.
After a trap the host has to do that itself: 0 is where its outermost calls begin.

Invariants: whenever a target runs, the entries below the pointer are the sites of the calls that are being made, the
outermost first.  An entry's other half is zero from its site's writing on until the reader writes it.  The native stack
ends before this one does (`ENTRIES`), so there is no check.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol, Self

from tinyheap.guests.rewrite.sites import ENTRY_BYTES, GROW, GROWING, INDIRECT, PAGES, Sites
from tinyheap.wasm import Code, Editor, Instruction, MemoryArgument, Module
from tinyheap.wasm.entities import FunctionType
from tinyheap.wasm.leb128 import encode_signed

_DIRECT_CALLS: Final = ("call", "return_call")
_INDIRECT_CALLS: Final = ("call_indirect", "return_call_indirect", "call_ref", "return_call_ref")
_WASI: Final = ("wasi_snapshot_preview1", "wasi_unstable")
"""Whoever serves these never calls the program."""
_I64_CONST: Final = b"\x42"


@dataclass(frozen=True, slots=True)
class _Call:
    """A call instruction: its offset, the callee's index or the type that it is called by, whether it is a tail call.

    What grows memory is the call of `GROWING`.
    """

    offset: int
    callee: int
    type: FunctionType | None
    is_tail: bool


class CallGraph:
    """Which function calls which in a module, and which may be called in ways that the module does not show."""

    def __init__(self, module: Module) -> None:
        self._module = module
        self.calls: dict[int, list[_Call]] = {}
        self.referenced: set[int] = set(_in_elements(module))
        """Functions that a table or a reference may hold."""
        names = (*_DIRECT_CALLS, *_INDIRECT_CALLS, "ref.func", GROW)
        for function in module.defined_functions:
            assert function.body is not None
            self.calls[function.index] = []
            for offset, instruction in function.body.find(*names):
                if instruction.name == "ref.func":
                    self.referenced.add(instruction.immediates[0])
                elif instruction.name != GROW:
                    self.calls[function.index].append(self._call(offset, instruction))
                elif instruction.immediates[0] == 0:
                    self.calls[function.index].append(_Call(offset, GROWING, None, False))

    def _call(self, offset: int, instruction: Instruction) -> _Call:
        number, is_tail = instruction.immediates[0], instruction.name.startswith("return_")
        if instruction.name in _DIRECT_CALLS:
            return _Call(offset, number, None, is_tail)
        return _Call(offset, INDIRECT, self._module.types[number], is_tail)

    @property
    def tables_are_shared(self) -> bool:
        """Whether a host can see a table, and so put functions there or call those that are."""
        imported = any(table.imported is not None for table in self._module.tables)
        return imported or any(export.kind == "table" for export in self._module.exports)

    def called_from_outside(self) -> set[int]:
        """Functions that a host may call."""
        found = {export.index for export in self._module.exports if export.kind == "function"}
        found |= set() if self._module.start is None else {self._module.start}
        return found | self.referenced if self.tables_are_shared else found

    def behind(self, functions: Collection[int]) -> set[int]:
        """The functions that nothing but some calls, or what only these call: without them, what is dead code."""
        work = [*self.called_from_outside(), *self.referenced]
        found: set[int] = set()
        while work:
            function = work.pop()
            if function not in found and function not in functions:
                found.add(function)
                work += [call.callee for call in self.calls.get(function, ()) if call.callee >= 0]
        return self.calls.keys() - found - set(functions)

    def reaching(self, targets: Iterable[int]) -> tuple[set[int], set[FunctionType]]:
        """The functions that can lead to a target, and the types of which an indirect call can."""
        callers: dict[object, set[int]] = defaultdict(set)
        for function, calls in self.calls.items():
            for call in calls:
                callers[call.callee if call.type is None else call.type].add(function)
        found: set[int] = set()
        types: set[FunctionType] = set()
        work = [*targets, *self._hosts_that_call_back()]
        if self.tables_are_shared:
            types = {kind for kind in callers if isinstance(kind, FunctionType)}
            work += [function for kind in types for function in callers[kind]]
        while work:
            function = work.pop()
            if function in found:
                continue
            found.add(function)
            work += callers[function]
            if function == GROWING:
                continue
            kind = self._module.function_type(function)
            if function in self.referenced and kind not in types:
                types.add(kind)
                work += callers[kind]
        return found, types

    def _hosts_that_call_back(self) -> Iterator[int]:
        for function in self._module.functions:
            if function.imported is not None and function.imported.module not in _WASI:
                yield function.index


def _in_elements(module: Module) -> Iterator[int]:
    """The functions that element segments and globals name."""
    for segment in module.elements:
        yield from segment.functions or ()
        for expression in segment.expressions or ():
            yield from _references(expression.instructions())
    initials = [entry.initial for entry in module.globals] + [table.initial for table in module.tables]
    for initial in initials:
        yield from () if initial is None else _references(initial.instructions())


def _references(code: Iterator[Instruction]) -> Iterator[int]:
    return (instruction.immediates[0] for instruction in code if instruction.name == "ref.func")


class ShadowStack(Protocol):
    """Code for one module's shadow stack."""

    def save(self, local: int) -> Code:
        """Keep the pointer in a local."""

    def restore(self, local: int) -> Code:
        """Take the pointer from there."""

    def around_site(self, local: int) -> tuple[bytes, bytes]:
        """What goes in front of a call, before and after its site's number."""


class SeparateStack:
    """A shadow stack in a ``memory`` of its own, as above."""

    @classmethod
    def added_to(cls, editor: Editor) -> Self:
        """One in a memory that is added to a module."""
        return cls(editor.add_memory(PAGES, PAGES))

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self._pointer = MemoryArgument(0, 2, memory)
        self._entry = MemoryArgument(ENTRY_BYTES, 3, memory)

    def save(self, local: int) -> Code:
        """Keep the pointer in a local."""
        return Code().i32_const(0).i32_load(self._pointer).local_set(local)

    def restore(self, local: int) -> Code:
        """Take the pointer from there."""
        return Code().i32_const(0).local_get(local).i32_store(self._pointer)

    def around_site(self, local: int) -> tuple[bytes, bytes]:
        """What goes in front of a call, before and after its site's number."""
        behind = Code().i64_store(self._entry)
        behind = behind.i32_const(0).local_get(local).i32_const(ENTRY_BYTES).i32_add().i32_store(self._pointer)
        return Code().local_get(local).encoding + _I64_CONST, behind.encoding


class MovableStack:
    """A shadow stack in the module's first memory, where no other memory can be had.

    Args:
        base: the global that holds where it lies, which may change during any call.
        pointer: the global that holds how many bytes of entries count.
        offset: how far behind the base its first entry is.
    """

    def __init__(self, base: int, pointer: int, offset: int) -> None:
        self._base, self._pointer, self._entry = base, pointer, MemoryArgument(offset, 3)

    def save(self, local: int) -> Code:
        """Keep the pointer in a local."""
        return Code().global_get(self._pointer).local_set(local)

    def restore(self, local: int) -> Code:
        """Take the pointer from there."""
        return Code().local_get(local).global_set(self._pointer)

    def around_site(self, local: int) -> tuple[bytes, bytes]:
        """What goes in front of a call, before and after its site's number."""
        behind = Code().i64_store(self._entry).local_get(local).i32_const(ENTRY_BYTES).i32_add()
        return (
            Code().global_get(self._base).local_get(local).i32_add().encoding + _I64_CONST,
            behind.global_set(self._pointer).encoding,
        )


def keep_shadow_stack(
    editor: Editor,
    module: Module,
    targets: Collection[int],
    taken: Collection[int] = (),
    *,
    stack: ShadowStack,
    runs_finalizers: bool = False,
) -> Sites:
    """Add code that keeps a shadow stack to a module; returns its sites.

    Args:
        editor: gets the code; its module is ``module``.
        targets: functions whose callers are to be known, and `GROWING`, if who grows memory is.
        taken: functions that are on no stack, as those whose bodies the editor has taken away already.
        stack: where it lies.
        runs_finalizers: whether what is on no stack calls functions of a table.
    """
    graph = CallGraph(module)
    reaching, types = graph.reaching(targets)
    sites, outside = Sites(), graph.called_from_outside() | (graph.referenced if runs_finalizers else set())
    for function in sorted(reaching & graph.calls.keys() - set(taken)):
        calls = [call for call in graph.calls[function] if call.callee in reaching or call.type in types]
        if calls:
            local = editor.add_local(function, "i32")
            editor.insert_at_entry(function, stack.save(local))
            if function in outside:
                editor.insert_at_exit(function, stack.restore(local))
            _note_calls(editor, function, calls, stack, local, sites)
    return sites


def _note_calls(
    editor: Editor, function: int, calls: list[_Call], stack: ShadowStack, local: int, sites: Sites
) -> None:
    """Put code in front of a function's calls, and number those that leave it on the stack."""
    before, behind = stack.around_site(local)
    off_the_stack = stack.restore(local)
    for call in calls:
        if call.is_tail:
            editor.insert_before(function, call.offset, off_the_stack)
        else:
            number = sites.add(function, call.offset, call.callee)
            editor.insert_before(function, call.offset, Code(before + encode_signed(number) + behind))
