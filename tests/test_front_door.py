"""The public names, as programs, name completion and type checkers see them."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from mypy import api as mypy

import tinyheap
from tinyheap import _loading

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src/tinyheap"
PACKAGES = ["tinyheap", *sorted(f"tinyheap.{path.parent.name}" for path in SOURCE.glob("*/__init__.py"))]
LOADED_LATE = [name for name in PACKAGES if name != "tinyheap.cli"]

# Put before a program, it makes libraries look as if they were not installed.
HIDE = """
from importlib.machinery import PathFinder
def find_spec(name, path=None, target=None, find=PathFinder.find_spec):
    return None if name.partition(".")[0] in {libraries!r} else find(name, path, target)
PathFinder.find_spec = find_spec
"""


def stub_of(package: str) -> Path:
    return Path(str(import_module(package).__file__)).with_suffix(".pyi")


def public_names(names: list[str]) -> list[str]:
    return [name for name in names if not name.startswith("_")]


def output_of(program: str, *, without: tuple[str, ...] = ()) -> str:
    """What a program prints in a process of its own, where some libraries are not installed."""
    hidden = HIDE.format(libraries=set(without)) if without else ""
    done = subprocess.run([sys.executable, "-c", hidden + program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class TestFaces:
    @pytest.mark.parametrize("package", PACKAGES)
    def test_each_package_says_what_it_is_for_and_what_is_public(self, package: str) -> None:
        module = import_module(package)
        assert module.__doc__
        assert len(set(module.__all__)) == len(module.__all__) > 0
        assert all(hasattr(module, name) for name in module.__all__)

    @pytest.mark.parametrize("package", LOADED_LATE)
    def test_type_checkers_completion_and_star_imports_see_the_same(self, package: str) -> None:
        # Type checkers take from a stub what is imported as itself, and nothing else.
        imports = [node for node in ast.parse(stub_of(package).read_text()).body if isinstance(node, ast.ImportFrom)]
        stated = [(alias.name, alias.asname) for node in imports for alias in node.names]
        names = [name for name, _ in stated]
        assert [(name, name) for name in names] == stated
        module = import_module(package)
        assert module.__all__ == names
        assert public_names(dir(module)) == sorted(names)

    def test_a_name_means_the_same_in_every_package_that_has_it(self) -> None:
        homes: dict[str, set[str]] = {}
        for package in LOADED_LATE:
            for node in ast.parse(stub_of(package).read_text()).body:
                if isinstance(node, ast.ImportFrom):
                    for alias in node.names:
                        homes.setdefault(alias.name, set()).add(str(node.module))
        assert {name: modules for name, modules in homes.items() if len(modules) > 1} == {}

    @pytest.mark.parametrize("package", LOADED_LATE)
    def test_names_lead_to_where_the_stub_says(self, package: str) -> None:
        module = import_module(package)
        for node in ast.parse(stub_of(package).read_text()).body:
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    home = import_module(str(node.module))
                    assert getattr(module, alias.name) is getattr(home, alias.name)

    @pytest.mark.parametrize("package", LOADED_LATE)
    def test_no_name_is_hidden_by_a_module_once_that_is_imported(self, package: str) -> None:
        module = import_module(package)
        modules = {path.stem for path in stub_of(package).parent.iterdir()}
        for name in modules & set(module.__all__):
            assert isinstance(getattr(module, name), ModuleType)

    def test_an_unknown_name_is_an_attribute_error(self) -> None:
        with pytest.raises(AttributeError, match="module 'tinyheap' has no attribute 'Hepa'") as raised:
            _ = tinyheap.Hepa  # type: ignore[attr-defined]
        assert (raised.value.name, raised.value.obj) == ("Hepa", tinyheap)
        with pytest.raises(ImportError, match="cannot import name 'Hepa'"):
            from tinyheap import Hepa  # type: ignore[attr-defined] # noqa: F401

    @pytest.mark.long
    def test_a_type_checker_finds_every_name(self, tmp_path: Path) -> None:
        # As it would for a user: no configuration, and the package from where it is installed.  What it reads, `make types`
        # reads too, each time.
        program = tmp_path / "user.py"
        uses = [f"import {name}\n{name}.{each}\n" for name in PACKAGES for each in import_module(name).__all__]
        program.write_text("".join(uses))
        said, errors, code = mypy.run(["--strict", "--config-file=", f"--cache-dir={os.devnull}", str(program)])
        assert code == 0, said + errors


class TestStart:
    def test_importing_the_front_door_loads_next_to_nothing(self) -> None:
        before, after = output_of("import sys; print(*sys.modules); import tinyheap; print(*sys.modules)").splitlines()
        loaded = set(after.split()) - set(before.split())
        assert {name for name in loaded if name.startswith("tinyheap")} == {
            "tinyheap",
            "tinyheap._loading",
            "tinyheap.errors",
        }
        assert {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names == {"tinyheap"}
        assert len(loaded) < 40  # with what `ast` and `typing` stand on

    @pytest.mark.parametrize("name", ["Heap", "Trace", "TinyheapError", "replay", "identify", "Grants"])
    def test_a_name_loads_no_library_that_it_does_not_need(self, name: str) -> None:
        output_of(f"from tinyheap import {name}", without=("wasmtime", "duckdb", "numpy", "click", "rich"))


class TestMissingLibraries:
    @pytest.mark.parametrize(
        ("statement", "library", "extra"),
        [
            ("from tinyheap import Program", "wasmtime", "run"),
            ("from tinyheap.guests import Program", "wasmtime", "run"),
            ("from tinyheap.hosts import load", "wasmtime", "run"),
            ("from tinyheap import *", "wasmtime", "run"),
            ("from tinyheap import Recording", "duckdb", "profile"),
            ("from tinyheap.recordings import Recording", "duckdb", "profile"),
            ("from tinyheap.recordings import RecordingWriter", "numpy", "profile"),
            ("import tinyheap; tinyheap.profile.pauses", "numpy", "profile"),
            ("from tinyheap.report import export", "duckdb", "profile"),
            ("import tinyheap; tinyheap.guests.Recorder", "numpy", "profile"),
        ],
    )
    def test_the_error_names_the_extra(self, statement: str, library: str, extra: str) -> None:
        program = f"""
try:
    exec({statement!r})
except ImportError as error:
    from tinyheap import TinyheapError
    print(type(error).__name__, isinstance(error, TinyheapError), error.name, error, sep="|")
"""
        kind, is_ours, name, message = output_of(program, without=(library,)).split("|")
        assert (kind, is_ours, name) == ("MissingLibraryError", "True", library)
        reason = f"needs {library}, which does not load here (No module named '{library}')"
        assert re.fullmatch(rf"\w+ {re.escape(reason)}: pip install 'tinyheap\[{extra}\]'", message)

    @pytest.mark.parametrize("library", ["numpy", "duckdb"])
    @pytest.mark.share(1)
    def test_a_run_that_cannot_be_recorded_is_refused_before_it_begins(self, library: str, tmp_path: Path) -> None:
        program = f"""
from tinyheap import MissingLibraryError, Program
from tinyheap.guests import Cache
from tinyheap.wasm import Code, Editor
editor = Editor()
editor.add_function(["i32", "i32"], ["i32"], Code().local_get(0), name="runtime.alloc")
editor.export("memory", "memory", editor.add_memory(1))
try:
    Program.open(editor.encode(), cache=Cache(None), gc="native", recording={str(tmp_path / "run.tinyheap")!r})
except MissingLibraryError as error:
    print(error)
"""
        said = output_of(program, without=(library,))
        assert f"needs {library}" in said
        assert "pip install 'tinyheap[profile]'" in said
        assert list(tmp_path.iterdir()) == []

    def test_what_completes_names_is_told_of_those_that_load(self) -> None:
        program = """
import tinyheap, rlcompleter
print(*dir(tinyheap), *rlcompleter.Completer({"tinyheap": tinyheap}).attr_matches("tinyheap."))
"""
        told = output_of(program, without=("wasmtime",)).split()
        assert {"Heap", "Recording", "tinyheap.Heap(", "tinyheap.Recording("} <= set(told)
        assert not {"Program", "tinyheap.Program("} & set(told)

    def test_an_import_that_fails_for_another_reason_is_not_explained_away(self) -> None:
        with pytest.raises(ImportError, match="no_such_thing") as raised, _loading.library_for("This"):
            import no_such_thing  # type: ignore[import-not-found] # noqa: F401
        assert not isinstance(raised.value, tinyheap.MissingLibraryError)

    def test_each_library_is_known_by_the_extra_that_brings_it(self) -> None:
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        modules = {"pyelftools": "elftools"}  # where a library is imported by another name
        names = {requirement: re.split(r"[<>=]", requirement)[0] for each in extras.values() for requirement in each}
        brought = {
            modules.get(names[requirement], names[requirement]): extra
            for extra, requirements in extras.items()
            for requirement in requirements
            if not requirement.startswith("tinyheap[") and names[requirement] != "pytest"  # whose plugin it imports
        }
        assert brought == _loading.EXTRAS
