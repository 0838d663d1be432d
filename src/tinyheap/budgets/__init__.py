"""Budgets: what a program's heap may take, held against a recording of it.

Public are `Budget` (a file of limits), `check` (a budget against a recording) and its results, `measure` (the quantities
that a budget can limit, with the allocation sites behind each), `KeptMeasurements` (those of an earlier run, from the JSON of a
command) and `budget_of` (a budget made from a recording, with a margin).
They need the extra `profile`.
"""

from tinyheap import _loading

__getattr__, __dir__, __all__ = _loading.attach(__name__)
