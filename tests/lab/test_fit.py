"""`fit` agrees with running at every size: traces block by block, a real program page by page."""

from __future__ import annotations

from pathlib import Path

import pytest

import guests_modules
import project_files
from tinyheap.errors import InputError, LabError
from tinyheap.heap.collectors import Collector
from tinyheap.heap.contract import Gc
from tinyheap.lab import Condition, Fit, Limit, Subject, fit, fit_trace
from tinyheap.lab.running import Workers
from tinyheap.traces.replay import Stage, replay
from tinyheap.traces.trace import Trace, TraceBuilder
from tinyheap.traces.workloads import WORKLOADS, WorkloadOptions, generate
from tinyheap.units import KIB, WASM_PAGE_BYTES

SOURCE = project_files.ROOT / "examples" / "input" / "unformatted.go"
PROGRAMS = [(name, seed) for name in WORKLOADS if name != "finalizers" for seed in (1, 2)]


def passes(trace: Trace, collector: Collector, heap_bytes: int) -> bool:
    """Whether a trace runs to its end in a heap that does not grow."""
    run = replay(trace, Gc.CONSERVATIVE, collector=collector, heap_bytes=heap_bytes, limit_bytes=heap_bytes)
    return not run.out_of_memory


def block_counts(trace: Trace, collector: Collector) -> list[int]:
    """How many blocks a heap has, by its size in bytes."""
    geometry = Stage.of(trace, collector, Gc.CONSERVATIVE, trace.heap_bytes, None).geometry
    return [geometry.resized(size).end_block if size >= 64 else 0 for size in range(4 * trace.heap_bytes)]


@pytest.mark.parametrize(("name", "seed"), PROGRAMS)
@pytest.mark.share(1, in_ci=2)
def test_of_twenty_programs_it_is_what_trying_every_block_count_gives(name: str, seed: int) -> None:
    trace = generate(name, WorkloadOptions(heap_bytes=4 * KIB, steps=60, occupancy=0.3, seed=seed))
    for found in fit_trace(trace, scan=1000):
        collector = Collector(found.condition.partition(" ")[0])
        counts = block_counts(trace, collector)
        answers = {
            blocks: passes(trace, collector, counts.index(blocks))
            for blocks in sorted(set(counts) - {0})
            if blocks <= found.edge.tried[-1]
        }
        smallest = min(blocks for blocks, passed in answers.items() if passed)
        assert found.edge.smallest == smallest
        assert list(found.edge.failing_above) == [
            each for each, passed in answers.items() if not passed and each > smallest
        ]
        assert found.smallest_bytes == counts.index(smallest)


def test_what_stands_in_the_way_is_the_request_that_failed() -> None:
    made = TraceBuilder(4 * KIB)
    made.root(0, made.alloc(512))
    found = fit_trace(made.build(), [Collector.NEXT_FIT])[0]
    assert found.edge.smallest == 512 // 16
    assert found.obstacle[0].startswith("out of memory in step 0 (ALLOC ")
    assert "largest free run: 496 bytes" in found.obstacle


def test_another_collector_may_take_more_than_the_trace_has() -> None:
    """Best-fit's headers make each object a block larger here; that is a size, not a failure."""
    made = TraceBuilder(KIB)
    for slot in range(60):
        made.root(slot, made.alloc(16))
    found = {each.condition: each.edge.smallest for each in fit_trace(made.build())}
    assert found == {"next-fit conservative": 60, "best-fit-front conservative": 120, "best-fit-back conservative": 120}


def test_a_leaking_heap_has_no_blocks() -> None:
    with pytest.raises(LabError, match="a leaking heap has no blocks"):
        fit_trace(TraceBuilder(KIB).build(), gc=Gc.LEAKING)


# ---- modules ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def gofmt() -> Subject:
    return Subject(guests_modules.path("gofmt-0.4.9"), (str(SOURCE),), ("--seed=1",))


@pytest.mark.slow
def test_of_a_module_it_is_what_running_with_every_number_of_pages_gives(gofmt: Subject) -> None:
    told: list[Fit] = []
    found = fit(gofmt, told=told.append)
    assert told == list(found)
    assert [each.limit for each in found] == [Limit.HEAP, Limit.MEMORY]
    for each in found:
        limit = {
            pages: Condition.of({each.limit: pages * WASM_PAGE_BYTES}) for pages in range(1, each.edge.tried[-1] + 1)
        }
        outcomes = {pages: Workers().run(gofmt, condition) for pages, condition in limit.items()}
        passing = [pages for pages, outcome in outcomes.items() if outcome is not None and outcome.passed]
        assert each.edge.smallest == passing[0]
        assert each.edge.failing_above == ()
        assert each.smallest_bytes == passing[0] * WASM_PAGE_BYTES
        assert each.obstacle[0] == "out of memory"


def test_a_program_that_never_passes_is_said(gofmt: Subject) -> None:
    with pytest.raises(LabError, match=r"does not pass even without a smaller limit \(memory-limit=65536\)"):
        fit(gofmt, [Condition.of({"memory-limit": "64K"})], [Limit.HEAP])


def test_of_a_native_heap_nothing_is_known(gofmt: Subject) -> None:
    with pytest.raises(LabError, match="nothing is known of its heap"):
        fit(gofmt, [Condition.of({"gc": "native"})], [Limit.HEAP])


def test_a_module_that_is_not_there_is_said() -> None:
    with pytest.raises(InputError, match=r"none\.wasm: is not a file that can be read"):
        fit(Subject(Path("none.wasm")))
