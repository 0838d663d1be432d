"""The forms that a recording can be exported to, and writing them.

A file is written beside its place and then moved there, so that there is all of it or what was there before.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tinyheap.errors import ReportError
from tinyheap.profile import Measure, Unknown, flame_graph
from tinyheap.report.collapsed import collapsed
from tinyheap.report.perfetto import perfetto
from tinyheap.report.pprof import pprof
from tinyheap.report.speedscope import speedscope
from tinyheap.report.tables import write_tables

if TYPE_CHECKING:
    from tinyheap.recordings.recording import Recording


@dataclass(frozen=True, slots=True)
class Form:
    """A form to export to."""

    description: str
    write: Callable[[Recording, Path, Measure], None]


def export(recording: Recording, form: str, path: Path, measure: Measure = Measure.ALLOCATED_BYTES) -> None:
    """Write a recording in another form.

    Args:
        recording: The recording.
        form: One of `FORMS`.
        path: The file, or the folder for tables; what is there is replaced.
        measure: For a form that holds only one.

    Raises:
        ReportError: The file cannot be written, or holds nothing but what the recording cannot know.
    """
    FORMS[form].write(recording, path, measure)


def write_file(path: Path, content: bytes) -> None:
    """Write a file, all of it or nothing; raises `ReportError` where that cannot be."""
    # What is no file, such as a pipe, cannot be replaced.
    beside = path if path.exists() and not path.is_file() else path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(content)
        if beside != path:
            beside.replace(path)
    except OSError as error:
        if beside != path:
            with suppress(OSError):
                beside.unlink()
        raise ReportError(f"{path} cannot be written: {error.strerror or error}") from error


def _file(content: Callable[[Recording], bytes]) -> Callable[[Recording, Path, Measure], None]:
    return lambda recording, path, measure: write_file(path, content(recording))


def _collapsed(recording: Recording, path: Path, measure: Measure) -> None:
    graph = flame_graph(recording, measure)
    if isinstance(graph, Unknown):
        raise ReportError(f"{path} is not written: {measure.title} are {graph}; choose another measure")
    write_file(path, collapsed(graph))


FORMS: Final = {
    "pprof": Form("a heap profile for `go tool pprof`", _file(pprof)),
    "speedscope": Form("flame graphs of all measures, for speedscope", _file(speedscope)),
    "collapsed": Form("one flame graph as collapsed stacks, for flamegraph.pl and others; see --measure", _collapsed),
    "perfetto": Form("collections and the heap through time, for Perfetto", _file(perfetto)),
    "csv": Form("a folder with a CSV file a table", lambda recording, path, _: write_tables(recording, path, "csv")),
    "parquet": Form(
        "a folder with a Parquet file a table", lambda recording, path, _: write_tables(recording, path, "parquet")
    ),
}
"""By the names that the command line knows them by."""
