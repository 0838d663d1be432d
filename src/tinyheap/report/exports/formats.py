"""The formats that a recording can be exported to, and writing them, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tinyheap.errors import RecordingError
from tinyheap.files import text_of, write_whole
from tinyheap.profile import Measure, Unknown, flame_graph
from tinyheap.report.exports.collapsed import collapsed
from tinyheap.report.exports.perfetto import perfetto
from tinyheap.report.exports.pprof import pprof
from tinyheap.report.exports.speedscope import speedscope
from tinyheap.report.exports.tables import write_tables

if TYPE_CHECKING:
    from tinyheap.recordings.recording import Recording


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """A file format to export to: one file, or a folder with a file per table."""

    description: str
    content: Callable[[Recording, Measure], bytes] | None = None
    """What is in the file; None for a folder."""
    extension: str = ""
    """Of the files in the folder, without its dot."""


def export(recording: Recording, format_name: str, path: Path, measure: Measure = Measure.ALLOCATED_BYTES) -> None:
    """Write a recording in another format.

    Args:
        recording: The recording.
        format_name: One of `FORMATS`.
        path: The file, or the folder for tables; what is there is replaced.
        measure: For a format that holds only one.

    Raises:
        OutputError: The file cannot be written.
        RecordingError: It would hold nothing but what the recording cannot know.
    """
    content = FORMATS[format_name].content
    if content is None:
        write_tables(recording, path, FORMATS[format_name].extension)
    else:
        write_whole(path, content(recording, measure))


def _collapsed(recording: Recording, measure: Measure) -> bytes:
    graph = flame_graph(recording, measure)
    if isinstance(graph, Unknown):
        raise RecordingError(f"{text_of(recording.path)}: {measure.title} are {graph}; choose another measure")
    return collapsed(graph)


FORMATS: Final = {
    "pprof": ExportFormat("a heap profile for `go tool pprof`", lambda recording, _: pprof(recording)),
    "speedscope": ExportFormat(
        "flame graphs of all measures, for speedscope", lambda recording, _: speedscope(recording)
    ),
    "collapsed": ExportFormat(
        "one flame graph as collapsed stacks, for flamegraph.pl and others; see --measure",
        _collapsed,
    ),
    "perfetto": ExportFormat(
        "collections and the heap through time, for Perfetto", lambda recording, _: perfetto(recording)
    ),
    "csv": ExportFormat("a folder with one CSV file per table", extension="csv"),
    "parquet": ExportFormat("a folder with one Parquet file per table", extension="parquet"),
}
"""By the names that `tinyheap report --export` takes."""
