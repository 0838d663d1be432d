"""Types of variables are what the compiler made of the source; hostile ones end somewhere."""

from __future__ import annotations

import json

import pytest

from symbols import debug_builds
from symbols.test_reading import with_sections
from tinyheap.symbols.reading import types_of
from tinyheap.symbols.types import Field, Kind, Type, Types
from tinyheap.wasm import Module


@pytest.fixture(scope="module", params=debug_builds.VERSIONS)
def types(request: pytest.FixtureRequest) -> Types:
    found = types_of(Module.parse(debug_builds.built_types(request.param)))
    assert found.problem is None
    return found


def of_variable(types: Types, name: str) -> Type:
    [number] = [each.type for each in types.variables if each.name == name]
    return types[number]


@pytest.mark.parametrize(
    ("name", "type_name", "kind", "size_bytes"),
    [
        ("first", "node", Kind.RECORD, 40),
        ("table", "nodes", Kind.ARRAY, 16),
        ("where", "**node", Kind.POINTER, 4),
        ("anything", "unsafe.Pointer", Kind.POINTER, 4),
        ("function", "*?", Kind.POINTER, 4),
        ("truth", "_Bool", Kind.BOOL, 1),
        ("wave", "_Complex float", Kind.COMPLEX, 8),
        ("longest", "long long", Kind.SIGNED, 8),
        ("nameless", "struct{x, y, z, ...}", Kind.RECORD, 8),
        ("matrix", "[2][3]int", Kind.ARRAY, 24),
    ],
)
def test_variables_have_the_types_of_the_source(
    types: Types, name: str, type_name: str, kind: Kind, size_bytes: int
) -> None:
    found = of_variable(types, name)
    names = {
        "_Complex float": ("_Complex float", "complex", "complex float"),
        "long long": ("long long", "long long int"),
    }
    assert found.name in names.get(type_name, (type_name,))
    assert (found.kind, found.size_bytes) == (kind, size_bytes)


def test_fields_are_where_the_compiler_put_them(types: Types) -> None:
    node = of_variable(types, "first")
    offsets = {each.name: each.offset_bytes for each in node.fields}
    assert offsets == {"next": 0, "label": 4, "value": 8, "grid": 16, "color": 32}
    assert types[node.fields[0].type].element == types.numbers["node"]
    grid = types[node.fields[3].type]
    assert (grid.count, types[grid.element].count, types[types[grid.element].element].name) == (3, 5, "byte")
    value = types[node.fields[2].type]
    assert [each.offset_bytes for each in value.fields] == [0, 0]
    assert types[node.fields[4].type].kind is Kind.UNSIGNED


def test_a_name_for_a_type_is_kept(types: Types) -> None:
    nodes = of_variable(types, "table")
    assert (nodes.count, types[nodes.element].name, types[types[nodes.element].element].name) == (4, "*node", "node")


def test_both_versions_tell_the_same() -> None:
    four, five = (types_of(Module.parse(debug_builds.built_types(version))) for version in debug_builds.VERSIONS)
    assert {each.name for each in four.types} == {each.name for each in five.types}
    assert [each[:3] for each in four.variables] == [each[:3] for each in five.variables]


def test_without_debug_information_there_are_no_types() -> None:
    stripped = debug_builds.without(debug_builds.built_types(4), ".debug_")
    assert not types_of(Module.parse(stripped))


@pytest.mark.parametrize("name", [".debug_info", ".debug_abbrev", ".debug_str"])
@pytest.mark.share(1)
def test_each_flipped_byte_is_survived(name: str) -> None:
    from tinyheap.symbols.dwarf import Dwarf
    from tinyheap.symbols.variables import variables

    wasm = debug_builds.built_types(4)
    sections = {each.name.removeprefix(".debug_"): each.payload for each in Module.parse(wasm).custom_sections}
    content = sections[name.removeprefix(".debug_")]
    for at in range(0, len(content), 3):
        broken = bytearray(content)
        broken[at] ^= 0x5A
        try:
            answer = variables(Dwarf({**sections, name.removeprefix(".debug_"): bytes(broken)}))
        except Exception:
            continue
        found = Types.of_json(json.loads(json.dumps(answer)))
        assert all(each.size_bytes <= 1 << 32 for each in found.types)
    assert types_of(with_sections(wasm, {name: b"\xff" * len(content)})).problem or name == ".debug_str"


def test_an_answer_that_refers_to_no_type_is_refused() -> None:
    with pytest.raises(ValueError, match="invalid type 1: expected one of 1"):
        Types.of_json({"types": [["pointer", "", 4, 1, 0, []]], "variables": [], "parts": [], "unplaced": []})


def test_parts_of_a_variable_are_named_by_their_fields() -> None:
    types = [
        ["unsigned", "uint32", 4, -1, 0, []],
        ["record", "string", 8, -1, 0, [["ptr", 0, 0], ["len", 4, 0]]],
        ["record", "conn", 16, -1, 0, [["seq", 0, 0], ["history", 4, 1], ["odd", 12, 0]]],
    ]
    asked = [
        ["link", 2, 0, 64, 4],
        ["link", 2, 4, 80, 8],
        ["link", 2, 8, 96, 4],
        ["link", 2, 4, 112, 12],
        ["link", 2, 2, 128, 2],
    ]
    parts = Types.of_json({"types": types, "variables": [], "parts": asked, "unplaced": []}).parts
    assert [(each.name, each.address, each.type) for each in parts] == [
        ("link.seq", 64, 0),
        ("link.history", 80, 1),
        ("link.history.len", 96, 0),
        ("link.history", 112, -1),
        ("link.seq+2", 128, -1),
    ]


def test_fields_are_found_by_their_names() -> None:
    each = Type(Kind.RECORD, "pair", 8, fields=(Field("a", 0, 0), Field("b", 4, 0)))
    assert each.field("b") == Field("b", 4, 0)
    assert each.field("c") is None
