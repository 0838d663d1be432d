"""Reads a recording, whose file may come from anywhere and is not trusted.

It is opened for reading; nothing in it, and no query, can reach any other file, the network or an extension.  Its
tables must have the columns that the schema says.  The views of the schema are always tinyheap's: what a file has under
their names is not looked at.

*Complete* is a recording whose end was written.  Of any other its writer was killed, or could not go on; it holds a
sound beginning of the run, up to the end of a batch.
"""

from __future__ import annotations

import html
import json
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import duckdb

from tinyheap.errors import (
    NotARecordingError,
    QueryError,
    RecordingAccessError,
    RecordingBusyError,
    RecordingClosedError,
    RecordingCorruptError,
    RecordingError,
    RecordingVersionError,
)
from tinyheap.files import is_utf8, text_of
from tinyheap.ownership import SoleOwner
from tinyheap.recordings import schema
from tinyheap.recordings.observed import LEAKING, LastPart, Observed, manager_of
from tinyheap.recordings.row_types import RunColumns
from tinyheap.recordings.rows import Rows, asking, closed_text, first_line
from tinyheap.recordings.schema import FAILED, FINISHED, RUNNING, SCHEMA_VERSION

_CONFIG: Final[dict[str, str | bool | int | float | list[str]]] = {
    "enable_external_access": False,
    "autoload_known_extensions": False,
    "autoinstall_known_extensions": False,
    "lock_configuration": True,
}

_SAYINGS: Final = (
    ("Could not set lock", RecordingBusyError, "another process is writing it: wait until that ends"),
    ("different configuration", RecordingBusyError, "this process is writing it: close it there first"),
    ("not a valid DuckDB database", NotARecordingError, "not a DuckDB file"),
    ("version number", RecordingVersionError, "it was written by another version of DuckDB: update duckdb"),
)
"""What DuckDB says when it opens a file, and what that means."""


@dataclass(frozen=True, slots=True)
class RunInfo(RunColumns):
    """What a recording says of its run: the table ``run``, and how far it goes."""

    batches: int
    """How many there were."""
    events: int
    """How many events there are; in the last part of a run those of it, and of what lived at its beginning."""
    last_ns: int
    """Up to when there are any, since the program's first instruction."""
    knows_calls: bool = True
    """Whether calls into the program were noted; not so where it was recorded before there was a table of them."""
    knows_memory: bool = True
    """Whether growths of linear memory were noted; not so where it was recorded before there was a table of them."""
    sample_bytes: int | None = None
    """The mean distance of two sampled bytes; None where all objects were recorded."""
    last_part: LastPart | None = None
    """What is there of the run; None where all is."""
    infers_deaths: bool = True
    """Whether deaths that nobody saw were inferred; not so where it was recorded before there was a table of them."""

    @property
    def served(self) -> str:
        """Who served the heap, in words."""
        return f"on {manager_of(self.source)}"

    @property
    def observed(self) -> Observed:
        """Which statistics are known."""
        return Observed.of(
            self.source,
            self.collector,
            infers_deaths=self.infers_deaths,
            sample_bytes=self.sample_bytes,
            last_part=self.last_part,
        )

    @property
    def never_frees(self) -> bool:
        """Whether its heap only grows, so that no collection ever runs."""
        return self.collector == LEAKING

    @property
    def is_complete(self) -> bool:
        """Whether the run's end was written."""
        return self.state != RUNNING

    @property
    def duration_ns(self) -> int:
        """From the program's first instruction to its last, or to where the recording ends."""
        return self.last_ns if self.ended_ns is None else self.ended_ns

    @property
    def ends_early(self) -> str | None:
        """One sentence on how far the recording goes, if its end was not written."""
        if self.is_complete:
            return None
        if not self.batches:
            return "its writer was cut short before it had anything to write"
        return f"its writer was cut short: holds everything up to batch {self.batches}, {self.last_ns / 1e9:.3f} s"


class Recording(SoleOwner):
    """A recording that is open for reading; made by `open`."""

    def __init__(self, path: Path, connection: duckdb.DuckDBPyConnection, run: RunInfo) -> None:
        self.path: Final = path
        self.run: Final = run
        self._connection: duckdb.DuckDBPyConnection | None = connection
        """None once it is closed: a recording that is kept keeps nothing of DuckDB's beyond its end."""

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """DuckDB's own connection to the file.

        Raises:
            RecordingClosedError: The recording is closed.
        """
        if self._connection is None:
            raise RecordingClosedError(closed_text(self.path))
        return self._connection

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open a recording, and check that it is one.

        Args:
            path: A file; not a pipe or another stream, since DuckDB reads at any place of it.

        Raises:
            RecordingAccessError: There is no such file, or it may not be read.
            NotARecordingError: The file is something else.
            RecordingVersionError: It was written by a version that is not understood here.
            RecordingCorruptError: It is damaged.
            RecordingBusyError: It is still being written.
        """
        path = Path(path)
        connection = _connect(path)
        try:
            with _opening(path):
                _check_version(path, connection)
                _check_tables(path, connection)
                for view in schema.VIEWS:
                    connection.execute(f"CREATE TEMP VIEW {view.name} AS {view.query}")
                return cls(path, connection, _run_info(path, connection))
        except BaseException:
            connection.close()
            raise

    def sql(self, query: str, parameters: Sequence[object] | Mapping[str, object] | None = None) -> Rows:
        """Run a query in DuckDB's SQL; the tables are described in `schema`.

        Args:
            query: One statement.
            parameters: Values for ``?`` or ``$1`` in their order, or for ``$name`` by name.

        Raises:
            QueryError: The query is invalid.
            RecordingCorruptError: The file is damaged.
            RecordingClosedError: The recording is closed.
        """
        with asking(self.path):
            relation = self.connection.sql(query, params=parameters)
        if relation is None:
            raise QueryError("the query is empty: expected a statement, such as SELECT count(*) FROM events")
        return Rows(relation, self.path)

    def frame(self, name_or_query: str) -> Rows:
        """All rows of a table or view, or what a query selects; `Rows` has them as data frames.

        Raises:
            QueryError: There is no such table, or the query is invalid.
            RecordingCorruptError: The file is damaged.
            RecordingClosedError: The recording is closed.
        """
        return self.sql(f"FROM {name_or_query}" if name_or_query.isidentifier() else name_or_query)

    def close(self) -> None:
        """Close the file; later queries raise `RecordingClosedError`.  A second call does nothing."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Self:
        """The recording itself, which is closed at the end.

        Raises:
            RecordingClosedError: It is closed already.
        """
        _ = self.connection
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        end = "" if self.run.is_complete else f"; {self.run.ends_early}"
        closed = "; closed" if self._connection is None else ""
        return f"<Recording {self.path}: {self.run.module}, {self.run.events:,} events{end}{closed}>"

    def _repr_html_(self) -> str:
        """What the run was and how it ended, for notebooks."""
        run = self.run
        facts = {
            "module": run.module,
            "arguments": " ".join(run.arguments),
            "runtime": f"{run.runtime} {run.runtime_version or ''}",
            "collector": f"{run.collector}, {run.served}",
            "started": f"{run.started_at:%Y-%m-%d %H:%M:%S} UTC",
            "ended": run.ends_early or f"{run.state} after {run.duration_ns / 1e9:.3f} s",
            "error": run.error,
            "exit code": run.exit_code,
            "events": f"{run.events:,}",
            "unknown": run.observed.unknown,
        }
        lines = (f"<tr><th>{name}</th><td>{html.escape(str(fact))}</td></tr>" for name, fact in facts.items() if fact)
        return f"<table><tbody>{''.join(lines)}</tbody></table>"


def _connect(path: Path) -> duckdb.DuckDBPyConnection:
    try:
        place = _readable(path)
    except (OSError, ValueError) as error:
        raise RecordingAccessError(f"{text_of(path)}: {getattr(error, 'strerror', None) or error}") from error
    with _opening(path):
        return duckdb.connect(place, read_only=True, config=_CONFIG)


def _readable(path: Path) -> Path:
    """Where a file lies that can be read: an absolute path, since DuckDB means other things by names like ``:memory:``.

    Of a link it is the path of the file, beside which a file that is still being written has its second one.

    Raises:
        OSError: There is none, or it cannot be read.
        ValueError: No file can have that name, or DuckDB opens none that has.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise ValueError("it is a stream or a device: a recording is read from a file")
    with path.open("rb"):
        place = path.resolve(strict=True)
    if "?" in str(place):  # it looks for the second file elsewhere, which is not allowed here
        raise ValueError("DuckDB opens no file whose path has a question mark; rename it")
    if not is_utf8(place):
        raise ValueError("DuckDB takes only names in UTF-8; rename the file or its folder")
    return place


@contextmanager
def _opening(path: Path) -> Iterator[None]:
    """Turns DuckDB's errors into tinyheap's, while a file is opened and checked."""
    try:
        yield
    except RecordingError:
        raise
    except duckdb.Error as error:
        for words, kind, meaning in _SAYINGS:
            if words in str(error):
                raise kind(f"{path}: cannot be opened: {meaning}") from error
        raise RecordingCorruptError(f"{path}: is damaged: {first_line(error)}") from error
    except (ValueError, OverflowError) as error:
        raise RecordingCorruptError(f"{path}: is damaged: {error}") from error


def _check_version(path: Path, connection: duckdb.DuckDBPyConnection) -> None:
    is_recording = "SELECT count(*) FROM duckdb_columns() WHERE table_name = 'run' AND column_name = 'schema_version'"
    if connection.execute(is_recording).fetchall() == [(0,)]:
        raise NotARecordingError(f"{path}: is a DuckDB file, but not a recording: it has no table `run`")
    versions = connection.execute("SELECT schema_version, tinyheap_version FROM main.run LIMIT 2").fetchall()
    if len(versions) != 1:
        raise RecordingCorruptError(f"{path}: is damaged: it describes {len(versions) or 'no'} runs, not one")
    [(version, written_by)] = versions
    if version != SCHEMA_VERSION:
        raise RecordingVersionError(
            f"{path}: has schema {version}, written by tinyheap {written_by}; this tinyheap reads schema {SCHEMA_VERSION}: "
            f"{'update tinyheap' if version > SCHEMA_VERSION else 'record the run again'}"
        )


def _check_tables(path: Path, connection: duckdb.DuckDBPyConnection) -> None:
    query = """
        SELECT table_name, column_name, data_type, is_nullable
        FROM duckdb_columns() JOIN duckdb_tables() USING (table_oid, table_name)
    """
    found = {(table, column): kinds for table, column, *kinds in connection.execute(query).fetchall()}
    lacking = schema.lacking({table for table, _ in found})
    for table in lacking:
        connection.execute(table.temporary_sql)
    for table in (each for each in schema.TABLES if each not in lacking):
        for column in table.columns:
            kind, is_nullable = found.get((table.name, column.name), (None, False))
            if kind is None:
                what = "is missing"
            elif kind != column.type.sql:
                what = f"is of type {kind}, and should be {column.type.sql}"
            elif is_nullable and not column.is_nullable:
                what = "may be NULL, and should not"
            else:
                continue
            raise RecordingCorruptError(f"{path}: is damaged: the column {table.name}.{column.name} {what}")


def _run_info(path: Path, connection: duckdb.DuckDBPyConnection) -> RunInfo:
    names = schema.RUN.names()
    [row] = connection.execute(f"SELECT {', '.join(names)} FROM main.run").fetchall()
    values = dict(zip(names, row, strict=True))
    written = (
        "SELECT coalesce(max(number), 0), coalesce(sum(events), 0)::BIGINT, coalesce(max(time_ns), 0) FROM main.batches"
    )
    [(batches, events, last_ns)] = connection.execute(written).fetchall()
    last_part = _last_part(path, connection)
    events += 0 if last_part is None else last_part.earlier_events
    [(counted,)] = connection.execute("SELECT count(*) FROM main.events").fetchall()
    if counted != events:
        raise RecordingCorruptError(
            f"{path}: is damaged: it has {counted:,} events, and its batches brought {events:,}"
        )
    values["arguments"] = tuple(values["arguments"])
    values["options"] = _options(path, values["options"])
    if values["state"] not in (RUNNING, FINISHED, FAILED):
        states = f"{RUNNING}, {FINISHED} or {FAILED}"
        raise RecordingCorruptError(f"{path}: is damaged: invalid run.state {values['state']!r}: expected {states}")
    if values["block_bytes"] < 0:
        raise RecordingCorruptError(
            f"{path}: is damaged: invalid run.block_bytes {values['block_bytes']}: expected 0 or more"
        )
    tables = connection.execute("SELECT table_name FROM duckdb_tables() WHERE NOT temporary").fetchall()
    lacking = schema.lacking({name for (name,) in tables})
    return RunInfo(
        **values,
        batches=batches,
        events=events,
        last_ns=last_ns,
        sample_bytes=_sample_bytes(path, connection),
        last_part=last_part,
        knows_calls=schema.CALLS not in lacking,
        knows_memory=schema.MEMORIES not in lacking,
        infers_deaths=schema.INFERRED_DEATHS not in lacking,
    )


def _sample_bytes(path: Path, connection: duckdb.DuckDBPyConnection) -> int | None:
    found = connection.execute("SELECT mean_bytes FROM sampling LIMIT 2").fetchall()
    if len(found) > 1 or (found and found[0][0] < 1):
        raise RecordingCorruptError(
            f"{path}: is damaged: invalid sampling: expected one row at most, with a mean of 1 or more"
        )
    return found[0][0] if found else None


def _last_part(path: Path, connection: duckdb.DuckDBPyConnection) -> LastPart | None:
    """What is kept of the run; None where all is."""
    names = ", ".join(each.name for each in fields(LastPart))
    found = connection.execute(f"SELECT {names} FROM kept LIMIT 2").fetchall()
    if not found:
        return None
    part = LastPart(*found[0])
    if len(found) > 1 or min(found[0]) < 0 or part.collection_event_id >= part.first_event_id:
        raise RecordingCorruptError(f"{path}: is damaged: invalid kept: expected one row at most, with what can be")
    return None if part == LastPart(0, 1, 0, 0, 0, 0, 0, 0) else part


def _options(path: Path, text: str) -> dict[str, Any]:
    try:
        options = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecordingCorruptError(f"{path}: is damaged: run.options is not JSON ({error})") from error
    if not isinstance(options, dict):
        raise RecordingCorruptError(f"{path}: is damaged: run.options is JSON, but not an object")
    return options
