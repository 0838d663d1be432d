"""The tests of the engines catch faults: each of these, put into the kernel by hand, makes one of them fail.

A *mutant* is the kernel with one fault.  CI builds a share of them and ``--long`` all; each takes some seconds of
compiling, and as long as the tests need to stumble over it.  A fault whose place is no longer there is an error here: write
it anew for what took that place.  None of them is equivalent to the kernel without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

import kernel_builds
import mutant_shares
from mutants import MUTANTS
from source_edits import Edit

pytestmark = pytest.mark.mutation

CI_SHARE: Final = 90
"""One mutant in so many is built where not all are asked for."""

Chosen = dict[str, Edit]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    mutant_shares.parametrize(metafunc, MUTANTS, CI_SHARE)


@pytest.fixture(scope="module")
def verdicts(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[str]]]:
    """What became of each chosen mutant; two are tried at a time."""
    with ThreadPoolExecutor(2) as pool:
        yield {
            name: pool.submit(try_mutant, tmp_path_factory.mktemp("mutant") / "copy", MUTANTS[name])
            for name in mutant_shares.chosen(request.config, MUTANTS, CI_SHARE)
        }


def try_mutant(folder: Path, edit: Edit) -> str:
    kernel_builds.build(folder, ["-O0"], [edit], kernel_builds.modules_of(edit))
    return kernel_builds.check(folder, kernel_builds.checks_of(edit))


@pytest.mark.long
def test_the_kernel_itself_passes(kernel: object, tmp_path: Path) -> None:
    """In CI the portable kernel does, which is built and checked in the same way (`test_portable`)."""
    kernel_builds.build(tmp_path / "copy", ["-O0"])
    assert kernel_builds.check(tmp_path / "copy") == "passed"


@pytest.mark.slow
def test_is_caught(mutant: str, verdicts: dict[str, Future[str]]) -> None:
    assert verdicts[mutant].result().startswith("caught")


@pytest.mark.parametrize("name", MUTANTS)
def test_has_its_place_in_the_kernel(name: str) -> None:
    edit = MUTANTS[name]
    source = (kernel_builds.ROOT / kernel_builds.HEAP / edit.file).read_bytes()
    assert edit.applied(source) != source
