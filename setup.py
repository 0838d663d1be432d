"""Builds what `pyproject.toml` cannot describe: the compiled kernel.

The kernel is an optional part.  Where Cython or a C compiler is missing the installation still succeeds,
and the executable specification serves in its place; `TINYHEAP_REQUIRE_KERNEL=1` turns that into a failure.
"""

from __future__ import annotations

import os
from pathlib import Path

from setuptools import Extension, setup

# Modules in Cython's pure Python mode.  Their compiler directives stand in their own header comments.
COMPILED_MODULES = [
    "tinyheap.heap._buffers",
    "tinyheap.heap._state",
    "tinyheap.heap._allocate",
    "tinyheap.heap._mark",
    "tinyheap.heap._sweep",
    "tinyheap.heap._kernel",
    "tinyheap.traces._replay",
    "tinyheap.guests._recorder",
    "tinyheap.guests._takeover",
]

KERNEL_REQUIRED = os.environ.get("TINYHEAP_REQUIRE_KERNEL") == "1"


def extension(module: str) -> Extension:
    """The extension that is compiled from `module`, a dotted name under `src`."""
    path = Path("src", *module.split(".")).with_suffix(".py")
    return Extension(
        module,
        [str(path)],
        include_dirs=["src/tinyheap/heap"],
        # Portable on purpose: a wheel must run on machines older than the one that built it.
        extra_compile_args=["-O3"],
    )


def extensions() -> list[Extension]:
    """All compiled modules, or none where Cython is missing and nobody insists on the kernel."""
    try:
        from Cython.Build import cythonize
    except ImportError:
        if KERNEL_REQUIRED:
            raise
        return []
    modules = [extension(module) for module in COMPILED_MODULES]
    # The generated C goes to build/, so that no source folder ever holds a generated file.
    translated: list[Extension] = cythonize(modules, build_dir="build/cython")  # type: ignore[no-untyped-call]
    for module in translated:
        module.optional = not KERNEL_REQUIRED  # set here, because Cython's translation drops it
    return translated


setup(ext_modules=extensions())
