"""The kernel touches no byte that is not its own, and does nothing that C leaves undefined.

It is compiled once more with the address and undefined-behavior sanitizers, and the tests of its contract, of all
patterns of states, of random requests, and of callbacks that do anything run on it, with nothing around the heaps'
memory: one byte too far ends them.  So is what reads the graph of a heap, and run on images that hold anything.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

import pytest

import kernel_builds
import needs

pytestmark = pytest.mark.conformance

# Optimizing takes the compiler longer than it saves the tests; a report names functions without debug information, too.
FLAGS: Final = ("-O0", "-g0", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
CHECKS: Final = (
    *kernel_builds.CHECKS,
    "tests/heap/test_kernel_border.py",
    "tests/traces/test_steps.py",
    "tests/heap/test_callbacks.py",
    "tests/heap/test_reentry.py",
    *kernel_builds.GRAPH_CHECKS,
)
SECONDS: Final = 540


def sanitized(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    compiler = needs.tool("gcc")
    library = subprocess.run(
        [compiler, "-print-file-name=libasan.so"], check=True, capture_output=True, text=True
    ).stdout.strip()
    return kernel_builds.run_python(
        folder,
        *arguments,
        seconds=SECONDS,
        LD_PRELOAD=library,
        # Python itself keeps what it allocated; that each allocation notes its callers takes longer than the tests
        # themselves, and that freed memory stays unused a third of their time, while no memory is freed that a view
        # is taken of; and only plain allocations have red zones around them.
        ASAN_OPTIONS="detect_leaks=0:malloc_context_size=0:quarantine_size_mb=0:thread_local_quarantine_size_kb=0",
        PYTHONMALLOC="malloc",
        TINYHEAP_GUARD_BYTES="0",
    )


@pytest.fixture(scope="module")
def folder(kernel: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package whose compiled modules are watched."""
    folder = tmp_path_factory.mktemp("sanitized") / "copy"
    kernel_builds.build(folder, FLAGS, modules=[*kernel_builds.KERNEL, *kernel_builds.PLAYERS, *kernel_builds.GRAPHS])
    return folder


@pytest.mark.slow
def test_no_byte_too_far(folder: Path) -> None:
    ran = sanitized(folder, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-k", "not model", *CHECKS)
    assert ran.returncode == 0, ran.stdout[-6000:]


OUTSIDE: Final = """
import ctypes, sys
sys.path.insert(0, "tests/support")
from tinyheap.heap.nextfit._kernel import Kernel
from workbench import Workbench

heap = Workbench(Kernel, 64)
behind = ctypes.addressof(ctypes.c_char.from_buffer(heap.memory)) + len(heap.memory)
heap.engine.mark_roots((ctypes.c_char * 8).from_address(behind))
"""


@pytest.mark.slow
def test_the_watch_is_awake(folder: Path) -> None:
    """Roots that lie just behind a heap's memory are read by the kernel, and reported."""
    ran = sanitized(folder, "-c", OUTSIDE)
    assert ran.returncode != 0
    assert "heap-buffer-overflow" in ran.stdout
