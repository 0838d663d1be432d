"""The report of a recording as JSON, for other programs.

Keys that stay: ``run`` (the table of that name), ``totals``, ``flame_graphs`` (by measure), ``by_function``, ``by_site``,
``by_layout``, ``time_line``, ``pauses``, ``size_histogram``, ``lifetime_histogram``, ``survival_histogram`` and
``leak_suspects``; where two recordings are compared, ``comparison`` alone.  What is below them are the fields of the
results of `tinyheap.profile`; what a recording cannot know is null.  A flame graph is a list of nodes, callers first, each
with the index of its caller (null for the first), so that no reader has to follow it to its depth.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any

from tinyheap import profile
from tinyheap.profile import Measure, Unknown

if TYPE_CHECKING:
    from tinyheap.profile import FlameGraph
    from tinyheap.recordings.recording import Recording


def report_json(recording: Recording) -> dict[str, Any]:
    """What `json.dumps` takes: all analyses of a recording."""
    return {
        "run": as_json(recording.run),
        "totals": as_json(profile.totals(recording)),
        "flame_graphs": {each.value: _nodes_or_null(profile.flame_graph(recording, each)) for each in Measure},
        "by_function": as_json(profile.by_function(recording).usages),
        "by_site": as_json(profile.by_site(recording).usages),
        "by_layout": as_json(profile.by_layout(recording)),
        "time_line": as_json(profile.time_line(recording)),
        "pauses": as_json(profile.pauses(recording)),
        "size_histogram": as_json(profile.size_histogram(recording)),
        "lifetime_histogram": as_json(profile.lifetime_histogram(recording)),
        "survival_histogram": as_json(profile.survival_histogram(recording)),
        "leak_suspects": as_json(profile.leak_suspects(recording)),
    }


def comparison_json(before: Recording, after: Recording) -> dict[str, Any]:
    """What `json.dumps` takes: two recordings side by side."""
    return {"comparison": as_json(profile.compare(before, after))}


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


def as_json(value: Any) -> Any:  # noqa: ANN401 - any result, and what JSON has for it
    """A result, or what it consists of, as JSON has it."""
    if isinstance(value, Unknown):
        return None
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple | list):
        return [as_json(each) for each in value]
    if isinstance(value, dict):
        return {str(key): as_json(each) for key, each in value.items()}
    if isinstance(value, Enum):
        return value.value
    return value.isoformat() if isinstance(value, datetime) else value
