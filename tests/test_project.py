"""The project itself: its version, its locked requirements, its command line, its installation."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import needs
import tinyheap
from tinyheap import cli

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))

# Loaded only by the commands that use them.
HEAVY_MODULES = {"rich", "wasmtime", *(entry.module for entry in cli.COMMANDS.values())}


def run_python(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        cwd=ROOT,
    )


def project_files() -> list[Path]:
    """All files of the project: those that git tracks, and new ones that it does not ignore."""
    options = ["-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(
        [needs.tool("git"), "ls-files", *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode:
        pytest.skip("this is not a git checkout")
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


class TestVersion:
    def test_installed_metadata_says_what_the_package_says(self) -> None:
        assert metadata.version("tinyheap") == tinyheap.__version__

    def test_command_says_it_too(self) -> None:
        assert run_python("-m", "tinyheap", "--version").stdout.split() == [
            "tinyheap,",
            "version",
            tinyheap.__version__,
        ]

    def test_changelog_opens_with_unreleased_changes(self) -> None:
        headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
        assert headings[0] == "Unreleased"


class TestRooms:
    def test_every_folder_with_code_is_a_package(self) -> None:
        # Otherwise the layers are not checked there.
        folders = {path.parent for path in (ROOT / "src/tinyheap").rglob("*.py")}
        assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


class TestRequirements:
    @pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
    def test_every_locked_requirement_has_a_hash(self, lock: Path) -> None:
        # A requirement and its hashes are one logical line, continued by backslashes.
        logical_lines = lock.read_text().replace("\\\n", " ").splitlines()
        requirements = [line for line in logical_lines if line and not line.lstrip().startswith("#")]
        assert requirements
        for requirement in requirements:
            assert re.match(r"[a-z0-9._-]+==\S+ ", requirement), requirement
            assert "--hash=sha256:" in requirement, requirement

    @pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
    def test_locks_hold_no_address_and_no_option(self, lock: Path) -> None:
        text = lock.read_text()
        assert "://" not in text
        assert not re.search(r"^\s*--(?!hash=)|^-", text, re.MULTILINE)

    def test_build_lock_is_for_what_the_build_requires(self) -> None:
        wanted = (ROOT / "requirements/build.in").read_text().split()
        assert wanted == PYPROJECT["build-system"]["requires"]

    def test_every_dependency_is_locked(self) -> None:
        project = PYPROJECT["project"]
        wanted = [*project["dependencies"], *project["optional-dependencies"]["run"]]
        locked = set(re.findall(r"^(\S+)==", (ROOT / "requirements/dev.txt").read_text(), re.MULTILINE))
        assert {re.split(r"[<>=]", requirement)[0] for requirement in wanted} <= locked


class TestFiles:
    def test_no_lock_file_with_addresses(self) -> None:
        assert not [path for path in project_files() if path.name in {"uv.lock", "poetry.lock", "Pipfile.lock"}]

    def test_no_registry_host(self) -> None:
        hosts = re.compile(rb"pypi[.]org|pythonhosted[.]org|npmjs[.](?:org|com)|deb[.]debian[.]org")
        offenders = [path for path in project_files() if hosts.search(path.read_bytes())]
        assert not offenders

    def test_no_path_of_the_machine_that_it_was_written_on(self) -> None:
        places = [f"{place}/".encode() for place in (ROOT, Path.home())]
        offenders = [path for path in project_files() if any(place in path.read_bytes() for place in places)]
        assert not offenders


class TestCommandLine:
    def test_help_lists_every_command(self) -> None:
        result = run_python("-m", "tinyheap", "--help")
        assert result.returncode == 0
        for name, entry in cli.COMMANDS.items():
            assert re.search(rf"^  {name} +{re.escape(entry.help[:30])}", result.stdout, re.MULTILINE)

    def test_help_imports_no_command_and_no_heavy_library(self) -> None:
        program = (
            "import sys, tinyheap.cli as cli\n"
            "cli.main(['--help'], standalone_mode=False)\n"
            "print(*sys.modules, sep='\\n', file=sys.stderr)\n"
        )
        result = run_python("-c", program)
        assert "Commands:" in result.stdout
        assert not HEAVY_MODULES & set(result.stderr.split())

    @pytest.mark.parametrize("name", cli.COMMANDS)
    def test_every_command_loads_and_explains_itself(self, name: str) -> None:
        result = run_python("-m", "tinyheap", name, "--help")
        assert result.returncode == 0, result.stderr
        assert f"tinyheap {name}" in result.stdout

    def test_unknown_command_is_a_usage_error(self) -> None:
        result = run_python("-m", "tinyheap", "no-such-command")
        assert result.returncode == 2
        assert "No such command 'no-such-command'" in result.stderr

    def test_missing_library_is_one_sentence_with_the_way_out(self) -> None:
        program = (
            "import sys, tinyheap.cli as cli\n"
            "sys.modules['wasmtime'] = None\n"
            "cli.COMMANDS['needy'] = cli.Entry('wasmtime', 'Needs a library.', extra='run')\n"
            "cli.main(['needy'], prog_name='tinyheap')\n"
        )
        result = run_python("-c", program)
        assert result.returncode == 125
        assert result.stderr.startswith("Error: `tinyheap needy` needs a library")
        assert "pip install --upgrade 'tinyheap[run]'" in result.stderr
        assert result.stderr.count("\n") == 1


class TestInstallation:
    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        """A copy of what the build reads, free of anything already built."""
        copy = tmp_path / "source"
        for path in project_files():
            place = path.relative_to(ROOT)
            if place.parts[0] == "src" or len(place.parts) == 1:
                (copy / place).parent.mkdir(parents=True, exist_ok=True)
                (copy / place).write_bytes(path.read_bytes())
        return copy

    @staticmethod
    def install(source: Path, target: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        options = ["--quiet", "--no-build-isolation", "--no-deps", "--no-index", "--target"]
        return run_python("-m", "pip", "install", *options, target, source, **environment)

    @pytest.fixture
    def no_cython(self, tmp_path: Path) -> str:
        """A folder that, when first on the path, hides Cython from the build."""
        hidden = tmp_path / "hidden"
        (hidden / "Cython").mkdir(parents=True)
        (hidden / "Cython/__init__.py").write_text("raise ImportError('hidden')\n")
        return str(hidden)

    @staticmethod
    def check_model_serves(target: Path, *further_path: str) -> None:
        assert not list(target.rglob("*.so"))
        program = (
            "import tinyheap\n"
            "from tinyheap.heap.engines import choose_engine\n"
            "print(tinyheap.__file__, choose_engine().__name__, choose_engine().__name__)\n"
        )
        search_path = os.pathsep.join([str(target), *further_path])
        result = run_python("-c", program, PYTHONPATH=search_path, PYTHONWARNINGS="always")
        assert result.stdout.split() == [f"{target}/tinyheap/__init__.py", "Model", "Model"], result.stderr
        assert result.stderr.count("SlowEngineWarning: the compiled kernel is not there") == 1

    def test_without_a_compiler_the_model_serves(self, source: Path, tmp_path: Path) -> None:
        target = tmp_path / "site"
        installed = self.install(source, target, CC="false", TINYHEAP_REQUIRE_KERNEL="0")
        assert installed.returncode == 0, installed.stderr
        self.check_model_serves(target)

    def test_without_cython_the_model_serves(self, source: Path, tmp_path: Path, no_cython: str) -> None:
        target = tmp_path / "site"
        installed = self.install(source, target, PYTHONPATH=no_cython, TINYHEAP_REQUIRE_KERNEL="0")
        assert installed.returncode == 0, installed.stderr
        self.check_model_serves(target, no_cython)

    def test_a_required_kernel_needs_a_compiler(self, source: Path, tmp_path: Path) -> None:
        installed = self.install(source, tmp_path / "site", CC="false", TINYHEAP_REQUIRE_KERNEL="1")
        assert installed.returncode != 0
        assert "'false'" in installed.stderr

    def test_a_required_kernel_needs_cython(self, source: Path, tmp_path: Path, no_cython: str) -> None:
        installed = self.install(source, tmp_path / "site", PYTHONPATH=no_cython, TINYHEAP_REQUIRE_KERNEL="1")
        assert installed.returncode != 0
        assert "ImportError: hidden" in installed.stderr
