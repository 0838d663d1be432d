"""A recording as a file of speedscope, one profile for each measure that weighs anything.

The format is speedscope's "file format schema"; a profile is *sampled*: stacks, and what each weighs.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from tinyheap import __version__
from tinyheap.profile import Measure, Unknown, flame_graph

if TYPE_CHECKING:
    from tinyheap.profile import FlameGraph
    from tinyheap.recordings.recording import Recording

INLINED: Final = " [inlined]"
"""Stands behind a function that was inlined into its caller."""
SCHEMA: Final = "https://www.speedscope.app/file-format-schema.json"


def speedscope(recording: Recording) -> bytes:
    """The file, as JSON."""
    frames: dict[str, int] = {}
    asked = (flame_graph(recording, measure) for measure in Measure)
    graphs = [graph for graph in asked if not isinstance(graph, Unknown)]
    profiles = [_profile(graph, frames) for graph in graphs if graph.root.total] or [_profile(graphs[0], frames)]
    whole = {
        "$schema": SCHEMA,
        "name": recording.run.module,
        "exporter": f"tinyheap {__version__}",
        "activeProfileIndex": 0,
        "shared": {"frames": [_frame(name, graphs[0].files.get(name.removesuffix(INLINED))) for name in frames]},
        "profiles": profiles,
    }
    return json.dumps(whole, separators=(",", ":")).encode()


def _frame(name: str, file: str | None) -> dict[str, str]:
    """A function, and its source file where that is known."""
    return {"name": name} if file is None else {"name": name, "file": file}


def _profile(graph: FlameGraph, frames: dict[str, int]) -> dict[str, Any]:
    """One profile; `frames` collects the names of functions, whose numbers it uses."""
    samples, weights = [], []
    for path, weight in graph.stacks(INLINED):
        samples.append([frames.setdefault(name, len(frames)) for name in path])
        weights.append(weight)
    return {
        "type": "sampled",
        "name": graph.title,
        "unit": "bytes" if graph.measure.is_bytes else "none",
        "startValue": 0,
        "endValue": graph.root.total,
        "samples": samples,
        "weights": weights,
    }
