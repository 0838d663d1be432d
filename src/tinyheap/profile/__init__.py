"""Analyses of a recording: each a function that takes a `Recording` and returns a frozen result.

Public are these functions and their results; each metric is defined where it is computed.  `census` is what most
of them stand on: **read that first**.  Nothing here prints, and nothing writes to the recording.  They need the extra
`profile`.

A recording does not always know everything (`tinyheap.recordings.Observed`).  A statistic that was not observed is None,
and an analysis of which nothing was observed returns `Unknown`, so that no report can show it as a number.
"""

from tinyheap import _loading

__getattr__, __dir__, __all__ = _loading.attach(__name__)
