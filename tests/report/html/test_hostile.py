"""Recordings that are odd, broken off or made to harm: the page shows what there is, and none of the data can act as code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

import recordings_made
from recordings_made import Shape
from tinyheap.errors import OutputError
from tinyheap.recordings.batch import DEATH, EVENT, STACK, Batch
from tinyheap.recordings.recording import Recording
from tinyheap.recordings.row_types import CollectionRow, FrameRow, RunRow
from tinyheap.recordings.writer import RecordingWriter
from tinyheap.report.html import data
from tinyheap.report.html.page import STEPS, write_page

OpenPage = Callable[..., Page]

MOST = 2**32 - 1
HTML = "</script><script>document.title='out'</script><img src=x onerror=\"document.title='out'\"><!--"
RUN = recordings_made.make_run(Shape(events=1)).run


@pytest.fixture
def opened(open_page: OpenPage, tmp_path: Path) -> Callable[[Path], Page]:
    """Opens the page of a recording."""

    def open_one(file: Path) -> Page:
        with Recording.open(file) as recording:
            write_page(recording, tmp_path / "report.html")
        return open_page(tmp_path / "report.html")

    return open_one


def record(
    file: Path, run: RunRow, frames: Sequence[FrameRow] = (), batch: Batch | None = None, state: str | None = "finished"
) -> Path:
    """A recording of one batch."""
    with RecordingWriter.create(file, run, frames) as writer:
        writer.append(batch or Batch(time_ns=0))
        if state:
            writer.finish(state, time_ns=(batch.time_ns if batch else 0) + 1)
    return file


def collection(number: int, begun_ns: int, *, reason: str = "exhausted", amount: int = 0) -> CollectionRow:
    """A collection most of whose numbers are `amount`."""
    return CollectionRow(
        number=number, reason=reason, begun_ns=begun_ns, pause_ns=amount, mark_ns=amount, sweep_ns=amount,
        last_event_id=2, wanted_bytes=None, stack_id=0, roots_bytes=amount, words_scanned=amount, overflows=amount,
        rescans=amount, freed_objects=amount, freed_bytes=amount, live_objects=amount, live_bytes=amount,
    )  # fmt: skip


def test_html_in_names_stays_text(opened: Callable[[Path], Page], tmp_path: Path) -> None:
    run = replace(RUN, module=f"{HTML}.wasm", arguments=(HTML,), runtime=HTML, collector=HTML, runtime_version=HTML)
    batch = Batch(
        time_ns=100,
        stacks=np.array([(1, 0, 1, 1)], STACK),
        events=np.array([(10, 1, RUN.heap_start_address, 48, 0, 1, 0)], EVENT),
        collections=[collection(1, 50, reason=HTML)],
    )
    page = opened(record(tmp_path / "html.tinyheap", run, [FrameRow(1, 1, HTML, 5, HTML)], batch))
    assert page.title() != "out"
    assert page.evaluate("document.images.length + document.scripts.length") == 4, "three of data, one of code"
    page.evaluate("document.querySelector('.map .pointer').focus()")
    page.keyboard.press("Home")
    for where in ("h1", "#functions .grid", "#collections .grid", ".details", ".arguments"):
        expect(page.locator(where).first).to_contain_text("onerror=")


def test_numbers_as_large_as_they_come(opened: Callable[[Path], Page], tmp_path: Path) -> None:
    most = 2**62
    batch = Batch(
        time_ns=most,
        stacks=np.array([(MOST // 2, 0, 1, 1)], STACK),
        events=np.array(
            [
                (0, 1, 0, MOST, MOST, MOST // 2, 0),
                (most // 2, most, MOST, MOST, MOST, MOST // 2, 0),
                (most, 3, MOST - 15, 0, 0, 0, 0),
            ],
            EVENT,
        ),
        deaths=np.array([(1, 1)], DEATH),
        collections=[collection(1, most // 3, amount=most // 4)],
    )
    run = replace(RUN, heap_start_address=0, block_bytes=2**31 - 1)
    page = opened(record(tmp_path / "large.tinyheap", run, [FrameRow(1, 1, "f" * 100_000, most, None)], batch))
    expect(page.locator(".tiles")).to_contain_text("3 objects")
    expect(page.locator("#functions .grid")).to_contain_text("f" * 50)
    page.get_by_role("slider").focus()
    page.keyboard.press("End")
    expect(page.locator(".map-scale")).to_contain_text("objects")


def test_nothing_at_all_was_recorded(opened: Callable[[Path], Page], tmp_path: Path) -> None:
    page = opened(record(tmp_path / "empty.tinyheap", RUN))
    expect(page.locator("#heap")).to_contain_text("nothing to map")
    expect(page.locator("#flame")).to_contain_text("There is nothing")
    expect(page.locator("#leaks")).to_contain_text("too few collections")
    expect(page.locator("#pauses")).to_contain_text("No collection ran")
    expect(page.locator(".tiles")).to_contain_text("0 objects")


EVENTS = np.array([(number * 10, number, 0x5000 + 64 * number, 60, 0, 0, 0) for number in range(1, 9)], EVENT)


@pytest.mark.parametrize("collector", ["best-fit, precise", "leaking"])
def test_what_is_not_known_of_a_module_on_its_own_allocator(
    collector: str, opened: Callable[[Path], Page], tmp_path: Path
) -> None:
    run = replace(RUN, heap_start_address=0, source="injected", collector=collector)
    page = opened(record(tmp_path / "own.tinyheap", run, batch=Batch(time_ns=80, events=EVENTS)))
    sees_collections = collector == "leaking"
    expect(page.locator(".note")).to_contain_text("unknown: this module keeps its own allocator")
    expect(page.locator("#heap .empty")).to_contain_text("Unknown: this module keeps its own allocator, whose heap")
    expect(page.locator(".tiles")).to_contain_text("Heapunknown")
    expect(page.locator("#leaks")).to_contain_text("never frees" if sees_collections else "too few turnovers")
    expect(page.locator("#pauses")).to_contain_text("No collection ran" if sees_collections else "Unknown: this module")
    expect(page.locator(".tiles")).to_contain_text("Collections0" if sees_collections else "Collectionsunknown")
    expect(page.locator("#heap .legend")).to_contain_text("not freed" if sees_collections else "not freed, at most")
    expect(page.locator("#functions")).to_contain_text("Live at end" if sees_collections else "Live at end, at most")
    known_anyway = ("in the collector", "Dead young", "of 0 collections")
    pretended = ("% taken", "none ran", *(() if sees_collections else known_anyway))
    text = page.locator("main").inner_text()
    assert [words for words in pretended if words in text] == []


def test_objects_but_no_collection_no_sample_no_stack_no_heap(opened: Callable[[Path], Page], tmp_path: Path) -> None:
    run = replace(RUN, heap_start_address=0)
    page = opened(record(tmp_path / "bare.tinyheap", run, batch=Batch(time_ns=80, events=EVENTS)))
    expect(page.locator(".map-scale")).to_contain_text("0x00005040")
    expect(page.locator(".map-scale")).to_contain_text("8 objects, 100% taken")
    expect(page.locator("#functions .grid")).to_contain_text("[no stack]")
    page.evaluate("document.querySelector('.map .pointer').focus()")
    page.keyboard.press("Home")
    expect(page.locator(".details")).to_contain_text("No call stack is known")


@pytest.mark.slow
def test_a_run_that_broke_off_says_so(opened: Callable[[Path], Page], tmp_path: Path) -> None:
    page = opened(recordings_made.make_recording(tmp_path / "killed.tinyheap", events=1200, state=None))
    expect(page.locator(".badge")).to_have_text("ended early")
    expect(page.locator(".problem")).to_contain_text("This recording ends early: its writer was")


@pytest.mark.slow
def test_a_run_that_failed_says_why(opened: Callable[[Path], Page], tmp_path: Path) -> None:
    file = tmp_path / "failed.tinyheap"
    recordings_made.make_recording(file, events=1200, state="failed", error="unreachable in main.parse", exit_code=134)
    page = opened(file)
    expect(page.locator(".badge")).to_have_text("failed, exit code 134")
    expect(page.locator(".problem")).to_have_text("unreachable in main.parse")


@pytest.mark.slow
def test_too_many_objects_are_thinned_and_the_page_says_so(
    opened: Callable[[Path], Page], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "MOST_OBJECTS", 100)
    file = recordings_made.make_recording(tmp_path / "many.tinyheap", events=2000)
    page = opened(file)
    with Recording.open(file) as recording:
        [(total,)] = recording.sql("SELECT count(*) FROM events WHERE kind = 0 AND object_id > 0").fetch(1)
    expect(page.locator(".note")).to_contain_text(f"The heap map holds 100 of {total:,} objects")
    expect(page.locator(".tiles")).to_contain_text(f"{total:,} objects")
    assert page.locator("html").get_attribute("data-objects") == "100"


@pytest.mark.slow
def test_a_page_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    file = recordings_made.make_recording(tmp_path / "made.tinyheap", events=100)
    (tmp_path / "folder").mkdir()
    with Recording.open(file) as recording:
        for place in (tmp_path / "folder", tmp_path / "nowhere" / "report.html"):
            with pytest.raises(OutputError, match=r"cannot be written: .*choose another place"):
                write_page(recording, place)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "made.tinyheap"]


def test_progress_is_told_up_to_the_last_step(tmp_path: Path) -> None:
    file = recordings_made.make_recording(tmp_path / "made.tinyheap", events=100)
    done: list[int] = []
    with Recording.open(file) as recording:
        write_page(recording, tmp_path / "report.html", progress=done.append)
    assert done == list(range(1, STEPS + 1))
