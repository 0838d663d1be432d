"""Every export is read by a reader that is not tinyheap's, and gives the same statistics back."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars
import pytest
from perfetto.protos.perfetto.trace import perfetto_trace_pb2  # type: ignore[import-untyped]
from playwright.sync_api import Page
from pyarrow import parquet

import needs
import project_files
from browser_fixtures import Launch
from recordings_made import make_recording
from small_recordings import Rows, known, opened
from tinyheap import profile
from tinyheap.errors import OutputError
from tinyheap.profile import Measure
from tinyheap.recordings import schema
from tinyheap.recordings.recording import Recording
from tinyheap.report.exports.collapsed import collapsed
from tinyheap.report.exports.formats import FORMATS, export
from tinyheap.report.exports.perfetto import perfetto
from tinyheap.report.exports.pprof import SAMPLE_TYPES, pprof
from tinyheap.report.exports.speedscope import speedscope

READERS = Path(__file__).parent.parent / "readers"
VALIDATE = """
const Ajv = require("ajv");
const fs = require("fs");
const [schema, file] = process.argv.slice(1).map(path => JSON.parse(fs.readFileSync(path)));
const validate = new Ajv({strict: false}).compile(schema);
if (!validate(file)) { console.error(validate.errors); process.exit(1); }
"""


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recording]:
    path = make_recording(tmp_path_factory.mktemp("exports") / "it's made.tinyheap", events=6000)
    with Recording.open(path) as opened_recording:
        yield opened_recording


def reader(name: str) -> Path:
    return needs.path(READERS / "node_modules" / name, f"the reader {name} (`make readers` installs it)")


# ---- pprof ------------------------------------------------------------------------------------------------------------


def go_tool_pprof(file: Path, *options: str) -> str:
    environment = {**os.environ, "PPROF_TMPDIR": str(file.parent), "TZ": "UTC"}
    command: list[str | Path] = [needs.tool("go"), "tool", "pprof", *options, file]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return str(ran.stdout)


def top(file: Path, sample_type: str, unit: str) -> dict[str, tuple[int, int]]:
    """What pprof says of each function: flat and cumulative."""
    sizes = ["-unit=B"] if unit == "bytes" else []
    options = [
        "-top",
        f"-sample_index={sample_type}",
        "-nodecount=100000",
        "-nodefraction=0",
        "-edgefraction=0",
        *sizes,
    ]
    line = re.compile(r"^ *([0-9]+)B? +[0-9.]+% +[0-9.]+% +([0-9]+)B? +[0-9.]+%  (.*)$", re.MULTILINE)
    return {name: (int(flat), int(total)) for flat, total, name in line.findall(go_tool_pprof(file, *options))}


def test_pprof_gives_the_statistics_of_functions(recording: Recording, tmp_path: Path) -> None:
    file = tmp_path / "heap.pb.gz"
    export(recording, "pprof", file)
    usages = {usage.function: usage for usage in profile.by_function(recording)}
    objects = {name: (usage.own_objects, usage.total_objects) for name, usage in usages.items()}
    sizes = {name: (usage.own_bytes, usage.total_bytes) for name, usage in usages.items()}
    assert top(file, "alloc_objects", "count") == objects
    assert top(file, "alloc_space", "bytes") == sizes
    live = {name: flat for name, (flat, _) in top(file, "inuse_objects", "count").items() if flat}
    assert live == {name: usage.live_objects for name, usage in usages.items() if usage.live_objects}
    live_bytes = {name: flat for name, (flat, _) in top(file, "inuse_space", "bytes").items() if flat}
    assert live_bytes == {name: usage.live_bytes for name, usage in usages.items() if usage.live_bytes}


def test_pprof_knows_places_times_and_the_default(recording: Recording, tmp_path: Path) -> None:
    file = tmp_path / "heap.pb.gz"
    export(recording, "pprof", file)
    raw = go_tool_pprof(file, "-raw")
    assert "alloc_objects/count alloc_space/bytes[dflt] inuse_objects/count inuse_space/bytes" in raw
    assert "Time: 2026-01-02 03:04:05" in raw
    offsets = {usage.site.code_offset for usage in profile.by_site(recording) if usage.site.code_offset > 0}
    assert offsets
    assert offsets <= {int(place, 16) for place in re.findall(r"^ +[0-9]+: (0x[0-9a-f]+) M=1", raw, re.MULTILINE)}
    assert "made.wasm" in raw


def test_pprof_of_nothing_and_of_no_stacks(tmp_path: Path) -> None:
    file = tmp_path / "heap.pb.gz"
    rows = Rows()
    with opened(rows) as empty:
        file.write_bytes(pprof(empty))
    for sample_type, unit, _ in SAMPLE_TYPES:
        assert top(file, sample_type, unit) == {}
    rows.allocate(1234)
    with opened(rows) as bare:
        file.write_bytes(pprof(bare))
    assert top(file, "alloc_space", "bytes") == {profile.NO_STACK: (1234, 1234)}


def test_the_same_recording_makes_the_same_file(recording: Recording) -> None:
    assert pprof(recording) == pprof(recording)


# ---- speedscope and collapsed stacks --------------------------------------------------------------------------------------


def test_speedscopes_schema_admits_the_file(recording: Recording, tmp_path: Path) -> None:
    file = tmp_path / "heap.speedscope.json"
    export(recording, "speedscope", file)
    schema = reader("speedscope") / "dist" / "release" / "file-format-schema.json"
    node: list[str | Path] = [needs.tool("node"), "-e", VALIDATE, schema]
    reader("ajv")
    subprocess.run([*node, file], check=True, cwd=READERS)
    broken = json.loads(file.read_text())
    broken["profiles"][0]["unit"] = "apples"
    file.write_text(json.dumps(broken))
    assert subprocess.run([*node, file], check=False, cwd=READERS, capture_output=True).returncode == 1


def test_speedscope_has_every_measure_with_its_stacks(recording: Recording) -> None:
    file = json.loads(speedscope(recording))
    names = [frame["name"] for frame in file["shared"]["frames"]]
    assert [each["name"] for each in file["profiles"]] == [measure.title for measure in Measure]
    for each, measure in zip(file["profiles"], Measure, strict=True):
        weighed = Counter[tuple[str, ...]]()
        for sample, weight in zip(each["samples"], each["weights"], strict=True):
            weighed[tuple(names[frame] for frame in sample)] += weight
        assert dict(weighed) == dict(known(profile.flame_graph(recording, measure)).stacks())
        assert each["endValue"] == sum(each["weights"])


@pytest.fixture
def page(launch: Launch) -> Iterator[Page]:
    browser = launch("--no-sandbox", "--allow-file-access-from-files")
    yield browser.new_page(viewport={"width": 1200, "height": 800})
    browser.close()


def shown_by_speedscope(page: Page, file: Path) -> dict[str, tuple[float, float]]:
    """Speedscope's own table of functions, when it is given a file as one chooses it there: total and own percents."""
    page.goto((reader("speedscope") / "dist" / "release" / "index.html").as_uri())
    page.set_input_files("input[type=file]", file)
    page.wait_for_selector("text=Left Heavy")
    page.keyboard.press("3")
    page.wait_for_selector("text=Symbol Name")
    # Its table has a head before it has rows: those it makes once it has measured how many are seen.
    page.wait_for_selector("text=_start")
    line = re.compile(r"^.*\((?:<0.01|([0-9.]+))%\)\n\t.*\((?:<0.01|([0-9.]+))%\)\n\t(.*)$", re.MULTILINE)
    found = line.findall(page.inner_text("body"))
    return {name: (float(total or 0), float(own or 0)) for total, own, name in found}


@pytest.mark.parametrize("format_name", ["speedscope", "collapsed"])
def test_speedscope_itself_opens_it(format_name: str, recording: Recording, page: Page, tmp_path: Path) -> None:
    file = tmp_path / ("heap.json" if format_name == "speedscope" else "heap.txt")
    export(recording, format_name, file)
    shown = shown_by_speedscope(page, file)
    functions = {usage.function: usage for usage in profile.by_function(recording)}
    assert set(shown) == set(functions)
    whole = functions["_start"].total_bytes
    for name, usage in functions.items():
        expected = 100 * usage.total_bytes / whole, 100 * usage.own_bytes / whole
        assert shown[name] == pytest.approx(expected, rel=0.06, abs=0.01)


def test_collapsed_stacks_are_the_flame_graph(recording: Recording, tmp_path: Path) -> None:
    file = tmp_path / "heap.txt"
    for measure in Measure:
        export(recording, "collapsed", file, measure)
        lines = [line.rpartition(" ") for line in file.read_text().splitlines()]
        expected = {";".join(path): weight for path, weight in known(profile.flame_graph(recording, measure)).stacks()}
        assert {path: int(weight) for path, _, weight in lines} == expected


def test_collapsed_names_cannot_break_lines() -> None:
    rows = Rows()
    rows.allocate(1, rows.path("a;b", "c\nd e"))
    rows.allocate(2)
    with opened(rows) as recording:
        assert collapsed(known(profile.flame_graph(recording))) == f"{profile.NO_STACK} 2\na:b;c:d e 1\n".encode()


# ---- Perfetto ---------------------------------------------------------------------------------------------------------


def read_trace(content: bytes) -> Any:  # noqa: ANN401 - a generated class
    trace = perfetto_trace_pb2.Trace()
    trace.ParseFromString(content)
    return trace


def unknown_fields(message: Any) -> list[str]:  # noqa: ANN401
    """Fields that the format does not have, anywhere in a message."""
    from google.protobuf.unknown_fields import UnknownFieldSet  # type: ignore[import-untyped]

    found = [str(field.field_number) for field in UnknownFieldSet(message)]
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for each in value if descriptor.is_repeated else [value]:
                found += unknown_fields(each)
    return found


def test_perfettos_own_format_knows_every_field(recording: Recording) -> None:
    trace = read_trace(perfetto(recording))
    assert unknown_fields(trace) == []
    assert len({packet.trusted_packet_sequence_id for packet in trace.packet}) == 1


def test_perfetto_has_collections_as_slices(recording: Recording) -> None:
    trace = read_trace(perfetto(recording))
    tracks = {p.track_descriptor.uuid: p.track_descriptor for p in trace.packet if p.HasField("track_descriptor")}
    (collector,) = [uuid for uuid, track in tracks.items() if track.name == "collector"]
    assert tracks[tracks[collector].parent_uuid].process.process_name == "made.wasm"
    kinds = perfetto_trace_pb2.TrackEvent
    events = [p for p in trace.packet if p.HasField("track_event") and p.track_event.track_uuid == collector]
    begins = [p for p in events if p.track_event.type == kinds.TYPE_SLICE_BEGIN]
    ends = [p for p in events if p.track_event.type == kinds.TYPE_SLICE_END]
    instants = [p for p in events if p.track_event.type == kinds.TYPE_INSTANT]
    expected = recording.sql("SELECT begun_ns, begun_ns + pause_ns, freed_objects FROM collections ORDER BY number")
    notes = [{note.name: note.int_value for note in p.track_event.debug_annotations} for p in begins]
    freed = [note["freed_objects"] for note in notes]
    assert list(zip([p.timestamp for p in begins], [p.timestamp for p in ends], freed, strict=True)) == expected.fetch()
    assert len(instants) == profile.totals(recording).growths


def test_perfetto_has_the_heap_as_counters(recording: Recording) -> None:
    trace = read_trace(perfetto(recording))
    tracks = {p.track_descriptor.uuid: p.track_descriptor for p in trace.packet if p.HasField("track_descriptor")}
    counted: dict[str, list[tuple[int, int]]] = {}
    for packet in trace.packet:
        if packet.track_event.type == perfetto_trace_pb2.TrackEvent.TYPE_COUNTER:
            name = tracks[packet.track_event.track_uuid].name
            counted.setdefault(name, []).append((packet.timestamp, packet.track_event.counter_value))
    samples = recording.sql("SELECT time_ns, heap_bytes, used_bytes, largest_free_run_bytes FROM samples").fetch()
    for name, column in (("heap", 1), ("used", 2), ("largest free run", 3)):
        # Samples that are closer together than anyone could see are thinned.
        assert len(counted[name]) > 0.8 * len(samples)
        assert set(counted[name]) <= {(sample[0], sample[column]) for sample in samples}
    assert max(used for _, used in counted["used"]) == max(used for _, _, used, _ in samples)
    assert counted["live, as asked for"][-1][1] == profile.totals(recording).live_bytes
    units = {track.name: track.counter.unit for track in tracks.values() if track.HasField("counter")}
    assert units["used"] == perfetto_trace_pb2.CounterDescriptor.UNIT_SIZE_BYTES
    assert units["live objects"] == perfetto_trace_pb2.CounterDescriptor.UNIT_COUNT


# ---- tables -----------------------------------------------------------------------------------------------------------

NAMES = [*(table.name for table in schema.TABLES), "objects"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.share(6)
def test_parquet_read_by_arrow_is_the_table(name: str, recording: Recording, tmp_path: Path) -> None:
    export(recording, "parquet", tmp_path)
    found = parquet.read_table(tmp_path / f"{name}.parquet")
    expected = recording.frame(name)
    assert tuple(found.column_names) == expected.columns
    assert sorted(map(repr, found.to_pylist())) == sorted(map(repr, expected.arrow().to_pylist()))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.share(6)
def test_csv_read_by_polars_is_the_table(name: str, recording: Recording, tmp_path: Path) -> None:
    folder = tmp_path / "it's new" / "csv"
    export(recording, "csv", folder)
    expected = recording.frame(name)
    found = polars.read_csv(folder / f"{name}.csv", infer_schema_length=None)
    assert tuple(found.columns) == expected.columns
    assert len(found) == len(expected)
    for column, kind in zip(expected.columns, expected.types, strict=True):
        if "INT" in kind:
            (total,) = recording.sql(f"SELECT sum({column}) FROM {name}").one()
            assert found[column].cast(polars.Int64).sum() == (total or 0)


# ---- where it cannot be written ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_place_that_cannot_be_written_is_an_error(format_name: str, recording: Recording, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here before")
    with pytest.raises(OutputError, match="cannot be written"):
        export(recording, format_name, tmp_path / "file" / "below")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "here before"


def test_tables_that_an_earlier_recording_lacks_are_empty(tmp_path: Path) -> None:
    with Recording.open(project_files.ROOT / "examples" / "gofmt.tinyheap") as earlier:
        export(earlier, "parquet", tmp_path)
        objects = len(earlier.frame("objects"))
    assert parquet.read_table(tmp_path / "inferred_deaths.parquet").num_rows == 0
    assert parquet.read_table(tmp_path / "objects.parquet").num_rows == objects
