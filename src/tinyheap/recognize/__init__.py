"""What a WebAssembly module is: its runtime, its collector, and where the parts of its heap lie; needs no wasmtime.

Public is what a module is known to be: a `Guest`, with the facts of its `BlockHeap` or `BestFitHeap` and how sure they
are; `identify` finds that out, `identify_file` takes components, too.  **Read `identify.py` first**, for what a module
can turn out to be, then `locate/block_heap.py`, which knows TinyGo's block collector up to 0.39 by the shape of its code
and lets names only confirm, and `locate/best_fit.py`, which does the same for its successor.

From the ground up: `values` (values in code), `interpret` (what a function does), `codesearch` (where something is
mentioned), `facts` and `evidence` (what there is to know, and how sure it is), `shapes` (what several searches look for),
`locate/` (the block collectors, one module per fact), `identify` (any module).
"""

from tinyheap import _loading

__getattr__, __dir__, __all__ = _loading.attach(__name__)
