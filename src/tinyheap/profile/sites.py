"""Who allocates: by function, and by allocation site.

Terms.  An object's *own function* is the innermost of its stack, the one that called the allocator.  Its *allocation
site* is the innermost call outside of the Go runtime (`tinyheap.profile.stacks.is_runtime`), so that an append counts
for the function that appends; where all of the stack is the runtime's, it is the innermost.  TinyGo inlines `main.main`
into a function of the runtime, mostly ``runtime.run$1``: what is called there is called by the program.  *Own* metrics
are of the objects whose function or site it is; *total* ones of all whose stack it is in, each counted once however
often it recurs there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from tinyheap.profile.census import CENSUS, SITES, take_census
from tinyheap.profile.result import rows
from tinyheap.profile.stacks import NO_STACK, Key, StackFrame, StackTree
from tinyheap.profile.trends import Trend, trends
from tinyheap.recordings.observed import Lives
from tinyheap.results import Result

if TYPE_CHECKING:
    from tinyheap.recordings.recording import Recording


@dataclass(frozen=True, slots=True)
class Usage(Result):
    """What a function, a site or a line allocates.  Sizes are bytes asked for; sizes and lifetimes are of its own objects."""

    own_objects: int
    own_bytes: int
    total_objects: int
    total_bytes: int
    live_objects: int | None
    """Own, at the end; at most, where deaths were inferred (`Observed.lives`); None where nothing is known of them."""
    live_bytes: int | None
    mean_size_bytes: float | None
    """None where it owns no objects, like the next."""
    median_size_bytes: int | None
    """The smallest size that at least half of them do not exceed."""
    dead_young_objects: int | None
    """Own, that died in the first collection after their birth; None where collections were not observed."""
    median_lifetime_ns: int | None
    """From birth to the end of the collection that freed it, or to when its death was inferred; of those that died, None
    where none did."""
    mean_survived: float | None
    """Collections that an object survived; of those that one freed."""
    own_objects_error: float | None
    """The standard error of its own objects, which are an estimate; None where all was recorded, like the next two."""
    own_bytes_error: float | None
    live_bytes_error: float | None

    @property
    def name(self) -> str:
        """What it is called in tables."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class FunctionUsage(Usage):
    """What a function allocates."""

    function: str

    @property
    def name(self) -> str:
        """Of the function."""
        return self.function


@dataclass(frozen=True, slots=True)
class SiteUsage(Usage):
    """What is allocated at one call instruction; where source lines are known, at those of one function on one line."""

    site: StackFrame
    trend: Trend
    """How its objects follow each other."""

    @property
    def name(self) -> str:
        """The function, and the place of the call in the source, or else in the program's file, where it is known."""
        return self.site.name


AnyUsage = TypeVar("AnyUsage", bound=Usage)


@dataclass(frozen=True, slots=True)
class UsageTable(Result, Generic[AnyUsage]):
    """Usages: those that own the most bytes first, then by total bytes, then by name."""

    usages: tuple[AnyUsage, ...]
    lives: Lives = Lives.EXACT
    """What is known of what lives, and for how long it did."""
    sample_bytes: int | None = None
    """In a sample, bytes between two sampled ones on average; None where all was recorded."""

    def __len__(self) -> int:
        return len(self.usages)

    def __iter__(self) -> Iterator[AnyUsage]:
        return iter(self.usages)

    def by_live_bytes(self) -> tuple[AnyUsage, ...]:
        """Those of which anything lives at the end, the most bytes first; none where that is not known."""
        living = [usage for usage in self.usages if usage.live_bytes]
        return tuple(sorted(living, key=lambda each: -(each.live_bytes or 0)))

    def __getitem__(self, index: int) -> AnyUsage:
        return self.usages[index]


_OWNERS: Final = "tinyheap_owners"
_KEYED: Final = f"""
CREATE OR REPLACE TEMP TABLE {_OWNERS} AS SELECT {SITES}.stack_id, {{key}} AS key
FROM {SITES} LEFT JOIN stacks ON stacks.id = stack_id LEFT JOIN frames ON frames.id = stacks.frame_id
"""
_FUNCTION: Final = f"coalesce(frames.function, '{NO_STACK}')"
_SITE: Final = f"{SITES}.frame_id"

_OWN: Final = f"""
WITH counted AS (
    SELECT
        key,
        sum(objects) AS own_objects,
        sum(bytes) AS own_bytes,
        coalesce(sum(objects) FILTER (NOT is_dead), 0) AS live_objects,
        coalesce(sum(bytes) FILTER (NOT is_dead), 0) AS live_bytes,
        coalesce(sum(objects) FILTER (death_collection = generation + 1), 0) AS dead_young_objects,
        sum(objects * (death_collection - generation - 1)) / sum(objects) FILTER (death_collection IS NOT NULL)
            AS mean_survived,
        sqrt(sum(objects_variance)) AS own_objects_error,
        sqrt(sum(bytes_variance)) AS own_bytes_error,
        sqrt(coalesce(sum(bytes_variance) FILTER (NOT is_dead), 0)) AS live_bytes_error
    FROM {CENSUS} JOIN {_OWNERS} USING (stack_id) GROUP BY key
),
measured AS ({{medians}})
SELECT
    key, own_objects::BIGINT, own_bytes::BIGINT, live_objects::BIGINT, live_bytes::BIGINT,
    own_bytes::DOUBLE / own_objects, median_size_bytes, dead_young_objects::BIGINT, median_lifetime_ns, mean_survived,
    own_objects_error, own_bytes_error, live_bytes_error
FROM counted JOIN measured USING (key)
"""
_MEDIANS: Final = f"""
    SELECT
        key,
        quantile_disc(size_bytes, 0.5) AS median_size_bytes,
        quantile_disc(death_ns - birth_ns, 0.5) AS median_lifetime_ns
    FROM objects JOIN {_OWNERS} USING (stack_id) GROUP BY key
"""
# The first value up to which there is half of all that the objects stand for.
_WEIGHTED_MEDIANS: Final = f"""
    WITH valued AS (
        SELECT key, size_bytes, death_ns - birth_ns AS lifetime_ns, weight
        FROM objects JOIN {_OWNERS} USING (stack_id)
    ),
    placed AS (
        SELECT
            *,
            sum(weight) OVER (PARTITION BY key ORDER BY size_bytes) >= 0.5 * sum(weight) OVER (PARTITION BY key)
                AS is_half_of_sizes,
            sum(weight) OVER (PARTITION BY key, lifetime_ns IS NULL ORDER BY lifetime_ns)
                >= 0.5 * sum(weight) OVER (PARTITION BY key, lifetime_ns IS NULL) AS is_half_of_lifetimes
        FROM valued
    )
    SELECT
        key,
        min(size_bytes) FILTER (is_half_of_sizes) AS median_size_bytes,
        min(lifetime_ns) FILTER (is_half_of_lifetimes) AS median_lifetime_ns
    FROM placed GROUP BY key
"""
_OWN_FIELDS: Final = (
    "own_objects",
    "own_bytes",
    "live_objects",
    "live_bytes",
    "mean_size_bytes",
    "median_size_bytes",
    "dead_young_objects",
    "median_lifetime_ns",
    "mean_survived",
    "own_objects_error",
    "own_bytes_error",
    "live_bytes_error",
)
"""What the columns of `_OWN` behind the key are in `Usage`."""
_OF_LIVES: Final = ("live_objects", "live_bytes", "median_lifetime_ns", "live_bytes_error")
"""Those of them that say what died."""
_OF_COLLECTIONS: Final = ("dead_young_objects", "mean_survived")
"""Those that say in which collection."""
_ERRORS: Final = ("own_objects_error", "own_bytes_error", "live_bytes_error")
"""Those of them that an estimate has."""
_OWNS_NOTHING: Final = (0, 0, 0, 0, None, None, 0, None, None, 0.0, 0.0, 0.0)


def by_function(recording: Recording) -> UsageTable[FunctionUsage]:
    """What each function allocates, itself and through what it calls."""
    metrics = metrics_by(recording, _FUNCTION, lambda frame: frame.function)
    return sorted_usages(recording, [FunctionUsage(**metrics[function], function=function) for function in metrics])


def by_site(recording: Recording) -> UsageTable[SiteUsage]:
    """What is allocated at each allocation site, and in total below its call."""
    metrics = metrics_by(recording, _SITE, lambda frame: frame.id)
    frames = StackTree.of(recording).frames
    owning = (frame_id for frame_id in metrics if metrics[frame_id]["own_objects"])
    by_frame = trends(recording)
    usages = [SiteUsage(**metrics[each], site=frames[each], trend=by_frame[each]) for each in owning]
    return sorted_usages(recording, usages)


def metrics_by(recording: Recording, owner: str, key: Callable[[StackFrame], Key]) -> dict[Key, dict[str, Any]]:
    """The fields of `Usage` by key.

    Args:
        recording: The recording.
        owner: In SQL, the key of a stack's objects.
        key: The key of a frame.
    """
    take_census(recording)
    rows(recording, _KEYED.format(key=owner))
    own = {found[0]: found[1:] for found in rows(recording, _own(recording))}
    observed = recording.run.observed
    unknown = dict.fromkeys(_OF_LIVES if observed.lives is Lives.UNKNOWN else ())
    unknown |= dict.fromkeys(() if observed.collections else _OF_COLLECTIONS)
    unknown |= dict.fromkeys(_ERRORS if observed.sample_bytes is None else ())
    metrics = {}
    for each, (objects, size_bytes) in _totals(recording, key).items():
        metrics[each] = dict(zip(_OWN_FIELDS, own.get(each, _OWNS_NOTHING), strict=True)) | unknown
        metrics[each] |= {"total_objects": objects, "total_bytes": size_bytes}
    return metrics


def _own(recording: Recording) -> str:
    """The query for what keys own; its medians are of all that the objects stand for."""
    return _OWN.format(medians=_MEDIANS if recording.run.sample_bytes is None else _WEIGHTED_MEDIANS)


def _totals(recording: Recording, key: Callable[[StackFrame], Key]) -> dict[Key, tuple[int, int]]:
    """For each key that is on the stack of any object the objects and bytes of these stacks."""
    tree = StackTree.of(recording)
    query = f"SELECT stack_id, sum(objects)::BIGINT, sum(bytes)::BIGINT FROM {CENSUS} GROUP BY stack_id"
    own = {stack_id: tuple(sums) for stack_id, *sums in rows(recording, query)}
    sums = tree.sums(own, 2)
    totals: dict[Key, tuple[int, int]] = {key(tree.frame(0)): own[0]} if 0 in own else {}
    for here, stack_id in tree.outermost(key):
        objects, size_bytes = totals.get(here, (0, 0))
        more = sums[stack_id]
        if more[0]:
            totals[here] = objects + more[0], size_bytes + more[1]
    return totals


def sorted_usages(recording: Recording, usages: list[AnyUsage]) -> UsageTable[AnyUsage]:
    """Usages in the order of a table."""
    ordered = sorted(usages, key=lambda each: (-each.own_bytes, -each.total_bytes, each.name))
    observed = recording.run.observed
    return UsageTable(tuple(ordered), observed.lives, observed.sample_bytes)
