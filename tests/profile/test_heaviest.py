"""The heaviest sites, as a run names them at its end, are the first of all sites, and so are their statistics."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings

import needs
from recordings_made import make_recording
from small_recordings import Rows, opened, recordings
from tinyheap import profile
from tinyheap.errors import RecordingCorruptError
from tinyheap.profile.heaviest import Heaviest, heaviest
from tinyheap.profile.memory import last_fragmentation
from tinyheap.profile.stacks import StackTree
from tinyheap.recordings.recording import Recording
from tinyheap.recordings.row_types import GrowthRow, MemoryGrowthRow, MemoryRow, SampleRow

COUNT = 3


def check(recording: Recording, again: Recording) -> None:
    """Hold what is said of a recording against all of its sites, which are looked at in another connection."""
    found, usages = heaviest(recording, COUNT), profile.by_site(again).usages
    expected = sorted(usages, key=lambda each: (-each.own_bytes, each.name))[:COUNT]
    assert [
        (each.site, each.own_objects, each.own_bytes, each.own_bytes_error, each.trend) for each in found.sites
    ] == [(each.site, each.own_objects, each.own_bytes, each.own_bytes_error, each.trend) for each in expected]
    assert found.total_bytes == sum(each.own_bytes for each in usages)
    assert found.deepest == StackTree.of(again).deepest()


@settings(max_examples=12 if needs.IN_CI else 4)
@given(recordings())
@pytest.mark.slow
def test_the_first_of_all_sites(rows: Rows) -> None:
    with opened(rows) as recording:
        found = heaviest(recording, COUNT)
        check(recording, recording)
        assert heaviest(recording, COUNT) == found, "the same after all were looked at"


def test_of_a_file(tmp_path: Path) -> None:
    path = make_recording(tmp_path / "made.tinyheap", events=3000)
    with Recording.open(path) as recording, Recording.open(path) as again:
        check(recording, again)


def test_of_a_sample() -> None:
    rng, rows = random.Random(0), Rows(sample_bytes=512)
    stacks = [rows.path("_start", "main.main", name) for name in ("main.a", "main.b", "main.c", "main.d")]
    for _ in range(100):
        rows.allocate(rng.choice((8, 16, 100, 1000)), rng.choice(stacks))
    with opened(rows) as recording:
        check(recording, recording)
        assert all(each.own_bytes_error for each in heaviest(recording, COUNT).sites)


def test_where_nothing_was_allocated() -> None:
    with opened(Rows()) as recording:
        assert heaviest(recording, COUNT) == Heaviest(0, (), ())


@pytest.mark.parametrize(
    "stack",
    [
        (2, 2, 1, 2),
        (2, 3, 1, 2),
        (2, -1, 1, 2),
        (-5, 0, 1, 2),
        (2, 1, 9, 2),
        (2, 1, 0, 2),
        (2, 1, -1, 2),
        (1 << 30, 7, 1, 2),
    ],
)
def test_stacks_that_are_no_tree_are_refused(stack: tuple[int, int, int, int]) -> None:
    rows = Rows()
    rows.allocate(8, rows.path("main.main"))
    rows.stacks.append(stack)
    with opened(rows) as recording, pytest.raises(RecordingCorruptError, match="is damaged: a stack has a parent or a"):
        heaviest(recording, COUNT)


@pytest.mark.parametrize("largest_bytes", [256, 512])
def test_the_last_fragmentation_is_that_of_linear_memory(largest_bytes: int) -> None:
    rows = Rows()
    rows.memories = [MemoryRow(2, None, None)]
    stack = rows.path("ask", "hold")
    rows.samples = [SampleRow(9, 0, 1 << 17, 512, 2048, 8, largest_bytes, 4, 0, 0, 0)]
    rows.memory_growths = [
        MemoryGrowthRow(10, 0, "collector", 2, 2, 4, None, stack),
        MemoryGrowthRow(20, 3, "program", 4, 1, 5, None, stack),
    ]
    rows.growths = [GrowthRow(11, 0, 1 << 17, 1 << 18, 512)]
    with opened(rows) as recording:
        found, memory = last_fragmentation(recording), profile.linear_memory(recording)
        assert isinstance(memory, profile.LinearMemory)
        assert found == memory.last_fragmentation
        assert found == (memory.growths[0] if largest_bytes == 256 else None)
