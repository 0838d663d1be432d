"""The documentation names what there is: every module in its room, every command; and no file that there is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from console_blocks import enter_folder, leave_folder
from tinyheap import cli

ROOT = Path(__file__).resolve().parent.parent
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
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


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([\w/.]+\.(?:py|pyi|pxd|h|c|toml|in))`", ARCHITECTURE))))
def test_every_file_that_is_named_is_there(name: str) -> None:
    assert (
        any(next((ROOT / folder).glob(f"**/{name}"), None) for folder in ("src", "tests", "benchmarks"))
        or (ROOT / name).exists()
    )


@pytest.mark.parametrize("suite", SUITES)
def test_every_folder_of_tests_says_what_it_proves(suite: str) -> None:
    assert f"`tests/{suite}`" in ARCHITECTURE


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_is_in_the_reference(name: str) -> None:
    # That what it prints is still true is for the page itself to show: see console_blocks.
    assert f"\n## {name}\n" in COMMANDS
    assert f"\n$ tinyheap {name} --help\n" in COMMANDS


def test_a_document_keeps_nothing_that_its_examples_made() -> None:
    """Sybil keeps each document's names for as long as the tests run, and what stands for them."""
    namespace: dict[str, object] = {}
    enter_folder(namespace)
    namespace["recording"] = object()
    leave_folder(namespace)
    assert namespace == {}
