"""The project as its own tests look at it: its files, and what it says that it requires."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement

import needs

ROOT: Final = Path(__file__).resolve().parents[2]
TRANSLATED: Final = Path("build/cython")
PYPROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())


def project_files() -> list[Path]:
    """All files of the project, from its root: those that git tracks, and new ones that it does not ignore."""
    options = ["-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(
        [needs.tool("git"), "ls-files", *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode:
        pytest.skip("this is not a git checkout")
    return [Path(name) for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def copy_project(folder: Path) -> Path:
    """A copy of the project, free of anything built; returns the folder."""
    for path in project_files():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, folder / path)
    return folder


def add_translated(folder: Path) -> None:
    """Gives a copy of the project the C that an installation in place made of its modules, where that is there."""
    if (ROOT / TRANSLATED).is_dir():
        shutil.copytree(ROOT / TRANSLATED, folder / TRANSLATED)


def brought_by(extra: str) -> list[str]:
    """The requirements of an extra, and of the extras that it names."""
    wanted = [Requirement(text) for text in PYPROJECT["project"]["optional-dependencies"][extra]]
    named = [name for requirement in wanted if requirement.name == "tinyheap" for name in requirement.extras]
    brought = [str(requirement) for requirement in wanted if requirement.name != "tinyheap"]
    return [*brought, *itertools.chain.from_iterable(map(brought_by, named))]
