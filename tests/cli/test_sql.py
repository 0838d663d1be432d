"""`tinyheap sql` as its users meet it."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner, Result

from every_type import VALUES
from recordings_made import make_recording
from tinyheap import cli
from tinyheap.recordings import schema
from tinyheap.recordings.recording import Recording


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_recording(tmp_path_factory.mktemp("made") / "made.tinyheap", events=1500)


def sql(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.main, ["sql", *map(str, arguments)])


def test_an_answer_is_a_table(path: Path) -> None:
    shown = sql(path, "SELECT number, reason, live_objects AS alive FROM collections ORDER BY number")
    assert shown.exit_code == 0
    assert shown.stderr == ""
    lines = [line.split() for line in shown.stdout.splitlines() if line.strip()]
    with Recording.open(path) as recording:
        rows = recording.sql("SELECT number, reason, live_objects FROM collections ORDER BY number").fetch()
    assert lines[0] == ["number", "reason", "alive"]
    assert lines[2:] == [[str(each) for each in row] for row in rows]


def test_as_json_every_row_is_an_object(path: Path) -> None:
    query = """SELECT id, NULL AS nothing, 1.5 AS half, 'NaN'::DOUBLE AS odd, [1, NULL] AS list, {'a': DATE '2026-01-02'}
        AS inner, '\\xFF'::BLOB AS bytes, TIMESTAMP '2026-01-02 03:04:05' AS time FROM events ORDER BY id LIMIT 3"""
    shown = sql(path, query, "--json")
    assert shown.exit_code == 0, shown.output
    expected = {
        "nothing": None,
        "half": 1.5,
        "odd": None,
        "list": [1, None],
        "inner": {"a": "2026-01-02"},
        "bytes": "ff",
        "time": "2026-01-02 03:04:05",
    }
    assert [json.loads(line) for line in shown.stdout.splitlines()] == [{"id": each, **expected} for each in (1, 2, 3)]


def test_as_csv_every_row_is_there(path: Path) -> None:
    shown = sql("--csv", path, "SELECT id, 'a,\"b' AS text, NULL AS nothing FROM events ORDER BY id")
    names, *rows = csv.reader(io.StringIO(shown.stdout))
    assert names == ["id", "text", "nothing"]
    assert len(rows) > 1000
    assert rows[1041] == ["1042", 'a,"b', ""]


def test_a_value_of_every_type_comes_out_right_in_every_form(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setitem(sys.modules, "pytz", None)
    query = f"SELECT {', '.join(f'{value.expression} AS c{at}' for at, value in enumerate(VALUES))}"
    shown = {form: sql(path, query, *form) for form in [(), ("--csv",), ("--json",)]}
    assert [each.stderr for each in shown.values()] == ["", "", ""]
    texts = [value.text for value in VALUES]
    _, row = csv.reader(io.StringIO(shown["--csv",].stdout))
    assert row == texts
    values = json.loads(shown["--json",].stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert list(values.values()) == [value.json for value in VALUES]
    table = " ".join(shown[()].stdout.split())
    assert [text for text in texts if " ".join(text.split()) not in table] == []


def test_there_is_a_value_of_every_type() -> None:
    with duckdb.connect() as connection:
        known = {each for (each,) in connection.sql("SELECT DISTINCT logical_type FROM duckdb_types()").fetchall()}
        assert known - {value.type for value in VALUES} == set()
        for value in VALUES:
            (kind,) = connection.sql(f"SELECT {value.expression} AS value").types
            names = {"list": "LIST", "array": "ARRAY", "null": "NULL"}
            assert str(kind).startswith(value.type) or names.get(kind.id) == value.type


def test_numbers_are_aligned_to_the_right_and_nothing_else_is(path: Path) -> None:
    shown = sql(path, "SELECT 1 AS number, INTERVAL '1 day' AS interval, [1] AS list, 'POINT(1 2)'::GEOMETRY AS place")
    head, _, row = (line for line in shown.stdout.splitlines() if line)
    assert [head.index(name) for name in ("interval", "list", "place")] == [
        row.index(text) for text in ("1 day", "[1]", "POINT")
    ]
    assert head.index("number") + len("number") == row.index("1") + 1


def test_a_table_of_many_rows_ends(path: Path) -> None:
    shown = sql(path, "SELECT id FROM events ORDER BY id")
    assert shown.stdout.split()[-1] == "1000"
    assert "these are the first 1,000 rows" in shown.stderr


def test_without_a_question_it_says_what_there_is(path: Path) -> None:
    shown = sql(path)
    assert shown.exit_code == 0
    text = " ".join(shown.stdout.split())
    for table in schema.TABLES:
        assert f" {table.name} (" in f" {text}"
        for column in table.columns:
            assert f" {column.name} {column.type.sql} {column.meaning}".strip() in text
    for view in schema.VIEWS:
        assert f"{view.name} (view): {view.meaning}" in text


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (["selec 1"], 2, 'Error: syntax error at or near "selec"\n'),
        (["SELECT id, id FROM events", "--json"], 2, "Error: 2 columns are named 'id': name them apart with AS\n"),
        (["FROM read_text('/etc/passwd')"], 2, "disabled by configuration"),
        (["SELECT 1", "--json", "--csv"], 2, "--json and --csv exclude each other"),
        (["SELECT 'x'::INTEGER FROM events", "--csv"], 2, "Error: Could not convert"),
    ],
)
def test_errors_are_one_line(path: Path, arguments: list[str], exit_code: int, words: str) -> None:
    shown = sql(path, *arguments)
    assert shown.exit_code == exit_code
    assert words in shown.stderr
    assert "Usage" in shown.stderr or shown.stderr.count("\n") == 1


def test_a_file_that_is_no_recording(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    assert sql(tmp_path / "text", "SELECT 1").stderr == f"Error: {tmp_path}/text: cannot be opened: not a DuckDB file\n"
    assert sql(tmp_path / "none", "SELECT 1").stderr == f"Error: {tmp_path}/none: No such file or directory\n"


def test_where_a_recording_ends_early_is_said(tmp_path: Path) -> None:
    path = make_recording(tmp_path / "made.tinyheap", events=600, state=None)
    shown = sql(path, "SELECT state FROM run", "--csv")
    assert shown.stdout == "state\nrunning\n"
    assert shown.stderr.startswith(f"{path}: its writer was cut short: holds everything up to batch 2, ")


def test_names_from_the_recording_do_not_command_the_terminal(path: Path) -> None:
    for form in ([], ["--json"]):
        shown = sql(path, "SELECT chr(27) || '[2J' AS \"\x1b[1m\", '[bold]' AS b", *form)
        assert shown.exit_code == 0
        assert "\x1b" not in shown.stdout
        assert "[bold]" in shown.stdout


@pytest.mark.parametrize(("columns", "is_table"), [(400, True), (60, False)])
def test_a_row_that_is_too_wide_for_the_terminal_is_a_list(path: Path, columns: int, is_table: bool) -> None:
    shown = in_terminal(columns, [sys.executable, "-m", "tinyheap", "sql", str(path), "FROM collections LIMIT 1"])
    lines = [line for line in shown.splitlines() if "…" in line or "number" in line or "live_bytes" in line]
    assert "…" not in shown
    assert len(lines) == (1 if is_table else 2)


def in_terminal(columns: int, command: list[str]) -> str:
    """What a command prints on a terminal of that width."""
    ours, its = pty.openpty()
    with subprocess.Popen(command, stdout=its, env={**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}):
        os.close(its)
        shown = b""
        while True:
            try:
                read = os.read(ours, 65536)
            except OSError:  # the terminal is gone with the command
                break
            shown += read
    os.close(ours)
    return shown.decode()
