"""Every analysis gives what a plain loop over the rows gives, on recordings that Hypothesis makes up."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from statistics import fmean, median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import needs
from small_recordings import Birth, Rows, known, opened, recordings
from tinyheap import profile
from tinyheap.profile import FlameGraph, Measure
from tinyheap.profile.leaks import later_of, trend
from tinyheap.profile.pausing import utilizations, windows_ns

EXAMPLES = settings(max_examples=10 if needs.IN_CI else 4)
"""Each asks a database some dozens of questions."""


def functions(rows: Rows, stack_id: int) -> list[str]:
    """The functions of a stack, outermost first."""
    return [rows.frames[frame - 1].function for frame in frame_ids(rows, stack_id)]


def frame_ids(rows: Rows, stack_id: int) -> list[int]:
    path: list[int] = []
    while stack_id:
        _, stack_id, frame_id, _ = rows.stacks[stack_id - 1]
        path.insert(0, frame_id)
    return path


def site(rows: Rows, stack_id: int) -> int:
    """The frame of a stack's site."""
    path = frame_ids(rows, stack_id)
    outside = [frame for frame in path if rows.frames[frame - 1].function != "runtime.append"]
    return (outside or path or [0])[-1]


def survived(rows: Rows, birth: Birth) -> int | None:
    """How many collections an object lived through before the one that freed it."""
    if birth.death is None:
        return None
    return sum(each.last_event_id >= birth.event_id and each.number < birth.death for each in rows.collections)


def lifetime_ns(rows: Rows, birth: Birth) -> int | None:
    if birth.death is None:
        return None
    freed_by = rows.collections[birth.death - 1]
    return freed_by.begun_ns + freed_by.pause_ns - birth.time_ns


def lower_median(values: Iterable[int | None]) -> int | None:
    known = sorted(value for value in values if value is not None)
    return known[(len(known) - 1) // 2] if known else None


def living_before(rows: Rows, collection: int) -> list[Birth]:
    """The objects that lived when that collection began; after the last one, those that lived at the end."""
    if collection > len(rows.collections):
        return rows.alive()
    last_event_id = rows.collections[collection - 1].last_event_id
    return [b for b in rows.births if b.event_id <= last_event_id and (b.death is None or b.death >= collection)]


def peak_moment(rows: Rows) -> int:
    """The collection before which the living objects had the most bytes."""
    moments = range(1, len(rows.collections) + 2)
    return max(moments, key=lambda number: (sum(b.size_bytes for b in living_before(rows, number)), -number))


SELECTIONS: dict[str, Callable[[Rows], list[Birth]]] = {
    "allocated": lambda rows: rows.births,
    "live-at-peak": lambda rows: living_before(rows, peak_moment(rows)),
    "live-at-end": lambda rows: rows.alive(),
    "dead-young": lambda rows: [birth for birth in rows.births if survived(rows, birth) == 0],
}


@EXAMPLES
@given(recordings())
def test_totals(rows: Rows) -> None:
    with opened(rows) as recording:
        totals = profile.totals(recording)
    alive = rows.alive()
    at_peak = living_before(rows, peak_moment(rows))
    assert (totals.allocations, totals.allocated_bytes) == (len(rows.births), sum(b.size_bytes for b in rows.births))
    assert (totals.live_objects, totals.live_bytes) == (len(alive), sum(b.size_bytes for b in alive))
    assert (totals.freed_objects, totals.freed_bytes) == (
        len(rows.births) - len(alive),
        sum(b.size_bytes for b in rows.births if b.death),
    )
    fullest = known(totals.peak)
    assert fullest.collection == peak_moment(rows)
    assert (fullest.objects, fullest.bytes) == (len(at_peak), sum(b.size_bytes for b in at_peak))
    assert totals.collections == len(rows.collections)
    assert totals.collector_ns == sum(each.pause_ns for each in rows.collections)
    assert totals.reallocations == sum(kind == 1 for _, _, kind in rows.others)
    assert totals.frees == sum(kind == 2 for _, _, kind in rows.others)
    assert totals.wall_ns == rows.time_ns
    assert totals.used_bytes == (rows.samples[-1].used_bytes if rows.samples else None)


@pytest.mark.parametrize("measure", Measure)
@EXAMPLES
@given(rows=recordings())
@pytest.mark.share(2)
def test_a_flame_graph_is_the_sum_over_paths(measure: Measure, rows: Rows) -> None:
    with opened(rows) as recording:
        graph = known(profile.flame_graph(recording, measure))
    own: Counter[tuple[str, ...]] = Counter()
    for birth in SELECTIONS[measure.value.rsplit("-", 1)[0]](rows):
        own[tuple(functions(rows, birth.stack_id))] += birth.size_bytes if measure.is_bytes else 1
    expected = {path: weight for path, weight in own.items() if weight}
    assert dict(graph.stacks()) == expected
    assert graph.root.total == sum(expected.values())
    assert_sound(graph)


def assert_sound(graph: FlameGraph) -> None:
    """Every node's total is its own and its children's, who have weight, each name once, the heaviest first."""
    for _, node in graph.root.walk():
        assert node.total == node.own + sum(child.total for child in node.children)
        assert [child.total for child in node.children] == sorted((c.total for c in node.children), reverse=True)
        assert all(child.total for child in node.children)
        assert len({child.name for child in node.children}) == len(node.children)


def assert_usage(rows: Rows, usage: profile.Usage, own: list[Birth], within: list[Birth]) -> None:
    alive = [birth for birth in own if birth.death is None]
    ages = [age for age in (survived(rows, birth) for birth in own) if age is not None]
    assert (usage.own_objects, usage.own_bytes) == (len(own), sum(b.size_bytes for b in own))
    assert (usage.total_objects, usage.total_bytes) == (len(within), sum(b.size_bytes for b in within))
    assert (usage.live_objects, usage.live_bytes) == (len(alive), sum(b.size_bytes for b in alive))
    assert usage.mean_size_bytes == (fmean(b.size_bytes for b in own) if own else None)
    assert usage.median_size_bytes == lower_median(b.size_bytes for b in own)
    assert usage.dead_young_objects == ages.count(0)
    assert usage.median_lifetime_ns == lower_median(lifetime_ns(rows, birth) for birth in own)
    assert usage.mean_survived == (pytest.approx(fmean(ages)) if ages else None)


@EXAMPLES
@given(recordings())
def test_usage_by_function(rows: Rows) -> None:
    with opened(rows) as recording:
        table = profile.by_function(recording)
    paths = {birth.object_id: functions(rows, birth.stack_id) or [profile.NO_STACK] for birth in rows.births}
    assert {usage.function for usage in table} == {name for path in paths.values() for name in path}
    for usage in table:
        own = [birth for birth in rows.births if paths[birth.object_id][-1] == usage.function]
        assert_usage(rows, usage, own, [birth for birth in rows.births if usage.function in paths[birth.object_id]])
    assert [usage.own_bytes for usage in table] == sorted((usage.own_bytes for usage in table), reverse=True)


@EXAMPLES
@given(recordings())
def test_usage_by_site(rows: Rows) -> None:
    with opened(rows) as recording:
        table = profile.by_site(recording)
    assert {usage.site.id for usage in table} == {site(rows, birth.stack_id) for birth in rows.births}
    for usage in table:
        own = [birth for birth in rows.births if site(rows, birth.stack_id) == usage.site.id]
        within = [birth for birth in rows.births if usage.site.id in (frame_ids(rows, birth.stack_id) or [0])]
        assert_usage(rows, usage, own, within)


@EXAMPLES
@given(recordings())
def test_the_time_line_knows_what_lived_at_each_point(rows: Rows) -> None:
    with opened(rows) as recording:
        line = profile.time_line(recording, points=1000)
    assert [point.time_ns for point in line.points] == sorted(point.time_ns for point in line.points)
    for point in line.points:
        over = {each.number for each in rows.collections if each.begun_ns + each.pause_ns <= point.time_ns}
        living = [b for b in rows.births if b.event_id <= point.event_id and b.death not in over]
        assert (point.live_objects, point.live_bytes) == (len(living), sum(b.size_bytes for b in living))
    sampled = [(point.time_ns, point.used_bytes) for point in line.points if point.used_bytes is not None]
    assert set(sampled) <= {(each.time_ns, each.used_bytes) for each in rows.samples}
    if rows.samples:
        assert max(used for _, used in sampled) == max(each.used_bytes for each in rows.samples)
    assert [each.begun_ns for each in known(line.collections)] == [each.begun_ns for each in rows.collections]


@EXAMPLES
@given(recordings(), st.data())
def test_the_heap_at_any_event(rows: Rows, data: st.DataObject) -> None:
    event_id = data.draw(st.integers(0, rows.events))
    with opened(rows) as recording:
        moment = known(profile.heap_at(recording, event_id=event_id))
    over = {each.number for each in rows.collections if each.last_event_id < event_id}
    expected = [birth for birth in rows.births if birth.event_id <= event_id and birth.death not in over]
    assert moment.object_ids.tolist() == [birth.object_id for birth in expected]
    assert moment.addresses.tolist() == [birth.address for birth in expected]
    assert moment.sizes_bytes.tolist() == [birth.size_bytes for birth in expected]
    assert moment.births_ns.tolist() == [birth.time_ns for birth in expected]
    assert moment.site_frame_ids.tolist() == [site(rows, birth.stack_id) for birth in expected]


@EXAMPLES
@given(recordings(), st.data())
def test_the_heap_at_any_time_and_each_of_its_objects(rows: Rows, data: st.DataObject) -> None:
    turns = [0, *(b.time_ns for b in rows.births), *(each.begun_ns + each.pause_ns for each in rows.collections)]
    time_ns = max(data.draw(st.sampled_from(turns)) + data.draw(st.integers(-1, 1)), 0)
    over = {each.number for each in rows.collections if each.begun_ns + each.pause_ns <= time_ns}
    expected = {b.object_id: b for b in rows.births if b.time_ns <= time_ns and b.death not in over}
    address = data.draw(st.sampled_from([0, *(b.address + offset for b in rows.births for offset in (0, 15, 16, 255))]))
    holders = [b for b in expected.values() if b.address <= address < b.address + max(-(-b.size_bytes // 16), 1) * 16]
    with opened(rows) as recording:
        assert known(profile.heap_at(recording, time_ns=time_ns)).object_ids.tolist() == list(expected)
        found = profile.object_at(recording, address, time_ns=time_ns)
    assert not isinstance(found, profile.Unknown)
    assert (found.object_id if found else None) == (holders[-1].object_id if holders else None)
    if found:
        assert [frame.id for frame in found.stack] == frame_ids(rows, holders[-1].stack_id)
        assert found.death_collection == holders[-1].death


@EXAMPLES
@given(recordings())
def test_histograms(rows: Rows) -> None:
    with opened(rows) as recording:
        sizes = profile.size_histogram(recording)
        lifetimes = known(profile.lifetime_histogram(recording))
        ages = known(profile.survival_histogram(recording))
        layouts = profile.by_layout(recording)
    assert_histogram(sizes, rows.births, lambda birth: birth.size_bytes)
    assert_histogram(lifetimes, rows.births, lambda birth: lifetime_ns(rows, birth))
    assert_histogram(ages, rows.births, lambda birth: survived(rows, birth))
    assert {usage.layout for usage in layouts} == {birth.layout for birth in rows.births}
    for usage in layouts:
        births = [birth for birth in rows.births if birth.layout == usage.layout]
        assert_histogram(usage.sizes, births, lambda birth: birth.size_bytes)
        assert_histogram(known(usage.lifetimes), births, lambda birth: lifetime_ns(rows, birth))
        assert (usage.objects, usage.bytes) == (len(births), sum(b.size_bytes for b in births))
        assert usage.live_objects == sum(birth.death is None for birth in births)


def assert_histogram(
    histogram: profile.Histogram, births: list[Birth], value_of: Callable[[Birth], int | None]
) -> None:
    known = [(value, birth) for birth in births if (value := value_of(birth)) is not None]
    assert histogram.objects == len(known)
    for bucket in histogram.buckets:
        inside = [birth for value, birth in known if bucket.low <= value < bucket.high]
        assert (bucket.objects, bucket.bytes) == (len(inside), sum(birth.size_bytes for birth in inside))
    for before, after in zip(histogram.buckets, histogram.buckets[1:], strict=False):
        assert before.high == after.low
    assert histogram.beyond_objects == len(births) - len(known)


@EXAMPLES
@given(recordings())
def test_live_series_of_sites(rows: Rows) -> None:
    """The series behind leak suspects, and that whoever is suspected grows steadily."""
    with opened(rows) as recording:
        found = known(profile.leak_suspects(recording))
    for suspect in found.suspects:
        own = [birth for birth in rows.births if site(rows, birth.stack_id) == suspect.site.id]
        series = [
            sum(
                birth.size_bytes
                for birth in own
                if birth.event_id <= each.last_event_id and (birth.death is None or birth.death > each.number)
            )
            for each in rows.collections
        ]
        assert list(suspect.series_bytes) == series
        assert series[-1] > series[-suspect.later]
        assert 0 < suspect.score <= 1
    assert found.needed_collections >= 10
    assert found.can_tell == (len(rows.collections) >= found.needed_collections)


@EXAMPLES
@given(st.lists(st.integers(0, 1000), min_size=2, max_size=12))
def test_trend(series: list[int]) -> None:
    pairs = [(a, b) for b in range(len(series)) for a in range(b)]
    signs = [(series[b] > series[a]) - (series[b] < series[a]) for a, b in pairs]
    tau, slope = trend(series)
    assert tau == pytest.approx(fmean(signs))
    assert slope == pytest.approx(median((series[b] - series[a]) / (b - a) for a, b in pairs))
    assert later_of(len(series)) <= len(series)


PAUSES = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30)), max_size=8)


@EXAMPLES
@given(PAUSES, st.integers(0, 60))
def test_utilization_is_that_of_the_worst_window(gaps: list[tuple[int, int]], rest: int) -> None:
    """Against every window that begins at a whole unit: with whole units, the worst one does."""
    unit_ns = 100_000
    intervals, now = [], 0
    for gap, pause in gaps:
        intervals.append((now + gap, now + gap + pause))
        now += gap + pause
    run = now + rest
    paused = [any(start <= tick < end for start, end in intervals) for tick in range(run)]
    scaled = [(start * unit_ns, end * unit_ns) for start, end in intervals]
    for found in utilizations(scaled, run * unit_ns):
        window = found.window_ns // unit_ns
        worst = max(sum(paused[first : first + window]) for first in range(run - window + 1))
        assert found.utilization == pytest.approx(1 - worst / window)


@pytest.mark.parametrize(
    ("run_ns", "expected_ms"),
    [(0, []), (500_000, [0.5]), (1_000_000, [1]), (7_000_000, [1, 2, 5, 7]), (20_000_000, [1, 2, 5, 10, 20])],
)
def test_windows_reach_up_to_the_run(run_ns: int, expected_ms: list[float]) -> None:
    assert [window / 1e6 for window in windows_ns(run_ns)] == expected_ms


@EXAMPLES
@given(st.lists(st.integers(0, 50), min_size=1, max_size=30))
def test_percentiles_are_nearest_ranks(pauses_ns: list[int]) -> None:
    rows = Rows()
    for pause_ns in pauses_ns:
        rows.collect(pause_ns=pause_ns)
    with opened(rows) as recording:
        found = known(profile.pauses(recording))
    assert (found.count, found.total_ns, found.longest_ns) == (len(pauses_ns), sum(pauses_ns), max(pauses_ns))
    assert found.mark_ns + found.sweep_ns == found.total_ns
    for percent, pause_ns in found.percentiles_ns.items():
        # The smallest one that so many percent do not exceed.
        assert sum(each <= pause_ns for each in pauses_ns) * 100 >= percent * len(pauses_ns)
        assert sum(each < pause_ns for each in pauses_ns) * 100 < percent * len(pauses_ns)


@EXAMPLES
@given(recordings(), recordings())
@pytest.mark.slow
def test_a_comparison_holds_all_that_differs(first: Rows, second: Rows) -> None:
    with opened(first) as before, opened(second) as after:
        found = profile.compare(before, after)
        same = profile.compare(before, before)
    changes = {each.name: each.change for each in found.totals}
    assert changes["allocations"] == len(second.births) - len(first.births)
    assert changes["peak_bytes"] == known(found.after.peak).bytes - known(found.before.peak).bytes
    for rows, side in ((first, 0), (second, 1)):
        own: defaultdict[str, int] = defaultdict(int)
        for birth in rows.births:
            own[(functions(rows, birth.stack_id) or [profile.NO_STACK])[-1]] += birth.size_bytes
        assert {
            each.function: each.own_bytes[side] for each in found.functions if each.own_bytes[side]
        }.items() <= own.items()
    assert sum(each.own_change_bytes for each in found.functions) == changes["allocated_bytes"]
    assert sum(each.own_change_bytes for each in found.sites) == changes["allocated_bytes"]
    assert not same.functions
    assert not same.sites
    assert not any(each.change for each in same.totals)
