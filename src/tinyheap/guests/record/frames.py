"""The frames that recorded stacks are made of, and the calls in them that the compiler inlined.

A shadow stack knows call instructions.  Where debug information tells that one stands in code that was inlined, it is
several calls: ``main.main`` called ``store.Add``, which called ``runtime.alloc``.  Then stacks are *unfolded*: each call is a
frame, and the stacks that the recorder has numbered become others, which share the frames that they share in the source.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, overload

import numpy as np

from tinyheap.guests.rewrite.sites import INDIRECT, Sites
from tinyheap.recordings.batch import STACK, Batch
from tinyheap.recordings.row_types import FrameRow
from tinyheap.symbols.paths import ShortNames

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinyheap.symbols.places import Place

STACKS_LIMIT: Final = 1 << 24
"""Unfolded stacks, at most; what would be beyond counts for its caller."""


class SiteFrames(Sequence[FrameRow]):
    """The call instructions that a module's shadow stack names, as rows, each made when it is asked for."""

    def __init__(self, sites: Sites) -> None:
        self._sites = sites

    def __len__(self) -> int:
        return len(self._sites)

    @overload
    def __getitem__(self, index: int) -> FrameRow: ...
    @overload
    def __getitem__(self, index: slice) -> list[FrameRow]: ...
    def __getitem__(self, index: int | slice) -> FrameRow | list[FrameRow]:
        """The frame of site ``index + 1``."""
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        return frame_of(self._sites, at + 1, at + 1)


def frame_of(sites: Sites, number: int, frame_id: int) -> FrameRow:
    """The frame of a site, as the module alone tells it."""
    at = number - 1
    callee, function = sites.callees[at], sites.functions[at]
    called = None if callee == INDIRECT else sites.name(callee)
    return FrameRow(frame_id, function, sites.name(function), sites.offsets[at], called)


class Unfolding:
    """Unfolds the stacks of one run.

    Args:
        sites: Its call instructions, with places.
        full_paths: Whether files are named by their full paths on the machine that compiled them.
    """

    def __init__(self, sites: Sites, *, full_paths: bool) -> None:
        self._sites = sites
        files = sites.places.files
        short = ShortNames(files)
        self._files = {file: file if full_paths else short[file] for file in files}
        self.frames: list[FrameRow] = []
        """All that were mentioned so far, in the order of their ids, from 1."""
        self._inlining: dict[FrameRow, int] = {}
        self._chains: dict[int, tuple[int, ...]] = {}
        self._children: dict[tuple[int, int], int] = {}
        self._depths = [0]
        self._unfolded: NDArray[np.uint32] = np.zeros(1 << 10, np.uint32)

    def unfold(self, batch: Batch) -> Batch:
        """A batch as it is to be kept; its arrays are changed."""
        new: list[tuple[int, int, int, int]] = []
        for stack_id, parent_id, site, _ in batch.stacks.tolist():
            stack = self._of(parent_id)
            for frame_id in self._chain(site):
                stack = self._child(stack, frame_id, new)
            self._keep(stack_id, stack)
        batch.stacks = np.array(new, STACK) if new else np.empty(0, STACK)
        batch.events["stack_id"] = self._unfolded[batch.events["stack_id"]]
        batch.collections = [replace(each, stack_id=self._of(each.stack_id)) for each in batch.collections]
        batch.memory_growths = [replace(each, stack_id=self._of(each.stack_id)) for each in batch.memory_growths]
        return batch

    def _of(self, stack_id: int) -> int:
        """What a stack of the recorder's has become."""
        return int(self._unfolded[stack_id])

    def _keep(self, stack_id: int, unfolded: int) -> None:
        if stack_id >= len(self._unfolded):
            self._unfolded = np.concatenate([self._unfolded, np.zeros(max(stack_id, len(self._unfolded)), np.uint32)])
        self._unfolded[stack_id] = unfolded

    def _child(self, stack: int, frame_id: int, new: list[tuple[int, int, int, int]]) -> int:
        """The stack that is another and a frame more; where it is new, its row goes to ``new``."""
        child = self._children.get((stack, frame_id))
        if child is None:
            if len(self._depths) > STACKS_LIMIT:
                return stack
            child = self._children[stack, frame_id] = len(self._depths)
            self._depths.append(self._depths[stack] + 1)
            new.append((child, stack, frame_id, self._depths[child]))
        return child

    # ---- frames -----------------------------------------------------------------------------------------------------

    def _chain(self, site: int) -> tuple[int, ...]:
        """The frames of a site, outermost first."""
        if site not in self._chains:
            self._chains[site] = tuple(self._frames_of(site))
        return self._chains[site]

    def _frames_of(self, site: int) -> Iterable[int]:
        plain, chain = frame_of(self._sites, site, 0), self._sites.chain(site)
        # The module's own names go before those of debug information, as callees have them, too.
        names = [plain.function, *(place.function or plain.function for place in chain[1:])]
        for at, place in enumerate(chain[:-1]):
            row = replace(plain, function=names[at], code_offset=-1, callee=names[at + 1], inlined=at > 0)
            row = self._placed(row, place)
            yield self._inlining.get(row) or self._inlining.setdefault(row, self._add(row))
        row = replace(plain, function=names[-1], inlined=len(chain) > 1)
        yield self._add(self._placed(row, chain[-1]) if chain else row)

    def _placed(self, row: FrameRow, place: Place) -> FrameRow:
        return replace(row, file=self._files.get(place.file), line=place.line or None)

    def _add(self, row: FrameRow) -> int:
        self.frames.append(replace(row, id=len(self.frames) + 1))
        return len(self.frames)
