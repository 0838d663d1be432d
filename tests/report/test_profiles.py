"""Reports of recordings as people see them: in terminals of any width, without color, in ASCII, and in notebooks."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console, RenderableType

from recordings_made import LEAKING_FUNCTION, make_recording
from small_recordings import Rows, known, opened
from tinyheap import profile
from tinyheap.profile import Measure
from tinyheap.recordings.recording import Recording
from tinyheap.report.exports.report_json import nodes, report_json
from tinyheap.report.quantities import size_text, time_text
from tinyheap.report.terminal.charts import bar, sampled, series
from tinyheap.report.terminal.flame_tree import FlameTree
from tinyheap.report.terminal.recording_report import comparison, report
from tinyheap.report.terminal.results import renderable_of

HOSTILE = "\x1b[31m<script>alert(1)</script>\n[bold]&"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recording]:
    with Recording.open(make_recording(tmp_path_factory.mktemp("report") / "made.tinyheap", events=6000)) as found:
        yield found


def shown(*renderables: RenderableType, width: int = 80, encoding: str = "utf-8", color: bool = False) -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    console = Console(file=file, width=width, force_terminal=color, color_system="standard" if color else None)
    for each in renderables:
        console.print(each)
    file.flush()
    return file.buffer.getvalue().decode(encoding)


def whole(recording: Recording, **options: Any) -> str:  # noqa: ANN401
    return shown(*report(recording, Measure.ALLOCATED_BYTES, 15), **options)


@pytest.mark.parametrize("width", [40, 80, 120, 160, 300])
@pytest.mark.slow
def test_a_report_fits_its_terminal(width: int, recording: Recording) -> None:
    lines = whole(recording, width=width).splitlines()
    assert max(map(len, lines)) <= width
    for title in ("The heap through time", "Stacks", "Allocation sites", "Pauses", "Objects", "Leak suspects"):
        assert any(line.startswith(title) for line in lines)


def test_a_report_has_the_statistics(recording: Recording) -> None:
    text = whole(recording, width=160)
    totals = profile.totals(recording)
    assert f"{totals.allocations:,} objects" in text
    assert f"{totals.collections:,}, " in text
    suspect = known(profile.leak_suspects(recording)).suspects[0]
    assert suspect.site.function == LEAKING_FUNCTION
    assert f"\n{100 * suspect.score:4.0f}%  {suspect.site.name}\n" in re.sub(" +\n", "\n", text)
    assert profile.by_site(recording)[0].name in text
    assert "made.wasm -v\nTinyGo 0.41.0, conservative, on tinyheap's kernel" in text


def test_ascii_is_enough(recording: Recording) -> None:
    text = whole(recording, width=100, encoding="ascii")
    assert "#" in text
    assert "^" in text


@pytest.mark.parametrize("width", [40, 60, 100])
def test_a_bucket_has_both_its_ends(width: int, recording: Recording) -> None:
    for histogram, text in (
        (profile.size_histogram(recording), size_text),
        (known(profile.lifetime_histogram(recording)), time_text),
    ):
        lines = [" ".join(line.split()) for line in shown(renderable_of(histogram), width=width).splitlines()]
        for bucket, line in zip(histogram.buckets, lines, strict=False):
            assert line.startswith(f"{text(bucket.low)} to < {text(bucket.high)} ")
            assert f" {bucket.objects:,}" in line
            assert line.endswith(f" {size_text(bucket.bytes)}") == (width >= 50)


def test_the_tree_says_what_its_signs_mean_as_far_as_it_has_them(recording: Recording) -> None:
    tree = FlameTree(known(profile.flame_graph(recording)), 12)
    narrow, ascii_only, wide = shown(tree, width=60), shown(tree, width=60, encoding="ascii"), shown(tree, width=1000)
    assert "… stands for the beginning of a line that does not fit" in " ".join(narrow.split())
    assert "... stands for the beginning of a line that does not fit" in " ".join(ascii_only.split())
    assert "does not fit" not in wide
    assert "…" not in wide
    for sign, meaning in (
        (" > ", "a > b: a calls b, which weighs nearly as much"),
        (" more) > ", "(n more): n calls between the two"),
    ):
        assert (sign in "".join(wide.splitlines()[:-1])) == (meaning in wide)
    assert "lighter stacks are left out" in wide


def test_a_tree_without_signs_explains_none() -> None:
    rows = Rows()
    rows.allocate(100, rows.path("main"))
    with opened(rows) as recording:
        assert shown(FlameTree(known(profile.flame_graph(recording)))).count("\n") == 1


def test_without_color_no_escapes_and_with_color_the_same_text(recording: Recording) -> None:
    plain, colored = whole(recording), whole(recording, color=True)
    assert "\x1b" not in plain
    assert "\x1b" in colored
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == plain


def test_reports_of_nothing() -> None:
    with opened(Rows(state="running")) as recording:
        text = whole(recording)
        assert "The recording has no end" in text
        assert "nothing was allocated" in text
        assert "no bytes allocated" in text
        json.dumps(report_json(recording))


@pytest.mark.parametrize(
    ("collector", "said", "drawn"),
    [
        ("boehm", "Collections and the heap's size are unknown: this module keeps its own", "live, at most"),
        ("leaking", "The heap's size and what of it is free are unknown: this module keeps its own", "live"),
    ],
)
def test_a_report_says_what_it_cannot_know(collector: str, said: str, drawn: str) -> None:
    rows = Rows(source="injected", collector=collector)
    rows.allocate(100)
    with opened(rows) as recording:
        text = whole(recording, width=120)
    assert said in text
    assert "on its own allocator" in text
    assert f"{drawn}, as asked for (the heap was not seen)" in text


@pytest.mark.parametrize(
    ("allocations", "collector", "advice"),
    [
        (1234, "conservative", "too few to tell, it takes 10: `tinyheap profile --gc-every 61` makes enough"),
        (9, "conservative", "2 collections are too few to tell, it takes 10\n"),
        (1234, "leaking", "unknown: this heap never frees, so that a leak looks like everything else\n"),
    ],
)
@pytest.mark.slow
def test_advice_is_only_given_where_it_can_be_followed(allocations: int, collector: str, advice: str) -> None:
    rows = Rows(collector=collector)
    for _ in range(allocations):
        rows.allocate(10)
    if collector != "leaking":
        rows.collect()
        rows.collect()
    with opened(rows) as recording:
        text = whole(recording, width=120)
    assert advice in text
    assert ("--gc-every" in text) == ("--gc-every" in advice)


def test_names_from_outside_are_harmless() -> None:
    rows = Rows()
    rows.allocate(100, rows.path("_start", HOSTILE))
    rows.collect()
    rows.sample(100)
    with opened(rows) as recording:
        text = whole(recording, width=200)
        pages = [analysis(recording)._repr_html_() for analysis in RESULTS]
    assert "\x1b" not in text
    assert "\\x1b[31m<script>" in text
    for page in pages:
        assert "<script" not in page
        assert "\x1b" not in page


def test_the_tree_shows_the_heaviest_and_keeps_callers() -> None:
    rows = Rows()
    for number in range(30):
        rows.allocate(100 + number, rows.path("_start", "main.main", f"main.f{number:02}"))
    with opened(rows) as recording:
        lines = shown(FlameTree(known(profile.flame_graph(recording)), 5)).splitlines()
    assert [line.split()[-1] for line in lines[:5]] == ["main.main", "main.f29", "main.f28", "main.f27", "main.f26"]
    assert "_start > main.main" in lines[0]
    assert "lighter stacks are left out" in lines[5]


def test_long_names_keep_their_ends() -> None:
    rows = Rows()
    name = "(*" + "very/" * 40 + "long.name).method"
    rows.allocate(100, rows.path("_start", name))
    with opened(rows) as recording:
        text = whole(recording)
    assert text.count("long.name).method") >= 2


def test_a_comparison_says_more_and_less() -> None:
    before, after = Rows(), Rows()
    before.allocate(1000, before.path("_start", "main.same"))
    before.allocate(500, before.path("_start", "main.less"))
    after.allocate(1000, after.path("_start", "main.same"))
    after.allocate(3000, after.path("_start", "main.more"))
    with opened(before) as first, opened(after) as second:
        text = shown(*comparison(first, second))
    assert re.search(r"0 B +2.93 KiB +\+2.93 KiB +main.more", text)
    assert re.search(r"500 B +0 B +-500 B +main.less", text)
    assert re.search(r"allocated +1.46 KiB +3.91 KiB +\+166.7%", text)
    assert "main.same" not in text


@pytest.mark.parametrize(
    ("share", "drawn", "in_ascii"),
    [(0, "    ", "    "), (1, "████", "####"), (0.5, "██  ", "##  "), (0.001, "▏   ", "#   "), (0.28, "█▏  ", "#   ")],
)
def test_bars(share: float, drawn: str, in_ascii: str) -> None:
    assert bar(share, 4, ascii_only=False) == drawn
    assert bar(share, 4, ascii_only=True) == in_ascii


def test_series_are_thinned_and_keep_their_end() -> None:
    assert series([0, 50, 100], 10, ascii_only=False) == "▁▅█"
    assert series([0] * 99 + [100], 5, ascii_only=False) == "▁▁▁▁█"
    assert series([], 5, ascii_only=True) == ""


def test_a_drawn_time_line_has_the_most_of_each_column() -> None:
    rows = Rows()
    for used, after_ns in ((100, 0), (900, 10), (300, 10), (500, 60)):
        rows.allocate(1, after_ns=after_ns)
        rows.sample(used, heap_bytes=1000)
    rows.collect(pause_ns=10, after_ns=10)
    with opened(rows) as recording:
        drawn = sampled(profile.time_line(recording), 10)
    assert drawn.used_bytes[:3] == [100, 900, 300]
    assert drawn.used_bytes[5] == 400
    assert drawn.used_bytes[8:] == [500, 500]
    assert drawn.heap_bytes == [1000] * 10
    assert drawn.marks == [0] * 9 + [1]


# ---- JSON -------------------------------------------------------------------------------------------------------------


def test_json_has_it_all(recording: Recording) -> None:
    found = json.loads(json.dumps(report_json(recording)))
    assert found["totals"]["allocations"] == profile.totals(recording).allocations
    assert found["run"]["module"] == "made.wasm"
    assert set(found["flame_graphs"]) == {measure.value for measure in Measure}
    assert [usage["site"]["function"] for usage in found["by_site"]] == [
        usage.site.function for usage in profile.by_site(recording)
    ]
    assert found["pauses"]["percentiles_ns"]["100"] == known(profile.pauses(recording)).longest_ns


def test_json_flame_graphs_are_trees_of_any_depth() -> None:
    rows = Rows()
    rows.allocate(7, rows.path(*(f"f{number}" for number in range(1500))))
    rows.allocate(5, rows.path("g"))
    with opened(rows) as recording:
        graph = known(profile.flame_graph(recording))
        found = json.loads(json.dumps(nodes(graph)))
        assert len(whole(recording)) > 0
        assert "<svg" in graph._repr_html_()
    paths: list[tuple[str, ...]] = []
    for node in found:
        paths.append((*paths[node["caller"]], node["name"]) if node["caller"] is not None else ())
    weighed = {path: node["own"] for path, node in zip(paths, found, strict=True) if node["own"]}
    assert weighed == dict(graph.stacks())


# ---- notebooks --------------------------------------------------------------------------------------------------------

RESULTS = (
    profile.totals,
    profile.peak,
    profile.flame_graph,
    profile.by_function,
    profile.by_site,
    profile.time_line,
    profile.pauses,
    profile.size_histogram,
    profile.leak_suspects,
    lambda recording: profile.compare(recording, recording),
)


class Checked(HTMLParser):
    """Every element that is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("analysis", RESULTS, ids=lambda analysis: analysis.__name__)
@pytest.mark.share(3)
def test_results_show_in_a_notebook(analysis: Any, recording: Recording) -> None:  # noqa: ANN401
    parser = Checked()
    page = analysis(recording)._repr_html_()
    parser.feed(page)
    assert parser.open == []
    assert len(page) > 100
    with opened(Rows()) as empty:
        assert analysis(empty)._repr_html_()


def test_a_flame_graph_is_drawn_to_scale(recording: Recording) -> None:
    graph = known(profile.flame_graph(recording))
    picture = ElementTree.fromstring(graph._repr_html_())
    space = {"svg": "http://www.w3.org/2000/svg"}
    widths: dict[str, list[float]] = {}
    for box in picture.findall("svg:g", space):
        title, rectangle = box.find("svg:title", space), box.find("svg:rect", space)
        assert title is not None
        assert rectangle is not None
        widths.setdefault(str(title.text).split("\n")[0], []).append(float(rectangle.attrib["width"]))
    for _, node in graph.root.walk():
        width = 760 * node.total / graph.root.total
        assert node is graph.root or width < 1 or any(abs(each - width) < 1 for each in widths[node.name])


def test_a_time_line_is_drawn_with_its_collections(recording: Recording) -> None:
    picture = profile.time_line(recording)._repr_html_()
    assert picture.count("<title>collection") == profile.totals(recording).collections


def test_other_results_show_their_fields(recording: Recording) -> None:
    text = shown(renderable_of(known(profile.peak(recording))))
    assert re.search(rf"bytes +{known(profile.peak(recording)).bytes}\b", text)
