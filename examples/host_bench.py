"""The host of a benchmark that marks its own measured part by bench.start and bench.end, as sightglass's do.

    tinyheap run benchmark.wasm --host host_bench.py

What comes before bench.start, reading the input for instance, and after bench.end is not part of the measurement.
"""

from __future__ import annotations

import sys
import time


class Stopwatch:
    """Measures from one call to another."""

    def start(self) -> None:
        """The measured part begins."""
        self.begun_ns = time.perf_counter_ns()

    def end(self) -> None:
        """The measured part is over."""
        print(f"measured: {(time.perf_counter_ns() - self.begun_ns) / 1e6:.3f} ms", file=sys.stderr)


stopwatch = Stopwatch()
imports = {"bench": {"start": stopwatch.start, "end": stopwatch.end}}
