"""The census of a recording: how many objects and bytes each stack made, when they were born and when they died.

Nearly all that is asked of a recording is a sum over its objects, and of an object only four things matter for it: who
made it, how large it is, between which collections it was born, and which collection freed it, if any.  So the objects are
counted once, and every analysis adds up a table that is small, however many objects there were.

Terms.  An object's *generation* is the number of collections that were over when it was born.  Collection ``k`` is the
first that could free the objects of generation ``k - 1``.  Only collections free, so an object *lives* from its birth to
the end of the collection that freed it, whether the program could still reach it or not; one that no collection freed
lives at the end.  Where collections were not observed, it lives until its death was inferred, so that what lives is an
upper bound.  Bytes are those that the program asked for.

Of a *sample*, whose objects were each chosen with a probability p of its own, an object stands for 1/p objects of its size
(Horvitz and Thompson, 1952): sums of these weights are unbiased estimates, whatever is added up.  They are rounded so that
all objects up to any are as many as their weights say, to one.  Since objects are chosen independently of each other, the
variance of a sum of x is the sum of (1 - p) (x/p)**2 over the chosen ones, itself estimated without bias; its square
root is the *standard error*.

The tables are temporary: they belong to the connection, and nothing is written to the recording's file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tinyheap.errors import RecordingCorruptError
from tinyheap.profile.result import row, rows
from tinyheap.profile.stacks import StackTree
from tinyheap.recordings.schema import EventKind

if TYPE_CHECKING:
    from tinyheap.recordings.recording import Recording

CENSUS: Final = "tinyheap_census"
"""Columns ``stack_id``, ``generation``, ``death_collection`` (NULL: none freed it), ``is_dead`` (at the end), ``objects``,
``bytes``, and the variances of these, ``objects_variance`` and ``bytes_variance``, which are 0 where all was recorded."""
BIRTHS: Final = "tinyheap_births"
"""The events that made objects, with ``objects`` and ``bytes``, for which each stands, and the variances of these."""
SITES: Final = "tinyheap_sites"
"""Columns ``stack_id``, ``frame_id``: the frame of each stack's allocation site, 0 for the empty stack."""
COUNTED: Final = "tinyheap_counted"
"""How far the recording was when the census was taken."""

_SAMPLED: Final = "tinyheap_sampled"
_ALL_BIRTHS: Final = f"""
CREATE OR REPLACE TEMP VIEW {BIRTHS} AS
SELECT *, 1 AS objects, size_bytes AS bytes, 0.0::DOUBLE AS objects_variance, 0.0::DOUBLE AS bytes_variance
FROM events WHERE kind = {EventKind.ALLOCATION} AND object_id > 0
"""
_SAMPLED_BIRTHS: Final = f"""
CREATE OR REPLACE TEMP TABLE {_SAMPLED} AS
WITH chosen AS (
    SELECT events.*, 1 - exp(-size_bytes / mean_bytes) AS p
    FROM events, sampling WHERE kind = {EventKind.ALLOCATION} AND object_id > 0
),
summed AS (
    SELECT *, round(sum(1 / p) OVER upto)::BIGINT AS objects_upto, round(sum(size_bytes / p) OVER upto)::BIGINT AS bytes_upto
    FROM chosen WINDOW upto AS (ORDER BY id)
)
SELECT
    * EXCLUDE (p, objects_upto, bytes_upto),
    objects_upto - lag(objects_upto, 1, 0) OVER (ORDER BY id) AS objects,
    bytes_upto - lag(bytes_upto, 1, 0) OVER (ORDER BY id) AS bytes,
    (1 - p) / (p * p) AS objects_variance,
    (1 - p) * (size_bytes / p) * (size_bytes / p) AS bytes_variance
FROM summed;
CREATE OR REPLACE TEMP VIEW {BIRTHS} AS FROM {_SAMPLED}
"""

# Two collections without an event between them are one bound; nothing is born between them.
_TAKE: Final = f"""
CREATE OR REPLACE TEMP TABLE {CENSUS} AS
WITH bounds AS (SELECT last_event_id, max(number) AS generation FROM collections GROUP BY last_event_id)
SELECT
    births.stack_id,
    coalesce(bounds.generation, 0) AS generation,
    deaths.collection AS death_collection,
    deaths.collection IS NOT NULL OR inferred_deaths.event_id IS NOT NULL AS is_dead,
    sum(births.objects)::BIGINT AS objects,
    sum(births.bytes)::BIGINT AS bytes,
    sum(objects_variance) AS objects_variance,
    sum(bytes_variance) AS bytes_variance
FROM {BIRTHS} AS births
LEFT JOIN deaths ON deaths.object_id = births.object_id
LEFT JOIN inferred_deaths ON inferred_deaths.object_id = births.object_id
ASOF LEFT JOIN bounds ON births.id > bounds.last_event_id
GROUP BY ALL
"""
_FAULTS: Final = f"""
WITH ended AS (SELECT count(*) AS collections FROM collections)
SELECT 'an object died twice'
WHERE (SELECT coalesce(sum(objects), 0) FROM {CENSUS})
    <> (SELECT coalesce(sum(objects), 0) FROM {BIRTHS})
UNION ALL SELECT 'the numbers of its collections are not 1, 2, 3, ...'
FROM collections, ended
HAVING count(DISTINCT number) <> count(*) OR min(number) <> 1 OR max(number) <> count(*)
UNION ALL SELECT 'an object died before it was born, or in a collection that never was'
FROM {CENSUS}, ended
HAVING count(*) FILTER (death_collection <= generation OR death_collection > collections) > 0
UNION ALL SELECT 'an object was dead by an event before its birth, or by one that never was'
FROM inferred_deaths LEFT JOIN events ON events.id = event_id
LEFT JOIN events AS births ON births.object_id = inferred_deaths.object_id AND births.kind = {EventKind.ALLOCATION}
HAVING count(*) FILTER (events.id IS NULL OR births.id IS NULL OR births.id >= event_id) > 0
UNION ALL SELECT 'an object has a stack that there is not'
FROM {CENSUS}
HAVING count(*) FILTER (stack_id NOT IN (SELECT stack_id FROM {SITES})) > 0
"""


def count_births(recording: Recording) -> None:
    """Make `BIRTHS` of a recording."""
    rows(recording, _ALL_BIRTHS if recording.run.sample_bytes is None else _SAMPLED_BIRTHS)


def take_census(recording: Recording) -> None:
    """Make the tables `CENSUS`, `BIRTHS` and `SITES` of a recording, unless they are there and nothing was recorded since.

    Raises:
        RecordingCorruptError: The recording contradicts itself.
    """
    if _is_taken(recording):
        return
    count_births(recording)
    rows(recording, _TAKE)
    sites = StackTree.of(recording).sites()
    rows(
        recording,
        f"CREATE OR REPLACE TEMP TABLE {SITES} AS SELECT unnest(?::INTEGER[]) AS stack_id, unnest(?::INTEGER[]) AS frame_id",
        [list(sites), [site.id for site in sites.values()]],
    )
    for (fault,) in rows(recording, _FAULTS):
        raise RecordingCorruptError(f"{recording.path} is damaged: {fault}")
    rows(recording, f"CREATE OR REPLACE TEMP TABLE {COUNTED} AS SELECT count(*) AS batches FROM batches")


def _is_taken(recording: Recording) -> bool:
    (there,) = row(recording, f"SELECT count(*) FROM duckdb_tables() WHERE temporary AND table_name = '{COUNTED}'")
    if not there:
        return False
    (is_same,) = row(recording, f"SELECT batches = (SELECT count(*) FROM batches) FROM {COUNTED}")
    return bool(is_same)
