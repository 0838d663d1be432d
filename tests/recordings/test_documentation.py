"""The queries and Python examples of the page on recordings work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recordings_made import make_recording
from tinyheap.recordings.recording import Recording

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "recordings.md").read_text(encoding="utf-8")
RECIPES = re.findall(r"^```sql\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
SNIPPETS = re.findall(r"^```pycon\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def recording_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_recording(tmp_path_factory.mktemp("made") / "app.tinyheap")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.partition("\n")[0])
@pytest.mark.share(3)
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
