"""The collector: a garbage-collected heap over flat memory, on two engines of one contract.

Public are `Heap`, which a mutator uses, and what belongs to it: layouts, roots, growth policies, listeners, weak
references, statistics.

**Read `contract.py` first**: what an engine does, and what it asks of who uses it.  ``nextfit/`` is the collector of TinyGo up
to 0.39, ``bestfit/`` those from 0.40 on: each has a model, the specification to read, and a kernel, which is compiled.
"""

from tinyheap import _loading

__getattr__, __dir__, __all__ = _loading.attach(__name__)
