"""Every query of a closed recording raises `RecordingClosedError`; results fetched before stay."""

from __future__ import annotations

import gc
import inspect
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

import duckdb
import pytest

from recordings_made import Shape, make_recording, make_run
from small_recordings import known
from tinyheap import profile
from tinyheap.errors import RecordingClosedError
from tinyheap.recordings.recording import Recording
from tinyheap.recordings.rows import Rows
from tinyheap.recordings.writer import RecordingWriter
from tinyheap.report.exports.formats import FORMATS, export
from tinyheap.report.exports.report_json import comparison_json, report_json
from tinyheap.report.html.page import page
from tinyheap.report.terminal.recording_report import comparison, report


def required(function: Callable[..., object]) -> list[inspect.Parameter]:
    return [each for each in inspect.signature(function).parameters.values() if each.default is each.empty]


PUBLIC = [getattr(profile, name) for name in import_module("tinyheap.profile").__all__]
ANALYSES = [each for each in PUBLIC if inspect.isfunction(each) and required(each)[0].annotation == "Recording"]
"""All functions that are told a recording first."""
OF_ROWS: dict[str, Callable[[Rows], object]] = {
    "columns": attrgetter("columns"),
    "types": attrgetter("types"),
    "as_text": Rows.as_text,
    "as_json": Rows.as_json,
    "fetch": Rows.fetch,
    "one": Rows.one,
    "numpy": Rows.numpy,
    "polars": Rows.polars,
    "pandas": Rows.pandas,
    "arrow": Rows.arrow,
    "iter": list,
    "len": len,
    "repr": repr,
    "html": Rows._repr_html_,
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_recording(tmp_path_factory.mktemp("made") / "made.tinyheap", events=600)


@pytest.fixture
def closed(path: Path) -> Recording:
    recording = Recording.open(path)
    recording.close()
    return recording


def is_closed(recording: Recording, work: Callable[[], object]) -> bool:
    with pytest.raises(RecordingClosedError) as raised:
        work()
    return str(raised.value) == f"{recording.path} is closed: open it again, and ask before it is closed"


def test_its_methods_say_so(closed: Recording) -> None:
    assert is_closed(closed, lambda: closed.sql("SELECT 1"))
    assert is_closed(closed, lambda: closed.frame("events"))
    assert is_closed(closed, lambda: closed.connection)
    assert is_closed(closed, closed.__enter__)


def test_what_it_holds_in_memory_stays(closed: Recording) -> None:
    assert closed.run.events > 0
    assert repr(closed).endswith("events; closed>")
    assert "made.wasm" in closed._repr_html_()
    closed.close()


def test_it_is_closed_behind_a_with_and_after_an_error_in_it(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Recording.open(path) as recording:
        _ = 1 / 0
    assert is_closed(recording, lambda: recording.sql("SELECT 1"))


def test_it_is_closed_where_only_duckdb_was_told(path: Path) -> None:
    recording = Recording.open(path)
    recording.connection.close()
    assert is_closed(recording, lambda: recording.sql("SELECT 1"))
    assert is_closed(recording, lambda: profile.totals(recording))


@pytest.mark.parametrize("analysis", ANALYSES, ids=lambda each: each.__name__)
@pytest.mark.share(6)
def test_every_analysis_says_so(closed: Recording, analysis: Callable[..., object]) -> None:
    arguments: list[Any] = [closed if each.annotation == "Recording" else 1 for each in required(analysis)]
    assert is_closed(closed, lambda: analysis(*arguments))


def test_every_analysis_is_among_them() -> None:
    assert {"totals", "compare", "leak_suspects", "heap_at", "stack_of"} <= {each.__name__ for each in ANALYSES}
    assert len(ANALYSES) >= 14


@pytest.mark.parametrize("format_name", FORMATS)
def test_every_export_says_so_and_writes_nothing(closed: Recording, format_name: str, tmp_path: Path) -> None:
    assert is_closed(closed, lambda: export(closed, format_name, tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


def test_every_report_says_so(closed: Recording) -> None:
    assert is_closed(closed, lambda: page(closed))
    assert is_closed(closed, lambda: report_json(closed))
    assert is_closed(closed, lambda: comparison_json(closed, closed))
    assert is_closed(closed, lambda: list(report(closed, profile.Measure.ALLOCATED_BYTES, 5)))
    assert is_closed(closed, lambda: list(comparison(closed, closed)))


@pytest.mark.parametrize("method", OF_ROWS)
@pytest.mark.share(6)
def test_rows_that_were_not_fetched_say_so(path: Path, method: str) -> None:
    with Recording.open(path) as recording:
        rows = recording.frame("events")
    assert is_closed(recording, lambda: OF_ROWS[method](rows))


def test_what_was_fetched_stays(path: Path) -> None:
    with Recording.open(path) as recording:
        rows = recording.sql("SELECT number, reason FROM collections ORDER BY number")
        fetched, arrays, frames = rows.fetch(), rows.numpy(), [rows.polars(), rows.pandas(), rows.arrow()]
        totals, graph = profile.totals(recording), known(profile.flame_graph(recording))
    assert len(fetched) == len(arrays["number"]) == known(totals.collections) > 0
    assert [len(frame) for frame in frames] == [len(fetched)] * 3
    assert graph.root.total == totals.allocated_bytes


@pytest.mark.parametrize(
    "end",
    [
        "",
        "recording.close()",
        "profile.totals(recording)",
        "recording.close(); recording.close(); del rows",
        "kept = [recording, rows, iter(rows), profile.flame_graph(recording)]; sys.kept = kept",
        "iterator = iter(rows); next(iterator); recording.close()",
        "kept = [recording]; kept.append(kept)",
        "with recording: rows.fetch()",
        "rows.polars(); rows.arrow(); rows.pandas()",
    ],
)
@pytest.mark.share(3)
def test_no_script_ends_with_words_of_duckdbs_about_what_is_left(path: Path, end: str) -> None:
    script = f"""
import sys
from tinyheap import profile
from tinyheap.recordings.recording import Recording
recording = Recording.open(sys.argv[1])
rows = recording.frame("events")
{end}
"""
    run = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("", "")


def test_nor_does_one_that_ends_with_an_error(path: Path) -> None:
    script = """
import sys
from tinyheap.recordings.recording import Recording
recording = Recording.open(sys.argv[1])
rows = recording.frame("events")
recording.sql("FROM nowhere")
"""
    run = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith("tinyheap.errors.QueryError: Table with name nowhere does not exist")
    assert "nanobind" not in run.stderr


FORGOTTEN = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from recordings_made import Shape, make_run
from tinyheap.recordings.writer import RecordingWriter
made = make_run(Shape(events=300))
writer = RecordingWriter.create(Path(sys.argv[1]), made.run, made.frames)
for batch in made.batches:
    writer.append(batch)
"""


@pytest.mark.parametrize("end", ["", "del writer", "keep = [writer]; keep.append(keep); del writer", "1 / 0"])
@pytest.mark.slow
def test_a_writer_that_was_forgotten_leaves_all_that_it_was_handed_and_no_words(tmp_path: Path, end: str) -> None:
    """Its thread may not outlive the interpreter's objects, of which it holds some."""
    command = [
        sys.executable,
        "-c",
        FORGOTTEN + end,
        str(tmp_path / "made.tinyheap"),
        str(Path(__file__).parents[1] / "support"),
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.stderr.splitlines()[-1:] == (["ZeroDivisionError: division by zero"] if end == "1 / 0" else [])
    assert list(tmp_path.iterdir()) == [tmp_path / "made.tinyheap"], "it was closed"
    with Recording.open(tmp_path / "made.tinyheap") as recording:
        assert recording.run.events >= 300
        assert not recording.run.is_complete


def test_a_writer_that_is_forgotten_ends_its_thread(tmp_path: Path) -> None:
    made = make_run(Shape(events=300))
    writer = RecordingWriter.create(tmp_path / "made.tinyheap", made.run, made.frames)
    for batch in made.batches:
        writer.append(batch)
    [thread] = [each for each in threading.enumerate() if each.name == "recording writer"]
    del writer
    gc.collect()
    assert not thread.is_alive()
    with Recording.open(tmp_path / "made.tinyheap") as recording:
        assert recording.run.events >= 300


@pytest.mark.slow
def test_nothing_of_duckdbs_is_kept_by_what_is_closed(path: Path, tmp_path: Path) -> None:
    gc.collect()
    before = len(connections())
    recording = Recording.open(path)
    made = make_run(Shape(events=300))
    writer = RecordingWriter.create(tmp_path / "made.tinyheap", made.run, made.frames)
    for batch in made.batches:
        writer.append(batch)
    assert len(connections()) > before
    recording.close()
    writer.close()
    assert len(connections()) == before
    assert (repr(recording).endswith("closed>"), writer.path.exists()) == (True, True)


def connections() -> list[duckdb.DuckDBPyConnection]:
    return [each for each in gc.get_objects() if isinstance(each, duckdb.DuckDBPyConnection)]
