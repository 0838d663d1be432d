"""Recordings whose deaths are inferred, and what lives in them by a plain loop."""

from __future__ import annotations

import random

from small_recordings import Birth, Rows


def made(seed: int = 0, count: int = 200) -> tuple[Rows, list[tuple[Birth, int | None]]]:
    """A recording with objects of which some were dead by an event, and that event of each."""
    rng, rows = random.Random(seed), Rows(source="injected", collector="best-fit, precise")
    stacks = [rows.path("_start", "main.main", name) for name in ("main.load", "main.parse", "runtime.sliceAppend")]
    alive: list[Birth] = []
    dead_by: dict[int, int] = {}
    for _ in range(count):
        birth = rows.allocate(8 * rng.randrange(1, 40), rng.choice(stacks))
        for lost in rng.sample(alive, min(len(alive), rng.choice((0, 0, 1, 3)))):
            alive.remove(lost)
            dead_by[lost.object_id] = birth.event_id
        alive.append(birth)
    rows.inferred_deaths = list(dead_by.items())
    return rows, [(birth, dead_by.get(birth.object_id)) for birth in rows.births]


def living(lives: list[tuple[Birth, int | None]], event_id: int) -> list[Birth]:
    return [birth for birth, dead in lives if birth.event_id <= event_id and (dead is None or event_id < dead)]
