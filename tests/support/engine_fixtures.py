"""Fixtures of tests that hold for both engines, or for all collectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias, cast

import pytest

import needs
from tinyheap.heap import Heap
from tinyheap.heap.collectors import Collector
from tinyheap.heap.contract import BestFitEngine, Engine
from tinyheap.heap.engines import ENGINES, KERNEL, KERNELS, choose_engine
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


Kind: TypeAlias = tuple[str, Collector]
KINDS: Final[list[Kind]] = [
    (engine, collector)
    for collector in Collector
    for engine in ENGINES
    if engine == "model" or collector in KERNELS or collector is Collector.NEXT_FIT
]
"""Each collector on each of its engines."""
NEXT_FIT_KINDS: Final = [kind for kind in KINDS if kind[1] is Collector.NEXT_FIT]
BEST_FIT_KINDS: Final = [kind for kind in KINDS if kind[1].has_free_list]
FINALIZING_KINDS: Final = [kind for kind in KINDS if kind[1].has_finalizers]


def kind_id(kind: Kind) -> str:
    """How a test is called that takes a kind."""
    engine, collector = kind
    return f"{collector}-{engine}"


def engine_of(name: str, collector: Collector) -> type[BestFitEngine]:
    """An engine of best-fit, by its name."""
    return cast(type[BestFitEngine], choose_engine(name, collector))


MakeHeap: TypeAlias = Callable[..., Heap]
"""Takes what `Heap` takes, but the engine and the collector."""


def _heaps_of(kind: Kind) -> Iterator[MakeHeap]:
    heaps: list[Heap] = []
    engine, collector = kind
    if engine == "kernel" and collector not in KERNELS:
        needs.fail_or_skip("the compiled kernel is not there")

    def make(*args: Any, **options: Any) -> Heap:  # noqa: ANN401
        heaps.append(Heap(*args, **{"engine": engine, "collector": collector, **options}))
        return heaps[-1]

    yield make
    for made in heaps:
        made.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs what takes `make_heap` on each collector that its marks leave."""
    if "make_heap" in metafunc.fixturenames:
        marks = {mark.name for mark in metafunc.definition.iter_markers()}
        kinds = NEXT_FIT_KINDS if "next_fit" in marks else KINDS
        kinds = [kind for kind in kinds if "go_finalizers" not in marks or not kind[1].has_finalizers]
        metafunc.parametrize("make_heap", kinds, ids=kind_id, indirect=True)


@pytest.fixture
def make_heap(request: pytest.FixtureRequest) -> Iterator[MakeHeap]:
    """Makes heaps of each collector on each engine, and closes them in the end."""
    yield from _heaps_of(request.param)


@pytest.fixture(params=BEST_FIT_KINDS, ids=kind_id)
def make_best_fit(request: pytest.FixtureRequest) -> Iterator[MakeHeap]:
    """The same for the collectors with a free list."""
    yield from _heaps_of(request.param)


@pytest.fixture(params=FINALIZING_KINDS, ids=kind_id)
def make_finalizing(request: pytest.FixtureRequest) -> Iterator[MakeHeap]:
    """The same for those whose finalizers lie on the heap."""
    yield from _heaps_of(request.param)


@pytest.fixture
def stride(request: pytest.FixtureRequest) -> int:
    """Every so many patterns are tried: all of them with ``--long``, a sample in CI, a smaller one in a quick run."""
    if request.config.getoption("--long"):
        return 1
    return 5 if request.config.getoption("--slow") else 23
