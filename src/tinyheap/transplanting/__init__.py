"""Writes tinyheap's collector into a module itself: what comes out is an ordinary module, which runs in every host.

Up to TinyGo 0.39 it takes the place of the module's own; from 0.40 on it does the marking ahead of it.

**Read `operation.py` first**: what is changed in a module, from top to bottom; then, for later releases, `ahead.py` with
`markers.py`, which finds what marks.  `parts.py` says what stands for each fact that the kernels ask for, and `merging.py` puts
their functions into a module.  The kernels are C (`kernel/`), compiled by ``make kernel`` into `kernel/next_fit.wasm` and
`kernel/best_fit.wasm`.
"""

from tinyheap import _loading

__getattr__, __dir__, __all__ = _loading.attach(__name__)
