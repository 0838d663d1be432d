"""The tables of a recording as files of CSV or Parquet, one per table, and one of its objects with births and deaths."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import duckdb

from tinyheap.errors import OutputError
from tinyheap.files import is_utf8, reason_of, temporary, text_of
from tinyheap.profile.result import row
from tinyheap.recordings import schema
from tinyheap.recordings.rows import first_line

if TYPE_CHECKING:
    from tinyheap.recordings.recording import Recording

OPTIONS: Final = {"csv": "FORMAT csv, HEADER", "parquet": "FORMAT parquet, COMPRESSION zstd"}


def write_tables(recording: Recording, folder: Path, extension: str) -> None:
    """Write each table into a file of its own, ``folder/TABLE.EXTENSION``.

    Files that are there already are replaced, once all are written.  The recording's own connection may not write anywhere,
    so another one reads the file again.

    Args:
        recording: The recording.
        folder: Where to; made if it is not there.
        extension: ``csv`` or ``parquet``, which names the format too.

    Raises:
        OutputError: The folder cannot be written to.
        RecordingClosedError: The recording is closed.
    """
    (source,) = row(recording, "SELECT path FROM duckdb_databases() WHERE database_name = current_database()")
    queries = {table.name: f"FROM {table.name}" for table in schema.TABLES}
    queries[schema.OBJECTS.name] = schema.OBJECTS.query
    copy_tables(folder, extension, queries, lambda connection: _attach(connection, source))


def _attach(connection: duckdb.DuckDBPyConnection, source: str) -> None:
    """Open the recording, with all tables that one may have."""
    connection.execute(f"ATTACH {_quoted(source)} AS source (READ_ONLY); USE source.main")
    found = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
    for table in schema.lacking({name for (name,) in found}):
        connection.execute(table.temporary_sql)


def copy_tables(
    folder: Path, extension: str, queries: Mapping[str, str], prepare: Callable[[duckdb.DuckDBPyConnection], None]
) -> None:
    """Write what queries give, each into a file of its own; those that are there are replaced once all are written.

    Args:
        folder: Where to; made if it is not there.
        extension: ``csv`` or ``parquet``.
        queries: By the names of the files.
        prepare: Gives a connection what the queries ask for.

    Raises:
        OutputError: The folder cannot be written to.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoload_known_extensions": False,
        "autoinstall_known_extensions": False,
    }
    if not is_utf8(folder.absolute()):
        raise OutputError(f"{text_of(folder)}: DuckDB takes only names in UTF-8; choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary(folder.absolute()) as made, duckdb.connect(":memory:", config=config) as connection:
            made.mkdir()
            prepare(connection)
            for name, query in queries.items():
                connection.execute(
                    f"COPY ({query}) TO {_quoted(str(made / f'{name}.{extension}'))} ({OPTIONS[extension]})"
                )
            for file in made.iterdir():
                file.replace(folder / file.name)
    except OSError as error:
        raise OutputError(f"{text_of(folder)}: cannot be written: {reason_of(error)}; choose another folder") from error
    except duckdb.Error as error:
        raise OutputError(f"{text_of(folder)}: cannot be written: {first_line(error)}") from error


def _quoted(text: str) -> str:
    doubled = text.replace("'", "''")
    return f"'{doubled}'"
