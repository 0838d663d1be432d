"""`tinyheap identify`: readable, as JSON, for several files, and for files that are not modules."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import guests_modules
from tinyheap.cli import main
from tinyheap.errors import HostError
from tinyheap.guests.program import Program


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


@pytest.mark.slow
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
    assert f"{bad}: " in result.stderr
    assert good in result.stdout
    assert "leaking" in result.stdout
    assert not isinstance(result.exception, (KeyError, ValueError))


@pytest.mark.slow
def test_several_modules_are_a_table_of_one_line_each() -> None:
    paths = [
        str(guests_modules.path(name))
        for name in ("gofmt-0.4.9", "gofmt-0.7.3", "sh-syntax-0.6.0", "micropython-1.27.0")
    ]
    result = CliRunner().invoke(main, ["identify", *paths])
    heading, *lines = result.output.splitlines()
    assert heading.split() == ["File", "Runtime", "Collector", "Replaceable"]
    assert [line.split("  ")[0] for line in lines] == paths
    assert [line.rpartition("  ")[2] for line in lines[:3]] == [
        "yes",
        "no: it frees nothing",
        "yes, after a rehearsal",
    ]
    assert "needs a --host: 55 of its imports are not offered" in lines[3]
    assert "its own, mark and sweep" in lines[3]
    full = CliRunner().invoke(main, ["identify", "--full", *paths])
    assert full.output.count("This module ") == len(paths)


@pytest.mark.slow
def test_a_module_whose_imports_nobody_offers_does_not_claim_to_run() -> None:
    path = guests_modules.path("micropython-1.27.0")
    result = CliRunner().invoke(main, ["identify", str(path)])
    words = " ".join(result.output.split())
    assert "This module has imports that no host here offers (env.invoke_ii: function" in words
    assert "so that it runs only where you offer them" in words
    assert "This module runs" not in words
    facts = json.loads(CliRunner().invoke(main, ["identify", "--json", str(path)]).output)
    with pytest.raises(HostError) as caught:
        Program.open(path)
    listed = [line.strip() for line in str(caught.value).splitlines() if line.startswith("  ")]
    assert sorted(facts["lacks"]) == sorted(listed)


def test_what_a_module_needs_is_known_without_wasmtime() -> None:
    code = (
        "import sys; sys.modules['wasmtime'] = None; from tinyheap.cli import main;"
        "main(['identify', sys.argv[1]], standalone_mode=False)"
    )
    path = str(guests_modules.path("micropython-1.27.0"))
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "has imports that no host here offers" in done.stdout


def test_a_table_survives_any_name(tmp_path: Path) -> None:
    names = ["[bold]x", "a\tb", "größe 🎉", "x\x1b[31m"]
    for name in names:
        (tmp_path / name).symlink_to(guests_modules.path("gofmt-0.4.9"))
    result = CliRunner().invoke(main, ["identify", *(str(tmp_path / name) for name in names)])
    assert result.exit_code == 0, result.output
    assert len(result.output.splitlines()) == 1 + len(names)
    assert "[bold]x " in result.output
    assert "\x1b" not in result.output
