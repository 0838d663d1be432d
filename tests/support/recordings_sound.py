"""What is wrong with a recording: its tables, held against each other.

A sound recording is a beginning of a run, however it ended: what its batches say they brought is there, and nothing
refers to what is not there.
"""

from __future__ import annotations

import zlib
from typing import Final

from tinyheap.recordings.recording import Recording

QUERIES: Final = {
    "batches are numbered from 1": "SELECT number FROM batches EXCEPT SELECT row_number() OVER () FROM batches",
    "batches brought all events": """
        SELECT 1 WHERE (SELECT coalesce(sum(events), 0) FROM batches) <> (SELECT count(*) FROM events)
    """,
    "batches end in the order of time": """
        SELECT number FROM (SELECT number, time_ns, lag(time_ns) OVER (ORDER BY number) AS earlier_ns FROM batches)
        WHERE time_ns < earlier_ns
    """,
    "no event is later than the last batch": """
        SELECT id FROM events WHERE time_ns > (SELECT max(time_ns) FROM batches)
    """,
    "events are numbered from 1": "SELECT id FROM events EXCEPT SELECT row_number() OVER () FROM events",
    "events are in the order of time": """
        SELECT id FROM (SELECT id, time_ns, lag(time_ns) OVER (ORDER BY id) AS earlier_ns FROM events)
        WHERE time_ns < earlier_ns
    """,
    "objects are numbered from 1": """
        SELECT object_id FROM events WHERE kind = 0 AND object_id > 0
        EXCEPT SELECT row_number() OVER () FROM events WHERE kind = 0 AND object_id > 0
    """,
    "what has bytes makes an object": "SELECT id FROM events WHERE kind = 0 AND (object_id > 0) <> (size_bytes > 0)",
    "calls name objects that were made": """
        SELECT later.id FROM events AS later
        LEFT JOIN events AS birth ON birth.kind = 0 AND birth.object_id = later.object_id AND birth.id <= later.id
        WHERE later.object_id > 0 AND birth.id IS NULL
    """,
    "stacks of events are there": "SELECT stack_id FROM events WHERE stack_id > 0 EXCEPT SELECT id FROM stacks",
    "stacks of collections are there": "SELECT stack_id FROM collections WHERE stack_id > 0 EXCEPT SELECT id FROM stacks",
    "stacks have one row each": "SELECT id FROM stacks GROUP BY id HAVING count(*) > 1",
    "parents of stacks are there, and lower": """
        SELECT stacks.id FROM stacks LEFT JOIN stacks AS parent ON parent.id = stacks.parent_id
        WHERE stacks.parent_id >= stacks.id OR (stacks.parent_id > 0 AND parent.id IS NULL)
        OR stacks.depth <> coalesce(parent.depth, 0) + 1
    """,
    "frames of stacks are there, once": """
        SELECT stacks.id FROM stacks LEFT JOIN frames ON frames.id = stacks.frame_id
        GROUP BY stacks.id HAVING count(frames.id) <> 1
    """,
    "every frame is mentioned": "SELECT id FROM frames EXCEPT SELECT frame_id FROM stacks",
    "an object dies once": "SELECT object_id FROM deaths GROUP BY object_id HAVING count(*) > 1",
    "who dies was born before": """
        SELECT deaths.object_id FROM deaths
        LEFT JOIN collections ON collections.number = deaths.collection
        LEFT JOIN events ON events.kind = 0 AND events.object_id = deaths.object_id
            AND events.id <= collections.last_event_id
        WHERE events.id IS NULL
    """,
    "an object is dead by one event": """
        SELECT object_id FROM inferred_deaths GROUP BY object_id HAVING count(*) > 1
    """,
    "who is dead by an event was born before": """
        SELECT inferred_deaths.object_id FROM inferred_deaths
        LEFT JOIN events AS birth ON birth.kind = 0 AND birth.object_id = inferred_deaths.object_id
        LEFT JOIN events ON events.id = event_id
        WHERE birth.id IS NULL OR events.id IS NULL OR birth.id >= event_id
    """,
    "a collection freed who died of it": """
        SELECT number FROM collections LEFT JOIN deaths ON deaths.collection = number
        GROUP BY number, freed_objects HAVING count(deaths.object_id) > freed_objects
        OR (count(deaths.object_id) < freed_objects AND (SELECT count(*) FROM sampling) = 0)
    """,
    "a sample has one row, and notes only what it was chosen for": """
        SELECT 1 WHERE (SELECT count(*) FROM sampling) > 1
        UNION ALL SELECT id FROM events, sampling WHERE kind < 3 AND object_id = 0
        UNION ALL SELECT events.id FROM events LEFT JOIN inferred_deaths ON event_id = events.id
        WHERE kind = 3 AND inferred_deaths.object_id IS NULL
    """,
    "collections are numbered from 1": "SELECT number FROM collections EXCEPT SELECT row_number() OVER () FROM collections",
    "calls are numbered from 1, as they began": """
        SELECT number FROM calls EXCEPT SELECT row_number() OVER (ORDER BY begun_ns, depth, number) FROM calls
    """,
    "calls have the events between their beginnings and ends": """
        SELECT calls.number FROM calls JOIN events ON events.id BETWEEN first_event_id AND last_event_id
        WHERE events.time_ns NOT BETWEEN begun_ns AND ended_ns
    """,
    "calls of the host name objects that were made": """
        SELECT result_object_id FROM calls UNION SELECT argument_object_id FROM calls
        EXCEPT SELECT object_id FROM events WHERE kind = 0 EXCEPT SELECT 0
    """,
    "arguments are those of calls, each once": """
        SELECT call_number FROM call_arguments EXCEPT SELECT number FROM calls
        UNION ALL SELECT call_number FROM call_arguments GROUP BY call_number, position HAVING count(*) > 1
        UNION ALL SELECT call_number FROM call_arguments WHERE position < 0 OR (integer IS NOT NULL AND real IS NOT NULL)
    """,
    "stacks of memory's growths are there": """
        SELECT stack_id FROM memory_growths WHERE stack_id > 0 EXCEPT SELECT id FROM stacks
    """,
    "memory grows from where it was": """
        SELECT number FROM (
            SELECT row_number() OVER (ORDER BY rowid) AS number, old_pages,
            lag(new_pages, 1, (SELECT declared_pages FROM memories)) OVER (ORDER BY rowid) AS before FROM memory_growths
        ) WHERE old_pages <> before
    """,
    "nothing comes after an event that is not there": """
        SELECT last_event_id FROM collections UNION SELECT last_event_id FROM samples
        UNION SELECT last_event_id FROM growths UNION SELECT last_event_id FROM snapshots
        UNION SELECT last_event_id FROM memory_growths
        EXCEPT SELECT unnest(range(0, (SELECT count(*) FROM events) + 1))
    """,
}


def problems(recording: Recording) -> list[str]:
    """What does not hold, with an example each; empty for a sound recording."""
    found = []
    for claim, query in QUERIES.items():
        against = recording.sql(query).fetch(1)
        if against:
            found.append(f"not so: {claim} ({against[0]})")
    for number, blocks, states in recording.sql("SELECT collection, blocks, states FROM snapshots"):
        size_bytes = len(zlib.decompress(states))
        if 4 * size_bytes < blocks:
            found.append(f"not so: the block map after collection {number} has {blocks} blocks ({size_bytes} bytes)")
    return found
