"""The documentation names what there is: every module in its room, every command; and no file that there is not."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

import guests_modules
import needs
from tinyheap import cli

ROOT = Path(__file__).resolve().parent.parent
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
PROSE = ARCHITECTURE + "".join((ROOT / name).read_text(encoding="utf-8") for name in ("CONTRIBUTING.md", "SECURITY.md"))
COMMANDS = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
MODULES = sorted(path for path in ROOT.glob("src/tinyheap/*/*.py") if path.name != "__init__.py")
SUITES = sorted({path.parent.name for path in ROOT.glob("tests/*/test_*.py")})


def section_on(room: str) -> str:
    """What ARCHITECTURE.md says under the heading that names a room."""
    sections = re.split(r"^#+ ", ARCHITECTURE, flags=re.MULTILINE)
    return next(text for text in sections if re.search(rf"\b{room}\b", text.partition("\n")[0]))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_module_stands_in_its_room(module: Path) -> None:
    assert f"`{module.name}`" in section_on(module.parent.name)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([\w/.]+\.(?:py|pyi|pxd|h|c|toml|in|txt|md))`", PROSE))))
def test_every_file_that_is_named_is_there(name: str) -> None:
    assert (
        any(next((ROOT / folder).glob(f"**/{name}"), None) for folder in ("src", "tests", "benchmarks", "requirements"))
        or (ROOT / name).exists()
    )


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`((?:src|tests|docs|benchmarks)/[\w/]+)`", PROSE))))
def test_every_folder_that_is_named_is_there(name: str) -> None:
    assert (ROOT / name).is_dir()


@pytest.mark.parametrize("suite", SUITES)
def test_every_folder_of_tests_says_what_it_proves(suite: str) -> None:
    assert f"`tests/{suite}`" in ARCHITECTURE


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_is_in_the_reference(name: str) -> None:
    # That what it prints is still true is for the page itself to show: see console_blocks.
    assert f"\n## {name}\n" in COMMANDS
    assert f"\n$ tinyheap {name} --help\n" in COMMANDS


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
