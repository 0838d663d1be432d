"""The object graph of a heap at one moment: what is alive, what keeps it alive, and by which word.

**Read `graph.py` first**: a memory image, the heap in it and its roots become flat arrays, in compiled code.  All else are
analyses of them: each a function that takes a `HeapGraph` and returns a frozen result.  Nothing here prints, and nothing
writes.  They need the extra `profile`.
"""

from tinyheap import _loading

__getattr__, __dir__, __all__ = _loading.attach(__name__)
