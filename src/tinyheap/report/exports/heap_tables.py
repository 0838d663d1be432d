"""A heap at one moment as tables: its objects, the words that refer to them, and the roots.

Addresses are those of the program; objects are told apart by them.  What is not known is NULL.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb
import numpy as np

from tinyheap.inspect.certainty import CERTAINTIES, word_certainties
from tinyheap.inspect.graph import NONE, ROOTS, Certainty
from tinyheap.inspect.paths import RootWord
from tinyheap.inspect.word_names import UNKNOWN, word_names
from tinyheap.report.exports.tables import copy_tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tinyheap.inspect.graph import HeapGraph
    from tinyheap.inspect.inspection import Inspection
    from tinyheap.inspect.naming import NamedGraph

    _Columns = dict[str, NDArray[Any]]

HEAP_TABLES: Final = ("objects", "words", "roots")


def write_heap_tables(inspection: Inspection, folder: Path, extension: str) -> None:
    """Write each table into a file of its own, ``folder/TABLE.EXTENSION``; files that are there already are replaced.

    Args:
        inspection: The heap.
        folder: Where to; made if it is not there.
        extension: ``csv`` or ``parquet``, which names the format too.

    Raises:
        OutputError: The folder cannot be written to.
    """
    columns = heap_tables(inspection)
    queries = {table: f"FROM {table}" for table in HEAP_TABLES}
    copy_tables(folder, extension, queries, lambda connection: _make(connection, columns))


def heap_database(inspection: Inspection) -> bytes:
    """A database of DuckDB that has the tables."""
    with tempfile.TemporaryDirectory(prefix="tinyheap-") as folder:
        path = Path(folder) / "heap.duckdb"
        with duckdb.connect(str(path)) as connection:
            _make(connection, heap_tables(inspection))
        return path.read_bytes()


def _make(connection: duckdb.DuckDBPyConnection, tables: dict[str, _Columns]) -> None:
    for name, columns in tables.items():
        connection.register("incoming", columns)
        connection.execute(f"CREATE TABLE {name} AS FROM incoming")
        connection.unregister("incoming")


def heap_tables(inspection: Inspection) -> dict[str, _Columns]:
    """Columns by table."""
    return {
        "objects": _objects(inspection),
        "words": _words(inspection.named),
        "roots": _roots(inspection.named),
    }


def _objects(inspection: Inspection) -> _Columns:
    graph, named = inspection.graph, inspection.named
    tree, garbage = graph.tree, graph.is_garbage
    return {
        "address": graph.addresses,
        "size_bytes": graph.sizes_bytes,
        "body_bytes": graph.sizes_bytes - np.uint64(graph.facts.shape.header_bytes),
        "name": _texts(named.groups.names)[named.groups.of],
        "references": np.array([each.name.lower() for each in Certainty], object)[graph.certainty],
        "is_garbage": garbage,
        "dominator": _addresses(graph, np.where(tree.dominator == ROOTS, np.uint32(NONE), tree.dominator)),
        "retained_objects": tree.retained_objects,
        "retained_bytes": tree.retained_bytes,
        "distance": np.ma.masked_array(tree.distance, garbage),
        **_origins(inspection),
    }


def _origins(inspection: Inspection) -> _Columns:
    """Number, birth and site of the objects; NULL where the run was not recorded."""
    count, origins = len(inspection.graph), inspection.snapshot.origins
    number, born_ns = (np.ma.masked_array(np.zeros(count, np.int64), True) for _ in range(2))
    site = np.full(count, None, object)
    if origins is not None:
        places = {address: at for at, address in enumerate(inspection.graph.addresses.tolist())}
        for at, address in enumerate(origins.address):
            if (found := places.get(address)) is not None:
                number[found], born_ns[found] = origins.number[at], origins.born_ns[at]
                site[found] = origins.sites[origins.site[at]]
    return {"number": number, "born_ns": born_ns, "site": site}


def _words(named: NamedGraph) -> _Columns:
    graph, words = named.graph, word_names(named)
    return {
        "holder": graph.addresses[graph.holders],
        "offset_bytes": graph.offsets,
        "name": _texts([name.removeprefix(UNKNOWN) for name in words.names])[words.of],
        "target": graph.addresses[graph.targets],
        "reference": _texts(CERTAINTIES)[word_certainties(named)],
    }


def _roots(named: NamedGraph) -> _Columns:
    graph, roots = named.graph, named.graph.roots
    words = [RootWord.of(named, root) for root in range(len(roots))]
    return {
        "kind": _texts([str(source.kind) for source in roots.sources])[roots.source],
        "source": _texts([source.name for source in roots.sources])[roots.source],
        "address": np.ma.masked_equal(roots.address, 0),
        "name": _texts([word.name for word in words]),
        "value": roots.value,
        "reference": _texts([word.certainty for word in words]),
        "target": _addresses(graph, graph.root_targets),
    }


def _texts(texts: Sequence[str]) -> NDArray[np.object_]:
    """Texts; NULL for empty ones."""
    return np.array([str(text) or None for text in texts] or [None], object)[: len(texts)]


def _addresses(graph: HeapGraph, objects: NDArray[np.uint32]) -> NDArray[Any]:
    """The addresses of objects; NULL for `NONE`."""
    missing = objects == NONE
    addresses = np.zeros(len(objects), np.uint64)
    addresses[~missing] = graph.addresses[objects[~missing]]
    masked: NDArray[Any] = np.ma.masked_array(addresses, missing)
    return masked
