"""The sites that allocate most, and nothing else of a recording: what a run says at its end, when somebody waits for it.

The same as the first of `tinyheap.profile.sites.by_site`, which looks at all objects from all sides.  Here neither stacks
become objects of Python's, nor is it asked when objects died, but for those of the few sites that are shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from tinyheap.errors import RecordingCorruptError
from tinyheap.profile.census import BIRTHS, SITES, count_births
from tinyheap.profile.result import columns, rows
from tinyheap.profile.stacks import NO_FRAME, StackFrame, frames_of
from tinyheap.profile.trends import Trend, trends_of
from tinyheap.results import Result

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tinyheap.recordings.recording import Recording

    Numbers = NDArray[np.int64]

_OWN: Final = f"""
SELECT frame_id, sum(objects)::BIGINT, sum(bytes)::BIGINT, sqrt(sum(bytes_variance))
FROM {BIRTHS} JOIN {SITES} USING (stack_id) GROUP BY frame_id
"""
NOWHERE: Final = -1
_STACKS: Final = "SELECT id, parent_id, frame_id, depth FROM stacks ORDER BY id"


@dataclass(frozen=True, slots=True)
class HeavySite(Result):
    """What is allocated at a site; sizes are bytes asked for."""

    site: StackFrame
    own_objects: int
    own_bytes: int
    own_bytes_error: float | None
    """The standard error, where it is an estimate; None where all was recorded."""
    trend: Trend
    """How its objects follow each other."""

    @property
    def name(self) -> str:
        """As `tinyheap.profile.sites.SiteUsage` is called."""
        return self.site.name


@dataclass(frozen=True, slots=True)
class Heaviest(Result):
    """The sites that own the most bytes, and the deepest stack."""

    total_bytes: int
    """Of all sites."""
    sites: tuple[HeavySite, ...]
    """The heaviest first; of two that own as many bytes the one first whose name is."""
    deepest: tuple[StackFrame, ...]
    """The frames of the stack that has most, the first of such, outermost first; none where there is no stack."""


def heaviest(recording: Recording, count: int) -> Heaviest:
    """The heaviest sites, so many at most.

    Raises:
        RecordingCorruptError: The recording contradicts itself.
    """
    count_births(recording)
    frames = frames_of(recording)
    stacks = _Stacks(recording, frames)
    _note_sites(recording, stacks)
    own = rows(recording, _OWN)
    first = sorted(own, key=lambda each: (-each[2], frames[each[0]].name))[:count]
    found = trends_of(recording, [frame_id for frame_id, *_ in first])
    is_estimate = recording.run.sample_bytes is not None
    sites = (
        HeavySite(frames[frame_id], objects, size_bytes, error if is_estimate else None, found[frame_id])
        for frame_id, objects, size_bytes, error in first
    )
    return Heaviest(sum(size_bytes for _, _, size_bytes, _ in own), tuple(sites), stacks.deepest())


def _note_sites(recording: Recording, stacks: _Stacks) -> None:
    """Make the table `SITES`."""
    counted = {"stack_id": np.append(stacks.ids, 0), "frame_id": np.append(stacks.sites(), NO_FRAME.id)}
    recording.connection.register("tinyheap_found", counted)
    rows(recording, f"CREATE OR REPLACE TEMP TABLE {SITES} AS SELECT stack_id, frame_id FROM tinyheap_found")
    recording.connection.unregister("tinyheap_found")


class _Stacks:
    """All stacks in arrays, callers before who they call.

    Raises:
        RecordingCorruptError: They do not form a tree, or a frame is missing.
    """

    def __init__(self, recording: Recording, frames: Mapping[int, StackFrame]) -> None:
        found = {name: column.astype(np.int64) for name, column in columns(recording, _STACKS).items()}
        known = np.array(sorted(frames), np.int64)
        self.ids, parents, self._depths = found["id"], found["parent_id"], found["depth"]
        at = _places(known, found["frame_id"])
        callers = np.where(parents == 0, NOWHERE, _places(self.ids, parents))
        is_sound = (at > 0) & (parents < self.ids) & ((parents == 0) | (callers >= 0))
        if not is_sound.all():
            raise RecordingCorruptError(
                f"{recording.path} is damaged: a stack has a parent or a frame that does not exist, or comes later"
            )
        self._callers = callers
        self._frames = [frames[each] for each in known.tolist()]
        self._frame_ids = np.array([each.id for each in self._frames], np.int64)[at]
        self._is_runtime = np.array([each.is_runtime for each in self._frames], bool)[at]
        self._at = at

    def sites(self) -> Numbers:
        """The frame of each stack's allocation site: the innermost outside of the runtime, or else the innermost."""
        place = np.arange(len(self.ids))
        # Of all stacks at once the place goes one call out, as long as it is in the runtime for any.
        while (inside := (place >= 0) & self._is_runtime[place]).any():
            place[inside] = self._callers[place[inside]]
        return np.where(place >= 0, self._frame_ids[place], self._frame_ids)

    def deepest(self) -> tuple[StackFrame, ...]:
        """The frames of the stack that has most, the first of such, outermost first."""
        place, path = (int(self._depths.argmax()) if len(self.ids) else NOWHERE), []
        while place != NOWHERE:
            path.append(self._frames[self._at[place]])
            place = int(self._callers[place])
        return tuple(reversed(path))


def _places(values: Numbers, wanted: Numbers) -> Numbers:
    """Where in an array that ascends each of some values is; `NOWHERE` where it is not."""
    if not len(values):
        return np.full(len(wanted), NOWHERE)
    places = np.searchsorted(values, wanted).clip(max=len(values) - 1)
    return np.where(values[places] == wanted, places, NOWHERE)
