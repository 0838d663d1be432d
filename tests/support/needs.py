"""What a test needs of its machine: there, or the test is skipped; in CI, or the test fails.

Tests import the libraries that they use as any module does.  Where one of `LIBRARIES` is not installed, ``conftest.py``
hands what the import raised to `library`.
"""

from __future__ import annotations

import os
import shutil
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NoReturn

import pytest

IN_CI: Final = os.environ.get("CI") == "true"

LIBRARIES: Final = frozenset(
    {
        "dask",
        "distributed",
        "duckdb",
        "elftools",
        "numpy",
        "pandas",
        "perfetto",
        "platformdirs",
        "playwright",
        "polars",
        "pyarrow",
        "rustworkx",
        "wasmtime",
    }
)
"""Modules that only some tests need: what the extras bring, what reads tinyheap's exports, and oracles."""

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


def package(name: str) -> metadata.Distribution:
    """The installed package of that name; the test is skipped (in CI: fails) where there is none."""
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        fail_or_skip(f"the package {name!r} is not installed")


def library(error: BaseException) -> None:
    """Skips the test (in CI: fails it) if what it raised comes of one of `LIBRARIES` that is not installed."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ModuleNotFoundError) and cause.name:
            name = cause.name.partition(".")[0]
            if name in LIBRARIES and find_spec(name) is None:
                fail_or_skip(f"the library {name!r} is not installed")
        cause = cause.__cause__


def fail_or_skip(what: str) -> NoReturn:
    """Ends the test: in CI it fails, elsewhere it is skipped.  `what` says what is missing."""
    if IN_CI:
        pytest.fail(f"{what}, and CI must have it")
    pytest.skip(what)
