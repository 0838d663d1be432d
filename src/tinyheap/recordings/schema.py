"""The tables of a recording: what each column means, and in which unit.

A recording is one DuckDB file, which any DuckDB client opens.  Only `run` is ever updated, and only its end; all other
tables grow by whole batches, so that a file whose writer was killed holds a sound beginning of the run.

Terms.  An *object* is what one allocation made; objects are numbered from 1 in the order of their allocations.  A
*stack* is a path of *frames* from the outermost call in; stacks form a tree, in which each is its parent and one frame
more, and stack 0 is empty.  A *frame* is one call instruction of the program.  All times are nanoseconds since the
program's first instruction (what lies between two calls of its host counts), all sizes bytes, all addresses the guest's
own.

Where ``source`` is ``injected``, only allocations were recorded: that the other tables are empty says nothing of the run
(`tinyheap.recordings.observed`).
"""

from __future__ import annotations

from typing import Final

SCHEMA_VERSION: Final = 1
"""Goes up when a table or a column changes its meaning or goes away; not for what is added."""

RUNNING: Final = "running"
"""State of a run whose end nobody has written: it goes on, or its writer was killed or had no room."""

FINISHED: Final = "finished"
"""State of a run that ended by itself, whatever its exit code."""

FAILED: Final = "failed"
"""State of a run that was ended: by a trap, by a limit, by somebody."""

TABLES: Final = """
CREATE TABLE run (                              -- one row: what ran, and how it ended
    schema_version INTEGER NOT NULL,
    tinyheap_version VARCHAR NOT NULL,
    module VARCHAR NOT NULL,                    -- the program's file, as it was named
    module_sha256 VARCHAR NOT NULL,
    arguments VARCHAR[] NOT NULL,
    runtime VARCHAR NOT NULL,                   -- e.g. TinyGo
    runtime_version VARCHAR,
    collector VARCHAR NOT NULL,                 -- conservative, precise, leaking
    source VARCHAR NOT NULL,                    -- kernel or model: ours served the heap; injected: the program's own did
    options VARCHAR NOT NULL,                   -- a JSON object: how the heap was run
    started_at TIMESTAMP NOT NULL,              -- UTC
    block_bytes INTEGER NOT NULL,
    heap_start_address UBIGINT NOT NULL,        -- 0 where the heap is not known
    state VARCHAR NOT NULL,                     -- running, finished, failed
    error VARCHAR,                              -- why it failed
    exit_code INTEGER,
    ended_ns BIGINT                             -- when its last call returned
);
CREATE TABLE batches (                          -- what was written so far
    number INTEGER NOT NULL,                    -- from 1
    time_ns BIGINT NOT NULL,                    -- until when it has everything
    events BIGINT NOT NULL                      -- how many it brought
);
CREATE TABLE frames (                           -- call instructions
    id INTEGER NOT NULL,                        -- from 1
    function_index INTEGER NOT NULL,            -- in the program's own module
    function VARCHAR NOT NULL,                  -- its name; function[INDEX] where it has none
    code_offset BIGINT NOT NULL,                -- of the call in the program's own file; -1 where unknown
    callee VARCHAR                              -- the function called; NULL for an indirect call
);
CREATE TABLE stacks (                           -- a tree; 0, the empty stack, has no row
    id INTEGER NOT NULL,                        -- from 1; always above its parent's
    parent_id INTEGER NOT NULL,                 -- the stack without the innermost frame
    frame_id INTEGER NOT NULL,                  -- the innermost frame
    depth INTEGER NOT NULL                      -- frames in all
);
CREATE TABLE events (                           -- in the order of time
    id BIGINT NOT NULL,                         -- from 1
    time_ns BIGINT NOT NULL,
    kind UTINYINT NOT NULL,                     -- 0 allocation, 1 reallocation asked for, 2 free asked for
    object_id BIGINT NOT NULL,                  -- made (0), or named by the call (1, 2); 0 for none, as of no bytes
    address UBIGINT NOT NULL,                   -- as the program sees it
    size_bytes BIGINT NOT NULL,                 -- asked for; 0 for a free
    layout UBIGINT NOT NULL,                    -- the layout word; 0 where there is none
    stack_id INTEGER NOT NULL
);
CREATE TABLE deaths (                           -- objects that a collection freed
    object_id BIGINT NOT NULL,
    collection INTEGER NOT NULL
);
CREATE TABLE collections (
    number INTEGER NOT NULL,                    -- from 1
    reason VARCHAR NOT NULL,                    -- exhausted (no room was found) or requested
    begun_ns BIGINT NOT NULL,
    pause_ns BIGINT NOT NULL,                   -- mark and sweep and what lies between
    mark_ns BIGINT NOT NULL,
    sweep_ns BIGINT NOT NULL,
    last_event_id BIGINT NOT NULL,              -- the last event before it
    wanted_bytes BIGINT,                        -- the allocation that found no room; NULL for a requested one
    stack_id INTEGER NOT NULL,                  -- who made it happen
    roots_bytes BIGINT NOT NULL,                -- stack and globals scanned
    words_scanned BIGINT NOT NULL,              -- of objects
    overflows BIGINT NOT NULL,                  -- of the bounded mark stack
    rescans BIGINT NOT NULL,
    freed_objects BIGINT NOT NULL,
    freed_bytes BIGINT NOT NULL,                -- whole blocks
    live_objects BIGINT NOT NULL,
    live_bytes BIGINT NOT NULL                  -- whole blocks
);
CREATE TABLE samples (                          -- the heap as a whole, now and then and around each collection and growth
    time_ns BIGINT NOT NULL,
    last_event_id BIGINT NOT NULL,
    heap_bytes BIGINT NOT NULL,                 -- block table included
    used_bytes BIGINT NOT NULL,                 -- whole blocks
    free_bytes BIGINT NOT NULL,
    free_runs BIGINT NOT NULL,
    largest_free_run_bytes BIGINT NOT NULL,
    objects BIGINT NOT NULL,
    total_alloc_bytes BIGINT NOT NULL,          -- the program's own counter, MemStats.TotalAlloc
    mallocs BIGINT NOT NULL,                    -- MemStats.Mallocs
    frees BIGINT NOT NULL                       -- MemStats.Frees
);
CREATE TABLE growths (
    time_ns BIGINT NOT NULL,
    last_event_id BIGINT NOT NULL,
    old_bytes BIGINT NOT NULL,                  -- of the heap, block table included
    new_bytes BIGINT NOT NULL,
    wanted_bytes BIGINT NOT NULL                -- the allocation that it was for
);
CREATE TABLE snapshots (                        -- block maps
    time_ns BIGINT NOT NULL,
    last_event_id BIGINT NOT NULL,
    collection INTEGER NOT NULL,                -- after which it was taken; 0 for one at the run's end
    blocks BIGINT NOT NULL,
    states BLOB NOT NULL                        -- zlib: two bits a block, lowest first; 0 free, 1 head, 2 tail, 3 mark
);
"""

VIEWS: Final = """
CREATE VIEW objects AS                          -- each object with its birth and its death
SELECT
    birth.object_id AS id,
    birth.address,
    birth.size_bytes,
    birth.layout,
    birth.stack_id,
    birth.id AS birth_event_id,
    birth.time_ns AS birth_ns,
    deaths.collection AS death_collection,      -- NULL where no recorded collection freed it
    collections.begun_ns + collections.pause_ns AS death_ns
FROM events AS birth
LEFT JOIN deaths ON deaths.object_id = birth.object_id
LEFT JOIN collections ON collections.number = deaths.collection
WHERE birth.kind = 0 AND birth.object_id > 0;
CREATE VIEW stack_frames AS                     -- every stack with all its frames
WITH RECURSIVE path(stack_id, rest_id) AS (
    SELECT id, id FROM stacks
    UNION ALL
    SELECT path.stack_id, stacks.parent_id FROM path JOIN stacks ON stacks.id = path.rest_id WHERE stacks.parent_id > 0
)
SELECT path.stack_id, stacks.depth AS position, frames.*     -- position 1 is the outermost frame
FROM path
JOIN stacks ON stacks.id = path.rest_id
JOIN frames ON frames.id = stacks.frame_id;
"""
