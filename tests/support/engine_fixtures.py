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


Kind: TypeAlias = tuple[str, Collector]
KINDS: Final[list[Kind]] = [
    (engine, collector) for collector in Collector for engine in ENGINES if engine == "model" or collector in KERNELS
]
"""Each collector on each of its engines."""
BEST_FIT_KINDS: Final = [kind for kind in KINDS if kind[1].has_free_list]
FINALIZING_KINDS: Final = [kind for kind in KINDS if kind[1].has_finalizers]


def kind_id(kind: Kind) -> str:
    """How a test is called that takes a kind."""
    engine, collector = kind
    return f"{collector}-{engine}"


def engine_of(name: str, collector: Collector) -> type[BestFitEngine]:
    """An engine of best-fit, by its name."""
    return cast(type[BestFitEngine], choose_engine(name, collector))


MakeAnyHeap: TypeAlias = MakeHeap
"""Takes what `Heap` takes, but the engine and the collector."""


def _heaps_of(kind: Kind) -> Iterator[MakeAnyHeap]:
    heaps: list[Heap] = []
    engine, collector = kind

    def make(*args: Any, **options: Any) -> Heap:  # noqa: ANN401
        heaps.append(Heap(*args, **{"engine": engine, "collector": collector, **options}))
        return heaps[-1]

    yield make
    for made in heaps:
        made.close()


@pytest.fixture(params=KINDS, ids=kind_id)
def make_any_heap(request: pytest.FixtureRequest) -> Iterator[MakeAnyHeap]:
    """Makes heaps of each collector on each engine, and closes them in the end."""
    yield from _heaps_of(request.param)


@pytest.fixture(params=BEST_FIT_KINDS, ids=kind_id)
def make_best_fit(request: pytest.FixtureRequest) -> Iterator[MakeAnyHeap]:
    """The same for the collectors with a free list."""
    yield from _heaps_of(request.param)


@pytest.fixture(params=FINALIZING_KINDS, ids=kind_id)
def make_finalizing(request: pytest.FixtureRequest) -> Iterator[MakeAnyHeap]:
    """The same for those whose finalizers lie on the heap."""
    yield from _heaps_of(request.param)


@pytest.fixture
def stride(request: pytest.FixtureRequest) -> int:
    """Every so many patterns are tried: all of them in CI, a sample in a quick run."""
    return 1 if request.config.getoption("--slow") else 23
