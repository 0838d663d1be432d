"""The report of a recording as JSON, for other programs.

Keys that stay: ``run`` (the table of that name), ``observed`` (what is known of it; where ``lives`` is ``at most``, all that
is said of live objects and of lifetimes is an upper bound), ``totals``, ``flame_graphs`` (by measure), ``by_function``,
``by_site``, ``by_line``, ``by_layout``, ``time_line``, ``pauses``, ``size_histogram``, ``lifetime_histogram``,
``survival_histogram``, ``leak_suspects``, ``linear_memory`` and ``calls``; where two recordings are compared, ``comparison``
alone.  What is below them are the fields of the results of `tinyheap.profile`; what a recording cannot know is null.  A flame
graph is a list of nodes, callers first, each with the index of its caller (null for the first), so that no reader has to
follow it to its depth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tinyheap import profile
from tinyheap.json_of import json_of
from tinyheap.profile import Measure, Unknown

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinyheap.profile import FlameGraph
    from tinyheap.recordings.recording import Recording


def report_json(recording: Recording) -> dict[str, Any]:
    """All analyses of a recording, as values that `json.dumps` takes."""
    observed = recording.run.observed
    return {
        "run": json_of(recording.run),
        "observed": json_of(observed),
        "totals": json_of(profile.totals(recording)),
        **(_of_heap(recording) if observed.allocations else dict.fromkeys(("flame_graphs", *_OF_HEAP))),
        "linear_memory": json_of(profile.linear_memory(recording)),
        "calls": json_of(profile.host_calls(recording)),
    }


_OF_HEAP: Final[dict[str, Callable[[Recording], object]]] = {
    "by_function": lambda recording: profile.by_function(recording).usages,
    "by_site": lambda recording: profile.by_site(recording).usages,
    "by_line": lambda recording: profile.by_line(recording).usages,
    "by_layout": profile.by_layout,
    "time_line": profile.time_line,
    "pauses": profile.pauses,
    "size_histogram": profile.size_histogram,
    "lifetime_histogram": profile.lifetime_histogram,
    "survival_histogram": profile.survival_histogram,
    "leak_suspects": profile.leak_suspects,
}
"""Analyses of what is allocated, by key; beside them, ``flame_graphs``."""


def _of_heap(recording: Recording) -> dict[str, Any]:
    graphs = {each.value: _nodes_or_null(profile.flame_graph(recording, each)) for each in Measure}
    return {"flame_graphs": graphs} | {name: json_of(analysis(recording)) for name, analysis in _OF_HEAP.items()}


def comparison_json(before: Recording, after: Recording) -> dict[str, Any]:
    """The comparison of two recordings, as values that `json.dumps` takes."""
    return {"comparison": json_of(profile.compare(before, after))}


def _nodes_or_null(graph: FlameGraph | Unknown) -> list[dict[str, Any]] | None:
    return None if isinstance(graph, Unknown) else nodes(graph)


def nodes(graph: FlameGraph) -> list[dict[str, Any]]:
    """A flame graph as a list of its nodes."""
    found: list[dict[str, Any]] = []
    path: list[int] = []
    for depth, node in graph.root.walk():
        del path[depth:]
        found.append({"name": node.name, "own": node.own, "total": node.total, "caller": path[-1] if path else None})
        path.append(len(found) - 1)
    return found
