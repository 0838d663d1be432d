"""Which initial memory ends best under a limit, where memory doubles whenever it is full.

TinyGo's collector doubles a program's memory; a step that would be over the limit is refused, and what is between the last
step and the limit is never used.  A start of 2.5 MiB goes by 5, 10, 20, 40 to 80 MiB, and ends there under a limit of 128 MiB;
one of 4 MiB ends at all of it.  The linker sets the start (``--initial-memory``), to no less than the program needs.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Start:
    """An initial memory, and how far it gets."""

    pages: int
    """Of 64 KiB, at the beginning."""
    most_pages: int
    """After the last step that the limit allows."""
    steps: int
    """How often it doubles until then."""


def start_of(pages: int, limit_pages: int) -> Start:
    """How far a memory of `pages` gets under a limit: both 1 or more, and the limit no less."""
    steps = (limit_pages // pages).bit_length() - 1
    return Start(pages, pages << steps, steps)


def better_starts(pages: int, limit_pages: int) -> tuple[Start, ...]:
    """For each number of steps the start that ends highest, where it is above `pages` and ends higher than that, ascending.

    Each ends higher than the one before, and the last at the limit; there is none where `pages` ends there.

    Args:
        pages: The initial memory, 1 or more.
        limit_pages: What memory may grow to, no less.
    """
    best = start_of(pages, limit_pages)
    found = []
    for steps in range(best.steps, -1, -1):
        start = start_of(limit_pages >> steps, limit_pages)
        if start.pages > pages and start.most_pages > best.most_pages:
            found.append(start)
            best = start
    return tuple(found)
