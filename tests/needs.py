"""What a test needs of its machine: there, or the test is skipped; in CI, or the test fails."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final, NoReturn

import pytest

IN_CI: Final = os.environ.get("CI") == "true"

# Debian keeps versioned tools out of the usual path.
_FURTHER_FOLDERS: Final = ("/usr/lib/go-1.19/bin",)


def tool(name: str) -> Path:
    """The program of that name; the test is skipped (in CI: fails) where it is not installed."""
    search_path = os.pathsep.join([os.environ.get("PATH", os.defpath), *_FURTHER_FOLDERS])
    found = shutil.which(name, path=search_path)
    if found is None:
        fail_or_skip(f"the program {name!r} is not installed")
    return Path(found)


def path(place: Path, what: str) -> Path:
    """That file or folder; the test is skipped (in CI: fails) where it does not exist."""
    if not place.exists():
        fail_or_skip(f"{what} is not at {place}")
    return place


def fail_or_skip(what: str) -> NoReturn:
    """Ends the test: in CI it fails, elsewhere it is skipped.  `what` says what is missing."""
    if IN_CI:
        pytest.fail(f"{what}, and CI must have it")
    pytest.skip(what)
