"""What a schema is made of: types, columns, tables and views, as data and as SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple


@dataclass(frozen=True, slots=True)
class Type:
    """What a column holds: its name in SQL, and the annotation of the same in a row's class."""

    sql: str
    annotation: str


BOOLEAN: Final = Type("BOOLEAN", "bool")
INTEGER: Final = Type("INTEGER", "int")
BIGINT: Final = Type("BIGINT", "int")
UBIGINT: Final = Type("UBIGINT", "int")
DOUBLE: Final = Type("DOUBLE", "float")
UTINYINT: Final = Type("UTINYINT", "int")
VARCHAR: Final = Type("VARCHAR", "str")
VARCHARS: Final = Type("VARCHAR[]", "tuple[str, ...]")
JSON: Final = Type("VARCHAR", "Mapping[str, Any]")
TIMESTAMP: Final = Type("TIMESTAMP", "datetime")
BLOB: Final = Type("BLOB", "bytes")


class Field(NamedTuple):
    """Where a column lies in the records that compiled code writes, and its type there in NumPy's words."""

    offset_bytes: int
    format: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.  Where it has a unit, its name ends in it: ``_ns`` or ``_bytes``."""

    name: str
    type: Type
    meaning: str = ""
    """Empty where the name says it all; for a column that may be NULL it says when, unless that is plain."""
    is_nullable: bool = False
    field: Field | None = None
    """Set where rows are handed over as an array of records."""
    default: str = ""
    """In Python, what a row's class takes where nothing is given; empty where something must be."""

    @property
    def sql(self) -> str:
        """Its definition."""
        return f"{self.name} {self.type.sql}{'' if self.is_nullable else ' NOT NULL'}"

    @property
    def annotation(self) -> str:
        """Its type in a row's class, and what stands for it there."""
        kind = f"{self.type.annotation} | None" if self.is_nullable else self.type.annotation
        return f"{kind} = {self.default}" if self.default else kind


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a recording."""

    name: str
    meaning: str
    columns: tuple[Column, ...]
    is_added: bool = False
    """Whether recordings of its schema's version were written before there was this table, and so do not have it."""

    @property
    def sql(self) -> str:
        """The statement that creates it."""
        columns = ",\n".join(f"    {column.sql}" for column in self.columns)
        return f"CREATE TABLE {self.name} (\n{columns}\n);\n"

    @property
    def temporary_sql(self) -> str:
        """The statement that creates one that is empty, and gone with the connection."""
        return self.sql.replace("CREATE TABLE", "CREATE TEMP TABLE")

    @property
    def record(self) -> list[tuple[str, str]]:
        """The fields of its records, names and types, in the order in which they lie in memory."""
        fields = [
            (column.field.offset_bytes, column.name, column.field.format) for column in self.columns if column.field
        ]
        return [(name, kind) for _, name, kind in sorted(fields)]

    def names(self, *, without: frozenset[str] | set[str] = frozenset()) -> tuple[str, ...]:
        """Names of its columns, in their order.

        Raises:
            KeyError: There is no column that is to be left out.
        """
        names = tuple(column.name for column in self.columns)
        if not without <= set(names):
            raise KeyError(f"{self.name} has no column {', '.join(sorted(without - set(names)))}")
        return tuple(name for name in names if name not in without)


@dataclass(frozen=True, slots=True)
class View:
    """A view of a recording; ``query`` is what it selects."""

    name: str
    meaning: str
    query: str

    @property
    def sql(self) -> str:
        """The statement that creates it."""
        return f"CREATE VIEW {self.name} AS\n{self.query};\n"
