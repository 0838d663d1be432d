"""Mutants of what reads heap graphs: faults made by hand, each of which changes what it finds in some heap."""

from __future__ import annotations

from typing import Final

from source_edits import Edit

_GRAPH: Final = "_graph.py"
_REACH: Final = "_reach.py"
_WALK: Final = "_walk.py"

GRAPH_MUTANTS: Final = {
    # ---- objects ----
    "blocks that are skipped are more than are looked at": Edit(_GRAPH, "find_objects", "block += 32", "block += 33"),
    "objects with their head at the end are tails of none": Edit(
        _GRAPH, "find_objects", "state = HEAD", "state = state"
    ),
    "tails without a head are objects": Edit(_GRAPH, "find_objects", "state = TAIL", "state = HEAD"),
    "tails that belong to none are counted without the last": Edit(
        _GRAPH, "find_objects", "orphans += end - block", "orphans += end - block - 1"
    ),
    "bits of the last word go beyond the end": Edit(
        _GRAPH, "set_bits", "mask & ~(ONES << (end & 63))", "mask & ~(ONES << ((end + 1) & 63))"
    ),
    "objects before a word of the bitmap are those up to its end": Edit(
        _GRAPH,
        "count_ranks",
        "heap.ranks[word] = cython.cast(u32, rank)\nrank += count_ones(heap.firsts[word])",
        "rank += count_ones(heap.firsts[word])\nheap.ranks[word] = cython.cast(u32, rank)",
    ),
    "an object goes on into the next one": Edit(
        _GRAPH, "object_end", "ends = ~heap.taken[word] | heap.firsts[word]", "ends = ~heap.taken[word]"
    ),
    # ---- references ----
    "an object's last word is not read": Edit(
        _GRAPH,
        "scan_object",
        "words = (end - at - heap.overhang) >> heap.step_shift",
        "words = ((end - at - heap.overhang) >> heap.step_shift) - 1",
    ),
    "headers are part of the body": Edit(_GRAPH, "scan_object", "start + heap.body_offset", "start"),
    "layouts at the end of objects are looked for at their beginning": Edit(
        _GRAPH,
        "scan_object",
        "stop - heap.layout_offset if heap.back != 0 else start + heap.layout_offset",
        "start + heap.layout_offset",
    ),
    "the second of four words is skipped": Edit(_GRAPH, "scan_all", "index += 4", "index += 5"),
    "inline layouts do not repeat": Edit(_GRAPH, "scan_inline", "index += size", "index += words"),
    "inline layouts without bits may be anything": Edit(
        _GRAPH, "scan_inline", "return CERTAIN", "return POSSIBLE", nth=1
    ),
    "layouts among the statics repeat one bit late": Edit(
        _GRAPH, "scan_static", "place + piece < size", "place + piece <= size"
    ),
    # ---- what is reached ----
    "a second root of an object leads to it": Edit(
        _REACH, "walk_breadth", "target != NONE and step[target] == NONE", "target != NONE"
    ),
    "distances are one too long": Edit(
        _REACH, "walk_breadth", "distance[target] = distance[holder] + 1", "distance[target] = distance[holder] + 2"
    ),
    "a path comes by the last word that leads on": Edit(
        _REACH,
        "walk_breadth",
        "step[target] = cython.cast(u32, reference)",
        "step[target] = cython.cast(u32, graph.starts[holder + 1] - 1)",
    ),
    "the first reference of an object is not followed": Edit(
        _REACH, "descend", "search.up[count] = graph.starts[target]", "search.up[count] = graph.starts[target] + 1"
    ),
    "the parent is the root of the walk": Edit(
        _REACH, "descend", "search.parent[count] = vertex", "search.parent[count] = search.number[root]"
    ),
    "roots are no predecessors": Edit(
        _REACH, "list_predecessors", "search.before[starts[target]] = 0", "search.before[starts[target]] = target"
    ),
    "semidominators are those of predecessors with lower numbers": Edit(
        _REACH, "find_semidominators", "found < semi", "found > semi"
    ),
    "paths are compressed and forget what lies on them": Edit(
        _REACH, "least", "search.low[above] < search.low[vertex]", "False"
    ),
    "parents are dominators": Edit(_REACH, "find_dominators", "above > search.semi[vertex]", "False"),
    "objects retain themselves only": Edit(
        _REACH, "dominate", "retained_blocks[above] += retained_blocks[object_]", ""
    ),
    "objects retain what they dominate directly": Edit(
        _REACH, "dominate", "retained_objects[above] += retained_objects[object_]", "retained_objects[above] += 1"
    ),
    "a group is never left": Edit(_REACH, "walk_tree", "on_way[groups[each]] -= 1", ""),
    "paths never take back what others took": Edit(
        _REACH, "augment", "count = visit(network, count, 2 * network.after[each] + 1, node)", ""
    ),
    "paths may share an object": Edit(_REACH, "augment", "network.before[each] == NONE", "True"),
    "what is taken back stays on its path": Edit(_REACH, "take_path", "network.before[node >> 1] = NONE", ""),
    # ---- types ----
    "an array's last element is not looked at": Edit(
        _WALK, "run", "walk.value < values.length", "walk.value + 1 < values.length"
    ),
    "only the first word of a value is followed": Edit(
        _WALK, "run", "walk.reference < row.count", "walk.reference < 1"
    ),
    "the next reference begins where the last one ended": Edit(_WALK, "run", "walk.value = 0", ""),
    "slices have room for their length only": Edit(
        _WALK, "refer", "word_at(walk, at + 2 * WORD_BYTES)", "word_at(walk, at + WORD_BYTES)"
    ),
    "strings are one byte long": Edit(
        _WALK,
        "refer",
        "point(walk, holder, word_at(walk, at), ref.target, word_at(walk, at + WORD_BYTES))",
        "point(walk, holder, word_at(walk, at), ref.target, 1)",
    ),
    "type codes that nobody knows are the next ones": Edit(_WALK, "boxed_by", "walk.codes[low] == code", "True"),
    "pointers out of the heap lead nowhere": Edit(_WALK, "point", "return OUTSIDE", "return DONE"),
    "a claim reaches beyond its object": Edit(
        _WALK, "claim_part", "count > room // row.size_bytes", "count > room // row.size_bytes + 1"
    ),
    "the last claim wins": Edit(
        _WALK,
        "claim_part",
        "count * row.size_bytes <= walk.covered[index]",
        "count * row.size_bytes < walk.covered[index]",
    ),
    "an object is claimed once more": Edit(
        _WALK, "claim_part", "walk.times[index] >= MOST_CLAIMS", "walk.times[index] > MOST_CLAIMS"
    ),
    "claims begin where their object does": Edit(
        _WALK, "claim_part", "walk.starts[index] = start", "walk.starts[index] = 0"
    ),
    "what waits is moved without its last": Edit(
        _WALK, "wait_for", "walk.tail -= walk.head", "walk.tail -= walk.head + 1"
    ),
    "the last word of memory is beyond it": Edit(
        _WALK, "word_at", "walk.memory_bytes - WORD_BYTES", "walk.memory_bytes - WORD_BYTES - 1"
    ),
    "an address behind an object is in it": Edit(
        _WALK, "object_at", "address - walk.addresses[low] < size_bytes", "address - walk.addresses[low] <= size_bytes"
    ),
}
