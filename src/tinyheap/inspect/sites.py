"""Names of objects by who allocated them, as a recorded run tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinyheap.inspect.naming import UNNAMED, Groups

if TYPE_CHECKING:
    from tinyheap.inspect.graph import HeapGraph
    from tinyheap.snapshots.snapshot import Origins


class SiteNames:
    """Names objects by their allocation sites.

    Args:
        origins: of the objects.
    """

    def __init__(self, origins: Origins) -> None:
        self._origins = origins

    def groups(self, graph: HeapGraph) -> Groups:
        """The objects by the sites that allocated them; those of unknown origin have no name."""
        names = (UNNAMED, *self._origins.sites)
        of = np.zeros(len(graph), np.uint32)
        known = np.array(self._origins.address, np.uint64)
        at = np.searchsorted(graph.addresses, known)
        is_there = at < len(graph)
        is_there[is_there] = graph.addresses[at[is_there]] == known[is_there]
        of[at[is_there]] = np.array(self._origins.site, np.uint32)[is_there] + 1
        return Groups(of, names)

    def word(self, graph: HeapGraph, holder: int, offset: int) -> str:
        """None: sites do not name words."""
        return UNNAMED
