"""The tables of a recording: what each column means, and in which unit.

This is the one place that says so.  SQL (`DDL`) and NumPy's records (`batch`) follow from it when the program runs; the
classes of rows (`row_types`), the tables of docs/recordings.md and the page's columns (web/src/schema.ts) are written
from it by `make generated`.

A recording is one DuckDB file, which any DuckDB client opens.  Of `run` only the end is ever
updated; all other tables grow by whole batches, so that a file whose writer was killed holds a sound beginning of the run.
Where only the last part of a run is kept, its beginning is cut away by whole batches, too (`tinyheap.recordings.last`).

Terms.  An *object* is what one allocation made; objects are numbered from 1 in the order of their allocations.  A
*stack* is a path of *frames* from the outermost call in; stacks form a tree, in which each is its parent and one frame
more, and stack 0 is empty.  A *frame* is one call: an instruction of the program, or a call that the compiler inlined,
where debug information tells of it.  All times are nanoseconds since the
program's first instruction (what lies between two calls of its host counts), all sizes bytes, all addresses the guest's
own.

Where ``source`` is ``injected``, only allocations were recorded, and deaths are inferred from them; where it is ``unseen``,
not even those.  That other tables are empty says nothing of the run (`tinyheap.recordings.observed`).
"""

from __future__ import annotations

from collections.abc import Collection
from enum import IntEnum
from typing import Final

from tinyheap.recordings.refusals import Refusal
from tinyheap.recordings.tables import (
    BIGINT,
    BLOB,
    BOOLEAN,
    DOUBLE,
    INTEGER,
    JSON,
    TIMESTAMP,
    UBIGINT,
    UTINYINT,
    VARCHAR,
    VARCHARS,
    Column,
    Field,
    Table,
    View,
)

SCHEMA_VERSION: Final = 2
"""Goes up when a table or a column changes its meaning or goes away; not for what is added."""

RUNNING: Final = "running"
"""State of a run whose end was not written: it goes on, or its writer was killed or the disk was full."""

FINISHED: Final = "finished"
"""State of a run that ended by itself, whatever its exit code."""

FAILED: Final = "failed"
"""State of a run that was ended by a trap, a limit, an error or an interrupt."""


class EventKind(IntEnum):
    """What an event is."""

    ALLOCATION = 0
    """It made an object, unless it was of no bytes."""
    REALLOCATION = 1
    """Asked for, by a call; what it allocates is an event of its own."""
    FREE = 2
    """Asked for, by a call."""
    REUSE = 3
    """In a sample: an allocation that was not chosen, and was given bytes of a chosen object."""


_RUN_WRITER: Final = (
    Column("schema_version", INTEGER),
    Column("tinyheap_version", VARCHAR),
)
RUN_BEGINNING: Final = (
    Column("module", VARCHAR, "the program's file, as it was named"),
    Column("module_sha256", VARCHAR),
    Column("arguments", VARCHARS),
    Column("runtime", VARCHAR, "e.g. TinyGo"),
    Column("runtime_version", VARCHAR, is_nullable=True),
    Column(
        "collector",
        VARCHAR,
        "its kind, e.g. conservative, precise, and which other one serves it; leaking never frees",
    ),
    Column(
        "source",
        VARCHAR,
        "who managed the heap: tinyheap's kernel or model; injected, unseen, logged: the program itself",
    ),
    Column("options", JSON, "a JSON object: how the heap was run"),
    Column("started_at", TIMESTAMP, "UTC"),
    Column("block_bytes", INTEGER),
    Column("heap_start_address", UBIGINT, "0 where the heap is not known"),
)
"""What is known of a run when it begins."""
RUN_END: Final = (
    Column("state", VARCHAR, f"{RUNNING}, {FINISHED}, {FAILED}"),
    Column("error", VARCHAR, "why it failed", is_nullable=True),
    Column("exit_code", INTEGER, is_nullable=True),
    Column("ended_ns", BIGINT, "when its last call returned", is_nullable=True),
)
"""How a run ended; the only columns that are ever updated."""

RUN: Final = Table(
    "run",
    "one row: what ran, and how it ended",
    (*_RUN_WRITER, *RUN_BEGINNING, *RUN_END),
)
BATCHES: Final = Table(
    "batches",
    "what was written so far",
    (
        Column("number", INTEGER, "from 1"),
        Column("time_ns", BIGINT, "until when it has everything"),
        Column("events", BIGINT, "how many it brought"),
    ),
)
FRAMES: Final = Table(
    "frames",
    "calls: instructions, and calls that the compiler inlined",
    (
        Column("id", INTEGER, "from 1"),
        Column("function_index", INTEGER, "in the program's own module: the function whose code it is in"),
        Column("function", VARCHAR, "the function that calls; function[INDEX] where it has no name"),
        Column("code_offset", BIGINT, "of the call in the program's own file; -1 where unknown, or it was inlined"),
        Column("callee", VARCHAR, "the function called; NULL for an indirect call", is_nullable=True),
        Column("file", VARCHAR, "the source file of the call; NULL where unknown", is_nullable=True, default="None"),
        Column("line", INTEGER, "its line there, from 1; NULL where unknown", is_nullable=True, default="None"),
        Column("inlined", BOOLEAN, "whether the function that calls was inlined into its caller", default="False"),
    ),
)
STACKS: Final = Table(
    "stacks",
    "a tree; 0, the empty stack, has no row",
    (
        Column("id", INTEGER, "from 1; always above its parent's", field=Field(0, "<u4")),
        Column("parent_id", INTEGER, "the stack without the innermost frame", field=Field(4, "<u4")),
        Column("frame_id", INTEGER, "the innermost frame", field=Field(8, "<u4")),
        Column("depth", INTEGER, "frames in all", field=Field(12, "<u4")),
    ),
)
EVENTS: Final = Table(
    "events",
    "in the order of time",
    (
        Column("id", BIGINT, "from 1"),
        Column("time_ns", BIGINT, field=Field(0, "<i8")),
        Column(
            "kind",
            UTINYINT,
            "{} allocation, {} reallocation asked for, {} free asked for, {} in a sample: reuse, an allocation that was not"
            " chosen, and was given bytes of an object that was".format(*EventKind),
            field=Field(32, "<u8"),
        ),
        Column(
            "object_id",
            BIGINT,
            "made ({}), or named by the call ({}, {}); 0 for none, as of no bytes".format(*list(EventKind)[:3]),
            field=Field(8, "<i8"),
        ),
        Column("address", UBIGINT, "as the program sees it", field=Field(16, "<u4")),
        Column("size_bytes", BIGINT, "asked for; 0 for a free", field=Field(20, "<u4")),
        Column("layout", UBIGINT, "the layout word; 0 where there is none", field=Field(24, "<u4")),
        Column("stack_id", INTEGER, field=Field(28, "<u4")),
    ),
)
DEATHS: Final = Table(
    "deaths",
    "objects that a collection freed",
    (
        Column("object_id", BIGINT, field=Field(0, "<i8")),
        Column("collection", INTEGER, field=Field(8, "<i8")),
    ),
)
INFERRED_DEATHS: Final = Table(
    "inferred_deaths",
    "objects that were dead by an event, where the program's own allocator frees them unseen",
    (
        Column("object_id", BIGINT, field=Field(0, "<i8")),
        Column(
            "event_id",
            BIGINT,
            "the allocation that was given bytes of the object, or the free that was asked for it",
            field=Field(8, "<i8"),
        ),
    ),
    is_added=True,
)
COLLECTIONS: Final = Table(
    "collections",
    "each collection",
    (
        Column("number", INTEGER, "from 1"),
        Column("reason", VARCHAR, "exhausted (an allocation found the heap full) or requested"),
        Column("begun_ns", BIGINT),
        Column("pause_ns", BIGINT, "mark and sweep and what lies between"),
        Column("mark_ns", BIGINT),
        Column("sweep_ns", BIGINT),
        Column("last_event_id", BIGINT, "the last event before it"),
        Column(
            "wanted_bytes",
            BIGINT,
            "size of the allocation that found the heap full; NULL for a requested collection",
            is_nullable=True,
        ),
        Column("stack_id", INTEGER, "the calls that led to it"),
        Column("roots_bytes", BIGINT, "stack and globals scanned"),
        Column("words_scanned", BIGINT, "of objects"),
        Column("overflows", BIGINT, "how often the bounded mark stack overflowed"),
        Column("rescans", BIGINT, "scans of the whole heap, because the mark stack had overflowed"),
        Column("freed_objects", BIGINT),
        Column("freed_bytes", BIGINT, "whole blocks"),
        Column("live_objects", BIGINT),
        Column("live_bytes", BIGINT, "whole blocks"),
    ),
)
SAMPLES: Final = Table(
    "samples",
    "the heap as a whole, now and then and around each collection and growth",
    (
        Column("time_ns", BIGINT),
        Column("last_event_id", BIGINT),
        Column("heap_bytes", BIGINT, "block table included"),
        Column("used_bytes", BIGINT, "whole blocks"),
        Column("free_bytes", BIGINT),
        Column("free_runs", BIGINT),
        Column("largest_free_run_bytes", BIGINT),
        Column("objects", BIGINT),
        Column("total_alloc_bytes", BIGINT, "the program's own counter, MemStats.TotalAlloc"),
        Column("mallocs", BIGINT, "MemStats.Mallocs"),
        Column("frees", BIGINT, "MemStats.Frees"),
    ),
)
GROWTHS: Final = Table(
    "growths",
    "each growth of the heap",
    (
        Column("time_ns", BIGINT),
        Column("last_event_id", BIGINT),
        Column("old_bytes", BIGINT, "of the heap, block table included"),
        Column("new_bytes", BIGINT),
        Column("wanted_bytes", BIGINT, "size of the allocation that needed it"),
    ),
)
SNAPSHOTS: Final = Table(
    "snapshots",
    "block maps",
    (
        Column("time_ns", BIGINT),
        Column("last_event_id", BIGINT),
        Column("collection", INTEGER, "after which it was taken; 0 for one at the run's end"),
        Column("blocks", BIGINT),
        Column("states", BLOB, "zlib: two bits a block, lowest first; 0 free, 1 head, 2 tail, 3 mark"),
    ),
)

CALLS: Final = Table(
    "calls",
    "calls of the host into the program, each once it is over",
    (
        Column("number", INTEGER, "from 1, in the order in which they began"),
        Column("export", VARCHAR, "the exported function"),
        Column("depth", INTEGER, "1; more where the program had called its host, which called it"),
        Column("begun_ns", BIGINT),
        Column("ended_ns", BIGINT),
        Column("first_event_id", BIGINT, "the first event within; above the next where there is none"),
        Column("last_event_id", BIGINT, "the last event until it ended"),
        Column("old_memory_bytes", BIGINT, "of linear memory, before; NULL where none is exported", is_nullable=True),
        Column("new_memory_bytes", BIGINT, "after", is_nullable=True),
        Column("returned", BOOLEAN, "whether it came to its end; not so where it trapped, or ended the program"),
        Column("argument_object_id", BIGINT, "the object made before it that begins at its first argument; 0 for none"),
        Column("result_object_id", BIGINT, "the object made in it whose address it returned; 0 for none"),
    ),
    is_added=True,
)

CALL_ARGUMENTS: Final = Table(
    "call_arguments",
    "what those calls were given and gave, where that was asked for; else no row",
    (
        Column("call_number", INTEGER),
        Column("position", INTEGER, "of an argument, from 1; 0 for the result"),
        Column("type", VARCHAR, "i32, i64, f32, f64, or another of WebAssembly's, whose values are not kept"),
        Column("integer", BIGINT, "with its sign, of an i32 or i64; else NULL", is_nullable=True),
        Column("real", DOUBLE, "of an f32 or f64; else NULL", is_nullable=True),
    ),
    is_added=True,
)

BY_PROGRAM: Final = "program"
"""Who asked for memory: an instruction of the program's."""
BY_COLLECTOR: Final = "collector"
"""tinyheap's, which serves the program's heap."""

MEMORIES: Final = Table(
    "memories",
    "linear memory as the module declares it; no row where it has none",
    (
        Column("declared_pages", INTEGER, "of 64 KiB, at the beginning"),
        Column("maximum_pages", INTEGER, "what the module allows; NULL for no limit", is_nullable=True),
        Column("limit_bytes", BIGINT, "what the run allowed; NULL for no limit", is_nullable=True),
    ),
    is_added=True,
)
MEMORY_GROWTHS: Final = Table(
    "memory_growths",
    "each time that linear memory was to grow, whether it did or not",
    (
        Column("time_ns", BIGINT),
        Column("last_event_id", BIGINT),
        Column("asked_by", VARCHAR, f"{BY_PROGRAM}: an instruction of its own; {BY_COLLECTOR}: tinyheap's"),
        Column("old_pages", INTEGER),
        Column("asked_pages", BIGINT, "by how many it was to grow"),
        Column("new_pages", INTEGER, "after; as before where it was refused"),
        Column(
            "refused_by",
            VARCHAR,
            f"{', '.join(each.value for each in Refusal)}; NULL: it grew",
            is_nullable=True,
        ),
        Column("stack_id", INTEGER, "who asked"),
    ),
    is_added=True,
)

LARGEST_SAMPLE_BYTES: Final = 1 << 31
"""The largest mean distance of two sampled bytes."""

SAMPLING: Final = Table(
    "sampling",
    "how objects were chosen, where not all were recorded; else no row",
    (
        Column(
            "mean_bytes",
            BIGINT,
            "mean distance of sampled bytes; s bytes are chosen with probability 1 - exp(-s / mean_bytes)",
        ),
        Column("seed", UBIGINT, "what the choice follows from"),
    ),
    is_added=True,
)

KEPT: Final = Table(
    "kept",
    "which last part of a run is kept, where that was asked for; else no row",
    (
        Column("last_batches", INTEGER, "how many batches; NULL where it is a time", is_nullable=True),
        Column("last_ns", BIGINT, "how much time; NULL where it is batches", is_nullable=True),
        Column("begun_ns", BIGINT, "when the part begins; 0 as long as nothing was cut away"),
        Column("first_event_id", BIGINT, "its first event; those with a lower id are of what lived at its beginning"),
        Column("earlier_events", BIGINT, "how many these are"),
        Column("cut_objects", BIGINT, "recorded objects that were born and died before it: they are gone"),
        Column("cut_bytes", BIGINT, "of these"),
        Column("cut_collections", INTEGER, "collections before it, all of them gone"),
        Column("collection_event_id", BIGINT, "the last event before the last of these; 0 for none"),
        Column("cut_calls", BIGINT, "calls that had ended before it, and are gone"),
    ),
    is_added=True,
)

TABLES: Final = (
    RUN,
    BATCHES,
    FRAMES,
    STACKS,
    EVENTS,
    DEATHS,
    INFERRED_DEATHS,
    COLLECTIONS,
    SAMPLES,
    GROWTHS,
    SNAPSHOTS,
    CALLS,
    CALL_ARGUMENTS,
    MEMORIES,
    MEMORY_GROWTHS,
    SAMPLING,
    KEPT,
)


def lacking(names: Collection[str]) -> tuple[Table, ...]:
    """The tables that a recording with tables of these names may lack, since it was written before there were such."""
    return tuple(table for table in TABLES if table.is_added and table.name not in names)


OBJECTS: Final = View(
    "objects",
    "each object with its birth, its death, and how many it stands for",
    f"""\
SELECT
    birth.object_id AS id,
    birth.address,
    birth.size_bytes,
    birth.layout,
    birth.stack_id,
    birth.id AS birth_event_id,
    birth.time_ns AS birth_ns,
    deaths.collection AS death_collection,      -- NULL where no recorded collection freed it
    inferred.event_id AS death_event_id,        -- NULL where no recorded event shows that it was dead
    coalesce(collections.begun_ns + collections.pause_ns, inferred.time_ns) AS death_ns,   -- by then it was
    coalesce(1 / (1 - exp(-birth.size_bytes / sampling.mean_bytes)), 1) AS weight   -- 1; in a sample, how many it stands for
FROM events AS birth
LEFT JOIN deaths ON deaths.object_id = birth.object_id
LEFT JOIN collections ON collections.number = deaths.collection
LEFT JOIN (
    SELECT inferred_deaths.object_id, event_id, time_ns FROM inferred_deaths JOIN events ON events.id = event_id
) AS inferred ON inferred.object_id = birth.object_id
LEFT JOIN sampling ON true
WHERE birth.kind = {EventKind.ALLOCATION} AND birth.object_id > 0""",
)
STACK_FRAMES: Final = View(
    "stack_frames",
    "every stack with all its frames",
    """\
WITH RECURSIVE path(stack_id, rest_id) AS (
    SELECT id, id FROM stacks
    UNION ALL
    SELECT path.stack_id, stacks.parent_id FROM path JOIN stacks ON stacks.id = path.rest_id WHERE stacks.parent_id > 0
)
SELECT path.stack_id, stacks.depth AS position, frames.*     -- position 1 is the outermost frame
FROM path
JOIN stacks ON stacks.id = path.rest_id
JOIN frames ON frames.id = stacks.frame_id""",
)
VIEWS: Final = (OBJECTS, STACK_FRAMES)

DDL: Final = "".join(each.sql for each in (*TABLES, *VIEWS))
"""The statements that create all of it."""
