"""The schema as data: which tables and columns there are, of which types, and what they mean.

The text in `schema` is the one source; it is read here rather than written down twice.  A comment there is what a line
of it says behind ``--``, and stands for the table or the column on that line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Final

from tinyheap.recordings.schema import TABLES, VIEWS

_TABLE: Final = re.compile(r"CREATE TABLE (\w+) \( *(?:-- (.*))?\n([\s\S]*?)\n\);")
_COLUMN: Final = re.compile(r" +(\w+) ([A-Z]+(?:\[\])?)( NOT NULL)?,? *(?:-- (.*))?")
_VIEW: Final = re.compile(r"CREATE VIEW (\w+) AS *(?:-- (.*))?\n([\s\S]*?);\n")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; ``type`` is its name in SQL, ``meaning`` is empty where the name says it all."""

    name: str
    type: str
    is_nullable: bool
    meaning: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a recording."""

    name: str
    meaning: str
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class View:
    """A view of a recording; ``query`` is what it selects."""

    name: str
    meaning: str
    query: str


@cache
def tables() -> tuple[Table, ...]:
    """All tables, in the order of the schema."""
    return tuple(Table(name, meaning, _columns(body)) for name, meaning, body in _TABLE.findall(TABLES))


@cache
def views() -> tuple[View, ...]:
    """All views, in the order of the schema."""
    return tuple(View(name, meaning, query) for name, meaning, query in _VIEW.findall(VIEWS))


def _columns(body: str) -> tuple[Column, ...]:
    found = (_COLUMN.fullmatch(line) for line in body.splitlines())
    return tuple(Column(each[1], each[2], not each[3], each[4] or "") for each in found if each)
