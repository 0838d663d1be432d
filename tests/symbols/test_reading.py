"""Source lines of an address are those of LLVM's symbolizer; hostile debug information is refused, and stops no run."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import needs
from symbols import debug_builds
from tinyheap.errors import SymbolsError
from tinyheap.symbols.places import DEEPEST, Place, Places, shortened
from tinyheap.symbols.reading import check_same_code, has_debug_information, places_of
from tinyheap.wasm import Module
from tinyheap.wasm.leb128 import encode_unsigned
from tinyheap.wasm.sections import HEADER, SectionId, make_section

SOURCES = ("inlined.c", "mutator.c", "block_collector.c")


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("version", debug_builds.VERSIONS)
@pytest.mark.share(3)
def test_places_are_those_that_llvm_tells(version: int, source: str) -> None:
    wasm = debug_builds.built(version, source)
    module = Module.parse(wasm)
    addresses = debug_builds.call_addresses(module)
    found = places_of(module, addresses)
    assert found.problem is None
    for address, expected in zip(addresses, debug_builds.symbolized(wasm, addresses), strict=True):
        places = found.chains[address]
        rows = [(place.function if at else "", Path(place.file).name, place.line) for at, place in enumerate(places)]
        assert rows == expected, hex(address)


@pytest.mark.parametrize("version", debug_builds.VERSIONS)
def test_an_inlined_call_is_a_place_of_its_own(version: int) -> None:
    module = Module.parse(debug_builds.built(version))
    chains = places_of(module, debug_builds.call_addresses(module)).chains.values()
    [audited] = [chain for chain in chains if chain[-1].line == line_of("struct record *record = append")]
    assert [place.function for place in audited] == ["runtime.run$1", "main_main"]
    assert audited[0].line == line_of("{ main_main(rounds); }")
    assert {place.file for place in audited} == {str(debug_builds.SOURCE)}


def line_of(text: str) -> int:
    lines = debug_builds.SOURCE.read_text().splitlines()
    [number] = [number for number, line in enumerate(lines, start=1) if text in line]
    return number


def test_a_module_without_debug_information_has_no_places() -> None:
    stripped = Module.parse(debug_builds.without(debug_builds.built(4), ".debug_"))
    assert not has_debug_information(stripped)
    assert places_of(stripped, debug_builds.call_addresses(stripped)) == Places()


def test_places_survive_being_written() -> None:
    module = Module.parse(debug_builds.built(4))
    found = places_of(module, debug_builds.call_addresses(module))
    assert found
    assert Places.of_json(found.as_json()) == found
    assert found.files == {
        str(debug_builds.SOURCE.with_name(name)) for name in ("inlined.c", "block_collector.c", "trees.h")
    }


def test_a_long_chain_keeps_its_ends() -> None:
    chain = [Place(f"f{depth}", "a.go", depth + 1) for depth in range(1000)]
    kept = shortened(chain)
    assert (len(kept), kept[0], kept[-1]) == (DEEPEST, chain[0], chain[-1])


# ---- symbols of another build -----------------------------------------------------------------------------------------


def test_symbols_may_come_from_a_build_with_the_same_code() -> None:
    whole = debug_builds.built(5)
    check_same_code(Module.parse(debug_builds.without(whole, ".debug_", "name")), Module.parse(whole))


def test_symbols_of_other_code_are_refused() -> None:
    module, other = (Module.parse(debug_builds.built(4, source)) for source in ("inlined.c", "mutator.c"))
    with pytest.raises(SymbolsError, match="the code of this build differs from the module's"):
        check_same_code(module, other)


def test_symbols_without_debug_information_are_refused() -> None:
    module = Module.parse(debug_builds.without(debug_builds.built(4), ".debug_"))
    with pytest.raises(SymbolsError, match="this build has no debug information"):
        check_same_code(module, module)


# ---- hostile debug information ----------------------------------------------------------------------------------------


def with_sections(wasm: bytes, changed: dict[str, bytes]) -> Module:
    """A module with other content in some custom sections."""
    sections = [
        make_section(SectionId.CUSTOM, changed[each.name], each.name) if each.name in changed else each
        for each in Module.parse(wasm).sections
    ]
    return Module.parse(HEADER + b"".join(each.encode() for each in sections))


def looked_at(module: Module, timeout_s: float = 20.0) -> Places:
    """What is read of a module, whatever that is: an answer comes, and soon."""
    begun_s = time.monotonic()
    found = places_of(module, debug_builds.call_addresses(module), timeout_s=timeout_s)
    assert time.monotonic() - begun_s < timeout_s + 10
    assert found.problem is None or "debug information cannot be read" in found.problem
    for chain in found.chains.values():
        assert 0 < len(chain) <= DEEPEST
        assert all(place.line >= 0 for place in chain)
    return found


NAMES = (".debug_info", ".debug_abbrev", ".debug_line", ".debug_str", ".debug_ranges", ".debug_rnglists", ".debug_addr")


@settings(max_examples=25 if needs.IN_CI else 8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(debug_builds.VERSIONS), st.sampled_from(NAMES), st.integers(0, 2**32), st.integers(1, 40))
def test_flipped_bytes_are_survived(version: int, name: str, seed: int, flips: int) -> None:
    wasm = debug_builds.built(version)
    section = Module.parse(wasm).custom_section(name)
    if section is not None:
        content, chance = bytearray(section.payload), random.Random(seed)
        for _ in range(flips):
            content[chance.randrange(len(content))] = chance.choice((0, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        looked_at(with_sections(wasm, {name: bytes(content)}))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(debug_builds.VERSIONS), st.sampled_from(NAMES[:4]), st.floats(0, 1))
@pytest.mark.slow
def test_cut_sections_are_survived(version: int, name: str, share: float) -> None:
    wasm = debug_builds.built(version)
    section = Module.parse(wasm).custom_section(name)
    assert section is not None
    looked_at(with_sections(wasm, {name: section.payload[: int(share * len(section.payload))]}))


def test_origins_that_lead_back_to_themselves_are_survived() -> None:
    """An inlined call of a function that refers to itself for its name."""
    abbreviations = bytes([1, 0x11, 1, 0, 0, 2, 0x2E, 0, 0x31, 0x13, 0x11, 0x01, 0x12, 0x06, 0, 0, 0])
    function = bytes([2]) + (12).to_bytes(4, "little") + (1).to_bytes(4, "little") + (1 << 30).to_bytes(4, "little")
    body = (4).to_bytes(2, "little") + bytes(4) + bytes([4, 1]) + function + b"\0"
    info = len(body).to_bytes(4, "little") + body
    changed = {".debug_info": info, ".debug_abbrev": abbreviations}
    found = looked_at(with_sections(debug_builds.built(4), changed))
    assert found.problem is None
    assert found.chains, "the function has all addresses"
    assert {place.function for chain in found.chains.values() for place in chain} == {""}


@pytest.mark.slow
def test_reading_ends_where_it_would_take_too_long() -> None:
    """Line programs of version 5 that announce four billion folders without any bytes."""
    wasm = debug_builds.built(5)
    line = bytearray(8) + bytes([1, 1, 1, 0xFB, 14, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1])
    header = (5).to_bytes(2, "little") + bytes([4, 0]) + (len(line) + 40).to_bytes(4, "little") + bytes(line[8:])
    header += bytes([0]) + encode_unsigned(1 << 40) + bytes(16)
    content = len(header).to_bytes(4, "little") + header
    begun_s = time.monotonic()
    found = looked_at(with_sections(wasm, {".debug_line": content}), timeout_s=2.0)
    assert found.problem is not None
    assert time.monotonic() - begun_s < 12


def test_a_program_that_embeds_python_is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Module.parse(debug_builds.built(4))
    for name in ("/usr/bin/uwsgi", "", None):
        monkeypatch.setattr("sys.executable", name)
        found = places_of(module, debug_builds.call_addresses(module))
        assert found.problem is not None
        assert "needs a Python interpreter to run in" in found.problem
