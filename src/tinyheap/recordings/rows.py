"""The rows of a query's result, as Python objects, text, JSON, or data frames of several libraries.

Each library is imported when its data frames are asked for, and is not needed otherwise.
"""

from __future__ import annotations

import html
import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb

from tinyheap.errors import MissingLibraryError, QueryError, RecordingClosedError, RecordingCorruptError

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow
    from numpy.typing import NDArray

SHOWN_ROWS: Final = 20
"""How many rows a notebook shows."""

FETCHED_ROWS: Final = 10_000
"""How many become Python objects at once, while one goes through all rows."""

_ZONED: Final = ("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ_NS")
"""The types of moments that have a time zone."""

_DAMAGE: Final = (duckdb.IOException, duckdb.InternalException, duckdb.FatalException, duckdb.SerializationException)
_DAMAGED: Final = re.compile("[Cc]orrupt|Invalid unicode|unrecognized enum value")


@contextmanager
def asking(path: Path) -> Iterator[None]:
    """Turns DuckDB's errors into tinyheap's, while the recording at `path` is asked something.

    Raises:
        QueryError: The question makes no sense.
        RecordingCorruptError: The file cannot be read.
        RecordingClosedError: The recording is closed.
    """
    try:
        yield
    except duckdb.ConnectionException as error:
        raise RecordingClosedError(closed_text(path)) from error
    except duckdb.Error as error:
        if isinstance(error, _DAMAGE) or _DAMAGED.search(str(error)):
            raise RecordingCorruptError(f"{path}: is damaged: {first_line(error)}") from error
        raise QueryError(first_line(error)) from error
    except UnicodeDecodeError as error:
        raise RecordingCorruptError(f"{path}: is damaged: it holds text that is not UTF-8 ({error})") from error


def closed_text(path: Path) -> str:
    """What to say to those who ask a closed recording."""
    return f"{path} is closed: open it again, and ask before it is closed"


def first_line(error: BaseException) -> str:
    """What an error of DuckDB says, without the query that it repeats."""
    text = re.split(r"\n\n(?:LINE|Stack Trace)", str(error).strip())[0].replace("\n", " ")
    return re.sub(r"^[A-Z][A-Za-z ]* Error: ", "", text)


class Rows:
    """The result of a query; it is computed when rows are fetched, each time anew."""

    def __init__(self, relation: duckdb.DuckDBPyRelation, path: Path) -> None:
        self._relation = relation
        self._path = path

    @property
    def columns(self) -> tuple[str, ...]:
        """Their names."""
        with asking(self._path):
            return tuple(self._relation.columns)

    @property
    def types(self) -> tuple[str, ...]:
        """Their types, as SQL names them."""
        with asking(self._path):
            return tuple(str(each) for each in self._relation.types)

    def as_text(self) -> Rows:
        """The same rows, with each value as the text that DuckDB writes for it; bytes as hexadecimal digits.

        That is exact for every type, also where Python's own are too small or too coarse.  NULL is None.
        """
        return self._written("{}::VARCHAR")

    def as_json(self) -> Rows:
        """The same rows, with each value as JSON: texts and lists as such, moments and bytes as `as_text` has them.

        What is not a finite number is written ``NaN``, ``Infinity`` or ``-Infinity``, which JSON itself does not know.
        NULL is None where it stands alone, and ``null`` inside of a value.
        """
        return self._written("to_json({})::VARCHAR")

    def _written(self, form: str) -> Rows:
        """Rows of another form; columns are named by their places, since two may have one name."""
        written = [
            form.format(f"lower(hex(#{place}))" if kind == "BLOB" else f"#{place}")
            for place, kind in enumerate(self.types, start=1)
        ]
        with asking(self._path):
            return Rows(self._relation.project(", ".join(written)), self._path)

    def fetch(self, limit: int | None = None) -> list[tuple[Any, ...]]:
        """All rows, or the first `limit`, as Python's own objects; moments with a time zone are in UTC.

        Raises:
            MissingLibraryError: Such moments inside of lists, structs or the like need pytz, which is not installed.
        """
        relation, zoned = self._in_utc()
        with _needing_zones(), asking(self._path):
            rows = (relation if limit is None else relation.limit(limit)).fetchall()
        return [_marked(row, zoned) for row in rows] if zoned else rows

    def _in_utc(self) -> tuple[duckdb.DuckDBPyRelation, frozenset[int]]:
        """The relation with its moments of a time zone in UTC and without the zone, and the places where they are.

        DuckDB itself makes objects of them only with the help of a library, pytz.
        """
        types = self.types
        zoned = frozenset(place for place, kind in enumerate(types) if kind in _ZONED)
        if not zoned:
            return self._relation, zoned
        columns = [f"timezone('UTC', #{at + 1})" if at in zoned else f"#{at + 1}" for at in range(len(types))]
        with asking(self._path):
            return self._relation.project(", ".join(columns)), zoned

    def one(self) -> tuple[Any, ...]:
        """The only row.

        Raises:
            LookupError: There is none, or more than one.
        """
        rows = self.fetch(2)
        if len(rows) != 1:
            raise LookupError(f"there is {'more than one row' if rows else 'no row'}, where one was expected")
        return rows[0]

    def numpy(self) -> dict[str, NDArray[Any]]:
        """One array per column; a masked one where values are missing."""
        with asking(self._path):
            return self._relation.fetchnumpy()

    def polars(self) -> polars.DataFrame:
        """A data frame of polars.

        Raises:
            MissingLibraryError: polars or pyarrow is not installed.
        """
        _need("polars", "pyarrow")
        with asking(self._path):
            frame: polars.DataFrame = self._relation.pl()
        return frame

    def pandas(self) -> pandas.DataFrame:
        """A data frame of pandas.

        Raises:
            MissingLibraryError: pandas is not installed.
        """
        _need("pandas")
        with asking(self._path):
            frame: pandas.DataFrame = self._relation.df()
        return frame

    def arrow(self) -> pyarrow.Table:
        """A table of Arrow.

        Raises:
            MissingLibraryError: pyarrow is not installed.
        """
        _need("pyarrow")
        with asking(self._path):
            return self._relation.to_arrow_table()

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """All rows, as `fetch` has them; they become Python objects some at a time."""
        relation, zoned = self._in_utc()
        with _needing_zones(), asking(self._path):
            for row in relation.iter_rows(FETCHED_ROWS):
                yield _marked(row, zoned) if zoned else row

    def __len__(self) -> int:
        with asking(self._path):
            count: int = self._relation.count("*").fetchall()[0][0]
        return count

    def __repr__(self) -> str:
        return f"<{len(self):,} rows of {', '.join(self.columns)}>"

    def _repr_html_(self) -> str:
        """The first rows as a table, for notebooks."""
        head = "".join(f"<th>{html.escape(each)}</th>" for each in self.columns)
        body = "".join(_html_row(row) for row in self.as_text().fetch(SHOWN_ROWS))
        more = len(self) - SHOWN_ROWS
        foot = f"<p>and {more:,} more rows</p>" if more > 0 else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{foot}"


def _marked(row: tuple[Any, ...], zoned: frozenset[int]) -> tuple[Any, ...]:
    """A row whose moments at these places say that they are in UTC; those that Python has no object for are texts."""
    return tuple(
        each.replace(tzinfo=UTC) if at in zoned and isinstance(each, datetime) else each for at, each in enumerate(row)
    )


@contextmanager
def _needing_zones() -> Iterator[None]:
    """Says it in words where DuckDB lacks a library for moments that have a time zone."""
    try:
        yield
    except QueryError as error:
        if "'pytz'" not in str(error):
            raise
        raise MissingLibraryError(
            "moments with a time zone inside of lists, structs or the like become Python's objects by pytz: install it "
            "with pip install pytz, or make them text with ::VARCHAR"
        ) from error


def _html_row(row: tuple[Any, ...]) -> str:
    cells = "".join(f"<td>{'' if each is None else html.escape(str(each))}</td>" for each in row)
    return f"<tr>{cells}</tr>"


def _need(*libraries: str) -> None:
    for library in libraries:
        try:
            importlib.import_module(library)
        except ImportError as error:
            names = " ".join(libraries)
            message = f"this form needs {library}: install it with pip install {names}"
            raise MissingLibraryError(message, name=library) from error
