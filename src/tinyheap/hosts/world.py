"""The clock and random numbers of a program: real, or made from a seed.

A program that reads the real clock is not repeatable.  `SeededWorld` depends on its seed and on earlier requests
only: a clock that starts at a fixed moment and advances by a fixed step each time it is read (so that a loop
that waits for time to pass ends), sleep that takes no time, and a seeded generator.
"""

from __future__ import annotations

import os
import time
from typing import Protocol

START_NS = 1_000_000_000 * 1_000_000_000
"""The moment at which a seeded world begins, in nanoseconds since 1970: 2001-09-09 01:46:40 UTC."""

STEP_NS = 1_000
"""Nanoseconds that pass in a seeded world each time that a clock is read."""


class World(Protocol):
    """The clocks and the randomness that all of one program's imports share."""

    @property
    def repeatable(self) -> bool:
        """Whether a second run sees the same world."""
        ...

    def wall_ns(self) -> int:
        """Nanoseconds since 1970, UTC."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds since some fixed moment, never fewer than before."""
        ...

    def sleep(self, duration_ns: int) -> None:
        """Let ``duration_ns`` nanoseconds pass."""
        ...

    def random_bytes(self, count: int) -> bytes:
        """``count`` random bytes."""
        ...

    def minutes_behind_utc(self) -> int:
        """Minutes to add to local time to get UTC, as JavaScript's getTimezoneOffset counts them."""
        ...


class RealWorld:
    """This machine's clocks, and randomness from its operating system."""

    repeatable = False

    def wall_ns(self) -> int:
        """Nanoseconds since 1970, UTC."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """Nanoseconds since some fixed moment."""
        return time.monotonic_ns()

    def sleep(self, duration_ns: int) -> None:
        """Wait for ``duration_ns`` nanoseconds."""
        time.sleep(duration_ns / 1e9)

    def random_bytes(self, count: int) -> bytes:
        """``count`` bytes from the operating system."""
        return os.urandom(count)

    def minutes_behind_utc(self) -> int:
        """Minutes to add to local time to get UTC."""
        return -(time.localtime().tm_gmtoff // 60)


class SeededWorld:
    """A world that follows from ``seed`` alone.

    Args:
        seed: Any integer.  It chooses the random bytes; the clock is the same for every seed.
    """

    repeatable = True

    def __init__(self, seed: int) -> None:
        # Programs in the real world start sooner without it.
        import random

        self._elapsed_ns = 0
        self._random = random.Random(seed)

    def wall_ns(self) -> int:
        """Nanoseconds since 1970, UTC; a step later each time."""
        return START_NS + self.monotonic_ns()

    def monotonic_ns(self) -> int:
        """Nanoseconds since the world began; a step later each time."""
        self._elapsed_ns += STEP_NS
        return self._elapsed_ns

    def sleep(self, duration_ns: int) -> None:
        """Move the clock on by ``duration_ns`` nanoseconds, at once."""
        self._elapsed_ns += duration_ns

    def random_bytes(self, count: int) -> bytes:
        """The next ``count`` bytes of the seed's sequence."""
        return self._random.randbytes(count)

    def minutes_behind_utc(self) -> int:
        """Always 0: a seeded world lives in UTC."""
        return 0


def world_of(seed: int | None) -> World:
    """The real world for None, else the world of that seed."""
    return RealWorld() if seed is None else SeededWorld(seed)
