"""Format a shell script with sh-syntax, four spaces deep: python format_shell.py main.wasm script.sh."""

from __future__ import annotations

import sys
from pathlib import Path

from tinyheap import Grants, TinyheapError, formatters
from tinyheap.hosts import load


def formatted(module: Path, file: Path) -> str:
    """The text of ``file``, formatted by the sh-syntax in ``module``."""
    session = load(module.read_bytes(), Grants(stdout=sys.stderr.buffer))
    session.start()
    driver = formatters.ShSyntaxFormatter(session, formatters.ShellOptions(indent=4))
    return driver.format(file.read_text(), file.name)


if __name__ == "__main__":
    try:
        sys.stdout.write(formatted(Path(sys.argv[1]), Path(sys.argv[2])))
    except TinyheapError as error:
        sys.exit(f"{sys.argv[2]}: {error}")
