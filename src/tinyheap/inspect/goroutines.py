"""Names of the stacks of goroutines, which are objects of the heap: TinyGo begins each with a word that is always the same.

Source: ``task_asyncify.go`` of TinyGo, whose scheduler checks that word to notice an overflow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from tinyheap.inspect.naming import UNNAMED, Groups

if TYPE_CHECKING:
    from tinyheap.inspect.graph import HeapGraph

STACK: Final = "goroutine stack"
_LEAST_BYTES: Final = 512
"""Smaller ones are not made; an object that only looks like one mostly is smaller."""


class GoroutineNames:
    """Names the stacks of goroutines.

    Args:
        canary: the word that each begins with.
    """

    def __init__(self, canary: int) -> None:
        self._canary = canary

    def groups(self, graph: HeapGraph) -> Groups:
        """The stacks; all other objects have no name."""
        of = np.zeros(len(graph), np.uint32)
        width = graph.facts.geometry.word_bytes
        for each in np.flatnonzero(graph.sizes_bytes >= _LEAST_BYTES).tolist():
            if int.from_bytes(graph.body_of(each)[:width], "little") == self._canary:
                of[each] = 1
        return Groups(of, (UNNAMED, STACK))

    def word(self, graph: HeapGraph, holder: int, offset: int) -> str:
        """None: which function has a word of a goroutine's stack is not known."""
        return UNNAMED
