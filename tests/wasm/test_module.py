"""Reading modules: small ones that hold everything, and real ones, compared with what wabt says of them."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest

import guests_modules
from tinyheap.errors import ModuleEditError
from tinyheap.wasm import EMPTY, Code, Editor, Module, sections
from tinyheap.wasm.entities import (
    FunctionReference,
    FunctionType,
    GlobalType,
    Import,
    Limits,
    MemoryType,
    TableType,
    TagType,
)
from tinyheap.wasm.immediates import write_vector
from tinyheap.wasm.leb128 import encode_unsigned
from tinyheap.wasm.names import write_names
from tinyheap.wasm.reader import Reader
from tinyheap.wasm.sections import SectionId
from wasm import oracles, samples

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def everything() -> Module:
    return Module.parse(oracles.assemble(samples.EVERYTHING))


def test_imports_come_first_in_each_index_space(everything: Module) -> None:
    memory, table = MemoryType(Limits(1, 2)), TableType("externref", Limits(1, 4))
    assert everything.imports == (
        Import("host", "log", FunctionReference(0)),
        Import("host", "table", table),
        Import("host", "memory", memory),
        Import("host", "base", GlobalType("i32", mutable=False)),
        Import("host", "oops", TagType(2)),
    )
    assert [entry.kind for entry in everything.imports] == ["function", "table", "memory", "global", "tag"]
    assert everything.functions[0].imported is everything.imports[0]
    assert everything.tables[0].type == table
    assert everything.memories[0].type == memory
    assert everything.imported_function_count == 1
    assert [function.index for function in everything.defined_functions] == [1, 2, 3, 4]


def test_types_and_sizes_are_read(everything: Module) -> None:
    assert str(everything.function_type(2)) == "(i32) -> (i32)"
    assert everything.function_type(3) == FunctionType((), ("i32", "i64"))
    assert everything.tables[2].type == TableType("funcref", Limits(2, 2))
    assert [memory.type.limits for memory in everything.memories] == [Limits(1, 2), Limits(1), Limits(1, 3)]
    assert [entry.type.mutable for entry in everything.globals] == [False, True, False, False]
    assert everything.types[everything.tags[1].type.type_index].parameters == ("i32", "i64")


def test_constant_expressions_give_their_value_or_their_instructions(everything: Module) -> None:
    _, counter, computed, reference = everything.globals
    assert counter.initial is not None
    assert counter.initial.constant == 0
    assert computed.initial is not None
    assert computed.initial.constant is None
    names = [instruction.name for instruction in computed.initial.instructions()]
    assert names == ["global.get", "i32.const", "i32.add", "end"]
    assert reference.initial is not None
    assert reference.initial.constant is None


def test_segments_are_read(everything: Module) -> None:
    modes = [(segment.mode, segment.type, segment.table, segment.functions) for segment in everything.elements]
    assert modes == [
        ("active", "funcref", 1, (0, 2)),
        ("active", "funcref", 1, None),
        ("passive", "funcref", 0, (2,)),
        ("passive", "externref", 0, None),
        ("declarative", "funcref", 0, (3,)),
    ]
    contents = [(segment.memory, segment.data) for segment in everything.data_segments]
    assert contents == [(0, b"outer"), (1, b"inner"), (0, b"passive")]


def test_exports_and_the_start_function_are_read(everything: Module) -> None:
    export = everything.export("memory")
    assert export is not None
    assert (export.kind, export.index) == ("memory", 1)
    assert everything.export("nothing") is None
    assert everything.start == 1
    assert EMPTY.start is None


def test_names_are_read_in_both_directions(everything: Module) -> None:
    assert everything.names.module == "all"
    assert everything.function_name(2) == "twice"
    assert everything.function_name(99) is None
    assert everything.function_indices["catching"] == 4
    assert everything.names.globals[2] == "sum"
    assert everything.names.locals[2] == {1: "i", 2: "j", 3: "v"}
    assert EMPTY.function_name(0) is None


def test_a_body_gives_its_locals_and_instructions(everything: Module) -> None:
    body = everything.body(2)
    assert body.locals == ((2, "i64"), (1, "v128"))
    assert body.local_count == 3
    walked = list(body.instructions())
    assert walked[0][0] == body.code_start
    assert b"".join(found.encoding for _, found in walked) == everything.data[body.code_start : body.end]
    ((_, call),) = body.find("call_indirect")
    assert call.immediates == (0, 1)
    with pytest.raises(ModuleEditError, match="function 0 has no body: functions 1 to 4 have one"):
        everything.body(0)


def test_calls_are_counted_by_callee(everything: Module) -> None:
    assert everything.call_counts() == Counter({0: 1, 3: 1})
    assert [(index, found.name) for index, _, found in everything.find("br_table", "throw")] == [
        (3, "br_table"),
        (4, "throw"),
    ]


def test_code_is_found_where_it_stands_and_not_inside_an_immediate() -> None:
    editor = Editor()
    wanted = Code().i32_const(-64).i32_div_u()
    assert wanted.encoding == b"\x41\x40\x6e"
    hidden = Code(b"\x43\x00\x41\x40\x6e").drop()
    editor.add_function([], [], hidden)
    editor.add_function(["i32"], [], hidden + Code().local_get(0) + wanted + Code().local_get(0) + wanted)
    module = editor.build()
    start = module.body(1).code_start + len(hidden.encoding)
    assert list(module.find_code(wanted)) == [(1, start + 2), (1, start + 2 + 3 + 2)]


def test_a_real_allocator_is_found_by_a_division_by_65() -> None:
    module = Module.parse(guests_modules.read("sh-syntax-0.4.2"))
    places = list(module.find_code(Code().i32_const(65).i32_div_u()))
    assert {module.function_name(function) for function, _ in places} == {"runtime.calculateHeapAddresses"}


def test_old_exceptions_are_walked() -> None:
    module = Module.parse(oracles.assemble(samples.LEGACY_EXCEPTIONS))
    names = Counter(found.name for _, _, found in module.find("try", "catch", "catch_all", "delegate", "rethrow"))
    assert names == {"try": 5, "catch": 3, "catch_all": 2, "delegate": 1, "rethrow": 1}


def test_element_segments_of_every_spelling_come_back() -> None:
    function, expression = "01 00", "01 d2 00 0b"
    offset = "41 00 0b"
    spellings = [
        f"00 {offset} {function}",
        f"01 00 {function}",
        f"02 00 {offset} 00 {function}",
        f"03 00 {function}",
        f"04 {offset} {expression}",
        f"05 70 {expression}",
        f"06 00 {offset} 70 {expression}",
        f"07 70 {expression}",
    ]
    segments = [sections.read_element_segment(Reader(bytes.fromhex(spelling))) for spelling in spellings]
    assert [sections.write_element_segment(segment).hex(" ") for segment in segments] == spellings
    assert [segment.mode for segment in segments[:4]] == ["active", "passive", "active", "declarative"]


def test_padded_lengths_and_unknown_custom_sections_come_back(everything: Module) -> None:
    padded = b"\x00\x88\x80\x80\x00" + b"\x04note\xff\xfe\xfd"
    data = everything.data[:8] + padded + everything.data[8:]
    module = Module.parse(data)
    note = module.custom_section("note")
    assert note is not None
    assert note.payload == b"\xff\xfe\xfd"
    assert data[note.offset : note.offset + 3] == note.payload
    assert module.encode() == data


def _rewritten(module: Module) -> bytes:
    """The module with each section made anew from what was read of it."""
    defined = module.defined_functions
    writers = {
        SectionId.TYPE: [sections.write_function_type(entry) for entry in module.types],
        SectionId.IMPORT: [sections.write_import(entry) for entry in module.imports],
        SectionId.FUNCTION: [encode_unsigned(function.type_index) for function in defined],
        SectionId.TABLE: [sections.write_table(entry) for entry in module.tables if not entry.imported],
        SectionId.MEMORY: [sections.write_memory(entry) for entry in module.memories if not entry.imported],
        SectionId.TAG: [sections.write_tag_type(entry.type) for entry in module.tags if not entry.imported],
        SectionId.GLOBAL: [sections.write_global(entry) for entry in module.globals if not entry.imported],
        SectionId.EXPORT: [sections.write_export(entry) for entry in module.exports],
        SectionId.ELEMENT: [sections.write_element_segment(entry) for entry in module.elements],
        SectionId.DATA: [sections.write_data_segment(entry) for entry in module.data_segments],
        SectionId.CODE: [
            sections.write_body(
                body.data[body.start : body.code_start] + b"".join(found.encoding for _, found in body.instructions())
            )
            for function in defined
            if (body := function.body)
        ],
    }
    payloads = {section_id: write_vector(entries) for section_id, entries in writers.items()}
    result = [sections.HEADER]
    for section in module.sections:
        payload = payloads.get(section.id, section.payload)
        if section.name == "name":
            payload = write_names(module.names)
        width_bytes = sections.length_width_bytes(section)
        result.append(sections.make_section(section.id, payload, section.name, width_bytes).encode())
    return b"".join(result)


def test_everything_is_made_anew_from_what_was_read(everything: Module) -> None:
    assert everything.encode() == everything.data
    assert _rewritten(everything) == everything.data


@pytest.mark.parametrize("name", guests_modules.NAMES)
@pytest.mark.share(2)
def test_a_real_module_is_made_anew_from_what_was_read(name: str) -> None:
    module = Module.parse(guests_modules.read(name))
    assert module.encode() == module.data
    assert _rewritten(module) == module.data


@pytest.mark.parametrize("name", guests_modules.NAMES)
def test_a_real_module_has_the_functions_and_sections_that_wabt_finds(name: str, tmp_path: Path) -> None:
    module = Module.parse(guests_modules.read(name))
    headers = oracles.objdump(module.data, tmp_path, "-h")
    found = re.findall(r"^ *\w+ start=(0x\w+) end=(0x\w+) ", headers, re.MULTILINE)
    ours = []
    for section in module.sections:
        start = section.offset - (len(section.prefix) - 1 - sections.length_width_bytes(section))
        ours.append((start, section.offset + len(section.payload)))
    assert ours == [(int(start, 16), int(end, 16)) for start, end in found]
    details = oracles.objdump(module.data, tmp_path, "-x")
    functions = re.findall(r"^ - func\[(\d+)\] sig=(\d+)(?: <(.*?)>)?(?: <- .*)?$", details, re.MULTILINE)
    assert [(function.index, function.type_index) for function in module.functions] == [
        (int(index), int(signature)) for index, signature, _ in functions
    ]
    theirs = {int(index): name for index, _, name in functions}
    assert {index: theirs[index] for index in module.names.functions} == module.names.functions


def _objdump_instructions(module: Module, folder: Path) -> list[tuple[int, str]]:
    lines = oracles.objdump(module.data, folder, "-d")
    return [
        (int(offset, 16), mnemonic)
        for offset, mnemonic in re.findall(r"^ ([0-9a-f]+): .*?\| +([a-z]\S*)", lines, re.MULTILINE)
        if not mnemonic.startswith("local[")
    ]


@pytest.mark.parametrize("name", ["gofmt-0.4.9", "sh-syntax-0.7.0", "micropython-1.27.0"])
@pytest.mark.slow
def test_every_instruction_of_a_real_module_lies_where_wabt_finds_it(name: str, tmp_path: Path) -> None:
    module = Module.parse(guests_modules.read(name))
    ours = [
        (offset, found.name)
        for function in module.defined_functions
        for offset, found in module.body(function.index).instructions()
    ]
    theirs = _objdump_instructions(module, tmp_path)
    assert len(ours) > 100_000
    assert ours == theirs


def test_the_tools_that_made_a_real_module_are_known() -> None:
    module = Module.parse(guests_modules.read("gofmt-0.4.9"))
    assert module.producers["processed-by"]["TinyGo"] == "0.31.2"
    ((alloc, _),) = module.call_counts().most_common(1)
    assert module.function_name(alloc) == "runtime.alloc"
    assert Module.parse(guests_modules.read("micropython-1.27.0")).producers == {}
