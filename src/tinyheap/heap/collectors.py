"""All collectors, and how their objects lie in their blocks.

TinyGo has replaced its block collector twice; a collector is named by its algorithm, or by a release of TinyGo that had it::

    next-fit         up to 0.39        |  head   |  tail   |  tail   |   searches the block table from where it last stopped
                                       layout, body ................

    best-fit-front   0.40 and 0.41     |  head   |  tail   |  tail   |   takes the shortest free range that is long enough
                                       link, layout, body ..........     from a free list, rebuilt by each sweep

    best-fit-back    0.42              |  tail   |  tail   |  head   |   the same; objects end with their header, growth
                                       body .......... link, layout      inserts one range, and there are finalizers

The *layout* is there with the precise scanner only.  ``best-fit`` is the newest of its kind.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import cache
from typing import TYPE_CHECKING, Final, cast

from tinyheap.errors import HeapError
from tinyheap.heap.arguments import shown

if TYPE_CHECKING:
    from tinyheap.heap.geometry import Geometry


class Encoding(Enum):
    """How a block table holds the states of four blocks in a byte; block b is in byte ``b // 4``, at place ``b % 4``."""

    PAIRS = "pairs"
    """Two bits side by side for each block: ``0bDD_CC_BB_AA``."""
    PLANES = "planes"
    """The low bits of all four blocks in the low nibble, the high bits in the high one: ``0bDCBA_DCBA``."""

    def bits(self, place: int, state: int) -> int:
        """The bits of a state at a place in a byte of the table."""
        if self is Encoding.PAIRS:
            return state << 2 * place
        return (state & 1 | state >> 1 << 4) << place

    @cache
    def states(self, place: int) -> bytes:
        """For each byte of a table, the state at that place in it."""
        by_bits = {self.bits(place, state): state for state in range(4)}
        return bytes(by_bits[byte & self.bits(place, 3)] for byte in range(256))


class Collector(StrEnum):
    """A collector, by its algorithm; of best-fit there are two, told apart by where an object's header is."""

    NEXT_FIT = "next-fit"
    """The first run of free blocks that is long enough, from where the last search ended."""
    BEST_FIT_FRONT = "best-fit-front"
    """The shortest free range that is long enough; an object begins with its header."""
    BEST_FIT_BACK = "best-fit-back"
    """The same; an object ends with its header."""

    @property
    def encoding(self) -> Encoding:
        """How its block table holds states."""
        return Encoding.PAIRS if self is Collector.NEXT_FIT else Encoding.PLANES

    @property
    def has_free_list(self) -> bool:
        """Whether it allocates from a list of free ranges."""
        return self is not Collector.NEXT_FIT

    @property
    def head_is_last(self) -> bool:
        """Whether an object's last block has the head's state; else the first one has."""
        return self is Collector.BEST_FIT_BACK

    @property
    def has_finalizers(self) -> bool:
        """Whether the original has finalizers, in a table on the heap itself."""
        return self is Collector.BEST_FIT_BACK

    def shape(self, geometry: Geometry, *, precise: bool) -> ObjectShape:
        """How its objects lie in their blocks."""
        word_bytes = geometry.word_bytes
        align = max(geometry.header_alignment_bytes, word_bytes)
        match self:
            case Collector.NEXT_FIT:
                header_bytes = _rounded_up(word_bytes, align) if precise else 0
                return ObjectShape(header_bytes, header_bytes, False, 0)
            case Collector.BEST_FIT_FRONT:
                header_bytes = _rounded_up(word_bytes * (1 + precise), align)
                return ObjectShape(header_bytes, header_bytes, False, word_bytes)
            case Collector.BEST_FIT_BACK:
                return ObjectShape(word_bytes * (1 + precise), 0, True, -word_bytes)


BEST_FIT: Final = "best-fit"
"""The newest of its kind."""
RELEASES: Final = {
    **{f"0.{minor}": Collector.NEXT_FIT for minor in range(20, 40)},
    "0.40": Collector.BEST_FIT_FRONT,
    "0.41": Collector.BEST_FIT_FRONT,
    "0.42": Collector.BEST_FIT_BACK,
}
"""By release of TinyGo; a third number changes nothing."""
COLLECTOR_NAMES: Final = (*map(str, Collector), BEST_FIT)
EXPECTED_COLLECTORS: Final = f"{', '.join(COLLECTOR_NAMES)} or a release of TinyGo from 0.20 to 0.42"
"""Whatever chooses a collector, in words."""


def named_collector(name: Collector | str) -> Collector:
    """The collector of that name: an algorithm, ``best-fit`` for the newest, or a release of TinyGo such as ``0.41.1``.

    Raises:
        HeapError: there is no such collector.
    """
    if name == BEST_FIT:
        return Collector.BEST_FIT_BACK
    if name in list(Collector):
        return Collector(name)
    release = re.fullmatch(r"(0\.[0-9]{1,2})(\.[0-9]{1,2})?", name) if isinstance(cast(object, name), str) else None
    if release is None or release[1] not in RELEASES:
        raise HeapError(f"invalid collector {shown(name)}: expected {EXPECTED_COLLECTORS}")
    return RELEASES[release[1]]


def check_mark_stack(collector: Collector, entries: int) -> None:
    """Refuse to bound the mark stack of a collector that has none.

    Raises:
        HeapError: that was asked for.
    """
    if entries and collector is not Collector.NEXT_FIT:
        raise HeapError(
            f"invalid mark_stack_entries {shown(entries)}: expected 0, since {collector} has no mark stack; it chains "
            "marked objects through their headers"
        )


@dataclass(frozen=True, slots=True)
class ObjectShape:
    """How objects lie in their blocks: a *header*, which is the collector's, and a *body*, the mutator's.

    Args:
        header_bytes: how much of its blocks an object's header takes.
        body_offset_bytes: from its first block's start to its body, the address that the mutator gets.
        head_is_last: whether its last block is the head; else its first.
        layout_offset_bytes: where a precise object's layout word lies: from its first block's start, or, where
            negative, from its last block's end.
    """

    header_bytes: int
    body_offset_bytes: int
    head_is_last: bool
    layout_offset_bytes: int

    def address_of(self, geometry: Geometry, first: int) -> int:
        """The mutator's address of the object whose first block is ``first``."""
        return geometry.address_of(first) + self.body_offset_bytes

    def body_bytes(self, geometry: Geometry, blocks: int) -> int:
        """How long the body of an object of so many blocks is."""
        return blocks * geometry.block_bytes - self.header_bytes

    def blocks_for(self, geometry: Geometry, size_bytes: int) -> int:
        """How many blocks an object of so many bytes takes, its header included."""
        return geometry.blocks_for(size_bytes + self.header_bytes)

    def wraps(self, geometry: Geometry, size_bytes: int) -> bool:
        """Whether no word holds what an object of so many bytes takes: best-fit counts no such allocation."""
        return size_bytes + self.header_bytes + geometry.block_bytes > geometry.address_space_bytes

    def head_of(self, first: int, end: int) -> int:
        """The head of the object in blocks ``first..end - 1``."""
        return end - 1 if self.head_is_last else first

    def layout_address(self, geometry: Geometry, first: int, end: int) -> int:
        """Where the layout word of the precise object in blocks ``first..end - 1`` lies."""
        return geometry.address_of(end if self.layout_offset_bytes < 0 else first) + self.layout_offset_bytes


def _rounded_up(size_bytes: int, align: int) -> int:
    return -(-size_bytes // align) * align
