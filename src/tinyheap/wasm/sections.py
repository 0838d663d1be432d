"""The sections of a module, each with its reader and writer side by side.

A module is a header of eight bytes and then sections: an identifier, a length, the payload.  All but custom
sections come once and in a fixed order.  A reader takes a payload to the entities that it holds; the writer
takes them back to the same bytes, where integers were in their shortest spelling.  Source: WebAssembly Core
Specification, 5.5 Modules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum

from tinyheap.wasm import instructions
from tinyheap.wasm.component import is_component
from tinyheap.wasm.entities import (
    Body,
    DataSegment,
    ElementSegment,
    Export,
    Expression,
    FunctionReference,
    FunctionType,
    Global,
    GlobalType,
    Import,
    ImportType,
    Limits,
    Memory,
    MemoryType,
    Table,
    TableType,
    TagType,
)
from tinyheap.wasm.immediates import (
    ValueType,
    read_value_type,
    write_value_type,
    write_vector,
)
from tinyheap.wasm.leb128 import encode_unsigned
from tinyheap.wasm.reader import Reader

HEADER = b"\0asm\x01\0\0\0"

_MOST_LOCALS = (1 << 32) - 1
"""More locals are malformed by the specification."""


class SectionId(IntEnum):
    """A section's identifier, in the order that sections must have (custom sections stand anywhere)."""

    CUSTOM = 0
    TYPE = 1
    IMPORT = 2
    FUNCTION = 3
    TABLE = 4
    MEMORY = 5
    TAG = 13
    GLOBAL = 6
    EXPORT = 7
    START = 8
    ELEMENT = 9
    DATA_COUNT = 12
    CODE = 10
    DATA = 11


ORDER = {section: rank for rank, section in enumerate(SectionId)}


@dataclass(frozen=True, slots=True)
class Section:
    """A section: identifier, name (of a custom section, else its kind), payload and its offset in the file.

    The payload of a custom section begins behind its name.  `prefix` is what stands before the payload:
    identifier, length and name.
    """

    id: SectionId
    name: str
    payload: bytes = field(repr=False)
    offset: int = 0
    prefix: bytes = field(default=b"", repr=False)

    def encode(self) -> bytes:
        """The whole section as bytes."""
        return self.prefix + self.payload


def make_section(section_id: SectionId, payload: bytes, name: str = "", width_bytes: int = 1) -> Section:
    """A new section, whose length takes at least `width_bytes`."""
    title = write_name(name) if section_id is SectionId.CUSTOM else b""
    length = encode_unsigned(len(title) + len(payload), width_bytes)
    return Section(section_id, name, payload, prefix=bytes([section_id]) + length + title)


def length_width_bytes(section: Section) -> int:
    """How many bytes a section's length takes."""
    title = len(write_name(section.name)) if section.id is SectionId.CUSTOM else 0
    return len(section.prefix) - 1 - title


def read_sections(data: bytes) -> tuple[Section, ...]:
    """All sections of a module, their order checked, their payloads not looked into."""
    if is_component(data):
        raise Reader(data).error("a WebAssembly component: only core modules are read")
    if data[:8] != HEADER:
        raise Reader(data).error(f"begins with {data[:8].hex(' ') or 'nothing'} where {HEADER.hex(' ')} is expected")
    reader, sections, rank = Reader(data, len(HEADER)), [], 0
    while reader.left:
        start = reader.position
        section = _read_section(reader)
        if section.id is not SectionId.CUSTOM:
            if ORDER[section.id] <= rank:
                raise reader.error(f"the {section.name} section is repeated or out of order", start)
            rank = ORDER[section.id]
        sections.append(section)
    return tuple(sections)


def _read_section(reader: Reader) -> Section:
    start, code = reader.position, reader.byte()
    if code not in ORDER:
        raise reader.error(f"unknown section {code:#04x}", start)
    section_id = SectionId(code)
    name = section_id.name.lower().replace("_", " ")
    part = reader.part(reader.u32(), f"{name} section")
    if section_id is SectionId.CUSTOM:
        name = part.name()
    offset = part.position
    return Section(section_id, name, part.take(part.left), offset, reader.data[start:offset])


def write_name(name: str) -> bytes:
    """A counted string."""
    encoding = name.encode()
    return encode_unsigned(len(encoding)) + encoding


def read_index(reader: Reader) -> int:
    """An index."""
    return reader.u32()


def read_function_type(reader: Reader) -> FunctionType:
    """An entry of the type section."""
    start, form = reader.position, reader.byte()
    if form != 0x60:
        raise reader.error(
            f"a type of form {form:#04x}: only functions (0x60) are read, no structs, arrays or groups", start
        )
    return FunctionType(reader.vector(read_value_type), reader.vector(read_value_type))


def write_function_type(function_type: FunctionType) -> bytes:
    """An entry of the type section."""
    return b"\x60" + b"".join(
        write_vector([write_value_type(value) for value in values])
        for values in (function_type.parameters, function_type.results)
    )


def _read_limits(reader: Reader) -> Limits:
    start, flags = reader.position, reader.byte()
    if flags & 4:
        raise reader.error("a memory or table with 64-bit addresses, which is not supported (memory64)", start)
    if flags > 3:
        raise reader.error(f"limits with unknown flags {flags:#04x}", start)
    return Limits(reader.u32(), reader.u32() if flags & 1 else None, shared=bool(flags & 2))


def _write_limits(limits: Limits) -> bytes:
    maximum = b"" if limits.maximum is None else encode_unsigned(limits.maximum)
    flags = (limits.maximum is not None) + 2 * limits.shared
    return bytes([flags]) + encode_unsigned(limits.minimum) + maximum


def _read_table_type(reader: Reader) -> TableType:
    return TableType(read_value_type(reader), _read_limits(reader))


def _write_table_type(table_type: TableType) -> bytes:
    return write_value_type(table_type.element) + _write_limits(table_type.limits)


def _read_global_type(reader: Reader) -> GlobalType:
    value, start, mutable = read_value_type(reader), reader.position, reader.byte()
    if mutable > 1:
        raise reader.error(f"{mutable:#04x} where a global's mutability (0 or 1) is expected", start)
    return GlobalType(value, mutable == 1)


def _write_global_type(global_type: GlobalType) -> bytes:
    return write_value_type(global_type.value) + bytes([global_type.mutable])


def read_tag_type(reader: Reader) -> TagType:
    """An entry of the tag section."""
    start, attribute = reader.position, reader.byte()
    if attribute:
        raise reader.error(f"a tag with attribute {attribute:#04x}: only exceptions (0) are known", start)
    return TagType(reader.u32())


def write_tag_type(tag_type: TagType) -> bytes:
    """An entry of the tag section."""
    return b"\0" + encode_unsigned(tag_type.type_index)


_SPACES = ("function", "table", "memory", "global", "tag")

_IMPORT_READERS: dict[str, Callable[[Reader], ImportType]] = {
    "function": lambda reader: FunctionReference(reader.u32()),
    "table": _read_table_type,
    "memory": lambda reader: MemoryType(_read_limits(reader)),
    "global": _read_global_type,
    "tag": read_tag_type,
}


def _read_kind(reader: Reader) -> str:
    start, code = reader.position, reader.byte()
    if code >= len(_SPACES):
        raise reader.error(f"{code:#04x} where the kind of an import or export is expected", start)
    return _SPACES[code]


def read_import(reader: Reader) -> Import:
    """An entry of the import section."""
    return Import(reader.name(), reader.name(), _IMPORT_READERS[_read_kind(reader)](reader))


def write_import(entry: Import) -> bytes:
    """An entry of the import section."""
    return (
        write_name(entry.module)
        + write_name(entry.name)
        + bytes([_SPACES.index(entry.kind)])
        + _write_import_type(entry.type)
    )


def _write_import_type(import_type: ImportType) -> bytes:
    match import_type:
        case FunctionReference():
            return encode_unsigned(import_type.type_index)
        case TableType():
            return _write_table_type(import_type)
        case MemoryType():
            return _write_limits(import_type.limits)
        case GlobalType():
            return _write_global_type(import_type)
        case TagType():
            return write_tag_type(import_type)


def read_table(reader: Reader) -> Table:
    """An entry of the table section."""
    if reader.data[reader.position : min(reader.position + 2, reader.end)] == b"\x40\0":
        reader.take(2)
        return Table(_read_table_type(reader), initial=read_expression(reader))
    return Table(_read_table_type(reader))


def write_table(table: Table) -> bytes:
    """An entry of the table section."""
    if table.initial is None:
        return _write_table_type(table.type)
    return b"\x40\0" + _write_table_type(table.type) + table.initial.encoding


def read_memory(reader: Reader) -> Memory:
    """An entry of the memory section."""
    return Memory(MemoryType(_read_limits(reader)))


def write_memory(memory: Memory) -> bytes:
    """An entry of the memory section."""
    return _write_limits(memory.type.limits)


def read_expression(reader: Reader) -> Expression:
    """A constant expression: instructions up to the first `end`, since none of them opens a block."""
    start = reader.position
    ends = instructions.find(reader.data, start, reader.end, ("end",), reader.section)
    offset, _ = next(ends, (None, None))
    if offset is None:
        raise reader.error("a constant expression that does not end", start)
    return Expression(reader.take(offset + 1 - start))


def read_global(reader: Reader) -> Global:
    """An entry of the global section."""
    return Global(_read_global_type(reader), initial=read_expression(reader))


def write_global(entry: Global) -> bytes:
    """An entry of the global section."""
    return _write_global_type(entry.type) + (entry.initial.encoding if entry.initial else b"")


def read_export(reader: Reader) -> Export:
    """An entry of the export section."""
    return Export(reader.name(), _read_kind(reader), reader.u32())


def write_export(export: Export) -> bytes:
    """An entry of the export section."""
    return write_name(export.name) + bytes([_SPACES.index(export.kind)]) + encode_unsigned(export.index)


def read_element_segment(reader: Reader) -> ElementSegment:
    """An entry of the element section.

    Flags: bit 0 not active, bit 1 names the table (or, not active, is declarative), bit 2 spelled with
    expressions.
    """
    start, flags = reader.position, reader.u32()
    if flags > 7:
        raise reader.error(f"an element segment with unknown flags {flags:#x}", start)
    active, second, spelled = not flags & 1, bool(flags & 2), bool(flags & 4)
    table = reader.u32() if active and second else 0
    offset = read_expression(reader) if active else None
    element = _read_element_type(reader, spelled) if flags & 3 else "funcref"
    return ElementSegment(
        mode="active" if active else "declarative" if second else "passive",
        type=element,
        functions=None if spelled else reader.vector(read_index),
        expressions=reader.vector(read_expression) if spelled else None,
        table=table,
        offset=offset,
        typed=active and second,
    )


def _read_element_type(reader: Reader, spelled: bool) -> ValueType:
    if spelled:
        return read_value_type(reader)
    start, kind = reader.position, reader.byte()
    if kind:
        raise reader.error(f"elements of kind {kind:#04x}: only functions (0) are known", start)
    return "funcref"


def write_element_segment(segment: ElementSegment) -> bytes:
    """An entry of the element section."""
    active, spelled = segment.mode == "active", segment.expressions is not None
    named = active and (segment.typed or segment.table > 0)
    flags = (not active) + 2 * (named or segment.mode == "declarative") + 4 * spelled
    element = (write_value_type(segment.type) if spelled else b"\0") if flags & 3 else b""
    items = (
        [encode_unsigned(index) for index in segment.functions or ()]
        if segment.expressions is None
        else [expression.encoding for expression in segment.expressions]
    )
    table = encode_unsigned(segment.table) if named else b""
    offset = segment.offset.encoding if segment.offset else b""
    return bytes([flags]) + table + offset + element + write_vector(items)


def read_body(reader: Reader) -> Body:
    """An entry of the code section, its instructions not looked into."""
    part = reader.part(reader.u32())
    start = part.position
    declared = part.vector(lambda item: (item.u32(), read_value_type(item)))
    if sum(count for count, _ in declared) > _MOST_LOCALS:
        raise part.error("a function with more than 2^32 - 1 locals", start)
    if not part.left or part.data[part.end - 1] != 0x0B:
        raise part.error("a function whose code does not close with `end` (0x0b)", start)
    return Body(part.data, start, part.position, part.end, declared)


def write_body(encoding: bytes) -> bytes:
    """An entry of the code section."""
    return encode_unsigned(len(encoding)) + encoding


def read_data_segment(reader: Reader) -> DataSegment:
    """An entry of the data section.  Flags: 0 active in memory 0, 1 passive, 2 active, memory named."""
    start, flags = reader.position, reader.u32()
    if flags > 2:
        raise reader.error(f"a data segment with unknown flags {flags:#x}", start)
    memory = reader.u32() if flags == 2 else 0
    offset = None if flags == 1 else read_expression(reader)
    return DataSegment(reader.take(reader.u32()), memory, offset, numbered=flags == 2)


def write_data_segment(segment: DataSegment) -> bytes:
    """An entry of the data section."""
    contents = encode_unsigned(len(segment.data)) + segment.data
    if segment.offset is None:
        return b"\x01" + contents
    if segment.numbered or segment.memory:
        return b"\x02" + encode_unsigned(segment.memory) + segment.offset.encoding + contents
    return b"\0" + segment.offset.encoding + contents
