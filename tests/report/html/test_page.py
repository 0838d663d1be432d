"""The report as its readers use it: by mouse, by keys, in light and in dark; its numbers are those of the analyses."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from playwright.sync_api import Locator, Page, expect

from small_recordings import known
from tinyheap import profile
from tinyheap.profile import Measure
from tinyheap.recordings.recording import Recording
from tinyheap.report.quantities import size_text

OpenPage = Callable[..., Page]


def settle(page: Page) -> None:
    """Waits until the address has caught up with what is chosen."""
    page.evaluate("() => new Promise(requestAnimationFrame)")
    page.wait_for_selector("html:not([data-address-is-behind])", state="attached")


def chosen(page: Page, name: str) -> str | None:
    """What the address says of a choice, once it has caught up."""
    settle(page)
    return parse_qs(page.url.partition("#")[2]).get(name, [None])[0]


def moment(page: Page) -> Locator:
    return page.get_by_role("slider", name="Moment of the run")


def number_in(text: str) -> int:
    """The first number in a text, such as 2,345 in "2,345 objects"."""
    found = re.search(r"\d[\d,]*", text)
    assert found, text
    return int(found[0].replace(",", ""))


class TestHead:
    def test_says_what_ran_and_the_totals_of_the_analysis(self, page: Page, recording: Recording) -> None:
        totals = profile.totals(recording)
        expect(page.get_by_role("heading", level=1)).to_have_text("made.wasm")
        expect(page.get_by_text("complete", exact=True)).to_be_visible()
        tiles = page.locator(".tiles")
        expect(tiles).to_contain_text(f"{totals.allocations:,} objects")
        expect(tiles).to_contain_text(f"{known(totals.peak).objects:,} objects, at")
        expect(tiles).to_contain_text(f"{totals.live_objects:,} objects")
        expect(tiles).to_contain_text(f"Collections{totals.collections:,}")

    def test_policy_forbids_all_but_its_own_script(self, page: Page) -> None:
        policy = page.locator("meta[http-equiv='Content-Security-Policy']").get_attribute("content") or ""
        assert policy.startswith("default-src 'none'; script-src 'sha256-")
        assert "unsafe" not in policy

    def test_carries_the_licenses_of_its_libraries(self, page: Page) -> None:
        page.get_by_role("button", name="Licenses").click()
        for library in ("preact", "uplot", "@tanstack/virtual-core", "Permission is hereby granted"):
            expect(page.get_by_role("dialog", name="Licenses")).to_contain_text(library)


class TestTimeLine:
    def plot(self, page: Page) -> Locator:
        return page.locator(".u-over").first

    def test_a_click_chooses_the_moment(self, page: Page, recording: Recording) -> None:
        box = self.plot(page).bounding_box()
        assert box
        self.plot(page).click(position={"x": box["width"] / 2, "y": 50})
        at = float(chosen(page, "t") or -1)
        assert at == pytest.approx(recording.run.duration_ns / 2, rel=0.01)
        expect(moment(page)).to_have_value(re.compile(rf"^{int(at)}"))

    def test_a_drag_looks_closer_and_a_double_click_shows_all(self, page: Page, recording: Recording) -> None:
        box = self.plot(page).bounding_box()
        assert box
        page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 60)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60, steps=4)
        page.mouse.up()
        begin, end = map(int, (chosen(page, "period") or "0-0").split("-"))
        assert begin == pytest.approx(recording.run.duration_ns / 4, rel=0.02)
        assert end == pytest.approx(recording.run.duration_ns / 2, rel=0.02)
        assert float(moment(page).get_attribute("min") or -1) == pytest.approx(begin, abs=1)
        self.plot(page).dblclick()
        assert chosen(page, "period") is None

    def test_a_line_is_switched_off_and_on(self, page: Page) -> None:
        switch = page.get_by_role("button", name="fragmentation")
        expect(switch).to_have_attribute("aria-pressed", "true")
        before = page.locator(".timeline .chart").screenshot()
        switch.click()
        expect(switch).to_have_attribute("aria-pressed", "false")
        assert page.locator(".timeline .chart").screenshot() != before


class TestScrubber:
    @pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
    def test_the_map_shows_what_lived_at_the_moment(self, page: Page, recording: Recording, share: float) -> None:
        time_ns = int(recording.run.duration_ns * share)
        moment(page).fill(str(time_ns))
        expect(page.locator(".map-scale")).to_contain_text(re.compile(r"objects"))
        shown = number_in(page.locator(".map-scale span").inner_text().split(";")[1])
        # Objects without a size lie nowhere.
        assert shown == (known(profile.heap_at(recording, time_ns=time_ns)).sizes_bytes > 0).sum()

    def test_keys_go_from_collection_to_collection(self, page: Page, recording: Recording) -> None:
        ends = [
            begun + pause for begun, pause in recording.sql("SELECT begun_ns, pause_ns FROM collections ORDER BY 1")
        ]
        moment(page).focus()
        page.keyboard.press("Home")
        page.keyboard.press("]")
        page.keyboard.press("]")
        assert float(chosen(page, "t") or 0) == ends[1]
        page.keyboard.press("[")
        assert float(chosen(page, "t") or 0) == ends[0]

    def test_keys_go_from_birth_to_birth(self, page: Page, recording: Recording) -> None:
        births = [ns for (ns,) in recording.sql("SELECT time_ns FROM events WHERE kind = 0 ORDER BY id LIMIT 3")]
        moment(page).focus()
        page.keyboard.press("Home")
        for _ in births:
            page.keyboard.press(".")
        assert float(chosen(page, "t") or 0) == births[2]
        page.keyboard.press(",")
        assert float(chosen(page, "t") or 0) == births[1]

    def test_it_plays_and_stops(self, page: Page) -> None:
        moment(page).fill("0")
        page.get_by_role("button", name="Play").click()
        expect(moment(page)).not_to_have_value("0")
        page.locator(".scrubber").get_by_role("button", name="Pause").click()
        stopped = moment(page).input_value()
        page.wait_for_timeout(200)
        assert moment(page).input_value() == stopped


class TestMap:
    """What a block is, is told to who points at it; `blocks=FIRST-COUNT` in the address says which blocks are shown."""

    def place(self, page: Page) -> Locator:
        return page.get_by_role("application", name=re.compile("^Heap map"))

    def told(self, page: Page) -> Locator:
        return page.get_by_role("complementary", name="What lies there")

    def walk_to(self, page: Page, block: int) -> None:
        """Go with the keys to a block, counted from the first that is shown."""
        self.place(page).focus()
        page.keyboard.press("Home")
        for _ in range(block):
            page.keyboard.press("ArrowRight")

    @pytest.mark.parametrize("which", [0.2, 0.5, 0.8])
    def test_a_block_tells_its_object(
        self, open_page: OpenPage, page_file: Path, recording: Recording, which: float
    ) -> None:
        time_ns, run = recording.run.duration_ns // 2, recording.run
        heap = known(profile.heap_at(recording, time_ns=time_ns))
        address = int(heap.addresses[int(len(heap) * which)])
        block = (address - run.heap_start_address) // run.block_bytes
        page = open_page(page_file, f"#t={time_ns}&blocks={max(block - 8, 0)}-400")
        self.walk_to(page, min(block, 8))
        found = known(profile.object_at(recording, address, time_ns=time_ns))
        assert found is not None
        told = self.told(page)
        expect(told).to_contain_text(f"Object {found.object_id:,}")
        expect(told).to_contain_text(f"{found.address:#010x}")
        expect(told).to_contain_text(f"{found.size_bytes:,} B in")
        expect(told).to_contain_text(
            f"by collection {found.death_collection:,}" if found.death_collection else "not in this run"
        )
        functions = [frame.function for frame in reversed(found.stack)]
        assert [text.split()[0] for text in told.locator("li").all_inner_texts()] == functions

    def test_a_free_block_tells_its_run(self, open_page: OpenPage, page_file: Path, recording: Recording) -> None:
        time_ns, run = recording.run.duration_ns // 2, recording.run
        heap = known(profile.heap_at(recording, time_ns=time_ns))
        ends = [
            int(address - run.heap_start_address + size - 1) // run.block_bytes + 1
            for address, size in zip(heap.addresses, heap.sizes_bytes, strict=True)
        ]
        starts = [int(address - run.heap_start_address) // run.block_bytes for address in heap.addresses]
        # The address of objects without a size lies beyond the heap.
        gap, begin = max((start - end, end) for end, start in zip(ends, starts[1:], strict=False) if start < 2**20)
        page = open_page(page_file, f"#t={time_ns}&blocks={begin}-400")
        self.walk_to(page, 1)
        expect(self.told(page)).to_contain_text(f"{size_text(gap * run.block_bytes)} in {gap:,} blocks")

    def test_pointing_and_the_keys_tell_the_same(self, open_page: OpenPage, page_file: Path) -> None:
        page = open_page(page_file, "#blocks=0-400")
        self.walk_to(page, 3)
        page.keyboard.press("ArrowDown")
        told = self.told(page).inner_text()
        page.keyboard.press("Tab")
        expect(self.told(page)).to_contain_text("Point at a block")
        box = self.place(page).bounding_box()
        columns, rows = (
            int(page.locator(".map-place").get_attribute(f"data-{name}") or 0) for name in ("columns", "rows")
        )
        assert box
        self.place(page).hover(position={"x": 3.5 * box["width"] / columns, "y": 1.5 * box["height"] / rows})
        assert self.told(page).inner_text() == told

    def test_a_chosen_object_stays_and_leads_to_its_neighbors(
        self, open_page: OpenPage, page_file: Path, recording: Recording
    ) -> None:
        heap = known(profile.heap_at(recording, time_ns=recording.run.duration_ns))
        block = int(heap.addresses[40] - recording.run.heap_start_address) // recording.run.block_bytes
        page = open_page(page_file, f"#t={recording.run.duration_ns}&blocks={block}-400")
        self.walk_to(page, 0)
        page.keyboard.press("Enter")
        page.keyboard.press("ArrowRight")
        expect(self.told(page)).to_contain_text(f"Object {heap.object_ids[40]:,}")
        self.told(page).get_by_role("button", name="Above").click()
        expect(self.told(page)).to_contain_text(f"Object {heap.object_ids[41]:,}")
        self.told(page).get_by_role("button", name="To its birth").click()
        assert float(chosen(page, "t") or 0) == heap.births_ns[41]

    def test_keys_zoom_in_and_out(self, page: Page) -> None:
        self.place(page).focus()
        page.keyboard.press("+")
        page.keyboard.press("+")
        whole = page.locator(".map-scale").inner_text()
        assert chosen(page, "blocks")
        page.keyboard.press("Escape")
        assert chosen(page, "blocks") is None
        assert page.locator(".map-scale").inner_text() != whole

    def test_enter_looks_into_a_cell_of_several_blocks(self, page: Page) -> None:
        expect(page.locator(".map-scale")).to_contain_text("blocks per cell")
        self.place(page).focus()
        page.keyboard.press("Home")
        expect(self.told(page)).to_contain_text("Press Enter")
        page.keyboard.press("Enter")
        expect(page.locator(".map-scale")).to_contain_text("one cell per block")

    def test_every_coloring_has_its_picture_and_its_legend(self, page: Page) -> None:
        pictures, legends = set(), set()
        for name in ("Age", "Size", "Function", "Fate"):
            page.locator(".map .choice").get_by_text(name, exact=True).click()
            pictures.add(page.locator(".map-place").screenshot())
            legends.add(page.locator(".map .legend").inner_text())
        assert len(pictures) == len(legends) == 4


class TestFlameGraph:
    def place(self, page: Page) -> Locator:
        return page.get_by_role("application", name=re.compile("^Flame graph"))

    def reading(self, page: Page) -> Locator:
        return page.locator(".flame-reading")

    def test_a_click_zooms_and_escape_goes_back(self, page: Page) -> None:
        self.place(page).click(position={"x": 100, "y": 50})
        zoomed = chosen(page, "zoom")
        assert zoomed
        self.place(page).focus()
        for _ in range(3):
            page.keyboard.press("Escape")
        assert chosen(page, "zoom") is None

    def test_keys_walk_down_the_heaviest_calls(self, page: Page, recording: Recording) -> None:
        node = known(profile.flame_graph(recording)).root
        self.place(page).focus()
        page.keyboard.press("Home")
        while node.children:
            node = node.children[0]
            page.keyboard.press("ArrowDown")
            expect(self.reading(page).locator("strong")).to_have_text(node.name)
            expect(self.reading(page)).to_contain_text(f"{size_text(node.total)}, ")
        page.keyboard.press("ArrowUp")
        expect(self.reading(page).locator("strong")).not_to_have_text(node.name)

    @pytest.mark.parametrize(
        ("what", "unit", "measure"),
        [
            ("Allocated", "Objects", Measure.ALLOCATED_OBJECTS),
            ("Live at the peak", "Bytes", Measure.LIVE_AT_PEAK_BYTES),
            ("Live at the end", "Objects", Measure.LIVE_AT_END_OBJECTS),
            ("Dead young", "Bytes", Measure.DEAD_YOUNG_BYTES),
        ],
    )
    def test_measures_are_those_of_the_analysis(
        self, page: Page, recording: Recording, what: str, unit: str, measure: Measure
    ) -> None:
        page.locator(".flame .choice").get_by_text(what, exact=True).click()
        page.locator(".flame .choice").get_by_text(unit, exact=True).click()
        total = known(profile.flame_graph(recording, measure)).root.total
        text = size_text(total) if unit == "Bytes" else f"{total:,} objects"
        expect(self.reading(page)).to_contain_text(f"all {text}, 100% of all")

    def test_search_counts_what_it_brings_out(self, page: Page, recording: Recording) -> None:
        before = self.place(page).screenshot()
        page.get_by_role("searchbox", name="Search functions").fill("PARSE")
        names = {usage.function for usage in profile.by_function(recording) if "parse" in usage.function.lower()}
        expect(page.locator(".flame > .toolbar output")).to_contain_text(f"{len(names)} functions, ")
        assert self.place(page).screenshot() != before

    def test_the_table_holds_the_same(self, page: Page, recording: Recording) -> None:
        page.locator(".flame summary").click()
        table = page.get_by_role("grid", name=re.compile("^Functions by what"))
        usage = max(profile.by_function(recording), key=lambda usage: usage.own_bytes)
        page.locator(".flame .data-table").get_by_role("searchbox").fill(usage.function)
        expect(table).to_contain_text(size_text(usage.own_bytes))


class TestTables:
    def rows(self, page: Page, name: str) -> Locator:
        return page.get_by_role("grid", name=name, exact=True).locator(".grid-row:not(.head)")

    def test_functions_are_those_of_the_analysis(self, page: Page, recording: Recording) -> None:
        usages = profile.by_function(recording)
        first = self.rows(page, "Functions").first
        expect(first).to_contain_text(usages[0].function)
        expect(first).to_contain_text(size_text(usages[0].own_bytes))
        expect(first).to_contain_text(f"{usages[0].own_objects:,}")
        expect(page.locator("#functions output")).to_contain_text(f"{len(usages)} rows")

    def test_a_heading_sorts_and_sorts_the_other_way(self, page: Page, recording: Recording) -> None:
        objects = sorted(usage.own_objects for usage in profile.by_site(recording))
        heading = page.get_by_role("grid", name="Allocation sites").get_by_role("columnheader", name="Own objects")
        heading.get_by_role("button").press("Enter")
        expect(heading).to_have_attribute("aria-sort", "descending")
        expect(self.rows(page, "Allocation sites").first).to_contain_text(f"{objects[-1]:,}")
        heading.get_by_role("button").click()
        expect(heading).to_have_attribute("aria-sort", "ascending")
        expect(self.rows(page, "Allocation sites").first).to_contain_text(f"{objects[0]:,}")

    def test_the_filter_leaves_what_has_the_words(self, page: Page) -> None:
        page.get_by_role("searchbox", name="Filter: Functions", exact=True).fill("PARSER")
        expect(self.rows(page, "Functions").first).to_contain_text("parser")
        assert all("parser" in text for text in self.rows(page, "Functions").all_inner_texts())
        page.get_by_role("searchbox", name="Filter: Functions", exact=True).fill("nothing has this")
        expect(self.rows(page, "Functions")).to_have_count(0)

    def test_keys_choose_a_row_which_finds_its_function(self, page: Page, recording: Recording) -> None:
        page.get_by_role("grid", name="Functions", exact=True).focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        expect(self.rows(page, "Functions").nth(1)).to_have_attribute("aria-selected", "true")
        page.keyboard.press("Enter")
        assert chosen(page, "search") == profile.by_function(recording)[1].function

    def test_a_collection_says_what_it_cost_and_leads_to_its_moment(self, page: Page, recording: Recording) -> None:
        query = """
            SELECT begun_ns + pause_ns, freed_objects, words_scanned, reason
            FROM collections ORDER BY pause_ns DESC, number LIMIT 1
        """
        [(end_ns, freed_objects, words_scanned, reason)] = recording.sql(query).fetch(1)
        first = self.rows(page, "Collections").first
        for text in (f"{freed_objects:,}", f"{words_scanned:,}", reason):
            expect(first).to_contain_text(text)
        first.click()
        assert float(chosen(page, "t") or 0) == end_ns


class TestFindings:
    def test_leak_suspects(self, page: Page, recording: Recording) -> None:
        suspects = known(profile.leak_suspects(recording)).suspects
        cards = page.locator(".suspects article")
        expect(cards).to_have_count(len(suspects))
        expect(cards.first).to_contain_text(suspects[0].site.function)
        expect(cards.first).to_contain_text(suspects[0].explanation)
        cards.first.get_by_role("button", name="Show on the map").click()
        assert chosen(page, "color") == "site"

    def test_pauses(self, page: Page, recording: Recording) -> None:
        pauses = known(profile.pauses(recording))
        expect(page.locator("#pauses .facts")).to_contain_text("Longest")
        page.locator("#pauses summary").click()
        expect(page.locator("#pauses .plain tbody tr")).to_have_count(len(pauses.utilizations))
        counted = page.locator("#pauses .bars tbody td").all_inner_texts()
        assert sum(map(number_in, counted)) == pauses.count

    def test_histograms(self, page: Page, recording: Recording) -> None:
        sizes, lifetimes = page.locator("#sizes .bars").all()
        first = [number_in(row.locator("td").first.inner_text()) for row in sizes.locator("tbody tr").all()]
        assert first == [bucket.objects for bucket in profile.size_histogram(recording).buckets]
        beyond = known(profile.lifetime_histogram(recording)).beyond_objects
        expect(lifetimes.locator("tbody tr").last).to_contain_text(f"to the end{beyond:,}")


class TestLooks:
    def background(self, page: Page) -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    def test_it_is_dark_where_the_system_is(self, open_page: OpenPage, page_file: Path) -> None:
        light, dark = (open_page(page_file, color_scheme=scheme) for scheme in ("light", "dark"))
        assert self.background(light) != self.background(dark)

    def test_the_switch_wins_over_the_system(self, open_page: OpenPage, page_file: Path) -> None:
        page = open_page(page_file, color_scheme="light")
        light, picture = self.background(page), page.locator(".flame-place").screenshot()
        page.get_by_text("Dark", exact=True).click()
        assert self.background(page) != light
        assert page.locator(".flame-place").screenshot() != picture
        assert chosen(page, "theme") == "dark"

    @pytest.mark.parametrize("width", [360, 800, 1900])
    def test_it_never_scrolls_sideways(self, open_page: OpenPage, page_file: Path, width: int) -> None:
        page = open_page(page_file, width=width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width

    def test_words_stand_out_from_what_is_behind_them(self, open_page: OpenPage, page_file: Path) -> None:
        for scheme in ("light", "dark"):
            page = open_page(page_file, color_scheme=scheme)
            for ink in ("--ink", "--ink-quiet", "--accent", "--good", "--bad"):
                for ground in ("--surface", "--paper", "--raised"):
                    assert page.evaluate(_CONTRAST, [ink, ground]) >= 4.5, (scheme, ink, ground)

    def test_free_and_not_grown_yet_differ_for_every_eye(self, open_page: OpenPage, page_file: Path) -> None:
        """By a pattern, whose lines stand out by lightness alone from both grounds; on the map as in the legend."""
        for scheme in ("light", "dark"):
            page = open_page(page_file, "#t=1", color_scheme=scheme)
            assert page.evaluate(_CONTRAST, ["--map-hatch", "--map-beyond"]) >= 3, scheme
            assert page.evaluate(_CONTRAST, ["--map-hatch", "--map-free"]) >= 2, scheme
            assert page.evaluate(_CONTRAST, ["--map-free", "--map-beyond"]) >= 1.25, scheme
            images = page.locator(".nothing .swatch").evaluate_all(
                "all => all.map((e) => getComputedStyle(e).backgroundImage)"
            )
            assert images[0] == "none"
            assert "repeating-linear-gradient" in images[1]
            first, last = page.evaluate(_LIGHTNESS)
            assert first == 1 < last, "one is a plain color, the other hatched"

    def test_on_paper_there_is_nothing_to_press(self, page: Page) -> None:
        page.emulate_media(media="print")
        expect(page.get_by_role("navigation", name="Sections")).to_be_hidden()
        expect(page.get_by_role("button", name="Play")).to_be_hidden()
        expect(page.get_by_role("heading", name="Flame graph")).to_be_visible()


def back(page: Page) -> None:
    settle(page)
    page.go_back()


class TestHistory:
    """Back undoes what the reader chose, each choice by itself, and Forward does it again."""

    def zoom_of(self, page: Page) -> Locator:
        return page.locator(".flame").get_by_role("button", name="Zoom out")

    def test_back_undoes_a_zoom_of_the_flame_graph(self, page: Page) -> None:
        page.locator(".flame-place canvas").click(position={"x": 40, "y": 50})
        first = chosen(page, "zoom")
        page.locator(".flame-place canvas").click(position={"x": 40, "y": 70})
        second = chosen(page, "zoom")
        assert None not in (first, second)
        assert first != second
        back(page)
        assert chosen(page, "zoom") == first
        back(page)
        assert chosen(page, "zoom") is None
        expect(self.zoom_of(page)).to_be_disabled()
        page.go_forward()
        expect(self.zoom_of(page)).to_be_enabled()
        assert chosen(page, "zoom") == first

    def test_back_undoes_a_closer_look_at_a_part_of_the_run(self, page: Page) -> None:
        box = page.locator(".u-over").first.bounding_box()
        assert box
        page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 60)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60, steps=4)
        page.mouse.up()
        expect(page.get_by_role("button", name="Show the whole run")).to_be_visible()
        back(page)
        expect(page.get_by_role("button", name="Show the whole run")).to_have_count(0)
        assert chosen(page, "period") is None

    def test_every_kind_of_choice_is_undone_by_itself(self, page: Page) -> None:
        entries = page.evaluate("history.length")
        functions = page.get_by_role("searchbox", name="Filter: Functions", exact=True)
        sites = page.get_by_role("grid", name="Allocation sites")
        steps: list[tuple[str, Callable[[], object]]] = [
            ("color", lambda: page.get_by_text("Fate", exact=True).click()),
            ("blocks", lambda: page.get_by_role("button", name="Zoom in").click()),
            ("what", lambda: page.get_by_text("Live at the end", exact=True).click()),
            ("unit", page.get_by_text("Objects", exact=True).first.click),
            ("search", lambda: page.get_by_role("searchbox", name="Search functions").press_sequentially("parse")),
            ("lines", lambda: page.get_by_role("button", name="used").click()),
            ("open", lambda: page.locator("#flame").get_by_text("The same as a table").click()),
            ("functions", lambda: functions.press_sequentially("main")),
            ("sites", lambda: sites.get_by_role("button", name="Mean").click()),
            ("theme", lambda: page.get_by_text("Dark", exact=True).click()),
        ]
        urls = [page.url]
        for name, choose in steps:
            choose()
            assert chosen(page, name) is not None, name
            urls.append(page.url)
        assert page.evaluate("history.length") == entries + len(steps)
        for url, (name, _) in zip(reversed(urls[:-1]), reversed(steps), strict=True):
            page.go_back()
            assert chosen(page, name) is None
            assert page.url == url
        expect(page.get_by_role("radio", name="Age")).to_be_checked()
        expect(page.get_by_role("searchbox", name="Search functions")).to_have_value("")
        expect(functions).to_have_value("")

    @pytest.mark.alone
    def test_a_way_through_the_run_is_one_step(self, page: Page) -> None:
        entries, start = page.evaluate("history.length"), chosen(page, "t")
        for _ in range(8):
            moment(page).press("ArrowRight")
            page.wait_for_timeout(60)
        assert chosen(page, "t") != start
        page.get_by_role("button", name="Play").click()
        page.wait_for_timeout(600)
        page.locator(".scrubber").get_by_role("button", name="Pause").click()
        settle(page)
        assert page.evaluate("history.length") - entries <= 2
        while chosen(page, "t") != start:
            assert page.evaluate("history.length") - entries <= 2
            page.go_back()
        expect(moment(page)).to_have_value(re.compile(rf"^{start}"))

    def test_a_page_that_was_only_looked_at_adds_nothing(self, page: Page) -> None:
        entries, url = page.evaluate("history.length"), page.url
        page.mouse.move(300, 600)
        page.mouse.wheel(0, 900)
        page.get_by_role("navigation", name="Sections").get_by_text("Pauses").click()
        settle(page)
        assert (page.evaluate("history.length"), page.url) == (entries, url)

    def test_a_link_holds_lines_and_tables(self, open_page: OpenPage, page_file: Path) -> None:
        fragment = "#t=5&lines=used&functions=0amain&collections=4a&open=flame&flame=1dparse"
        page = open_page(page_file, fragment)
        expect(page.get_by_role("button", name="used")).to_have_attribute("aria-pressed", "false")
        expect(page.get_by_role("button", name="largest free run")).to_have_attribute("aria-pressed", "true")
        expect(page.get_by_role("searchbox", name="Filter: Functions", exact=True)).to_have_value("main")
        functions = page.get_by_role("grid", name="Functions", exact=True)
        expect(functions.get_by_role("columnheader", name="Function")).to_have_attribute("aria-sort", "ascending")
        begun = page.get_by_role("grid", name="Collections").get_by_role("columnheader", name="Begun")
        expect(begun).to_have_attribute("aria-sort", "ascending")
        expect(page.get_by_role("searchbox", name="Filter: Functions by")).to_have_value("parse")
        settle(page)
        assert parse_qs(page.url.partition("#")[2]) == parse_qs(fragment[1:])


class TestKeyboardAndNames:
    def test_tab_reaches_every_part_in_order(self, page: Page) -> None:
        reached: list[str] = []
        for _ in range(90):
            page.keyboard.press("Tab")
            section = page.evaluate("document.activeElement.closest('section')?.id ?? ''")
            if section and section not in reached:
                reached.append(section)
        assert reached == ["heap", "flame", "functions", "sites", "leaks", "pauses", "collections"]

    def test_the_keys_are_listed_for_who_asks(self, page: Page) -> None:
        page.get_by_role("button", name="Keys").press("Enter")
        keys = page.get_by_role("dialog", name="Keys")
        expect(keys).to_contain_text("from block to block")
        page.keyboard.press("Escape")
        expect(keys).to_be_hidden()

    def test_everything_that_takes_the_focus_has_a_name(self, page: Page) -> None:
        assert page.evaluate(_NAMELESS) == []

    def test_a_link_shows_the_same(self, open_page: OpenPage, page_file: Path) -> None:
        fragment = "#t=2000000&period=1000000-3000000&color=fate&what=end&unit=objects&search=parse&theme=dark"
        page = open_page(page_file, fragment)
        expect(moment(page)).to_have_value("2000000")
        expect(page.get_by_role("radio", name="Fate")).to_be_checked()
        expect(page.get_by_role("radio", name="Live at the end")).to_be_checked()
        expect(page.get_by_role("searchbox", name="Search functions")).to_have_value("parse")
        settle(page)
        assert page.url.partition("#")[2] == fragment[1:]

    def test_a_link_with_nonsense_shows_the_page(self, open_page: OpenPage, page_file: Path) -> None:
        fragment = "#t=x&period=9-1&color=<b>&blocks=99999999999-1&object=99999999&mark=5e9&zoom=999999&theme=9"
        page = open_page(page_file, fragment)
        expect(page.locator(".map-scale")).to_contain_text("objects")


_LIGHTNESS = """() => {
    const canvas = document.querySelector(".map-place canvas");
    const context = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
    context.drawImage(canvas, 0, 0);
    const shades = (top) => {
        const { data } = context.getImageData(0, top, Math.floor(canvas.width / 2), 40);
        const found = new Set();
        for (let i = 0; i < data.length; i += 4) found.add(`${data[i]},${data[i + 1]},${data[i + 2]},${data[i + 3]}`);
        return found.size;
    };
    return [shades(60), shades(canvas.height - 80)];
}"""
_CONTRAST = """([ink, ground]) => {
    const luminance = (name) => {
        const probe = document.body.appendChild(document.createElement("i"));
        probe.style.color = `var(${name})`;
        const channels = getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map((text) => text / 255);
        probe.remove();
        const [r, g, b] = channels.map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const [a, b] = [luminance(ink), luminance(ground)].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
}"""
"""The contrast of two colors of the style sheet, after the Web Content Accessibility Guidelines."""

_NAMELESS = """() => [...document.querySelectorAll("a, button, input, summary, [tabindex='0']")]
    .filter((each) => !(each.getAttribute("aria-label") || each.textContent.trim() || each.labels?.[0]?.textContent.trim()))
    .map((each) => each.outerHTML.slice(0, 80))"""
