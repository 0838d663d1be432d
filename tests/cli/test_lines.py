"""Source lines on the command line: from the module or another file, with the source beside them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from symbols import debug_builds
from symbols.test_reading import line_of
from tinyheap import cli

AUDITED = line_of("struct record *record = append")


def said(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.main, [*map(str, arguments)], env={"COLUMNS": "140", "NO_COLOR": "1"})


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("modules")
    whole = debug_builds.built(5)
    (folder / "whole.wasm").write_bytes(whole)
    (folder / "stripped.wasm").write_bytes(debug_builds.without(whole, ".debug_", "name"))
    (folder / "other.wasm").write_bytes(debug_builds.built(5, "mutator.c"))
    return folder


def recorded(modules: Path, recording: Path, name: str, *options: str | Path) -> Result:
    return said("profile", modules / name, "-o", recording, "--invoke", "tinygo_launch", "200", *options)


def test_a_profile_names_lines(modules: Path, tmp_path: Path) -> None:
    result = recorded(modules, tmp_path / "a.tinyheap", "whole.wasm")
    assert result.exit_code == 0, result.output
    assert f"  main_main (inlined.c:{AUDITED})" in result.stderr


def test_lines_come_from_another_file(modules: Path, tmp_path: Path) -> None:
    result = recorded(modules, tmp_path / "a.tinyheap", "stripped.wasm", "--symbols", modules / "whole.wasm")
    assert f"  main_main (inlined.c:{AUDITED})" in result.stderr


def test_another_build_is_refused(modules: Path, tmp_path: Path) -> None:
    result = recorded(modules, tmp_path / "a.tinyheap", "stripped.wasm", "--symbols", modules / "other.wasm")
    assert result.exit_code != 0
    assert "invalid symbols: the code of this build differs from the module's" in result.stderr
    assert not (tmp_path / "a.tinyheap").exists()


def test_full_paths_are_there_where_they_are_asked_for(modules: Path, tmp_path: Path) -> None:
    assert str(debug_builds.SOURCE) in recorded(modules, tmp_path / "a.tinyheap", "whole.wasm", "--full-paths").stderr
    assert str(debug_builds.SOURCE.parent) not in recorded(modules, tmp_path / "b.tinyheap", "whole.wasm").stderr


@pytest.mark.slow
def test_two_recordings_are_compared_by_line(modules: Path, tmp_path: Path) -> None:
    few, many = tmp_path / "few.tinyheap", tmp_path / "many.tinyheap"
    said("profile", modules / "whole.wasm", "-o", few, "--invoke", "tinygo_launch", "100")
    recorded(modules, many, "whole.wasm")
    compared = said("report", many, "--against", few).output
    assert "allocated at" in compared
    assert f"main_main (inlined.c:{AUDITED})" in compared
    sites = json.loads(said("report", many, "--against", few, "--json").output)["comparison"]["sites"]
    assert [f"inlined.c:{AUDITED}"] * 2 in [each["places"] for each in sites]
    assert "every line allocates as much as before" not in compared
    assert "allocates as much as before" in said("report", few, "--against", few).output


def test_live_names_lines(modules: Path) -> None:
    result = said("live", modules / "whole.wasm", "--invoke", "tinygo_launch", "200")
    assert result.exit_code == 0, result.output


def test_a_stop_names_lines(modules: Path) -> None:
    result = said("run", modules / "whole.wasm", "--stop-at", "65", "--invoke", "tinygo_launch", "200")
    assert (
        f"by runtime.sliceAppend (inlined.c:{line_of('uint8_t *made = alloc')}) < main_main (inlined.c:"
        in result.stderr
    )


@pytest.mark.slow
def test_a_report_shows_the_source(modules: Path, tmp_path: Path) -> None:
    recorded(modules, tmp_path / "a.tinyheap", "whole.wasm")
    shown = said("report", tmp_path / "a.tinyheap", "--source", debug_builds.SOURCE.parent).stdout
    [line] = [each for each in shown.splitlines() if "struct record *record = append" in each]
    assert line.split()[:4] == ["1.56", "KiB", "200", str(AUDITED)]
    lines = json.loads(said("report", tmp_path / "a.tinyheap", "--json").stdout)["by_line"]
    assert {each["file"] for each in lines} == {"inlined.c"}


@pytest.mark.slow
def test_the_page_holds_the_source(modules: Path, tmp_path: Path) -> None:
    recorded(modules, tmp_path / "a.tinyheap", "whole.wasm")
    page, plain = tmp_path / "page.html", tmp_path / "plain.html"
    assert (
        said("report", tmp_path / "a.tinyheap", "--source", debug_builds.SOURCE.parent, "--html", page).exit_code == 0
    )
    assert said("report", tmp_path / "a.tinyheap", "--html", plain).exit_code == 0
    assert page.stat().st_size > plain.stat().st_size


def test_a_folder_that_is_not_there_is_refused(modules: Path, tmp_path: Path) -> None:
    recorded(modules, tmp_path / "a.tinyheap", "whole.wasm")
    result = said("report", tmp_path / "a.tinyheap", "--source", tmp_path / "none")
    assert result.exit_code == 2
    assert "there is no such folder" in result.stderr
