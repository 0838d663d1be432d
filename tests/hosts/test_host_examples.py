"""The hosts in examples/ serve the kinds of programs that they are for."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from click.testing import CliRunner, Result

import needs
from tinyheap import cli

EXAMPLES = Path(__file__).parents[2] / "examples"
SOURCE = Path(__file__).parent / "plugins.c"


@cache
def compiled(kind: str) -> bytes:
    """A program of plugins.c, by the definition that chooses it."""
    compiler, linker = needs.tool("clang-14"), needs.tool("wasm-ld-14")
    options = ["--target=wasm32", "-O1", "-ffreestanding", "-fno-builtin", f"-D{kind}"]
    with TemporaryDirectory() as folder:
        made, program = f"{folder}/plugin.o", Path(folder) / "plugin.wasm"
        subprocess.run([compiler, *options, "-c", SOURCE, "-o", made], check=True)
        subprocess.run([linker, "--no-entry", "--stack-first", made, "-o", program], check=True)
        return program.read_bytes()


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(kind: str, host: str, *words: str) -> Result:
    Path("plugin.wasm").write_bytes(compiled(kind))
    return CliRunner().invoke(cli.main, ["run", "plugin.wasm", "--host", str(EXAMPLES / host), *words])


def test_a_benchmark_is_measured_between_its_marks() -> None:
    said = run("BENCH", "host_bench.py", "-q")
    assert (said.exit_code, said.stdout) == (0, "")
    assert re.fullmatch(r"measured: \d+\.\d{3} ms\n", said.stderr)


def test_a_plugin_logs() -> None:
    said = run("LOG", "host_log.py", "-q", "--invoke", "handle", "7")
    assert (said.exit_code, said.stdout, said.stderr) == (0, "7\n", "log: handled 7\n")


def test_requests_are_driven() -> None:
    said = run("REQUESTS", "host_requests.py", "-q")
    assert (said.exit_code, said.stdout, said.stderr) == (0, "status 200: 100 requests\n", "")


@pytest.mark.parametrize(("kind", "lacks"), [("BENCH", "bench.start"), ("LOG", "env.log")])
def test_without_its_host_a_program_is_refused_with_the_ways_to_give_it_one(kind: str, lacks: str) -> None:
    Path("plugin.wasm").write_bytes(compiled(kind))
    said = CliRunner().invoke(cli.main, ["run", "plugin.wasm"])
    identified = CliRunner().invoke(cli.main, ["identify", "plugin.wasm"])
    assert (said.exit_code, identified.exit_code) == (125, 0)
    for words in (said.stderr, " ".join(identified.stdout.split())):
        assert lacks in words
        for way in ("Program.open(..., imports=", "--host FILE.py", "--stub-imports"):
            assert way in words
