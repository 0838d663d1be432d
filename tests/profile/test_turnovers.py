"""Growth where deaths are inferred: turnovers against plain loops, and leaks told from garbage that waits."""

from __future__ import annotations

import io
import random
import runpy
from pathlib import Path

import pytest
from rich.console import Console

import guests_modules
from inferred_lives import living, made
from project_files import ROOT
from small_recordings import Birth, Rows, known, opened
from tinyheap import profile
from tinyheap.guests.program import Program
from tinyheap.hosts.grants import Grants
from tinyheap.profile.live_steps import live_steps
from tinyheap.recordings.recording import Recording
from tinyheap.recordings.row_types import CallRow
from tinyheap.report.terminal.recording_report import report
from tinyheap.report.verdicts import TURNOVERS, verdict

FLAGS = ROOT / "examples" / "host_flags.py"


def ends_of(lives: list[tuple[Birth, int | None]], events: int) -> list[int]:
    """The events that turnovers end with, by the definition."""
    ends, handed_out, needed = [], 0, None
    for event in range(1, events + 1):
        gone = sum(birth.size_bytes for birth, dead in lives if dead == event)
        handed_out += gone
        if not gone:
            continue
        live = sum(birth.size_bytes for birth in living(lives, event))
        if needed is not None and handed_out < needed:
            continue
        if needed is not None:
            ends.append(event)
        needed = handed_out + max(live, 1)
    return ends


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.share(3)
def test_what_outlives_a_turnover_is_what_a_loop_finds(seed: int) -> None:
    rows, lives = made(seed, count=400)
    ends = ends_of(lives, rows.events)
    assert len(ends) > 10
    with opened(rows) as recording:
        steps = known(live_steps(recording))
        sites = {stack: site.id for stack, site in profile.stacks.StackTree.of(recording).sites().items()}
    assert steps.are_turnovers
    assert list(steps.born_until_ns) == [0, *(rows.births[event - 1].time_ns for event in ends[:-1])]
    for at, event in enumerate(ends):
        before = ends[at - 1] if at else 0
        outlived = [birth for birth in living(lives, event) if birth.event_id <= before]
        found = {frame: values[at] for frame, values in steps.series.items() if values[at]}
        by_site: dict[int, int] = {}
        for birth in outlived:
            by_site[sites[birth.stack_id]] = by_site.get(sites[birth.stack_id], 0) + birth.size_bytes
        assert found == by_site


def service(calls: int = 900, *, leak_bytes: int = 0, every: int = 1, waits: float = 0.2, seed: int = 1) -> Rows:
    """A program that is called, makes 1,000 bytes of garbage a call, and leaks; its heap grows with what it holds.

    Its garbage is handed out again when a fifth more than the program holds waits, in any order.
    """
    rng, rows = random.Random(seed), Rows(source="injected", collector="best-fit, precise")
    garbage, kept = rows.path("handle", "main.parse"), rows.path("handle", "main.keep")
    table = rows.allocate(20_000, rows.path("handle", "main.table"))
    waiting: list[Birth] = []
    held_bytes = table.size_bytes
    for number in range(1, calls + 1):
        first, begun_ns = rows.events + 1, rows.time_ns + 1
        for _ in range(4):
            birth = rows.allocate(250, garbage)
            while 250 * len(waiting) > 2000 + waits * held_bytes:
                lost = waiting.pop(rng.randrange(len(waiting)))
                rows.inferred_deaths.append((lost.object_id, birth.event_id))
            waiting.append(birth)
        if leak_bytes and number % every == 0:
            held_bytes += rows.allocate(leak_bytes, kept).size_bytes
        rows.calls.append(
            CallRow(number, "handle", 1, begun_ns, rows.time_ns, first, rows.events, None, None, True, 0, 0)
        )
    return rows


def said(rows: Rows) -> tuple[profile.LeakSuspects, str, str]:
    """The suspects, the verdict on calls, and the whole report."""
    with opened(rows) as recording:
        suspects, calls = known(profile.leak_suspects(recording)), known(profile.host_calls(recording))
        console = Console(file=io.StringIO(), width=160, record=True)
        for each in report(recording, profile.Measure.ALLOCATED_BYTES, 5):
            console.print(each)
    return suspects, verdict(calls.trend), " ".join(console.export_text().split())


@pytest.mark.slow
def test_a_leak_is_told_from_garbage_that_waits_in_a_growing_heap() -> None:
    suspects, calls, text = said(service(leak_bytes=100))
    assert suspects.are_turnovers
    assert [each.site.function for each in suspects.suspects] == ["main.keep"]
    assert suspects.enough_at is None
    assert calls.startswith("grows: 100 B a call since call ")
    assert ", all of it allocated in main.keep; collections were not seen" in calls
    assert TURNOVERS in text
    assert " turnovers before the last, " in text


@pytest.mark.slow
def test_what_is_only_garbage_is_flat() -> None:
    suspects, calls, text = said(service(calls=700))
    assert (suspects.can_tell, suspects.suspects) == (True, ())
    assert calls.startswith("flat: 1000 B of garbage a call, what outlives a turnover ")
    assert "none: nothing grows steadily by a tenth of what lives from turnover to turnover" in text


def test_few_turnovers_are_too_few_to_tell() -> None:
    suspects, calls, text = said(service(calls=100, leak_bytes=100))
    assert not suspects.can_tell
    assert " turnovers are too few to tell, it takes 10" in text
    assert " of them in which the heap was turned over; it takes 10" in calls
    assert "--gc-every" not in text + calls


def test_a_recording_that_infers_no_deaths_knows_no_growth() -> None:
    rows = service(calls=20)
    rows.infers_deaths = False
    with opened(rows) as recording:
        suspects, calls = profile.leak_suspects(recording), known(profile.host_calls(recording))
    assert str(suspects) == "unknown: this module keeps its own allocator, whose collections cannot be seen"
    assert verdict(calls.trend) == f"whether it grows is {suspects}"


@pytest.mark.parametrize("frees", [True, False], ids=["frees", "forgets"])
@pytest.mark.slow
def test_a_real_host_that_forgets_is_told_from_one_that_frees(tmp_path: Path, frees: bool) -> None:
    evaluated = runpy.run_path(str(FLAGS))["evaluated"]
    path, module = tmp_path / "native.tinyheap", guests_modules.path("gofeatureflag-1.1.0")
    with Program.open(module, Grants(seed=1), gc="native", recording=str(path)) as program:
        program.start()
        call = program.call

        def forgetful(export: str, *arguments: int) -> object:
            return None if export == "free" and not frees else call(export, *arguments)

        class Host:
            """The program, as its host calls it."""

            def __init__(self) -> None:
                self.call, self.memory = forgetful, program.memory

        for number in range(1500):
            evaluated(Host(), f"user{number}@example.org")
    with Recording.open(path) as recording:
        suspects, calls = known(profile.leak_suspects(recording)), known(profile.host_calls(recording))
    assert suspects.can_tell
    assert [each.site.function for each in suspects.suspects] == ([] if frees else ["malloc"])
    expected = "flat: " if frees else "grows: "
    assert verdict(calls.trend).startswith(expected)
    assert ("lent to the host and never freed by it (no call of free" in verdict(calls.trend)) != frees
