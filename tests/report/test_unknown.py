"""Statistics that were not observed are shown as unknown, by every analysis and in every medium.

Two recordings of a module that keeps its own allocator, made before deaths were inferred,
have the same events.  One of them also has collections, deaths,
samples and growths, which say nothing there: whatever statistic is made of them, even a count of none, is another one
then.  So an analysis that is new is tested by being in `tinyheap.profile`, and a format to export to by being in `FORMATS`.
"""

from __future__ import annotations

import dataclasses
import gzip
import inspect
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console, RenderableType

from recordings.test_live import RUN
from small_recordings import Rows, opened
from tinyheap import profile
from tinyheap.errors import RecordingError
from tinyheap.profile import Measure, Unknown
from tinyheap.recordings.batch import EVENT, Batch
from tinyheap.recordings.recording import Recording
from tinyheap.report.exports.formats import FORMATS, export
from tinyheap.report.exports.report_json import comparison_json, report_json
from tinyheap.report.html.data import page_data
from tinyheap.report.live.screen import LiveScreen, line
from tinyheap.report.live.statistics import LiveStatistics
from tinyheap.report.notebook.forms import html_of
from tinyheap.report.terminal.recording_report import comparison, report
from tinyheap.report.terminal.results import renderable_of
from tinyheap.results import Result

SAID = re.compile(
    r"\b0 collections|none ran|no collection|none yet|no pause|% taken|in the collector|--gc-every|"
    r"\b(live|freed|collections|heap|peak) +[0-9]|-100%|left to the program",
    re.IGNORECASE,
)
"""What a text says that pretends to know of collections."""
ENDED_NS = 10_000
ARGUMENTS = {"address": 0x10100, "stack_id": 1}
"""For the parameters of analyses that have to be given, beside the recording."""


def events() -> Rows:
    """A run with stacks and layouts, of whose collections nothing is said."""
    rows = Rows(source="injected", collector="best-fit, precise", infers_deaths=False)
    stacks = [rows.path("_start", "main.main", name) for name in ("main.load", "main.parse", "runtime.sliceAppend")]
    for number in range(60):
        rows.allocate(8 + 8 * (number % 5), stacks[number % 3], layout=number % 2)
    rows.time_ns = ENDED_NS
    return rows


def heard() -> Rows:
    """The same events, and between them what such a recording does not say."""
    rows = events()
    births, rows.births, rows.events, rows.time_ns = rows.births, [], 0, 0
    for birth in births:
        rows.births.append(birth)
        rows.events, rows.time_ns = birth.event_id, birth.time_ns
        if birth.event_id % 5 == 0:
            rows.collect(*(each for each in rows.alive() if each.object_id % 3), pause_ns=1, after_ns=1)
            rows.sample(used_bytes=1000 + birth.event_id)
    rows.time_ns = ENDED_NS
    return rows


@pytest.fixture
def both() -> Iterator[tuple[Recording, Recording]]:
    with opened(events()) as silent, opened(heard()) as noisy:
        noisy.connection.execute("INSERT INTO growths SELECT 10, 1, 65536, 131072, 16")
        yield silent, noisy


def shown(*renderables: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=160, record=True)
    for each in renderables:
        console.print(each)
    return console.export_text()


def plain(value: Any) -> Any:  # noqa: ANN401 - any result
    """A result as what can be compared."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        return repr(value.tolist())
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, tuple | list) else value


def analyses() -> Iterator[tuple[str, Callable[..., Any], list[str]]]:
    """Every analysis: its name, itself, and its parameters that have to be given."""
    for name in import_module("tinyheap.profile").__all__:
        function = getattr(profile, name)
        parameters = inspect.signature(function).parameters.values() if inspect.isfunction(function) else ()
        if any(each.annotation == "Recording" for each in parameters):
            yield name, function, [each.name for each in parameters if each.default is inspect.Parameter.empty]


def asked(recording: Recording, function: Callable[..., Any], needed: list[str]) -> Any:  # noqa: ANN401
    given = {name: ARGUMENTS.get(name, recording) for name in needed}
    return function(**given)


def test_there_are_analyses() -> None:
    assert {"totals", "compare", "pauses", "leak_suspects", "heap_at"} <= {name for name, _, _ in analyses()}


@pytest.mark.parametrize(("name", "function", "needed"), list(analyses()))
@pytest.mark.share(6)
def test_no_analysis_makes_a_statistic_of_what_was_not_observed(
    name: str, function: Callable[..., Any], needed: list[str], both: tuple[Recording, Recording]
) -> None:
    silent, noisy = (asked(each, function, needed) for each in both)
    assert plain(silent) == plain(noisy), f"{name} takes what it cannot know for known"
    text = shown(renderable_of(silent)) if dataclasses.is_dataclass(silent) else ""
    assert SAID.findall(text) == []
    if isinstance(silent, Result):
        assert SAID.findall(re.sub("<[^>]*>", "", html_of(silent))) == []


@pytest.mark.parametrize("measure", Measure)
@pytest.mark.share(3)
def test_no_flame_graph_of_what_was_not_observed(measure: Measure, both: tuple[Recording, Recording]) -> None:
    for recording in both:
        graph = profile.flame_graph(recording, measure)
        assert isinstance(graph, Unknown) == (measure.needs_collections or measure.is_live)
    text = shown(*report(both[0], measure, 15))
    assert ("unknown" in text.partition("Stacks, by")[2].splitlines()[1]) == isinstance(graph, Unknown)
    assert SAID.findall(text) == []
    assert text == shown(*report(both[1], measure, 15))


def test_json_has_null(both: tuple[Recording, Recording]) -> None:
    silent, noisy = (json.loads(json.dumps(report_json(each))) for each in both)
    assert silent == noisy
    for name in (
        "live_objects",
        "live_bytes",
        "peak",
        "collections",
        "collector_ns",
        "freed_bytes",
        "growths",
        "heap_bytes",
    ):
        assert silent["totals"][name] is None
    for name in ("pauses", "lifetime_histogram", "survival_histogram", "leak_suspects"):
        assert silent[name] is None
    assert silent["flame_graphs"]["live-at-end-bytes"] is None
    assert silent["time_line"]["collections"] is None


def test_the_page_holds_nothing_of_it(both: tuple[Recording, Recording]) -> None:
    silent, noisy = (page_data(each) for each in both)
    assert plain(silent) == plain(noisy)
    assert "weight.end_bytes" not in silent.summary_columns
    assert np.isnan(silent.summary_columns["point.live_bytes"]).all()


@pytest.mark.parametrize("format_name", [name for name in FORMATS if name not in ("csv", "parquet")])
def test_exports_leave_it_out(format_name: str, both: tuple[Recording, Recording], tmp_path: Path) -> None:
    contents = []
    for recording in both:
        export(recording, format_name, tmp_path / "file")
        contents.append((tmp_path / "file").read_bytes())
    assert contents[0] == contents[1]
    content = gzip.decompress(contents[0]) if format_name == "pprof" else contents[0]
    assert b"main.parse" in content or b"allocated, as asked for" in content
    assert re.findall(rb"inuse|live|dead young|collect|free|used", content) == []


def test_a_form_of_one_measure_is_not_written_where_that_is_not_known(
    both: tuple[Recording, Recording], tmp_path: Path
) -> None:
    with pytest.raises(RecordingError, match="bytes live at the end are unknown: this module keeps its own allocator"):
        export(both[0], "collapsed", tmp_path / "file", Measure.LIVE_AT_END_BYTES)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_comparison_says_what_one_side_does_not_know(both: tuple[Recording, Recording]) -> None:
    served = heard()
    served.source, served.collector = "kernel", "conservative"
    with opened(served) as known:
        for sides in ((known, both[0]), (both[0], known)):
            text = shown(*comparison(*sides))
            assert re.search(r"^collections +(12 +unknown|unknown +12) +-$", text, re.MULTILINE)
            assert re.search(r"^live at the end .*unknown.* -$", text, re.MULTILINE)
            assert not re.search("[-+][0-9.]+%", text)
            changes = comparison_json(*sides)["comparison"]
            unknown = {each["name"] for each in changes["totals"] if None in (each["before"], each["after"])}
            assert {"live_bytes", "collections", "peak_bytes", "growths", "used_bytes"} <= unknown
            assert all(None in each["live_bytes"] for each in changes["functions"])
    text = shown(*comparison(*both))
    assert "collections  " not in text
    assert text.count("unknown: this module keeps its own allocator") == 2


@contextmanager
def watched(rows: Rows) -> Iterator[LiveStatistics]:
    """What `tinyheap live` adds up of these rows."""
    statistics = LiveStatistics(dataclasses.replace(RUN, source=rows.source, collector=rows.collector), rows.frames)
    batch = np.zeros(len(rows.births), EVENT)
    batch["size_bytes"] = [birth.size_bytes for birth in rows.births]
    statistics.take(Batch(rows.time_ns, batch, collections=rows.collections, samples=rows.samples))
    statistics.end("finished", rows.time_ns)
    yield statistics


def test_a_run_that_is_watched_says_so_too() -> None:
    with watched(events()) as silent, watched(heard()) as noisy:
        assert silent.view(9) == noisy.view(9)
        text = shown(LiveScreen(lambda: silent)) + line(silent.view(9))
    assert "collections  unknown: this module keeps its own allocator" in text
    assert SAID.findall(text) == []
