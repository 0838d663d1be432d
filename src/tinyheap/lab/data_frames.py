"""Results of the lab as rows of a table, which become data frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import duckdb

from tinyheap.recordings.rows import Rows

_TYPES: Final = {
    "str": "VARCHAR", "Limit": "VARCHAR", "int": "BIGINT", "float": "DOUBLE", "tuple[str, ...]": "VARCHAR[]",
    "tuple[int, ...]": "BIGINT[]",
}  # fmt: skip


def columns_of(result: type, but: str = "") -> dict[str, str]:
    """The fields of a dataclass, but for one of them, and their types in SQL."""
    return {each.name: _TYPES[str(each.type).removesuffix(" | None")] for each in fields(result) if each.name != but}


def frame_of(name: str, columns: Mapping[str, str], rows: Iterable[Sequence[Any]]) -> Rows:
    """Rows of a table that is nowhere but in memory.

    Args:
        name: Of the table.
        columns: Names of columns, which are words, and their types in SQL.
        rows: A value for each column.
    """
    connection = duckdb.connect(config={"threads": 1})
    # By column, since a statement for each row takes far longer.
    values = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in columns]
    unnested = ", ".join(f'unnest(?::{kind}[]) AS "{column}"' for column, kind in columns.items())
    connection.execute(f'CREATE TABLE "{name}" AS SELECT {unnested}', values)
    return Rows(connection.table(name), Path(name))
