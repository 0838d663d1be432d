"""A recording's file while it is written: batches of rows in, each transaction a batch or several.

The file appears under its name when it is a sound recording of a run that has just begun, and is one from then on,
whatever happens to its writer.  Between two checkpoints DuckDB keeps what is new in a second file beside it,
``NAME.wal``, which belongs to the recording until that is closed.

A store is for one thread.
"""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tinyheap import __version__
from tinyheap.files import temporary, text_of
from tinyheap.ownership import SoleOwner
from tinyheap.recordings import engines
from tinyheap.recordings.schema import DDL, RUNNING, SCHEMA_VERSION

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from duckdb import DuckDBPyConnection
    from numpy.typing import NDArray

    from tinyheap.recordings.batch import Batch
    from tinyheap.recordings.row_types import FrameRow, RunEnd, RunRow, SnapshotRow

FEW_ROWS: Final = 8
ROW_GROUP_EVENTS: Final = 1 << 16
"""As many as fill a batch.  DuckDB writes a whole group of rows into the file once, and less into ``NAME.wal`` and again
into the file."""
_ATTACHED: Final = "recording"

_DIRECTLY: Final = "SET wal_autocheckpoint = '1KB'"
"""Has what is committed written into the file at once, and not into ``NAME.wal`` first."""
_BY_LOG: Final = "RESET wal_autocheckpoint"


class RecordingStore(SoleOwner):
    """A recording that grows.

    Args:
        path: The file to make.
        run: What is known of the run.
        frames: All call instructions that stacks may mention, in the order of their ids, from 1; in the file stand those
            that they do mention.
        overwrite: Whether a file of that name may be replaced.

    Raises:
        FileExistsError: There is a file of that name already.
        duckdb.Error: The file cannot be made.
    """

    def __init__(self, path: Path, run: RunRow, frames: Sequence[FrameRow], *, overwrite: bool) -> None:
        self.batches = 0
        """How many are in the file."""
        self._events = 0
        self._frames = frames
        self._written_frames: set[int] = set()
        self._is_closed = False
        self._connection = engines.start()
        _place(self._connection, path, run, overwrite=overwrite)
        _attach(self._connection, path)

    def put(self, batches: Sequence[Batch], end: RunEnd | None = None) -> None:
        """Add what some batches bring, in one transaction: all of it, or nothing.

        Args:
            batches: They belong to the store then.
            end: How the run ended, and the file is closed; None where it goes on.

        Raises:
            duckdb.Error: It cannot be written.
            IndexError: A stack names a frame that there is not.
        """
        if end is not None:
            self._connection.execute(_DIRECTLY)
        self._in_one(lambda: self._put_all(batches, end))
        self.batches += len(batches)
        self._events += sum(len(batch.events) for batch in batches)
        if end is not None:
            self._finish()

    def _finish(self) -> None:
        """Close a file that has everything."""
        self._connection.execute("CHECKPOINT")  # detaching would do it too, and say nothing where it cannot
        self._connection.execute(f"USE memory; DETACH {_ATTACHED}; {_BY_LOG}")
        engines.give_back(self._connection)
        self._is_closed = True

    def close(self) -> None:
        """Close the file as it is; never fails."""
        import duckdb

        if self._is_closed:
            return
        self._is_closed = True
        with contextlib.suppress(duckdb.Error):  # what could not be moved from NAME.wal into the file stays there
            self._connection.close()

    def _in_one(self, work: Callable[[], object]) -> None:
        import duckdb

        self._connection.begin()
        try:
            work()
            self._connection.commit()
        except BaseException:
            with contextlib.suppress(duckdb.Error):  # where the commit itself failed, nothing is left to take back
                self._connection.rollback()
            raise

    def _put_all(self, batches: Sequence[Batch], end: RunEnd | None) -> None:
        if batches:
            self._put_rows(batches)
        if end is not None:
            update = f"UPDATE run SET {', '.join(f'{each.name} = ${each.name}' for each in fields(end))}"
            self._connection.execute(update, asdict(end))

    def _put_rows(self, batches: Sequence[Batch]) -> None:
        stacks = _joined([batch.stacks for batch in batches])
        self._insert("frames", _columns(self._take_frames(stacks["frame_id"])))
        self._insert("stacks", _fields(stacks))
        events = _joined([batch.events for batch in batches])
        ids = np.arange(self._events + 1, self._events + 1 + len(events))
        self._insert("events", {"id": ids, **_fields(events)})
        self._insert("deaths", _fields(_joined([batch.deaths for batch in batches])))
        self._insert("inferred_deaths", _fields(_joined([batch.inferred_deaths for batch in batches])))
        self._insert_rows("collections", [row for batch in batches for row in batch.collections])
        self._insert_rows("samples", [row for batch in batches for row in batch.samples])
        self._insert_rows("growths", [row for batch in batches for row in batch.growths])
        self._insert_rows("snapshots", [_compressed(row) for batch in batches for row in batch.snapshots])
        self._insert_rows("calls", [row for batch in batches for row in batch.calls])
        self._insert_rows("memories", [row for batch in batches for row in batch.memories])
        self._insert_rows("memory_growths", [row for batch in batches for row in batch.memory_growths])
        self._insert_rows("sampling", [row for batch in batches for row in batch.samplings])
        numbered = enumerate(batches, start=self.batches + 1)
        self._insert_values(
            "batches", ("number", "time_ns", "events"), [(at, each.time_ns, len(each.events)) for at, each in numbered]
        )

    def _take_frames(self, mentioned: NDArray[np.uint32]) -> list[FrameRow]:
        """Those that are mentioned and not in the file yet."""
        new = set(np.unique(mentioned).tolist()) - self._written_frames
        self._written_frames |= new
        return [self._frames[each - 1] for each in sorted(new)]

    def _insert(self, table: str, columns: Mapping[str, NDArray[Any]]) -> None:
        if not columns or not len(next(iter(columns.values()))):
            return
        names = ", ".join(columns)
        self._connection.register("incoming", columns)
        self._connection.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM incoming")
        self._connection.unregister("incoming")

    def _insert_rows(self, table: str, rows: Sequence[DataclassInstance]) -> None:
        """Add a few rows, for which columns would take longer to look at than to write."""
        if len(rows) > FEW_ROWS:
            self._insert(table, _columns(rows))
        elif rows:
            names = tuple(each.name for each in fields(rows[0]))
            self._insert_values(table, names, [[getattr(row, name) for name in names] for row in rows])

    def _insert_values(self, table: str, names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Add rows by one statement, whose text has a place for each of their values."""
        if rows:
            marks = ", ".join([f"({', '.join('?' * len(names))})"] * len(rows))
            values = [value for row in rows for value in row]
            self._connection.execute(f"INSERT INTO {table} ({', '.join(names)}) VALUES {marks}", values)


def _place(connection: DuckDBPyConnection, path: Path, run: RunRow, *, overwrite: bool) -> None:
    """Make the file of a run that has just begun, under another name, and move it to its place when it is sound."""
    log = path.with_name(f"{path.name}.wal")
    with temporary(path.parent) as made:
        _attach(connection, made)
        connection.begin()
        connection.execute(DDL)
        _insert_run(connection, run)
        connection.commit()
        connection.execute("CHECKPOINT")  # detaching would do it too, and say nothing where it cannot
        connection.execute(f"USE memory; DETACH {_ATTACHED}")
        if overwrite:
            log.unlink(missing_ok=True)  # it belongs to the file that is replaced, and would be read into the new one
            made.replace(path)
        elif log.exists():
            raise FileExistsError(f"{log} was left behind by another recording")
        else:
            _name(made, path)


def _name(made: Path, path: Path) -> None:
    """Give a file its name, unless another one has that."""
    try:
        path.hardlink_to(made)  # unlike a move it never replaces a file
    except FileExistsError:
        raise
    except OSError:  # there are file systems without links
        if path.exists():
            raise FileExistsError(f"{path} is there already") from None
        made.replace(path)


def _attach(connection: DuckDBPyConnection, path: Path) -> None:
    quoted = str(path.absolute()).replace("'", "''")
    connection.execute(f"ATTACH '{quoted}' AS {_ATTACHED} (ROW_GROUP_SIZE {ROW_GROUP_EVENTS}); USE {_ATTACHED}")


def _insert_run(connection: DuckDBPyConnection, run: RunRow) -> None:
    row = {
        "schema_version": SCHEMA_VERSION,
        "tinyheap_version": __version__,
        **asdict(run),
        "module": text_of(run.module),
        "arguments": [text_of(each) for each in run.arguments],
        "options": json.dumps(run.options),
        "started_at": run.started_at.astimezone(UTC).replace(tzinfo=None),
        "state": RUNNING,
    }
    marks = ", ".join("?" * len(row))
    connection.execute(f"INSERT INTO run ({', '.join(row)}) VALUES ({marks})", list(row.values()))


def _joined(arrays: Sequence[NDArray[np.void]]) -> NDArray[np.void]:
    """Arrays of records as one."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _fields(records: NDArray[np.void]) -> dict[str, NDArray[Any]]:
    """An array of records as columns."""
    names: tuple[str, ...] = records.dtype.names or ()
    return {name: records[name] for name in names}


def _columns(rows: Sequence[DataclassInstance]) -> dict[str, NDArray[Any]]:
    """Dataclasses as columns."""
    if not rows:
        return {}
    names = [each.name for each in fields(rows[0])]
    return {name: _objects([getattr(row, name) for row in rows]) for name in names}


def _objects(values: list[Any]) -> NDArray[np.object_]:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def _compressed(snapshot: SnapshotRow) -> SnapshotRow:
    return replace(snapshot, states=zlib.compress(snapshot.states, 1))
