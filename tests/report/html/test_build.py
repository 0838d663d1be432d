"""The page's code in the package is what its source in `web/` builds, and nothing in it can end the page's script."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

import needs

ROOT = Path(__file__).resolve().parents[3]
WEB = ROOT / "web"
SHIPPED = ROOT / "src" / "tinyheap" / "report" / "page"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code, type-checked and built anew."""
    npm = needs.tool("npm")
    needs.path(WEB / "node_modules", "what the page is built with (`make web` installs it)")
    folder = tmp_path_factory.mktemp("built")
    command: list[str | Path] = [npm, "run", "--silent", "build", "--", folder]
    done = subprocess.run(command, cwd=WEB, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_the_package_has_what_the_source_builds(built: Path) -> None:
    files, shipped = (
        {path.relative_to(folder): path.read_bytes() for path in folder.glob("*/*")} for folder in (built, SHIPPED)
    )
    assert {path.parent.name for path in shipped} == {"demo", "fit", "heap", "lab", "recording"}
    assert {path.name for path in shipped} == {"licenses.txt", "page.css", "page.js"}
    assert shipped.keys() == files.keys()
    for name, data in files.items():
        assert data == shipped[name], f"{name} is not what web/ builds: run `make web` and commit the result"


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_nothing_in_it_ends_the_element_that_it_stands_in(path: Path) -> None:
    text = path.read_text(encoding="utf-8").lower()
    assert all(end not in text for end in ("</script", "</style", "<!--"))


def test_every_library_in_the_script_has_its_license_beside_it() -> None:
    wanted = json.loads((WEB / "package.json").read_text())["dependencies"]
    licenses = "".join(path.read_text() for path in SHIPPED.glob("*/licenses.txt"))
    assert [name for name, version in wanted.items() if f"\n{name} {version} (" not in f"\n{licenses}"] == []


def test_versions_are_exact_and_the_lock_holds_no_address() -> None:
    manifest = json.loads((WEB / "package.json").read_text())
    assert all(version[0].isdigit() for version in {**manifest["dependencies"], **manifest["devDependencies"]}.values())
    packages = json.loads((WEB / "package-lock.json").read_text())["packages"]
    assert [name for name, entry in packages.items() if "resolved" in entry] == []
    assert [name for name, entry in packages.items() if name and "integrity" not in entry] == []
