"""Kernels built apart: a copy of the package in a folder of its own, its kernel changed or compiled in another way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

import needs
from project_files import TRANSLATED
from source_edits import Edit
from tinyheap.guests.cache import Cache

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGE: Final = Path("src") / "tinyheap"
HEAP: Final = PACKAGE / "heap"
KERNEL: Final = (
    "tinyheap.heap._buffers",
    *(f"tinyheap.heap.nextfit.{name}" for name in ("_state", "_allocate", "_mark", "_sweep", "_kernel")),
    *(f"tinyheap.heap.bestfit.{name}" for name in ("_state", "_freelist", "_allocate", "_mark", "_sweep", "_kernel")),
)
"""The modules that the kernels are compiled from."""
PLAYERS: Final = ("tinyheap.traces._replay", "tinyheap.traces._steps")
INSPECT: Final = PACKAGE / "inspect"
GRAPHS: Final = ("tinyheap.inspect._graph", "tinyheap.inspect._reach", "tinyheap.inspect._walk")
"""The modules that read the graph of a heap, and find the types of what is in it."""
NEXT_FIT_CHECKS: Final = (
    "tests/heap/test_engines.py",
    "tests/heap/test_patterns.py",
    "tests/heap/test_twins.py",
    "tests/heap/test_vectors.py",
)
BEST_FIT_CHECKS: Final = (
    "tests/heap/test_best_fit_twins.py",
    "tests/heap/test_best_fit_states.py",
    "tests/heap/test_best_fit.py",
    "tests/heap/test_vectors_newer.py",
)
CHECKS: Final = NEXT_FIT_CHECKS + BEST_FIT_CHECKS
"""The tests that say whether kernels are exact."""
CHECKS_OF_GRAPHS: Final = {
    GRAPHS[0]: ("tests/inspect/test_graph.py", "tests/inspect/test_naming.py"),
    GRAPHS[1]: ("tests/inspect/test_reach.py", "tests/inspect/test_paths.py", "tests/inspect/test_analyses.py"),
    GRAPHS[2]: ("tests/inspect/test_walk.py", "tests/inspect/test_typed.py"),
}
"""The tests that say whether graphs are, by the module that they test."""
GRAPH_CHECKS: Final = tuple(check for checks in CHECKS_OF_GRAPHS.values() for check in checks)
# Without explanations of what failed, which may take longer than all the rest.
PLAIN: Final = ("--assert=plain", "--tb=no", "-p", "no:cacheprovider")
PYTEST: Final = ("-m", "pytest", "-x", "-q", *PLAIN, "-k", "not model")
SECONDS: Final = 120
"""Longer than all checks take; a kernel that does not end them is one that fails."""
SOME_TEST_FAILED: Final = 1


def build(
    folder: Path,
    flags: Sequence[str],
    edits: Iterable[Edit] = (),
    modules: Iterable[str] = KERNEL,
    *,
    below: Path = HEAP,
) -> None:
    """Copy the package to a folder, edit the copy's kernel, whose files are below that place, and compile its modules again."""
    # With its bytecode, which stays valid: the times of files are copied, too.
    shutil.copytree(ROOT / PACKAGE, folder / PACKAGE)
    for edit in edits:
        edit.apply(folder / below)
    stems = [Path(*module.split(".")) for module in modules]
    translate(folder / "src", stems)
    for stem in stems:
        compile_module(folder / "src" / stem, flags, folder / HEAP)


def translate(source: Path, stems: Iterable[Path]) -> None:
    """Translate modules in a folder to C beside them, unless the installation or an earlier build translated the same text."""
    kept = Cache.of_user()
    declarations, installed = _declarations(source), _declarations(ROOT / "src")
    keys = {
        stem: repr(("C", version("cython"), str(stem), declarations, (source / f"{stem}.py").read_text())).encode()
        for stem in stems
    }
    found = {
        stem: (declarations == installed and _installed(source, stem)) or kept.load(key) for stem, key in keys.items()
    }
    # All at once: that Cython starts, and reads declarations, takes longer than to translate a module.
    new = [f"{stem}.py" for stem, text in found.items() if text is None]
    if new:
        subprocess.run([sys.executable, "-m", "cython", "-3", *new], cwd=source, check=True)
    for stem, text in found.items():
        path = source / f"{stem}.c"
        if text is None:
            kept.store(keys[stem], path.read_bytes())
        else:
            path.write_bytes(text)


def _declarations(source: Path) -> list[str]:
    """The texts of all declarations in a folder."""
    return [path.read_text() for path in sorted(source.rglob("*.pxd"))]


def _installed(source: Path, stem: Path) -> bytes | None:
    """The C that the installation made of a module whose text in a folder is the project's own."""
    text, path = ROOT / "src" / f"{stem}.py", ROOT / TRANSLATED / "src" / f"{stem}.c"
    if not path.exists() or (source / f"{stem}.py").read_bytes() != text.read_bytes():
        return None
    newest = max(file.stat().st_mtime for file in (text, *(ROOT / "src").rglob("*.pxd")))
    return path.read_bytes() if path.stat().st_mtime >= newest else None


def modules_of(edit: Edit) -> list[str]:
    """The kernel's modules that are compiled from a file: those whose text, or whose declarations, name it."""
    stem = Path(edit.file).stem
    # What lies beside the collectors' folders is all collectors'.
    folders = Path(edit.file).parts[:-1] or ("heap", "nextfit", "bestfit")
    texts = {module: ROOT / PACKAGE.parent / module.replace(".", "/") for module in KERNEL}
    return [
        module
        for module, path in texts.items()
        if path.parent.name in folders
        and (path.name == stem or (not edit.file.endswith(".py") and named_in(path, stem)))
    ]


def checks_of(edit: Edit) -> tuple[str, ...]:
    """The tests that say whether a kernel with an edit is exact."""
    return BEST_FIT_CHECKS if "bestfit" in Path(edit.file).parts else NEXT_FIT_CHECKS


def named_in(module: Path, stem: str) -> bool:
    """Whether a compiled module takes anything from another."""
    return any(f"._{stem.strip('_')} " in module.with_suffix(kind).read_text() for kind in (".py", ".pxd"))


def compile_module(stem: Path, flags: Sequence[str], headers: Path) -> None:
    """Compile a module that is translated to C, in place."""
    library = Path(f"{stem}{sysconfig.get_config_var('EXT_SUFFIX')}")
    # Replaced, not written over: the old one may be a file that this process has open.
    library.unlink(missing_ok=True)
    include = [f"-I{headers}", f"-I{sysconfig.get_path('include')}"]
    compiler = needs.tool("gcc")
    subprocess.run([compiler, "-shared", "-fPIC", "-w", *flags, *include, f"{stem}.c", "-o", library], check=True)


def run_python(folder: Path, *arguments: str, seconds: float, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python on the package in a folder, in the project's own folder and as outside CI.

    Raises:
        subprocess.TimeoutExpired: it took longer.
    """
    # Bytecode is kept even where the environment says otherwise: many such runs import the same.
    settings = {**os.environ, "PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "", "CI": "", **environment}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=settings,
        timeout=seconds,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kernel_file(folder: Path) -> Path:
    """The file of the kernel that Python loads from a folder."""
    ran = run_python(folder, "-c", "import tinyheap.heap.nextfit._kernel as kernel; print(kernel.__file__)", seconds=60)
    return Path(ran.stdout.strip())


def check(folder: Path, checks: Iterable[str] = CHECKS) -> str:
    """How checks end on the kernel in a folder: ``passed``, ``caught``, or what went wrong with checking."""
    loaded = kernel_file(folder)
    if folder not in loaded.parents:
        return f"not checked: {loaded} was loaded"
    try:
        ran = run_python(folder, *PYTEST, *checks, seconds=SECONDS)
    except subprocess.TimeoutExpired:
        return "caught: it did not end"
    if ran.returncode == SOME_TEST_FAILED or ran.returncode < 0:
        return "caught"
    return "passed" if ran.returncode == 0 else f"not checked: {ran.stdout[-2000:]}"
