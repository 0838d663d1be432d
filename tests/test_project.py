"""The project itself: its version, its locked requirements, its command line, its installation."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import needs
import tinyheap
from project_files import PYPROJECT, ROOT, add_translated, brought_by, copy_project, project_files
from tinyheap import cli

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


def versions(lock: Path) -> dict[str, set[str]]:
    """The versions that a lock has of each package: more than one where they depend on the version of Python."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^(\S+)==(\S+)", lock.read_text(), re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


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

    def test_group_for_the_build_is_what_the_build_requires(self) -> None:
        assert PYPROJECT["dependency-groups"]["build"] == PYPROJECT["build-system"]["requires"]

    def test_development_takes_every_group_but_that_of_the_public_ci(self) -> None:
        groups = dict(PYPROJECT["dependency-groups"])
        assert [part["include-group"] for part in groups.pop("dev")] == [name for name in groups if name != "wheels"]

    def test_every_dependency_is_locked(self) -> None:
        project, groups = PYPROJECT["project"], PYPROJECT["dependency-groups"]
        extras = [
            *project["optional-dependencies"].values(),
            *(groups[part["include-group"]] for part in groups["dev"]),
        ]
        wanted = {
            Requirement(requirement).name.lower() for requirement in itertools.chain(project["dependencies"], *extras)
        }
        assert wanted - {"tinyheap"} <= versions(ROOT / "requirements/dev.txt").keys()

    @pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
    def test_locks_agree(self, lock: Path) -> None:
        development = versions(ROOT / "requirements/dev.txt")
        assert {name: found for name, found in versions(lock).items() if found != development.get(name, found)} == {}

    def test_a_unit_test_needs_no_reader_of_tables(self) -> None:
        assert (
            not {"pandas", "polars", "pyarrow", "numpy", "duckdb", "wasmtime"}
            & versions(ROOT / "requirements/test.txt").keys()
        )


class TestPublicCi:
    WORKFLOW = (ROOT / ".github/workflows/ci.yml").read_text()

    def test_it_tries_every_version_that_is_claimed(self) -> None:
        claimed = re.findall(r"Python :: (3\.\d+)", " ".join(PYPROJECT["project"]["classifiers"]))
        (matrix,) = re.findall(r"python: \[(.+)\]", self.WORKFLOW)
        tried = re.findall(r'"([^"]+)"', matrix)
        assert [version for version in tried if not version.endswith("t")] == claimed
        built = PYPROJECT["tool"]["cibuildwheel"]["build"]
        assert built == [f"cp{version.replace('.', '')}-*" for version in tried]

    def test_actions_are_pinned_by_commit(self) -> None:
        uses = re.findall(r"uses: (\S+)(.*)", self.WORKFLOW)
        assert uses
        for action, comment in uses:
            assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", action), action
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), action

    @pytest.mark.parametrize("name", sorted(set(re.findall(r"(?:tests|requirements)/[\w/.]+", WORKFLOW))))
    def test_files_that_it_names_are_there(self, name: str) -> None:
        assert (ROOT / name).exists()


class TestFiles:
    def test_no_lock_file_with_addresses(self) -> None:
        assert not [path for path in project_files() if path.name in {"uv.lock", "poetry.lock", "Pipfile.lock"}]

    def test_no_registry_host(self) -> None:
        hosts = re.compile(rb"pypi[.]org|pythonhosted[.]org|npmjs[.](?:org|com)|deb[.]debian[.]org")
        offenders = [path for path in project_files() if hosts.search((ROOT / path).read_bytes())]
        assert not offenders

    def test_no_path_of_the_machine_that_it_was_written_on(self) -> None:
        places = [f"{place}/".encode() for place in (ROOT, Path.home())]
        offenders = [path for path in project_files() if any(place in (ROOT / path).read_bytes() for place in places)]
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
    @pytest.mark.share(3)
    def test_every_command_loads_and_explains_itself(self, name: str) -> None:
        extra = cli.COMMANDS[name].extra
        for requirement in brought_by(extra) if extra else []:
            needs.package(Requirement(requirement).name)
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
        """A copy of the project, free of anything built."""
        return copy_project(tmp_path / "source")

    @pytest.fixture
    def translated(self, source: Path) -> Path:
        """A copy of the project with the C of its compiled modules."""
        add_translated(source)
        return source

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
            "print(tinyheap.__file__, choose_engine().__name__, tinyheap.Heap(1024).engine_name)\n"
        )
        search_path = os.pathsep.join([str(target), *further_path])
        result = run_python("-c", program, PYTHONPATH=search_path, PYTHONWARNINGS="always")
        assert result.stdout.split() == [f"{target}/tinyheap/__init__.py", "Model", "model"], result.stderr
        assert result.stderr.count("SlowEngineWarning: the compiled kernel is not there") == 1

    @pytest.mark.slow
    def test_without_a_compiler_the_model_serves(self, translated: Path, tmp_path: Path) -> None:
        target = tmp_path / "site"
        installed = self.install(translated, target, CC="false", TINYHEAP_REQUIRE_KERNEL="0")
        assert installed.returncode == 0, installed.stderr
        self.check_model_serves(target)

    @pytest.mark.slow
    def test_without_cython_the_model_serves(self, source: Path, tmp_path: Path, no_cython: str) -> None:
        target = tmp_path / "site"
        installed = self.install(source, target, PYTHONPATH=no_cython, TINYHEAP_REQUIRE_KERNEL="0")
        assert installed.returncode == 0, installed.stderr
        self.check_model_serves(target, no_cython)

    @pytest.mark.slow
    def test_a_required_kernel_needs_a_compiler(self, translated: Path, tmp_path: Path) -> None:
        installed = self.install(translated, tmp_path / "site", CC="false", TINYHEAP_REQUIRE_KERNEL="1")
        assert installed.returncode != 0
        assert "'false'" in installed.stderr

    @pytest.mark.slow
    def test_a_required_kernel_needs_cython(self, source: Path, tmp_path: Path, no_cython: str) -> None:
        installed = self.install(source, tmp_path / "site", PYTHONPATH=no_cython, TINYHEAP_REQUIRE_KERNEL="1")
        assert installed.returncode != 0
        assert "ImportError: hidden" in installed.stderr
