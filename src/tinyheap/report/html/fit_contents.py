"""What the HTML page of `tinyheap fit` is given: facts, which become JSON.

`fit_page` fills all of it in.  The page's code sees the same: `make generated` writes `web/src/fit/schema.ts` from here.
"""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

from tinyheap.lab.edges import Stretch
from tinyheap.lab.starts import Start


class FitTrial(TypedDict):
    """Whether the program passed with one size."""

    size: int
    passed: bool


class FitRow(TypedDict):
    """The smallest size with which the program passes, under one condition.  Sizes are in units."""

    condition: str
    limit: str
    """What the sizes are of: an option."""
    smallest: int | None
    """None where not even the largest passes."""
    smallest_bytes: int | None
    safe_from: int | None
    """The size from which all that were tried pass."""
    failing_above: list[int]
    """Sizes that fail although a smaller one passes, ascending."""
    tried: int
    """How many sizes were."""
    trials: list[FitTrial]
    """By ascending size; of sizes without gap that have the same answer the first and the last."""
    zone: list[Annotated[dict[str, Any], Stretch]]
    """The sizes around the smallest, without gap; none where none passes."""
    below: int | None
    """The size whose obstacle it is; None where nothing smaller can be tried."""
    obstacle: list[str]


class FitSummary(TypedDict):
    """All of the facts."""

    module: str
    """Or a trace."""
    arguments: list[str]
    options: list[str]
    """Of all runs."""
    unit: str
    """``page`` or ``block``."""
    unit_bytes: int
    rows: list[FitRow]
    starts: list[Annotated[dict[str, Any], Start]]
    """The initial memory, and those that get further, the last to the limit; none where there is no limit."""
    tinyheap_version: str
