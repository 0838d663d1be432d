from tinyheap.traces.expectation import (
    Difference as Difference,
    first_difference as first_difference,
    read_expectation as read_expectation,
)
from tinyheap.traces.trace import (
    Op as Op,
    Trace as Trace,
    TraceBuilder as TraceBuilder,
    TraceGrowth as TraceGrowth,
    read_trace as read_trace,
    write_trace as write_trace,
)
from tinyheap.traces.replay import (
    ReplayedCollection as ReplayedCollection,
    FinalizerRecord as FinalizerRecord,
    FinalizerRun as FinalizerRun,
    Replay as Replay,
)
from tinyheap.traces.replay_summary import ReplaySummary as ReplaySummary, summary_of as summary_of
from tinyheap.traces.workloads import WORKLOADS as WORKLOADS, WorkloadOptions as WorkloadOptions, generate as generate
