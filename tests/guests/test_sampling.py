"""A sample has each object with the probability that its size says, all that happens to it, and nothing else."""

from __future__ import annotations

import random
from math import exp, sqrt
from typing import TYPE_CHECKING

import numpy as np
import pytest

from guests import texts
from guests.recorded import Kept
from guests.test_recorder import record
from tinyheap.errors import RecordingError
from tinyheap.guests.record._recorder import EventLog
from tinyheap.guests.record.recorder import Recorder
from tinyheap.recordings.batch import EVENT, INFERRED_DEATH
from tinyheap.recordings.schema import EventKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

NEVER_NS = 1 << 60
SIGMAS = 4.5
"""By chance, so far off is one of 150,000; seeds are fixed, so that a test that passes does so again."""

Step = tuple[int, int, int]
"""Kind, address and size of what a program asks for."""


class Log:
    """A log that keeps everything; each event's layout is the number of its step."""

    def __init__(self, mean_bytes: int | None = None, seed: int = 0, *, infers: bool = False) -> None:
        self.log = EventLog(self)
        self.log.begin_heap(0, 3)
        self.events, self.deaths = np.empty(0, EVENT), np.empty(0, INFERRED_DEATH)
        if infers:
            self.log.infer_deaths()
        if mean_bytes is not None:
            self.log.sample(mean_bytes, seed)

    def _flush(self) -> None:
        events, event_count, _, _, deaths = self.log.take()
        self.events = np.concatenate([self.events, np.frombuffer(events, EVENT, event_count)])
        self.deaths = np.concatenate([self.deaths, np.frombuffer(deaths, INFERRED_DEATH)])

    def _wake(self) -> int:
        return NEVER_NS

    def run(self, steps: Iterable[Step]) -> Log:
        for number, (kind, address, size_bytes) in enumerate(steps):
            assert self.log.note_event(kind, address, size_bytes, number)
        self._flush()
        return self

    @property
    def births(self) -> NDArray[np.void]:
        """The events that made objects."""
        found: NDArray[np.void] = self.events[(self.events["kind"] == EventKind.ALLOCATION)]
        return found

    def deaths_by_step(self) -> dict[int, int]:
        """For the step of each object's birth, the step by which it was dead."""
        born = dict(zip(self.births["object_id"].tolist(), self.births["layout"].tolist(), strict=True))
        steps = self.events["layout"].tolist()
        return {born[number]: steps[event - 1] for number, event in self.deaths.tolist()}


def sizes_of(steps: list[Step]) -> list[int]:
    return [size_bytes for _, _, size_bytes in steps]


def weights(sizes: NDArray[np.void] | NDArray[np.float64], mean_bytes: int) -> NDArray[np.float64]:
    """How many objects each stands for."""
    found: NDArray[np.float64] = -1 / np.expm1(-sizes.astype(np.float64) / mean_bytes)
    return found


@pytest.mark.parametrize("mean_bytes", [1, 700, 65536])
def test_each_size_is_chosen_as_often_as_it_should_be(mean_bytes: int) -> None:
    rng = random.Random(mean_bytes)
    sizes = [1, 16, 700, 5000, 200_000]
    steps = [(0, 8 * number, rng.choice(sizes)) for number in range(60_000)]
    chosen = Log(mean_bytes, 7).run(steps).births["size_bytes"].tolist()
    for size_bytes in sizes:
        count, p = sizes_of(steps).count(size_bytes), 1 - exp(-size_bytes / mean_bytes)
        assert abs(chosen.count(size_bytes) - count * p) <= SIGMAS * sqrt(count * p * (1 - p)) + 1e-6


def test_whether_one_is_chosen_says_nothing_of_the_next() -> None:
    steps = [(0, 8 * number, 300) for number in range(100_000)]
    chosen = np.zeros(len(steps), bool)
    chosen[Log(1000, 3).run(steps).births["layout"].astype(int)] = True
    p = 1 - exp(-0.3)
    behind = chosen[1:][chosen[:-1]]
    assert abs(behind.mean() - p) <= SIGMAS * sqrt(p * (1 - p) / len(behind))


def test_a_seed_makes_the_same_sample_again_and_another_another() -> None:
    steps = [(0, 8 * number, 24) for number in range(20_000)]
    first, again, other = (Log(500, seed).run(steps).births["layout"].tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert len(first) > 500


def test_objects_are_numbered_and_nothing_without_bytes_is_noted() -> None:
    steps = [(0, 8 * number, number % 3) for number in range(3000)]
    births = Log(2, 1).run(steps).births
    assert births["object_id"].tolist() == list(range(1, len(births) + 1))
    assert set(births["size_bytes"].tolist()) == {1, 2}


@pytest.mark.parametrize("seed", range(5))
def test_deaths_of_the_chosen_are_those_of_the_whole_run(seed: int) -> None:
    rng, steps = random.Random(seed), []
    for _ in range(20_000):
        kind = rng.choices((EventKind.ALLOCATION, EventKind.REALLOCATION, EventKind.FREE), (8, 1, 1))[0]
        size_bytes = 0 if kind == EventKind.FREE else rng.choice((0, 1, 8, 24, 200))
        steps.append((int(kind), 8 * rng.randrange(1, 3000), size_bytes))
    whole, sample = Log(infers=True).run(steps), Log(64, seed, infers=True).run(steps)
    chosen = set(sample.births["layout"].tolist())
    expected = {birth: death for birth, death in whole.deaths_by_step().items() if birth in chosen}
    assert sample.deaths_by_step() == expected
    assert len(expected) > 500
    reused = sample.events[sample.events["kind"] == EventKind.REUSE]
    assert len(reused) > 100
    # It tells of a death, or it would not be there.
    assert set(reused["layout"].tolist()) <= set(expected.values())
    asked = sample.events[sample.events["kind"] % EventKind.REUSE > EventKind.ALLOCATION]
    assert asked["object_id"].all()


@pytest.mark.slow
def test_estimates_are_unbiased_and_as_far_off_as_their_errors_say() -> None:
    kept, _, _ = record("gofmt-0.4.9", texts.kinds("gofmt-0.4.9")["small"])
    mean_bytes, runs = 2048, 150
    sizes = kept.allocations["size_bytes"]
    steps = [(0, 8 * number, size_bytes) for number, size_bytes in enumerate(sizes.tolist())]
    busiest = np.bincount(kept.allocations["stack_id"]).argmax()
    is_own = kept.allocations["stack_id"] == busiest
    for selected in (np.ones(len(sizes), bool), is_own):
        exact = float(sizes[selected].sum()), float(np.count_nonzero(sizes[selected]))
        found = np.array([estimates(steps, selected, mean_bytes, seed) for seed in range(runs)])
        for at, truth in enumerate(exact):
            values, variances = found[:, 2 * at], found[:, 2 * at + 1]
            error = values.std(ddof=1) / sqrt(runs)
            assert abs(values.mean() - truth) <= SIGMAS * error
            # What is said of the error is the spread that there is.
            assert 0.6 < variances.mean() / values.var(ddof=1) < 1.6


def estimates(
    steps: list[Step], selected: NDArray[np.bool_], mean_bytes: int, seed: int
) -> tuple[float, float, float, float]:
    """Bytes and objects of some of a run's allocations, by a sample, each with its variance."""
    births = Log(mean_bytes, seed).run(steps).births
    sizes = births["size_bytes"][selected[births["layout"].astype(int)]].astype(np.float64)
    weight = weights(sizes, mean_bytes)
    spread = weight * (weight - 1)
    return float((sizes * weight).sum()), float((sizes**2 * spread).sum()), float(weight.sum()), float(spread.sum())


@pytest.mark.parametrize("gc", ["default", "native"])
@pytest.mark.share(1)
def test_a_sampled_run_is_the_sample_of_the_whole_run(gc: str) -> None:
    text = texts.kinds("gofmt-0.4.9")["medium"]
    sample = Kept()
    sample.recorder = Recorder(sample._open, sample_bytes=1000, sample_seed=5)
    (whole, memory, said), (_, sampled_memory, sampled_said) = (
        record("gofmt-0.4.9", text, gc=gc, kept=kept, times=3) for kept in (Kept(), sample)
    )
    assert (said, memory) == (sampled_said, sampled_memory)
    steps = [(0, 8 * number, size_bytes) for number, size_bytes in enumerate(whole.allocations["size_bytes"].tolist())]
    chosen = Log(1000, 5).run(steps).births["layout"].astype(int)
    births = whole.allocations[chosen]
    assert len(births) > 100
    for column in ("address", "size_bytes", "layout"):
        assert np.array_equal(sample.allocations[column], births[column])
    paths = [
        [each.path(stack) for stack in rows["stack_id"].tolist()]
        for each, rows in ((whole, births), (sample, sample.allocations))
    ]
    assert paths[0] == paths[1]
    number = {old: new for new, old in enumerate(births["object_id"].tolist(), 1)}
    deaths = {number[old]: collection for old, collection in whole.deaths.tolist() if old in number}
    assert dict(sample.deaths.tolist()) == deaths
    assert bool(deaths) == (gc == "default")
    assert {number[old] for old in whole.inferred_deaths["object_id"].tolist() if old in number} == set(
        sample.inferred_deaths["object_id"].tolist()
    )
    assert [each.freed_objects for each in sample.collections] == [each.freed_objects for each in whole.collections]


@pytest.mark.parametrize(
    ("mean_bytes", "seed", "words"),
    [
        (0, 0, "invalid sample_bytes 0: expected a whole number from 1 to 2,147,483,648"),
        ((1 << 31) + 1, 0, "invalid sample_bytes 2147483649"),
        (1.5, 0, "invalid sample_bytes 1.5"),
        (True, 0, "invalid sample_bytes True"),
        (1, -1, "invalid sample_seed -1"),
        (1, 1 << 64, "invalid sample_seed 18446744073709551616"),
    ],
)
def test_a_sample_that_cannot_be_is_refused(mean_bytes: int, seed: int, words: str) -> None:
    with pytest.raises(RecordingError, match=words):
        Recorder.to_file("never.tinyheap", sample_bytes=mean_bytes, sample_seed=seed)
