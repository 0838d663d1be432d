"""Builds what `pyproject.toml` cannot describe: the compiled kernel.

The kernel is an optional part.  Where Cython or a C compiler is missing the installation still succeeds,
and the executable specification serves in its place; `TINYHEAP_REQUIRE_KERNEL=1` turns that into a failure.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

# Modules in Cython's pure Python mode.  Their compiler directives stand in their own header comments.
COMPILED_MODULES = [
    "tinyheap.heap._buffers",
    "tinyheap.heap.nextfit._state",
    "tinyheap.heap.nextfit._allocate",
    "tinyheap.heap.nextfit._mark",
    "tinyheap.heap.nextfit._sweep",
    "tinyheap.heap.nextfit._kernel",
    "tinyheap.heap.bestfit._state",
    "tinyheap.heap.bestfit._freelist",
    "tinyheap.heap.bestfit._allocate",
    "tinyheap.heap.bestfit._mark",
    "tinyheap.heap.bestfit._sweep",
    "tinyheap.heap.bestfit._kernel",
    "tinyheap.traces._replay",
    "tinyheap.traces._steps",
    "tinyheap.inspect._graph",
    "tinyheap.inspect._reach",
    "tinyheap.inspect._walk",
    "tinyheap.guests.record._recorder",
    "tinyheap.guests.serve._allocator",
    "tinyheap.guests.serve._list_allocator",
]

KERNEL_REQUIRED = os.environ.get("TINYHEAP_REQUIRE_KERNEL") == "1"


def compiler_options() -> list[str]:
    """Options of the C compiler: fast code and no debug information, where CFLAGS does not choose otherwise.

    Portable on purpose: a wheel must run on machines older than the one that built it.  Python's own options ask for debug
    information, which takes a quarter of the compiler's time and two thirds of a wheel, and is of generated C.
    """
    if sys.platform == "win32":
        return []
    chosen = os.environ.get("CFLAGS", "").split()
    return [option for option in ("-O3", "-g0") if not any(other.startswith(option[:2]) for other in chosen)]


def extension(module: str) -> Extension:
    """The extension that is compiled from `module`, a dotted name under `src`."""
    path = Path("src", *module.split(".")).with_suffix(".py")
    return Extension(
        module,
        [str(path)],
        include_dirs=["src/tinyheap/heap"],
        extra_compile_args=compiler_options(),
        optional=not KERNEL_REQUIRED,
    )


class Compile(build_ext):
    """Translates the modules to C only when they are compiled: neither metadata nor the sdist needs that."""

    def finalize_options(self) -> None:
        """Compiles as many modules at once as there are cores: the C compiler takes most of an installation."""
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def build_extensions(self) -> None:
        """Compiles all modules, or none where Cython or a compiler is missing and nobody insists on the kernel."""
        command = getattr(self.compiler, "compiler_so", None)  # MSVC is found in another way
        if command and not shutil.which(command[0]) and not KERNEL_REQUIRED:
            # To translate modules to C takes half a minute, and all of it would be for nothing.
            self.extensions = []
            return
        try:
            from Cython.Build import cythonize
        except ImportError:
            if KERNEL_REQUIRED:
                raise
            self.extensions = []
        else:
            # The generated C goes to build/, so that no source folder ever holds a generated file.
            translated = cythonize(self.extensions, build_dir="build/cython")  # type: ignore[no-untyped-call]
            for module, in_c in zip(self.extensions, translated, strict=True):
                module.sources, module.depends = in_c.sources, in_c.depends
            # The largest come first, so that no core waits for one in the end.
            self.extensions.sort(key=lambda module: Path(module.sources[0]).stat().st_size, reverse=True)
        super().build_extensions()


class Wheel(bdist_wheel):
    """A wheel that is for one platform only if something was compiled for it."""

    def run(self) -> None:
        """Compiles first, and sees what came of it."""
        self.run_command("build")
        if not any(Path(output).exists() for output in self.get_finalized_command("build_ext").get_outputs()):
            self.distribution.ext_modules = []
            self.root_is_pure = True
        super().run()


setup(
    ext_modules=[extension(module) for module in COMPILED_MODULES],
    cmdclass={"build_ext": Compile, "bdist_wheel": Wheel},
)
