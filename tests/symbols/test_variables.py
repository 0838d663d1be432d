"""Variables, their addresses and their sizes are what compiler and LLVM's own tool say; hostile types are survived."""

from __future__ import annotations

import random
import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import needs
from symbols import debug_builds
from symbols.test_reading import NAMES, with_sections
from tinyheap.symbols.reading import variables_of
from tinyheap.symbols.variables import _Piece, _pieces, _together
from tinyheap.wasm import Module

if TYPE_CHECKING:
    from tinyheap.symbols.dwarf import Unit

SIZES = {"table": 256, "kept": 16, "audit": 4, "forgotten": 4, "mallocs": 8, "zero_sized": 1, "metadata_start": 4}
"""Of variables of the sources, as C has them."""


def dumped(wasm: bytes, folder: Path) -> dict[str, int]:
    """Addresses by name, as llvm-dwarfdump says."""
    file = folder / "program.wasm"
    file.write_bytes(wasm)
    command = [str(needs.tool("llvm-dwarfdump-14")), "--debug-info", str(file)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {}
    for entry in re.split(r"\n\n+", text):
        name = re.search(r'DW_AT_name\s*\("(\w+)"\)', entry)
        place = re.search(r"DW_AT_location\s*\(DW_OP_addrx? 0x([0-9a-f]+)\)", entry)
        if "DW_TAG_variable" in entry and name and place:
            found[name[1]] = int(place[1], 16)
    return found


@pytest.mark.parametrize("version", debug_builds.VERSIONS)
def test_variables_are_those_that_llvm_tells(version: int, tmp_path: Path) -> None:
    wasm = debug_builds.built(version)
    variables, problem = variables_of(Module.parse(wasm))
    assert problem is None
    assert variables is not None
    sizes = {each.name: each.size_bytes for each in variables}
    assert {name: sizes[name] for name in SIZES} == SIZES
    assert [each.size_bytes for each in variables] == sorted(sizes.values(), reverse=True)
    if version == 4:  # of version 5 the tool shows numbers of addresses only
        addresses = {each.name: each.address for each in variables}
        expected = {name: address for name, address in dumped(wasm, tmp_path).items() if address}
        assert {name: addresses[name] for name in expected} == expected


def test_both_versions_tell_of_the_same_variables() -> None:
    four, five = (variables_of(Module.parse(debug_builds.built(version)))[0] for version in debug_builds.VERSIONS)
    assert four
    assert four == five


ADDRESS, PIECE = b"\x03" + (0x10668).to_bytes(4, "little"), b"\x93"


@pytest.mark.parametrize(
    ("place", "pieces"),
    [
        (ADDRESS, [(0, 0x10668, 0)]),
        (PIECE + b"\4" + ADDRESS + PIECE + b"\4", [(4, 0x10668, 4)]),
        (ADDRESS + PIECE + b"\4" + ADDRESS + PIECE + b"\x84\0", [(0, 0x10668, 4), (4, 0x10668, 4)]),
        # A part that is computed from a byte in memory lies nowhere.
        (
            ADDRESS + b"\x94\1\x10\x80\xa0\2\x1e\x30\x22\x9f" + PIECE + b"\4" + ADDRESS + PIECE + b"\4",
            [(4, 0x10668, 4)],
        ),
        (b"\xff" + PIECE + b"\4" + ADDRESS + PIECE + b"\4", []),
        (ADDRESS + PIECE + b"\0", []),
        (b"", []),
    ],
)
def test_variables_lie_in_pieces(place: bytes, pieces: list[tuple[int, int, int]]) -> None:
    assert _pieces(cast("Unit", None), place) == pieces


@pytest.mark.parametrize(
    ("pieces", "address"),
    [
        ([(0, 64, 0)], 64),
        ([(0, 64, 4), (4, 68, 4)], 64),
        ([(0, 64, 4), (4, 72, 4)], None),
        ([(4, 64, 4)], None),
        ([], None),
    ],
)
def test_pieces_that_follow_each_other_are_one_place(pieces: list[tuple[int, int, int]], address: int | None) -> None:
    assert _together([_Piece(*each) for each in pieces]) == address


def test_without_debug_information_none_are_known() -> None:
    assert variables_of(Module.parse(debug_builds.without(debug_builds.built(4), ".debug_"))) == (None, None)


@settings(max_examples=25 if needs.IN_CI else 8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(debug_builds.VERSIONS), st.sampled_from(NAMES), st.integers(0, 2**32), st.integers(1, 40))
def test_flipped_bytes_are_survived(version: int, name: str, seed: int, flips: int) -> None:
    wasm = debug_builds.built(version)
    section = Module.parse(wasm).custom_section(name)
    if section is None:
        return
    content, chance = bytearray(section.payload), random.Random(seed)
    for _ in range(flips):
        content[chance.randrange(len(content))] = chance.choice((0, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    begun_s = time.monotonic()
    variables, problem = variables_of(with_sections(wasm, {name: bytes(content)}), timeout_s=20)
    assert time.monotonic() - begun_s < 30
    assert (variables is None) == (problem is not None)
    for each in variables or ():
        assert each.size_bytes > 0
        assert each.address + each.size_bytes <= 1 << 32


def test_types_that_lead_back_to_themselves_have_no_size() -> None:
    """A typedef of itself, an array of ten of it, and an integer; a variable of each."""
    variable, alias, array, bounds, base, unit = range(1, 7)
    tags = {variable: 0x34, alias: 0x16, array: 0x01, bounds: 0x21, base: 0x24, unit: 0x11}
    # Attributes and forms: name string, location exprloc, type ref4; count data1; byte size data1.
    attributes = {
        variable: "030802184913",
        alias: "4913",
        array: "4913",
        bounds: "370b",
        base: "0b0b",
        unit: "",
    }
    abbreviations = b"".join(
        bytes([code, tag, code in (array, unit)]) + bytes.fromhex(attributes[code]) + b"\0\0"
        for code, tag in tags.items()
    )
    head_bytes = 11
    types = bytes([unit])
    places = {}
    for name, entry in (("alias", alias), ("array", array), ("base", base)):
        places[name] = head_bytes + len(types)
        if entry == base:
            types += bytes([base, 4])
        else:
            types += bytes([entry]) + places["alias"].to_bytes(4, "little")
            types += bytes([bounds, 10, 0]) if entry == array else b""
    variables = b"".join(
        bytes([variable]) + name.encode() + b"\0" + bytes([5, 3, 0, 4, 0, number]) + place.to_bytes(4, "little")
        for number, (name, place) in enumerate(places.items())
    )
    entries = types + variables + b"\0"
    info = (head_bytes - 4 + len(entries)).to_bytes(4, "little") + b"\4\0" + bytes(4) + b"\4" + entries
    module = with_sections(debug_builds.built(4), {".debug_info": info, ".debug_abbrev": abbreviations + b"\0"})
    found, problem = variables_of(module)
    assert problem is None
    assert found is not None
    assert [(each.name, each.size_bytes) for each in found] == [("base", 4)]
