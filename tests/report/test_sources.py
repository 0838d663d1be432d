"""Source files beside what their lines allocate: in the terminal and on the page, from the named folders and no others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from report.test_profiles import shown
from small_recordings import Rows, opened
from tinyheap import profile
from tinyheap.profile import Measure
from tinyheap.recordings.recording import Recording
from tinyheap.report.exports.report_json import report_json
from tinyheap.report.html.data import page_data
from tinyheap.report.sources import LARGEST_BYTES, Sources
from tinyheap.report.terminal.recording_report import report
from tinyheap.report.terminal.results import renderable_of
from tinyheap.report.terminal.source_listing import SourceListing

STORE = "package store\n\nfunc New() *Item {\n\treturn &Item{}\n}\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for place, text in {
        "shop/store/store.go": STORE,
        "go/src/regexp/regexp.go": "package regexp\n",
        "tinygo/src/machine/machine.go": "package machine\n",
        "tinygo/src/regexp/regexp.go": "package other\n",
        "secret.go": "secret\n",
    }.items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(text)
    return tmp_path


def test_files_are_found_in_their_folders(project: Path) -> None:
    sources = Sources([project / "shop", project / "tinygo", project / "go"])
    assert sources.lines("store/store.go") == tuple(STORE.splitlines())
    assert sources.lines("$GOROOT/src/regexp/regexp.go") == ("package regexp",)
    assert sources.lines("$TINYGOROOT/src/regexp/regexp.go") == ("package other",)
    assert sources.lines("$TINYGOROOT/src/machine/machine.go") == ("package machine",)
    assert sources.lines("other.go") is None
    assert not Sources()


def test_nothing_is_read_outside_of_the_folders(project: Path) -> None:
    (project / "shop" / "link.go").symlink_to(project / "secret.go")
    sources = Sources([project / "shop"])
    for file in (
        "../secret.go",
        "store/../../secret.go",
        str(project / "secret.go"),
        "link.go",
        "/etc/passwd",
        "\0",
        ".",
    ):
        assert sources.lines(file) is None, file
    assert sources.lines(str(project / "shop" / "store" / "store.go")) is not None


def test_what_is_no_text_file_is_left_out(project: Path) -> None:
    (project / "shop" / "large.go").write_bytes(b"x" * (LARGEST_BYTES + 1))
    (project / "shop" / "bytes.go").write_bytes(b"a\xff\nb")
    sources = Sources([project / "shop"])
    assert sources.lines("large.go") is None
    assert sources.lines("store") is None
    assert sources.lines("bytes.go") == ("a\N{REPLACEMENT CHARACTER}", "b")


@pytest.fixture
def recording() -> Iterator[Recording]:
    rows = Rows()
    stack = rows.path("main.main", "store.New")
    rows.frames[0] = replace(rows.frames[0], file="main.go", line=7)
    rows.frames[1] = replace(rows.frames[1], file="store/store.go", line=4, inlined=True)
    missing = rows.stack(0, rows.frame("fmt.Print"))
    rows.frames[2] = replace(rows.frames[2], file="$GOROOT/src/fmt/print.go", line=100)
    for size_bytes, made_at in ((100, stack), (28, stack), (16, missing)):
        rows.allocate(size_bytes, made_at)
    with opened(rows) as found:
        yield found


def test_the_listing_has_bytes_and_objects_beside_lines(recording: Recording, project: Path) -> None:
    text = shown(SourceListing(profile.by_line(recording), Sources([project / "shop"]), 15))
    assert "store/store.go\n" in text
    assert "    128 B         2     4      return &Item{}\n" in text
    assert "                        3  func New() *Item {\n" in text
    assert "not in the folders of --source: $GOROOT/src/fmt/print.go" in text


def test_a_file_that_became_shorter_is_said(recording: Recording, project: Path) -> None:
    (project / "shop/store/store.go").write_text("package store\n")
    text = shown(SourceListing(profile.by_line(recording), Sources([project / "shop"]), 15))
    assert "the file is shorter than when the program was compiled" in text


def test_the_report_has_sources_where_they_are_asked_for(recording: Recording, project: Path) -> None:
    sources = Sources([project / "shop"])
    assert "\nSource\n" in shown(*report(recording, Measure.ALLOCATED_BYTES, 15, sources))
    assert "\nSource\n" not in shown(*report(recording, Measure.ALLOCATED_BYTES, 15))
    flame = shown(*report(recording, Measure.ALLOCATED_BYTES, 15))
    assert "main.main > store.New [inlined]" in flame


def test_the_report_as_json_has_lines(recording: Recording) -> None:
    lines = report_json(recording)["by_line"]
    assert [(each["file"], each["line"], each["own_objects"], each["total_objects"]) for each in lines] == [
        ("store/store.go", 4, 2, 2),
        ("$GOROOT/src/fmt/print.go", 100, 1, 1),
        ("main.go", 7, 0, 2),
    ]


def test_the_page_has_lines_and_their_texts(recording: Recording, project: Path) -> None:
    data = page_data(recording, sources=Sources([project / "shop"]))
    files = data.summary["files"]
    assert files[0] == ""
    [source] = data.summary["sources"]
    assert (files[source["file"]], source["numbers"], source["texts"][3]) == (
        "store/store.go",
        [1, 2, 3, 4, 5],
        "\treturn &Item{}",
    )
    columns = data.summary_columns
    places = [(files[file], line) for file, line in zip(columns["line.file"], columns["line.line"], strict=True)]
    assert places == [("store/store.go", 4), ("$GOROOT/src/fmt/print.go", 100)]
    assert columns["line.own_bytes"].tolist() == [128, 16]
    assert columns["stack.is_inlined"].tolist() == [0, 0, 1, 0]
    assert page_data(recording).summary["sources"] == []


def test_a_table_of_lines_is_one_of_usages(recording: Recording) -> None:
    text = shown(renderable_of(profile.by_line(recording)), width=160)
    assert "store/store.go:4" in text
