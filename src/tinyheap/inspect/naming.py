"""Names of objects, and of the words in them: by whatever is known of them.

Analyses group objects by name and never ask where a name comes from: `ObjectNames` is all that they know of it.  Types
come from debug information, allocation sites from a recording; `ShapeNames`, which is here, always has one: what an object
looks like.  `Layered` asks one after the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from tinyheap.errors import LayoutError
from tinyheap.heap.layout import Layout, static_layout
from tinyheap.inspect.graph_model import Shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinyheap.inspect.graph import HeapGraph
    from tinyheap.inspect.typed import TypedHeap

UNNAMED: Final = ""
"""The name of the group of objects that a namer has no name for."""
ANY_WORD: Final = "[...]"
"""The name of any element of an array."""
LARGEST_RECORD_BLOCKS: Final = 16
"""Words of larger objects are not told apart: they are elements."""
_INDEX: Final = re.compile(r"\[[0-9]+\]")
UNREADABLE: Final = "unreadable layout"
LARGEST_BLOCKS: Final = 64
"""The sizes of larger objects are not told apart."""
_WORDS: Final = {
    Shape.ZEROS: "zeros",
    Shape.TEXT: "text",
    Shape.POINTERS: "pointers",
    Shape.SOME_POINTERS: "some pointers",
    Shape.DOUBLES: "float64",
    Shape.SINGLES: "float32",
    Shape.DATA: "data",
}


@dataclass(frozen=True, eq=False, slots=True)
class Groups:
    """The objects of a graph, each in one group.

    Args:
        of: each object's group, an index into ``names``.
        names: of the groups; `UNNAMED` for the objects that have no name.
    """

    of: NDArray[np.uint32]
    names: tuple[str, ...]


class ObjectNames(Protocol):
    """What knows names."""

    def groups(self, graph: HeapGraph) -> Groups:
        """The objects by name."""

    def word(self, graph: HeapGraph, holder: int, offset: int) -> str:
        """The name of the word at an offset in an object's body, such as ``.next`` or ``[3]``; `UNNAMED` if it has none."""


class ShapeNames:
    """Names objects by their bytes: size, layout, and whether they are text, zeros, numbers or pointers."""

    def groups(self, graph: HeapGraph) -> Groups:
        """The objects by shape; those with text or zeros of all sizes together."""
        layouts, layout = np.unique(graph.layout_words, return_inverse=True)
        keys = np.zeros(len(graph), np.dtype([("shape", np.uint8), ("blocks", np.uint32), ("layout", np.int64)]))
        keys["shape"] = graph.shapes
        bulk = (graph.shapes == Shape.TEXT) | (graph.shapes == Shape.ZEROS)
        keys["blocks"] = np.where(bulk | (graph.blocks > LARGEST_BLOCKS), 0, graph.blocks)
        keys["layout"] = np.where(bulk, -1, layout)
        packed = keys["layout"] * (LARGEST_BLOCKS + 1) * len(Shape) + keys["blocks"] * len(Shape) + keys["shape"]
        _, examples, of = np.unique(packed, return_index=True, return_inverse=True)
        texts = [_layout_text(graph, int(word)) for word in layouts]
        names = [_shape_name(graph, keys[example], texts) for example in examples.tolist()]
        return Groups(of.astype(np.uint32), tuple(names))

    def word(self, graph: HeapGraph, holder: int, offset: int) -> str:
        """Its offset."""
        return f"+{offset}"


def _shape_name(graph: HeapGraph, key: np.void, layouts: list[str]) -> str:
    words = _WORDS[Shape(int(key["shape"]))]
    if key["layout"] < 0:
        return words
    block_bytes = graph.facts.geometry.block_bytes
    size = f"{key['blocks'] * block_bytes} B" if key["blocks"] else f"over {LARGEST_BLOCKS * block_bytes} B"
    return " ".join(filter(None, (size, words, layouts[key["layout"]])))


def _layout_text(graph: HeapGraph, word: int) -> str:
    """The pattern of a layout; nothing for no layout."""
    facts, width = graph.facts, graph.facts.geometry.word_bytes
    memory = graph.memory if facts.statics is None else facts.statics.memory
    at = word - (facts.memory_start_address if facts.statics is None else facts.statics.start_address)
    try:
        if word == 0:
            return ""
        if word & 1:
            return str(Layout.from_word(word, width))
        return str(static_layout(memoryview(memory), at, width)) if at >= 0 else UNREADABLE
    except LayoutError:
        return UNREADABLE


class NameSource(StrEnum):
    """Where names come from."""

    STACKS = "goroutine stacks"
    TYPES = "types"
    SITES = "allocation sites"
    SHAPES = "looks"


class Layered:
    """Asks one namer after the other, until one has a name."""

    def __init__(self, *namers: ObjectNames) -> None:
        self._namers = namers

    def groups(self, graph: HeapGraph) -> Groups:
        """The objects, each by the first name that it has."""
        of, names = np.zeros(len(graph), np.uint32), [UNNAMED]
        for namer in self._namers:
            groups = namer.groups(graph)
            has_name = np.array([name != UNNAMED for name in groups.names], bool)
            mine = (of == 0) & has_name[groups.of] if len(groups.names) else np.zeros(len(graph), bool)
            of[mine] = groups.of[mine] + len(names)
            names += groups.names
        return Groups(of, tuple(names))

    def word(self, graph: HeapGraph, holder: int, offset: int) -> str:
        """The first name that it has."""
        return next(filter(None, (namer.word(graph, holder, offset) for namer in self._namers)), UNNAMED)


@dataclass(frozen=True, eq=False)
class NamedGraph:
    """A graph whose objects have names: what analyses take."""

    graph: HeapGraph
    names: ObjectNames = field(default_factory=ShapeNames)
    typed: TypedHeap | None = None
    """The types of its objects, where debug information tells any."""

    @cached_property
    def groups(self) -> Groups:
        """The objects by name."""
        return self.names.groups(self.graph)

    def group_of(self, found: int) -> str:
        """The name of an object's group."""
        return self.groups.names[int(self.groups.of[found])]

    def word_of(self, reference: int) -> str:
        """The name of the word that a reference is."""
        return self.names.word(self.graph, self.graph.holder_of(reference), int(self.graph.offsets[reference]))

    def kind_of_word(self, holder: int, offset: int) -> str:
        """The name of a word in an object, which elements of arrays have in common."""
        if self.graph.blocks[holder] > LARGEST_RECORD_BLOCKS:
            return ANY_WORD
        return _INDEX.sub(ANY_WORD, self.names.word(self.graph, holder, offset))
