"""Fixtures of tests that hold for both engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest

import needs
from tinyheap.heap import Heap
from tinyheap.heap.contract import Engine
from tinyheap.heap.engines import KERNEL
from tinyheap.heap.nextfit.model import Model
from workbench import MakeBench, Workbench


@pytest.fixture(scope="session")
def kernel() -> type[Engine]:
    """The compiled engine."""
    if KERNEL is None:
        needs.fail_or_skip("the compiled kernel is not there")
    return KERNEL


@pytest.fixture(params=["kernel", "model"])
def engine(request: pytest.FixtureRequest) -> type[Engine]:
    """Each engine in turn: a test that takes it holds for both."""
    if request.param == "model":
        return Model
    compiled: type[Engine] = request.getfixturevalue("kernel")
    return compiled


@pytest.fixture
def bench(engine: type[Engine]) -> Iterator[MakeBench]:
    """Makes benches of an engine; in the end, looks whether their guards still stand."""
    benches: list[Workbench] = []

    def make(*args: Any, **options: Any) -> Workbench:  # noqa: ANN401
        benches.append(Workbench(engine, *args, **options))
        return benches[-1]

    yield make
    for made in benches:
        made.close()


MakeHeap: TypeAlias = Callable[..., Heap]
"""Takes what `Heap` takes, but the engine."""


@pytest.fixture
def make_heap(engine: type[Engine]) -> Iterator[MakeHeap]:
    """Makes heaps on an engine, and closes them in the end."""
    heaps: list[Heap] = []
    engine_name = "model" if engine is Model else "kernel"

    def make(*args: Any, **options: Any) -> Heap:  # noqa: ANN401
        heaps.append(Heap(*args, **{"engine": engine_name, **options}))
        return heaps[-1]

    yield make
    for made in heaps:
        made.close()


@pytest.fixture
def stride(request: pytest.FixtureRequest) -> int:
    """Every so many patterns are tried: all of them in CI, a sample in a quick run."""
    return 1 if request.config.getoption("--slow") else 23
