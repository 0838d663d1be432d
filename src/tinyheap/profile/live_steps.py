"""What lives of each site, step by step: the series that growth is judged by.

Where collections were observed, a step is a collection, and what lives right after it is what the program still holds.

Where deaths were inferred, what lives is an upper bound, which has all garbage in it that waits to be handed out again: in a
heap that grows so does that, and every site looks as if it grew.  There a step is a *turnover*: it is over when as many bytes
were inferred to be dead as lived, at most, when it began.  Counted are the objects that have *outlived a turnover*, which
were there during a whole one and were not handed out again.  Garbage mostly is by then; what the program holds never is.  Some
garbage stays, in places that nobody asks for, and grows with the heap.  So growth is told of only if it is a tenth of all
growth, and of all that lives (`LiveSteps.is_told`): a leak that is slower than that is not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final

import numpy as np

from tinyheap.profile.census import BIRTHS, CENSUS, SITES, take_census
from tinyheap.profile.result import Unknown, columns, rows, unless_collections
from tinyheap.recordings.observed import Lives

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinyheap.recordings.recording import Recording

LEAST_SHARE: Final = 0.1
"""Of all growth by turnovers, and of all that lives, what a site must have to be told from garbage that stays."""

_CHANGES: Final = f"""
WITH changes AS (
    SELECT id AS event_id, bytes AS born, 0 AS dead FROM {BIRTHS}
    UNION ALL SELECT event_id, 0, bytes FROM inferred_deaths JOIN {BIRTHS} USING (object_id)
),
net AS (SELECT event_id, sum(born) AS born, sum(dead) AS dead FROM changes GROUP BY event_id),
upto AS (
    SELECT
        event_id, dead,
        (sum(dead) OVER (ORDER BY event_id))::BIGINT AS dead_upto,
        (sum(born - dead) OVER (ORDER BY event_id))::BIGINT AS live
    FROM net
)
SELECT event_id, time_ns, dead_upto, live FROM upto JOIN events ON events.id = event_id WHERE dead > 0 ORDER BY event_id
"""
# The turnover in which it was born is its own number; after the next one it has outlived a whole one.
_OUTLIVED: Final = f"""
WITH steps AS (SELECT unnest($ends::BIGINT[]) AS event_id, unnest(range(len($ends::BIGINT[]))) AS place),
died AS (
    SELECT object_id, place FROM inferred_deaths ASOF JOIN steps ON inferred_deaths.event_id <= steps.event_id
),
lived AS (
    SELECT frame_id, bytes, steps.place + 1 AS since, died.place AS until
    FROM {BIRTHS} AS births
    ASOF JOIN steps ON births.id <= steps.event_id
    JOIN {SITES} USING (stack_id)
    LEFT JOIN died USING (object_id)
    WHERE died.place IS NULL OR died.place > steps.place + 1
),
changes AS (
    SELECT frame_id, since AS place, bytes FROM lived
    UNION ALL SELECT frame_id, until, -bytes FROM lived WHERE until IS NOT NULL
)
SELECT frame_id, place, sum(bytes)::BIGINT FROM changes WHERE place < len($ends::BIGINT[]) GROUP BY ALL
"""
# Collections are numbered from the first that is recorded.
_LIVED: Final = f"""
WITH changes AS (
    SELECT frame_id, first_collection AS number, bytes FROM {CENSUS} JOIN {SITES} USING (stack_id)
    UNION ALL
    SELECT frame_id, death_collection, -bytes FROM {CENSUS} JOIN {SITES} USING (stack_id)
    WHERE death_collection IS NOT NULL
),
placed AS (
    SELECT frame_id, number - (SELECT coalesce(max(cut_collections), 0) FROM kept) - 1 AS place, bytes FROM changes
)
SELECT frame_id, place, sum(bytes)::BIGINT FROM placed WHERE place < $steps GROUP BY ALL
"""


@dataclass(frozen=True, slots=True)
class LiveSteps:
    """The bytes that lived at each step, by site."""

    born_until_ns: tuple[int, ...]
    """For each step, in their order, when it began that no later object is counted: the collection, or the turnover."""
    series: dict[int, tuple[int, ...]]
    """By the site's frame, a value for each step."""
    are_turnovers: bool
    """Whether steps are turnovers, and values upper bounds."""

    def __len__(self) -> int:
        return len(self.born_until_ns)

    def is_told(self, growth_bytes: float, all_growth_bytes: float, live_bytes: float) -> bool:
        """Whether a site's growth says something, beside that of all sites that grow, and what lives on average."""
        return not self.are_turnovers or growth_bytes >= LEAST_SHARE * max(all_growth_bytes, live_bytes)


def live_steps(recording: Recording) -> LiveSteps | Unknown:
    """The steps of a recording; unknown where neither collections were observed nor deaths inferred."""
    observed = recording.run.observed
    take_census(recording)
    if observed.lives is Lives.AT_MOST:
        return _turnovers(recording)
    if unknown := unless_collections(recording):
        return unknown
    times = [begun_ns for (begun_ns,) in rows(recording, "SELECT begun_ns FROM collections ORDER BY number")]
    return LiveSteps(tuple(times), _series(rows(recording, _LIVED, {"steps": len(times)}), len(times)), False)


def _turnovers(recording: Recording) -> LiveSteps:
    found = columns(recording, _CHANGES)
    ends = _ends(np.asarray(found["dead_upto"], np.int64), np.asarray(found["live"], np.int64))
    events, times = np.asarray(found["event_id"], np.int64)[ends], np.asarray(found["time_ns"], np.int64)[ends]
    changes = rows(recording, _OUTLIVED, {"ends": events.tolist()}) if ends else []
    begun_ns = [0, *times.tolist()][: len(ends)]
    return LiveSteps(tuple(begun_ns), _series(changes, len(ends)), True)


def _ends(dead_upto: NDArray[np.int64], live: NDArray[np.int64]) -> list[int]:
    """Where turnovers end, among the events by which something was dead."""
    ends: list[int] = []
    at = 0
    while at < len(live):
        at = int(np.searchsorted(dead_upto, dead_upto[at] + max(live[at], 1)))
        if at < len(live):
            ends.append(at)
    return ends


def _series(changes: list[tuple[int, int, int]], steps: int) -> dict[int, tuple[int, ...]]:
    gains: dict[int, list[int]] = {}
    for frame_id, place, gain in changes:
        gains.setdefault(frame_id, [0] * steps)[place] = gain
    return {frame_id: tuple(accumulate(series)) for frame_id, series in gains.items()}
