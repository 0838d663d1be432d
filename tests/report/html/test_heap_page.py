"""The page of a heap as its readers use it; what it says is what the analyses say."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

import guests_modules
from browser_fixtures import MOST_WORK, opened_with
from inspected_heaps import graph_of, inspected, million_objects, typed_nodes
from tinyheap.guests.program import Program
from tinyheap.heap import Heap
from tinyheap.inspect import Inspection, NamedGraph, compare_heaps, distinct_paths, holes_for, overview, shortest_path
from tinyheap.inspect import Path as InspectedPath
from tinyheap.inspect.naming import Groups, ShapeNames
from tinyheap.inspect.overviews import objects_of
from tinyheap.report.html import heap_data
from tinyheap.report.html.heap_page import write_heap_page
from tinyheap.report.quantities import size_text
from tinyheap.units import MIB

OpenPage = Callable[..., Page]

SAMPLES = 12
PAGE_LIMIT_BYTES = 24 * MIB
HTML = "</script><script>document.title='out'</script><img src=x onerror=\"document.title='out'\"><!--"


@pytest.fixture(scope="module")
def heaps() -> tuple[Inspection, Inspection]:
    """A real program early and late."""
    with Program.open(guests_modules.path("gofmt-0.4.9")) as program:
        program.start()
        driver = program.driver()
        driver.format("package a\nvar x = 1\n")
        early = Inspection.of(program.snapshot(), program.wasm)
        driver.format("package a\n" + "var x = 1\n" * 500)
        return early, Inspection.of(program.snapshot(), program.wasm)


@pytest.fixture(scope="module")
def heap(heaps: tuple[Inspection, Inspection]) -> Inspection:
    return heaps[1]


@pytest.fixture(scope="module")
def real_file(heaps: tuple[Inspection, Inspection], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of that program."""
    early, late = heaps
    file = tmp_path_factory.mktemp("heap") / "heap.html"
    write_heap_page(late, file, earlier=early)
    return file


@pytest.fixture(scope="module")
def typed_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a heap with types."""
    file = tmp_path_factory.mktemp("typed") / "heap.html"
    write_heap_page(inspected(typed_nodes()), file)
    return file


def lines(found: Locator) -> list[str]:
    return [re.sub(r"\s+", " ", text).strip() for text in found.all_inner_texts()]


def words_on(path: InspectedPath) -> list[str]:
    """The words of a path as the page has them."""
    pairs = zip((path.root, *path.steps), path.certainties, strict=True)
    return [f"{word} {certainty}" for word, certainty in pairs]


class TestOverview:
    def test_the_sums_are_those_of_the_overview(self, heap: Inspection, real_file: Path, open_page: OpenPage) -> None:
        page, found = open_page(real_file), overview(heap)
        expect(page.get_by_role("heading", level=1)).to_have_text("gofmt.wasm")
        tiles = page.locator(".tiles")
        for size_bytes in (found.object_bytes - found.garbage_bytes, found.garbage_bytes, found.free_bytes):
            expect(tiles).to_contain_text(size_text(size_bytes))
        expect(tiles).to_contain_text(f"{found.garbage_objects:,} objects, freed by the next collection")

    def test_types_are_the_groups(self, heap: Inspection, real_file: Path, open_page: OpenPage) -> None:
        page, found = open_page(real_file), overview(heap, most=10_000)
        grid = page.get_by_role("grid", name="Types", exact=True)
        expect(grid).to_have_attribute("aria-rowcount", str(len(found.groups) + 1))
        first = lines(grid.get_by_role("row").nth(1).locator("> div"))
        top = found.groups[0]
        assert first[:4] == [top.group, size_text(top.retained_bytes), size_text(top.size_bytes), f"{top.objects:,}"]

    def test_a_row_brings_its_objects_out(self, real_file: Path, open_page: OpenPage) -> None:
        page = open_page(real_file)
        picture = page.locator(".map-place canvas").first
        picture.scroll_into_view_if_needed()
        before = picture.screenshot()
        page.get_by_role("grid", name="Types", exact=True).get_by_role("row").nth(2).click()
        expect(page.get_by_role("button", name=re.compile("^Show all, not"))).to_be_visible()
        assert picture.screenshot() != before

    def test_roots_are_the_sources(self, heap: Inspection, real_file: Path, open_page: OpenPage) -> None:
        grid = open_page(real_file).get_by_role("grid", name="Roots")
        held = overview(heap, most=10_000).held_by
        expect(grid).to_have_attribute("aria-rowcount", str(len(held) + 1))
        shown = lines(grid.get_by_role("row").nth(1).locator("> div"))
        assert (shown[0], *shown[2:]) == (held[0].source, f"{held[0].objects:,}", f"{held[0].words:,}")

    def test_changes_are_those_of_the_comparison(
        self, heaps: tuple[Inspection, Inspection], real_file: Path, open_page: OpenPage
    ) -> None:
        page, found = open_page(real_file), compare_heaps(heaps[0].named, heaps[1].named)
        expect(page.locator("#changes")).to_contain_text(
            f"{found.new_objects:,} objects are new, {found.gone_objects:,}"
        )
        for name, count in (("Changes by type", len(found.groups)), ("Changes by path", len(found.paths))):
            grid = page.get_by_role("grid", name=name)
            expect(grid).to_have_attribute("aria-rowcount", str(min(count, heap_data.MOST_CHANGES) + 1))


class TestObject:
    def test_ways_are_the_shortest_paths(self, heap: Inspection, real_file: Path, open_page: OpenPage) -> None:
        page, named = open_page(real_file), heap.named
        random = np.random.default_rng(1)
        for found in map(int, random.integers(0, len(named.graph), SAMPLES)):
            page.get_by_role("searchbox", name="Address of an object").fill(hex(named.graph.address_of(found)))
            page.keyboard.press("Enter")
            expect(page.locator(f".object[data-object='{found}']")).to_be_visible()
            path, way = shortest_path(named, found), page.locator("#object .way li")
            if path is None:
                expect(page.locator("#object")).to_contain_text("garbage, freed by the next collection")
                continue
            root, *steps = words_on(path)
            shown = lines(way)
            if len(steps) <= 12:
                assert shown == [root, *steps]
            else:
                assert (shown[0], shown[-1], len(shown)) == (root, steps[-1], 14)

    def test_all_distinct_paths_are_shown(self, heap: Inspection, real_file: Path, open_page: OpenPage) -> None:
        page, named, graph = open_page(real_file), heap.named, heap.graph
        held = np.bincount(graph.targets, minlength=len(graph))
        most_held = [each for each in np.argsort(-held).tolist() if not graph.is_garbage[each]]
        random = np.random.default_rng(2)
        for found in (*most_held[:3], *map(int, random.choice(most_held, SAMPLES))):
            page.get_by_role("searchbox", name="Address of an object").fill(hex(graph.address_of(found)))
            page.keyboard.press("Enter")
            expect(page.locator(f".object[data-object='{found}']")).to_be_visible()
            page.get_by_role("button", name="Show all distinct paths").click()
            expect(page.locator("#object .paths h4")).to_be_visible()
            paths, shown = distinct_paths(named, found, 9), page.locator("#object .paths .way")
            more = page.get_by_role("button", name="Show more paths")
            assert (shown.count(), more.is_visible()) == (min(len(paths), 8), len(paths) > 8)
            for path, way in zip(paths[:8], shown.all(), strict=True):
                assert lines(way.locator("li"))[:6] == words_on(path)[:6]
            if more.is_visible():
                more.click()
                expect(shown).to_have_count(min(len(distinct_paths(named, found, 65)), 64))

    def test_who_refers_to_it(self, heap: Inspection, real_file: Path, open_page: OpenPage) -> None:
        graph = heap.graph
        most = int(np.argmax(np.bincount(graph.targets, minlength=len(graph))))
        page = open_page(real_file, f"#object={most}")
        counts = len(graph.references_to(most)), len(graph.roots_to(most))
        listed = page.locator("#object .holders li")
        assert listed.count() == sum(min(count, 30) for count in counts) + (max(counts) > 30)
        listed.get_by_role("button").first.click()
        holder = graph.holder_of(graph.references_to(most)[0])
        expect(page.locator(f".object[data-object='{holder}']")).to_be_visible()

    def test_an_address_without_an_object_is_said(self, real_file: Path, open_page: OpenPage) -> None:
        page = open_page(real_file)
        for text in ("0x10", "nonsense"):
            page.get_by_role("searchbox", name="Address of an object").fill(text)
            page.keyboard.press("Enter")
            expect(page.locator("#object output")).to_have_text(f"No object at {text}.")

    def test_types_name_the_way_and_decode_the_object(self, typed_file: Path, open_page: OpenPage) -> None:
        named = typed_nodes()
        wanted = [found for found in range(len(named.graph)) if named.group_of(found) == "main.node"]
        page = open_page(typed_file, f"#object={wanted[0]}")
        # The first node is the last of the list; the slice has a shorter way to it.
        expect(page.locator("#object .expression")).to_have_text("main.many[0].next")
        values = page.locator("#object table").first
        expect(values).to_contain_text(".name")
        expect(values).to_contain_text('"node 0"')
        page.locator("#object table").last.get_by_role("button").first.click()
        expect(page.locator(".text")).to_have_text("node 0")
        expect(page.locator("#object .expression")).to_have_text("main.many[0].next.name")

    def test_words_are_those_in_memory(self, heap: Inspection, real_file: Path, open_page: OpenPage) -> None:
        found = objects_of(heap, hex(overview(heap).top[0].address))[0]
        page = open_page(real_file, f"#object={found}")
        body = bytes(heap.graph.body_of(found))
        expect(page.locator("table.words")).to_be_visible()
        shown = lines(page.locator("table.words tbody tr td:nth-child(2)"))
        expected = [f"0x{int.from_bytes(body[at : at + 4], 'little'):08x}" for at in range(0, len(body) - 3, 4)]
        assert shown == expected[: len(shown)]
        assert len(shown) == min(len(expected), 256)


class TestRetained:
    def test_the_tree_is_the_dominator_tree(self, heap: Inspection, real_file: Path, open_page: OpenPage) -> None:
        page, named = open_page(real_file), heap.named
        top = overview(heap).top
        rows = page.locator(".tree > ul > li > .tree-row .amount")
        assert lines(rows) == [size_text(each.retained_bytes) for each in top[: rows.count()]]
        page.locator(".tree button[aria-expanded]").first.click()
        opened = next(each for each in top if len(named.graph.dominated.by(each.object)))
        below = named.graph.dominated.by(opened.object)
        inner = page.locator(".tree ul ul > li > .tree-row .amount")
        assert lines(inner) == [
            size_text(int(named.graph.tree.retained_bytes[each])) for each in below[: inner.count()]
        ]

    def test_the_treemap_goes_into_what_is_clicked(self, real_file: Path, open_page: OpenPage) -> None:
        page = open_page(real_file)
        canvas = page.locator(".treemap canvas")
        canvas.hover(position={"x": 6, "y": 6})
        told = page.locator(".treemap figcaption").inner_text()
        assert re.search(r" at 0x[0-9a-f]+: .*, itself ", told)
        canvas.click(position={"x": 6, "y": 6})
        name = told.partition(":")[0]
        expect(page.locator(".treemap .toolbar")).to_contain_text(f"inside of {name}")
        page.get_by_role("button", name="Everything").click()
        expect(page.locator(".treemap .toolbar")).not_to_contain_text("inside of")


class TestMap:
    def test_the_map_has_all_objects(self, heap: Inspection, real_file: Path, open_page: OpenPage) -> None:
        scale = open_page(real_file).locator(".map-scale")
        expect(scale).to_contain_text(f"{len(heap.graph):,} objects")

    def test_a_block_tells_its_object_and_a_hole_its_size(
        self, heap: Inspection, real_file: Path, open_page: OpenPage
    ) -> None:
        graph = heap.graph
        page = open_page(real_file, "#blocks=0-64")
        place = page.get_by_role("application", name=re.compile("^Heap map"))
        place.focus()
        page.keyboard.press("Home")
        told = page.get_by_role("complementary", name="What lies there")
        assert int(graph.first[0]) == 0
        expect(told).to_contain_text(f"0x{graph.address_of(0):08x}")
        ends = graph.first + graph.blocks
        holes = np.flatnonzero(graph.first[1:] > ends[:-1])
        hole = int(ends[holes[0]])
        page = open_page(real_file, f"#blocks={hole}-64")
        page.get_by_role("application", name=re.compile("^Heap map")).focus()
        page.keyboard.press("Home")
        free = (int(graph.first[holes[0] + 1]) - hole) * graph.facts.geometry.block_bytes
        expect(page.get_by_role("complementary", name="What lies there")).to_contain_text(f"Free run{size_text(free)}")

    def test_holes_are_those_of_the_analysis(self, heap: Inspection, real_file: Path, open_page: OpenPage) -> None:
        page, found = open_page(real_file), holes_for(heap.named, 1)
        rows = page.locator(".holes tbody tr")
        assert lines(rows.locator("td:nth-child(2)")) == [f"{each.runs:,}" for each in found.lengths]
        grid = page.get_by_role("grid", name="Ends of holes")
        expect(grid).to_have_attribute("aria-rowcount", str(len(found.cutters) + 1))
        shown = lines(grid.get_by_role("row").nth(1).locator("> div"))
        assert (shown[0], shown[2]) == (found.cutters[0].group, f"{found.cutters[0].objects:,}")

    @pytest.mark.parametrize("coloring", ["Size", "Retained"])
    def test_colors_stand_for_what_is_chosen(self, coloring: str, real_file: Path, open_page: OpenPage) -> None:
        page = open_page(real_file)
        picture = page.locator(".map-place canvas").first
        before = picture.screenshot()
        page.locator("#map").get_by_text(coloring, exact=True).click()
        expect(page.locator(".ramp")).to_be_visible()
        assert picture.screenshot() != before


@pytest.mark.parametrize("color_scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1300, 390])
def test_it_fits_and_is_readable(real_file: Path, open_page: OpenPage, color_scheme: str, width: int) -> None:
    page = open_page(real_file, width=width, color_scheme=color_scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.documentElement.dataset.theme") == color_scheme


def test_names_cannot_act_as_code(open_page: OpenPage, tmp_path: Path) -> None:
    named = typed_nodes()
    groups = Groups(named.groups.of, tuple(HTML + name for name in named.groups.names))
    hostile = NamedGraph(named.graph, _Named(groups))
    write_heap_page(inspected(hostile, module_name=HTML), tmp_path / "heap.html")
    page = open_page(tmp_path / "heap.html", "#object=0")
    assert page.title() != "out"
    expect(page.locator("#object h3")).to_contain_text(HTML)


class _Named(ShapeNames):
    """Names that are given."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups

    def groups(self, _: object) -> Groups:
        return self._groups


def test_a_heap_that_is_too_large_has_no_memory(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heap_data, "MOST_MEMORY_BYTES", 1024)
    write_heap_page(inspected(typed_nodes()), tmp_path / "heap.html")
    page = open_page(tmp_path / "heap.html", "#object=0")
    expect(page.locator(".note")).to_contain_text("none of its memory")
    expect(page.locator("#object")).not_to_contain_text("Reading the memory")


def test_a_heap_without_objects_is_shown(open_page: OpenPage, tmp_path: Path) -> None:
    write_heap_page(inspected(NamedGraph(graph_of(Heap(4096), []))), tmp_path / "heap.html")
    expect(open_page(tmp_path / "heap.html").locator(".map-scale")).to_contain_text("0 objects")


@pytest.mark.alone
@pytest.mark.slow
def test_a_million_objects_open_soon(browser: Browser, open_page: OpenPage, tmp_path: Path) -> None:
    file = tmp_path / "million.html"
    write_heap_page(inspected(NamedGraph(million_objects())), file)
    assert file.stat().st_size < PAGE_LIMIT_BYTES
    page, work = opened_with(browser, open_page, file)
    assert page.locator("html").get_attribute("data-objects") == "1000000"
    assert work < MOST_WORK
