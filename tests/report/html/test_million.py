"""A million objects: the page is small, opens fast, and what it does stays in proportion to what one sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

import recordings_made
from browser_fixtures import MOST_WORK, opened_with
from recordings_made import Shape
from tinyheap.recordings.batch import DEATH, EVENT, STACK, Batch
from tinyheap.recordings.recording import Recording
from tinyheap.recordings.row_types import CollectionRow, FrameRow
from tinyheap.recordings.writer import RecordingWriter
from tinyheap.report.html.page import write_page
from tinyheap.units import MIB

pytestmark = pytest.mark.slow
OpenPage = Callable[..., Page]

OBJECTS = 1_000_000
FUNCTIONS = 5000
GENERATION = 20_000
PAGE_LIMIT_BYTES = 12 * MIB


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a million objects by thousands of functions, of which one in fifty lives for long."""
    folder = tmp_path_factory.mktemp("million")
    random = np.random.default_rng(1)
    run = recordings_made.make_run(Shape(events=1)).run
    frames = [
        FrameRow(number, number, f"main.function{number}", 16 * number, None) for number in range(1, FUNCTIONS + 1)
    ]
    stacks = np.zeros(FUNCTIONS, STACK)
    stacks["id"] = stacks["frame_id"] = np.arange(1, FUNCTIONS + 1)
    # Each function is called by an earlier one.
    stacks["parent_id"] = random.integers(0, np.arange(1, FUNCTIONS + 1))
    stacks["depth"] = 1
    with RecordingWriter.create(folder / "million.tinyheap", replace(run, module="million.wasm"), frames) as writer:
        for number in range(1, OBJECTS // GENERATION + 1):
            writer.append(generation(random, number, stacks if number == 1 else stacks[:0]))
        writer.finish("finished", time_ns=OBJECTS * 100 + 1)
    with Recording.open(folder / "million.tinyheap") as recording:
        write_page(recording, folder / "report.html")
    return folder / "report.html"


def generation(random: np.random.Generator, number: int, stacks: np.ndarray) -> Batch:
    """The births between two collections, and the collection after them."""
    ids = np.arange((number - 1) * GENERATION + 1, number * GENERATION + 1)
    events = np.zeros(GENERATION, EVENT)
    events["time_ns"], events["object_id"] = ids * 100, ids
    events["size_bytes"] = random.choice([8, 16, 24, 48, 64, 256], GENERATION)
    events["stack_id"] = random.integers(1, FUNCTIONS + 1, GENERATION)
    events["address"] = 0x1_0000 + 16 * (np.cumsum(-(-events["size_bytes"] // 16)) + 10 * number)
    dead = ids[random.random(GENERATION) > 0.02]
    deaths = np.zeros(len(dead), DEATH)
    deaths["object_id"], deaths["collection"] = dead, number
    row = CollectionRow(
        number=number, reason="exhausted", begun_ns=int(ids[-1]) * 100, pause_ns=50, mark_ns=30, sweep_ns=20,
        last_event_id=int(ids[-1]), wanted_bytes=16, stack_id=1, roots_bytes=64, words_scanned=1000, overflows=0,
        rescans=0, freed_objects=len(dead), freed_bytes=16 * len(dead), live_objects=400 * number, live_bytes=6400 * number,
    )  # fmt: skip
    return Batch(time_ns=int(ids[-1]) * 100, events=events, deaths=deaths, stacks=stacks, collections=[row])


def test_the_page_is_small(page_file: Path) -> None:
    assert page_file.stat().st_size < PAGE_LIMIT_BYTES


@pytest.mark.alone
def test_it_opens_soon(page_file: Path, browser: Browser, open_page: OpenPage) -> None:
    page, work = opened_with(browser, open_page, page_file)
    assert page.locator("html").get_attribute("data-objects") == str(OBJECTS)
    assert work < MOST_WORK


def test_only_what_is_in_sight_is_on_the_page(page_file: Path, open_page: OpenPage) -> None:
    page = open_page(page_file)
    grid = page.get_by_role("grid", name="Functions", exact=True)
    expect(grid).to_have_attribute("aria-rowcount", str(FUNCTIONS + 1))
    assert grid.locator(".grid-row").count() < 60
    assert page.evaluate("document.querySelectorAll('*').length") < 5000
    grid.focus()
    page.keyboard.press("End")
    expect(grid.locator(".grid-row.active")).to_have_attribute("aria-rowindex", str(FUNCTIONS + 1))
    assert grid.locator(".grid-row").count() < 60


def test_the_map_counts_what_lives_at_the_end(page_file: Path, open_page: OpenPage) -> None:
    page = open_page(page_file)
    page.get_by_role("slider").focus()
    page.keyboard.press("End")
    with Recording.open(page_file.with_name("million.tinyheap")) as recording:
        [(living,)] = recording.sql("SELECT (SELECT count(*) FROM events) - (SELECT count(*) FROM deaths)").fetch(1)
    expect(page.locator(".map-scale")).to_contain_text(f"{living:,} objects")
