"""`needs`: a missing tool skips a test on a developer's machine and fails it in CI."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import needs
from project_files import PYPROJECT, ROOT


def test_a_tool_that_is_there_is_returned() -> None:
    assert needs.tool("sh").name == "sh"


@pytest.mark.parametrize(
    ("in_ci", "outcome"),
    [(True, pytest.fail.Exception), (False, pytest.skip.Exception)],
    ids=["ci", "elsewhere"],
)
class TestMissing:
    @pytest.fixture(autouse=True)
    def place(self, monkeypatch: pytest.MonkeyPatch, in_ci: bool) -> None:
        monkeypatch.setattr(needs, "IN_CI", in_ci)

    def test_tool(self, outcome: type[BaseException]) -> None:
        with pytest.raises(outcome, match="'no-such-tool' is not installed"):
            needs.tool("no-such-tool")

    @pytest.mark.parametrize("named", [True, False])
    def test_library(self, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch, named: bool) -> None:
        error = ImportError("install tinyheap[profile]")
        error.__cause__ = ModuleNotFoundError("No module named 'duckdb'", name="duckdb.one" if named else None)
        monkeypatch.setattr("needs.find_spec", lambda _name: None)
        if named:
            with pytest.raises(outcome, match="'duckdb' is not installed"):
                needs.library(error)
        else:
            needs.library(error)

    def test_package(self, outcome: type[BaseException]) -> None:
        with pytest.raises(outcome, match="'no-such-package' is not installed"):
            needs.package("no-such-package")

    def test_path(self, outcome: type[BaseException], tmp_path: Path) -> None:
        with pytest.raises(outcome, match=r"the folder of vectors is not at .*nowhere"):
            needs.path(tmp_path / "nowhere", "the folder of vectors")


def test_a_library_that_is_there_is_no_reason() -> None:
    # What fails to import in it is another matter.
    needs.library(ModuleNotFoundError("No module named 'pytest'", name="pytest"))
    needs.library(ModuleNotFoundError("No module named 'no_such_module'", name="no_such_module"))


MODULES = {"pyelftools": "elftools"}
"""What a package's module is called, where it is not called as the package."""


def test_libraries_are_those_of_the_extras_and_of_the_readers() -> None:
    extras = PYPROJECT["project"]["optional-dependencies"].values()
    groups = PYPROJECT["dependency-groups"]
    wanted = [*groups["readers"], *groups["oracles"], *(text for extra in extras for text in extra)]
    names = {Requirement(text).name for text in wanted} - {"tinyheap", "pytest"}
    assert {MODULES.get(name, name) for name in names} == needs.LIBRARIES


TESTS = """
import pytest


@pytest.fixture
def table() -> object:
    import polars

    return polars


def test_in_a_fixture(table: object) -> None: ...


def test_in_a_test() -> None:
    import polars


def test_without() -> None: ...
"""


@pytest.mark.parametrize(
    ("in_ci", "outcomes"), [("true", {"failed": 1, "passed": 1, "errors": 2}), ("false", {"skipped": 3, "passed": 1})]
)
@pytest.mark.share(1, in_ci=2)
@pytest.mark.slow
def test_a_run_without_a_library(tmp_path: Path, in_ci: str, outcomes: dict[str, int]) -> None:
    (tmp_path / "test_within.py").write_text(TESTS)
    (tmp_path / "test_at_the_top.py").write_text("import polars\n\n\ndef test_it() -> None: ...\n")
    (tmp_path / "without_polars.py").write_text("import sys\n\nsys.modules['polars'] = None\n")
    plugins = ["-p", "without_polars", "-p", "conftest", "-p", "no:cacheprovider"]
    path = os.pathsep.join(map(str, (ROOT, ROOT / "tests", tmp_path)))
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            *plugins,
            "-c",
            ROOT / "pyproject.toml",
            "--continue-on-collection-errors",
            tmp_path,
        ],
        env={**os.environ, "PYTHONPATH": path, "CI": in_ci},
        capture_output=True,
        text=True,
        check=False,
    )
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", done.stdout.splitlines()[-1])}
    assert counts == outcomes, done.stdout
    assert "the library 'polars' is not installed" in done.stdout
