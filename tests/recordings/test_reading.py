"""Query results in each form; files that are not recordings, or of another version, are refused with a reason."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from recordings_made import make_recording
from tinyheap.errors import (
    MissingLibraryError,
    NotARecordingError,
    QueryError,
    RecordingAccessError,
    RecordingBusyError,
    RecordingCorruptError,
    RecordingVersionError,
)
from tinyheap.recordings.recording import Recording
from tinyheap.recordings.schema import DDL, SCHEMA_VERSION
from tinyheap.report.exports.formats import export


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_recording(tmp_path_factory.mktemp("made") / "made.tinyheap", events=1500)


@pytest.fixture
def recording(path: Path) -> Iterator[Recording]:
    with Recording.open(path) as opened:
        yield opened


@pytest.fixture
def altered(path: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copy(path, tmp_path / "altered.tinyheap"))


def alter(path: Path, statements: str) -> None:
    with duckdb.connect(path) as connection:
        connection.execute(statements)


# ---- answers --------------------------------------------------------------------------------------------------------


def test_rows_come_in_the_form_that_is_asked_for(recording: Recording) -> None:
    rows = recording.sql("SELECT number, reason, wanted_bytes FROM collections ORDER BY number")
    expected = rows.fetch()
    assert expected
    assert len(rows) == len(expected)
    assert list(rows) == expected
    assert rows.fetch(1) == expected[:1]
    assert (rows.columns, rows.types) == (("number", "reason", "wanted_bytes"), ("INTEGER", "VARCHAR", "BIGINT"))
    assert rows.polars().rows() == expected
    assert [tuple(row.values()) for row in rows.arrow().to_pylist()] == expected
    assert rows.pandas()["reason"].tolist() == [reason for _, reason, _ in expected]
    assert rows.numpy()["number"].tolist() == [number for number, _, _ in expected]
    assert rows.numpy()["wanted_bytes"].tolist() == [wanted for _, _, wanted in expected]


def test_a_frame_is_a_table_a_view_or_a_query(recording: Recording) -> None:
    assert len(recording.frame("events")) == recording.run.events
    assert recording.frame("objects").columns[0] == "id"
    assert recording.frame("SELECT 40 + 2 AS answer").one() == (42,)


def test_moments_with_a_time_zone_become_objects_without_another_library(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pytz", None)
    moment = datetime(2026, 1, 2, 3, 4, 5, 600, UTC)
    rows = recording.sql(
        "SELECT 1 AS a, TIMESTAMPTZ '2026-01-02 04:04:05.0006+01' AS a, '2026-01-02 03:04:05.0006+00'::TIMESTAMPTZ_NS AS "
        "b, NULL::TIMESTAMPTZ AS c, TIMESTAMPTZ '290309-12-22 (BC) 00:00:00+00' AS d, TIMESTAMP '2026-01-02' AS e"
    )
    expected = (1, moment, moment, None, "290309-12-22 (BC) 00:00:00", datetime(2026, 1, 2))
    assert rows.fetch() == list(rows) == [rows.one()] == [expected]
    assert "<td>1</td>" in rows._repr_html_()
    for query in ("SELECT [now()] AS a", "SELECT {'a': now()} AS a"):
        nested = recording.sql(query)
        for take in (nested.fetch, nested.one, lambda rows=nested: list(rows)):
            with pytest.raises(MissingLibraryError, match=r"pip install pytz, or make them text with ::VARCHAR"):
                take()
        assert "</td>" in nested._repr_html_()


def test_parameters_go_by_place_or_by_name(recording: Recording) -> None:
    assert recording.sql("SELECT id FROM events WHERE id > ? ORDER BY id LIMIT 1", [5]).one() == (6,)
    assert recording.sql("SELECT count(*) FROM events WHERE id = $event", {"event": 5}).one() == (1,)


@pytest.mark.parametrize("query", ["SELECT id FROM events WHERE id < 0", "SELECT id FROM events"])
def test_one_row_is_one_row(recording: Recording, query: str) -> None:
    with pytest.raises(LookupError, match="where one was expected"):
        recording.sql(query).one()


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("selec 1", 'syntax error at or near "selec"'),
        ("FROM nowhere", "Table with name nowhere does not exist"),
        ("SELECT nothing FROM events", 'Referenced column "nothing" not found'),
        ("", "the query is empty"),
        ("UPDATE run SET state = 'finished'", "read-only"),
        ("DROP TABLE events", "read-only"),
    ],
)
def test_what_makes_no_sense_is_said_in_a_line(recording: Recording, query: str, words: str) -> None:
    with pytest.raises(QueryError, match=words) as raised:
        recording.sql(query)
    assert "\n" not in str(raised.value)


def test_errors_on_the_way_are_said_too(recording: Recording) -> None:
    for query in ("SELECT 'x'::INTEGER FROM events", "SELECT error('stop here') FROM events"):
        rows = recording.sql(query)
        for take in (rows.fetch, rows.one, rows.numpy, rows.polars, rows.pandas, rows.arrow, rows.__iter__().__next__):
            with pytest.raises(QueryError):
                take()


@pytest.mark.parametrize(
    ("form", "library"), [("polars", "polars"), ("polars", "pyarrow"), ("pandas", "pandas"), ("arrow", "pyarrow")]
)
def test_a_library_that_is_missing_is_named(
    recording: Recording, form: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    said = f"needs {library}: install it with pip install {form[:3]}|pyarrow"
    with pytest.raises(MissingLibraryError, match=said) as raised:
        getattr(recording.frame("events"), form)()
    assert raised.value.name == library


def test_the_forms_that_need_no_library_need_none(path: Path) -> None:
    script = """
import sys
sys.modules.update({"pandas": None, "polars": None, "pyarrow": None})
from tinyheap.recordings.recording import Recording
with Recording.open(sys.argv[1]) as recording:
    rows = recording.frame("collections")
    rows.numpy(), rows.fetch(), list(rows), len(rows), repr(rows), rows._repr_html_(), recording._repr_html_()
"""
    subprocess.run([sys.executable, "-c", script, path], check=True)


def test_a_notebook_shows_cards_and_tables(recording: Recording) -> None:
    assert "<td>made.wasm</td>" in recording._repr_html_()
    page = recording.sql("SELECT '<b>' || id AS \"<i>\" FROM events ORDER BY id")._repr_html_()
    assert "<th>&lt;i&gt;</th>" in page
    assert "<td>&lt;b&gt;1</td>" in page
    assert page.count("<tr>") == 21
    assert f"and {recording.run.events - 20:,} more rows" in page
    assert repr(recording) == f"<Recording {recording.path}: made.wasm, {recording.run.events:,} events>"


# ---- what is refused --------------------------------------------------------------------------------------------------


def test_a_file_that_is_not_there_or_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(RecordingAccessError, match="No such file"):
        Recording.open(tmp_path / "none.tinyheap")
    with pytest.raises(RecordingAccessError, match="Is a directory"):
        Recording.open(tmp_path)


def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(RecordingAccessError, match=f"{path}: it is a stream or a device: .* read from a file"):
            Recording.open(path)
    with pytest.raises(RecordingAccessError, match="null byte"):
        Recording.open("a\0b")
    with pytest.raises(RecordingAccessError, match="too long"):
        Recording.open("a" * 5000)


def test_a_file_that_may_not_be_read(altered: Path) -> None:
    altered.chmod(0)
    if os.access(altered, os.R_OK):
        pytest.skip("root may read everything")
    with pytest.raises(RecordingAccessError, match="Permission denied"):
        Recording.open(altered)


@pytest.mark.parametrize("name", [":memory:", "md:foo", "-", "~", "duckdb:x", "a*b", "it's", "ünï", "a b\n"])
@pytest.mark.share(6)
def test_a_name_is_a_files_whatever_it_means_to_duckdb(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecordingAccessError, match="No such file"):
        Recording.open(name)
    shutil.copy(path, name)
    with Recording.open(name) as recording:
        assert recording.path == Path(name)
        assert len(recording.frame("events")) == recording.run.events
        monkeypatch.chdir("/")  # what was opened stays where it is
        export(recording, "csv", tmp_path / "out")
    assert (tmp_path / "out" / "events.csv").read_bytes().count(b"\n") == recording.run.events + 1


@pytest.mark.parametrize(("name", "words"), [(b"b\xffad", "only names in UTF-8"), (b"a?b", "question mark")])
def test_a_name_that_duckdb_cannot_be_told_is_said(path: Path, tmp_path: Path, name: bytes, words: str) -> None:
    file = os.fsdecode(os.fsencode(tmp_path) + b"/" + name)
    try:
        shutil.copy(path, file)
    except OSError:
        pytest.skip("this file system has no such names")
    with pytest.raises(RecordingAccessError, match=f": DuckDB .*{words}; rename"):
        Recording.open(file)


def test_through_a_link_all_of_a_running_recording_is_seen(altered: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link"
    link.symlink_to(altered)
    script = """
import duckdb, os, sys
connection = duckdb.connect(sys.argv[1])
connection.execute("UPDATE run SET module = 'late.wasm'")
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", script, altered], check=True)
    assert Path(f"{altered}.wal").stat().st_size > 0
    with Recording.open(link) as recording:
        assert recording.run.module == "late.wasm"


@pytest.mark.parametrize("content", [b"", b"hello", bytes(100_000), b"\0asm\1\0\0\0" * 10_000])
def test_a_file_of_another_kind(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other").write_bytes(content)
    with pytest.raises(NotARecordingError, match="not a DuckDB file"):
        Recording.open(tmp_path / "other")


@pytest.mark.parametrize("statements", ["", "CREATE TABLE run (a INTEGER)", "CREATE TABLE events (id BIGINT)"])
def test_a_database_of_another_kind(tmp_path: Path, statements: str) -> None:
    alter(tmp_path / "other.db", f"CREATE TABLE something (a INTEGER); {statements}")
    with pytest.raises(NotARecordingError, match="a DuckDB file, but not a recording"):
        Recording.open(tmp_path / "other.db")


def test_a_newer_and_an_older_schema(altered: Path) -> None:
    alter(altered, f"UPDATE run SET schema_version = {SCHEMA_VERSION + 1}, tinyheap_version = '9.1'")
    with pytest.raises(RecordingVersionError, match=r"schema \d+, written by tinyheap 9\.1; .*: update tinyheap"):
        Recording.open(altered)
    alter(altered, "UPDATE run SET schema_version = 0")
    with pytest.raises(RecordingVersionError, match="record the run again"):
        Recording.open(altered)


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        ("DELETE FROM run", "describes no runs"),
        ("INSERT INTO run FROM run", "describes 2 runs"),
        ("DROP VIEW objects; DROP TABLE deaths", r"deaths\.object_id is missing"),
        ("ALTER TABLE events RENAME time_ns TO time", r"events\.time_ns is missing"),
        ("ALTER TABLE frames ALTER function TYPE BLOB", r"frames\.function is of type BLOB"),
        ("ALTER TABLE events ALTER size_bytes TYPE VARCHAR", r"events\.size_bytes is of type VARCHAR"),
        ("DELETE FROM events WHERE id = 7", "its batches brought"),
        ("UPDATE batches SET events = events + 1", "its batches brought"),
        ("UPDATE run SET options = 'no JSON'", "options"),
        ("UPDATE run SET options = '[1, 2]'", "options"),
        ("UPDATE run SET options = repeat('[', 100000)", "options"),
        ("ALTER TABLE run ALTER state DROP NOT NULL; UPDATE run SET state = NULL", r"run\.state may be NULL"),
        ("UPDATE run SET state = 'dreaming'", "state"),
        ("UPDATE run SET block_bytes = -1", "block_bytes"),
    ],
)
@pytest.mark.share(6)
def test_tables_that_do_not_agree(altered: Path, statements: str, words: str) -> None:
    alter(altered, "DROP VIEW objects; DROP VIEW stack_frames;" + statements.replace("DROP VIEW objects;", ""))
    with pytest.raises(RecordingCorruptError, match=words):
        Recording.open(altered)


def test_what_is_added_does_not_matter(altered: Path) -> None:
    alter(altered, "ALTER TABLE events ADD COLUMN thread INTEGER; CREATE TABLE notes (text VARCHAR)")
    with Recording.open(altered) as recording:
        assert len(recording.frame("notes")) == 0
        assert recording.frame("events").columns[-1] == "thread"


def test_views_of_the_file_are_not_looked_at(altered: Path) -> None:
    alter(altered, "CREATE OR REPLACE VIEW objects AS SELECT * FROM read_text('/etc/passwd')")
    with Recording.open(altered) as recording:
        assert len(recording.frame("objects")) > 100


def test_a_view_does_not_pass_for_a_table(altered: Path) -> None:
    alter(altered, "ALTER TABLE deaths RENAME TO hidden; CREATE VIEW deaths AS FROM hidden")
    with pytest.raises(RecordingCorruptError, match=r"deaths\.object_id is missing"):
        Recording.open(altered)


@pytest.mark.parametrize(
    "query",
    [
        "FROM read_text('/etc/passwd')",
        "FROM '/etc/passwd.csv'",
        "FROM glob('/*')",
        "FROM read_csv('https://example.com/a.csv')",
        "ATTACH '{folder}/other.db'",
        "COPY events TO '{folder}/out.csv'",
        "EXPORT DATABASE '{folder}/out'",
        "INSTALL httpfs",
        "LOAD '{folder}/evil.duckdb_extension'",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "SET autoload_known_extensions = true",
        "CREATE PERSISTENT SECRET (TYPE s3)",
        "FROM python_variable",
    ],
)
@pytest.mark.share(6)
def test_nothing_else_is_reached(recording: Recording, tmp_path: Path, query: str) -> None:
    python_variable = recording.frame("run").arrow()
    assert len(python_variable) == 1
    with pytest.raises(QueryError):
        recording.sql(query.format(folder=tmp_path)).fetch()
    assert list(tmp_path.iterdir()) == []


def test_a_hostile_view_reaches_nothing_either(altered: Path) -> None:
    alter(altered, "CREATE VIEW notes AS SELECT * FROM read_text('/etc/passwd')")
    with Recording.open(altered) as recording, pytest.raises(QueryError, match="disabled by configuration"):
        recording.frame("notes").fetch()


# ---- who else has it open -------------------------------------------------------------------------------------------


def test_one_file_can_be_read_by_many(path: Path) -> None:
    with Recording.open(path) as first, Recording.open(path) as second:
        assert len(first.frame("objects")) == len(second.frame("objects")) > 0
        script = f"from tinyheap.recordings.recording import Recording; Recording.open({str(path)!r})"
        subprocess.run([sys.executable, "-c", script], check=True)


def test_a_file_that_is_being_written_says_so(altered: Path) -> None:
    script = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, str(altered)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(RecordingBusyError, match="another process is writing it"):
            Recording.open(altered)
        other.communicate()
    with duckdb.connect(altered), pytest.raises(RecordingBusyError, match="this process is writing it"):
        Recording.open(altered)


def test_the_schema_is_what_an_empty_recording_has(tmp_path: Path) -> None:
    alter(tmp_path / "empty.tinyheap", DDL)
    with pytest.raises(RecordingCorruptError, match="describes no runs"):
        Recording.open(tmp_path / "empty.tinyheap")
