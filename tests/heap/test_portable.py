"""The kernel is as exact on machines without SSE2, where its primitives compare one word at a time.

It is compiled once more with the portable forms of `_words.h`; the tests of its contract, of all patterns of states,
of random requests, of the recordings and of heap graphs run on it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

import kernel_builds
from source_edits import Edit

pytestmark = pytest.mark.conformance

FLAGS: Final = ("-O0", "-DTINYHEAP_PORTABLE")
FAULTS: Final = {
    "words": Edit("_words.h", "words_below", "(uint32_t)(load32(at + 4 * i) - start) < bytes", "0"),
    "long words": Edit("_words.h", "long_words_below", "load64(at + 8 * i)", "load64(at + 4 * i)"),
}
MARKING: Final = ("tinyheap.heap.nextfit._mark",)
"""The modules that the faults are in."""


@pytest.mark.slow
def test_the_portable_kernel_passes(kernel: object, tmp_path: Path) -> None:
    kernel_builds.build(tmp_path / "copy", FLAGS, modules=[*kernel_builds.KERNEL, *kernel_builds.GRAPHS])
    checks = (*kernel_builds.CHECKS, *kernel_builds.GRAPH_CHECKS)
    assert kernel_builds.check(tmp_path / "copy", checks) == "passed"


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_it_is_the_portable_one_that_is_checked(fault: str, kernel: object, tmp_path: Path) -> None:
    kernel_builds.build(tmp_path / "copy", FLAGS, [FAULTS[fault]], MARKING)
    assert kernel_builds.check(tmp_path / "copy", kernel_builds.NEXT_FIT_CHECKS).startswith("caught")
