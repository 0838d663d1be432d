"""Files, and parts of files, that are written from what the project says in one place; `make generated` writes them.

From the schema of recordings: the classes of rows, and the tables of docs/recordings.md.  From the contents of the HTML
pages: what their code knows of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from project_files import ROOT
from tinyheap.inspect.comparing import GroupDifference, PathDifference
from tinyheap.inspect.holes import Cutter
from tinyheap.inspect.overviews import HeldBy
from tinyheap.lab.edges import Stretch
from tinyheap.lab.outcome import Outcome
from tinyheap.lab.starts import Start
from tinyheap.profile.histograms import Bucket
from tinyheap.profile.summary import Peak, Totals
from tinyheap.recordings import schema
from tinyheap.recordings.tables import Column, Table
from tinyheap.report.html import contents, demo_contents, fit_contents, heap_contents, lab_contents
from typescript import interface

RECORDINGS: Final = ROOT / "src" / "tinyheap" / "recordings"
BEGIN: Final = "<!-- written by `make generated` from the schema -->\n"
END: Final = "<!-- end of what is written -->\n"


class RowClass(NamedTuple):
    """A class whose instances are rows, or parts of rows."""

    name: str
    docstring: str
    columns: Sequence[Column]


ROW_CLASSES: Final = (
    RowClass("RunColumns", "The row of the table ``run``.", schema.RUN.columns),
    RowClass("RunRow", "What is known of a run at its beginning; see the table ``run``.", schema.RUN_BEGINNING),
    RowClass("RunEnd", "How a run ended; see the table ``run``.", schema.RUN_END),
    RowClass("FrameRow", "A call instruction of the program; see the table ``frames``.", schema.FRAMES.columns),
    RowClass("CollectionRow", "See the table ``collections``.", schema.COLLECTIONS.columns),
    RowClass("SampleRow", "See the table ``samples``.", schema.SAMPLES.columns),
    RowClass("GrowthRow", "See the table ``growths``.", schema.GROWTHS.columns),
    RowClass(
        "SnapshotRow",
        "See the table ``snapshots``; ``states`` are not yet compressed.",
        schema.SNAPSHOTS.columns,
    ),
    RowClass("CallRow", "See the table ``calls``.", schema.CALLS.columns),
    RowClass("CallArgumentRow", "See the table ``call_arguments``.", schema.CALL_ARGUMENTS.columns),
    RowClass("MemoryRow", "See the table ``memories``.", schema.MEMORIES.columns),
    RowClass("MemoryGrowthRow", "See the table ``memory_growths``.", schema.MEMORY_GROWTHS.columns),
    RowClass("SamplingRow", "See the table ``sampling``.", schema.SAMPLING.columns),
)
INTERFACES: Final[Sequence[tuple[type, Collection[str]]]] = (
    (contents.Run, ()),
    (Peak, ()),
    (Totals, contents.TOTALS),
    (contents.Percentile, ()),
    (Bucket, ()),
    (contents.Histogram, ()),
    (contents.Unknown, ()),
    (contents.Suspect, ()),
    (contents.Leaks, ()),
    (contents.GrowingSite, ()),
    (contents.Calls, ()),
    (contents.Source, ()),
    (contents.Summary, ()),
    (contents.ObjectsHead, ()),
)
"""Classes with facts of the page, and which fields of them it gets where that is not all."""
HEAP_INTERFACES: Final = (
    heap_contents.Source,
    HeldBy,
    heap_contents.Suspect,
    GroupDifference,
    PathDifference,
    heap_contents.Changes,
    Bucket,
    Cutter,
    heap_contents.HeapSummary,
    heap_contents.Field,
    heap_contents.Decoded,
    heap_contents.Origin,
    heap_contents.HeapObjectsHead,
    heap_contents.HeapMemoryHead,
)
"""The same of the page of a heap."""
LAB_INTERFACES: Final = (
    Outcome,
    lab_contents.LabDifference,
    lab_contents.LabEffect,
    lab_contents.LabRow,
    lab_contents.LabTrial,
    lab_contents.LabSurvival,
    lab_contents.LabSummary,
)
"""The same of the page of a sweep."""
FIT_INTERFACES: Final = (Stretch, Start, fit_contents.FitTrial, fit_contents.FitRow, fit_contents.FitSummary)
"""The same of the page of `tinyheap fit`."""
DEMO_INTERFACES: Final = (demo_contents.BridgeFunction, demo_contents.HeapPlaces, demo_contents.DemoFacts)
"""The same of the page of a demo."""
ROW_TYPES: Final = '''"""Classes of the rows of a recording, written from `schema` by `make generated`: change that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
'''


def row_types(_: str) -> str:
    """The module of row classes."""
    return "\n\n".join([ROW_TYPES, *("".join(_row_class(each)) for each in ROW_CLASSES)])


def _row_class(row: RowClass) -> Iterator[str]:
    yield f'@dataclass(frozen=True, slots=True)\nclass {row.name}:\n    """{row.docstring}"""\n\n'
    for column in row.columns:
        meaning = f"  # {column.meaning}" if column.meaning else ""
        yield f"    {column.name}: {column.annotation}{meaning}\n"


def recordings_page(page: str) -> str:
    """The page on recordings, with the tables and views between the two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + "\n" + "\n".join(_tables_and_views()) + "\n" + END + after


def _tables_and_views() -> Iterator[str]:
    yield f"`run.schema_version` is {schema.SCHEMA_VERSION}. It goes up when a table or a column changes its meaning or"
    yield "goes away, not for what is added.\n"
    for table in schema.TABLES:
        yield from _table(table)
    yield "## The views\n"
    for view in schema.VIEWS:
        yield f"`{view.name}`: {view.meaning}.\n\n```text\n{view.query}\n```\n"


def _table(table: Table) -> Iterator[str]:
    yield f"### {table.name}\n"
    if table.meaning:
        yield f"{table.meaning[0].upper()}{table.meaning[1:]}.\n"
    yield "| column | type | meaning |\n|---|---|---|"
    for column in table.columns:
        nullable = "(may be NULL)" if column.is_nullable and "NULL" not in column.meaning else ""
        meaning = " ".join(filter(None, (column.meaning, nullable)))
        yield f"| `{column.name}` | {column.type.sql} | {meaning} |"
    yield ""


def page_schema(_: str) -> str:
    """What the code of a recording's page knows of its data."""
    lines = [*_schema_head(contents.__name__, contents.COLUMNS)]
    lines += [f"export type ObjectColumn = {_one_of(contents.OBJECT_COLUMNS)};"]
    lines += ["/** What stacks are weighed by, in which units. */", f"export type What = {_one_of(contents.WEIGHTS)};"]
    units = dict.fromkeys(measure.unit for measures in contents.WEIGHTS.values() for measure in measures)
    lines += [f"export type Unit = {_one_of(units)};\n"]
    return "\n".join([*lines, *(interface(*each) for each in INTERFACES)])


def heap_page_schema(_: str) -> str:
    """What the code of a heap's page knows of its data."""
    lines = [*_schema_head(heap_contents.__name__, heap_contents.COLUMNS)]
    lines += ["/** In a column of objects: none. */", f"export const NOTHING = {heap_contents.NOTHING};"]
    lines += [
        "/** In a column of dominators: the roots together. */",
        f"export const ALL_ROOTS = {heap_contents.ALL_ROOTS};\n",
    ]
    return "\n".join([*lines, *map(interface, HEAP_INTERFACES)])


def lab_page_schema(_: str) -> str:
    """What the code of a sweep's page knows of its data, which has no columns."""
    return _facts(lab_contents.__name__, LAB_INTERFACES)


def fit_page_schema(_: str) -> str:
    """What the code of the page of `tinyheap fit` knows of its data, which has no columns."""
    return _facts(fit_contents.__name__, FIT_INTERFACES)


def _facts(module: str, interfaces: Iterable[type]) -> str:
    head = f"/** Facts of a page, written from `{module}` by `make generated`: change that. */\n"
    return "\n".join([head, *map(interface, interfaces)])


def demo_page_schema(_: str) -> str:
    """What the code of a demo's page knows of its data."""
    lines = _schema_head(demo_contents.__name__, demo_contents.COLUMNS)
    return "\n".join([*lines, *map(interface, DEMO_INTERFACES)])


def _schema_head(module: str, columns: Mapping[str, Sequence[str]]) -> Iterator[str]:
    yield f"/** Facts and columns of a page, written from `{module}` by `make generated`: change that. */\n"
    yield from ["/** The names of columns, by the table that they are in. */", "export const COLUMNS = {"]
    yield from (f"  {table}: {json.dumps(names)}," for table, names in columns.items())
    yield "} as const;\n"


def _one_of(names: Iterable[str]) -> str:
    return " | ".join(map(json.dumps, names))


FILES: Final[dict[Path, Callable[[str], str]]] = {
    RECORDINGS / "row_types.py": row_types,
    ROOT / "docs" / "recordings.md": recordings_page,
    ROOT / "web" / "src" / "schema.ts": page_schema,
    ROOT / "web" / "src" / "heap" / "schema.ts": heap_page_schema,
    ROOT / "web" / "src" / "lab" / "schema.ts": lab_page_schema,
    ROOT / "web" / "src" / "fit" / "schema.ts": fit_page_schema,
    ROOT / "web" / "src" / "demo" / "schema.ts": demo_page_schema,
}
"""What each file is to be, given what it is."""


if __name__ == "__main__":
    for path, wanted in FILES.items():
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        path.write_text(wanted(text), encoding="utf-8")
