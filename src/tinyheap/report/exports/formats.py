"""The formats that a recording, or a heap at one moment, can be exported to, and writing them, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Generic, ParamSpec

from tinyheap.errors import RecordingError, SnapshotError
from tinyheap.files import text_of, write_whole
from tinyheap.profile import Measure, Unknown, flame_graph
from tinyheap.report.exports.collapsed import collapsed
from tinyheap.report.exports.dot import dot
from tinyheap.report.exports.heap_tables import heap_database, write_heap_tables
from tinyheap.report.exports.heapsnapshot import heapsnapshot
from tinyheap.report.exports.perfetto import perfetto
from tinyheap.report.exports.pprof import pprof
from tinyheap.report.exports.speedscope import speedscope
from tinyheap.report.exports.tables import write_tables

if TYPE_CHECKING:
    from tinyheap.inspect.answers import WhyAnswer
    from tinyheap.inspect.inspection import Inspection
    from tinyheap.recordings.recording import Recording


_Sources = ParamSpec("_Sources")


@dataclass(frozen=True, slots=True)
class ExportFormat(Generic[_Sources]):
    """A file format to export to: one file, or a folder with a file per table."""

    description: str
    content: Callable[_Sources, bytes | Iterable[bytes]] | None = None
    """What is in the file, in one piece or several; None for a folder."""
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


def _dot(_: Inspection, answer: WhyAnswer | None) -> bytes:
    if answer is None:
        raise SnapshotError("a graph shows why objects are alive: name them (--why)")
    return dot(answer)


FORMATS: Final[dict[str, ExportFormat[[Recording, Measure]]]] = {
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
"""Those of a recording, by the names that `tinyheap report --export` takes."""

HEAP_FORMATS: Final[dict[str, ExportFormat[[Inspection, WhyAnswer | None]]]] = {
    "heapsnapshot": ExportFormat(
        "a heap snapshot for the Memory panel of Chrome DevTools", lambda inspection, _: heapsnapshot(inspection.named)
    ),
    "dot": ExportFormat("what --why tells, as a graph for Graphviz", _dot),
    "duckdb": ExportFormat(
        "a database with tables of objects, words and roots", lambda inspection, _: heap_database(inspection)
    ),
    "csv": ExportFormat("a folder with one CSV file per table", extension="csv"),
    "parquet": ExportFormat("a folder with one Parquet file per table", extension="parquet"),
}
"""Those of a heap at one moment, by the names that `tinyheap inspect --export` takes."""


def export_heap(inspection: Inspection, format_name: str, path: Path, answer: WhyAnswer | None = None) -> None:
    """Write a heap at one moment in another format.

    Args:
        inspection: The heap.
        format_name: One of `HEAP_FORMATS`.
        path: The file, or the folder for tables; what is there is replaced.
        answer: Why objects are alive, for a format that shows it.

    Raises:
        OutputError: The file cannot be written.
        SnapshotError: There is nothing to show.
    """
    content = HEAP_FORMATS[format_name].content
    if content is None:
        write_heap_tables(inspection, path, HEAP_FORMATS[format_name].extension)
    else:
        write_whole(path, content(inspection, answer))
