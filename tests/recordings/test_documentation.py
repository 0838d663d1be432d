"""The page on recordings says what the schema says, and its questions have answers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recordings_made import make_recording
from tinyheap.recordings import catalog
from tinyheap.recordings.recording import Recording
from tinyheap.recordings.schema import SCHEMA_VERSION, TABLES, VIEWS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "recordings.md").read_text(encoding="utf-8")
RECIPES = re.findall(r"^```sql\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
SNIPPETS = re.findall(r"^```pycon\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def recording_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_recording(tmp_path_factory.mktemp("made") / "app.tinyheap")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.partition("\n")[0])
def test_every_recipe_has_an_answer(recording_path: Path, recipe: str) -> None:
    with Recording.open(recording_path) as recording:
        assert recording.sql(recipe).fetch()


def test_there_are_recipes() -> None:
    assert len(RECIPES) >= 8
    assert SNIPPETS


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_the_lines_of_python_run(recording_path: Path, snippet: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(recording_path.parent)
    exec("\n".join(line.removeprefix(">>> ") for line in snippet.splitlines()), {})


@pytest.mark.parametrize("table", catalog.tables(), ids=lambda table: table.name)
def test_the_page_has_every_column_and_its_meaning(table: catalog.Table) -> None:
    section = PAGE.partition(f"\n### {table.name}\n")[2].partition("\n#")[0]
    said = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "|" in line][2:]
    assert [(name, kind) for name, kind, _ in said] == [(f"`{each.name}`", each.type) for each in table.columns]
    for column, (_, _, meaning) in zip(table.columns, said, strict=True):
        assert meaning.removesuffix("(may be NULL)").strip() == column.meaning
        assert ("NULL" in meaning) is (column.is_nullable or "NULL" in column.meaning)


def test_the_page_has_every_view_and_the_version() -> None:
    for view in catalog.views():
        assert f"`{view.name}`: {view.meaning}." in PAGE
        assert view.query in PAGE
    assert f"`run.schema_version` is {SCHEMA_VERSION}." in PAGE


def test_the_catalog_misses_nothing_of_the_schema() -> None:
    import duckdb

    with duckdb.connect() as connection:
        connection.execute(TABLES + VIEWS)
        columns = connection.execute(
            "SELECT table_name, column_name, data_type, is_nullable FROM duckdb_columns() JOIN duckdb_tables()"
            " USING (table_name) WHERE NOT duckdb_columns.internal ORDER BY duckdb_columns.table_oid, column_index"
        ).fetchall()
        views = connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
    known = [
        (table.name, each.name, each.type, each.is_nullable) for table in catalog.tables() for each in table.columns
    ]
    assert known == columns
    assert {view.name for view in catalog.views()} == {name for (name,) in views}
