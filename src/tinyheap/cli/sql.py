"""`tinyheap sql`: queries a recording in DuckDB's SQL.

A query can read nothing but the recording (no other file, no network, no extension of DuckDB), and changes nothing.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click
from rich import box
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tinyheap.cli.parameters import RECORDING, Command, Input
from tinyheap.errors import QueryError
from tinyheap.recordings import schema
from tinyheap.recordings.recording import Recording
from tinyheap.report.consoles import PIPE_COLUMNS, result_console
from tinyheap.report.text import printable

if TYPE_CHECKING:
    from tinyheap.recordings.rows import Rows

SHOWN_ROWS: Final = 1000
"""More are not shown as a table; `--csv` and `--json` write all of them."""

_NUMBER: Final = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|BIGNUM|DOUBLE|FLOAT|DECIMAL\(.*\)")
"""The types whose values are aligned to the right."""
_NOT_JSON: Final = re.compile(r'("(?:[^"\\]|\\.)*")|-?Infinity|NaN')
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7e]")


@click.command(cls=Command)
@click.argument("file", type=RECORDING)
@click.argument("query", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per row, one per line.")
@click.option(
    "--csv",
    "as_csv",
    is_flag=True,
    help="Print comma-separated values, with the names of the columns in the first line.",
)
def command(file: Input, query: str | None, as_json: bool, as_csv: bool) -> None:
    """Query the recording FILE in SQL; without a QUERY, list its tables and columns.

    The QUERY is in DuckDB's dialect of SQL, and can read nothing but the recording.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    with Recording.open(file.path) as recording:
        if recording.run.ends_early:
            click.echo(f"{file}: {recording.run.ends_early}", err=True)
        if query is None:
            _show_tables(recording)
        elif as_json:
            _write_json(recording.sql(query))
        elif as_csv:
            _write_csv(recording.sql(query))
        else:
            _show_rows(recording.sql(query))


def _write_json(rows: Rows) -> None:
    for name, count in Counter(rows.columns).items():
        if count > 1:
            raise QueryError(f"{count} columns are named {name!r}: name them apart with AS")
    names = [json.dumps(name) for name in rows.columns]
    for row in rows.as_json():
        pairs = zip(names, map(_strict_json, row), strict=True)
        click.echo(f"{{{', '.join(f'{name}: {value}' for name, value in pairs)}}}")


def _strict_json(text: str | None) -> str:
    """DuckDB's JSON as every reader takes it: null where JSON has no such number, and in ASCII."""
    strict = _NOT_JSON.sub(lambda found: found[1] or "null", text or "null")
    return _NOT_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], strict)


def _write_csv(rows: Rows) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(rows.columns)
    writer.writerows(rows.as_text())


def _show_rows(rows: Rows) -> None:
    """The first rows as a table; each as a paragraph of its own where the table would be too wide."""
    console = result_console()
    found = rows.as_text().fetch(SHOWN_ROWS + 1)
    shown = [[Text(printable(each or "")) for each in row] for row in found[:SHOWN_ROWS]]
    names = [Text(printable(name)) for name in rows.columns]
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name, kind in zip(names, rows.types, strict=True):
        table.add_column(name, justify="right" if _NUMBER.fullmatch(kind) else "left")
    for row in shown:
        table.add_row(*row)
    room = console.options.update(max_width=PIPE_COLUMNS)
    if console.measure(table, options=room).maximum <= console.width:
        console.print(table)
    else:
        for row in shown:
            console.print(_listing(list(zip(names, row, strict=True))))
    if len(found) > SHOWN_ROWS:
        click.echo(f"... and more: these are the first {SHOWN_ROWS:,} rows; --csv and --json print all", err=True)


def _show_tables(recording: Recording) -> None:
    """Every table with its columns and what they mean, and every view."""
    console = result_console()
    for table in schema.TABLES:
        (count,) = recording.sql(f"SELECT count(*) FROM {table.name}").one()
        console.print(_headline(table.name, f"{count:,} row{'' if count == 1 else 's'}", table.meaning))
        console.print(_listing([(each.name, each.type.sql, each.meaning) for each in table.columns]))
    for view in schema.VIEWS:
        rows = recording.frame(view.name)
        console.print(_headline(view.name, "view", view.meaning))
        console.print(_listing(list(zip(rows.columns, rows.types, strict=True))))


def _headline(name: str, what: str, meaning: str) -> Text:
    return Text.assemble((name, "bold"), f" ({what})", f": {meaning}" if meaning else "")


def _listing(lines: Sequence[Sequence[Text | str]]) -> Padding:
    """Lines of names and what they stand for, indented."""
    table = Table.grid(padding=(0, 2))
    # What is in front keeps its width: only what it means is broken, and nothing is cut.
    for place in range(len(lines[0])):
        is_last = place == len(lines[0]) - 1
        table.add_column(style="" if place else "cyan", no_wrap=not is_last, overflow="fold")
    for line in lines:
        table.add_row(*line)
    return Padding(table, (0, 0, 1, 2), expand=False)
