"""Texts for formatters, found on the machine: Go's own source and a Debian machine's shell scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

GO_SOURCE: Final = Path("/usr/share/go-1.19/src/cmd/compile/internal/ssagen/ssa.go")
SCRIPT_FOLDERS: Final = ("/usr/bin", "/usr/sbin", "/etc", "/usr/share", "/usr/lib")
SHELL_CHARACTERS: Final = 425_000
_SHEBANGS: Final = (b"#!/bin/sh", b"#!/bin/bash")


def go_source() -> str:
    """A large Go file with the tabs taken away that begin its lines: 266 KB, all of it to be indented again."""
    return "\n".join(line.lstrip("\t") for line in GO_SOURCE.read_text().split("\n"))


def shell_scripts(accepts: Callable[[str], bool], characters: int = SHELL_CHARACTERS) -> str:
    """This machine's scripts that are accepted, in the order of their paths, whole and together up to so long."""
    pieces: list[str] = []
    left = characters
    for text in filter(accepts, script_texts()):
        if len(text) > left:
            break
        pieces.append(text)
        left -= len(text)
    return "".join(pieces)


@cache
def script_paths() -> tuple[Path, ...]:
    """The shell scripts among the machine's files, in order."""
    found = (path for folder in SCRIPT_FOLDERS for path in Path(folder).rglob("*") if _is_script(path))
    return tuple(sorted(found))


def script_texts() -> Iterator[str]:
    """Their texts, without those that are not UTF-8."""
    for path in script_paths():
        try:
            yield path.read_text()
        except UnicodeDecodeError:
            continue


def _is_script(path: Path) -> bool:
    """Whether a file begins as a shell script, and is no link to another."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.readline(64).startswith(_SHEBANGS)
