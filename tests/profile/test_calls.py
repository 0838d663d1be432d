"""Calls of the host: their costs are those of plain loops over the rows, and growth is told from garbage."""

from __future__ import annotations

import io
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

import needs
import project_files
from small_recordings import Birth, Rows, known, opened, recordings, requests
from tinyheap.errors import RecordingCorruptError
from tinyheap.profile import CallTrend, HostCalls, StackFrame, Unknown, host_calls
from tinyheap.profile.calls import MOST_SPANS, STARTS, allocated_per_call
from tinyheap.profile.stacks import StackTree
from tinyheap.recordings.recording import Recording
from tinyheap.recordings.row_types import CallRow
from tinyheap.report.exports.report_json import report_json
from tinyheap.report.html.data import page_data
from tinyheap.report.terminal.results import renderable_of

EXPORTS = ("handle", "malloc", "free", "dealloc", "_start")
PAGE_BYTES = 65_536


def made(rows: Rows, call: CallRow) -> list[Birth]:
    return [
        each for each in rows.births if call.first_event_id <= each.event_id <= call.last_event_id and each.object_id
    ]


@st.composite
def called(draw: st.DrawFn) -> Rows:
    """Recordings whose events lie in calls, between them, and in calls within calls."""
    rows = draw(recordings())
    at, call_number = 0, 0
    while at < rows.events and call_number < 30:
        first = at + draw(st.integers(1, 3))
        last = min(first - 1 + draw(st.integers(0, 6)), rows.events)
        if last < first - 1:
            break
        export = draw(st.sampled_from(EXPORTS))
        for depth in range(1, draw(st.integers(1, 2)) + 1):
            call_number += 1
            times = time_of(rows, first), max(time_of(rows, last), time_of(rows, first))
            inside = [each.object_id for each in rows.births if first <= each.event_id <= last and each.object_id]
            before = [each.object_id for each in rows.births if each.event_id < first and each.object_id]
            rows.calls.append(
                CallRow(
                    call_number,
                    export,
                    depth,
                    *times,
                    first,
                    last,
                    PAGE_BYTES,
                    PAGE_BYTES * draw(st.integers(1, 2)),
                    draw(st.booleans()),
                    draw(st.sampled_from([0, *before])),
                    draw(st.sampled_from([0, *inside])),
                )
            )
        at = last
    return rows


def time_of(rows: Rows, event_id: int) -> int:
    times = {each.event_id: each.time_ns for each in rows.births} | {number: at for number, at, _ in rows.others}
    return times.get(event_id, rows.time_ns if event_id > rows.events else 0)


@settings(max_examples=12 if needs.IN_CI else 4)
@given(called())
def test_costs_are_those_of_a_plain_loop(rows: Rows) -> None:
    with opened(rows) as recording:
        found = known(host_calls(recording))
    own = [each for each in rows.calls if each.depth == 1 and each.export not in STARTS]
    assert found.calls == len(own)
    assert sum(each.calls for each in found.spans) == len(own)
    assert len(found.spans) == min(len(own), MOST_SPANS)
    assert [each.allocated_bytes for each in found.spans] == [
        sum(birth.size_bytes for birth in made(rows, each)) for each in own
    ], "fewer calls than spans have a span each"
    assert {each.export for each in found.exports} == {each.export for each in rows.calls} - {*STARTS}
    for usage in found.exports:
        calls = [each for each in rows.calls if each.export == usage.export]
        sizes = [sum(birth.size_bytes for birth in made(rows, each)) for each in calls]
        assert (usage.calls, usage.failed) == (len(calls), sum(not each.returned for each in calls))
        assert usage.allocated_objects == sum(len(made(rows, each)) for each in calls)
        assert (usage.allocated_bytes, usage.most_allocated_bytes) == (sum(sizes), max(sizes))
        assert usage.duration_ns == sum(each.ended_ns - each.begun_ns for each in calls)
        growths = [(each.new_memory_bytes or 0) - (each.old_memory_bytes or 0) for each in calls]
        assert usage.memory_growth_bytes == sum(growths)
        pairs = [(c, k) for c in calls for k in rows.collections if c.begun_ns <= k.begun_ns <= c.ended_ns]
        assert usage.collections == len(pairs)
    assert_lent(rows, found)


def assert_lent(rows: Rows, found: HostCalls) -> None:
    given_back = {each.argument_object_id for each in rows.calls if "free" in each.export or "dealloc" in each.export}
    lent = {each.result_object_id for each in rows.calls if each.export == "malloc"} - given_back - {0}
    births = [each for each in rows.births if each.object_id in lent and each.death is None]
    assert {each.object_id for each in found.lent.oldest} <= {each.object_id for each in births}
    assert len({each.object_id for each in found.lent.oldest}) == min(20, len(births))


def said(rows: Rows) -> tuple[HostCalls, str]:
    with opened(rows) as recording:
        found = known(host_calls(recording))
    console = Console(file=io.StringIO(), width=200, record=True)
    console.print(renderable_of(found))
    return found, console.export_text()


def test_a_heap_with_garbage_only_is_flat() -> None:
    found, text = said(requests())
    assert "flat: 100 B of garbage a call, live size constant since call 2\n" in text
    assert not isinstance(found.trend, Unknown)
    assert (found.trend.can_tell, found.trend.growing, found.trend.collections) == (True, (), 30)


def test_a_leak_is_said_with_its_rate_and_its_beginning() -> None:
    _, text = said(requests(leak_from=21))
    assert "grows: 128 B a call since call 20, all of it allocated in main.alloc\n" in text


def test_what_is_lent_and_never_given_back_is_said_to_be() -> None:
    found, text = said(requests(leak_from=1, is_lent=True))
    assert (
        "all of it allocated in main.alloc, lent to the host and never freed by it (no call of free or dealloc)" in text
    )
    assert (found.lent.objects, found.lent.bytes) == (60, 60 * 128)
    oldest = found.lent.oldest[0]
    assert (oldest.export, oldest.size_bytes, oldest.call, oldest.age_calls) == ("main.alloc", 128, 1, 59)


def test_what_is_given_back_is_not_lent() -> None:
    rows = requests(leak_from=1, is_lent=True)
    at = rows.events + 1
    rows.calls.append(CallRow(61, "dealloc", 1, rows.time_ns, rows.time_ns, at, at - 1, None, None, True, 2 + 1, 0))
    found, text = said(rows)
    assert found.lent.objects == 59
    assert "1 calls of free or dealloc" in text


def test_calls_that_warm_up_are_left_out() -> None:
    """A table that is filled by the first calls grows until it is full, which a leak does not end with."""
    rows = requests(calls=80, leak_from=1)
    filled = [each for each in rows.calls if each.number > 50]
    for birth in [each for call in filled for each in made(rows, call) if each.size_bytes == 128]:
        birth.size_bytes = 0
    with opened(rows) as recording:
        whole, behind = known(host_calls(recording)).trend, known(host_calls(recording, after=50)).trend
        few = known(host_calls(recording, after=62)).trend
    assert isinstance(whole, CallTrend)
    assert isinstance(behind, CallTrend)
    assert isinstance(few, CallTrend)
    assert (behind.collections, behind.can_tell, behind.growing) == (15, True, ())
    assert behind.least_live_bytes == behind.most_live_bytes == 4000 + 50 * 128
    assert (few.collections, few.can_tell, few.enough_at) == (9, False, None)


@settings(max_examples=12 if needs.IN_CI else 4)
@given(called(), st.integers(0, 4))
def test_what_a_call_allocates_by_site_is_what_a_plain_loop_finds(rows: Rows, after: int) -> None:
    with opened(rows) as recording:
        found = known(allocated_per_call(recording, after=after))
        sites = StackTree.of(recording).sites()
    own = [each for each in rows.calls if each.depth == 1 and each.export not in STARTS][after:]
    expected: dict[StackFrame, int] = {}
    for birth in (each for call in own for each in made(rows, call)):
        expected[sites[birth.stack_id]] = expected.get(sites[birth.stack_id], 0) + birth.size_bytes
    assert {site: round(each * len(own)) for site, each in found.items()} == expected


def test_few_calls_are_too_few_to_tell() -> None:
    found, text = said(requests(calls=18, leak_from=1))
    assert "too few to tell whether it grows: 18 calls, 9 of them followed by a collection; it takes 10\n" in text
    assert not isinstance(found.trend, Unknown)
    assert found.trend.garbage_bytes is None
    _, text = said(requests(calls=60, collect_every=20))
    assert "`tinyheap profile --gc-every 3` makes enough" in text


def test_a_start_is_no_call() -> None:
    rows = Rows()
    rows.allocate(64)
    rows.calls.append(CallRow(1, "_start", 1, 0, 10, 1, 1, None, None, True, 0, 0))
    with opened(rows) as recording:
        found = known(host_calls(recording))
    assert (found.calls, found.exports, found.spans, found.is_repeated) == (0, (), (), False)


def test_growth_of_a_heap_that_never_frees_is_unknown() -> None:
    rows = requests()
    rows.collector = "leaking"
    found, text = said(rows)
    assert isinstance(found.trend, Unknown)
    assert "unknown: this heap never frees" in text


def test_the_mean_is_that_of_the_calls_that_were_judged() -> None:
    rows = requests()
    for birth in rows.births[1:20]:
        birth.size_bytes = 5000
    found, _ = said(rows)
    assert not isinstance(found.trend, Unknown)
    assert found.trend.garbage_bytes == fmean([100.0])


@pytest.mark.parametrize(
    "fault",
    [
        "UPDATE calls SET ended_ns = begun_ns - 1",
        "UPDATE calls SET last_event_id = 1000000",
        "UPDATE calls SET first_event_id = -5",
        "UPDATE calls SET depth = 0",
        "UPDATE calls SET number = 1",
        "UPDATE calls SET old_memory_bytes = 5, new_memory_bytes = 4",
    ],
    ids=["time", "events", "first", "depth", "number", "memory"],
)
def test_calls_that_cannot_be_are_refused(fault: str) -> None:
    with opened(requests()) as recording:
        recording.connection.execute(fault)
        with pytest.raises(RecordingCorruptError, match="is damaged: a call"):
            host_calls(recording)


def test_of_a_recording_made_before_calls_were_noted_nothing_is_claimed() -> None:
    with Recording.open(project_files.ROOT / "examples" / "gofmt.tinyheap") as recording:
        assert not recording.run.knows_calls
        assert recording.frame("calls").fetch() == []
        assert isinstance(host_calls(recording), Unknown)
        assert report_json(recording)["calls"] is None


def test_the_page_has_the_verdict_and_what_calls_cost() -> None:
    with opened(requests(leak_from=1, is_lent=True)) as recording:
        page, found = page_data(recording), known(host_calls(recording))
    calls = page.summary["calls"]
    assert calls is not None
    assert calls["verdict"].startswith("grows: 128 B a call since call 2, all of it allocated in main.alloc, lent to")
    assert (calls["grows"], calls["lent_objects"], page.summary["exports"]) == (True, 60, ["main.alloc"])
    assert [each["lent_bytes"] for each in calls["growing"]] == [60 * 128]
    columns = page.summary_columns
    assert columns["span.allocated_bytes"].tolist() == [each.allocated_bytes for each in found.spans]
    assert columns["export.most_allocated_bytes"].tolist() == [228]
    assert columns["lent.age_calls"].tolist() == [each.age_calls for each in found.lent.oldest]


def test_the_page_of_a_program_that_runs_once_has_no_calls() -> None:
    rows = Rows()
    rows.allocate(64)
    rows.calls.append(CallRow(1, "_start", 1, 0, 10, 1, 1, None, None, True, 0, 0))
    with opened(rows) as recording:
        page = page_data(recording)
    assert page.summary["calls"] is None
    assert not len(page.summary_columns["export.calls"])
