"""The file of a sweep: one DuckDB file, to which outcomes are added as they come.

What comes together is a transaction, so that whatever ends the sweep leaves a file with which it can be resumed.  Table
``sweep`` has one row, what the sweep is of; table ``outcomes`` a row for each run, with the columns of `Outcome`; table
``files`` a row for each module and input that conditions name; table ``sample`` a row where all outcomes are of a sample.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import duckdb

from tinyheap.errors import SweepFileError
from tinyheap.files import is_utf8, text_of
from tinyheap.lab.data_frames import columns_of
from tinyheap.lab.grids import Sample
from tinyheap.lab.outcome import Outcome
from tinyheap.lab.running import Subject, content_of
from tinyheap.ownership import SoleOwner

FORMAT: Final = "tinyheap sweep 1"
_COLUMNS: Final = columns_of(Outcome)
_DDL: Final = (
    "CREATE TABLE sweep (format VARCHAR, identity VARCHAR, module VARCHAR, options VARCHAR[], arguments VARCHAR[])",
    f"CREATE TABLE outcomes ({', '.join(f'{name} {kind}' for name, kind in _COLUMNS.items())}, PRIMARY KEY (condition, run))",
)
_KEPT_COLUMNS: Final = "SELECT column_name FROM duckdb_columns() WHERE table_name = 'outcomes' ORDER BY column_index"
"""The columns that a file has, which may be of before some were added."""
_FILES_DDL: Final = "CREATE TABLE IF NOT EXISTS files (name VARCHAR PRIMARY KEY, sha256 VARCHAR)"
_SAMPLE_DDL: Final = (
    "CREATE TABLE IF NOT EXISTS sample (size BIGINT, of_size VARCHAR, seed VARCHAR, programs BIGINT, grid VARCHAR)"
)
"""Numbers without a bound are text."""
_YOUNGER: Final = frozenset({"files", "sample"})
"""The tables that a file of before they were added does not have."""
TOGETHER: Final = 64
"""Outcomes in a transaction, at most, so that its statement stays short."""
_IN_MEMORY: Final = ":memory:"


class SweepFile(SoleOwner):
    """The outcomes of a sweep so far; to be closed, best by ``with``.

    Args:
        path: The file, which is made where there is none; None for outcomes that are not kept.
        subject: What the sweep is of; None for whatever it is of, to read a file that is there.

    Raises:
        SweepFileError: It cannot be opened, or holds something else.
        InputError: The module cannot be read.
    """

    def __init__(self, path: Path | None, subject: Subject | None) -> None:
        self._name = "the results" if path is None else text_of(path)
        place = _IN_MEMORY if path is None else _place(path)
        with self._explaining():
            self._connection = duckdb.connect(place, read_only=subject is None, config={"threads": 1})
        try:
            self._check(subject)
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def admit(self, paths: Iterable[Path]) -> None:
        """Note the contents of files that conditions name, which are to be the same whenever the sweep goes on.

        Raises:
            SweepFileError: A file has changed since then.
            InputError: A file cannot be read.
        """
        found = {text_of(path): hashlib.sha256(content_of(path)).hexdigest() for path in paths}
        with self._explaining():
            self._connection.execute(_FILES_DDL)
            known = dict(self._connection.execute("SELECT name, sha256 FROM files").fetchall())
        if changed := [name for name, sha256 in found.items() if known.get(name, sha256) != sha256]:
            raise SweepFileError(
                f"{self._name}: holds outcomes of {changed[0]} before that was changed; choose another file, or remove this one"
            )
        with self._explaining():
            for row in found.items():
                self._connection.execute("INSERT OR IGNORE INTO files VALUES (?, ?)", row)

    def put(self, outcomes: Sequence[Outcome]) -> None:
        """Add some outcomes, a number of them in one transaction, which costs more than what is in it.

        Raises:
            SweepFileError: It cannot be written.
        """
        row = f"({', '.join('?' * len(_COLUMNS))})"
        for begin in range(0, len(outcomes), TOGETHER):
            some = outcomes[begin : begin + TOGETHER]
            statement = f"INSERT INTO outcomes ({', '.join(_COLUMNS)}) VALUES {', '.join([row] * len(some))}"
            with self._explaining():
                self._connection.execute(statement, [getattr(each, name) for each in some for name in _COLUMNS])

    def outcomes(self) -> dict[tuple[str, int], Outcome]:
        """All that are there, by condition and run."""
        with self._explaining():
            kept = [name for (name,) in self._connection.execute(_KEPT_COLUMNS).fetchall() if name in _COLUMNS]
            rows = self._connection.execute(f"SELECT {', '.join(kept)} FROM outcomes ORDER BY rowid").fetchall()
        found = (zip(kept, row, strict=True) for row in rows)
        made = (Outcome(**{name: _kept(value) for name, value in each}) for each in found)
        return {(each.condition, each.run): each for each in made}

    def note(self, sample: Sample | None) -> None:
        """Note of which sample the outcomes are to be; that is known of a file as long as they are of no other.

        A larger sample that contains another takes its place.
        """
        known = self.sample()
        with self._explaining():
            row = self._connection.execute("SELECT count(*) FROM outcomes").fetchone()
            is_empty = row == (0,)
            if sample is not None and known is not None and (sample.grid, sample.seed) == (known.grid, known.seed):
                sample = max(sample, known, key=lambda each: each.size)
            elif not is_empty:
                sample = None
            if sample == known:
                return
            self._connection.begin()
            self._connection.execute(_SAMPLE_DDL)
            self._connection.execute("DELETE FROM sample")
            if sample is not None:
                values = [sample.size, str(sample.of), str(sample.seed), sample.programs, sample.grid]
                self._connection.execute("INSERT INTO sample VALUES (?, ?, ?, ?, ?)", values)
            self._connection.commit()

    def sample(self) -> Sample | None:
        """Of which sample all outcomes are; None where they are of none, or of several."""
        with self._explaining():
            tables = self._connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
            if ("sample",) not in tables:
                return None
            row = self._connection.execute("SELECT size, of_size, seed, programs, grid FROM sample").fetchone()
        return None if row is None else Sample(row[0], int(row[1]), int(row[2]), *row[3:])

    def subject(self) -> Subject:
        """What the sweep is of; numbers for an export that is invoked are not kept."""
        with self._explaining():
            found = self._connection.execute("SELECT module, arguments, options FROM sweep").fetchone()
        if found is None:
            raise SweepFileError(f"{self._name}: is not the file of a sweep; choose another file")
        return Subject(Path(found[0]), tuple(found[1]), tuple(found[2]))

    def _check(self, subject: Subject | None) -> None:
        """Begin an empty file; of any other see that it belongs to the same sweep."""
        with self._explaining():
            tables = {name for (name,) in self._connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
            if not tables and subject is not None:
                self._begin(subject)
                return
        if tables - _YOUNGER != {"sweep", "outcomes"}:
            raise SweepFileError(f"{self._name}: is not the file of a sweep; choose another file")
        with self._explaining():
            found = self._connection.execute("SELECT format, identity FROM sweep").fetchone()
        if subject is None and found is not None and found[0] == FORMAT:
            return
        if subject is None or found != (FORMAT, subject.identity):
            raise SweepFileError(
                f"{self._name}: holds the sweep of another program, or with other arguments, options or version of tinyheap; "
                "choose another file, or remove this one"
            )
        with self._explaining():
            for name, kind in _COLUMNS.items():
                self._connection.execute(f"ALTER TABLE outcomes ADD COLUMN IF NOT EXISTS {name} {kind}")

    def _begin(self, subject: Subject) -> None:
        row = [FORMAT, subject.identity, text_of(subject.module), list(subject.options), list(subject.arguments)]
        self._connection.begin()
        for statement in _DDL:
            self._connection.execute(statement)
        self._connection.execute("INSERT INTO sweep VALUES (?, ?, ?, ?, ?)", row)
        self._connection.commit()

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        """Turns errors of DuckDB into tinyheap's."""
        try:
            yield
        except duckdb.Error as error:
            reason = str(error).partition("\n")[0]
            raise SweepFileError(f"{self._name}: cannot be used as the file of a sweep: {reason}") from error


def _kept(value: Any) -> Any:  # noqa: ANN401 - of any column
    """A value as an outcome has it, which is frozen."""
    return tuple(value) if isinstance(value, list) else value


def _place(path: Path) -> Path:
    """Where a file lies that DuckDB can take: an absolute path, since it means other things by names like ``:memory:``.

    Raises:
        SweepFileError: It cannot take it.
    """
    try:
        place, is_other = path.resolve(), path.exists() and not path.is_file()
    except (OSError, ValueError) as error:
        raise SweepFileError(
            f"{text_of(path)}: {getattr(error, 'strerror', None) or error}; choose another file"
        ) from error
    if is_other or not is_utf8(place) or "?" in str(place):
        raise SweepFileError(
            f"{text_of(path)}: cannot be used as the file of a sweep: DuckDB takes only files, with paths in UTF-8 and without "
            "question marks; choose another file"
        )
    return place
