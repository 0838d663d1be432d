"""Format a Go file with a gofmt that TinyGo compiled: python format_go.py gofmt.wasm file.go."""

from __future__ import annotations

import sys
from pathlib import Path

from tinyheap import Grants, TinyheapError, formatters
from tinyheap.hosts import load


def formatted(module: Path, file: Path) -> str:
    """The text of ``file``, formatted by the program in ``module``; any of the packages that format Go."""
    session = load(module.read_bytes(), Grants(stdout=sys.stderr.buffer))
    session.start()
    driver = formatters.find(session)
    if driver is None:
        sys.exit(f"{module} is not a formatter that tinyheap has a driver for")
    return driver.format(file.read_text(), file.name)


if __name__ == "__main__":
    try:
        sys.stdout.write(formatted(Path(sys.argv[1]), Path(sys.argv[2])))
    except TinyheapError as error:
        sys.exit(f"{sys.argv[2]}: {error}")
