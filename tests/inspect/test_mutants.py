"""The tests of heap graphs catch faults: each of these, put into what reads them by hand, makes one of them fail.

As in `tests/heap/test_mutants.py`: CI builds a share of them and ``--long`` all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

import kernel_builds
import mutant_shares
from graph_mutants import GRAPH_MUTANTS

pytestmark = pytest.mark.mutation

CI_SHARE: Final = 54
"""One mutant in so many is built where not all are asked for."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    mutant_shares.parametrize(metafunc, GRAPH_MUTANTS, CI_SHARE)


@pytest.mark.slow
def test_is_caught(mutant: str, kernel: object, tmp_path: Path) -> None:
    edit = GRAPH_MUTANTS[mutant]
    module = next(each for each in kernel_builds.GRAPHS if each.endswith(f".{Path(edit.file).stem}"))
    kernel_builds.build(tmp_path / "copy", ["-O0"], [edit], [module], below=kernel_builds.INSPECT)
    assert kernel_builds.check(tmp_path / "copy", kernel_builds.CHECKS_OF_GRAPHS[module]).startswith("caught")


@pytest.mark.parametrize("name", GRAPH_MUTANTS)
def test_has_its_place(name: str) -> None:
    edit = GRAPH_MUTANTS[name]
    source = (kernel_builds.ROOT / kernel_builds.INSPECT / edit.file).read_bytes()
    assert edit.applied(source) != source
