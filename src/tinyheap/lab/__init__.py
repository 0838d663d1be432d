"""What if: a program run again under other conditions, and what became of its heap in each.

Public are `sweep` (a grid of conditions; not a collector's sweep), `fit` (the smallest heap in which it passes) and their
results.  A condition is a choice of options of ``tinyheap run``, and each run is that command in a process of its own: its
statistics are those that the command gives, and whatever kills the process is a result.  They need the extra `profile`.
"""

from tinyheap import _loading

__getattr__, __dir__, __all__ = _loading.attach(__name__)
