"""Analyses of a recording: each a function that takes a `Recording` and returns a frozen result.

`census` is what most of them stand on: **read that first**.  Nothing here prints, and nothing writes to the recording.
What each figure means is said where it is computed.

A recording does not always know everything (`tinyheap.recordings.observed`).  A statistic that was not observed is None,
and an analysis of which nothing was observed returns `Unknown`, so that whoever shows a result has to say so.
"""

from tinyheap.profile.comparing import Comparison, Difference, UsageDifference, compare
from tinyheap.profile.flame import FlameGraph, FlameNode, Measure, flame_graph, folded
from tinyheap.profile.histograms import (
    Bucket,
    Histogram,
    LayoutUsage,
    by_layout,
    lifetime_histogram,
    size_histogram,
    survival_histogram,
)
from tinyheap.profile.leaks import LeakSuspect, LeakSuspects, leak_suspects
from tinyheap.profile.moments import HeapMoment, ObjectAt, heap_at, object_at, stack_of
from tinyheap.profile.pausing import Pauses, Utilization, pauses
from tinyheap.profile.result import Unknown
from tinyheap.profile.sites import FunctionUsage, SiteUsage, Usage, UsageTable, by_function, by_site
from tinyheap.profile.stacks import NO_STACK, StackFrame
from tinyheap.profile.summary import Peak, Totals, fragmentation, peak, totals
from tinyheap.profile.timeline import CollectionMark, GrowthMark, TimeLine, TimePoint, time_line

__all__ = [
    "NO_STACK",
    "Bucket",
    "CollectionMark",
    "Comparison",
    "Difference",
    "FlameGraph",
    "FlameNode",
    "FunctionUsage",
    "GrowthMark",
    "HeapMoment",
    "Histogram",
    "LayoutUsage",
    "LeakSuspect",
    "LeakSuspects",
    "Measure",
    "ObjectAt",
    "Pauses",
    "Peak",
    "SiteUsage",
    "StackFrame",
    "TimeLine",
    "TimePoint",
    "Totals",
    "Unknown",
    "Usage",
    "UsageDifference",
    "UsageTable",
    "Utilization",
    "by_function",
    "by_layout",
    "by_site",
    "compare",
    "flame_graph",
    "folded",
    "fragmentation",
    "heap_at",
    "leak_suspects",
    "lifetime_histogram",
    "object_at",
    "pauses",
    "peak",
    "size_histogram",
    "stack_of",
    "survival_histogram",
    "time_line",
    "totals",
]
