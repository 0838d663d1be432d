"""A trace that is played in compiled code on best-fit's kernel does what it does step by step on the model."""

from __future__ import annotations

import pytest

from tinyheap.errors import HeapCorruptError
from tinyheap.heap.contract import Engine
from tinyheap.traces.replay import Replay, replay
from tinyheap.traces.trace import Trace, TraceBuilder, TraceGrowth
from tinyheap.traces.workloads import WORKLOADS, WorkloadOptions, generate
from tinyheap.units import KIB

pytestmark = pytest.mark.conformance

COLLECTORS = ("best-fit-front", "best-fit-back")


def both(program: Trace, gc: str, collector: str) -> tuple[Replay, Replay]:
    kernel, model = (replay(program, gc, engine, collector=collector) for engine in ("kernel", "model"))
    return kernel, model


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("precise", [False, True])
@pytest.mark.parametrize("word_bytes", [2, 4, 8])
@pytest.mark.parametrize("name", WORKLOADS)
@pytest.mark.parametrize("collector", COLLECTORS)
@pytest.mark.share(12, in_ci=40)
def test_a_workload_ends_alike(collector: str, name: str, word_bytes: int, precise: bool) -> None:
    if WORKLOADS[name].has_finalizers and collector == "best-fit-front":
        pytest.skip("the collector has no finalizers")
    program = generate(name, WorkloadOptions(heap_bytes=8 * KIB, word_bytes=word_bytes, steps=400, precise=precise))
    kernel, model = both(program, "precise" if precise else "conservative", collector)
    assert kernel.as_vector() == model.as_vector()
    assert kernel.counters[:5] == model.counters[:5]


def growing(builder: TraceBuilder) -> Trace:
    """Objects that stay, until memory runs out."""
    for slot in range(40):
        builder.root(slot, builder.alloc(700))
    return builder.build()


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("growth", list(TraceGrowth))
@pytest.mark.parametrize("collector", COLLECTORS)
def test_it_grows_and_runs_out_alike(collector: str, growth: TraceGrowth) -> None:
    program = growing(TraceBuilder(12 * KIB, limit_bytes=24 * KIB, growth=growth))
    kernel, model = both(program, "conservative", collector)
    assert kernel.out_of_memory
    assert kernel.as_vector() == model.as_vector()


def damaging(builder: TraceBuilder) -> Trace:
    """The list's node, in an object that is gone, is written over."""
    gone = builder.alloc(4096)
    builder.collect()
    builder.store_integer(gone, 0, 5)
    builder.store_integer(gone, 1, 5)
    builder.alloc(64)
    return builder.build()


@pytest.mark.parametrize("collector", COLLECTORS)
def test_damage_is_found_in_the_same_step(kernel: type[Engine], collector: str) -> None:
    del kernel
    said = []
    for engine in ("kernel", "model"):
        with pytest.raises(HeapCorruptError) as caught:
            replay(damaging(TraceBuilder(16 * KIB)), "conservative", engine, collector=collector)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert said[0].startswith("step 4")
