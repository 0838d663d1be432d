"""What the HTML page shows of a recording, as two containers: a summary that is there at once, and the objects.

The numbers are those of `tinyheap.profile`; here they are only put into the columns and facts of `contents`.

A recording may come from anywhere, so what a column of the page cannot hold is cut off: addresses and sizes at 32 bits,
names at `LONGEST_NAME`, objects at `MOST_OBJECTS`.  What is left out, the page says in a note.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tinyheap.json_of import json_of
from tinyheap.profile.calls import CallTrend, HostCalls, host_calls
from tinyheap.profile.census import take_census
from tinyheap.profile.flame import weights
from tinyheap.profile.histograms import Histogram, lifetime_histogram, size_histogram
from tinyheap.profile.leaks import LeakSuspects, leak_suspects
from tinyheap.profile.lines import LineUsage, by_line
from tinyheap.profile.memory import linear_memory
from tinyheap.profile.pausing import pauses
from tinyheap.profile.result import Unknown, row, rows
from tinyheap.profile.result import columns as columns_of
from tinyheap.profile.sites import Usage, by_function, by_site
from tinyheap.profile.stacks import NO_FRAME, StackTree
from tinyheap.profile.summary import totals, wall_ns
from tinyheap.profile.timeline import time_line
from tinyheap.recordings.schema import EventKind
from tinyheap.report.html import contents
from tinyheap.report.html.packing import Columns
from tinyheap.report.sources import Sources
from tinyheap.report.verdicts import TURNOVERS, verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from tinyheap.recordings.recording import Recording

MOST_OBJECTS: Final = 3_000_000
"""So many a browser shows without pain; of more, those that lived longest are taken."""
MOST_POINTS: Final = 4000
"""Of the time line: more than a screen has columns."""
MOST_SERIES: Final = 200
"""Numbers in the series of a leak suspect."""
MOST_LINES: Final = 2000
"""That allocate, of source files that are shown."""
AROUND: Final = 4
"""Lines shown before and behind one that allocates."""
LONGEST_NAME: Final = 400

_U32: Final = 2**32 - 1


class NameTable:
    """Names, each with its number from 0.

    Args:
        first: Those that are there from the beginning.
    """

    def __init__(self, *first: str) -> None:
        self._numbers = {name: number for number, name in enumerate(first)}

    def number(self, name: str) -> int:
        """The number of a name; a new one gets the next."""
        return self._numbers.setdefault(name, len(self._numbers))

    def list(self) -> list[str]:
        """All names in the order of their numbers, none longer than `LONGEST_NAME`."""
        return [shortened(name) for name in self._numbers]


def shortened(text: str) -> str:
    """A text, without its end where it is longer than `LONGEST_NAME`."""
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 1]}…"


@dataclass(frozen=True, slots=True)
class PageData:
    """The two containers of a page, not yet packed."""

    summary: contents.Summary
    summary_columns: Columns
    objects: contents.ObjectsHead
    object_columns: Columns


def page_data(
    recording: Recording, progress: Callable[[], None] = lambda: None, sources: Sources | None = None
) -> PageData:
    """All that the page shows of a recording.

    Args:
        recording: The recording.
        progress: Called after each of the three parts: numbers, tables, objects.
        sources: Source files to be shown; None for none.
    """
    take_census(recording)
    names, files = NameTable(), NameTable("")
    stacks = _Stacks(recording, names, files)
    columns: Columns = {**stacks.columns, **_weight_columns(recording, stacks), **_history_columns(recording, stacks)}
    progress()
    functions, sites = by_function(recording).usages, by_site(recording).usages
    columns |= _usage_columns("function", (usage.function for usage in functions), functions, names)
    columns |= _usage_columns("site", (usage.site.function for usage in sites), sites, names)
    columns["site.code_offset"] = _numbers(usage.site.code_offset for usage in sites)
    columns |= _place_columns("site", [(usage.site.file, usage.site.line) for usage in sites], files)
    lines = [usage for usage in by_line(recording) if usage.own_objects]
    columns |= _place_columns("line", [(usage.file, usage.line) for usage in lines], files)
    columns |= {f"line.{name}": _numbers(getattr(usage, name) for usage in lines) for name in contents.USAGES}
    trends, exports, calls = NameTable(), NameTable(), _repeated_calls(recording)
    columns["site.trend"] = np.array([trends.number(usage.trend.explanation) for usage in sites], np.uint32)
    columns["site.is_telling"] = np.array([usage.trend.is_telling for usage in sites], np.uint32)
    columns |= _call_columns(calls, exports)
    progress()
    objects = _Objects(recording, stacks)
    summary = _summary(recording, objects.notes, names, files, _sources(lines, sources or Sources(), files))
    summary |= {"calls": _calls(calls), "exports": exports.list(), "trends": trends.list()}
    progress()
    return PageData(summary, columns, objects.facts, objects.columns)


def _place_columns(prefix: str, places: Sequence[tuple[str | None, int | None]], files: NameTable) -> Columns:
    """Files and lines, as far as they are known."""
    return {
        f"{prefix}.file": np.array([files.number(file or "") for file, _ in places], np.uint32),
        f"{prefix}.line": np.array([max(line or 0, 0) for _, line in places], np.uint32),
    }


def _sources(lines: Sequence[LineUsage], sources: Sources, files: NameTable) -> list[contents.Source]:
    """Of each file the lines around those that allocate."""
    near: dict[str, set[int]] = {}
    for usage in lines[:MOST_LINES]:
        near.setdefault(usage.file, set()).update(range(usage.line - AROUND, usage.line + AROUND + 1))
    found: list[contents.Source] = []
    for file, numbers in near.items():
        text = sources.lines(file)
        if text is not None:
            shown = [number for number in sorted(numbers) if 0 < number <= len(text)]
            texts = [shortened(text[number - 1]) for number in shown]
            found.append({"file": files.number(file), "numbers": shown, "texts": texts})
    return found


def _summary(
    recording: Recording, notes: list[str], names: NameTable, files: NameTable, sources: list[contents.Source]
) -> contents.Summary:
    found, all_pauses = totals(recording), pauses(recording)
    percentiles = {} if isinstance(all_pauses, Unknown) else all_pauses.percentiles_ns
    if found.observed.unknown is not None:
        notes = [*notes, found.observed.unknown]
    return {
        "run": _run_facts(recording),
        "totals": {name: json_of(getattr(found, name)) for name in contents.TOTALS},
        "functions": names.list(),
        "files": files.list(),
        "sources": sources,
        "reasons": _reasons(recording),
        "percentiles": [{"percent": percent, "pause_ns": pause_ns} for percent, pause_ns in percentiles.items()],
        "sizes": _histogram(size_histogram(recording)),
        "lifetimes": _lifetimes(lifetime_histogram(recording)),
        "leaks": _leaks(leak_suspects(recording)),
        "calls": None,
        "exports": [],
        "trends": [],
        "notes": notes,
    }


def _run_facts(recording: Recording) -> contents.Run:
    run = recording.run
    return {
        "module": shortened(run.module),
        "module_sha256": shortened(run.module_sha256),
        "arguments": [shortened(argument) for argument in run.arguments[:50]],
        "runtime": shortened(run.runtime),
        "runtime_version": run.runtime_version and shortened(run.runtime_version),
        "collector": shortened(run.collector),
        "never_frees": run.never_frees,
        "source": shortened(run.source),
        "unseen_collections": None if run.observed.collections else run.observed.unseen_collections,
        "lives": run.observed.lives.value,
        "unseen_heap": None if run.observed.heap else run.observed.unseen_heap,
        "started_at": json_of(run.started_at),
        "state": shortened(run.state),
        "error": run.error and shortened(run.error),
        "exit_code": run.exit_code,
        "ends_early": run.ends_early,
        "block_bytes": max(run.block_bytes, 1),
        "heap_start_address": _map_start_address(recording),
        "begun_ns": run.observed.begun_ns,
        "duration_ns": wall_ns(recording),
        "tinyheap_version": shortened(run.tinyheap_version),
    }


def _map_start_address(recording: Recording) -> int:
    """Where the heap begins; where that is not known, the lowest block that any object lies in."""
    run = recording.run
    if run.heap_start_address:
        return run.heap_start_address
    query = f"SELECT coalesce(min(address), 0) FROM events WHERE kind = {EventKind.ALLOCATION} AND size_bytes > 0"
    (lowest,) = row(recording, query)
    return int(lowest) // max(run.block_bytes, 1) * max(run.block_bytes, 1)


def _lifetimes(histogram: Histogram | Unknown) -> contents.Histogram | contents.Unknown:
    return {"unknown": histogram.why} if isinstance(histogram, Unknown) else _histogram(histogram)


def _histogram(histogram: Histogram) -> contents.Histogram:
    return {
        "buckets": json_of(histogram.buckets),
        "beyond_objects": histogram.beyond_objects,
        "beyond_bytes": histogram.beyond_bytes,
    }


def _leaks(found: LeakSuspects | Unknown) -> contents.Leaks | contents.Unknown:
    if isinstance(found, Unknown):
        return {"unknown": found.why}
    last = found.collections - 1
    chosen = sorted({round(at * last / (MOST_SERIES - 1)) for at in range(MOST_SERIES)}) if last > 0 else []
    suspects: list[contents.Suspect] = [
        {
            "function": shortened(suspect.site.function),
            "code_offset": suspect.site.code_offset,
            "place": suspect.site.place and shortened(suspect.site.place),
            "score": suspect.score,
            "growth_bytes": suspect.growth_bytes,
            "explanation": suspect.explanation,
            "series_bytes": [suspect.series_bytes[at] for at in chosen],
        }
        for suspect in found.suspects
    ]
    return {
        "can_tell": found.can_tell,
        "step": "turnover" if found.are_turnovers else "collection",
        "caveat": TURNOVERS if found.are_turnovers else None,
        "collections": [at + 1 for at in chosen],
        "suspects": suspects,
    }


def _repeated_calls(recording: Recording) -> HostCalls | None:
    """The calls of the host; None where there are none to speak of."""
    calls = host_calls(recording)
    return None if isinstance(calls, Unknown) or not calls.is_repeated else calls


def _call_columns(calls: HostCalls | None, exports: NameTable) -> Columns:
    """What calls cost, by export and in their order, and what is lent."""
    by_export, lent = ((), ()) if calls is None else (calls.exports, calls.lent.oldest)
    columns: Columns = {
        "export.export": np.array([exports.number(each.export) for each in by_export], np.uint32),
        "lent.export": np.array([exports.number(each.export) for each in lent], np.uint32),
    }
    tables = ("export", contents.EXPORTS, by_export), ("span", contents.SPANS, () if calls is None else calls.spans)
    for table, names, found in (*tables, ("lent", contents.LENT, lent)):
        columns |= {f"{table}.{name}": _numbers(getattr(each, name) for each in found) for name in names}
    return columns


def _calls(calls: HostCalls | None) -> contents.Calls | None:
    if calls is None:
        return None
    trend = calls.trend
    known = isinstance(trend, CallTrend) and trend.can_tell
    growing = trend.growing if isinstance(trend, CallTrend) else ()
    return {
        "calls": calls.calls,
        "verdict": shortened(verdict(trend)),
        "grows": bool(growing) if known else None,
        "growing": [
            {
                "function": shortened(each.site.function),
                "place": each.site.place and shortened(each.site.place),
                "slope_bytes": each.slope_bytes,
                "live_bytes": each.live_bytes,
                "lent_bytes": each.lent_bytes,
            }
            for each in growing
        ],
        "lent_objects": calls.lent.objects,
        "lent_bytes": calls.lent.bytes,
        "is_upper_bound": calls.lent.is_upper_bound,
    }


def _reasons(recording: Recording) -> list[str]:
    query = "SELECT DISTINCT reason FROM collections WHERE ? ORDER BY reason"
    found = rows(recording, query, [recording.run.observed.collections])
    return [shortened(reason) for (reason,) in found]


class _Stacks:
    """The tree of stacks with new numbers: 0 is the empty stack, and each is above its parent's."""

    def __init__(self, recording: Recording, names: NameTable, files: NameTable) -> None:
        tree = StackTree.of(recording)
        stacks = tree.stacks.values()
        frames = [NO_FRAME, *(stack.frame for stack in stacks)]
        sites = tree.sites()
        self._ids = np.array([0, *tree.stacks], np.int64)
        self.columns: Columns = {
            "stack.parent": self.numbers(np.array([0, *(stack.parent_id for stack in stacks)], np.int64)),
            "stack.function": np.array([names.number(frame.function) for frame in frames], np.uint32),
            "stack.is_runtime": np.array([frame.is_runtime for frame in frames], np.uint32),
            "stack.is_inlined": np.array([frame.is_inlined for frame in frames], np.uint32),
            **_place_columns("stack", [(frame.file, frame.line) for frame in frames], files),
            "stack.offset": _numbers(frame.code_offset for frame in frames),
            "stack.site": np.array([names.number(sites[stack_id].function) for stack_id in self._ids], np.uint32),
        }

    def numbers(self, ids: NDArray[np.int64]) -> NDArray[np.uint32]:
        """The numbers of stacks, by the recording's ids; 0 for those that it does not have."""
        places = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        return np.where(self._ids[places] == ids, places, 0).astype(np.uint32)


def _weight_columns(recording: Recording, stacks: _Stacks) -> Columns:
    columns: Columns = {}
    for what, measures in contents.WEIGHTS.items():
        for measure in measures:
            own = weights(recording, measure)
            if isinstance(own, Unknown):
                continue
            column = np.zeros(len(stacks.columns["stack.parent"]))
            column[stacks.numbers(np.array([*own], np.int64))] = [*own.values()]
            columns[f"weight.{what}_{measure.unit}"] = column
    return columns


def _history_columns(recording: Recording, stacks: _Stacks) -> Columns:
    """The time line, collections, growths, memory and the mutator's share; nothing where they are not known."""
    points = time_line(recording, MOST_POINTS).points
    columns: Columns = {"point.time_ns": _numbers(point.time_ns for point in points)}
    for name in contents.POINTS:
        columns[f"point.{name}"] = _numbers(getattr(point, name) for point in points)
    observed, reasons = recording.run.observed, _reasons(recording)
    columns |= _table_columns(recording, "collections", contents.COLLECTIONS, "number", is_known=observed.collections)
    columns |= _table_columns(recording, "growths", contents.GROWTHS, "time_ns", is_known=observed.heap)
    query = "SELECT reason, stack_id FROM collections WHERE ? ORDER BY number"
    found = rows(recording, query, [observed.collections])
    columns["collection.reason"] = np.array([reasons.index(shortened(reason)) for reason, _ in found], np.uint32)
    columns["collection.stack"] = stacks.numbers(np.array([stack_id for _, stack_id in found], np.int64))
    memory = linear_memory(recording)
    steps = () if isinstance(memory, Unknown) else memory.steps
    columns["memory.time_ns"] = _numbers(time_ns for time_ns, _ in steps)
    columns["memory.bytes"] = _numbers(size_bytes for _, size_bytes in steps)
    all_pauses = pauses(recording)
    found_windows = () if isinstance(all_pauses, Unknown) else all_pauses.utilizations
    columns["utilization.window_ns"] = _numbers(each.window_ns for each in found_windows)
    columns["utilization.utilization"] = _numbers(each.utilization for each in found_windows)
    return columns


def _table_columns(recording: Recording, table: str, names: Sequence[str], order: str, *, is_known: bool) -> Columns:
    """Columns of a table of the recording, named as one of its rows; empty where it says nothing that is known."""
    selected = ", ".join(f"{name}::DOUBLE AS {name}" for name in names)
    query = f"SELECT {selected} FROM {table} WHERE ? ORDER BY {order}, rowid"
    found = columns_of(recording, query, [is_known])
    return {f"{table.removesuffix('s')}.{name}": _filled(found[name]) for name in names}


def _filled(column: NDArray[Any]) -> NDArray[np.float64]:
    """A column that DuckDB gave, with NaN where it has NULL."""
    return np.ma.filled(np.ma.asarray(column, np.float64), np.nan)


def _usage_columns(prefix: str, functions: Iterable[str], usages: Sequence[Usage], names: NameTable) -> Columns:
    columns: Columns = {f"{prefix}.function": np.array([names.number(function) for function in functions], np.uint32)}
    for name in contents.USAGES:
        columns[f"{prefix}.{name}"] = _numbers(getattr(usage, name) for usage in usages)
    return columns


def _numbers(values: Iterable[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], np.float64)


class _Objects:
    """The objects in the order of their births, as many as a page can hold."""

    def __init__(self, recording: Recording, stacks: _Stacks) -> None:
        (total,) = row(recording, f"SELECT count(*) FROM events WHERE kind = {EventKind.ALLOCATION} AND object_id > 0")
        too_many = total > MOST_OBJECTS
        query = _OBJECTS.format(choice=f"{_LONGEST_LIVED} LIMIT {MOST_OBJECTS}" if too_many else "")
        known = {"bound": _U32, "knows_collections": recording.run.observed.collections}
        found = columns_of(recording, query, known)
        births = np.asarray(found["time_ns"], np.int64)
        tick_ns = int(births.max(initial=0)) // _U32 + 1
        self.notes: list[str] = []
        if recording.run.sample_bytes is not None:
            self.notes.append("The heap map and the objects are those that were sampled, each counted once.")
        if total > len(births):
            self.notes.append(
                f"The heap map holds {len(births):,} of {total:,} objects, "
                f"{'those that lived longest' if too_many else 'those at addresses of 32 bits'}; "
                "all other numbers are of all objects."
            )
        self.facts: contents.ObjectsHead = {"tick_ns": tick_ns, "total": total}
        self.columns: Columns = {
            "id": np.asarray(found["id"], np.uint32),
            "address": np.asarray(found["address"], np.uint32),
            "size": np.asarray(found["size_bytes"], np.uint32),
            "stack": stacks.numbers(np.asarray(found["stack_id"], np.int64)),
            "birth": (births // tick_ns).astype(np.uint32),
            "death": np.asarray(found["death"], np.uint32),
        }


# Collections are counted from 1 in their order, as the page has them, whatever their numbers are.
_OBJECTS: Final = f"""
WITH ends AS (
    SELECT number, row_number() OVER (ORDER BY number, rowid) AS place, begun_ns + pause_ns AS end_ns
    FROM collections WHERE $knows_collections
),
lives AS (
    SELECT
        births.id AS birth_id, births.object_id, births.address, births.size_bytes, births.stack_id,
        births.time_ns, ends.place AS death, ends.end_ns
    FROM events AS births
    LEFT JOIN deaths ON deaths.object_id = births.object_id
    LEFT JOIN ends ON ends.number = deaths.collection
    WHERE births.kind = {EventKind.ALLOCATION} AND births.object_id > 0 AND births.address <= $bound
),
chosen AS (SELECT * FROM lives {{choice}})
SELECT
    least(greatest(object_id, 0), $bound)::UINTEGER AS id,
    address::UINTEGER AS address,
    least(greatest(size_bytes, 0), $bound)::UINTEGER AS size_bytes,
    stack_id,
    greatest(time_ns, 0) AS time_ns,
    coalesce(death, 0)::UINTEGER AS death
FROM chosen ORDER BY time_ns, birth_id
"""
_LONGEST_LIVED: Final = "ORDER BY end_ns IS NOT NULL, end_ns - time_ns DESC, birth_id"
