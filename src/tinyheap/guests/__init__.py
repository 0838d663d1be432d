"""Programs whose heaps tinyheap serves while they run: modules are prepared and rewritten, heaps served and recorded.

Public are `Program` with its `Policy` and `GuestHeap`, the `Cache` of prepared modules, and the `Recorder` of a run.  They
need the extra `run`.  `tinyheap.recognize` finds out what a module is and where its heap lies.

**Read `program.py` first.**  `preparing` prepares a module with the help of `rewrite`; `serve` serves its heap while it
runs, `record` records what happens.
"""

from tinyheap import _loading

__getattr__, __dir__, __all__ = _loading.attach(__name__)
