"""Results where no terminal is: as wide as their rows, without blanks at the ends of lines, and nothing cut."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

import guests_modules
from recordings_made import make_recording
from tinyheap.profile import totals
from tinyheap.recordings import Recording
from tinyheap.report.consoles import result_console
from tinyheap.report.terminal.heap_map import MOST_CELLS
from tinyheap.report.terminal.results import totals_card

SOURCE = Path(__file__).parents[2] / "src" / "tinyheap"
LONG = "a.package/with/a.long.path.(*and a receiver).andAFunctionOfAnyLength" * 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("piped")
    make_recording(folder / "made.tinyheap", events=1500)
    for name in ("lists", "trees"):
        tinyheap(folder, "generate", name, "-o", f"{name}.trace", "--heap", "64KiB", "--steps", "500")
    return folder


def tinyheap(folder: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "FORCE_COLOR")}
    command = [sys.executable, "-m", "tinyheap", *arguments]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    assert not re.search(" $", run.stderr, re.MULTILINE)
    return run.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", "made.tinyheap"],
        ["report", "made.tinyheap", "--against", "made.tinyheap"],
        ["sql", "made.tinyheap"],
        ["sql", "made.tinyheap", "FROM collections"],
        ["replay", "lists.trace"],
        ["replay", "lists.trace", "trees.trace", "--map"],
    ],
)
@pytest.mark.share(2)
def test_what_goes_into_a_pipe_is_as_wide_as_its_rows(folder: Path, arguments: list[str]) -> None:
    said = tinyheap(folder, *arguments)
    assert "…" not in said
    assert not re.search(" $", said, re.MULTILINE)
    assert max(map(len, said.splitlines())) < 400


def test_names_in_a_pipe_are_whole(folder: Path) -> None:
    said = tinyheap(folder, "sql", "made.tinyheap", f"SELECT 1 AS one, '{LONG}' AS name, 2 AS two")
    assert [line.split()[0] for line in said.splitlines() if "1" in line] == ["1"]
    assert LONG in said


def test_a_module_is_described_in_a_pipe(folder: Path) -> None:
    said = tinyheap(folder, "identify", str(guests_modules.path("gofmt-0.4.9")))
    assert "…" not in said
    assert not re.search(" $", said, re.MULTILINE)


def test_types_are_whole_where_it_is_narrow(folder: Path) -> None:
    environment = {**os.environ, "COLUMNS": "60"}
    command = [sys.executable, "-m", "tinyheap", "sql", "made.tinyheap"]
    said = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout
    assert "…" not in said
    assert max(map(len, said.splitlines())) <= 60
    assert "arguments           VARCHAR[]\n" in said
    assert "heap_start_address  UBIGINT    0 where the heap is not\n" in said


def test_a_map_has_an_end_where_the_room_has_none(folder: Path) -> None:
    rows = [line for line in tinyheap(folder, "replay", "lists.trace").splitlines() if "0x" in line]
    assert len(rows) > 1
    assert {len(row.split()[1]) for row in rows[:-1]} == {MOST_CELLS}


def test_a_console_takes_text_as_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_row("[bold]x[/bold] :smile:", "y" * 300)
    table.add_row("z", "")
    result_console().print(table)
    result_console(stderr=True).print("[red]1 2[/red]")
    printed = capsys.readouterr()
    assert printed.out == f"[bold]x[/bold] :smile:  {'y' * 300}\nz\n"
    assert printed.err == "[red]1 2[/red]\n"


def test_every_console_is_made_in_one_place() -> None:
    makers = {path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py") if "Console(" in path.read_text()}
    assert makers == {"report/consoles.py", "report/notebook/forms.py"}


@pytest.mark.parametrize(
    ("growths", "said"), [(0, " KiB, "), (1, " KiB, grew once, "), (2000, " KiB, grew 2,000 times, ")]
)
def test_growths_are_counted_as_people_do(growths: int, said: str, folder: Path) -> None:
    with Recording.open(folder / "made.tinyheap") as recording:
        made = replace(totals(recording), growths=growths)
    shown = io.StringIO()
    Console(file=shown, width=200).print(totals_card(made))
    (line,) = re.findall(r"^ *heap .*", shown.getvalue(), re.MULTILINE)
    assert said in line
    assert ("grew" in line) is (growths > 0)
