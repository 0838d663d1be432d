"""What the HTML page is given of a recording: facts, which become JSON, and columns of numbers.

`data` fills all of it in.  The page's code sees the same: `make generated` writes `web/src/schema.ts` from here.  Times are
nanoseconds since the run's beginning, sizes bytes.  None stands for what is not known, in columns NaN.  A *stack* is a number;
its parent is the stack without the innermost frame, and 0 is the empty stack.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, TypedDict

from tinyheap.profile.flame import Measure
from tinyheap.profile.histograms import Bucket
from tinyheap.profile.summary import Totals
from tinyheap.recordings import schema

# ---- columns ------------------------------------------------------------------------------------------------------------

POINTS: Final = (
    "allocated_bytes", "live_objects", "live_bytes",
    "heap_bytes", "used_bytes", "free_bytes", "largest_free_run_bytes",
)  # fmt: skip
"""Of `tinyheap.profile.timeline.TimePoint`, beside its time."""
USAGES: Final = (
    "own_objects", "own_bytes", "total_objects", "total_bytes", "live_objects", "live_bytes",
    "mean_size_bytes", "dead_young_objects", "median_lifetime_ns",
)  # fmt: skip
"""Of `tinyheap.profile.sites.Usage`."""
COLLECTIONS: Final = schema.COLLECTIONS.names(without={"number", "reason", "last_event_id", "stack_id", "overflows"})
"""Of the table, as they stand there; collections are in the order of their numbers, from 1."""
GROWTHS: Final = schema.GROWTHS.names(without={"last_event_id", "wanted_bytes"})
"""Of the table, as they stand there."""

EXPORTS: Final = (
    "calls", "failed", "allocated_objects", "allocated_bytes", "most_allocated_bytes", "duration_ns",
    "memory_growth_bytes", "collections",
)  # fmt: skip
"""Of `tinyheap.profile.calls.ExportCalls`."""
SPANS: Final = ("first", "calls", "allocated_bytes", "duration_ns")
"""Of `tinyheap.profile.calls.CallSpan`."""
LENT: Final = ("size_bytes", "call", "age_calls", "age_ns")
"""Of `tinyheap.profile.calls.LentObject`."""

COLUMNS: Final = {
    "point": ("time_ns", *POINTS),
    "collection": (*COLLECTIONS, "reason", "stack"),
    "growth": GROWTHS,
    "memory": ("time_ns", "bytes"),
    "function": ("function", *USAGES),
    "site": ("function", *USAGES, "code_offset", "file", "line", "trend", "is_telling"),
    "line": ("file", "line", *USAGES),
    "utilization": ("window_ns", "utilization"),
    "stack": ("parent", "function", "is_runtime", "offset", "site", "file", "line", "is_inlined"),
    "export": ("export", *EXPORTS),
    "span": SPANS,
    "lent": ("export", *LENT),
}
"""The columns of the summary by table; together they are named ``TABLE.COLUMN``.

``memory`` is how large linear memory is from each time on; it has no rows where that is not known.

``trend`` of a site is a place in `Summary.trends`, and ``is_telling`` whether it is no chance; ``export`` is one in
`Summary.exports`; the tables of exports, spans and what is lent have no rows where there are no calls to speak of.

``function`` and ``site`` of a stack are places in `Summary.functions`, ``reason`` of a collection one in `Summary.reasons`,
``file`` one in `Summary.files`, of which the first stands for none; a ``line`` of 0 for none, too.
"""
WEIGHTS: Final = {
    "allocated": (Measure.ALLOCATED_BYTES, Measure.ALLOCATED_OBJECTS),
    "peak": (Measure.LIVE_AT_PEAK_BYTES, Measure.LIVE_AT_PEAK_OBJECTS),
    "end": (Measure.LIVE_AT_END_BYTES, Measure.LIVE_AT_END_OBJECTS),
    "dead_young": (Measure.DEAD_YOUNG_BYTES, Measure.DEAD_YOUNG_OBJECTS),
}
"""What stacks are weighed by, as far as that is known: columns ``weight.WHAT_UNIT``, with `Measure.unit`."""
OBJECT_COLUMNS: Final = ("id", "address", "size", "stack", "birth", "death")
"""Of objects; ``death`` is the collection that freed it, 0 for none."""

# ---- facts --------------------------------------------------------------------------------------------------------------


class Run(TypedDict):
    """What ran, and how it ended."""

    module: str
    module_sha256: str
    arguments: list[str]
    runtime: str
    runtime_version: str | None
    collector: str
    """The kind of the program's collector, such as `precise`."""
    never_frees: bool
    """Whether its heap only grows, so that no collection ever runs."""
    source: str
    """Who managed the heap: tinyheap's `kernel` or `model`, or, as `injected` code observed or its own log tells
    (`logged`), the program itself."""
    unseen_collections: str | None
    """Why collections are not known; None where they are."""
    lives: str
    """What is known of what lives: `exact`, `at most` (deaths were inferred) or `unknown`."""
    unseen_heap: str | None
    """Why the heap as a whole is not known; None where it is."""
    started_at: str
    state: str
    """`finished`, `failed`, or `running` where the end was not written."""
    error: str | None
    exit_code: int | None
    ends_early: str | None
    """How far the recording goes, where its end was not written."""
    block_bytes: int
    heap_start_address: int
    begun_ns: int
    """When what is recorded begins; 0 but for the last part of a run."""
    duration_ns: int
    tinyheap_version: str


TOTALS: Final = (
    "allocations", "allocated_bytes", "live_objects", "live_bytes", "peak", "collections",
    "collector_ns", "growths", "heap_bytes", "used_bytes", "fragmentation",
)  # fmt: skip
"""Those of `Totals` that the page shows."""


class Percentile(TypedDict):
    """The shortest pause that so many percent of the pauses do not exceed."""

    percent: int
    pause_ns: int


class Histogram(TypedDict):
    """Objects by a statistic of theirs."""

    buckets: list[Annotated[dict[str, Any], Bucket]]
    beyond_objects: int
    """Objects that have no such value."""
    beyond_bytes: int


class Unknown(TypedDict):
    """Stands for what the recording cannot know, and says why."""

    unknown: str


class Suspect(TypedDict):
    """A site that may leak."""

    function: str
    code_offset: int
    place: str | None
    """``file:line``."""
    score: float
    growth_bytes: float
    explanation: str
    series_bytes: list[int]
    """Bytes that lived after the collections that `Leaks.collections` names."""


class Leaks(TypedDict):
    """What may leak."""

    can_tell: bool
    step: str
    """What a step of the series is: `collection`, or `turnover`."""
    caveat: str | None
    """What the suspects were judged by, where collections were not seen."""
    collections: list[int]
    suspects: list[Suspect]


class GrowingSite(TypedDict):
    """A site whose live bytes grow with the calls."""

    function: str
    place: str | None
    """``file:line``."""
    slope_bytes: float
    """A call."""
    live_bytes: int
    lent_bytes: int
    """What of it the host was lent."""


class Calls(TypedDict):
    """Calls of the host, where the program is called again and again."""

    calls: int
    verdict: str
    """Whether the heap grows with them, in a sentence."""
    grows: bool | None
    """The same in a word; None where that cannot be told."""
    growing: list[GrowingSite]
    lent_objects: int
    lent_bytes: int
    is_upper_bound: bool
    """Whether some of what is lent may be gone."""


class Source(TypedDict):
    """A source file, as far as it is shown: the lines around those that allocate."""

    file: int
    """A place in `Summary.files`."""
    numbers: list[int]
    """Of the lines, from 1."""
    texts: list[str]


class Summary(TypedDict):
    """The facts that are there at once."""

    run: Run
    totals: Annotated[dict[str, Any], Totals]
    functions: list[str]
    files: list[str]
    sources: list[Source]
    """Empty where no folder with sources was named."""
    reasons: list[str]
    percentiles: list[Percentile]
    """Empty where no collection ran, or none is known."""
    sizes: Histogram
    lifetimes: Histogram | Unknown
    leaks: Leaks | Unknown
    calls: Calls | None
    """None for a program that is not called again and again."""
    exports: list[str]
    trends: list[str]
    """How the objects of sites follow each other, in phrases."""
    notes: list[str]
    """What of the recording the page does not show, in sentences."""


class ObjectsHead(TypedDict):
    """The facts that come with the objects."""

    tick_ns: int
    """Births are counted in ticks of so many nanoseconds."""
    total: int
    """Objects in the recording; the page may hold fewer."""
