"""The heaps of real programs: finding them in a WebAssembly module, and serving them while it runs.

Public is a `Program` with its `Policy`, its `GuestHeap` and the `Cache` of prepared modules, and what a module is known
to be: a `Guest`, with the facts of its `BlockHeap` and how sure they are.  `tinyheap.identify` finds that out, and needs
no extra; running a program needs the extra `run`.

From the ground up: `symbols` (values in code), `walk` (what a function does), `codesearch` (where something is
mentioned), `facts` and `evidence` (what there is to know, and how sure it is); `geometry`, `scanning`, `marking`
and `shapes` (the collector's parts, by their shape), `locate` (all of TinyGo's block collector), `identify` (any
module).
"""

from tinyheap import _loading

__getattr__, __dir__, __all__ = _loading.attach(__name__)
