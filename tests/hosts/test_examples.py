"""The examples that format files run as they are shown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import guests_modules
import needs

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_a_go_file_and_a_shell_script_are_formatted(tmp_path: Path) -> None:
    needs.package("wasmtime")
    cases = [
        ("format_go.py", "gofmt-0.7.3", "package a\nfunc f( ){}\n", "package a\n\nfunc f() {}\n"),
        ("format_shell.py", "sh-syntax-0.7.0", "if a;then\nb\nfi\n", "if a; then\n    b\nfi\n"),
    ]
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
