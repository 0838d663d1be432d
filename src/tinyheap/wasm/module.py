"""A WebAssembly module, read: sections, what they hold, and the code, which is decoded when asked for.

    module = Module.parse(data)
    module.function_name(17)                        'runtime.alloc'
    module.functions[17].type_index                 into module.types
    module.call_counts().most_common(3)             walks all code, in a tenth of a second for 2 MB
    module.encode() == data                         always

Invariants: a module never changes (`editor.Editor` makes a new one).  Whatever parsed has every index outside
of code within bounds, and every body's locals read.  Code itself is checked where it is walked, or all of it
by `check_code`; that types fit is for a validator to say.  All offsets are those of the file, as other tools
print them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from tinyheap.errors import MalformedModuleError, ModuleEditError
from tinyheap.wasm import sections as s
from tinyheap.wasm.assembler import Code
from tinyheap.wasm.entities import (
    Body,
    DataSegment,
    ElementSegment,
    Export,
    Function,
    FunctionReference,
    FunctionType,
    Global,
    GlobalType,
    Import,
    Memory,
    MemoryType,
    Table,
    TableType,
    Tag,
    TagType,
)
from tinyheap.wasm.instructions import Instruction
from tinyheap.wasm.names import Names, read_names, read_producers
from tinyheap.wasm.reader import Reader
from tinyheap.wasm.sections import Section, SectionId

Item = TypeVar("Item")


@dataclass(frozen=True)
class Module:
    """The parts of a module, by index space; imports come first in each."""

    data: bytes = field(repr=False)
    sections: tuple[Section, ...] = field(repr=False)
    types: tuple[FunctionType, ...] = field(repr=False)
    imports: tuple[Import, ...] = field(repr=False)
    functions: tuple[Function, ...] = field(repr=False)
    tables: tuple[Table, ...]
    memories: tuple[Memory, ...]
    globals: tuple[Global, ...] = field(repr=False)
    tags: tuple[Tag, ...]
    exports: tuple[Export, ...] = field(repr=False)
    start: int | None
    elements: tuple[ElementSegment, ...] = field(repr=False)
    data_segments: tuple[DataSegment, ...] = field(repr=False)

    @staticmethod
    def parse(data: bytes) -> Module:
        """The module that `data` holds; raises MalformedModuleError, which says where and why."""
        return _Parser(bytes(data)).module()

    def encode(self) -> bytes:
        """The module as bytes, the same that it was read from."""
        return s.HEADER + b"".join([section.encode() for section in self.sections])

    @cached_property
    def names(self) -> Names:
        """What the name section says; raises MalformedModuleError where it is malformed."""
        section = self.custom_section("name")
        return read_names(self._reader(section)) if section else Names()

    @cached_property
    def producers(self) -> Mapping[str, Mapping[str, str]]:
        """What made the module, with versions, by field: ``{"processed-by": {"TinyGo": "0.31.2"}}``."""
        section = self.custom_section("producers")
        return read_producers(self._reader(section)) if section else {}

    @property
    def custom_sections(self) -> tuple[Section, ...]:
        """The custom sections, `name` and `producers` among them."""
        return tuple(section for section in self.sections if section.id is SectionId.CUSTOM)

    def custom_section(self, name: str) -> Section | None:
        """The first custom section called `name`, or None."""
        return next((section for section in self.custom_sections if section.name == name), None)

    def _reader(self, section: Section) -> Reader:
        end = section.offset + len(section.payload)
        return Reader(self.data, section.offset, end, f"custom section {section.name!r}")

    def function_name(self, index: int) -> str | None:
        """The name of a function by index, or None where the module does not say."""
        return self.names.functions.get(index)

    @cached_property
    def function_indices(self) -> Mapping[str, int]:
        """The index of each named function by name (the lowest, if several share the name)."""
        return {name: index for index, name in sorted(self.names.functions.items(), reverse=True)}

    def function_type(self, index: int) -> FunctionType:
        """The type of a function by index."""
        return self.types[self.functions[index].type_index]

    @cached_property
    def slots(self) -> Mapping[int, int]:
        """The functions that the first table has from the start, by their places in it."""
        found: dict[int, int] = {}
        for segment in self.elements:
            start = None if segment.offset is None or segment.table else segment.offset.constant
            if isinstance(start, int):
                found |= enumerate(segment.functions or (), start)
        return found

    @cached_property
    def _exports(self) -> Mapping[str, Export]:
        return {export.name: export for export in self.exports}

    def export(self, name: str) -> Export | None:
        """What is exported as `name`, or None."""
        return self._exports.get(name)

    @cached_property
    def imported_function_count(self) -> int:
        """How many functions are imported: the index of the first that is defined here."""
        return sum(entry.kind == "function" for entry in self.imports)

    @property
    def defined_functions(self) -> tuple[Function, ...]:
        """The functions that have a body."""
        return self.functions[self.imported_function_count :]

    def body(self, index: int) -> Body:
        """The body of a function by index; raises ModuleEditError for an imported one."""
        body = self.functions[index].body if 0 <= index < len(self.functions) else None
        if body is None:
            first, last = self.imported_function_count, len(self.functions) - 1
            raise ModuleEditError(f"function {index} has no body: functions {first} to {last} have one")
        return body

    def find(self, *names: str) -> Iterator[tuple[int, int, Instruction]]:
        """Every instruction with one of these names, in all code: its function's index, its offset, and itself."""
        for function in self.defined_functions:
            if function.body is not None:
                for offset, instruction in function.body.find(*names):
                    yield function.index, offset, instruction

    def find_code(self, code: Code) -> Iterator[tuple[int, int]]:
        """Each place where exactly these instructions follow each other: the function's index and the offset."""
        for function in self.defined_functions:
            for offset in function.body.find_code(code) if function.body else ():
                yield function.index, offset

    def call_counts(self) -> Counter[int]:
        """How often each function is called directly, by index."""
        return Counter(instruction.immediates[0] for _, _, instruction in self.find("call", "return_call"))

    def check_code(self) -> None:
        """Raise MalformedModuleError unless every body is whole instructions that close with `end`."""
        for function in self.defined_functions:
            if function.body is not None:
                function.body.check()


class _Parser:
    """Reads one module's sections in the order that they depend on each other, and checks indices."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._sections = s.read_sections(data)
        self._by_id = {section.id: section for section in self._sections}
        self._types = self._vector(SectionId.TYPE, s.read_function_type)
        self._imports = self._vector(SectionId.IMPORT, s.read_import)

    def module(self) -> Module:
        """Everything, read and checked."""
        functions, tables, memories, global_, tags = self._spaces()
        exports = self._vector(SectionId.EXPORT, s.read_export)
        elements = self._vector(SectionId.ELEMENT, s.read_element_segment)
        data_segments = self._vector(SectionId.DATA, s.read_data_segment)
        start = self._single(SectionId.START)
        data_count = self._single(SectionId.DATA_COUNT)
        sizes = {
            "function": len(functions),
            "table": len(tables),
            "memory": len(memories),
            "global": len(global_),
            "tag": len(tags),
        }
        for export in exports:
            self._bound(SectionId.EXPORT, export.index, sizes[export.kind], export.kind)
        if start is not None:
            self._bound(SectionId.START, start, len(functions), "function")
        for segment in elements:
            self._bound(SectionId.ELEMENT, max(segment.functions or (-1,)), len(functions), "function")
        if data_count is not None and data_count != len(data_segments):
            raise self._error(
                SectionId.DATA_COUNT, f"announces {data_count} segments and {len(data_segments)} are there"
            )
        return Module(
            data=self._data,
            sections=self._sections,
            types=self._types,
            imports=self._imports,
            functions=functions,
            tables=tables,
            memories=memories,
            globals=global_,
            tags=tags,
            exports=exports,
            start=start,
            elements=elements,
            data_segments=data_segments,
        )

    def _spaces(
        self,
    ) -> tuple[tuple[Function, ...], tuple[Table, ...], tuple[Memory, ...], tuple[Global, ...], tuple[Tag, ...]]:
        functions: list[Function] = []
        tables: list[Table] = []
        memories: list[Memory] = []
        global_: list[Global] = []
        tags: list[Tag] = []
        for entry in self._imports:
            match entry.type:
                case FunctionReference(type_index):
                    self._bound(SectionId.IMPORT, type_index, len(self._types), "type")
                    functions.append(Function(len(functions), type_index, imported=entry))
                case TableType():
                    tables.append(Table(entry.type, entry))
                case MemoryType():
                    memories.append(Memory(entry.type, entry))
                case GlobalType():
                    global_.append(Global(entry.type, entry))
                case TagType():
                    tags.append(Tag(entry.type, entry))
        functions += self._defined_functions(len(functions))
        tables += self._vector(SectionId.TABLE, s.read_table)
        memories += self._vector(SectionId.MEMORY, s.read_memory)
        global_ += self._vector(SectionId.GLOBAL, s.read_global)
        tags += [Tag(tag_type) for tag_type in self._vector(SectionId.TAG, s.read_tag_type)]
        for tag in tags:
            self._bound(SectionId.TAG, tag.type.type_index, len(self._types), "type")
        return tuple(functions), tuple(tables), tuple(memories), tuple(global_), tuple(tags)

    def _defined_functions(self, first: int) -> list[Function]:
        type_indices = self._vector(SectionId.FUNCTION, s.read_index)
        bodies = self._vector(SectionId.CODE, s.read_body)
        if len(type_indices) != len(bodies):
            raise self._error(SectionId.CODE, f"{len(bodies)} bodies for {len(type_indices)} declared functions")
        for type_index in type_indices:
            self._bound(SectionId.FUNCTION, type_index, len(self._types), "type")
        declared = zip(type_indices, bodies, strict=True)
        return [Function(index, type_index, body=body) for index, (type_index, body) in enumerate(declared, first)]

    def _reader(self, section_id: SectionId) -> Reader | None:
        section = self._by_id.get(section_id)
        if section is None:
            return None
        end = section.offset + len(section.payload)
        return Reader(self._data, section.offset, end, f"{section.name} section")

    def _vector(self, section_id: SectionId, read: Callable[[Reader], Item]) -> tuple[Item, ...]:
        reader = self._reader(section_id)
        if reader is None:
            return ()
        entries = reader.vector(read)
        reader.finish()
        return entries

    def _single(self, section_id: SectionId) -> int | None:
        reader = self._reader(section_id)
        if reader is None:
            return None
        value = reader.u32()
        reader.finish()
        return value

    def _bound(self, section_id: SectionId, index: int, size: int, space: str) -> None:
        if index >= size:
            raise self._error(section_id, f"{space} {index} does not exist: the module has {size}")

    def _error(self, section_id: SectionId, what: str) -> MalformedModuleError:
        section = self._by_id.get(section_id)
        name = section_id.name.lower().replace("_", " ")
        return Reader(self._data, section.offset if section else 0, section=f"{name} section").error(what)
