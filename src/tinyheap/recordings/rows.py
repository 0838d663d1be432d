"""Rows that a recording answers with, in the form that is asked for.

The libraries behind the forms are imported when they are asked for; none of them is needed otherwise.
"""

from __future__ import annotations

import html
import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb

from tinyheap.errors import MissingLibraryError, QueryError, RecordingCorruptError

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow
    from numpy.typing import NDArray

SHOWN_ROWS: Final = 20
"""How many rows a notebook shows."""

FETCHED_ROWS: Final = 10_000
"""How many become Python objects at once, while one goes through all rows."""

_DAMAGE: Final = (duckdb.IOException, duckdb.InternalException, duckdb.FatalException, duckdb.SerializationException)
_DAMAGED: Final = re.compile("[Cc]orrupt|Invalid unicode|unrecognized enum value")


@contextmanager
def asking(path: Path) -> Iterator[None]:
    """Turns DuckDB's errors into ours, while the recording at `path` is asked something.

    Raises:
        QueryError: The question makes no sense.
        RecordingCorruptError: The file cannot be read.
    """
    try:
        yield
    except duckdb.Error as error:
        if isinstance(error, _DAMAGE) or _DAMAGED.search(str(error)):
            raise RecordingCorruptError(f"{path}: is damaged: {first_line(error)}") from error
        raise QueryError(first_line(error)) from error
    except UnicodeDecodeError as error:
        raise RecordingCorruptError(f"{path}: is damaged: it holds text that is not UTF-8 ({error})") from error


def first_line(error: BaseException) -> str:
    """What an error of DuckDB says, without the query that it repeats."""
    text = re.split(r"\n\n(?:LINE|Stack Trace)", str(error).strip())[0].replace("\n", " ")
    return re.sub(r"^[A-Z][A-Za-z ]* Error: ", "", text)


class Rows:
    """The answer to a question; it is computed when rows are asked for, and each time anew."""

    def __init__(self, relation: duckdb.DuckDBPyRelation, path: Path) -> None:
        self._relation = relation
        self._path = path

    @property
    def columns(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self._relation.columns)

    @property
    def types(self) -> tuple[str, ...]:
        """Their types, as SQL names them."""
        return tuple(str(each) for each in self._relation.types)

    def fetch(self, limit: int | None = None) -> list[tuple[Any, ...]]:
        """All rows, or the first `limit`, as Python's own objects."""
        with asking(self._path):
            relation = self._relation if limit is None else self._relation.limit(limit)
            return relation.fetchall()

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
        """One array a column; a masked one where values are missing."""
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
        """All rows; they become Python objects some at a time."""
        with asking(self._path):
            yield from self._relation.iter_rows(FETCHED_ROWS)

    def __len__(self) -> int:
        with asking(self._path):
            count: int = self._relation.count("*").fetchall()[0][0]
        return count

    def __repr__(self) -> str:
        return f"<{len(self):,} rows of {', '.join(self.columns)}>"

    def _repr_html_(self) -> str:
        """The first rows as a table, for notebooks."""
        head = "".join(f"<th>{html.escape(each)}</th>" for each in self.columns)
        body = "".join(_html_row(row) for row in self.fetch(SHOWN_ROWS))
        more = len(self) - SHOWN_ROWS
        foot = f"<p>and {more:,} more rows</p>" if more > 0 else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{foot}"


def _html_row(row: tuple[Any, ...]) -> str:
    cells = "".join(f"<td>{'' if each is None else html.escape(str(each))}</td>" for each in row)
    return f"<tr>{cells}</tr>"


def _need(*libraries: str) -> None:
    for library in libraries:
        try:
            importlib.import_module(library)
        except ImportError as error:
            names = " ".join(libraries)
            raise MissingLibraryError(f"this form needs {library}: install it with pip install {names}") from error
