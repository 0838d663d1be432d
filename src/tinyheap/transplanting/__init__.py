"""Writes tinyheap's collector into a module itself: what comes out is an ordinary module, which runs in every host.

**Read `operation.py` first**: what is changed in a module, from top to bottom.  `parts.py` says what stands for each fact that
the kernel asks for, and `merging.py` puts the kernel's functions into a module.  The kernel is C (`kernel/`), compiled by
``make kernel`` into `kernel/next_fit.wasm`.
"""

from tinyheap import _loading

__getattr__, __dir__, __all__ = _loading.attach(__name__)
