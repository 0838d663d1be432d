"""The documentation has every package, every command, and public names by their public paths, and names no file that does
not exist."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

import console_blocks
import guests_modules
import needs
import tinyheap
from tinyheap import cli

ROOT = Path(__file__).resolve().parent.parent
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
PROSE = ARCHITECTURE + "".join((ROOT / name).read_text(encoding="utf-8") for name in ("CONTRIBUTING.md", "SECURITY.md"))
REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
COMMANDS = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
FRONT_DOOR: list[str] = import_module("tinyheap").__all__
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
DIRECTIVES = re.findall(r"^[.]{2} auto\w+:: (\S+?)(?:[(][)])?$", "".join(map(Path.read_text, PAGES)), re.MULTILINE)
SUITES = sorted({path.parent.name for path in ROOT.glob("tests/*/test_*.py")})


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([\w/.]+\.(?:py|pyi|pxd|h|c|toml|in|txt|md))`", PROSE))))
def test_every_file_that_is_named_is_there(name: str) -> None:
    assert (
        any(next((ROOT / folder).glob(f"**/{name}"), None) for folder in ("src", "tests", "benchmarks", "requirements"))
        or (ROOT / name).exists()
    )


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`((?:src|tests|docs|benchmarks)/[\w/]+)`", PROSE))))
def test_every_folder_that_is_named_is_there(name: str) -> None:
    assert (ROOT / name).is_dir()


@pytest.mark.parametrize("package", sorted(path.parent.name for path in ROOT.glob("src/tinyheap/*/__init__.py")))
def test_every_package_is_in_the_architecture(package: str) -> None:
    assert f"\n### {package}\n" in ARCHITECTURE


@pytest.mark.parametrize("package", sorted(path.parent.name for path in ROOT.glob("src/tinyheap/*/__init__.py")))
def test_every_package_but_the_command_line_is_at_the_front_door(package: str) -> None:
    assert package == "cli" or (package in FRONT_DOOR and f"| `tinyheap.{package}` |" in REFERENCE)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_module_of_every_command_is_in_the_architecture(name: str) -> None:
    _, _, module = cli.COMMANDS[name].module.rpartition(".")
    assert f"`{module}.py`" in ARCHITECTURE


@pytest.mark.parametrize("suite", SUITES)
def test_every_folder_of_tests_says_what_it_proves(suite: str) -> None:
    assert f"`tests/{suite}`" in ARCHITECTURE


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_is_in_the_reference(name: str) -> None:
    # That what it prints is still true is for the page itself to show: see console_blocks.
    assert f"\n## {name}\n" in COMMANDS
    assert f"\n$ tinyheap {name} --help\n" in COMMANDS


def is_public(package: str, name: str) -> bool:
    """Whether that package offers the name; `errors` and `units` are public as they are."""
    module = import_module(package)
    return name in getattr(module, "__all__", vars(module) if package in {"tinyheap.errors", "tinyheap.units"} else ())


@pytest.mark.parametrize("page", [*PAGES, *sorted(ROOT.glob("examples/*.py"))], ids=lambda path: path.name)
def test_examples_use_public_names_and_the_front_door_where_it_has_them(page: Path) -> None:
    for package, names in re.findall(r"^(?:>>> )?from (tinyheap\S*) import (.+)$", page.read_text(), re.MULTILINE):
        for name in names.split(", "):
            assert is_public(package, name)
            assert package == "tinyheap" or name not in FRONT_DOOR


@pytest.mark.parametrize("path", DIRECTIVES)
def test_the_reference_names_public_paths_and_the_front_door_where_it_has_them(path: str) -> None:
    package, _, name = path.rpartition(".")
    assert is_public(package, name)
    assert package == "tinyheap" or name not in FRONT_DOOR


def test_every_name_at_the_front_door_is_in_the_reference() -> None:
    # Errors come all together, and sizes speak for themselves.
    elsewhere = {*vars(tinyheap.errors), *vars(tinyheap.units)}
    names = [name for name in FRONT_DOOR if not isinstance(getattr(tinyheap, name), ModuleType)]
    assert [name for name in names if name not in elsewhere and f"tinyheap.{name}" not in DIRECTIVES] == []


def test_the_demo_leaves_its_program_where_the_examples_look_for_it() -> None:
    command = [str(needs.tool("make")), "--dry-run", "demo-program"]
    steps = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"cp {guests_modules.place('gofmt-0.4.9').relative_to(ROOT)} build/gofmt.wasm" in steps


def test_commands_of_the_first_page_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs.package("duckdb")
    monkeypatch.chdir(tmp_path)
    shutil.copy(guests_modules.path("gofmt-0.4.9"), "gofmt.wasm")
    Path("file.go").write_text("package a\nfunc f( ){}\n")
    page = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\$ tinyheap (.*)", page, re.MULTILINE)
    assert [command.partition(" ")[0] for command in commands] == ["run", "profile", "report"]
    for command in commands:
        done = CliRunner().invoke(cli.main, shlex.split(command))
        assert done.exit_code == 0, done.output
    assert Path("report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_document_keeps_nothing_that_its_examples_made() -> None:
    """Sybil keeps each document's names for as long as the tests run, and what stands for them."""
    namespace: dict[str, object] = {}
    console_blocks.enter_folder(namespace)
    namespace["recording"] = object()
    console_blocks.leave_folder(namespace)
    assert namespace == {}
