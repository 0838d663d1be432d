"""`tinyheap at`: an address's owners, as text and as JSON, from real programs too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import guests_modules
import project_files
from guests import texts
from guests.test_recorder import formatted
from tinyheap import cli
from tinyheap.guests.program import Program
from tinyheap.hosts import Grants
from tinyheap.recordings.recording import Recording

EXAMPLE = str(project_files.ROOT / "examples" / "gofmt.tinyheap")


def at(*words: str) -> Result:
    return CliRunner().invoke(cli.main, ["at", *words])


@pytest.mark.parametrize("address", ["537264", "0x832b0", "0X832B0", " 537264 "])
def test_addresses_are_decimal_or_hexadecimal(address: str) -> None:
    said = at(EXAMPLE, address)
    assert said.exit_code == 0
    assert "0x832b0 belonged to" in said.stdout


@pytest.mark.parametrize("address", ["", "-1", "0x", "0x100000000", "4294967296", "12ab", "0b1", "1_000", "\u0661"])
def test_what_is_not_an_address_is_a_usage_error(address: str) -> None:
    said = at("--", EXAMPLE, address)
    assert said.exit_code == 2
    assert "expected a number from 0 to 0xffffffff, decimal or hexadecimal" in said.stderr


def test_nobody_is_an_answer() -> None:
    said = at(EXAMPLE, "0")
    assert (said.exit_code, said.stdout) == (0, "no object that was recorded had the byte at 0x0\n")


def test_json_has_the_fields_of_the_result() -> None:
    said = at(EXAMPLE, "537264", "--json", "--last", "1")
    found = json.loads(said.stdout)
    assert set(found) == {"address", "count", "owners", "lives", "sample_bytes", "last_part"}
    [owner] = found["owners"]
    assert owner["object"]["size_bytes"] == 8
    assert owner["ended"] == "collection"
    assert owner["object"]["stack"][-1]["function"]


@pytest.mark.slow
def test_a_block_of_a_best_fit_heap_goes_from_owner_to_owner(tmp_path: Path) -> None:
    place, name = tmp_path / "run.tinyheap", "sh-syntax-0.7.0"
    with Program.open(guests_modules.read(name), Grants(seed=1), gc="native", recording=place) as program:
        program.start()
        for _ in range(12):
            formatted(program.driver(), texts.kinds(name)["medium"])
    with Recording.open(place) as recording:
        (address,) = recording.sql(
            "SELECT address FROM objects WHERE death_event_id IS NOT NULL GROUP BY address ORDER BY count(*) DESC LIMIT 1"
        ).one()
    found = json.loads(at(str(place), f"{address:#x}", "--json").stdout)
    assert found["count"] >= 2
    assert found["lives"] == "at most"
    for one, next_one in zip(found["owners"], found["owners"][1:], strict=False):
        assert one["ended"] == "reuse"
        assert one["object"]["death_event_id"] <= next_one["object"]["birth_event_id"]
