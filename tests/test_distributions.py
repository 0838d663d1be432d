"""The sdist and the wheel: what is in them, and that they work where nothing else is installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

import guests_modules
import needs
import tinyheap
from clean_environments import CleanEnvironment
from project_files import PYPROJECT, ROOT, add_translated, brought_by, copy_project, project_files

NAME = f"tinyheap-{tinyheap.__version__}"
PROJECT = PYPROJECT["project"]
DEPENDENCIES: list[str] = PROJECT["dependencies"]
BUILD: list[str] = PYPROJECT["build-system"]["requires"]
BINARY = {".so", ".pyd"}
PACKAGE = ROOT / "src" / "tinyheap"
COMPILED = {
    path.relative_to(PACKAGE).with_suffix("").as_posix()
    for path in PACKAGE.rglob("*.pxd")
    if path.with_suffix(".py").exists()
}

QUICKLY = "-O0"
"""How the kernel is compiled here: the compiler takes a third of its time then, and what it makes is not what is tested."""
UNFORMATTED, FORMATTED = "package a\nfunc f( ){}\n", "package a\n\nfunc f() {}\n"


def build(source: Path, *options: str, **environment: str) -> list[Path]:
    """Builds distributions as `make dist` does, and returns their files."""
    needs.package("build")
    command: list[str | Path] = [sys.executable, "-m", "build", "--no-isolation", *options, source]
    done = subprocess.run(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert done.returncode == 0, done.stdout.decode()
    return sorted((source / "dist").iterdir())


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def sdist(source: Path) -> Path:
    (file,) = build(source, "--sdist")
    return file


@pytest.fixture(scope="module")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return folder / NAME


@pytest.fixture(scope="module")
def wheel(unpacked: Path) -> Path:
    """The wheel with its compiled kernel, made from the sdist."""
    add_translated(unpacked)
    (file,) = build(unpacked, "--wheel", TINYHEAP_REQUIRE_KERNEL="1", CFLAGS=QUICKLY)
    return file


@pytest.fixture(scope="module")
def pure_wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that comes of the sdist where there is no compiler."""
    folder = tmp_path_factory.mktemp("pure")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    add_translated(folder / NAME)
    (file,) = build(folder / NAME, "--wheel", CC="false", TINYHEAP_REQUIRE_KERNEL="0")
    return file


def module_files(wheel: Path) -> set[PurePosixPath]:
    """The package's files in a wheel, from the package's folder."""
    names = map(PurePosixPath, zipfile.ZipFile(wheel).namelist())
    return {name.relative_to("tinyheap") for name in names if name.parts[0] == "tinyheap"}


def compiled_modules(wheel: Path) -> set[str]:
    """The modules in a wheel that the platform's own code is in, from the package's folder."""
    return {str(file.parent / file.name.partition(".")[0]) for file in module_files(wheel) if file.suffix in BINARY}


@pytest.mark.slow
class TestSdist:
    def test_has_the_whole_project(self, sdist: Path) -> None:
        with tarfile.open(sdist) as archive:
            inside = {Path(member.name).relative_to(NAME) for member in archive.getmembers() if member.isfile()}
        tracked = set(project_files())
        assert tracked - inside == set()
        made = inside - tracked
        assert {path.parts[0] for path in made} == {"PKG-INFO", "setup.cfg", "src"}
        assert {path.parts[1] for path in made if path.parts[0] == "src"} == {"tinyheap.egg-info"}


@pytest.mark.slow
class TestWheel:
    def test_has_the_package_and_nothing_else(self, wheel: Path) -> None:
        package = {path.relative_to("src/tinyheap") for path in project_files() if path.is_relative_to("src/tinyheap")}
        wanted = {PurePosixPath(path) for path in package if path.suffix not in {".pxd", ".h", ".c"}}
        assert {file for file in module_files(wheel) if file.suffix not in BINARY} == wanted
        folders = {PurePosixPath(name).parts[0] for name in zipfile.ZipFile(wheel).namelist()}
        assert folders == {"tinyheap", f"{NAME}.dist-info"}

    def test_has_its_kernel_and_is_for_one_platform(self, wheel: Path) -> None:
        assert compiled_modules(wheel) == COMPILED
        assert "-none-any" not in wheel.name

    def test_has_its_license_and_says_which(self, wheel: Path) -> None:
        archive = zipfile.ZipFile(wheel)
        assert archive.read(f"{NAME}.dist-info/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
        assert b"\nLicense-Expression: MIT\n" in archive.read(f"{NAME}.dist-info/METADATA")


class TestPureWheel:
    @pytest.mark.slow
    def test_claims_no_platform(self, pure_wheel: Path) -> None:
        assert compiled_modules(pure_wheel) == set()
        assert pure_wheel.name == f"{NAME}-py3-none-any.whl"
        assert b"Root-Is-Purelib: true" in zipfile.ZipFile(pure_wheel).read(f"{NAME}.dist-info/WHEEL")


def environment(folder: Path, file: Path, extra: str | None = None, *, has_compiler: bool = False) -> CleanEnvironment:
    """A clean environment in which that distribution was installed."""
    building = [] if file.suffix == ".whl" else BUILD
    requirements = [*DEPENDENCIES, *building, *(brought_by(extra) if extra else [])]
    made = CleanEnvironment(folder, requirements, has_compiler=has_compiler)
    made.install(file, extra)
    return made


def check_library(installed: CleanEnvironment, folder: Path, engine: str) -> None:
    """What needs no extra works, on the engine that should be there; what needs one says which."""
    for command in (["tinyheap"], ["python", "-m", "tinyheap"]):
        assert installed.run(*command, "--version", cwd=folder).stdout == f"tinyheap, version {tinyheap.__version__}\n"
    generated = installed.run("tinyheap", "generate", "mixed", "-o", "a.trace.gz", "--steps", "200", cwd=folder)
    assert generated.returncode == 0, generated.stderr
    replayed = installed.run("tinyheap", "replay", "a.trace.gz", cwd=folder)
    assert replayed.returncode == 0, replayed.stderr
    assert re.search(rf"^  engine +{engine}\b", replayed.stdout, re.MULTILINE)
    assert ("the compiled kernel is not there" in replayed.stderr) is (engine == "model")


def check_extra_is_named(installed: CleanEnvironment, folder: Path, command: str, extra: str) -> None:
    refused = installed.run("tinyheap", command, "app.wasm", cwd=folder)
    assert refused.returncode != 0
    assert f"tinyheap[{extra}]" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to work in, with a Go file, and a module that no command gets to read."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "a.go").write_text(UNFORMATTED)
    (work / "app.wasm").write_bytes(b"")
    return work


@pytest.mark.slow
class TestInstalledWheel:
    def test_without_extras_and_without_a_compiler(self, wheel: Path, tmp_path: Path, folder: Path) -> None:
        installed = environment(tmp_path / "env", wheel)
        check_library(installed, folder, "kernel")
        check_extra_is_named(installed, folder, "run", "run")
        check_extra_is_named(installed, folder, "profile", "profile")

    def test_with_the_extra_run(self, wheel: Path, tmp_path: Path, folder: Path) -> None:
        installed = environment(tmp_path / "env", wheel, "run")
        ran = installed.run("tinyheap", "run", guests_modules.path("gofmt-0.4.9"), "--", "a.go", cwd=folder)
        assert (ran.returncode, ran.stdout) == (0, FORMATTED), ran.stderr
        check_extra_is_named(installed, folder, "profile", "profile")

    def test_with_the_extra_profile(self, wheel: Path, tmp_path: Path, folder: Path) -> None:
        installed = environment(tmp_path / "env", wheel, "profile")
        profiled = installed.run(
            "tinyheap", "profile", guests_modules.path("gofmt-0.4.9"), "-o", "app.tinyheap", "--", "a.go", cwd=folder
        )
        assert (profiled.returncode, profiled.stdout) == (0, FORMATTED), profiled.stderr
        reported = installed.run("tinyheap", "report", "app.tinyheap", "--html", "app.html", cwd=folder)
        assert reported.returncode == 0, reported.stderr
        assert (folder / "app.html").stat().st_size > 100_000  # the page's code is there

    def test_with_the_extra_pytest(self, wheel: Path, tmp_path: Path, folder: Path) -> None:
        """As it is installed here, pytest rewrites the assertions of all of tinyheap's modules."""
        installed = environment(tmp_path / "env", wheel, "pytest")
        (folder / "test_app.py").write_text(
            "import pytest, tinyheap.guests\n\n"
            "@pytest.mark.heap_limit('1 KiB')\n"
            "def test_app(guest):\n"
            "    assert type(tinyheap.guests.__loader__).__name__ == 'AssertionRewritingHook'\n"
            f"    guest({str(guests_modules.path('gofmt-0.4.9'))!r}).start()\n"
        )
        tested = installed.run("python", "-m", "pytest", "-W", "error", "--strict-markers", cwd=folder)
        assert tested.returncode == 1, tested.stdout
        assert "gofmt.wasm: peak " in tested.stdout
        assert "live at the peak, by allocation site" in tested.stdout

    def test_a_pure_one_serves_by_the_model(self, pure_wheel: Path, tmp_path: Path, folder: Path) -> None:
        check_library(environment(tmp_path / "env", pure_wheel), folder, "model")


@pytest.mark.slow
class TestDependencyGroups:
    def test_unit_tests_need_only_the_group_for_tests(self, pure_wheel: Path, source: Path, tmp_path: Path) -> None:
        installed = CleanEnvironment(tmp_path / "env", [*DEPENDENCIES, *PYPROJECT["dependency-groups"]["test"]])
        installed.install(pure_wheel)
        for options in (["--collect-only", "-q", "tests/heap"], ["tests/heap/test_geometry.py"]):
            done = installed.run("python", "-m", "pytest", "-p", "no:cacheprovider", *options, cwd=source)
            assert done.returncode == 0, done.stdout


@pytest.mark.slow
class TestInstalledSdist:
    def test_with_a_compiler(self, unpacked: Path, wheel: Path, tmp_path: Path, folder: Path) -> None:
        """As pip installs it once it is unpacked, with what was compiled for the wheel: that takes half a minute."""
        assert wheel.exists()
        check_library(environment(tmp_path / "env", unpacked, has_compiler=True), folder, "kernel")

    def test_without_a_compiler(self, sdist: Path, tmp_path: Path, folder: Path) -> None:
        check_library(environment(tmp_path / "env", sdist), folder, "model")
