"""Where survival begins: the smallest size in which something passes.

More memory is not always better.  A collection that comes a little later leaves other holes, and what fits into 61 blocks
may not fit into 62.  So there is no single edge, but a ragged zone: below it nothing passes, above it everything does.
Bisection finds some edge, a size that passes just above one that fails, which is never outside of that zone; a scan goes on
from there in both directions, each until so many sizes in a row have the same answer.  It finds the whole zone if no run of
equal answers within it is that long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True, slots=True)
class Stretch:
    """Sizes that follow each other and have the same answer."""

    first: int
    last: int
    passes: bool


@dataclass(frozen=True, slots=True)
class Edge:
    """Where survival begins, as far as sizes were tried."""

    smallest: int | None
    """The smallest size that passes; None where not even the largest does."""
    safe_from: int | None
    """The size from which all that were tried pass; above `smallest` where survival is not monotone."""
    failing_above: tuple[int, ...]
    """Sizes that fail although a smaller one passes, ascending."""
    tried: tuple[int, ...]
    """All sizes that were tried, ascending."""

    @property
    def answers(self) -> dict[int, bool]:
        """Whether it passes, by the sizes that were tried."""
        failing = {*self.failing_above}
        return {
            size: self.smallest is not None and size >= self.smallest and size not in failing for size in self.tried
        }

    @property
    def zone(self) -> tuple[Stretch, ...]:
        """The sizes around the smallest that passes, as far as none was left out; nothing where none passes."""
        if self.smallest is None:
            return ()
        answers = self.answers
        first = last = self.smallest
        while first - 1 in answers:
            first -= 1
        while last + 1 in answers:
            last += 1
        found = ([*sizes] for _, sizes in groupby(range(first, last + 1), answers.__getitem__))
        return tuple(Stretch(sizes[0], sizes[-1], answers[sizes[0]]) for sizes in found)


def find_edge(passes: Callable[[int], bool], low: int, high: int, scan: int) -> Edge:
    """Search for where survival begins among the sizes from `low` to `high`.

    Args:
        passes: Whether something passes in a size; asked once for each size, and always with the same answer.
        low: The smallest size, of whatever unit.
        high: The largest size, at least `low`.
        scan: After so many equal answers in a row the scan ends, from 1.
    """
    known: dict[int, bool] = {}

    def ask(size: int) -> bool:
        if size not in known:
            known[size] = passes(size)
        return known[size]

    if ask(high):
        edge = _bisect(ask, low - 1, high)
        _scan(ask, range(edge - 1, low - 1, -1), scan, until=False)
        _scan(ask, range(edge, high + 1), scan, until=True)
    return _edge(known)


def _bisect(ask: Callable[[int], bool], failing: int, passing: int) -> int:
    """A size that passes, just above one that fails; `failing` is one that does, or nothing, `passing` one that does."""
    while passing - failing > 1:
        middle = (failing + passing) // 2
        if ask(middle):
            passing = middle
        else:
            failing = middle
    return passing


def _scan(ask: Callable[[int], bool], sizes: Iterable[int], most: int, *, until: bool) -> None:
    """Ask for sizes until so many answers in a row are `until`."""
    equal = 0
    for size in sizes:
        equal = equal + 1 if ask(size) is until else 0
        if equal == most:
            return


def _edge(known: dict[int, bool]) -> Edge:
    passing = [size for size, passes in known.items() if passes]
    smallest = min(passing, default=None)
    above = (
        ()
        if smallest is None
        else tuple(sorted(size for size, passes in known.items() if not passes and size > smallest))
    )
    last_failing = max(above, default=-1)
    safe_from = min((size for size in passing if size > last_failing), default=None)
    return Edge(smallest, safe_from, above, tuple(sorted(known)))
