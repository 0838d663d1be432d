"""The schema as data is what DuckDB makes of its SQL, what files of earlier versions have, and what rows are made of."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pytest

from tinyheap.guests.record._recorder import EventLog
from tinyheap.recordings import schema
from tinyheap.recordings.batch import DEATH, EVENT, INFERRED_DEATH, STACK
from tinyheap.recordings.tables import BIGINT, VARCHAR, Column, Field, Table

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "gofmt.tinyheap"
COLUMNS = """
    SELECT table_name, column_name, data_type, is_nullable FROM duckdb_columns() JOIN duckdb_tables()
    USING (table_oid, table_name) WHERE NOT duckdb_columns.internal ORDER BY table_name, column_index
"""
VIEWS = "SELECT view_name FROM duckdb_views() WHERE NOT internal"


def assert_is_schema(connection: duckdb.DuckDBPyConnection, *, is_former: bool = False) -> None:
    there = (table for table in schema.TABLES if not (is_former and table.is_added))
    tables = sorted(there, key=lambda table: table.name)
    known = [(table.name, each.name, each.type.sql, each.is_nullable) for table in tables for each in table.columns]
    assert known == connection.execute(COLUMNS).fetchall()
    assert {(view.name,) for view in schema.VIEWS} == set(connection.execute(VIEWS).fetchall())


def test_its_sql_makes_its_tables_and_views() -> None:
    with duckdb.connect() as connection:
        connection.execute(schema.DDL)
        assert_is_schema(connection)


def test_a_file_that_was_written_before_has_the_same_tables() -> None:
    with duckdb.connect(str(EXAMPLE), read_only=True) as connection:
        assert_is_schema(connection, is_former=True)
        version = connection.execute("SELECT schema_version FROM run").fetchall()
    assert version == [(schema.SCHEMA_VERSION,)]


@pytest.mark.parametrize(
    ("record", "table", "counted"),
    [
        (EVENT, schema.EVENTS, {"id"}),
        (DEATH, schema.DEATHS, set()),
        (INFERRED_DEATH, schema.INFERRED_DEATHS, set()),
        (STACK, schema.STACKS, set()),
    ],
    ids=["events", "deaths", "inferred deaths", "stacks"],
)
def test_records_have_the_columns_that_nobody_counts_and_no_gaps(
    record: np.dtype[np.void], table: Table, counted: set[str]
) -> None:
    placed = {name: offset for name, (_, offset, *_) in (record.fields or {}).items()}
    assert placed == {each.name: each.field.offset_bytes for each in table.columns if each.field is not None}
    assert set(placed) == set(table.names(without=counted))
    assert sum(record[name].itemsize for name in placed) == record.itemsize


class Owner:
    """Takes nothing, and never wants to be woken."""

    def _flush(self) -> None: ...

    def _wake(self) -> int:
        return 1 << 60


def test_compiled_code_writes_the_fields_that_the_schema_says() -> None:
    log = EventLog(Owner())
    log.begin_heap(0x1000, 4)
    for kind in schema.EventKind:
        log.note_event(kind, 0x1010, 48 + kind, 7)
    events, count, *_ = log.take()
    noted = np.frombuffer(events, EVENT, count)
    said = ["kind", "object_id", "address", "size_bytes", "layout", "stack_id"]
    assert noted[said].tolist() == [
        # A reuse names no object: who was dead by it names the event.
        (kind, 0 if kind == schema.EventKind.REUSE else 1, 0x1010, 48 + kind, 7, 0)
        for kind in schema.EventKind
    ]


def test_a_table_as_sql_as_records_and_as_names() -> None:
    table = Table(
        "t",
        "",
        (Column("b", BIGINT, field=Field(4, "<i8")), Column("a", VARCHAR, is_nullable=True, field=Field(0, "<u4"))),
    )
    assert table.sql == "CREATE TABLE t (\n    b BIGINT NOT NULL,\n    a VARCHAR\n);\n"
    assert table.record == [("a", "<u4"), ("b", "<i8")]
    assert table.names(without={"b"}) == ("a",)
    with pytest.raises(KeyError, match="t has no column c, d"):
        table.names(without={"a", "d", "c"})
