"""Traces: what mutators asked of their heaps, recorded or synthetic, and running that again.

Public is a `Trace` with what reads, writes and builds one (`TraceBuilder`), `generate` and its workloads, and what a replay
gives: `Replay`, its `ReplaySummary`, and its first `Difference` from an expectation.  `tinyheap.replay` runs a trace.
"""

from tinyheap import _loading

__getattr__, __dir__, __all__ = _loading.attach(__name__)
