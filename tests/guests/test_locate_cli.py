"""`tinyheap identify`: readable, as JSON, for several files, and for files that are no modules."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

import guests_modules
from tinyheap.cli import main


def test_a_module_is_described_with_how_sure_each_fact_is() -> None:
    result = CliRunner().invoke(main, ["identify", str(guests_modules.path("gofmt-0.4.9"))])
    assert result.exit_code == 0, result.output
    for text in ("TinyGo 0.31.2", "conservative", "nextAlloc", "0x1ff34", "certain", "16 entries", "alloc 17"):
        assert text in result.output
    assert "unknown" not in result.output


def test_a_long_path_does_not_break_the_headline(tmp_path: Path) -> None:
    module = tmp_path / ("a-long-name-" * 9) / "gofmt.wasm"
    module.parent.mkdir()
    module.symlink_to(guests_modules.path("gofmt-0.4.9"))
    result = CliRunner().invoke(main, ["identify", str(module)])
    assert f"{module}: TinyGo 0.31.2, collector: conservative" in result.output.splitlines()


def test_json_holds_every_fact_one_module_a_line() -> None:
    names = ["sh-syntax-0.5.8", "gofmt-0.6.1"]
    paths = [str(guests_modules.path(name)) for name in names]
    result = CliRunner().invoke(main, ["identify", "--json", *paths])
    served, leaking = map(json.loads, result.output.splitlines())
    assert [served["module"], leaking["module"]] == paths
    assert served["heap"]["mark_stack"]["entries"] == 32
    assert served["heap"]["redirects"] == [{"function": 45, "role": "alloc", "returns_free_bytes": False}]
    assert served["evidence"]["next_alloc"]["confidence"] == "certain"
    assert leaking["heap"] is None
    assert leaking["leaking"]["alloc_function"] == 29


def test_a_bad_file_is_an_error_and_the_others_are_shown(tmp_path: Path) -> None:
    bad = tmp_path / "bad.wasm"
    bad.write_bytes(b"no module")
    good = str(guests_modules.path("shfmt-0.2.7"))
    result = CliRunner().invoke(main, ["identify", str(bad), good])
    assert result.exit_code == 125
    assert "bad.wasm" in result.output
    assert "leaking" in result.output
    assert not isinstance(result.exception, (KeyError, ValueError))
