"""A run is shown while it goes: statistics add up, the screen fits, and the program's output stays whole."""

from __future__ import annotations

import fcntl
import io
import math
import operator
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

import guests_modules
import recordings_sound
from recordings_made import FRAMES, Shape, make_run
from tinyheap import cli
from tinyheap.cli import live as live_command
from tinyheap.recordings.batch import EVENT, STACK, Batch
from tinyheap.recordings.recording import Recording
from tinyheap.recordings.row_types import CallRow, FrameRow, RunRow, SamplingRow
from tinyheap.report.live.screen import LiveScreen, line
from tinyheap.report.live.statistics import LiveStatistics

SOURCE = "package main\nfunc f(a,b int)int{ return a+b }\n"
FORMATTED = "package main\n\nfunc f(a, b int) int { return a + b }\n"
RUN = RunRow(
    module="folder/app.wasm",
    module_sha256="",
    arguments=("one", "two"),
    runtime="TinyGo",
    runtime_version="0.41.0",
    collector="conservative",
    source="kernel",
    options={},
    started_at=datetime(2026, 1, 2, tzinfo=UTC),
    block_bytes=16,
    heap_start_address=0x10000,
)


# ---- statistics ----------------------------------------------------------------------------------------------------------


def test_statistics_are_the_sums_of_all_batches() -> None:
    made = make_run(Shape(events=3000))
    statistics, batches = LiveStatistics(made.run, made.frames), []
    for batch in made.batches:
        batches.append(batch)
        statistics.take(batch)
    view = statistics.view(100)
    births = [event for batch in batches for event in batch.events.tolist() if event[6] == 0]
    assert (view.objects, view.allocated_bytes) == (len(births), sum(event[3] for event in births))
    collections = [row for batch in batches for row in batch.collections]
    assert view.collections == len(collections) >= 4
    assert view.recent == tuple(collections[-32:])
    assert view.pause_ns == sum(row.pause_ns for row in collections)
    assert view.longest_pause_ns == max(row.pause_ns for row in collections)
    samples = [row for batch in batches for row in batch.samples]
    assert view.sample == samples[-1]
    assert view.peak_bytes == max(row.used_bytes for row in samples)
    assert view.snapshot == batches[-1].snapshots[-1]
    stacks = {row[0]: FRAMES[row[2] - 1].function for batch in batches for row in batch.stacks.tolist()}
    owners: Counter[str] = Counter()
    for event in births:
        owners[stacks[event[5]]] += event[3]
    assert {each.name: each.size_bytes for each in view.owners} == owners
    assert [each.size_bytes for each in view.owners] == sorted(owners.values(), reverse=True)
    assert statistics.view(3).owners == view.owners[:3]


def test_statistics_of_a_sample_are_sums_of_weights_and_say_so() -> None:
    made = make_run(Shape(events=3000))
    statistics = LiveStatistics(made.run, made.frames)
    sizes: list[int] = []
    for number, batch in enumerate(made.batches):
        batch.events = batch.events[batch.events["size_bytes"] > 0]
        batch.samplings = [] if number else [SamplingRow(1000, 0)]
        statistics.take(batch)
        sizes += batch.events["size_bytes"][batch.events["kind"] == 0].tolist()
    view = statistics.view(100)
    weights = [1 / (1 - math.exp(-size / 1000)) for size in sizes]
    assert view.objects == pytest.approx(sum(weights), abs=1)
    assert view.allocated_bytes == pytest.approx(sum(map(operator.mul, sizes, weights)), abs=1)
    assert sum(owner.size_bytes for owner in view.owners) == pytest.approx(view.allocated_bytes, abs=len(view.owners))
    assert ": about " in line(view)
    assert "/s), sampled every 1,000 bytes" in line(view)
    screen = Console(file=io.StringIO(), width=160, height=60, record=True)
    screen.print(LiveScreen(lambda: statistics))
    shown = screen.export_text()
    assert "about allocated" in shown
    assert "sampled every 1,000 bytes" in shown


def test_calls_of_the_host_are_counted_by_export() -> None:
    statistics = LiveStatistics(RUN, ())
    assert statistics.view(0).calls is None
    number = 0
    for second in range(1, 6):
        events = np.zeros(10, EVENT)
        events["size_bytes"] = 50
        calls = []
        for export, took_ns in (("handle", 2_000_000), ("handle", 4_000_000), ("malloc", 0)):
            number += 1
            ended_ns = second * 1_000_000_000
            span = (ended_ns - took_ns, ended_ns, 1, 0)
            calls.append(CallRow(number, export, 1, *span, None, None, export == "handle", 0, 0))
            calls.append(CallRow(number, "inner", 2, *span, None, None, True, 0, 0))
        calls.append(CallRow(1, "_start", 1, 0, 10, 1, 0, None, None, True, 0, 0))
        statistics.take(Batch(second * 1_000_000_000, events, calls=calls))
    view = statistics.view(0)
    assert view.calls is not None
    assert (view.calls.count, view.calls.failed, view.calls.mean_ns) == (15, 5, 2_000_000)
    assert view.calls.exports == (("handle", 10), ("malloc", 5))
    assert (view.calls.per_s, view.calls.allocated_bytes) == (3.0, round(5 * 500 / 15))
    said = "15, 5 failed, 3/s, 2 ms and 167 B each (handle 10, malloc 5)"
    assert f"calls: {said}" in line(view)
    screen = Console(file=io.StringIO(), width=160, height=40, record=True)
    screen.print(LiveScreen(lambda: statistics))
    assert f"calls        {said}" in screen.export_text()


def test_live_records_a_sample(tmp_path: Path) -> None:
    (tmp_path / "a.go").write_text("package main\n" + "func f(a,b int)int{ return a+b }\n" * 200)
    words = ["live", "--sample", "1K", "-o", str(tmp_path / "a.tinyheap"), str(guests_modules.path("gofmt-0.4.9"))]
    result = CliRunner().invoke(cli.main, [*words, "--", str(tmp_path / "a.go")])
    assert result.exit_code == 0, result.stderr
    with Recording.open(tmp_path / "a.tinyheap") as recording:
        assert recording.run.sample_bytes == 1024
        assert recordings_sound.problems(recording) == []


def test_what_the_runtime_allocates_is_its_callers() -> None:
    names = ("main.main", "runtime.growslice", "runtime.alloc2", "runtime.start")
    frames = [FrameRow(number, number, name, 0, None) for number, name in enumerate(names, start=1)]
    statistics = LiveStatistics(RUN, frames)
    stacks = np.array([(1, 0, 1, 1), (2, 1, 2, 2), (3, 2, 3, 3), (4, 0, 4, 1)], STACK)
    events = np.zeros(4, EVENT)
    events["stack_id"], events["size_bytes"] = [3, 4, 0, 1], [100, 20, 3, 1000]
    statistics.take(Batch(10, events, stacks=stacks))
    found = [(each.name, each.objects, each.size_bytes) for each in statistics.view(9).owners]
    assert found == [("main.main", 2, 1100), ("runtime.start", 1, 20), ("[no stack]", 1, 3)]


def test_the_rate_is_that_of_the_last_seconds() -> None:
    statistics = LiveStatistics(RUN, ())
    for second in range(1, 8):
        events = np.zeros(1, EVENT)
        events["size_bytes"] = 500 if second < 4 else 7000
        statistics.take(Batch(second * 1_000_000_000, events))
    view = statistics.view(0)
    assert view.rate_bytes == 7000
    assert view.rates_bytes == (500, 500, 500, 7000, 7000, 7000, 7000)


# ---- the screen -------------------------------------------------------------------------------------------------------


def drawn(statistics: LiveStatistics | None, columns: int, lines: int, encoding: str = "utf-8") -> list[str]:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=file, width=columns, height=lines, force_terminal=True, color_system=None)
    console.print(LiveScreen(lambda: statistics))
    file.seek(0)
    return file.read().splitlines()


def filled(run: RunRow | None = None) -> LiveStatistics:
    made = make_run(Shape(events=3000))
    statistics = LiveStatistics(run or made.run, made.frames)
    for batch in made.batches:
        statistics.take(batch)
    return statistics


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (200, 60), (60, 30), (40, 24)])
def test_the_screen_fits_its_terminal(columns: int, lines: int) -> None:
    shown = drawn(filled(), columns, lines)
    assert max(map(len, shown)) <= columns
    assert len(shown) <= lines
    text = "\n".join(shown)
    for word in ("made.wasm", "running", "heap", "collections", "allocated", "function", "in all"):
        assert word in text


def test_a_larger_terminal_shows_more() -> None:
    assert len(drawn(filled(), 100, 60)) > len(drawn(filled(), 100, 24)) + 10


def test_a_terminal_of_ascii_gets_ascii() -> None:
    assert "\n".join(drawn(filled(), 80, 24, "ascii")).isascii()


def test_the_bar_is_live_used_and_free() -> None:
    statistics = filled()
    view = statistics.view(0)
    assert view.sample is not None
    bar = re.search(
        "(█*)(▒*)(·*)", next(text for text in drawn(statistics, 120, 30) if text.startswith("heap"))[5:].strip()
    )
    assert bar is not None
    live, since, free = (len(each) / 40 for each in bar.groups())
    assert live == pytest.approx(view.recent[-1].live_bytes / view.sample.heap_bytes, abs=1 / 40)
    assert live + since == pytest.approx(view.sample.used_bytes / view.sample.heap_bytes, abs=1 / 40)
    assert live + since + free == 1


def test_before_the_first_batch_and_where_the_heap_is_not_ours() -> None:
    assert "the program is being prepared" in drawn(None, 80, 24)[0]
    assert "served by tinyheap's kernel" in "\n".join(drawn(LiveStatistics(RUN, ()), 120, 24))
    statistics = LiveStatistics(replace(RUN, source="injected"), ())
    shown = "\n".join(drawn(statistics, 120, 24))
    assert "served by its own allocator" in shown
    assert "heap  " not in shown
    assert line(statistics.view(0)).endswith("0 objects, 0 B allocated (0 B/s)")


def test_names_do_not_command_the_terminal() -> None:
    statistics = filled(replace(RUN, module="\x1b[2Jevil.wasm", arguments=("[bold]\x07",)))
    shown = "\n".join(drawn(statistics, 120, 24))
    assert "\x1b[2J" not in shown
    assert "\\x1b[2Jevil.wasm" in shown
    assert "[bold]\\x07" in shown


def test_an_ended_run_says_how_it_ended() -> None:
    statistics = filled()
    statistics.end("failed", 2_500_000_000)
    assert "made.wasm  failed, 2.5 s" in drawn(statistics, 100, 24)[0]


# ---- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.go"
    path.write_text(SOURCE)
    return path


def test_without_a_terminal_lines_are_printed(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_command, "LINE_EVERY_S", 0)
    module = guests_modules.path("gofmt-0.4.9")
    shown = CliRunner().invoke(cli.main, ["live", str(module), "-o", str(tmp_path / "kept"), "--", str(source)])
    assert shown.exit_code == 0
    assert shown.stdout == FORMATTED
    first = shown.stderr.splitlines()[0]
    assert re.fullmatch(
        r"\d+\.\d s: [\d,]+ objects?, \S+ \w+ allocated \(.*/s\); .* used of .*; \d+ collections?.*", first
    )
    with Recording.open(tmp_path / "kept") as recording:
        assert recording.run.state == "finished"
        assert recordings_sound.problems(recording) == []
        assert f": {len(recording.frame('events')):,} objects" in shown.stderr


def test_a_recording_that_is_there_is_not_replaced(source: Path) -> None:
    module = guests_modules.path("gofmt-0.4.9")
    kept = source.with_name("kept")
    kept.write_text("somebody's work")
    for options, words in (([], "is there already; choose"), (["--force"], "is not a recording")):
        shown = CliRunner().invoke(cli.main, ["live", str(module), *options, "-o", str(kept), "--", str(source)])
        assert shown.exit_code == 121
        assert words in shown.stderr
    assert kept.read_text() == "somebody's work"


def test_it_leads_on_to_what_is_still_alive(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = guests_modules.path("gofmt-0.4.9")
    live = ["live", str(module)]
    shown = CliRunner().invoke(cli.main, [*live, "--snapshot", "the end.core", "--", str(source)]).stderr.splitlines()
    question, command = shown[-1].removesuffix("`").split(": `")
    assert question == "what is still alive, and why"
    answer = CliRunner().invoke(cli.main, shlex.split(command)[1:])
    assert "garbage, freed by the next collection" in answer.stdout, answer.output
    said = CliRunner().invoke(cli.main, [*live, "--", str(source)]).stderr
    assert f"`--snapshot FILE`, then `tinyheap inspect FILE --module {module}`" in said
    assert "inspect" not in CliRunner().invoke(cli.main, [*live, "-q", "--", str(source)]).stderr


def on_terminal(arguments: list[str | Path], stdout: Path | None = None) -> tuple[int, str]:
    """The exit code of `tinyheap live` on a terminal of 30 lines, and all that the terminal was sent."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "tinyheap",
        "live",
        guests_modules.path("gofmt-0.4.9"),
        *arguments,
    ]
    with open(stdout or os.devnull, "wb") as file:  # noqa: PTH123 - the name may be that of no file
        out = its if stdout is None else file
        with subprocess.Popen(command, stdin=its, stdout=out, stderr=its, env={**os.environ, "TERM": "xterm"}) as run:
            os.close(its)
            sent = b""
            while True:
                try:
                    read = os.read(ours, 65536)
                except OSError:  # the terminal is gone with the command
                    break
                sent += read
    os.close(ours)
    return run.returncode, sent.decode().replace("\r\n", "\n")


@pytest.mark.slow
def test_on_a_terminal_the_output_comes_behind_the_screen(source: Path) -> None:
    exit_code, sent = on_terminal(["--", source])
    assert exit_code == 0
    screen, shown_again, rest = sent.rpartition("\x1b[?25h")
    assert shown_again, "the cursor is shown again"
    assert "gofmt.wasm" in screen
    assert "finished" in screen.rpartition("\x1b[2K")[2] or "finished" in screen
    assert FORMATTED not in screen
    assert FORMATTED in rest
    assert "allocations" in rest.partition(FORMATTED)[2], "the summary comes last"


def test_output_that_goes_elsewhere_goes_there(source: Path, tmp_path: Path) -> None:
    exit_code, sent = on_terminal(["--", source], stdout=tmp_path / "out")
    assert exit_code == 0
    assert (tmp_path / "out").read_text() == FORMATTED
    assert FORMATTED not in sent


def test_a_program_that_fails_says_so_behind_the_screen(tmp_path: Path) -> None:
    (tmp_path / "wrong.go").write_text("package (")
    exit_code, sent = on_terminal(["--", tmp_path / "wrong.go"])
    assert exit_code == 1
    assert "wrong.go: 1:9: expected" in sent.rpartition("\x1b[?25h")[2]
