"""Malformed modules: a typed error that says where, and bounded memory."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

import guests_modules
from tinyheap.errors import MalformedModuleError, WasmError
from tinyheap.wasm import Code, Editor, Module
from wasm import corpus, oracles, samples

SMALL = [oracles.assemble(text) for text in (samples.EVERYTHING, samples.LEGACY_EXCEPTIONS)]


def _use(data: bytes) -> Module:
    """Read all there is to read, edit every function, write and read the result."""
    module = Module.parse(data)
    assert module.encode() == data
    _ = module.names, module.producers, module.call_counts()
    module.check_code()
    editor = Editor(module)
    imported = editor.add_import_function("host", "new", (), ())
    editor.add_import_memory("host", "more", 1)
    for function in module.defined_functions:
        editor.insert_at_entry(function.index, Code().call(imported))
    editor.build()
    return module


def _stands(data: bytes) -> bool:
    """Whether all of a module could be used; any other error than the typed one goes through."""
    try:
        _use(data)
    except WasmError:
        return False
    return True


@pytest.mark.parametrize("wrong", corpus.MALFORMED)
def test_a_malformed_module_is_refused_with_section_and_offset(wrong: str) -> None:
    data, message = corpus.MALFORMED[wrong]
    with pytest.raises(MalformedModuleError, match=message):
        Module.parse(data)
    assert not oracles.is_valid(data) or wrong in corpus.UNSUPPORTED


@pytest.mark.parametrize("wrong", corpus.WRONG_CODE)
def test_code_that_cannot_be_walked_is_found_when_it_is(wrong: str) -> None:
    data, message = corpus.WRONG_CODE[wrong]
    module = Module.parse(data)
    with pytest.raises(MalformedModuleError, match=message):
        module.check_code()
    editor = Editor(module)
    editor.insert_at_entry(0, Code().nop())
    with pytest.raises(MalformedModuleError, match=message):
        editor.encode()


@pytest.mark.parametrize("wrong", corpus.NAMES)
def test_names_that_cannot_be_read_are_refused_and_dropped_by_an_edit(wrong: str) -> None:
    data, message = corpus.NAMES[wrong]
    module = Module.parse(data)
    with pytest.raises(MalformedModuleError, match=message):
        module.function_name(0)
    editor = Editor(module)
    editor.add_memory(1)
    assert editor.build().custom_section("name") is None


@pytest.mark.parametrize("data", SMALL, ids=["everything", "legacy"])
def test_a_truncated_module_is_refused_or_ends_between_sections(data: bytes) -> None:
    ends = {8} | {section.offset + len(section.payload) for section in Module.parse(data).sections}
    for length in range(len(data)):
        try:
            Module.parse(data[:length])
        except MalformedModuleError:
            continue
        assert length in ends


def _mutated(data: bytes, seed: int) -> bytes:
    """The bytes with a few changed, removed or doubled."""
    chance = random.Random(seed)
    result = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(result))
        length_bytes = chance.randint(1, 8)
        match chance.randrange(4):
            case 0:
                result[place] = chance.choice([0, 0x0B, 0x7F, 0x80, 0xFF, result[place] ^ 1, chance.randrange(256)])
            case 1:
                del result[place : place + length_bytes]
            case 2:
                result[place:place] = result[place : place + length_bytes]
            case _:
                result[place : place + 5] = b"\xff\xff\xff\xff\x0f"
    return bytes(result)


@given(st.sampled_from(SMALL), st.integers(0, 1 << 32))
def test_a_mutated_module_is_used_or_refused_as_wasmtime_would(data: bytes, seed: int) -> None:
    mutated = _mutated(data, seed)
    if not _stands(mutated):
        assert not oracles.is_valid(mutated) or _is_beyond(mutated)


def _is_beyond(data: bytes) -> bool:
    """Whether a module that wasmtime takes has what is knowingly not read: malformed names, 64-bit memories."""
    try:
        module = Module.parse(data)
    except MalformedModuleError as error:
        return "memory64" in str(error) or "where a value type is expected" in str(error)
    try:
        _ = module.names, module.producers
    except MalformedModuleError:
        return True
    return False


@given(st.binary(max_size=300))
def test_any_bytes_behind_a_header_are_read_or_refused(data: bytes) -> None:
    _stands(b"\0asm\x01\0\0\0" + data)


@pytest.mark.parametrize("name", ["gofmt-0.7.3", "micropython-1.27.0"])
def test_a_mutated_real_module_is_used_or_refused(name: str, soak_seeds: range) -> None:
    data = guests_modules.read(name)
    for seed in soak_seeds:
        _stands(_mutated(data, seed))  # which raises whatever is not the typed error


@pytest.mark.parametrize(
    "data",
    [
        corpus.module(corpus.TYPE, corpus.FUNCTION, (10, "01 ff ff 03 00" + "02 40" * 0x7FFE + "01 0b")),
        corpus.module((1, "ff ff 03" + "60 00 00" * 30_000)),
        corpus.module((0, "04 6e 61 6d 65" + "01 00" * 40_000)),
        corpus.module(corpus.TYPE, (3, "80 80 03" + "00" * 0xC000)),
    ],
    ids=["deep nesting", "types", "names", "functions"],
)
@pytest.mark.share(2)
def test_memory_stays_within_a_multiple_of_the_input(data: bytes) -> None:
    tracemalloc.start()
    _stands(data)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 200 * len(data)
