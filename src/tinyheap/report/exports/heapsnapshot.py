"""A heap at one moment as a file of Chrome DevTools, which its Memory panel loads.

::

    (roots) ──> a node for each kind of root ──> one for each variable, frame, ... ──> the objects that it holds
       └──────> (garbage) ──> what the next collection frees

A node is an object: its class is the group, its id the address, its shallow size that of its blocks, header included.  An
edge is a reference: a property where the word has a name, else an element by its offset in bytes.  References that keep
nothing alive are weak: those of garbage, and of finalizers to what lives anyway.  So DevTools comes to the same retained
sizes and retainers.

Format: V8, src/profiler/heap-snapshot-generator.cc, and DevTools' heap_snapshot_worker, which reads three arrays (nodes,
edges in the order of their nodes, strings) by fields that the file names itself.  It is written piece by piece.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import numpy as np

from tinyheap.inspect.graph import NONE
from tinyheap.inspect.paths import RootWord
from tinyheap.inspect.word_names import word_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tinyheap.inspect.naming import NamedGraph

    _Rows = NDArray[np.int64]

_NODE_TYPES: Final = (
    "hidden", "array", "string", "object", "code", "closure", "regexp", "number", "native", "synthetic",
    "concatenated string", "sliced string", "symbol", "bigint", "object shape",
)  # fmt: skip
_EDGE_TYPES: Final = ("context", "element", "property", "internal", "hidden", "shortcut", "weak")
_SYNTHETIC, _OBJECT = (_NODE_TYPES.index(name) for name in ("synthetic", "object"))
_ELEMENT, _PROPERTY, _WEAK = (_EDGE_TYPES.index(name) for name in ("element", "property", "weak"))
_NODE_FIELDS: Final = ("type", "name", "id", "self_size", "edge_count", "trace_node_id", "detachedness")
_EDGE_FIELDS: Final = ("type", "name_or_index", "to_node")
_ROOT: Final = "(roots)"
_GARBAGE: Final = "(garbage, freed by the next collection)"
_PIECE_ROWS: Final = 100_000


def heapsnapshot(named: NamedGraph) -> Iterator[bytes]:
    """The file in pieces, as JSON."""
    return _File(named).pieces()


class _File:
    """The nodes that stand before the objects, and all edges by their holders."""

    def __init__(self, named: NamedGraph) -> None:
        self._named, self._graph = named, named.graph
        self._strings: dict[str, int] = {}
        self._roots = np.flatnonzero(self._graph.root_targets != NONE).tolist()
        # By their kinds, so that edges come in the order of their nodes.
        sources = sorted({self._graph.roots.source_of(root) for root in self._roots}, key=lambda each: each.kind)
        self._kinds = list(dict.fromkeys(source.kind for source in sources))
        first = 2 + len(self._kinds)
        self._sources = {source: first + at for at, source in enumerate(sources)}
        self._first_object = first + len(sources)

    def pieces(self) -> Iterator[bytes]:
        """The file."""
        edges = np.concatenate([*self._edges_of_roots(), self._edges_of_objects()])
        nodes = self._nodes(np.bincount(edges[:, 0], minlength=self._node_count))
        # A node is meant by where it begins among the numbers of all nodes.
        edges[:, -1] *= len(_NODE_FIELDS)
        counts = {"node_count": len(nodes), "edge_count": len(edges), "trace_function_count": 0}
        yield b'{"snapshot":' + json.dumps({"meta": _META, **counts}).encode() + b',\n"nodes":['
        yield from _numbers(nodes)
        yield b'],\n"edges":['
        yield from _numbers(edges[:, 1:])
        yield b'],\n"trace_function_infos":[],\n"trace_tree":[],\n"samples":[],\n"locations":[],\n"strings":'
        yield json.dumps([*self._strings]).encode() + b"}\n"

    @property
    def _node_count(self) -> int:
        return self._first_object + len(self._graph)

    def _string(self, text: str) -> int:
        return self._strings.setdefault(text, len(self._strings))

    def _nodes(self, edge_counts: _Rows) -> _Rows:
        """A row for each node."""
        graph, groups, first = self._graph, self._named.groups, self._first_object
        heads = [_ROOT, _GARBAGE, *map(str, self._kinds), *map(str, self._sources)]
        nodes = np.zeros((self._node_count, len(_NODE_FIELDS)), np.int64)
        nodes[:2, 0], nodes[2:, 0] = _SYNTHETIC, _OBJECT
        nodes[:first, 1] = [self._string(name) for name in heads]
        # Addresses are even.
        nodes[:first, 2] = 2 * np.arange(first) + 1
        nodes[first:, 1] = np.array([self._string(name) for name in groups.names], np.int64)[groups.of]
        nodes[first:, 2] = graph.addresses
        nodes[first:, 3] = graph.sizes_bytes
        nodes[:, 4] = edge_counts
        return nodes

    def _edges_of_roots(self) -> Iterator[_Rows]:
        """Those of all nodes before the objects, in their order."""
        kinds = [(0, _PROPERTY, self._string(str(kind)), 2 + at) for at, kind in enumerate(self._kinds)]
        yield _rows([(0, _PROPERTY, self._string(_GARBAGE), 1), *kinds])
        garbage = np.flatnonzero(self._graph.is_garbage)
        columns = (np.ones(len(garbage)), np.full(len(garbage), _ELEMENT), np.arange(len(garbage)), self._of(garbage))
        yield np.stack(columns, axis=1).astype(np.int64)
        yield _rows(
            [
                (2 + self._kinds.index(source.kind), _PROPERTY, self._string(source.name), node)
                for source, node in self._sources.items()
            ]
        )
        yield _rows(sorted(self._root_words(), key=lambda row: row[0]))

    def _root_words(self) -> Iterator[tuple[int, int, int, int]]:
        graph = self._graph
        for root in self._roots:
            word = RootWord.of(self._named, root)
            holder = self._sources[word.source]
            target = self._first_object + int(graph.root_targets[root])
            if graph.holding_roots[root] == NONE:
                yield holder, _WEAK, self._string(word.name or f"+{word.offset}"), target
            elif word.name:
                yield holder, _PROPERTY, self._string(word.name), target
            else:
                yield holder, _ELEMENT, word.offset, target

    def _edges_of_objects(self) -> _Rows:
        """A row for each reference."""
        graph, words = self._graph, word_names(self._named)
        holders, is_named = graph.holders, words.are_named
        strings = np.array([self._string(name) for name in words.names], np.int64)
        rows = np.empty((len(graph.targets), 1 + len(_EDGE_FIELDS)), np.int64)
        rows[:, 0] = self._of(holders)
        rows[:, 1] = np.where(is_named, _PROPERTY, _ELEMENT)
        rows[:, 2] = np.where(is_named, strings[words.of], graph.offsets)
        rows[:, 3] = self._of(graph.targets)
        weak = np.flatnonzero(graph.is_garbage[holders])
        offsets, inverse = np.unique(graph.offsets[weak], return_inverse=True)
        places = np.array([self._string(f"+{offset}") for offset in offsets.tolist()], np.int64)[inverse]
        rows[weak, 1] = _WEAK
        rows[weak, 2] = np.where(is_named[weak], strings[words.of[weak]], places)
        return rows

    def _of(self, objects: NDArray[np.uint32] | NDArray[np.int64]) -> _Rows:
        """The nodes of objects."""
        return objects.astype(np.int64) + self._first_object


def _rows(rows: list[tuple[int, int, int, int]]) -> _Rows:
    return np.array(rows, np.int64).reshape(-1, 1 + len(_EDGE_FIELDS))


def _numbers(table: _Rows) -> Iterator[bytes]:
    """The numbers of a table, row by row."""
    for at in range(0, len(table), _PIECE_ROWS):
        piece = ",".join(map(str, table[at : at + _PIECE_ROWS].ravel().tolist()))
        yield (",\n" + piece if at else piece).encode()


_META: Final = {
    "node_fields": _NODE_FIELDS,
    "node_types": [_NODE_TYPES, "string", *["number"] * 5],
    "edge_fields": _EDGE_FIELDS,
    "edge_types": [_EDGE_TYPES, "string_or_number", "node"],
    "trace_function_info_fields": ["function_id", "name", "script_name", "script_id", "line", "column"],
    "trace_node_fields": ["id", "function_info_index", "count", "size", "children"],
    "sample_fields": ["timestamp_us", "last_assigned_id"],
    "location_fields": ["object_index", "script_id", "line", "column"],
}
