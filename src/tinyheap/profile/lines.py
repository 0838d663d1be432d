"""Who allocates, by source line: where debug information tells.

An object is a line's *own* where its allocation site (`tinyheap.profile.sites`) is on that line; in *total* a line has all
objects whose stack has a call on it, inlined or not, each counted once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tinyheap.profile.census import SITES
from tinyheap.profile.sites import Usage, UsageTable, metrics_by, sorted_usages
from tinyheap.profile.stacks import StackTree

if TYPE_CHECKING:
    from tinyheap.recordings.recording import Recording


@dataclass(frozen=True, slots=True)
class LineUsage(Usage):
    """What is allocated on a line of a source file."""

    file: str
    line: int
    """From 1."""

    @property
    def name(self) -> str:
        """``file:line``."""
        return f"{self.file}:{self.line}"


_LINE: Final = f"(SELECT site.file || ':' || site.line FROM frames AS site WHERE site.id = {SITES}.frame_id)"


def by_line(recording: Recording) -> UsageTable[LineUsage]:
    """What is allocated on each line; none where the recording has no lines."""
    frames = StackTree.of(recording).frames.values()
    places = {frame.place: (frame.file, frame.line) for frame in frames if frame.file is not None and frame.line}
    if not places:
        return sorted_usages(recording, [])
    metrics = metrics_by(recording, _LINE, lambda frame: frame.place)
    found = []
    for place, (file, line) in places.items():
        if place in metrics:
            assert file is not None
            assert line is not None
            found.append(LineUsage(**metrics[place], file=file, line=line))
    return sorted_usages(recording, found)
