"""Leak suspects: sites whose live bytes grow from collection to collection.

What lives right after a collection is what the program still holds (and what the collector wrongly holds for it).  For
each allocation site this is a series, one value per collection.  A cache or a table that has been filled stays where it
is; a leak grows.  A program also grows as it starts, so only the *later* half of the collections counts, and there must be
at least `FEWEST_COLLECTIONS`: a run that ends while it still builds up its data looks like nothing but leaks.

Of the series over the later collections three things are asked.  *How steadily does it grow?* Kendall's tau: of all pairs
of collections, the share in which the later one has more, less the share in which it has less; 1 if it only ever grows,
about 0 for ups and downs.  *How fast?* The Theil-Sen slope: the median of the slopes of all pairs, which no single
outlier moves.  A site is a suspect if it grows steadily (tau at least `STEADY`); if what it grows by over the later
collections is more than `MATERIAL` of what it had on average; and if it still grows: over the last quarter of all
collections the slope is at least `STILL` of what it is over the later half.

*Could it be chance?* A few values are nearly in order by chance for some of many sites.  So tau must be one that hardly comes
by chance: the probability that values in a random order have at least this tau, times the number of sites that vary over the
later collections (Bonferroni's correction), must not exceed `BY_CHANCE`.  The probability is exact, from the number of orders
of n different values with k pairs that fall (the Mahonian numbers); where some are equal, a tau that is asked for is no more
probable.  Where not even a rise of every value would be beyond chance, there are too few collections to tell.

Where collections were not observed but deaths inferred, turnovers stand for collections (`tinyheap.profile.live_steps`): what
grows is then what was never handed out again, and a suspect is only told of if that is a tenth of all growth, and of all that
lives.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import accumulate, combinations
from math import factorial
from statistics import fmean, median
from typing import TYPE_CHECKING, Final

from tinyheap.profile.census import CENSUS
from tinyheap.profile.live_steps import live_steps
from tinyheap.profile.result import Unknown, row
from tinyheap.profile.stacks import StackFrame, StackTree
from tinyheap.results import Result

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tinyheap.profile.live_steps import LiveSteps
    from tinyheap.recordings.recording import Recording

FEWEST_COLLECTIONS: Final = 10
"""With fewer no site is suspected, however few sites vary."""
BY_CHANCE: Final = Fraction(1, 20)
"""How probable it may be, at most, that chance alone makes any site of a run look as steady as a suspect."""
ROOM: Final = 2
"""Advice aims at so many times what is needed: a leak need not rise each time, and more sites may vary then."""
MOST_LATER: Final = 64
"""Of a longer series so many values, evenly spread, are looked at: pairs grow with the square."""
STEADY: Final = 0.7
MATERIAL: Final = 0.1
STILL: Final = 0.5
_NEVER_FREES: Final = "this heap never frees, so that a leak looks like everything else"


@dataclass(frozen=True, slots=True)
class LeakSuspect(Result):
    """A site whose live bytes grow from collection to collection."""

    site: StackFrame
    score: float
    """From 0 to 1: tau, times its share of all that steadily grew, or of `MATERIAL` of all that lived if that is more."""
    tau: float
    """How steadily it grows over the later collections."""
    slope_bytes: float
    """How many bytes it grows by from one collection to the next; or turnover, like what follows."""
    growth_bytes: float
    """What it grew by over the later collections: the slope times their number less one."""
    series_bytes: tuple[int, ...]
    """What lived after each collection, from the first on."""
    later: int
    """How many of these, from the end, were judged."""
    step: str = "collection"
    """What a step is; else ``turnover``."""

    @property
    def explanation(self) -> str:
        """Why it is a suspect, in a sentence."""
        return (
            f"{self.series_bytes[-self.later]:,} bytes lived {self.later - 1} {self.step}s before the last, "
            f"{self.series_bytes[-1]:,} after it: about {self.slope_bytes:,.0f} more each time"
        )


@dataclass(frozen=True, slots=True)
class LeakSuspects(Result):
    """The suspects, the highest score first."""

    collections: int
    """How many there were, or turnovers."""
    needed_collections: int
    """How many it takes, or turnovers, to tell growth from chance among the sites that vary; at least `FEWEST_COLLECTIONS`."""
    allocations: int
    """How many objects were allocated, at each of which there could be a collection."""
    suspects: tuple[LeakSuspect, ...]
    are_turnovers: bool = False
    """Whether deaths were inferred, and turnovers stand for collections; a suspect may be garbage then that nobody asks for."""

    @property
    def can_tell(self) -> bool:
        """Whether there were enough collections to see growth."""
        return self.collections >= self.needed_collections

    @property
    def enough_at(self) -> int | None:
        """The ``--gc-every`` that makes enough collections; None where too little is allocated for that, or they are unseen."""
        return None if self.are_turnovers else advised_every(self.allocations, self.needed_collections)


def leak_suspects(recording: Recording) -> LeakSuspects | Unknown:
    """The sites whose live bytes grow from collection to collection, or else from turnover to turnover.

    Unknown where neither collections were observed nor deaths inferred.
    """
    if recording.run.never_frees:
        return Unknown(_NEVER_FREES)
    steps = live_steps(recording)
    if isinstance(steps, Unknown):
        return steps
    (allocations,) = row(recording, f"SELECT coalesce(sum(objects), 0)::BIGINT FROM {CENSUS}")
    sites = varying_sites(steps.series.values())
    needed = needed_collections(sites)
    suspects = () if len(steps) < needed else _suspects(steps, StackTree.of(recording).frames, sites)
    return LeakSuspects(len(steps), needed, allocations, suspects, steps.are_turnovers)


def _suspects(steps: LiveSteps, frames: Mapping[int, StackFrame], sites: int) -> tuple[LeakSuspect, ...]:
    later, places = later_of(len(steps)), range(len(steps))
    grown = []
    for frame_id, series in steps.series.items():
        growth = growth_of(series, places, sites)
        if growth is not None:
            tau, slope_bytes = growth
            grown.append((frame_id, tau, slope_bytes, slope_bytes * (later - 1), series))
    live_bytes = sum(fmean(series[-later:]) for series in steps.series.values())
    all_growth_bytes = sum(growth_bytes for _, _, _, growth_bytes, _ in grown)
    whole_bytes = max(all_growth_bytes, MATERIAL * live_bytes)
    suspects = [
        LeakSuspect(
            site=frames[frame_id],
            score=tau * growth_bytes / whole_bytes,
            tau=tau,
            slope_bytes=slope_bytes,
            growth_bytes=growth_bytes,
            series_bytes=series,
            later=later,
            step="turnover" if steps.are_turnovers else "collection",
        )
        for frame_id, tau, slope_bytes, growth_bytes, series in grown
        if steps.is_told(growth_bytes, all_growth_bytes, live_bytes)
    ]
    return tuple(sorted(suspects, key=lambda each: (-each.score, each.site.id)))


def later_of(collections: int) -> int:
    """How many of the last collections are judged: half of them."""
    return -(-collections // 2)


def varying_sites(series: Iterable[Sequence[int]]) -> int:
    """Of how many series the later values are not all equal: so many sites may look steady by chance."""
    return sum(len(set(each[-later_of(len(each)) :])) > 1 for each in series)


def needed_collections(sites: int) -> int:
    """How many collections it takes for a rise of every later value to be beyond chance, where so many sites vary."""
    later = later_of(FEWEST_COLLECTIONS)
    while not is_beyond_chance(1, later, sites):
        later += 1
    return max(FEWEST_COLLECTIONS, 2 * later - 1)


def advised_every(allocations: int, needed: int) -> int | None:
    """The ``--gc-every`` by which so many allocations make `ROOM` times the collections needed; None for too few of them."""
    return allocations // (ROOM * needed) or None


def is_beyond_chance(tau: float, values: int, sites: int) -> bool:
    """Whether values in a random order hardly have at least this tau for any of so many sites."""
    return sites * chance_of(tau, values) <= BY_CHANCE


def chance_of(tau: float, values: int) -> Fraction:
    """The probability that 2 to `MOST_LATER` different values in a random order have at least this tau."""
    pairs = values * (values - 1) // 2
    # Equal values may have a tau between two of those that different ones can have; the lower counts, the safe one.
    falling = -(-(pairs - round(tau * pairs)) // 2)
    return Fraction(_orders(values)[falling], factorial(values))


@cache
def _orders(values: int) -> tuple[int, ...]:
    """How many orders of so many different values have at most 0, 1, 2, ... pairs that fall."""
    exactly = [1]
    for placed in range(2, values + 1):
        # The largest so far, put before 0 to placed - 1 of the others, makes as many more pairs that fall.
        below = [0, *accumulate(exactly + [0] * (placed - 1))]
        exactly = [upto - below[max(at - placed, 0)] for at, upto in enumerate(below) if at]
    return tuple(accumulate(exactly))


def growth_of(series: Sequence[int], places: Sequence[int], sites: int) -> tuple[float, float] | None:
    """Tau and slope of the later half of a series that grows as a leak does; None for any other.

    Args:
        series: Bytes that lived, `FEWEST_COLLECTIONS` values or more.
        places: Where each value lies on the axis, ascending: the slope is for one step there.
        sites: How many sites vary, this one among them (`varying_sites`).
    """
    later = later_of(len(series))
    tau, slope_bytes = trend(series[-later:], places[-later:])
    last = (later + 1) // 2
    _, last_slope_bytes = trend(series[-last:], places[-last:])
    is_material = slope_bytes * (places[-1] - places[-later]) > MATERIAL * fmean(series[-later:])
    is_steady = tau >= STEADY and is_beyond_chance(tau, min(later, MOST_LATER), sites)
    is_growing = is_steady and is_material and last_slope_bytes >= STILL * slope_bytes
    return (tau, slope_bytes) if is_growing else None


def trend(series: Sequence[int], places: Sequence[int] | None = None) -> tuple[float, float]:
    """Kendall's tau (-1..1) of a series against its order, and its Theil-Sen slope for one step; two values or more.

    ``places`` are those of the values, ascending; where it is None, each is a step behind the one before.

    A long series is thinned to `MOST_LATER` values, the first and the last among them.
    """
    places = range(len(series)) if places is None else places
    steps = len(series) - 1
    chosen = sorted({round(at * steps / (MOST_LATER - 1)) for at in range(MOST_LATER)})
    pairs = [
        (places[after] - places[before], series[after] - series[before]) for before, after in combinations(chosen, 2)
    ]
    tau = sum((gain > 0) - (gain < 0) for _, gain in pairs) / len(pairs)
    return tau, median(gain / distance for distance, gain in pairs)
