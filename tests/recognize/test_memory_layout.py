"""What a module declares of its memory, and where its heap begins: as it says, and as its run has it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import guests_modules
from guests import collectors
from hosts.programs import module_bytes
from symbols import debug_builds
from tinyheap.cli import main
from tinyheap.guests.program import Program
from tinyheap.hosts import Grants
from tinyheap.recognize.facts import DataRange, MemoryLayout
from tinyheap.recognize.facts_json import decode_guest, encode_guest
from tinyheap.recognize.identify import identify
from tinyheap.wasm import Module


def layout(text: str) -> MemoryLayout | None:
    return identify(Module.parse(module_bytes(text))).memory


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("(memory 3)", MemoryLayout(3, None, False, (), None)),
        ("(memory 3 7)", MemoryLayout(3, 7, False, (), None)),
        ('(import "env" "memory" (memory 2 9))', MemoryLayout(2, 9, True, (), None)),
        (
            '(memory 1) (data (i32.const 64) "abcd") (data (i32.const 16) "xy") (data "passive")',
            MemoryLayout(1, None, False, (DataRange(None, 16, 2), DataRange(None, 64, 4)), None),
        ),
        (
            '(memory 2) (global (export "__heap_base") i32 (i32.const 66560))',
            MemoryLayout(2, None, False, (), 66560),
        ),
    ],
)
def test_what_is_declared_is_told(text: str, expected: MemoryLayout | None) -> None:
    assert layout(text) == expected


@pytest.mark.parametrize("name", ["gofmt-0.4.9", "sh-syntax-0.3.6", "sh-syntax-0.5.8"])
def test_the_heap_begins_where_it_does_when_it_runs(name: str) -> None:
    guest = identify(Module.parse(guests_modules.read(name)))
    with Program.open(guests_modules.read(name), Grants(seed=1)) as program:
        program.start()
        assert program.heap is not None
        start_address = program.heap.geometry.start_address
    assert guest.memory is not None
    assert guest.memory.heap_start_address == start_address
    assert decode_guest(encode_guest(guest)) == guest


def test_segments_have_their_names() -> None:
    memory = identify(Module.parse(debug_builds.built(4))).memory
    assert memory is not None
    assert all(each.name is None or each.name.startswith(".") for each in memory.data)
    assert memory.data == tuple(sorted(memory.data, key=lambda each: each.start_address))


def test_the_command_shows_memory_and_the_largest_variables(tmp_path: Path) -> None:
    file = tmp_path / "inlined.wasm"
    file.write_bytes(debug_builds.built(4))
    said = CliRunner().invoke(main, ["identify", str(file)])
    assert said.exit_code == 0
    text = " ".join(said.output.split())
    for words in ("declared; the module sets no maximum", "heap begins", "the largest: 256 B at 0x", ": table"):
        assert words in text
    found = json.loads(CliRunner().invoke(main, ["identify", "--json", str(file)]).output)
    assert found["memory"]["declared_pages"] > 0
    assert found["variables"][0]["name"] == "table"
    assert found["variables"][0]["size_bytes"] == 256
    assert found["variables_problem"] is None


def test_variables_are_null_where_there_is_no_debug_information(tmp_path: Path) -> None:
    file = tmp_path / "stripped.wasm"
    file.write_bytes(collectors.compiled(debug_builds.BUILD))
    found = json.loads(CliRunner().invoke(main, ["identify", "--json", str(file)]).output)
    assert (found["variables"], found["variables_problem"]) == (None, None)
    assert "the largest" not in CliRunner().invoke(main, ["identify", str(file)]).output
