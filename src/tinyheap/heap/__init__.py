"""The collector: a garbage-collected heap over flat memory, on two engines of one contract.

Public are `Heap`, which a mutator uses, and what belongs to it: layouts, roots, growth policies, listeners, weak
references, statistics.  ``model.py`` is the specification to read, ``_kernel.py`` the compiled engine.
"""

from tinyheap import _loading

__getattr__, __dir__, __all__ = _loading.attach(__name__)
