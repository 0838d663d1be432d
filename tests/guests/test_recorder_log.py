"""The compiled event log by itself: its buffers, its stacks, and which objects of a block table it finds freed."""

from __future__ import annotations

import ctypes
import random

import numpy as np
import pytest

from tinyheap.guests.record._recorder import EventLog
from tinyheap.recordings.batch import DEATH, EVENT, INFERRED_DEATH, STACK

HEAD, TAIL, MARK = 1, 2, 3
NEVER_NS = 1 << 60


class Owner:
    """Takes what a log hands over."""

    def __init__(self) -> None:
        self.log = EventLog(self)
        self.events = np.empty(0, EVENT)
        self.stacks = np.empty(0, STACK)
        self.deaths = np.empty(0, DEATH)
        self.flushed = self.woken = 0

    def _flush(self) -> None:
        self.flushed += 1
        self.take()

    def _wake(self) -> int:
        self.woken += 1
        return NEVER_NS

    def take(self) -> None:
        events, event_count, stacks, stack_count, deaths = self.log.take()
        self.events = np.concatenate([self.events, np.frombuffer(events, EVENT, event_count)])
        self.stacks = np.concatenate([self.stacks, np.frombuffer(stacks, STACK, stack_count)])
        self.deaths = np.concatenate([self.deaths, np.frombuffer(deaths, DEATH)])


class Shadow:
    """A shadow stack's memory: a pointer, then entries of a site and what the log puts there."""

    def __init__(self, log: EventLog) -> None:
        self.words = (ctypes.c_uint32 * 4096)()
        log.attach(ctypes.addressof(self.words))

    def call(self, *sites: int) -> None:
        """Let these sites be what is being called, as if each had just been written."""
        self.words[0] = 8 * len(sites)
        for place, site in enumerate(sites, 1):
            self.words[2 * place], self.words[2 * place + 1] = site, 0

    def call_at(self, depth: int, site: int) -> None:
        """Make one call at a depth, with those further out left as they are."""
        self.words[0] = 8 * (depth + 1)
        self.words[2 * depth + 2], self.words[2 * depth + 3] = site, 0


def paths(owner: Owner) -> dict[int, tuple[int, ...]]:
    """The sites of each stack."""
    found: dict[int, tuple[int, ...]] = {0: ()}
    for number, parent, site, depth in owner.stacks.tolist():
        found[number] = (*found[parent], site)
        assert len(found[number]) == depth
    return found


def test_full_buffers_are_handed_over_whole_and_in_order() -> None:
    owner = Owner()
    owner.log.begin_heap(0, 4)
    for number in range(200_000):
        assert owner.log.note_event(0, 16 * number, 16, 5)
    owner.take()
    assert owner.flushed >= 3
    assert owner.woken == 1
    assert np.array_equal(owner.events["object_id"], np.arange(1, 200_001))
    assert np.array_equal(owner.events["address"], 16 * np.arange(200_000))
    assert (owner.log.events, owner.log.objects) == (200_000, 200_000)


@pytest.mark.parametrize("seed", range(3))
def test_stacks_are_interned_whatever_was_looked_up_before(seed: int) -> None:
    rng, owner = random.Random(seed), Owner()
    shadow, expected = Shadow(owner.log), []
    path: list[int] = []
    for _ in range(30_000):
        depth = rng.randrange(min(len(path), 40) + 1)
        for at, site in enumerate(rng.choices((1, 2, 3, 1 << 20), k=rng.randrange(1, 4)), depth):
            shadow.call_at(at, site)
            path[at:] = [site]
        owner.log.note_event(0, 1024, 8, 0)
        expected.append(tuple(path))
    owner.take()
    found = paths(owner)
    assert [found[stack] for stack in owner.events["stack_id"].tolist()] == expected
    # Each is there once.
    assert len(set(found.values())) == len(found) > 8192


def test_a_log_without_a_shadow_stack_knows_no_stacks() -> None:
    owner = Owner()
    owner.log.note_event(0, 1024, 8, 0)
    assert owner.log.stack() == 0
    owner.take()
    assert owner.events["stack_id"].tolist() == [0]


@pytest.mark.parametrize("blocks", [1, 31, 32, 33, 64, 1000, 4099])
def test_the_dead_are_the_heads_without_a_mark(blocks: int) -> None:
    rng, owner = random.Random(blocks), Owner()
    owner.log.begin_heap(1 << 16, 4)
    states = [rng.choice((0, HEAD, TAIL, MARK)) for _ in range(blocks)]
    born = [block for block in range(blocks) if states[block] in (HEAD, MARK)]
    for block in born:
        owner.log.note_event(0, (1 << 16) + 16 * block, 16, 0)
    table = bytearray(-(-blocks // 4))
    for block, state in enumerate(states):
        table[block // 4] |= state << 2 * (block % 4)
    # Whatever lies behind the table is not looked at.
    memory = (ctypes.c_ubyte * (len(table) + 16))(*table, *b"\x55" * 16)
    count = owner.log.note_deaths(ctypes.addressof(memory), blocks, 7)
    owner.take()
    dead = [number for number, block in enumerate(born, 1) if states[block] == HEAD]
    assert owner.deaths["object_id"].tolist() == dead
    assert count == len(dead)
    assert set(owner.deaths["collection"].tolist()) <= {7}
    # Nobody dies twice.
    assert owner.log.note_deaths(ctypes.addressof(memory), blocks, 8) == 0


def test_what_is_stopped_lets_the_guest_go_on_and_what_failed_does_not() -> None:
    for end, goes_on in (("stop", True), ("fail", False)):
        owner = Owner()
        assert owner.log.note_event(0, 1024, 8, 0)
        getattr(owner.log, end)()
        assert owner.log.note_event(0, 1040, 8, 0) is goes_on
        assert owner.log.events == 1


class Sleepless(Owner):
    """Wants to be woken at each event."""

    def _wake(self) -> int:
        self.woken += 1
        return 0


def test_the_owner_says_when_it_is_woken() -> None:
    owner = Sleepless()
    for _ in range(5):
        owner.log.note_event(0, 1024, 8, 0)
    assert owner.woken == 5


# ---- deaths that are inferred --------------------------------------------------------------------------------------------


class Inferring(Owner):
    """Owns a log that infers deaths."""

    def __init__(self) -> None:
        super().__init__()
        self.log.infer_deaths()
        self.log.begin_heap(0, 3)
        self.inferred: list[tuple[int, int]] = []

    def take(self) -> None:
        *_, deaths = self.log.take()
        self.inferred += np.frombuffer(deaths, INFERRED_DEATH).tolist()

    def note(self, kind: int, address: int, size_bytes: int) -> None:
        assert self.log.note_event(kind, address, size_bytes, 0)


@pytest.mark.parametrize("seed", range(6))
def test_who_loses_bytes_to_another_was_dead(seed: int) -> None:
    """Held against a list of extents, gone through at each event."""
    rng, owner = random.Random(seed), Inferring()
    alive: dict[int, tuple[int, int]] = {}
    expected, objects = set(), 0
    for event in range(1, 5000):
        kind, address, size_bytes = rng.choice((0, 0, 0, 1, 2)), 8 * rng.randrange(900), rng.randrange(120)
        if kind != 0 and alive and rng.randrange(4):
            address = rng.choice(list(alive.values()))[0]
        owner.note(kind, address, size_bytes)
        end = address + -(-size_bytes // 8) * 8
        if kind == 0 and size_bytes:
            dead = [number for number, (first, last) in alive.items() if first < end and address < last]
        else:
            dead = [number for number, (first, _) in alive.items() if first == address]
        for number in dead:
            if kind == 1:
                first, last = alive[number]
                alive[number] = first, min(last, max(end, first))
                if end == first:
                    del alive[number]
            elif kind == 2 or size_bytes:
                del alive[number]
                expected.add((number, event))
        if kind == 0 and size_bytes:
            objects += 1
            alive[objects] = address, end
    owner.take()
    assert len(owner.inferred) == len(set(owner.inferred))
    assert set(owner.inferred) == expected
    assert len(expected) > 2000


def test_a_buffer_of_events_brings_the_deaths_that_they_show() -> None:
    owner = Inferring()
    for _ in range(70_000):
        owner.note(0, 4096, 16)
    assert owner.flushed == 1
    assert owner.inferred[-1] == (65_535, 65_536)
    owner.take()
    assert owner.inferred == [(number, number + 1) for number in range(1, 70_000)]


def test_looking_an_object_up_leaves_it_alive() -> None:
    owner = Inferring()
    owner.note(0, 64, 40)
    assert [owner.log.object_at(address) for address in (56, 64, 72, 96, 104)] == [0, 1, 0, 0, 0]
    owner.note(2, 72, 0)
    owner.take()
    assert owner.inferred == []
