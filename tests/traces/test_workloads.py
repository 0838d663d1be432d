"""Workloads: the same each time, sound, and as full as they were asked to be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tinyheap.errors import TraceError
from tinyheap.heap.collectors import Collector
from tinyheap.traces.replay import replay
from tinyheap.traces.trace import Op
from tinyheap.traces.workloads import WORKLOADS, WorkloadOptions, generate
from tinyheap.units import KIB

SMALL = WorkloadOptions(heap_bytes=32 * KIB, steps=3000)
FAITHFUL_WORDS = 8


PLAIN = [name for name, workload in WORKLOADS.items() if not workload.has_finalizers]
"""What every collector runs."""


@pytest.mark.parametrize("word_bytes", [2, 4, 8])
@pytest.mark.parametrize("name", PLAIN)
def test_programs_are_sound_and_run_under_both_scanners(name: str, word_bytes: int) -> None:
    program = generate(name, replace(SMALL, word_bytes=word_bytes, precise=True, header_alignment_bytes=8))
    program.check()
    for gc in ("conservative", "precise"):
        assert not replay(program, gc, hashes=False).out_of_memory


@pytest.mark.parametrize("name", WORKLOADS)
def test_programs_go_by_their_options_alone(name: str) -> None:
    program = generate(name, SMALL)
    assert generate(name, SMALL) == program
    assert generate(name, replace(SMALL, seed=2)) != program


@pytest.mark.parametrize("precise", [False, True])
@pytest.mark.parametrize("occupancy", [0.3, 0.6])
@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.share(8)
def test_the_occupancy_is_reached_and_held(name: str, occupancy: float, precise: bool) -> None:
    options = WorkloadOptions(heap_bytes=256 * KIB, steps=60_000, occupancy=occupancy, precise=precise)
    played = replay(generate(name, options), "precise" if precise else "conservative", hashes=False)
    assert played.collections, "the heap was never full"
    used = [1 - row.free_blocks / played.geometry.end_block for row in played.collections]
    # Objects may be as large as a 16th of the spare room; conservative scans keep a little more.
    slack = 0.12 if name == "arrays" else 0.06
    assert occupancy - slack <= min(used)
    assert max(used) <= occupancy + slack


def test_steps_count_from_where_the_live_data_stands() -> None:
    built_up = generate("chains", replace(SMALL, steps=0)).step_count
    assert generate("chains", replace(SMALL, steps=500)).step_count == built_up + 500


def test_overflow_has_the_bounded_mark_stack_rescan_once_for_each_wide_node() -> None:
    options = WorkloadOptions(heap_bytes=256 * KIB, steps=30_000)
    bounded = replay(generate("overflow", options), mark_stack_entries=FAITHFUL_WORDS * options.word_bytes)
    assert min(row.rescans for row in bounded.collections) >= 16


@pytest.mark.parametrize("name", ["mixed", "trees", "chains", "arrays", "fragment"])
def test_other_workloads_do_not_overflow_it(name: str) -> None:
    options = WorkloadOptions(heap_bytes=256 * KIB, steps=30_000)
    bounded = replay(generate(name, options), mark_stack_entries=FAITHFUL_WORDS * options.word_bytes)
    assert not sum(row.overflows for row in bounded.collections)


def test_arrays_hold_no_pointers_and_are_4_to_64_kib() -> None:
    program = generate("arrays", WorkloadOptions(heap_bytes=16 * 1024 * KIB, steps=2000))
    sizes = [program.step(i)[2] for i in range(program.step_count) if program.step(i)[0] == Op.ALLOC]
    arrays = [size for size in sizes if size >= 4 * KIB]
    assert len(arrays) > len(sizes) * 9 // 10
    assert min(arrays) < 5 * KIB
    assert 40 * KIB < max(arrays) <= 64 * KIB


def test_progress_is_told_in_steps() -> None:
    told: list[int] = []
    program = generate("trees", replace(SMALL, steps=100_000), told.append)
    assert told == sorted(told)
    assert len(told) >= 5
    assert told[-1] <= program.step_count


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (WorkloadOptions(heap_bytes=1024), "too small"),
        (WorkloadOptions(heap_bytes=64 * KIB, word_bytes=2), "2-byte words address less than 64 KiB"),
        (WorkloadOptions(word_bytes=3), "invalid word size 3"),
        (WorkloadOptions(heap_bytes=32 * KIB, limit_bytes=16 * KIB), "below the initial heap"),
    ],
)
def test_options_that_make_no_program(options: WorkloadOptions, words: str) -> None:
    with pytest.raises(TraceError, match=words):
        generate("mixed", options)


@pytest.mark.parametrize("occupancy", [0.0, 1.0, float("nan")])
def test_an_occupancy_out_of_range(occupancy: float) -> None:
    with pytest.raises(TraceError, match=r"invalid occupancy .*: expected"):
        WorkloadOptions(occupancy=occupancy)


def test_steps_out_of_range() -> None:
    with pytest.raises(TraceError, match="invalid steps -1: expected 0 to"):
        WorkloadOptions(steps=-1)


def test_an_unknown_workload_names_the_known_ones() -> None:
    with pytest.raises(TraceError, match=r"'forest'.*trees, lists"):
        generate("forest", SMALL)


BEST_FIT = replace(SMALL, steps=1500, precise=True, header_alignment_bytes=16, collector=Collector.BEST_FIT_BACK)


@pytest.mark.parametrize("collector", [Collector.BEST_FIT_FRONT, Collector.BEST_FIT_BACK])
@pytest.mark.parametrize("name", ["lengths", "walks", "equals", "mixed", "trees"])
@pytest.mark.share(3)
def test_the_occupancy_is_that_of_the_collector_whose_headers_count(name: str, collector: Collector) -> None:
    played = replay(generate(name, replace(BEST_FIT, collector=collector)), "precise", "model", collector=collector)
    assert not played.out_of_memory
    used = [1 - row.free_blocks / played.geometry.end_block for row in played.collections]
    assert used, "the heap was never full"
    assert 0.42 <= min(used) <= max(used) <= 0.58


def ranges_of(name: str) -> list[int]:
    """The lengths of the ranges on the free list at the end."""
    played = replay(generate(name, BEST_FIT), "precise", "model", collector=BEST_FIT.collector)
    return [blocks for _, blocks in played.ranges]


@pytest.mark.slow
def test_free_lists_of_many_lengths_and_of_one() -> None:
    walked = ranges_of("walks")
    assert set(walked) >= set(range(1, 21))
    equal = ranges_of("equals")
    assert max(map(equal.count, equal)) > 100


@pytest.mark.parametrize("scheduler", [False, True])
def test_finalizers_are_set_cleared_and_run(scheduler: bool) -> None:
    program = generate("finalizers", replace(BEST_FIT, steps=4000, scheduler=scheduler))
    program.check()
    played = replay(program, "precise", "model", collector=BEST_FIT.collector)
    record = played.finalizers
    assert record is not None
    assert not played.out_of_memory
    assert len(record.ran) > 100
    assert program.has_scheduler == scheduler
    assert (Op.RUN_FINALIZERS in program.ops[::4]) == (Op.IDLE in program.ops[::4]) == scheduler
    with pytest.raises(TraceError, match="the collector has no finalizers; replay this trace on best-fit-back"):
        replay(program)
