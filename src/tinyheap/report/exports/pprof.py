"""A recording as a heap profile of pprof: what `go tool pprof` reads.

The format is github.com/google/pprof, ``proto/profile.proto``; the numbers below are its fields.  The sample types are
those of Go's own heap profile: objects and bytes allocated, objects and bytes in use, which here means not freed by any
collection when the recording ended.  Where deaths were inferred, a comment says that what is in use is an upper bound; where
nothing is known of them, there are only the first two.  Of a sample the period is the mean distance of two sampled bytes, and
a comment says that values are estimates.
"""

from __future__ import annotations

import gzip
from datetime import UTC
from typing import TYPE_CHECKING, Final

from tinyheap.profile import Measure, Unknown
from tinyheap.profile.flame import weights
from tinyheap.profile.stacks import StackFrame, StackTree
from tinyheap.profile.summary import wall_ns
from tinyheap.recordings.observed import Lives
from tinyheap.report.exports.protobuf import message, number, numbers, text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from tinyheap.recordings.recording import Recording

SAMPLE_TYPES: Final = (
    ("alloc_objects", "count", Measure.ALLOCATED_OBJECTS),
    ("alloc_space", "bytes", Measure.ALLOCATED_BYTES),
    ("inuse_objects", "count", Measure.LIVE_AT_END_OBJECTS),
    ("inuse_space", "bytes", Measure.LIVE_AT_END_BYTES),
)
DEFAULT_SAMPLE_TYPE: Final = "alloc_space"
UPPER_BOUND: Final = "inuse: an upper bound; deaths are inferred from bytes that were handed out again"

SAMPLE_TYPE, SAMPLE, MAPPING, LOCATION, FUNCTION, STRING = 1, 2, 3, 4, 5, 6
TIME_NS, DURATION_NS, PERIOD_TYPE, PERIOD, COMMENT, DEFAULT_TYPE = 9, 10, 11, 12, 13, 14
"""Fields of a profile."""


class Strings:
    """The table that all text of a profile is in; the first is empty."""

    def __init__(self) -> None:
        self._ids = {"": 0}

    def id(self, value: str) -> int:
        """Where a text is in the table."""
        return self._ids.setdefault(value, len(self._ids))

    def fields(self) -> Iterator[bytes]:
        """The table."""
        return (text(STRING, value) for value in self._ids)


def pprof(recording: Recording) -> bytes:
    """The profile, compressed."""
    return gzip.compress(b"".join(_profile(recording)), mtime=0)


def _profile(recording: Recording) -> Iterator[bytes]:
    strings = Strings()
    tree = StackTree.of(recording)
    values = []
    for name, unit, measure in SAMPLE_TYPES:
        weighed = weights(recording, measure)
        if not isinstance(weighed, Unknown):
            yield message(SAMPLE_TYPE, *_value_type(strings, name, unit))
            values.append(weighed)
    used: dict[tuple[StackFrame, ...], int] = {}
    for stack_id in sorted({stack_id for each in values for stack_id in each}):
        path = tree.path(stack_id) or (tree.frame(stack_id),)
        locations = [used.setdefault(each, len(used) + 1) for each in _locations(path)]
        yield message(SAMPLE, numbers(1, reversed(locations)), numbers(2, (each.get(stack_id, 0) for each in values)))
    yield _mapping(strings, recording.run.module, [frame for frames in used for frame in frames])
    functions: dict[tuple[str, str], int] = {}
    for frames, location in used.items():
        lines = []
        for frame in reversed(frames):
            function = functions.setdefault((frame.function, frame.file or ""), len(functions) + 1)
            lines.append(message(4, number(1, function), number(2, frame.line or 0)))
        place = number(3, max(frames[-1].code_offset, 0))
        yield message(LOCATION, number(1, location), number(2, 1), place, *lines)
    for (name, file), function in functions.items():
        names = number(2, strings.id(name)), number(3, strings.id(name)), number(4, strings.id(file))
        yield message(FUNCTION, number(1, function), *names)
    yield number(TIME_NS, _unix_ns(recording))
    observed = recording.run.observed
    yield number(DURATION_NS, wall_ns(recording) - observed.begun_ns)
    yield message(PERIOD_TYPE, *_value_type(strings, "space", "bytes")) + number(PERIOD, observed.sample_bytes or 1)
    yield number(DEFAULT_TYPE, strings.id(DEFAULT_SAMPLE_TYPE))
    if observed.lives is Lives.AT_MOST:
        yield number(COMMENT, strings.id(UPPER_BOUND))
    if observed.choice is not None:
        yield number(COMMENT, strings.id(observed.choice))
    yield from strings.fields()


def _locations(path: Sequence[StackFrame]) -> list[tuple[StackFrame, ...]]:
    """A stack in pieces: a call and those in it that the compiler inlined are one location, of several lines."""
    found: list[list[StackFrame]] = []
    for frame in path:
        if frame.is_inlined and found:
            found[-1].append(frame)
        else:
            found.append([frame])
    return [tuple(each) for each in found]


def _unix_ns(recording: Recording) -> int:
    """When the run began, since 1970; recordings have it in UTC."""
    return int(recording.run.started_at.replace(tzinfo=UTC).timestamp()) * 10**9


def _value_type(strings: Strings, name: str, unit: str) -> tuple[bytes, bytes]:
    return number(1, strings.id(name)), number(2, strings.id(unit))


def _mapping(strings: Strings, module: str, frames: Collection[StackFrame]) -> bytes:
    """The program's file, with all code offsets in it; its functions have names, and files and lines where one has."""
    known = [number(field, 1) for field in (7, *((8, 9, 10) if any(frame.place for frame in frames) else ()))]
    end = 1 + max((frame.code_offset for frame in frames), default=0)
    return message(MAPPING, number(1, 1), number(3, max(end, 1)), number(5, strings.id(module)), *known)
