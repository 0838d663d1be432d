"""The kernel is as exact on machines without SSE2, where its primitives compare one word at a time.

The modules that compare words so are compiled once more with the portable forms of `_words.h`; the tests of the kernel's
contract, of all patterns of states, of random requests, of the recordings and of heap graphs run on them.
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
COMPARING: Final = ("tinyheap.heap.nextfit._mark", "tinyheap.heap.bestfit._mark", "tinyheap.inspect._graph")
"""The modules that compare four words at once where there is SSE2."""


def test_no_other_module_compares_so() -> None:
    source = kernel_builds.ROOT / "src"
    compiled = [path.with_suffix("") for path in source.rglob("*.py") if path.with_suffix(".pxd").exists()]
    comparing = [
        path
        for path in compiled
        if "words_below" in path.with_suffix(".py").read_text() or kernel_builds.named_in(path, "marker")
    ]
    assert {".".join(path.relative_to(source).parts) for path in comparing} == set(COMPARING)


@pytest.mark.slow
def test_the_portable_kernel_passes(kernel: object, tmp_path: Path) -> None:
    kernel_builds.build(tmp_path / "copy", FLAGS, modules=COMPARING)
    checks = (*kernel_builds.CHECKS, *kernel_builds.CHECKS_OF_GRAPHS["tinyheap.inspect._graph"])
    assert kernel_builds.check(tmp_path / "copy", checks) == "passed"


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_it_is_the_portable_one_that_is_checked(fault: str, kernel: object, tmp_path: Path) -> None:
    kernel_builds.build(tmp_path / "copy", FLAGS, [FAULTS[fault]], COMPARING[:1])
    assert kernel_builds.check(tmp_path / "copy", kernel_builds.NEXT_FIT_CHECKS).startswith("caught")
