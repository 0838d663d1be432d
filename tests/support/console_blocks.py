"""The console blocks of the documentation, run as tests.

A line that begins with ``$ tinyheap`` is run, in the same folder as the rest of its document; what follows it, up to
the next command, is what it must print.  With ``> FILE`` at its end, what it prints is kept there.  Durations are not
compared, nor how wide the columns are that hold them, and a line ``...`` stands for any lines.  Of commands in a block
that shows no output at all, only the exit code counts, which has to be 0.  Other commands (``make``, ``pip``, ``cp``) are
for the reader only.

The folder has what a reader has who ran ``make demo`` in a clone of the project: ``examples`` and ``build/gofmt.wasm``; and
the other real programs that a page has its reader copy to ``build``.
"""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from click.testing import CliRunner
from sybil import Example

import guests_modules
from tinyheap import cli

ROOT: Final = Path(__file__).resolve().parents[2]
PROGRAMS: Final = {
    "build/gofmt.wasm": "gofmt-0.4.9",
    "build/sh-syntax.wasm": "sh-syntax-0.4.2",
    "build/flags.wasm": "gofeatureflag-1.1.0",
    "build/flags-newer.wasm": "gofeatureflag-1.3.0",
}
"""Which real program stands under which name."""
PROMPT: Final = "$ "
COLUMNS: Final = "80"
REDIRECTION: Final = ">"
ELISION: Final = "..."
DURATION: Final = re.compile(r"\b[0-9.]+ (?:ns|us|ms|s)\b")


def enter_folder(namespace: dict[str, Any]) -> None:
    """Begin a document: its examples have a folder of their own to write to."""
    namespace["_left_folder"] = Path.cwd()
    namespace["_folder"] = tempfile.TemporaryDirectory()
    folder = Path(namespace["_folder"].name)
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / "build").mkdir()
    for place, name in PROGRAMS.items():
        (folder / place).symlink_to(guests_modules.place(name))
    os.chdir(folder)


def leave_folder(namespace: dict[str, Any]) -> None:
    """End a document: nothing that its examples wrote stays, nor anything that they made, which Sybil would keep."""
    os.chdir(namespace["_left_folder"])
    namespace["_folder"].cleanup()
    namespace.clear()


def check_program(example: str) -> None:
    """Ends an example that needs a real program where that was not fetched."""
    for place, name in PROGRAMS.items():
        if place in example:
            guests_modules.path(name)


def evaluate(example: Example) -> str | None:
    """What is wrong with a console block; None where it prints what it says."""
    entries = list(commands(example.parsed))
    shows_output = any(expected.strip() for _, expected in entries)
    for command, expected in entries:
        program, *arguments = shlex.split(command, comments=True)
        if program != "tinyheap":
            continue
        file = arguments.pop() if arguments[-2:-1] == [REDIRECTION] else None
        if file is not None:
            arguments.pop()
        run = CliRunner().invoke(cli.main, arguments, prog_name=program, env={"COLUMNS": COLUMNS})
        if file is not None:
            Path(file).write_bytes(run.stdout_bytes)
        output = run.output if file is None else run.stderr
        is_right = agree(output, expected) if shows_output else run.exit_code == 0
        if not is_right:
            return f"{command}\nexpected:\n{expected}\nprinted (exit code {run.exit_code}):\n{run.output}"
    return None


def commands(block: str) -> Iterator[tuple[str, str]]:
    """Each command of a block with what it prints."""
    for entry in re.split(rf"^{re.escape(PROMPT)}", block, flags=re.MULTILINE)[1:]:
        command, _, output = entry.partition("\n")
        yield command, output


def agree(output: str, expected: str) -> bool:
    """Whether an output is what is expected, where lines are elided and durations differ."""
    pattern = "".join(r"(?:.*\n)*?" if line == ELISION else re.escape(line) + r"\n" for line in comparable(expected))
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in comparable(output))) is not None


def comparable(output: str) -> list[str]:
    """The lines of an output without what differs from run to run; empty lines do not count."""
    lines = [" ".join(DURATION.sub("(time)", line).split()) for line in output.splitlines()]
    return [line for line in lines if line]
