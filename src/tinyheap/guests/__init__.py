"""Programs whose heaps are served here while they run: made ready, rewritten, served, recorded.

Public is a `Program` with its `Policy`, its `GuestHeap`, the `Cache` of prepared modules, and the `Recorder` of a run.  They
need the extra `run`.  What a module is, and where its heap lies, is known to `recognize`.

**Read `program.py` first.**  `preparing` gets a module ready, by `rewrite`; `serve` is what answers the program while it
runs, `record` what notes it.
"""

from tinyheap import _loading

__getattr__, __dir__, __all__ = _loading.attach(__name__)
