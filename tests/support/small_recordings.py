"""Small recordings in memory, made of rows that a test gives or Hypothesis makes up."""

from __future__ import annotations

import atexit
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import duckdb
from hypothesis import strategies as st

from tinyheap.profile.census import CENSUS, COUNTED, SITES
from tinyheap.profile.result import Unknown
from tinyheap.recordings.recording import Recording, RunInfo
from tinyheap.recordings.row_types import (
    CallRow,
    CollectionRow,
    FrameRow,
    GrowthRow,
    MemoryGrowthRow,
    MemoryRow,
    SampleRow,
)
from tinyheap.recordings.schema import DDL, SCHEMA_VERSION, TABLES

FUNCTIONS = ("_start", "main.main", "main.load", "main.parse", "runtime.append", "runtime.run$1")
BLOCK_BYTES = 16

Result = TypeVar("Result")


@dataclass
class Birth:
    """An object's life, as a test sees it."""

    event_id: int
    time_ns: int
    object_id: int
    address: int
    size_bytes: int
    layout: int
    stack_id: int
    death: int | None = None
    """The collection that freed it."""


@dataclass
class Rows:
    """The rows of a recording; a test makes them by hand or by `step`."""

    frames: list[FrameRow] = field(default_factory=list)
    stacks: list[tuple[int, int, int, int]] = field(default_factory=list)
    births: list[Birth] = field(default_factory=list)
    others: list[tuple[int, int, int]] = field(default_factory=list)
    """Events that allocate nothing: id, time, kind."""
    collections: list[CollectionRow] = field(default_factory=list)
    samples: list[SampleRow] = field(default_factory=list)
    growths: list[GrowthRow] = field(default_factory=list)
    calls: list[CallRow] = field(default_factory=list)
    inferred_deaths: list[tuple[int, int]] = field(default_factory=list)
    """Objects, and the events by which they were dead."""
    memories: list[MemoryRow] = field(default_factory=list)
    memory_growths: list[MemoryGrowthRow] = field(default_factory=list)
    infers_deaths: bool = True
    """Whether there is a table of them."""
    sample_bytes: int | None = None
    state: str = "finished"
    source: str = "kernel"
    collector: str = "conservative"
    time_ns: int = 0
    events: int = 0

    def frame(self, function: str, callee: str | None = "runtime.alloc") -> int:
        number = len(self.frames) + 1
        self.frames.append(FrameRow(number, number, function, 16 * number, callee))
        return number

    def stack(self, parent_id: int, frame_id: int) -> int:
        depth = self.stacks[parent_id - 1][3] + 1 if parent_id else 1
        self.stacks.append((len(self.stacks) + 1, parent_id, frame_id, depth))
        return len(self.stacks)

    def path(self, *functions: str) -> int:
        """A stack of these functions, each with a frame of its own."""
        stack = 0
        for function in functions:
            stack = self.stack(stack, self.frame(function))
        return stack

    def allocate(self, size_bytes: int, stack_id: int = 0, layout: int = 0, after_ns: int = 10) -> Birth:
        self.time_ns += after_ns
        self.events += 1
        number = len(self.births) + 1
        birth = Birth(self.events, self.time_ns, number, 0x10000 + 256 * number, size_bytes, layout, stack_id)
        self.births.append(birth)
        return birth

    def other(self, kind: int, after_ns: int = 10) -> None:
        self.time_ns += after_ns
        self.events += 1
        self.others.append((self.events, self.time_ns, kind))

    def collect(self, *dead: Birth, pause_ns: int = 5, after_ns: int = 10) -> None:
        self.time_ns += after_ns
        number = len(self.collections) + 1
        for birth in dead:
            assert birth.death is None
            birth.death = number
        values = {"roots_bytes": 1, "words_scanned": 1, "overflows": 0, "rescans": 0}
        blocks = {"freed_objects": len(dead), "freed_bytes": 0, "live_objects": 0, "live_bytes": 0}
        mark_ns = pause_ns // 2
        self.collections.append(
            CollectionRow(
                number,
                "exhausted",
                self.time_ns,
                pause_ns,
                mark_ns,
                pause_ns - mark_ns,
                self.events,
                16,
                0,
                **values,
                **blocks,
            )
        )
        self.time_ns += pause_ns

    def sample(self, used_bytes: int, heap_bytes: int = 65536, largest_free_run_bytes: int | None = None) -> None:
        free_bytes = heap_bytes - used_bytes
        largest_bytes = free_bytes if largest_free_run_bytes is None else largest_free_run_bytes
        self.samples.append(
            SampleRow(self.time_ns, self.events, heap_bytes, used_bytes, free_bytes, 1, largest_bytes, 0, 0, 0, 0)
        )

    def alive(self) -> list[Birth]:
        return [birth for birth in self.births if birth.death is None]


def requests(calls: int = 60, *, leak_from: int | None = None, is_lent: bool = False, collect_every: int = 2) -> Rows:
    """A server: 100 bytes of garbage a call, a table of 4,000, and from some call on 128 bytes that stay."""
    rows = Rows()
    garbage, kept = rows.path("handle", "main.parse"), rows.path("handle", "main.alloc")
    rows.allocate(4000, rows.path("_start", "main.main"))
    dead: list[Birth] = []
    for number in range(1, calls + 1):
        first, begun_ns = rows.events + 1, rows.time_ns + 1
        dead.append(rows.allocate(100, garbage))
        stays = leak_from is not None and number >= leak_from
        made_id = rows.allocate(128, kept).object_id if stays else 0
        result = made_id if is_lent else 0
        export = "main.alloc" if is_lent else "handle"
        rows.calls.append(
            CallRow(number, export, 1, begun_ns, rows.time_ns, first, rows.events, None, None, True, 0, result)
        )
        if number % collect_every == 0:
            rows.collect(*dead)
            dead = []
    return rows


_IDLE: list[duckdb.DuckDBPyConnection] = []
"""Databases that no test uses now: making one takes longer than what most tests do with it."""


@atexit.register
def close_idle() -> None:
    for connection in _IDLE:
        connection.close()
    _IDLE.clear()


@contextmanager
def opened(rows: Rows) -> Iterator[Recording]:
    """A recording that holds these rows."""
    connection = _IDLE.pop() if _IDLE else new_database()
    for table in [*(each.name for each in TABLES), CENSUS, SITES, COUNTED]:
        connection.execute(
            f"DROP TABLE IF EXISTS temp.{table}" if table.startswith("tinyheap") else f"TRUNCATE {table}"
        )
    events = [
        (b.event_id, b.time_ns, 0, b.object_id, b.address, b.size_bytes, b.layout, b.stack_id) for b in rows.births
    ]
    events += [(event_id, time_ns, kind, 0, 0, 0, 0, 0) for event_id, time_ns, kind in rows.others]
    insert(connection, "events", sorted(events))
    insert(connection, "deaths", [(birth.object_id, birth.death) for birth in rows.births if birth.death is not None])
    insert(connection, "inferred_deaths", rows.inferred_deaths)
    insert(connection, "stacks", rows.stacks)
    for table in ("frames", "collections", "samples", "growths", "calls", "memories", "memory_growths"):
        insert(connection, table, [tuple(vars_of(row)) for row in getattr(rows, table)])
    insert(connection, "sampling", [] if rows.sample_bytes is None else [(rows.sample_bytes, 0)])
    insert(connection, "batches", [(1, rows.time_ns, rows.events)])
    yield Recording(Path("small.tinyheap"), connection, run_info(rows))
    _IDLE.append(connection)


def new_database() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:")
    connection.execute("SET threads = 1")
    connection.execute(DDL)
    return connection


def vars_of(row: object) -> list[object]:
    return [getattr(row, name) for name in row.__dataclass_fields__]  # type: ignore[attr-defined]


def insert(connection: duckdb.DuckDBPyConnection, table: str, values: Sequence[tuple[object, ...]]) -> None:
    if values:
        marks = ", ".join("?" * len(values[0]))
        rows = ", ".join([f"({marks})"] * len(values))
        connection.execute(f"INSERT INTO {table} VALUES {rows}", [each for row in values for each in row])


def run_info(rows: Rows) -> RunInfo:
    return RunInfo(
        schema_version=SCHEMA_VERSION,
        tinyheap_version="0",
        module="small.wasm",
        module_sha256="",
        arguments=("small.wasm", "-v"),
        runtime="TinyGo",
        runtime_version="0.31.2",
        collector=rows.collector,
        source=rows.source,
        options={},
        started_at=datetime(2026, 1, 2, 3, 4, 5),
        block_bytes=BLOCK_BYTES,
        heap_start_address=0x10000,
        state=rows.state,
        error=None,
        exit_code=0,
        ended_ns=None if rows.state == "running" else rows.time_ns,
        batches=1,
        events=rows.events,
        last_ns=rows.time_ns,
        sample_bytes=rows.sample_bytes,
        infers_deaths=rows.infers_deaths,
    )


def known(result: Result | Unknown | None) -> Result:
    """A result or a statistic that the recording of a test has."""
    assert result is not None
    assert not isinstance(result, Unknown)
    return result


@st.composite
def recordings(draw: st.DrawFn) -> Rows:
    """Recordings of some stacks, events and collections, in any order that can be; also of nothing at all."""
    rows = Rows(state=draw(st.sampled_from(["finished", "running"])))
    if draw(st.integers(0, 9)):
        # Two calls in each function, so that functions and sites are not the same.
        for function in FUNCTIONS * 2:
            rows.frame(function)
        for _ in range(draw(st.integers(1, 10))):
            rows.stack(draw(st.integers(0, len(rows.stacks))), draw(st.integers(1, len(rows.frames))))
    for step in draw(st.lists(st.sampled_from(["allocate"] * 6 + ["collect", "other", "sample"]), max_size=40)):
        after_ns = draw(st.sampled_from([0, 1, 10, 1000]))
        if step == "allocate":
            size_bytes = draw(st.sampled_from([0, 1, 7, 8, 16, 255, 256, 4096]))
            rows.allocate(size_bytes, draw(st.integers(0, len(rows.stacks))), draw(st.sampled_from([0, 9])), after_ns)
        elif step == "collect":
            dead = [birth for birth in rows.alive() if draw(st.booleans())]
            # A collection takes time, so that what it frees was there before it.
            rows.collect(*dead, pause_ns=draw(st.integers(1, 2000)), after_ns=max(after_ns, 1))
        elif step == "other":
            rows.other(draw(st.sampled_from([1, 2])), after_ns)
        else:
            rows.sample(draw(st.integers(0, 65536)))
    return rows
