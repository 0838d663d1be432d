"""Linear memory through time: what the module declares, each growth and who asked for it, and what the host asked for.

Pages are 64 KiB.  Memory grows by whole pages and never shrinks.  A growth was asked for by an instruction of the program's, or
by tinyheap's collector for the heap that it serves; one that was *refused* left memory as it was.  Whoever runs the program
can grow its memory, too, which is not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tinyheap.errors import RecordingCorruptError
from tinyheap.profile.census import BIRTHS, SITES, take_census
from tinyheap.profile.result import Unknown, rows
from tinyheap.profile.stacks import StackFrame, StackTree
from tinyheap.recordings.schema import BY_COLLECTOR
from tinyheap.results import Result
from tinyheap.units import WASM_PAGE_BYTES

if TYPE_CHECKING:
    from tinyheap.recordings.recording import Recording

_NOT_NOTED: Final = "it was recorded before linear memory was noted"
_NO_MEMORY: Final = "this module has no linear memory"


@dataclass(frozen=True, slots=True)
class MemoryGrowth(Result):
    """A time that linear memory was to grow."""

    time_ns: int
    event_id: int
    """The last event before; 0 for none."""
    asked_by: str
    """``program`` or ``collector``, tinyheap's."""
    old_pages: int
    asked_pages: int
    """By how many it was to grow."""
    new_pages: int
    """After; as before where it was refused."""
    refused_by: str | None
    """What refused it (`tinyheap.recordings.refusals.Refusal`); None where it grew."""
    wanted_bytes: int | None
    """Size of the object for which a served heap was to grow; None for any other growth."""
    free_bytes: int | None
    """What was free on that heap then, after a collection; None where there was none."""
    largest_free_bytes: int | None
    """The most of it in one piece."""
    site: StackFrame
    """The innermost call outside of the Go runtime, as of objects (`tinyheap.profile.sites`)."""
    stack: tuple[StackFrame, ...]
    """Outermost first."""

    @property
    def is_fragmentation(self) -> bool:
        """Whether enough was free for the object, but not in one piece."""
        if self.wanted_bytes is None or self.free_bytes is None or self.largest_free_bytes is None:
            return False
        return self.largest_free_bytes < self.wanted_bytes <= self.free_bytes


@dataclass(frozen=True, slots=True)
class AllocatorCalls(Result):
    """The host's calls of an export that allocates or frees by its name."""

    export: str
    calls: int
    bytes: int
    """Allocated within."""


@dataclass(frozen=True, slots=True)
class LinearMemory(Result):
    """Linear memory through time."""

    declared_pages: int
    """At the beginning."""
    maximum_pages: int | None
    """What the module allows; None for no limit."""
    limit_bytes: int | None
    """What the run allowed; None for no limit."""
    growths: tuple[MemoryGrowth, ...]
    """In the order of time, refused ones among them."""
    allocator_calls: tuple[AllocatorCalls, ...]
    """Those that were called, the most often called first; none where calls were not noted."""

    @property
    def pages(self) -> int:
        """At the end."""
        return self.growths[-1].new_pages if self.growths else self.declared_pages

    @property
    def last_fragmentation(self) -> MemoryGrowth | None:
        """The last growth that enough memory was free for, but not in one piece; None where there was none."""
        return next((each for each in reversed(self.growths) if each.is_fragmentation), None)

    @property
    def steps(self) -> tuple[tuple[int, int], ...]:
        """Its size in bytes from each time on, in nanoseconds."""
        sizes = [(0, self.declared_pages)] + [(each.time_ns, each.new_pages) for each in self.growths]
        return tuple((time_ns, pages * WASM_PAGE_BYTES) for time_ns, pages in sizes)


_FAULTS: Final = """
SELECT 1 WHERE (SELECT count(*) FROM memories) > 1
UNION ALL SELECT 1 FROM memories WHERE declared_pages < 0
UNION ALL SELECT 1 FROM memory_growths
WHERE time_ns < 0 OR asked_pages < 0 OR old_pages < 0 OR new_pages < old_pages OR (
    refused_by IS NOT NULL AND new_pages <> old_pages
)
LIMIT 1
"""
_WANTED: Final = f"""
wanted AS (
    SELECT last_event_id, max(wanted_bytes) AS wanted_bytes
    FROM (
        SELECT last_event_id, wanted_bytes FROM growths
        UNION ALL SELECT last_event_id, wanted_bytes FROM collections WHERE wanted_bytes IS NOT NULL
    )
    GROUP BY last_event_id
),
noted AS (SELECT rowid AS place, *, asked_by = '{BY_COLLECTOR}' AS is_for_heap FROM memory_growths),
grown AS (
    SELECT
        noted.*,
        if(is_for_heap, wanted_bytes, NULL) AS wanted_bytes,
        if(is_for_heap, free_bytes, NULL) AS free_bytes,
        if(is_for_heap, largest_free_run_bytes, NULL) AS largest_free_bytes
    FROM noted
    LEFT JOIN wanted ON wanted.last_event_id = noted.last_event_id
    ASOF LEFT JOIN samples ON samples.time_ns <= noted.time_ns
)
"""
_GROWTHS: Final = f"""
WITH {_WANTED}
SELECT
    time_ns, last_event_id, asked_by, old_pages, asked_pages, new_pages, refused_by,
    wanted_bytes, free_bytes, largest_free_bytes,
    coalesce({SITES}.frame_id, 0), if({SITES}.frame_id IS NULL, 0, grown.stack_id)
FROM grown
LEFT JOIN {SITES} USING (stack_id)
ORDER BY place
"""
_FRAGMENTED: Final = f"""
WITH {_WANTED} SELECT 1 FROM grown WHERE largest_free_bytes < wanted_bytes AND wanted_bytes <= free_bytes LIMIT 1
"""
_CALLS: Final = f"""
WITH called AS (
    SELECT number, export, first_event_id, last_event_id FROM calls
    WHERE contains(lower(export), 'alloc') OR contains(lower(export), 'free')
)
SELECT export, count(DISTINCT number), coalesce(sum(bytes), 0)::BIGINT
FROM called LEFT JOIN {BIRTHS} AS births ON births.id BETWEEN first_event_id AND last_event_id
GROUP BY export ORDER BY 2 DESC, export
"""


def linear_memory(recording: Recording) -> LinearMemory | Unknown:
    """Linear memory through time; unknown where the module has none, or it was recorded before that was noted.

    Raises:
        RecordingCorruptError: The recording contradicts itself.
    """
    if not recording.run.knows_memory:
        return Unknown(_NOT_NOTED)
    take_census(recording)
    if rows(recording, _FAULTS):
        raise RecordingCorruptError(f"{recording.path} is damaged: its linear memory shrinks, or is there twice")
    declared = rows(recording, "SELECT declared_pages, maximum_pages, limit_bytes FROM memories")
    if not declared:
        return Unknown(_NO_MEMORY)
    tree = StackTree.of(recording)
    growths = (
        MemoryGrowth(*(*facts, tree.frames[frame_id], tree.path(stack_id)))
        for *facts, frame_id, stack_id in rows(recording, _GROWTHS)
    )
    calls = (AllocatorCalls(*each) for each in rows(recording, _CALLS))
    return LinearMemory(*(*declared[0], tuple(growths), tuple(calls)))


def last_fragmentation(recording: Recording) -> MemoryGrowth | None:
    """`LinearMemory.last_fragmentation`, and little work where there is none; None, too, where nothing is known.

    Raises:
        RecordingCorruptError: The recording contradicts itself.
    """
    if not recording.run.knows_memory or not rows(recording, _FRAGMENTED):
        return None
    memory = linear_memory(recording)
    return memory.last_fragmentation if isinstance(memory, LinearMemory) else None
