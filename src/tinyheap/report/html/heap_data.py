"""What the HTML page of a heap at one moment shows, as three containers: facts that are there at once, objects, and memory.

The numbers are those of `tinyheap.inspect`; here they are only put into the columns and facts of `heap_contents`.  A snapshot
may come from anywhere, so names are cut off at `LONGEST_NAME`.  What is left out, the page says in a note.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from tinyheap import __version__
from tinyheap.inspect.certainty import CERTAINTIES, word_certainties
from tinyheap.inspect.decoding import decoded
from tinyheap.inspect.dominators import group_sums
from tinyheap.inspect.holes import holes_for
from tinyheap.inspect.overviews import overview
from tinyheap.inspect.paths import RootWord
from tinyheap.inspect.word_names import word_names
from tinyheap.json_of import json_of
from tinyheap.profile.histograms import Bucket
from tinyheap.report.html import heap_contents as contents
from tinyheap.report.html.data import NameTable, shortened
from tinyheap.units import MIB

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from tinyheap.inspect.graph import HeapGraph
    from tinyheap.inspect.inspection import Inspection
    from tinyheap.inspect.overviews import Overview
    from tinyheap.report.html.packing import Columns

MOST_MEMORY_BYTES: Final = 256 * MIB
"""So much of a heap's memory a page holds; of a larger heap, none."""
MOST_DECODED: Final = 2000
"""Of so many objects, those that retain most, values and origins are shown."""
MOST_FIELDS: Final = 64
MOST_WORDS: Final = 200_000
"""So many names of words."""
MOST_ROOTS: Final = 2000
"""Sources of roots."""
MOST_CHANGES: Final = 1000
_U32: Final = 2**32 - 1


Containers = dict[str, "tuple[Mapping[str, Any], Columns]"]
"""The containers of a page, not yet packed: facts and columns of each, by its id."""


def heap_page_data(inspection: Inspection, earlier: Inspection | None = None) -> Containers:
    """All that the page shows of a heap.

    Args:
        inspection: The heap.
        earlier: The heap to compare with; None for no comparison.
    """
    graph = inspection.graph
    head, columns = _objects(inspection)
    memory, notes = _memory(graph)
    if inspection.problem is not None:
        notes.append(f"{inspection.problem}.")
    summary = _summary(inspection, overview(inspection, MOST_ROOTS), _changes(inspection, earlier), notes)
    is_there: contents.HeapMemoryHead = {"is_there": bool(memory)}
    return {"summary": (summary, _groups(inspection)), "objects": (head, columns), "memory": (is_there, memory)}


def _memory(graph: HeapGraph) -> tuple[Columns, list[str]]:
    """The bytes of the blocks, and a note where they are left out."""
    geometry = graph.facts.geometry
    size_bytes = geometry.end_block * geometry.block_bytes
    if size_bytes > MOST_MEMORY_BYTES:
        return {}, [f"The heap is larger than {MOST_MEMORY_BYTES // MIB} MiB: this page has none of its memory."]
    at = geometry.start_address - graph.facts.memory_start_address
    return {"memory": np.frombuffer(graph.memory[at : at + size_bytes], np.uint8)}, []


def _summary(
    inspection: Inspection, found: Overview, changes: contents.Changes | None, notes: list[str]
) -> contents.HeapSummary:
    graph = inspection.graph
    geometry, shape = graph.facts.geometry, graph.facts.shape
    # Of any size: what is asked here does not depend on it.
    holes, block_bytes = holes_for(inspection.named, 1), geometry.block_bytes
    return {
        "module": shortened(found.module),
        "moment": shortened(found.moment),
        "trap": found.trap and shortened(found.trap),
        "collector": found.collector,
        "is_precise": graph.facts.is_precise,
        "memory_bytes": found.memory_bytes,
        "heap_bytes": found.heap_bytes,
        "free_bytes": found.free_bytes,
        "heap_start_address": geometry.start_address,
        "blocks": geometry.end_block,
        "block_bytes": block_bytes,
        "word_bytes": geometry.word_bytes,
        "body_offset_bytes": shape.body_offset_bytes,
        "header_bytes": shape.header_bytes,
        "objects": found.objects,
        "object_bytes": found.object_bytes,
        "garbage_objects": found.garbage_objects,
        "garbage_bytes": found.garbage_bytes,
        "typed_objects": found.typed_objects,
        "typed_bytes": found.typed_bytes,
        "orphan_blocks": found.orphan_blocks,
        "groups": [shortened(name) for name in inspection.named.groups.names],
        "held_by": json_of([replace(each, source=shortened(each.source)) for each in found.held_by]),
        "suspects": [
            {
                "object": each.place.object,
                "gathering": str(each.gathering),
                "count": each.count,
                "group": shortened(each.group),
                "retained_objects": each.place.retained_objects,
                "retained_bytes": each.place.retained_bytes,
            }
            for each in found.suspects
        ],
        "free_runs": json_of(
            [
                Bucket(each.least_blocks * block_bytes, 2 * each.least_blocks * block_bytes, each.runs, each.free_bytes)
                for each in holes.lengths
            ]
        ),
        "cutters": json_of([replace(each, group=shortened(each.group)) for each in holes.cutters]),
        "changes": changes,
        "notes": notes,
        "tinyheap_version": __version__,
    }


def _groups(inspection: Inspection) -> Columns:
    """What the objects of each group take and retain, by the numbers of groups."""
    sums = group_sums(inspection.named)
    return {f"group.{name}": np.array(sums[name], np.float64) for name in contents.COLUMNS["group"]}


def _objects(inspection: Inspection) -> tuple[contents.HeapObjectsHead, Columns]:
    named, graph = inspection.named, inspection.graph
    tree, words, root_names = graph.tree, word_names(named), NameTable("")
    root_words = [RootWord.of(named, root) for root in range(len(graph.roots))]
    most = np.argsort(tree.retained_bytes, kind="stable")[::-1][:MOST_DECODED].tolist()
    columns: Columns = {
        "object.first": graph.first,
        "object.blocks": graph.blocks,
        "object.group": named.groups.of,
        "object.dominator": tree.dominator,
        "object.retained_objects": tree.retained_objects,
        "object.retained_bytes": np.minimum(tree.retained_bytes, _U32).astype(np.uint32),
        "object.step": tree.step,
        "object.references": np.diff(graph.reference_starts).astype(np.uint32),
        "reference.target": graph.targets,
        "reference.offset": graph.offsets,
        "reference.certainty": word_certainties(named).astype(np.uint32),
        "reference.word": np.where(words.of < MOST_WORDS, words.of, np.uint32(0)),
        "root.target": graph.holding_roots,
        "root.source": graph.roots.source,
        "root.address": np.minimum(graph.roots.address, _U32).astype(np.uint32),
        "root.name": np.array([root_names.number(word.name) for word in root_words], np.uint32),
        "root.certainty": np.array([CERTAINTIES.index(word.certainty) for word in root_words], np.uint32),
    }
    head: contents.HeapObjectsHead = {
        "words": [shortened(name) for name in words.names[:MOST_WORDS]],
        "root_names": root_names.list(),
        "certainties": [str(each) for each in CERTAINTIES],
        "sources": [
            {"kind": str(each.kind), "name": shortened(each.name), "start_address": each.start_address}
            for each in graph.roots.sources
        ],
        "decoded": _decoded(inspection, most),
        "origins": _origins(inspection, most),
    }
    return head, columns


def _decoded(inspection: Inspection, objects: list[int]) -> list[contents.Decoded]:
    typed = inspection.named.typed
    found: list[contents.Decoded] = []
    for each in objects if typed is not None else ():
        assert typed is not None, "there are no objects without it"
        fields: list[contents.Field] = [
            {
                "name": shortened(value.name),
                "offset_bytes": value.offset_bytes,
                "type": shortened(value.type),
                "text": shortened(value.text),
            }
            for value in decoded(typed, each, MOST_FIELDS)
        ]
        if fields:
            found.append({"object": each, "fields": fields})
    return found


def _origins(inspection: Inspection, objects: list[int]) -> list[contents.Origin]:
    origins, addresses = inspection.snapshot.origins, inspection.graph.addresses
    if origins is None:
        return []
    places = {address: at for at, address in enumerate(origins.address)}
    known = ((each, places.get(int(addresses[each]))) for each in objects)
    return [
        {
            "object": each,
            "number": origins.number[at],
            "born_ns": origins.born_ns[at],
            "site": shortened(origins.sites[origins.site[at]]),
        }
        for each, at in known
        if at is not None
    ]


def _changes(inspection: Inspection, earlier: Inspection | None) -> contents.Changes | None:
    if earlier is None:
        return None
    found = inspection.since(earlier)
    groups = [replace(each, group=shortened(each.group)) for each in found.groups[:MOST_CHANGES]]
    paths = [replace(each, path=shortened(each.path)) for each in found.paths[:MOST_CHANGES]]
    return {
        "moment": shortened(earlier.snapshot.when),
        "new_objects": found.new_objects,
        "gone_objects": found.gone_objects,
        "left_out": list(found.left_out),
        "groups": json_of(groups),
        "paths": json_of(paths),
    }
