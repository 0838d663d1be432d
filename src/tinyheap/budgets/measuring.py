"""The quantities of a recorded run that a budget can limit, each with the allocation sites behind it.

All are statistics of `tinyheap.profile`, by its definitions.  What stands behind a quantity: of memory the objects that lived
at that moment; of pages who had memory grow; of allocations and of garbage who allocates; of growth the sites that grow; of
the longest pause what lived when that collection began, since marking takes time for what lives; of the time in the collector
who allocates most, since that is what makes it collect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tinyheap.budgets.quantities import Quantity, Unit
from tinyheap.profile.calls import CallTrend, HostCalls, allocated_per_call, host_calls
from tinyheap.profile.flame import Measure, live_at_collection, weights
from tinyheap.profile.memory import linear_memory
from tinyheap.profile.pausing import pauses
from tinyheap.profile.result import Unknown, rows, unless_collections
from tinyheap.profile.stacks import StackFrame, StackTree
from tinyheap.recordings.observed import Lives
from tinyheap.units import WASM_PAGE_BYTES

if TYPE_CHECKING:
    from tinyheap.recordings.recording import Recording

MOST_SITES: Final = 20
"""Behind a quantity so many sites are named."""
AT_MOST: Final = Lives.AT_MOST.prefix.strip()
ABOUT: Final = "about"
PRECISIONS: Final = ("", AT_MOST, ABOUT)
"""What `Measurement.precision` may be."""


@dataclass(frozen=True, slots=True)
class SiteShare:
    """What of a quantity is an allocation site's."""

    site: StackFrame
    amount: float
    """In the unit of `Measurement.sites_unit`."""
    share: float
    """Of all sites together, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """A quantity of a run, and who is behind it."""

    quantity: Quantity
    value: float | None
    """In the unit of the quantity; None where it is not known."""
    unknown: str | None
    """Why it is not known, a phrase; None where it is."""
    precision: str
    """``at most`` where it is an upper bound, ``about`` where it is estimated from a sample; else empty."""
    sites: tuple[SiteShare, ...]
    """The `MOST_SITES` that have most, the heaviest first."""
    sites_are: str
    """What the amounts of the sites are, a phrase such as ``live at the peak``."""
    sites_unit: Unit


def measure(
    recording: Recording, quantities: Iterable[Quantity] = Quantity, *, after: int = 0
) -> tuple[Measurement, ...]:
    """Quantities of a recorded run, in the order in which they were asked for.

    Args:
        recording: The recording.
        quantities: Which; all of them by default.
        after: How many calls of the host come before those that garbage and growth per call are of, 0 or more.

    Raises:
        RecordingCorruptError: The recording contradicts itself.
    """
    return tuple(_measured(recording, each, after) for each in quantities)


@dataclass(frozen=True, slots=True)
class _Found:
    """A value, and the amounts of sites."""

    value: float
    amounts: Mapping[StackFrame, float]
    is_live: bool = False
    """Whether it is of what lives, which may be an upper bound."""
    is_counted: bool = False
    """Whether it is of objects, which a sample only estimates."""


def _measured(recording: Recording, quantity: Quantity, after: int) -> Measurement:
    measured, sites_are, sites_unit = _MEASURED[quantity]
    found = measured(recording, after)
    if isinstance(found, Unknown):
        return without_sites(quantity, unknown=found.why)
    observed = recording.run.observed
    is_estimate = found.is_counted and observed.sample_bytes is not None
    precision = ABOUT if is_estimate else observed.lives.prefix.strip() if found.is_live else ""
    return Measurement(quantity, found.value, None, precision, _shares(found.amounts), sites_are, sites_unit)


def without_sites(
    quantity: Quantity, value: float | None = None, unknown: str | None = None, precision: str = ""
) -> Measurement:
    """A quantity of which no more is known than its value, or why there is none."""
    _, sites_are, sites_unit = _MEASURED[quantity]
    return Measurement(quantity, value, unknown, precision, (), sites_are, sites_unit)


def _shares(amounts: Mapping[StackFrame, float]) -> tuple[SiteShare, ...]:
    whole = sum(amounts.values())
    heaviest = sorted(amounts.items(), key=lambda each: (-each[1], each[0].name, each[0].id))
    return tuple(SiteShare(site, amount, amount / whole) for site, amount in heaviest[:MOST_SITES] if amount > 0)


def _by_site(recording: Recording, own: Mapping[int, int]) -> dict[StackFrame, float]:
    """What stacks weigh, by their allocation sites."""
    sites, found = StackTree.of(recording).sites(), dict[StackFrame, float]()
    for stack_id, weight in own.items():
        found[sites[stack_id]] = found.get(sites[stack_id], 0) + weight
    return found


def _weighed(by: Measure) -> Callable[[Recording, int], _Found | Unknown]:
    """A quantity that is the sum of what all stacks weigh."""

    def measured(recording: Recording, _after: int) -> _Found | Unknown:
        own = weights(recording, by)
        if isinstance(own, Unknown):
            return own
        return _Found(sum(own.values()), _by_site(recording, own), is_live=by.is_live, is_counted=True)

    return measured


def _pages(recording: Recording, _after: int) -> _Found | Unknown:
    memory = linear_memory(recording)
    if isinstance(memory, Unknown):
        return memory
    amounts: dict[StackFrame, float] = {}
    for each in memory.growths:
        grown_bytes = (each.new_pages - each.old_pages) * WASM_PAGE_BYTES
        amounts[each.site] = amounts.get(each.site, 0) + grown_bytes
    return _Found(memory.pages, amounts)


def _garbage(recording: Recording, after: int) -> _Found | Unknown:
    trend = _trend(recording, after)
    if isinstance(trend, Unknown):
        return trend
    allocated = allocated_per_call(recording, after=after)
    assert not isinstance(allocated, Unknown), "calls were noted, else there would be no trend"
    assert trend.garbage_bytes is not None, "there were enough collections"
    return _Found(trend.garbage_bytes, allocated, is_counted=True)


def _growth(recording: Recording, after: int) -> _Found | Unknown:
    trend = _trend(recording, after)
    if isinstance(trend, Unknown):
        return trend
    return _Found(trend.slope_bytes, {each.site: each.slope_bytes for each in trend.growing}, is_counted=True)


def _trend(recording: Recording, after: int) -> CallTrend | Unknown:
    """Whether the heap grows with the calls, where there is enough to tell."""
    found = host_calls(recording, after=after)
    trend = found.trend if isinstance(found, HostCalls) else found
    if isinstance(trend, Unknown) or trend.can_tell:
        return trend
    if unseen := unless_collections(recording):
        return unseen
    if not trend.calls:
        return Unknown("none of the functions of the program was called from outside")
    behind = f" behind the first {after:,}" if after else ""
    more = f"; a collection at every {trend.enough_at:,} allocations makes enough (gc every)" if trend.enough_at else ""
    return Unknown(
        f"too few collections to tell: it takes {trend.needed_collections} calls with one before the next, and of all "
        f"({trend.calls:,}) there are {trend.collections:,}{behind}{more}"
    )


def _longest_pause(recording: Recording, _after: int) -> _Found | Unknown:
    found = pauses(recording)
    if isinstance(found, Unknown):
        return found
    longest = rows(recording, "SELECT number, pause_ns FROM collections ORDER BY pause_ns DESC, number LIMIT 1")
    for number, pause_ns in longest:
        live = live_at_collection(recording, number)
        assert not isinstance(live, Unknown), "collections were observed"
        return _Found(pause_ns, _by_site(recording, live))
    return _Found(0, {})


def _collector_time(recording: Recording, _after: int) -> _Found | Unknown:
    found = pauses(recording)
    if isinstance(found, Unknown):
        return found
    own = weights(recording, Measure.ALLOCATED_BYTES)
    assert not isinstance(own, Unknown), "where collections are known, allocations are"
    return _Found(found.total_ns, _by_site(recording, own))


_MEASURED: Final[Mapping[Quantity, tuple[Callable[[Recording, int], _Found | Unknown], str, Unit]]] = {
    Quantity.PEAK: (_weighed(Measure.LIVE_AT_PEAK_BYTES), "live at the peak", Unit.BYTES),
    Quantity.LIVE_AT_END: (_weighed(Measure.LIVE_AT_END_BYTES), "live at the end", Unit.BYTES),
    Quantity.PAGES: (_pages, "by which memory grew", Unit.BYTES),
    Quantity.ALLOCATIONS: (_weighed(Measure.ALLOCATED_OBJECTS), "objects allocated", Unit.COUNT),
    Quantity.GARBAGE_PER_CALL: (_garbage, "allocated per call", Unit.BYTES),
    Quantity.GROWTH_PER_CALL: (_growth, "growth per call", Unit.BYTES),
    Quantity.LONGEST_PAUSE: (_longest_pause, "live when the longest pause began", Unit.BYTES),
    Quantity.COLLECTOR_TIME: (_collector_time, "allocated", Unit.BYTES),
}
"""How each is measured, and what the amounts of its sites are."""
