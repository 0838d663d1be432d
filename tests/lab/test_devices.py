"""Devices and starts: a fixed size is tried as it is, and starts are those that trying all of them finds best."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import guests_modules
import project_files
from tinyheap.errors import ConditionError, InputError, LabError
from tinyheap.heap.collectors import Collector
from tinyheap.lab import (
    DEVICES,
    Condition,
    Limit,
    Start,
    Subject,
    better_starts,
    device_named,
    fit_device,
    fit_trace,
    fit_trace_device,
    start_of,
)
from tinyheap.traces.workloads import WorkloadOptions, generate
from tinyheap.units import KIB, WASM_PAGE_BYTES

SOURCE = project_files.ROOT / "examples" / "input" / "unformatted.go"


def doubled(pages: int, limit_pages: int) -> Start:
    """What doubling comes to, step by step."""
    most, steps = pages, 0
    while 2 * most <= limit_pages:
        most, steps = 2 * most, steps + 1
    return Start(pages, most, steps)


@given(st.integers(1, 400).flatmap(lambda limit: st.tuples(st.integers(1, limit), st.just(limit))))
def test_starts_are_those_that_trying_all_of_them_finds(sizes: tuple[int, int]) -> None:
    pages, limit_pages = sizes
    every = [doubled(each, limit_pages) for each in range(pages, limit_pages + 1)]
    assert start_of(pages, limit_pages) == every[0]
    best = {each.steps: each for each in every}  # of as many steps the largest ends highest
    expected = [every[0]]
    for start in sorted(best.values(), key=lambda each: each.pages):
        if start.most_pages > expected[-1].most_pages:
            expected.append(start)
    assert list(better_starts(pages, limit_pages)) == expected[1:]
    assert expected[-1].most_pages == limit_pages


def test_two_and_a_half_mebibytes_reach_eighty_of_a_hundred_and_twenty_eight() -> None:
    assert start_of(40, 2048) == Start(40, 1280, 5)
    assert better_starts(40, 2048) == (Start(64, 2048, 5),)
    assert better_starts(64, 2048) == ()


def test_every_board_has_a_heap_and_a_source() -> None:
    for device in DEVICES:
        assert 0 < device.heap_bytes < device.ram_bytes
        assert device.source.endswith(".ld")
        assert device_named(device.name) is device
    assert device_named("264KiB").heap_bytes == 264 * KIB


@pytest.mark.parametrize("text", ["", "pico3", "264 KB", "0"])
def test_what_is_no_device_is_refused(text: str) -> None:
    with pytest.raises(LabError, match=r"invalid device .*: expected microbit, .* or a size of RAM"):
        device_named(text)


@pytest.mark.slow
def test_a_trace_passes_on_a_device_exactly_where_its_heap_is_large_enough() -> None:
    trace = generate("lists", WorkloadOptions(heap_bytes=16 * KIB, steps=2000))
    smallest = {each.condition: each.smallest_bytes for each in fit_trace(trace, scan=300)}
    for size_bytes in {each for each in smallest.values() if each is not None}:
        for size in (size_bytes - 1, size_bytes):
            for found in fit_trace_device(trace, device_named(str(size))):
                needed = smallest[found.condition]
                assert needed is not None
                assert found.passed is (size >= needed)
                assert bool(found.obstacle) is not found.passed
                assert (found.limit, found.size_bytes) == (Limit.BLOCKS, size)


def test_on_a_board_the_stack_is_no_room_for_a_trace() -> None:
    trace = generate("lists", WorkloadOptions(heap_bytes=16 * KIB, steps=2000))
    (found,) = fit_trace_device(trace, device_named("microbit"), [Collector.NEXT_FIT])
    assert (found.size_bytes, found.passed) == (14 * KIB, True)


@pytest.mark.slow
def test_a_module_is_run_in_the_pages_that_a_device_has() -> None:
    subject = Subject(guests_modules.path("gofmt-0.4.9"), (str(SOURCE),), ("--seed=1",))
    (small,) = fit_device(subject, device_named("pico"))
    assert (small.limit, small.size_bytes, small.passed) == (Limit.MEMORY, 4 * WASM_PAGE_BYTES, False)
    assert [each.partition(":")[0] for each in small.obstacle] == [
        "out of memory",
        "asked for",
        "free",
        "largest free run",
    ]
    (large,) = fit_device(subject, device_named("511 KiB"))
    assert (large.size_bytes, large.passed, large.obstacle) == (7 * WASM_PAGE_BYTES, True, ())


def test_what_a_module_cannot_be_asked_is_refused() -> None:
    with pytest.raises(LabError, match=r"microbit has 16,384 bytes of RAM, less than a page .*: try a trace"):
        fit_device(Subject(Path("none.wasm")), device_named("microbit"))
    with pytest.raises(InputError, match=r"none\.wasm"):
        fit_device(Subject(Path("none.wasm")), device_named("pico"))


@pytest.mark.parametrize("name", ["memory-limit", "growth"])
def test_what_a_device_decides_is_refused_in_a_condition(name: str) -> None:
    condition = Condition.of({name: {"memory-limit": "64MiB", "growth": "double"}[name]})
    with pytest.raises(ConditionError, match=f"a device decides on {name}; leave it out"):
        fit_device(Subject(guests_modules.path("gofmt-0.4.9")), device_named("pico"), [condition])


def test_a_module_on_its_own_collector_grows_as_it_does() -> None:
    subject = Subject(guests_modules.path("gofmt-0.4.9"), (str(SOURCE),), ("--seed=1",))
    (found,) = fit_device(subject, device_named("pico2"), [Condition.of({"gc": "native"})])
    assert (found.condition, found.passed) == ("gc=native", True)
